"""Tables as the model suite would give them if one law were true: the yardstick for what chance alone does.

The rows are those of the suite's own plan, block by block; only the losses are made up, by a Chinchilla law over all
parameters with luck for each run, a price for a constant rate, and one for rates and shapes away from the best.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scalebook.suite import schedule as schedules
from scalebook.suite.plan import COOLDOWN, FIRST_SEED, SHAPES, Job, Member, jobs, unlabel

# about what a byte-level transformer of this size does; E, A, B in nats a byte
LAW: Mapping[str, float] = {"E": 0.75, "A": 24.0, "B": 88.0, "alpha": 0.40, "beta": 0.36}
PROBES = {"bracket": (0.5, 1.6, 1.1), "recall": (0.95, 9.0, 1.9), "indentation": (0.7, 4.0, 1.5)}  # eps, k, gamma
RATE = 0.03  # of the smallest model; the best rate falls as N^-0.25


def simulated(
    blocks: str, rng: np.random.Generator, *, law: Mapping[str, float] = LAW, luck: float = 0.003,
    wobble: float = 0.001, constant: float = 0.03, mistuned: float = 0.03, misshapen: float = 0.02,
) -> pd.DataFrame:  # fmt: skip
    """Return the logged points of these blocks ("ML" for M and L) with the suite's columns as far as they are used.

    ``luck`` is the standard deviation of log loss between runs, shared by a trunk and its branches; ``wobble`` that of
    one point. ``constant``: relative loss that a trunk has over its branch. ``mistuned`` and ``misshapen``: relative
    loss at a rate a factor e, or a width a factor e, away from the best.
    """
    rows = []
    for job in jobs():
        if job.block not in blocks:
            continue
        fate = {member: luck * rng.standard_normal() for member in job.members}
        for segment, members in job.segments().items():
            for member in members:
                at = _points(job, segment)
                logs = np.log(_true(law, job, at)) + fate[member] + wobble * rng.standard_normal(len(at))
                logs += _price(job, member, segment, constant, mistuned, misshapen)
                rows.append(_rows(job, member, segment, at, np.exp(logs)))
    return pd.concat(rows, ignore_index=True)


def _points(job: Job, segment: str) -> np.ndarray:
    state, budget = unlabel(segment)
    steps = job.steps(budget)
    if state == "cooled":
        return np.array(schedules.branch_points(round((1 - COOLDOWN) * steps), steps))
    return np.array(schedules.points(steps, tuple(job.steps(b) for b in job.branches)))


def _true(law: Mapping[str, float], job: Job, steps: np.ndarray) -> np.ndarray:
    tokens = steps * job.batch
    return law["E"] + law["A"] * job.shape.n_total ** -law["alpha"] + law["B"] * tokens ** -law["beta"]


def _price(job: Job, member: Member, segment: str, constant: float, mistuned: float, misshapen: float) -> float:
    price = constant if segment.startswith("constant") else 0.0
    if job.block == "L":
        best = RATE * (job.shape.n_nonemb / 6144) ** -0.25
        price += mistuned * np.log(_rate(job, member) / best) ** 2 / 2
    if job.block == "H":
        price += misshapen * np.log(job.shape.width / 48) ** 2
    return float(price)


def _rate(job: Job, member: Member) -> float:
    kind, size = member.rate.kind, member.rate.size or job.size
    return member.rate.factor if kind == "fixed" else float(f"{RATE * (SHAPES[size].n_nonemb / 6144) ** -0.25:.3g}")


def _rows(job: Job, member: Member, segment: str, steps: np.ndarray, loss: np.ndarray) -> pd.DataFrame:
    state, budget = unlabel(segment)
    shape = job.shape
    return pd.DataFrame({
        "run": job.run(member, segment), "block": job.block, "size": job.size, "d": shape.width, "L": shape.layers,
        "n_nonemb": shape.n_nonemb, "n_total": shape.n_total, "batch": job.batch,
        "lr_peak": _rate(job, member),
        "schedule": state, "wd": member.decay, "seed": member.seed, "budget": budget, "steps": job.steps(budget),
        "arm": "", "stack": job.name, "step": steps, "tokens": steps * job.batch, "val": loss, "val2": loss,
    })  # fmt: skip


def probe_errors(table: pd.DataFrame, rng: np.random.Generator, items: int = 2000) -> pd.DataFrame:
    """Return probe errors of the cooled runs of block M that the suite scores, each exponential in loss, with luck.

    Columns run, bracket, recall, indentation; ``items`` binomial items a probe.
    """
    ends = table[(table["block"] == "M") & (table["schedule"] == "cooled") & (table["step"] == table["steps"])]
    longest = ends.groupby(["size", "seed"])["budget"].transform("max")
    ends = ends[(ends["seed"] == FIRST_SEED) | (ends["budget"] == longest)]
    found = {"run": ends["run"].to_numpy()}
    for name, (top, drop, rate) in PROBES.items():
        error = np.clip(top - drop * np.exp(-rate * ends["val"].to_numpy()), 0.01, 0.99)
        found[name] = 1 - rng.binomial(items, 1 - error) / items
    return pd.DataFrame(found)

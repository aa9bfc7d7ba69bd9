"""Peak learning rates of the other blocks, from the sweep of block L. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from scalebook.suite.plan import FIRST_SEED, LADDER, MILLION, SIZES, Rate, Shape, jobs, label

NEEDED_SIZES = 3  # sizes with an optimum inside the grid, else the law is a constant


def sweep() -> dict[tuple[str, int], dict[str, float]]:
    """Return {(size, tokens): {run: peak rate}} of the runs of block L that the law is fitted on."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for job in jobs():
        if job.block != "L" or job.schedule != "constant":
            continue
        for tokens in job.branches:
            for member in job.members:
                run = job.run(member, f"cooled-{label(tokens)}")
                found.setdefault((job.size, tokens), {})[run] = member.rate.factor
    return found


def vertex(rate: list[float], loss: list[float]) -> float | None:
    """Return the rate at the bottom of a parabola in log rate through the best point and its two neighbours.

    None when the best point is at either end or the losses there are not finite: no optimum inside the grid.
    """
    best = int(np.nanargmin(np.where(np.isfinite(loss), loss, np.inf)))
    if best in (0, len(rate) - 1) or not np.isfinite(loss[best - 1 : best + 2]).all():
        return None
    curve = np.polyfit(np.log(rate[best - 1 : best + 2]), loss[best - 1 : best + 2], 2)
    return float(np.exp(-curve[1] / (2 * curve[0]))) if curve[0] > 0 else None


def fit(final: Mapping[str, float]) -> dict | None:
    """Fit the law to the final losses of block L, {run: nats}; None while runs are missing.

    log rate = c_D + x log N with one intercept per number of tokens; the law used is that of 1M tokens. Returns
    ``{"exponent", "intercept", "optima": [...], "best": {size: grid rate at 1M tokens}}``, rounded to 3 digits so that
    another machine's last bits do not change the plan.
    """
    optima, best = [], {}
    for (size, tokens), members in sweep().items():
        if any(run not in final for run in members):
            return None
        rate, loss = list(members.values()), [final[run] for run in members]
        if tokens == MILLION:
            best[size] = rate[int(np.nanargmin(np.where(np.isfinite(loss), loss, np.inf)))]
        bottom = vertex(rate, loss)
        if bottom is not None:
            optima.append((size, tokens, bottom))
    inside = [row for row in optima if row[1] == MILLION]
    if len({size for size, _, _ in inside}) < NEEDED_SIZES:
        exponent, intercept = 0.0, float(np.mean(np.log(list(best.values()))))
    else:
        columns = [tokens for tokens in LADDER if any(row[1] == tokens for row in optima)]
        design = np.array([
            [math.log(SIZES[size].n_nonemb)] + [float(tokens == column) for column in columns]
            for size, tokens, _ in optima
        ])
        solution = np.linalg.lstsq(design, np.log([bottom for *_, bottom in optima]), rcond=None)[0]
        exponent, intercept = float(solution[0]), float(solution[1 + columns.index(MILLION)])
    return {
        "exponent": round(exponent, 3),
        "intercept": round(intercept, 3),
        "optima": [[size, tokens, float(f"{bottom:.3g}")] for size, tokens, bottom in optima],
        "best": best,
        "seed": FIRST_SEED,
    }


def resolve(rate: Rate, shape: Shape, law: Mapping | None) -> float:
    """Return the peak learning rate of one member, three digits."""
    if rate.kind == "fixed":
        return rate.factor
    if law is None:
        raise ValueError("this rate follows from block L, which is not finished")
    if rate.kind == "best":
        return law["best"][rate.size] * rate.factor
    shape = SIZES[rate.size] if rate.size else shape
    value = math.exp(law["intercept"] + law["exponent"] * math.log(shape.n_nonemb)) * rate.factor
    return float(f"{value:.3g}")

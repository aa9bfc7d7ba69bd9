"""One budget, several ways to spend it on small models: which predicts a large model best when runs differ by chance?

For Choshen et al. (2024, arXiv 2410.11840). Runs are simulated from a known law; a run's luck moves all its checkpoints
alike, and each checkpoint has noise of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalebook import laws
from scalebook.fitting import fit
from scalebook.suite.plan import LADDER, SIZES

TRUTH = {"E": 0.8, "A": 25.0, "B": 80.0, "alpha": 0.35, "beta": 0.37}
BORROWED = 0.36  # one exponent for both terms, as one would borrow it: close, and not quite right
TARGET = ("m7", 4_000_000)
TOKENS = 4_000_000
ANCHORS = 2  # runs of the smallest size that every plan has


@dataclass(frozen=True)
class Plan:
    """``count`` runs of one size to ``tokens`` tokens, beside the anchors."""

    name: str
    size: str
    count: int
    tokens: int


def _plan(size: str, proportional: bool) -> Plan:
    """Return as many runs as the budget of one m5 run pays for, FLOP = 6 N D."""
    ratio = SIZES["m5"].n_nonemb / SIZES[size].n_nonemb
    tokens = round(TOKENS / ratio) if proportional else TOKENS
    count = int(ratio**2 if proportional else ratio)
    return Plan(f"{count} x {size} to {tokens / 1e6:.2g}M", size, count, tokens)


SINGLE = Plan("1 x m5 to 4M", "m5", 1, TOKENS)
SEVERAL = tuple(_plan(size, proportional) for proportional in (False, True) for size in ("m4", "m3"))


def design(plan: Plan) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return N and D of every checkpoint of a plan, and the run (0, 1, ...) that each belongs to.

    A run has a checkpoint at every rung of the suite's ladder below its end, and one at its end.
    """
    rows = []
    runs = [("m0", TOKENS)] * ANCHORS + [(plan.size, plan.tokens)] * plan.count
    for run, (size, end) in enumerate(runs):
        rungs = [tokens for tokens in LADDER if tokens < end] + [end]
        rows += [(SIZES[size].n_nonemb, tokens, run) for tokens in rungs]
    n, d, run = np.array(rows, dtype=float).T
    return {"N": n, "D": d}, run.astype(int)


def errors(
    plan: Plan, run_deviation: float, checkpoint_deviation: float, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Return |forecast - truth| / truth for the target (draws,), each from one simulated data set.

    ``run_deviation`` and ``checkpoint_deviation`` are standard deviations of log loss.
    """
    x, run = design(plan)
    clean = laws.Chinchilla(x, TRUTH)
    luck = run_deviation * rng.standard_normal((draws, run.max() + 1))
    noise = luck[:, run] + checkpoint_deviation * rng.standard_normal((draws, run.size))
    law = laws.Chinchilla.fix(alpha=BORROWED, beta=BORROWED)
    found = fit(law, x, clean, delta=None).refit(y=clean * np.exp(noise))
    at = {"N": [SIZES[TARGET[0]].n_nonemb], "D": [TARGET[1]]}
    truth = float(laws.Chinchilla(at, TRUTH)[0])
    return np.abs(law(at, found)[:, 0] / truth - 1)


def compare(run_deviation: float, checkpoint_deviation: float, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return log error of the best several-run plan minus that of the single large run, one value a data set.

    The plan is picked by its mean on the first half of the data sets and scored on the second, and the other way round,
    so that picking the best of four does not help it.
    """
    single = np.log(errors(SINGLE, run_deviation, checkpoint_deviation, draws, rng))
    several = np.log([errors(plan, run_deviation, checkpoint_deviation, draws, rng) for plan in SEVERAL])
    half = draws // 2
    parts = (slice(0, half), slice(half, draws))
    scored = np.empty(draws)
    for picked, scored_on in (parts, parts[::-1]):
        best = several[:, picked].mean(axis=1).argmin()
        scored[scored_on] = several[best, scored_on]
    return scored - single

"""Every listed analysis of one set of runs, on the runs as they are and on resamples that all analyses share.

For Li et al. (2025, arXiv 2502.18969): how far do defensible analyses differ, beside what sampling alone does to each?
The list is fixed here, before any result; an optimiser that stops early is an error and not a choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from scalebook import laws
from scalebook.fitting import Fit, exponent, fit
from scalebook.topics.fit_stopping import GRID

Runs = Mapping[str, np.ndarray]  # columns N, C and loss of the runs, arrays of one length

HOFFMANN = {"E": 1.6934, "A": 406.4, "B": 410.7, "alpha": 0.33917, "beta": 0.28491}
OUTLIERS = ("keep all", "drop five")
LOSSES = {"Huber 1e-3": 1e-3, "Huber 1e-2": 1e-2, "squared": None}
KEPT = {
    "all": lambda runs: np.full(runs["loss"].size, True),
    "C > 3e19": lambda runs: runs["C"] > 3e19,
    "C < 1e21": lambda runs: runs["C"] < 1e21,
    "N > 2e8": lambda runs: runs["N"] > 2e8,
}
SEARCHES = ("grid of starts", "Hoffmann's start", "best of 5")
Analysis = tuple[str, str, str, str]  # outliers, loss, data kept, search


def analyses(kept: Sequence[str] = tuple(KEPT), searches: Sequence[str] = SEARCHES) -> list[Analysis]:
    """Return the list: outliers x loss x data kept x search, 72 in all."""
    return list(product(OUTLIERS, LOSSES, kept, searches))


def rows_of(runs: Runs, outliers: str, kept: str) -> np.ndarray:
    """Return which runs an analysis keeps, in order; the five outliers are the highest losses of all runs."""
    mask = KEPT[kept](runs)
    if outliers == "drop five":
        mask = mask & (runs["loss"] < np.sort(runs["loss"])[-5])
    return np.flatnonzero(mask)


def analyse(runs: Runs, analysis: Analysis, rng: np.random.Generator | None = None) -> Fit:
    """Return the fit of one analysis; ``rng`` draws the five starts of "best of 5" from the published grid."""
    outliers, loss, kept, search = analysis
    rows = rows_of(runs, outliers, kept)
    n = runs["N"][rows]
    x, y = {"N": n, "D": runs["C"][rows] / (6 * n)}, runs["loss"][rows]
    starts: object = None
    if search == "Hoffmann's start":
        starts = np.array([[HOFFMANN[name] for name in laws.Chinchilla.parameters]])
    elif search == "best of 5":
        rng = np.random.default_rng(0) if rng is None else rng
        starts = np.stack([rng.choice(GRID[name], size=5) for name in laws.Chinchilla.parameters], axis=1)
    return fit(laws.Chinchilla, x, y, delta=LOSSES[loss], starts=starts)


def analyse_all(runs: Runs, listed: Sequence[Analysis], rng: np.random.Generator) -> dict[Analysis, Fit]:
    """Return the fit of every analysis; ones with the same runs and loss, and no luck in the search, share it.

    Whether the five outliers are kept makes no difference where the range of runs leaves them out anyway.
    """
    done: dict[object, Fit] = {}
    found = {}
    for one in listed:
        outliers, loss, kept, search = one
        key = one if search == "best of 5" else (rows_of(runs, outliers, kept).tobytes(), loss, search)
        if key not in done:
            done[key] = analyse(runs, one, rng)
        found[one] = done[key]
    return found


def exponents(fits: Mapping[Analysis, Fit], runs: Runs, counts: np.ndarray | None = None) -> np.ndarray:
    """Return the exponent a of every analysis (J, R) on resamples given as counts (R, runs); (J,) without counts.

    Analyses that keep the same runs, use the same loss and ended at the same optimum are refitted once.
    """
    if counts is None:
        return np.array([float(exponent(found.params)) for found in fits.values()])
    done: dict[object, np.ndarray] = {}
    rows = []
    for (outliers, loss, kept, _), found in fits.items():
        at = rows_of(runs, outliers, kept)
        key = (at.tobytes(), loss, round(float(exponent(found.params)), 6))
        if key not in done:
            done[key] = exponent(found.refit(weights=counts[:, at]))
        rows.append(done[key])
    return np.array(rows)


def spread_ratio(at_data: np.ndarray, resampled: np.ndarray) -> float:
    """Return SD of a over the analyses (J,) / the median over analyses of its bootstrap standard error, (J, R)."""
    return float(at_data.std(ddof=1) / np.median(resampled.std(axis=1, ddof=1)))


def counts_of(n: int, draws: int, rng: np.random.Generator, base: np.ndarray | None = None) -> np.ndarray:
    """Return how often each of n runs is drawn in each resample (draws, n); ``base`` (n,) is what is drawn from."""
    share = np.full(n, 1 / n) if base is None else base / base.sum()
    return rng.multinomial(n, share, size=draws).astype(float)

"""Least error at each compute, the law through it, and where two cross (Nezhurina et al. 2025, arXiv 2506.04598)."""

from __future__ import annotations

import numpy as np

from scalebook import laws
from scalebook.fitting import Fit, fit


def frontier(compute: np.ndarray, error: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the least error of all points (n,) that cost at most each of ``at`` (k,); NaN where there is none."""
    order = np.argsort(compute, kind="stable")
    least = np.minimum.accumulate(error[order])
    place = np.searchsorted(compute[order], at, side="right") - 1
    return np.where(place >= 0, least[np.maximum(place, 0)], np.nan)


def law_of(at: np.ndarray, least: np.ndarray, unit: float = 1.0) -> Fit:
    """Return E + A C^-alpha fitted to a frontier, compute in multiples of ``unit``, E below the least error."""
    return fit(laws.PowerFloor.bound(E=(1e-6, float(least.min())), alpha=(0.01, 3.0)), at / unit, least, delta=None)


def split(at: np.ndarray, share: float = 0.75) -> np.ndarray:
    """Return which of the computes lie in the lower ``share`` of the range of log compute."""
    t = np.log(at)
    return t <= t.min() + share * (t.max() - t.min()) + 1e-9


def last_sign_change(at: np.ndarray, gap: np.ndarray) -> float:
    """Return the compute at which ``gap`` last falls through zero, between points on a log axis; NaN if nowhere."""
    falls = np.flatnonzero((gap[:-1] > 0) & (gap[1:] <= 0))
    if falls.size == 0:
        return float("nan")
    i = falls[-1]
    share = gap[i] / (gap[i] - gap[i + 1])
    return float(np.exp(np.log(at[i]) + share * (np.log(at[i + 1]) - np.log(at[i]))))


def forecast_gap(at: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float, float, float]:
    """Return what laws fitted to the lower three quarters say of two frontiers (k,), and what is measured.

    Gaps are second minus first: at the lowest decade, predicted at the top quarter, measured there (means over the
    points), and the crossing predicted over the crossing measured (NaN unless both cross).
    """
    low = split(at)
    unit = float(np.exp(np.log(at).mean()))
    fits = [law_of(at[low], each[low], unit) for each in (first, second)]
    fine = np.geomspace(at[0], 10 * at[-1], 400)
    predicted = [found.predict(at[~low] / unit) for found in fits]
    lines = [found.predict(fine / unit) for found in fits]
    decade = at <= 10 * at[0]
    crossing = last_sign_change(fine, lines[1] - lines[0]) / last_sign_change(at, second - first)
    return (
        float((second - first)[decade].mean()),
        float((predicted[1] - predicted[0]).mean()),
        float((second - first)[~low].mean()),
        crossing,
    )

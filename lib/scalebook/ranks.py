"""Statistics of ranks: correlations of many resamples at once, and how well a score tells two kinds apart."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation along the last axis, ties sharing their mean rank; 0 where one side is constant."""
    return _pearson(rankdata(x, axis=-1), rankdata(y, axis=-1))


def partial_spearman(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return the correlation of the ranks of x and y that a straight line in the ranks of ``given`` leaves over."""
    xy, xz, yz = spearman(x, y), spearman(x, given), spearman(y, given)
    left = np.sqrt(np.maximum((1 - xz**2) * (1 - yz**2), 0))
    return np.where(left > 1e-9, (xy - xz * yz) / np.maximum(left, 1e-9), 0.0)


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Return the probability that a positive one scores above another, ties half; score (N,), positive (N,) booleans."""
    ranks, hits = rankdata(score), int(positive.sum())
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * (len(positive) - hits)))


def _pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
    scale = np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    return np.where(scale > 0, (x * y).sum(axis=-1) / np.where(scale > 0, scale, 1.0), 0.0)

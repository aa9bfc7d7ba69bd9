"""Axes of meaning: directions between opposite words, what they share, and what steering along one does to another.

Setting: Kozlowski, Dai and Boutyline, "Semantic Structure in Large Language Model Embeddings" (2025,
arXiv:2508.10003). An axis runs from the mean vector of a few synonyms to that of their opposites. Shape code: W
words, V vocabulary, D width, A axes, R resamples.
"""

from __future__ import annotations

import numpy as np

from scalebook.estimate import Estimate


def axes_between(poles: np.ndarray, opposite: np.ndarray) -> np.ndarray:
    """Return unit axes (..., A, D) from the pole vectors ``opposite`` to ``poles``, both (..., A, D)."""
    difference = poles - opposite
    return difference / np.linalg.norm(difference, axis=-1, keepdims=True)


def top_share(projections: np.ndarray, count: int = 3) -> np.ndarray:
    """Return the share of variance in the first ``count`` principal components of standardised columns.

    ``projections`` is (..., W, A); returns (...). The eigenvalues are those of the correlation matrix of the A columns.
    """
    return np.linalg.eigvalsh(correlation(projections))[..., -count:].sum(axis=-1) / projections.shape[-1]


def correlation(projections: np.ndarray) -> np.ndarray:
    """Return the correlations (..., A, A) of the columns of projections (..., W, A) over words."""
    x = projections - projections.mean(axis=-2, keepdims=True)
    x = x / np.linalg.norm(x, axis=-2, keepdims=True)
    return np.swapaxes(x, -1, -2) @ x


def oriented_loadings(projections: np.ndarray, by: int = 0) -> np.ndarray:
    """Return the loadings (..., A) of the first principal component, its sign chosen so that column ``by`` loads
    above 0."""
    first = np.linalg.eigh(correlation(projections))[1][..., -1]
    return first * np.sign(first[..., by : by + 1])


def basic_interval(value: float, resampled: np.ndarray, level: float = 0.95, n: int = 0) -> Estimate:
    """Return the basic bootstrap interval: the distances of the resampled values (R,) from ``value``, turned round.

    Where resampling itself inflates a statistic, as it does the leading shares of a PCA, a percentile interval lies too
    high, and the basic one, 2 value - quantile, subtracts the inflation twice rather than adding it once (Davison and
    Hinkley 1997, section 5.2.1). ``n`` is the number of units that were resampled.
    """
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, 2 * value - high, 2 * value - low, n)


def neighbour_shifts(
    words: np.ndarray, vocabulary: np.ndarray, axes: np.ndarray, steps: np.ndarray, near: int = 10
) -> np.ndarray:
    """Return what steering does to the neighbourhood of words: the mean move of their nearest words, (A, D).

    ``words`` (W,) are row numbers of ``vocabulary`` (V, D), whose rows are centred and have length 1. Each word moves
    by ``steps[a]`` along ``axes[a]`` (A, D) and back to the unit sphere. What is returned is the mean, over words, of
    its ``near`` closest vocabulary words by cosine, itself left out, minus the same before the move; its projection
    on an axis b is what the neighbours gain on b. The step back needs no arithmetic: a length that all candidates
    share changes no order.
    """
    start = vocabulary[words] @ vocabulary.T  # (W, V), cosines before
    start[np.arange(len(words)), words] = -np.inf
    along = axes @ vocabulary.T  # (A, V)

    def counts(scores: np.ndarray) -> np.ndarray:
        closest = np.argpartition(-scores, near, axis=1)[:, :near]
        return np.bincount(closest.ravel(), minlength=len(vocabulary)) / closest.size

    moved = [counts(start + step * direction) for step, direction in zip(steps, along, strict=True)]
    return (np.array(moved) - counts(start)) @ vocabulary


def orthogonalised(axes: np.ndarray) -> np.ndarray:
    """Return for every pair the axis b without its part along a, length 1, (A, B, D); on the diagonal zeros."""
    cosine = axes @ axes.T
    rest = axes[None] - cosine[:, :, None] * axes[:, None]
    length = np.linalg.norm(rest, axis=-1, keepdims=True)
    return np.divide(rest, length, out=np.zeros_like(rest), where=length > 1e-6)


def pairs_fit(x: np.ndarray, y: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return correlation and slope of y on x over ordered pairs of different axes, for resampled axes.

    ``x``, ``y`` are (A, A); ``drawn`` (R, A) holds the axes of each resample. A drawn axis brings its row and its
    column; pairs of an axis with itself are left out. Returns two arrays (R,).
    """
    drawn = drawn.astype(int)
    x, y = x[drawn[:, :, None], drawn[:, None, :]], y[drawn[:, :, None], drawn[:, None, :]]
    weight = (drawn[:, :, None] != drawn[:, None, :]).astype(float)
    total = weight.sum(axis=(1, 2))

    def mean(values: np.ndarray) -> np.ndarray:
        return (weight * values).sum(axis=(1, 2)) / total

    mx, my = mean(x)[:, None, None], mean(y)[:, None, None]
    xx, yy, xy = mean((x - mx) ** 2), mean((y - my) ** 2), mean((x - mx) * (y - my))
    return xy / np.sqrt(xx * yy), xy / xx


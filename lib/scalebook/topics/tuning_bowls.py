"""Where the bottom of a bowl lies: best learning rates, batches and decays from grids, and laws through them.

An optimum at the end of a grid is none. Letters in shapes: R redrawn tables (the first is the table itself).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pandas as pd

from scalebook.estimate import Estimate

MILLION = 1_000_000


def vertex(x: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Return where a parabola through the lowest point and its two neighbours is lowest, along the last axis.

    ``x`` (n,), such as the logarithm of a rate, with any spacing; ``loss`` (..., n). NaN where the lowest point is an
    end of what was measured, or a neighbour blew up.
    """
    x, loss = np.asarray(x, dtype=float), np.asarray(loss, dtype=float)
    filled = np.where(np.isfinite(loss), loss, np.inf)
    at = filled.argmin(axis=-1)
    middle = np.clip(at, 1, loss.shape[-1] - 2)
    left, here, right = (np.take_along_axis(filled, (middle + k)[..., None], -1)[..., 0] for k in (-1, 0, 1))
    inside = (at == middle) & np.isfinite(left) & np.isfinite(right)
    left, here, right = (np.where(inside, part, 0.0) for part in (left, here, right))
    below, above = x[middle] - x[middle - 1], x[middle + 1] - x[middle]
    slope_left, slope_right = (here - left) / below, (right - here) / above
    bend = (slope_right - slope_left) / (below + above)
    safe = np.where(inside & (bend > 0), bend, 1.0)
    # the derivative in the middle is the mean of both slopes, each weighted with the other's distance
    tilt = (slope_left * above + slope_right * below) / (below + above)
    return np.where(inside & (bend > 0), x[middle] - tilt / (2 * safe), np.nan)


def curvature(x: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Return the second derivative of the same parabola, NaN where `vertex` is, for equally spaced ``x``."""
    step = float(x[1] - x[0])
    at = np.clip(np.where(np.isfinite(loss), loss, np.inf).argmin(axis=-1), 1, loss.shape[-1] - 2)
    left, here, right = (np.take_along_axis(loss, (at + k)[..., None], -1)[..., 0] for k in (-1, 0, 1))
    return np.where(np.isfinite(vertex(x, loss)), (left - 2 * here + right) / step**2, np.nan)


def common_slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the slope of y on x with an intercept for each group, (...,); x (G, n), y (..., G, n), NaN left out."""
    there = np.isfinite(y)
    x = np.broadcast_to(x, y.shape)
    count = np.maximum(there.sum(axis=-1, keepdims=True), 1)
    centred = np.where(there, x - np.where(there, x, 0.0).sum(axis=-1, keepdims=True) / count, 0.0)
    spread = (centred**2).sum(axis=(-2, -1))
    found = (centred * np.where(there, y, 0.0)).sum(axis=(-2, -1))
    return np.where(spread > 0, found / np.where(spread > 0, spread, 1.0), np.nan)


def permuted_slope(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return slopes of `common_slope` after dealing x out in wrong orders, the same in every group, (1 + R,).

    ``x`` (n,) belongs to the last axis of y (1 + R, G, n), a table and its redraws. The table gets the mean over all
    wrong orders, near zero whatever the data, each redraw a wrong order of its own: their scatter is what chance does.
    """
    orders = np.array([order for order in permutations(range(len(x))) if list(order) != sorted(order)])
    every = np.mean([common_slope(np.broadcast_to(x[order], y.shape[1:]), y[0]) for order in orders])
    dealt = x[orders[rng.integers(len(orders), size=len(y) - 1)]]  # R n
    return np.append(every, common_slope(np.broadcast_to(dealt[:, None], y[1:].shape), y[1:]))


def redrawn(
    log_loss: np.ndarray, deviation: np.ndarray, freedom: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the table and ``count`` tables as luck would have it, (1 + count, S, ..., D).

    ``log_loss`` (S, ..., D) has one run for each entry of all axes but the last, whose points share that run's luck: a
    trunk's cooled branches. ``deviation`` (S,) is the standard deviation between seeds with its degrees of ``freedom``
    (S,), itself drawn by chi-square. Runs that share text and start are treated as independent, which is too wide
    rather than too narrow.
    """
    runs = log_loss.shape[:-1]
    tall = (count, len(deviation)) + (1,) * (len(runs) - 1)
    scale = (deviation * np.sqrt(freedom / rng.chisquare(freedom, size=(count, len(deviation))))).reshape(tall)
    noise = scale * rng.standard_normal((count, *runs))
    return np.concatenate([log_loss[None], log_loss + noise[..., None]])


def from_draws(values: np.ndarray, units: int, reason: str) -> Estimate:
    """Return the first value with the middle 95 percent of the rest; ``reason`` where the first, or many, are NaN."""
    rest = values[1:]
    if not np.isfinite(values[0]) or np.isfinite(rest).mean() < 0.9:
        return Estimate.missing(reason)
    low, high = np.quantile(rest[np.isfinite(rest)], [0.025, 0.975])
    return Estimate(values[0], min(low, values[0]), max(high, values[0]), units)


def grid(rows: pd.DataFrame, axes: Sequence[str], value: str = "val") -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the logarithm of ``value`` as an array over the sorted values of each axis, NaN where there is no row.

    Losses that are not finite become NaN too. Also returned: the values along each axis.
    """
    values = [np.array(sorted(rows[axis].unique())) for axis in axes]
    found = np.full([len(one) for one in values], np.nan)
    places = tuple(np.searchsorted(one, rows[axis]) for axis, one in zip(axes, values, strict=True))
    loss = rows[value].to_numpy(dtype=float)
    found[places] = np.log(np.where(np.isfinite(loss), loss, np.nan))
    return found, values


def joint_optimum(rates: np.ndarray, batches: np.ndarray, log_loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log learning rate and log batch at the joint optimum, each (R,).

    ``rates`` (B, F) are the learning rates tried at each batch (B,), ``log_loss`` (R, B, F). At every batch the best
    rate is a parabola's; the batch is the one with the lowest of the losses there. NaN where that batch is the smallest
    or the largest, or its best rate an end of the rates tried.
    """
    filled = np.where(np.isfinite(log_loss), log_loss, np.inf)
    at = filled.min(axis=-1).argmin(axis=-1)
    every = np.stack([vertex(np.log(rates[b]), log_loss[:, b]) for b in range(len(batches))], axis=1)  # R B
    rate = np.take_along_axis(every, at[:, None], 1)[:, 0]
    inside = (at > 0) & (at < len(batches) - 1) & np.isfinite(rate)
    return np.where(inside, rate, np.nan), np.where(inside, np.log(batches)[at], np.nan)


def best_batch(batches: np.ndarray, log_loss: np.ndarray) -> np.ndarray:
    """Return the logarithm of the best batch: a parabola in log batch through the best of the rates; (..., B, F) ->
    (...)."""
    lowest = np.where(np.isfinite(log_loss), log_loss, np.inf).min(axis=-1)
    return vertex(np.log(batches), np.where(np.isfinite(lowest), lowest, np.nan))

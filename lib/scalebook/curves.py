"""What shape a curve of some score against scale has: positive, inverse, U or inverted U, and how sure that is.

Scores are kept as (S, W): one row a unit (a training seed), one column a scale (a width), scales rising from left to
right. The start is the mean over the two smallest scales and the end over the two largest, single ones where there
are fewer than six. The lowest point of a noisy curve lies too low by chance; so for each unit the trough is looked up
where the mean of the *other* units is lowest, and its value is the unit's own. That leaves the minimum without a bias
downward from noise. Where no place is clearly the lowest, the units' values still hang together by their common
choice: their mean is unbiased, but an interval over them is too narrow (at 8 units it covers a flat truth about 80
times in 100; with a clear trough, 95).

A fall has something to its left and a recovery something to its right: where the lowest point is the smallest scale
there is no dip, and where it is the largest there is no recovery. (Start and end are means of two, so a steep line
would show half a step of each.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scalebook.errors import MeasurementError
from scalebook.estimate import Estimate, mean

Kind = Literal["positive", "inverse", "U", "inverted U", "undecided"]
LEAST = 0.05  # a dip or a rise below this is none, in units of the score
MANY = 6  # from this many scales on, start and end are means of two


@dataclass(frozen=True)
class Shape:
    """What a curve does, one value a unit, (S,), in units of the score.

    ``start`` and ``end`` as above; ``trough`` the cross-fitted lowest value and ``where`` the column it was looked up
    in; ``dip`` = start - trough; ``recovery`` = end - trough; 0 where the trough lies at an end of the curve, see
    above.
    """

    start: np.ndarray
    trough: np.ndarray
    end: np.ndarray
    where: np.ndarray
    dip: np.ndarray
    recovery: np.ndarray


def ends(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end of curves (..., W), each (...)."""
    curves = np.asarray(curves, dtype=float)
    if curves.shape[-1] < 2:
        raise MeasurementError(f"curves: {curves.shape[-1]} scales given; a shape needs at least two.")
    count = 2 if curves.shape[-1] >= MANY else 1
    return curves[..., :count].mean(axis=-1), curves[..., -count:].mean(axis=-1)


def cross_fitted(curves: np.ndarray) -> Shape:
    """Return start, trough and end of every unit of curves (S, W), the trough placed by the other units.

    Raises MeasurementError for fewer than two units, or for values that are not finite.
    """
    curves = _checked(curves)
    others = curves.sum(axis=0) - curves  # (S, W), proportional to the mean of all other units
    where = others.argmin(axis=1)
    start, end = ends(curves)
    trough = np.take_along_axis(curves, where[:, None], axis=1)[:, 0]
    return Shape(start, trough, end, where, *_moves(start, trough, end, where, curves.shape[1]))


def point_class(curve: np.ndarray) -> np.ndarray:
    """Return the class of curves without uncertainty: curve (..., W) -> strings (...).

    Inverse: dip > 0.05 and recovery < dip/2. U: dip > 0.05 and recovery > dip, that is end > start. Positive: end -
    start > 0.05 and dip <= 0.05. Inverted U: both the rise to the peak and the fall after it > 0.05. Otherwise
    undecided.
    """
    curve = np.asarray(curve, dtype=float)
    start, end = ends(curve)
    dip, recovery = _moves(start, curve.min(axis=-1), end, curve.argmin(axis=-1), curve.shape[-1])
    rise, fall = _moves(-start, -curve.max(axis=-1), -end, curve.argmax(axis=-1), curve.shape[-1])
    deep = dip > LEAST
    rules = {
        "inverse": deep & (recovery < dip / 2),
        "U": deep & (end > start),
        "positive": ~deep & (end - start > LEAST),
        "inverted U": (rise > LEAST) & (fall > LEAST),
    }
    return np.select(list(rules.values()), list(rules), "undecided")


def classify(curves: np.ndarray) -> tuple[Kind, dict[str, Estimate]]:
    """Return the class of curves (S, W) by intervals over units, and the estimates that decide it.

    The bounds are those of `point_class`, but a whole 95 % interval must keep them: "inverse" and "U" need the
    interval of the dip above 0.05, and that of recovery - dip/2 below 0 or of recovery - dip above 0; "positive"
    needs end - start above 0.05 and a dip not shown to exceed it. Estimates: dip, recovery, trough, change (end -
    start), rise and fall.
    """
    curves = _checked(curves)
    found, flipped = cross_fitted(curves), cross_fitted(-curves)
    values = {
        "dip": found.dip, "recovery": found.recovery, "trough": found.trough, "change": found.end - found.start,
        "rise": flipped.dip, "fall": flipped.recovery, "to half": found.recovery - found.dip / 2,
    }  # fmt: skip
    told = {name: mean(value) for name, value in values.items()}
    half = told.pop("to half")
    deep = _above(told["dip"], LEAST)
    if deep and half.high is not None and half.high < 0:
        return "inverse", told
    if deep and _above(told["change"], 0.0):  # recovery - dip is end - start
        return "U", told
    if not deep and _above(told["change"], LEAST):
        return "positive", told
    return ("inverted U" if _above(told["rise"], LEAST) and _above(told["fall"], LEAST) else "undecided"), told


def trough_scales(scales: np.ndarray, curves: np.ndarray) -> list[np.ndarray]:
    """Return log2 of the scale at which each unit is lowest, (S,), once for every outcome that the dip leaves open.

    A dip whose interval lies above 0.05: one outcome, each unit's own minimum (the middle of all where several tie). A
    dip whose interval lies below: one outcome, no trough, and every unit gets the smallest scale. An interval that
    holds 0.05 decides nothing: both outcomes, the trough first.
    """
    logs, curves = np.log2(np.asarray(scales, dtype=float)), _checked(curves)
    dip = mean(cross_fitted(curves).dip)
    lowest = curves == curves.min(axis=1, keepdims=True)
    there = (lowest * logs).sum(axis=1) / lowest.sum(axis=1)
    if _above(dip, LEAST):
        return [there]
    none = np.full(len(curves), logs[0])
    return [none] if dip.high is not None and dip.high <= LEAST else [there, none]


def spanning(outcomes: Sequence[Estimate]) -> Estimate:
    """Return one estimate that holds all outcomes: the value of the first, an interval from the lowest end to the highest."""
    ends = [(o.low, o.high) for o in outcomes if o.low is not None and o.high is not None]
    first = outcomes[0]
    if first.value is None or len(ends) < len(outcomes):
        return first
    return Estimate(first.value, min(low for low, _ in ends), max(high for _, high in ends), first.n)


def last_crossing(scales: np.ndarray, curves: np.ndarray, level: float = 0.5) -> np.ndarray:
    """Return log2 of the scale at which each curve of (..., W) last rises through a level, (...).

    Straight lines between the points, on log2 of the scale. A curve that ends below the level crosses at twice the
    largest scale, by definition; one that never lies below it crosses at the smallest.
    """
    logs, curves = np.log2(np.asarray(scales, dtype=float)), np.asarray(curves, dtype=float)
    flat = curves.reshape(-1, curves.shape[-1])
    found = np.empty(len(flat))
    for k, curve in enumerate(flat):
        below = np.flatnonzero(curve < level)
        if below.size == 0:
            found[k] = logs[0]
        elif below[-1] == curve.size - 1:
            found[k] = logs[-1] + 1.0
        else:
            i = below[-1]
            found[k] = logs[i] + (logs[i + 1] - logs[i]) * (level - curve[i]) / (curve[i + 1] - curve[i])
    return found.reshape(curves.shape[:-1])


def _moves(
    start: np.ndarray, trough: np.ndarray, end: np.ndarray, where: np.ndarray, scales: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return dip and recovery, 0 where the trough is the first or the last of the scales."""
    return np.where(where == 0, 0.0, start - trough), np.where(where == scales - 1, 0.0, end - trough)


def _above(estimate: Estimate, bound: float) -> bool:
    return estimate.low is not None and estimate.low > bound


def _checked(curves: np.ndarray) -> np.ndarray:
    curves = np.asarray(curves, dtype=float)
    if curves.ndim != 2 or len(curves) < 2 or not np.isfinite(curves).all():
        raise MeasurementError(
            f"curves: an array of shape {curves.shape} was given; give finite values (units, scales), two units or more."
        )
    return curves

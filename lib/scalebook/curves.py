"""What shape a curve of some score against scale has: positive, inverse, U or inverted U, and how sure that is.

Scores are kept as (S, W): one row a unit (a training seed), one column a scale (a width), scales rising from left to
right. The start is the mean over the two smallest scales and the end over the two largest, single ones where there
are fewer than six. The dip is the largest fall below the start at any scale but the first, the recovery the largest
rise to the end from any scale but the last; 0 where there is none. (Start and end are means of two, so the first or
last step of a steep line would otherwise show half of itself.)

The lowest of several noisy means lies too low by chance, and nobody knows beforehand which scale is the lowest. So
the value is cross-fitted: each unit is read where the mean of the *other* units is lowest. The interval allows for
the choice. Below, the lowest mean is no lower than the lowest of the lower limits, whichever scale it is. Above, it is
no higher than the lowest of the upper limits, each taken so wide that all hold together (Bonferroni). An interval over
the cross-fitted values would be too short: they share one choice of place, and around a flat or a ragged bottom it
missed the truth in one case of five.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import stats

from scalebook.errors import MeasurementError
from scalebook.estimate import FEW_FOR_INTERVAL, Estimate, mean

Kind = Literal["positive", "inverse", "U", "inverted U", "undecided"]
LEAST = 0.05  # a dip or a rise below this is none, in units of the score
MANY = 6  # from this many scales on, start and end are means of two


def ends(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end of curves (..., W), each (...)."""
    curves = np.asarray(curves, dtype=float)
    if curves.shape[-1] < 2:
        raise MeasurementError(f"curves: {curves.shape[-1]} scales given; a shape needs at least two.")
    count = 2 if curves.shape[-1] >= MANY else 1
    return curves[..., :count].mean(axis=-1), curves[..., -count:].mean(axis=-1)


def falls(curves: np.ndarray) -> np.ndarray:
    """Return how far each scale lies below the start, of curves (..., W) -> (..., W); 0 at the first."""
    curves = np.asarray(curves, dtype=float)
    below = ends(curves)[0][..., None] - curves
    below[..., 0] = 0.0
    return below


def rises(curves: np.ndarray) -> np.ndarray:
    """Return how far each scale lies below the end, of curves (..., W) -> (..., W); 0 at the last."""
    curves = np.asarray(curves, dtype=float)
    below = ends(curves)[1][..., None] - curves
    below[..., -1] = 0.0
    return below


def trough(curves: np.ndarray) -> Estimate:
    """Estimate the lowest mean score of curves (S, W) over the scales, the choice of the scale allowed for."""
    found = largest(-_checked(curves))
    return Estimate(-found.value, *((None, None) if found.low is None else (-found.high, -found.low)), found.n)


def dip(curves: np.ndarray, reference: np.ndarray | None = None, share: float = 1.0) -> Estimate:
    """Estimate the dip of curves (S, W), or by how much it exceeds a share of the reference's dip (S, V), paired."""
    return largest(falls(_checked(curves)), None if reference is None else share * falls(_checked(reference)))


def recovery(curves: np.ndarray) -> Estimate:
    """Estimate the recovery of curves (S, W)."""
    return largest(rises(_checked(curves)))


def largest(values: np.ndarray, less: np.ndarray | None = None) -> Estimate:
    """Estimate max over w of E[values_w], minus max over v of E[less_v] where given: (S, W) and (S, V), paired units.

    With d[w, v] = E[values_w - less_v] this is both the max over w of the min over v of d, and the min over v of the
    max over w. The first form gives the lower limit: Student limits at level 0.025/W, their least over v, and the
    largest of these over w. It holds, since the least over v cannot lie above the limit at the right v, and Bonferroni
    covers the choice of w. The second form gives the upper limit in the same way. 95 % and conservative, as far as
    Student's t suits the units: six of them in two camps, some near 0 and some near 1, it covers about 85 times in
    100, sixteen 95. The value is cross-fitted (each unit read where the others are largest) and moved
    into the interval where it lies outside. Fewer than 3 units give no interval.
    """
    values = _checked(values)
    minus = np.zeros((len(values), 1)) if less is None else _checked(less)
    if len(minus) != len(values):
        raise MeasurementError(f"curves: {len(values)} units and {len(minus)} to be taken from them; give pairs.")
    units, middle = len(values), float((_at_others_largest(values) - _at_others_largest(minus)).mean())
    if units < FEW_FOR_INTERVAL:
        return Estimate(middle, None, None, units)
    each = values[:, :, None] - minus[:, None, :]  # (S, W, V)
    centre, error = each.mean(axis=0), each.std(axis=0, ddof=1) / np.sqrt(units)
    width = [stats.t.ppf(1 - 0.025 / count, units - 1) for count in centre.shape]
    low = (centre - width[0] * error).min(axis=1).max()
    high = (centre + width[1] * error).max(axis=0).min()
    return Estimate(float(np.clip(middle, low, high)), low, high, units)


def at_trough(curves: np.ndarray, other: np.ndarray) -> Estimate:
    """Estimate the mean of another score (S, W) at the scale where curves (S, W) are lowest.

    Every scale counts that is not shown to lie above the lowest (Student's t on paired differences, Bonferroni over
    scales); the interval holds the intervals of all of them. The value is cross-fitted.
    """
    curves, other = _checked(curves), _checked(other)
    units, scales = curves.shape
    where = (curves.sum(axis=0) - curves).argmin(axis=1)
    middle = float(np.take_along_axis(other, where[:, None], axis=1).mean())
    if units < FEW_FOR_INTERVAL:
        return Estimate(middle, None, None, units)
    above = curves - curves[:, [curves.mean(axis=0).argmin()]]
    error = above.std(axis=0, ddof=1) / np.sqrt(units)
    possible = above.mean(axis=0) <= stats.t.ppf(1 - 0.025 / scales, units - 1) * error
    told = [mean(column) for column in other.T[possible]]
    low, high = min(one.low for one in told), max(one.high for one in told)
    return Estimate(float(np.clip(middle, low, high)), low, high, units)


def point_class(curve: np.ndarray) -> np.ndarray:
    """Return the class of curves without uncertainty: curve (..., W) -> strings (...).

    Inverse: dip > 0.05 and recovery < dip/2. U: dip > 0.05 and recovery > dip, that is end > start. Positive: end -
    start > 0.05 and dip <= 0.05. Inverted U: both the rise to the peak and the fall after it > 0.05. Otherwise
    undecided.
    """
    curve = np.asarray(curve, dtype=float)
    start, end = ends(curve)
    depth, back = falls(curve).max(axis=-1), rises(curve).max(axis=-1)
    rise, fall = falls(-curve).max(axis=-1), rises(-curve).max(axis=-1)
    deep = depth > LEAST
    rules = {
        "inverse": deep & (back < depth / 2),
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
    start, end = ends(curves)
    told = {"dip": dip(curves), "recovery": recovery(curves), "trough": trough(curves), "change": mean(end - start)}
    told |= {"rise": dip(-curves), "fall": recovery(-curves)}
    half = largest(rises(curves), falls(curves) / 2)
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
    depth = dip(curves)
    lowest = curves == curves.min(axis=1, keepdims=True)
    there = (lowest * logs).sum(axis=1) / lowest.sum(axis=1)
    if _above(depth, LEAST):
        return [there]
    none = np.full(len(curves), logs[0])
    return [none] if depth.high is not None and depth.high <= LEAST else [there, none]


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


def _at_others_largest(values: np.ndarray) -> np.ndarray:
    """Return each unit's value where the mean of the other units is largest, (S, W) -> (S,)."""
    where = (values.sum(axis=0) - values).argmax(axis=1)
    return np.take_along_axis(values, where[:, None], axis=1)[:, 0]


def _above(estimate: Estimate, bound: float) -> bool:
    return estimate.low is not None and estimate.low > bound


def _checked(curves: np.ndarray) -> np.ndarray:
    curves = np.asarray(curves, dtype=float)
    if curves.ndim != 2 or len(curves) < 2 or not np.isfinite(curves).all():
        raise MeasurementError(
            f"curves: an array of shape {curves.shape} was given; give finite values (units, scales), two units or more."
        )
    return curves

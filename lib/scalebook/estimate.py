"""Values with an interval over the right units: the only form in which a measurement leaves a chapter.

Which units to resample is the chapter's decision: the highest one that the claim generalises over (training seed, data
set, draw of embeddings), never batches or rows inside one run when the claim is about runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from scalebook.errors import MeasurementError

FEW_FOR_INTERVAL = 3  # below this many units there is no interval
FEW_FOR_BOOTSTRAP = 8  # below this many units resampling is too coarse: Student t instead


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval over ``n`` units.

    ``low`` and ``high`` are None when there are too few units for an interval; ``value`` is None when there is no
    value at all (no fit, data not here), and ``reason`` then says why. An exact value has low = value = high.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            given = getattr(self, name)
            if given is None:
                continue
            number = float(given)
            if not math.isfinite(number):
                raise MeasurementError(
                    f"Estimate: {name} is {number}. Only finite numbers are judged; where there is no value "
                    "write Estimate.missing('the reason')."
                )
            object.__setattr__(self, name, number)
        if (self.low is None) != (self.high is None):
            raise MeasurementError("Estimate: give both ends of the interval or neither.")
        if self.value is None and not self.reason:
            raise MeasurementError("Estimate: a missing value needs its reason; write Estimate.missing('the reason').")
        if self.low is not None and self.low > self.high:
            raise MeasurementError(f"Estimate: the interval runs from {self.low} to {self.high}, which is the wrong way round.")

    @classmethod
    def exact(cls, value: float) -> Estimate:
        """Return an estimate without uncertainty (a closed form, a count, a deterministic analysis)."""
        return cls(value, value, value, 1)

    @classmethod
    def missing(cls, reason: str) -> Estimate:
        """Return the mark of a measurement that could not be had; it is judged inconclusive with this reason."""
        return cls(None, None, None, 0, reason)

    @property
    def is_exact(self) -> bool:
        """Tell whether the value carries no uncertainty."""
        return self.value is not None and self.low == self.value == self.high

    def text(self, form: str = "{:.2f}") -> str:
        """Return the value in this format, or "none" where there is no value."""
        return "none" if self.value is None else form.format(self.value)

    def __str__(self) -> str:
        if self.value is None:
            return f"no value ({self.reason})"
        if self.low is None:
            return f"{self.value:.4g} (no interval from {self.n} units)"
        return f"{self.value:.4g}" if self.is_exact else f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def mean(
    values: np.ndarray,
    level: float = 0.95,
    *,
    positive: bool = False,
    missing: str | None = None,
    rng: np.random.Generator | None = None,
) -> Estimate:
    """Estimate the mean of one value per unit, with its interval over units.

    ``values`` is one-dimensional. Fewer than 3 units: no interval. Fewer than 8: Student t. From 8: percentile
    bootstrap with the small-sample correction of the levels described at `bootstrap`. With ``positive`` the values are
    ratios above zero and everything is done on logarithms: the value is the geometric mean.
    Raises MeasurementError on an empty, non-finite or (with ``positive``) non-positive input. With ``missing``, a
    reason, units that are empty or not all finite give an estimate without a value instead.
    """
    if missing is not None and not (np.size(values) and np.isfinite(np.asarray(values, dtype=float)).all()):
        return Estimate.missing(missing)
    units = _checked(values, positive)
    n = units.size
    if n < FEW_FOR_INTERVAL:
        return _finish(float(units.mean()), None, None, n, positive)
    if n < FEW_FOR_BOOTSTRAP:
        half = stats.t.ppf(0.5 + level / 2, n - 1) * units.std(ddof=1) / math.sqrt(n)
        return _finish(float(units.mean()), units.mean() - half, units.mean() + half, n, positive)
    found = bootstrap(lambda draws: draws.mean(axis=-1), units, level=level, rng=rng)
    return _finish(found.value, found.low, found.high, n, positive)


def bootstrap(
    statistic: Callable[..., np.ndarray],
    *units: np.ndarray,
    level: float = 0.95,
    draws: int = 4000,
    rng: np.random.Generator | None = None,
) -> Estimate:
    """Estimate any statistic of the units, resampling whole units with replacement, all draws at once.

    ``units`` are arrays whose first axis is the unit; all are resampled with the same indices (paired). ``statistic``
    receives each with a leading axis of draws, shape (draws, n, ...), and returns shape (draws,). Percentile interval
    whose levels are widened for small n so that it matches Student's t where that is exact (Hesterberg 2015, The
    American Statistician 69:371, "expanded percentile"): the plain percentile interval is too short by about
    sqrt((n-1)/n) and by the normal quantile. Fewer than 3 units give a value without interval. Deterministic unless a
    generator is handed in.
    """
    arrays = [np.asarray(array, dtype=float) for array in units]
    n = len(arrays[0])
    if any(len(array) != n for array in arrays):
        raise MeasurementError(f"bootstrap: arrays of {[len(a) for a in arrays]} units; all need the same number.")
    if n == 0:
        raise MeasurementError("bootstrap: no units given; at least one is needed.")
    value = float(np.asarray(statistic(*[array[None] for array in arrays]))[0])
    if n < FEW_FOR_INTERVAL:
        return Estimate(value, None, None, n)
    generator = np.random.default_rng(0) if rng is None else rng
    index = generator.integers(n, size=(draws, n))
    spread = np.asarray(statistic(*[array[index] for array in arrays]), dtype=float)
    tail = stats.norm.cdf(math.sqrt(n / (n - 1)) * stats.t.ppf((1 - level) / 2, n - 1))
    low, high = np.quantile(spread, [tail, 1 - tail])
    return Estimate(value, min(low, value), max(high, value), n)


def slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the least-squares slope of y on x along the last axis, vectorised over the leading axes."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    centred = x - x.mean(axis=-1, keepdims=True)
    return (centred * y).sum(axis=-1) / (centred**2).sum(axis=-1)


def _checked(values: np.ndarray, positive: bool) -> np.ndarray:
    units = np.asarray(values, dtype=float)
    if units.ndim != 1 or units.size == 0:
        raise MeasurementError(f"mean: values of shape {units.shape}; give a one-dimensional array, one value per unit.")
    if not np.isfinite(units).all():
        raise MeasurementError(f"mean: {np.sum(~np.isfinite(units))} of {units.size} values are not finite numbers.")
    if positive and (units <= 0).any():
        raise MeasurementError("mean: positive=True takes values above zero only.")
    return np.log(units) if positive else units


def _finish(value: float, low: float | None, high: float | None, n: int, positive: bool) -> Estimate:
    back = np.exp if positive else float
    ends = (None, None) if low is None else (float(back(low)), float(back(high)))
    return Estimate(float(back(value)), *ends, n)

"""The annealing law L0 + A S1^-alpha - C S2: fitted to a few loss curves, and asked about schedules it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scalebook import laws
from scalebook.errors import ScalebookError, UserError
from scalebook.fitting import Fit, fit
from scalebook.topics.schedule_shapes import WARMUP, areas

MOMENTA = (0.97, 0.98, 0.99, 0.995, 0.999)  # the paper's 0.999 is meant for tens of thousands of steps
STARTS = (0.1, 0.5)  # for the exponent: the law has one valley, and two starts find it
LEAST_FLOOR = 0.5  # a floor L0 below this share of the final loss says that the fit is degenerate


@dataclass(frozen=True)
class Curve:
    """A loss curve: learning rate of every step (steps,), and losses (K,) after so many steps (K,), from 1."""

    rates: np.ndarray
    at: np.ndarray
    loss: np.ndarray


@dataclass(frozen=True)
class Forecast:
    """A fitted law with the momentum of S2; ``warmup`` is left out of S2."""

    momentum: float
    fitted: Fit
    warmup: int

    def predict(self, rates: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """Return the predicted loss of any schedule after the steps ``at`` (every step unless given).

        Where the law falls to zero or below, as it does when the rates are scaled up far enough, the loss is NaN.
        """
        s1, s2 = areas(rates, self.momentum, self.warmup)
        chosen = np.arange(1, len(s1) + 1) if at is None else np.asarray(at)
        return self.fitted.predict({"S1": s1[chosen - 1], "S2": s2[chosen - 1]})

    @property
    def degenerate(self) -> bool:
        """Whether the floor L0 has collapsed, so that the power law in S1 does the work of everything."""
        return self.fitted.params["L0"] < LEAST_FLOOR * float(self.fitted.y.min())


def fit_curves(
    curves: Sequence[Curve], momentum: float, skip: int, *, annealing: bool = True, warmup: int = WARMUP
) -> Forecast:
    """Fit the law to all points of the curves after ``skip`` steps; without ``annealing`` C is 0 and S1 alone is
    left."""
    s1, s2, loss = [], [], []
    for curve in curves:
        one, two = areas(curve.rates, momentum, warmup)
        used = curve.at > skip
        s1.append(one[curve.at[used] - 1])
        s2.append(two[curve.at[used] - 1])
        loss.append(curve.loss[used])
    law = laws.Annealing if annealing else laws.Annealing.fix(C=0.0)
    x = {"S1": np.concatenate(s1), "S2": np.concatenate(s2)}
    return Forecast(momentum, fit(law, x, np.concatenate(loss), starts={"alpha": STARTS}), warmup)


def choose(
    curves: Sequence[Curve], skip: int, momenta: Sequence[float] = MOMENTA, *, last: float = 0.2, warmup: int = WARMUP
) -> Forecast:
    """Fit the law with the momentum that best predicts the end of the last curve from the rest.

    For each momentum the ``last`` share of the last curve's steps is left out, the law refitted, and the mean relative
    error of its prediction there taken. Only the curves that are fitted are looked at, never one that is to be
    predicted. Degenerate fits are taken only where all are.
    """
    *others, judge = curves
    ends = len(judge.rates) * (1 - last)
    seen, hidden = judge.at <= ends, judge.at > ends
    if not hidden.any() or seen.sum() < 3:
        raise UserError("choose: the last curve needs three points before its last part and one in it; give more.")
    short = Curve(judge.rates, judge.at[seen], judge.loss[seen])
    found = []
    for momentum in momenta:
        trial = fit_curves([*others, short], momentum, skip, warmup=warmup)
        whole = fit_curves(curves, momentum, skip, warmup=warmup)
        miss = np.abs(trial.predict(judge.rates, judge.at[hidden]) / judge.loss[hidden] - 1)
        found.append((whole.degenerate, float(np.nan_to_num(miss, nan=np.inf).mean()), momentum, whole))
    return min(found, key=lambda one: one[:3])[-1]


def by_step(curves: Sequence[Curve], skip: int) -> Fit:
    """Fit a power law with floor in the step alone to all curves: what one knows who ignores the schedule."""
    at = np.concatenate([curve.at[curve.at > skip] for curve in curves])
    loss = np.concatenate([curve.loss[curve.at > skip] for curve in curves])
    return fit(laws.PowerFloor, at.astype(float), loss)


def mean_curve(curves: Sequence[Curve], at: np.ndarray) -> np.ndarray:
    """Return the mean loss of curves measured at the same steps, at the steps ``at`` (K,)."""
    steps = curves[0].at
    if any(not np.array_equal(curve.at, steps) for curve in curves):
        raise ScalebookError("mean_curve: the curves were measured at different steps; measure them at the same.")
    return np.interp(at, steps, np.mean([curve.loss for curve in curves], axis=0))


def logged(rows: pd.DataFrame) -> Curve:
    """Return the curve of a published run from its logged ``step``, ``lr`` and ``loss``.

    Rates between logged steps are interpolated. The first one is reached by a linear warm-up, whose length is that of
    the part that was not logged.
    """
    rows = rows.sort_values("step")
    at, lr = rows["step"].to_numpy(), rows["lr"].to_numpy(dtype=float)
    steps = np.arange(1, at[-1] + 1)
    rates = np.interp(steps, np.concatenate([[0], at]), np.concatenate([[0.0], lr]))
    return Curve(rates, at, rows["loss"].to_numpy(dtype=float))

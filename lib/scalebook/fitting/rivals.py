"""Compare laws by what matters: how well each predicts scales that it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from scalebook.errors import UserError
from scalebook.fitting.fit import fit
from scalebook.laws import Law
from scalebook.laws.law import as_floats

NO_CHANGE = "no change"  # the naive forecast: the lowest value at the largest scale that was fitted


def rivals(
    laws: Sequence[Law],
    x,
    y,
    *,
    holdout: float | Sequence[bool] = 0.25,
    by: str | None = None,
    delta: float | None = 1e-3,
    bootstrap: int = 0,
    units: Sequence | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit each law on the smaller scales, predict the largest, and return one row a law, the best forecast first.

    ``x`` is a dict of arrays (n,) or a data frame that holds the inputs of every law (`Law.on` renames them), or one
    array for laws of one input. ``holdout`` is the share of the distinct values of column ``by`` (the first input of
    the first law if left out), the largest ones, to hide; or a mask (n,), true where a row is hidden.

    Columns: law, free (number of parameters), loss (of the fit), error (root mean square of log forecast - log y over
    the hidden rows; infinite if a law forecasts less than nothing), bias (their mean) and warnings; with ``bootstrap``
    also low and high (95 percent interval of error over rows or ``units``, the same resamples for every law) and ahead
    (share of resamples in which the law beats all others). The naive forecast of no change is always among them.
    Raises UserError on data or arguments that cannot be used.
    """
    names = [law.name for law in laws]
    if not names or len(set(names)) < len(names):
        raise UserError(f"rivals: got laws {names}; give at least one, and tell them apart with Law.named.")
    first = next(iter(laws[0].inputs))
    by = by or first
    if not isinstance(x, Mapping | pd.DataFrame):
        x = {first: x}
    wanted = {by, *(name for law in laws for name in law.inputs)}
    columns = {name: as_floats(x[name], f"rivals: {name}") for name in x if name in wanted}
    y = as_floats(y, "rivals: y")
    hidden = _hidden(columns, holdout, by)
    if y.shape != hidden.shape:
        raise UserError(
            f"rivals: y has shape {y.shape} and x {hidden.size} rows; give one value of y for each row of x."
        )
    seen = None if units is None else np.asarray(units)[~hidden]
    rows, errors = [], []
    for law in laws:
        inputs = {name: columns[name] for name in law.inputs if name in columns}
        found = fit(law, {k: v[~hidden] for k, v in inputs.items()}, y[~hidden],
                    delta=delta, bootstrap=bootstrap, units=seen, seed=seed)  # fmt: skip
        ahead = {k: v[hidden] for k, v in inputs.items()}
        misses = np.log(found.predict(ahead)) - np.log(y[hidden])
        rows.append((law.name, len(law.free), found.loss, *_summary(misses), found.warnings))
        if bootstrap:
            again = np.log(law(ahead, found.resamples)) - np.log(y[hidden])
            errors.append(_root_mean_square(again))
    scale = columns[by]
    last = y[~hidden][scale[~hidden] == scale[~hidden].max()].min()
    rows.append((NO_CHANGE, 0, np.nan, *_summary(np.log(last) - np.log(y[hidden])), ()))
    table = pd.DataFrame(rows, columns=["law", "free", "loss", "error", "bias", "warnings"])
    if bootstrap:
        errors.append(np.full(bootstrap, table["error"].iloc[-1]))
        table["low"], table["high"] = np.quantile(errors, [0.025, 0.975], axis=1, method="nearest")
        table["ahead"] = np.bincount(np.argmin(errors, axis=0), minlength=len(table)) / bootstrap
    return table.sort_values("error", ignore_index=True)


def _root_mean_square(misses: np.ndarray) -> np.ndarray:
    """Return it along the last axis; infinite where a law forecast nothing above zero and so nothing at all."""
    return np.nan_to_num(np.sqrt((misses**2).mean(axis=-1)), nan=np.inf)


def _summary(misses: np.ndarray) -> tuple[float, float]:
    return float(_root_mean_square(misses)), float(misses.mean())


def _hidden(columns: dict[str, np.ndarray], holdout: float | Sequence[bool], by: str) -> np.ndarray:
    if by not in columns:
        raise UserError(f"rivals: by is {by!r}, which x lacks; the inputs found are {list(columns)}.")
    scale = columns[by]
    if np.ndim(holdout) == 0:
        if not 0 < float(holdout) < 1:
            raise UserError(f"rivals: holdout is {holdout}; give a share between 0 and 1 of the scales, or a mask.")
        steps = np.unique(scale)
        hidden = scale >= steps[-max(1, round(float(holdout) * steps.size))]
    else:
        hidden = np.asarray(holdout, dtype=bool)
    if hidden.shape != scale.shape or hidden.all() or not hidden.any():
        raise UserError(f"rivals: holdout hides {hidden.sum()} of {scale.size} rows; some must be hidden and some not.")
    return hidden

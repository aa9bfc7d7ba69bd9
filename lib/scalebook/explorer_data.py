"""From a tidy table to the arrays of an explorer: one axis for each control, and no axis that changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scalebook.errors import UserError

if TYPE_CHECKING:
    from scalebook.explorer import Axis


@dataclass(frozen=True)
class Block:
    """One series, or the plane, over all settings.

    ``x`` (points,); ``y``, ``low``, ``high`` (settings of control 1, settings of control 2, ..., points), with length 1
    along every control that does not move the series. A plane has ``rows`` (its y values) and z in ``y``, with the
    cells of a setting in the order of rows, then x.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    rows: np.ndarray | None = None

    @property
    def steps(self) -> list[int]:
        """Return how far apart neighbouring settings of each control lie in the flat list of values."""
        strides, step = [], self.y.shape[-1]
        for length in reversed(self.y.shape[:-1]):
            strides.append(step if length > 1 else 0)
            step *= length
        return strides[::-1]


def rounded(value: Any) -> Any:
    """Return a number with four significant digits as JSON writes it shortest; None for a missing one."""
    if isinstance(value, str):
        return value
    if value is None or not np.isfinite(value):
        return None
    short = float(f"{value:.4g}")
    return int(short) if short == int(short) and abs(short) < 1e15 else short


def flat(array: np.ndarray) -> list[Any]:
    """Return an array's values in C order, rounded for the page."""
    return [rounded(value) for value in array.ravel()]


def arrange(
    grid: pd.DataFrame,
    columns: Sequence[str],
    values: Sequence[list[Any]],
    x: Axis,
    y: Axis,
    z: Axis | None,
    series: str | None,
    interval: tuple[str, str] | None,
) -> list[Block]:
    """Return one Block for each series in order of appearance. Raises UserError naming the setting that is missing."""
    for axis in (x, y, z):
        if axis and axis.scale == "log" and (grid[axis.column] <= 0).any():
            raise UserError(
                f"Column {axis.column!r} has values at or below 0, which a log axis cannot show; use scale='linear'."
            )
    if z is not None:
        return [_block("", grid, columns, values, [y.column, x.column], [z.column])]
    groups = grid.groupby(series, sort=False) if series else [("", grid)]
    return [
        _block(str(label), rows, columns, values, [x.column], [y.column, *(interval or ())]) for label, rows in groups
    ]


def _block(
    label: str,
    rows: pd.DataFrame,
    columns: Sequence[str],
    values: Sequence[list[Any]],
    axes: list[str],
    measured: list[str],
) -> Block:
    where = f"Series {label!r}: " if label else ""
    keys = [*columns, *axes]
    twice = rows.duplicated(keys)
    if twice.any():
        first = rows.loc[twice, keys].iloc[0].to_dict()
        raise UserError(f"{where}more than one row at {first}; average them first.")
    points = [np.sort(rows[axis].unique()) for axis in axes]
    table = rows.set_index(keys)[measured]
    present = set(rows[list(columns)].itertuples(index=False, name=None))
    for setting in itertools.product(*values):
        if setting not in present:
            shown = ", ".join(f"{c} = {v}" for c, v in zip(columns, setting, strict=True))
            raise UserError(f"{where}the grid has no row at {shown}; every combination of the controls is needed.")
    index = pd.MultiIndex.from_product([*values, *points], names=keys)
    shape = (*(len(each) for each in values), int(np.prod([len(each) for each in points])))
    arrays = [_squeezed(table[column].reindex(index).to_numpy(float).reshape(shape)) for column in measured]
    if len(arrays) == 3:  # value and interval share their steps
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        arrays = [np.broadcast_to(array, shape) for array in arrays]
    first, low, high = (*arrays, None, None)[:3]
    return Block(label, points[-1], first, low, high, points[0] if len(axes) == 2 else None)


def _squeezed(array: np.ndarray) -> np.ndarray:
    """Return the array with length 1 along every leading axis that changes nothing."""
    for axis in range(array.ndim - 1):
        first = array.take([0], axis=axis)
        if np.array_equal(np.broadcast_to(first, array.shape), array, equal_nan=True):
            array = first
    return array

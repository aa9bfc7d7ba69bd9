"""The published sweeps over learning rate and batch: where each bowl is lowest, and what a fitted law costs elsewhere.

A cell is one model size N and number of tokens D with some hundred settings. Logs throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scalebook.estimate import Estimate, bootstrap

STEP = np.log(2) / 2  # the grid's spacing is about sqrt(2) in rate and batch
REACH = 2.5 * STEP  # a local quadratic takes two grid points each way
FEWEST = 9  # points for its six numbers
BLOWN_UP = 1.1  # a loss so many times the lowest of its cell is a run that blew up: no quadratic goes through it


@dataclass(frozen=True)
class Cell:
    """One (N, D): log settings (n, 2) as (rate, batch), losses (n,), and the optimum (2,), NaN where it is at an
    edge."""

    n: float
    d: float
    settings: np.ndarray
    loss: np.ndarray
    optimum: np.ndarray

    def smooth(self, points: np.ndarray) -> np.ndarray:
        """Return the loss at log settings (m, 2), each from a quadratic through the settings around it.

        Outside the grid the point is moved to the nearest place inside it. Next to a run that blew up it is that run's.
        """
        low, high = self.settings.min(axis=0), self.settings.max(axis=0)
        return np.array([self._value(np.clip(point, low, high)) for point in np.atleast_2d(points)])

    def _value(self, point: np.ndarray) -> float:
        nearest = np.abs(self.settings - point).max(axis=1).argmin()
        if self.loss[nearest] > BLOWN_UP * self.loss.min():
            return float(self.loss[nearest])
        return float(_local(self, point)[0])

    @property
    def lowest(self) -> float:
        """The lowest loss by the same quadratics, over all settings that were run and the optimum."""
        best = np.argsort(self.loss)[:12]
        candidates = self.settings[best]
        if np.isfinite(self.optimum).all():
            candidates = np.vstack([candidates, self.optimum])
        return float(self.smooth(candidates).min())


def _local(cell: Cell, centre: np.ndarray) -> np.ndarray:
    """Return (value, gradient, second derivatives) of the quadratic around a point, (6,)."""
    away, sound = cell.settings - centre, cell.loss <= BLOWN_UP * cell.loss.min()
    reach = REACH
    while True:
        near = (np.abs(away) < reach).all(axis=1) & sound
        if near.sum() >= FEWEST and np.linalg.matrix_rank(_design(away[near])) == 6:
            return np.linalg.lstsq(_design(away[near]), cell.loss[near], rcond=None)[0]
        reach += STEP


def _design(away: np.ndarray) -> np.ndarray:
    x, y = away.T
    return np.stack([np.ones_like(x), x, y, x**2 / 2, x * y, y**2 / 2], axis=1)


def cells(table: pd.DataFrame) -> list[Cell]:
    """Return the cells of the published dense sweeps, ordered by N and D.

    The loss is the smoothed one: the other column is that of the last batch alone, whose noise is ten times larger.
    """
    found = []
    for (n, d), rows in table.groupby(["N", "D"]):
        settings, loss = np.log(rows[["lr", "bs"]].to_numpy(dtype=float)), rows["smooth loss"].to_numpy(dtype=float)
        bare = Cell(float(n), float(d), settings, loss, np.full(2, np.nan))
        found.append(Cell(bare.n, bare.d, settings, loss, _optimum(bare)))
    return found


def _optimum(cell: Cell) -> np.ndarray:
    best = cell.settings[cell.loss.argmin()]
    low, high = cell.settings.min(axis=0), cell.settings.max(axis=0)
    if (best <= low + 1e-9).any() or (best >= high - 1e-9).any():
        return np.full(2, np.nan)
    _, gx, gy, xx, xy, yy = _local(cell, best)
    bend = np.array([[xx, xy], [xy, yy]])
    if np.linalg.eigvalsh(bend)[0] <= 0:
        return np.full(2, np.nan)
    found = best - np.linalg.solve(bend, [gx, gy])
    return found if (np.abs(found - best) < REACH).all() else np.full(2, np.nan)


def fit_law(n: np.ndarray, d: np.ndarray, optima: np.ndarray, *, on_size_only: bool = False) -> np.ndarray:
    """Fit log rate = c + x log N + y log D and log batch = b + z log D by least squares; return (2, 3) coefficients.

    Columns are constant, log N, log D. With ``on_size_only`` the rate depends on N alone and the batch is constant.
    """
    one, log_n, log_d = np.ones_like(n), np.log(n), np.log(d)
    found = np.zeros((2, 3))
    for row, columns in enumerate(((0, 1), (0,)) if on_size_only else ((0, 1, 2), (0, 2))):
        design = np.stack([one, log_n, log_d], axis=1)[:, columns]
        found[row, list(columns)] = np.linalg.lstsq(design, optima[:, row], rcond=None)[0]
    return found


def published_exponent(every: Sequence[Cell], rng: np.random.Generator, draws: int = 1000) -> Estimate:
    """Return the exponent of the best rate on N over all cells with an optimum, cells resampled."""
    used = [cell for cell in every if np.isfinite(cell.optimum).all()]
    n, d = np.log([cell.n for cell in used]), np.log([cell.d for cell in used])
    units = np.stack([n, d, [cell.optimum[0] for cell in used]], axis=1)

    def exponent(rows: np.ndarray) -> np.ndarray:
        centred = rows - rows.mean(axis=1, keepdims=True)
        nn, dd, nd = ((centred[..., i] * centred[..., j]).sum(axis=1) for i, j in ((0, 0), (1, 1), (0, 1)))
        ny, dy = ((centred[..., i] * centred[..., 2]).sum(axis=1) for i in (0, 1))
        return (ny * dd - dy * nd) / np.maximum(nn * dd - nd**2, 1e-12)

    return bootstrap(exponent, units, draws=draws, rng=rng)


def predict(law: np.ndarray, cell: Cell) -> np.ndarray:
    """Return the setting (2,) that a law gives to a cell."""
    return law @ np.array([1.0, np.log(cell.n), np.log(cell.d)])


def held_out(every: Sequence[Cell], rngs: Sequence[np.random.Generator]) -> pd.DataFrame:
    """Hold out each size in turn and return the excess loss of what the other sizes advise, one row a cell.

    Columns: ``law`` (rate and batch by law), ``constant`` (the one setting that is best on average for the training
    cells), ``size only`` (rate by a law in N, one batch), ``permuted`` (the law with N and D dealt out at random among
    the training cells, mean over ``rngs``), all relative to the lowest loss of the cell.
    """
    settings = np.unique(np.concatenate([cell.settings for cell in every]).round(6), axis=0)
    lowest = {id(cell): cell.lowest for cell in every}
    cost = {id(cell): _cost(cell, settings, lowest[id(cell)]) for cell in every}
    rows = []
    for size in sorted({cell.n for cell in every}):
        training = [cell for cell in every if cell.n != size]
        used = [cell for cell in training if np.isfinite(cell.optimum).all()]
        n, d = np.array([cell.n for cell in used]), np.array([cell.d for cell in used])
        optima = np.stack([cell.optimum for cell in used])
        constant = settings[np.mean([cost[id(cell)] for cell in training], axis=0).argmin()]
        laws = {"law": fit_law(n, d, optima), "size only": fit_law(n, d, optima, on_size_only=True)}
        orders = [rng.permutation(len(used)) for rng in rngs]
        shuffled = [fit_law(n[order], d[order], optima) for order in orders]
        for cell in every:
            if cell.n == size:
                base = lowest[id(cell)]
                row = {"N": cell.n, "D": cell.d, "constant": cell.smooth(constant)[0] / base - 1}
                row |= {name: cell.smooth(predict(law, cell))[0] / base - 1 for name, law in laws.items()}
                row["permuted"] = np.mean([cell.smooth(predict(law, cell))[0] / base - 1 for law in shuffled])
                rows.append(row)
    return pd.DataFrame(rows)


def _cost(cell: Cell, settings: np.ndarray, base: float) -> np.ndarray:
    """Return the excess of every setting in a cell; outside the cell's grid it counts as the worst one there."""
    low, high = cell.settings.min(axis=0) - 1e-6, cell.settings.max(axis=0) + 1e-6
    inside = ((settings >= low) & (settings <= high)).all(axis=1)
    found = np.full(len(settings), cell.loss.max() / base - 1)
    found[inside] = cell.smooth(settings[inside]) / base - 1
    return found

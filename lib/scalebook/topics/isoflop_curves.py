"""Iso-FLOP curves read from a grid of runs, for a whole stack of redrawn tables at once.

A table holds the log loss of some sizes at some numbers of tokens. At a budget C a size with cost n (parameters that a
token is charged for) has D = C / (6 n) tokens: log loss is interpolated in log D, the lowest size is located in log N,
and the best sizes are regressed on C (Hoffmann et al. 2022, approach 2; Porian et al. 2024 locate it with Akima).

Shapes: B redrawn tables (the first is the table itself), S sizes, R rungs (numbers of tokens), G budgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from scalebook import fitting, laws
from scalebook.errors import UserError
from scalebook.estimate import Estimate, slope
from scalebook.topics.suite_cells import Cells

FEWEST_SIZES = 4
FEWEST_BUDGETS = 3
GRID = 400  # points between the smallest and the largest size
MOST_LOST = 0.2  # share of redrawn tables without a value above which there is no interval


def at_budgets(log_loss: np.ndarray, tokens: np.ndarray, cost: np.ndarray, budgets: np.ndarray) -> np.ndarray:
    """Return log loss (B, S, G) at the budgets, NaN where a size would need tokens outside its own runs.

    ``log_loss`` (B, S, R) with NaN where there is no run; ``tokens`` (S, R); ``cost`` (S,) parameters; ``budgets`` (G,)
    FLOP. Monotone cubic interpolation in log D (PCHIP), never extrapolation.
    """
    log_loss, tokens, cost = (np.asarray(array, dtype=float) for array in (log_loss, tokens, cost))
    if log_loss.ndim != 3 or tokens.shape != log_loss.shape[1:] or cost.shape != tokens.shape[:1]:
        raise UserError(
            f"at_budgets: log_loss {log_loss.shape}, tokens {tokens.shape} and cost {cost.shape} do not fit; "
            "give (tables, sizes, rungs), (sizes, rungs) and (sizes,)."
        )
    found = np.full((*log_loss.shape[:2], len(budgets)), np.nan)
    for s in range(len(cost)):
        known = np.isfinite(log_loss[0, s]) & np.isfinite(tokens[s])
        if known.sum() < 2:
            continue
        curve = PchipInterpolator(np.log(tokens[s, known]), log_loss[:, s, known], axis=1, extrapolate=False)
        found[:, s] = curve(np.log(np.asarray(budgets) / (6 * cost[s])))
    return found


def minima(curves: np.ndarray, size: np.ndarray, *, parabola: bool = False) -> np.ndarray:
    """Return log N of the lowest point of each curve, (B, G); NaN where there is none inside the sizes.

    ``curves`` is (B, S, G), ``size`` (S,) what is called the size. A budget needs 4 sizes. The lowest point of Akima's
    interpolation in log N on a fine grid, as in Porian et al. 2024; with ``parabola`` the vertex of a parabola through
    all sizes, which has less noise and no use where sizes reach far up one side. A minimum at an end is left out:
    clipping it would bend the line through the others.
    """
    log_n = np.log(np.asarray(size, dtype=float))
    order = np.argsort(log_n)
    log_n, curves = log_n[order], curves[:, order]
    found = np.full((curves.shape[0], curves.shape[2]), np.nan)
    for g in range(curves.shape[2]):
        inside = np.isfinite(curves[0, :, g])
        if inside.sum() < FEWEST_SIZES:
            continue
        x, y = log_n[inside], curves[:, inside, g]
        if parabola:
            centre = x.mean()
            b2, b1, _ = np.polyfit(x - centre, y.T, 2)
            at = np.divide(-b1, 2 * b2, out=np.full_like(b1, np.nan), where=b2 > 0) + centre
        else:
            grid = np.linspace(x[0], x[-1], GRID)
            values = Akima1DInterpolator(x, y, axis=1)(grid)
            k = np.clip(values.argmin(axis=1), 1, GRID - 2)
            left, middle, right = (np.take_along_axis(values, k[:, None] + j, axis=1)[:, 0] for j in (-1, 0, 1))
            bend = left - 2 * middle + right
            step = np.divide(left - right, 2 * bend, out=np.zeros_like(bend), where=bend > 0)
            at = grid[k] + np.where((left > middle) & (right > middle), step, np.nan) * (grid[1] - grid[0])
        found[:, g] = np.where((at > x[0]) & (at < x[-1]), at, np.nan)
    return found


def exponents(best: np.ndarray, budgets: np.ndarray) -> np.ndarray:
    """Return the slope of log N_opt on log C for each table (B,); NaN with fewer than 3 budgets."""
    log_c = np.log(np.asarray(budgets, dtype=float))
    found = np.full(len(best), np.nan)
    for b, row in enumerate(best):
        known = np.isfinite(row)
        if known.sum() >= FEWEST_BUDGETS:
            found[b] = slope(log_c[known], row[known])
    return found


def tilted(curves: np.ndarray, size: np.ndarray, budgets: np.ndarray, shift: float) -> np.ndarray:
    """Return curves with a penalty that moves the exponent by ``shift``: the planted effect of a sensitivity check.

    The penalty slides each budget's curve along the sizes, f(log N - m) - f(log N) with m = k (log C - its mean), and
    its lowest point with it. Between a few sizes sliding and interpolating do not commute, so the strength k is found
    by bisection: on the first table the exponent moves by ``shift``, whatever that does to the redrawn ones.
    """
    low, high = 0.0, 2 * shift
    wanted = exponents(minima(curves[:1], size), budgets)[0] + shift
    for _ in range(20):
        middle = (low + high) / 2
        found = exponents(minima(_slid(curves[:1], size, budgets, middle), size), budgets)[0]
        low, high = (low, middle) if found > wanted else (middle, high)
    return _slid(curves, size, budgets, (low + high) / 2)


def _slid(curves: np.ndarray, size: np.ndarray, budgets: np.ndarray, strength: float) -> np.ndarray:
    log_n, log_c = np.log(np.asarray(size, dtype=float)), np.log(np.asarray(budgets, dtype=float))
    order = np.argsort(log_n)
    moved = curves.copy()
    for g in range(len(log_c)):
        inside = order[np.isfinite(curves[0, order, g])]
        if len(inside) >= FEWEST_SIZES:
            curve = Akima1DInterpolator(log_n[inside], curves[:, inside, g], axis=1, extrapolate=True)
            moved[:, inside, g] = curve(log_n[inside] - strength * (log_c[g] - log_c.mean()))
    return moved


@dataclass(frozen=True)
class Reading:
    """Iso-FLOP curves of one state under one way of counting: ``size`` (S,) as counted, ``budgets`` (G,) FLOP,
    ``log_loss`` (B, S, G), ``best`` log N (B, G), ``exponent`` (B,)."""

    size: np.ndarray
    budgets: np.ndarray
    log_loss: np.ndarray
    best: np.ndarray
    exponent: np.ndarray

    def at_best(self) -> np.ndarray:
        """Return the loss at the minima of the table itself, (G,), read off a line between the sizes around each."""
        order = np.argsort(self.size)
        found = np.full(len(self.budgets), np.nan)
        for g, at in enumerate(self.best[0]):
            values = self.log_loss[0, order, g]
            known = np.isfinite(values)
            if np.isfinite(at):
                found[g] = np.exp(np.interp(at, np.log(self.size[order][known]), values[known]))
        return found

    def curve(self, g: int) -> tuple[np.ndarray, np.ndarray]:
        """Return sizes and losses of the table's own curve at budget ``g``, interpolated as the minima are."""
        order = np.argsort(self.size)
        log_n, values = np.log(self.size[order]), self.log_loss[0, order, g]
        known = np.isfinite(values)
        if known.sum() < 2:
            return np.array([]), np.array([])
        grid = np.linspace(log_n[known][0], log_n[known][-1], 120)
        return np.exp(grid), np.exp(Akima1DInterpolator(log_n[known], values[known])(grid))


def read(tables: np.ndarray, grid: Cells, count: str, budgets: np.ndarray) -> Reading:
    """Read log losses (B, S, R) at the budgets; ``count`` is layers, head or attention."""
    return _read(tables, grid.tokens, getattr(grid, count), budgets)


def _read(tables: np.ndarray, tokens: np.ndarray, size: np.ndarray, budgets: np.ndarray) -> Reading:
    curves = at_budgets(tables, tokens, size, budgets)
    best = minima(curves, size)
    return Reading(size, budgets, curves, best, exponents(best, budgets))


def counting_shift(
    tables: np.ndarray, grid: Cells, budgets: np.ndarray, fitted: np.ndarray, orders: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Predict a_layers - a_head from one half of the rungs and measure it on the other; all values (B,).

    Chinchilla's law over all parameters is fitted to the ``fitted`` rungs (a mask (R,)) of each table, evaluated at the
    cells of the other rungs, and read by the same interpolations that read the measured losses there. ``orders`` are
    permutations of the sizes: the head's cost is charged to the wrong ones. Keys: shift, predicted, shift_miss and
    shift_miss_permuted, a miss being (shift - predicted) / predicted. Wrong charges miss to both sides, so theirs is
    the mean distance over all orders.
    """
    there = np.isfinite(tables[0])
    total = np.broadcast_to(grid.total[:, None], there.shape)
    seen, hidden = there & fitted, there & ~fitted
    first = fitting.fit(laws.Chinchilla, {"N": total[seen], "D": grid.tokens[seen]}, np.exp(tables[0][seen]))
    params = {name: np.array([value]) for name, value in first.params.items()}
    if len(tables) > 1:
        again = first.refit(y=np.exp(tables[1:, seen]))
        params = {name: np.concatenate([params[name], again[name]]) for name in params}
    smooth, measured = np.full((2, *tables.shape), np.nan)
    smooth[:, hidden] = np.log(laws.Chinchilla({"N": total[hidden], "D": grid.tokens[hidden]}, params))
    measured[:, hidden] = tables[:, hidden]

    def shift(table: np.ndarray, head: np.ndarray) -> np.ndarray:
        by_layers, by_head = (_read(table, grid.tokens, size, budgets).exponent for size in (grid.layers, head))
        return by_layers - by_head

    predicted, found = shift(smooth, grid.head), shift(measured, grid.head)
    extra = grid.head - grid.layers
    wrong = np.array([shift(measured, grid.layers + extra[order]) for order in orders])  # (orders, B)
    return {
        "shift": found, "predicted": predicted, "shift_miss": (found - predicted) / predicted,
        "shift_miss_permuted": np.nanmean(np.abs(wrong - predicted), axis=0) / np.abs(predicted),
    }  # fmt: skip


def from_draws(draws: np.ndarray, units: int, level: float = 0.95) -> Estimate:
    """Return the first of ``draws`` with the percentile interval of the others, over ``units``; missing if it has none.

    Where more than a fifth of the redrawn tables give no value the interval would be that of the lucky ones.
    """
    draws = np.asarray(draws, dtype=float)
    if not np.isfinite(draws[0]):
        return Estimate.missing("too few budgets with a minimum inside the sizes tried")
    others = draws[1:][np.isfinite(draws[1:])]
    if len(others) < (1 - MOST_LOST) * (len(draws) - 1) or not len(others):
        lost = len(draws) - 1 - len(others)
        return Estimate.missing(f"{lost} of {len(draws) - 1} redrawn tables have too few minima inside the sizes tried")
    low, high = np.quantile(others, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(draws[0], min(low, draws[0]), max(high, draws[0]), units)


def difference(one: fitting.Allocation, other: fitting.Allocation) -> Estimate:
    """Return a of ``one`` minus a of ``other``, their draws being independent."""
    count = min(len(one.lines), len(other.lines))
    draws = one.lines[:count, 1] - other.lines[:count, 1]
    return from_draws(draws, min(one.exponent.n, other.exponent.n))

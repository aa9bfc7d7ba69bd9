"""How the best model size grows with compute: the three approaches of Hoffmann et al. (2022, arXiv 2203.15556).

Approach 1 follows the lower envelope of all training curves, approach 2 the minima of parabolas at fixed compute,
approach 3 the fitted law. Each gives the exponent a of N_opt = G C^a.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from scalebook.errors import UserError
from scalebook.estimate import FEW_FOR_INTERVAL, Estimate, slope
from scalebook.laws.law import as_floats

FEWEST_SIZES = 4  # a parabola through three points leaves nothing to judge its error by
FEWEST_BUDGETS = 3


def exponent(params: Mapping[str, np.ndarray]) -> np.ndarray:
    """Approach 3: return a = beta / (alpha + beta) of a Chinchilla law; works in ``fit.interval(exponent)``."""
    return params["beta"] / (params["alpha"] + params["beta"])


def optimum(params: Mapping[str, np.ndarray], compute: np.ndarray, flop: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """Approach 3: return the parameters N and tokens D that a Chinchilla law advises at ``compute`` = flop N D.

    N = G (C/flop)^a, D = (C/flop)^(1-a) / G, G = (alpha A / (beta B))^(1/(alpha + beta)) (Hoffmann et al., equation 4).
    """
    alpha, beta = params["alpha"], params["beta"]
    ratio = (alpha * params["A"] / (beta * params["B"])) ** (1 / (alpha + beta))
    product = np.asarray(compute, dtype=float) / flop
    n = ratio * product ** exponent(params)
    return n, product / n


@dataclass(frozen=True, eq=False)
class Allocation:
    """The exponent a of N_opt ~ C^a, and the optima it was read from (columns C, N and loss, one row each)."""

    exponent: Estimate
    optima: pd.DataFrame = field(repr=False)
    dropped: tuple[str, ...]  # what was left out, and why
    lines: np.ndarray = field(repr=False)  # (1 + draws, 2): log N at C = 1 and slope; the first row is the estimate

    def size(self, compute: float, level: float = 0.95) -> Estimate:
        """Return the best N at ``compute`` FLOP, with its bootstrap interval."""
        return _estimate(np.exp(self.lines @ [1.0, np.log(compute)]), self.exponent.n, level)


def isoflop(
    n, c, loss, *, budgets: Sequence | None = None, around: float = np.inf, bootstrap: int = 1000, seed: int = 0
) -> Allocation:
    """Approach 2: at each compute budget fit a parabola of log loss in log N, then regress the minima on compute.

    ``n`` parameters, ``c`` FLOP and ``loss`` are (runs,); ``budgets`` labels the runs that share a budget (equal ``c``
    if left out). ``around`` keeps only sizes within that factor of the best one tried: log loss is a parabola only near
    its minimum, and far sizes bend it. A budget with fewer than 4 sizes, or whose minimum does not lie between the
    smallest and the largest size kept, is dropped: clipping it would bend the line. Interval: wild bootstrap of the
    residuals of the parabolas, each divided by 1 - leverage (Davidson and Flachaire 2008); draws whose minimum leaves
    the sizes skip that budget. Raises UserError on unusable data or fewer than 3 budgets.
    """
    n, c, loss = _positive(n=n, c=c, loss=loss)
    if not around > 1:
        raise UserError(
            f"isoflop: around is {around}; give a factor above 1, such as 5, or leave it out to keep all sizes."
        )
    labels = np.asarray(c if budgets is None else budgets)
    if labels.shape != n.shape:
        raise UserError(f"isoflop: budgets has shape {labels.shape}; give one label for each of the {n.size} runs.")
    rng = np.random.default_rng(seed)
    optima, minima, dropped = [], [], []
    for label in np.unique(labels):
        rows = labels == label
        best = n[rows][np.argmin(loss[rows])]
        rows &= np.abs(np.log(n / best)) <= np.log(around) + 1e-9
        if np.unique(n[rows]).size < FEWEST_SIZES:
            dropped.append(f"budget {label}: {np.unique(n[rows]).size} sizes, {FEWEST_SIZES} needed")
            continue
        centre = np.log(n[rows]).mean()
        u = np.log(n[rows]) - centre
        design = np.stack([np.ones_like(u), u, u**2], axis=1)
        inverse = np.linalg.pinv(design)
        left = np.log(loss[rows]) - design @ (inverse @ np.log(loss[rows]))
        left = left / np.maximum(1 - np.einsum("ij,ji->i", design, inverse), 1e-3)
        signs = np.concatenate([np.zeros((1, u.size)), rng.choice([-1.0, 1.0], size=(bootstrap, u.size))])
        b0, b1, b2 = inverse @ (np.log(loss[rows]) + signs * left).T
        at = np.divide(-b1, 2 * b2, out=np.full_like(b1, np.nan), where=b2 > 0)
        at[~((at > u.min()) & (at < u.max()))] = np.nan
        if np.isnan(at[0]):
            dropped.append(f"budget {label}: the minimum lies outside the sizes tried")
            continue
        minima.append(centre + at)
        optima.append((np.exp(np.log(c[rows]).mean()), np.exp(centre + at[0]), np.exp(b0[0] + b1[0] * at[0] / 2)))
    if len(optima) < FEWEST_BUDGETS:
        raise UserError(
            f"isoflop: {len(optima)} budgets with a minimum inside, {FEWEST_BUDGETS} needed. " + "; ".join(dropped)
        )
    table = pd.DataFrame(optima, columns=["C", "N", "loss"])
    lines = _lines(np.log(table["C"].to_numpy()), np.stack(minima, axis=1))
    return Allocation(_estimate(lines[:, 1], n.size), table, tuple(dropped), lines)


def envelope(
    n,
    c,
    loss,
    *,
    units: Sequence | None = None,
    hull: bool = False,
    edges: bool = False,
    bins: int = 20,
    bootstrap: int = 400,
    seed: int = 0,
) -> Allocation:
    """Approach 1: regress log N on log C along the lower envelope of all points of all training curves.

    ``n`` parameters, ``c`` FLOP spent so far and ``loss`` are (points,). The envelope is the point of lowest loss in
    each of ``bins`` equal bins of log C, or with ``hull`` the falling part of the lower convex hull of (log C, log
    loss), which is steadier (McLeish et al. 2025, arXiv 2502.06857). Where the smallest or the largest size of all wins
    the optimum lies outside the sizes tried: such points are left out unless ``edges``. Interval: bootstrap over
    ``units`` (points,), the run that each point belongs to, by default all points of one size.
    Raises UserError on unusable data or fewer than 3 points on the envelope.
    """
    n, c, loss = _positive(n=n, c=c, loss=loss)
    log_n, log_c, log_l = np.log(n), np.log(c), np.log(loss)
    _, unit_of_row = np.unique(n if units is None else np.asarray(units), return_inverse=True)
    if unit_of_row.shape != n.shape:
        raise UserError(
            f"envelope: units has shape {unit_of_row.shape}; give one label for each of the {n.size} points."
        )
    n_units = int(unit_of_row.max()) + 1
    select = _lower_hull if hull else _lowest_in_bins(np.linspace(log_c.min(), log_c.max(), bins + 1))

    def chosen(rows: np.ndarray) -> np.ndarray:
        found = rows[select(log_c[rows], log_l[rows])]
        inside = (log_n[found] > log_n[rows].min()) & (log_n[found] < log_n[rows].max())
        return found if edges else found[inside]

    best = chosen(np.arange(n.size))
    if best.size < FEWEST_BUDGETS:
        raise UserError(
            f"envelope: {best.size} points on the envelope, {FEWEST_BUDGETS} needed; try more bins, or edges=True."
        )
    rng = np.random.default_rng(seed)
    lines = [_lines(log_c[best], log_n[None, best])[0]]
    for _ in range(bootstrap):
        # a unit drawn twice changes no minimum, so only which units were drawn matters
        rows = np.flatnonzero(np.isin(unit_of_row, rng.integers(n_units, size=n_units)))
        found = chosen(rows)
        if found.size >= FEWEST_BUDGETS:
            lines.append(_lines(log_c[found], log_n[None, found])[0])
    table = pd.DataFrame({"C": c[best], "N": n[best], "loss": loss[best]}).sort_values("C", ignore_index=True)
    bare = bootstrap + 1 - len(lines)
    dropped = (f"{bare} of {bootstrap} resamples had too short an envelope",) if bare else ()
    return Allocation(_estimate(np.array(lines)[:, 1], n_units), table, dropped, np.array(lines))


def _positive(**arrays) -> list[np.ndarray]:
    found = {name: as_floats(values, name) for name, values in arrays.items()}
    if len({array.shape for array in found.values()}) > 1:
        sizes = {name: array.size for name, array in found.items()}
        raise UserError(f"Lengths differ: {sizes}; give one value per run in each.")
    for name, array in found.items():
        if not (np.isfinite(array) & (array > 0)).all():
            raise UserError(f"{name} holds values that are not finite or not above zero; drop or repair these rows.")
    return list(found.values())


def _lines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return intercept and slope (R, 2) of each row of y (R, points) on x without its NaN; bare rows are left out."""
    known = np.isfinite(y)
    rows = [(row[k], x[k]) for row, k in zip(y, known) if k.sum() >= FEWEST_BUDGETS]
    slopes = [(float(slope(at, values)), values.mean(), at.mean()) for values, at in rows]
    return np.array([(middle - tilt * centre, tilt) for tilt, middle, centre in slopes])


def _estimate(draws: np.ndarray, units: int, level: float = 0.95) -> Estimate:
    """Return the first draw with the percentile interval of the others."""
    value = float(draws[0])
    if units < FEW_FOR_INTERVAL or draws.size < 2:
        return Estimate(value, None, None, units)
    low, high = np.quantile(draws[1:], [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, min(low, value), max(high, value), units)


def _lowest_in_bins(edges: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def select(log_c: np.ndarray, log_l: np.ndarray) -> np.ndarray:
        place = np.clip(np.searchsorted(edges, log_c, side="right") - 1, 0, len(edges) - 2)
        order = np.lexsort((log_l, place))
        return order[np.unique(place[order], return_index=True)[1]]

    return select


def _lower_hull(log_c: np.ndarray, log_l: np.ndarray) -> np.ndarray:
    """Return the corners of the falling part of the lower convex hull, left to right (Andrew 1979)."""
    corners: list[int] = []
    for i in np.lexsort((log_l, log_c)):
        while len(corners) > 1:
            (x0, y0), (x1, y1) = ((log_c[j], log_l[j]) for j in corners[-2:])
            if (x1 - x0) * (log_l[i] - y0) > (y1 - y0) * (log_c[i] - x0):
                break
            corners.pop()
        if not corners or log_l[i] < log_l[corners[-1]]:
            corners.append(int(i))
    return np.array(corners)

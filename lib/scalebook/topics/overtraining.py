"""Forecasts off the compute optimum, and from loss to error (Gadre et al. 2024, arXiv 2403.08540).

C = 6 N D, M = D / N. L(C, M) = E + (a M^eta + b M^-eta) C^-eta is Chinchilla's law with both exponents 2 eta.
Shapes: B redrawn tables (the first is the table itself), n cells or models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from scalebook import fitting, laws
from scalebook.errors import UserError
from scalebook.estimate import slope
from scalebook.laws import Law

COMPUTE_ONLY = laws.PowerFloor.on(x="C").named("compute only")
LAWS = {"over-training": laws.OverTraining, "compute only": COMPUTE_ONLY, "Chinchilla": laws.Chinchilla}
M_BANDS = (4, 16, 64, 256, 1400)  # tokens per parameter
NEAR, FAR = 64, 256  # tokens per parameter: fitted up to, forecast from
SHORT = 16  # tokens per parameter: below it a run is far from the optimum on the other side
CHEAP = 8  # fitted below the largest budget over this
LEVER = 320  # M of the one over-trained run among those that the paper fits
FORECAST = ("overtrained_error", "error_minus_c_only", "eta_tilt", "error_minus_c_only_shuffled", "chinchilla_error")
DOWNSTREAM = (
    "error_points", "error_minus_rival", "error_over_range", "error_over_range_permuted", "error_points_predicted_loss",
)  # fmt: skip
GAMMAS = np.geomspace(0.05, 20.0, 96)  # per nat: what the search for the rate of an exponential tries


def inputs(size: np.ndarray, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Return N, D, C = 6 N D and M = D / N, in floating point (products of counts overflow integers)."""
    n, d = np.asarray(size, dtype=float), np.asarray(tokens, dtype=float)
    return {"N": n, "D": d, "C": 6 * n * d, "M": d / n}


def relative_errors(
    law: Law, x: dict[str, np.ndarray], loss: np.ndarray, seen: np.ndarray, hidden: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Fit on ``seen`` cells of each table; return |forecast / loss - 1| on ``hidden`` ones (B, hidden), and the fits.

    ``loss`` (B, n); both masks (n,). Plain least squares on log loss, as in the paper but for the logarithm; the first
    table is searched from many starts, the others from its optimum. The dict holds the parameters of each table (B,).
    """
    columns = {name: x[name] for name in law.inputs}
    inside = {name: values[seen] for name, values in columns.items()}
    ahead = {name: values[hidden] for name, values in columns.items()}
    first = fitting.fit(law, inside, loss[0, seen], delta=None)
    found = {name: np.array([value]) for name, value in first.params.items()}
    if len(loss) > 1:
        again = first.refit(y=loss[1:, seen])
        found = {name: np.concatenate([found[name], again[name]]) for name in found}
    forecast = np.atleast_2d(law(ahead, found))
    return np.abs(forecast / loss[:, hidden] - 1), found


@dataclass(frozen=True)
class Bands:
    """Exponents by band of M: ``centre`` log10 M (bands,), ``eta`` (B, bands), ``tilt`` (B,) change of eta a decade."""

    centre: np.ndarray
    eta: np.ndarray
    tilt: np.ndarray


def eta_by_band(
    c: np.ndarray, m: np.ndarray, loss: np.ndarray, floor: np.ndarray, edges: Sequence[float], fewest: int = 4
) -> Bands:
    """Fit L = E + A C^-eta within each band of M, E being the common floor (B,) of all cells, and the trend over bands.

    ``edges`` bound the bands; one with fewer than ``fewest`` cells is left out. Within a band M still varies, so log M
    is a second regressor: what is wanted is the slope in C at a given M. Raises UserError with fewer than 2 bands.
    """
    log_c, log_m = np.log(c), np.log(m)
    reducible = loss - floor[:, None]
    reducible = np.where(reducible > 0, reducible, np.nan)
    centres, etas = [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        rows = (m >= low) & (m < high)
        if rows.sum() < fewest:
            continue
        design = np.stack([np.ones(rows.sum()), log_c[rows], log_m[rows]], axis=1)
        solved = np.linalg.pinv(design) @ np.log(reducible[:, rows]).T
        centres.append(log_m[rows].mean() / np.log(10))
        etas.append(-solved[1])
    if len(etas) < 2:
        raise UserError(f"eta_by_band: {len(etas)} bands of M have {fewest} cells or more, 2 needed.")
    centre, eta = np.array(centres), np.stack(etas, axis=1)
    return Bands(centre, eta, slope(centre, eta))


def likelihood_ratio(x: Mapping[str, np.ndarray], loss: np.ndarray) -> tuple[float, float]:
    """Return the likelihood ratio of Chinchilla's law against equal exponents, 2 log, and its p value (chi-square, 1).

    Both are fitted to log losses (n,) by least squares, so 2 log of the ratio is n log(squares / squares). It takes the
    misses for independent and normal; where neighbouring cells miss together, the p value is too small.
    """
    squares = []
    for law in (laws.OverTraining, laws.Chinchilla):
        found = fitting.fit(law, {name: x[name] for name in law.inputs}, loss, delta=None)
        squares.append(float((found.residuals**2).sum()))
    statistic = max(0.0, len(loss) * np.log(squares[0] / squares[1]))
    return float(statistic), float(stats.chi2.sf(statistic, 1))


@dataclass(frozen=True)
class ErrorLaw:
    """Err(L) = eps - k exp(-gamma L), each parameter of shape (B,)."""

    eps: np.ndarray
    k: np.ndarray
    gamma: np.ndarray

    def __call__(self, loss: np.ndarray) -> np.ndarray:
        """Return the error at losses (B, n) or (n,)."""
        return self.eps[:, None] - self.k[:, None] * np.exp(-self.gamma[:, None] * np.atleast_2d(loss))


def fit_error(loss: np.ndarray, error: np.ndarray, weight: np.ndarray | None = None) -> ErrorLaw:
    """Fit Err(L) = eps - k exp(-gamma L) by least squares to (B, n) losses and errors, ``weight`` (B, n) or None.

    For a given gamma the rest is linear, so gamma is searched on a grid, then between its best point's neighbours.
    Losses are measured from their mean, which keeps the exponentials near one.
    """
    loss, error = np.atleast_2d(np.asarray(loss, dtype=float)), np.atleast_2d(np.asarray(error, dtype=float))
    weight = np.ones_like(loss) if weight is None else np.asarray(weight, dtype=float)
    middle = (weight * loss).sum(axis=1) / weight.sum(axis=1)
    centred = loss - middle[:, None]

    def solve(gamma: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return squares, eps and k, each like gamma (B, G)."""
        z = np.exp(-gamma[:, :, None] * centred[:, None])  # B G n
        total = weight.sum(axis=1)[:, None]
        mean_z = (weight[:, None] * z).sum(axis=2) / total
        mean_e = ((weight * error).sum(axis=1)[:, None]) / total
        dz, de = z - mean_z[..., None], error[:, None] - mean_e[..., None]
        k = -(weight[:, None] * dz * de).sum(axis=2) / np.maximum((weight[:, None] * dz**2).sum(axis=2), 1e-300)
        eps = mean_e + k * mean_z
        return (weight[:, None] * (error[:, None] - eps[..., None] + k[..., None] * z) ** 2).sum(axis=2), eps, k

    grid = np.broadcast_to(GAMMAS, (len(loss), GAMMAS.size))
    for _ in range(3):
        squares, eps, k = solve(grid)
        best = squares.argmin(axis=1)
        rows = np.arange(len(loss))
        gamma = grid[rows, best]
        around = np.clip(best, 1, grid.shape[1] - 2)
        low, high = grid[rows, around - 1], grid[rows, around + 1]
        grid = np.exp(np.linspace(np.log(low), np.log(high), 25).T)
    return ErrorLaw(eps[rows, best], k[rows, best] * np.exp(gamma * middle), gamma)


def fit_line(x: np.ndarray, error: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return intercept and slope (B,) of a weighted straight line of error on x, both (B, n): the rival."""
    x, error = np.atleast_2d(np.asarray(x, dtype=float)), np.atleast_2d(np.asarray(error, dtype=float))
    weight = np.ones_like(x) if weight is None else np.asarray(weight, dtype=float)
    total = weight.sum(axis=1, keepdims=True)
    dx = x - (weight * x).sum(axis=1, keepdims=True) / total
    tilt = (weight * dx * error).sum(axis=1) / (weight * dx**2).sum(axis=1)
    centre = (weight * error).sum(axis=1) / total[:, 0]
    return centre - tilt * (weight * x).sum(axis=1) / total[:, 0], tilt


def forecast(
    x: Mapping[str, np.ndarray], loss: np.ndarray, shuffles: Sequence[np.random.Generator]
) -> dict[str, np.ndarray]:
    """Fit near the optimum, forecast over-trained cells; ``loss`` (B, n) of redrawn tables, all values (B,).

    Errors are medians of |forecast / loss - 1| over cells with M >= 256, laws being fitted to cells with M <= 64 and C
    below an eighth of the largest. ``shuffles`` deal M out at random among the fitted cells, at the same C.
    ``eta_tilt`` is the trend of eta over decades of M in units of the eta of the law fitted to all cells.

    Also four that are not judged: ``compute_only``, the error of the law in C alone; ``near``, the error when of these
    cells only those with M >= 16 are fitted; ``lever``, the error when the smallest size's cell next to M = 320 is
    fitted too, as in the paper; and ``floor``, the E of the over-training law fitted to all cells.
    """
    seen = (x["M"] <= NEAR) & (x["C"] < x["C"].max() / CHEAP)
    hidden = x["M"] >= FAR
    error = {
        name: np.median(relative_errors(law, x, loss, seen, hidden)[0], axis=1)
        for name, law in LAWS.items()
    }
    dealt = []
    for rng in shuffles:
        m = x["M"].copy()
        m[seen] = rng.permutation(m[seen])
        wrong = relative_errors(laws.OverTraining, {**x, "M": m}, loss, seen, hidden)[0]
        dealt.append(np.median(wrong, axis=1))
    small = x["N"] == x["N"].min()
    lever = small & (np.abs(np.log(x["M"] / LEVER)) == np.abs(np.log(x["M"][small] / LEVER)).min())
    held, _ = relative_errors(laws.OverTraining, x, loss, seen | lever, hidden & ~lever)
    near, _ = relative_errors(laws.OverTraining, x, loss, seen & (x["M"] >= SHORT), hidden)
    whole = relative_errors(laws.OverTraining, x, loss, np.ones(len(x["C"]), dtype=bool), hidden)[1]
    bands = eta_by_band(x["C"], x["M"], loss, whole["E"], M_BANDS)
    return {
        "overtrained_error": error["over-training"],
        "error_minus_c_only": error["over-training"] - error["compute only"],
        "eta_tilt": bands.tilt / whole["eta"],
        "error_minus_c_only_shuffled": np.mean(dealt, axis=0) - error["compute only"],
        "chinchilla_error": error["Chinchilla"],
        "compute_only": error["compute only"],
        "floor": whole["E"],
        "lever": np.median(held, axis=1),
        "near": np.median(near, axis=1),
    }


def downstream(
    x: Mapping[str, np.ndarray], loss: np.ndarray, error: np.ndarray, cheap: np.ndarray, *, items: int, draws: int,
    rng: np.random.Generator, shuffles: Sequence[np.random.Generator],
) -> dict[str, np.ndarray]:  # fmt: skip
    """Forecast the average error of the dear models from the ``cheap`` ones (mask (n,)); all values (1 + draws,).

    ``error`` (n, probes) on ``items`` items each. Redraws take fitted and predicted models with replacement and the
    items of every model by their binomial. Points are hundredths. The rival is a straight line in log N.
    """
    count = np.ones((1 + draws, len(loss)), dtype=int)  # how often each model was drawn
    chance = rng.binomial(items, np.clip(error, 0, 1), size=(draws, *error.shape)) / items
    redrawn = np.concatenate([error[None], chance])
    mean_error = redrawn.mean(axis=2)  # (1 + draws, n)
    for rows in (np.flatnonzero(cheap), np.flatnonzero(~cheap)):
        count[1:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=draws)
    losses = np.broadcast_to(loss, mean_error.shape)
    weight = np.where(cheap, count, 0).astype(float)
    judged = np.where(cheap, 0, count).astype(float)

    def points(forecast: np.ndarray) -> np.ndarray:
        return 100 * (judged * np.abs(forecast - mean_error)).sum(axis=1) / judged.sum(axis=1)

    law = fit_error(losses, mean_error, weight)
    ours = points(law(losses))
    log_n = np.broadcast_to(np.log(x["N"]), losses.shape)
    start, tilt = fit_line(log_n, mean_error, weight)
    rival = points(start[:, None] + tilt[:, None] * log_n)
    inside = np.where(judged > 0, mean_error, np.nan)
    spread = 100 * (np.nanmax(inside, axis=1) - np.nanmin(inside, axis=1))
    spread = np.maximum(spread, 100 / items)  # a resample of one model has no range
    permuted = []
    for generator in shuffles:
        order = np.arange(len(loss))
        order[cheap] = generator.permutation(order[cheap])
        wrong = fit_error(losses[:, order], mean_error, weight)
        permuted.append(points(wrong(losses)) / spread)
    _, params = relative_errors(laws.OverTraining, dict(x), loss[None], cheap, ~cheap)
    predicted = laws.OverTraining({"C": x["C"], "M": x["M"]}, params)
    return {
        "error_points": ours, "error_minus_rival": ours - rival, "error_over_range": ours / spread,
        "error_over_range_permuted": np.mean(permuted, axis=0),
        "error_points_predicted_loss": points(law(np.broadcast_to(predicted, losses.shape))),
    }  # fmt: skip

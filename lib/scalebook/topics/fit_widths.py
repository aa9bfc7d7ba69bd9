"""Usual ways of making an interval, each as one batch of refits: how wide are they for the same runs?

For Besiroglu et al. (2024, arXiv 2404.10102), who ask how an interval as narrow as the published one could have arisen.
"""

from __future__ import annotations

import numpy as np

from scalebook import laws
from scalebook.fitting import Fit, exponent, fit
from scalebook.laws import Law
from scalebook.topics import fit_stopping

METHODS = ("case bootstrap", "subsampling", "wild bootstrap")
SUBSAMPLE = 0.8  # share of the runs kept, without replacement
LEVEL = 0.8


def refit_to(found: Fit, rows: np.ndarray) -> Fit:
    """Return the fit of the runs ``rows`` of a fit's data (repeats allowed), from the optimum of all."""
    x = {name: values[rows] for name, values in found.x.items()}
    start = np.array([[found.params[name] for name in found.law.parameters]])
    return fit(found.law, x, found.y[rows], delta=found.delta, starts=start)


def redrawn(found: Fit, method: str, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return the exponent a of ``draws`` refits (draws,) by one of `METHODS`.

    Case bootstrap: as many runs, with replacement (Efron 1979). Subsampling: a share of the runs without replacement,
    read as if it were a bootstrap. Wild bootstrap: the runs stay, every log residual gets a random sign (Wu 1986).
    """
    n = found.y.size
    if method == "case bootstrap":
        return exponent(found.refit(weights=rng.multinomial(n, np.full(n, 1 / n), size=draws)))
    if method == "subsampling":
        kept = rng.random((draws, n)).argsort(axis=1) < round(SUBSAMPLE * n)
        return exponent(found.refit(weights=kept))
    if method == "wild bootstrap":
        signs = rng.choice([-1.0, 1.0], size=(draws, n))
        return exponent(found.refit(y=found.predict(found.x) * np.exp(signs * found.residuals)))
    raise ValueError(f"redrawn: method {method!r} is unknown; choose one of {', '.join(METHODS)}.")


def width(values: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Return the distance between the tails of ``level`` along the last axis."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=-1)
    return high - low


def simulated_loss(
    law: Law, params: dict[str, float], x: dict[str, np.ndarray], residuals: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return losses (n,) of a known truth at inputs ``x``, with log residuals drawn from those of a real fit."""
    predicted = law(x, params)
    return predicted * np.exp(rng.choice(residuals, size=predicted.size))


def log_uniform_runs(n: int, x: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return N and D of ``n`` runs spread like those of ``x``: existing pairs, each moved by up to ten percent."""
    rows = rng.integers(x["N"].size, size=n)
    return {name: values[rows] * np.exp(rng.uniform(-0.1, 0.1, size=n)) for name, values in x.items()}


def chinchilla_at(params: dict[str, float], x: dict[str, np.ndarray], loss: np.ndarray) -> Fit:
    """Return the fit of a Chinchilla law to simulated runs, from the truth and from the law's own grid."""
    first = fit(laws.Chinchilla, x, loss)
    near = fit(laws.Chinchilla, x, loss, starts=np.array([[params[name] for name in laws.Chinchilla.parameters]]))
    return near if near.loss < first.loss else first


def widths_by_method(found: Fit, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return the width of the interval of a for each of `METHODS` (3,)."""
    return np.array([width(redrawn(found, method, draws, rng)) for method in METHODS])


def widths_by_size(
    found: Fit, sizes: tuple[int, ...], draws: int, subsets: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the case-bootstrap width for each number of runs (sizes,), all up to the number that the fit has.

    For fewer runs: geometric mean over ``subsets`` random subsets.
    """
    n, found_widths = found.y.size, []
    for size in sizes:
        chosen = [rng.choice(n, size, replace=False) for _ in range(subsets)] if size < n else [np.arange(n)]
        each = [width(redrawn(refit_to(found, rows), METHODS[0], draws, rng)) for rows in chosen]
        found_widths.append(np.exp(np.mean(np.log(each))))
    return np.array(found_widths)


def widths_simulated(
    found: Fit, sizes: tuple[int, ...], draws: int, rng: np.random.Generator, truth: dict[str, float]
) -> np.ndarray:
    """Return the case-bootstrap width for runs simulated from ``truth`` with the residuals of a fit (sizes,).

    There residuals are dealt out at random, and in real runs the large ones may sit where they weigh most: compare
    slopes with the real ones, not levels.
    """
    found_widths = []
    for size in sizes:
        x = log_uniform_runs(size, found.x, rng)
        loss = simulated_loss(found.law, truth, x, found.residuals, rng)
        found_widths.append(width(redrawn(chinchilla_at(truth, x, loss), METHODS[0], draws, rng)))
    return np.array(found_widths)


def stopped_width(found: Fit, start: np.ndarray, draws: int, rng: np.random.Generator) -> float:
    """Return the case-bootstrap width when every refit averages the Huber terms and stops at scipy's defaults.

    ``start`` (5,), internal, is where each refit begins.
    """
    n = found.y.size
    counts = rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(float)
    stopped = [
        fit_stopping.ends(start[None], found.x, found.y, scale=1 / n, options={}, weights=row)[0][0] for row in counts
    ]
    return float(width(fit_stopping.exponent(np.array(stopped))))

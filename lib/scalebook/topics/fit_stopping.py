"""One objective, several ways to stop: what the scale of a loss and the tolerances of an optimiser do to a fit.

The objective is that of approach 3 of Hoffmann et al. (2022, arXiv 2203.15556): Huber terms on the log residuals of
E + A N^-alpha + B D^-beta. Here it is written out for scipy's L-BFGS-B, as one would by hand, because the fault that
Besiroglu et al. (2024, arXiv 2404.10102) found lies between the objective and the optimiser.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize

DELTA = 1e-3
TIGHT = {"maxiter": 15_000, "maxfun": 5_000, "ftol": 1e-15, "gtol": 1e-10}  # starts that arrive take under 500
DEFAULTS: dict[str, float] = {}  # scipy's own: ftol 2.2e-9, gtol 1e-5
NAMES = ("E", "A", "B", "alpha", "beta")

# the published grid: 4,500 starts (Hoffmann et al. 2022, appendix D.3)
GRID = {
    "E": np.exp([-1.0, -0.5, 0.0, 0.5, 1.0]),
    "A": np.exp([0.0, 5.0, 10.0, 15.0, 20.0, 25.0]),
    "B": np.exp([0.0, 5.0, 10.0, 15.0, 20.0, 25.0]),
    "alpha": np.array([0.0, 0.5, 1.0, 1.5, 2.0]),
    "beta": np.array([0.0, 0.5, 1.0, 1.5, 2.0]),
}


def huber_sum(
    theta: np.ndarray, log_n: np.ndarray, log_d: np.ndarray, log_loss: np.ndarray, weights: np.ndarray, scale: float
) -> tuple[float, np.ndarray]:
    """Return ``scale`` times the weighted sum of Huber terms (delta 1e-3) and its gradient (5,).

    ``theta`` = (log E, log A, log B, alpha, beta); the data are (n,). With shares w_k of the three terms in the law and
    g the residual clipped to +-delta, the derivatives are sums of g w_k, times -log N or -log D for the exponents.
    """
    e, a, b, alpha, beta = theta.tolist()
    terms = np.empty((3, log_n.size))
    terms[0] = e
    np.multiply(log_n, -alpha, out=terms[1])
    np.multiply(log_d, -beta, out=terms[2])
    terms[1] += a
    terms[2] += b
    top = np.maximum.reduce(terms)
    terms -= top
    shares = np.exp(terms, out=terms)
    total = np.add.reduce(shares)
    residual = np.log(total)
    residual += top
    residual -= log_loss
    pull = np.minimum(np.maximum(residual, -DELTA), DELTA)
    value = weights @ (pull * (residual - 0.5 * pull))  # r^2/2 inside delta, delta (|r| - delta/2) outside
    pull *= weights
    pull /= total
    shares *= pull
    in_e, in_n, in_d = np.add.reduce(shares, axis=1)
    return scale * value, scale * np.array([in_e, in_n, in_d, -(shares[1] @ log_n), -(shares[2] @ log_d)])


def internal(params: Mapping[str, float]) -> np.ndarray:
    """Return theta (5,) of natural parameters: logarithms of E, A and B."""
    return np.array([*(np.log(params[name]) for name in "EAB"), params["alpha"], params["beta"]], dtype=float)


def grid_starts(indices: np.ndarray) -> np.ndarray:
    """Return the starts (S, 5), internal, with these places in the published grid of 4,500."""
    axes = [np.log(GRID[name]) if name in "EAB" else GRID[name] for name in NAMES]
    places = np.unravel_index(indices, [len(axis) for axis in axes])
    return np.stack([axis[place] for axis, place in zip(axes, places)], axis=1)


def ends(
    starts: np.ndarray, x: Mapping[str, np.ndarray], loss: np.ndarray, *, scale: float, options: Mapping[str, float],
    factor: float = 1.0, weights: np.ndarray | None = None, enough: float = -np.inf,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Run L-BFGS-B from every start (S, 5); return where each ended (S, 5) and the plain Huber sum there (S,).

    ``scale`` multiplies the sum: 1e3 as in the replication, 1/n for a mean. ``factor`` multiplies the result once more,
    rounded in between as it would be by a script that takes a mean and scales it up. Ends are returned whether or not
    the optimiser reports success, as a script that keeps the lowest value would do. Starts that come after one that
    got down to ``enough``, the known optimum, cannot end lower and are left out.
    """
    logs = (np.log(x["N"]), np.log(x["D"]), np.log(loss))
    weights = np.ones(loss.size) if weights is None else weights

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = huber_sum(theta, *logs, weights, scale)
        return factor * value, factor * gradient

    found, values = [], []
    for start in starts:
        found.append(minimize(objective, start, jac=True, method="L-BFGS-B", options=dict(options)).x)
        values.append(huber_sum(found[-1], *logs, weights, 1.0)[0])
        if values[-1] <= enough:
            break
    return np.array(found), np.array(values)


def exponent(theta: np.ndarray) -> np.ndarray:
    """Return a = beta / (alpha + beta) of internal parameters (..., 5)."""
    return theta[..., 4] / (theta[..., 3] + theta[..., 4])

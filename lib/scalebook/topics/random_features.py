"""Linear random features with a power-law spectrum: the test loss in closed form, and measured without a test set.

Latent x in R^M, Gaussian, covariance diag(lam), lam_k = k^-(1+alpha). Teacher y = w.x (+ noise), w ~ N(0, I). A student
sees N random projections U x of T samples and is fitted by least squares or ridge. Closed form: Maloney, Roberts and
Sully 2022 (arXiv:2210.16859) for no ridge. The form with ridge and label noise follows by deterministic equivalents,
first given the features, then over them; the tests compare it with simulation.

Shape code: M latents, N features, T samples, E effective dimensions. Losses are squared errors in units of w.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from scalebook.errors import UserError

BISECTIONS, NEWTON_STEPS = 30, 6  # the bracket spans some 40 powers of e; Newton then doubles the digits


def spectrum(count: int, alpha: float) -> np.ndarray:
    """Return the variances lam_k = k^-(1+alpha) of `count` latent directions (M,)."""
    return np.arange(1, count + 1) ** -(1.0 + alpha)


def effective_scale(lam: np.ndarray, dimension: float | np.ndarray) -> np.ndarray:
    """Return kappa with sum_k lam_k/(lam_k + kappa) = dimension, the shape of `dimension`; 0 from M dimensions on.

    Directions with lam well above kappa are resolved, those below are not; `dimension` counts them softly.
    Raises UserError for dimensions at or below 0.
    """
    n = np.asarray(dimension, dtype=float)
    if not (n > 0).all():
        raise UserError(f"An effective dimension of {n.min():g} was given; it must lie above 0.")
    wanted = np.minimum(n, len(lam) * (1 - 1e-12)).reshape(-1, 1)
    low = np.full(wanted.shape, np.log(lam.min()) + np.log1p(-wanted.max() / len(lam)) - 1)
    high = np.log(lam.sum() / wanted) + 1e-9  # n = sum lam/(lam + kappa) < sum lam / kappa
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        above = (1 / (1 + np.exp(middle) / lam)).sum(axis=1, keepdims=True) > wanted
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    log_kappa = (low + high) / 2
    for _ in range(NEWTON_STEPS):
        share = 1 / (1 + np.exp(log_kappa) / lam)
        log_kappa = log_kappa + (share.sum(1, keepdims=True) - wanted) / (share * (1 - share)).sum(1, keepdims=True)
    return np.where(n >= len(lam), 0.0, np.exp(log_kappa).reshape(n.shape))


def edge_width(lam: np.ndarray, kappa: np.ndarray) -> np.ndarray:
    """Return delta = sum_k lam_k kappa/(lam_k + kappa)^2, how many directions are neither resolved nor lost."""
    share = 1 / (1 + np.asarray(kappa, dtype=float)[..., None] / lam)
    return (share * (1 - share)).sum(axis=-1)


def closed_form(
    lam: np.ndarray, features: float | np.ndarray, samples: float | np.ndarray, noise: float = 0.0
) -> np.ndarray:
    """Return the mean ridgeless test loss; `features` N and `samples` T broadcast, either may be infinite.

    Without noise kappa(r) r/(1 - r/R), r and R the smaller and the larger of N and T: symmetric, infinite at N = T.
    `noise` is the variance of the labels' noise, counted in the loss: noise/(1 - N/T) for N < T, but
    noise (T/delta + T/(N - T)) for N > T, where delta is the `edge_width` at kappa(T). The noise breaks the symmetry.
    """
    n, t = np.broadcast_arrays(np.asarray(features, dtype=float), np.asarray(samples, dtype=float))
    r, larger = np.minimum(n, t), np.maximum(n, t)
    kappa = effective_scale(lam, r)
    with np.errstate(divide="ignore", invalid="ignore"):  # N = T is infinite, and is meant to be
        signal = np.where(r >= len(lam), 0.0, kappa * r / (1 - r / larger))
        if noise == 0.0:
            return signal
        rank = np.minimum(n, len(lam))  # more features than latents still span only the latents
        under = 1 / (1 - rank / t)
        over = t / edge_width(lam, kappa) + np.where(np.isinf(n), 0.0, t / (n - t))
        return signal + noise * np.where(rank < t, under, np.where(n > t, over, np.inf))


def ridge_loss(
    lam: np.ndarray,
    features: float | np.ndarray,
    samples: float | np.ndarray,
    dimension: np.ndarray,
    noise: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (loss, ridge), each (..., E), of the ridge that leaves the student `dimension` (E,) effective dimensions.

    For 0 < n < min(N, T): loss = kappa delta N T/D with D = (N - n)(T - n) + delta (N + T - 2n), at the ridge
    kappa (N - n)(T - n)/M on sum over samples (y - theta.phi)^2 + ridge |theta|^2, U having entries of variance 1/M.
    Noise adds noise T (N - n + delta)/D. `features`, `samples` (...) get the effective dimensions as a last axis.
    """
    big_n, big_t = (np.asarray(v, dtype=float)[..., None] for v in np.broadcast_arrays(features, samples))
    n = np.asarray(dimension, dtype=float)
    kappa = effective_scale(lam, n)
    delta = edge_width(lam, kappa)
    free_n, free_t = big_n - n, big_t - n
    below = free_n * free_t + delta * (free_n + free_t)
    inside = (free_n > 0) & (free_t > 0)
    loss = (kappa * delta * big_n * big_t + noise * big_t * (free_n + delta)) / np.where(inside, below, 1.0)
    return np.where(inside, loss, np.inf), kappa * free_n * free_t / len(lam)


def best_ridge(lam: np.ndarray, features: np.ndarray, samples: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """Return the mean test loss at the best ridge, the shape of `features` and `samples` broadcast (both finite)."""
    smallest = np.minimum(features, samples).max()
    grid = np.unique(np.concatenate([np.geomspace(0.5, smallest, 160), np.linspace(1, smallest, 160)]))
    return ridge_loss(lam, features, samples, grid[grid < len(lam)], noise)[0].min(axis=-1)


def one_sided_loss(lam: np.ndarray, draws: np.ndarray) -> float:
    """Return the loss with the other resource unlimited, averaged exactly over teachers; `draws` (r, M) normal.

    Read as r projections it is the best student with infinitely many samples, read as r samples (scaled by sqrt(lam))
    the least-norm fit with infinitely many features: tr(L) - tr((Z L Z^T)^-1 Z L^2 Z^T) in both cases, L = diag(lam).
    """
    scaled = draws * np.sqrt(lam)
    return float(lam.sum() - np.trace(np.linalg.solve(scaled @ scaled.T, (scaled * lam) @ scaled.T)))


def measured_loss(lam: np.ndarray, maps: np.ndarray, draws: np.ndarray) -> float:
    """Return the test loss of the least-norm least-squares student, averaged exactly over teachers.

    maps: U (N, M) of standard normals (their scale does not matter without a ridge); draws: Z (T, M), the samples being
    Z sqrt(lam). The loss is |sqrt(L)(I - U^T Phi^+ X)|^2 with Phi = X U^T; exchanging U and Z leaves it unchanged.
    """
    narrow, wide = (maps, draws) if len(maps) <= len(draws) else (draws, maps)  # exact symmetry: see the chapter
    scaled = narrow * np.sqrt(lam)  # (r, M)
    cross = scaled @ wide.T  # (r, R)
    fitted = cho_solve(cho_factor(cross @ cross.T), cross) @ wide  # (r, M): rows of (cross cross^T)^-1 cross wide
    weighted = narrow * lam
    inner = (weighted @ narrow.T) @ (fitted * lam)
    return float(lam.sum() - 2 * (weighted * fitted * np.sqrt(lam)).sum() + (inner * fitted).sum())


def measured_path(
    lam: np.ndarray, maps: np.ndarray, draws: np.ndarray, ridges: np.ndarray, noise: float = 0.0
) -> np.ndarray:
    """Return the test loss at each ridge (R,), averaged exactly over teachers and, with `noise`, over label noise.

    maps U (N, M) standard normal, divided by sqrt(M) here so that ridges are those of `ridge_loss`; draws Z (T, M).
    A ridge of 0 gives the least-norm solution; singular values below 1e-10 of the largest are dropped.
    `maps` with columns of zeros is a student who does not see those latents.
    """
    u, x = maps / np.sqrt(len(lam)), draws * np.sqrt(lam)
    left, s, right = np.linalg.svd(x @ u.T, full_matrices=False)  # (T, r), (r,), (r, N)
    kept = s > 1e-10 * s[0]
    left, s, right = left[:, kept], s[kept], right[kept]
    seen, labels = right @ u, left.T @ x  # (r, M): features and samples in the singular directions
    gram, kernel = (seen * lam) @ seen.T, labels @ labels.T
    match = ((seen * lam) * labels).sum(axis=1)
    shrink = s / (s**2 + np.asarray(ridges, dtype=float)[:, None])  # (R, r)
    quadratic = np.einsum("ki,ij,kj->k", shrink, gram * kernel, shrink)
    return lam.sum() + noise - 2 * shrink @ match + quadratic + noise * (shrink**2) @ np.diag(gram)

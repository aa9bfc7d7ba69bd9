"""Random features under gradient flow: loss over time and width, and over time and data when samples are reused.

Kernel eigenvalues lam_k = k^-b, target power p_k = w_k^2 lam_k = k^-a (Bordelon, Atanasov and Pehlevan 2024,
arXiv:2402.01092). With A (N, M) of standard normals and B = A sqrt(L)/sqrt(N), L = diag(lam), the residual u obeys
du/dt = -B^T B u from u_0 = sqrt(p), and the loss is |u|^2. Nothing is stepped: one small eigenproblem gives every time.
Means over A for large sizes come from the resolvent, by its deterministic equivalent and an inverse Laplace transform.

Shape code: M modes, N features, D samples, T times, K nodes of the contour.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scalebook.topics.random_features import edge_width, effective_scale

NODES = 18  # of the inverse Laplace transform: about ten digits, and rounding stays below 1e-11
NEWTON_STEPS = 40


def unlimited(lam: np.ndarray, power: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the loss of infinitely many features, sum_k p_k exp(-2 lam_k t), the shape of `times`."""
    t = np.asarray(times, dtype=float)
    return (power * np.exp(-2 * t[..., None] * lam)).sum(axis=-1)


def width_law(lam: np.ndarray, power: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return the mean loss after infinite time, sum_k p_k kappa/(lam_k + kappa), kappa = effective_scale(N)."""
    kappa = effective_scale(lam, widths)[..., None]
    return (power * kappa / (lam + kappa)).sum(axis=-1)


def flow_losses(
    a: np.ndarray, lam: np.ndarray, power: np.ndarray, widths: Sequence[int], times: np.ndarray
) -> np.ndarray:
    """Return the loss (widths, T) of students that use the first N rows of a (N_max, M), N in `widths`.

    `times` is (T,), the same for all, or (widths, T).
    """
    scaled = a * np.sqrt(lam)
    gram, start = scaled @ scaled.T, scaled @ np.sqrt(power)
    each = np.broadcast_to(times, (len(widths), np.shape(times)[-1]))
    losses = np.empty(each.shape)
    for i, n in enumerate(widths):
        s, v = np.linalg.eigh(gram[:n, :n] / n)
        s = np.maximum(s, 0.0)  # rounding leaves tiny negative ones
        share = np.divide((v.T @ start[:n]) ** 2 / n, s, out=np.zeros(n), where=s > 1e-14 * s[-1])  # c_j^2
        losses[i] = power.sum() - share.sum() + np.exp(-2 * each[i][:, None] * s) @ share
    return losses


def first_order_weights(lam: np.ndarray, power: np.ndarray, times: Sequence[float], modes: int = 400) -> np.ndarray:
    """Return the derivative (T, modes, modes) of the loss to A^T A/N at the identity, for the first `modes` modes."""
    lam, u = lam[:modes], np.sqrt(power[:modes])
    gap = lam[:, None] - lam
    np.fill_diagonal(gap, 1.0)
    found = []
    for t in times:
        decay = np.exp(-2 * t * lam)
        slopes = (decay[:, None] - decay) / gap
        np.fill_diagonal(slopes, -2 * t * decay)
        found.append(np.outer(u * np.sqrt(lam), u * np.sqrt(lam)) * slopes)
    return np.array(found)


def first_order(a: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the part of the loss (T,) that is linear in A^T A/N - I, a (N, M); its mean over draws is exactly zero.

    One draw's loss scatters by 1/sqrt(N) about a mean that lies 1/N above `unlimited`; nearly all of that scatter is
    this term, so subtracting it makes the mean visible and changes no expectation.
    """
    a = a[:, : weights.shape[-1]]
    return ((a @ weights) * a).sum(axis=(1, 2)) / len(a) - np.trace(weights, axis1=1, axis2=2)


def reuse_losses(z: np.ndarray, lam: np.ndarray, power: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (test, train) loss (T,) of full-batch flow on D fixed samples z sqrt(lam), z (D, M), with all features."""
    scaled = z * np.sqrt(lam / len(z))
    weights = np.sqrt(power / lam)  # the teacher in the latents' own units
    s, v = np.linalg.eigh(scaled @ scaled.T)
    kept = s > 1e-14 * s[-1]
    s, directions = s[kept], (v[:, kept] / np.sqrt(s[kept])).T @ scaled  # (D, M), orthonormal rows
    along = directions @ weights
    decay = np.exp(-np.asarray(times)[:, None] * s)  # (T, D)
    left = weights - ((1 - decay) * along) @ directions  # (T, M)
    return (lam * left**2).sum(axis=1), (s * (decay * along) ** 2).sum(axis=1)


def mean_flow(lam: np.ndarray, power: np.ndarray, width: float, times: np.ndarray) -> np.ndarray:
    """Return the mean loss (T,) at one width and all times for large sizes, nothing fitted.

    The Laplace transform of the mean loss is the resolvent sum_k p_k (kappa/(lam_k + kappa))/s, where kappa solves
    kappa (1 - (1/N) sum_k lam_k/(lam_k + kappa)) = s/2; it is inverted along Talbot's contour.
    """
    s, kappa, gamma = _contour(lam, width, times)
    ratio = kappa[..., None] / (lam + kappa[..., None])  # (K, T, M)
    return _inverted(gamma, (power * ratio).sum(axis=-1) / s, times)


def mean_reuse(lam: np.ndarray, power: np.ndarray, samples: float, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (test, train) loss (T,) of flow on `samples` reused samples, for large sizes, nothing fitted.

    Train: -1/2 d/dt of the mean of w.exp(-2 S t)w, with the transform 1/2 sum_k p_k/(lam_k + kappa). Test: two
    resolvents, sum_k p_k k1 k2/((lam_k + k1)(lam_k + k2)) / (1 - g) / (s1 s2), where
    g = (1/D) sum_k lam_k^2/((lam_k + k1)(lam_k + k2)), inverted in both times. There the flow is exp(-S t), so kappa
    belongs to s and not to s/2.
    """
    s, kappa, gamma = _contour(lam, samples, times)
    train = _inverted(gamma, 0.5 * (power / (lam + kappa[..., None])).sum(axis=-1), times)
    s, kappa, gamma = _contour(lam, samples, times, speed=1.0)
    resolved = 1 / (lam + kappa[..., None])  # (K, T, M)
    total = np.zeros(len(times))
    for conjugate in (False, True):
        other, k2, s2, g2 = (np.conj(v) if conjugate else v for v in (resolved, kappa, s, gamma))
        pairs = np.einsum("ktm,ltm,m->klt", resolved, other, power, optimize=True)
        mixed = np.einsum("ktm,ltm,m->klt", resolved, other, lam**2, optimize=True) / samples
        value = pairs * (kappa[:, None] * k2[None]) / (1 - mixed) / (s[:, None] * s2[None])
        total += (gamma[:, None, None] * g2[None, :, None] * value).sum(axis=(0, 1)).real
    return 2 / (25 * np.asarray(times) ** 2) * total, train


def reuse_plateau(lam: np.ndarray, power: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Return the mean test loss after infinite time on D reused samples, sum_k p_k (kappa/(lam_k+kappa))^2 D/delta."""
    kappa = effective_scale(lam, samples)
    bias = (power * (kappa[..., None] / (lam + kappa[..., None])) ** 2).sum(axis=-1)
    return bias * np.asarray(samples) / edge_width(lam, kappa)


def optimum(widths: np.ndarray, losses: np.ndarray, factor: float = 4.0) -> tuple[float, float]:
    """Return (log N*, log L*) of one curve of loss over width, or NaNs where the optimum is not inside the grid.

    A parabola through log L over log N, over the widths within `factor` of the best one; the whole window must lie in
    the grid and the parabola must be convex.
    """
    best = widths[np.argmin(losses)]
    if best / factor < widths[0] or best * factor > widths[-1]:
        return np.nan, np.nan
    near = (widths >= best / factor) & (widths <= best * factor)
    x = np.log(widths[near])
    c2, c1, c0 = np.polyfit(x - np.log(best), np.log(losses[near]), 2)
    if c2 <= 0:
        return np.nan, np.nan
    return np.log(best) - c1 / (2 * c2), c0 - c1**2 / (4 * c2)


def _contour(
    lam: np.ndarray, width: float, times: np.ndarray, speed: float = 2.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return nodes s (K, T), their kappa (K, T) and weights (K,) of the fixed Talbot rule (Abate and Valko 2004).

    kappa solves kappa (1 - (1/N) sum_k lam_k/(lam_k + kappa)) = s/speed, by Newton from the real axis on, node by node.
    """
    angle = np.arange(1, NODES) * np.pi / NODES
    cot = 1 / np.tan(angle)
    delta = np.concatenate([[2 * NODES / 5], 2 * NODES / 5 * angle * (cot + 1j)])
    gamma = np.concatenate([[0.5], 1 + 1j * angle * (1 + cot**2) - 1j * cot]) * np.exp(delta)
    s = delta[:, None] / np.asarray(times, dtype=float)
    kappa = np.empty_like(s)
    guess = s[0] / speed + lam.sum() / width  # to the right of the root, where Newton falls monotonically
    for k in range(NODES):
        for _ in range(NEWTON_STEPS):
            ratio = lam / (lam + guess[:, None])  # (T, M)
            step = (guess * (1 - ratio.sum(axis=1) / width) - s[k] / speed) / (1 - (ratio**2).sum(axis=1) / width)
            guess = guess - step
            if np.abs(step).max() <= 1e-13 * np.abs(guess).min():
                break
        kappa[k] = guess
    return s, kappa, gamma


def _inverted(gamma: np.ndarray, transform: np.ndarray, times: np.ndarray) -> np.ndarray:
    return 2 / (5 * np.asarray(times, dtype=float)) * (gamma[:, None] * transform).sum(axis=0).real

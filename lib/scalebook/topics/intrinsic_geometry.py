"""How many dimensions does a cloud of points have, and how sharp are the labels on it?

Two estimators of the dimension from distances to neighbours, a generator of smooth manifolds whose dimension and label
frequency are known, and label sharpness.

Shape code: n points, D ambient dimensions, d dimensions of the manifold, q sines of the lift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalebook.errors import UserError

SINES = 16  # features of the lift before it is turned into the ambient space
WAVES = 8  # waves in a label function
REFERENCE = 4000  # points that fix centre and scale of a lift and the balance of a label


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return squared distances (..., n, m) between the rows of a (..., n, D) and of b (..., m, D), never below 0."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    centre = a.mean(axis=-2, keepdims=True)  # nearer to the origin, fewer digits are lost in the difference
    a, b = a - centre, b - centre
    left, right = (a**2).sum(-1)[..., :, None], (b**2).sum(-1)[..., None, :]
    return np.maximum(left + right - 2 * a @ np.swapaxes(b, -1, -2), 0.0)


def neighbour_distances(points: np.ndarray, k: int) -> np.ndarray:
    """Return the distances (..., n, k) of every point to its k nearest others, the nearest first."""
    if not 1 <= k < points.shape[-2]:
        raise UserError(f"{k} neighbours asked for among {points.shape[-2]} points; give 1 to {points.shape[-2] - 1}.")
    squared = squared_distances(points, points)
    rows = np.arange(points.shape[-2])
    squared[..., rows, rows] = np.inf
    return np.sqrt(np.sort(np.partition(squared, k - 1, axis=-1)[..., :k], axis=-1))


def dimension_of_ratios(ratios: np.ndarray, kept: float = 0.9) -> float:
    """Return the dimension from ratios r2/r1 of the distances to the second and the first neighbour.

    For points that are locally uniform P(ratio > x) = x^-d, so -log(1 - F) against log ratio is a line through the
    origin with slope d. F is the empirical distribution; the largest tenth of the ratios is left out (Facco,
    d'Errico, Rodriguez and Laio 2017, arXiv:1803.06992).
    """
    logs = np.sort(np.log(ratios))
    n = len(logs)
    used = slice(0, int(kept * n))
    y = -np.log1p(-np.arange(1, n + 1)[used] / n)
    return float((logs[used] * y).sum() / (logs[used] ** 2).sum())


def two_nn(points: np.ndarray) -> float:
    """Return the two-neighbour dimension of a cloud (n, D); points that coincide with another are left out."""
    r = neighbour_distances(points, 2)
    r = r[r[:, 0] > 1e-9 * np.median(r[:, 1])]
    if len(r) < 20:
        raise UserError(f"two_nn: {len(r)} points differ from all others; at least 20 are needed.")
    return dimension_of_ratios(r[:, 1] / r[:, 0])


def likelihood_dimension(points: np.ndarray, k: int = 20) -> float:
    """Return the maximum-likelihood dimension from k neighbours (Levina and Bickel 2005).

    Around one point the k - 1 logarithms log(r_k / r_j), j < k, are exponential with mean 1/d; 1/d is averaged over
    points too, as MacKay and Ghahramani proposed, which leaves it without bias.
    """
    r = neighbour_distances(points, k)
    r = r[r[:, 0] > 0]
    return float(1 / np.log(r[:, -1:] / r[:, :-1]).mean())


@dataclass(frozen=True)
class Manifold:
    """A smooth d-dimensional manifold in D ambient dimensions: random sines of a latent u in [0, 1]^d, turned.

    ``directions`` (q, d) and ``phases`` (q,) of the sines; ``turn`` (q, D) has orthonormal rows, so that D changes
    where the cloud lies and nothing about its shape; ``centre`` (q,) and ``scale`` make the mean 0 and the mean
    squared norm q.
    """

    directions: np.ndarray
    phases: np.ndarray
    turn: np.ndarray
    centre: np.ndarray
    scale: float

    def lift(self, u: np.ndarray) -> np.ndarray:
        """Return the points (n, D) of latents u (n, d)."""
        return (np.sin(u @ self.directions.T + self.phases) - self.centre) @ self.turn / self.scale


def manifold(d: int, ambient: int, rng: np.random.Generator) -> Manifold:
    """Draw a manifold of dimension d in ``ambient`` >= 16 dimensions; the ambient dimension is drawn last."""
    if ambient < SINES:
        raise UserError(f"manifold: {ambient} ambient dimensions; the lift has {SINES} sines, give at least as many.")
    directions, phases = 1.5 * rng.standard_normal((SINES, d)), rng.uniform(0, 2 * np.pi, SINES)
    features = np.sin(rng.random((REFERENCE, d)) @ directions.T + phases)
    centre = features.mean(axis=0)
    scale = np.sqrt(((features - centre) ** 2).sum(axis=1).mean() / SINES)
    turn = np.linalg.qr(rng.standard_normal((ambient, SINES)))[0].T
    return Manifold(directions, phases, turn, centre, float(scale))


@dataclass(frozen=True)
class Label:
    """A two-class label on [0, 1]^d: is a sum of random plane waves above its median?

    Waves have ``directions`` (8, d) of length 1; ``frequency`` counts half-waves over a unit of length.
    """

    directions: np.ndarray
    phases: np.ndarray
    weights: np.ndarray
    latents: np.ndarray  # the reference points that set the median

    def value(self, u: np.ndarray, frequency: float) -> np.ndarray:
        """Return the sum of waves (n,) before the threshold."""
        return np.cos(np.pi * frequency * u @ self.directions.T + self.phases) @ self.weights

    def __call__(self, u: np.ndarray, frequency: float) -> np.ndarray:
        """Return the labels (n,), 0 or 1, of latents u (n, d)."""
        return (self.value(u, frequency) > np.median(self.value(self.latents, frequency))).astype(np.int64)


def label(d: int, rng: np.random.Generator) -> Label:
    """Draw a label function on [0, 1]^d; the same waves serve every frequency."""
    directions = rng.standard_normal((WAVES, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return Label(directions, rng.uniform(0, 2 * np.pi, WAVES), rng.standard_normal(WAVES), rng.random((REFERENCE, d)))


def label_sharpness(points: np.ndarray, labels: np.ndarray, closest: float | None = None) -> float:
    """Return how fast labels change: |y_i - y_j| / |x_i - x_j| over pairs with different labels.

    Without ``closest`` the maximum over pairs, as in the code of Konz and Mazurowski (arXiv:2401.08865). With it the
    mean over that share of the different-label pairs, the closest ones, which is far less noisy. points (n, D),
    labels (n,) 0 or 1.
    """
    first, second = points[labels == 0], points[labels == 1]
    if not len(first) or not len(second):
        raise UserError("label_sharpness: all labels are equal; there is no pair to compare.")
    squared = squared_distances(first, second).ravel()
    if closest is None:
        return float(1 / np.sqrt(squared.min()))
    count = max(1, round(closest * len(squared)))
    return float((1 / np.sqrt(np.partition(squared, count - 1)[:count])).mean())


def nearest_error(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray, sizes) -> np.ndarray:
    """Return the error of the nearest neighbour, (len(sizes), tasks), for the first n training points, n in ``sizes``.

    train (N, D), test (M, D); labels (N, tasks) and truth (M, tasks) hold the classes of several tasks on one cloud.
    """
    squared = squared_distances(test, train)
    nearest = [squared[:, :n].argmin(axis=1) for n in sizes]
    return np.array([(labels[rows] != truth).mean(axis=0) for rows in nearest])

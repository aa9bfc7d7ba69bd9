"""The pruned perceptron, solved: test error of a max-margin student on examples that a probe chose to keep.

A teacher T labels Gaussian inputs x in N dimensions by the sign of T.x. A probe, a unit vector at an angle to T, ranks
a pool of ``alpha_tot * N`` examples by how far they lie from its own boundary; the fraction f nearest to it ("hard") or
farthest from it ("easy") is kept, which leaves ``alpha = f * alpha_tot`` examples per dimension. The student is the
max-margin perceptron through the origin. For N to infinity its error is a number, found here without a simulation.

Setting: Sorscher et al. 2022 (arXiv 2206.14486). The equations here are our own derivation by Gordon's comparison
inequality. Write the student as w = A e1 + B e2 + S u, with e1 the teacher, e2 the direction that completes the plane
of teacher and probe, u a unit vector orthogonal to both. The shortest w with margin 1 on all kept examples solves

    minimise (A^2 + B^2 + S^2) / 2   where   sqrt(alpha E[(1 - y (A x1 + B x2) + S h)_+^2]) <= S,

h being standard normal and the expectation over kept examples. Objective and constraint are convex in (A, B, S), so the
solution is unique and Newton steps on the Lagrangian find it. The test error is arccos(A / |w|) / pi.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from scalebook.errors import UserError

Keep = Literal["hard", "easy", "random"]
FAR = 6.0  # normal coordinates beyond this carry 2e-9 of the weight
# panels halve this many times towards the boundary of the probe (on a line twice as often), of the teacher
HALVINGS, ACROSS = 7, 6
PER_PANEL = 8  # with these the error is right to 1e-5 of itself (tests/test_topics_perceptron.py)
STEPS = 200
SETTLED = 1e-9


@dataclass(frozen=True)
class Kept:
    """Kept examples as quadrature points, mirrored to the side where the label is +1.

    ``along`` is the coordinate along the teacher (above 0), ``across`` the one in the plane of teacher and probe, both
    of shape (points,); ``weight`` sums to 1.
    """

    along: np.ndarray
    across: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Student:
    """The student for each density of data: overlap with the teacher, margin and test error, each (densities,)."""

    overlap: np.ndarray
    margin: np.ndarray
    error: np.ndarray


@lru_cache(maxsize=1024)
def kept_examples(fraction: float, keep: Keep = "hard", angle: float = 0.0) -> Kept:
    """Return the distribution of kept examples for a probe at ``angle`` degrees from the teacher.

    ``fraction`` in (0, 1] of the pool is kept; "random" ignores the probe. Raises UserError outside these ranges.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"The kept fraction is {fraction}; give a number above 0 and at most 1.")
    if not 0 <= angle <= 90:
        raise UserError(f"The angle of the probe is {angle} degrees; give 0 to 90.")
    if keep not in ("hard", "easy", "random"):
        raise UserError(f"keep={keep!r} is unknown; choose hard, easy or random.")
    inner, outer = 0.0, FAR
    if keep == "hard" and fraction < 1:
        outer = float(ndtri((1 + fraction) / 2))
    elif keep == "easy" and fraction < 1:
        inner = float(ndtri(1 - fraction / 2))
    if angle == 0 or keep == "random" or fraction == 1:
        along, weight = _panels(inner, outer, 2 * HALVINGS)
        across = np.zeros_like(along)
    else:
        along, across, weight = _plane(inner, outer, math.radians(angle))
    return Kept(along, across, weight / weight.sum())


def student(alpha: np.ndarray | float, kept: Kept) -> Student:
    """Solve for the max-margin student at each density ``alpha`` of kept examples per dimension, shape (densities,).

    Raises ArithmeticError, naming the density, when the Newton steps do not settle.
    """
    w = np.array([_shortest(float(a), kept) for a in np.ravel(alpha)])
    length = np.linalg.norm(w, axis=1)
    # the angle from both parts of w keeps the digits that an arc cosine loses near overlap 1
    error = np.arctan2(np.hypot(w[:, 1], w[:, 2]), w[:, 0]) / math.pi
    return Student(w[:, 0] / length, 1 / length, error)


def pruned_error(
    alpha: np.ndarray | float, fraction: float = 1.0, keep: Keep = "hard", angle: float = 0.0
) -> np.ndarray:
    """Return the test error at ``alpha`` kept examples per dimension, in the shape of ``alpha``."""
    found = student(np.ravel(alpha), kept_examples(float(fraction), keep, float(angle))).error
    return found.reshape(np.shape(alpha))


def crossover(fraction: float, angle: float = 0.0, bracket: tuple[float, float] = (1.0, 60.0)) -> float:
    """Return the pool size per dimension above which keeping the hard examples beats keeping the easy ones."""

    def gap(log_total: float) -> float:
        alpha = fraction * math.exp(log_total)
        hard, easy = (float(pruned_error(alpha, fraction, keep, angle)) for keep in ("hard", "easy"))
        return math.log(hard / easy)

    return math.exp(brentq(gap, math.log(bracket[0]), math.log(bracket[1]), xtol=1e-9))


def envelope(alpha: np.ndarray, fractions: np.ndarray, angle: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the least error over the allowed fractions (keep-hard) and the fraction that gives it, per ``alpha``."""
    errors = np.stack([pruned_error(alpha, f, "hard", angle) for f in fractions])
    best = errors.argmin(axis=0)
    return errors.min(axis=0), np.asarray(fractions)[best]


def local_slope(alpha: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return -d ln error / d ln alpha between neighbouring densities, shape (densities - 1,)."""
    return -np.diff(np.log(error)) / np.diff(np.log(alpha))


def _panels(near: np.ndarray | float, far: np.ndarray | float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points and normal weights (..., points) in ``count`` + 1 panels between the ends, halving towards ``near``."""
    near, far = np.asarray(near)[..., None], np.asarray(far)[..., None]
    edges = near + np.concatenate([[0.0], 2.0 ** np.arange(-count, 1)]) * (far - near)
    nodes, weights = np.polynomial.legendre.leggauss(PER_PANEL)
    half = np.diff(edges)[..., None] / 2
    points = edges[..., :-1, None] + half * (1 + nodes)
    mass = np.abs(half) * weights * np.exp(-(points**2) / 2)
    flat = (*points.shape[:-2], -1)
    return points.reshape(flat), mass.reshape(flat)


def _plane(inner: float, outer: float, angle: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points of the half plane along > 0 whose probe coordinate z has inner < |z| < outer, and their weights.

    The other coordinate v is orthogonal to z: along = cos z - sin v, and the label turns at v = z / tan, where panels end.
    """
    cosine, sine = math.cos(angle), math.sin(angle)
    positive, weight = _panels(inner, outer, HALVINGS)
    parts = []
    for z in (positive, -positive):
        v, mass = _panels(np.clip(z * cosine / sine, -FAR, FAR), np.full_like(z, -FAR), ACROSS)
        parts.append((cosine * z[:, None] - sine * v, sine * z[:, None] + cosine * v, weight[:, None] * mass))
    along, across, weight = (np.concatenate([part[i].ravel() for part in parts]) for i in range(3))
    heavy = weight > 1e-14 * weight.sum()
    return along[heavy], across[heavy], weight[heavy]


def _shortest(alpha: float, kept: Kept) -> np.ndarray:
    """Return (A, B, S) of the shortest feasible student by Newton steps on the Lagrangian, started at (1, 0, 1)."""
    w, price = np.array([1.0, 0.0, 1.0]), 1.0
    value, gradient, curvature = _constraint(w, alpha, kept)
    for _ in range(STEPS):
        system = np.zeros((4, 4))
        system[:3, :3] = np.eye(3) + price * curvature
        system[:3, 3] = system[3, :3] = gradient
        step = np.linalg.solve(system, np.append(-w, -value))
        if np.abs(step[:3]).max() < SETTLED * (1 + np.abs(w).max()) and abs(value) < SETTLED:
            return w
        price = max(step[3], 1e-6)
        # halve the step until length plus priced violation falls and S stays above zero
        before, size = w @ w / 2 + 2 * price * abs(value), 1.0
        while size > 1e-12:
            trial = w + size * step[:3]
            if trial[2] > 0.05 * w[2]:
                found = _constraint(trial, alpha, kept)
                if trial @ trial / 2 + 2 * price * abs(found[0]) <= before * (1 + 1e-13):
                    break
            size /= 2
        w, (value, gradient, curvature) = trial, found
    raise ArithmeticError(f"The student did not settle at alpha = {alpha:g} in {STEPS} Newton steps.")


def _constraint(w: np.ndarray, alpha: float, kept: Kept) -> tuple[float, np.ndarray, np.ndarray]:
    """Return g(w) = sqrt(alpha E[(1 - y (A x1 + B x2) + S h)_+^2]) - S with gradient (3,) and Hessian (3, 3)."""
    x1, x2, spread = kept.along, kept.across, w[2]
    miss = 1 - w[0] * x1 - w[1] * x2  # (points,)
    ratio = miss / spread
    flat = alpha * kept.weight * ndtr(ratio)
    mixed = alpha * kept.weight * np.exp(ratio**2 / -2) / math.sqrt(2 * math.pi)
    pull = miss * flat + spread * mixed
    root = math.sqrt(miss @ pull + spread**2 * flat.sum())
    first = 2 * np.array([-pull @ x1, -pull @ x2, spread * flat.sum()])
    flat1, corner = flat * x1, [-(mixed @ x1), -(mixed @ x2)]
    second = 2 * np.array([
        [flat1 @ x1, flat1 @ x2, corner[0]],
        [flat1 @ x2, (flat * x2) @ x2, corner[1]],
        [*corner, flat.sum() - mixed @ ratio],
    ])  # fmt: skip
    slope = first / (2 * root)
    hessian = second / (2 * root) - np.outer(slope, slope) / root
    slope[2] -= 1
    return root - spread, slope, hessian

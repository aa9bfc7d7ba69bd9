"""The max-margin perceptron on samples: exact solvers without a bias, and the pruned teacher-student experiment."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import nnls

from scalebook.errors import UserError
from scalebook.topics.perceptron import Keep

SMALL = 150  # dimensions below which the reference solver is the faster one
ROUNDS = 80
GAP = 1e-10  # duality gap over |w|^2: w is then right to about 1e-6 of its length
STUCK = 1e-6  # a step this small means that no interior point is left: the rows are not separable
BACKOFF = 0.995  # share of the way to the boundary that an interior step may go


def max_margin(rows: np.ndarray) -> np.ndarray:
    """Return the shortest w with rows @ w >= 1 for rows = label * example, shape (examples, N).

    No bias, no soft margin, no step size: a primal-dual interior-point method (Mehrotra 1992, SIAM Journal on
    Optimization 2:575), or the reference solver where that is faster. Raises ArithmeticError when it does not settle,
    as with rows that no w separates.
    """
    if rows.shape[1] < SMALL:
        return max_margin_reference(rows)
    w = rows.mean(axis=0)
    w /= np.median(rows @ w)
    slack, force = np.maximum(rows @ w - 1, 0.1), np.full(len(rows), w @ w / len(rows))
    for _ in range(ROUNDS):
        dual, primal = w - rows.T @ force, rows @ w - 1 - slack
        gap = float(slack @ force) / len(rows)
        if gap * len(rows) < GAP * (w @ w) and np.abs(primal).max() < 1e-8:
            return w
        curvature = np.eye(len(w)) + rows.T @ (rows * (force / slack)[:, None])
        factor = cho_factor(curvature, overwrite_a=True, check_finite=False)

        def direction(centre: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            dw = cho_solve(factor, rows.T @ ((centre - force * primal) / slack) - dual, check_finite=False)
            ds = rows @ dw + primal
            return dw, ds, (centre - force * ds) / slack

        _, ds, du = direction(-slack * force)
        aimed = float((slack + _reach(slack, ds) * ds) @ (force + _reach(force, du) * du)) / len(rows)
        dw, ds, du = direction((aimed / gap) ** 3 * gap - slack * force - ds * du)
        size = BACKOFF * min(_reach(slack, ds), _reach(force, du))
        if size < STUCK:
            break
        w, slack, force = w + size * dw, slack + size * ds, force + size * du
    raise ArithmeticError(f"No max-margin w found: the {len(rows)} rows are not separable.")


def max_margin_reference(rows: np.ndarray) -> np.ndarray:
    """Return the same w by least-distance programming on non-negative least squares (Lawson and Hanson 1974, ch. 23).

    Raises ArithmeticError when the rows are not separable.
    """
    system = np.vstack([rows.T, np.ones(len(rows))])
    target = np.zeros(len(system))
    target[-1] = 1
    residual = system @ nnls(system, target, maxiter=20 * len(rows))[0] - target
    if abs(residual[-1]) < 1e-12:
        raise ArithmeticError(f"The {len(rows)} rows are not separable: no w has rows @ w above 0 for all of them.")
    return -residual[:-1] / residual[-1]


def simulated_error(
    rng: np.random.Generator,
    dimensions: int,
    alpha_total: float,
    fraction: float = 1.0,
    keep: Keep = "hard",
    angle: float = 0.0,
) -> float:
    """Draw a pool, prune it, train the student, and return its test error (known from its angle to the teacher).

    The pool has ``alpha_total * dimensions`` Gaussian examples; the ``fraction`` with the smallest ("hard") or largest
    ("easy") distance from the boundary of a probe at ``angle`` degrees is kept, or any of them ("random"). Raises
    UserError when nothing would be kept.
    """
    size = round(alpha_total * dimensions)
    kept = round(fraction * size)
    if kept < 1:
        raise UserError(f"{alpha_total} x {dimensions} examples, of which {fraction} are kept: that leaves none.")
    pool = rng.standard_normal((size, dimensions))
    turn = math.radians(angle)
    distance = np.abs(math.cos(turn) * pool[:, 0] + math.sin(turn) * pool[:, 1])
    order = {"hard": distance.argsort(), "easy": (-distance).argsort(), "random": np.arange(size)}[keep]
    pool = pool[order[:kept]]
    w = max_margin(np.sign(pool[:, :1]) * pool)
    return math.atan2(float(np.linalg.norm(w[1:])), float(w[0])) / math.pi


def simulated_errors(
    rngs: Sequence[np.random.Generator], dimensions: int, points: Sequence[tuple[float, float, Keep, float]]
) -> np.ndarray:
    """Return errors (draws, points): one generator a draw, one (alpha_total, fraction, keep, angle) a point."""
    return np.array([[simulated_error(rng, dimensions, *point) for point in points] for rng in rngs])


def _reach(value: np.ndarray, step: np.ndarray) -> float:
    """Return how much of a step keeps all values above zero, at most 1."""
    falling = step < 0
    return min(1.0, float((value[falling] / -step[falling]).min(initial=np.inf)))

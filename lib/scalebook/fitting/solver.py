"""Many small smooth minimisations solved as one batch by a damped Newton method.

The batch is a stack of problems of the same kind (other starting points, other data), each with q unknowns, q small.
Every step evaluates value, gradient and curvature of all unfinished problems together, in blocks that fit the
processor's cache, and solves q x q systems.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Objective = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]

HOPELESS = 1e12  # damping at which a step is too short to matter: the problem is given up where it stands
GROWTH = 3.0  # of the damping after a step that failed, doubled with every further failure in a row
TINY = 1e-300


@dataclass(frozen=True)
class Solution:
    """Where each problem ended: ``theta`` (S, q), ``value`` (S,), ``converged`` (S,) and ``steps`` taken (S,)."""

    theta: np.ndarray
    value: np.ndarray
    converged: np.ndarray
    steps: np.ndarray

    def take(self, rows: np.ndarray) -> Solution:
        """Return the solutions of the problems ``rows``, in that order."""
        return Solution(self.theta[rows], self.value[rows], self.converged[rows], self.steps[rows])

    def put(self, rows: np.ndarray, other: Solution) -> None:
        """Take over the solutions of the problems ``rows`` from ``other``, which holds them in that order."""
        for name in ("theta", "value", "converged", "steps"):
            getattr(self, name)[rows] = getattr(other, name)


def minimise(
    objective: Objective,
    start: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    tolerance: float = 1e-12,
    most_steps: int = 300,
    damping: float = 1e-3,
    block: int = 32,
) -> Solution:
    """Minimise from every row of ``start`` (S, q) inside the box ``low``, ``high`` (q,).

    ``objective(theta, rows)`` gets unknowns (s, q) and the rows of the stack they belong to (s,), and returns value
    (s,), gradient (s, q), a symmetric curvature matrix (s, q, q) and a positive scale (s, q). The curvature may be the
    Hessian or any model of it. A step solves (curvature + lambda diag(scale)) step = -gradient (Levenberg 1944,
    Marquardt 1963); lambda shrinks the more, the better the quadratic model predicted the decrease, and grows where it
    did not (Nielsen 1999). A step that does not lower the value is taken back. Unknowns at an end of the box that would
    leave it are held.

    A problem is finished when the model predicts a decrease below ``tolerance`` times the value. Rows that start where
    the value is infinite are returned as they are, not converged. Deterministic.
    """
    theta = np.clip(np.array(start, dtype=float), low, high)
    count, size = theta.shape
    result = Solution(theta.copy(), np.full(count, np.inf), np.zeros(count, dtype=bool), np.zeros(count, dtype=int))
    rows = np.arange(count)
    state = [theta, *_in_blocks(objective, theta, rows, block), np.full(count, damping), np.full(count, GROWTH)]
    keep = np.isfinite(state[1])
    diagonal = np.arange(size)
    for step_count in range(most_steps + 1):
        if not keep.all():
            rows, state = rows[keep], [array[keep] for array in state]
        if rows.size == 0 or step_count == most_steps:
            break
        theta, value, gradient, curvature, scale, lam, growth = state
        held = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
        slope, matrix = gradient, curvature.copy()
        if held.any():
            slope = np.where(held, 0.0, gradient)
            matrix[held[:, :, None] | held[:, None, :]] = 0.0
        floor = 1e-10 * scale.max(axis=1, keepdims=True) + TINY
        matrix[:, diagonal, diagonal] += lam[:, None] * (scale + floor) + held
        trial = np.clip(theta - np.linalg.solve(matrix, slope[:, :, None])[:, :, 0], low, high)
        step = trial - theta
        predicted = -np.einsum("si,si->s", step, slope + np.einsum("sij,sj->si", curvature, step) / 2)
        sound = predicted >= 0  # otherwise the damped matrix is not positive definite: no trial, more damping
        if not sound.all():
            trial = np.where(sound[:, None], trial, theta)
        found = _in_blocks(objective, trial, rows, block)
        gain = np.where(sound, value - found[0], -1.0)
        better = gain > 0
        # the damping makes steps short; undamped the decrease would be about 1 + lambda times as large
        finished = sound & (predicted * (1 + lam) <= tolerance * value + TINY)
        for array, new in zip(state, (trial, *found)):
            np.copyto(array, new, where=better.reshape(-1, *[1] * (new.ndim - 1)))
        ratio = np.clip(gain / np.maximum(predicted, TINY), 0.0, 1.0)
        smaller = lam * np.maximum(0.1, 1 - (2 * ratio - 1) ** 3)
        state[5] = np.maximum(np.where(better, smaller, np.maximum(lam, 1e-6) * growth), 1e-12)
        state[6] = np.where(better, GROWTH, 2 * growth)
        keep = ~finished & (state[5] < HOPELESS)
        result.theta[rows], result.value[rows] = theta, value
        result.converged[rows] = finished
        result.steps[rows] += 1
    return result


def _in_blocks(objective: Objective, theta: np.ndarray, rows: np.ndarray, block: int) -> tuple[np.ndarray, ...]:
    parts = [objective(theta[i : i + block], rows[i : i + block]) for i in range(0, len(rows), block)]
    return tuple(np.concatenate(part) for part in zip(*parts))

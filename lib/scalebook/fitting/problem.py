"""A law, its data and the loss that a fit minimises, ready for the batch solver."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scalebook.errors import UserError
from scalebook.fitting.solver import Solution, minimise
from scalebook.laws import Law
from scalebook.laws.forms import OUTSIDE

LEAST_SQUARES = 1e100  # a Huber delta that no residual reaches
SKETCH = 96  # rows that the first stage looks at
WIDE = 0.1  # Huber delta of the first stage: beyond ten percent a point counts as an outlier even there


class Problem:
    """Sum over rows of Huber(log law - log y) as a function of a law's free parameters, for a stack of problems.

    ``y`` is (n,), or (R, n) where the problems of the stack differ in their data. ``weights`` (R, n) of `polish`
    multiply the rows of the data, problem by problem: a bootstrap resample is the number of times each row was drawn.
    Free parameters are (S, q), internal: theta = matrix free + constant carries out what the law fixes and ties.
    """

    def __init__(self, law: Law, x: dict[str, np.ndarray], y: np.ndarray, delta: float | None):
        self.law, self.x, self.y = law, x, y
        self.log_y = np.log(y)
        self.delta = LEAST_SQUARES if delta is None else float(delta)
        self.form = law.bind(x)
        self.matrix, self.constant = law.restriction(self.form)
        self.both_sides = np.kron(self.matrix, self.matrix)
        self.low, self.high = self._box()

    def search(self, start: np.ndarray) -> Solution:
        """Carry every start (S, q) to the bottom of its valley.

        The first stage only needs a sketch of the data: up to `SKETCH` rows, spread evenly over the order of y. Where
        it ends outside the law's domain on the rows it did not see, it is repeated on all of them. Starts that have met
        after it, every parameter alike to a thousandth, go on as one.
        """
        order = np.argsort(self.y, kind="stable")
        chosen = order[np.linspace(0, self.y.size - 1, min(self.y.size, SKETCH)).round().astype(int)]
        sketch = Problem(self.law, {name: array[chosen] for name, array in self.x.items()}, self.y[chosen], self.delta)
        near = sketch.approach(start)
        mantissa, power = np.frexp(near)
        _, first, group = np.unique(np.ldexp(mantissa.round(3), power), axis=0, return_index=True, return_inverse=True)
        found = self.polish(near[first])
        lost = np.flatnonzero(np.isinf(found.value))
        if lost.size:
            found.put(lost, self.polish(self.approach(start[first[lost]])))
        best = [int(np.argmin(found.value))]
        found.put(best, self.polish(found.theta[best], tolerance=1e-12))
        return found.take(group)

    def approach(self, start: np.ndarray) -> np.ndarray:
        """Come near by least squares, reweighted for a Huber function no narrower than `WIDE`: safe from afar."""
        delta = max(self.delta, WIDE)
        return minimise(
            lambda free, rows: self._evaluate(free, rows, delta, None, exact=False),
            start, self.low, self.high, damping=1e-2, tolerance=1e-5, most_steps=100, block=self._block(),
        ).theta  # fmt: skip

    def polish(self, start: np.ndarray, weights: np.ndarray | None = None, tolerance: float = 1e-9) -> Solution:
        """Solve from starts (S, q) that are near, by Newton's method: fast at the end."""
        return minimise(
            lambda free, rows: self._evaluate(free, rows, self.delta, weights, exact=True),
            start, self.low, self.high, damping=1e-4, tolerance=tolerance, block=self._block(),
        )  # fmt: skip

    def starting_points(self, starts: Mapping[str, object] | np.ndarray | None) -> np.ndarray:
        """Return free parameters (S, q) for the `starts` argument of `fit`."""
        if starts is None or isinstance(starts, Mapping):
            return self.free(self.law.starting_points(self.form, self.x, self.y, starts or {}))
        given = np.atleast_2d(np.asarray(starts, dtype=float))
        if given.shape[1] != len(self.law.parameters) or not np.isfinite(given).all():
            raise UserError(
                f"starts: got an array of shape {given.shape}; give finite values of shape (starts, "
                f"{len(self.law.parameters)}), columns {list(self.law.parameters)}, or a dict name -> values."
            )
        return self.free(self.law.internal(given, self.form))

    def free(self, theta: np.ndarray) -> np.ndarray:
        """Return the free parameters (S, q) of theta (S, p)."""
        return theta[:, [list(self.law.parameters).index(name) for name in self.law.free]]

    def natural(self, free: np.ndarray) -> dict[str, np.ndarray]:
        """Return name -> values (S,) in natural units for free parameters (S, q)."""
        values = self.law.natural(free @ self.matrix.T + self.constant, self.form)
        return dict(zip(self.law.parameters, values.T.copy()))

    def influence(self, free: np.ndarray) -> np.ndarray:
        """Return the root mean square over the data of d log law / d theta, shape (p,), at free parameters (q,)."""
        _, state = self.form.evaluate((self.matrix @ free + self.constant)[None])
        return np.sqrt(self.form.squares(state, np.ones((1, self.y.size)))[0] / self.y.size)

    def _box(self) -> tuple[np.ndarray, np.ndarray]:
        largest = self.free(self.form.limits()[None])[0]
        ends = np.array([self.law.limits.get(name, (np.nan, np.nan)) for name in self.law.parameters]).T
        low, high = self.free(self.law.internal(ends, self.form))
        return np.fmax(low, -largest), np.fmin(high, largest)

    def _block(self) -> int:
        """How many problems to evaluate together: as many rows of data as stay in the processor's cache."""
        return max(1, 16_000 // self.y.shape[-1])

    def _evaluate(self, free: np.ndarray, rows: np.ndarray, delta: float, weights: np.ndarray | None, exact: bool):
        """Return value, gradient, curvature and scale for `solver.minimise`.

        Huber's function is r^2/2 up to |r| = delta and delta (|r| - delta/2) beyond (Huber 1964). The curvature is the
        Hessian if ``exact``, else that of least squares reweighted by slope / residual.
        """
        theta = free @ self.matrix.T + self.constant
        log_law, state = self.form.evaluate(theta)
        residual = log_law - (self.log_y if self.log_y.ndim == 1 else self.log_y[rows])
        slope = np.clip(residual, -delta, delta)
        weight = None if weights is None else weights[rows]
        pull = slope if weight is None else slope * weight
        value = np.einsum("si,si->s", pull, residual) - np.einsum("si,si->s", pull, slope) / 2
        gradient = self.form.gradient(state, pull)
        steepness = delta / np.maximum(np.abs(residual), delta)  # slope / residual
        if exact:
            inside = steepness == 1.0
            if weight is not None:
                inside, steepness = inside * weight, steepness * weight
            curvature = self.form.hessian(theta, state, inside, pull)
            scale = self.form.squares(state, steepness)
        else:
            curvature = self.form.hessian(theta, state, steepness, None)
            scale = np.einsum("sii->si", curvature)
        small = (len(free), *free.shape[1:] * 2)
        curvature = (curvature.reshape(len(free), -1) @ self.both_sides).reshape(small)  # matrix' curvature matrix
        value = np.where(value < OUTSIDE * 1e-10, value, np.inf)
        return value, gradient @ self.matrix, curvature, scale @ self.matrix**2

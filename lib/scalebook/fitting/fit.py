"""Fit a scaling law to data: one robust engine for all laws.

The fit minimises the sum of Huber's function over log residuals, log law - log y, which weighs relative errors alike at
every scale and bounds the pull of runs that went wrong. All starting points are solved as one batch, and so are all
bootstrap resamples, with analytic derivatives: every start is carried into its valley by reweighted least squares with
a wide Huber function, then to the bottom of the function that was asked for by Newton's method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy import stats

from scalebook.errors import UserError
from scalebook.estimate import FEW_FOR_INTERVAL, Estimate
from scalebook.fitting.cautions import cautions, reached
from scalebook.fitting.problem import Problem
from scalebook.laws import Law
from scalebook.laws.law import as_floats

Quantity = str | Callable[[dict[str, np.ndarray]], np.ndarray]


class Starts(NamedTuple):
    """How many starting points ended at the best optimum found, out of how many."""

    reached: int
    total: int

    def __str__(self) -> str:
        return f"{self.reached} of {self.total} starts reached the optimum"


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted law. ``loss`` is the sum of Huber terms on log residuals; ``warnings`` say what a referee would ask."""

    law: Law
    x: dict[str, np.ndarray] = field(repr=False)
    y: np.ndarray = field(repr=False)
    delta: float | None
    params: dict[str, float]
    loss: float
    starts: Starts
    warnings: tuple[str, ...]
    resamples: dict[str, np.ndarray] | None = field(default=None, repr=False)  # name -> (bootstrap,)
    units: int = 0  # how many rows, or units, were resampled
    by_unit: bool = False

    def predict(self, x) -> np.ndarray:
        """Return the law at new inputs (same form as in `fit`), shape (n,), unit of y."""
        return self.law(x, self.params)

    def band(self, x, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the bootstrap interval of the prediction at new inputs, each of shape (n,)."""
        return tuple(np.quantile(self.law(x, self._drawn()), self._tails(level), axis=0))

    def interval(self, quantity: Quantity, level: float = 0.95) -> Estimate:
        """Return a parameter, or a function of the parameters, with its bootstrap interval over the resampled units.

        ``quantity`` is a name, or a function of a dict name -> array of shape (draws,) that returns one value a draw:
        ``fit.interval(lambda p: p["beta"] / (p["alpha"] + p["beta"]))``. Percentile interval. If whole units were
        resampled its levels are widened for their small number as in `estimate.bootstrap` (Hesterberg 2015, The
        American Statistician 69:371); resampled rows need no widening (benchmarks/coverage_of_truth.py). Fewer than 3
        units: no interval. Raises UserError without resamples.
        """
        if isinstance(quantity, str):
            self.law.check_names([quantity])
            name, quantity = quantity, lambda p: p[name]
        drawn = self._drawn()
        value = np.asarray(quantity({name: np.array([v]) for name, v in self.params.items()})).item()
        if self.units < FEW_FOR_INTERVAL:
            return Estimate(value, None, None, self.units)
        low, high = np.quantile(np.asarray(quantity(drawn), dtype=float), self._tails(level))
        return Estimate(value, min(low, value), max(high, value), self.units)

    def refit(self, weights: np.ndarray | None = None, y: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Refit many variants of the data at once, each from this optimum; return name -> array of shape (R,).

        ``weights`` (R, n) weigh the rows of the data (0 leaves a row out), ``y`` (R, n) replaces the values:
        subsamples, leave-one-out, wild bootstraps and simulated data are all of this kind.
        """
        if (weights is None) == (y is None):
            raise UserError("refit: give weights or y, one of them, with one row per variant of the data.")
        name, given = ("weights", weights) if y is None else ("y", y)
        given = np.atleast_2d(np.asarray(given, dtype=float))
        allowed = given >= 0 if y is None else given > 0
        if given.shape[1:] != self.y.shape or not (np.isfinite(given) & allowed).all():
            wanted = "none below zero" if y is None else "all above zero"
            raise UserError(
                f"refit: {name} must have shape (variants, {self.y.size}), got {given.shape}; finite, {wanted}."
            )
        problem = Problem(self.law, self.x, self.y if y is None else given, self.delta)
        optimum = self.law.internal(np.array([[self.params[name] for name in self.law.parameters]]), problem.form)
        start = problem.free(optimum).repeat(len(given), axis=0)
        return problem.natural(problem.polish(start, weights=given if y is None else None).theta)

    @property
    def residuals(self) -> np.ndarray:
        """log y - log law at the data, shape (n,)."""
        return np.log(self.y) - np.log(self.predict(self.x))

    def __str__(self) -> str:
        lines = [f"{self.law.name}: y = {self.law.formula}   ({self.y.size} points, {self.starts})"]
        for name, unit in self.law.parameters.items():
            shown = f"{self.params[name]:.6g}" if self.resamples is None else str(self.interval(name))
            held = (
                " (fixed)" if name in self.law.fixed else f" (= {self.law.tied[name]})" if name in self.law.tied else ""
            )
            lines.append(f"  {name:<8} {shown}{held}   [{unit}]")
        return "\n".join([*lines, *(f"  warning: {warning}" for warning in self.warnings)])

    def _drawn(self) -> dict[str, np.ndarray]:
        if self.resamples is None:
            raise UserError("This fit has no resamples and so no intervals; call fit(..., bootstrap=400).")
        return self.resamples

    def _tails(self, level: float) -> tuple[float, float]:
        if not 0 < level < 1:
            raise UserError(f"level is {level}; give a share between 0 and 1, such as 0.95.")
        tail = (1 - level) / 2
        if self.by_unit and self.units >= FEW_FOR_INTERVAL:
            spare = self.units - 1
            tail = float(stats.norm.cdf(np.sqrt(self.units / spare) * stats.t.ppf(tail, spare)))
        return tail, 1 - tail


def fit(
    law: Law,
    x,
    y,
    *,
    delta: float | None = 1e-3,
    starts: Mapping[str, object] | np.ndarray | None = None,
    bootstrap: int = 0,
    units: Sequence | None = None,
    seed: int = 0,
) -> Fit:
    """Fit ``law`` to y (n,), positive, at inputs ``x``: a dict of arrays (n,), or one array for a law of one input.

    ``delta`` is where Huber's function on log residuals turns from square to linear (1e-3 as in Hoffmann et al. 2022);
    None for least squares. ``starts``: None for the law's own grid, a dict name -> values for a product grid
    (parameters left out take the law's own values, amplitudes are read off the data), or an array (S, parameters) in
    natural units.
    ``bootstrap`` resamples of the rows, or of whole ``units`` (n labels, such as the run a checkpoint belongs to), are
    refitted from the optimum; resamples with too few distinct units to determine the law are drawn again. The same
    arguments give the same result. Raises UserError on data or arguments that cannot be used.
    """
    law, x, y = _checked(law, x, y)
    if delta is not None and not delta > 0:
        raise UserError(f"fit: delta is {delta}; give a number above zero (1e-3 is usual), or None for least squares.")
    problem = Problem(law, x, y, delta)
    found = problem.search(problem.starting_points(starts))
    best = int(np.argmin(found.value))
    if not np.isfinite(found.value[best]):
        raise UserError(f"{law.name}: at no starting point is the law above zero on all data; give others in starts.")
    params = {name: float(value[0]) for name, value in problem.natural(found.theta[[best]]).items()}
    counts = Starts(int(reached(found).sum()), found.value.size)
    said = cautions(problem, found)
    resamples, n_units = None, 0
    if bootstrap:
        if y.size <= len(law.free):
            raise UserError(
                f"fit: {y.size} points for {len(law.free)} parameters leave nothing to resample; set bootstrap=0."
            )
        weights, n_units = _resample(law, y.size, units, bootstrap, seed)
        again = problem.polish(found.theta[[best]].repeat(bootstrap, axis=0), weights)
        resamples = problem.natural(again.theta)
        if (lost := int((~again.converged).sum())) > 0.01 * bootstrap:
            said.append(f"{lost} of {bootstrap} resamples did not converge: intervals are not to be trusted")
    return Fit(
        law, x, y, delta, params, float(found.value[best]), counts, tuple(said), resamples, n_units, units is not None
    )


def _checked(law: Law, x, y) -> tuple[Law, dict[str, np.ndarray], np.ndarray]:
    if not isinstance(law, Law):
        raise UserError(f"fit: law is {law!r}; give a law such as laws.Chinchilla (see scalebook.laws).")
    x, y = law.check_inputs(x), as_floats(y, "fit: y")
    rows = next(iter(x.values())).size
    if y.shape != (rows,):
        raise UserError(f"fit: y has shape {y.shape} and x {rows} rows; give one value of y for each row of x.")
    bad = ~(np.isfinite(y) & (y > 0))
    if bad.any():
        raise UserError(
            f"fit: y holds {y[bad][0]} ({bad.sum()} such values of {y.size}); the law is fitted to log y, so every "
            "value must be finite and above zero. Drop or repair these rows."
        )
    if rows < len(law.free):
        raise UserError(f"fit: {rows} points cannot determine {len(law.free)} parameters {law.free}; fix or tie some.")
    return law, x, y


def _resample(law: Law, rows: int, units: Sequence | None, count: int, seed: int) -> tuple[np.ndarray, int]:
    """Return how often each row enters each resample, shape (count, rows), and the number of units."""
    labels = np.arange(rows) if units is None else np.asarray(units)
    if labels.shape != (rows,):
        raise UserError(f"fit: units has shape {labels.shape}; give one label for each of the {rows} rows.")
    _, unit_of_row = np.unique(labels, return_inverse=True)
    n_units = int(unit_of_row.max()) + 1
    generator = np.random.default_rng(seed)
    least = min(len(law.free) + 1, rows)  # with fewer distinct rows a resample says nothing about the parameters
    kept: list[np.ndarray] = []
    while sum(map(len, kept)) < count:
        drawn = generator.multinomial(n_units, np.full(n_units, 1 / n_units), size=count)[:, unit_of_row]
        kept.append(drawn[(drawn > 0).sum(axis=1) >= least])
    return np.concatenate(kept)[:count].astype(float), n_units

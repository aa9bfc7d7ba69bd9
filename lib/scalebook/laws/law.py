"""What a law is: a name, a formula, inputs and parameters with units, and a form that computes it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from scalebook.errors import ScalebookError, UserError
from scalebook.laws.forms import NO_AMPLITUDE, OUTSIDE, Form

EXPONENTS = (0.1, 0.3, 0.6, 1.2)  # where the search starts for an exponent about which the law says nothing
LARGEST_LOG = 709.0  # e^709 is the last that float64 can hold


@dataclass(frozen=True)
class Law:
    """A functional form with named parameters. Laws are values: fixing or tying parameters gives a new law.

    ``inputs`` and ``parameters`` map names to units ("y" is the unit of what is fitted). ``form`` takes a dict of input
    arrays and returns the `Form` that computes the law on them, nearly always a `Sum`. ``grid`` takes the same dict and
    returns starting values for the parameters that are not amplitudes; those it leaves out start at `EXPONENTS`.
    ``signed`` names inputs that may be zero or negative.

    A new law in a few lines, the sparse law of Hossain et al. (2025, arXiv 2508.06617)::

        Sparse = Law(
            name="sparse",
            formula="e (1-S)^gamma + (a (1-S)^alpha + c S) N^-alpha + b D^-beta",
            inputs={"N": "parameters", "D": "tokens", "S": "inactive share"},
            parameters={"e": "y", "a": "y N^alpha", "b": "y D^beta", "c": "y N^alpha"}
            | {"alpha": "1", "beta": "1", "gamma": "1"},
            signed=("S",),
            form=lambda x: Sum(
                e={"gamma": np.log1p(-x["S"])},
                a={"alpha": np.log1p(-x["S"]) - np.log(x["N"])},
                c={"alpha": -np.log(x["N"]), "times": x["S"]},
                b={"beta": -np.log(x["D"])},
            ),
        )
    """

    name: str
    formula: str
    inputs: Mapping[str, str]
    parameters: Mapping[str, str]
    form: Callable[[dict[str, np.ndarray]], Form]
    grid: Callable[[dict[str, np.ndarray]], Mapping[str, object]] = lambda x: {}
    signed: tuple[str, ...] = ()
    fixed: Mapping[str, float] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __call__(self, x, params: Mapping[str, float] | None = None, **named: float) -> np.ndarray:
        """Return y at the inputs ``x`` (dict of arrays; a plain array for a law of one input), natural units.

        Parameters are floats, or arrays of shape (S,) for a stack, which gives y of shape (S, n). Fixed and tied
        parameters may be left out. Where the law is zero or negative y is NaN. Raises UserError on unknown or missing
        names and on inputs that cannot be used.
        """
        form = self.bind(self.check_inputs(x))
        given = {**self.fixed, **(params or {}), **named}
        given |= {name: given[other] for name, other in self.tied.items() if other in given and name not in given}
        if set(given) != set(self.parameters):
            raise UserError(f"{self.name}: got parameters {sorted(given)}; it has {list(self.parameters)}, all needed.")
        stack = np.broadcast_arrays(*(np.asarray(given[name], dtype=float) for name in self.parameters))
        theta = self.internal(np.stack([np.atleast_1d(column) for column in stack], axis=1), form)
        log_y = form.evaluate(theta)[0]
        y = np.where(log_y < OUTSIDE, np.exp(np.minimum(log_y, LARGEST_LOG)), np.nan)
        return y[0] if np.ndim(stack[0]) == 0 else y

    def fix(self, **values: float) -> Law:
        """Return the law with parameters held at known values: ``Chinchilla.fix(E=1.69)``; an amplitude may be 0."""
        self.check_names(values)
        return replace(
            self,
            fixed={**self.fixed, **{name: float(value) for name, value in values.items()}},
            tied={name: other for name, other in self.tied.items() if name not in values},
        )

    def tie(self, **pairs: str) -> Law:
        """Return the law with parameters made equal: ``Chinchilla.tie(beta="alpha")`` leaves alpha free."""
        self.check_names(pairs)
        self.check_names(pairs.values())
        tied = {**self.tied, **pairs}
        clash = [name for name, other in tied.items() if other in tied or name in self.fixed]
        if clash:
            raise UserError(
                f"{self.name}: cannot tie {clash}; tie a parameter that is not fixed to one that is not tied."
            )
        return replace(self, tied=tied)

    def bound(self, **limits: tuple[float, float]) -> Law:
        """Return the law with parameters kept inside limits: ``PowerFloor.bound(E=(1.0, 2.5), alpha=(0, 2))``."""
        self.check_names(limits)
        wrong = [name for name, (low, high) in limits.items() if not low < high]
        if wrong:
            raise UserError(f"{self.name}: limits of {wrong} are not (low, high) with low < high.")
        return replace(self, limits={**self.limits, **limits})

    def on(self, **inputs: str) -> Law:
        """Return the law with inputs renamed to the columns of your data: ``PowerFloor.on(x="N")``."""
        unknown = [name for name in inputs if name not in self.inputs]
        if unknown:
            raise UserError(f"{self.name} has no input {unknown}; it has {list(self.inputs)}.")
        new = {name: inputs.get(name, name) for name in self.inputs}

        def back(x: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {old: x[name] for old, name in new.items()}

        return replace(
            self,
            inputs={new[name]: unit for name, unit in self.inputs.items()},
            signed=tuple(new[name] for name in self.signed),
            form=lambda x: self.form(back(x)),
            grid=lambda x: self.grid(back(x)),
        )

    def named(self, name: str) -> Law:
        """Return the law under another name, which tells two variants apart in tables."""
        return replace(self, name=name)

    @property
    def free(self) -> list[str]:
        """The names of the parameters that a fit determines."""
        return [name for name in self.parameters if name not in self.fixed and name not in self.tied]

    def check_names(self, names: Iterable[str]) -> None:
        """Raise UserError if any of the names is not a parameter of the law."""
        unknown = [name for name in names if name not in self.parameters]
        if unknown:
            raise UserError(f"{self.name} has no parameter {unknown}; it has {list(self.parameters)}.")

    def check_inputs(self, x) -> dict[str, np.ndarray]:
        """Return the inputs as float arrays of one length; UserError says what is wrong with them."""
        if not isinstance(x, Mapping) and not hasattr(x, "columns"):
            if len(self.inputs) > 1:
                raise UserError(
                    f"{self.name} has inputs {list(self.inputs)}; give x as a dict of arrays with these names."
                )
            x = {next(iter(self.inputs)): x}
        absent = [name for name in self.inputs if name not in x]
        surplus = [] if hasattr(x, "columns") else [name for name in x if name not in self.inputs]
        if absent or surplus:
            raise UserError(f"{self.name} has inputs {list(self.inputs)}; x lacks {absent} and has unknown {surplus}.")
        arrays = {name: as_floats(x[name], f"{self.name}: {name}") for name in self.inputs}
        for name, array in arrays.items():
            bad = ~np.isfinite(array) | ((array <= 0) & (name not in self.signed))
            if bad.any():
                allowed = "finite" if name in self.signed else "finite and above zero"
                raise UserError(
                    f"{self.name}: {name} holds {array[bad][0]} (and {bad.sum() - 1} more like it); values must be "
                    f"{allowed}. Drop or repair these rows."
                )
        if len({array.size for array in arrays.values()}) > 1:
            sizes = {name: array.size for name, array in arrays.items()}
            raise UserError(f"{self.name}: inputs differ in length, {sizes}; give one value per row in each.")
        return arrays

    def bind(self, x: dict[str, np.ndarray]) -> Form:
        """Return the form on checked inputs, its parameters in the law's order."""
        form = self.form(x)
        if form.mentions() != set(self.parameters):
            raise ScalebookError(
                f"Law {self.name!r} declares parameters {list(self.parameters)} and its form uses "
                f"{sorted(form.mentions())}; name the same ones in both."
            )
        return form.prepare(tuple(self.parameters), next(iter(x.values())).size)

    def internal(self, natural: np.ndarray, form: Form) -> np.ndarray:
        """Return theta (..., p) for natural values (..., p): logs where the parameter is positive; NaN stays NaN."""
        theta = np.array(natural, dtype=float)
        for j, name in enumerate(self.parameters):
            if name in form.positive:
                values = theta[..., j]
                if (values < 0).any():
                    raise UserError(
                        f"{self.name}: {name} is never below zero in this law, got {values[values < 0].flat[0]}."
                    )
                theta[..., j] = np.where(values == 0, NO_AMPLITUDE, np.log(np.where(values == 0, 1.0, values)))
        return theta

    def natural(self, theta: np.ndarray, form: Form) -> np.ndarray:
        """Return natural values (..., p) for theta (..., p)."""
        positive = np.array([name in form.positive for name in self.parameters])
        return np.where(positive, np.exp(np.where(positive, theta, 0.0)), theta)

    def restriction(self, form: Form) -> tuple[np.ndarray, np.ndarray]:
        """Return (T, c) with theta = T free + c, shapes (p, q) and (p,), which carries out `fix` and `tie`."""
        names = list(self.parameters)
        constant = np.array([self.fixed.get(name, np.nan) for name in names])
        constant = np.nan_to_num(self.internal(constant, form))
        matrix = np.zeros((len(names), len(self.free)))
        for i, name in enumerate(names):
            source = self.tied.get(name, name)
            if source in self.fixed:
                constant[i] = constant[names.index(source)]
            else:
                matrix[i, self.free.index(source)] = 1.0
            if (name in form.positive) != (source in form.positive):
                raise UserError(
                    f"{self.name}: {name} and {source} cannot be tied, only one of them is positive by definition."
                )
        return matrix, constant

    def starting_points(
        self, form: Form, x: dict[str, np.ndarray], y: np.ndarray, grid: Mapping[str, object]
    ) -> np.ndarray:
        """Return theta (S, p) over the product grid of the given values and the law's own for the rest.

        Amplitudes (parameters the form can fill in from the data) join the grid only where values for them are given.
        """
        self.check_names(grid)
        own = {name: EXPONENTS for name in self.parameters if name not in form.fillable} | dict(self.grid(x))
        lists = [self.fixed.get(name, {**own, **grid}.get(name, np.nan)) for name in self.parameters]
        lists = [[np.nan] if name in self.tied else np.atleast_1d(v) for name, v in zip(self.parameters, lists)]
        points = np.array(list(itertools.product(*lists)), dtype=float)
        names = list(self.parameters)
        for name, other in self.tied.items():
            points[:, names.index(name)] = points[:, names.index(other)]
        theta = self.internal(points, form)
        return form.complete(theta, y) if np.isnan(theta).any() else theta


def as_floats(values, what: str) -> np.ndarray:
    """Return a one-dimensional float array; UserError, beginning with ``what``, if the values are not that."""
    try:
        array = np.atleast_1d(np.asarray(values, dtype=float))
    except (TypeError, ValueError) as error:
        raise UserError(f"{what} is not an array of numbers ({error}); give one number per row.") from error
    if array.ndim != 1 or array.size == 0:
        raise UserError(f"{what} has shape {array.shape}; give a one-dimensional array with at least one value.")
    return array

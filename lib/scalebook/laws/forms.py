"""How a law is computed: log values, gradients and curvature for a whole stack of parameter vectors at once.

A `Form` is the right-hand side of a law bound to n data points. It works in logs, log y = f(theta), on internal
parameters theta that need no constraint: the logarithm of every parameter that must be positive, the parameter itself
otherwise. Shapes: S parameter vectors in the stack, p parameters, n data points; theta is (S, p).

Almost every scaling law is a sum of powers and exponentials, so that f is a log-sum-exp of expressions linear in theta.
`Sum` takes such a law as a list of its terms and derives everything else. `Form` itself is for the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement

import numpy as np
from scipy.optimize import nnls

from scalebook.errors import ScalebookError

LARGEST_EXPONENT = 300.0  # no term may vary by more than e^300 over the data; float64 ends near e^709
NO_AMPLITUDE = -400.0  # log of an amplitude that stands for zero
OUTSIDE = 1e100  # "log y" where a law would be zero or negative: no fit goes there
SMALLEST_SHARE = 1e-3  # share of the fit given at the start to a term that least squares would leave out


class Form:
    """A law bound to data. A subclass names its parameters and writes `evaluate` and `complete`.

    ``positive`` parameters are logarithms inside theta; ``fillable`` ones can be read off the data once the others,
    which give the law its shape, are known.
    """

    names: tuple[str, ...]
    positive: frozenset[str]
    fillable: frozenset[str]

    def mentions(self) -> set[str]:
        """Return the names of all parameters."""
        return set(self.names)

    def prepare(self, names: Sequence[str], n: int) -> Form:
        """Fix the order of the parameters and the number of points n; returns self."""
        if tuple(names) != self.names:
            raise ScalebookError(
                f"A form with parameters {self.names} was given the order {tuple(names)}; they must agree."
            )
        return self

    def evaluate(self, theta: np.ndarray) -> tuple[np.ndarray, object]:
        """Return log y, shape (S, n), and a state for the derivatives: here the gradient of log y, (S, p, n)."""
        raise NotImplementedError

    def gradient(self, state: object, slope: np.ndarray) -> np.ndarray:
        """Return sum_i slope_i grad f_i, shape (S, p), for weights (S, n)."""
        return (state @ slope[:, :, None])[:, :, 0]

    def squares(self, state: object, weight: np.ndarray) -> np.ndarray:
        """Return sum_i weight_i (grad f_i)^2, shape (S, p): the scale on which each parameter matters.

        `Sum` adds the squares of a parameter's terms without their products, which serves as well.
        """
        return (state * state @ weight[:, :, None])[:, :, 0]

    def hessian(self, theta: np.ndarray, state: object, outer: np.ndarray, inner: np.ndarray | None) -> np.ndarray:
        """Return sum_i outer_i grad f_i grad f_i' + inner_i hess f_i, shape (S, p, p); the weights are (S, n).

        ``inner`` None leaves the second part out. This default differences the analytic gradient, which costs 2 p
        evaluations; `Sum` has the closed form.
        """
        product = (state * outer[:, None, :]) @ state.transpose(0, 2, 1)
        if inner is None:
            return product
        for j in range(len(self.names)):
            step = np.zeros_like(theta)
            step[:, j] = 1e-5 * (1 + np.abs(theta[:, j]))
            ahead, behind = (self.gradient(self.evaluate(theta + sign * step)[1], inner) for sign in (1, -1))
            product[:, j] += (ahead - behind) / (2 * step[:, j, None])
        return (product + product.transpose(0, 2, 1)) / 2

    def limits(self) -> np.ndarray:
        """Return the largest |theta| the solver may try, shape (p,), so that nothing overflows on the way."""
        raise NotImplementedError

    def complete(self, shapes: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return starting points theta: ``shapes`` (S, p) with the entries that are NaN filled in from the data.

        A form may try several fillings of one row and return more rows than it was given.
        """
        raise NotImplementedError


class Sum(Form):
    """A law that is a sum of terms, each an amplitude times the exponential of something linear in the exponents.

    Keyword arguments name the amplitudes (positive) and give each its exponents with what they multiply:
    ``Sum(E={}, A={"alpha": -np.log(N)})`` is E + A exp(-alpha log N) = E + A N^-alpha. The word ``times`` in a term is
    a known factor of either sign. ``linear`` holds parameters of either sign that enter without an exponential:
    ``linear={"a": 1.0, "b": -np.log(x)}`` is a - b log x.

    With terms s_k exp(t_k), s_k = +-1 and t_k linear in theta with gradient phi_k, and weights w_k = s_k exp(t_k) / y:
    grad log y = sum_k w_k phi_k and hess log y = sum_k w_k phi_k phi_k' - grad grad'. A linear parameter is a term of
    weight phi / y without a second derivative. All sums over data are products with features that the stack shares.
    """

    def __init__(self, linear: Mapping[str, object] | None = None, **terms: Mapping[str, object]):
        self.terms = {name: dict(term) for name, term in terms.items()}
        self.linear = dict(linear or {})
        self.positive = frozenset(self.terms)
        self.fillable = frozenset({*self.terms, *self.linear})

    def mentions(self) -> set[str]:
        return {*self.terms, *self.linear, *(name for term in self.terms.values() for name in term)} - {"times"}

    def prepare(self, names: Sequence[str], n: int) -> Sum:
        self.names, self.n = tuple(names), n

        def full(value: object) -> np.ndarray:
            return np.broadcast_to(np.asarray(value, dtype=float), n)

        columns, self._features, self._factors = [], [], []
        for amplitude, term in self.terms.items():
            exponents = [name for name in term if name != "times"]
            columns.append([names.index(name) for name in (amplitude, *exponents)])
            self._features.append(np.array([np.ones(n), *(full(term[name]) for name in exponents)]))
            self._factors.append(full(term["times"]) if "times" in term else None)
        self._columns = columns
        self._slopes = [(names.index(name), full(value)) for name, value in self.linear.items()]
        every = [*zip(columns, self._features), *(([j], np.ones((1, n))) for j, _ in self._slopes)]
        # weights @ _single gives the parts of a gradient, weights @ _double those of a Hessian; the 0/1 matrices
        # _place and _place_double add the parts up where they belong
        self._single = [np.ascontiguousarray(features.T) for _, features in every]
        self._squared = [single**2 for single in self._single]
        self._place = np.concatenate([np.eye(len(names))[here] for here, _ in every])
        self._double, places = {}, []
        for k, m in combinations_with_replacement(range(len(every)), 2):
            (rows, left), (cols, right) = every[k], every[m]
            kept = [(a, b) for a in range(len(rows)) for b in range(len(cols)) if k != m or a <= b]
            self._double[k, m] = np.array([left[a] * right[b] for a, b in kept]).T.copy()
            for a, b in kept:
                place = np.zeros((len(names), len(names)))
                place[rows[a], cols[b]] += 1
                if (k, a) != (m, b):
                    place[cols[b], rows[a]] += 1
                places.append(place.ravel())
        self._place_double = np.array(places)
        return self

    def _exponents(self, theta: np.ndarray) -> list[np.ndarray]:
        """Return t_k without known factors: (S, n), or (S, 1) for a term that does not vary over the data."""
        return [
            theta[:, columns] @ features if len(columns) > 1 else theta[:, columns]
            for columns, features in zip(self._columns, self._features)
        ]

    def evaluate(self, theta: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        weights = self._exponents(theta)
        top = np.max([t.max(axis=1) for t in weights], axis=0)[:, None] if weights else np.zeros((len(theta), 1))
        total = np.zeros((len(theta), self.n))
        for k, factor in enumerate(self._factors):
            weights[k] = np.exp(weights[k] - top)
            if factor is not None:
                weights[k] *= factor
            total += weights[k]
        if self._slopes:
            shrink = np.exp(np.minimum(-top, 2 * LARGEST_EXPONENT))
            weights += [slope * shrink for _, slope in self._slopes]
            total += sum(theta[:, j, None] * slope for j, slope in self._slopes) * shrink
        outside = total <= 0 if total.min() <= 0 else None
        if outside is not None:
            total[outside] = 1.0
        log_y = np.log(total)
        log_y += top
        if outside is not None:
            log_y[outside] = OUTSIDE
        share = np.divide(1.0, total, out=total)
        return log_y, [weight * share for weight in weights]

    def gradient(self, state, slope):
        return np.concatenate([(slope * w) @ single for w, single in zip(state, self._single)], axis=1) @ self._place

    def squares(self, state, weight):
        parts = [(weight * w * w) @ single for w, single in zip(state, self._squared)]
        return np.concatenate(parts, axis=1) @ self._place

    def hessian(self, theta, state, outer, inner):
        if inner is not None:
            outer = outer - inner
        left = [outer * w for w in state]
        parts = []
        for (k, m), products in self._double.items():
            weight = left[k] * state[m]
            if inner is not None and k == m and k < len(self.terms):
                weight += inner * state[k]
            parts.append(weight @ products)
        return (np.concatenate(parts, axis=1) @ self._place_double).reshape(len(theta), len(self.names), -1)

    def limits(self) -> np.ndarray:
        """No exponent may change a term by more than e^300 over the data; amplitudes may go where zero would be."""
        largest = np.zeros(len(self.names))
        for columns, features in zip(self._columns, self._features):
            largest[columns[1:]] = np.maximum(largest[columns[1:]], np.abs(features[1:]).max(axis=1))
        bounded = np.where(largest > 0, LARGEST_EXPONENT / np.where(largest > 0, largest, 1.0), np.inf)
        bounded[[columns[0] for columns in self._columns]] = -NO_AMPLITUDE
        return bounded

    def complete(self, shapes: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Fill in what is missing by non-negative least squares on relative errors, the exponents being given.

        Should that make y zero or negative somewhere, only what adds to y everywhere is used.
        """
        theta = shapes.copy()
        for row in theta:
            known = np.where(np.isnan(row), 0.0, row)
            logs = [np.broadcast_to(t[0], self.n) - np.log(y) for t in self._exponents(known[None])]
            peaks = np.array([t.max() for t in logs])
            terms = [np.exp(t - peak) for t, peak in zip(logs, peaks)]
            terms = [t if factor is None else t * factor for t, factor in zip(terms, self._factors)]
            slopes = [slope / y for _, slope in self._slopes]
            columns = np.array([*terms, *slopes, *(-slope for slope in slopes)]).T
            found, _ = nnls(columns, np.ones(self.n))
            if (columns @ found <= 0).any():
                adding = (columns >= 0).all(axis=0)
                found = np.zeros(columns.shape[1])
                found[adding], _ = nnls(columns[:, adding], np.ones(self.n))
            heights = np.log(np.maximum(found[: len(terms)], SMALLEST_SHARE)) - peaks
            plus, minus = found[len(terms) :].reshape(2, -1)
            fillings = [
                *zip([here[0] for here in self._columns], heights),
                *zip([j for j, _ in self._slopes], plus - minus),
            ]
            for j, value in fillings:
                row[j] = value if np.isnan(row[j]) else row[j]
        return theta

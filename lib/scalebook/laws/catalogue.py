"""The laws that the chapters fit. In every one y is the loss (or error), above zero, and "y" is its unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scalebook.laws.forms import LARGEST_EXPONENT, NO_AMPLITUDE, Form, Sum
from scalebook.laws.law import Law

PowerLaw = Law(
    name="power law",
    formula="A x^-alpha",
    inputs={"x": "any scale"},
    parameters={"A": "y x^alpha", "alpha": "1"},
    form=lambda x: Sum(A={"alpha": -np.log(x["x"])}),
)

PowerFloor = Law(
    name="power law with floor",
    formula="E + A x^-alpha",
    inputs={"x": "any scale"},
    parameters={"E": "y", "A": "y x^alpha", "alpha": "1"},
    form=lambda x: Sum(E={}, A={"alpha": -np.log(x["x"])}),
)

Exponential = Law(
    name="exponential",
    formula="E + A exp(-k x)",
    inputs={"x": "any scale"},
    parameters={"E": "y", "A": "y", "k": "1/x"},
    signed=("x",),
    form=lambda x: Sum(E={}, A={"k": -x["x"]}),
    grid=lambda x: {"k": np.array([0.3, 1.0, 3.0, 10.0, 30.0]) / max(np.ptp(x["x"]), np.finfo(float).tiny)},
)

Logarithmic = Law(
    name="logarithmic",
    formula="a - b log x",
    inputs={"x": "any scale"},
    parameters={"a": "y", "b": "y per unit of log x"},
    form=lambda x: Sum(linear={"a": 1.0, "b": -np.log(x["x"])}),
)

# Hoffmann et al. 2022 (arXiv 2203.15556), approach 3
Chinchilla = Law(
    name="Chinchilla",
    formula="E + A N^-alpha + B D^-beta",
    inputs={"N": "parameters", "D": "tokens"},
    parameters={"E": "y", "A": "y N^alpha", "B": "y D^beta", "alpha": "1", "beta": "1"},
    form=lambda x: Sum(E={}, A={"alpha": -np.log(x["N"])}, B={"beta": -np.log(x["D"])}),
)

# Gadre et al. 2024 (arXiv 2403.08540), equation 4: C = 6 N D, M = D / N
OverTraining = Law(
    name="over-training",
    formula="E + (a M^eta + b M^-eta) C^-eta",
    inputs={"C": "FLOP", "M": "tokens per parameter"},
    parameters={"E": "y", "a": "y C^eta", "b": "y C^eta", "eta": "1"},
    form=lambda x: Sum(E={}, a={"eta": np.log(x["M"]) - np.log(x["C"])}, b={"eta": -np.log(x["M"]) - np.log(x["C"])}),
    grid=lambda x: {"eta": (0.03, 0.1, 0.2, 0.4, 0.8)},
)

# Tissue et al. 2024 (arXiv 2408.11029): S1 is the area under the learning rate, S2 the annealing so far
Annealing = Law(
    name="annealing",
    formula="L0 + A S1^-alpha - C S2",
    inputs={"S1": "learning rate x steps", "S2": "learning rate x steps"},
    parameters={"L0": "y", "A": "y S1^alpha", "C": "y per S2", "alpha": "1"},
    signed=("S2",),
    form=lambda x: Sum(L0={}, A={"alpha": -np.log(x["S1"])}, linear={"C": -x["S2"]}),
)


class _Break(Form):
    """E + b x^-c0 (1 + (x/d)^(1/f))^(-c1 f): the local exponent runs from c0 to c0 + c1 around x = d."""

    names = ("E", "b", "c0", "c1", "d", "f")
    positive = frozenset({"E", "b", "d", "f"})
    fillable = frozenset({"E", "b"})

    def __init__(self, x: np.ndarray):
        self.log_x = np.log(x)

    def evaluate(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        floor, height, c0, c1, centre, log_width = (theta[:, j, None] for j in range(6))
        width = np.exp(log_width)
        z = (self.log_x - centre) / width
        soft = np.logaddexp(0.0, z)  # width * soft rises from 0 to log(x / d) around the break
        after = np.exp(z - soft)  # share of the way through the break, 0 to 1
        power = height - c0 * self.log_x - c1 * width * soft
        value = np.logaddexp(floor, power)
        share = np.exp(power - value)
        slopes = (1.0, -self.log_x, -width * soft, c1 * after, -c1 * width * (soft - z * after))
        return value, np.stack([np.exp(floor - value), *(share * slope for slope in slopes)], axis=1)

    def limits(self) -> np.ndarray:
        steepest = LARGEST_EXPONENT / max(np.abs(self.log_x).max(), 1.0)
        return np.array([-NO_AMPLITUDE, -NO_AMPLITUDE, steepest, steepest, -NO_AMPLITUDE, 5.0])

    def complete(self, shapes: np.ndarray, y: np.ndarray) -> np.ndarray:
        theta = shapes.copy()
        for row in theta:
            unit = np.where(np.isnan(row), [NO_AMPLITUDE, 0.0, *row[2:]], row)
            bent = Sum(E={}, b={"times": np.exp(self.evaluate(unit[None])[0][0] - unit[1])}).prepare(("E", "b"), y.size)
            row[:2] = bent.complete(row[None, :2], y)[0]
        return theta


# Caballero et al. 2023 (arXiv 2210.14891), equation 1 with one break; their a is E, their d1, f1 are d, f
BrokenPower = Law(
    name="broken power law",
    formula="E + b x^-c0 (1 + (x/d)^(1/f))^(-c1 f)",
    inputs={"x": "any scale"},
    parameters={"E": "y", "b": "y x^c0", "c0": "1", "c1": "1", "d": "x", "f": "1"},
    form=lambda x: _Break(x["x"]),
    grid=lambda x: {
        "c0": (0.0, 0.1, 0.4),
        "c1": (-0.2, 0.2, 0.6),
        "d": np.exp(np.quantile(np.log(x["x"]), [0.25, 0.5, 0.75])),
        "f": (0.1, 0.5),
    },
    limits={"f": (0.02, 3.0)},
)


class _Kaplan(Form):
    """((Nc/N)^(alpha_N/alpha_D) + Dc/D)^alpha_D: the larger of two power laws, softly, alpha_D being the softness."""

    names = ("Nc", "Dc", "alpha_N", "alpha_D")
    positive = frozenset(names)
    fillable = frozenset({"Nc", "Dc"})

    def __init__(self, n: np.ndarray, d: np.ndarray):
        self.log_n, self.log_d = np.log(n), np.log(d)

    def evaluate(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_nc, log_dc, *exponents = (theta[:, j, None] for j in range(4))
        alpha_n, alpha_d = (np.exp(exponent) for exponent in exponents)
        size = alpha_n / alpha_d * (log_nc - self.log_n)
        data = log_dc - self.log_d
        both = np.logaddexp(size, data)
        share = np.exp(size - both)
        slopes = (alpha_n * share, alpha_d * (1 - share), alpha_d * share * size, alpha_d * (both - share * size))
        return alpha_d * both, np.stack(slopes, axis=1)

    def limits(self) -> np.ndarray:
        return np.array([2 * LARGEST_EXPONENT, 2 * LARGEST_EXPONENT, 3.0, 3.0])  # the alphas up to e^3

    def complete(self, shapes: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Let size explain a tenth, half or nine tenths of the bracket at the middle of the data."""
        rows = []
        for share in (0.1, 0.5, 0.9):
            row = shapes.copy()
            alpha_n, alpha_d = np.exp(row[:, 2]), np.exp(row[:, 3])
            level = np.log(y).mean() / alpha_d
            log_nc = self.log_n.mean() + alpha_d / alpha_n * (level + np.log(share))
            log_dc = self.log_d.mean() + level + np.log(1 - share)
            for j, filling in enumerate((log_nc, log_dc)):
                row[:, j] = np.where(np.isnan(row[:, j]), filling, row[:, j])
            rows.append(row)
        return np.concatenate(rows)


# Kaplan et al. 2020 (arXiv 2001.08361), equation 1.5
Kaplan = Law(
    name="Kaplan",
    formula="((Nc/N)^(alpha_N/alpha_D) + Dc/D)^alpha_D",
    inputs={"N": "parameters", "D": "tokens"},
    parameters={"Nc": "parameters", "Dc": "tokens", "alpha_N": "1", "alpha_D": "1"},
    form=lambda x: _Kaplan(x["N"], x["D"]),
    grid=lambda x: {"alpha_N": (0.05, 0.1, 0.2, 0.4), "alpha_D": (0.05, 0.1, 0.2, 0.4)},
)

CATALOGUE: Sequence[Law] = (
    PowerLaw,
    PowerFloor,
    Exponential,
    Logarithmic,
    BrokenPower,
    Chinchilla,
    Kaplan,
    OverTraining,
    Annealing,
)

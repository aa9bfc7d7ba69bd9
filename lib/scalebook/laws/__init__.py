"""Functional forms of scaling laws: names, parameters, units, log-space values, gradients and curvature.

``laws.Chinchilla({"N": n, "D": d}, A=406.4, B=410.7, E=1.69, alpha=0.34, beta=0.28)`` evaluates one,
``fitting.fit(laws.Chinchilla, {"N": n, "D": d}, loss)`` fits one, ``laws.Chinchilla.fix(E=1.7).tie(beta="alpha")`` is
one with fewer free parameters. To write one, see `Law`.
"""

from scalebook.laws.catalogue import (
    CATALOGUE,
    Annealing,
    BrokenPower,
    Chinchilla,
    Exponential,
    Kaplan,
    Logarithmic,
    OverTraining,
    PowerFloor,
    PowerLaw,
)
from scalebook.laws.forms import Form, Sum
from scalebook.laws.law import Law

__all__ = [
    "CATALOGUE",
    "Annealing",
    "BrokenPower",
    "Chinchilla",
    "Exponential",
    "Form",
    "Kaplan",
    "Law",
    "Logarithmic",
    "OverTraining",
    "PowerFloor",
    "PowerLaw",
    "Sum",
]

"""Fit scaling laws, and judge the fits.

``fit(laws.Chinchilla, {"N": n, "D": d}, loss, bootstrap=400)`` gives a `Fit` with parameters, intervals, predictions
and warnings. `rivals` compares laws by held-out extrapolation; `envelope`, `isoflop` and `optimum` are the three
approaches to the compute-optimal size; `specification_curve` runs every defensible analysis of one data set.
"""

from scalebook.fitting.allocation import Allocation, envelope, exponent, isoflop, optimum
from scalebook.fitting.fit import Fit, Starts, fit
from scalebook.fitting.rivals import rivals
from scalebook.fitting.specification import specification_curve

__all__ = [
    "Allocation",
    "Fit",
    "Starts",
    "envelope",
    "exponent",
    "fit",
    "isoflop",
    "optimum",
    "rivals",
    "specification_curve",
]

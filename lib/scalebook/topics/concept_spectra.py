"""The spectrum of a cloud of points on log axes: a power law, its rival, and what an isotropic cloud would show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalebook.errors import UserError


@dataclass(frozen=True)
class SpectrumFit:
    """How well a power law and an exponential describe a spectrum and predict ranks that they were not fitted to."""

    slope: float  # of log eigenvalue on log rank, over fitted and held-out ranks together
    r2: float  # of that line
    slope_fitted: float  # of the line through the fitted ranks alone
    error_power: float  # root mean square error of log eigenvalue in the held-out ranks (nats)
    error_exponential: float  # the same for log eigenvalue linear in rank


def falling_spectrum(x: np.ndarray) -> np.ndarray:
    """Return the eigenvalues (d,) of the covariance of points (n, d) in falling order."""
    centred = x - x.mean(axis=0)
    return np.linalg.eigvalsh(centred.T @ centred / len(x))[::-1]


def fit_spectrum(eigenvalues: np.ndarray, first: int = 3, last: int = 32, end: int = 128) -> SpectrumFit:
    """Fit both laws to ranks ``first`` to ``last`` (counted from 1) and predict the ranks up to ``end``.

    Ranks before ``first`` are left out: one or two directions common to all points dominate them. Raises UserError
    where fewer than ``end`` eigenvalues are above 0.
    """
    if len(eigenvalues) < end or not (eigenvalues[first - 1 : end] > 0).all():
        raise UserError(f"fit_spectrum: needs {end} eigenvalues above 0; take more points or fewer ranks.")
    rank = np.arange(first, end + 1)
    height = np.log(eigenvalues[first - 1 : end])
    known = last - first + 1

    def line(x: np.ndarray, upto: int) -> np.ndarray:
        return np.polyfit(x[:upto], height[:upto], 1)

    def missed(x: np.ndarray) -> float:
        return float(np.sqrt(np.mean((np.polyval(line(x, known), x) - height)[known:] ** 2)))

    logs = np.log(rank)
    whole = line(logs, len(rank))
    left = height - np.polyval(whole, logs)
    r2 = 1 - np.sum(left**2) / np.sum((height - height.mean()) ** 2)
    slopes = float(whole[0]), float(line(logs, known)[0])
    return SpectrumFit(slopes[0], float(r2), slopes[1], missed(logs), missed(rank.astype(float)))


def marchenko_pastur(n: int, d: int) -> np.ndarray:
    """Return the typical eigenvalues (d,) of the covariance of n isotropic points in d < n dimensions, falling order.

    The quantiles (i - 1/2)/d of the law of Marchenko and Pastur (1967) for variance 1, whose density at l is
    sqrt((top - l)(l - bottom)) / (2 pi c l) with c = d/n and ends (1 -+ sqrt c)^2.
    """
    if not 0 < d < n:
        raise UserError(f"marchenko_pastur: n = {n} points in d = {d} dimensions; the law is written for d < n.")
    c = d / n
    bottom, top = (1 - np.sqrt(c)) ** 2, (1 + np.sqrt(c)) ** 2
    middle, half = (top + bottom) / 2, (top - bottom) / 2
    # l = middle + half cos(angle) turns the density into a smooth function of the angle
    angle = np.linspace(0, np.pi, 4001)
    density = (half * np.sin(angle)) ** 2 / (2 * np.pi * c * (middle + half * np.cos(angle)))
    above = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(angle))])  # share above l
    return middle + half * np.cos(np.interp((np.arange(d) + 0.5) / d, above / above[-1], angle))

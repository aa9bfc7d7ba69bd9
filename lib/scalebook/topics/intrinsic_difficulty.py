"""Generalisation difficulty as missing information, and how many data a learner needs that is not told what is missing.

Two things live here: the closed form by which Boopathy and co-authors put bits on a data set (2023,
arXiv:2305.01034), and the data need of kernel ridge regression on band-limited functions of the d-torus, with its
length and ridge chosen by leaving one out.

Shape code: K modes, n points, d dimensions of the torus, T targets, R ridges.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln

from scalebook.errors import UserError
from scalebook.topics.intrinsic_geometry import squared_distances

LENGTHS = 2.0 ** np.arange(-1, 2.1, 0.6)  # of the kernel, in units of the embedded circle's radius
RIDGES = 10.0 ** np.array([-6.0, -3.0, -1.0])  # added to the diagonal of a kernel whose own diagonal is 1


def modes(d: int, m: int) -> np.ndarray:
    """Return all wave vectors k (K, d) with whole entries from -m to m: K = (2m + 1)^d of them."""
    return np.stack(np.meshgrid(*[np.arange(-m, m + 1)] * d, indexing="ij"), axis=-1).reshape(-1, d)


def band_limited(k: np.ndarray, coefficients: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Return real functions of u (n, d) in [0, 1]^d with one real coefficient (K, T) a mode, (n, T).

    A pair k, -k shares one wave; the first of it carries the cosine, the second the sine, so that with independent
    coefficients of equal variance every mode adds the same variance at every point.
    """
    sign = np.array([next((np.sign(e) for e in row if e), 1) for row in k])
    angle = 2 * np.pi * u @ (k * sign[:, None]).T
    waves = np.where(sign > 0, np.cos(angle), np.sin(angle)) * np.where((k == 0).all(axis=1), 1.0, np.sqrt(2.0))
    return waves @ coefficients


def draw_coefficients(k: np.ndarray, targets: int, power: float, rng: np.random.Generator) -> np.ndarray:
    """Return coefficients (K, targets), sd falling as max(1, |k|)^-power; a function's mean square is 1."""
    sd = np.maximum(1.0, np.linalg.norm(k, axis=1)) ** -power
    return rng.standard_normal((len(k), targets)) * (sd / np.sqrt((sd**2).sum()))[:, None]


def ridge_errors(u: np.ndarray, y: np.ndarray, test: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the test error (T,) of kernel ridge regression, as a share of the target's mean square.

    u (n, d), y (n, T), test (M, d), truth (M, T). The kernel is exp(-|a - b|^2 / 2 l^2) between the points' cosines
    and sines; length and ridge are those with the least leave-one-out error, for each target its own.
    """
    circle, there = _embed(u), _embed(test)
    near, far = squared_distances(circle, circle), squared_distances(there, circle)
    least, errors = np.full(y.shape[1], np.inf), np.empty(y.shape[1])
    for length in LENGTHS:
        kernel = np.exp(-near / (2 * length**2))
        inverse = np.linalg.inv(kernel + RIDGES[:, None, None] * np.eye(len(u)))  # (R, n, n)
        alpha = inverse @ y  # (R, n, T)
        left_out = ((alpha / np.diagonal(inverse, axis1=1, axis2=2)[..., None]) ** 2).mean(axis=1)  # (R, T)
        ridge = left_out.argmin(axis=0)
        better = np.flatnonzero(left_out.min(axis=0) < least)
        if not len(better):
            continue
        least[better] = left_out.min(axis=0)[better]
        guess = np.exp(-far / (2 * length**2)) @ alpha[ridge[better], :, better].T
        errors[better] = ((guess - truth[:, better]) ** 2).mean(axis=0) / (truth[:, better] ** 2).mean(axis=0)
    return errors


def data_need(
    d: int,
    resolutions: Sequence[int],
    powers: Sequence[float],
    rng: np.random.Generator,
    *,
    largest: int,
    targets: int = 8,
) -> np.ndarray:
    """Return how many points bring the mean error of ``targets`` functions to one half, (powers, resolutions).

    n doubles from 2 to ``largest`` on nested uniform points; the place is interpolated in log n. A need that is met
    at the smallest n is that n; one that is not met is nan.
    """
    u, test = rng.random((largest, d)), rng.random((500, d))
    cells = [(power, m) for power in powers for m in resolutions]
    drawn = [(modes(d, m), power) for power, m in cells]
    drawn = [(k, draw_coefficients(k, targets, power, rng)) for k, power in drawn]
    y, truth = (np.concatenate([band_limited(k, c, at) for k, c in drawn], axis=1) for at in (u, test))
    sizes = 2 ** np.arange(1, int(np.log2(largest)) + 1)
    need, before = np.full(len(cells), np.nan), np.ones(len(cells))
    for n in sizes:
        open_cells = np.flatnonzero(np.isnan(need))
        if not len(open_cells):
            break
        columns = (open_cells[:, None] * targets + np.arange(targets)).ravel()
        errors = ridge_errors(u[:n], y[:n, columns], test, truth[:, columns]).reshape(-1, targets).mean(axis=1)
        met = errors <= 0.5
        share = (before[open_cells] - 0.5) / np.where(met, np.maximum(before[open_cells] - errors, 1e-12), 1.0)
        at = n * 2.0 ** (share - 1) if n > sizes[0] else np.full(len(open_cells), float(n))
        need[open_cells[met]] = at[met]
        before[open_cells] = errors
    return need.reshape(len(powers), len(resolutions))


def difficulty_bits(
    dimension: float, largest_norm: float, separation: float, classes: int, samples: int, error: float
) -> float:
    """Return log2 of the difficulty in bits, by the authors' closed form; the bits themselves overflow for images.

    dimension m of the data; largest norm R; separation delta of the classes; n samples; error wanted. With M = 2 pi R
    / delta there are E eigenfunctions of a sphere below frequency M, each with D = c - 1 outputs, and every one costs
    the logarithm in the bracket.
    """
    m, outputs, big = dimension, classes - 1, 2 * np.pi * largest_norm / separation
    k = (np.sqrt((m - 1) ** 2 + 4 * big**2) - (m - 1)) / 2
    functions = np.exp(gammaln(m + k + 1) - gammaln(m + 1) - gammaln(k + 1)) * (1 + k / (m + k))
    volume = (
        0.5 * np.log(m / 6)
        + (np.log(2) + (m + 1) / 2 * np.log(np.pi) + np.log(classes) - gammaln((m + 1) / 2)) / m
        + np.log(largest_norm) - np.log(samples) / m
    )  # fmt: skip
    each = 0.5 * np.log(outputs * classes) - np.log(error) + np.log(k * np.sqrt(outputs) / largest_norm) + volume
    free = 2 * outputs * classes * functions - samples * outputs
    if free <= 0 or each <= 0:
        raise UserError(
            f"difficulty_bits: nothing is missing at dimension {m:g} with {samples} samples. "
            "Give fewer samples, or a smaller separation of the classes."
        )
    return float(np.log2(free) + np.log2(each / np.log(2)))


def _embed(u: np.ndarray) -> np.ndarray:
    return np.concatenate([np.cos(2 * np.pi * u), np.sin(2 * np.pi * u)], axis=1)

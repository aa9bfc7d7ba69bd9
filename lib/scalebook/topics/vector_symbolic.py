"""Sets stored in one vector: bundles of random sign vectors, and what can be read back from them.

Atoms x_i are uniform on {-1, +1}^d. A set S of s atoms is stored as v = sum_{i in S} x_i (architecture "sum", MAP-I in the
literature) or as the signs of that sum ("sign", MAP-B). Membership of atom j is read from the score t_j = x_j.v / d: its
mean is 1 (sum) or rho (sign) for members and 0 for all others, its variance falls as 1/d, and the threshold stands half-way.
Capacity in this setting: Clarkson, Ubaru and Yang, "Capacity Analysis of Vector Symbolic Architectures" (2023,
arXiv:2301.10352). The exact moments are textbook ones, derived again here.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import gammaln, ndtri

from scalebook.errors import UserError

ARCHITECTURES = ("sum", "sign")


def random_signs(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Return a (rows, columns) float32 matrix of fair signs, one random bit each."""
    bits = np.unpackbits(rng.integers(0, 256, size=(rows, -(-columns // 8)), dtype=np.uint8), axis=1, count=columns)
    return bits.astype(np.float32) * np.float32(2) - np.float32(1)


def majority_correlation(size: int) -> float:
    """Return rho = C(s-1, (s-1)/2) / 2^(s-1), the mean of x_i sign(sum) for an odd number s of signs; ~ sqrt(2/(pi s))."""
    if size % 2 == 0:
        raise UserError(f"A sum of {size} signs can be 0 and then has no sign. Use an odd size.")
    half = (size - 1) // 2
    return math.exp(gammaln(size) - 2 * gammaln(half + 1) - (size - 1) * math.log(2))


def inverse_signal(architecture: str, size: int) -> float:
    """Return d over the squared signal-to-noise ratio of a score: s - 1/2 (sum) or (1 - rho^2/2)/rho^2 (sign).

    The noise is the mean of the variances of members and others. The dimension that a given error needs is
    proportional to this number, which makes it the exact predictor of capacity, at finite s too.
    """
    if architecture not in ARCHITECTURES:
        raise UserError(f"Architecture {architecture!r} is not known. Use one of {', '.join(ARCHITECTURES)}.")
    if architecture == "sum":
        return size - 0.5
    rho = majority_correlation(size)
    return (1.0 - rho**2 / 2.0) / rho**2


def predicted_dimension(architecture: str, size: int, error: float) -> float:
    """Return the dimension at which Gaussian scores give a false decision with probability `error` at the midpoint."""
    return (2.0 * ndtri(error)) ** 2 * inverse_signal(architecture, size)


def membership_error(
    architecture: str, size: int, dimension: int, atoms: int, sets: int, rng: np.random.Generator
) -> float:
    """Return the measured share of false decisions, members and non-members weighted alike.

    Draws `atoms` sign vectors of the given dimension and `sets` random sets of `size` of them, and asks each set for every atom.
    """
    x = torch.from_numpy(random_signs(rng, atoms, dimension))
    chosen = np.argpartition(rng.random((sets, atoms)), size, axis=1)[:, :size]
    is_member = torch.zeros(sets, atoms).scatter_(1, torch.from_numpy(chosen), 1.0)
    bundles, mean = is_member @ x, 1.0  # (sets, d)
    if architecture == "sign":
        bundles, mean = bundles.sign(), majority_correlation(size)
    says_member = (bundles @ x.T > mean / 2.0 * dimension).float()  # (sets, atoms)
    missed = 1.0 - float((says_member * is_member).sum()) / (sets * size)
    invented = float((says_member * (1.0 - is_member)).sum()) / (sets * (atoms - size))
    return 0.5 * missed + 0.5 * invented


def needed_dimension(
    architecture: str, size: int, error: float, atoms: int, sets: int, rng: np.random.Generator, members: int = 2000
) -> float:
    """Return the dimension at which the measured error is `error`.

    Five dimensions around the Gaussian prediction, a straight line through the probits of the measured errors against
    sqrt(d), read off where it crosses: finer than any grid. Small sets are drawn more often than `sets` times, until they hold
    `members` members, so that their errors are counted and not guessed.
    """
    d = np.round(predicted_dimension(architecture, size, error) * np.geomspace(0.75, 1.33, 5)).astype(int)
    sets = max(sets, -(-members // size))
    errors = np.array([membership_error(architecture, size, int(k), atoms, sets, rng) for k in d])
    slope, intercept = np.polyfit(np.sqrt(d), ndtri(errors), 1)
    return float((ndtri(error) - intercept) / slope) ** 2


def flat_bundle(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return sign(sum over items) of x (items, ...); ties, possible for even numbers, are broken at random."""
    return _signs(x.sum(axis=0), rng)


def nested_bundle(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return sign(... sign(sign(x_1 + x_2) + x_3) ... + x_s) of x (items, ...); half of all sums tie, broken at random."""
    bundle = x[0]
    for item in x[1:]:
        bundle = _signs(bundle + item, rng)
    return bundle


def _signs(total: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    ties = total == 0
    return np.where(ties, random_signs(rng, 1, total.size).reshape(total.shape), np.sign(total))


def first_item_signal(bundle: np.ndarray, first: np.ndarray, rng: np.random.Generator) -> float:
    """Return the squared signal-to-noise ratio of the first item's score over sets.

    bundle, first: (sets, d). Signal: the mean score. Noise: mean variance of the first item's and of fresh atoms' scores.
    """
    d = bundle.shape[1]
    member = (bundle * first).sum(axis=1) / d
    other = (bundle * random_signs(rng, *bundle.shape)).sum(axis=1) / d
    return float(member.mean() ** 2 / (0.5 * member.var(ddof=1) + 0.5 * np.mean(other**2)))


def sum_of_signs(size: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return sums of `size` fair signs, 2 Binomial(size, 1/2) - size, exactly, by counting random bits."""
    words, rest = divmod(size, 64)
    heads = np.zeros(shape, dtype=np.int16)
    for _ in range(words):
        heads += np.bitwise_count(rng.integers(0, 2**64, size=shape, dtype=np.uint64))
    if rest:
        heads += np.bitwise_count(rng.integers(0, 2**rest, size=shape, dtype=np.uint64))
    return 2 * heads - np.int16(size)


def intersection_deviation(size: int, common: int, dimension: int) -> float:
    """Return the standard deviation of v_X.v_Y/d about |X n Y|: sqrt((|X||Y| + k^2 - 2k)/d) for |X| = |Y| = size."""
    return math.sqrt((size**2 + common**2 - 2 * common) / dimension)


def intersection_errors(
    size: int, common: int, dimension: int, draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return errors (draws,) of the estimated |X n Y| from bundles of sums and from bundles of signs.

    Sums: v_X.v_Y/d - k. Signs: the same product of sign vectors, times (pi/2)|X|, which makes it unbiased to first order.
    The parts of a coordinate that belong to X only, Y only and both are drawn as binomials, at the same cost for any size.
    """
    shape = (draws, dimension)
    both = sum_of_signs(common, shape, rng)
    x = both + sum_of_signs(size - common, shape, rng)
    y = both + sum_of_signs(size - common, shape, rng)
    sums = np.einsum("rd,rd->r", x.astype(np.float64), y.astype(np.float64)) / dimension - common
    agreement = (_signs(x, rng) * _signs(y, rng)).mean(axis=1)
    return sums, math.pi / 2.0 * size * agreement - common

"""How much of a space do points use? Ten measures, and clouds whose spread is known beforehand.

Two measures are customary, average cosine and I(V). Two are proposed by Marbut and others (2023, arXiv:2212.08172),
EEE and VRM, whose definitions are those of the authors' public code. The other six are in the same spirit and choice
of this book: each reads the spectrum or the entropy of the centred cloud. Clouds are arrays (n, d), one point a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.optimize import brentq
from scipy.stats import differential_entropy

DIRECTIONS = 1000  # random unit vectors of I(V)
GAUSSIAN = float(np.sqrt(2 * np.pi * np.e))  # exp of the entropy of a standard normal variable


def average_cosine(x: np.ndarray) -> float:
    """Return the mean cosine over all pairs of different points, without centring (ACS): 1 when all point one way."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    n = len(x)
    return float((np.sum(unit.sum(axis=0) ** 2) - n) / (n * (n - 1)))


def partition_ratio(x: np.ndarray, rng: np.random.Generator) -> float:
    """Return I(V) = min Z(c) / max Z(c), Z(c) the mean over points of exp(x.c), over random unit vectors c.

    The measure of Mu and Viswanath (2018, arXiv:1702.01417), with random c in place of eigenvectors: 1 when no
    direction is special.
    """
    c = rng.standard_normal((x.shape[1], DIRECTIONS))
    c = (c / np.linalg.norm(c, axis=0)).astype(np.float32)  # single precision: half the time, and enough for a ratio
    exponents = x.astype(np.float32) @ c
    top = exponents.max()
    z = np.exp(exponents - top).mean(axis=0, dtype=np.float64)
    return float(z.min() / z.max())


def spectrum(x: np.ndarray, centred: bool = True) -> np.ndarray:
    """Return the eigenvalues (d,) of the covariance in falling order; of the raw second moment when not ``centred``."""
    shifted = x - x.mean(axis=0) if centred else x
    return np.clip(np.linalg.eigvalsh(shifted.T @ shifted / len(x))[::-1], 0, None)


def enrichment(eigenvalues: np.ndarray) -> float:
    """Return EEE: the area between the cumulative share of variance and the diagonal, over d/2.

    0 when all eigenvalues are alike; (d - 1)/d when one carries everything.
    """
    d = len(eigenvalues)
    share = np.cumsum(eigenvalues) / eigenvalues.sum()
    return float(np.sum(share - np.arange(1, d + 1) / d) / (d / 2))


def component_entropies(x: np.ndarray) -> np.ndarray:
    """Return the differential entropies (d,) of the principal components in nats, by the spacings of Vasicek (1976)."""
    centred = x - x.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    return differential_entropy(centred @ axes, axis=0, method="vasicek")


def roughness(entropies: np.ndarray, variance: float) -> float:
    """Return VRM: mean over components of (1 - r)^2, r = exp(entropy)/sqrt(2 pi e) after scaling to variance 1 a
    dimension.

    ``entropies`` (d,) as from `component_entropies`, ``variance`` the total of the cloud. 0 for an isotropic Gaussian,
    for which every r is 1. A Gaussian component with eigenvalue l has r = sqrt(l) after the scaling.
    """
    d = len(entropies)
    r = np.exp(entropies) * np.sqrt(d / variance) / GAUSSIAN
    return float(np.mean((1 - r) ** 2))


def participation(eigenvalues: np.ndarray) -> float:
    """Return the participation ratio over d: (sum l)^2 / (d sum l^2), 1 when all eigenvalues are alike."""
    return float(eigenvalues.sum() ** 2 / (len(eigenvalues) * np.sum(eigenvalues**2)))


def effective_rank(eigenvalues: np.ndarray) -> float:
    """Return exp of the entropy of the shares of variance, over d (Roy and Vetterli 2007)."""
    share = eigenvalues[eigenvalues > 0] / eigenvalues.sum()
    return float(np.exp(-np.sum(share * np.log(share))) / len(eigenvalues))


def isoscore(eigenvalues: np.ndarray) -> float:
    """Return IsoScore (Rudman and others 2022, arXiv:2108.07344): 1 for equal eigenvalues, 0 for a single one.

    The eigenvalues, scaled to length sqrt(d), lie at distance delta from (1, ..., 1), at most sqrt(2 (d - sqrt d)).
    """
    d = len(eigenvalues)
    scaled = np.sqrt(d) * eigenvalues / np.linalg.norm(eigenvalues)
    defect = np.linalg.norm(scaled - 1) / np.sqrt(2 * (d - np.sqrt(d)))
    used = (d - defect**2 * (d - np.sqrt(d))) ** 2 / d**2
    return float((d * used - 1) / (d - 1))


def components_for(eigenvalues: np.ndarray, share: float = 0.9) -> float:
    """Return how many leading components reach a share of the variance, over d; linear between whole numbers."""
    reached = np.concatenate([[0.0], np.cumsum(eigenvalues) / eigenvalues.sum()])
    return float(np.interp(share, reached, np.arange(len(reached))) / len(eigenvalues))


def centred_overlap(x: np.ndarray) -> float:
    """Return d times the mean squared cosine over pairs after centring: 1 for an isotropic cloud, d for a line."""
    centred = x - x.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    n, d = unit.shape
    return float(d * (np.sum((unit.T @ unit) ** 2) - n) / (n * (n - 1)))


# name -> whether a larger value means more spread; None: the better direction is taken, in favour of the measure
MEASURES: Mapping[str, bool | None] = {
    "ACS": None, "I(V)": None, "EEE": False, "VRM": False, "participation ratio": True, "effective rank": True,
    "IsoScore": True, "components for 90 %": True, "centred overlap": False, "mean entropy": True,
}  # fmt: skip


def measure_four(x: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Return the two customary and the two recommended measures of a cloud by name: ACS, I(V), EEE and VRM."""
    values = spectrum(x)
    return {
        "ACS": average_cosine(x), "I(V)": partition_ratio(x, rng), "EEE": enrichment(values),
        "VRM": roughness(component_entropies(x), values.sum()),
    }  # fmt: skip


def measure_all(x: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Return all ten measures of a cloud by name, and "EEE uncentred", the control."""
    values, h = spectrum(x), component_entropies(x)
    return {
        "ACS": average_cosine(x), "I(V)": partition_ratio(x, rng), "EEE": enrichment(values),
        "VRM": roughness(h, values.sum()), "participation ratio": participation(values),
        "effective rank": effective_rank(values), "IsoScore": isoscore(values),
        "components for 90 %": components_for(values), "centred overlap": centred_overlap(x),
        "mean entropy": float(h.mean()), "EEE uncentred": enrichment(spectrum(x, centred=False)),
    }  # fmt: skip


def power_spectrum(d: int, spread: float) -> np.ndarray:
    """Return eigenvalues (d,) proportional to i^-s with trace d and participation ratio over d equal to ``spread``."""
    i = np.arange(1, d + 1)
    s = 0.0 if spread >= 1 else brentq(lambda s: participation(i**-s) - spread, 0, 20)
    values = i**-s
    return values * d / values.sum()


def cloud(d: int, n: int, spread: float, shape: str, shift: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a cloud (n, d) of known spread, in random orientation, moved by a normal vector of ``shift`` a coordinate.

    ``shape``: "gaussian"; "clusters", 40 Gaussian centres with 0.7 of the variance; "student", t with 5 degrees of
    freedom.
    """
    x = rng.standard_normal((n, d))
    if shape == "clusters":
        x = np.sqrt(0.3) * x + np.sqrt(0.7) * rng.standard_normal((40, d))[rng.integers(40, size=n)]
    elif shape == "student":
        x /= np.sqrt(rng.chisquare(5, size=(n, 1)) / 3)  # variance 1: that of t with nu is nu/(nu - 2)
    turn, _ = np.linalg.qr(rng.standard_normal((d, d)))
    return x * np.sqrt(power_spectrum(d, spread)) @ turn + shift * rng.standard_normal(d)


def concordance(values: np.ndarray, spread: np.ndarray, dims: np.ndarray, rising: bool | None, step: int = 0) -> float:
    """Return the share of pairs of clouds of different d and different spread that a measure orders correctly.

    ``values``, ``spread``, ``dims`` (clouds,); ties count half. ``rising`` as in `MEASURES`. With ``step`` only pairs
    so many levels of spread apart.
    """
    level = np.unique(spread, return_inverse=True)[1]
    apart = level[:, None] - level[None, :]
    chosen = (dims[:, None] != dims[None, :]) & ((apart == step) if step else (apart > 0))
    difference = (values[:, None] - values[None, :])[chosen]
    right = float(np.mean(0.5 * (1 + np.sign(difference))))
    return max(right, 1 - right) if rising is None else right if rising else 1 - right


def cone(d: int, n: int, angle: float, rng: np.random.Generator) -> np.ndarray:
    """Draw points in the unit ball whose direction lies within ``angle`` (radians) of the first axis, lengths
    uniform."""
    tilt = angle * rng.random(n)
    side = rng.standard_normal((n, d - 1))
    side *= (np.sin(tilt) / np.linalg.norm(side, axis=1))[:, None]
    return np.column_stack([np.cos(tilt), side]) * rng.random((n, 1))


def sphere(d: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw points uniformly on the unit sphere."""
    x = rng.standard_normal((n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def clusters(
    centres: np.ndarray, n: int, noise: float, rng: np.random.Generator, weights: np.ndarray | None = None
) -> np.ndarray:
    """Draw points around centres (k, d), with noise of expected squared length ``noise``^2, centres drawn by weight."""
    k, d = centres.shape
    chosen = rng.choice(k, size=n, p=weights)
    return centres[chosen] + noise / np.sqrt(d) * rng.standard_normal((n, d))


def mirrored_centres(d: int, rng: np.random.Generator) -> np.ndarray:
    """Return ten centres (10, d) on the unit sphere in five pairs of opposites, so that their mean is 0."""
    half = sphere(d, 5, rng)
    return np.concatenate([half, -half])


UNEVEN = 2.0 ** -np.arange(1, 11) / (1 - 2.0**-10)  # each cluster half as frequent as the one before
SEVEN: Mapping[str, Callable[[int, int, np.random.Generator], np.ndarray]] = {
    "ball": lambda d, n, rng: sphere(d, n, rng) * rng.random((n, 1)) ** (1 / d),
    "shell": sphere,
    "nested shells": lambda d, n, rng: sphere(d, n, rng) * rng.choice([1 / 3, 2 / 3, 1], size=(n, 1)),
    "cone": lambda d, n, rng: cone(d, n, np.pi / 6, rng),
    "clusters": lambda d, n, rng: clusters(mirrored_centres(d, rng), n, 0.3, rng),
    "uneven clusters": lambda d, n, rng: clusters(mirrored_centres(d, rng), n, 0.3, rng, UNEVEN),
    "shifted clusters": lambda d, n, rng: clusters(mirrored_centres(d, rng) + sphere(d, 1, rng), n, 0.3, rng),
}  # fmt: skip

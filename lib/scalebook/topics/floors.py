"""A power law with a floor, for very many small tables at once: the exponent on a grid, the rest in closed form.

For single fits and for data that a law describes `scalebook.fitting` is better; this one does not mind data that no law
describes, such as losses whose sizes have been mixed up. Shapes: W sizes, any leading axes.
"""

from __future__ import annotations

import numpy as np

ALPHAS = np.geomspace(0.02, 3.0, 120)  # exponents tried


def with_constant(sizes: np.ndarray, losses: np.ndarray, alpha: float) -> np.ndarray:
    """Fit L = L_inf + A N^-alpha, both at least 0, to losses (..., W) by least squares of relative errors.

    Returns (..., 2). With two unknowns the constrained optimum is the free one, or lies on an edge.
    """
    a, b = 1 / losses, sizes**-alpha / losses  # unknowns' columns over the measured loss
    aa, bb, ab, a1, b1 = (a * a).sum(-1), (b * b).sum(-1), (a * b).sum(-1), a.sum(-1), b.sum(-1)
    det = aa * bb - ab**2
    floor, height = (bb * a1 - ab * b1) / det, (aa * b1 - ab * a1) / det
    edge_height, edge_floor = b1 / bb, a1 / aa
    floor, height = (np.where(height < 0, edge_floor, np.where(floor < 0, 0.0, floor)),
                     np.where(height < 0, 0.0, np.where(floor < 0, edge_height, height)))  # fmt: skip
    return np.stack([floor, height], axis=-1)


def forecast(sizes: np.ndarray, losses: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Fit L_inf + A N^-alpha to losses (..., W) and return it at other sizes, (..., targets).

    ``sizes`` are (W,), or of the losses' own shape. The exponent is the best of `ALPHAS`.
    """
    best = np.full(losses.shape[:-1], np.inf)
    found = np.zeros((*losses.shape[:-1], len(targets)))
    for alpha in ALPHAS:
        fitted = with_constant(sizes, losses, alpha)
        miss = ((fitted[..., :1] + fitted[..., 1:] * sizes**-alpha) / losses - 1) ** 2
        error = miss.sum(axis=-1)
        better = error < best
        best = np.where(better, error, best)
        found = np.where(better[..., None], fitted[..., :1] + fitted[..., 1:] * targets**-alpha, found)
    return found

"""What counting does to a measured exponent: the best size at a fixed budget, when the budget is counted two ways.

A loss surface L = E + A N^-alpha + B D^-beta over all parameters N = n + v, of which n sit in the layers and v in the
output head. A budget C = 6 (cost) D may charge for the layers alone, as Kaplan et al. (2020, arXiv 2001.08361) did, or
for layers and head (Porian et al. 2024, arXiv 2406.19146). Nothing is trained here: it is arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scalebook.errors import UserError
from scalebook.estimate import slope

ASPECT = 64  # width over layers of the simulated family
# Besiroglu et al. 2024, arXiv 2404.10102: their refit of the third approach of Hoffmann et al. 2022
REPLICATION: Mapping[str, float] = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
FEWEST_BUDGETS = 3


@dataclass(frozen=True)
class Family:
    """Widths d (points,) of a family with L = d / 64 layers and a head over ``vocabulary`` symbols.

    ``layers`` and ``head`` are parameters, (points,): 12 L d^2 and V d.
    """

    width: np.ndarray
    layers: np.ndarray
    head: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Parameters in layers and head."""
        return self.layers + self.head

    @property
    def head_share(self) -> np.ndarray:
        """Share of the parameters that sit in the head."""
        return self.head / self.total


def family(vocabulary: float, narrow: float = 64, wide: float = 1600, points: int = 4000) -> Family:
    """Return widths from ``narrow`` to ``wide``, evenly spaced in the logarithm."""
    width = np.geomspace(narrow, wide, points)
    return Family(width, 12 * width**3 / ASPECT, vocabulary * width)


@dataclass(frozen=True)
class Optima:
    """Best sizes at each budget under one way of counting, budgets whose minimum is at an end left out.

    ``budget`` (kept,) FLOP; ``size`` (kept,) the size as counted; ``exponent`` the slope of log size on log budget.
    """

    budget: np.ndarray
    size: np.ndarray
    exponent: float


def optima(law: Mapping[str, float], models: Family, budgets: np.ndarray, counting: str) -> Optima:
    """Minimise the loss over the family at each budget; ``counting`` is "layers" or "head".

    The number counted is both what a token costs (times 6 FLOP) and what is called the size. Raises UserError for
    another counting or where fewer than 3 budgets have their minimum inside the family.
    """
    if counting not in ("layers", "head"):
        raise UserError(f"optima: counting is {counting!r}; choose layers or head.")
    counted = models.layers if counting == "layers" else models.total
    kept, best = [], []
    for budget in np.asarray(budgets, dtype=float):
        at = _lowest(loss(law, models, budget / (6 * counted)), np.log(counted))
        if at is not None:
            kept.append(budget)
            best.append(at)
    if len(kept) < FEWEST_BUDGETS:
        raise UserError(f"optima: {len(kept)} budgets have their minimum inside the family, {FEWEST_BUDGETS} needed.")
    return Optima(np.array(kept), np.exp(best), float(slope(np.log(kept), np.array(best))))


def loss(law: Mapping[str, float], models: Family, tokens: np.ndarray) -> np.ndarray:
    """Return E + A N^-alpha + B D^-beta with all parameters N, shape (points,), nats."""
    return law["E"] + law["A"] * models.total ** -law["alpha"] + law["B"] * tokens ** -law["beta"]


def local_exponent(law: Mapping[str, float], head_share: np.ndarray) -> np.ndarray:
    """Return d log n_opt / d log C when only the layers n are counted and the head holds a share h of all parameters.

    At fixed C = 6 n D the optimum obeys alpha A N^-alpha s = beta B D^-beta with s = d log N / d log n. In a family of
    fixed aspect the head grows as n^(1/3), so s = 1 - 2h/3 and d log s / d log n = (4/9) h (1 - h) / s; differentiating
    gives beta / (beta + alpha s - d log s / d log n). It is beta / (alpha + beta) at h = 0.
    """
    h = np.asarray(head_share, dtype=float)
    s = 1 - 2 * h / 3
    return law["beta"] / (law["beta"] + law["alpha"] * s - (4 / 9) * h * (1 - h) / s)


def excess(alpha: float, beta: float, reducible: float, factor: float) -> float:
    """Return the loss added by a size ``factor`` times the best one at the same budget.

    At the optimum alpha A N^-alpha = beta B D^-beta, so the two reducible parts are beta and alpha shares of their sum
    ``reducible``; moving to f N and D / f gives (beta f^-alpha + alpha f^beta) / (alpha + beta) of it.
    """
    return reducible * ((beta * factor**-alpha + alpha * factor**beta) / (alpha + beta) - 1)


def _lowest(values: np.ndarray, x: np.ndarray) -> float | None:
    """Return where a sampled curve is lowest, by a parabola through the lowest sample and its neighbours."""
    k = int(np.argmin(values))
    if k in (0, len(values) - 1):
        return None
    b2, b1, _ = np.polyfit(x[k - 1 : k + 2] - x[k], values[k - 1 : k + 2] - values[k], 2)
    return float(x[k] - b1 / (2 * b2)) if b2 > 0 else float(x[k])

"""Blocks G and T of the suite: sizes from m3 to m10, each at the best of the learning rates tried.

The rates of block M follow a law that was fitted to the five smallest sizes. Here a size finds its own, so a forecast
of larger sizes is not a forecast of how badly they were tuned. Shapes: B redrawn tables, S sizes, R budgets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scalebook import laws
from scalebook.errors import UserError
from scalebook.fitting import fit
from scalebook.suite.plan import FIRST_SEED, SHAPES
from scalebook.topics import floors

RATES, LAW = 4, 2  # rates tried for each size and budget, and which of them, in rising order, is the law's


@dataclass(frozen=True)
class Tuned:
    """``losses`` (S, R) at the best rate, nats a byte; NaN where fewer than `RATES` rates ran. ``layers`` (S,).

    ``lowest`` (S, R): the best rate is the lowest tried, so that a still lower one may be better. ``share`` (S, R): the
    best rate over the one that the law of rates says. ``at_law`` (S, R): losses at that one.
    """

    sizes: tuple[str, ...]
    layers: np.ndarray
    losses: np.ndarray
    lowest: np.ndarray
    share: np.ndarray
    at_law: np.ndarray


def tuned(ends: pd.DataFrame, budgets: Sequence[int]) -> Tuned:
    """Choose the best rate of each size and budget among the first seed's cooled runs of block G."""
    rows = ends[(ends["block"] == "G") & (ends["seed"] == FIRST_SEED)]
    sizes = tuple(size for size in SHAPES if (rows["size"] == size).any())
    if not sizes:
        raise UserError("tuned: the table has no run of block G; ask datasets.suite for it.")
    shape = (len(sizes), len(budgets))
    losses, share, at_law = (np.full(shape, np.nan) for _ in range(3))
    lowest = np.zeros(shape, dtype=bool)
    for (size, budget), one in rows.groupby(["size", "budget"]):
        if budget not in budgets or len(one) < RATES:
            continue
        at = sizes.index(size), list(budgets).index(budget)
        one = one.sort_values("lr_peak")  # a quarter, a half, one and two times the law's rate
        rates, found = one["lr_peak"].to_numpy(), one["val"].fillna(np.inf).to_numpy()
        best = int(found.argmin())
        losses[at], lowest[at], share[at], at_law[at] = found[best], best == 0, rates[best] / rates[LAW], found[LAW]
    layers = np.array([SHAPES[size].n_nonemb for size in sizes], dtype=float)
    return Tuned(sizes, layers, losses, lowest, share, at_law)


def redrawn(one: Tuned, deviation: Mapping[str, float], count: int, rng: np.random.Generator) -> np.ndarray:
    """Return losses (1 + count, S, R): the table's, then with one normal shift of log loss for each size.

    ``deviation`` is that between seeds by size; a size that it lacks has that of the last one. No size is tuned on more
    than one seed, so this is the luck of runs and not that of choosing among them.
    """
    last = list(deviation.values())[-1]
    scale = np.array([deviation.get(size, last) for size in one.sizes])
    moves = np.concatenate([np.zeros((1, scale.size)), scale * rng.standard_normal((count, scale.size))])
    return one.losses * np.exp(moves)[:, :, None]


def surface(ends: pd.DataFrame) -> pd.DataFrame:
    """Return the least cooled loss of every size and budget over all rates tried, one row a cell.

    Columns size, budget, N (parameters without embeddings), D (tokens as trained) and loss (nats a byte, mean over the
    seeds of a rate). The small sizes have their rates from blocks L, M and U, m3 and larger also from G and T.
    """
    rows = ends[ends["block"].isin(list("LMGTU")) & (ends["schedule"] == "cooled") & np.isfinite(ends["val"])]
    rates = rows.groupby(["size", "budget", "lr_peak"], as_index=False).agg(
        N=("n_nonemb", "first"), D=("tokens", "first"), loss=("val", "mean")
    )
    best = rates.loc[rates.groupby(["size", "budget"])["loss"].idxmin()]
    return best.drop(columns="lr_peak").reset_index(drop=True)


def line_misses(
    cells: pd.DataFrame, fitted: Sequence[str], held: Sequence[str],
    told: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] = floors.forecast,
) -> pd.DataFrame:  # fmt: skip
    """Fit a law of size to some sizes at each budget on its own, and return how it misses others.

    ``told(sizes, losses, targets)`` gives the forecasts, by default of L0 + A/N^alpha. A table of size by budget:
    forecast over measured loss, minus 1. Budgets that a size lacks are left out.
    """
    losses = cells.pivot(index="size", columns="budget", values="loss").loc[[*fitted, *held]].dropna(axis=1)
    n = cells.groupby("size")["N"].first().astype(float)
    forecast = told(n[list(fitted)].to_numpy(), losses.loc[list(fitted)].to_numpy().T, n[list(held)].to_numpy())
    return forecast.T / losses.loc[list(held)] - 1


def surface_misses(cells: pd.DataFrame, fitted: Sequence[str], held: Sequence[str], first: int) -> pd.DataFrame:
    """Fit L(N, D) = E + A/N^alpha + B/D^beta to some sizes from ``first`` tokens on, and return how it misses others.

    A table of size by budget: forecast over measured loss, minus 1.
    """
    late = cells[cells["budget"] >= first]
    seen = late[late["size"].isin(fitted)]
    law = fit(laws.Chinchilla, {"N": seen["N"], "D": seen["D"]}, seen["loss"].to_numpy())
    rest = late[late["size"].isin(held)]
    rest = rest.assign(miss=law.predict({"N": rest["N"], "D": rest["D"]}) / rest["loss"] - 1)
    return rest.pivot(index="size", columns="budget", values="miss").loc[list(held)]

"""The model suite as a grid of sizes, tokens and seeds, and the same grid redrawn as often as intervals need it.

Shapes: B redrawn tables (the first is the table itself), T states of the schedule, S sizes, R rungs, K seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scalebook.errors import DataNotHere, UserError
from scalebook.suite import storage
from scalebook.suite.plan import CONTEXT, LADDER, SIZES, VOCABULARY

NOT_HERE = "The probe errors of the model suite are not here; `scalebook suite --merge` writes them to data/suite."
REPLICATED = 3  # a cell with so many seeds shows its own noise


@dataclass(frozen=True)
class Cells:
    """Mean losses of block M by size and tokens. ``log_loss`` (T, S, R, K) has NaN where no run was planned.

    ``layers``, ``head``, ``attention``, ``total`` (S,): what a token costs, in parameters, under three ways of counting
    (6 FLOP each), and all parameters. ``tokens`` (S, R) as trained, not as planned. ``states`` names axis T.
    """

    sizes: tuple[str, ...]
    states: tuple[str, ...]
    log_loss: np.ndarray
    tokens: np.ndarray
    layers: np.ndarray
    head: np.ndarray
    attention: np.ndarray
    total: np.ndarray


def probe_table() -> pd.DataFrame:
    """Return one row a scored run: its name and the three probe errors. Raises DataNotHere where there is none."""
    path = storage.data_dir() / storage.RUNS
    if not path.is_file():
        raise DataNotHere(NOT_HERE)
    table = pd.read_csv(path, usecols=["run", *storage.PROBES])
    return table.dropna().reset_index(drop=True)


def ends(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the last logged point of every curve of `datasets.suite`, one row a run, in the order of the runs."""
    return curves.loc[curves.groupby("run")["step"].idxmax()].reset_index(drop=True)


def cells(table: pd.DataFrame, states: Sequence[str] = ("cooled", "constant"), loss: str = "val") -> Cells:
    """Arrange block M as a grid: cooled branches at their ends, trunks where they pass a branch's budget."""
    table = table[table["block"] == "M"]
    sizes = tuple(size for size in SIZES if (table["size"] == size).any())
    seeds = sorted(table["seed"].unique())
    log_loss = np.full((len(states), len(sizes), len(LADDER), len(seeds)), np.nan)
    tokens = np.full((len(sizes), len(LADDER)), np.nan)
    for t, state in enumerate(states):
        rows = table[table["schedule"] == state]
        for r, budget in enumerate(LADDER):
            at = rows[rows["tokens"] == budget // rows["batch"] * rows["batch"]]
            for row in at.itertuples():
                s = sizes.index(row.size)
                log_loss[t, s, r, seeds.index(row.seed)] = np.log(getattr(row, loss))
                tokens[s, r] = row.tokens
    shape = [SIZES[size] for size in sizes]
    layers = np.array([one.n_nonemb for one in shape], dtype=float)
    head = layers + VOCABULARY * np.array([one.width for one in shape])
    attention = head + CONTEXT * np.array([one.width * one.layers for one in shape])
    total = np.array([one.n_total for one in shape], dtype=float)
    return Cells(sizes, tuple(states), log_loss, tokens, layers, head, attention, total)


def seed_deviation(log_loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the standard deviation of log loss between seeds and its degrees of freedom, each (S,).

    Pooled over the replicated cells of a size, all states; a size without any borrows those of its nearest neighbour
    in the order of sizes. ``log_loss`` is (T, S, R, K).
    """
    count = np.isfinite(log_loss).sum(axis=-1)  # (T, S, R)
    enough = count >= REPLICATED
    spread = np.where(enough[..., None], log_loss, np.nan)
    centred = spread - np.nanmean(np.where(enough[..., None], spread, 0.0), axis=-1, keepdims=True)
    squares = np.nansum(centred**2, axis=(0, 2, 3))
    freedom = np.where(enough, count - 1, 0).sum(axis=(0, 2))
    has = np.flatnonzero(freedom)
    if not has.size:
        raise UserError("seed_deviation: no cell has three seeds or more, so the noise between seeds is not known.")
    nearest = has[np.abs(np.arange(len(freedom))[:, None] - has).argmin(axis=1)]
    return np.sqrt(squares[nearest] / freedom[nearest]), freedom[nearest]


def pooled_deviation(values: pd.Series, *by: pd.Series) -> float:
    """Return the standard deviation within groups, pooled over all groups of two or more by their degrees of freedom."""
    groups = values.groupby(list(by))
    freedom = groups.size() - 1
    return float(np.sqrt((groups.var(ddof=1) * freedom).sum() / freedom.sum()))


def mean_loss(log_loss: np.ndarray) -> np.ndarray:
    """Return log losses averaged over the seeds there are, (T, S, R); NaN where there is no run."""
    number = np.isfinite(log_loss).sum(axis=-1)
    return np.where(number > 0, np.nansum(log_loss, axis=-1) / np.maximum(number, 1), np.nan)


def redraw(log_loss: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return mean log losses (1 + count, T, S, R): the table's own first, then ``count`` tables as luck would have it.

    Cells with three seeds or more draw their seeds again, the same ones in all cells and states of a size, deviations
    widened by sqrt(K / (K - 1)) so that the variance of a mean is right on average. A cell with fewer gets normal noise
    of the pooled deviation, itself drawn by its chi-square; one draw serves all cells and states of that run.
    """
    states, sizes, rungs, _ = log_loss.shape
    number = np.isfinite(log_loss).sum(axis=-1)
    mean = mean_loss(log_loss)
    found = np.repeat(mean[None], 1 + count, axis=0)
    deviation, freedom = seed_deviation(log_loss)
    for s in range(sizes):
        replicated = number[:, s] >= REPLICATED  # (T, R)
        single = (number[:, s] > 0) & ~replicated
        if replicated.any():
            seeds = np.flatnonzero(np.isfinite(log_loss[:, s][replicated]).all(axis=0))
            drawn = seeds[rng.integers(len(seeds), size=(count, len(seeds)))]
            here = log_loss[:, s] - np.where(replicated, mean[:, s], np.nan)[..., None]  # (T, R, K)
            moved = here[..., drawn].mean(axis=-1) * np.sqrt(len(seeds) / (len(seeds) - 1))  # (T, R, count)
            found[1:, :, s] += np.where(replicated[..., None], moved, 0.0).transpose(2, 0, 1)
        if single.any():
            scale = deviation[s] * np.sqrt(freedom[s] / rng.chisquare(freedom[s], size=count))
            noise = rng.standard_normal(count) * scale
            found[1:, :, s] += np.where(single, noise[:, None, None], 0.0)
    return found

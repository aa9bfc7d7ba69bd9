"""What a set of runs advises, tokens per parameter at a budget, under analyses that differ in one unreported detail.

The runs are those of Li et al. (2025, arXiv 2502.18969): 261 runs of 11 sizes at up to five peak learning rates, and
their checkpoints. A *group* is a size and a number of tokens; groups are what is resampled.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scalebook import laws
from scalebook.fitting import Fit, fit, optimum

RATE = 0.002  # the one peak learning rate of the analysis without a sweep: the most frequent in the table
FIRST = 0.1  # share of each run that is left out where checkpoints enter
DETAILS = ("embeddings", "learning rate", "checkpoints")
RUN = ["N", "total_steps", "peak_lr", "sweep"]


def arrange(last: pd.DataFrame, every: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows that each analysis uses, as tables with N, N_no_emb, D, C, loss and group (0 to groups - 1).

    "base": the best peak rate of each group, last checkpoint; "learning rate": the best run at `RATE`; "checkpoints":
    every checkpoint of the base runs after the first tenth. "embeddings" and "FLOP count" use the base rows.
    """
    last = last.reset_index(drop=True)
    last = last.assign(group=last.groupby(["N", "D"]).ngroup(), C=last["C"].astype(float))
    base = last.loc[last.groupby("group")["loss"].idxmin()]
    single = last[last["peak_lr"] == RATE]
    single = single.loc[single.groupby("group")["loss"].idxmin()]
    keys = ["loss", "N", "N_no_emb", "D", "C", "group"]
    along = every[every["portion_steps_elapsed"] > FIRST]
    runs = base[[*RUN, "group"]].drop_duplicates(RUN)
    joined = along.merge(runs, on=RUN)
    return {"base": base[keys], "learning rate": single[keys], "checkpoints": joined[keys]}


def inputs(rows: pd.DataFrame, analysis: str) -> dict[str, np.ndarray]:
    """Return what the law sees: N and D, as floats (products of these counts do not fit into 64-bit integers)."""
    n = rows["N_no_emb" if analysis == "embeddings" else "N"].to_numpy(dtype=float)
    d = rows["C"].to_numpy(dtype=float) / (6 * n) if analysis == "FLOP count" else rows["D"].to_numpy(dtype=float)
    return {"N": n, "D": d}


def fitted(tables: Mapping[str, pd.DataFrame], analysis: str) -> Fit:
    """Return the approach-3 fit of one analysis."""
    rows = tables.get(analysis, tables["base"])
    return fit(laws.Chinchilla, inputs(rows, analysis), rows["loss"].to_numpy())


def advice(tables: Mapping[str, pd.DataFrame], analysis: str, params: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return log of the advised tokens per *total* parameter at the largest budget of the table, shape of the params.

    Without embeddings the budget is that of the same run without them, and the advised size is turned into total
    parameters between the table's own sizes, so that the change is not one of definition.
    """
    base = tables["base"]
    largest = inputs(base, analysis)
    compute = (6 * largest["N"] * largest["D"]).max()
    n, d = optimum(params, compute)
    if analysis == "embeddings":
        sizes = base[["N_no_emb", "N"]].drop_duplicates().sort_values("N").to_numpy(dtype=float)
        n = np.exp(_along(np.log(n), np.log(sizes[:, 0]), np.log(sizes[:, 1])))
    return np.log(d / n)


def group_weights(tables: Mapping[str, pd.DataFrame], analysis: str, counts: np.ndarray) -> np.ndarray:
    """Return the weight of each row of an analysis (R, rows) for how often each group was drawn (R, groups)."""
    return counts[:, tables.get(analysis, tables["base"])["group"].to_numpy()].astype(float)


def changes(
    tables: Mapping[str, pd.DataFrame], fits: Mapping[str, Fit], counts: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return log advice of every analysis minus that of "base", one value for each row of ``counts`` (R, groups).

    Without ``counts``: at the fits themselves, one value each.
    """
    found = {}
    for name, each in fits.items():
        params = {key: np.array([value]) for key, value in each.params.items()}
        if counts is not None:
            params = each.refit(weights=group_weights(tables, name, counts))
        found[name] = advice(tables, name, params)
    return {name: values - found["base"] for name, values in found.items() if name != "base"}


def half_change(
    tables: Mapping[str, pd.DataFrame], base: Fit, counts: np.ndarray, halves: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the median |change of log advice| between random halves of the groups drawn, for each row of counts (R,).

    Each item of a resample goes to one half or the other; ``halves`` splits a resample.
    """
    repeated = np.repeat(counts.astype(int), halves, axis=0)
    first = rng.binomial(repeated, 0.5)
    both = [
        advice(tables, "base", base.refit(weights=group_weights(tables, "base", part)))
        for part in (first, repeated - first)
    ]
    return np.median(np.abs(both[0] - both[1]).reshape(len(counts), halves), axis=1)


def _along(x: np.ndarray, known_x: np.ndarray, known_y: np.ndarray) -> np.ndarray:
    """Return linear interpolation that goes on straight beyond both ends."""
    inside = np.interp(x, known_x, known_y)
    for end, beyond in (((0, 1), x < known_x[0]), ((-2, -1), x > known_x[-1])):
        slope = np.diff(known_y[list(end)]) / np.diff(known_x[list(end)])
        at = end[0] if end[0] == 0 else -1
        inside = np.where(beyond, known_y[at] + slope * (x - known_x[at]), inside)
    return inside

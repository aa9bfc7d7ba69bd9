"""The noise of the book's own learning curves, as the chapter on fitting needs it: between seeds, and along a run."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scalebook.topics.suite_cells import ends, pooled_deviation


def run_deviation(table: pd.DataFrame) -> float:
    """Return the standard deviation of log loss between seeds, pooled over sizes and budgets of cooled runs."""
    last = ends(table[table["schedule"] == "cooled"])
    return pooled_deviation(np.log(last["val"]), last["size"], last["budget"])


def lasting_deviation(table: pd.DataFrame, first: float = 0.1) -> float:
    """Return the part of that deviation that all checkpoints of a run share, from trunks at constant rate.

    Two-way analysis of variance, size by size, of log loss at the points that all seeds have, after the ``first`` share
    of the shortest run: the variance of the seeds' means, less what checkpoints of their own noise contribute to it.
    """
    between, freedom = 0.0, 0
    trunk = table[table["schedule"] == "constant"]
    for _, rows in trunk.groupby("size"):
        rows = rows[rows["tokens"] > first * rows["budget"].min()]
        points = np.log(rows.pivot_table(index="tokens", columns="seed", values="val").dropna()).to_numpy()
        if min(points.shape) < 2:
            continue
        seeds, own = points.mean(axis=0), points.mean(axis=1, keepdims=True)
        left = ((points - seeds - own + points.mean()) ** 2).sum() / ((points.shape[0] - 1) * (seeds.size - 1))
        between += (seeds.var(ddof=1) - left / len(points)) * (seeds.size - 1)
        freedom += seeds.size - 1
    return float(np.sqrt(max(between / freedom, 0.0)))


def checkpoint_deviation(table: pd.DataFrame, first: float = 0.1) -> float:
    """Return the standard deviation of log loss between neighbouring checkpoints of a run at constant rate.

    From the distance of each checkpoint after the ``first`` share to the straight line in log tokens through its two
    neighbours: for independent noise its variance is 1 + u^2 + (1 - u)^2 times that of one checkpoint.
    """
    squares, share = 0.0, 0.0
    for _, run in table[table["schedule"] == "constant"].groupby("run"):
        run = run[run["tokens"] > first * run["budget"]].sort_values("tokens")
        t, y = np.log(run["tokens"].to_numpy()), np.log(run["val"].to_numpy())
        if t.size < 3:
            continue
        u = (t[1:-1] - t[:-2]) / (t[2:] - t[:-2])
        squares += float(((y[1:-1] - (1 - u) * y[:-2] - u * y[2:]) ** 2).sum())
        share += float((1 + u**2 + (1 - u) ** 2).sum())
    return float(np.sqrt(squares / share))

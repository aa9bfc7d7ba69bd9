"""Do runs at a constant learning rate rank two procedures as cooled runs do?

For Nezhurina et al. (2025, arXiv 2506.04598), on blocks L, B and M of the suite. A *procedure* is a size, a batch and a
peak learning rate. A pair of procedures is compared at equal tokens: trunks of one seed, cooled runs of another.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from scalebook.topics.suite_cells import ends

PROCEDURE = ["size", "batch", "lr_peak"]
FEWEST_PAIRS = 30


def losses(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return trunk losses and cooled losses: columns size, batch, lr_peak, seed, D and val, one row for each."""
    table = table.rename(columns={"tokens": "D"})
    keys = [*PROCEDURE, "seed", "D"]
    cooled = ends(table[table["schedule"] == "cooled"])
    trunk = table[table["schedule"] == "constant"].merge(cooled[["size", "batch", "D"]].drop_duplicates())
    known = (rows.loc[np.isfinite(rows["val"]), [*keys, "val"]] for rows in (trunk, cooled))  # some runs blow up
    return tuple(rows.groupby(keys, as_index=False)["val"].mean() for rows in known)


def pairs(table: pd.DataFrame, deviation: float, same_seed: bool, rng: np.random.Generator) -> pd.DataFrame:
    """Return one row for each pair of procedures, trunk seed and cooled seed, whose cooled losses differ clearly.

    Columns: trunk and cooled (differences of log loss, first minus second), own (the cooled difference of the trunk's
    seed, NaN where it has none), ``rate`` (the two differ in learning rate alone) and runs (the four runs involved). A difference is clear beyond twice ``deviation``, the standard deviation
    of log loss between seeds. Which of the two comes first is drawn at random.
    """
    trunk, cooled = losses(table)
    found = []
    for (size, d), here in cooled.groupby(["size", "D"]):
        along = trunk[(trunk["size"] == size) & (trunk["D"] == d)]
        of_trunk = {key: rows.set_index("seed")["val"] for key, rows in along.groupby(["batch", "lr_peak"])}
        of_cooled = {key: rows.set_index("seed")["val"] for key, rows in here.groupby(["batch", "lr_peak"])}
        for first, second in combinations(sorted(of_trunk.keys() & of_cooled.keys()), 2):
            if rng.random() < 0.5:
                first, second = second, first
            for s in of_trunk[first].index.intersection(of_trunk[second].index):
                for other in of_cooled[first].index.intersection(of_cooled[second].index):
                    if (s == other) != same_seed:
                        continue
                    gaps = [np.log(of[first][k] / of[second][k]) for of, k in ((of_trunk, s), (of_cooled, other))]
                    if abs(gaps[1]) > 2 * deviation:
                        four = [(size, *procedure, k) for procedure in (first, second) for k in (s, other)]
                        own = np.log(of_cooled[first].get(s, np.nan) / of_cooled[second].get(s, np.nan))
                        found.append((*gaps, own, first[0] == second[0], four))
    return pd.DataFrame(found, columns=["trunk", "cooled", "own", "rate", "runs"])


def agreed(found: pd.DataFrame) -> float | None:
    """Return the share of pairs with the same sign on trunk and cooled losses; None where there are no pairs."""
    return float((np.sign(found["trunk"]) == np.sign(found["cooled"])).mean()) if len(found) else None


def agreement(found: pd.DataFrame, draws: int, rng: np.random.Generator) -> tuple[float, np.ndarray, int]:
    """Return the share of pairs with the same sign, its bootstrap draws over runs, and the number of runs.

    Pairs share runs: every run gets a random weight, exponential with mean 1 (the Bayesian bootstrap of Rubin 1981,
    which never leaves all pairs out), and a pair the product of the weights of its runs.
    """
    same = (np.sign(found["trunk"]) == np.sign(found["cooled"])).to_numpy(dtype=float)
    names = sorted({run for four in found["runs"] for run in four})
    place = {name: k for k, name in enumerate(names)}
    members = np.array([sorted(place[run] for run in four) for four in found["runs"]])
    repeated = np.diff(members, axis=1, prepend=-1) == 0  # a run that plays two parts in a pair counts once
    weights = rng.exponential(size=(draws, len(names)))
    weight = np.where(repeated, 1.0, weights[:, members]).prod(axis=2)
    return float(same.mean()), (weight @ same) / weight.sum(axis=1), len(names)


def permuted(found: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the pairs with each cooled difference held against the trunk of another pair."""
    return found.assign(trunk=rng.permutation(found["trunk"].to_numpy()))

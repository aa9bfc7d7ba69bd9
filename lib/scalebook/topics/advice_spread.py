"""How far the advice of a scaling law moves with the runs and checkpoints put into its fit (McLeish et al. 2025).

A table of points has the columns run (what is resampled), shape (what a selection draws), N, D, C, loss, and any that
the filters read. Draws of runs are shared by all selections, so that a spread over selections has an interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from scalebook import fitting, laws
from scalebook.errors import UserError
from scalebook.estimate import Estimate, slope
from scalebook.suite.plan import FIRST_SEED, MILLION, VOCABULARY
from scalebook.topics.suite_cells import pooled_deviation

FEWEST = 3  # points on an envelope that a line is drawn through
BINS = 20
SURFACE = "surface"  # approach 3
ENDS = "with ends"  # of an envelope: points where the smallest or the largest size wins are kept
SEEDS = 4  # of one cell, in blocks L and H
EARLIEST = 100_000  # tokens: checkpoints before that are still warming up
LATE = {"suite": MILLION, "gemstones": 5e10}  # tokens
Filter = Callable[[pd.DataFrame], pd.Series]


@dataclass(frozen=True)
class Selection:
    """Shapes kept, the name of a filter of checkpoints, and how the exponent is read from what is left."""

    shapes: frozenset[str]
    keep: str
    approach: str


def selections(
    shapes: Sequence[str], keeps: Sequence[str], approaches: Sequence[str], rng: np.random.Generator,
    count: int = 100, share: float = 0.6,
) -> list[Selection]:  # fmt: skip
    """Draw ``count`` selections: a random ``share`` of the shapes each, filters and approaches in turn."""
    kept = max(2, round(share * len(shapes)))
    found = []
    for k in range(count):
        chosen = frozenset(rng.permutation(list(shapes))[:kept].tolist())
        found.append(Selection(chosen, keeps[k % len(keeps)], approaches[k // len(keeps) % len(approaches)]))
    return found


@dataclass(frozen=True)
class Advice:
    """``exponent`` a and ``ratio`` (tokens per parameter at the target), (1 + draws, selections), NaN if none."""

    exponent: np.ndarray
    ratio: np.ndarray

    def spread(self) -> np.ndarray:
        """Return the standard deviation of a over selections, (1 + draws,)."""
        return np.nanstd(self.exponent, axis=1, ddof=1)

    def log_range(self) -> np.ndarray:
        """Return log of the 90th over the 10th percentile of advised tokens per parameter, (1 + draws,)."""
        low, high = np.nanquantile(np.log(self.ratio), [0.1, 0.9], axis=1)
        return high - low

    def error(self) -> float:
        """Return the median over selections of the standard error of a, from the draws."""
        return float(np.nanmedian(np.nanstd(self.exponent[1:], axis=0, ddof=1)))


def advise(
    table: pd.DataFrame, chosen: Sequence[Selection], filters: Mapping[str, Filter], target: float, draws: int,
    rng: np.random.Generator,
) -> Advice:  # fmt: skip
    """Fit every selection on the table and on ``draws`` resamples of its runs, and extrapolate to ``target`` FLOP.

    Approaches: "bins" (lowest loss in 20 bins of log C), "hull" (lower convex hull of log loss on log C), "random" (as
    many points as the hull has, drawn from all), and "surface" (Chinchilla's law). "bins with ends" and "hull with
    ends" keep points where the smallest or the largest size wins. Where one cannot be had it is NaN.
    """
    runs = table["run"].astype("category")
    units = len(runs.cat.categories)
    times = rng.multinomial(units, np.full(units, 1 / units), draws)
    times = np.concatenate([np.ones((1, times.shape[1]), dtype=int), times])[:, runs.cat.codes]  # (1 + draws, points)
    kept = {name: keep(table).to_numpy() for name, keep in filters.items()}
    shape = table["shape"].to_numpy()
    a, ratio = np.full((2, 1 + draws, len(chosen)), np.nan)
    surfaces: dict[str, dict[int, np.ndarray]] = {}  # filter -> selection -> its rows
    for j, one in enumerate(chosen):
        rows = np.flatnonzero(np.isin(shape, list(one.shapes)) & kept[one.keep])
        if len(rows) <= 5 or table["N"].iloc[rows].nunique() < FEWEST:
            continue
        if one.approach == SURFACE:
            surfaces.setdefault(one.keep, {})[j] = rows
            continue
        lines = _envelopes(table.iloc[rows], times[:, rows] > 0, one.approach, rng)
        a[:, j] = lines[:, 1]
        ratio[:, j] = target / (6 * np.exp(2 * (lines @ [1.0, np.log(target)])))
    for keep, members in surfaces.items():
        params = _surfaces(table, kept[keep], list(members.values()), times)
        with np.errstate(all="ignore"):  # a term that has vanished leaves no optimum: NaN
            n, d = fitting.optimum(params, target)
            a[:, list(members)] = fitting.exponent(params)
            ratio[:, list(members)] = np.where((n > 0) & np.isfinite(d), d / n, np.nan)
    return Advice(a, ratio)


def alternating(advice: Sequence[Advice], chosen: Sequence[Selection], approaches: Sequence[str]) -> Advice:
    """Return the advice of ``chosen`` put together from one `advise` per approach on the same selections of shapes."""
    place = np.array([approaches.index(one.approach) for one in chosen])
    columns = np.arange(len(chosen))
    exponent, ratio = (np.stack([getattr(one, name) for one in advice]) for name in ("exponent", "ratio"))
    return Advice(exponent[place, :, columns].T, ratio[place, :, columns].T)


def centred(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the ends of a Student t interval around the first of ``draws``, as wide as the others scatter.

    Resampling adds its own noise to a spread, so the draws of a spread lie above it, and a percentile interval might
    miss the value; what is used is their standard deviation, which a few draws give well enough.
    """
    others = draws[1:][np.isfinite(draws[1:])]
    half = stats.t.ppf((1 + level) / 2, len(others) - 1) * others.std(ddof=1)
    return float(draws[0] - half), float(draws[0] + half)


def estimate(draws: np.ndarray, units: int, *, log: bool = False) -> Estimate:
    """Return the first of ``draws`` with its centred interval; ``log`` says that they are logarithms of a ratio."""
    if not np.isfinite(draws[0]):
        return Estimate.missing("the analysis gave no value on the table itself")
    low, high = centred(draws)
    back = np.exp if log else float
    return Estimate(float(back(draws[0])), float(back(low)), float(back(high)), units)


def _surfaces(
    table: pd.DataFrame, kept: np.ndarray, members: Sequence[np.ndarray], times: np.ndarray
) -> dict[str, np.ndarray]:
    """Return Chinchilla's parameters, (1 + draws, selections) each, from the rows of each selection of one filter.

    All are refitted in one go from the optimum of all rows that the filter keeps; a row left out has weight zero.
    """
    part = table[kept]
    whole = fitting.fit(laws.Chinchilla, {"N": part["N"], "D": part["D"]}, part["loss"].to_numpy())
    weights = np.zeros((len(members), *times.shape))
    for k, rows in enumerate(members):
        weights[k][:, rows] = times[:, rows]
    params = whole.refit(weights=weights[:, :, kept].reshape(-1, len(part)))
    return {name: values.reshape(len(members), -1).T for name, values in params.items()}


def _envelopes(part: pd.DataFrame, present: np.ndarray, approach: str, rng: np.random.Generator) -> np.ndarray:
    """Return intercept and slope of log N on log C along the envelope of each resample, (1 + draws, 2)."""
    n, c, loss = (part[name].to_numpy(dtype=float) for name in ("N", "C", "loss"))
    found = np.full((len(present), 2), np.nan)
    for b, rows in enumerate(present):
        try:
            best = fitting.envelope(
                n[rows], c[rows], loss[rows], hull=not approach.startswith("bins"), edges=approach.endswith(ENDS),
                bins=BINS, bootstrap=0,
            )  # fmt: skip
        except UserError:
            continue
        line = best.lines[0]
        if approach == "random":
            drawn = rng.choice(np.flatnonzero(rows), size=len(best.optima), replace=False)
            x, y = np.log(c[drawn]), np.log(n[drawn])
            tilt = float(slope(x, y)) if np.ptp(x) > 0 else np.nan
            line = np.array([y.mean() - tilt * x.mean(), tilt])
        found[b] = line
    return found


def suite_points(table: pd.DataFrame) -> pd.DataFrame:
    """Return the checkpoints of blocks M, L and H as selections need them.

    A run is a trunk with all its branches. N counts layers and head, and C = 6 N D. ``clean`` marks block M, whose
    rates follow the law and whose shapes are the usual ones; ``late`` marks points from a million tokens up. Of L and H
    the first `SEEDS` seeds are taken.
    """
    table = table[(table["tokens"] >= EARLIEST) & np.isfinite(table["val"])]
    # An envelope takes the least of a cell's seeds, so cells that were given more for other questions would bend it.
    table = table[(table["block"] == "M") | (table["seed"] < FIRST_SEED + SEEDS)]
    # branches are points of a curve only where they end: before that they are neither trunk nor cooled
    table = table[(table["schedule"] != "cooled") | (table["step"] == table["steps"])]
    run = table["run"].str.replace(r"-(?:cooled|constant)-[^-]+$", "", regex=True)
    points = pd.DataFrame({
        "run": run, "shape": table["size"], "N": (table["n_nonemb"] + VOCABULARY * table["d"]).astype(float),
        "D": table["tokens"].astype(float), "loss": table["val"], "cooled": table["schedule"] == "cooled",
        "late": table["tokens"] >= 0.99 * LATE["suite"], "clean": table["block"] == "M", "seed": table["seed"],
        "budget": table["budget"],
    })  # fmt: skip
    points["C"] = 6 * points["N"] * points["D"]
    return points.reset_index(drop=True)


def gemstone_points(losses: pd.DataFrame) -> pd.DataFrame:
    """Return the released checkpoints in the same form; a run is a model in one of the sets."""
    points = pd.DataFrame({
        "run": losses["run_name"] + " " + losses["set"], "shape": losses["run_name"].str.split("_").str[0],
        "N": losses["params_active_precise"].astype(float), "D": losses["tokens"].astype(float),
        "loss": losses["final_loss"], "cooled": losses["set"] == "cool_end",
        "late": losses["tokens"] >= LATE["gemstones"],
    })  # fmt: skip
    points["C"] = 6 * points["N"] * points["D"]
    return points.reset_index(drop=True)


def run_noise(points: pd.DataFrame) -> float:
    """Return the standard deviation of log loss between seeds, pooled over the cooled cells of block M with several."""
    ends = points[points["clean"] & points["cooled"]]
    return pooled_deviation(np.log(ends["loss"]), ends["shape"], ends["budget"])


def one_law(points: pd.DataFrame, noise: float, rng: np.random.Generator) -> pd.DataFrame:
    """Return the same points with losses of the one Chinchilla law that fits the cooled points of block M best.

    Each run is luckier or less by ``noise`` in log loss, all its checkpoints alike; nothing else is wrong with it.
    """
    ends = points[points["clean"] & points["cooled"]]
    law = fitting.fit(laws.Chinchilla, {"N": ends["N"], "D": ends["D"]}, ends["loss"].to_numpy())
    names, codes = np.unique(points["run"], return_inverse=True)
    luck = noise * rng.standard_normal(len(names))
    return points.assign(loss=law.predict({"N": points["N"], "D": points["D"]}) * np.exp(luck[codes]))


def fragile(advice: Sequence[Advice], runs: int) -> dict[str, Estimate]:
    """Return the measures of fragility from the advice on the real table and on two or more simulated ones.

    All intervals come from the same resamples of runs, whose spread is centred on the value. The excess is over the
    mean of the simulated tables; the null sets the first of them against the mean of the others.
    """
    real, *worlds = advice
    ranges = np.array([one.log_range() for one in (real, *worlds)])  # (1 + tables, 1 + draws)
    ratios = np.log([one.spread() / one.error() for one in (real, *worlds)])
    return {
        "advice_ratio": estimate(ranges[0], runs, log=True),
        "advice_excess": estimate(ranges[0] - ranges[1:].mean(axis=0), runs),
        "spread_over_error": estimate(ratios[0] - ratios[1:].mean(axis=0), runs, log=True),
        "advice_excess_null": estimate(ranges[1] - ranges[2:].mean(axis=0), runs),
    }


def hull(advice: Mapping[tuple[str, str], Advice], runs: int) -> dict[str, Estimate]:
    """Return the measures of steadiness from the advice by (dirty or clean, way of reading).

    Two ways are compared on the selections that both can read: an envelope of late points alone may be too short.
    """

    def over_bins(which: str, way: str) -> np.ndarray:
        both = np.stack([advice[which, name].exponent for name in (way, "bins")])
        both = np.where(np.isfinite(both).all(axis=0), both, np.nan)
        spread = np.nanstd(both, axis=2, ddof=1)
        return np.subtract(*np.log(np.where(spread > 0, spread, np.nan)))  # no spread among too few: no ratio

    bias = np.nanmean(advice["dirty", "hull"].exponent, axis=1) - np.nanmean(advice["clean", SURFACE].exponent, axis=1)
    lost = np.exp(over_bins("clean", "hull")) - np.exp(over_bins("dirty", "hull"))
    return {
        "spread_hull_over_bins": estimate(over_bins("dirty", "hull"), runs, log=True),
        "hull_bias": estimate(bias, runs),
        "advantage_lost_when_clean": estimate(lost, runs),
        "spread_random_over_bins": estimate(over_bins("dirty", "random"), runs, log=True),
        "spread_approach3_over_bins": estimate(over_bins("dirty", SURFACE), runs, log=True),
    }

"""Forecasts on the model suite: larger sizes, larger runs gone wrong, probes, whole trajectories, another text.

Every measure is computed on the table and on redrawn tables (`suite_cells.redraw`). Shapes: B redrawn tables, the first
being the table itself; S sizes, R rungs of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from scalebook import laws
from scalebook.estimate import Estimate
from scalebook.fitting import fit
from scalebook.laws import Law
from scalebook.suite.plan import FIRST_SEED, LADDER, MILLION
from scalebook.suite.rates import vertex
from scalebook.topics.floors import forecast
from scalebook.topics.suite_cells import Cells, mean_loss, seed_deviation

FITTED = 5  # m0 to m4
EARLY = MILLION // 10  # tokens of a trunk that no law is fitted to
RIVALS: dict[str, Law] = {"line in log N": laws.Logarithmic, "exponential": laws.Exponential}


def summary(drawn: np.ndarray, units: int, missing: str = "no fit on this table") -> Estimate:
    """Return an estimate from a measure on the table and on its redraws (B,): percentile interval of the redraws."""
    if not np.isfinite(drawn[0]) or np.isfinite(drawn).mean() < 0.95:
        return Estimate.missing(missing)
    low, high = np.nanquantile(drawn[1:], [0.025, 0.975])
    return Estimate(float(drawn[0]), min(low, drawn[0]), max(high, drawn[0]), units)


def proportion(hits: np.ndarray) -> Estimate:
    """Return the share of hits (n,) with Wilson's interval, which has a width where all or none are hits.

    Recommended for small n by Brown, Cai and DasGupta (2001, Statistical Science 16:101).
    """
    n = len(hits)
    found = stats.binomtest(int(np.sum(hits)), n)
    ends = found.proportion_ci(method="wilson")
    return Estimate(float(found.statistic), float(ends.low), float(ends.high), n)


def forecasts(law: Law, sizes: np.ndarray, losses: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Fit a law in N to each row of losses (B, S) and return what it says at other sizes, (B, targets).

    Least squares in log loss; the first row is fitted from the law's own starts, the others from that optimum.
    """
    first = fit(law, sizes, losses[0], delta=None)
    return law(targets, first.refit(y=losses))


def left_out(count: int, points: int, rng: np.random.Generator) -> np.ndarray:
    """Return which fitted point each redraw leaves out, (count,): -1 for none, the first; all equally often."""
    return np.append(-1, rng.integers(-1, points, size=count - 1))


def forecasts_left_out(law: Law | None, sizes: np.ndarray, losses: np.ndarray, targets: np.ndarray, out: np.ndarray):
    """Return `forecasts` with point ``out`` (B,) left out of each row; no law stands for the last loss kept."""
    found = np.empty((len(losses), len(targets)))
    for one in np.unique(out):
        rows, kept = np.flatnonzero(out == one), np.arange(len(sizes)) != one
        some = np.concatenate([losses[:1], losses[rows]])[:, kept]  # started from the table itself
        if law is None:
            found[rows] = some[1:, -1:]
        else:
            found[rows] = forecasts(law, sizes[kept], some, targets)[1:]
    return found


def grid_forecasts_left_out(sizes: np.ndarray, losses: np.ndarray, targets: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Return forecasts of the power law with floor like `forecasts_left_out`, for data that need not follow it."""
    found = np.empty((len(losses), len(targets)))
    for one in np.unique(out):
        rows, kept = np.flatnonzero(out == one), np.arange(len(sizes)) != one
        found[rows] = forecast(sizes[kept], losses[rows][:, kept], targets)
    return found


def extrapolations(
    losses: np.ndarray, sizes: np.ndarray, rungs: Sequence[int], out: np.ndarray
) -> dict[str, np.ndarray]:
    """Return relative errors of each forecaster for sizes beyond m4 at several rungs, name -> (B, cells).

    ``losses`` (B, S, R); cells are (rung, target) with a measured loss. ``"drop"`` holds loss at m4 - loss at target,
    over the loss at the target; it is below 0 where a larger model is worse than m4.
    """
    found: dict[str, list[np.ndarray]] = {}
    for r in rungs:
        there = np.flatnonzero(np.isfinite(losses[0, :, r]))
        far = there[there >= FITTED]
        true = losses[:, far, r]
        for name, law in {"power law": laws.PowerFloor, **RIVALS, "no change": None}.items():
            told = forecasts_left_out(law, sizes[:FITTED], losses[:, :FITTED, r], sizes[far], out)
            found.setdefault(name, []).append(np.abs(told - true) / true)
        found.setdefault("drop", []).append((losses[:, FITTED - 1, r, None] - true) / true)
    return {name: np.concatenate(parts, axis=1) for name, parts in found.items()}


def permuted_extrapolations(losses, sizes, rungs, orders: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return two medians over cells, each (B,), mean over orders of the fitted sizes' labels.

    The relative error of the power law; and the error minus a quarter of the drop from m4, over the measured loss.
    """
    found = []
    for order in orders:
        shuffled = losses.copy()
        shuffled[:, :FITTED] = losses[:, list(order)]
        error, over = [], []
        for r in rungs:
            far = FITTED + np.flatnonzero(np.isfinite(losses[0, FITTED:, r]))
            told = forecast(sizes[:FITTED], shuffled[:, :FITTED, r], sizes[far])
            true = losses[:, far, r]
            error.append(np.abs(told - true) / true)
            over.append(error[-1] - (losses[:, FITTED - 1, r, None] - true) / true / 4)
        found.append([np.median(np.concatenate(part, axis=1), axis=1) for part in (error, over)])
    return tuple(np.mean(found, axis=0))


def orders(count: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Return different orders of the fitted sizes, the identity left out."""
    found: set[tuple[int, ...]] = set()
    while len(found) < count:
        found.add(tuple(int(i) for i in rng.permutation(FITTED)))
        found.discard(tuple(range(FITTED)))
    return sorted(found)


# whether a fitted law finds larger runs that went wrong


def best_rates(table: pd.DataFrame, size: str, budget: int) -> float:
    """Return the log of the best learning rate of a size at one budget of block L: a parabola; NaN at an end."""
    rows = table[(table["block"] == "L") & (table["size"] == size) & (table["schedule"] == "cooled")]
    rows = rows[(rows["budget"] == budget) & (rows["seed"] == FIRST_SEED)].sort_values("lr_peak")
    bottom = vertex(rows["lr_peak"].tolist(), rows["val"].tolist())
    return np.nan if bottom is None else float(np.log(bottom))


def audited(ends: pd.DataFrame, cells: Cells, drawn: np.ndarray) -> pd.DataFrame:
    """Return one row a labelled run of the sizes m3 and m4 in blocks L and M, with the three scores.

    ``drawn`` (B, S, R) are redrawn cooled losses of block M. Labels come from the cause: a run is bad if its peak rate
    is a factor of sqrt(10) or more from the optimum that smaller sizes predict, the one nearest to it is good, the
    others are left out. Columns target, bad, law (z), raw (loss), smaller (loss minus that of the next smaller size).
    """
    deviation, _ = seed_deviation(cells.log_loss)
    rows = []
    for size, top in (("m3", 2 * MILLION), ("m4", MILLION)):
        s = cells.sizes.index(size)
        for r, budget in enumerate(LADDER):
            if budget > top:
                break
            rates = np.array([best_rates(ends, smaller, budget) for smaller in cells.sizes[:s]])
            known = np.isfinite(rates)
            line = np.polyfit(np.log(cells.layers[:s][known]), rates[known], 1)
            best = np.polyval(line, np.log(cells.layers[s]))
            told = forecasts(laws.PowerFloor, cells.layers[:s], drawn[:, :s, r], cells.layers[s : s + 1])[:, 0]
            spread = np.hypot(np.log(told[1:]).std(), deviation[s - 1])
            runs = ends[ends["block"].isin(["L", "M"]) & (ends["size"] == size) & (ends["schedule"] == "cooled")]
            runs = runs[runs["budget"] == budget].sort_values(["seed", "block", "lr_peak"])
            loss = runs["val"].fillna(np.inf).to_numpy()
            away = np.abs(np.log(runs["lr_peak"].to_numpy()) - best)
            bad, good = away >= np.log(10) / 2 - 1e-9, int(away.argmin())
            for i in np.flatnonzero(bad | (np.arange(len(runs)) == good)):
                rows.append((f"{size}, {budget / MILLION:g}M", i != good, np.log(loss[i] / told[0]) / spread, loss[i],
                             loss[i] - drawn[0, s - 1, r]))  # fmt: skip
    return pd.DataFrame(rows, columns=["target", "bad", "law", "raw", "smaller"])


def wins(runs: pd.DataFrame, score: str, bad: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (targets, targets) counts of bad runs of one above good runs of another, ties half, and both numbers."""
    bad = runs["bad"].to_numpy() if bad is None else bad
    target = pd.factorize(runs["target"])[0]
    value, many = runs[score].to_numpy(), target.max() + 1
    above = (value[:, None] > value) + 0.5 * (value[:, None] == value)
    table = np.zeros((many, many))
    np.add.at(table, (target[~bad][None], target[bad][:, None]), above[bad][:, ~bad])
    return table, np.bincount(target[~bad], minlength=many), np.bincount(target[bad], minlength=many)


def area(counts: tuple[np.ndarray, np.ndarray, np.ndarray], index: np.ndarray) -> np.ndarray:
    """Return the area under the curve over drawn targets (draws, n), whole targets drawn together."""
    table, good, bad = counts
    above = table[index[:, :, None], index[:, None, :]].sum(axis=(1, 2))
    return above / (good[index].sum(axis=1) * bad[index].sum(axis=1))


# probes


def at_an_end(error: float, chance: float, items: int) -> bool:
    """Tell whether a share of errors is within three standard errors of 0 or of chance.

    The standard error is that of one error and one success more, since none or all wrong is not known exactly either.
    """
    share = (error * items + 1) / (items + 2)
    return min(error, abs(chance - error)) < 3 * np.sqrt(share * (1 - share) / items)


# whole trajectories of larger models


def trunks(table: pd.DataFrame, sizes: Sequence[str], first_seed_only: bool = False) -> pd.DataFrame:
    """Return the logged points of block M's constant-rate runs after `EARLY` tokens."""
    rows = table[(table["block"] == "M") & (table["schedule"] == "constant") & table["size"].isin(sizes)]
    rows = rows[(rows["tokens"] > EARLY) & ((rows["seed"] == FIRST_SEED) | (not first_seed_only))]
    return rows.sort_values(["size", "seed", "tokens"]).reset_index(drop=True)


def shifted(rows: pd.DataFrame, deviation: dict[str, float], count: int, rng: np.random.Generator) -> np.ndarray:
    """Return losses (1 + count, points): the table's, then with one normal shift of log loss for each run."""
    run, names = pd.factorize(rows["run"])
    scale = rows.groupby("run")["size"].first().map(deviation).reindex(names).to_numpy()
    moves = np.concatenate([np.zeros((1, len(names))), rng.standard_normal((count, len(names))) * scale])
    return rows["val"].to_numpy() * np.exp(moves[:, run])


def trajectory_law(table: pd.DataFrame, delta: float):
    """Return the law L0 + (N_c/N)^a + (S_c/S)^b fitted to the trunks of m0 to m3: a function of {"N", "D": steps}."""
    small = trunks(table, ("m0", "m1", "m2", "m3"))
    x = {"N": small["n_nonemb"].to_numpy(float), "D": small["step"].to_numpy(float)}
    return fit(laws.Chinchilla, x, small["val"].to_numpy(), delta=delta).predict


def trajectory_errors(
    table: pd.DataFrame, deviation: dict[str, float], count: int, rng: np.random.Generator, delta: float
) -> dict[str, np.ndarray]:
    """Return mean absolute percentage errors, as shares, of the curves of m4, m5 and m6: name -> (1 + count, 3).

    ``law``: L0 + (N_c/N)^a + (S_c/S)^b fitted to all points of m0 to m3 (Huber, ``delta``); ``no steps``: without its
    last term; ``m3 shifted``: the curve of m3, its difference from m4 at m4's last point added.
    """
    small, m3 = trunks(table, ("m0", "m1", "m2", "m3")), trunks(table, ("m3",), True)
    x = {"N": small["n_nonemb"].to_numpy(float), "D": small["step"].to_numpy(float)}
    y = shifted(small, deviation, count, rng)
    own = y[:, (small["run"] == m3["run"].iloc[0]).to_numpy()]
    full = fit(laws.Chinchilla, x, y[0], delta=delta).refit(y=y)
    flat = fit(laws.PowerFloor, x["N"], y[0], delta=delta).refit(y=y)
    found: dict[str, list[np.ndarray]] = {"law": [], "no steps": [], "m3 shifted": []}
    offset = None
    for size in ("m4", "m5", "m6"):
        rows = trunks(table, (size,), True)
        true = shifted(rows, deviation, count, rng)
        n, steps = rows["n_nonemb"].to_numpy(float), rows["step"].to_numpy(float)
        at = np.array([np.interp(np.log(steps), np.log(m3["step"]), one) for one in own])
        offset = true[:, -1:] - at[:, -1:] if offset is None else offset
        told = {"law": laws.Chinchilla({"N": n, "D": steps}, full), "no steps": laws.PowerFloor(n, flat),
                "m3 shifted": at + offset}  # fmt: skip
        for name, curve in told.items():
            found[name].append((np.abs(curve - true) / true).mean(axis=1))
    return {name: np.stack(parts, axis=1) for name, parts in found.items()}


# another text


def fitted_cells(cells: Cells) -> np.ndarray:
    """Return which cooled cells (S, R) a law of size and tokens is fitted to: m0 to m4, up to 2M tokens."""
    near = (np.arange(len(cells.sizes)) < FITTED)[:, None] & (np.array(LADDER) <= 2 * MILLION)
    return near & np.isfinite(mean_loss(cells.log_loss)[0])


def beyond(cells: Cells) -> np.ndarray:
    """Return the cooled cells (S, R) that are not among `fitted_cells`."""
    return np.isfinite(mean_loss(cells.log_loss)[0]) & ~fitted_cells(cells)


def transfer_errors(drawn: dict[str, np.ndarray], cells: Cells, picks: np.ndarray) -> dict[str, np.ndarray]:
    """Return median relative errors on cells beyond m4 or 2M tokens, each (B,).

    ``drawn``: text -> cooled losses (B, S, R), "val" among them. ``own`` of a text: the law fitted to it on m0 to
    m4 and up to 2M tokens. ``moved``: the law of "val" times one constant, which the smallest run of the text gives.
    ``picks`` (B, cells) are the held-out cells of each redraw. Keys are "own TEXT" and "moved TEXT".
    """
    near, far = fitted_cells(cells), beyond(cells)
    n, d = np.broadcast_to(cells.layers[:, None], near.shape), cells.tokens
    seen, later = ({"N": n[at], "D": d[at]} for at in (near, far))
    found, laws_of = {}, {}
    for text, losses in drawn.items():
        laws_of[text] = fit(laws.Chinchilla, seen, losses[0][near], delta=None).refit(y=losses[:, near])
        told = {"own": laws.Chinchilla(later, laws_of[text])}
        smallest = losses[:, 0, 0] / laws.Chinchilla({"N": n[:1, 0], "D": d[:1, 0]}, laws_of["val"])[:, 0]
        told["moved"] = laws.Chinchilla(later, laws_of["val"]) * smallest[:, None]
        for kind, values in told.items():
            miss = np.abs(values - losses[:, far]) / losses[:, far]
            found[f"{kind} {text}"] = np.median(np.take_along_axis(miss, picks, axis=1), axis=1)
    return found


def pooled(cells: Cells) -> dict[str, float]:
    """Return size -> standard deviation of log loss between seeds."""
    return dict(zip(cells.sizes, seed_deviation(cells.log_loss)[0], strict=True))

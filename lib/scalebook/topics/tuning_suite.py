"""What the model suite says about learning rates, batches, weight decay and schedules, on redrawn tables.

Shapes: R redrawn tables (the first is the table itself), S sizes, D numbers of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scalebook.estimate import Estimate, mean, slope
from scalebook.topics import tuning_bowls as bowls
from scalebook.topics.suite_cells import cells, ends, seed_deviation

INTERIOR = 2 / 3  # share of bowls whose bottom must lie inside the grid
TWO_SD = 2.0


@dataclass(frozen=True)
class Bowls:
    """Bowls of block L: log rates (F,), log sizes (S,), log tokens (D,), log losses (R, S, F, D), best log rates (R,
    S, D).

    ``deviation`` (S,) is that of log loss between seeds.
    """

    rates: np.ndarray
    sizes: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    best: np.ndarray
    deviation: np.ndarray

    @property
    def planned(self) -> np.ndarray:
        """Which cells (S, D) have a bowl at all."""
        return np.isfinite(self.loss[0]).any(axis=1)

    @property
    def interior(self) -> float:
        """Share of the bowls with their bottom inside the grid."""
        return float(np.isfinite(self.best[0])[self.planned].mean())


def noise_between_seeds(table: pd.DataFrame, sizes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the deviation of log loss between seeds and its degrees of freedom, from the cooled runs of block M, (S,).

    Those are at rates near the best. The repeated runs of block L, at rates that suit other sizes, are noisier.
    """
    grid = cells(table, states=("cooled",))
    deviation, freedom = seed_deviation(grid.log_loss)
    at = [grid.sizes.index(size) for size in sizes]
    return deviation[at], freedom[at]


def rate_bowls(table: pd.DataFrame, count: int, rng: np.random.Generator) -> Bowls:
    """Arrange the sweep of block L as bowls, one for each size and number of tokens, and redraw them; needs block M
    too."""
    done = ends(table[(table["block"] == "L") & (table["schedule"] == "cooled")])
    done = done[~done["run"].str.contains("best-")]
    log_loss, (sizes, rates, tokens) = bowls.grid(done, ("n_nonemb", "lr_peak", "budget"))
    names = [str(done.loc[done["n_nonemb"] == n, "size"].iloc[0]) for n in sizes]
    deviation, freedom = noise_between_seeds(table, names)
    loss = bowls.redrawn(log_loss, deviation, freedom, count, rng)
    best = bowls.vertex(np.log(rates), np.moveaxis(loss, 2, -1))
    return Bowls(np.log(rates), np.log(sizes), np.log(tokens), loss, best, deviation)


def rate_exponents(found: Bowls, units: int, rng: np.random.Generator) -> dict[str, Estimate]:
    """Return the exponents of the best rate on N, on D at fixed batch, and on N with the sizes permuted by ``rng``."""
    few = f"only {found.interior:.0%} of the bowls have their bottom inside the grid"
    by_tokens = np.swapaxes(found.best, 1, 2)  # R D S: one intercept for each number of tokens
    values = {
        "lr_exponent_n": bowls.common_slope(found.sizes, by_tokens),
        "lr_exponent_d_fixed_batch": bowls.common_slope(found.tokens, found.best),
        "lr_exponent_n_permuted": bowls.permuted_slope(found.sizes, by_tokens, rng),
    }
    if found.interior < INTERIOR:
        return {name: Estimate.missing(few) for name in values}
    return {name: bowls.from_draws(one, units, "too few bowls have a bottom") for name, one in values.items()}


def plateau(found: Bowls) -> dict[str, Estimate]:
    """Return the median excess loss at half and twice the best rate, and how many second differences are negative.

    The first by each bowl's own parabola. A second difference counts as negative beyond two of its standard deviations,
    which are sqrt(6) times those of a loss.
    """
    along = np.moveaxis(found.loss[0], 1, -1)  # S D F
    bend = bowls.curvature(found.rates, along)
    excess = bend[np.isfinite(bend)] * np.log(2) ** 2 / 2
    second = along[..., :-2] - 2 * along[..., 1:-1] + along[..., 2:]
    scaled = second / (np.sqrt(6) * found.deviation[:, None, None])
    return {
        "excess_factor_two": Estimate(float(np.median(excess)), None, None, excess.size),
        "negative_second_differences": Estimate.exact(float((scaled[np.isfinite(scaled)] < -TWO_SD).mean())),
    }


def tuned_rates(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the best learning rates of block G for one seed: a row a size (parameters), a column a number of tokens.

    Each size was tried at four rates a factor of two apart, around a law's; NaN where the lowest loss is at an end.
    """
    done = ends(table[(table["block"] == "G") & (table["seed"] == seed)])
    found = {}
    for size, rows in done.groupby("n_nonemb"):
        log_loss, (rates, tokens) = bowls.grid(rows, ("lr_peak", "budget"))
        found[size] = pd.Series(np.exp(bowls.vertex(np.log(rates), log_loss.T)), index=tokens)
    return pd.DataFrame(found).T


@dataclass(frozen=True)
class Batches:
    """Block B: sizes by name, batches (B,), log tokens (D,), rates {size: (B, F)}, log losses {size: (R, D, B, F)}."""

    batches: np.ndarray
    tokens: np.ndarray
    rates: dict[str, np.ndarray]
    loss: dict[str, np.ndarray]


def batch_grid(table: pd.DataFrame, count: int, rng: np.random.Generator, first_seed: int) -> Batches:
    """Arrange the cooled runs of block B by size, batch, rate and tokens, and redraw them; needs block M too."""
    done = ends(table[(table["block"] == "B") & (table["schedule"] == "cooled")])
    done = done.assign(factor=done["run"].str.extract(r"-x([0-9.]+)-")[0].astype(float))
    deviation, freedom = noise_between_seeds(table, sorted(done["size"].unique()))
    found = Batches(np.array(sorted(done["batch"].unique())), np.log(sorted(done["budget"].unique())), {}, {})
    for k, (size, rows) in enumerate(done[done["seed"] == first_seed].groupby("size")):
        log_loss, (_, _, tokens) = bowls.grid(rows, ("batch", "factor", "budget"))
        rate = rows.groupby(["batch", "factor"])["lr_peak"].first().unstack().to_numpy()
        whole = np.full((*log_loss.shape[:2], len(found.tokens)), np.nan)
        whole[..., np.searchsorted(found.tokens, np.log(tokens) - 1e-9)] = log_loss
        luck = bowls.redrawn(whole[None], deviation[k : k + 1], freedom[k : k + 1], count, rng)[:, 0]
        found.rates[str(size)], found.loss[str(size)] = rate, np.moveaxis(luck, -1, 1)  # R D B F
    return found


def joint_rate(found: Batches, size: str, units: int) -> Estimate:
    """Return the exponent on D of the learning rate at the joint optimum over batch and rate."""
    rate = np.stack(
        [
            bowls.joint_optimum(found.rates[size], found.batches, found.loss[size][:, d])[0]
            for d in range(len(found.tokens))
        ],
        axis=1,
    )  # R D
    lines = bowls.common_slope(found.tokens, rate[:, None])
    there = int(np.isfinite(rate[0]).sum())
    if there < 3:
        every = len(found.tokens)
        return Estimate.missing(f"the joint optimum lies inside the grid at {there} of {every} numbers of tokens")
    return bowls.from_draws(lines, units, "too few redrawn tables have joint optima inside the grid")


def batch_exponents(
    found: Batches, units: int, rng: np.random.Generator
) -> tuple[dict[str, Estimate], dict[str, np.ndarray]]:
    """Return the measures of the best batch, and log best batch (R, D) by size.

    The exponent on D has an intercept for each size; the log ratio is the mean over the numbers of tokens at which both
    sizes have an optimum inside the grid.
    """
    best = {size: bowls.best_batch(found.batches, loss) for size, loss in found.loss.items()}
    both = np.stack(list(best.values()), axis=1)  # R S D
    there = np.isfinite(both[0])
    few = f"the best batch lies inside the grid in {there.sum()} cells only"
    if there.sum() < 4:
        found_slope = {name: Estimate.missing(few) for name in ("batch_exponent_d", "batch_exponent_permuted")}
    else:
        values = {
            "batch_exponent_d": bowls.common_slope(found.tokens, both),
            "batch_exponent_permuted": bowls.permuted_slope(found.tokens, both, rng),
        }
        found_slope = {name: bowls.from_draws(one, units, few) for name, one in values.items()}
    apart = best["m1"] - best["m0"]
    shared = np.isfinite(apart)
    ratio = np.where(shared, apart, 0.0).sum(axis=1) / np.where(shared.any(axis=1), shared.sum(axis=1), np.nan)
    where = "" if np.isnan(ratio[0]) else " in more than a tenth of the redrawn tables"
    found_slope["batch_log_ratio"] = bowls.from_draws(ratio, units, f"no number of tokens with two optima{where}")
    return found_slope, best


@dataclass(frozen=True)
class Decays:
    """Block W in one arm: batches (B,), decays above zero (W,), log losses (B, W, K seeds), those without decay (B,
    K)."""

    batches: np.ndarray
    decays: np.ndarray
    loss: np.ndarray
    without: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """Log best decay of the mean over seeds, (B,), NaN at an edge."""
        return bowls.vertex(np.log(self.decays), self.loss.mean(axis=-1))

    @property
    def pays(self) -> np.ndarray:
        """At which batches (B,) the best decay is inside the grid and beats none by more than two seed deviations."""
        gain = self.without - self.loss.min(axis=1)  # B K
        noise = self.loss.std(axis=-1, ddof=1).mean(axis=1)
        return np.isfinite(self.best) & (gain.mean(axis=-1) > TWO_SD * noise)

    def slopes(self) -> np.ndarray:
        """Return the slope of log best decay on log batch for each seed, (K,), over the batches where decay pays."""
        each = bowls.vertex(np.log(self.decays), np.moveaxis(self.loss, 1, -1))  # B K
        there = self.pays[:, None] & np.isfinite(each)
        return bowls.common_slope(np.log(self.batches), np.where(there, each, np.nan).T[:, None])


def decay_grid(table: pd.DataFrame, arm: str) -> Decays:
    """Arrange block W for one arm, "" for fixed tokens or "fixed steps"; runs that both arms share belong to both."""
    done = ends(table[table["block"] == "W"])
    shared = done["batch"] == 1024
    chosen = done[(done["arm"] == arm) | shared]
    wanted = sorted(set(chosen[~(chosen["batch"] == 1024)]["wd"]))
    log_loss, (batches, decays, _) = bowls.grid(chosen[chosen["wd"].isin(wanted)], ("batch", "wd", "seed"))
    return Decays(batches.astype(float), decays[1:], log_loss[:, 1:], log_loss[:, 0])


def decay_slope(found: Decays, needed: int = 3) -> Estimate:
    """Return the slope of log best decay on log batch with its interval over seeds, or why there is none."""
    paying = int(found.pays.sum())
    if paying < needed:
        return Estimate.missing(
            f"decay has an optimum inside the grid that beats none at {paying} of {len(found.batches)} batches; "
            f"{needed} are needed"
        )
    return mean(found.slopes(), missing="a seed has fewer than two batches with an optimum inside the grid")


def tau_spread(found: Decays, rate: float, tokens: float) -> Estimate:
    """Return the spread of log timescale over that of log best decay, over the batches where decay pays, seeds as
    units.

    tau = B / (rate decay tokens), ``rate`` being the mean over the schedule.
    """
    if found.pays.sum() < 3:
        return Estimate.missing("fewer than three batches have a best decay")
    each = bowls.vertex(np.log(found.decays), np.moveaxis(found.loss, 1, -1))[found.pays]  # B K
    tau = np.log(found.batches[found.pays])[:, None] - each - np.log(rate * tokens)
    return mean(tau.std(axis=0, ddof=1) / each.std(axis=0, ddof=1), missing="a seed has no best decay at some batch")


def schedule_losses(table: pd.DataFrame, size: str, budgets: Sequence[int]) -> dict[str, np.ndarray]:
    """Return losses (budgets, seeds) of one size by schedule: cosine10, cosine0, linear0, cooled, constant.

    Constant is the trunk of block M where it passes a budget. Only seeds that have every schedule are kept.
    """
    rows = table[(table["size"] == size) & table["block"].isin(["M", "S"])]
    found: dict[str, pd.DataFrame] = {}
    for schedule in ("cosine10", "cosine0", "linear0", "cooled", "constant"):
        of = rows[rows["schedule"] == schedule]
        at = of if schedule == "constant" else ends(of)
        rungs = [at[at["tokens"] == budget // at["batch"] * at["batch"]].assign(rung=budget) for budget in budgets]
        at = pd.concat(rungs)
        found[schedule] = at.pivot_table(index="rung", columns="seed", values="val")
    seeds = sorted(set.intersection(*(set(one.columns[one.notna().all()]) for one in found.values())))
    return {schedule: one.loc[list(budgets), seeds].to_numpy() for schedule, one in found.items()}


def branch_end(table: pd.DataFrame, size: str, budget: int, seed: int) -> float:
    """Return the final loss of one cooled branch of block M."""
    rows = ends(table[(table["block"] == "M") & (table["schedule"] == "cooled") & (table["size"] == size)])
    (value,) = rows.loc[(rows["budget"] == budget) & (rows["seed"] == seed), "val"]
    return float(value)


def extrapolated(tokens: np.ndarray, losses: np.ndarray, target: float) -> np.ndarray:
    """Return the loss at ``target`` tokens of log L = c + s log D fitted for each seed; losses (D, K) -> (K,)."""
    x, y = np.log(np.asarray(tokens, dtype=float)), np.log(losses).T
    fall = slope(x, y)
    return np.exp(y.mean(axis=-1) + fall * (np.log(target) - x.mean()))

"""What can be traded for what on the model suite: depth for width, size for tokens, steps for batch.

Shapes: B redraws, the first being the table itself; S sizes or shapes, K seeds, G target losses, M batches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scalebook.errors import UserError
from scalebook.estimate import slope
from scalebook.suite import storage
from scalebook.suite.plan import FIRST_SEED, MILLION, SHAPES_H, WARMUP_STEPS

AT = 82_944  # parameters of the shape that the others are corrected to
TARGETS, FEWEST_SIZES, FEWEST_BATCHES = 8, 4, 5
CRITICAL = np.geomspace(1.0, 1e6, 400)  # batches in tokens tried as the critical one


# shape at one number of parameters


def shape_losses(ends: pd.DataFrame) -> np.ndarray:
    """Return the final losses of block H, (K, S): seeds by the shapes of `SHAPES_H` in their order."""
    rows = ends[ends["block"] == "H"]
    table = rows.pivot(index="seed", columns="size", values="val")[list(SHAPES_H)]
    if table.isna().any(axis=None):
        raise UserError("shape_losses: block H has a run without a loss; all shapes need the same seeds.")
    return table.to_numpy()


def corrected(losses: np.ndarray, sizes: np.ndarray, law) -> np.ndarray:
    """Return losses (..., S) moved along a law of N to `AT` parameters: times law(AT) / law(N)."""
    return losses * law(np.array([float(AT)])) / law(sizes)


def redrawn_seeds(losses: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return geometric means over seeds (1 + count, S) of losses (K, S), the same seeds drawn for all columns.

    Deviations from the mean are widened by sqrt(K / (K - 1)), as in `suite_cells.redraw`.
    """
    logs, seeds = np.log(losses), len(losses)
    drawn = rng.integers(seeds, size=(count, seeds))
    moved = (logs[drawn].mean(axis=1) - logs.mean(axis=0)) * np.sqrt(seeds / (seeds - 1))
    return np.exp(logs.mean(axis=0) + np.concatenate([np.zeros((1, losses.shape[1])), moved]))


def speeds() -> dict[str, np.ndarray]:
    """Return training tokens per second of block H's shapes, one a timed repeat, as stored with the suite; or {}."""
    path = storage.data_dir() / storage.ABOUT
    about = storage.read_json(path) if path.is_file() else {}
    stored = about.get("throughput", {}).get("tokens_per_second", {})
    return {name: np.array(values, dtype=float) for name, values in stored.items()}


def spread(losses: np.ndarray) -> np.ndarray:
    """Return (max - min) / min along the last axis."""
    return losses.max(axis=-1) / losses.min(axis=-1) - 1


def spread_by_luck(losses: np.ndarray, count: int, rng: np.random.Generator) -> float:
    """Return the mean `spread` of the seed means when shapes are dealt out anew within each seed, (K, S) -> float."""
    dealt = rng.permuted(np.repeat(np.log(losses)[None], count, axis=0), axis=-1)
    return float(spread(np.exp(dealt.mean(axis=1))).mean())


# tokens that each size needs for a loss


def trunk_curves(table: pd.DataFrame, sizes: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Return (log tokens, log loss, parameters) of the first seed's trunk of each size, after warm-up."""
    found = []
    rows = table[(table["block"] == "M") & (table["schedule"] == "constant") & (table["seed"] == FIRST_SEED)]
    for size in sizes:
        one = rows[(rows["size"] == size) & (rows["step"] > WARMUP_STEPS)].sort_values("tokens")
        found.append((np.log(one["tokens"].to_numpy()), np.log(one["val"].to_numpy()), float(one["n_nonemb"].iloc[0])))
    return found


def crossings(curves, targets: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Return log tokens at which each curve first gets to each log loss, (B, G, S); NaN where it never does.

    ``moves`` (B, S) are added to the log losses of whole curves. Interpolated between logged points.
    """
    found = np.full((len(moves), len(targets), len(curves)), np.nan)
    for s, (x, y, _) in enumerate(curves):
        lowest = np.minimum.accumulate(y)  # a curve at constant rate wobbles: the first time counts
        for b, move in enumerate(moves[:, s]):
            wanted = targets - move
            at = np.searchsorted(-lowest, -wanted)
            inside = (at > 0) & (at < len(x))
            i = np.clip(at, 1, len(x) - 1)
            share = (lowest[i - 1] - wanted) / np.where(lowest[i - 1] > lowest[i], lowest[i - 1] - lowest[i], 1)
            found[b, :, s] = np.where(inside, x[i - 1] + np.clip(share, 0, 1) * (x[i] - x[i - 1]), np.nan)
    return found


def target_losses(curves, low: int = 1, high: int = 6, count: int = TARGETS) -> np.ndarray:
    """Return log losses between the ends of two sizes' curves, equally spaced, neither end among them."""
    return np.linspace(curves[low][1].min(), curves[high][1].min(), count + 2)[1:-1]


def token_slopes(log_tokens: np.ndarray, log_sizes: np.ndarray) -> np.ndarray:
    """Return the slope of log tokens on log N for each target, (..., G, S) -> (..., G); NaN below four sizes."""
    there = np.isfinite(log_tokens)
    number = there.sum(axis=-1)
    x = np.where(there, log_sizes, 0.0)
    y = np.where(there, log_tokens, 0.0)
    many = np.maximum(number, 1)
    centred = np.where(there, log_sizes - (x.sum(axis=-1) / many)[..., None], 0.0)
    with np.errstate(invalid="ignore"):
        return np.where(number >= FEWEST_SIZES, (centred * y).sum(axis=-1) / (centred**2).sum(axis=-1), np.nan)


def right_signs(log_tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return in how many pairs of neighbouring sizes the larger needs fewer tokens, and how many pairs there are.

    ``log_tokens`` (..., G, S); both (...,).
    """
    step = np.diff(log_tokens, axis=-1)
    return (step < 0).sum(axis=(-2, -1)), np.isfinite(step).sum(axis=(-2, -1))


def permuted_slopes(log_tokens: np.ndarray, log_sizes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return mean slopes over targets with sizes dealt out anew within each target, (G, S) -> (count,)."""
    found = np.empty((count, len(log_tokens)))
    for g, row in enumerate(log_tokens):
        x, y = log_sizes[np.isfinite(row)], row[np.isfinite(row)]
        enough = len(x) >= FEWEST_SIZES
        found[:, g] = slope(rng.permuted(np.repeat(x[None], count, axis=0), axis=1), y) if enough else np.nan
    return np.nanmean(found, axis=1)


# steps against batch


def batch_losses(ends: pd.DataFrame, size: str = "m1") -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return batches (M,), budgets (D,), log rates (M, 3), log losses (M, 3, D): block B, cooled, first seed."""
    rows = ends[(ends["block"] == "B") & (ends["size"] == size) & (ends["schedule"] == "cooled")]
    rows = rows[rows["seed"] == FIRST_SEED]
    batches, budgets = np.sort(rows["batch"].unique()), np.sort(rows["budget"].unique())
    losses = np.full((len(batches), 3, len(budgets)), np.nan)
    rates = np.empty((len(batches), 3))
    for m, batch in enumerate(batches):
        one = rows[rows["batch"] == batch]
        rates[m] = np.log(np.sort(one["lr_peak"].unique()))
        for row in one.itertuples():
            k = int(np.abs(rates[m] - np.log(row.lr_peak)).argmin())
            losses[m, k, np.searchsorted(budgets, row.budget)] = np.log(row.val)
    return batches.astype(float), budgets.astype(float), rates, losses


def batch_deviation(ends: pd.DataFrame, size: str = "m1") -> tuple[float, int]:
    """Return the deviation of log loss between block B's seeds, pooled over batches, and its degrees of freedom."""
    rows = ends[(ends["block"] == "B") & (ends["size"] == size) & (ends["schedule"] == "cooled")]
    rows = rows[rows["budget"] == MILLION]
    logs = np.log(rows["val"]).groupby([rows["batch"], rows["lr_peak"]])
    kept = logs.size() >= 3
    freedom = int((logs.size()[kept] - 1).sum())
    return float(np.sqrt((logs.var(ddof=1)[kept] * (logs.size()[kept] - 1)).sum() / freedom)), freedom


def lowest_rate(losses: np.ndarray, inside: np.ndarray | None = None) -> np.ndarray:
    """Return the least log loss along three equally spaced log rates, (..., 3, D) -> (..., D); NaN at an edge.

    The least of the parabola through the three, between the first rate and the last. ``inside`` (M, D), from the table
    itself, says for redraws where an optimum is known: their luck may put it at an edge, or bend the parabola over.
    """
    left, middle, right = (losses[..., k, :] for k in range(3))
    inside = (middle < left) & (middle < right) if inside is None else inside
    bend, tilt = left - 2 * middle + right, (right - left) / 2
    at = np.clip(-tilt / np.where(bend > 0, bend, 1.0), -1, 1)  # in steps of the grid from the middle rate
    least = np.where(bend > 0, middle + tilt * at + bend * at**2 / 2, np.minimum(left, right))
    return np.where(inside, least, np.nan)


def steps_needed(
    best: np.ndarray, batches: np.ndarray, budgets: np.ndarray, targets: np.ndarray, known: np.ndarray | None = None
) -> np.ndarray:
    """Return log steps after warm-up for each target, (B, M, D) -> (B, G, M); NaN outside what was trained.

    ``best`` are log losses; interpolated in log tokens between budgets. A batch with an optimum at an edge of the rates
    at some budget has NaN there and is not interpolated across it. ``known`` (G, M), from the table itself, decides for
    redraws: the outermost intervals that a batch has then reach on, and what the table does not know is NaN.
    """
    log_d = np.log(budgets)
    usable = np.isfinite(best[0, :, :-1]) & np.isfinite(best[0, :, 1:])  # (M, intervals)
    reach_down = (known is not None) & usable & (np.cumsum(usable, axis=1) == 1)
    reach_up = (known is not None) & usable & (np.cumsum(usable[:, ::-1], axis=1)[:, ::-1] == 1)
    found = np.full((best.shape[0], len(targets), best.shape[1]), np.nan)
    for left in range(len(budgets) - 1):
        above, below = best[:, None, :, left], best[:, None, :, left + 1]
        wanted = targets[None, :, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            here = ((above >= wanted) | reach_down[:, left]) & ((below < wanted) | reach_up[:, left])
            tokens = np.exp(log_d[left] + (above - wanted) / (above - below) * (log_d[left + 1] - log_d[left]))
            steps = np.log(np.maximum(tokens / batches - WARMUP_STEPS, 1.0))
        found = np.where(here & np.isfinite(steps), steps, found)
    return found if known is None else np.where(known, found, np.nan)


def trade_targets(best: np.ndarray, batches: np.ndarray, budgets: np.ndarray, count: int = 4) -> np.ndarray:
    """Return log losses that at least `FEWEST_BATCHES` batches get to, equally spaced; (M, D) -> (G,)."""
    if not np.isfinite(best).any():
        return np.array([])
    grid = np.linspace(np.nanmin(best), np.nanmax(best), 400)
    reach = np.isfinite(steps_needed(best[None], batches, budgets, grid))[0].sum(axis=1)
    inside = grid[reach >= FEWEST_BATCHES]
    return np.linspace(inside[0], inside[-1], count + 2)[1:-1] if inside.size else np.array([])


def hyperbola(log_steps: np.ndarray, batches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit S = S_min (1 + B_crit / B) to log steps (..., M); return B_crit and the root mean square of log residuals.

    For each B_crit the best log S_min is a mean. NaN below five batches.
    """
    there = np.isfinite(log_steps)
    number = np.maximum(there.sum(axis=-1), 1)
    best, crit = np.full(log_steps.shape[:-1], np.inf), np.full(log_steps.shape[:-1], np.nan)
    for one in CRITICAL:
        left = np.where(there, log_steps - np.log1p(one / batches), 0.0)
        centred = np.where(there, left - (left.sum(axis=-1) / number)[..., None], 0.0)
        error = np.sqrt((centred**2).sum(axis=-1) / number)
        better = error < best
        best, crit = np.where(better, error, best), np.where(better, one, crit)
    enough = there.sum(axis=-1) >= FEWEST_BATCHES
    return np.where(enough, crit, np.nan), np.where(enough, best, np.nan)


def power(log_steps: np.ndarray, batches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit S = c B^-p to log steps (..., M); return fitted log steps and the root mean square of log residuals."""
    there = np.isfinite(log_steps)
    number = np.maximum(there.sum(axis=-1, keepdims=True), 1)
    x = np.where(there, np.log(batches), 0.0)
    y = np.where(there, log_steps, 0.0)
    centred = np.where(there, np.log(batches) - x.sum(axis=-1, keepdims=True) / number, 0.0)
    with np.errstate(invalid="ignore"):
        steep = (centred * y).sum(axis=-1, keepdims=True) / (centred**2).sum(axis=-1, keepdims=True)
    told = y.sum(axis=-1, keepdims=True) / number + steep * centred
    error = np.sqrt(np.where(there, (y - told) ** 2, 0.0).sum(axis=-1) / number[..., 0])
    return np.where(there, told, np.nan), np.where(there.sum(axis=-1) >= FEWEST_BATCHES, error, np.nan)

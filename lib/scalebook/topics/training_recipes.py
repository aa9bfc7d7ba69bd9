"""Two training recipes held against each other: long warm-up and short, weight decay and none, two learning rates.

For Porian et al. (2024, arXiv 2406.19146) and Xiao (2024, arXiv 2409.15156): what wins on a small model, at a small
budget or on text read once need not win elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scalebook.estimate import Estimate, mean, slope

NEEDED_MINIMA = 3


def warmup(exponents: np.ndarray, null: np.ndarray, inside: np.ndarray, penalty: np.ndarray) -> dict[str, Estimate]:
    """Return the measures of the warm-up claim.

    ``exponents`` (2, seeds), long and short; ``null`` (splits,) differences between halves of the seeds; ``inside``
    (2,) interior minima of the mean table; ``penalty`` (seeds, sizes) relative loss at the smallest budget.
    """
    shift = exponents[0] - exponents[1]
    if (inside < NEEDED_MINIMA).any():
        found = Estimate.missing(f"{inside[0]} and {inside[1]} interior minima; {NEEDED_MINIMA} needed in both")
    elif not np.isfinite(shift).all():
        found = Estimate.missing(f"{np.isnan(shift).sum()} of {shift.size} seeds have fewer than 3 interior minima")
    else:
        found = mean(shift)
    nothing = mean(null) if np.isfinite(null).all() else Estimate.missing("a half of the seeds has too few minima")
    return {"exponent_shift": found, "exponent_shift_null": nothing, "small_budget_penalty": mean(penalty.mean(axis=1))}


def decay_gain(held: np.ndarray, *, early: bool = False) -> np.ndarray:
    """Return the relative loss reduction by the best non-zero decay, one value a seed.

    ``held`` (decay, seed, time, half), decay 0 first. The decay is chosen on the first half, mean over seeds, and
    scored on the second. With ``early`` every run is first stopped at its best moment on the first half.
    """
    if early:
        when = held[..., 0].argmin(axis=2)[..., None, None]
        held = np.take_along_axis(held, np.broadcast_to(when, (*held.shape[:2], 1, 2)), axis=2)
    last = held[:, :, -1]  # (decay, seed, half)
    best = 1 + int(last[1:, :, 0].mean(axis=1).argmin())
    return 1 - last[best, :, 1] / last[0, :, 1]


def crossing(
    n: np.ndarray, a: np.ndarray, c: np.ndarray, rates: Sequence[float], fitted: int = 3
) -> dict[str, Estimate]:
    """Return the measures of the crossing claim from losses (sizes, seeds) of recipes A and C and their two rates.

    Gaps are (A - C) / C, seed by seed. The forecast at the last size is from power laws through the first ``fitted``
    sizes. ``gap_large_null`` sets A against itself, each seed against the mean of the others: its mean is zero.
    """
    if rates[0] == rates[1]:
        same = Estimate.missing("both recipes have the same learning rate")
        return dict.fromkeys(("gap_small", "gap_large", "gap_large_predicted", "gap_large_null"), same)
    gap = a / c - 1
    log_n = np.log(n)

    def ahead(losses: np.ndarray) -> np.ndarray:
        y, x = np.log(losses[:fitted]).T, log_n[:fitted]
        return np.exp(y.mean(axis=1) + slope(x, y) * (log_n[-1] - x.mean()))

    others = (a[-1].sum() - a[-1]) / (a.shape[1] - 1)
    found = {
        "gap_small": mean(gap[0]), "gap_large": mean(gap[-1]), "gap_large_predicted": mean(ahead(a) / ahead(c) - 1),
        "gap_large_null": mean(a[-1] / others - 1),
    }  # fmt: skip
    line = gap.mean(axis=1)
    change = np.flatnonzero(np.diff(np.sign(line)) != 0)
    if change.size:
        k = change[0]
        at = log_n[k] - line[k] * (log_n[k + 1] - log_n[k]) / (line[k + 1] - line[k])
        found["crossing_size"] = Estimate(float(np.exp(at)), None, None, a.shape[1])
    else:
        found["crossing_size"] = Estimate.missing("the difference keeps its sign over all sizes")
    return found

"""Learning-rate schedules as arrays, and the two areas under them that the annealing law reads.

Everything is in units of the peak rate, one number a step; multiply by the peak for a learning rate. No torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal import lfilter

from scalebook.errors import UserError

WARMUP = 20  # steps of the linear rise
KINDS = ("constant", "cosine to 10 %", "cosine to 0", "linear to 0", "two steps", "two cycles")


def unit_rates(kind: str, steps: int, warmup: int = WARMUP) -> np.ndarray:
    """Return the rate of each step over its peak, (steps,), for one of `KINDS`.

    All rise linearly over ``warmup`` steps. "two steps" falls to 0.3 at 60 percent and to 0.1 at 80 percent of the
    steps. "two cycles" falls on a cosine to 10 percent at half time, is warmed up again, and falls once more.
    """
    if kind not in KINDS:
        raise UserError(f"Schedule {kind!r} is unknown; choose among {', '.join(KINDS)}.")
    if steps <= 2 * warmup:
        raise UserError(f"A schedule of {steps} steps has no room for a warm-up of {warmup}; give more steps.")
    t = np.arange(steps, dtype=float)
    rise = np.minimum(1.0, (t + 1) / warmup)
    if kind == "two cycles":
        first = steps // 2
        return np.concatenate([unit_rates("cosine to 10 %", n, warmup) for n in (first, steps - first)])
    x = np.clip((t - warmup) / (steps - warmup), 0.0, 1.0)
    share = t / steps
    shapes = {
        "constant": np.ones(steps),
        "cosine to 10 %": 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * x)),
        "cosine to 0": 0.5 * (1 + np.cos(np.pi * x)),
        "linear to 0": 1 - x,
        "two steps": np.where(share < 0.6, 1.0, np.where(share < 0.8, 0.3, 0.1)),
    }
    return rise * shapes[kind]


def cooled(steps: int, fraction: float, *, root: bool = True, warmup: int = WARMUP) -> np.ndarray:
    """Return a constant rate with a cooldown over the last ``fraction`` of the steps, (steps,), over its peak.

    With ``root`` the cooldown is 1 - sqrt(x), x running from 0 to 1 (Haegele and others 2024), else 1 - x. It never
    begins inside the warm-up, so that a fraction of 1 is a linear decay from the end of the warm-up.
    """
    if not 0 <= fraction <= 1:
        raise UserError(f"A cooldown over {fraction} of the steps was asked for; give a share from 0 to 1.")
    length = min(round(fraction * steps), steps - warmup)
    t = np.arange(steps, dtype=float)
    x = np.clip((t - (steps - length)) / max(length, 1), 0.0, 1.0)
    return np.minimum(1.0, (t + 1) / warmup) * (1 - (np.sqrt(x) if root else x))


def areas(rates: np.ndarray, momentum: float | Sequence[float], warmup: int = WARMUP) -> tuple[np.ndarray, np.ndarray]:
    """Return S1 (steps,) and S2 (steps,), or (M, steps) for M values of ``momentum``, after each step.

    S1 is the area under the rates, S2 the annealing so far: each fall of the rate counts for all later steps, fading
    by ``momentum`` a step, m_i = momentum m_(i-1) + (rate_(i-1) - rate_i), S2 = sum of m (Tissue and others 2024, arXiv
    2408.11029). Rises of the warm-up are left out of S2.
    """
    rates = np.asarray(rates, dtype=float)
    fall = -np.diff(rates, prepend=rates[0])
    fall[:warmup] = 0.0
    kept = np.atleast_1d(np.asarray(momentum, dtype=float))
    if not ((kept >= 0) & (kept < 1)).all():
        raise UserError(f"areas: momentum {momentum}; give values from 0 to below 1.")
    s2 = np.stack([np.cumsum(lfilter([1.0], [1.0, -m], fall)) for m in kept])
    return np.cumsum(rates), s2 if np.ndim(momentum) else s2[0]


def token_ratio(lengths: Sequence[float], fraction: float) -> float:
    """Return tokens of one constant run with a cooled branch for each length, over those of separate runs.

    The constant run goes on to the longest length, as it would when a longer one may follow: D_max + f sum D_i.
    """
    lengths = np.asarray(lengths, dtype=float)
    return float((lengths.max() + fraction * lengths.sum()) / lengths.sum())

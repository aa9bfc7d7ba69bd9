"""Learning-rate schedules as arrays, and the steps at which a run is measured. No torch."""

from __future__ import annotations

import numpy as np

from scalebook.suite.plan import COOLDOWN, WARMUP_STEPS

POINTS = 20  # logged steps of a run, log-spaced
FIRST_POINT = 10


def cooldown_start(steps: int) -> int:
    """Return the step at which the last fifth of a run begins."""
    return round((1 - COOLDOWN) * steps)


def warmup(schedule: str, steps: int) -> int:
    """Return the warm-up in steps.

    Runs whose schedule is tied to their length take max(20, 2 percent). A trunk takes 20 steps whatever its length,
    since its shortest branch has 122; so does a cooled run, which is a branch with its piece of trunk.
    """
    return WARMUP_STEPS if schedule in ("constant", "cooled") else max(WARMUP_STEPS, round(0.02 * steps))


def rates(schedule: str, steps: int) -> np.ndarray:
    """Return the learning rate of each step over its peak, float64 (steps,).

    ``cooled`` is constant up to 0.8 of the steps and then 1 - sqrt(x) with x from 0 to 1 (Haegele and others 2024);
    ``linear0`` and ``cosine0`` end at zero, ``cosine10`` at a tenth of the peak.
    """
    t = np.arange(steps, dtype=np.float64)
    warm = warmup(schedule, steps)
    rise = np.minimum(1.0, (t + 1) / warm)
    x = np.clip((t - warm) / max(1, steps - warm), 0.0, 1.0)
    if schedule == "constant":
        shape = np.ones(steps)
    elif schedule == "cooled":
        start = cooldown_start(steps)
        shape = 1 - np.sqrt(np.clip((t - start) / (steps - start), 0.0, 1.0))
    elif schedule == "linear0":
        shape = 1 - x
    elif schedule in ("cosine0", "cosine10"):
        floor = 0.1 if schedule == "cosine10" else 0.0
        shape = floor + (1 - floor) * 0.5 * (1 + np.cos(np.pi * x))
    else:
        raise ValueError(f"unknown schedule {schedule!r}: give constant, cooled, linear0, cosine0 or cosine10")
    return rise * shape


def points(steps: int, also: tuple[int, ...] = ()) -> list[int]:
    """Return the steps after which a run is measured: 20 log-spaced ones, the end, and those of ``also``."""
    spaced = np.geomspace(min(FIRST_POINT, steps), steps, POINTS).round().astype(int)
    return sorted({int(step) for step in spaced} | {step for step in also if step <= steps} | {steps})


def branch_points(start: int, end: int) -> list[int]:
    """Return the steps after which a branch is measured: each third of its cooldown."""
    return sorted({start + max(1, round((end - start) * part / 3)) for part in (1, 2, 3)})

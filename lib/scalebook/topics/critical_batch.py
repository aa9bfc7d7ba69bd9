"""The critical batch of one-pass SGD on linear regression with power-law spectra, computed exactly.

Features are independent Gaussians with variance k^-a; the target has energy k^-b in feature k, and noise. The first N
of 2,000 features are learned. Shapes: K problems, B batch sizes, E learning rates, N learned modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq

from scalebook.errors import UserError

FEATURES = 2000
NOISE = 0.25  # variance of the label noise
SPACING = 1.3  # between neighbouring learning rates
FEWEST_STEPS = 16
RESOLVED = 1e-30  # excess risk below which modes in single precision fade out


@dataclass(frozen=True)
class Problem:
    """A spectrum: variance k^-feature, target energy k^-target; without ``noisy`` neither label noise nor a tail."""

    feature: float
    target: float
    noisy: bool = True

    def modes(self, learned: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Return variances (N,), squared distances to the target at the start (N,), and what is never learned."""
        k = np.arange(1, FEATURES + 1, dtype=float)
        variance, energy = k**-self.feature, k**-self.target
        floor = NOISE + energy[learned:].sum() if self.noisy else 0.0
        return variance[:learned], (energy / variance)[:learned], floor


def largest_rate(variance: np.ndarray, batch: int) -> float:
    """Return the constant learning rate up to which the squared error stays bounded.

    The stationary state exists while sum_j e l_j / (B (2 - e l_j (1 + 1/B))) < 1.
    """
    top = 2.0 / (variance[0] * (1 + 1 / batch))

    def excess(rate: float) -> float:
        return float((rate * variance / (batch * (2 - rate * variance * (1 + 1 / batch)))).sum()) - 1

    low = top * 1e-9
    return brentq(excess, low, top * (1 - 1e-9)) if excess(top * (1 - 1e-9)) > 0 else top


def final_excess(
    problems: Sequence[Problem], learned: int, steps: int, batches: Sequence[int], rates: int = 16
) -> np.ndarray:
    """Return the expected excess risk sum_j l_j v_j after ``steps`` of SGD with linear decay, (K, B, E).

    The second moment of each mode follows v <- v (1 - 2 e l + e^2 l^2 (1 + 1/B)) + e^2 l risk / B exactly, with risk =
    sum_j l_j v_j + floor (Gaussian features). Peak rates fall by `SPACING` from the largest stable one.
    """
    batch = np.asarray(batches, dtype=float)[None, :, None, None]
    parts = [problem.modes(learned) for problem in problems]
    variance = np.stack([part[0] for part in parts])[:, None, None]  # K 1 1 N
    v = np.repeat(np.repeat(np.stack([part[1] for part in parts])[:, None, None], len(batches), 1), rates, 2)
    floor = np.array([part[2] for part in parts])[:, None, None]
    top = np.array([[largest_rate(part[0], b) for b in batches] for part in parts])[:, :, None, None]
    peak = top * SPACING ** -np.arange(rates)[None, None, :, None]
    pull = (peak * variance).astype(np.float32)
    spread = (pull.astype(float) ** 2 * (1 + 1 / batch)).astype(np.float32)
    kick = (peak**2 * variance / batch).astype(np.float32)
    v, variance = v.astype(np.float32), variance.astype(np.float32)
    change = np.empty_like(v)
    for step in range(steps):
        decay = np.float32(1 - step / steps)
        risk = np.einsum("kben,kn->kbe", v, variance[:, 0, 0]) + floor.astype(np.float32)
        np.multiply(spread, decay * decay, out=change)
        change -= 2 * decay * pull
        change *= v
        v += change
        np.multiply(kick, (decay * decay) * risk[..., None], out=change)
        v += change
    return np.einsum("kben,kn->kbe", v, variance[:, 0, 0]).astype(float)


def best_excess(
    problems: Sequence[Problem], learned: int, data: Sequence[int], batches: Sequence[int], rates: int = 16
) -> np.ndarray:
    """Return the excess risk at the best learning rate for each problem, batch and number of samples, (K, B, D).

    The best rate is found by a parabola in log rate through the best one and its neighbours; at an end of the grid its
    value is taken as it stands. NaN where fewer than `FEWEST_STEPS` steps would be made, and where a risk is below
    `RESOLVED`. ``data`` and ``batches`` are powers of two, so that runs of one number of steps advance together.
    """
    found = np.full((len(problems), len(batches), len(data)), np.nan)
    lengths = sorted({d // b for d in data for b in batches if d // b >= FEWEST_STEPS})
    for steps in lengths:
        here = [b for b in batches if steps * b in data]
        risks = final_excess(problems, learned, steps, here, rates)
        for i, b in enumerate(here):
            best = np.exp(lowest(np.log(np.maximum(risks[:, i], RESOLVED))))
            gone = (risks[:, i] < RESOLVED).any(axis=-1)
            found[:, batches.index(b), data.index(steps * b)] = np.where(gone, np.nan, best)
    return found


def lowest(values: np.ndarray) -> np.ndarray:
    """Return the minimum along the last axis of equally spaced values, by a parabola through three where inside."""
    values = np.where(np.isfinite(values), values, np.inf)
    at = values.argmin(axis=-1)
    inside = (at > 0) & (at < values.shape[-1] - 1)
    middle = np.clip(at, 1, values.shape[-1] - 2)
    left, centre, right = (np.take_along_axis(values, (middle + k)[..., None], -1)[..., 0] for k in (-1, 0, 1))
    bend = left - 2 * centre + right
    with np.errstate(invalid="ignore", divide="ignore"):
        vertex = centre - (right - left) ** 2 / (8 * bend)
    return np.where(inside & np.isfinite(vertex) & (bend > 0), vertex, values.min(axis=-1))


def samples_needed(data: Sequence[int], excess: np.ndarray, target: float) -> np.ndarray:
    """Return the samples that each batch size needs for a target, by interpolation in logs; excess (B, D) -> (B,).

    NaN where the target lies outside what was computed for a batch size.
    """
    needed = np.full(len(excess), np.nan)
    for b, row in enumerate(excess):
        there = np.isfinite(row)
        x, y = -np.log(row[there]), np.log(np.asarray(data, dtype=float)[there])
        if there.sum() >= 3 and (np.diff(x) > 0).all() and x[0] <= -np.log(target) <= x[-1] + 1e-12:
            needed[b] = np.exp(PchipInterpolator(x, y)(-np.log(target)))
    return needed


def critical_batch(batches: Sequence[int], needed: np.ndarray) -> tuple[float, float]:
    """Fit D(B) = D_min (1 + B / B_crit) to relative errors; return B_crit and D_min, NaN with fewer than three points.

    For each B_crit the best log D_min is a mean, so one number is searched on a grid and refined by a parabola.
    """
    there = np.isfinite(needed)
    if there.sum() < 3:
        return np.nan, np.nan
    b, d = np.asarray(batches, dtype=float)[there], np.log(needed[there])
    grid = np.geomspace(0.05, 2e4, 800)
    left = d - np.log1p(b / grid[:, None])
    error = ((left - left.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    at = int(error.argmin())
    if at in (0, len(grid) - 1):
        return np.nan, np.nan
    down, here, up = error[at - 1 : at + 2]
    shift = 0.5 * (down - up) / (down - 2 * here + up)
    crit = float(grid[at] * (grid[1] / grid[0]) ** shift)
    return crit, float(np.exp((d - np.log1p(b / crit)).mean()))


def exponents(sizes: Sequence[int], least: np.ndarray, crit: np.ndarray) -> tuple[float, float]:
    """Return the exponents of B_crit on D_min and on N by one regression over targets and sizes; arrays are (N, T)."""
    there = np.isfinite(crit) & np.isfinite(least)
    n = np.broadcast_to(np.log(np.asarray(sizes, dtype=float))[:, None], crit.shape)[there]
    if there.sum() < 4 or np.ptp(n) == 0:
        return np.nan, np.nan
    design = np.stack([np.ones_like(n), np.log(least[there]), n], axis=1)
    solution = np.linalg.lstsq(design, np.log(crit[there]), rcond=None)[0]
    return float(solution[1]), float(solution[2])


def simulated(
    problem: Problem, learned: int, steps: int, batch: int, rate: float, runs: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the excess risk of real SGD runs with linear decay from a peak ``rate``, (runs,).

    Unlearned features enter as what they are to the learner: Gaussian noise of their energy.
    """
    variance, start, floor = problem.modes(learned)
    if rate <= 0:
        raise UserError(f"simulated: a learning rate of {rate}; give one above zero.")
    away = np.repeat(np.sqrt(start)[None], runs, axis=0)  # distance of the weights from the target
    for step in range(steps):
        x = rng.standard_normal((runs, batch, learned)) * np.sqrt(variance)
        residual = np.einsum("rbn,rn->rb", x, away) + np.sqrt(floor) * rng.standard_normal((runs, batch))
        away -= rate * (1 - step / steps) * np.einsum("rb,rbn->rn", residual, x) / batch
    return (variance * away**2).sum(axis=1)

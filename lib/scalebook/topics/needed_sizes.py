"""The smallest network that is nearly as good as the best, against the number of samples; and for random labels.

Students are perceptrons with two hidden layers of one width. Shapes: R teachers, M numbers of samples, W widths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from scalebook.ensemble import Optimiser, mean_squared_error, train
from scalebook.estimate import slope
from scalebook.models import mlp, mlp_forward
from scalebook.topics.learning_tails import Teacher, cooled

NOISE = 0.1  # deviation of the label noise
HELD, SCORED = 1000, 4000
EVERY = 50  # steps between looks for early stopping


def parameter_count(width: int, inputs: int = 4) -> int:
    """Return the parameters of a student with two hidden layers of this width and one output."""
    return inputs * width + width + width * width + width + width + 1


def student_errors(
    teachers: Sequence[Teacher], samples: Sequence[int], widths: Sequence[int], rates: Sequence[float],
    start: Callable[[int, int], torch.Generator], data: Callable[[int], np.random.Generator], *,
    steps: int = 1500, batch: int = 64,
) -> np.ndarray:  # fmt: skip
    """Return noise-free mean squared errors (R, M, W), each at its best moment and rate on held-out samples.

    ``start(r, width)`` gives the generator of a teacher's students: initial weights, and for r = 0 the batches.
    Training labels and held-out labels carry noise, the 4,000 samples that are scored do not.
    """
    most, inputs = max(samples), teachers[0].weights.shape[1]
    xs, ys = [], []
    for r, teacher in enumerate(teachers):
        rng = data(r)
        x = rng.uniform(-1, 1, (most + HELD + SCORED, inputs))
        noise = NOISE * rng.standard_normal(most + HELD)
        xs.append(x), ys.append(teacher(x) + np.append(noise, np.zeros(SCORED)))
    x, y = (torch.from_numpy(np.stack(part).astype(np.float32)) for part in (xs, ys))
    per = len(samples) * len(rates)
    world = torch.arange(len(teachers)).repeat_interleave(per)
    lengths = torch.tensor(samples).repeat_interleave(len(rates)).repeat(len(teachers))
    forward = mlp_forward(torch.relu)
    found = []
    for width in widths:
        generators = [start(r, width) for r in range(len(teachers))]
        fresh = mlp([(inputs, width, width, 1)] * len(teachers), generators)
        fresh = {name: value.repeat_interleave(per, dim=0) for name, value in fresh.items()}

        def batches(step: int, order=generators[0]):
            rows = (torch.rand(len(lengths), batch, generator=order) * lengths[:, None]).long()
            return x[world[:, None], rows], y[world[:, None], rows]

        least = torch.full((len(lengths),), torch.inf)  # on held-out samples, and the students that had it
        kept = {name: value.clone() for name, value in fresh.items()}

        def look(p):
            held = mean_squared_error(forward(p, x[world, most : most + HELD])[..., 0], y[world, most : most + HELD])
            better = held < least
            least[better] = held[better]
            for name, value in p.items():
                kept[name][better] = value[better]
            return {}

        optimiser = Optimiser(rate=list(rates) * (len(lengths) // len(rates)))
        train(fresh, forward, lambda p, t: mean_squared_error(p[..., 0], t), batches, steps, optimiser, look,
              range(EVERY, steps + 1, EVERY))  # fmt: skip
        with torch.no_grad():
            error = mean_squared_error(forward(kept, x[world, most + HELD :])[..., 0], y[world, most + HELD :])
        shape = (len(teachers), len(samples), len(rates))
        best = least.view(shape).argmin(dim=-1, keepdim=True)
        found.append(error.view(shape).gather(-1, best)[..., 0].numpy())
    return np.stack(found, axis=-1).astype(float)


def memory_accuracy(
    counts: Sequence[int], widths: Sequence[int], units: int, start: Callable[[int, int], torch.Generator], *,
    inputs: int = 4, steps: int = 3000, batch: int = 64, rate: float = 1e-2,
) -> np.ndarray:  # fmt: skip
    """Return the best share of m random labels (two kinds) that a student ever gets right in training, (R, M, W)."""
    most = max(counts)
    lengths = torch.tensor(counts).repeat(units)
    world = torch.arange(units).repeat_interleave(len(counts))
    forward = mlp_forward(torch.relu)
    mask = torch.arange(most) < lengths[:, None]
    drawn = [start(r, 0) for r in range(units)]  # the same points and labels for every width
    x = torch.stack([2 * torch.rand(most, inputs, generator=g) - 1 for g in drawn])
    y = torch.stack([2.0 * torch.randint(2, (most,), generator=g) - 1 for g in drawn])
    found = []
    for width in widths:
        generators = [start(r, width) for r in range(units)]
        fresh = mlp([(inputs, width, width, 1)] * units, generators)
        fresh = {name: value.repeat_interleave(len(counts), dim=0) for name, value in fresh.items()}

        def batches(step: int, order=generators[0]):
            rows = (torch.rand(len(lengths), batch, generator=order) * lengths[:, None]).long()
            return x[world[:, None], rows], y[world[:, None], rows]

        def look(p):
            right = (forward(p, x[world])[..., 0] * y[world] > 0) & mask
            return {"right": right.sum(dim=1) / lengths}

        optimiser = Optimiser(rate=rate, schedule=cooled)
        history = train(fresh, forward, _logistic, batches, steps, optimiser, look, range(200, steps + 1, 200)).history
        found.append(history["right"].max(dim=0).values.numpy().reshape(units, len(counts)))
    return np.stack(found, axis=-1)


def _logistic(output: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.softplus(-output[..., 0] * label).mean(dim=1)


def smallest_sufficient(sizes: np.ndarray, errors: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Return the size at which errors (..., W) first fall to a bound (...,), interpolated on log axes; NaN at an end.

    An end is the first size, which already suffices, or the last, which is the first to do so or does not.
    """
    enough = errors <= bound[..., None]
    first = np.where(enough.any(axis=-1), enough.argmax(axis=-1), 0)
    inside = (first > 0) & (first < errors.shape[-1] - 1)
    at = np.clip(first, 1, None)[..., None]
    left, right = (np.log(np.take_along_axis(errors, at - k, axis=-1)[..., 0]) for k in (1, 0))
    share = np.clip((left - np.log(bound)) / np.where(left > right, left - right, 1.0), 0, 1)
    log_size = np.log(sizes)
    size = log_size[at[..., 0] - 1] + share * (log_size[at[..., 0]] - log_size[at[..., 0] - 1])
    return np.where(inside, np.exp(size), np.nan)


def size_slope(samples: np.ndarray, needed: np.ndarray, fewest: int = 4) -> np.ndarray:
    """Return the slope of log needed size (..., M) on log samples over what is kept; NaN with fewer than ``fewest``."""
    needed = np.asarray(needed, dtype=float)
    found = np.full(needed.shape[:-1], np.nan)
    for place in np.ndindex(found.shape):
        kept = np.isfinite(needed[place])
        if kept.sum() >= fewest:
            found[place] = slope(np.log(np.asarray(samples)[kept]), np.log(needed[place][kept]))
    return found

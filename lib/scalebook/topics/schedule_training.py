"""Stacks of very small language models that share everything but their learning rates, and branches of their runs.

The network is the model suite's on a shorter context; the text is a few packages of Python's standard library, as
bytes below 128. Letters in shapes: S runs of a stack, B sequences a step, T context, P parameters of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from scalebook.datasets import library_source
from scalebook.errors import UserError
from scalebook.suite.corpus import VOCABULARY
from scalebook.suite.network import initial, token_losses
from scalebook.suite.plan import Shape
from scalebook.suite.training import BETA1, BETA2, adamw

PACKAGES = ("asyncio", "email", "http", "importlib", "logging", "multiprocessing", "unittest", "urllib", "xml")
PIECE = 4096  # bytes that stay together: held-out text should not be the next line of training text
AT_ONCE = 32  # windows measured at a time: keeps the activations in the cache


@dataclass(frozen=True)
class Point:
    """Where a run can be left and taken up again: weights and both moments (P,), and the steps taken."""

    weights: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    step: int


@dataclass(frozen=True)
class Run:
    """One model: a learning rate for every step (steps,), and the text of every step, uint8 (steps, B, T + 1).

    It begins at ``start``, which is the initial point or one where another run was left: a branch of it. ``counted``
    (steps, B, T) says which bytes enter the loss; all do unless given. Steps before ``start.step`` are not looked at.
    Held-out losses are taken after the steps ``at`` and at the end, points are kept after the steps ``save``, and sums
    of the weights after the steps ``sums``.
    """

    rates: np.ndarray
    windows: np.ndarray
    start: Point
    counted: np.ndarray | None = None
    at: frozenset[int] = frozenset()
    save: frozenset[int] = frozenset()
    sums: frozenset[int] = frozenset()


@dataclass
class Trained:
    """What became of a run: losses (K,) after the steps ``at`` (K,), points saved on the way, and the end.

    ``sums`` holds the sum of the weights after every step so far, float64 (P,), at chosen steps: the difference of two
    of them over the number of steps between is the uniform average of the weights there.
    """

    at: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    saved: dict[int, Point] = field(default_factory=dict)
    sums: dict[int, torch.Tensor] = field(default_factory=dict)
    end: Point | None = None


def split_text(
    rng: np.random.Generator, held_bytes: int, packages: Sequence[str] = PACKAGES
) -> tuple[np.ndarray, np.ndarray]:
    """Return training pieces and held-out pieces of the packages, uint8 (pieces, PIECE) each, dealt out at random."""
    raw = "\n".join(library_source(package) for package in packages).encode()
    data = np.minimum(np.frombuffer(raw, dtype=np.uint8), VOCABULARY - 1)
    count = len(data) // PIECE
    pieces = data[: count * PIECE].reshape(count, PIECE)[rng.permutation(count)]
    held = -(-held_bytes // PIECE)
    if held >= count:
        raise UserError(f"{held_bytes} bytes were to be held out and the text has {count * PIECE}; hold out fewer.")
    return pieces[held:], pieces[:held]


def cut(pieces: np.ndarray, context: int) -> np.ndarray:
    """Return windows of context + 1 bytes that share one byte with the next, uint8 (windows, T + 1)."""
    each = (pieces.shape[1] - 1) // context
    index = np.arange(each)[:, None] * context + np.arange(context + 1)
    return pieces[:, index].reshape(-1, context + 1)


def reading(windows: np.ndarray, steps: int, batch: int, rng: np.random.Generator) -> np.ndarray:
    """Return what one run reads, every window at most once, (steps, B, T + 1)."""
    if steps * batch > len(windows):
        raise UserError(f"{steps} steps read {steps * batch} windows and there are {len(windows)}; shorten the run.")
    return windows[rng.permutation(len(windows))[: steps * batch]].reshape(steps, batch, -1)


def begin(shape: Shape, rng: np.random.Generator) -> Point:
    """Return fresh weights and empty moments."""
    weights = initial(shape, int(rng.integers(2**31)), "schedules")
    return Point(weights, torch.zeros_like(weights), torch.zeros_like(weights), 0)


def train(shape: Shape, runs: Sequence[Run], held: np.ndarray) -> list[Trained]:
    """Train the runs as one stack, measured on the windows ``held`` (n, T + 1), and return what became of each.

    AdamW without decay and with clipped gradients, as in the suite. Runs leave the stack when they end and never touch
    each other; the same arguments give the same result on the same machine.
    """
    weights, first, second = (
        torch.stack([getattr(run.start, name) for run in runs]) for name in ("weights", "first", "second")
    )  # S P
    total = weights.double() * 0 if any(run.sums for run in runs) else None
    taken = np.array([run.start.step for run in runs])
    alive, found = list(range(len(runs))), [Trained() for _ in runs]
    while alive:
        batch = torch.from_numpy(np.stack([runs[k].windows[t] for k, t in zip(alive, taken)]).astype(np.int64))
        counted = [None if runs[k].counted is None else runs[k].counted[t] for k, t in zip(alive, taken)]
        gradient = _gradient(weights, batch, counted, shape)
        rate = np.array([runs[k].rates[t] for k, t in zip(alive, taken)])
        taken += 1
        _step(weights, first, second, gradient, rate, taken)
        if total is not None:
            total += weights
        ending = np.array([len(runs[k].rates) for k in alive]) == taken
        now = [(place, runs[k], found[k], int(taken[place])) for place, k in enumerate(alive)]
        measured = [one for one in now if ending[one[0]] or one[3] in one[1].at]
        if measured:
            losses = held_loss(shape, weights[[place for place, *_ in measured]], held)
            for (_, _, result, step), value in zip(measured, losses):
                result.at.append(step)
                result.loss.append(float(value))
        for place, run, result, step in now:
            if ending[place] or step in run.save:
                result.saved[step] = Point(*(part[place].clone() for part in (weights, first, second)), step)
            if ending[place]:
                result.end = result.saved[step]
            if total is not None and step in run.sums:
                result.sums[step] = total[place].clone()
        if ending.any():
            keep = np.flatnonzero(~ending)
            alive, taken = [alive[place] for place in keep], taken[keep]
            weights, first, second = weights[keep], first[keep], second[keep]
            total = None if total is None else total[keep]
    return found


def averaged(sums: dict[int, torch.Tensor], end: int, window: int) -> torch.Tensor:
    """Return the uniform average of the weights over the last ``window`` of the first ``end`` steps, float32 (P,)."""
    missing = [step for step in (end - window, end) if step and step not in sums]
    if missing:
        raise UserError(f"averaged: no sum was kept at step {missing[0]}; keep one there.")
    before = sums[end - window] if end > window else 0.0
    return ((sums[end] - before) / window).float()


def held_loss(shape: Shape, weights: torch.Tensor, held: np.ndarray) -> np.ndarray:
    """Return the mean loss in nats a byte on the windows ``held`` (n, T + 1), of weights (S, P), as (S,)."""
    total = torch.zeros(len(weights))
    with torch.no_grad():
        for part in torch.from_numpy(held.astype(np.int64)).split(AT_ONCE):
            total += token_losses(weights, part.expand(len(weights), -1, -1), shape).mean(2).sum(1)
    return (total / len(held)).numpy()


def _gradient(weights: torch.Tensor, batch: torch.Tensor, counted: list, shape: Shape) -> torch.Tensor:
    weights.requires_grad_()
    losses = token_losses(weights, batch, shape)  # S B T
    if any(mask is not None for mask in counted):
        every = np.ones(batch.shape[1:2] + (batch.shape[2] - 1,), dtype=bool)
        mask = torch.from_numpy(np.stack([every if one is None else one for one in counted]).astype(np.float32))
        loss = (losses * mask).flatten(1).sum(1) / mask.flatten(1).sum(1).clamp_(min=1.0)
    else:
        loss = losses.flatten(1).mean(1)
    (gradient,) = torch.autograd.grad(loss.sum(), weights)
    weights.requires_grad_(False)
    return gradient


def _step(weights, first, second, gradient, rate: np.ndarray, taken: np.ndarray) -> None:
    # runs of a stack may stand at different steps, so each has its own correction of the moments
    size = torch.from_numpy((-rate / (1 - BETA1**taken)).astype(np.float32))[:, None]
    scale = torch.from_numpy(np.sqrt(1 - BETA2**taken).astype(np.float32))[:, None]
    adamw(weights, first, second, gradient, size, scale, None)

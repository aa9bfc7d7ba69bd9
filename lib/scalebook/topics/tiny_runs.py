"""Stacks of very small language models that differ in warm-up, length, rate, decay, seed, or in seeing text again.

The network is the suite's, on a shorter context; the text is a few packages of Python's standard library, as bytes.
Letters in shapes: S runs of a stack, B sequences a step, T context, P parameters of a run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from scalebook.datasets import library_source
from scalebook.errors import UserError
from scalebook.suite.corpus import VOCABULARY
from scalebook.suite.network import decay_mask, initial, token_losses
from scalebook.suite.plan import Shape
from scalebook.suite.training import BETA1, BETA2, adamw

CONTEXT = 64
BATCH = 8  # sequences a step: 512 tokens
STEP_TOKENS = BATCH * CONTEXT
PACKAGES = ("asyncio", "email", "http", "importlib", "logging", "multiprocessing", "unittest", "urllib", "xml")
PIECE = 64  # windows that stay together, four kilobytes: held-out text should not be the next line of training text
HELD_OUT = 512  # windows in each half of the validation sample


@dataclass(frozen=True)
class Text:
    """Windows of bytes below 128, uint8 (windows, T + 1): training text, and two halves of a validation sample."""

    train: np.ndarray
    held: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Run:
    """One model: ``steps`` long, ``warmup`` of them rising, then constant, or falling to zero in a line if ``falling``.

    ``start`` is the seed of weights and order of reading. With ``unique`` windows only these are read, over and over.
    The run is measured at its end and after each of the steps ``at``.
    """

    start: int
    rate: float
    steps: int
    warmup: int
    falling: bool = False
    decay: float = 0.0
    unique: int = 0
    at: Sequence[int] = ()


@dataclass(frozen=True)
class Curve:
    """Losses in nats at ``steps`` (K,): on both halves of the held-out text (K, 2), and in training since the last."""

    steps: np.ndarray
    held: np.ndarray
    train: np.ndarray


def text(rng: np.random.Generator, packages: Sequence[str] = PACKAGES) -> Text:
    """Cut the packages into windows; pieces of 4 kB are held out at random, the rest is for training."""
    raw = "\n".join(library_source(package) for package in packages).encode()
    data = np.minimum(np.frombuffer(raw, dtype=np.uint8), VOCABULARY - 1)
    count = (len(data) - 1) // CONTEXT // PIECE * PIECE
    windows = data[np.arange(count)[:, None] * CONTEXT + np.arange(CONTEXT + 1)].reshape(-1, PIECE, CONTEXT + 1)
    pieces = windows[rng.permutation(len(windows))]
    needed = HELD_OUT // PIECE
    return Text(
        pieces[2 * needed :].reshape(-1, CONTEXT + 1),
        (pieces[:needed].reshape(-1, CONTEXT + 1), pieces[needed : 2 * needed].reshape(-1, CONTEXT + 1)),
    )


def rates(run: Run) -> np.ndarray:
    """Return the learning rate of each step over its peak, (steps,)."""
    t = np.arange(run.steps)
    rise = np.minimum(1.0, (t + 1) / max(run.warmup, 1))
    return rise * (1 - np.clip((t - run.warmup) / max(run.steps - run.warmup, 1), 0, 1)) if run.falling else rise


def order(run: Run, windows: int) -> np.ndarray:
    """Return which windows a run reads at each step, (steps, B): once each, or epochs over its ``unique`` ones."""
    rng = np.random.default_rng(np.random.SeedSequence([run.start, 1]))
    whole = rng.permutation(windows)
    needed = run.steps * BATCH
    if not run.unique:
        if needed > windows:
            raise UserError(f"A run of {run.steps} steps reads {needed} windows and there are {windows}; shorten it.")
        return whole[:needed].reshape(run.steps, BATCH)
    own = whole[: run.unique]
    epochs = [own if not k else rng.permutation(own) for k in range(math.ceil(needed / run.unique))]
    return np.concatenate(epochs)[:needed].reshape(run.steps, BATCH)


def train(shape: Shape, runs: Sequence[Run], source: Text) -> list[Curve]:
    """Train a stack of runs of one shape and return their curves.

    AdamW with decoupled decay (never on norms and embeddings) and clipped gradients, as in the suite. Runs leave the
    stack when they end. The same arguments give the same result on the same machine.
    """
    weights = torch.stack([initial(shape, run.start, "tiny") for run in runs])  # S P
    first, second = torch.zeros_like(weights), torch.zeros_like(weights)
    mask, factors = decay_mask(shape), [rates(run) for run in runs]
    read = [order(run, len(source.train)) for run in runs]
    alive = list(range(len(runs)))
    found: list[list[tuple]] = [[] for _ in runs]
    seen, since = torch.zeros(len(runs)), np.zeros(len(runs))  # sums of training losses and their number
    for step in range(max(run.steps for run in runs)):
        windows = torch.from_numpy(source.train[np.stack([read[k][step] for k in alive])].astype(np.int64))  # S B T+1
        weights.requires_grad_()
        losses = token_losses(weights, windows, shape).flatten(1).mean(1)  # S
        (gradient,) = torch.autograd.grad(losses.sum(), weights)
        weights = weights.detach()
        rate = np.array([runs[k].rate * factors[k][step] for k in alive], dtype=np.float32)
        decay = torch.from_numpy(rate * np.array([runs[k].decay for k in alive], dtype=np.float32))
        _update(weights, first, second, gradient, torch.from_numpy(rate), decay, mask, step + 1)
        seen += losses.detach()
        since += 1
        ending = [place for place, k in enumerate(alive) if runs[k].steps == step + 1]
        measured = [place for place, k in enumerate(alive) if runs[k].steps == step + 1 or step + 1 in runs[k].at]
        if measured:
            held = torch.stack([_held(weights[measured], half, shape) for half in source.held], dim=1)  # measured 2
            for place, both in zip(measured, held.numpy(), strict=True):
                found[alive[place]].append((step + 1, both, float(seen[place]) / since[place]))
                seen[place], since[place] = 0.0, 0.0
        if ending:
            keep = [place for place in range(len(alive)) if place not in ending]
            alive = [alive[place] for place in keep]
            weights, first, second = weights[keep], first[keep], second[keep]
            seen, since = seen[keep], since[keep]
    return [
        Curve(np.array([s for s, *_ in points]), np.stack([h for _, h, _ in points]), np.array([t for *_, t in points]))
        for points in found
    ]


def _update(weights, first, second, gradient, rate, decay, mask, step: int) -> None:
    shrink = decay[:, None] * mask if decay.any() else None
    size = (-rate / (1 - BETA1**step))[:, None]
    adamw(weights, first, second, gradient, size, math.sqrt(1 - BETA2**step), shrink)


def _held(weights: torch.Tensor, windows: np.ndarray, shape: Shape, piece: int = 64) -> torch.Tensor:
    """Return the mean loss on held-out windows, (S,)."""
    total = torch.zeros(len(weights))
    with torch.no_grad():
        for part in torch.from_numpy(windows.astype(np.int64)).split(piece):
            total += token_losses(weights, part.expand(len(weights), -1, -1), shape).mean(2).sum(1)
    return total / len(windows)

"""A bench of tiny language models: ask for runs by schedule, rate, length and seed, and each is trained only once.

A run whose rate is constant at first is a branch of the constant run of the same rate and seed, which is trained once
and as long as the longest run: the very saving that the chapter is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from scalebook.suite.plan import Shape
from scalebook.topics import schedule_training as training
from scalebook.topics.schedule_annealing import Curve
from scalebook.topics.schedule_shapes import WARMUP, cooled, unit_rates

SHAPE = Shape(16, 1, 2)  # 3,072 parameters in attention and MLP
CONTEXT, BATCH, HELD = 64, 4, 96
SHARES = (0.16, 0.2, 0.32, 0.4, 0.48, 0.6, 0.64, 0.8, 0.9, 0.95)  # of a run's steps: where branches may leave


@dataclass(frozen=True)
class Spec:
    """One run: schedule, peak rate, steps and seed.

    ``kind`` is one of `schedule_shapes.KINDS`, or "cooled" (1 - sqrt over the last ``fraction`` of the steps) or
    "cooled in a line".
    """

    kind: str
    rate: float
    steps: int
    seed: int
    fraction: float = 0.2

    @property
    def rates(self) -> np.ndarray:
        """Learning rate of every step, (steps,)."""
        if self.kind.startswith("cooled"):
            return self.rate * cooled(self.steps, self.fraction, root=self.kind == "cooled")
        return self.rate * unit_rates(self.kind, self.steps)

    @property
    def leaves(self) -> int:
        """After how many steps the run leaves the constant one; 0 where it has a life of its own from the start."""
        if self.kind == "two steps":
            return round(0.6 * self.steps)
        return max(self.steps - round(self.fraction * self.steps), WARMUP) if self.kind.startswith("cooled") else 0


class Bench:
    """Text, starting weights and order of reading by seed, and everything trained so far.

    ``rng`` hands out generators by name and replicate, as `Chapter.rng`. ``lengths`` are the numbers of steps in use;
    each curve has ``points`` evenly spaced measurements, for seeds from 1 on (seed 0 only chooses).
    """

    def __init__(self, rng: Callable[..., np.random.Generator], lengths: Sequence[int], points: int) -> None:
        self.rng, self.lengths, self.longest, self.points = rng, tuple(lengths), max(lengths), points
        pieces, held = training.split_text(rng("text"), 2 * HELD * (CONTEXT + 1))
        self.windows = training.cut(pieces, CONTEXT)
        windows = training.cut(held, CONTEXT)
        self.held = windows[rng("held-out windows").permutation(len(windows))[:HELD]]
        self._starts: dict[int, training.Point] = {}
        self._reads: dict[int, np.ndarray] = {}
        self._found: dict[Spec, training.Trained] = {}

    def train(self, specs: Iterable[Spec]) -> None:
        """Train what has not been trained: first runs of their own and trunks as one stack, then branches as
        another."""
        wanted = [self._own(spec) for spec in dict.fromkeys(specs)]
        trunks = [self._trunk(spec) for spec in wanted if spec.leaves]
        own = [spec for spec in wanted if not spec.leaves]
        roots = [spec for spec in dict.fromkeys([*own, *trunks]) if spec not in self._found]
        self._stack(roots, [self._start(spec.seed) for spec in roots])
        branches = [spec for spec in dict.fromkeys(wanted) if spec.leaves and spec not in self._found]
        self._stack(branches, [self._found[self._trunk(spec)].saved[spec.leaves] for spec in branches])

    def curve(self, spec: Spec) -> Curve:
        """Return the loss curve of a trained run, the part of it that it shares with its trunk included."""
        own = self._found[self._own(spec)]
        at, loss = np.array(own.at), np.array(own.loss)
        if spec.leaves:
            trunk = self._found[self._trunk(spec)]
            before = np.array(trunk.at) <= spec.leaves
            at = np.concatenate([np.array(trunk.at)[before], at])
            loss = np.concatenate([np.array(trunk.loss)[before], loss])
        kept = np.isin(at, sorted(self._at(spec.steps) | {spec.steps}))
        return Curve(spec.rates, at[kept], loss[kept])

    def final(self, spec: Spec) -> float:
        """Return the held-out loss of a trained run at its end, nats a byte."""
        own = self._found[self._own(spec)]
        return own.loss[own.at.index(spec.steps)]

    def at_marks(self, spec: Spec, marks: Sequence[int]) -> np.ndarray:
        """Return the losses of a constant run after the steps ``marks``, which are fifths of it, (marks,)."""
        own = self._found[self._own(spec)]
        return np.array([own.loss[own.at.index(mark)] for mark in marks])

    def averaged(self, spec: Spec, end: int, window: int) -> torch.Tensor:
        """Return the average weights of a constant run over the last ``window`` of its first ``end`` steps, (P,)."""
        return training.averaged(self._found[self._own(spec)].sums, end, window)

    def loss_of(self, weights: Sequence[torch.Tensor]) -> np.ndarray:
        """Return the held-out loss of several sets of weights, (S,)."""
        return training.held_loss(SHAPE, torch.stack(list(weights)), self.held)

    def _own(self, spec: Spec) -> Spec:
        """Constant runs are one run of the longest length, whatever length is asked for."""
        return self._trunk(spec) if spec.kind == "constant" else spec

    def _trunk(self, spec: Spec) -> Spec:
        return Spec("constant", spec.rate, self.longest, spec.seed)

    def _at(self, steps: int) -> set[int]:
        return {round(k * steps / self.points) for k in range(1, self.points + 1)}

    def _start(self, seed: int) -> training.Point:
        if seed not in self._starts:
            self._starts[seed] = training.begin(SHAPE, self.rng("tiny start", seed))
            self._reads[seed] = training.reading(self.windows, self.longest, BATCH, self.rng("tiny order", seed))
        return self._starts[seed]

    def _stack(self, specs: Sequence[Spec], starts: Sequence[training.Point]) -> None:
        runs = []
        for spec, start in zip(specs, starts, strict=True):
            lengths = self.lengths if spec.kind == "constant" else (spec.steps,)
            at = set(lengths) | {step for n in lengths if spec.seed for step in self._at(n)}
            fifths = {round(n * k / 5) for n in lengths for k in range(1, 6)} if spec.kind == "constant" else set()
            save = {WARMUP, *(round(n * share) for n in lengths for share in SHARES)} if fifths else set()
            # windows of 5, 10, 20 and 40 percent of the steps so far, at fifths of the run
            sums = {end - round(end * share) for end in fifths for share in (0, 0.05, 0.1, 0.2, 0.4)}
            runs.append(
                training.Run(
                    spec.rates, self._reads[spec.seed], start,
                    at=frozenset(at | fifths), save=frozenset(save), sums=frozenset(sums),
                )
            )
        if runs:
            self._found |= dict(zip(specs, training.train(SHAPE, runs, self.held), strict=True))

"""The hot loop: a stack of models of one size, their trunk and the cooled branches that leave it.

Letters in shapes: S stack, B batch, T time, P parameters of one member.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from scalebook.suite import schedule as schedules
from scalebook.suite.corpus import CONTEXT, sample
from scalebook.suite.network import decay_mask, initial, stream, token_losses
from scalebook.suite.plan import Job, Member, label

BETA1, BETA2, EPSILON, CLIP = 0.9, 0.95, 1e-8, 1.0


class Stopped(Exception):
    """The time given to this worker is over; the state is on the disk."""


@dataclass
class State:
    """Everything a stack needs to go on: weights and both moments (S, P), the step, sums of the training loss."""

    weights: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    step: int
    loss_sum: torch.Tensor  # (S,) since the last measurement
    loss_steps: int
    members: list[int]  # positions in job.members of those still training
    rows: list[dict]  # measurements of the trunk so far

    def pick(self, keep: list[int]) -> State:
        """Return a copy with some members only (positions in this stack); sums and rows start afresh in a branch."""
        index = torch.tensor(keep)
        return State(
            self.weights[index].clone(), self.first[index].clone(), self.second[index].clone(), self.step,
            self.loss_sum[index].clone(), self.loss_steps, [self.members[k] for k in keep], list(self.rows),
        )

    def pack(self) -> bytes:
        """Return the state as bytes that ``unpack`` reads, exact to the bit."""
        buffer = io.BytesIO()
        torch.save({k: v.cpu() if isinstance(v, torch.Tensor) else v for k, v in vars(self).items()}, buffer)
        return buffer.getvalue()

    @staticmethod
    def unpack(data: bytes) -> State:
        """Read what ``pack`` wrote."""
        return State(**torch.load(io.BytesIO(data), weights_only=True))


def held_windows(held: Mapping[str, np.ndarray], count: int) -> dict[str, torch.Tensor]:
    """Return the windows that are measured on, int64 (count, T + 1): val, the halves of val2, ood1 and ood2."""
    found = {name: torch.from_numpy(sample(text, count, name)) for name, text in held.items()}
    both = found.pop("val2")
    return found | {"val2a": both[0::2], "val2b": both[1::2]}


def adamw(
    weights: torch.Tensor, first: torch.Tensor, second: torch.Tensor, gradient: torch.Tensor,
    size: torch.Tensor, scale: float | torch.Tensor, shrink: torch.Tensor | None,
) -> None:
    """Change weights and moments (S, P) by one AdamW step with the gradient clipped at norm 1 for each member.

    ``size`` (S, 1) is minus the rate over the first moment's bias, ``scale`` the root of the second's; ``shrink`` (S, P)
    is the rate times the weight decay of each parameter, None where there is none.
    """
    norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    gradient.mul_((CLIP / (norm + 1e-6)).clamp_(max=1.0))
    first.lerp_(gradient, 1 - BETA1)
    second.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    if shrink is not None:
        weights.mul_(1 - shrink)
    weights.addcdiv_(first * size, second.sqrt().div_(scale).add_(EPSILON))


class Trainer:
    """Trains one job and hands out its finished segments.

    ``train`` is the corpus (uint8, 1-D), ``held`` what ``held_windows`` returns, ``peaks`` the peak learning rate of
    each member.
    """

    eval_windows = 32  # windows at a time: keeps the activations in the cache

    def __init__(
        self, job: Job, peaks: list[float], train: np.ndarray, held: Mapping[str, torch.Tensor]
    ) -> None:
        self.job, self.train, self.held = job, train, held
        self.peaks = np.array(peaks)
        self.batch = job.batch // CONTEXT
        self.windows = np.lib.stride_tricks.as_strided(
            train, shape=((train.size - 1) // CONTEXT, CONTEXT + 1), strides=(CONTEXT, 1)
        )
        self.mask = decay_mask(job.shape)
        # Runs of one size and seed read the same bytes in the same order whatever else differs: comparisons are paired.
        orders = {member.seed: self._order(member.seed) for member in job.members}
        self.orders = [orders[member.seed] for member in job.members]

    def _order(self, seed: int) -> np.ndarray:
        """Return the windows in the order in which they are read, each at most once unless the job repeats text."""
        job = self.job
        needed = max(job.steps(member.tokens) for member in job.members) * self.batch
        there = job.unique // CONTEXT or len(self.windows)
        if there > len(self.windows) or (needed > there and not job.unique):
            wanted = max(needed, there) if job.unique else needed
            raise ValueError(f"{job.name} needs {wanted} windows of text and the corpus has {len(self.windows)}")
        order = stream(seed, f"order/{job.size}").permutation(len(self.windows))[:there]
        epochs = [order]
        while sum(map(len, epochs)) < needed:  # each epoch is shuffled anew
            epochs.append(stream(seed, f"epoch/{len(epochs)}/{job.size}").permutation(order))
        return np.concatenate(epochs)[:needed]

    def start(self) -> State:
        """Return the state before the first step."""
        begun = {m.seed: initial(self.job.shape, m.seed, self.job.size) for m in self.job.members}
        weights = torch.stack([begun[member.seed] for member in self.job.members])
        zeros = torch.zeros_like(weights)
        count = len(self.job.members)
        return State(weights, zeros, zeros.clone(), 0, torch.zeros(count), 0, list(range(count)), [])

    def step(self, state: State, rate: np.ndarray) -> None:
        """Take one AdamW step; ``rate`` is the learning rate of each member."""
        at = slice(state.step * self.batch, (state.step + 1) * self.batch)
        index = np.stack([self.orders[k][at] for k in state.members])  # S B
        windows = torch.from_numpy(self.windows[index].astype(np.int64))  # S B T+1
        weights = state.weights.requires_grad_()
        losses = token_losses(weights, windows, self.job.shape).flatten(1).mean(1)  # S
        (gradient,) = torch.autograd.grad(losses.sum(), weights)
        state.weights = weights.detach()
        state.step += 1
        decay = np.array([self.job.members[k].decay for k in state.members])
        shrink = torch.from_numpy((rate * decay).astype(np.float32))[:, None] * self.mask if decay.any() else None
        size = torch.from_numpy((-rate / (1 - BETA1**state.step)).astype(np.float32))[:, None]
        adamw(state.weights, state.first, state.second, gradient, size, math.sqrt(1 - BETA2**state.step), shrink)
        state.loss_sum += losses.detach()
        state.loss_steps += 1

    def advance(self, state: State, unit: np.ndarray, until: int) -> Generator[None]:
        """Take the steps up to ``until``, and pause after each but the last; ``unit`` is the rate over its peak."""
        while True:
            self.step(state, unit[state.step] * self.peaks[state.members])
            if state.step == until:
                return
            yield

    def losses(self, state: State, name: str) -> torch.Tensor:
        """Return the mean loss by position on a held-out sample, float32 (S, T), nats."""
        with torch.no_grad():
            total = torch.zeros(len(state.members), CONTEXT, device=state.weights.device)
            for piece in self.held[name].split(self.eval_windows):
                total += token_losses(state.weights, piece.expand(len(state.members), -1, -1), self.job.shape).sum(1)
        return total / len(self.held[name])

    def _measure(self, state: State, unit: np.ndarray, whole: bool) -> tuple[list[dict], torch.Tensor]:
        """Return one row for each member, and the loss by position on ``val`` (S, T)."""
        by_position = self.losses(state, "val")
        measured = {"val": by_position.mean(1)}
        if whole:
            measured |= {name: self.losses(state, name).mean(1) for name in self.held if name != "val"}
            measured["val2"] = (measured["val2a"] + measured["val2b"]) / 2
        train = state.loss_sum / max(1, state.loss_steps)
        state.loss_sum.zero_()
        state.loss_steps = 0
        total = float(unit[: state.step].sum())
        rows = []
        for place, k in enumerate(state.members):
            row = {"member": k, "step": state.step, "lr_now": float(unit[state.step - 1] * self.peaks[k])}
            row |= {"s1": total * float(self.peaks[k]), "train": float(train[place])}
            rows.append(row | {name: float(values[place]) for name, values in measured.items()})
        return rows, by_position

    def branch(
        self, trunk: State, tokens: int
    ) -> Generator[None, None, tuple[State, list[dict], torch.Tensor]]:
        """Cool a copy of the trunk down to the end of ``tokens``; return it, its rows and its loss by position."""
        members = self.job.members
        state = trunk.pick([place for place, k in enumerate(trunk.members) if members[k].tokens >= tokens])
        end = self.job.steps(tokens)
        state.rows, state.loss_sum, state.loss_steps = [], torch.zeros_like(state.loss_sum), 0
        unit = schedules.rates("cooled", end)
        rows: list[dict] = []
        by_position = torch.empty(0)
        for until in schedules.branch_points(state.step, end):
            yield
            yield from self.advance(state, unit, until)
            new, by_position = self._measure(state, unit, whole=until == end)
            rows += new
        return state, rows, by_position

    def run(
        self, state: State, done: Callable[[str], bool],
        finish: Callable[[str, State, list[Member], list[dict], torch.Tensor], None],
    ) -> Generator[tuple[State, bool]]:
        """Train from ``state`` to the end of the job.

        ``done(segment)`` says which segments need no training any more; ``finish(segment, state, members, rows,
        loss by position)`` receives each that is ready. Yields the state of the trunk wherever work may stop and go on
        from it later, with True before a branch.
        """
        job = self.job
        total = max(job.steps(member.tokens) for member in job.members)
        unit = schedules.rates(job.schedule, total)
        leaves = {schedules.cooldown_start(job.steps(tokens)): tokens for tokens in job.branches}
        ends = {job.steps(tokens) for tokens in (*job.branches, *(m.tokens for m in job.members))}
        # Log-spaced points are rare where the rate falls, which is what block S is about.
        tenths = tuple(round(total * k / 10) for k in range(1, 10)) if job.block == "S" else ()
        wanted = set(schedules.points(total, (*ends, *tenths)))
        while True:
            tokens = leaves.get(state.step)
            if tokens and not done(f"cooled-{label(tokens)}"):
                yield state, True
                work = self.branch(state, tokens)
                cooled, rows, by_position = yield from _paused(work, state)
                finish(f"cooled-{label(tokens)}", cooled, [job.members[k] for k in cooled.members], rows, by_position)
            if state.step == total or not (job.trunk or any(step > state.step for step in leaves)):
                return
            until = min(stop for stop in wanted | leaves.keys() if stop > state.step)
            yield from _paused(self.advance(state, unit, until), state)
            if state.step in wanted:
                rows, by_position = self._measure(state, unit, whole=state.step in ends)
                state.rows += rows
                self._end_members(state, by_position, done, finish)
            if state.members:
                yield state, False

    def _end_members(self, state: State, by_position: torch.Tensor, done: Callable, finish: Callable) -> None:
        """Hand out the members whose run ends here and train on without them."""
        ending = [p for p, k in enumerate(state.members) if self.job.steps(self.job.members[k].tokens) == state.step]
        if not ending:
            return
        keys = [state.members[place] for place in ending]
        segment = f"{self.job.schedule}-{label(self.job.members[keys[0]].tokens)}"
        if self.job.trunk and not done(segment):
            rows = [row for row in state.rows if row["member"] in keys]
            finish(segment, state.pick(ending), [self.job.members[k] for k in keys], rows, by_position[ending])
        staying = [place for place in range(len(state.members)) if place not in ending]
        if staying:
            kept = state.pick(staying)
            kept.rows = [row for row in state.rows if row["member"] not in keys]
            vars(state).update(vars(kept))
        else:
            state.members = []


def _paused(work: Generator, trunk: State) -> Generator:
    """Run ``work`` and show the trunk at each of its pauses."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value
        yield trunk, False

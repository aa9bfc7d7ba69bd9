"""Pruning while training: each epoch a policy reads the last recorded losses and says which examples to visit.

Shape code: R replicates (one small network each, trained as a stack), P examples of a pool, B batch, D input,
C classes. A policy is a function (epoch, losses (P,), rng) -> places, or (places, weights), of the examples visited in that epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from scalebook.models import mlp, mlp_forward

FIRST_LOSS = 3.0  # what an example that was never visited is taken to have lost, as in the authors' code
RATE, DECAY, BETAS, EPSILON = 5e-3, 1e-2, (0.9, 0.999), 1e-8
Visited = np.ndarray | tuple[np.ndarray, np.ndarray]
forward = mlp_forward()
Policy = Callable[[int, np.ndarray, np.random.Generator], Visited]


@dataclass(frozen=True)
class Course:
    """What a training course came to: test error (R,) and the number of visits in each epoch (R, epochs)."""

    error: np.ndarray
    visits: np.ndarray


def loss_groups(
    losses: np.ndarray, groups: int, rng: np.random.Generator, starts: int = 8, rounds: int = 50
) -> np.ndarray:
    """Return for each loss (P,) its k-means group, numbered from the smallest mean loss up.

    In one dimension groups are intervals, so Lloyd's rounds need only the sorted losses and their running sums. The best
    of several random starts is kept. With fewer distinct losses than groups the last groups stay empty.
    """
    ordered = np.sort(losses)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    squares = np.concatenate([[0.0], np.cumsum(ordered**2)])
    distinct = np.unique(ordered)
    groups = min(groups, len(distinct))
    best = (math.inf, np.empty(0))
    for _ in range(starts):
        centres = np.sort(rng.choice(distinct, groups, replace=False))
        for _ in range(rounds):
            ends = np.concatenate([[0], np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2), [len(ordered)]])
            sizes = np.diff(ends)
            moved = np.where(sizes > 0, np.diff(sums[ends]) / np.maximum(sizes, 1), centres)
            if np.array_equal(moved, centres):
                break
            centres = moved
        inertia = float((np.diff(squares[ends]) - np.diff(sums[ends]) ** 2 / np.maximum(sizes, 1)).sum())
        if inertia < best[0]:
            best = (inertia, centres)
    return np.searchsorted((best[1][1:] + best[1][:-1]) / 2, losses, side="right")


@dataclass
class Seta:
    """The sliding window of Zhou et al. 2025 (arXiv 2503.13385), from easy groups to hard ones.

    Each epoch drops a random share ``drop``, groups the rest by loss and visits ``window`` neighbouring groups, one group
    later each epoch; from ``annealing`` on (a share of all epochs) everything but a fresh random ``drop`` is visited.
    ``order`` -1 slides from hard to easy. ``seen`` keeps, for each epoch, how many of each group were visited.
    """

    epochs: int = 16
    drop: float = 0.1
    groups: int = 5
    share: float = 0.5
    annealing: float = 0.875
    order: int = 1
    seen: list[np.ndarray] = field(default_factory=list)

    @property
    def window(self) -> int:
        """Groups visited in one epoch."""
        return max(1, round(self.groups * self.share))

    def __call__(self, epoch: int, losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        kept = random_share(len(losses), 1 - self.drop, rng)
        group = loss_groups(losses[kept], self.groups, rng)
        places = self.groups - self.window + 1
        first = epoch % places if self.order > 0 else places - 1 - epoch % places
        inside = (group >= first) & (group < first + self.window)
        if epoch >= self.annealing * self.epochs or group.max() == 0:
            inside[:] = True  # with one group only (no losses known yet) there is nothing to slide over
        self.seen.append(np.bincount(group[inside], minlength=self.groups))
        return kept[inside]


@dataclass
class Static:
    """The easiest, middle or hardest ``count`` of a random share, with the first and the last epochs of `Seta`."""

    part: str
    count: int
    epochs: int = 16
    drop: float = 0.1
    annealing: float = 0.875

    def __call__(self, epoch: int, losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        kept = random_share(len(losses), 1 - self.drop, rng)
        if epoch == 0 or epoch >= self.annealing * self.epochs:
            return kept
        order = kept[np.argsort(losses[kept], kind="stable")]  # `kept` is in random order, so ties are broken at random
        first = {"easy": 0, "middle": (len(order) - self.count) // 2, "hard": len(order) - self.count}[self.part]
        return order[first : first + self.count]


def everything(epoch: int, losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Visit every example."""
    return np.arange(len(losses))


def random_like(visits: np.ndarray) -> Policy:
    """Return the policy that visits as many examples in each epoch as given (epochs,), drawn at random."""
    return lambda epoch, losses, rng: rng.permutation(len(losses))[: visits[epoch]]


def infobatch(epochs: int = 16, prune: float = 0.5, annealing: float = 0.875) -> Policy:
    """Return InfoBatch (Qin et al. 2023, arXiv 2303.04947): drop ``prune`` of those below the mean loss.

    Those of them that stay count 1 / (1 - prune) times, which keeps the expected gradient.
    """

    def policy(epoch: int, losses: np.ndarray, rng: np.random.Generator) -> Visited:
        light = losses < losses.mean()
        if epoch >= annealing * epochs:
            light[:] = False
        stays = ~light | (rng.random(len(losses)) >= prune)
        return np.flatnonzero(stays), np.where(light[stays], 1 / (1 - prune), 1.0)

    return policy


def blindfolded(policy: Policy) -> Policy:
    """Return the policy with the losses permuted over examples before it reads them: the control of any ranking."""
    return lambda epoch, losses, rng: policy(epoch, rng.permutation(losses), rng)


def random_share(count: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return the places of a random share of ``count`` examples, in random order."""
    return rng.permutation(count)[: round(share * count)]


def train_course(
    x: Tensor,
    labels: Tensor,
    policies: Sequence[Policy],
    inits: Sequence[torch.Generator],
    rngs: Sequence[np.random.Generator],
    test_x: Tensor,
    test_y: Tensor,
    epochs: int = 16,
    batch: int = 64,
    sizes: Sequence[int] = (64, 64, 10),
) -> Course:
    """Train one network per replicate on examples x (R, P, D) with labels (R, P), visiting what its policy says.

    AdamW with a half cosine over the share of each arm's own visits done in an epoch, so every arm ends its decay. The
    loss of an example is the one recorded when it was last visited. ``test_x`` (R, T, D) and ``test_y`` (R, T).
    """
    replicates, pool = labels.shape
    parameters = {name: value.requires_grad_() for name, value in mlp([sizes] * replicates, inits).items()}
    update = _Update(list(parameters.values()))
    losses = np.full((replicates, pool), FIRST_LOSS)
    visits = np.zeros((replicates, epochs), dtype=int)
    every = torch.arange(replicates)[:, None]
    for epoch in range(epochs):
        plans = [_plan(p, epoch, losses[r], rngs[r]) for r, p in enumerate(policies)]
        visits[:, epoch] = [len(places) for places, _ in plans]
        places, weights = _padded(plans)
        for first in range(0, places.shape[1], batch):
            now, weight = places[:, first : first + batch], weights[:, first : first + batch]
            logits = forward(parameters, x[every, now])
            each = -logits.log_softmax(dim=-1).gather(-1, labels[every, now][..., None]).squeeze(-1)
            count = (weight > 0).sum(dim=1)
            gradients = torch.autograd.grad(((each * weight).sum(dim=1) / count.clamp(min=1)).sum(), update.parameters)
            done = (epoch + np.minimum((first + batch / 2) / visits[:, epoch], 1.0)) / epochs
            update(gradients, torch.as_tensor(RATE * 0.5 * (1 + np.cos(np.pi * done)), dtype=torch.float32), count > 0)
            real = (weight > 0).numpy()
            losses[np.nonzero(real)[0], now.numpy()[real]] = each.detach().numpy()[real]
    with torch.no_grad():
        error = (forward(parameters, test_x).argmax(dim=-1) != test_y).double().mean(dim=-1)
    return Course(error.numpy(), visits)


class _Update:
    """AdamW for a stack in which some networks sit a step out, each with its own rate and count of steps."""

    def __init__(self, parameters: list[Tensor]) -> None:
        self.parameters = parameters
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]
        self.taken = torch.zeros(len(parameters[0]), 1, 1)

    @torch.no_grad()
    def __call__(self, gradients: Sequence[Tensor], rate: Tensor, active: Tensor) -> None:
        resting = [] if active.all() else (~active).nonzero().flatten()
        self.taken += active[:, None, None]
        steps = self.taken.clamp(min=1)
        speed = rate[:, None, None] * active[:, None, None]
        stride, soften = speed / (1 - BETAS[0] ** steps), (1 - BETAS[1] ** steps).sqrt()
        for p, g, m, v in zip(self.parameters, gradients, self.first, self.second, strict=True):
            kept = [(state, state[resting].clone()) for state in (m, v)] if len(resting) else []
            m.lerp_(g, 1 - BETAS[0])
            v.mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
            for state, before in kept:
                state[resting] = before
            p.mul_(1 - speed * DECAY).sub_(m / (v.sqrt().div_(soften).add_(EPSILON)) * stride)


def _plan(policy: Policy, epoch: int, losses: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    found = policy(epoch, losses, rng)
    places, weights = found if isinstance(found, tuple) else (found, np.ones(len(found)))
    order = rng.permutation(len(places))
    return places[order], weights[order]


def _padded(plans: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor]:
    """Return places and weights (R, longest); what is beyond a replicate's own visits has weight 0."""
    longest = max(len(places) for places, _ in plans)
    places = np.zeros((len(plans), longest), dtype=np.int64)
    weights = np.zeros((len(plans), longest), dtype=np.float32)
    for r, (own, weight) in enumerate(plans):
        places[r, : len(own)], weights[r, : len(own)] = own, weight
    return torch.as_tensor(places), torch.as_tensor(weights)

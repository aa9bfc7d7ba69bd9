"""Forecasters of synthetic series whose best possible score is known, in and out of the training distribution.

A series has 160 values, in 20 patches of 8; the first 16 patches are context. Every series is divided by the mean
absolute value of its context. What is random in a series is Gaussian with known deviation, so the density that the
best forecaster would give to each value is known, and a network's loss minus its negative logarithm is the part that
learning can remove.
Shapes: N series, P patches, S stack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scalebook.ensemble import Optimiser, train, warmup_cosine
from scalebook.topics.tiny_transformers import Build, network, start

PATCH, PATCHES, CONTEXT = 8, 20, 16
LENGTH, OUT = PATCH * PATCHES, PATCHES - CONTEXT
SEEN = ("sines", "autoregression", "trend and season", "random walk")
UNSEEN = ("square wave", "sawtooth", "slow autoregression", "chirp")
NOISE = 0.2  # deviation of the white noise on a deterministic signal, and of a walk's steps


@dataclass(frozen=True)
class Series:
    """Scaled values (N, 160), and for both kinds of forecast the best loss in nats a value, (N, OUT).

    ``next_patch``: each patch of the horizon given all that came before it. ``at_once``: given the context alone.
    """

    values: np.ndarray
    next_patch: np.ndarray
    at_once: np.ndarray

    def __getitem__(self, rows) -> Series:
        return Series(self.values[rows], self.next_patch[rows], self.at_once[rows])


def draw(families: Sequence[str], count: int, rng: np.random.Generator) -> Series:
    """Draw ``count`` series, equally many of each family, in random order."""
    parts = [_family(name, -(-count // len(families)), rng) for name in families]
    values, following, once = (np.concatenate(part) for part in zip(*parts, strict=True))
    scale = np.abs(values[:, : CONTEXT * PATCH]).mean(axis=1)
    log_scale = np.log(scale)[:, None]  # a density is divided by the scale, its negative logarithm falls by its log
    rows = rng.permutation(len(values))[:count]
    whole = Series((values / scale[:, None]).astype(np.float32), following - log_scale, once - log_scale)
    return whole[rows]


def _family(name: str, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return values (N, 160) and the two best losses of a family, before scaling."""
    if name in ("autoregression", "slow autoregression", "random walk"):
        return _process(name, count, rng)
    t = np.arange(LENGTH)[None]

    def between(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (count, 1))

    period, phase, height = between(8, 48), between(0, 1), between(0.5, 1.5)
    turn = t / period + phase
    if name == "sines":
        signal = height * np.sin(2 * np.pi * turn)
        for chance in (0.67, 0.5):  # one, two or three, equally often
            more = (rng.random((count, 1)) < chance) * between(0.5, 1.5)
            signal = signal + more * np.sin(2 * np.pi * (t / between(8, 48) + between(0, 1)))
    elif name == "trend and season":
        signal = between(-0.03, 0.03) * t + height * np.sin(2 * np.pi * turn)
    elif name == "square wave":
        signal = height * np.sign(np.sin(2 * np.pi * turn))
    elif name == "sawtooth":
        signal = height * (2 * (turn % 1) - 1)
    else:  # chirp: the frequency runs from one to another between the ends
        last = 1 / between(8, 48)
        signal = height * np.sin(2 * np.pi * (t / period + (last - 1 / period) * t**2 / (2 * LENGTH) + phase))
    noise = NOISE * rng.standard_normal((count, LENGTH))
    best = _best(noise[:, CONTEXT * PATCH :], np.full(OUT * PATCH, NOISE))
    return signal + noise, best, best


def _process(name: str, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x_t = c + a x_{t-1} + b x_{t-2} + shock, and what knowing a, b, c and the past would achieve."""
    if name == "random walk":
        a, b, c = np.ones(count), np.zeros(count), rng.uniform(-0.05, 0.05, count)
    else:
        modulus = rng.uniform(0.3, 0.8, count) if name == "autoregression" else rng.uniform(0.85, 0.95, count)
        angle = rng.uniform(0, np.pi, count)
        a, b, c = 2 * modulus * np.cos(angle), -(modulus**2), np.zeros(count)
    burn = 2 if name == "random walk" else 100
    x = np.zeros((burn + LENGTH, count))
    shocks = NOISE * rng.standard_normal(x.shape)
    for t in range(2, len(x)):
        x[t] = c + a * x[t - 1] + b * x[t - 2] + shocks[t]
    x = x[burn:]
    weight = [np.ones(count), a]  # of a shock after 0, 1, ... steps
    while len(weight) < OUT * PATCH:
        weight.append(a * weight[-1] + b * weight[-2])
    spread = NOISE * np.sqrt(np.cumsum(np.square(weight), axis=0)).T  # N horizons

    def ahead(first: int, steps: int) -> np.ndarray:
        """Return how far the values from ``first`` on are from what the past before it lets expect, (N, steps)."""
        before, last, gone = x[first - 2], x[first - 1], []
        for h in range(steps):
            before, last = last, c + a * last + b * before
            gone.append(x[first + h] - last)
        return np.stack(gone, axis=1)

    begin = CONTEXT * PATCH
    once = _best(ahead(begin, OUT * PATCH), spread)
    following = [_best(ahead(begin + k * PATCH, PATCH), spread[:, :PATCH]) for k in range(OUT)]
    return x.T, np.concatenate(following, axis=1), once


def _best(gap: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return mean negative log density of gaps (N, values) by patch, (N, values / PATCH), in nats a value."""
    each = 0.5 * np.log(2 * np.pi) + np.log(spread) + 0.5 * (gap / spread) ** 2
    return each.reshape(len(gap), -1, PATCH).mean(axis=2)


def build_of(width: int, family: str) -> Build:
    """Return a two-layer forecaster: 8 values and a flag in, mean and log deviation of 8 values out."""
    return Build(width, max(1, width // 8), 2, PATCHES, PATCH + 1, 2 * PATCH, symbols=False, causal=family == "decoder")


def _patches(values: Tensor, family: str) -> tuple[Tensor, Tensor]:
    """Return what a network reads (..., P, 9) and the patches that its outputs are about (..., P', 8)."""
    cut = values.unflatten(-1, (PATCHES, PATCH))
    if family == "decoder":  # reads all but the last patch, says the next one at each
        read, about = cut[..., :-1, :], cut[..., 1:, :]
        return torch.cat([read, torch.zeros_like(read[..., :1])], dim=-1), about
    hidden = torch.zeros_like(cut[..., :1])
    hidden[..., CONTEXT:, :] = 1.0  # the patches to fill in, all at once
    return torch.cat([cut * (1 - hidden), hidden], dim=-1), cut[..., CONTEXT:, :]


def losses(output: Tensor, about: Tensor) -> Tensor:
    """Return negative log density in nats a value by patch: (S, N, P, 16) and (.., N, P', 8) -> (S, N, P')."""
    centre, log_spread = output[:, :, -about.shape[-2] :].chunk(2, dim=-1)
    log_spread = log_spread.clamp(-6, 6)
    gap = (about - centre) * torch.exp(-log_spread)
    return (0.9189385 + log_spread + 0.5 * gap.square()).mean(dim=-1)


def fit_forecasters(
    family: str, width: int, series: Series, rates: Sequence[float], generators: Sequence[torch.Generator],
    tests: dict[str, Series], *, batch: int = 32,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Train one network a generator on each series once, and score it; return test -> reducible loss (S, OUT).

    In nats a value: the network's loss minus the best possible one on the same values, mean over series. A decoder is
    given the true patches up to the one it forecasts, an encoder the context only, so only the first patch of the
    horizon is the same question for both. ``"NAME, shuffled"`` scores against another series' horizon. Series are read
    in an order of each member's own generator.
    """
    build = build_of(width, family)
    forward = network(build)
    values = torch.from_numpy(series.values)
    parameters = start(build, generators)
    order = torch.stack([torch.randperm(len(values), generator=g) for g in generators])
    steps = len(values) // batch

    def batches(step: int):
        return _patches(values[order[:, step * batch : (step + 1) * batch]], family)

    optimiser = Optimiser(rate=list(rates), betas=(0.9, 0.98), schedule=warmup_cosine(0.05, 0.02))
    mean_loss: Callable = lambda output, about: losses(output, about).mean(dim=(1, 2))  # noqa: E731
    p = train(parameters, forward, mean_loss, batches, steps, optimiser).parameters
    found = {}
    with torch.no_grad():
        for name, test in tests.items():
            read, about = _patches(torch.from_numpy(test.values), family)
            outputs = forward(p, read)
            best = test.next_patch if family == "decoder" else test.at_once
            for label, target in ((name, about), (f"{name}, shuffled", about.roll(1, dims=0))):
                scored = losses(outputs, target)[..., -OUT:].mean(dim=1).numpy().astype(float)
                found[label] = scored - best.mean(axis=0)
    return found

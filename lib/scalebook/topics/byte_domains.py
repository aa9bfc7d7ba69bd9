"""Four kinds of data for one small transformer: code, photographs, sums, noise; and two forms of law that they judge.

Each domain is a matrix of windows of 65 symbols. Shapes: S seeds, G domains, W sizes in increasing order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn.datasets import load_sample_images

from scalebook import datasets
from scalebook.ensemble import Optimiser, cross_entropy, train
from scalebook.errors import UserError
from scalebook.topics.floors import ALPHAS, with_constant
from scalebook.topics.tiny_transformers import Build, linear_decay, network, start

WINDOW = 64
DOMAINS = {"code": 128, "photographs": 16, "sums": 13, "noise": 16}  # domain: symbols
PACKAGES = ("email", "asyncio", "json", "logging", "http")  # of the standard library


def windows(domain: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``count`` windows of a domain, (count, 65) whole numbers.

    Code: bytes of the standard library. Photographs: 8 x 8 patches of two pictures in 16 greys, row by row, and the
    first pixel of the next patch. Sums: lines such as ``123+456=0579``. Noise: an autoregressive process of order two
    cut into 16 equally frequent levels. Windows are drawn at random; those of one call do not repeat.
    """
    length = WINDOW + 1
    if domain == "photographs":
        patches = []
        for picture in load_sample_images().images:
            grey = (picture.mean(axis=2) // 16).astype(np.uint8)
            rows, columns = (side // 8 * 8 for side in grey.shape)
            cut = grey[:rows, :columns].reshape(rows // 8, 8, columns // 8, 8).transpose(0, 2, 1, 3)
            patches.append(cut.reshape(-1, 64))
        stream = np.concatenate(patches).ravel()
    elif domain == "code":
        text = "\n".join(datasets.library_source(package) for package in PACKAGES)
        stream = np.minimum(np.frombuffer(text.encode("utf-8"), dtype=np.uint8), 127)
    elif domain == "sums":
        a, b = rng.integers(1000, size=(2, 6 * count))
        text = "\n".join(f"{x:03d}+{y:03d}={x + y:04d}" for x, y in zip(a, b, strict=True))
        alphabet = np.zeros(128, dtype=np.uint8)
        alphabet[np.frombuffer(b"0123456789+=\n", dtype=np.uint8)] = np.arange(13)
        stream = alphabet[np.frombuffer(text.encode(), dtype=np.uint8)]
    else:
        shocks, level = rng.standard_normal(length * count + 100), np.zeros(length * count + 100)
        for t in range(2, level.size):
            level[t] = 1.2 * level[t - 1] - 0.5 * level[t - 2] + shocks[t]
        level = level[100:]
        stream = np.searchsorted(np.quantile(level, np.arange(1, 16) / 16), level)
    starts = np.arange(0, stream.size - length, WINDOW)
    if starts.size < count:
        raise UserError(f"windows: {domain} has {starts.size} windows, {count} were asked for; ask for fewer.")
    return np.stack([stream[s : s + length] for s in rng.permutation(starts)[:count]]).astype(np.int64)


def train_size(
    domain: str, width: int, rates: Sequence[float], generators: Sequence[torch.Generator],
    data: Callable[[int], np.ndarray], *, steps: int, batch: int, held: int = 256,
) -> np.ndarray:  # fmt: skip
    """Train one-layer transformers of one width, a member a seed; return held-out losses in nats a symbol, (S,).

    ``data(s)`` gives the windows of a seed: the first ``steps * batch`` are read once, the last ``held`` are scored.
    """
    build = Build(width, max(1, width // 16), 1, WINDOW, DOMAINS[domain], DOMAINS[domain])
    x = torch.from_numpy(np.stack([data(s) for s in range(len(rates))]))  # S N T+1
    forward = network(build)

    def batches(step: int):
        rows = x[:, step * batch : (step + 1) * batch]
        return rows[..., :-1], rows[..., 1:]

    optimiser = Optimiser(rate=list(rates), betas=(0.9, 0.98), schedule=linear_decay())
    p = train(start(build, generators), forward, cross_entropy, batches, steps, optimiser).parameters
    with torch.no_grad():
        last = x[:, -held:]
        return cross_entropy(forward(p, last[..., :-1]), last[..., 1:]).numpy().astype(float)


def common_alpha(sizes: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Return the exponent shared by several domains, each with its own constant and height; losses (..., G, W)."""
    miss = []
    for alpha in ALPHAS:
        fitted = with_constant(sizes, losses, alpha)
        miss.append(((fitted[..., :1] + fitted[..., 1:] * sizes**-alpha) / losses - 1) ** 2)
    return ALPHAS[np.argmin([m.sum(axis=(-2, -1)) for m in miss], axis=0)]


def forecast_errors(sizes: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Return |log forecast - log loss| at the largest size for losses (..., G, W): (..., G, 2), constant, pure.

    Both forms have two free parameters and are fitted to all sizes but the largest. The exponent of the form with a
    constant is the one that the *other* domains share, all of their sizes used.
    """
    found = []
    for g in range(losses.shape[-2]):
        own, others = losses[..., g, :], np.delete(losses, g, axis=-2)
        alpha = common_alpha(sizes, others)
        log_n, log_l = np.log(sizes[:-1]), np.log(own[..., :-1])
        slope_ = ((log_n - log_n.mean()) * log_l).sum(-1) / ((log_n - log_n.mean()) ** 2).sum()
        pure = log_l.mean(-1) + slope_ * (np.log(sizes[-1]) - log_n.mean())
        constant = np.empty(own.shape[:-1])
        for value in np.unique(alpha):
            here = alpha == value
            fitted = with_constant(sizes[:-1], own[here][..., :-1], value)
            constant[here] = np.log(fitted[..., 0] + fitted[..., 1] * sizes[-1] ** -value)
        found.append(np.abs(np.stack([constant, pure], axis=-1) - np.log(own[..., -1:])))
    return np.stack(found, axis=-2)


def log_ratio(errors: np.ndarray) -> np.ndarray:
    """Return log(error of constant form / error of pure form), mean over domains; (..., G, 2) -> (...)."""
    small = np.maximum(errors, 1e-6)  # what five printed digits can tell
    return np.log(small[..., 0] / small[..., 1]).mean(axis=-1)


def made_losses(
    sizes: np.ndarray, losses: np.ndarray, truth: str, deviation: float, seeds: int, count: int, rng
) -> np.ndarray:
    """Return losses (count, seeds, G, W) made from one form fitted to measured ones (G, W), with luck between seeds.

    ``truth`` is "constant" (one exponent for all domains) or "pure"; ``deviation`` is that of log loss between seeds.
    """
    if truth == "constant":
        alpha = common_alpha(sizes, losses)
        fitted = with_constant(sizes, losses, alpha)
        clean = fitted[..., :1] + fitted[..., 1:] * sizes**-alpha
    else:
        lines = np.polynomial.polynomial.polyfit(np.log(sizes), np.log(losses).T, 1)
        clean = np.exp(lines[0][:, None] + lines[1][:, None] * np.log(sizes))
    return clean * np.exp(deviation * rng.standard_normal((count, seeds, *losses.shape)))

"""A source of symbols whose entropy is known: copies of the past at random lags, and noise.

At each step a lag j in 1 ... J is drawn with p_j proportional to j^-exponent and the symbol j steps back is sent
through a permutation that belongs to the lag; with probability NOISE the symbol is uniform instead. Shapes: C chains,
T steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from scalebook import laws
from scalebook.ensemble import Optimiser, cross_entropy, train
from scalebook.fitting import fit
from scalebook.topics.tiny_transformers import Build, linear_decay, network, start

SYMBOLS, NOISE = 16, 0.15
WINDOW, LAGS = 64, 32  # positions a network sees; lags of the source it learns
KNOWN = (1, 2, 3, 4, 6, 8, 12)  # lags that the solvable predictors know


@dataclass(frozen=True)
class Source:
    """Lag probabilities (J,) and permutations (J, symbols)."""

    p: np.ndarray
    maps: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, lags: int, exponent: float = 1.3) -> Source:
        """Draw a source: its permutations are random, its lag probabilities are not."""
        p = np.arange(1, lags + 1, dtype=float) ** -exponent
        maps = np.argsort(rng.random((lags, SYMBOLS)), axis=1).astype(np.uint8)
        return cls(p / p.sum(), maps)

    def chains(self, count: int, length: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``count`` chains of the source, (C, J + length): the first J symbols are past, drawn uniformly."""
        lags = len(self.p)
        x = np.empty((lags + length, count), dtype=np.uint8)
        x[:lags] = rng.integers(SYMBOLS, size=(lags, count))
        chain = np.arange(count)
        for t in range(lags, lags + length):
            j = rng.choice(lags, size=count, p=self.p)  # lag j + 1
            copied = self.maps[j, x[t - 1 - j, chain]]
            x[t] = np.where(rng.random(count) < NOISE, rng.integers(SYMBOLS, size=count), copied)
        return x.T.copy()

    def chance(self, x: np.ndarray, scored: int, known: Sequence[int] = ()) -> np.ndarray:
        """Return the probability of each of the last ``scored`` symbols of the chains, (len(known) + 1, C, scored).

        First by a predictor that knows the source, then by those that know only lags up to w for w in ``known`` and
        spread the rest evenly: P_w(x) = (NOISE + (1 - NOISE) sum_{j > w} p_j) / 16 + (1 - NOISE) sum_{j <= w, hit} p_j.
        """
        lags, end = len(self.p), x.shape[1]
        hit = np.zeros((x.shape[0], scored))
        found = []
        for j in range(1, lags + 1):
            back = x[:, end - scored - j : end - j]
            hit += self.p[j - 1] * (self.maps[j - 1][back] == x[:, end - scored :])
            if j in known:
                missing = self.p[j:].sum()
                found.append((NOISE + (1 - NOISE) * missing) / SYMBOLS + (1 - NOISE) * hit)
        return np.array([NOISE / SYMBOLS + (1 - NOISE) * hit, *found])


def solvable(exponent: float, rng: np.random.Generator, lags: int = 2000, chains: int = 64, scored: int = 300):
    """Return the entropy rate and the losses (W,) of the predictors that know lags up to `KNOWN`, in nats a symbol."""
    source = Source.draw(rng, lags, exponent)
    x = source.chains(chains, scored, rng)
    cross = -np.log(source.chance(x, scored, KNOWN)).mean(axis=(1, 2))
    return cross[0], cross[1:]


def floor_errors(sizes: np.ndarray, losses: np.ndarray, entropy: float) -> tuple[float, float]:
    """Return |fitted floor - H| and |loss of the largest - H|, both over (loss of the smallest - H).

    Sizes and losses (W,) in order; the fit is L = E + A N^-alpha by least squares in log loss.
    """
    found = fit(laws.PowerFloor, sizes, losses, delta=None)
    range_ = losses[0] - entropy
    return abs(found.params["E"] - entropy) / range_, abs(losses[-1] - entropy) / range_


def ladder_build(width: int) -> Build:
    """Return the one-layer network of the trained ladder: d / 4 heads, one below 8."""
    return Build(width, max(1, width // 4) if width >= 8 else 1, 1, WINDOW, SYMBOLS, SYMBOLS, relative=True)


def train_ladder(
    build: Build, sources: Sequence[Source], rates: Sequence[float], generators: Sequence[torch.Generator],
    data: Sequence[np.random.Generator], *, tokens: int, batch: int = 8, marks: Sequence[int] = (), scored: int = 512,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Train one network a source, each token read once; return losses (marks + end, S) and the sources' entropies (S,).

    Both are means over the second half of the windows of ``scored`` held-out chains, where every lag is visible.
    Learning rates fall to zero along a straight line.
    """
    steps = tokens // (batch * WINDOW)
    inputs, test, entropies = [], [], []
    for source, rng in zip(sources, data, strict=True):
        x = source.chains(steps * batch + scored, 2 * WINDOW + 1, rng)[:, -WINDOW - 1 :]
        inputs.append(x[: steps * batch]), test.append(x[steps * batch :])
        half = WINDOW // 2  # the scored half and all of its lags lie inside the window
        entropies.append(-np.log(source.chance(x[steps * batch :], half)[0]).mean())
    x, held = (torch.from_numpy(np.stack(part).astype(np.int64)) for part in (inputs, test))  # S N T+1
    forward = network(build)

    def batches(step: int):
        rows = x[:, step * batch : (step + 1) * batch]
        return rows[..., :-1], rows[..., 1:]

    def look(p):
        half = WINDOW // 2
        parts = [cross_entropy(forward(p, some[..., :-1])[:, :, half:], some[..., half + 1 :])
                 for some in held.split(128, dim=1)]  # fmt: skip
        return {"loss": torch.stack(parts).mean(dim=0)}

    at = [mark // (batch * WINDOW) for mark in marks] + [steps]
    optimiser = Optimiser(rate=list(rates), betas=(0.9, 0.98), schedule=linear_decay())
    found = train(start(build, generators), forward, cross_entropy, batches, steps, optimiser, look, at)
    return found.history["loss"].numpy().astype(float), np.array(entropies)

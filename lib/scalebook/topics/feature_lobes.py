"""Do features that fire together lie together? A small language model, sparse autoencoders, and two clusterings
compared.

Li and others, "The Geometry of Concepts" (2024, arXiv:2410.19750), cluster the features of a sparse autoencoder
twice: by how often they fire in the same documents, and by the angles of their decoder vectors. The agreement of the
two is what they call lobes. Shape code: S stack, N positions, B batch, C context, H hidden units, A atoms, G
documents.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_mutual_info_score
from torch import Tensor
from torch.nn import functional as F

TOKEN = re.compile(r"[A-Za-z_]\w*|\d+|[^\w\s]")


def token_numbers(text: str, vocabulary: int) -> np.ndarray:
    """Return the tokens of a text, words, numbers and signs, as 1 to vocabulary - 1 by falling count; the rest are
    0."""
    tokens = TOKEN.findall(text)
    rank = {token: k + 1 for k, (token, _) in enumerate(Counter(tokens).most_common(vocabulary - 1))}
    return np.array([rank.get(token, 0) for token in tokens], dtype=np.int64)


def train_readers(
    tokens: np.ndarray, hidden: int, vocabulary: int, generators: Sequence[torch.Generator],
    context: int = 4, steps: int = 600, batch: int = 256, rate: float = 3e-3,
) -> dict[str, Tensor]:  # fmt: skip
    """Train a stack of next-token networks with one hidden layer of rectified units, one a generator.

    h = relu(b + sum over the last ``context`` tokens of their row in a table of that place), logits = h U + c. Returns
    "rows" (S, C * vocabulary, H), "b" (S, 1, H), "u" (S, H, vocabulary), "c" (S, 1, vocabulary).
    """
    stack, places = len(generators), torch.arange(context) * vocabulary
    text = torch.from_numpy(tokens)

    def draw(*shape: int) -> Tensor:
        return torch.stack([torch.randn(shape, generator=g) for g in generators])

    p = {
        "rows": draw(context * vocabulary, hidden) / np.sqrt(context), "b": torch.zeros(stack, 1, hidden),
        "u": draw(hidden, vocabulary) / np.sqrt(hidden), "c": torch.zeros(stack, 1, vocabulary),
    }  # fmt: skip
    optimiser = torch.optim.Adam([value.requires_grad_() for value in p.values()], lr=rate)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        at = torch.stack([torch.randint(context, len(tokens), (batch,), generator=g) for g in generators])  # (S, B)
        logits = hidden_states(p, text, at, places) @ p["u"] + p["c"]
        loss = F.cross_entropy(logits.flatten(0, 1), text[at].flatten()) * stack
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return {name: value.detach() for name, value in p.items()}


def hidden_states(p: dict[str, Tensor], text: Tensor, at: Tensor, places: Tensor) -> Tensor:
    """Return the hidden units (S, N, H) before the tokens at positions ``at`` (S, N) of ``text``."""
    back = [text[at - len(places) + k] + place for k, place in enumerate(places.tolist())]
    seen = torch.stack(back, dim=-1)  # (S, N, C)
    rows = torch.stack([F.embedding_bag(one, table, mode="sum") for one, table in zip(seen, p["rows"], strict=True)])
    return torch.relu(rows + p["b"])


def activations(
    p: dict[str, Tensor], tokens: np.ndarray, starts: np.ndarray, length: int, context: int = 4
) -> Tensor:
    """Return hidden units (S, G * length, H) over documents: ``length`` tokens on from ``starts`` (S, G), in order."""
    at = torch.from_numpy((starts[:, :, None] + np.arange(length)).reshape(len(starts), -1))
    vocabulary = p["rows"].shape[1] // context
    with torch.no_grad():
        return hidden_states(p, torch.from_numpy(tokens), at, torch.arange(context) * vocabulary)


def gaussian_like(x: Tensor, length: int, documents: bool, generator: torch.Generator) -> Tensor:
    """Return Gaussian data of the mean and covariance of x (N, H), ``length`` rows a document.

    Without ``documents`` all rows are independent. With it, rows of one document share a part: the covariance is
    split into that between document means (less what within-document scatter adds to them) and the rest.
    """
    n, h = x.shape
    centred = (x - x.mean(dim=0)).double()
    total = centred.T @ centred / n
    between = torch.zeros_like(total)
    if documents:
        means = centred.view(-1, length, h).mean(dim=1)
        raw = means.T @ means / len(means)
        between = _positive((raw - total / length) * length / (length - 1))
    within = _positive(total - between)
    own = torch.randn(n, h, generator=generator, dtype=torch.float64) @ _root(within)
    shared = torch.randn(n // length, h, generator=generator, dtype=torch.float64) @ _root(between)
    return (x.mean(dim=0) + own + shared.repeat_interleave(length, dim=0)).to(x.dtype)


def _positive(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0)) @ vectors.T


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


@dataclass(frozen=True)
class Dictionary:
    """A stack of trained sparse autoencoders on its data."""

    decoder: Tensor  # (S, A, H), rows of length 1
    codes: Tensor  # (S, N, A), booleans: which atoms fire where
    active: np.ndarray  # (S,) mean number of active atoms a position
    explained: np.ndarray  # (S,) share of variance explained


def train_dictionaries(
    x: Tensor, atoms: int, active: float, steps: int, generators: Sequence[torch.Generator],
    batch: int = 256, rate: float = 1e-3,
) -> Dictionary:  # fmt: skip
    """Train a stack of sparse autoencoders, one a data set x (S, N, H) and generator, to ``active`` atoms a position.

    f = relu(x E + e), x' = f D with rows of D of length 1; the loss is the squared error plus an l1 penalty on f.
    Biases start where each atom fires at the wanted rate, and the penalty of each model is steered so that all end
    with the same number of active atoms, whatever their data: it grows while too many fire and shrinks while too few
    do.
    """
    stack, n, h = x.shape
    x = x - x.mean(dim=1, keepdim=True)
    x = x / x.square().mean(dim=(1, 2), keepdim=True).sqrt()
    decoder = F.normalize(torch.stack([torch.randn(atoms, h, generator=g) for g in generators]), dim=-1)
    start = torch.quantile(x[:, :4096] @ decoder.transpose(1, 2), 1 - active / atoms, dim=1, keepdim=True)
    p = [decoder.clone(), decoder.transpose(1, 2).clone(), -start]
    optimiser = torch.optim.Adam([value.requires_grad_() for value in p], lr=rate)
    # log of the penalty, in two parts: what has settled, and the push of the moment
    steady, push = torch.zeros(stack), torch.zeros(stack)
    rows = torch.arange(stack)[:, None]
    for _ in range(steps):
        own = x[rows, torch.stack([torch.randint(n, (batch,), generator=g) for g in generators])]  # (S, B, H)
        f = torch.relu(torch.baddbmm(p[2], own, p[1]))
        error = (f @ p[0] - own).square().sum(dim=-1).mean(dim=-1)
        loss = (error + (steady + push).exp() * f.sum(dim=-1).mean(dim=-1)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            p[0].copy_(F.normalize(p[0], dim=-1))
            push = torch.log((f > 0).float().sum(dim=-1).mean(dim=-1).clamp(min=0.1) / active)
            steady += 0.02 * push
    with torch.no_grad():
        f = torch.relu(torch.baddbmm(p[2], x, p[1]))
        left = (f @ p[0] - x).square().mean(dim=(1, 2))  # the variance of x is 1 a coordinate
        codes = f > 0
    return Dictionary(p[0].detach(), codes, codes.float().sum(dim=-1).mean(dim=-1).numpy(), 1 - left.numpy())


def occurrences(codes: Tensor, length: int) -> np.ndarray:
    """Return which atoms fire in which documents (G, A), given codes (N, A) with ``length`` positions a document."""
    return codes.view(-1, length, codes.shape[-1]).any(dim=1).numpy()


def phi(seen: np.ndarray) -> np.ndarray:
    """Return the phi coefficients (A, A) of binary columns (G, A): their Pearson correlations.

    The same as (n11 n00 - n10 n01) / sqrt(n1. n0. n.1 n.0). Columns must not be constant.
    """
    x = seen - seen.mean(axis=0)
    x /= np.linalg.norm(x, axis=0)
    return x.T @ x


def spectral_labels(affinity: np.ndarray, k: int) -> np.ndarray:
    """Return k spectral clusters (A,) of a similarity matrix; below 0 counts as 0, plus a little to keep it
    connected."""
    graph = np.clip(affinity, 0, None) + 1e-4
    cut = SpectralClustering(k, affinity="precomputed", assign_labels="cluster_qr", random_state=0)
    return cut.fit_predict(0.5 * (graph + graph.T))


def agreement(one: np.ndarray, other: np.ndarray, rng: np.random.Generator, shuffles: int = 200) -> tuple[float, float]:
    """Return the adjusted mutual information of two clusterings (A,), and its z-score against shuffled labels.

    Shuffling keeps the sizes of the clusters, so the expectation and the scale that AMI adjusts by stay what they
    are: the z-score of the plain mutual information, which is quick to compute for all shuffles together, is that of
    AMI.
    """
    k, n = max(one.max(), other.max()) + 1, len(one)

    def information(labels: np.ndarray) -> np.ndarray:
        cell = one * k + labels  # (shuffles, A)
        count = (cell[:, :, None] == np.arange(k * k)).sum(axis=1) / n
        return (count * np.log(np.where(count > 0, count, 1))).sum(axis=1)  # minus the joint entropy

    null = information(rng.permuted(np.tile(other, (shuffles, 1)), axis=1))
    spread = null.std(ddof=1)
    z = (information(other[None])[0] - null.mean()) / spread if spread > 0 else 0.0
    return float(adjusted_mutual_info_score(one, other)), float(z)

"""Measuring data before any training: images by diversity, density and distance, texts by words and pairs of words.

Shape code: n examples of a set, D features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

IMAGE_MEASURES = ("Vendi score", "5-neighbour distance", "MMD to reference", "mean", "variance", "duplicate share")
TEXT_MEASURES = ("type-token ratio", "Zipf exponent", "entropy", "Vendi score", "pair information")
BLOCK = 50  # words that stay together when a text is sampled
BUCKETS = 64  # hash buckets of a block's bag of words
PAIRS = 20  # the most frequent neighbouring pairs


def vendi(features: np.ndarray) -> float:
    """Return exp of the entropy of the eigenvalues of the cosine kernel over n (Friedman and Dieng 2022).

    ``features`` (n, D), no row all zero. From 1 (all alike) to n (all orthogonal): how many different items there are.
    """
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    small = unit.T @ unit if unit.shape[1] < len(unit) else unit @ unit.T  # both have the same non-zero eigenvalues
    share = np.clip(np.linalg.eigvalsh(small) / len(unit), 1e-15, None)
    return float(np.exp(-(share * np.log(share)).sum()))


def neighbour_distance(features: np.ndarray, neighbours: int = 5) -> float:
    """Return the mean Euclidean distance of an example to its k-th neighbour in the set (n, D)."""
    return float(np.sqrt(np.partition(_squares(features, features), neighbours, axis=1)[:, neighbours]).mean())


def mmd(features: np.ndarray, reference: np.ndarray) -> float:
    """Return the squared maximum mean discrepancy to a reference sample (m, D), Gaussian kernel (Gretton et al. 2012).

    The unbiased form; the kernel's width is the median distance within the reference.
    """
    inside = _squares(reference, reference)
    width = float(np.median(inside[np.triu_indices(len(reference), 1)]))
    squares = _squares(features, features), inside, _squares(features, reference)
    kernel = [np.exp(-square / width) for square in squares]
    sums = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in kernel[:2]]
    return float(sums[0] + sums[1] - 2 * kernel[2].mean())


def image_measures(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the six label-free measures of a set of images (n, D), in the order of IMAGE_MEASURES."""
    distinct = len(np.unique(images, axis=0))
    return np.array([
        vendi(images), neighbour_distance(images), mmd(images, reference),
        float(images.mean()), float(images.var(axis=0).mean()), 1 - distinct / len(images),
    ])  # fmt: skip


def blocks_of(ids: np.ndarray) -> np.ndarray:
    """Return a text of word numbers as rows of BLOCK consecutive words (blocks, BLOCK); a rest is dropped."""
    return ids[: len(ids) // BLOCK * BLOCK].reshape(-1, BLOCK)


def text_measures(blocks: np.ndarray) -> np.ndarray:
    """Return the five measures of a sample of blocks of word numbers (blocks, BLOCK), in the order of TEXT_MEASURES.

    Zipf exponent: minus the slope of log frequency on log rank; entropy in bits a word; Vendi score of the blocks' hashed
    bags of words; pair information: mean log2 p(a,b) / (p(a) p(b)) of the most frequent neighbouring pairs.
    """
    total = blocks.size
    counts = np.bincount(blocks.ravel())
    frequencies = np.sort(counts[counts > 0])[::-1]
    share = frequencies / total
    ranks = np.log(np.arange(1, len(share) + 1))
    zipf = -np.polyfit(ranks, np.log(share), 1)[0]
    bags = np.zeros((len(blocks), BUCKETS))
    np.add.at(bags, (np.arange(len(blocks))[:, None], _hashed(blocks)), 1.0)
    pairs, often = np.unique(blocks[:, :-1].astype(np.int64) * len(counts) + blocks[:, 1:], return_counts=True)
    top = np.argsort(-often, kind="stable")[:PAIRS]
    first, second = np.divmod(pairs[top], len(counts))
    joint = often[top] / (total - len(blocks))
    information = np.log2(joint * total**2 / (counts[first] * counts[second])).mean()
    return np.array([len(share) / total, zipf, -(share * np.log2(share)).sum(), vendi(bags), information])


def sampled_text_measures(ids: np.ndarray, tokens: int, rngs: Sequence[np.random.Generator]) -> np.ndarray:
    """Return the mean of `text_measures` over samples of ``tokens`` words, blocks drawn without replacement (5,)."""
    blocks = blocks_of(ids)
    count = min(tokens // BLOCK, len(blocks))
    return np.mean([text_measures(blocks[rng.permutation(len(blocks))[:count]]) for rng in rngs], axis=0)


def ridge_predict(x: np.ndarray, y: np.ndarray, new: np.ndarray, penalty: float = 1.0) -> np.ndarray:
    """Return ridge predictions at ``new`` (..., m, D) from x (..., n, D) and y (..., n), leading axes side by side.

    Measures are standardised on the training rows; the intercept is not penalised.
    """
    centre, scale = x.mean(axis=-2, keepdims=True), x.std(axis=-2, keepdims=True)
    scale = np.where(scale < 1e-12, 1.0, scale)
    z, level = (x - centre) / scale, y.mean(axis=-1, keepdims=True)
    gram = np.swapaxes(z, -1, -2) @ z + penalty * np.eye(x.shape[-1])
    weights = np.linalg.solve(gram, np.swapaxes(z, -1, -2) @ (y - level)[..., None])
    return ((new - centre) / scale @ weights)[..., 0] + level


def r_squared(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Return the share of the variance of ``truth`` explained along the last axis; below 0 if worse than its mean."""
    spread = ((truth - truth.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
    return 1 - ((truth - guess) ** 2).sum(axis=-1) / np.maximum(spread, 1e-12)


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return squared distances (n, m); below 0 by rounding is 0."""
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T, 0)


def _hashed(blocks: np.ndarray) -> np.ndarray:
    """Spread word numbers over BUCKETS by Knuth's multiplicative hash."""
    mixed = blocks.astype(np.uint64) * np.uint64(2654435761) % np.uint64(2**32)
    return (mixed >> np.uint64(32 - int(math.log2(BUCKETS)))).astype(int)

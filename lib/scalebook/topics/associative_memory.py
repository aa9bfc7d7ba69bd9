"""Facts stored as a sum of outer products, and how often they are recalled.

A fact is a pair (x, f(x)), x in 1..N asked with probability p(x) ~ x^-alpha, f(x) one of M answers. Inputs and answers have random
embeddings e_x, u_y in R^d with entries N(0, 1/d). The memory is W = sum_x q(x) u_f(x) e_x^T; asked for x it answers
argmax_y u_y.W e_x. The storage strengths q decide what the width d is spent on. Setting: Cabannes, Dohmatob and Bietti,
"Scaling Laws for Associative Memories" (2023, arXiv:2310.02984).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import zeta


def zipf(facts: int, alpha: float) -> np.ndarray:
    """Return p (N,) ~ x^-alpha, summing to 1."""
    p = np.arange(1, facts + 1, dtype=float) ** -alpha
    return p / p.sum()


def recalled(
    strengths: np.ndarray, answers: np.ndarray, choices: int, dimension: int, rng: np.random.Generator
) -> np.ndarray:
    """Return which facts a memory recalls: booleans (K, N), one row for each way of storing.

    strengths: (K, N), row k the q of one memory; all K use the same embeddings. answers: (N,) in 0..choices - 1. The memory
    is never formed: with A_y = sum of q(x) e_x over the facts answered y, the scores are e_x.(A G), G = U U^T.
    """
    kinds, facts = strengths.shape
    e = torch.from_numpy(rng.standard_normal((facts, dimension), dtype=np.float32))
    u = torch.from_numpy(rng.standard_normal((choices, dimension), dtype=np.float32))
    q = torch.from_numpy(strengths.astype(np.float32))  # (K, N)
    truth = torch.from_numpy(answers)
    one_hot = torch.nn.functional.one_hot(truth, choices).float()  # (N, M)
    sums = (q[:, :, None] * one_hot).transpose(1, 2).reshape(kinds * choices, facts) @ e  # (K M, d), all A_y
    gram = u @ u.T  # (M, M); scaling embeddings by 1/sqrt(d) would not change the argmax
    scores = (e @ sums.T).view(facts, kinds, choices) @ gram  # (N, K, M)
    return (scores.argmax(dim=2) == truth[:, None]).T.numpy()


def probability(x: np.ndarray, alpha: float) -> np.ndarray:
    """Return the untruncated law p(x) = x^-alpha/zeta(alpha), x = 1, 2, ..., alpha > 1."""
    return x.astype(float) ** -alpha / zeta(alpha)


def unseen_mass(sample: np.ndarray, counts: Sequence[int], alpha: float) -> np.ndarray:
    """Return the probability of meeting a fact not seen among the first n of a sample, for each n in `counts`.

    sample: positive integers drawn from the law of `probability`.
    """
    values, first = np.unique(sample, return_index=True)
    p = probability(values, alpha)
    return np.array([1.0 - p[first < n].sum() for n in counts])

"""Associative memories against the matrix written out, and samples against exact sums."""

import numpy as np
import pytest
from scipy.special import zeta

from scalebook.topics import associative_memory as memory


def plain_recall(q, answers, choices, d, rng):
    """The memory with its d x d matrix, from the same embeddings."""
    e = rng.standard_normal((len(answers), d), dtype=np.float32).astype(float)
    u = rng.standard_normal((choices, d), dtype=np.float32).astype(float)
    w = sum(strength * np.outer(u[y], v) for strength, y, v in zip(q, answers, e, strict=True))
    return np.array([np.argmax(u @ w @ v) == y for v, y in zip(e, answers, strict=True)])


def test_recall_equals_the_memory_written_out():
    answers = np.random.default_rng(0).integers(5, size=60)
    p = memory.zipf(60, 1.5)
    strengths = np.array([p, p**0.25, np.arange(60) < 6, np.ones(60)])
    found = memory.recalled(strengths, answers, 5, 24, np.random.default_rng(1))
    for q, right in zip(strengths, found, strict=True):
        np.testing.assert_array_equal(right, plain_recall(q, answers, 5, 24, np.random.default_rng(1)))


def test_one_stored_fact_is_recalled_and_the_rest_are_answered_like_it():
    answers = np.array([2, 0, 1, 3, 4, 2])
    (right,) = memory.recalled(np.eye(1, 6), answers, 5, 2000, np.random.default_rng(2))
    assert right[0]


def test_few_facts_in_a_wide_memory_are_all_recalled():
    answers = np.random.default_rng(3).integers(5, size=20)
    (right,) = memory.recalled(np.ones((1, 20)), answers, 5, 2000, np.random.default_rng(4))
    assert right.all()


def test_frequencies_sum_to_one_and_fall_as_asked():
    p = memory.zipf(1000, 2.0)
    assert p.sum() == pytest.approx(1.0) and p[0] / p[9] == pytest.approx(100.0)
    x = np.arange(1, 200_000)
    assert memory.probability(x, 2.0).sum() == pytest.approx(1.0, abs=1e-5)
    assert memory.probability(np.array([1]), 1.5)[0] == pytest.approx(1 / zeta(1.5))


def test_unseen_mass_of_a_known_sample():
    sample = np.array([1, 1, 3, 2])
    p = memory.probability(np.arange(1, 4), 1.5)
    np.testing.assert_allclose(memory.unseen_mass(sample, [1, 2, 3, 4], 1.5), 1 - np.array([p[0], p[0], p[0] + p[2], p.sum()]))


def test_unseen_mass_has_the_exact_mean():
    n, alpha = 300, 1.5
    x = np.arange(1, 3_000_000)
    p = memory.probability(x, alpha)
    exact = (p * (1 - p) ** n).sum() + (1 - p.sum())  # what lies beyond the sum is unseen
    rng = np.random.default_rng(5)
    found = [memory.unseen_mass(rng.zipf(alpha, n), [n], alpha)[0] for _ in range(200)]
    assert np.mean(found) == pytest.approx(exact, abs=4 * np.std(found) / np.sqrt(200))


def test_exact_exponent_of_the_finite_tail():
    d = np.array([10, 20, 40, 80, 160, 320])
    slopes = [np.polyfit(np.log(d), np.log([memory.zipf(20_000, a)[k // 4 :].sum() for k in d]), 1)[0] for a in (1.5, 2.0)]
    np.testing.assert_allclose(slopes, [-0.509, -0.988], atol=1e-3)

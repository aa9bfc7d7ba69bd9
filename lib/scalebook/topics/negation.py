"""Two subtasks in one question: answer it, and notice that it was negated.

With two choices a negated question is answered right if the answer is right and flipped, or wrong and not flipped: f
= t1 t2 + (1 - t1)(1 - t2) = 1/2 + 2 (t1 - 1/2)(t2 - 1/2), where t1 is the accuracy without negation and t2 the
probability of a flip. Averaged over questions the accuracy exceeds f by exactly 2 cov(right, flipped). Setting and
toy curves: Zhang and others, "Beyond Positive Scaling" (2023, arXiv:2305.17311).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from scalebook.curves import point_class

REACH = (-10.0, 10.0)  # the toy's log scale


def composed(t1: np.ndarray, t2: np.ndarray) -> np.ndarray:
    """Return the accuracy on negated questions from both subtasks, all in [0, 1] and of shapes that broadcast."""
    return t1 * t2 + (1 - t1) * (1 - t2)


def answering(x: np.ndarray) -> np.ndarray:
    """Return the toy's t1 at log scale x: from 1/2 at -10 to 1 at 10, a straight line."""
    return 0.75 + 0.025 * np.asarray(x, dtype=float)


def flipping(x: np.ndarray, threshold: float) -> np.ndarray:
    """Return the toy's t2 at log scale x: a sigmoid that passes 1/2 at `threshold`."""
    return 1 / (1 + np.exp(threshold - np.asarray(x, dtype=float)))


def upward_crossing(x: np.ndarray, f: np.ndarray) -> float:
    """Return where a curve f on the grid x last rises through 1/2, by straight lines; NaN where it does not."""
    rising = np.flatnonzero((f[:-1] < 0.5) & (f[1:] >= 0.5))
    if rising.size == 0:
        return float("nan")
    i = rising[-1]
    return float(x[i] + (x[i + 1] - x[i]) * (0.5 - f[i]) / (f[i + 1] - f[i]))


def agreement(
    thresholds: Sequence[float], questions: int, rng: np.random.Generator, *, sizes: int = 8, draws: int = 400,
    of: Callable[[np.ndarray], np.ndarray] = point_class,
) -> np.ndarray:  # fmt: skip
    """Return how often a benchmark of so many questions gives the class of the exact curve, one share a threshold.

    `sizes` models stand evenly over the toy's range; each answers `questions` independent questions right with
    probability f. Exact and noisy curve are classed alike, by `of`.
    """
    x = np.linspace(*REACH, sizes)
    f = np.array([composed(answering(x), flipping(x, threshold)) for threshold in thresholds])  # (threshold, size)
    noisy = rng.binomial(questions, np.clip(f, 0, 1), size=(draws, *f.shape)) / questions
    return (of(noisy) == of(f)).mean(axis=0)


def questions_needed(
    thresholds: Sequence[float], wanted: float, counts: Sequence[int], rngs: Callable[[int], np.random.Generator]
) -> np.ndarray:
    """Return for each threshold the least of `counts` (rising) whose agreement reaches `wanted`; infinity if none does.

    `rngs(questions)` gives the generator for one count.
    """
    shares = np.array([agreement(thresholds, count, rngs(count)) for count in counts])  # (count, threshold)
    enough = shares >= wanted
    first = np.asarray(counts, dtype=float)[enough.argmax(axis=0)]
    return np.where(enough.any(axis=0), first, np.inf)

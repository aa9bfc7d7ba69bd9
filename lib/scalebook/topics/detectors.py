"""Detectors of wrong answers: how well a score tells them from right ones, whatever their share.

Shape code: N answers, E features of an answer.
"""

from __future__ import annotations

import numpy as np

from scalebook.ranks import auroc


def average_precision(score: np.ndarray, wrong: np.ndarray) -> float:
    """Return the area under the precision-recall curve: the mean precision at every wrong answer, highest score first.

    A score that knows nothing has about the share of wrong answers, its floor. Ties are taken together.
    """
    values, at = np.unique(-score, return_inverse=True)
    hits = np.bincount(at, weights=wrong, minlength=values.size)
    precision = np.cumsum(hits) / np.cumsum(np.bincount(at, minlength=values.size))
    return float((precision * hits).sum() / wrong.sum())


def leading(states: np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` principal components (N, count) of states (N, E), of unit variance over all of them.

    Where there are fewer components the rest is 0.
    """
    centred = states - states.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    kept = (u * s)[:, :count]
    filled = np.zeros((len(states), count))
    filled[:, : kept.shape[1]] = kept / max(kept.std(), 1e-12)
    return filled


def balanced(wrong: np.ndarray, each: int, rng: np.random.Generator) -> np.ndarray:
    """Return rows of `each` wrong and `each` right answers in random order; wrong (N,) booleans."""
    picked = [rng.choice(np.flatnonzero(wrong == kind), size=each, replace=False) for kind in (True, False)]
    return rng.permutation(np.concatenate(picked))


def probe_auroc(features: np.ndarray, wrong: np.ndarray, kind: str = "linear", seed: int = 0) -> float:
    """Return the AUROC of a probe trained on one half of the answers and tested on the other, mean of both ways round.

    features (N, E), wrong (N,) booleans in random order. `kind` is "linear" (logistic regression) or "network" (16 ReLU
    units, started from `seed`).
    """
    from sklearn.linear_model import LogisticRegression  # 1.5 s to import: only where probes are trained
    from sklearn.neural_network import MLPClassifier

    half = len(wrong) // 2
    found = []
    for fit, test in ((slice(None, half), slice(half, None)), (slice(half, None), slice(None, half))):
        centre, spread = features[fit].mean(axis=0), features[fit].std(axis=0)
        scaled = (features - centre) / np.where(spread > 0, spread, 1.0)
        if kind == "linear":
            probe = LogisticRegression(C=0.1, max_iter=1000)
        else:
            probe = MLPClassifier((16,), solver="lbfgs", alpha=1.0, max_iter=2000, tol=1e-3, random_state=seed)
        probe.fit(scaled[fit], wrong[fit])
        found.append(auroc(probe.predict_proba(scaled[test])[:, 1], wrong[test]))
    return float(np.mean(found))

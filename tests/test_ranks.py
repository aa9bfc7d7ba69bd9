"""Rank correlations and the AUROC against scipy and scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from scalebook.ranks import auroc, partial_spearman, spearman


def test_rank_correlations_equal_scipy_and_regression_of_ranks():
    g = np.random.default_rng(7)
    x, y, z = (g.integers(6, size=(5, 30)).astype(float) for _ in range(3))  # with ties
    theirs = [stats.spearmanr(a, b)[0] for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(spearman(x, y), theirs, atol=1e-12)
    for a, b, c, found in zip(x, y, z, partial_spearman(x, y, z), strict=True):
        ranks = [stats.rankdata(v) for v in (a, b, c)]
        left = [v - np.polyval(np.polyfit(ranks[2], v, 1), ranks[2]) for v in ranks[:2]]
        assert found == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-9)
    assert spearman(np.ones(4), np.arange(4.0)) == 0


def test_auroc_is_scikit_learns_with_ties():
    g = np.random.default_rng(3)
    score, positive = g.integers(8, size=60).astype(float), g.random(60) < 0.3
    assert auroc(score, positive) == pytest.approx(roc_auc_score(positive, score), abs=1e-12)

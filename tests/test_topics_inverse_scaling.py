"""Negation, the knowledge graph and detectors against closed forms, scikit-learn and brute force."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from scalebook.ranks import auroc
from scalebook.topics import detectors, negation
from scalebook.topics import knowledge_graph as kg

SHARE = st.floats(0, 1)


@given(SHARE, SHARE)
def test_composition_is_the_sum_over_both_ways_of_being_right(t1, t2):
    ways = [(c, g) for c, g in itertools.product((0, 1), (0, 1)) if c == g]
    brute = sum((t1 if c else 1 - t1) * (t2 if g else 1 - t2) for c, g in ways)
    assert negation.composed(t1, t2) == pytest.approx(brute)
    assert negation.composed(t1, t2) == pytest.approx(0.5 + 2 * (t1 - 0.5) * (t2 - 0.5))


def test_averaged_accuracy_exceeds_the_composition_by_twice_the_covariance():
    rng = np.random.default_rng(0)
    right, flipped = rng.random(500) < 0.7, rng.random(500) < 0.4
    flipped |= right & (rng.random(500) < 0.3)
    t1, t2 = right.mean(), flipped.mean()
    covariance = (right & flipped).mean() - t1 * t2
    assert (right == flipped).mean() == pytest.approx(negation.composed(t1, t2) + 2 * covariance)


@pytest.mark.parametrize(
    ("threshold", "place", "depth"),
    [(-8, -8.93, 0.488), (-4, -6.08, 0.424), (0, -2.69, 0.341), (4, 0.91, 0.251), (8, 4.62, 0.159)],
)
def test_troughs_of_the_toy_solve_their_equation(threshold, place, depth):
    x = np.linspace(-10, 10, 200_001)
    f = negation.composed(negation.answering(x), negation.flipping(x, threshold))
    at = x[f.argmin()]
    assert (at, f.min()) == (pytest.approx(place, abs=0.006), pytest.approx(depth, abs=0.0006))
    t1, t2 = negation.answering(at), negation.flipping(at, threshold)
    assert 0.025 * (t2 - 0.5) + (t1 - 0.5) * t2 * (1 - t2) == pytest.approx(0, abs=1e-4)


def test_the_toy_crosses_a_half_at_its_threshold_and_the_product_elsewhere():
    x = np.linspace(-10, 10, 2001)
    for threshold in (-7.5, 0.25, 9.0):
        t1, t2 = negation.answering(x), negation.flipping(x, threshold)
        assert negation.upward_crossing(x, negation.composed(t1, t2)) == pytest.approx(threshold, abs=1e-3)
        assert abs(negation.upward_crossing(x, t1 * t2) - threshold) > 0.02
    assert np.isnan(negation.upward_crossing(x, np.zeros_like(x)))


def test_more_questions_make_classes_agree():
    few, many = (negation.agreement([0.0, 12.0], n, np.random.default_rng(1)) for n in (5, 5000))
    assert (many >= few).all() and many.min() > 0.95
    needed = negation.questions_needed([0.0, 12.0], 0.95, (5, 5000), lambda n: np.random.default_rng(n))
    assert set(needed) <= {5.0, 5000.0}
    assert np.isinf(negation.questions_needed([0.0], 1.01, (5,), lambda n: np.random.default_rng(n))).all()


def generator(seed):
    return torch.Generator().manual_seed(seed)


def graphs(count=2):
    return np.array([kg.facts(np.random.default_rng(r)) for r in range(count)])


def test_objects_of_each_predicate_follow_zipf():
    counts = np.zeros(kg.OBJECTS)
    for r in range(300):
        counts += np.sort(np.bincount(kg.facts(np.random.default_rng(r))[:, 0], minlength=kg.OBJECTS))[::-1]
    p = 1 / np.arange(1, kg.OBJECTS + 1)
    assert counts[0] / counts.sum() == pytest.approx((p / p.sum())[0], abs=0.03)
    assert kg.largest_share(np.array([[0, 1], [0, 2], [3, 2]])) == pytest.approx(2 / 3)


def test_hidden_states_are_those_of_a_network_on_joined_embeddings():
    held = kg.begin(6, [generator(1), generator(2)])
    held["bias"] += 0.3
    states = kg.hidden_states(held)
    for s, (i, j) in itertools.product(range(2), [(0, 0), (5, 3), (63, 7)]):
        joined = torch.cat([held["subject"][s, i], held["predicate"][s, j]])
        weights = torch.cat([held["from_subject"][s], held["from_predicate"][s]])
        expected = torch.relu(joined @ weights + held["bias"][s, 0, 0])
        torch.testing.assert_close(states[s, i * kg.PREDICATES + j], expected, atol=1e-5, rtol=1e-5)


def test_size_counts_all_weights_but_embeddings():
    held = kg.begin(6, [generator(1)])
    assert kg.size(6) == sum(value.numel() for name, value in held.items() if name not in ("subject", "predicate"))


def test_facts_are_memorised_and_moved_ones_are_not():
    found = kg.memorise(graphs(), 64, [5, 60, 150], 60, generator)
    assert (found.rate[-1] < 0.05).all() and (found.rate[0] > 0.3).all() and (np.diff(found.loss, axis=0) < 0).all()
    assert found.wrong.mean(axis=1) == pytest.approx(found.rate[1]), "what is kept is the checkpoint asked for"
    assert found.hidden.shape == (2, 512, 64) and np.allclose(found.softmax.sum(-1), 1, atol=1e-5)
    moved = kg.memorise(graphs(), 64, [150], 150, generator, shuffle=lambda s: generator(50 + s))
    alone = [1 - kg.largest_share(graph) for graph in graphs()]
    assert moved.rate[-1] == pytest.approx(alone, abs=0.06)


def test_best_width_finds_a_planted_optimum():
    epochs = np.array([1, 1000])
    widths, losses = (2, 8, 32), (2.0, 1.0, 3.0)
    rest = [np.zeros(0)] * 4
    nets = [kg.Memorised(w, epochs, np.full((2, 1), v), *rest) for w, v in zip(widths, losses, strict=True)]
    width, compute = kg.best_width(nets, 0)
    assert width == 8, "at the largest compute that all three reach"
    assert compute == pytest.approx(1000 * kg.size(2), rel=0.05)
    rising = [kg.Memorised(w, epochs, np.full((2, 1), w), *rest) for w in widths]
    assert kg.best_width(rising, 0) is None, "an optimum at an end is none"


def test_matched_counts_drop_widths_with_too_few_of_a_kind():
    wrong = np.zeros((3, 200), dtype=bool)
    wrong[0, :100], wrong[1, :70], wrong[2, :10] = True, True, True
    usable, each = kg.matched_counts(wrong)
    assert usable.tolist() == [True, True, False] and each == 70


@given(st.integers(0, 50))
def test_areas_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    wrong = rng.random(60) < 0.3
    wrong[:2] = True, False
    score = np.round(wrong + rng.standard_normal(60), 1)  # rounded: ties
    assert auroc(score, wrong) == pytest.approx(roc_auc_score(wrong, score))
    assert detectors.average_precision(score, wrong) == pytest.approx(average_precision_score(wrong, score))


def test_a_blind_detector_has_the_share_of_wrong_as_its_precision_and_a_half_as_its_area():
    rng = np.random.default_rng(3)
    wrong, score = rng.random(20_000) < 0.2, rng.random(20_000)
    assert detectors.average_precision(score, wrong) == pytest.approx(0.2, abs=0.01)
    assert auroc(score, wrong) == pytest.approx(0.5, abs=0.02)


def test_probes_find_what_is_there_and_nothing_else():
    rng = np.random.default_rng(4)
    z = rng.standard_normal((400, 6))
    wrong = z[:, 0] + 0.3 * rng.standard_normal(400) > 0
    assert detectors.probe_auroc(z, wrong) > 0.95 and detectors.probe_auroc(z, wrong, "network") > 0.9
    assert abs(detectors.probe_auroc(z, rng.permutation(wrong)) - 0.5) < 0.12
    wide, coins = rng.standard_normal((80, 40)), rng.random(80) < 0.5  # on its own half a probe would find all of these
    assert abs(detectors.probe_auroc(wide, coins) - 0.5) < 0.2
    ring = (z[:, 0] ** 2 + z[:, 1] ** 2) > 1.4
    assert detectors.probe_auroc(z, ring, "network") > detectors.probe_auroc(z, ring) + 0.1


def test_balanced_rows_are_half_wrong_and_components_keep_the_variance():
    rng = np.random.default_rng(5)
    wrong = rng.random(300) < 0.2
    picked = detectors.balanced(wrong, 40, rng)
    assert len(set(picked)) == 80 and wrong[picked].sum() == 40
    states = rng.standard_normal((50, 3)) * [5, 1, 0.1]
    kept = detectors.leading(states, 8)
    assert kept.shape == (50, 8) and (kept[:, 3:] == 0).all()
    assert np.corrcoef(kept[:, 0], states[:, 0])[0, 1] ** 2 > 0.95

"""Scores, selections, dynamic policies and measures of data, each on cases small enough to know the answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scalebook.errors import UserError
from scalebook.topics import data_pruning_dynamic as dynamic
from scalebook.topics import data_pruning_measures as measures
from scalebook.topics import data_pruning_metrics as metrics


def generators(count, first=0):
    return [torch.Generator().manual_seed(first + i) for i in range(count)]


@pytest.fixture
def blobs():
    """Four well separated classes in five dimensions, 40 each; the first 8 rows carry wrong labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(160) % 4
    x = 3 * np.eye(5)[labels] + 0.3 * rng.standard_normal((160, 5))
    noisy = labels.copy()
    noisy[:8] = (noisy[:8] + 1) % 4
    return torch.tensor(x, dtype=torch.float32), torch.tensor(labels), torch.tensor(noisy)


# ---- selections and scores


def test_keep_takes_the_ends_of_the_ranking():
    scores = np.array([0.3, 0.9, 0.1, 0.5])
    assert metrics.keep(scores, 2, "hard").tolist() == [1, 3]
    assert metrics.keep(scores, 2, "easy").tolist() == [2, 0]


def test_balance_gives_every_class_its_share():
    scores, labels = np.arange(20.0), np.repeat([0, 1], 10)
    assert (labels[metrics.keep(scores, 8, "hard")] == 1).all()
    kept = metrics.keep(scores, 8, "hard", labels, 0.5)
    assert len(set(kept)) == 8 and (labels[kept] == 0).sum() == 2 and set(kept[labels[kept] == 0]) == {8, 9}


@pytest.mark.parametrize("given", [(0, "hard"), (5, "hard"), (2, "middle")])
def test_keep_refuses_what_is_not_there(given):
    with pytest.raises(UserError, match="give 1 to 4"):
        metrics.keep(np.arange(4.0), *given)


def test_cross_entropy_is_torchs():
    logits, labels = torch.randn(2, 6, 4), torch.randint(4, (2, 6))
    expected = torch.stack([torch.nn.functional.cross_entropy(logits[i], labels[i]) for i in range(2)])
    assert torch.allclose(metrics.cross_entropy(logits, labels), expected)


def test_wrong_labels_are_the_hardest_under_every_learned_score(blobs):
    x, _, noisy = blobs
    scores = metrics.learned_scores(x, noisy, torch.arange(160)[None], generators(1), (5, 16, 4))
    for name in ("EL2N", "margin"):
        assert set(metrics.keep(scores[name][0], 8, "hard")) == set(range(8)), name
    assert scores["EL2N"].max() <= np.sqrt(2) + 1e-6
    assert (scores["entropy"] >= 0).all() and (scores["forgetting"] >= 0).all()


def test_memorisation_is_high_for_what_only_its_own_label_explains(blobs):
    x, _, noisy = blobs
    found = metrics.memorisation(x, noisy, torch.arange(160), generators(1)[0], 24, (5, 48, 4))
    assert found[:8].mean() > 0.2 and abs(found[8:].mean()) < 0.05


def test_students_learn_from_clean_rows_and_all_arms_of_a_replicate_start_alike(blobs):
    x, labels, _ = blobs
    rows = torch.stack([torch.stack([torch.arange(100), torch.arange(100), torch.arange(60).repeat(2)[:100]])] * 2)
    tests = torch.arange(100, 160).expand(2, -1)
    errors = metrics.student_errors(x, labels, rows, tests, generators(2), generators(2, 50), (5, 16, 4))
    assert errors.shape == (2, 3) and errors.max() < 0.05
    assert np.array_equal(errors[:, 0], errors[:, 1])


def test_prototype_distance_is_largest_between_the_clusters():
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.eye(6)[:3], 30, axis=0) * 4 + 0.1 * rng.standard_normal((90, 6))
    between = 2 * np.eye(6)[:1] + 2 * np.eye(6)[1:2] + 0.1 * rng.standard_normal((1, 6))
    found = metrics.prototype_distance(np.vstack([clusters, between]), 0, prototypes=3, components=4)
    assert found.argmax() == 90


# ---- policies that prune while training


def test_loss_groups_are_k_means():
    from sklearn.cluster import KMeans

    losses = np.random.default_rng(2).exponential(size=2000)
    found = dynamic.loss_groups(losses, 5, np.random.default_rng(0))
    theirs = KMeans(5, n_init=10, random_state=0).fit(losses[:, None])
    means = np.array([losses[found == g].mean() for g in range(5)])
    assert (np.diff(means) > 0).all()
    assert ((losses - means[found]) ** 2).sum() == pytest.approx(theirs.inertia_, rel=2e-3)


def test_equal_losses_are_one_group_and_two_values_are_two():
    assert dynamic.loss_groups(np.full(10, 3.0), 5, np.random.default_rng(0)).max() == 0
    assert dynamic.loss_groups(np.array([1.0, 3, 1, 3]), 5, np.random.default_rng(0)).tolist() == [0, 1, 0, 1]


def test_the_window_slides_from_easy_to_hard_and_ends_with_everything():
    losses = np.repeat(np.arange(5.0), 20)
    policy, rng = dynamic.Seta(epochs=16), np.random.default_rng(0)
    visited = [sorted(set(losses[policy(epoch, losses, rng)])) for epoch in range(16)]
    assert visited[:5] == [[0, 1], [1, 2], [2, 3], [3, 4], [0, 1]]
    assert all(len(v) == 5 for v in visited[14:]) and not any(len(v) == 5 for v in visited[:14])
    assert policy.seen[0].tolist()[2:] == [0, 0, 0] and policy.seen[15].sum() == 90
    backwards = dynamic.Seta(order=-1)
    assert sorted(set(losses[backwards(0, losses, rng)])) == [3, 4]


def test_nothing_known_means_nothing_to_slide_over():
    assert len(dynamic.Seta()(1, np.full(100, 3.0), np.random.default_rng(0))) == 90


@pytest.mark.parametrize(("part", "expected"), [("easy", 4.5), ("middle", 44.5), ("hard", 94.5)])
def test_static_halves(part, expected):
    losses, rng = np.arange(100.0), np.random.default_rng(0)
    policy = dynamic.Static(part, 9)
    assert len(policy(0, losses, rng)) == len(policy(15, losses, rng)) == 90
    chosen = np.concatenate([losses[policy(1, losses, rng)] for _ in range(60)])
    assert len(chosen) == 540 and abs(chosen.mean() - expected) < 6


def test_infobatch_keeps_the_expected_gradient():
    losses, rng = np.concatenate([np.zeros(50), np.full(50, 2.0)]), np.random.default_rng(0)
    sums = []
    for _ in range(400):
        places, weights = dynamic.infobatch()(0, losses, rng)
        sums.append((weights.sum(), (places >= 50).sum()))
    assert np.mean([s for s, _ in sums]) == pytest.approx(100, rel=0.02) and all(hard == 50 for _, hard in sums)
    assert len(dynamic.infobatch()(15, losses, rng)[0]) == 100


def test_blindfolded_visits_as_much_and_knows_nothing():
    losses, rng = np.repeat(np.arange(5.0), 200), np.random.default_rng(0)
    seen = losses[dynamic.blindfolded(dynamic.Seta())(0, losses, rng)]
    assert abs(seen.mean() - 2) < 0.3


def test_random_like_copies_the_visits():
    policy = dynamic.random_like(np.array([7, 3]))
    assert [len(policy(e, np.zeros(20), np.random.default_rng(0))) for e in (0, 1)] == [7, 3]


def test_a_course_counts_its_visits_and_learns(blobs):
    x, labels, _ = blobs
    both = torch.stack([x, x]), torch.stack([labels, labels])
    rngs = [np.random.default_rng(r) for r in range(2)]
    plan = [dynamic.everything, dynamic.random_like(np.full(16, 100))]
    course = dynamic.train_course(*both, plan, generators(2), rngs, *both, batch=16, sizes=(5, 16, 4))
    assert course.visits.tolist() == [[160] * 16, [100] * 16]
    assert course.error.max() < 0.05


def test_a_network_in_a_stack_is_not_moved_by_its_neighbours(blobs):
    x, labels, _ = blobs

    def run(neighbour):
        both = torch.stack([x, x]), torch.stack([labels, labels])
        rngs = [np.random.default_rng(r) for r in range(2)]
        plan = [dynamic.random_like(np.full(16, 33)), neighbour]
        return dynamic.train_course(*both, plan, generators(2), rngs, *both, epochs=2, batch=16, sizes=(5, 16, 4)).error[0]

    assert run(dynamic.everything) == run(dynamic.random_like(np.full(16, 5)))


def test_the_stacked_update_is_adamw_with_rests():
    """Against the rule of Loshchilov and Hutter 2019 written out for one number at a time."""
    start = np.random.default_rng(1).standard_normal(2)
    stacked = torch.tensor(start, dtype=torch.float64)[:, None, None].clone()
    update = dynamic._Update([stacked])
    w, m, v, steps = start.copy(), np.zeros(2), np.zeros(2), np.zeros(2)
    for step, active in enumerate(([True, True], [True, False], [True, True], [False, True])):
        gradient = np.random.default_rng(step).standard_normal(2)
        update([torch.tensor(gradient)[:, None, None]], torch.full((2,), 0.01), torch.tensor(active))
        for i in np.flatnonzero(active):
            steps[i] += 1
            m[i] = 0.9 * m[i] + 0.1 * gradient[i]
            v[i] = 0.999 * v[i] + 0.001 * gradient[i] ** 2
            w[i] -= 0.01 * dynamic.DECAY * w[i]
            w[i] -= 0.01 * m[i] / (1 - 0.9 ** steps[i]) / (np.sqrt(v[i] / (1 - 0.999 ** steps[i])) + 1e-8)
    assert stacked.flatten().numpy() == pytest.approx(w, rel=1e-5)


# ---- measures


def test_vendi_counts_different_items():
    assert measures.vendi(np.eye(7)) == pytest.approx(7)
    assert measures.vendi(np.ones((5, 3))) == pytest.approx(1)
    assert measures.vendi(np.repeat(np.eye(4), 6, axis=0)) == pytest.approx(4)


def test_vendi_is_the_same_from_either_kernel():
    x = np.random.default_rng(0).standard_normal((12, 5))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    share = np.clip(np.linalg.eigvalsh(unit @ unit.T) / 12, 1e-15, None)
    assert measures.vendi(x) == pytest.approx(np.exp(-(share * np.log(share)).sum()))


def test_neighbour_distance_on_a_line():
    assert measures.neighbour_distance(np.arange(4.0)[:, None], 1) == pytest.approx(1)
    assert measures.neighbour_distance(np.arange(4.0)[:, None], 2) == pytest.approx(1.5)


def test_mmd_is_near_zero_for_the_same_source_and_not_for_another():
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((3, 300, 4))
    assert abs(measures.mmd(a, b)) < 0.005
    assert measures.mmd(c + 1, b) > 0.1


def test_image_measures_see_duplicates():
    rng = np.random.default_rng(0)
    images, reference = rng.random((100, 8)), rng.random((100, 8))
    doubled = np.repeat(images[:50], 2, axis=0)
    found = measures.image_measures(doubled, reference)
    assert found[5] == 0.5 and found[1] < measures.image_measures(images, reference)[1]


def test_text_measures_of_a_known_text():
    blocks = np.arange(100).reshape(2, 50)
    share, zipf, entropy, _, information = measures.text_measures(blocks)
    assert share == 1 and zipf == pytest.approx(0, abs=1e-9) and entropy == pytest.approx(np.log2(100))
    assert information == pytest.approx(np.log2(100**2 / 98))


def test_zipf_exponent_of_a_zipf_text():
    ranks = np.arange(1, 101)
    text = np.repeat(ranks, (10000 // ranks).astype(int))
    text = np.random.default_rng(0).permutation(text)
    assert measures.text_measures(measures.blocks_of(text))[1] == pytest.approx(1, abs=0.02)


def test_ridge_predicts_a_line_and_a_leading_axis_is_a_loop():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 40, 2))
    y = x @ np.array([2.0, -1.0]) + 5
    together = measures.ridge_predict(x, y, x, 1e-6)
    assert together == pytest.approx(y, abs=1e-4)
    assert measures.ridge_predict(x[1], y[1], x[1], 1.0) == pytest.approx(measures.ridge_predict(x, y, x, 1.0)[1])


def test_r_squared():
    truth = np.array([1.0, 2, 3])
    assert measures.r_squared(truth, truth) == 1 and measures.r_squared(truth, np.full(3, 2.0)) == 0

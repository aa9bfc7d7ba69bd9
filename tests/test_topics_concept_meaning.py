"""Axes, relations and lobes of the geometry of concepts, against scikit-learn, brute force and planted cases."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, matthews_corrcoef, roc_auc_score
from sklearn.neighbors import NearestNeighbors

from scalebook.topics import concept_relations as relations
from scalebook.topics import feature_lobes as lobes
from scalebook.topics import semantic_axes as semantic
from scalebook.topics import word_vectors


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# axes ---------------------------------------------------------------------------------------------------------------


def test_the_share_of_three_components_is_that_of_pca(rng):
    x = rng.standard_normal((200, 9)) @ rng.standard_normal((9, 9))
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    pca = PCA().fit(standard)
    assert semantic.top_share(x) == pytest.approx(pca.explained_variance_ratio_[:3].sum())
    assert semantic.top_share(np.stack([x, x[::-1]])) == pytest.approx(2 * [pca.explained_variance_ratio_[:3].sum()])
    loadings = semantic.oriented_loadings(x, by=4)
    assert np.abs(loadings) == pytest.approx(np.abs(pca.components_[0])) and loadings[4] > 0


def test_axes_have_length_one_and_point_to_the_first_pole():
    axes = semantic.axes_between(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 0.0], [0.0, 4.0]]))
    assert axes == pytest.approx(np.array([[1, 0], [0, -1]]))


def test_the_basic_interval_turns_the_distances_round(rng):
    found = semantic.basic_interval(1.0, np.linspace(1.1, 1.5, 401), n=7)
    assert (found.low, found.high, found.n) == pytest.approx((0.51, 0.89, 7))
    # where resampling inflates a statistic it still covers: the largest variance of a cloud
    hits = 0
    for _ in range(40):
        x = rng.standard_normal((100, 6)) * [1.6, 1, 1, 1, 1, 1]
        again = np.array([top_variance(x[rng.integers(100, size=100)]) for _ in range(120)])
        found = semantic.basic_interval(top_variance(x), again)
        hits += found.low <= 2.56 <= found.high
    assert hits >= 30


def top_variance(x):
    return np.linalg.eigvalsh(np.cov(x, rowvar=False))[-1]


def test_neighbour_shifts_against_scikit_learn(rng):
    cloud = relations.unit(rng.standard_normal((300, 8)))
    axes = relations.unit(rng.standard_normal((3, 8)))
    words, steps = np.array([4, 77, 150]), np.array([0.3, 0.6, 0.9])
    expected = np.zeros((3, 8))
    for a in range(3):
        for w in words:
            rest = np.delete(cloud, w, axis=0)
            search = NearestNeighbors(n_neighbors=10, metric="cosine").fit(rest)
            near = [rest[search.kneighbors(x[None])[1][0]] for x in (cloud[w], cloud[w] + steps[a] * axes[a])]
            expected[a] += (near[1] - near[0]).mean(axis=0) / len(words)
    assert semantic.neighbour_shifts(words, cloud, axes, steps) == pytest.approx(expected)


def test_orthogonalised_axes_are_at_right_angles_and_of_length_one(rng):
    axes = relations.unit(rng.standard_normal((5, 12)))
    rest = semantic.orthogonalised(axes)
    off = ~np.eye(5, dtype=bool)
    assert np.einsum("ad,abd->ab", axes, rest) == pytest.approx(np.zeros((5, 5)), abs=1e-12)
    assert np.linalg.norm(rest, axis=-1)[off] == pytest.approx(1)
    assert np.einsum("bd,abd->ab", axes, rest)[off] == pytest.approx(np.sqrt(1 - (axes @ axes.T)[off] ** 2))


def test_pairs_fit_is_a_regression_over_pairs_without_the_diagonal(rng):
    x, y = rng.standard_normal((2, 6, 6))
    off = ~np.eye(6, dtype=bool)
    r, slope = semantic.pairs_fit(x, y, np.arange(6.0)[None])
    assert r[0] == pytest.approx(np.corrcoef(x[off], y[off])[0, 1])
    assert slope[0] == pytest.approx(np.polyfit(x[off], y[off], 1)[0])
    drawn = np.array([0, 0, 1, 2, 2, 5])
    pairs = [(a, b) for a in drawn for b in drawn if a != b]
    xs, ys = ([m[p] for p in pairs] for m in (x, y))
    assert semantic.pairs_fit(x, y, drawn[None])[1][0] == pytest.approx(np.polyfit(xs, ys, 1)[0])


# relations ----------------------------------------------------------------------------------------------------------


def test_relations_are_25_different_pairs_of_known_words():
    for name in relations.RELATIONS:
        first, second = relations.pairs(name)
        assert len(first) == len(second) == len(set(zip(first, second, strict=True))) == 25
        word_vectors.token_vectors(first + second)  # raises for words that are not one token


def test_hard_auc_by_brute_force(rng):
    first, second = rng.standard_normal((2, 7, 5))
    scores, truth = [], []
    for i in range(7):
        for k in range(7):
            others = [j for j in range(7) if j not in (i, k)]
            direction = np.sum([second[j] - first[j] for j in others], axis=0)
            candidate = second[k] - first[i]
            scores.append(candidate @ direction / np.linalg.norm(candidate) / np.linalg.norm(direction))
            truth.append(i == k)
    assert relations.hard_auc(first, second) == pytest.approx(roc_auc_score(truth, scores))


def test_constant_shifts_are_perfect_parallelograms(rng):
    first = 0.1 * rng.standard_normal((12, 6))
    second = first + np.array([3.0, 0, 0, 0, 0, 0])
    assert relations.hard_auc(first, second) == 1
    assert relations.mean_cosine(second - first) == pytest.approx(1)
    assert relations.easy_auc(second - first, rng.standard_normal((20, 6))) == 1


def test_distractors_find_a_planted_plane_and_removal_helps_there_only():
    gains = {}
    for kind in ("concentrated", "isotropic"):
        first, second = relations.synthetic_relations(kind, np.random.default_rng(2))
        away = relations.distractors(list(second[1:] - first[1:]))
        assert away @ away.T == pytest.approx(np.eye(64), abs=1e-9)
        cut = [relations.without(side[0], away[:2]) for side in (first, second)]
        assert cut[0] @ away[:2].T == pytest.approx(np.zeros((25, 2)), abs=1e-9)
        gains[kind] = relations.hard_auc(*cut) - relations.hard_auc(first[0], second[0])
    assert gains["concentrated"] > 0.3 and abs(gains["isotropic"]) < 0.05
    with pytest.raises(ValueError, match="isotropic"):
        relations.synthetic_relations("pink", np.random.default_rng(2))


def test_distractors_ignore_the_means_of_relations(rng):
    d = rng.standard_normal((3, 40, 10))
    moved = d + 50 * rng.standard_normal((3, 1, 10))
    both = [relations.distractors(list(x)) for x in (d, moved)]
    assert np.abs(np.sum(both[0] * both[1], axis=1)) == pytest.approx(np.ones(10))


# lobes --------------------------------------------------------------------------------------------------------------


def test_tokens_are_numbered_by_count():
    numbers = lobes.token_numbers("x x x y y z", 3)
    assert numbers.tolist() == [1, 1, 1, 2, 2, 0]


def test_hidden_states_are_sums_of_rows():
    tokens = np.array([0, 1, 2, 3, 4, 1, 2, 0])
    p = {"rows": torch.randn(1, 4 * 5, 6, generator=generator()), "b": torch.randn(1, 1, 6, generator=generator(1))}
    found = lobes.activations(p, tokens, np.array([[5]]), 2)[0]
    expected = p["b"][0, 0] + sum(p["rows"][0, place * 5 + tokens[5 - 4 + place]] for place in range(4))
    assert found[0].numpy() == pytest.approx(torch.relu(expected).numpy(), abs=1e-6)
    assert found.shape == (2, 6)


def test_readers_learn_a_text_of_period_three():
    tokens = np.tile([0, 1, 2], 200)
    p = lobes.train_readers(tokens, 16, 3, [generator(1), generator(2)], steps=150, rate=1e-2)
    at = np.array([[10, 11, 12], [10, 11, 12]])
    h = lobes.activations(p, tokens, at, 1)
    assert (h @ p["u"] + p["c"]).argmax(dim=-1).tolist() == [[1, 2, 0], [1, 2, 0]]


def test_gaussian_twins_have_mean_and_covariance_and_shared_parts_only_when_asked():
    g = generator(3)
    between = torch.randn(400, 1, 5, generator=g)
    x = (torch.tensor([1.0, 2, 3, 4, 5]) + between + 0.5 * torch.randn(400, 20, 5, generator=g)).flatten(0, 1)
    for documents, shared in ((False, 0.25 * 1.25 / 5), (True, 1.0)):
        twin = lobes.gaussian_like(x, 20, documents, generator(4))
        assert twin.mean(dim=0).numpy() == pytest.approx(x.mean(dim=0).numpy(), abs=0.15)
        assert torch.cov(twin.T).numpy() == pytest.approx(torch.cov(x.T).numpy(), abs=0.25)
        spread_of_means = twin.view(400, 20, 5).mean(dim=1).var(dim=0).mean().item()
        assert spread_of_means == pytest.approx(shared, abs=0.15)


def test_dictionaries_find_planted_atoms_at_the_wanted_sparsity():
    g = generator(5)
    truth = torch.nn.functional.normalize(torch.randn(32, 24, generator=g), dim=-1)
    codes = (torch.rand(6000, 32, generator=g) < 0.06).float() * (1 + torch.rand(6000, 32, generator=g))
    x = codes @ truth
    found = lobes.train_dictionaries(x[None], 48, 2.5, 1500, [generator(6)], rate=3e-3)
    assert found.active[0] == pytest.approx(2.5, rel=0.25)
    assert found.decoder.norm(dim=-1).numpy() == pytest.approx(np.ones((1, 48)), abs=1e-5)
    assert (truth @ found.decoder[0].T).max(dim=1).values.median() > 0.9
    assert found.explained[0] > 0.7


def test_phi_is_the_correlation_of_binary_columns(rng):
    seen = rng.random((60, 4)) < [0.2, 0.5, 0.7, 0.5]
    found = lobes.phi(seen.astype(float))
    assert found == pytest.approx(np.corrcoef(seen.T))
    assert found[0, 1] == pytest.approx(matthews_corrcoef(seen[:, 0], seen[:, 1]))
    codes = torch.from_numpy(seen)
    assert lobes.occurrences(codes, 15).tolist() == [seen[k : k + 15].any(axis=0).tolist() for k in (0, 15, 30, 45)]


def test_spectral_labels_find_blobs():
    x, truth = make_blobs(90, centers=3, n_features=6, cluster_std=0.5, random_state=3)
    near = np.exp(-np.sum((x[:, None] - x[None]) ** 2, axis=-1) / 10)
    assert adjusted_rand_score(truth, lobes.spectral_labels(near, 3)) == 1


def test_the_z_score_of_mutual_information_is_that_of_its_adjusted_form(rng):
    one = rng.integers(4, size=120)
    other = np.where(rng.random(120) < 0.5, one, rng.integers(4, size=120))
    ami, z = lobes.agreement(one, other, np.random.default_rng(1), shuffles=150)
    null = np.random.default_rng(1).permuted(np.tile(other, (150, 1)), axis=1)
    values = [adjusted_mutual_info_score(one, row) for row in null]
    assert ami == pytest.approx(adjusted_mutual_info_score(one, other))
    assert z == pytest.approx((ami - np.mean(values)) / np.std(values, ddof=1))

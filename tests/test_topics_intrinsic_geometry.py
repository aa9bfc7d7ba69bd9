"""Dimension estimators, manifolds, sharpness and persistence: closed forms and other code."""

import itertools

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from scalebook.errors import UserError
from scalebook.topics import intrinsic_geometry as geometry
from scalebook.topics import intrinsic_topology as topology


def rng(seed=0):
    return np.random.default_rng(seed)


def test_neighbour_distances_equal_scikit_learn():
    points = rng().standard_normal((200, 5))
    theirs = NearestNeighbors(n_neighbors=8).fit(points).kneighbors(points)[0][:, 1:]
    np.testing.assert_allclose(geometry.neighbour_distances(points, 7), theirs, rtol=1e-9)


def test_neighbour_distances_survive_a_far_origin():
    points = 1e6 + rng().standard_normal((100, 3))
    theirs = NearestNeighbors(n_neighbors=3).fit(points).kneighbors(points)[0][:, 1:]
    np.testing.assert_allclose(geometry.neighbour_distances(points, 2), theirs, rtol=1e-6)


def test_more_neighbours_than_points_are_refused():
    with pytest.raises(UserError, match="200 neighbours asked for among 10 points"):
        geometry.neighbour_distances(np.zeros((10, 2)), 200)


@pytest.mark.parametrize("d", [1, 2, 5, 12])
def test_ratios_from_the_exact_law_give_back_the_dimension(d):
    ratios = rng(d).random(40_000) ** (-1 / d)  # P(ratio > x) = x^-d
    assert geometry.dimension_of_ratios(ratios) == pytest.approx(d, rel=0.02)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_both_estimators_find_the_dimension_of_a_flat_torus(d):
    u = rng(d).random((3000, d))
    torus = np.concatenate([np.cos(2 * np.pi * u), np.sin(2 * np.pi * u)], axis=1)  # no edge
    assert geometry.two_nn(torus) == pytest.approx(d, rel=0.07)
    assert geometry.likelihood_dimension(torus, 10) == pytest.approx(d, rel=0.07)


def test_likelihood_estimator_equals_the_formula_written_point_by_point():
    points = rng(3).standard_normal((60, 4))
    inverse = []
    for i in range(60):
        r = np.sort(np.linalg.norm(points - points[i], axis=1))[1:7]
        inverse.append(np.mean([np.log(r[-1] / one) for one in r[:-1]]))
    assert geometry.likelihood_dimension(points, 6) == pytest.approx(1 / np.mean(inverse), rel=1e-9)


def test_two_nn_leaves_doubled_points_out():
    points = rng(1).random((500, 2))
    assert geometry.two_nn(np.concatenate([points, points[:50]])) == pytest.approx(geometry.two_nn(points), abs=0.3)
    with pytest.raises(UserError, match="0 points differ"):
        geometry.two_nn(np.zeros((30, 2)))


def test_a_manifold_has_its_dimension_mean_zero_and_fixed_size():
    for d in (1, 2, 3):
        cloud = geometry.manifold(d, 32, rng(d)).lift(rng(9).random((2000, d)))
        assert geometry.two_nn(cloud) == pytest.approx(d, rel=0.12)
        assert (cloud**2).sum(axis=1).mean() == pytest.approx(geometry.SINES, rel=0.1)


def test_the_ambient_dimension_changes_no_distance():
    u = rng(1).random((50, 3))
    near, far = (geometry.manifold(3, size, rng(4)).lift(u) for size in (16, 64))
    np.testing.assert_allclose(geometry.squared_distances(near, near), geometry.squared_distances(far, far), atol=1e-9)
    with pytest.raises(UserError, match="16 sines"):
        geometry.manifold(3, 8, rng())


def test_label_frequency_counts_half_waves_on_a_line():
    mark, u = geometry.label(1, rng(5)), np.linspace(0, 1, 20_001)[:, None]
    for frequency in (2, 8, 32):
        crossings = np.abs(np.diff(mark(u, frequency))).sum()
        assert crossings == pytest.approx(frequency, abs=1.01)
    assert mark(rng(1).random((4000, 1)), 4).mean() == pytest.approx(0.5, abs=0.05)


def test_sharpness_of_a_step_on_a_line():
    points = np.array([[0.0], [1.0], [1.5], [4.0]])
    labels = np.array([0, 0, 1, 1])
    assert geometry.label_sharpness(points, labels) == pytest.approx(1 / 0.5)
    every = np.mean([1 / 1.5, 1 / 4, 1 / 0.5, 1 / 3])
    assert geometry.label_sharpness(points, labels, closest=1.0) == pytest.approx(every)
    assert geometry.label_sharpness(points, labels, closest=0.5) == pytest.approx((1 / 0.5 + 1 / 1.5) / 2)
    assert geometry.label_sharpness(3 * points, labels) == pytest.approx(2 / 3)
    with pytest.raises(UserError, match="no pair"):
        geometry.label_sharpness(points, np.ones(4))


def test_the_largest_sharpness_grows_with_the_power_of_pairs_that_the_chapter_derives():
    """K_max ~ (n^2 f)^(1/(d+1)): on a line four times the points give 4 times the sharpness."""
    found = {n: [] for n in (250, 1000)}
    for r in range(60):
        mark = geometry.label(1, rng(r))
        u = rng(100 + r).random((1000, 1))
        for n in found:
            found[n].append(np.log(geometry.label_sharpness(u[:n], mark(u, 4)[:n])))
    assert np.mean(found[1000]) - np.mean(found[250]) == pytest.approx(np.log(4), abs=0.4)


def test_nearest_error_equals_scikit_learn():
    from sklearn.neighbors import KNeighborsClassifier

    g = rng(2)
    x, test, y, truth = g.random((300, 3)), g.random((80, 3)), g.integers(2, size=(300, 2)), g.integers(2, size=(80, 2))
    found = geometry.nearest_error(x, y, test, truth, (50, 300))
    for i, n in enumerate((50, 300)):
        for j in range(2):
            theirs = KNeighborsClassifier(1).fit(x[:n], y[:n, j]).score(test, truth[:, j])
            assert found[i, j] == pytest.approx(1 - theirs)


def reduced(distances):
    """Return births and deaths of loops by the textbook reduction of the boundary matrix, with all simplices."""
    n = len(distances)
    simplices = [((i,), 0.0) for i in range(n)]
    for size in (2, 3):
        for one in itertools.combinations(range(n), size):
            simplices.append((one, max(distances[i, j] for i, j in itertools.combinations(one, 2))))
    simplices.sort(key=lambda s: (s[1], len(s[0]), s[0]))
    index = {one: k for k, (one, _) in enumerate(simplices)}
    low, found = {}, []
    for one, t in simplices:
        column = {index[one[:k] + one[k + 1 :]] for k in range(len(one))} if len(one) > 1 else set()
        while column and max(column) in low:
            column = column ^ low[max(column)]
        if column:
            low[max(column)] = column
            birth = simplices[max(column)][1]
            if len(one) == 3 and t > birth:
                found.append((birth, t))
    return np.array(sorted(found)).reshape(-1, 2)


@pytest.mark.parametrize(("d", "n"), [(2, 20), (3, 18), (6, 16), (2, 4)])
def test_loops_equal_the_textbook_reduction(d, n):
    points = rng(d + n).standard_normal((n, d))
    distances = np.sqrt(geometry.squared_distances(points, points))
    ours = topology.loop_lives(distances)
    ours = ours[np.lexsort((ours[:, 1], ours[:, 0]))]
    np.testing.assert_allclose(ours, reduced(distances), atol=1e-12)


def test_a_regular_polygon_has_one_loop_of_known_life():
    n = 30
    angle = 2 * np.pi * np.arange(n) / n
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    (loop,) = topology.loop_lives(np.sqrt(geometry.squared_distances(ring, ring)))
    np.testing.assert_allclose(loop, [2 * np.sin(np.pi / n), np.sqrt(3)], atol=1e-9)  # a triangle ends it


def test_pieces_die_at_the_gaps_of_a_line():
    points = np.array([[0.0], [1.0], [3.0], [7.0], [7.5]])
    np.testing.assert_allclose(topology.piece_lives(np.abs(points - points.T)), [0.5, 1, 2, 4])
    with pytest.raises(UserError, match="at most 80"):
        topology.loop_lives(np.ones((100, 100)))


def test_summary_does_not_know_the_scale_and_small_clouds_are_zero():
    points = rng(1).standard_normal((30, 3))
    np.testing.assert_allclose(topology.summary(points), topology.summary(7 * points + 3), rtol=1e-6)
    assert topology.summary(points[:3]) == (0.0, 0.0)


def test_roughness_and_principal_coordinates():
    points = np.array([[0.0], [0.1], [1.0], [1.1]])
    assert topology.roughness(points, np.array([0, 0, 1, 1])) == 0
    assert topology.roughness(points, np.array([0, 1, 0, 1])) == 1
    flat = rng(2).standard_normal((40, 2)) @ rng(3).standard_normal((2, 20))
    np.testing.assert_allclose(
        geometry.squared_distances(topology.principal(flat, 2), topology.principal(flat, 2)),
        geometry.squared_distances(flat, flat), atol=1e-9,
    )  # fmt: skip

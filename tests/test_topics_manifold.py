"""Predictors on curved surfaces against scikit-learn, exact interpolation errors and the geometry of the lift."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsRegressor

from scalebook.errors import UserError
from scalebook.topics import manifold


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_nearest_neighbours_are_those_of_scikit_learn():
    x, asked = rng(1).standard_normal((300, 16)), rng(2).standard_normal((80, 16))
    y, truth = np.sin(x[:, 0]), np.sin(asked[:, 0])
    found = manifold.nearest_neighbour_errors(x, y, asked, truth, (20, 100, 300))
    for size, error in zip((20, 100, 300), found, strict=True):
        other = KNeighborsRegressor(n_neighbors=1).fit(x[:size], y[:size]).predict(asked)
        assert error == pytest.approx(np.mean((other - truth) ** 2), rel=1e-12)


def test_interpolated_parabola_errs_by_the_fourth_power_of_the_spacing():
    # between knots at distance h the error of u^2 is x (h - x), whose mean square is h^4/30
    knots, asked = np.linspace(0, 1, 11)[:, None], np.linspace(0, 1, 100_001)[:, None]
    found = manifold.linear_errors(knots, knots[:, 0] ** 2, asked, asked[:, 0] ** 2, (11,))
    assert found[0] == pytest.approx(0.1**4 / 30, rel=1e-4)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_flat_function_is_interpolated_without_error(d):
    u, asked = rng(3).uniform(size=(200, d)), rng(4).uniform(size=(100, d))
    slope = np.arange(1.0, d + 1)
    errors = manifold.linear_errors(u, u @ slope, asked, asked @ slope, (50, 200))
    assert np.abs(errors).max() < 1e-25  # points outside the mesh are left out, for both sizes


def test_linear_errors_ask_every_size_the_same_questions():
    u = np.concatenate([[[0.4], [0.6]], rng(5).uniform(size=(50, 1))])
    asked = np.array([[0.1], [0.5]])  # the first is outside the first mesh
    y, truth = u[:, 0] ** 2, asked[:, 0] ** 2
    first = manifold.linear_errors(u, y, asked, truth, (2, 52))[1]
    assert first == pytest.approx(manifold.linear_errors(u, y, asked[1:], truth[1:], (52,))[0])


def test_lift_is_curved_and_never_shrinks():
    lift = manifold.draw_lift(rng(6), 3, 16)
    u, v = rng(7).uniform(size=(2, 500, 3))
    before, after = np.linalg.norm(u - v, axis=1), np.linalg.norm(lift(u) - lift(v), axis=1)
    assert lift(u).shape == (500, 16) and (after >= before * (1 - 1e-12)).all()
    assert np.linalg.norm(lift((u + v) / 2) - (lift(u) + lift(v)) / 2, axis=1).max() > 0.05  # not flat
    with pytest.raises(UserError, match="must be larger"):
        manifold.draw_lift(rng(0), 3, 3)


def test_targets_have_the_promised_wavelengths_and_read_their_own_coordinates():
    target = manifold.draw_target(rng(8), 2)
    assert target.waves.shape == (5, 2) and (np.linalg.norm(target.waves, axis=1) <= 2).all()
    u = rng(9).uniform(size=(10, 8))
    by_hand = np.zeros(10)
    for (first, second), phase in zip(target.waves, target.phases, strict=True):
        by_hand += np.sin(2 * np.pi * (u[:, 0] * first + u[:, 1] * second) + phase)
    assert target(u) == pytest.approx(by_hand)


def test_students_learn_a_plane_and_see_only_their_share():
    x, asked = rng(10).uniform(size=(2, 512, 4)), rng(11).uniform(size=(2, 200, 4))

    def run():
        starts, order = [torch.Generator().manual_seed(i) for i in (1, 2)], torch.Generator().manual_seed(3)
        sizes = {"width": 16, "steps": 400, "batch": 64}
        return manifold.student_errors(x, x[..., 0], asked, asked[..., 0], (8, 512), starts, order, **sizes)

    test, train = run()
    assert test.shape == train.shape == (2, 2)
    assert (test[:, 1] < 0.1 * np.var(asked[..., 0])).all() and (test[:, 0] > 3 * test[:, 1]).all()
    assert (train[:, 0] < test[:, 0]).all()
    assert np.array_equal(run(), (test, train))


def test_who_does_not_train_does_not_load_torch():
    command = "import sys; import scalebook.topics.manifold; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"

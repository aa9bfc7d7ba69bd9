"""Gradient flow of random features against an integrated equation, matrix exponentials and Marchenko and Pastur."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.linalg import expm

from scalebook.topics import gradient_flow as flow
from scalebook.topics import random_features as rf

K = np.arange(1.0, 601.0)
LAM, POWER = K**-1.4, K**-1.6


def normals(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_flow_is_the_solution_of_its_equation():
    m, n = 12, 5
    a, lam, power = normals(1, n, m), LAM[:m], POWER[:m]
    b = a * np.sqrt(lam / n)
    ran = solve_ivp(lambda t, u: -b.T @ (b @ u), (0, 30), np.sqrt(power), t_eval=[1.0, 30.0], rtol=1e-10, atol=1e-12)
    found = flow.flow_losses(a, lam, power, [n], np.array([1.0, 30.0]))[0]
    assert found == pytest.approx((ran.y**2).sum(axis=0), rel=1e-7)


def test_narrow_students_use_the_first_rows():
    a, t = normals(2, 20, 600), np.array([3.0, 50.0])
    both = flow.flow_losses(a, LAM, POWER, [8, 20], np.stack([t, t]))
    assert both[0] == pytest.approx(flow.flow_losses(a[:8], LAM, POWER, [8], t)[0])


def test_first_order_is_the_derivative():
    m, n = 6, 40
    a, lam, power, t = normals(3, n, m), LAM[:m], POWER[:m], 2.5
    wobble = a.T @ a / n - np.eye(m)

    def loss(epsilon):
        s = np.sqrt(lam)[:, None] * (np.eye(m) + epsilon * wobble) * np.sqrt(lam)
        return np.sqrt(power) @ expm(-2 * t * s) @ np.sqrt(power)

    found = flow.first_order(a, flow.first_order_weights(lam, power, [t], m))
    assert found[0] == pytest.approx((loss(1e-5) - loss(-1e-5)) / 2e-5, rel=1e-6)


def test_first_order_has_mean_zero_and_takes_most_of_the_scatter():
    weights, t = flow.first_order_weights(LAM, POWER, [4.0]), np.array([4.0])
    pairs = []
    for i in range(200):
        a = normals(1000 + i, 64, 600)
        pairs.append((flow.flow_losses(a, LAM, POWER, [64], t)[0, 0], flow.first_order(a, weights)[0]))
    loss, linear = np.array(pairs).T
    assert abs(linear.mean()) < 3 * linear.std() / np.sqrt(200)
    assert (loss - linear).std() < 0.5 * loss.std()


def test_reuse_is_the_matrix_exponential():
    m, d, t = 10, 4, 3.0
    z, lam, power = normals(4, d, m), LAM[:m], POWER[:m]
    x = z * np.sqrt(lam)
    left = expm(-t * x.T @ x / d) @ np.sqrt(power / lam)
    test, train = flow.reuse_losses(z, lam, power, np.array([t]))
    assert test[0] == pytest.approx((lam * left**2).sum(), rel=1e-9)
    assert train[0] == pytest.approx(((x @ left) ** 2).mean(), rel=1e-9)


def test_mean_flow_has_the_right_limits():
    t = np.geomspace(0.1, 1e3, 7)
    assert flow.mean_flow(LAM, POWER, 1e9, t) == pytest.approx(flow.unlimited(LAM, POWER, t), rel=1e-5)
    end = flow.mean_flow(LAM, POWER, 40, np.array([1e9]))[0]
    assert end == pytest.approx(float(flow.width_law(LAM, POWER, 40)), rel=1e-7)


def test_mean_flow_of_a_flat_spectrum_is_marchenko_pastur():
    """lam = 1: the loss is M times the mean of exp(-2 t x) over the eigenvalues of A^T A/N."""
    m, n, t = 50, 100, 1.7
    q = m / n
    low, high = (1 - np.sqrt(q)) ** 2, (1 + np.sqrt(q)) ** 2
    density = quad(lambda x: np.exp(-2 * t * x) * np.sqrt((high - x) * (x - low)) / (2 * np.pi * q * x), low, high)[0]
    assert flow.mean_flow(np.ones(m), np.ones(m), n, np.array([t]))[0] == pytest.approx(m * density, rel=1e-6)


def test_mean_flow_meets_simulation():
    t = np.geomspace(1, 1e4, 9)
    found = np.mean([flow.flow_losses(normals(i, 64, 600), LAM, POWER, [16, 64], t) for i in range(80)], axis=0)
    for losses, n in zip(found, (16, 64), strict=True):
        assert losses == pytest.approx(flow.mean_flow(LAM, POWER, n, t), rel=0.05)


def test_mean_reuse_meets_simulation():
    t = np.geomspace(0.3, 30, 6)
    found = np.mean([flow.reuse_losses(normals(i, 64, 600), LAM, POWER, t) for i in range(80)], axis=0)
    for losses, law in zip(found, flow.mean_reuse(LAM, POWER, 64, t), strict=True):
        assert losses == pytest.approx(law, rel=0.05)


def test_gap_opens_linearly_in_time_and_inversely_in_data():
    """For small t test minus train is (2 t/D) (sum lam sum p + sum p lam), by Gaussian fourth moments.

    The theory for large sizes keeps the first term only: the second is small where many directions share the variance.
    """
    t = 1e-3
    for d in (50, 200):
        test, train = flow.mean_reuse(LAM, POWER, d, np.array([t]))
        assert test[0] - train[0] == pytest.approx(2 * t / d * LAM.sum() * POWER.sum(), rel=0.01)
    drawn = [flow.reuse_losses(normals(i, 8, 600), LAM, POWER, np.array([t])) for i in range(2000)]
    gap = np.array([test[0] - train[0] for test, train in drawn]) + _zero_mean(8, 2000)
    expected = 2 * t / 8 * (LAM.sum() * POWER.sum() + (POWER * LAM).sum())
    error = gap.std() / np.sqrt(len(gap))
    assert abs(gap.mean() - expected) < 4 * error and error < 0.04 * expected


def _zero_mean(d: int, draws: int) -> np.ndarray:
    """Return w.(S - L)w of each draw: it is the gap at t = 0, its mean is zero, and it is nearly all of the scatter."""
    w = np.sqrt(POWER / LAM)
    found = [(((normals(i, d, 600) * np.sqrt(LAM)) @ w) ** 2).mean() - POWER.sum() for i in range(draws)]
    return np.array(found)


def test_reuse_ends_at_its_plateau():
    end = flow.mean_reuse(LAM, POWER, 40, np.array([1e6]))
    assert end[0][0] == pytest.approx(float(flow.reuse_plateau(LAM, POWER, 40)), rel=1e-6) and abs(end[1][0]) < 1e-9


def test_plateau_of_a_teacher_of_equal_weights_is_the_other_chapter_of_the_theory():
    d = np.array([10.0, 40.0])
    assert flow.reuse_plateau(LAM, LAM, d) == pytest.approx(rf.closed_form(LAM, np.inf, d), rel=1e-8)


def test_optimum_of_a_planted_parabola_and_off_the_grid():
    widths = np.geomspace(4, 400, 30)
    assert flow.optimum(widths, np.exp(0.1 * np.log(widths / 37) ** 2 + 2)) == pytest.approx((np.log(37), 2), rel=1e-9)
    assert np.isnan(flow.optimum(widths, 1 / widths)).all()
    for centre in (9, 180):  # the window leaves the grid below, above
        assert np.isnan(flow.optimum(widths, np.exp(0.1 * np.log(widths / centre) ** 2))).all()

"""The random-feature model against closed forms, scikit-learn, known results for flat spectra, and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from sklearn.linear_model import Ridge

from scalebook.errors import UserError
from scalebook.topics import random_features as rf


def normals(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_effective_scale_of_a_flat_spectrum():
    # n = M/(1 + kappa)
    n = np.array([1.0, 10.0, 99.0])
    assert rf.effective_scale(np.ones(100), n) == pytest.approx(100 / n - 1, rel=1e-10)
    assert rf.effective_scale(np.ones(100), 100) == 0.0


@pytest.mark.parametrize("alpha", [0.25, 1.5])
@pytest.mark.parametrize("n", [0.5, 30.0, 299.0])
def test_effective_scale_solves_its_equation(alpha, n):
    lam = rf.spectrum(300, alpha)
    other = brentq(lambda k: (lam / (lam + k)).sum() - n, 1e-12, 1e4, xtol=1e-15, rtol=1e-13)
    assert float(rf.effective_scale(lam, n)) == pytest.approx(other, rel=1e-8)


def test_effective_scale_in_the_continuum():
    # a sum from 1 on is the integral from 0 on less one half (Euler and Maclaurin)
    assert rf.effective_scale(rf.spectrum(200_000, 1.0), 100.0) * 100.5**2 == pytest.approx(np.pi**2 / 4, rel=1e-3)


def test_effective_scale_refuses_no_dimensions():
    with pytest.raises(UserError, match="above 0"):
        rf.effective_scale(np.ones(3), 0)


@pytest.mark.parametrize("samples", [20, 60])
def test_flat_spectrum_is_least_norm_regression(samples):
    """Isotropic inputs, T < M: signal M - T, noise 1 + T/(M - T) (Hastie, Montanari, Rosset and Tibshirani 2022)."""
    m = 100
    assert rf.closed_form(np.ones(m), np.inf, samples) == pytest.approx(m - samples, rel=1e-9)
    with_noise = m - samples + 0.5 * m / (m - samples)
    assert rf.closed_form(np.ones(m), np.inf, samples, 0.5) == pytest.approx(with_noise, rel=1e-9)


def test_closed_form_by_hand():
    lam = rf.spectrum(500, 0.75)
    k = float(rf.effective_scale(lam, 32))
    assert rf.closed_form(lam, 32, 64) == pytest.approx(2 * 32 * k)
    assert rf.closed_form(lam, 64, 32) == pytest.approx(2 * 32 * k)
    assert rf.closed_form(lam, 32, 64, 1.0) == pytest.approx(2 * 32 * k + 2)
    assert np.isinf(rf.closed_form(lam, 32, 32))
    assert rf.closed_form(lam[:40], 80, 80_000, 0.3) == pytest.approx(0.3, rel=1e-3)  # the plateau


@pytest.mark.parametrize(("n", "t"), [(6, 15), (15, 6)])
@pytest.mark.parametrize("ridge", [0.0, 0.02])
def test_trace_is_the_sum_over_teachers_of_fits_by_scikit_learn(n, t, ridge):
    """A trace over teachers is the sum over unit teachers: fit each by another library."""
    m = 30
    lam, maps, draws = rf.spectrum(m, 0.75), normals(1, n, m), normals(2, t, m)
    u, x = maps / np.sqrt(m), draws * np.sqrt(lam)
    total = 0.0
    for k in range(m):
        if ridge:
            theta = Ridge(alpha=ridge, fit_intercept=False, solver="svd").fit(x @ u.T, x[:, k]).coef_
        else:
            theta = np.linalg.lstsq(x @ u.T, x[:, k], rcond=None)[0]
        left = np.eye(m)[k] - u.T @ theta
        total += (lam * left**2).sum()
    assert rf.measured_path(lam, maps, draws, np.array([ridge]))[0] == pytest.approx(total, rel=1e-8)
    if ridge == 0.0:
        assert rf.measured_loss(lam, maps, draws) == pytest.approx(total, rel=1e-8)


def test_features_and_samples_may_be_exchanged():
    lam, a, b = rf.spectrum(200, 0.5), normals(3, 24, 200), normals(4, 50, 200)
    direct = np.sqrt(lam)[:, None] * (np.eye(200) - a.T @ np.linalg.pinv((b * np.sqrt(lam)) @ a.T) @ (b * np.sqrt(lam)))
    assert rf.measured_loss(lam, a, b) == pytest.approx((direct**2).sum(), rel=1e-9)
    assert rf.measured_loss(lam, b, a) == pytest.approx((direct**2).sum(), rel=1e-9)


def test_one_sided_loss_is_a_projection():
    """With all features and T samples the error is the variance outside of the samples' span."""
    lam, z = rf.spectrum(50, 0.75), normals(5, 12, 50)
    q = np.linalg.qr((z * np.sqrt(lam)).T)[0]
    assert rf.one_sided_loss(lam, z) == pytest.approx((lam * (1 - (q**2).sum(axis=1))).sum(), rel=1e-9)


def test_least_squares_on_gaussian_features_inflates_exactly():
    """E L(r, R) = E L(r, infinity) (R - 1)/(R - r - 1), R samples, as for any Gaussian regression."""
    lam, r, big = rf.spectrum(150, 0.75), 8, 20
    maps = normals(6, r, 150)
    losses = [rf.measured_loss(lam, maps, normals(100 + i, big, 150)) for i in range(4000)]
    assert np.mean(losses) / rf.one_sided_loss(lam, maps) == pytest.approx((big - 1) / (big - r - 1), rel=0.02)


@pytest.mark.parametrize(("n", "t"), [(48, 96), (96, 48), (64, 64)])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_formula_with_ridge_and_noise_meets_simulation(n, t, noise):
    lam = rf.spectrum(300, 0.75)
    loss, ridge = rf.ridge_loss(lam, n, t, np.array([10.0, 25.0, 40.0]), noise)
    found = [rf.measured_path(lam, normals(200 + i, n, 300), normals(900 + i, t, 300), ridge, noise) for i in range(30)]
    assert np.mean(found, axis=0) == pytest.approx(loss, rel=0.03)


@pytest.mark.parametrize(("n", "t"), [(40, 100), (100, 40)])
def test_noise_breaks_the_symmetry_as_the_formula_says(n, t):
    lam = rf.spectrum(300, 0.75)
    with_noise, without = (
        np.mean([rf.measured_path(lam, normals(i, n, 300), normals(500 + i, t, 300), [0.0], s)[0] for i in range(60)])
        for s in (1.0, 0.0)
    )
    law = float(rf.closed_form(lam, n, t, 1.0) - rf.closed_form(lam, n, t))
    assert with_noise - without == pytest.approx(law, rel=0.03)


def test_a_student_who_sees_part_of_the_latents_meets_the_plateau():
    lam, ends = rf.spectrum(300, 0.75), 48
    for n, t in ((30, 120), (150, 120)):
        seen = [normals(i, n, 300) * (np.arange(300) < ends) for i in range(60)]
        found = np.mean([rf.measured_path(lam, u, normals(700 + i, t, 300), [0.0])[0] for i, u in enumerate(seen)])
        assert found == pytest.approx(float(rf.closed_form(lam[:ends], n, t, lam[ends:].sum())), rel=0.04)


def test_ridge_vanishes_with_the_full_dimension():
    lam = rf.spectrum(300, 0.75)
    loss, ridge = rf.ridge_loss(lam, 40, 90, np.array([40 - 1e-7]))
    assert loss[0] == pytest.approx(float(rf.closed_form(lam, 40, 90)), rel=1e-4) and ridge[0] < 1e-6
    assert np.isinf(rf.ridge_loss(lam, 40, 90, np.array([41.0]))[0])


def test_best_ridge_is_the_least_over_a_fine_scan_and_symmetric():
    lam = rf.spectrum(300, 0.75)
    fine = rf.ridge_loss(lam, 60, 30, np.linspace(0.5, 29.99, 4000))[0].min()
    assert rf.best_ridge(lam, np.array([60.0, 30.0]), np.array([30.0, 60.0])) == pytest.approx(fine, rel=2e-3)

"""The recursion of SGD on power-law regression, and the critical batch read from it."""

import numpy as np
import pytest

from scalebook.topics import critical_batch as sgd

PROBLEM = sgd.Problem(1.5, 1.2)


def test_the_largest_rate_of_one_mode_is_where_its_square_stops_shrinking():
    # E (1 - e x^2)^2 = 1 - 2 e l + 3 e^2 l^2 for one Gaussian feature, below 1 for e l < 2/3
    assert sgd.largest_rate(np.array([0.5]), 1) == pytest.approx((2 / 3) / 0.5, rel=1e-6)
    # batch B: 1 - 2 e l + e^2 l^2 (1 + 2/B)
    assert sgd.largest_rate(np.array([0.5]), 4) == pytest.approx(2 / 1.5 / 0.5, rel=1e-6)


def test_one_step_against_moments_by_hand():
    variance, start, floor = PROBLEM.modes(3)
    rate = sgd.largest_rate(variance, 2)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400_000, 2, 3)) * np.sqrt(variance)
    away = np.sqrt(start)
    residual = x @ away + np.sqrt(floor) * rng.standard_normal(x.shape[:2])
    after = away - rate * np.einsum("rb,rbn->rn", residual, x) / 2
    drawn = (variance * after**2).sum(axis=1)
    exact = sgd.final_excess([PROBLEM], 3, 1, [2], rates=1)[0, 0, 0]
    assert abs(drawn.mean() - exact) < 4 * drawn.std() / np.sqrt(len(drawn))


@pytest.mark.parametrize(("steps", "batch"), [(64, 1), (32, 8)])
def test_real_runs_agree_with_the_recursion(steps, batch):
    rate = sgd.largest_rate(PROBLEM.modes(32)[0], batch) * sgd.SPACING**-5
    real = sgd.simulated(PROBLEM, 32, steps, batch, rate, 400, np.random.default_rng(1))
    exact = sgd.final_excess([PROBLEM], 32, steps, [batch], rates=6)[0, 0, 5]
    assert abs(real.mean() - exact) < 4 * real.std(ddof=1) / 20


def test_a_quiet_problem_has_no_floor():
    assert sgd.Problem(1.5, 1.2, noisy=False).modes(8)[2] == 0
    assert PROBLEM.modes(8)[2] == pytest.approx(0.25 + (np.arange(9, 2001) ** -1.2).sum())


def test_the_hyperbola_of_the_critical_batch_is_found_again():
    batches = [1, 2, 4, 8, 16, 32]
    crit, least = sgd.critical_batch(batches, 700 * (1 + np.array(batches) / 5.5))
    assert (crit, least) == pytest.approx((5.5, 700), rel=1e-3)
    needed = 700 * (1 + np.array(batches) / 5.5)
    needed[2:] = np.nan
    assert np.isnan(sgd.critical_batch(batches, needed)).all()


def test_samples_for_a_target_are_interpolated_and_never_extrapolated():
    data = [2**k for k in range(5, 12)]
    excess = np.stack([3.0 * np.array(data) ** -0.5, 6.0 * np.array(data) ** -0.5])
    needed = sgd.samples_needed(data, excess, 3.0 * 300**-0.5)
    assert needed == pytest.approx([300, 1200], rel=1e-6)
    assert np.isnan(sgd.samples_needed(data, excess, 3.0 * 1800**-0.5)).tolist() == [False, True]


def test_exponents_over_targets_and_sizes():
    least = np.array([[100.0, 200, 400], [110, 230, 390]])
    crit = 2 * least**0.4 * np.array([[64.0], [256]]) ** -0.1
    assert sgd.exponents((64, 256), least, crit) == pytest.approx((0.4, -0.1))


def test_the_lowest_of_a_row_is_its_vertex_or_its_end():
    x = np.arange(5.0)
    assert sgd.lowest((x - 1.8) ** 2 + 7) == pytest.approx(7)
    assert sgd.lowest(x + 3) == pytest.approx(3)


def test_rows_of_equal_steps_advance_together_and_alone_alike():
    both = sgd.best_excess([PROBLEM], 16, [64, 128], [1, 2], rates=8)
    alone = sgd.best_excess([PROBLEM], 16, [128], [2], rates=8)
    assert both[0, 1, 1] == pytest.approx(alone[0, 0, 0], rel=1e-5)
    assert both[0, 0, 1] < both[0, 0, 0]


def test_a_risk_that_single_precision_cannot_hold_is_no_value(monkeypatch):
    problems, data, batches = [sgd.Problem(1.2, 1.5, noisy=False)], [512, 2048], [4, 16]
    whole = sgd.best_excess(problems, 8, data, batches)
    least = np.array([[sgd.final_excess(problems, 8, d // b, [b])[0, 0].min() for d in data] for b in batches])
    monkeypatch.setattr(sgd, "RESOLVED", np.sort(least, axis=None)[1] * 1.001)
    assert (np.isnan(sgd.best_excess(problems, 8, data, batches)[0]) == (least < sgd.RESOLVED)).all()
    assert np.isfinite(whole).all() and (least < sgd.RESOLVED).sum() == 2

"""Intervals against closed forms, scipy and simulated coverage."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scalebook.errors import MeasurementError
from scalebook.estimate import Estimate, bootstrap, mean, slope

finite = st.floats(-1e6, 1e6)


def test_student_interval_equals_scipys():
    values = np.array([0.91, 1.02, 0.97, 1.10, 0.95])
    low, high = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    found = mean(values)
    assert (found.value, found.low, found.high, found.n) == pytest.approx((values.mean(), low, high, 5))


def test_positive_ratios_are_averaged_on_logarithms():
    values = np.array([0.5, 1.0, 2.0, 4.0])
    found = mean(values, positive=True)
    low, high = stats.t.interval(0.95, 3, loc=np.log(values).mean(), scale=stats.sem(np.log(values)))
    assert found.value == pytest.approx(stats.gmean(values))
    assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)))


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_units_have_no_interval(n):
    found = mean(np.arange(1.0, n + 1))
    assert found.low is None and found.high is None and found.n == n


def test_seven_units_use_student_and_eight_the_bootstrap():
    values = np.random.default_rng(3).normal(size=8)
    seven = stats.t.interval(0.95, 6, loc=values[:7].mean(), scale=stats.sem(values[:7]))
    assert (mean(values[:7]).low, mean(values[:7]).high) == pytest.approx(seven)
    eight = stats.t.interval(0.95, 7, loc=values.mean(), scale=stats.sem(values))
    assert mean(values).low != pytest.approx(eight[0], abs=1e-12)


@pytest.mark.parametrize("n", [8, 12, 24])
def test_bootstrap_intervals_cover_the_true_mean(n):
    """The point of the expanded levels: plain percentile intervals cover about 0.89 at n = 8."""
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(600):
        found = bootstrap(lambda draws: draws.mean(axis=-1), rng.normal(size=n), draws=1000, rng=rng)
        hits += found.low <= 0 <= found.high
    assert 0.925 <= hits / 600 <= 0.975


def test_bootstrap_agrees_with_scipys_for_many_units():
    values = np.random.default_rng(5).gamma(2.0, size=400)
    theirs = stats.bootstrap((values,), np.median, method="percentile", n_resamples=4000, vectorized=True, rng=1)
    ours = bootstrap(lambda draws: np.median(draws, axis=-1), values)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.03)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.03)


def test_bootstrap_keeps_pairs_together():
    x = np.random.default_rng(0).normal(size=30)
    found = bootstrap(lambda a, b: (a - b).mean(axis=-1), x + 1, x)
    assert (found.low, found.value, found.high) == pytest.approx((1, 1, 1))


def test_the_same_input_gives_the_same_interval():
    values = np.random.default_rng(2).normal(size=20)
    assert mean(values) == mean(values)


@given(st.lists(finite, min_size=3, max_size=15), finite)
def test_intervals_hold_their_value_and_move_with_the_data(values, shift):
    found, moved = mean(np.array(values)), mean(np.array(values) + shift)
    assert found.low <= found.value <= found.high
    scale = 1 + abs(shift) + max(map(abs, values))
    assert moved.low - found.low == pytest.approx(shift, abs=1e-9 * scale)


def test_slope_equals_polyfit_over_leading_axes():
    rng = np.random.default_rng(1)
    x, y = np.log([6, 10, 16, 26]), rng.normal(size=(3, 2, 4))
    theirs = [[np.polyfit(x, row, 1)[0] for row in block] for block in y]
    assert slope(x, y) == pytest.approx(np.array(theirs))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda: mean([]), "one-dimensional"),
        (lambda: mean([[1.0, 2.0]]), "one-dimensional"),
        (lambda: mean([1.0, float("nan"), 2.0]), "not finite"),
        (lambda: mean([1.0, 0.0, 2.0], positive=True), "above zero"),
        (lambda: Estimate(float("inf"), None, None, 3), "finite"),
        (lambda: Estimate(1.0, 2.0, 0.5, 3), "wrong way round"),
        (lambda: Estimate(1.0, 0.5, None, 3), "both ends"),
        (lambda: Estimate(None, None, None, 0), "reason"),
        (lambda: bootstrap(lambda a, b: a.mean(-1), [1.0, 2.0], [1.0]), "same number"),
    ],
)
def test_bad_input_is_refused_in_words(given, says):
    with pytest.raises(MeasurementError, match=says):
        given()


def test_exact_and_missing_estimates_print_in_words():
    assert str(Estimate.exact(0.25)) == "0.25" and Estimate.exact(0.25).is_exact
    assert str(Estimate.missing("no fit: two widths left")) == "no value (no fit: two widths left)"
    assert str(Estimate(0.94, 0.9, 0.98, 8)) == "0.94 [0.9, 0.98]"


@pytest.mark.parametrize("units", [[], [1.0, float("nan"), 2.0], [float("inf"), 1.0, 2.0]])
def test_a_mean_that_cannot_be_had_says_why_where_a_reason_is_given(units):
    assert mean(units, missing="no fit") == Estimate.missing("no fit")
    with pytest.raises(MeasurementError):
        mean(units)


def test_a_reason_changes_nothing_where_the_mean_can_be_had():
    assert mean([1.0, 2.0, 4.0], missing="no fit") == mean([1.0, 2.0, 4.0])

"""Classes of curves against closed forms; intervals of trough and dip against scipy and by their coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from scalebook import curves
from scalebook.curves import classify, falls, last_crossing, point_class, rises, spanning, trough_scales
from scalebook.errors import MeasurementError
from scalebook.estimate import mean

X = np.linspace(-1, 1, 9)
NAMED = {
    "positive": 0.5 + 0.4 * X,
    "inverse": 0.5 - 0.4 * X,
    "U": 0.2 + 0.3 * X**2 + 0.15 * X,
    "inverted U": 0.9 - 0.5 * X**2,
    "undecided": np.full(9, 0.7),
}


def noisy(curve, units=12, sd=0.02, seed=0):
    return curve + sd * np.random.default_rng(seed).standard_normal((units, len(curve)))


@pytest.mark.parametrize("kind", NAMED)
def test_named_shapes_are_recognised_exact_and_noisy(kind):
    assert point_class(NAMED[kind]) == kind
    assert classify(noisy(NAMED[kind]))[0] == kind


def test_a_steep_line_has_neither_dip_nor_recovery():
    steps = np.array([0.1, 0.3, 0.5, 0.7, 0.9, 1.0])  # start is 0.2, above the first point
    assert point_class(steps) == "positive" and point_class(steps[::-1]) == "inverse"
    three = np.array([steps, steps + 0.01, steps - 0.01])
    assert str(curves.dip(three)) == "0" and str(curves.recovery(three[:, ::-1])) == "0"
    late = np.array([0.9, 0.9, 0.9, 0.9, 0.9, 0.2])  # half of its last step is no recovery
    assert point_class(late) == "inverse"


def test_half_a_recovery_is_neither_inverse_nor_u():
    curve = np.array([0.8, 0.8, 0.5, 0.2, 0.4, 0.6, 0.6])  # dip 0.6, recovery 0.4
    assert point_class(curve) == "undecided" and classify(noisy(curve))[0] == "undecided"


def test_numbers_of_a_known_curve():
    curve = np.array([0.6, 0.4, 0.1, 0.3, 0.7, 0.9])
    assert curves.ends(curve) == pytest.approx((0.5, 0.8))
    assert falls(curve) == pytest.approx([0, 0.1, 0.4, 0.2, -0.2, -0.4])
    assert rises(curve) == pytest.approx([0.2, 0.4, 0.7, 0.5, 0.1, 0])
    four = np.tile(curve, (4, 1))
    for estimate, value in ((curves.trough(four), 0.1), (curves.dip(four), 0.4), (curves.recovery(four), 0.7)):
        assert [estimate.low, estimate.value, estimate.high] == pytest.approx([value] * 3)
    assert curves.dip(four, four, 0.5).value == pytest.approx(0.2)
    assert curves.ends(curve[1:]) == pytest.approx((0.4, 0.9))  # five scales: single ends


def test_each_unit_is_read_where_the_others_are_lowest():
    table = np.array([[0.9, 0.5, 0.1, 0.8], [0.9, 0.2, 0.6, 0.8], [0.9, 0.3, 0.6, 0.8]])  # read at 1, 2 and 2
    assert curves.trough(table).value == pytest.approx((0.5 + 0.6 + 0.6) / 3)
    assert curves.trough(table[:2]).low is None
    assert curves.at_trough(table, table).value == pytest.approx((0.5 + 0.6 + 0.6) / 3)


def test_limits_of_a_difference_of_dips_are_those_of_scipy_cell_by_cell():
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((7, 4)) + np.array([0, 1, 1, 0]), rng.standard_normal((7, 3))

    def limits(w, v, level):
        found = stats.ttest_1samp(a[:, w] - b[:, v], 0).confidence_interval(level)
        return found.low, found.high

    low = max(min(limits(w, v, 1 - 0.05 / 4)[0] for v in range(3)) for w in range(4))
    high = min(max(limits(w, v, 1 - 0.05 / 3)[1] for w in range(4)) for v in range(3))
    found = curves.largest(a, b)
    assert (found.low, found.high) == pytest.approx((low, high)) and found.low <= found.value <= found.high


def covered(truth, draw, trials=400):
    """Return how often the interval of the trough holds the true one, the bias, and the median width."""
    told = [curves.trough(draw()) for _ in range(trials)]
    low, value, high = np.array([(one.low, one.value, one.high) for one in told]).T
    return np.mean((low <= truth) & (truth <= high)), np.mean(value) - truth, np.median(high - low)


@pytest.mark.parametrize("units", [6, 16])
def test_interval_of_a_clear_trough_covers_it_and_is_not_twice_as_wide_as_at_a_known_place(units):
    curve, rng = np.array([0.6, 0.5, 0.2, 0.4, 0.6, 0.7, 0.8]), np.random.default_rng(11)
    share, bias, width = covered(0.2, lambda: curve + 0.08 * rng.standard_normal((units, 7)))
    known = 2 * stats.t.ppf(0.975, units - 1) * 0.08 / np.sqrt(units)
    assert share >= 0.94 and abs(bias) < 0.01 and width < 1.6 * known


def test_a_flat_bottom_is_covered_where_an_interval_over_cross_fitted_values_is_too_short():
    rng, narrow = np.random.default_rng(11), []

    def draw():
        table = 0.5 + 0.08 * rng.standard_normal((8, 10))
        where = (table.sum(axis=0) - table).argmin(axis=1)
        told = mean(table[np.arange(8), where])
        narrow.append(told.low <= 0.5 <= told.high)
        return table

    share, bias, _ = covered(0.5, draw)
    assert share >= 0.94 and abs(bias) < 0.01
    assert np.mean(narrow) < 0.9, "the reason for the interval in use"


@pytest.mark.parametrize(("units", "least"), [(6, 0.8), (16, 0.93)])
def test_a_ragged_bottom_of_units_in_two_camps_is_covered(units, least):
    """Shares from a Beta law with two humps, spread 0.2 at the bottom; few such units defeat Student's t everywhere."""
    curve, rng = np.array([0.5, 0.3, 0.15, 0.2, 0.3, 0.6, 0.9, 0.99]), np.random.default_rng(3)
    share, bias, _ = covered(0.15, lambda: rng.beta(2 * curve, 2 - 2 * curve, size=(units, 8)))
    assert share >= least and abs(bias) < 0.06


def test_another_score_is_read_at_every_scale_that_may_be_the_lowest():
    rng = np.random.default_rng(4)
    clear = np.array([0.6, 0.2, 0.6]) + 0.02 * rng.standard_normal((12, 3))
    other = np.array([0.1, 0.5, 0.9]) + 0.02 * rng.standard_normal((12, 3))
    assert curves.at_trough(clear, other) == mean(other[:, 1])
    flat = 0.5 + 0.1 * rng.standard_normal((12, 3))
    found = curves.at_trough(flat, other)
    assert found.low == mean(other[:, 0]).low and found.high == mean(other[:, 2]).high


def test_units_that_are_no_pairs_are_refused():
    with pytest.raises(MeasurementError, match="pairs"):
        curves.largest(np.ones((4, 2)), np.ones((3, 2)))


def test_noise_of_usual_size_is_not_taken_for_a_dip():
    rng = np.random.default_rng(2)
    kinds = [classify(0.8 + 0.03 * rng.standard_normal((8, 10)))[0] for _ in range(200)]
    assert np.mean([kind in ("inverse", "U") for kind in kinds]) < 0.05


FINITE = st.floats(0, 1, allow_nan=False)


@given(arrays(float, st.tuples(st.integers(3, 6), st.integers(2, 9)), elements=FINITE), st.integers(-8, 8))
def test_shifting_all_scores_shifts_the_trough_and_leaves_the_dip(table, by):
    table, by = np.round(table * 64) / 64, by / 8  # exact in binary: ties must not turn on rounding
    a, b = curves.trough(table), curves.trough(table + by)
    assert [b.low - a.low, b.value - a.value, b.high - a.high] == pytest.approx([by] * 3, abs=1e-9)
    a, b = curves.dip(table), curves.dip(table + by)
    assert [b.low, b.high] == pytest.approx([a.low, a.high], abs=1e-9)


@given(arrays(float, st.integers(2, 12), elements=FINITE, unique=True))
def test_sorted_curves_are_never_inverse_up_nor_positive_down(values):
    rising = np.sort(values)
    assert point_class(rising) in ("positive", "undecided")
    assert point_class(rising[::-1]) in ("inverse", "undecided")


@given(arrays(float, st.tuples(st.integers(1, 5), st.integers(2, 9)), elements=FINITE))
def test_many_curves_at_once_are_classed_like_one(table):
    assert point_class(table).tolist() == [str(point_class(row)) for row in table]


def test_crossings_by_hand():
    scales = [1, 2, 4, 8]
    table = [[0.4, 0.6, 0.4, 0.6], [0.1, 0.2, 0.3, 0.4], [0.6, 0.7, 0.8, 0.9], [0.25, 0.75, 0.9, 1.0]]
    assert last_crossing(scales, np.array(table)) == pytest.approx([2.5, 4.0, 0.0, 0.5])


def test_trough_scales_are_the_middle_of_ties_and_the_smallest_without_a_dip():
    dips = np.array([[0.9, 0.8, 0.1, 0.1, 0.9], [0.9, 0.8, 0.1, 0.2, 0.9], [0.9, 0.8, 0.2, 0.1, 0.9]])
    scales = [1, 2, 4, 8, 16]
    (there,) = trough_scales(scales, dips)
    assert there == pytest.approx([2.5, 2.0, 3.0])
    (none,) = trough_scales(scales, noisy(np.full(5, 0.5), 3, sd=0.005))
    assert none == pytest.approx([0, 0, 0])


def test_an_undecided_dip_leaves_both_outcomes_open():
    halves = np.array([[0.9, 0.8, 0.1, 0.9], [0.5, 0.5, 0.5, 0.5], [0.9, 0.8, 0.7, 0.9]])  # the dip's interval holds 0.05
    there, none = trough_scales([1, 2, 4, 8], halves)
    assert there == pytest.approx([2.0, 1.5, 2.0]) and none == pytest.approx([0, 0, 0])
    open_ended = spanning([mean(there - none), mean(none)])
    assert open_ended.low == 0.0 and open_ended.value == pytest.approx(5.5 / 3) and open_ended.high > open_ended.value
    assert spanning([mean(there)]) == mean(there)


@pytest.mark.parametrize("bad", [np.ones(4), np.ones((1, 4)), np.full((3, 4), np.nan)])
def test_what_is_no_table_of_units_is_refused(bad):
    with pytest.raises(MeasurementError, match="curves"):
        curves.trough(bad)


def test_a_single_scale_has_no_shape():
    with pytest.raises(MeasurementError, match="at least two"):
        curves.dip(np.ones((3, 1)))

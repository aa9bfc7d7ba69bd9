"""Classes of curves against closed forms, and the coverage of the cross-fitted dip on simulated noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scalebook import curves
from scalebook.curves import classify, cross_fitted, last_crossing, point_class, spanning, trough_scales
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
    found = cross_fitted(np.array([steps, steps + 0.01, steps - 0.01]))
    assert found.dip == pytest.approx(0.0) and (found.where == 0).all()
    late = np.array([0.9, 0.9, 0.9, 0.9, 0.9, 0.2])  # half of its last step is no recovery
    assert point_class(late) == "inverse"


def test_half_a_recovery_is_neither_inverse_nor_u():
    curve = np.array([0.8, 0.8, 0.5, 0.2, 0.4, 0.6, 0.6])  # dip 0.6, recovery 0.4
    assert point_class(curve) == "undecided" and classify(noisy(curve))[0] == "undecided"


def test_numbers_of_a_known_curve():
    curve = np.array([0.6, 0.4, 0.1, 0.3, 0.7, 0.9])
    found = cross_fitted(np.tile(curve, (4, 1)))
    for name, value in {"start": 0.5, "trough": 0.1, "end": 0.8, "dip": 0.4, "recovery": 0.7, "where": 2}.items():
        assert getattr(found, name) == pytest.approx(np.full(4, value))
    short = cross_fitted(np.tile(curve[1:], (4, 1)))  # five scales: single ends
    assert short.start == pytest.approx(np.full(4, 0.4)) and short.end == pytest.approx(np.full(4, 0.9))


def test_the_trough_is_placed_by_the_other_units():
    table = np.array([[0.9, 0.5, 0.1, 0.8], [0.9, 0.2, 0.6, 0.8], [0.9, 0.3, 0.6, 0.8]])
    found = cross_fitted(table)
    assert found.where.tolist() == [1, 2, 2]
    assert found.trough == pytest.approx([0.5, 0.6, 0.6])


def covered(curve, sd, units, trials=400):
    """Return how often the interval of the cross-fitted dip holds the true one, and the bias both ways."""
    rng, column = np.random.default_rng(11), int(curve.argmin())
    truth = curves.ends(curve)[0] - curve[column]
    hits, cross, naive = 0, [], []
    for _ in range(trials):
        table = curve + sd * rng.standard_normal((units, len(curve)))
        found = cross_fitted(table)
        told = mean(found.dip)
        hits += told.low <= truth <= told.high
        cross.append(told.value - truth)
        naive.append((found.start - table.min(axis=1)).mean() - truth)
    return hits / trials, np.mean(cross), np.mean(naive)


@pytest.mark.parametrize("units", [6, 16])
def test_interval_of_a_clear_dip_covers_it(units):
    curve = np.array([0.6, 0.5, 0.2, 0.4, 0.6, 0.7, 0.8])
    share, bias, _ = covered(curve, 0.08, units)
    assert 0.92 <= share <= 0.98 and abs(bias) < 0.01


def test_noise_alone_makes_no_dip_though_the_plain_minimum_says_so():
    share, bias, naive = covered(np.full(10, 0.5), 0.08, 8)
    assert abs(bias) < 0.01
    assert naive > 0.08, "the minimum of each curve is biased by more than one standard deviation"
    assert 0.7 < share < 0.95, "known and written in the module: without a clear trough intervals are too narrow"


def test_noise_of_usual_size_is_not_taken_for_a_dip():
    rng = np.random.default_rng(2)
    kinds = [classify(0.8 + 0.03 * rng.standard_normal((8, 10)))[0] for _ in range(200)]
    assert np.mean([kind in ("inverse", "U") for kind in kinds]) < 0.05


FINITE = st.floats(0, 1, allow_nan=False)


@given(arrays(float, st.tuples(st.integers(2, 6), st.integers(2, 9)), elements=FINITE), st.floats(-1, 1))
def test_shifting_all_scores_shifts_levels_and_leaves_moves(table, by):
    table = np.round(table, 3)  # ties and near-ties must not turn on rounding
    a, b = cross_fitted(table), cross_fitted(table + np.round(by, 3))
    same = a.where == b.where  # a tie between sums may fall either way
    assert np.allclose(a.dip[same], b.dip[same]) and np.allclose(a.recovery[same], b.recovery[same])
    assert np.allclose(b.trough[same] - a.trough[same], np.round(by, 3))


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
    (none,) = trough_scales(scales, noisy(np.full(5, 0.5), 3))
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
        cross_fitted(bad)


def test_a_single_scale_has_no_shape():
    with pytest.raises(MeasurementError, match="at least two"):
        cross_fitted(np.ones((3, 1)))

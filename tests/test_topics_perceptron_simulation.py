"""Max-margin solvers against each other and the optimality conditions; the simulation against the theory at N = 400."""

from __future__ import annotations

import numpy as np
import pytest

from scalebook.errors import UserError
from scalebook.topics.perceptron import pruned_error
from scalebook.topics.perceptron_simulation import max_margin, max_margin_reference, simulated_error, simulated_errors


def teacher_rows(rng, count, dimensions):
    x = rng.standard_normal((count, dimensions))
    return np.sign(x[:, :1]) * x


def test_two_points_by_hand():
    rows = np.array([[2.0, 0.0], [0.0, 1.0]])
    assert max_margin(rows) == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize("count", [160, 480, 960])
def test_the_two_solvers_agree(count):
    rows = teacher_rows(np.random.default_rng(count), count, 160)
    fast, exact = max_margin(rows), max_margin_reference(rows)
    assert np.abs(fast - exact).max() < 1e-5 * np.linalg.norm(exact)


def test_the_reference_meets_the_optimality_conditions():
    rows = teacher_rows(np.random.default_rng(1), 300, 60)
    w = max_margin_reference(rows)
    margins = rows @ w
    touching = rows[margins < 1 + 1e-8]
    force = np.linalg.lstsq(touching.T, w, rcond=None)[0]
    assert margins.min() > 1 - 1e-9
    assert np.abs(touching.T @ force - w).max() < 1e-8 and force.min() > -1e-8


@pytest.mark.parametrize("dimensions", [20, 160])
def test_rows_that_nothing_separates_are_refused(dimensions):
    rows = np.random.default_rng(0).standard_normal((5 * dimensions, dimensions))
    with pytest.raises(ArithmeticError, match="separable"):
        max_margin(rows)


@pytest.mark.parametrize(("keep", "angle"), [("hard", 0.0), ("easy", 0.0), ("hard", 20.0), ("easy", 20.0)])
def test_simulation_at_400_dimensions_is_within_three_per_cent_of_the_theory(keep, angle):
    errors = [simulated_error(np.random.default_rng((7, r)), 400, 2, 0.5, keep, angle) for r in range(12)]
    assert np.mean(errors) == pytest.approx(float(pruned_error(1.0, 0.5, keep, angle)), rel=0.03)


def test_errors_come_one_row_a_draw():
    points = [(2, 0.5, "hard", 0.0), (2, 0.5, "random", 0.0)]
    found = simulated_errors([np.random.default_rng(r) for r in range(3)], 30, points)
    assert found.shape == (3, 2)
    again = simulated_error(np.random.default_rng(0), 30, *points[0])
    assert found[0, 0] == again


def test_hard_examples_are_the_ones_near_the_probe(monkeypatch):
    seen = {}

    def spy(rows):
        seen["rows"] = rows
        return rows.mean(axis=0)

    monkeypatch.setattr("scalebook.topics.perceptron_simulation.max_margin", spy)
    for keep, rank in (("hard", slice(0, 20)), ("easy", slice(-20, None))):
        simulated_error(np.random.default_rng(3), 10, 8, 0.25, keep)
        pool = np.random.default_rng(3).standard_normal((80, 10))
        expected = np.sort(np.abs(pool[:, 0]))[rank]
        assert np.sort(np.abs(seen["rows"][:, 0])) == pytest.approx(expected)


def test_nothing_kept_is_refused():
    with pytest.raises(UserError, match="leaves none"):
        simulated_error(np.random.default_rng(0), 10, 1, 0.01)

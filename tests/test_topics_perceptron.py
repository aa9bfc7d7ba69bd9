"""The theory of the pruned perceptron against closed forms, known curves and independent ways to solve it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, optimize, stats
from scipy.special import ndtr

from scalebook.errors import UserError
from scalebook.topics import perceptron
from scalebook.topics.perceptron import crossover, envelope, kept_examples, local_slope, pruned_error, student

FOUR_DIGITS = 6e-5


def test_unpruned_curve_is_that_of_the_max_margin_perceptron():
    found = pruned_error(np.array([0.5, 1, 2, 4, 8, 16]))
    assert np.abs(found - [0.3288, 0.2657, 0.1885, 0.1137, 0.0609, 0.0311]).max() < FOUR_DIGITS


def test_unpruned_error_falls_as_half_over_alpha():
    # the constant of the perceptron of optimal stability, 0.5005 (Opper, Kinzel, Kleinz and Nehl 1990, J. Phys. A 23:L581)
    assert float(pruned_error(64.0)) * 64 == pytest.approx(0.5005, rel=1e-3)


@pytest.mark.parametrize("alpha", [0.5, 2.0, 8.0])
def test_unpruned_error_solves_the_replica_equation(alpha):
    """Gardner's volume at the largest stability: alpha E_t[2 H(-R t / sqrt(1 - R^2)) (kappa - t)_+^2] = 1 - R^2."""
    t = np.linspace(-9, 9, 20001)

    def excess(kappa, r):
        density = 2 * ndtr(r * t / math.sqrt(1 - r * r)) * np.maximum(kappa - t, 0) ** 2 * np.exp(-(t**2) / 2)
        return alpha * integrate.trapezoid(density, t) / math.sqrt(2 * math.pi) - (1 - r * r)

    def stability(r):
        return -optimize.brentq(excess, -5, 8, args=(r,))

    r = optimize.minimize_scalar(stability, bounds=(0.01, 0.9999), method="bounded", options={"xatol": 1e-9}).x
    assert float(pruned_error(alpha)) == pytest.approx(math.acos(r) / math.pi, rel=2e-4)


@pytest.mark.parametrize(("fraction", "keep"), [(0.3, "hard"), (0.3, "easy"), (1.0, "hard")])
def test_few_examples_give_hebbs_overlap(fraction, keep):
    """With few examples all are nearly orthogonal and w is their sum, so R = E|x1| sqrt(alpha)."""
    alpha = 1e-4
    edge = stats.norm.ppf((1 + fraction) / 2 if keep == "hard" else 1 - fraction / 2)
    inside = stats.norm.pdf(0) - stats.norm.pdf(edge) if keep == "hard" else stats.norm.pdf(edge)
    found = student(alpha, kept_examples(fraction, keep)).overlap[0]
    assert found == pytest.approx(2 * inside / fraction * math.sqrt(alpha), rel=2e-3)


def test_a_probe_at_a_right_angle_prunes_at_random():
    alpha = np.array([0.5, 2.0, 8.0])
    for keep in ("hard", "easy"):
        assert pruned_error(alpha, 0.25, keep, 90.0) == pytest.approx(pruned_error(alpha), rel=1e-4)
    assert np.array_equal(pruned_error(alpha, 0.25, "random", 10.0), pruned_error(alpha))
    assert pruned_error(alpha, 1.0, "easy", 20.0) == pytest.approx(pruned_error(alpha), rel=1e-9)


@pytest.mark.parametrize("keep", ["hard", "easy"])
def test_a_small_angle_tends_to_none(keep):
    alpha = np.array([0.5, 1.0, 1.6])
    gaps = [np.abs(np.log(pruned_error(alpha, 0.5, keep, a) / pruned_error(alpha, 0.5, keep, 0.0))).max() for a in (4, 2, 1)]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 2e-3


def test_crossovers_agree_with_an_independent_code():
    expected = {0.8: 9.66, 0.6: 4.93, 0.5: 5.05, 0.4: 5.76, 0.3: 7.21, 0.2: 10.34, 0.1: 20.11}
    for fraction, total in expected.items():
        assert crossover(fraction) == pytest.approx(total, abs=0.006)


def test_crossover_tends_to_covers_capacity():
    gaps = [abs(f * crossover(f, bracket=(1 / f, 10 / f)) - 2) for f in (0.2, 0.1, 0.01)]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 0.005


def test_lower_envelopes_agree_with_an_independent_code():
    fractions = np.linspace(0.1, 1, 10)
    found, best = envelope(np.array([1, 1.5, 2, 2.5, 3, 4, 5, 6]), fractions)
    assert found == pytest.approx([0.265, 0.206, 0.0763, 0.0240, 0.0176, 0.0126, 0.0100, 0.0083], rel=5e-3)
    assert (np.diff(best) <= 0).all()
    coarse = np.array([1, 0.8, 0.6, 0.4, 0.25, 0.15])
    found, best = envelope(np.array([2.0, 4.0, 8.0, 16.0]), coarse, 20.0)
    assert found == pytest.approx([0.168, 0.0678, 0.0279, 0.0125], rel=5e-3)
    assert best == pytest.approx([0.6, 0.4, 0.25, 0.25])


@pytest.mark.parametrize("keep", ["hard", "easy"])
def test_an_imperfect_probe_in_other_coordinates_and_with_another_optimiser(keep):
    """The same inequality solved the slow way: windows of x2 at each x1, a root for the margin, a simplex for the direction."""
    fraction, angle, alpha = 0.4, math.radians(25), 1.5
    edge = stats.norm.ppf((1 + fraction) / 2 if keep == "hard" else 1 - fraction / 2)
    nodes, weights = np.polynomial.legendre.leggauss(80)
    first, share = 3.5 * (1 + nodes), 3.5 * weights
    windows = [(-edge, edge)] if keep == "hard" else [(edge, 20), (-20, -edge)]
    x1, x2, weight = [], [], []
    for low, high in windows:
        ends = np.clip([(side - math.cos(angle) * first) / math.sin(angle) for side in (low, high)], -7, 7)
        half = (ends[1] - ends[0])[:, None] / 2
        x2.append((ends[0][:, None] + half * (1 + nodes)).ravel())
        x1.append(np.repeat(first, len(nodes)))
        weight.append((share[:, None] * half * weights).ravel() * np.exp(-(x1[-1] ** 2 + x2[-1] ** 2) / 2))
    x1, x2, weight = (np.concatenate(part) for part in (x1, x2, weight))
    weight /= weight.sum()

    def negative_margin(at):
        a, b = math.cos(at[0]) * math.cos(at[1]), math.cos(at[0]) * math.sin(at[1])
        s = math.sqrt(1 - a * a - b * b)

        def excess(kappa):
            t = (kappa - a * x1 - b * x2) / s
            return alpha * (weight * ((t**2 + 1) * ndtr(t) + t * np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi))).sum() - 1

        return -optimize.brentq(excess, -5, 5)

    found = optimize.minimize(negative_margin, [0.8, 0.1], method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-9}).x
    expected = math.acos(math.cos(found[0]) * math.cos(found[1])) / math.pi
    assert float(pruned_error(alpha, fraction, keep, math.degrees(angle))) == pytest.approx(expected, rel=1e-4)


def test_finer_quadrature_changes_nothing(monkeypatch):
    alpha = np.array([0.3, 2.0, 16.0])
    points = [(0.1, "hard", 10.0), (0.5, "easy", 20.0), (0.9, "hard", 45.0), (0.25, "easy", 0.0), (0.02, "hard", 0.0)]
    coarse = np.array([pruned_error(alpha, *point) for point in points])
    for name, value in (("HALVINGS", 12), ("ACROSS", 10), ("PER_PANEL", 10), ("FAR", 7.5)):
        monkeypatch.setattr(perceptron, name, value)
    kept_examples.cache_clear()
    fine = np.array([pruned_error(alpha, *point) for point in points])
    kept_examples.cache_clear()
    assert np.abs(np.log(coarse / fine)).max() < 2e-5


def test_local_slope_of_a_power_law():
    x = np.array([1.0, 2.0, 5.0, 20.0])
    assert local_slope(x, 3 * x**-1.5) == pytest.approx(1.5)


@pytest.mark.parametrize("given", [(0.0, "hard", 0.0), (1.2, "hard", 0.0), (0.5, "hard", 91.0), (0.5, "middle", 0.0)])
def test_what_cannot_be_kept_is_refused(given):
    with pytest.raises(UserError, match="fraction|angle|keep"):
        kept_examples(*given)


def test_the_constant_of_the_power_law_stands_far_out():
    """The student of greatest margin: error times density tends to 0.5005 (Opper and Kinzel 1996)."""
    alpha = np.array([256.0, 2048.0, 16384.0])
    assert pruned_error(alpha) * alpha == pytest.approx(0.5005, rel=2e-3)

"""Bundles of sign vectors against exact means, variances and small enumerations."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from scalebook.errors import UserError
from scalebook.topics import vector_symbolic as vsa


def rng(seed=0):
    return np.random.default_rng(seed)


def test_signs_are_fair_and_independent():
    x = vsa.random_signs(rng(), 400, 1003)
    assert x.shape == (400, 1003) and set(np.unique(x)) == {-1.0, 1.0}
    assert abs(x.mean()) < 4 / math.sqrt(x.size)
    overlaps = (x @ x.T)[np.triu_indices(400, 1)] / 1003
    assert (overlaps**2).mean() == pytest.approx(1 / 1003, rel=0.02)


@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_majority_correlation_by_enumeration(size):
    mean = np.mean([signs[0] * np.sign(sum(signs)) for signs in itertools.product((-1, 1), repeat=size)])
    assert vsa.majority_correlation(size) == pytest.approx(mean)


def test_majority_correlation_approaches_the_gaussian_limit():
    assert vsa.majority_correlation(10_001) == pytest.approx(math.sqrt(2 / (math.pi * 10_001)), rel=1e-4)


@pytest.mark.parametrize("architecture", vsa.ARCHITECTURES)
def test_scores_have_the_moments_of_the_formula(architecture):
    size, d, draws = 11, 64, 20_000
    x = vsa.random_signs(rng(1), draws * (size + 1), d).reshape(draws, size + 1, d)
    bundle = x[:, :size].sum(axis=1)
    rho = 1.0
    if architecture == "sign":
        bundle, rho = np.sign(bundle), vsa.majority_correlation(size)
    member, other = (bundle * x[:, 0]).mean(axis=1), (bundle * x[:, size]).mean(axis=1)
    variances = ((size - 1) / d, size / d) if architecture == "sum" else ((1 - rho**2) / d, 1 / d)
    assert member.mean() == pytest.approx(rho, abs=4 * math.sqrt(variances[0] / draws))
    assert other.mean() == pytest.approx(0, abs=4 * math.sqrt(variances[1] / draws))
    assert member.var() == pytest.approx(variances[0], rel=0.05) and other.var() == pytest.approx(variances[1], rel=0.05)
    noise = 0.5 * sum(variances)
    assert vsa.inverse_signal(architecture, size) == pytest.approx(noise * d / rho**2)


def test_price_of_a_sign_is_pi_over_two():
    def price(size):
        return vsa.inverse_signal("sign", size) / vsa.inverse_signal("sum", size)

    assert price(41) == pytest.approx(1.559, abs=1e-3) and price(81) == pytest.approx(1.565, abs=1e-3)
    assert price(100_001) == pytest.approx(math.pi / 2, rel=1e-4)


def test_membership_error_agrees_with_the_exact_binomial():
    size, d = 5, 61
    # a stranger's score times d is a sum of d x s fair signs; a member's has d x (s - 1) of them on top of d
    stranger = binom.sf(np.floor((d / 2 + d * size) / 2), d * size, 0.5)
    member = binom.cdf(np.floor((-d / 2 + d * (size - 1)) / 2), d * (size - 1), 0.5)
    found = np.mean([vsa.membership_error("sum", size, d, 300, 300, rng(r)) for r in range(12)])
    assert found == pytest.approx((stranger + member) / 2, rel=0.08)


@pytest.mark.parametrize("architecture", vsa.ARCHITECTURES)
def test_needed_dimension_is_near_the_gaussian_prediction(architecture):
    predicted = vsa.predicted_dimension(architecture, 21, 0.02)
    assert norm.cdf(-0.5 * math.sqrt(predicted / vsa.inverse_signal(architecture, 21))) == pytest.approx(0.02)
    found = [vsa.needed_dimension(architecture, 21, 0.02, 400, 40, rng(r)) for r in range(6)]
    assert np.mean(found) == pytest.approx(predicted, rel=0.06)


def test_nested_bundle_forgets_its_first_item_by_halves():
    x = vsa.random_signs(rng(2), 5, 200_000)
    nested = vsa.nested_bundle(x, rng(3))
    correlations = (x * nested).mean(axis=1)
    np.testing.assert_allclose(correlations, [2**-4, 2**-4, 2**-3, 2**-2, 2**-1], atol=0.012)
    flat = vsa.flat_bundle(x, rng(4))
    np.testing.assert_allclose((x * flat).mean(axis=1), vsa.majority_correlation(5), atol=0.012)


def test_signal_of_a_flat_bundle():
    x = vsa.random_signs(rng(5), 21, 500 * 256).reshape(21, 500, 256)
    found = vsa.first_item_signal(vsa.flat_bundle(x, rng(6)), x[0], rng(7))
    assert found == pytest.approx(256 / vsa.inverse_signal("sign", 21), rel=0.2)


@pytest.mark.parametrize("size", [1, 4, 64, 65, 192])
def test_sums_of_signs_are_binomial(size):
    found = vsa.sum_of_signs(size, (40_000,), rng(8))
    assert found.mean() == pytest.approx(0, abs=4 * math.sqrt(size / 40_000))
    assert (found.astype(float) ** 2).mean() == pytest.approx(size, rel=0.05)
    assert ((found - size) % 2 == 0).all() and np.abs(found).max() <= size


def test_spread_of_an_estimated_intersection():
    size, common, d = 16, 4, 256
    sums, signs = vsa.intersection_errors(size, common, d, 40_000, rng(9))
    assert sums.mean() == pytest.approx(0, abs=0.05)
    assert math.sqrt(np.mean(sums**2)) == pytest.approx(vsa.intersection_deviation(size, common, d), rel=0.02)
    assert math.sqrt(np.mean(signs**2)) > 1.3 * vsa.intersection_deviation(size, common, d)


def test_intersections_agree_with_real_bundles():
    size, common, d = 16, 4, 128
    x = vsa.random_signs(rng(10), 2 * size - common, 3000 * d).reshape(-1, 3000, d)
    products = (x[:size].sum(axis=0) * x[size - common :].sum(axis=0)).mean(axis=1)
    assert products.mean() == pytest.approx(common, abs=0.15)
    assert products.std() == pytest.approx(vsa.intersection_deviation(size, common, d), rel=0.05)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [(lambda: vsa.majority_correlation(4), "odd size"), (lambda: vsa.inverse_signal("product", 5), "sum, sign")],
)
def test_wrong_calls_say_what_to_do(wrong, says):
    with pytest.raises(UserError, match=says):
        wrong()

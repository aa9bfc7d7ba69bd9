"""Subspaces, torus learners, the closed form in bits, Fisher information, collapse and tasks against other code."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from scalebook.datasets import digits
from scalebook.errors import UserError
from scalebook.models import mlp, mlp_forward
from scalebook.topics import intrinsic_collapse as collapse
from scalebook.topics import intrinsic_difficulty as difficulty
from scalebook.topics import intrinsic_fisher as fisher
from scalebook.topics import intrinsic_subspace as subspace
from scalebook.topics import intrinsic_tasks as tasks


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_linear_toy_needs_ten():
    assert {subspace.linear_dimension(rng(r)) for r in range(5)} == {10.0}


@pytest.mark.parametrize("independent", [2, 4, 5, 7])
def test_copied_flat_conditions_count_once(independent):
    assert {subspace.linear_dimension(rng(r), independent=independent) for r in range(3)} == {float(independent)}


def test_the_curved_toy_agrees_with_scipys_solver():
    """The same problem, rebuilt from the same draws and handed to scipy's Levenberg-Marquardt."""
    dims = range(8, 15)
    found, _ = subspace.nonlinear_dimension([rng(3)], dims, starts=3)
    g = rng(3)
    theta, goal = g.standard_normal((10, 100)), np.tanh(g.standard_normal((10, 100))).sum(axis=1)
    basis = subspace.unit_columns(g, 1000, 14).astype(float).reshape(10, 100, 14)
    z = g.standard_normal((3, 14))
    scale = ((np.tanh(theta).sum(axis=1) - goal) ** 2).sum()

    def solved(d):
        def gap(w):
            return np.tanh(theta + basis[:, :, :d] @ w).sum(axis=1) - goal

        return min(2 * least_squares(gap, one[:d], method="trf", max_nfev=300).cost for one in z) / scale < 1e-9

    theirs = next(d for d in dims if solved(d))
    assert abs(found[0] - theirs) <= 1  # two local solvers may differ at one dimension


def test_five_constraints_need_fewer():
    found, least = subspace.nonlinear_dimension([rng(r) for r in range(4)], range(3, 13), independent=5)
    assert (found < 9).all() and (found >= 5).all()
    assert np.nanmin(least[:, :2]) > 1e-9  # three and four dimensions never do


def test_columns_have_length_one():
    np.testing.assert_allclose(np.linalg.norm(subspace.unit_columns(rng(), 500, 7), axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize("small", [2, 8])  # one that is multiplied by few directions, one by all
def test_training_in_a_subspace_is_theta0_plus_p_z(small):
    starts = mlp([(5, 8, 3)] * 2, [torch.Generator().manual_seed(k) for k in range(2)])
    weights = subspace.flat(starts).shape[1]
    bases = torch.tensor(np.array([subspace.unit_columns(rng(k), weights, 12).T for k in range(2)]))
    allowed = (torch.arange(12) < torch.tensor([12, small, 1])[:, None]).float()
    z, forward = subspace.subspace_forward(starts, bases, allowed)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(5))
    plain = mlp_forward()(starts, x)
    torch.testing.assert_close(forward(z, x), plain.repeat_interleave(3, 0))  # z = 0: the start itself
    z = {"z": torch.randn(6, 12, generator=torch.Generator().manual_seed(6)).requires_grad_()}
    for model, d in ((3, 12), (4, small), (5, 1)):  # network 1 in each of the subspaces
        theta = subspace.flat(starts)[1] + bases[1, :d].T @ z["z"][model, :d]
        alone = mlp_forward()(subspace.unflat(theta[None], {k: v[:1] for k, v in starts.items()}), x)[0]
        torch.testing.assert_close(forward(z, x)[model], alone)
    (gradient,) = torch.autograd.grad(forward(z, x).square().sum(), [z["z"]])
    assert torch.count_nonzero(gradient[[1, 4], small:]) == 0 and torch.count_nonzero(gradient[0]) == 12


def test_flat_and_unflat_are_inverse():
    starts = mlp([(5, 8, 3)] * 2, [torch.Generator().manual_seed(k) for k in range(2)])
    for name, value in subspace.unflat(subspace.flat(starts), starts).items():
        torch.testing.assert_close(value, starts[name])


def test_crossing_is_log_interpolated_and_nan_outside():
    grid, values = [10, 20, 40], np.array([[0.1, 0.5, 0.9], [0.95, 0.96, 0.97], [0.1, 0.2, 0.3], [0.1, 0.8, 0.2]])
    found = subspace.crossing(grid, values, 0.7)
    assert found[0] == pytest.approx(20 * math.sqrt(2)) and np.isnan(found[1:3]).all()
    assert found[3] == pytest.approx(10 * 2 ** (6 / 7))


def test_modes_are_counted_and_functions_have_mean_square_one():
    for d, m in ((1, 3), (2, 2), (3, 1)):
        k = difficulty.modes(d, m)
        assert len(k) == (2 * m + 1) ** d and len(np.unique(k, axis=0)) == len(k)
        u, c = rng(d).random((4000, d)), difficulty.draw_coefficients(k, 300, 0, rng(m))
        assert (difficulty.band_limited(k, c, u) ** 2).mean() == pytest.approx(1, rel=0.1)


def test_band_limited_functions_are_an_orthonormal_basis():
    k = difficulty.modes(2, 1)
    grid = np.stack(np.meshgrid(*[np.arange(8) / 8] * 2), axis=-1).reshape(-1, 2)
    waves = difficulty.band_limited(k, np.eye(9), grid)
    np.testing.assert_allclose(waves.T @ waves / 64, np.eye(9), atol=1e-12)


def test_kernel_ridge_equals_scikit_learn_with_its_left_out_choice():
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.model_selection import GridSearchCV, LeaveOneOut

    g = rng(4)
    u, test = g.random((14, 1)), g.random((60, 1))
    y, truth = (np.sin(2 * np.pi * a) + np.cos(4 * np.pi * a) for a in (u, test))
    both = [np.concatenate([np.cos(2 * np.pi * a), np.sin(2 * np.pi * a)], axis=1) for a in (u, test)]
    search = GridSearchCV(
        KernelRidge(kernel="rbf"),
        {"gamma": 1 / (2 * difficulty.LENGTHS**2), "alpha": difficulty.RIDGES}, cv=LeaveOneOut(),
        scoring="neg_mean_squared_error",
    )  # fmt: skip
    theirs = ((search.fit(both[0], y).predict(both[1]) - truth) ** 2).mean() / (truth**2).mean()
    assert difficulty.ridge_errors(u, y, test, truth)[0] == pytest.approx(theirs, rel=1e-5)


def test_the_need_of_a_constant_is_the_smallest_size_and_an_unmet_need_is_nan():
    assert difficulty.data_need(1, [0], [0], rng(), largest=8)[0, 0] == 2
    assert np.isnan(difficulty.data_need(3, [3], [0], rng(), largest=8)[0, 0])


def test_bits_equal_the_printed_order_of_magnitude_and_grow_with_dimension():
    """Eigenfunctions by binomials of whole numbers, then bits against the formula in plain arithmetic."""
    m, radius, gap, c, n, err = 4.0, 1.0, 2 * np.pi / math.sqrt(15 * 15 + 3 * 15), 3, 100, 0.1
    k = 15  # this gap makes K a whole number: K^2 + (m - 1) K = M^2
    functions = math.comb(4 + k, 4) + math.comb(4 + k - 1, 4)
    log_w = 0.5 * math.log(m / 6) + math.log(radius) - math.log(n) / m
    log_w += (math.log(2) + 2.5 * math.log(math.pi) + math.log(c) - math.lgamma(2.5)) / m
    each = 0.5 * math.log(2) + 0.5 * math.log(3) - math.log(err) + math.log(k * math.sqrt(2) / radius) + log_w
    expected = (2 * 2 * c * functions - 2 * n) * each / math.log(2)
    assert 2 ** difficulty.difficulty_bits(m, radius, gap, c, n, err) == pytest.approx(expected, rel=1e-9)
    by_dimension = [difficulty.difficulty_bits(m, 5, 2, 10, 1000, 0.1) for m in (4, 6, 8, 10)]
    assert (np.diff(by_dimension) > 0.5).all()
    with pytest.raises(UserError, match="nothing is missing"):
        difficulty.difficulty_bits(1.0, 1, 3, 2, 10**6, 0.1)


def scores(parameters, k, x):
    """Return the Fisher information of one network, by automatic differentiation of every class's log probability."""
    one = {name: value[k : k + 1].double().requires_grad_() for name, value in parameters.items()}
    total = 0
    for point in x:
        logs = torch.log_softmax(mlp_forward(torch.tanh)(one, point[None].double())[0, 0], dim=0)
        for c in range(len(logs)):
            gradient = torch.autograd.grad(logs[c], list(one.values()), retain_graph=True)
            flat = torch.cat([g.flatten() for g in gradient])
            total = total + logs[c].exp().detach() * torch.outer(flat, flat) / len(x)
    return total


def test_gram_matrix_has_the_determinant_of_the_fisher_information():
    parameters = mlp([(3, 5, 4)] * 2, [torch.Generator().manual_seed(k) for k in range(2)], gain=2.0)
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(9))
    gram = fisher.score_gram(parameters, x)
    for k in range(2):
        information = scores(parameters, k, x)
        assert float(gram[k].diagonal().sum()) == pytest.approx(float(information.trace()), rel=1e-8)
        ours = torch.linalg.slogdet(torch.eye(len(gram[k]), dtype=torch.double) + 3.0 * gram[k])[1]
        theirs = torch.linalg.slogdet(torch.eye(len(information), dtype=torch.double) + 3.0 * information)[1]
        assert float(ours) == pytest.approx(float(theirs), rel=1e-8)


def test_effective_dimension_of_equal_eigenvalues_is_known():
    """If F has R eigenvalues d/R, then d_eff = R log(1 + kappa d / R) / log kappa."""
    size, rank, resolution = 50, 8, fisher.kappa(300)
    gram = torch.eye(rank, dtype=torch.double)[None] * 7.0
    half = fisher.half_log_determinant(gram, torch.tensor([7.0 * rank], dtype=torch.double), size, resolution)
    assert float(half) == pytest.approx(0.5 * rank * math.log1p(resolution * size / rank), rel=1e-12)
    assert resolution == pytest.approx(300 / (2 * math.pi * math.log(300)))


def test_the_ball_is_uniform_and_its_average_meets_the_centre_when_it_is_small():
    parameters = mlp([(3, 5, 4)] * 400, [torch.Generator().manual_seed(k) for k in range(400)])
    moved = fisher.in_ball(parameters, 2.0, torch.Generator().manual_seed(1))
    away = sum((moved[n] - parameters[n]).flatten(1).square().sum(1) for n in parameters).sqrt()
    size = fisher.weights(parameters)
    assert float(away.max()) <= 2.0 + 1e-5 and float(away.mean()) == pytest.approx(2 * size / (size + 1), rel=0.005)
    few = {name: value[:3] for name, value in parameters.items()}
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(9))
    ball, centre = fisher.local_effective_dimension(few, x, 10**9, 3, torch.Generator().manual_seed(2))
    torch.testing.assert_close(ball, centre, rtol=1e-3, atol=0)


def test_outside_variance_and_refit_have_closed_forms():
    g = rng(1)
    wide = g.standard_normal((5000, 6)) * np.array([3, 3, 3, 3, 1, 1])
    assert collapse.variance_outside(wide) == pytest.approx(2 / 38, rel=0.1)
    assert collapse.variance_outside(wide[:, :4]) == pytest.approx(0, abs=1e-12)
    truth = g.standard_normal((6, 4))
    np.testing.assert_allclose(collapse.refitted(wide, wide @ truth + 5, wide[:9]), wide[:9] @ truth + 5, atol=1e-9)
    dead = np.concatenate([wide, np.zeros((5000, 2))], axis=1)  # units that never fire change nothing
    np.testing.assert_allclose(collapse.refitted(dead, wide @ truth, dead[:9]), wide[:9] @ truth, atol=1e-9)


def test_teachers_are_standardised_and_the_linear_one_is_linear():
    x, y, noise = collapse.teacher(rng(2), 4000, True)
    np.testing.assert_allclose([y.mean(), y.std(axis=0).mean()], [0, 1], atol=1e-9)
    design = np.concatenate([x, np.ones((4000, 1))], axis=1)
    assert np.abs(design @ np.linalg.lstsq(design, y, rcond=None)[0] - y).max() < 1e-9
    x, y, _ = collapse.teacher(rng(2), 4000, False)
    design = np.concatenate([x, np.ones((4000, 1))], axis=1)
    assert ((design @ np.linalg.lstsq(design, y, rcond=None)[0] - y) ** 2).mean() > 0.02
    assert noise.shape == y.shape


def test_last_hidden_layer_times_the_readout_is_the_output():
    parameters = mlp([(5, 8, 7, 3)] * 2, [torch.Generator().manual_seed(k) for k in range(2)])
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(3))
    out = collapse.last_hidden(parameters, x) @ parameters["w2"] + parameters["b2"]
    torch.testing.assert_close(out, mlp_forward()(parameters, x))


def test_turning_and_shifting_images():
    image = np.zeros((3, 8, 8))
    image[:, 2, 5] = 1
    turned = tasks.moved(image, np.radians([0, 90, 180]), np.zeros((3, 2)))
    np.testing.assert_allclose(turned[0], image[0], atol=1e-9)
    np.testing.assert_allclose(turned[2], image[0, ::-1, ::-1], atol=1e-9)
    np.testing.assert_allclose(turned[1], np.rot90(image[0], -1), atol=1e-9)
    shifted = tasks.moved(image, np.zeros(3), np.array([[1, 0], [0, -2], [7, 0]]))
    assert shifted[0, 3, 5] == 1 and shifted[1, 2, 3] == 1 and shifted[2].sum() == 0


def test_there_are_twelve_variants_and_twenty_four_tasks_as_planned():
    variants = tasks.digit_variants(rng())
    assert len(variants) == 12 and {len(x) for x in variants.values()} == {1797}
    np.testing.assert_array_equal(variants["plain"], digits()[0])
    assert variants["pooled"].shape[1] == 16 and variants["ten components"].shape[1] == 10
    cancer = (rng(1).standard_normal((569, 30)), rng(2).integers(2, size=569))
    made = tasks.shape_tasks(rng(3), cancer, test=100)
    assert len(made) == 24 and len({task.name for task in made}) == 24
    for task in made:
        assert task.many == 10 * task.few < len(task.x)
        assert task.classes in (2, 5, 10)
        if task.classes == 2 and not task.name.startswith(("breast", "linear")):
            assert 0.4 < task.y.mean() < 0.6


def test_kernel_ridge_equals_scikit_learn_and_nearest_neighbour_too():
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.neighbors import KNeighborsClassifier

    g = rng(5)
    x, test, y = g.standard_normal((120, 4)), g.standard_normal((50, 4)), g.integers(3, size=120)
    squared = ((x[:, None] - x) ** 2).sum(-1)
    model = KernelRidge(alpha=1e-2, kernel="rbf", gamma=1 / (2 * np.median(squared)))
    theirs = model.fit(x, np.where(y[:, None] == np.arange(3), 1, -1)).predict(test).argmax(axis=1)
    assert (tasks.kernel_ridge(x, y, test) == theirs).mean() > 0.97
    np.testing.assert_array_equal(tasks.nearest_neighbour(x, y, test), KNeighborsClassifier(1).fit(x, y).predict(test))


def test_left_out_predictions_equal_refitting_without_each_task():
    g = rng(6)
    features, goal = g.standard_normal((12, 3)), g.standard_normal(12)
    z = (features - features.mean(0)) / features.std(0)
    for i, found in enumerate(tasks.left_out_predictions(features, goal)):
        rest = np.delete(np.arange(12), i)
        a = np.column_stack([np.ones(11), z[rest]])
        weights = np.linalg.solve(a.T @ a + np.diag([0, 1, 1, 1]), a.T @ goal[rest])
        assert found == pytest.approx(weights[0] + z[i] @ weights[1:], rel=1e-9)


class Threshold:
    """A stand-in whose accuracy is known: right for a share of the test rows that grows with its data."""

    def fit(self, x, y):
        self.size = len(x)
        return self

    def predict(self, x):
        right = np.arange(len(x)) < len(x) * min(1.0, 0.5 + 0.1 * math.log2(self.size / 40))
        return np.where(right, 0, 1)


def test_support_need_is_interpolated_in_log_size():
    x, y, orders = np.zeros((2200, 1)), np.zeros(2200, int), [np.arange(2200)]
    assert tasks.support_need(x, y, orders, Threshold, goal=0.72) == pytest.approx(40 * 2**2.2, rel=0.01)
    assert tasks.support_need(x, y, orders, Threshold, goal=0.4) == 40
    assert tasks.support_need(x, y, orders, Threshold, goal=1.0) == tasks.NOT_REACHED


def test_no_error_still_has_a_logarithm():
    assert tasks.smoothed_error(np.zeros(9), np.zeros(9)) == pytest.approx(0.05)

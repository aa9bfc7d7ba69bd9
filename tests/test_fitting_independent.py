"""The fitter against scipy, closed forms, linear programming, and the printed Chinchilla replication."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize

from scalebook import laws
from scalebook.fitting import fit
from scalebook.fitting.problem import Problem
from scalebook.fitting.solver import minimise
from test_fitting import DESIGNS, X, noisy
from test_laws import TRUTHS

NEED_ONE = (
    "power law with floor",
    "Chinchilla",
    "Kaplan",
    "over-training",
    "annealing",
    "broken power law",
    "exponential",
)
BY_NAME = pytest.mark.parametrize(
    "law", [law for law in laws.CATALOGUE if law.name in NEED_ONE], ids=lambda law: law.name
)


def setting(law, seed=3):
    x = DESIGNS.get(law.name, {"x": X})
    y = noisy(law, x, TRUTHS[law.name], seed=seed)
    problem = Problem(law, x, y, 1e-3)
    start = law.internal(np.array([TRUTHS[law.name][name] for name in law.parameters]), problem.form)
    return x, y, problem.form, start


@BY_NAME
def test_huber_fit_equals_scipys_least_squares_with_huber_loss(law):
    x, y, form, start = setting(law)

    def residuals(theta):
        return form.evaluate(theta[None])[0][0] - np.log(y)

    found = fit(law, x, y, delta=1e-2)
    theirs = optimize.least_squares(
        residuals, start, loss="huber", f_scale=1e-2, xtol=1e-14, ftol=1e-14, gtol=1e-14, x_scale="jac", max_nfev=4000
    )
    assert found.loss <= theirs.cost * (1 + 1e-9)
    assert found.loss == pytest.approx(theirs.cost, rel=1e-4)
    assert np.log(found.predict(x)) == pytest.approx(form.evaluate(theirs.x[None])[0][0], abs=2e-4)


@pytest.mark.parametrize("law", [laws.PowerLaw, laws.PowerFloor, laws.Logarithmic], ids=lambda law: law.name)
def test_least_squares_equals_scipys_curve_fit(law):
    y = noisy(law, {"x": X}, TRUTHS[law.name])
    names = list(law.parameters)

    def model(x, *values):
        return np.log(law(x, dict(zip(names, np.abs(values) if law is not laws.Logarithmic else values))))

    theirs, _ = optimize.curve_fit(model, X, np.log(y), p0=[TRUTHS[law.name][k] for k in names], xtol=1e-12, ftol=1e-12)
    assert list(fit(law, X, y, delta=None).params.values()) == pytest.approx(list(theirs), rel=1e-5)


def test_a_power_law_by_least_squares_is_linear_regression_in_logs():
    y = noisy(laws.PowerLaw, {"x": X}, TRUTHS["power law"], sigma=0.1)
    tilt, height = np.polyfit(np.log(X), np.log(y), 1)
    found = fit(laws.PowerLaw, X, y, delta=None)
    assert found.params == pytest.approx({"A": np.exp(height), "alpha": -tilt}, rel=1e-8)


def test_a_narrow_huber_function_is_least_absolute_deviations():
    """The median of the log residuals about a level, and linear programming for a power law."""
    y = noisy(laws.PowerLaw, {"x": X}, TRUTHS["power law"], sigma=0.1)
    n = X.size
    design = np.stack([np.ones(n), -np.log(X)], axis=1)
    program = optimize.linprog(
        np.concatenate([np.zeros(2), np.ones(2 * n)]),
        A_eq=np.hstack([design, np.eye(n), -np.eye(n)]),
        b_eq=np.log(y),
        bounds=[(None, None)] * 2 + [(0, None)] * 2 * n,
    )
    found = fit(laws.PowerLaw, X, y, delta=1e-7)
    assert found.params["alpha"] == pytest.approx(program.x[1], abs=1e-6)
    assert found.loss / 1e-7 == pytest.approx(program.fun, rel=1e-5)


def test_the_standard_error_of_least_squares_is_the_textbook_one():
    rng = np.random.default_rng(5)
    x = np.logspace(5, 9, 200)
    y = laws.PowerLaw(x, TRUTHS["power law"]) * np.exp(0.05 * rng.standard_normal(x.size))
    found = fit(laws.PowerLaw, x, y, delta=None, bootstrap=2000)
    u = np.log(x) - np.log(x).mean()
    residual = np.log(y) - np.log(found.predict(x))
    assert found.resamples["alpha"].std() == pytest.approx(np.sqrt((residual**2 * u**2).sum()) / (u**2).sum(), rel=0.06)


@pytest.mark.parametrize("seed", range(3))
def test_the_batch_solver_finds_what_scipy_finds_on_rosenbrocks_valley(seed):
    starts = np.random.default_rng(seed).uniform(-2, 2, (40, 2))

    def rosenbrock(theta, rows):
        x, y = theta.T
        value = 100 * (y - x**2) ** 2 + (1 - x) ** 2
        gradient = np.stack([-400 * x * (y - x**2) - 2 * (1 - x), 200 * (y - x**2)], axis=1)
        curvature = np.empty((len(x), 2, 2))
        curvature[:, 0, 0], curvature[:, 1, 1] = 1200 * x**2 - 400 * y + 2, 200
        curvature[:, 0, 1] = curvature[:, 1, 0] = -400 * x
        return value, gradient, curvature, np.ones_like(theta)

    free = minimise(rosenbrock, starts, np.full(2, -9.0), np.full(2, 9.0))
    assert free.converged.all() and free.theta == pytest.approx(1, abs=1e-5)
    low, high = np.array([-2.0, -2.0]), np.array([0.5, 2.0])
    theirs = optimize.minimize(
        optimize.rosen, [0.0, 0.0], jac=optimize.rosen_der, method="L-BFGS-B", bounds=list(zip(low, high))
    )
    held = minimise(rosenbrock, starts, low, high)
    assert held.value == pytest.approx(theirs.fun, rel=1e-6) and held.theta[:, 0] == pytest.approx(0.5)


def test_a_start_without_a_value_is_returned_as_it_is():
    def square(theta, rows):
        value = np.where(theta[:, 0] > 5, np.inf, (theta**2).sum(axis=1))
        return value, 2 * theta, np.broadcast_to(2 * np.eye(1), (len(theta), 1, 1)), np.ones_like(theta)

    found = minimise(square, np.array([[6.0], [3.0]]), np.array([-9.0]), np.array([9.0]))
    assert found.converged.tolist() == [False, True]
    assert found.theta.ravel() == pytest.approx([6.0, 0.0]) and np.isinf(found.value[0])


# Besiroglu et al. 2024 (arXiv 2404.10102), table 1, with its standard errors
PRINTED = {
    "A": (482.01, 124.58),
    "B": (2085.43, 1293.23),
    "E": (1.8172, 0.03),
    "alpha": (0.3478, 0.02),
    "beta": (0.3658, 0.02),
}
MIRROR = os.environ.get("SCALEBOOK_MIRROR")
with_points = pytest.mark.skipif(not MIRROR, reason="published table: set SCALEBOOK_MIRROR to the folder of tables")


def chinchilla_points():
    path = Path(MIRROR) / "besiroglu2024chinchilla" / "chinchilla_points.csv"
    n, c, _, loss = np.loadtxt(path, delimiter=",", skiprows=1, unpack=True)
    kept = loss < np.sort(loss)[-5]  # the replication drops the five highest losses
    return {"N": n[kept], "D": c[kept] / (6 * n[kept])}, loss[kept]


@with_points
def test_the_printed_parameters_of_the_chinchilla_replication():
    x, loss = chinchilla_points()
    found = fit(laws.Chinchilla, x, loss, bootstrap=400)
    assert loss.size == 240
    assert found.loss <= 1.018275e-3
    for name, (value, error) in PRINTED.items():
        assert abs(found.params[name] - value) < error, name
        interval = found.interval(name)
        assert interval.low < value < interval.high, name
    a = found.interval(lambda p: p["beta"] / (p["alpha"] + p["beta"]), level=0.8)
    assert a.value == pytest.approx(0.513, abs=0.02) and a.high - a.low == pytest.approx(0.051, abs=0.01)


@with_points
def test_scipy_from_the_same_start_finds_nothing_lower_and_resamples_agree():
    x, loss = chinchilla_points()
    found = fit(laws.Chinchilla, x, loss)
    form = laws.Chinchilla.bind(x)
    weights = np.vstack([np.ones(240), np.random.default_rng(0).multinomial(240, np.full(240, 1 / 240), size=4)])

    def objective(theta, weight):
        value, state = form.evaluate(theta[None])
        residual = value - np.log(loss)
        slope = np.clip(residual, -1e-3, 1e-3)
        return 1e3 * (weight * slope * (residual - slope / 2)).sum(), 1e3 * form.gradient(state, weight * slope)[0]

    start = laws.Chinchilla.internal(np.array(list(found.params.values())), form)
    refits = found.refit(weights=weights)
    for i, weight in enumerate(weights):
        theirs = optimize.minimize(objective, start, (weight,), jac=True, method="BFGS", options={"gtol": 1e-9})
        ours = laws.Chinchilla.internal(np.array([refits[name][i] for name in laws.Chinchilla.parameters]), form)
        assert objective(ours, weight)[0] <= theirs.fun * (1 + 1e-10)


@with_points
def test_dropping_no_point_moves_the_exponents_as_the_registry_says():
    path = Path(MIRROR) / "besiroglu2024chinchilla" / "chinchilla_points.csv"
    n, c, _, loss = np.loadtxt(path, delimiter=",", skiprows=1, unpack=True)
    found = fit(laws.Chinchilla, {"N": n, "D": c / (6 * n)}, loss)
    assert found.params == pytest.approx(
        {"E": 1.8913, "A": 495.7, "B": 12846, "alpha": 0.3493, "beta": 0.4530}, rel=2e-3
    )

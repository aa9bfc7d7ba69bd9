"""Laws against their formulas, and their derivatives against finite differences."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalebook import laws
from scalebook.errors import ScalebookError, UserError
from scalebook.laws import CATALOGUE, Law, Sum

# each law as its paper prints it, in plain floats, with truths of the size met in practice
FORMULAS = {
    "power law": lambda p, x: p["A"] * x ** -p["alpha"],
    "power law with floor": lambda p, x: p["E"] + p["A"] * x ** -p["alpha"],
    "exponential": lambda p, x: p["E"] + p["A"] * math.exp(-p["k"] * x),
    "logarithmic": lambda p, x: p["a"] - p["b"] * math.log(x),
    "broken power law": lambda p, x: (
        p["E"] + p["b"] * x ** -p["c0"] * (1 + (x / p["d"]) ** (1 / p["f"])) ** (-p["c1"] * p["f"])
    ),
    "Chinchilla": lambda p, n, d: p["E"] + p["A"] / n ** p["alpha"] + p["B"] / d ** p["beta"],
    "Kaplan": lambda p, n, d: ((p["Nc"] / n) ** (p["alpha_N"] / p["alpha_D"]) + p["Dc"] / d) ** p["alpha_D"],
    "over-training": lambda p, c, m: p["E"] + (p["a"] * m ** p["eta"] + p["b"] * m ** -p["eta"]) * c ** -p["eta"],
    "annealing": lambda p, s1, s2: p["L0"] + p["A"] * s1 ** -p["alpha"] - p["C"] * s2,
}
TRUTHS = {
    "power law": {"A": 12.0, "alpha": 0.21},
    "power law with floor": {"E": 1.7, "A": 40.0, "alpha": 0.33},
    "exponential": {"E": 1.2, "A": 2.5, "k": 0.8},
    "logarithmic": {"a": 8.0, "b": 0.15},
    "broken power law": {"E": 0.5, "b": 20.0, "c0": 0.1, "c1": 0.3, "d": 1e7, "f": 0.4},
    "Chinchilla": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
    "Kaplan": {"Nc": 6.4e13, "Dc": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
    "over-training": {"E": 1.8, "a": 100.0, "b": 150.0, "eta": 0.17},
    "annealing": {"L0": 2.0, "A": 1.1, "C": 0.7, "alpha": 0.5},
}
BY_NAME = pytest.mark.parametrize("law", CATALOGUE, ids=lambda law: law.name)


def inputs(law: Law, n: int = 9, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    spans = {"N": (6, 10), "D": (8, 12), "C": (18, 23), "M": (0, 3), "S1": (-1, 1), "x": (5, 9)}
    x = {name: 10 ** rng.uniform(*spans.get(name, (0, 1)), n) for name in law.inputs}
    if law.name == "annealing":
        x["S2"] = rng.uniform(-0.3, 0.6, n)  # annealing, and a rate that rose again
    if law.name == "exponential":
        x["x"] = rng.uniform(0, 5, n)
    return x


@BY_NAME
def test_values_equal_the_printed_formula(law):
    x, truth = inputs(law), TRUTHS[law.name]
    expected = [FORMULAS[law.name](truth, *row) for row in zip(*x.values())]
    assert law(x, truth) == pytest.approx(expected, rel=1e-12)


@BY_NAME
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_gradient_equals_finite_differences(law, seed):
    form, theta, weight = random_point(law, seed)
    gradient = form.gradient(form.evaluate(theta)[1], weight)[0]
    for j in range(theta.shape[1]):
        step = 1e-6 * (1 + abs(theta[0, j]))
        above, below = (form.evaluate(theta + sign * step * np.eye(theta.shape[1])[j])[0] for sign in (1, -1))
        slope = ((above - below) * weight).sum() / (2 * step)
        assert gradient[j] == pytest.approx(slope, rel=1e-5, abs=1e-6 * np.abs(gradient).max())


@BY_NAME
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_hessian_equals_finite_differences_of_the_gradient(law, seed):
    form, theta, inner = random_point(law, seed)
    outer = np.abs(random_point(law, seed + 1)[2])
    state = form.evaluate(theta)[1]
    found = form.hessian(theta, state, outer, inner)[0]
    rows = np.array([form.gradient(state, one[None])[0] for one in np.eye(inner.shape[1])])  # grad f_i
    expected = np.einsum("i,ij,ik->jk", outer[0], rows, rows)
    for j in range(theta.shape[1]):
        step = 1e-5 * (1 + abs(theta[0, j]))
        ends = [
            form.gradient(form.evaluate(theta + s * step * np.eye(theta.shape[1])[j])[1], inner)[0] for s in (1, -1)
        ]
        expected[j] += (ends[0] - ends[1]) / (2 * step)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6 * np.abs(expected).max())
    assert form.hessian(theta, state, outer, None)[0] == pytest.approx(np.einsum("i,ij,ik->jk", outer[0], rows, rows))
    if law.name != "over-training":  # its eta is in two terms, whose squares add without their product
        assert form.squares(state, outer)[0] == pytest.approx(outer[0] @ rows**2)


def random_point(law: Law, seed: int):
    """A form, internal parameters near a truth and weights of either sign, for one parameter vector."""
    rng = np.random.default_rng(seed)
    form = law.bind(law.check_inputs(inputs(law, seed=seed)))
    centre = law.internal(np.array([[TRUTHS[law.name][name] for name in law.parameters]]), form)
    theta = centre * (1 + 0.02 * rng.standard_normal(centre.shape))
    return form, theta, rng.standard_normal((1, next(iter(inputs(law).values())).size))


SPARSE = Law(
    name="sparse",
    formula="e (1-S)^gamma + (a (1-S)^alpha + c S) N^-alpha + b D^-beta",
    inputs={"N": "parameters", "D": "tokens", "S": "inactive share"},
    parameters={"e": "y", "a": "y N^alpha", "b": "y D^beta", "c": "y N^alpha", "alpha": "1", "beta": "1", "gamma": "1"},
    signed=("S",),
    form=lambda x: Sum(
        e={"gamma": np.log1p(-x["S"])},
        a={"alpha": np.log1p(-x["S"]) - np.log(x["N"])},
        c={"alpha": -np.log(x["N"]), "times": x["S"]},
        b={"beta": -np.log(x["D"])},
    ),
)


def test_a_new_law_is_a_few_lines_and_the_one_in_the_documentation_is_right():
    documented = inspect.getdoc(Law)
    block = documented[documented.index("Sparse = Law(") :]
    assert len(block.strip().splitlines()) < 20
    space = {"Law": Law, "Sum": Sum, "np": np}
    exec(inspect.cleandoc(block), space)
    x = {"N": np.array([1e7, 1e8]), "D": np.array([1e9, 1e10]), "S": np.array([0.0, 0.75])}
    p = {"e": 1.7, "a": 400.0, "b": 800.0, "c": 90.0, "alpha": 0.34, "beta": 0.3, "gamma": 0.05}
    dense = laws.Chinchilla({"N": x["N"], "D": x["D"]}, E=p["e"], A=p["a"], B=p["b"], alpha=p["alpha"], beta=p["beta"])
    found = space["Sparse"](x, p)
    assert found[0] == pytest.approx(dense[0], rel=1e-12)  # no sparsity: the dense law
    n, d, s = 1e8, 1e10, 0.75
    by_hand = 1.7 * 0.25**0.05 + (400 * 0.25**0.34 + 90 * s) * n**-0.34 + 800 * d**-0.3
    assert found[1] == pytest.approx(by_hand, rel=1e-12)
    assert SPARSE(x, p) == pytest.approx(found)


def test_a_term_may_be_subtracted():
    """Gadre et al. 2024, equation 5: Err = eps - k exp(-gamma L)."""
    law = Law(
        "error from loss", "eps - k exp(-gamma L)", {"L": "nats"}, {"eps": "y", "k": "y", "gamma": "1/nat"},
        form=lambda x: Sum(linear={"eps": 1.0}, k={"gamma": -x["L"], "times": -1.0}),
    )  # fmt: skip
    assert law(np.array([2.0, 3.0]), eps=0.85, k=2.0, gamma=0.7) == pytest.approx(0.85 - 2 * np.exp([-1.4, -2.1]))


@BY_NAME
def test_far_away_parameters_neither_overflow_nor_warn(law):
    """Warnings are errors here: the solver visits such places, and numpy must have nothing to say about them."""
    form = law.bind(law.check_inputs(inputs(law)))
    rng = np.random.default_rng(0)
    most = np.minimum(form.limits(), 1e6)
    theta = rng.choice([-1.0, 1.0, 0.5], size=(200, most.size)) * most
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        value, state = form.evaluate(theta)
        gradient = form.gradient(state, np.ones(value.shape))
    assert np.isfinite(value).all() and np.isfinite(gradient).all()


def test_where_a_law_is_not_positive_it_says_so_to_the_solver():
    form = laws.Logarithmic.bind({"x": np.array([1.0, 1e9])})
    value, _ = form.evaluate(np.array([[1.0, 0.2], [9.0, 0.2]]))
    assert value[0, 1] > 1e90 and value[1, 1] == pytest.approx(math.log(9 - 0.2 * math.log(1e9)))


def test_stacks_of_parameters_give_stacks_of_values():
    x = inputs(laws.PowerFloor)
    found = laws.PowerFloor(x, E=np.array([1.0, 2.0]), A=5.0, alpha=0.1)
    assert found.shape == (2, 9)
    assert found[1] == pytest.approx(laws.PowerFloor(x, E=2.0, A=5.0, alpha=0.1))


def test_fixing_tying_and_renaming():
    x = inputs(laws.Chinchilla)
    law = laws.Chinchilla.fix(E=1.5).tie(beta="alpha")
    assert law.free == ["A", "B", "alpha"]
    full = laws.Chinchilla(x, E=1.5, A=400.0, B=500.0, alpha=0.3, beta=0.3)
    assert law(x, A=400.0, B=500.0, alpha=0.3) == pytest.approx(full)
    zero = laws.PowerFloor.fix(E=0.0)
    assert zero(np.array([10.0]), A=2.0, alpha=1.0) == pytest.approx([0.2])
    renamed = laws.PowerFloor.on(x="N").named("size only")
    assert renamed({"N": x["N"]}, E=1.0, A=5.0, alpha=0.1) == pytest.approx(
        laws.PowerFloor(x["N"], E=1.0, A=5.0, alpha=0.1)
    )
    assert renamed.name == "size only" and list(renamed.inputs) == ["N"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: laws.Chinchilla({"N": [1e6]}, E=1, A=1, B=1, alpha=1, beta=1), "x lacks ['D']"),
        (lambda: laws.Chinchilla({"N": [1e6], "D": [1], "T": [1]}, E=1, A=1, B=1, alpha=1, beta=1), "unknown ['T']"),
        (lambda: laws.Chinchilla([1e6], E=1), "give x as a dict"),
        (lambda: laws.Chinchilla({"N": [1e6], "D": [1e9, 2e9]}, E=1), "differ in length"),
        (lambda: laws.PowerLaw([1.0, 0.0], A=1, alpha=1), "above zero"),
        (lambda: laws.PowerLaw([1.0, math.nan], A=1, alpha=1), "finite"),
        (lambda: laws.PowerLaw([[1.0]], A=1, alpha=1), "one-dimensional"),
        (lambda: laws.PowerLaw(["one"], A=1, alpha=1), "not an array of numbers"),
        (lambda: laws.PowerLaw([1.0], A=1), "all needed"),
        (lambda: laws.PowerLaw([1.0], A=1, alpha=1, E=2), "it has ['A', 'alpha']"),
        (lambda: laws.PowerLaw([1.0], A=-1, alpha=1), "never below zero"),
        (lambda: laws.PowerLaw.fix(E=1), "no parameter ['E']"),
        (lambda: laws.PowerLaw.tie(A="A"), "cannot tie"),
        (lambda: laws.PowerLaw.bound(alpha=(1, 0)), "low < high"),
        (lambda: laws.PowerLaw.on(N="x"), "no input ['N']"),
    ],
)
def test_errors_say_what_was_given_and_what_is_allowed(call, words):
    with pytest.raises(UserError) as caught:
        call()
    assert words in str(caught.value)


def test_a_law_whose_form_and_parameters_differ_is_refused():
    law = Law("odd", "A x^-alpha", {"x": ""}, {"A": "y", "beta": "1"}, form=lambda x: Sum(A={"alpha": -np.log(x["x"])}))
    with pytest.raises(ScalebookError, match="form uses"):
        law([1.0], A=1, beta=1)

"""The fitter: exact recovery, what it warns of, what it refuses, and that it is deterministic."""

import math

import numpy as np
import pytest

from scalebook import laws
from scalebook.errors import UserError
from scalebook.fitting import Starts, fit
from scalebook.laws import CATALOGUE
from test_laws import TRUTHS

RNG = np.random.default_rng(0)
N, D = (g.ravel() for g in np.meshgrid(np.logspace(6, 9, 6), np.logspace(8, 11, 6)))
X = np.logspace(5, 9, 24)
DESIGNS = {
    "exponential": {"x": np.linspace(0, 4, 30)},
    "broken power law": {"x": np.logspace(4, 10, 60)},
    "Chinchilla": {"N": N, "D": D},
    "Kaplan": {"N": N, "D": D},
    "over-training": {"C": 6 * N * D, "M": D / N},
    "annealing": {"S1": np.linspace(0.1, 1, 40), "S2": np.tile([0.0, 0.1, 0.3, -0.1], 10)},
}


def noisy(law, x, truth, sigma=0.003, seed=0):
    clean = law(x, truth)
    return clean * np.exp(sigma * np.random.default_rng(seed).standard_normal(clean.size))


@pytest.mark.parametrize("delta", [1e-3, None])
@pytest.mark.parametrize("law", CATALOGUE, ids=lambda law: law.name)
def test_noise_free_data_give_the_truth_back(law, delta):
    x = DESIGNS.get(law.name, {"x": X})
    found = fit(law, x, law(x, TRUTHS[law.name]), delta=delta)
    assert found.params == pytest.approx(TRUTHS[law.name], rel=1e-5)
    assert found.loss < 1e-15
    assert found.predict(x) == pytest.approx(law(x, TRUTHS[law.name]), rel=1e-7)
    assert not any("optima" in warning or "bound" in warning for warning in found.warnings)


def test_the_loss_is_the_sum_of_huber_terms_on_log_residuals():
    y = noisy(laws.PowerFloor, X, TRUTHS["power law with floor"])
    found = fit(laws.PowerFloor, X, y)
    size = np.abs(np.log(found.predict(X)) - np.log(y))
    terms = np.where(size <= 1e-3, size**2 / 2, 1e-3 * (size - 0.5e-3))
    assert found.loss == pytest.approx(terms.sum(), rel=1e-12)
    assert np.abs(found.residuals) == pytest.approx(size)
    assert fit(laws.PowerFloor, X, y, delta=None).loss == pytest.approx(
        0.5 * (fit(laws.PowerFloor, X, y, delta=None).residuals ** 2).sum()
    )


def test_outliers_pull_least_squares_and_not_the_default():
    truth = TRUTHS["Chinchilla"]
    y = laws.Chinchilla({"N": N, "D": D}, truth)
    y[[3, 17]] *= 1.25  # two runs that diverged
    assert fit(laws.Chinchilla, {"N": N, "D": D}, y).params == pytest.approx(truth, rel=1e-2)
    assert fit(laws.Chinchilla, {"N": N, "D": D}, y, delta=None).params["alpha"] != pytest.approx(
        truth["alpha"], rel=0.02
    )


def test_units_of_the_inputs_do_not_matter():
    x = {"N": N, "D": D}
    y = noisy(laws.Chinchilla, x, TRUTHS["Chinchilla"])
    plain, scaled = fit(laws.Chinchilla, x, y), fit(laws.Chinchilla, {"N": N / 1e6, "D": D / 1e9}, 3 * y)
    assert scaled.params["alpha"] == pytest.approx(plain.params["alpha"], rel=1e-6)
    assert scaled.params["E"] == pytest.approx(3 * plain.params["E"], rel=1e-6)
    assert scaled.loss == pytest.approx(plain.loss, rel=1e-9)


def test_the_same_call_gives_the_same_numbers_and_another_seed_other_intervals():
    y = noisy(laws.PowerFloor, X, TRUTHS["power law with floor"])
    one, two, other = (fit(laws.PowerFloor, X, y, bootstrap=50, seed=seed) for seed in (7, 7, 8))
    assert one.params == two.params == other.params
    assert all(np.array_equal(one.resamples[name], two.resamples[name]) for name in one.params)
    assert one.interval("alpha") == two.interval("alpha") != other.interval("alpha")


def test_starts_grid_array_and_default_find_the_same_optimum():
    y = noisy(laws.PowerFloor, X, TRUTHS["power law with floor"])
    default = fit(laws.PowerFloor, X, y)
    grid = fit(laws.PowerFloor, X, y, starts={"alpha": [0.2, 0.5], "E": [1.0, 2.0], "A": [1.0, 1e3]})
    table = fit(laws.PowerFloor, X, y, starts=[[1.0, 30.0, 0.4], [2.0, 10.0, 0.2]])
    assert grid.starts.total == 8 and table.starts == Starts(2, 2)
    assert str(table.starts) == "2 of 2 starts reached the optimum"
    assert grid.params == pytest.approx(default.params, rel=1e-6)
    assert table.params == pytest.approx(default.params, rel=1e-6)


def test_fixed_tied_and_bounded_parameters():
    x = {"N": N, "D": D}
    y = noisy(laws.Chinchilla, x, TRUTHS["Chinchilla"])
    found = fit(laws.Chinchilla.fix(E=1.69).tie(beta="alpha"), x, y, bootstrap=20)
    assert found.params["E"] == pytest.approx(1.69) and found.params["alpha"] == found.params["beta"]
    assert found.loss > fit(laws.Chinchilla, x, y).loss
    assert np.ptp(found.resamples["E"]) < 1e-12
    held = fit(laws.Chinchilla.bound(alpha=(0.1, 0.3)), x, y)
    assert held.params["alpha"] == pytest.approx(0.3)
    assert any("alpha is at its bound 0.3" in warning for warning in held.warnings)
    inside = fit(laws.Chinchilla.bound(alpha=(0.1, 0.6)), x, y)
    assert inside.params == pytest.approx(fit(laws.Chinchilla, x, y).params, rel=1e-6)


def test_the_bounded_optimum_is_the_best_inside_the_bound():
    y = noisy(laws.PowerFloor, X, TRUTHS["power law with floor"])
    held = fit(laws.PowerFloor.bound(E=(0.1, 1.5)), X, y)
    assert held.params["E"] == pytest.approx(1.5)
    assert held.loss == pytest.approx(fit(laws.PowerFloor.fix(E=1.5), X, y).loss, rel=1e-9)


def test_refit_solves_many_variants_as_separate_fits_would():
    y = noisy(laws.PowerFloor, X, TRUTHS["power law with floor"])
    found = fit(laws.PowerFloor, X, y)
    leave_one_out = 1 - np.eye(X.size)
    ours = found.refit(weights=leave_one_out)
    for i in (0, 11, 23):
        alone = fit(laws.PowerFloor, np.delete(X, i), np.delete(y, i))
        assert ours["alpha"][i] == pytest.approx(alone.params["alpha"], rel=1e-6)
    variants = np.stack([noisy(laws.PowerFloor, X, TRUTHS["power law with floor"], seed=s) for s in (1, 2)])
    theirs = [fit(laws.PowerFloor, X, v).params["E"] for v in variants]
    assert found.refit(y=variants)["E"] == pytest.approx(theirs, rel=1e-6)


def test_resampling_units_takes_whole_runs_and_widens_the_interval():
    """Checkpoints of a run share its luck; resampling rows would take them for independent runs."""
    rng = np.random.default_rng(1)
    x, run = np.tile(np.logspace(5, 9, 12), 10), np.repeat(np.arange(10), 12)
    y = laws.PowerLaw(x, A=12.0, alpha=0.2) * np.exp(
        0.02 * rng.standard_normal(10)[run] + 0.001 * rng.standard_normal(120)
    )
    rows, runs = (fit(laws.PowerLaw, x, y, bootstrap=200, units=units) for units in (None, run))

    def width(found):
        level = found.interval(lambda p: np.log(p["A"]) - p["alpha"] * np.log(1e7))
        return level.high - level.low

    assert width(runs) > 2 * width(rows)
    few = fit(laws.PowerLaw, x[:48], y[:48], bootstrap=400, units=run[:48])  # four runs: Student's t, not the normal
    assert few.interval("alpha").high > np.quantile(few.resamples["alpha"], 0.976)
    assert runs.interval("A").n == 10 and rows.interval("A").n == 120


def test_intervals_of_functions_of_the_parameters_and_bands():
    x = {"N": N, "D": D}
    found = fit(laws.Chinchilla, x, noisy(laws.Chinchilla, x, TRUTHS["Chinchilla"]), bootstrap=200)
    a = found.interval(lambda p: p["beta"] / (p["alpha"] + p["beta"]))
    assert a.value == pytest.approx(found.params["beta"] / (found.params["alpha"] + found.params["beta"]))
    assert a.low < a.value < a.high
    narrow = found.interval("alpha", level=0.5)
    wide = found.interval("alpha", level=0.95)
    assert wide.low < narrow.low < narrow.high < wide.high
    low, high = found.band({"N": N[:3], "D": D[:3]})
    assert low.shape == (3,) and (low < found.predict({"N": N[:3], "D": D[:3]})).all()
    assert ((high - low) / low < 0.01).all()
    assert "alpha" in str(found) and "tokens" not in str(found).splitlines()[0]


def warned(law, x, y, word):
    return [warning for warning in fit(law, x, y).warnings if word in warning]


def test_warnings_of_thin_data():
    short = np.logspace(6, 7, 20)
    assert warned(laws.PowerLaw, short, laws.PowerLaw(short, A=3.0, alpha=0.1), "x spans 1.00 decades")
    assert warned(
        laws.PowerFloor, X[::5], laws.PowerFloor(X[::5], TRUTHS["power law with floor"]), "only 5 points for 3"
    )
    assert not fit(laws.PowerLaw, X, laws.PowerLaw(X, A=3.0, alpha=0.1)).warnings


def test_warning_of_a_term_that_the_data_do_not_want():
    y = noisy(laws.PowerLaw, X, {"A": 3.0, "alpha": 0.1}) + 0.02 * (np.log(X) - np.log(X).mean()) ** 2 * -0.02
    assert warned(laws.PowerFloor, X, y, "E has vanished")


def test_warning_of_parameters_that_the_data_cannot_tell_apart():
    """N and D in proportion: only the sum of the two terms shows."""
    x = {"N": X, "D": 20 * X}
    y = 1.7 + 30 * X**-0.3
    assert warned(laws.Chinchilla, x, y, "several optima")


def test_a_start_that_would_be_negative_is_mended():
    """Here the best straight line in log x, by relative squares, falls below zero."""
    y = np.exp(2 * np.random.default_rng(2).normal(size=X.size))
    found = fit(laws.Logarithmic, X, y)
    assert (found.predict(X) > 0).all() and found.loss < fit(laws.Logarithmic, X, y, starts=[[1.0, 0.0]]).loss * 1.001


def test_rows_that_the_first_look_leaves_out_still_count():
    """Of 400 rows a quarter is looked at first; the one at the far right, where the line would be negative, is not."""
    x = np.logspace(5, 6, 400)
    y = laws.Logarithmic(x, a=8.0, b=0.55)
    x[201], y[201] = 1e12, y[201] * 1.0001  # an odd run of middling loss
    found = fit(laws.Logarithmic, x, y)
    assert np.isfinite(found.loss) and found.predict(x)[201] > 0


def test_a_logarithm_is_kept_above_zero_on_data_that_fall_a_hundredfold():
    found = fit(laws.Logarithmic, X, laws.PowerLaw(X, A=300.0, alpha=0.5))
    assert (found.predict(X) > 0).all() and np.isfinite(found.loss)
    assert np.isnan(found.predict(np.array([1e40]))).all()  # there the line is below zero


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fit("Chinchilla", X, X), "give a law such as laws.Chinchilla"),
        (lambda: fit(laws.PowerLaw, X, X[:-1]), "y has shape (23,) and x 24 rows"),
        (lambda: fit(laws.PowerLaw, X, np.where(X > 1e8, 0, X)), "y holds 0.0"),
        (lambda: fit(laws.PowerLaw, X, np.where(X > 1e8, math.nan, X)), "y holds nan"),
        (lambda: fit(laws.PowerLaw, -X, X), "above zero"),
        (lambda: fit(laws.Chinchilla, {"N": X}, X), "x lacks ['D']"),
        (lambda: fit(laws.Chinchilla, {"N": X, "D": X, "T": X}, X), "unknown ['T']"),
        (lambda: fit(laws.PowerFloor, X[:2], X[:2]), "2 points cannot determine 3 parameters"),
        (lambda: fit(laws.PowerLaw, X, X, delta=0), "delta is 0"),
        (lambda: fit(laws.PowerLaw, X, X, starts={"beta": [1]}), "no parameter ['beta']"),
        (lambda: fit(laws.PowerLaw, X, X, starts=np.ones((3, 4))), "columns ['A', 'alpha']"),
        (lambda: fit(laws.PowerLaw, X, X, starts={"A": [-1.0]}), "never below zero"),
        (lambda: fit(laws.PowerFloor, X[:3], X[:3], bootstrap=9), "nothing to resample"),
        (lambda: fit(laws.PowerLaw, X, X, bootstrap=9, units=[1, 2]), "one label for each of the 24 rows"),
        (lambda: fit(laws.PowerLaw, X, X).interval("alpha"), "bootstrap=400"),
        (lambda: fit(laws.PowerLaw, X, X, bootstrap=9).interval("gamma"), "no parameter ['gamma']"),
        (lambda: fit(laws.PowerLaw, X, X, bootstrap=9).interval("A", level=95), "level is 95"),
        (lambda: fit(laws.PowerLaw, X, X).refit(), "give weights or y"),
        (lambda: fit(laws.PowerLaw, X, X).refit(weights=np.ones((2, 3))), "shape (variants, 24)"),
        (lambda: fit(laws.PowerLaw, X, X).refit(y=np.zeros((2, 24))), "all above zero"),
        (lambda: fit(laws.Logarithmic, X, X, starts=[[1.0, 9.0]]), "give others in starts"),
    ],
)  # fmt: skip
def test_errors_say_what_was_given_and_what_to_do(call, words):
    with pytest.raises(UserError) as caught:
        call()
    assert words in str(caught.value)


def test_data_frames_and_whole_numbers_are_welcome():
    pandas = pytest.importorskip("pandas")
    whole = (N.astype(np.int64), D.astype(np.int64))  # their product overflows int64; their logs do not
    frame = pandas.DataFrame({"N": whole[0], "D": whole[1], "note": "x"})
    y = laws.Chinchilla({"N": N.astype(int), "D": D.astype(int)}, TRUTHS["Chinchilla"])
    assert fit(laws.Chinchilla, frame, pandas.Series(y)).params == pytest.approx(TRUTHS["Chinchilla"], rel=1e-4)

"""Forecasts past the optimum and from loss to error; the advice of many selections."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import curve_fit

from scalebook import laws
from scalebook.errors import UserError
from scalebook.suite.plan import SIZES
from scalebook.topics import advice_spread, overtraining, suite_cells
from scalebook.topics.isoflop_curves import from_draws
from simulated_suite import LAW, probe_errors, simulated

TRUE = {"E": 0.7, "A": 20.0, "B": 80.0, "alpha": 0.38, "beta": 0.38}


def cells(law=TRUE, noise=0.0, tables=1, seed=7):
    n, d = np.meshgrid([1.2e4, 2.5e4, 5e4, 1e5, 2.5e5, 5e5, 1e6], [1.25e5, 2.5e5, 5e5, 1e6, 2e6, 4e6, 8e6, 1.6e7])
    x = overtraining.inputs(n.ravel(), d.ravel())
    loss = law["E"] + law["A"] * x["N"] ** -law["alpha"] + law["B"] * x["D"] ** -law["beta"]
    return x, loss * np.exp(noise * np.random.default_rng(seed).standard_normal((tables, loss.size)))


def test_inputs_do_not_overflow_integers():
    x = overtraining.inputs(np.array([6889410560]), np.array([138_000_000_000]))
    assert x["C"][0] == pytest.approx(6 * 6889410560.0 * 1.38e11) and x["M"][0] == pytest.approx(20.03, rel=1e-3)


def test_law_in_c_and_m_is_chinchillas_with_equal_exponents():
    x, loss = cells()
    eta = TRUE["alpha"] / 2
    params = {"E": 0.7, "a": 20.0 * 6**eta, "b": 80.0 * 6**eta, "eta": eta}
    np.testing.assert_allclose(laws.OverTraining({"C": x["C"], "M": x["M"]}, params), loss[0], rtol=1e-12)


def test_forecast_is_exact_where_the_law_is_true_and_rivals_are_not():
    x, loss = cells()
    found = overtraining.forecast(x, loss, [np.random.default_rng(k) for k in range(3)])
    assert found["overtrained_error"][0] < 1e-4 and found["chinchilla_error"][0] < 1e-3
    assert found["error_minus_c_only"][0] < -0.01 < 0 < found["error_minus_c_only_shuffled"][0]
    assert found["near"][0] < 1e-4 and found["lever"][0] < 1e-4
    assert abs(found["eta_tilt"][0]) < 0.03 and found["floor"][0] == pytest.approx(0.7, abs=1e-3)


def test_unequal_exponents_tilt_the_lines():
    # over-trained cells show the exponent of the size, under-trained ones that of the text
    for law, sign in (({**TRUE, "alpha": 0.6, "A": 200.0}, 1), ({**TRUE, "beta": 0.6, "B": 2000.0}, -1)):
        x, loss = cells(law)
        assert sign * overtraining.forecast(x, loss, [np.random.default_rng(1)])["eta_tilt"][0] > 0.05


def test_the_exponent_of_a_band_is_that_in_c_at_a_given_m():
    x, loss = cells()
    bands = overtraining.eta_by_band(x["C"], x["M"], loss, np.array([TRUE["E"]]), overtraining.M_BANDS)
    np.testing.assert_allclose(bands.eta, TRUE["alpha"] / 2, rtol=0.01)


def test_short_runs_that_are_worse_than_the_law_spoil_the_forecast_when_they_are_fitted():
    x, loss = cells()
    found = overtraining.forecast(x, loss * np.where(x["M"] < 16, 1.03, 1.0), [np.random.default_rng(1)])
    assert found["near"][0] < 1e-4 and found["overtrained_error"][0] > 0.005


def test_redrawn_tables_are_fitted_one_by_one():
    x, loss = cells(noise=0.002, tables=5)
    seen, hidden = (x["M"] <= 64) & (x["M"] >= 16), x["M"] >= 256
    errors, params = overtraining.relative_errors(laws.OverTraining, x, loss, seen, hidden)
    alone = overtraining.relative_errors(laws.OverTraining, x, loss[3:4], seen, hidden)
    np.testing.assert_allclose(errors[3], alone[0][0], rtol=1e-3)
    assert params["eta"].shape == (5,) and np.ptp(params["eta"]) > 0


def test_bands_need_cells():
    x, loss = cells()
    with pytest.raises(UserError, match="2 needed"):
        overtraining.eta_by_band(x["C"], x["M"], loss, np.array([0.7]), (1e6, 1e7, 1e8))


def test_error_law_agrees_with_scipy_and_with_the_truth():
    rng = np.random.default_rng(7)
    loss = np.linspace(1.2, 2.6, 30)
    truth = (0.72, 2.4, 1.3)
    error = truth[0] - truth[1] * np.exp(-truth[2] * loss)
    exact = overtraining.fit_error(loss, error)
    np.testing.assert_allclose([exact.eps[0], exact.k[0], exact.gamma[0]], truth, rtol=0.02)
    noisy = error + 0.01 * rng.standard_normal(30)
    weight = rng.integers(0, 3, size=30).astype(float)
    ours = overtraining.fit_error(loss, noisy, weight[None])
    keep = weight > 0
    theirs, _ = curve_fit(
        lambda x, eps, k, gamma: eps - k * np.exp(-gamma * x), loss[keep], noisy[keep], truth, 1 / np.sqrt(weight[keep])
    )
    curve = theirs[0] - theirs[1] * np.exp(-theirs[2] * loss)
    np.testing.assert_allclose(ours(loss)[0], curve, atol=2e-4)
    start, tilt = overtraining.fit_line(loss, noisy, weight[None])
    np.testing.assert_allclose([tilt[0], start[0]], np.polyfit(loss, noisy, 1, w=np.sqrt(weight)), rtol=1e-9)


def suite_errors(seed=7):
    rng = np.random.default_rng(seed)
    table = simulated("M", rng, luck=0.002)
    ends = table.loc[table.groupby("run")["step"].idxmax()]
    ends = ends[ends["schedule"] == "cooled"].merge(probe_errors(table, rng), on="run")
    x = overtraining.inputs(ends["n_total"], ends["tokens"])
    return x, ends["val"].to_numpy(), ends[["bracket", "recall", "indentation"]].to_numpy()


def test_error_is_forecast_from_loss_and_not_from_shuffled_losses():
    x, loss, error = suite_errors()
    cheap = x["C"] < x["C"].max() / 20
    found = overtraining.downstream(
        x, loss, error, cheap, items=2000, draws=200, rng=np.random.default_rng(1),
        shuffles=[np.random.default_rng(k) for k in range(4)],
    )  # fmt: skip
    judged = {name: from_draws(found[name], 20) for name in overtraining.DOWNSTREAM}
    assert judged["error_points"].value < 1.5 and judged["error_minus_rival"].high < 0
    assert judged["error_over_range"].high < 0.2
    assert judged["error_over_range_permuted"].value > 1 and judged["error_over_range_permuted"].low > 0.25
    assert judged["error_points_predicted_loss"].value < 4


def test_suite_forecast_runs_on_redrawn_cells():
    law = LAW | {"beta": 0.40, "B": 140}
    table = simulated("M", np.random.default_rng(7), luck=0.002, law=law)
    grid = suite_cells.cells(table, states=("cooled",))
    tables = suite_cells.redraw(grid.log_loss, 20, np.random.default_rng(7))[:, 0]
    there = np.isfinite(tables[0])
    size = np.broadcast_to(grid.total[:, None], there.shape)[there]
    x = overtraining.inputs(size, grid.tokens[there])
    assert x["M"].max() == pytest.approx(16e6 / SIZES["m0"].n_total, rel=0.01)
    found = overtraining.forecast(x, np.exp(tables[:, there]), [np.random.default_rng(2)])
    judged = {name: from_draws(found[name], 3) for name in overtraining.FORECAST}
    assert judged["overtrained_error"].high < 0.02 and judged["error_minus_c_only"].high < 0
    assert -0.25 < judged["eta_tilt"].low and judged["eta_tilt"].high < 0.25
    assert judged["error_minus_c_only_shuffled"].low > 0


# the advice of many selections


FILTERS = {"all": lambda t: t["D"] > 0, "late": lambda t: t["D"] >= 1e6}


def points(noise=0.0, second=0.0, seed=7):
    """One law at 8 sizes and 12 token counts; ``second`` adds a bend that only late checkpoints see."""
    rng = np.random.default_rng(seed)
    n, d = np.meshgrid(np.geomspace(1e4, 1e6, 8), np.geomspace(1e5, 3e7, 12), indexing="ij")
    loss = 0.7 + 20 * n**-0.4 + 80 * d**-0.35
    loss = loss * np.exp(noise * rng.standard_normal((8, 1)))
    loss = loss * np.exp(second * np.log(np.maximum(d, 1e6) / 1e6) * np.log(n / 1e5))
    run = np.repeat([f"r{k}" for k in range(8)], 12)
    frame = pd.DataFrame({"run": run, "shape": run, "N": n.ravel(), "D": d.ravel(), "loss": loss.ravel()})
    return frame.assign(C=6 * frame["N"] * frame["D"])


def advice(table, ways=("bins", "surface"), draws=12):
    chosen = advice_spread.selections(sorted(set(table["shape"])), list(FILTERS), ways, np.random.default_rng(1), 16)
    return advice_spread.advise(table, chosen, FILTERS, 10 * table["C"].max(), draws, np.random.default_rng(2))


def test_selections_take_turns_and_keep_their_share():
    chosen = advice_spread.selections(list("abcdefghij"), ["x", "y"], ["p", "q"], np.random.default_rng(1), 100)
    assert {len(one.shapes) for one in chosen} == {6} and len(chosen) == 100
    pairs = pd.Series([(one.keep, one.approach) for one in chosen]).value_counts()
    assert list(pairs) == [25] * 4


def test_without_noise_every_surface_gives_the_one_law():
    found = advice(points(), ("surface",), draws=3)
    np.testing.assert_allclose(found.exponent, 0.35 / 0.75, atol=2e-3)
    n = (0.4 * 20 / (0.35 * 80)) ** (1 / 0.75) * (10 * points()["C"].max() / 6) ** (0.35 / 0.75)
    target = 10 * points()["C"].max()
    np.testing.assert_allclose(found.ratio[0], target / (6 * n**2), rtol=0.03)
    assert found.spread()[0] < 1e-3 and found.log_range()[0] < 0.05


def test_advice_that_one_law_would_give_is_no_excess_and_a_bend_is():
    clean = [advice(points(0.003, seed=k)) for k in range(4)]
    found = advice_spread.fragile(clean, 8)
    assert found["advice_excess"].low < 0 < found["advice_excess"].high
    expected = clean[0].log_range()[0] - np.mean([one.log_range()[0] for one in clean[1:]])
    assert found["advice_excess"].value == pytest.approx(expected)
    bent = advice_spread.fragile([advice(points(0.003, second=0.02)), *clean[1:]], 8)
    assert bent["advice_excess"].low > 0 and bent["advice_ratio"].low > 1


def test_centred_interval_has_the_value_inside_and_the_width_of_the_draws():
    draws = np.concatenate([[1.0], 1.5 + 0.1 * np.random.default_rng(7).standard_normal(4000)])
    low, high = advice_spread.centred(draws)
    assert low == pytest.approx(1 - 0.196, abs=0.02) and high == pytest.approx(1 + 0.196, abs=0.02)


def test_random_points_give_a_wider_spread_than_envelopes():
    table = points(0.002)
    spread = {way: advice(table, (way,), draws=0).spread()[0] for way in ("bins", "hull", "random")}
    assert spread["random"] > 2 * max(spread["bins"], spread["hull"])


@pytest.fixture(scope="module")
def suite():
    return advice_spread.suite_points(simulated("MLH", np.random.default_rng(7), luck=0.004))


def test_suite_points_know_runs_shapes_and_what_is_clean(suite):
    assert suite["run"].nunique() == 24 + (25 + 30) + 20  # M: sizes x seeds; L: 5 x 5 rates, 5 x 2 x 3 further; H
    assert set(suite.loc[suite["clean"], "shape"]) == set(SIZES)
    one = suite[suite["run"] == "M-m0-s1000"]
    assert set(one["cooled"]) == {True, False} and one["cooled"].sum() == 8
    assert suite["D"].min() >= 1e5 and (suite["C"] == 6 * suite["N"] * suite["D"]).all()
    assert advice_spread.run_noise(suite) == pytest.approx(0.004, rel=0.3)


def test_one_law_keeps_cells_and_gives_each_run_its_luck(suite):
    world = advice_spread.one_law(suite, 0.004, np.random.default_rng(3))
    assert (world[["run", "N", "D"]] == suite[["run", "N", "D"]]).all().all()
    quiet = advice_spread.one_law(suite, 0.0, np.random.default_rng(3))
    luck = np.log(world["loss"] / quiet["loss"]).groupby(world["run"])
    assert luck.std().max() < 1e-12 and luck.mean().std() == pytest.approx(0.004, rel=0.3)


def test_hull_measures_compare_logs_of_spreads():
    def made(spread, centre=0.5, draws=30):
        rng = np.random.default_rng(int(1000 * spread))
        exponents = centre + spread * rng.standard_normal((1 + draws, 100))
        return advice_spread.Advice(exponents, np.ones((1 + draws, 100)))

    found = advice_spread.hull({
        ("dirty", "bins"): made(0.2), ("dirty", "hull"): made(0.1, 0.55), ("dirty", "random"): made(0.6),
        ("dirty", "surface"): made(0.15), ("clean", "bins"): made(0.1), ("clean", "hull"): made(0.09),
        ("clean", "surface"): made(0.05),
    }, 40)  # fmt: skip
    assert found["spread_hull_over_bins"].value == pytest.approx(0.5, rel=0.2)
    assert found["spread_random_over_bins"].low > 1 and found["hull_bias"].value == pytest.approx(0.05, abs=0.03)
    assert found["advantage_lost_when_clean"].low > 0


def test_likelihood_ratio_keeps_equal_exponents_and_rejects_unequal_ones():
    """Truth: under equal exponents twice the log ratio is chi-square with one degree of freedom, whose mean is 1."""
    null = [overtraining.likelihood_ratio(*(lambda x, y: (x, y[0]))(*cells(noise=0.003, seed=k))) for k in range(12)]
    assert np.mean([statistic for statistic, _ in null]) == pytest.approx(1.0, abs=0.8)
    assert np.median([p for _, p in null]) > 0.2
    x, loss = cells({**TRUE, "alpha": 0.5, "A": 60.0}, noise=0.003)
    statistic, p = overtraining.likelihood_ratio(x, loss[0])
    assert statistic > 10 and p < 0.01


def test_alternating_puts_each_selection_under_its_own_way():
    ways = ("bins", "surface")
    chosen = advice_spread.selections(list("abcdefgh"), ["x", "y"], ways, np.random.default_rng(1), 8)
    both = [advice_spread.Advice(np.full((3, 8), k + 0.1), np.full((3, 8), k + 1.0)) for k in range(2)]
    found = advice_spread.alternating(both, chosen, ways)
    assert found.exponent.shape == (3, 8)
    np.testing.assert_allclose(found.exponent[1], [0.1, 0.1, 1.1, 1.1] * 2)
    np.testing.assert_allclose(found.ratio[2], [1.0, 1.0, 2.0, 2.0] * 2)


def test_advice_under_both_ways_is_the_same_in_one_go_or_put_together():
    table, rng = points(0.003), np.random.default_rng
    chosen = advice_spread.selections(sorted(set(table["shape"])), list(FILTERS), ("bins", "surface"), rng(1), 16)
    target = 10 * table["C"].max()
    whole = advice_spread.advise(table, chosen, FILTERS, target, 4, rng(2))
    parts = []
    for way in ("bins", "surface"):
        alone = [advice_spread.Selection(one.shapes, one.keep, way) for one in chosen]
        parts.append(advice_spread.advise(table, alone, FILTERS, target, 4, rng(2)))
    together = advice_spread.alternating(parts, chosen, ("bins", "surface"))
    np.testing.assert_allclose(together.exponent, whole.exponent, rtol=1e-4)


def test_ends_of_the_sizes_are_kept_on_request():
    """Truth: where the largest of all sizes wins at every cost, the envelope is that size, of slope zero."""
    n, c = (grid.ravel() for grid in np.meshgrid([1e4, 1e5, 1e6], np.geomspace(1e12, 1e15, 12)))
    table = pd.DataFrame({"N": n, "C": c, "D": c / (6 * n), "loss": 5 - np.log(n) / 10 - np.log(c) / 100})
    table["run"] = table["shape"] = table["N"].map("{:g}".format)
    ways = ("bins", "bins with ends", "hull", "hull with ends")
    chosen = [advice_spread.Selection(frozenset(table["shape"]), "all", way) for way in ways]
    found = advice_spread.advise(table, chosen, FILTERS, 1e15, 0, np.random.default_rng(1)).exponent[0]
    assert np.isnan(found[[0, 2]]).all()
    np.testing.assert_allclose(found[1], 0.0, atol=1e-12)

"""Best sizes at fixed budgets: arithmetic of counting, curves read from grids, redrawn tables, published recipes."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from scalebook import fitting
from scalebook.errors import UserError
from scalebook.suite.plan import SIZES
from scalebook.topics import compute_budgets as budgets
from scalebook.topics import isoflop_accounting as accounting
from scalebook.topics import isoflop_curves as isoflop
from scalebook.topics import suite_cells
from scalebook.topics import training_recipes as recipes
from simulated_suite import simulated

LAW = accounting.REPLICATION
A_TRUE = LAW["beta"] / (LAW["alpha"] + LAW["beta"])
GRID = 1.25e16 * 2.0 ** np.arange(12)
OURS = np.geomspace(1e11, 3e12, 7)


def best_width(budget: float, vocabulary: float, count_head: bool) -> float:
    """Minimise the loss over the width with scipy: nothing shared with the module."""

    def loss(log_d):
        d = np.exp(log_d)
        layers, head = 12 * d**3 / 64, vocabulary * d
        n = layers + head
        tokens = budget / (6 * (n if count_head else layers))
        return LAW["E"] + LAW["A"] * n ** -LAW["alpha"] + LAW["B"] * tokens ** -LAW["beta"]

    return float(np.exp(minimize_scalar(loss, bounds=np.log([1, 1e5]), method="bounded", options={"xatol": 1e-10}).x))


def test_without_a_head_both_counts_give_the_surfaces_own_exponent_and_sizes():
    for count in ("layers", "head"):
        found = accounting.optima(LAW, accounting.family(0), GRID, count)
        assert found.exponent == pytest.approx(A_TRUE, abs=1e-4) and len(found.budget) == 12
        np.testing.assert_allclose(found.size, fitting.optimum(LAW, GRID)[0], rtol=1e-4)


@pytest.mark.parametrize("vocabulary", [512, 50_432])
def test_simulated_optima_are_those_of_an_independent_minimiser(vocabulary):
    for count in ("layers", "head"):
        found = accounting.optima(LAW, accounting.family(vocabulary), GRID, count)
        d = np.array([best_width(c, vocabulary, count == "head") for c in found.budget])
        size = 12 * d**3 / 64 + (vocabulary * d if count == "head" else 0)
        np.testing.assert_allclose(found.size, size, rtol=1e-3)


def test_local_exponent_is_the_slope_between_two_close_budgets():
    for budget in (1e16, 1e17, 1e18, 1e20):
        d = np.array([best_width(c, 50_432, False) for c in (budget, 1.02 * budget)])
        measured = 3 * np.log(d[1] / d[0]) / np.log(1.02)
        share = (50_432 * d / (50_432 * d + 12 * d**3 / 64)).mean()
        assert accounting.local_exponent(LAW, share) == pytest.approx(measured, abs=3e-3)
    assert accounting.local_exponent(LAW, 0.0) == pytest.approx(A_TRUE)


def test_price_of_a_wrong_size_is_the_surfaces():
    n, d = fitting.optimum(LAW, 1e21)
    parts = [LAW["A"] * n ** -LAW["alpha"], LAW["B"] * d ** -LAW["beta"]]
    for factor in (0.3, 2.0, 10.0):
        moved = LAW["A"] * (factor * n) ** -LAW["alpha"] + LAW["B"] * (d / factor) ** -LAW["beta"]
        assert accounting.excess(LAW["alpha"], LAW["beta"], sum(parts), factor) == pytest.approx(moved - sum(parts))


def test_a_family_that_is_too_small_says_so():
    with pytest.raises(UserError, match="3 needed"):
        accounting.optima(LAW, accounting.family(128, 64, 80), GRID, "head")
    with pytest.raises(UserError, match="layers or head"):
        accounting.optima(LAW, accounting.family(128), GRID, "all")


def surface(n, d):
    return 0.7 + 20 * n**-0.4 + 80 * d**-0.35


@pytest.fixture(scope="module")
def dense():
    size = np.geomspace(3e3, 3e6, 25)
    tokens = np.broadcast_to(np.geomspace(3e4, 1e9, 40), (25, 40))
    return np.log(surface(size[:, None], tokens))[None], tokens, size


def test_curves_read_from_a_dense_grid_give_the_exponent_of_the_surface(dense):
    table, tokens, size = dense
    curves = isoflop.at_budgets(table, tokens, size, OURS)
    known = np.isfinite(curves[0])
    d = OURS / (6 * size[:, None])
    np.testing.assert_allclose(np.exp(curves[0])[known], surface(size[:, None], d)[known], rtol=2e-4)
    best = isoflop.minima(curves, size)
    assert isoflop.exponents(best, OURS)[0] == pytest.approx(0.35 / 0.75, abs=0.01)
    assert isoflop.exponents(isoflop.minima(curves, size, parabola=True), OURS)[0] == pytest.approx(0.35 / 0.75, abs=0.08)
    exact = (0.4 * 20 / (0.35 * 80)) ** (1 / 0.75) * (OURS / 6) ** (0.35 / 0.75)
    np.testing.assert_allclose(np.exp(best[0]), exact, rtol=0.03)


def test_no_extrapolation_and_no_clipped_minimum(dense):
    table, tokens, size = dense
    assert np.isnan(isoflop.at_budgets(table, tokens, size, np.array([6 * size[0] * 2e4]))[0, 0, 0])
    curves = isoflop.at_budgets(table, tokens, size, OURS)
    small = size > 3e5  # the best sizes lie below
    assert np.isnan(isoflop.minima(curves[:, small], size[small])).all()
    assert np.isnan(isoflop.minima(curves[:, small], size[small])[0, :3]).all()
    rising = np.sqrt(np.log(size / size[0]))[None, :, None]  # concave, lowest at its end
    for curve in (rising, -rising):
        assert np.isnan(isoflop.minima(curve, size)).all()
    assert np.isnan(isoflop.minima(rising, size)).all()  # no parabola with a lowest point
    assert np.isnan(isoflop.exponents(np.full((1, 7), np.nan), OURS)).all()


def test_planted_tilt_moves_the_exponent_by_what_it_says():
    size = np.geomspace(1e3, 1e7, 30)
    centre = 10 + 0.5 * (np.log(OURS) - np.log(OURS).mean())
    curves = (0.02 * (np.log(size)[:, None] - centre) ** 2)[None]
    moved = isoflop.minima(isoflop.tilted(curves, size, OURS, 0.15), size)
    assert isoflop.exponents(moved, OURS)[0] == pytest.approx(0.65, abs=1e-3)
    few = np.geomspace(1e3, 1e7, 9)  # sizes as far apart as the suite's, and a curve that is no parabola
    curves = np.stack([np.logaddexp(0.1 * (np.log(few) - c), -0.4 * (np.log(few) - c)) for c in centre], axis=1)[None]
    plain, moved = (isoflop.minima(each, few) for each in (curves, isoflop.tilted(curves, few, OURS, 0.15)))
    assert np.subtract(*(isoflop.exponents(each, OURS)[0] for each in (moved, plain))) == pytest.approx(0.15, abs=2e-3)


def test_grid_of_the_suite_has_the_planned_cells():
    table = simulated("M", np.random.default_rng(7), luck=0, wobble=0)
    grid = suite_cells.cells(table)
    seeds = np.isfinite(grid.log_loss).sum(axis=-1)[0]
    assert grid.sizes == tuple(SIZES) and grid.log_loss.shape == (2, 8, 8, 5)
    assert list(seeds[0]) == [3] * 6 + [1, 1] and list(seeds[1]) == [5] * 6 + [1, 1]
    assert list(seeds[4]) == [3] * 6 + [1, 0] and list(seeds[7]) == [1] * 4 + [0] * 4
    assert grid.tokens[0, 0] == 122 * 1024 and grid.head[0] == 6144 + 128 * 16
    np.testing.assert_allclose(grid.attention - grid.head, [128 * s.width * s.layers for s in SIZES.values()])
    gap = np.nanmean(grid.log_loss[1] - grid.log_loss[0])
    assert gap == pytest.approx(0.03, abs=1e-9)


def test_redrawn_tables_vary_as_repeated_ones_do():
    """Truth: the spread over many simulated tables, which the redraws of any one of them should show on average."""
    rng = np.random.default_rng(7)
    tables = (simulated("M", rng, luck=0.004, wobble=0.0) for _ in range(12))
    worlds = [suite_cells.cells(table).log_loss for table in tables]
    spreads = np.array([suite_cells.redraw(one, 300, rng)[1:].std(axis=0) for one in worlds])  # (world, T, S, R)
    variance = (spreads**2).mean(axis=0)
    assert variance[0, :5, :6].mean() == pytest.approx(0.004**2 * (4 / 3 + 1 / 5) / 5, rel=0.25)  # means of 3, m1 of 5
    assert variance[0, :4, 7].mean() == pytest.approx(0.004**2, rel=0.3)  # one seed
    one = suite_cells.redraw(worlds[0], 50, rng)
    np.testing.assert_allclose(one[:, 0] - one[:, 1], (one[:1, 0] - one[:1, 1]).repeat(51, axis=0), atol=1e-12)
    np.testing.assert_allclose(one[0], suite_cells.mean_loss(worlds[0]))


@pytest.fixture(scope="module")
def quiet():
    table = simulated("M", np.random.default_rng(7), luck=5e-4, wobble=0.0)
    grid = suite_cells.cells(table)
    return grid, suite_cells.redraw(grid.log_loss, 40, np.random.default_rng(8))


def test_shift_is_predicted_where_the_law_is_true_and_not_with_the_wrong_heads(quiet):
    grid, tables = quiet
    rng = np.random.default_rng(7)
    orders = [rng.permutation(8) for _ in range(8)]
    found = isoflop.counting_shift(tables[:, 0], grid, OURS, np.arange(8) % 2 == 0, orders)
    miss = isoflop.from_draws(found["shift_miss"], 3)
    wrong = isoflop.from_draws(found["shift_miss_permuted"], 3)
    assert found["predicted"][0] == pytest.approx(0.065, abs=0.01)
    assert -0.3 < miss.low < miss.high < 0.3 and wrong.low > 1.0


def test_the_prediction_knows_nothing_of_the_cells_that_are_measured(quiet):
    grid, tables = quiet
    fitted, orders = np.arange(8) % 2 == 0, [np.arange(8)[::-1]]
    spoiled = tables[:3, 0].copy()
    spoiled[:, :, ~fitted] += 0.05 * np.random.default_rng(1).standard_normal(spoiled[:, :, ~fitted].shape)
    one, other = (isoflop.counting_shift(t, grid, OURS, fitted, orders) for t in (tables[:3, 0], spoiled))
    np.testing.assert_allclose(one["predicted"], other["predicted"], rtol=1e-9)
    assert abs(one["shift"][0] - other["shift"][0]) > 1e-3


def test_constant_trunks_shift_nothing_and_a_planted_penalty_is_seen(quiet):
    grid, tables = quiet
    cooled, trunk = (isoflop.read(tables[:, t], grid, "head", OURS) for t in (0, 1))
    shift = isoflop.from_draws(trunk.exponent - cooled.exponent, 3)
    tilted = isoflop.minima(isoflop.tilted(trunk.log_loss, trunk.size, OURS, 0.15), trunk.size)
    planted = isoflop.from_draws(isoflop.exponents(tilted, OURS) - cooled.exponent, 3)
    assert abs(shift.value) < 1e-6 and planted.low > 0.08


def test_an_estimate_from_lucky_draws_alone_is_refused():
    draws = np.array([1.0] + [1.0, 2.0] * 20)
    assert isoflop.from_draws(draws, 3).low == 1.0
    assert isoflop.from_draws(np.where(np.arange(41) > 20, np.nan, draws), 3).value is None
    assert "too few budgets" in isoflop.from_draws(np.array([np.nan, 1.0, 1.0]), 3).reason


@pytest.mark.parametrize(
    ("budget", "size", "tokens"),
    [(1.92e19, 4e8, 8.0e9), (1.21e20, 1e9, 20.2e9), (1.23e22, 1e10, 205.1e9), (9.90e24, 280e9, 5.9e12)],
)
def test_hoffmanns_envelope_gives_the_other_rows_of_its_table(budget, size, tokens):
    recipe = next(r for r in budgets.printed() if r.name == "Hoffmann 2022, envelope")
    row = budgets.budget_table([recipe], [budget]).iloc[0]
    assert row["N"] == pytest.approx(size, rel=0.06) and row["D"] == pytest.approx(tokens, rel=0.06)


def test_printed_recipes_agree_with_the_papers_second_constants():
    by_name = {recipe.name: recipe for recipe in budgets.printed()}
    deepseek = budgets.budget_table([by_name["DeepSeek 2024"]], [1e20]).iloc[0]
    assert deepseek["D"] == pytest.approx(5.8316 * 1e20**0.4757, rel=1e-3)
    porian = budgets.budget_table([by_name["Porian 2024, tuned"]], [1e18]).iloc[0]
    assert porian["D"] == pytest.approx(1.410051 * 1e18**0.502971, rel=0.01)
    besiroglu = by_name["Besiroglu 2024, surface again"]
    direct = minimize_scalar(
        lambda x: LAW["A"] * np.exp(-LAW["alpha"] * x) + LAW["B"] * (1e21 / 6 / np.exp(x)) ** -LAW["beta"],
        bounds=(15, 30), method="bounded",
    )  # fmt: skip
    assert besiroglu.size(1e21)[0] == pytest.approx(np.exp(direct.x), rel=1e-3)
    assert not besiroglu.has_interval and besiroglu.covers(1e21) and not besiroglu.covers(1e11)


def test_refitted_recipes_carry_intervals_and_the_ends_of_tokens_are_swapped():
    rng = np.random.default_rng(7)
    n, c = np.tile(np.geomspace(1e7, 1e10, 9), 4), np.repeat(np.geomspace(1e19, 1e22, 4), 9)
    noisy = surface(n, c / (6 * n)) * np.exp(0.002 * rng.standard_normal(36))
    recipe = budgets.from_allocation("a", "b", "all", fitting.isoflop(n, c, noisy, bootstrap=50))
    row = budgets.budget_table([recipe], [1e21]).iloc[0]
    assert row["N_low"] < row["N"] < row["N_high"] and row["D_low"] < row["D"] < row["D_high"]
    assert row["D_low"] == pytest.approx(1e21 / (6 * row["N_high"]))
    told = recipe.estimate()
    assert (told.value, told.low, told.high) == (recipe.exponent, *recipe.interval())
    np.testing.assert_allclose(recipe.interval(), np.quantile(recipe.lines[1:, 1], [0.025, 0.975]))
    bare = budgets.printed()[0]
    assert np.isnan(bare.interval()).all() and bare.estimate().low is None
    assert "(" in budgets.advice_sentence(row, recipe) and "outside" not in budgets.advice_sentence(row, recipe)


@pytest.mark.parametrize(("value", "text"), [(2.78e9, "2.78 billion"), (6e10, "60 billion"), (740, "740")])
def test_amounts_are_said_as_readers_say_them(value, text):
    assert budgets.amount(value) == text


def test_crossing_reads_signs_forecast_and_place():
    n = np.array([6e3, 1.4e4, 3.7e4, 8.3e4, 2e5])
    slow = 3 * n**-0.05
    a = np.stack([slow * (n / 5e4) ** 0.02 * (1 + e) for e in (-1e-4, 0, 1e-4)], axis=1)
    c = np.stack([slow * (1 + e) for e in (1e-4, 0, -1e-4)], axis=1)
    found = recipes.crossing(n, a, c, (0.03, 0.01))
    assert found["gap_small"].high < 0 < found["gap_large"].low and found["gap_large_predicted"].low > 0
    assert found["crossing_size"].value == pytest.approx(5e4, rel=0.02)
    assert found["gap_large_null"].low < 0 < found["gap_large_null"].high
    assert recipes.crossing(n, a, c, (0.03, 0.03))["gap_small"].value is None


def test_gain_of_decay_is_chosen_on_one_half_and_scored_on_the_other():
    held = np.ones((3, 4, 2, 2))
    held[1, :, -1] = (0.90, 0.99)  # chosen: best on the first half
    held[2, :, -1] = (0.95, 0.80)  # better on the second, which must not be looked at
    np.testing.assert_allclose(recipes.decay_gain(held), 0.01)
    held[0, :, 0] = 0.5  # no decay was best half-way
    np.testing.assert_allclose(recipes.decay_gain(held, early=True), 1 - 0.99 / 0.5)


def test_warm_up_needs_interior_minima_in_both_settings():
    exponents = np.array([[0.7, 0.72, 0.69, 0.71], [0.5, 0.51, 0.5, 0.49]])
    penalty = np.full((4, 6), 0.1)
    found = recipes.warmup(exponents, np.array([0.01, -0.01, 0.0]), np.array([5, 3]), penalty)
    assert found["exponent_shift"].low > 0.15 and found["small_budget_penalty"].value == pytest.approx(0.1)
    assert recipes.warmup(exponents, np.zeros(3), np.array([5, 2]), penalty)["exponent_shift"].value is None
    exponents[0, 0] = np.nan
    assert "1 of 4 seeds" in recipes.warmup(exponents, np.zeros(3), np.array([5, 3]), penalty)["exponent_shift"].reason

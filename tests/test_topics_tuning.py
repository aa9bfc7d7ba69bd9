"""Bottoms of bowls, laws through them, and what the suite and the published sweeps say."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from scalebook.topics import step_law
from scalebook.topics import tuning_bowls as bowls
from scalebook.topics import tuning_suite as suite


def test_the_vertex_of_an_exact_parabola_at_any_spacing():
    x = np.array([0.0, 0.7, 2.0, 2.5, 4.0])
    loss = 3 + 0.2 * (x[None] - np.array([1.1, 2.2])[:, None]) ** 2
    assert bowls.vertex(x, loss) == pytest.approx([1.1, 2.2])
    even = np.arange(5.0)
    assert bowls.curvature(even, 3 + 0.2 * (even - 2.3) ** 2) == pytest.approx(0.4)


def test_an_optimum_at_an_end_or_beside_a_blow_up_is_none():
    x = np.arange(4.0)
    assert np.isnan(bowls.vertex(x, np.array([[1, 2, 3, 4.0], [4, 3, 2, 1], [3, 1, np.nan, 5]]))).all()


def test_one_slope_with_an_intercept_for_each_group():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, 5)), rng.standard_normal((3, 5))
    y[1, 2] = y[0, 4] = np.nan
    dummies = np.kron(np.eye(3), np.ones((5, 1)))
    there = np.isfinite(y.ravel())
    by_hand = np.linalg.lstsq(np.c_[x.ravel(), dummies][there], y.ravel()[there], rcond=None)[0][0]
    assert bowls.common_slope(x, y) == pytest.approx(by_hand)


def test_permuted_sizes_keep_a_chance_of_every_wrong_order():
    x = np.array([0.0, 1.0, 2.0, 3.0])
    y = np.broadcast_to(-0.7 * x + np.array([[0.0], [2.0]]), (4001, 2, 4))
    found = bowls.permuted_slope(x, y, np.random.default_rng(0))
    # over all 24 orders the slopes cancel, so the other 23 sum to minus the true one
    assert found[0] == pytest.approx(0.7 / 23)
    assert found[1:].mean() == pytest.approx(0.7 / 23, abs=0.02)
    by_hand = {round(-0.7 * np.polyfit(order, x, 1)[0], 6) for order in permutations(x) if list(order) != sorted(order)}
    assert {round(value, 6) for value in found[1:]} == by_hand  # the extremes are 0.7, all reversed, and -0.56


def test_redrawn_tables_share_the_luck_of_a_run_and_have_its_size():
    log_loss = np.zeros((2, 4, 3))
    drawn = bowls.redrawn(log_loss, np.array([0.1, 0.3]), np.array([500, 500]), 4000, np.random.default_rng(1))
    assert not drawn[0].any()
    assert (np.ptp(drawn, axis=-1) == 0).all()
    assert drawn[1:, :, :, 0].std(axis=(0, 2)) == pytest.approx([0.1, 0.3], rel=0.05)
    assert abs(np.corrcoef(drawn[1:, 0, 0, 0], drawn[1:, 0, 1, 0])[0, 1]) < 0.05


def test_the_joint_optimum_takes_the_batch_with_the_lowest_loss_and_its_rate():
    batches = np.array([1.0, 2, 4, 8, 16])
    rates = np.sqrt(batches)[:, None] * np.array([0.5, 1.0, 2.0])
    away = np.log(rates) - 0.5 * np.log(batches)[:, None] - 0.1
    loss = (0.3 * away**2 + 0.2 * (np.log(batches)[:, None] - np.log(4)) ** 2)[None]
    rate, batch = bowls.joint_optimum(rates, batches, loss)
    assert rate == pytest.approx(0.5 * np.log(4) + 0.1) and batch == pytest.approx(np.log(4))
    assert bowls.best_batch(batches, loss) == pytest.approx(np.log(4))
    assert np.isnan(bowls.joint_optimum(rates, batches, loss[:, ::-1] + np.arange(5)[:, None])[0]).all()


def test_draws_without_a_value_give_none():
    assert bowls.from_draws(np.r_[np.nan, np.ones(9)], 3, "why").reason == "why"
    found = bowls.from_draws(np.r_[5.0, np.linspace(0, 10, 1001)], 3, "why")
    assert (found.low, found.high) == pytest.approx((0.25, 9.75))


def suite_rows(block, **columns):
    table = pd.DataFrame(columns)
    table = table.assign(block=block, step=10, steps=10)
    return table.assign(run=[f"{block}-{k}" for k in range(len(table))])


def decay_table(slope, wobble=0.001):
    rows = []
    rng = np.random.default_rng(2)
    for arm in ("", "fixed steps"):
        for b in (512, 1024, 2048, 4096):
            best = np.log(0.5) + slope * np.log(b / 1024)
            for seed in range(4):
                for wd in (0, 0.05, 0.15, 0.5, 1.5, 5):
                    if (arm and b == 1024) or (arm and wd in (0.05, 5)):
                        continue
                    loss = 2.0 if wd == 0 else 1.9 * np.exp(0.01 * (np.log(wd) - best) ** 2)
                    rows.append((arm, b, seed, wd, loss * np.exp(wobble * rng.standard_normal())))
    names = ("arm", "batch", "seed", "wd", "val")
    return suite_rows("W", **dict(zip(names, map(list, zip(*rows)), strict=True)))


def test_a_decay_in_proportion_to_the_batch_is_found_and_one_timescale_with_it():
    found = suite.decay_grid(decay_table(0.9), "")
    assert found.loss.shape == (4, 5, 4) and found.pays.sum() >= 3
    slope = suite.decay_slope(found)
    assert slope.low < 0.9 < slope.high and slope.value == pytest.approx(0.9, abs=0.15)
    spread = suite.tau_spread(found, 0.01, 1e6)
    assert spread.value == pytest.approx(0.1 / 0.9, abs=0.1)


def test_without_a_gain_from_decay_there_is_no_slope():
    table = decay_table(1.0)
    table.loc[table["wd"] == 0, "val"] = 1.8
    found = suite.decay_slope(suite.decay_grid(table, ""))
    assert found.value is None and "at 0 of 4 batches" in found.reason
    assert suite.tau_spread(suite.decay_grid(table, ""), 0.01, 1e6).value is None


def test_a_decay_that_is_best_at_the_end_of_the_grid_does_not_count():
    table = decay_table(1.0)
    table.loc[table["wd"] == 0.05, "val"] = 1.7
    found = suite.decay_grid(table, "")
    assert not found.pays.any() and (found.loss.argmin(axis=1) == 0).all()


def test_the_best_rates_of_the_larger_sizes_are_found_again_and_an_end_is_none():
    law = {(n, d): 3.0 * n**-0.5 * d**0.05 for n in (1e5, 1e6, 1e7) for d in (1e6, 4e6)}
    rows = [
        (n, d, 1000, factor * 3.0 * n**-0.5, 2 + 0.1 * np.log(factor * 3.0 * n**-0.5 / best) ** 2)
        for (n, d), best in law.items() for factor in (0.5, 1, 2, 4, 8)
    ]  # fmt: skip
    names = ("n_nonemb", "budget", "seed", "lr_peak", "val")
    table = suite_rows("G", **dict(zip(names, map(list, zip(*rows)), strict=True)))
    found = suite.tuned_rates(table, 1000)
    # the parabola is exact in loss and the table's is in log loss, which moves the bottom a little
    assert found.shape == (3, 2) and found.loc[1e6, 4e6] == pytest.approx(law[1e6, 4e6], rel=0.05)
    only_high = table[~((table["n_nonemb"] == 1e7) & (table["lr_peak"] < 5.9 * 1e7**-0.5))]
    assert np.isnan(suite.tuned_rates(only_high, 1000).loc[1e7]).all()


def test_a_line_in_logs_is_carried_on_exactly():
    tokens = np.array([1e6, 2e6, 4e6])
    losses = np.stack([3 * tokens**-0.1, 5 * tokens**-0.2], axis=1)
    assert suite.extrapolated(tokens, losses, 8e6) == pytest.approx([3 * 8e6**-0.1, 5 * 8e6**-0.2])


def sweep_table(x=-0.7, y=0.3, z=0.6, noise=0.0):
    rows, rng = [], np.random.default_rng(3)
    for n in (2e8, 4e8, 8e8, 1.6e9):
        for per in (20, 60, 200):
            d = per * n
            rate, batch = 1.8 * n**x * d**y, 2e-4 * d**z
            for lr in 2.0 ** np.arange(-12, -5, 0.5):
                for bs in 2.0 ** np.arange(3, 11, 0.5):
                    bowl = 0.01 * np.log(lr / rate) ** 2 + 0.01 * np.log(bs / batch) ** 2
                    loss = (2 + (1e9 / d) ** 0.3) * np.exp(bowl) * np.exp(noise * rng.standard_normal())
                    rows.append((n, d, lr, bs, loss))
    return pd.DataFrame(rows, columns=["N", "D", "lr", "bs", "smooth loss"])


def test_the_law_of_a_published_sweep_is_found_again():
    cells = step_law.cells(sweep_table())
    used = [cell for cell in cells if np.isfinite(cell.optimum).all()]
    assert len(used) >= 8
    law = step_law.fit_law(
        np.array([c.n for c in used]), np.array([c.d for c in used]), np.stack([c.optimum for c in used])
    )
    assert law[0, 1:] == pytest.approx([-0.7, 0.3], abs=0.02)
    assert law[1] == pytest.approx([np.log(2e-4), 0, 0.6], abs=0.1)
    assert step_law.published_exponent(cells, np.random.default_rng(0), 200).value == pytest.approx(-0.7, abs=0.02)


def test_a_law_pays_on_sizes_it_has_not_seen_and_a_shuffled_one_does_not():
    cost = step_law.held_out(step_law.cells(sweep_table(noise=5e-4)), [np.random.default_rng(k) for k in range(4)])
    middle = cost.groupby("N").median()
    assert (middle["law"] < 0.001).all()
    assert middle["constant"].mean() > 5 * middle["law"].abs().mean()
    assert middle["permuted"].mean() > 5 * middle["law"].abs().mean()


def test_an_optimum_at_the_edge_of_a_sweep_is_none():
    table = sweep_table()
    n, d = 4e8, 2.4e10
    rate = 1.8 * n**-0.7 * d**0.3
    last = table[np.isclose(table["N"], n) & np.isclose(table["D"], d)]
    assert np.isfinite(step_law.cells(last)[0].optimum).all()
    # the bottom now lies a little below the lowest rate: a parabola would find it, and must not be asked
    assert np.isnan(step_law.cells(last[last["lr"] > 1.1 * rate])[0].optimum).all()

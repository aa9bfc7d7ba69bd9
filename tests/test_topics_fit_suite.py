"""What the chapter on fitting does with the model suite, on a table of its columns whose law and noise are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scalebook import laws
from scalebook.suite import plan
from scalebook.topics import fit_checkpoints, fit_plans, fit_rankings, fit_suite
from simulated_suite import simulated

TRUTH = {"E": 0.8, "A": 25.0, "B": 80.0, "alpha": 0.35, "beta": 0.37}
RUN, CHECKPOINT, COOLING = 0.005, 0.002, 0.06  # deviations of log loss; share of the loss that cooling is worth


@pytest.fixture(scope="module")
def suite() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return simulated("MLB", rng, law=TRUTH, luck=RUN, wobble=CHECKPOINT, constant=COOLING)


def test_the_noise_of_the_suite_is_recovered(suite):
    main = suite[suite["block"] == "M"]
    assert fit_suite.run_deviation(main) == pytest.approx(np.hypot(RUN, CHECKPOINT), rel=0.35)
    assert fit_suite.lasting_deviation(main) == pytest.approx(RUN, rel=0.35)
    assert fit_suite.checkpoint_deviation(main) == pytest.approx(CHECKPOINT, rel=0.35)


def test_what_checkpoints_share_is_told_from_what_each_has_of_its_own():
    rng, seeds, budget = np.random.default_rng(0), 400, 4_000_000
    tokens = np.geomspace(5e5, budget, 5).round()
    luck = 0.002 * rng.standard_normal((seeds, 1))
    loss = 3 * tokens**-0.05 * np.exp(luck + 0.006 * rng.standard_normal((seeds, 5)))
    rows = {"schedule": "constant", "size": "m0", "budget": budget}
    table = pd.DataFrame({
        "seed": np.repeat(np.arange(seeds), 5), "tokens": np.tile(tokens, seeds), "val": loss.ravel(), **rows
    })  # fmt: skip
    assert fit_suite.lasting_deviation(table) == pytest.approx(0.002, rel=0.3)


def test_every_scheme_forecasts_what_the_law_says_where_there_is_no_noise(suite):
    small = list(plan.SIZES.values())[:4]
    rows = pd.DataFrame([(s.n_nonemb, d) for s in small for d in plan.LADDER], columns=["N", "D"])
    one = TRUTH | {"beta": TRUTH["alpha"]}
    rows["loss"] = laws.Chinchilla({"N": rows["N"], "D": rows["D"]}, one)
    goal = {"N": plan.SIZES["m6"].n_nonemb, "D": 4_000_000}
    truth = float(laws.Chinchilla({"N": [goal["N"]], "D": [goal["D"]]}, one)[0])
    assert fit_checkpoints.borrowed_exponent(rows) == pytest.approx(one["alpha"], rel=1e-3)
    assert fit_checkpoints.forecast(rows, one["alpha"], goal) == pytest.approx(truth, rel=1e-4)
    errors = fit_checkpoints.suite_errors(suite[suite["block"] == "M"], 1000, ["m0", "m1", "m2", "m3"], "m5",
                                          np.random.default_rng(0))  # fmt: skip
    assert errors["checkpoints"] < 0.02 and errors["shuffled"] > 5 * errors["checkpoints"]
    assert COOLING > 0.02  # without its offset the trunk could not have come that near


def test_plans_cost_the_same_and_luck_alone_turns_the_tables():
    cost = {p: p.count * plan.SIZES[p.size].n_nonemb * p.tokens for p in (fit_plans.SINGLE, *fit_plans.SEVERAL)}
    assert all(0.85 <= value / cost[fit_plans.SINGLE] <= 1.001 for value in cost.values())
    assert [p.count for p in fit_plans.SEVERAL] == [2, 5, 5, 28]
    rng = np.random.default_rng(0)
    none, much = (fit_plans.compare(luck, 0.002, 200, rng).mean() for luck in (0.0, 0.02))
    assert none > 0 > much
    bias = fit_plans.errors(fit_plans.SINGLE, 0.0, 0.0, 2, rng)
    assert bias[0] == pytest.approx(bias[1], rel=1e-6) and 0 < bias[0] < 0.02  # a borrowed exponent is not quite right


def test_rankings_agree_where_the_truth_does_and_not_when_dealt_out(suite):
    rng = np.random.default_rng(0)
    found = fit_rankings.pairs(suite, 0.001, True, rng)
    assert (found["own"] == found["cooled"]).all()
    share, drawn, count = fit_rankings.agreement(found, 200, rng)
    assert share > 0.95 and count > 12 and np.isfinite(drawn).all()
    assert fit_rankings.agreement(fit_rankings.permuted(found, rng), 200, rng)[0] == pytest.approx(0.5, abs=0.1)
    across = fit_rankings.pairs(suite, 0.001, False, rng)
    assert all(len(set(four)) == 4 for four in across["runs"])
    own = across.dropna(subset=["own"])
    (first, _, second, _), d = own["runs"].iloc[0], fit_rankings.losses(suite)[1]
    at = [d[(d["size"] == size) & (d["batch"] == b) & (d["lr_peak"] == rate) & (d["seed"] == seed)]
          for size, b, rate, seed in (first, second)]
    by_tokens = np.log(at[0].set_index("D")["val"] / at[1].set_index("D")["val"])
    assert np.isclose(by_tokens, own["own"].iloc[0]).any() and (own["own"] != own["cooled"]).all()

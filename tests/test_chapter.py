"""What a notebook sees: sizes, generators, figures, claims, the result file."""

import ast
import json
import zlib

import numpy as np
import pandas as pd
import pytest

from scalebook import Chapter, Estimate
from scalebook.errors import DataNotHere, MeasurementError, UserError
from scalebook.register import load_register

CLAIM = "superposition.vsa-intersection"
PASSING = {
    "rmse_over_formula": Estimate(1.0, 0.99, 1.01, 8),
    "slope_on_dimension": Estimate(-0.5, -0.51, -0.49, 8),
    "slope_on_set_size": Estimate(1.0, 0.99, 1.01, 8),
    "rmse_over_formula_map_b": Estimate(1.52, 1.5, 1.54, 8),
    "largest_cell_deviation": Estimate.exact(2.1),
}


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEBOOK_RUN_DIR", str(tmp_path))
    return Chapter("superposition", profile="quick", seed=1234, gamma_weak=0.25)


def results(chapter):
    return json.loads((chapter.folder / "results.json").read_text())


def test_generators_follow_the_stated_seed_sequence(chapter):
    sequence = np.random.SeedSequence([1234, zlib.crc32(b"teacher"), 2])
    assert chapter.rng("teacher", 2).random() == np.random.default_rng(sequence).random()
    draws = {chapter.rng(name, r).random() for name in ("teacher", "student") for r in range(3)}
    assert len(draws) == 6


def test_torch_generators_repeat_and_differ_by_replicate(chapter):
    torch = pytest.importorskip("torch")
    one, again, other = (torch.rand(3, generator=chapter.torch_rng("init", r)) for r in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_sizes_and_replicates_come_from_the_profile(chapter):
    assert chapter.by_profile(quick=2, full=8) == 2
    planned = next(c for p in load_register("superposition").papers for c in p.claims if c.id == CLAIM).replicates
    assert chapter.replicates(CLAIM) == planned.quick


def test_a_claim_is_judged_and_recorded(chapter):
    chapter.claim(CLAIM, spans={"slope_on_dimension": [256, 512, 1024]}, **PASSING)
    record = results(chapter)["claims"][CLAIM]
    assert record["verdict"] == "reproduced"
    assert record["control"]["state"] == "fails as it must"
    assert record["measurements"]["slope_on_dimension"] == {"value": -0.5, "low": -0.51, "high": -0.49, "n": 8, "reason": None}
    assert record["spans"] == {"slope_on_dimension": [256, 1024]}
    assert results(chapter)["complete"] is False and results(chapter)["parameters"] == {"gamma_weak": 0.25}


def test_the_same_claims_give_the_same_file(chapter):
    chapter.claim(CLAIM, **PASSING)
    first = (chapter.folder / "results.json").read_bytes()
    chapter.claim(CLAIM, **dict(reversed(PASSING.items())))
    assert (chapter.folder / "results.json").read_bytes() == first


def test_a_missing_or_unknown_measure_is_named(chapter):
    with pytest.raises(MeasurementError, match="slope_on_dimension"):
        chapter.claim(CLAIM, **{k: v for k, v in PASSING.items() if k != "slope_on_dimension"})
    with pytest.raises(MeasurementError, match="unknown measure 'slope'"):
        chapter.claim(CLAIM, **PASSING, slope=Estimate.exact(1))
    with pytest.raises(MeasurementError, match="give an Estimate"):
        chapter.claim(CLAIM, **{**PASSING, "rmse_over_formula": 1.0})


def test_a_measure_without_value_makes_the_claim_inconclusive(chapter):
    chapter.claim(CLAIM, **{**PASSING, "slope_on_dimension": Estimate.missing("no fit: two widths left")})
    record = results(chapter)["claims"][CLAIM]
    assert record["verdict"] == "inconclusive" and "two widths left" in record["reason"]


def test_figures_are_drawn_for_both_grounds_and_saved_with_their_data(chapter):
    plots = pytest.importorskip("scalebook.plots")
    seen = []

    def draw():
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots()
        axes.plot([1, 2], [1, 2])
        axes.set(xlabel="width m (features)", ylabel="loss (sum of squares)")
        seen.append(plt.rcParams["text.color"])
        return figure

    table = pd.DataFrame({"m": [6, 10], "loss": [0.8, 0.5]})
    chapter.figure("loss-against-width", draw, caption="Loss.", alt="Loss falls from 0.8 to 0.5 as width grows.", data=table)
    made = sorted(path.name for path in (chapter.folder / "figures").iterdir())
    stem = "loss-against-width"
    assert made == sorted([f"{stem}.csv", *(f"{stem}.{m}.{s}" for m in ("light", "dark") for s in ("png", "svg"))])
    assert len(set(seen)) == 2 and plots is not None
    assert pd.read_csv(chapter.folder / "figures" / f"{stem}.csv").equals(table)
    assert [f["name"] for f in results(chapter)["figures"]] == [stem]


@pytest.mark.parametrize("alt", ["Too short", "Figure of the loss against the width", "x" * 301])
def test_poor_alt_text_is_refused(chapter, alt):
    with pytest.raises(UserError, match="alt text"):
        chapter.figure("loss", lambda: None, caption="", alt=alt)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Chapter("superposition", profile="huge"), "quick, full, large"),
        (lambda: Chapter("superposition", seed=-1), "whole number"),
        (lambda: Chapter("superposition", seed=2**31), "2147483647"),
        (lambda: Chapter("superpositoin"), "superposition"),
    ],
)
def test_bad_calls_say_what_is_allowed(call, says, tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEBOOK_RUN_DIR", str(tmp_path))
    with pytest.raises(UserError, match=says):
        call()


def test_unknown_names_list_the_known_ones(chapter):
    with pytest.raises(UserError, match=CLAIM):
        chapter.claim("superposition.nothing")
    with pytest.raises(UserError, match="liu2025superposition"):
        chapter.paper("nobody2020nothing")


def test_glue_reaches_the_result_file(chapter):
    chapter.glue("exponent", 0.9434, "{:.2f}")
    assert results(chapter)["glue"] == {"exponent": "0.94"}


@pytest.mark.parametrize(("value", "form", "text"), [
    (1547.2, "{:,.0f}", "1,547"), (0.5, "{:+.2f}", "+0.50"), (-0.001, "{:.1f}", "0.0"), (-0.1, "{:.1f}", "-0.1"),
])  # fmt: skip
def test_glue_hands_its_text_to_the_page_as_a_literal(chapter, monkeypatch, value, form, text):
    sent = []
    monkeypatch.setattr("scalebook.chapter.publish_display_data", lambda data, metadata: sent.append(data))
    chapter.glue("number", value, form)
    assert results(chapter)["glue"]["number"] == text
    assert [ast.literal_eval(one) for one in sent[0].values()] == [text]  # as myst-nb reads it


def test_glue_of_an_estimate_is_its_value_or_none(chapter):
    chapter.glue("slope", Estimate(0.256, 0.2, 0.3, 5), "{:.2f}")
    chapter.glue("missing", Estimate.missing("no fit"), "{:.2f}")
    assert results(chapter)["glue"] == {"slope": "0.26", "missing": "none"}


def test_sizes_stand_beside_the_original_as_powers_of_ten(chapter):
    table = chapter.beside({"Tokens (D)": 1e12, "width": 1000}, {"Tokens (D)": 1e6, "width": 10}, ("paper", "here"))
    assert table.loc["Tokens (D)"].to_dict() == {"paper": "10^12.0", "here": "10^6.0", "gap": "10^6.0"}
    assert results(chapter)["glue"] == {"gap-tokens-d": "6", "gap-width": "2"}
    table = chapter.beside({"runs": 245}, {"runs": 250})
    assert table.loc["runs", "gap"] == "10^0.0" and results(chapter)["glue"]["gap-runs"] == "0"  # never minus zero


@pytest.mark.parametrize("ours", [{"width": 10}, {"width": 10, "depth": 0}, {"width": 10, "depth": float("nan")}])
def test_sizes_that_cannot_be_compared_are_refused(chapter, ours):
    with pytest.raises(MeasurementError, match="beside"):
        chapter.beside({"width": 1000, "depth": 2}, ours)


def test_a_claim_whose_table_is_not_here_is_not_run_and_stops_nothing(chapter, monkeypatch):
    monkeypatch.delenv("SCALEBOOK_MIRROR", raising=False)
    monkeypatch.setenv("SCALEBOOK_BUILD", str(chapter.folder))
    found = chapter.given(["besiroglu2024chinchilla/chinchilla_points"], lambda points: pytest.fail("there is no table"))
    chapter.claim(CLAIM, **found)
    record = results(chapter)["claims"][CLAIM]
    assert record["verdict"] == "not run" and record["control"]["state"] == "not run"
    assert "chinchilla_points.csv" in record["reason"] and "SCALEBOOK_MIRROR" in record["reason"]
    chapter.glue("alpha", found.get("alpha"), "{:.2f}")
    assert results(chapter)["glue"]["alpha"] == "(not run)"


def test_a_table_that_is_here_is_handed_to_the_measure(chapter, monkeypatch):
    monkeypatch.setattr("scalebook.published.load", lambda key, download: f"table {key}, download {download}")
    assert chapter.given(["a/b"], lambda table: {"seen": table}) == {"seen": "table a/b, download False"}


def test_a_table_of_the_books_own_is_given_by_a_function(chapter):
    def lacking():
        raise DataNotHere("The model suite is not complete <here>.")

    assert chapter.given([lambda: "curves"], lambda table: {"seen": table}) == {"seen": "curves"}
    found = chapter.given([lambda: "curves", lacking], lambda *tables: pytest.fail("one of them is not here"))
    assert found == {"not_here": "The model suite is not complete <here>."}

"""Verdicts against classical logic on points, small named cases, and the sentences they are told in."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalebook.errors import MeasurementError
from scalebook.estimate import Estimate
from scalebook.records import Condition, Control, Rule
from scalebook.register import find_claim, load_all
from scalebook.verdict import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    NOT_RUN,
    REPRODUCED,
    judge,
    judge_claim,
    judge_control,
    what_would_change,
)

NAMES = ("a", "b", "c")


def rule(*parts, kind: str = "all") -> Rule:
    return Rule.model_validate({kind: list(parts)})


def interval(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, 9)


# ------------------------------------------------------------------- named cases


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.8, 1.2, REPRODUCED),  # bounds are inclusive
        (0.9, 1.1, REPRODUCED),
        (0.79999, 1.2, INCONCLUSIVE),
        (1.2, 1.3, INCONCLUSIVE),  # touches the bound from outside
        (1.20001, 1.3, NOT_REPRODUCED),
        (0.1, 0.79999, NOT_REPRODUCED),
        (-9.0, 9.0, INCONCLUSIVE),  # width never decides
    ],
)
def test_one_condition(low, high, verdict):
    found = judge(rule({"measure": "a", "low": 0.8, "high": 1.2}), {"a": interval(low, high)}, "full")
    assert found.verdict == verdict
    assert found.parts[0].measure == "a" and (found.parts[0].low, found.parts[0].high) == (0.8, 1.2)


def test_an_exact_measure_is_never_inconclusive():
    exact = rule({"measure": "a", "low": 3, "high": 3})
    assert judge(exact, {"a": Estimate.exact(3)}, "full").verdict == REPRODUCED
    assert judge(exact, {"a": Estimate.exact(math.nextafter(3, 4))}, "full").verdict == NOT_REPRODUCED


def test_too_few_units_and_no_fit_are_inconclusive_with_the_reason():
    one = rule({"measure": "a", "low": 0.0})
    few = judge(one, {"a": Estimate(0.5, None, None, 2)}, "full")
    assert (few.verdict, few.parts[0].state) == (INCONCLUSIVE, "missing")
    assert "no interval from 2 units" in few.reason
    none = judge(one, {"a": Estimate.missing("fewer than 3 widths below the ceiling")}, "full")
    assert none.verdict == INCONCLUSIVE and "fewer than 3 widths below the ceiling" in none.reason


@pytest.mark.parametrize(
    ("kind", "states", "verdict"),
    [
        ("all", "TT", REPRODUCED),
        ("all", "TU", INCONCLUSIVE),
        ("all", "UF", NOT_REPRODUCED),  # the worst wins even beside an unknown
        ("all", "TF", NOT_REPRODUCED),
        ("any", "FF", NOT_REPRODUCED),
        ("any", "FU", INCONCLUSIVE),
        ("any", "UT", REPRODUCED),  # the best wins even beside an unknown
        ("any", "FT", REPRODUCED),
    ],
)
def test_kleene_tables(kind, states, verdict):
    where = {"T": interval(1, 2), "F": interval(-2, -1), "U": interval(-1, 1)}
    for order in itertools.permutations(states):
        measured = dict(zip(NAMES, (where[state] for state in order), strict=False))
        parts = [{"measure": name, "low": 0.0} for name in measured]
        assert judge(rule(*parts, kind=kind), measured, "full").verdict == verdict


def test_a_nested_any_stands_for_one_part_of_all():
    nested = rule({"measure": "a", "low": 0}, {"any": [{"measure": "b", "low": 0}, {"measure": "c", "low": 0}]})
    good, bad = interval(1, 2), interval(-2, -1)
    assert judge(nested, {"a": good, "b": bad, "c": good}, "full").verdict == REPRODUCED
    assert judge(nested, {"a": good, "b": bad, "c": bad}, "full").verdict == NOT_REPRODUCED
    assert judge(nested, {"a": good, "b": bad, "c": interval(-1, 1)}, "full").verdict == INCONCLUSIVE
    found = judge(nested, {"a": bad, "b": bad, "c": good}, "full")
    assert [part.state for part in found.parts] == ["outside", "outside", "inside"]
    assert "`a`" in found.reason and "`b`" not in found.reason, "a part of a fulfilled any is not to blame"


def test_conditions_of_other_profiles_are_skipped_and_large_judges_what_full_judges():
    both = rule({"measure": "a", "low": 0}, {"measure": "b", "low": 0, "profiles": ["full"]})
    assert judge(both, {"a": interval(1, 2)}, "quick").verdict == REPRODUCED
    assert judge(both, {"a": interval(1, 2)}, "quick").parts[1].state == "not in this profile"
    for profile in ("full", "large"):
        assert judge(both, {"a": interval(1, 2), "b": interval(-2, -1)}, profile).verdict == NOT_REPRODUCED
    only = rule({"measure": "b", "low": 0, "profiles": ["full"]})
    skipped = judge(only, {}, "quick")
    assert skipped.verdict == NOT_RUN and "quick" in skipped.reason
    inner = rule({"measure": "a", "low": 0}, {"any": [{"measure": "b", "low": 0, "profiles": ["full"]}]})
    assert judge(inner, {"a": interval(1, 2)}, "quick").verdict == REPRODUCED


def test_timings_are_left_out_where_they_are_not_judged():
    timed = rule({"measure": "a", "low": 0}, {"measure": "b", "low": 0})
    assert judge(timed, {"a": interval(1, 2)}, "quick", unjudged=("b",)).verdict == REPRODUCED
    assert judge(timed, {}, "quick", unjudged=("a", "b")).verdict == NOT_RUN


# ------------------------------------------------------------------- what is refused


@dataclass
class Made:
    """An estimate that did not pass through Estimate's own checks."""

    value: float | None
    low: float | None
    high: float | None
    n: int = 9
    reason: str | None = None


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (Made(math.nan, 0.0, 1.0), "value = nan"),
        (Made(0.5, math.nan, 1.0), "low = nan"),
        (Made(0.5, 0.0, math.inf), "high = inf"),
        (Made(0.5, 1.0, 0.0), "wrong way round"),
        (Made(0.5, 0.0, None), "both ends or neither"),
    ],
)
def test_what_is_no_measurement_is_refused_by_name(made, expected):
    with pytest.raises(MeasurementError, match="'a'") as error:
        judge(rule({"measure": "a", "low": 0}), {"a": made}, "full")
    assert expected in str(error.value)
    with pytest.raises(MeasurementError, match="'a'"):
        judge_control(Control.model_validate({"measure": "a", "must_fail": {"low": 0}}), {"a": made})


def test_a_judged_measure_that_is_not_given_is_refused_even_beside_a_decided_any():
    either = rule({"measure": "a", "low": 0}, {"measure": "b", "low": 0}, kind="any")
    with pytest.raises(MeasurementError, match=r"'b' is judged in the full profile but was not given.*missing"):
        judge(either, {"a": interval(1, 2)}, "full")


def test_a_claim_refuses_measurements_it_does_not_know_and_bad_reported_ones():
    _, _, claim = find_claim("superposition.weak-is-unlearned-mass")
    good = {"loss_over_unlearned": interval(1.0, 1.1), "r2_loss_on_unlearned": interval(0.95, 0.99)}
    result = judge_claim(claim, good, "quick")
    assert result.verdict == REPRODUCED and result.control.state == "not run"
    with pytest.raises(MeasurementError, match="'loss_over_unlearnt' is not registered"):
        judge_claim(claim, {**good, "loss_over_unlearnt": interval(1.0, 1.1)}, "quick")
    with pytest.raises(MeasurementError, match="'unlearned_over_loss_strong'"):
        judge_claim(claim, {**good, "unlearned_over_loss_strong": Made(math.nan, 0, 1)}, "quick")


def test_a_claim_without_units_in_a_profile_is_not_run_there():
    _, _, claim = find_claim("power_laws.yao-ood-slope")
    result = judge_claim(claim, {}, "quick")
    assert result.verdict == NOT_RUN and result.control.state == "not run"
    assert {part.state for part in result.parts} == {"not in this profile"}


def test_controls():
    control = Control.model_validate({"measure": "a", "must_fail": {"low": 0.8, "high": 1.2}})
    cases = {
        "fails as it must": interval(0.3, 0.5),
        "does not fail": interval(0.9, 1.1),
        "undecided": interval(0.7, 1.1),
    }
    for state, measured in cases.items():
        found = judge_control(control, {"a": measured})
        assert found.state == state and "0.8 to 1.2" in found.reason
    assert judge_control(control, {"a": Estimate.missing("no fit")}).state == "undecided"
    assert judge_control(control, {}).state == "not run"


# ------------------------------------------------------------------- properties

grid = st.integers(-6, 6).map(lambda n: n / 2)  # a coarse grid, so that bounds and ends often coincide
span = st.tuples(grid, grid).map(sorted)


@st.composite
def conditions(draw):
    low, high = draw(span)
    shape = draw(st.sampled_from(["low", "high", "both"]))
    bounds = {"low": {"low": low}, "high": {"high": high}, "both": {"low": low, "high": high}}[shape]
    return {"measure": draw(st.sampled_from(NAMES)), **bounds}


@st.composite
def rules(draw):
    kinds = st.sampled_from(["all", "any"])
    inner = st.builds(lambda kind, parts: {kind: parts}, kinds, st.lists(conditions(), min_size=1, max_size=3))
    parts = draw(st.lists(conditions() | inner, min_size=1, max_size=4))
    return Rule.model_validate({draw(kinds): parts})


spans = st.fixed_dictionaries({name: span for name in NAMES})


def holds(part: Rule | Condition, point: dict[str, float]) -> bool:
    """Return classical truth at a point: the ground on which the three values stand."""
    if isinstance(part, Condition):
        value = point[part.measure]
        return (part.low is None or value >= part.low) and (part.high is None or value <= part.high)
    return (all if part.kind == "all" else any)(holds(inner, point) for inner in part.parts)


def verdict_of(tested: Rule, ends: dict[str, list[float]]) -> str:
    return judge(tested, {name: interval(*pair) for name, pair in ends.items()}, "full").verdict


@given(rules(), spans, st.fixed_dictionaries({name: st.floats(0, 1) for name in NAMES}))
def test_a_decided_verdict_holds_at_every_point_of_the_intervals(tested, ends, shares):
    point = {name: min(max(low + shares[name] * (high - low), low), high) for name, (low, high) in ends.items()}
    verdict = verdict_of(tested, ends)
    if verdict == REPRODUCED:
        assert holds(tested, point)
    if verdict == NOT_REPRODUCED:
        assert not holds(tested, point)


@given(rules(), st.fixed_dictionaries({name: grid for name in NAMES}))
def test_without_uncertainty_the_three_values_are_classical_truth(tested, point):
    expected = REPRODUCED if holds(tested, point) else NOT_REPRODUCED
    assert verdict_of(tested, {name: [value, value] for name, value in point.items()}) == expected


@given(rules(), spans, st.fixed_dictionaries({name: st.tuples(st.floats(0, 1), st.floats(0, 1)) for name in NAMES}))
def test_shrinking_intervals_never_turns_a_verdict_round(tested, ends, cuts):
    inner = {}
    for name, (low, high) in ends.items():
        points = sorted(min(max(low + cut * (high - low), low), high) for cut in cuts[name])
        inner[name] = points
    before, after = verdict_of(tested, ends), verdict_of(tested, inner)
    assert before in (after, INCONCLUSIVE)


@given(rules(), spans, st.sampled_from(NAMES))
def test_losing_a_measurement_never_turns_a_verdict_round(tested, ends, lost):
    measured = {name: interval(*pair) for name, pair in ends.items()}
    before = judge(tested, measured, "full").verdict
    after = judge(tested, {**measured, lost: Estimate.missing("lost")}, "full").verdict
    assert after in (before, INCONCLUSIVE)


@given(rules(), spans, st.randoms())
def test_the_order_of_conditions_does_not_matter(tested, ends, chance):
    parts = list(tested.parts)
    chance.shuffle(parts)
    assert verdict_of(Rule.model_validate({tested.kind: parts}), ends) == verdict_of(tested, ends)


@given(rules(), spans)
def test_the_parts_are_the_conditions_in_order_and_the_reason_names_who_is_to_blame(tested, ends):
    found = judge(tested, {name: interval(*pair) for name, pair in ends.items()}, "full")
    assert [part.measure for part in found.parts] == [condition.measure for condition in tested.conditions()]
    blamed = {part.measure for part in found.parts if f"`{part.measure}`" in found.reason}
    assert bool(blamed) == (found.verdict != REPRODUCED)


@given(conditions(), span)
def test_a_control_is_the_mirror_of_a_condition(condition, ends):
    bounds = {key: value for key, value in condition.items() if key != "measure"}
    control = Control.model_validate({"measure": "a", "must_fail": bounds})
    mirror = {REPRODUCED: "does not fail", NOT_REPRODUCED: "fails as it must", INCONCLUSIVE: "undecided"}
    measured = {"a": interval(*ends)}
    verdict = judge(rule({"measure": "a", **bounds}), measured, "full").verdict
    assert judge_control(control, measured).state == mirror[verdict]


# ------------------------------------------------------------------- what would have changed our mind


def test_the_sentence_groups_conditions_with_the_same_bounds():
    assert what_would_change(find_claim("superposition.strong-inverse-width")[2]) == (
        "Our mind would change if the interval of any of `alpha_m_power125`, `alpha_m_power05`, `alpha_m_power10`, "
        "`alpha_m_exponential` and `alpha_m_linear` lay wholly outside 0.8 to 1.2, or the interval of "
        "`spread_weak_minus_strong` lay wholly below 0."
    )


def test_the_sentence_says_that_every_member_of_an_any_must_fall():
    text = what_would_change(find_claim("inverse_scaling.range-decides")[2])
    assert "the interval of each of `u_share_cut6` and `u_share_cut12` lay wholly below 0.5" in text
    assert "or the interval of `u_share_cut8` lay wholly below 0.5" in text


def test_a_short_rule_tells_what_its_measures_are():
    text = what_would_change(find_claim("inverse_scaling.one-demo-helps")[2])
    definition = "dip with 1 diagnostic demo minus half of the dip with 0, per training seed"
    assert f"`dip_one_minus_half_zero` ({definition})" in text


def test_every_claim_has_one_readable_sentence_that_names_every_judged_measure():
    for register in load_all().values():
        for _, claim in register.claims():
            text = what_would_change(claim)
            assert text.startswith("Our mind would change if the interval of ") and text.endswith(".")
            assert len(text) < 900, claim.id
            for name in claim.conditions.measures():
                assert f"`{name}`" in text

"""Verdicts: a rule, the measured intervals, and whether the one holds in the light of the other.

A condition is true when the measure's 95 % interval lies wholly inside its bounds (bounds included), false when it
lies wholly outside, unknown when it straddles a bound or there is no interval. ``all`` takes the worst of its parts,
``any`` the best (Kleene's strong three-valued logic), so that a wide interval can never decide anything.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from scalebook.errors import MeasurementError
from scalebook.records import Bounds, Claim, Condition, Control, Rule, bounds_text

if TYPE_CHECKING:
    from scalebook.estimate import Estimate

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
INCONCLUSIVE = "inconclusive"
NOT_RUN = "not run"
PLANNED = "planned"

State = Literal["inside", "outside", "straddles", "missing", "not in this profile"]
_TRUTH: dict[str, bool | None] = {"inside": True, "outside": False, "straddles": None, "missing": None}
_WORD = {True: REPRODUCED, False: NOT_REPRODUCED, None: INCONCLUSIVE}


@dataclass(frozen=True)
class Part:
    """One condition as judged: its measure, the accepted bounds, and where the interval lies."""

    measure: str
    low: float | None
    high: float | None
    state: State


@dataclass(frozen=True)
class Verdict:
    """The outcome of a rule, why, and its conditions one by one in the rule's order."""

    verdict: str
    reason: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class ControlResult:
    """Whether the effect vanished where its cause was removed."""

    measure: str
    state: Literal["fails as it must", "does not fail", "undecided", "not run"]
    reason: str


@dataclass(frozen=True)
class ClaimResult:
    """The outcome of a claim: its rule's verdict and its control."""

    verdict: str
    reason: str
    parts: tuple[Part, ...]
    control: ControlResult


def judge(
    rule: Rule, measurements: Mapping[str, Estimate], profile: str, *, unjudged: Collection[str] = ()
) -> Verdict:
    """Return the verdict of a rule in a profile.

    ``unjudged`` names measures that this profile leaves out (timings); a condition limited to other profiles is left
    out too, and when nothing remains the verdict is "not run". Raises MeasurementError, naming the measure, for a
    judged measure that is not there and for NaN, infinity or an interval the wrong way round.
    """
    states: list[Part] = []
    truth, decisive = _truth(rule, measurements, profile, frozenset(unjudged), states)
    if not decisive:
        return Verdict(NOT_RUN, f"The {profile} profile judges no condition of this rule.", tuple(states))
    judged = sum(part.state != "not in this profile" for part in states)
    return Verdict(_WORD[truth], _reason(truth, decisive, judged, measurements), tuple(states))


def judge_control(control: Control, measurements: Mapping[str, Estimate]) -> ControlResult:
    """Return whether the control fails as it must: its interval wholly outside the bounds. Errors as for ``judge``."""
    name, bounds = control.measure, control.must_fail
    if name not in measurements:
        return ControlResult(name, "not run", f"`{name}` is not measured in this profile.")
    estimate = measurements[name]
    state = _state(bounds, estimate, name)
    words: dict[str, tuple[Literal["fails as it must", "does not fail", "undecided"], str]] = {
        "outside": ("fails as it must", "lies outside"),
        "inside": ("does not fail", "lies inside"),
        "straddles": ("undecided", "straddles a bound of"),
        "missing": ("undecided", "cannot be held against"),
    }
    outcome, verb = words[state]
    # a control whose true value is the bound itself (a null difference against 0) can do no better than straddle
    rest = ", so it does not pass but is not wholly outside either" if state == "straddles" else ""
    return ControlResult(name, outcome, f"`{name}` = {_shown(estimate)} {verb} {bounds.text()}{rest}.")


def judge_claim(
    claim: Claim, measurements: Mapping[str, Estimate], profile: str, *, timings_judged: bool | None = None
) -> ClaimResult:
    """Return the outcome of a claim. Timings are judged at full only, where the published numbers come from.

    Raises MeasurementError as ``judge`` does, and for a measurement that the claim's register does not know.
    """
    for name, estimate in measurements.items():
        if name not in claim.measures:
            raise MeasurementError(
                f"{claim.id}: the measurement {name!r} is not registered; registered are {', '.join(claim.measures)}. "
                "Correct the name in the chapter."
            )
        _check(estimate, name)
    if timings_judged is None:
        timings_judged = profile == "full"
    if claim.replicates.at(profile) is None:
        parts = tuple(Part(c.measure, c.low, c.high, "not in this profile") for c in claim.conditions.conditions())
        verdict = Verdict(NOT_RUN, f"The {profile} profile does not run this claim.", parts)
    else:
        verdict = judge(claim.conditions, measurements, profile, unjudged=() if timings_judged else claim.timings)
    return ClaimResult(verdict.verdict, verdict.reason, verdict.parts, judge_control(claim.control, measurements))


def not_run(claim: Claim, reason: str) -> ClaimResult:
    """Return the outcome of a claim whose data is not on this machine."""
    parts = tuple(Part(c.measure, c.low, c.high, "missing") for c in claim.conditions.conditions())
    return ClaimResult(NOT_RUN, reason, parts, ControlResult(claim.control.measure, "not run", "Its data is not here."))


def what_would_change(claim: Claim) -> str:
    """Return one sentence that says which measurements would turn the claim into "not reproduced"."""
    few = len(claim.conditions.conditions()) <= 2
    outcomes = _failures(claim.conditions, claim.measures if few else {})
    joiner = ", or " if claim.conditions.kind == "all" else ", and "
    return f"Our mind would change if {joiner.join(outcomes)}."


def _truth(
    rule: Rule, measurements: Mapping[str, Estimate], profile: str, unjudged: frozenset[str], states: list[Part]
) -> tuple[bool | None, list[Part]]:
    """Return Kleene's truth of a rule and the conditions that make it so (none when the profile skips them all).

    Every condition is added to ``states``; skipped ones do not count.
    """
    outcomes: list[tuple[bool | None, list[Part]]] = []
    for part in rule.parts:
        if isinstance(part, Rule):
            outcomes.append(_truth(part, measurements, profile, unjudged, states))
        elif not part.applies(profile) or part.measure in unjudged:
            states.append(Part(part.measure, part.low, part.high, "not in this profile"))
        else:
            if part.measure not in measurements:
                raise MeasurementError(
                    f"The measure {part.measure!r} is judged in the {profile} profile but was not given. Pass an "
                    "Estimate for it, or Estimate.missing('the reason') where it could not be had."
                )
            state = _state(part, measurements[part.measure], part.measure)
            states.append(Part(part.measure, part.low, part.high, state))
            outcomes.append((_TRUTH[state], [states[-1]]))
    truths = [truth for truth, decisive in outcomes if decisive]
    winner = rule.kind == "any"
    whole = winner if winner in truths else None if None in truths else not winner
    return whole, [part for truth, decisive in outcomes if truth is whole for part in decisive]


def _check(estimate: Estimate, name: str) -> None:
    """Refuse an estimate that is no measurement."""
    for field in ("value", "low", "high"):
        number = getattr(estimate, field)
        if number is not None and not math.isfinite(number):
            raise MeasurementError(
                f"The measure {name!r} has {field} = {number}; allowed: finite numbers, or "
                "Estimate.missing('the reason')."
            )
    if (estimate.low is None) != (estimate.high is None):
        raise MeasurementError(f"The measure {name!r} has one end of its interval; allowed: both ends or neither.")
    if estimate.low is not None and estimate.low > estimate.high:
        raise MeasurementError(
            f"The measure {name!r} has the interval [{estimate.low}, {estimate.high}], the wrong way round; "
            "allowed: low at most high."
        )


def _state(bounds: Bounds, estimate: Estimate, name: str) -> Literal["inside", "outside", "straddles", "missing"]:
    _check(estimate, name)
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "missing"
    low = -math.inf if bounds.low is None else bounds.low
    high = math.inf if bounds.high is None else bounds.high
    if low <= estimate.low and estimate.high <= high:
        return "inside"
    return "outside" if estimate.high < low or high < estimate.low else "straddles"


def _shown(estimate: Estimate) -> str:
    """Return value and interval in words."""
    if estimate.value is None:
        return f"no value ({estimate.reason or 'no reason given'})"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.4g} (no interval from {estimate.n} units)"
    if estimate.low == estimate.value == estimate.high:
        return f"{estimate.value:.4g}"
    return f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"


def _reason(truth: bool | None, decisive: list[Part], judged: int, measurements: Mapping[str, Estimate]) -> str:
    """Return why a verdict is what it is: how many conditions hold, or which ones keep it from being better."""
    if truth:
        if len(decisive) < judged:
            return f"{len(decisive)} of {judged} judged conditions hold, which is enough for this rule."
        return "The one judged condition holds." if judged == 1 else f"All {judged} judged conditions hold."
    verbs = {"outside": "lies outside", "straddles": "straddles a bound of", "missing": "cannot be held against"}
    texts = [
        f"`{part.measure}` = {_shown(measurements[part.measure])} {verbs[part.state]} "
        + bounds_text(part.low, part.high)
        for part in decisive
    ]
    return "; ".join(texts) + "."


def _failures(rule: Rule, definitions: Mapping[str, str]) -> list[str]:
    """Return in words what makes each part of a rule false; conditions with the same bounds share one phrase."""
    groups: dict[tuple[float | None, float | None], list[str]] = {}
    nested: list[str] = []
    for part in rule.parts:
        if isinstance(part, Condition):
            groups.setdefault((part.low, part.high), []).append(part.measure)
        else:
            inner = _failures(part, definitions)
            nested.append((" and " if part.kind == "any" else " or ").join(inner))
    one = "any" if rule.kind == "all" else "each"
    texts = []
    for (low, high), names in groups.items():
        shown = [f"`{name}`{_definition(definitions.get(name, ''))}" for name in dict.fromkeys(names)]
        subject = shown[0] if len(shown) == 1 else f"{one} of {', '.join(shown[:-1])} and {shown[-1]}"
        texts.append(f"the interval of {subject} lay {_outside(low, high)}")
    return texts + nested


def _definition(text: str) -> str:
    """Return a definition in brackets when it is short and stands on its own."""
    alone = text and len(text) <= 110 and "the same" not in text and "`" not in text
    return f" ({text})" if alone else ""


def _outside(low: float | None, high: float | None) -> str:
    if low is None:
        return f"wholly above {high:.10g}"
    if high is None:
        return f"wholly below {low:.10g}"
    if low == high:
        return f"wholly away from {low:.10g}"
    return f"wholly outside {low:.10g} to {high:.10g}"

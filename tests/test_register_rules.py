"""Every rule of the register: its numbers are those of its words, and it decides as an independent reading decides."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from scalebook.estimate import Estimate
from scalebook.records import Claim
from scalebook.register import load_all
from scalebook.verdict import INCONCLUSIVE, NOT_REPRODUCED, NOT_RUN, REPRODUCED, judge_claim, judge_control

PAPERS = Path(__file__).resolve().parents[1] / "data" / "papers"
CLAIMS = {claim.id: claim for chapter in load_all().values() for _, claim in chapter.claims()}
RAW = {
    claim["id"]: claim
    for path in PAPERS.glob("*.yml")
    for paper in yaml.safe_load(path.read_text(encoding="utf-8"))["papers"]
    for claim in paper["claims"]
}

# ------------------------------------------------------------------- numbers and words

NUMBER = re.compile(
    r"(?P<sign>\+-|[-+])?(?P<digits>(?:\d+(?:\.\d+)?|(?<![\d.])\.\d+)(?:e[-+]?\d+)?)"
    r"(?P<percent> ?%| percent| per cent)?"
)


def numbers(text: str) -> set[float]:
    """Return the numbers printed in a text; ``5%`` is 5 and 0.05, ``+-2`` is 2 and -2."""
    found = set()
    for match in NUMBER.finditer(text):
        value, sign = float(match["digits"]), match["sign"]
        if sign == "-" and match.start() and text[match.start() - 1].isalnum():
            sign = None  # a hyphen between words or the dash of a range
        values = {"-": {-value}, "+-": {value, -value}}.get(sign or "", {value})
        found |= values | ({value / 100 for value in values} if match["percent"] else set())
    return found


def printed(value: float, text: str) -> bool:
    return any(math.isclose(value, number, rel_tol=1e-12, abs_tol=1e-15) for number in numbers(text))


def bounds(claim: Claim) -> Iterator[tuple[str, float]]:
    """Yield every bound of the rule and of the control as (``measure low|high``, number)."""
    ranges = [(condition.measure, condition) for condition in claim.conditions.conditions()]
    for name, given in [*ranges, (claim.control.measure, claim.control.must_fail)]:
        for end in ("low", "high"):
            if getattr(given, end) is not None:
                yield f"{name} {end}", getattr(given, end)


def test_the_reader_of_numbers_reads_what_people_write():
    text = "inside [0.80, 1.20], within +-2% of 1e-6, below -.5, ranks 3-128 and alpha-1, a tenth"
    assert numbers(text) == {0.8, 1.2, 2.0, -2.0, 0.02, -0.02, 1e-6, -0.5, 3.0, 128.0, 1.0}


@pytest.mark.parametrize("claim_id", CLAIMS)
def test_every_bound_stands_in_the_words_or_has_a_derivation(claim_id):
    claim = CLAIMS[claim_id]
    for key, value in bounds(claim):
        if not printed(value, claim.rule):
            assert key in claim.derivations, f"{key} = {value:g} is neither in the rule's words nor derived"
        if key in claim.derivations and key.split()[0] not in twice(claim):
            assert printed(value, claim.derivations[key]), f"the derivation of {key} does not print {value:g}"


def twice(claim: Claim) -> set[str]:
    """Return measures with more than one range (two profiles, or judged and control), whose texts cover both."""
    names = [condition.measure for condition in claim.conditions.conditions()] + [claim.control.measure]
    return {name for name in names if names.count(name) > 1}


OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}
FUNCTIONS = {"ln": math.log, "sqrt": math.sqrt, "log2": math.log2}
EQUATION = re.compile(r"(?P<left>-?\d[\d.]*) = (?P<right>-?(?:(?:ln|sqrt|log2)\(|[\d.+\-*/() ])+)")


def compute(expression: str) -> float:
    """Return the value of plain arithmetic, without Python's own ``eval``."""

    def value(node: ast.expr) -> float:
        if isinstance(node, ast.Constant):
            return float(node.value)
        if isinstance(node, ast.UnaryOp):
            return OPERATORS[type(node.op)](value(node.operand))
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        return FUNCTIONS[node.func.id](*(value(argument) for argument in node.args))

    return value(ast.parse(expression, mode="eval").body)


def equations() -> list[tuple[str, str, str]]:
    found = []
    for claim in CLAIMS.values():
        for text in claim.derivations.values():
            found += [(claim.id, match["left"], match["right"].strip(" .")) for match in EQUATION.finditer(text)]
    return sorted(set(found))


@pytest.mark.parametrize(("claim_id", "left", "right"), equations())
def test_every_equation_of_a_derivation_is_right_to_the_digits_printed(claim_id, left, right):
    digits = len(left.partition(".")[2])
    assert math.isclose(compute(right), float(left), abs_tol=0.5000001 * 10**-digits), f"{left} = {right}"


def test_there_are_equations_to_check():
    assert len(equations()) > 60
    assert ("superposition.memory-sample-exponent", "0.3667", "1.1*(1 - 1/1.5)") in equations()


def test_words_carry_no_remarks_of_whoever_wrote_them():
    remarks = re.compile(r"\breferee|second pass|machine rule|prototype(?!s[- ]|s$|_)", re.IGNORECASE)
    for claim in CLAIMS.values():
        for text in (claim.says, claim.rule, claim.measure, *claim.measures.values(), *claim.derivations.values()):
            hit = remarks.search(text)
            assert hit is None, f"{claim.id}: ...{text[max(0, hit.start() - 30) : hit.end() + 30]}..."


# ------------------------------------------------------------------- rules on made-up measurements

INSIDE, UNKNOWN, OUTSIDE = 2, 1, 0  # so that "all" is the smallest and "any" the largest
WORDS = {INSIDE: REPRODUCED, UNKNOWN: INCONCLUSIVE, OUTSIDE: NOT_REPRODUCED}


def reading(rule: dict, intervals: dict, profile: str, timings: list[str]) -> int | None:
    """Return the outcome of a raw rule, written again from the design's words: worst of all, best of any."""
    ((kind, parts),) = rule.items()
    outcomes = []
    for part in parts:
        if "measure" not in part:
            outcomes.append(reading(part, intervals, profile, timings))
        elif profile in part.get("profiles", [profile]) and (profile == "full" or part["measure"] not in timings):
            interval = intervals[part["measure"]]
            if interval is None:
                outcomes.append(UNKNOWN)
            else:
                above = "low" not in part or interval[0] >= part["low"]
                below = "high" not in part or interval[1] <= part["high"]
                off = ("low" in part and interval[1] < part["low"]) or ("high" in part and interval[0] > part["high"])
                outcomes.append(INSIDE if above and below else OUTSIDE if off else UNKNOWN)
    outcomes = [outcome for outcome in outcomes if outcome is not None]
    return (min if kind == "all" else max)(outcomes) if outcomes else None


def raw_conditions(rule: dict) -> Iterator[dict]:
    for parts in rule.values():
        for part in parts:
            if "measure" in part:
                yield part
            else:
                yield from raw_conditions(part)


def accepted(claim: dict) -> dict[str, tuple[float, float]]:
    """Return for each judged measure the range that satisfies all its conditions at once."""
    ranges: dict[str, tuple[float, float]] = {}
    for condition in raw_conditions(claim["conditions"]):
        low, high = ranges.get(condition["measure"], (-math.inf, math.inf))
        ranges[condition["measure"]] = max(low, condition.get("low", low)), min(high, condition.get("high", high))
    return ranges


def comfortable(low: float, high: float) -> float:
    """Return a point well inside a range."""
    if math.isinf(low) or math.isinf(high):
        return high - abs(high) - 1 if math.isinf(low) else low + abs(low) + 1
    return (low + high) / 2


def placements(condition: dict) -> Iterator[tuple[str, tuple[float, float] | None]]:
    """Yield made-up intervals of one measure: at each bound, inside, outside, across a bound, none."""
    low, high = condition.get("low", -math.inf), condition.get("high", math.inf)
    middle = comfortable(low, high)
    yield "inside", (middle, middle)
    yield "missing", None
    for name, bound, way in (("low", low, -1), ("high", high, 1)):
        if not math.isinf(bound):
            step = max(abs(bound), abs(bound - middle), 1e-3)
            yield f"at {name}", (bound, bound)
            yield f"just outside {name}", (math.nextafter(bound, way * math.inf),) * 2
            yield f"outside {name}", tuple(sorted((bound + way * 2 * step, bound + way * step)))
            yield f"across {name}", tuple(sorted((bound - way * 1e-9 * step, bound + way * step)))
            yield f"outside up to {name}", tuple(sorted((bound, bound + way * step)))


def estimate(interval: tuple[float, float] | None) -> Estimate:
    return Estimate.missing("made up") if interval is None else Estimate((interval[0] + interval[1]) / 2, *interval, 9)


@pytest.mark.parametrize("claim_id", CLAIMS)
def test_a_rule_decides_as_its_independent_reading(claim_id):
    claim, raw = CLAIMS[claim_id], RAW[claim_id]
    base = {name: (comfortable(*ends),) * 2 for name, ends in accepted(raw).items()}
    for profile in ("quick", "full"):
        for condition in raw_conditions(raw["conditions"]):
            for name, interval in placements(condition):
                intervals = {**base, condition["measure"]: interval}
                expected = reading(raw["conditions"], intervals, profile, raw.get("timings", []))
                if raw["replicates"][profile] is None:
                    expected = None
                measured = {key: estimate(value) for key, value in intervals.items()}
                result = judge_claim(claim, measured, profile)
                wanted = NOT_RUN if expected is None else WORDS[expected]
                assert result.verdict == wanted, f"{profile}, {condition['measure']} {name}: {result.reason}"


@pytest.mark.parametrize("claim_id", CLAIMS)
def test_a_rule_can_be_met_and_every_condition_of_all_can_break_it(claim_id):
    claim, raw = CLAIMS[claim_id], RAW[claim_id]
    base = {name: estimate((comfortable(*ends),) * 2) for name, ends in accepted(raw).items()}
    assert judge_claim(claim, base, "full").verdict == REPRODUCED
    for condition in raw["conditions"]["all"]:
        if "full" in condition.get("profiles", ["full"]) and "measure" in condition:
            far = next(interval for name, interval in placements(condition) if name.startswith("outside "))
            broken = {**base, condition["measure"]: estimate(far)}
            assert judge_claim(claim, broken, "full").verdict == NOT_REPRODUCED
            unknown = {**base, condition["measure"]: Estimate.missing("no fit")}
            assert judge_claim(claim, unknown, "full").verdict == INCONCLUSIVE


@pytest.mark.parametrize("claim_id", CLAIMS)
def test_a_control_fails_outside_its_bounds_only(claim_id):
    claim = CLAIMS[claim_id]
    expected = {"inside": "does not fail", "at": "does not fail", "just": "fails as it must", "missing": "undecided"}
    expected |= {"outside": "fails as it must", "across": "undecided"}
    for name, interval in placements(RAW[claim_id]["control"]["must_fail"]):
        state = judge_control(claim.control, {claim.control.measure: estimate(interval)}).state
        wanted = "undecided" if name.startswith("outside up to") else expected[name.split()[0]]
        assert state == wanted, name
    assert judge_control(claim.control, {}).state == "not run"


def test_timings_are_judged_at_full_only():
    timed = [claim for claim in CLAIMS.values() if claim.timings]
    assert len(timed) == 16
    for claim in timed:
        names = {c.measure for c in claim.conditions.conditions() if c.applies("quick")} - set(claim.timings)
        measured = {name: Estimate.missing("made up") for name in names}
        assert judge_claim(claim, measured, "quick").verdict == (INCONCLUSIVE if names else NOT_RUN)


def test_every_measure_defined_through_clock_time_is_a_timing():
    clock = re.compile(
        r"wall-clock|CPU time|tokens per second|\btime (of|naive|fused)|\bSPS\b|log2?\(time\)|ln\(time\)|ln time"
    )
    for claim in CLAIMS.values():
        for name, definition in claim.measures.items():
            if clock.search(definition):
                assert name in claim.timings, f"{claim.id}: {name}: {definition}"

"""The atlas as a drawing: what a dot, a line, a diamond and an arrow say, and that one huge value spoils nothing."""

import re
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from scalebook import atlas
from scalebook.records import PaperValue
from scalebook.runs import Measured


def exponent(value, low=None, high=None, paper=None, fidelity="exact", chapter="One", span=None):
    """One exponent of a made-up claim."""
    row = SimpleNamespace(chapter=SimpleNamespace(title=chapter), claim=SimpleNamespace(fidelity=fidelity))
    measured = {"slope": Measured(value=value, low=low, high=high, n=8, reason=None)}
    record = SimpleNamespace(measurements=measured, outcome=SimpleNamespace(spans={"slope": span} if span else {}))
    return atlas.Exponent(row, "slope", record, paper and PaperValue(value=paper, where="abstract"))


def drawn(*found):
    """The drawing as XML, its classes counted."""
    tree = ElementTree.fromstring(atlas.picture(found))
    return tree, [mark.get("class").removeprefix("sb-atlas-") for mark in tree if mark.get("class")]


def places(tree, kind):
    return [float(mark.get("cx")) for mark in tree if mark.get("class") == f"sb-atlas-{kind}"]


def test_marks_say_value_interval_paper_and_fidelity():
    tree, kinds = drawn(
        exponent(1.0, 0.9, 1.1, paper=1.2, span=[1, 1000]), exponent(0.5, fidelity="mechanism", chapter="Two")
    )
    assert kinds.count("full") == kinds.count("hollow") == kinds.count("line") == kinds.count("paper") == 1
    assert [mark.text for mark in tree if mark.get("class") == "sb-atlas-title"] == ["One", "Two"]
    assert [mark.text for mark in tree if mark.get("class") == "sb-atlas-span"] == ["decades", "3.0", "—"]
    assert tree.get("aria-label").startswith("2 exponents") and tree.get("role") == "img"
    line = next(mark.get("d") for mark in tree if mark.get("class") == "sb-atlas-line")
    left, right = (float(number) for number in re.fullmatch(r"M(\S+) \S+H(\S+)", line).groups())
    assert left < places(tree, "full")[0] < right
    assert places(tree, "hollow")[0] < places(tree, "full")[0]


def test_one_huge_value_is_an_arrow_and_leaves_the_others_apart():
    usual = [exponent(0.1 * k) for k in range(1, 12)]
    alone, _ = drawn(*usual)
    tree, kinds = drawn(*usual, exponent(29.7))
    assert kinds.count("arrow") == 1 and kinds.count("full") == 11
    assert [mark.text for mark in tree if mark.get("class") == "sb-atlas-far"] == ["29.7"]
    first, last = places(tree, "full")[0], places(tree, "full")[-1]
    assert last - first > 0.6 * (places(alone, "full")[-1] - places(alone, "full")[0])


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 400.0])
def test_a_single_exponent_can_be_drawn(value):
    tree, kinds = drawn(exponent(value))
    assert kinds.count("full") == 1
    ticks = [mark.text for mark in tree if mark.get("class") == "sb-atlas-tick"][1:]
    assert len(set(ticks)) >= 2


def test_a_paper_off_the_scale_and_a_wide_interval_stay_inside():
    found = [exponent(0.1 * k) for k in range(1, 12)]
    far = replace(found[0], given=PaperValue(value=90.0, where="abstract"))
    tree, kinds = drawn(*found, far, exponent(0.5, -80, 80))
    assert "paper" not in kinds
    width = float(tree.get("viewBox").split()[2])
    line = next(mark.get("d") for mark in tree if mark.get("class") == "sb-atlas-line")
    left, right = (float(number) for number in re.fullmatch(r"M(\S+) \S+H(\S+)", line).groups())
    assert 0 < left < right < width

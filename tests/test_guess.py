"""Guess first: the answer stays shut until the reader commits, and is there for all who have no script."""

import re

import numpy as np
import pytest
from browsing import opened, page_around, serious
from test_explorer import decay

from scalebook.errors import UserError
from scalebook.estimate import Estimate
from scalebook.explorer import ASSETS
from scalebook.guess import guess_curve, guess_number

STEPS = np.linspace(0, 1, 12)
SHAPES = {"straight": 1 - STEPS, "bends up": (1 - STEPS) ** 2, "flat": 0 * STEPS + 0.5}


def slope():
    return guess_number("slope", "How steep?", Estimate(0.98, 0.93, 1.03, 8), "per decade", 0.05, 20, reveal=decay())


def share():
    return guess_number("share", "Which share?", 40, "%", 0, 100, log=False)


def shape():
    told = {"bends up": "Nothing saturates: every doubling removes the same factor."}
    return guess_curve("shape", "Which way?", SHAPES, "straight", told=told, reveal="<p id='opened'>There.</p>")


def test_without_script_the_answer_lies_folded_on_the_page():
    html = slope().html
    assert "<form hidden>" in html and "<details><summary>Show the answer</summary>" in html
    assert "Measured: <strong>0.98 per decade</strong> (95 % interval 0.93 to 1.03)." in html
    assert "sb-explorer" in html and "sb-explorer" not in shape().html
    assert 'data-sb-asset="guess.js"' in slope()._repr_html_()
    assert shape().html.count('type="radio"') == 3


def test_the_script_loads_nothing():
    script = (ASSETS / "guess.js").read_text(encoding="utf-8")
    assert not re.search(r"\bfetch\b|XMLHttpRequest|import\(|https?://|document\.cookie", script)
    assert "</script" not in script


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: guess_number("A b", "?", 1, "", 0.1, 10), "small letters"),
        (lambda: guess_number("a", "?", 11, "", 0.1, 10), "must lie in the range"),
        (lambda: guess_number("a", "?", 1, "", 0, 10), "above 0 where log=True"),
        (lambda: guess_number("a", "?", Estimate.missing("no fit"), "", 1, 10), r"no value \(no fit\)"),
        (lambda: guess_curve("a", "?", SHAPES, "curly"), "truth 'curly'"),
        (lambda: guess_curve("a", "?", {"one": [1, 2]}, "one"), "two to six"),
        (lambda: guess_curve("a", "?", {"one": [1, 2], "two": [1, np.nan]}, "one"), "finite heights"),
    ],
)
def test_what_does_not_fit_is_refused(make, says):
    with pytest.raises(UserError, match=says):
        make()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guesses")
    body = slope()._repr_html_() + share()._repr_html_() + shape()._repr_html_()
    return {mode: page_around(folder, body, mode) for mode in ("light", "dark")}


@pytest.mark.browser
def test_without_script_the_answer_can_be_unfolded(browser, files):
    with opened(browser, files["light"], script=False) as page:
        assert page.is_hidden("#guess-slope form")
        page.click("#guess-slope summary")
        assert page.is_visible("#guess-slope .sb-answer") and page.is_visible("#explore-decay svg")


@pytest.mark.browser
def test_a_number_is_committed_by_keyboard_remembered_and_taken_back(browser, files):
    with opened(browser, files["light"]) as page:
        assert page.is_hidden("#guess-slope .sb-answer")
        page.focus("#guess-slope-entry")
        page.keyboard.press("Enter")
        page.keyboard.type("400")
        page.keyboard.press("Enter")
        assert page.inner_text("#guess-slope .sb-told") == ""  # nothing, then out of range: the browser says so
        page.fill("#guess-slope-entry", "0.3")
        page.keyboard.press("Enter")
        assert page.inner_text("#guess-slope .sb-told") == "You said 0.3 per decade. That is about 3.3 times too low."
        assert page.is_visible("#guess-slope .sb-answer") and page.is_disabled("#guess-slope-entry")
        assert page.evaluate("document.activeElement.dataset.do") == "again"
        page.press("#explore-decay-gamma", "Home")
        assert page.get_attribute("#explore-decay-gamma", "aria-valuetext") == "−1 (growth)"
        page.reload()
        assert page.inner_text("#guess-slope .sb-told").startswith("Last time you said 0.3")
        page.click("#guess-slope [data-do=again]")
        assert page.is_hidden("#guess-slope .sb-answer") and page.evaluate("localStorage.length") == 0


@pytest.mark.browser
@pytest.mark.parametrize(
    ("name", "guess", "says"),
    [
        ("slope", "1", "That is right, to within 5 %."),
        ("slope", "0.5", "That is 49 % too low."),
        ("slope", "9.8", "That is about ten times too high."),
        ("slope", "20", "That is about 1.3 powers of ten too high."),
        ("share", "41", "That is right."),
        ("share", "100", "That is 60 % too high."),
    ],
)
def test_the_distance_is_told_in_plain_words(browser, files, name, guess, says):
    with opened(browser, files["light"]) as page:
        page.fill(f"#guess-{name}-entry", guess)
        page.click(f"#guess-{name} [type=submit]")
        assert page.inner_text(f"#guess-{name} .sb-told").endswith(says)


@pytest.mark.browser
def test_a_curve_is_chosen_and_both_are_marked(browser, files):
    with opened(browser, files["light"]) as page:
        page.focus("#guess-shape input")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        assert (
            page.inner_text("#guess-shape .sb-told")
            == "✗ Not this one. Nothing saturates: every doubling removes the same factor."
        )
        assert [m.strip() for m in page.locator("#guess-shape .sb-mark").all_inner_texts()] == [
            "✓ measured",
            "✗ your guess",
            "",
        ]
        assert page.is_visible("#opened")


@pytest.mark.browser
@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_barrier_before_and_after(browser, files, mode, width):
    with opened(browser, files[mode], width=width) as page:
        assert width > 390 or serious(page) == []
        page.fill("#guess-slope-entry", "0.3")
        page.click("#guess-slope [type=submit]")
        page.click("#guess-shape .sb-option >> nth=2")
        page.click("#guess-shape [type=submit]")
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width

"""The cards' small words: code between backticks, and how sure we are of a paper's figure said once."""

import pytest
from scalebook.cards import prose, standing_of
from scalebook.records import Figure


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("`a_b` = 1 lies outside", "<code>a_b</code> = 1 lies outside"),
        ("x < y & `z`", "x &lt; y &amp; <code>z</code>"),
        ("one ` alone", "one ` alone"),
    ],
)
def test_words_between_backticks_are_code(text, html):
    assert prose(text) == html


@pytest.mark.parametrize(
    ("where", "sure", "shown"),
    [
        ("abstract", "abstract", "abstract"),
        ("Abstract, last sentence", "abstract", "Abstract, last sentence"),
        ("table 2", "printed", "table 2; printed"),
        ("theory", "memory", "theory; memory"),
    ],
)
def test_how_sure_we_are_is_said_where_it_adds_something(where, sure, shown):
    assert standing_of(Figure(what="a", value="1", where=where, sure=sure)) == shown

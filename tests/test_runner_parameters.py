"""Knobs of a chapter: types come from its parameters cell, and whatever does not fit is refused with a way out."""

import json

import pytest
from dummy_book import make_book
from hypothesis import given
from hypothesis import strategies as st

from scalebook import parameters
from scalebook.errors import ScalebookError, UserError


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEBOOK_ROOT", str(tmp_path))
    monkeypatch.setenv("SCALEBOOK_BUILD", str(tmp_path / "_build"))
    return make_book(tmp_path, ("alpha",), ("gamma",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("width=16", {"width": 16}),
        ("rate=2", {"rate": 2.0}),
        ("rate=1e-3", {"rate": 0.001}),
        ("rate=.25", {"rate": 0.25}),
        ("sizes=[1, 2.5, 4]", {"sizes": [1.0, 2.5, 4.0]}),
        ("steep=false", {"steep": False}),
        ("steep=False", {"steep": False}),
        ("label=a = b", {"label": "a = b"}),
        ("label=7", {"label": "7"}),
        (" width = 16", {"width": 16}),
        ("width=8", {}),  # the default: the same run as without -p
        ("rate=0.5", {}),
    ],
)
def test_values_take_the_type_of_the_default(book, text, expected):
    found = parameters.parse("alpha", [text])
    assert found == expected
    assert [type(v) for v in found.values()] == [type(v) for v in expected.values()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("width=1.5", "a whole number"),
        ("width=true", "a whole number"),
        ("width=wide", "a whole number"),
        ("rate=fast", "a number"),
        ("rate=true", "a number"),
        ("rate=nan", "nan"),
        ("rate=NaN", "NaN"),
        ("rate=1e999", "finite"),
        ("rate=", "a number"),
        ("sizes=3", "a JSON list"),
        ('sizes=["a"]', "a JSON list"),
        ("steep=1", "true or false"),
        ("steep=yes", "true or false"),
        ("width", "name=value"),
        ("heigth=3", "width, rate, sizes, steep, label"),
        ("widht=3", "Did you mean 'width'"),
        ("seed=3", "--seed"),
        ("profile=full", "--profile"),
    ],
)
def test_whatever_does_not_fit_is_refused(book, text, expected):
    with pytest.raises(UserError) as caught:
        parameters.parse("alpha", [text])
    assert expected in str(caught.value)


@pytest.mark.parametrize("text", ["nan", "-inf", "Infinity"])
def test_no_default_takes_what_is_no_number(text):
    with pytest.raises(UserError, match="not a usable number"):
        parameters._convert("a", text, None)


def test_later_values_win_and_the_hash_depends_on_values_only(book):
    one = parameters.parse("alpha", ["width=4", "rate=2", "width=16"])
    other = parameters.parse("alpha", ["rate=2.0", "width=16"])
    assert one == other
    assert parameters.run_name("alpha", one) == parameters.run_name("alpha", other)
    assert parameters.run_name("alpha", one) != parameters.run_name("alpha", {"width": 16})
    assert parameters.run_name("alpha", {}) == "alpha"
    assert parameters.slug_of(parameters.run_name("alpha", one)) == "alpha"


@given(st.integers(-(10**12), 10**12), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_what_python_writes_is_read_back(whole, number, truth):
    assert parameters._convert("a", str(whole), 1) == whole
    assert parameters._convert("a", repr(number), 1.0) == number
    assert parameters._convert("a", str(truth), True) is truth


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (None, "0 code cells tagged"),
        ("seed = 1", "does not set profile"),
        ("profile = 'quick'", "does not set seed"),
        ("profile = = 3", "line 1"),
    ],
)
def test_a_parameters_cell_that_cannot_be_used_is_named(book, cell, expected):
    book.write("alpha", parameters=cell)
    with pytest.raises(ScalebookError, match=expected):
        parameters.defaults("alpha")


def test_computed_values_are_no_knobs(book):
    book.write(
        "alpha", parameters="profile = 'quick'\nseed = 1000\nwidth: int = 4\narea = width * 2\nlow, high = 1, 2\n"
    )
    assert parameters.defaults("alpha") == {"profile": "quick", "seed": 1000, "width": 4}


@pytest.mark.parametrize(
    ("slug", "expected"),
    [
        ("alpah", "Did you mean 'alpha'"),
        ("gamma", "planned"),
        ("chapters/alpha.ipynb", "Write 'alpha'"),
        ("./alpha", "Write 'alpha'"),
        ("/etc/passwd", "not paths"),
        ("../alpha", "not paths"),
        ("Alpha", "small letters"),
        ("", "not the name"),
        ("zzz", "scalebook list"),
    ],
)
def test_names_that_are_no_chapter(book, slug, expected):
    with pytest.raises(UserError, match=expected):
        parameters.check_slug(slug)


@pytest.mark.parametrize("seed", [0, 1000, 2**31 - 1])
def test_usable_seeds(seed):
    assert parameters.check_seed(seed) == seed


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_unusable_seeds(seed):
    with pytest.raises(UserError, match="2147483647"):
        parameters.check_seed(seed)


def test_knobs_are_read_back_from_their_run_and_a_foreign_record_is_refused(book):
    run = parameters.run_name("alpha", {"width": 16})
    folder = book.run_folder(run)
    folder.mkdir(parents=True)
    with pytest.raises(ScalebookError, match="-p"):
        parameters.load_chosen("quick", 1000, run)
    (folder / "parameters.json").write_text(json.dumps({"width": 16}))
    assert parameters.load_chosen("quick", 1000, run) == {"width": 16}
    (folder / "parameters.json").write_text(json.dumps({"width": 17}))
    with pytest.raises(ScalebookError, match="does not belong"):
        parameters.load_chosen("quick", 1000, run)

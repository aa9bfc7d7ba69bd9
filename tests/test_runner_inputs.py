"""What a run depends on: followed by reading code, never by importing it."""

import pytest
from dummy_book import make_book

from scalebook import inputs
from scalebook.errors import ScalebookError


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEBOOK_ROOT", str(tmp_path))
    monkeypatch.setenv("SCALEBOOK_BUILD", str(tmp_path / "_build"))
    return make_book(tmp_path, ("alpha",))


def names(slug: str = "alpha") -> set[str]:
    return set(inputs.fingerprints(slug))


def library(slug: str = "alpha") -> set[str]:
    return {name.removeprefix("lib/scalebook/") for name in names(slug) if name.startswith("lib/")}


def test_notebook_register_and_lock_are_inputs(book):
    assert names() == {"chapters/alpha.ipynb", "data/papers/alpha.yml", "constraints.txt"}


def test_exercises_are_an_input_once_they_exist(book):
    (book.folder / "data" / "exercises" / "alpha.yml").write_text("x")
    assert "data/exercises/alpha.yml" in names()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from scalebook import Chapter", {"__init__.py", "chapter.py", "estimate.py"}),
        ("import scalebook\nscalebook.fit", {"__init__.py", "fitting.py"}),
        ("import scalebook as sb\nsb.fit(1)", {"__init__.py", "fitting.py"}),
        ("from scalebook.topics import used", {"__init__.py", "topics/__init__.py", "topics/used.py"}),
        ("import scalebook.topics.used", {"__init__.py", "topics/__init__.py", "topics/used.py"}),
        ("from scalebook.topics.used import used as u", {"__init__.py", "topics/__init__.py", "topics/used.py"}),
        ("def later():\n    from scalebook import fit", {"__init__.py", "fitting.py"}),
        ("%time 1 + 1\n!ls\nfrom scalebook import fit", {"__init__.py", "fitting.py"}),
        ("from scalebook import *", {"__init__.py", "chapter.py", "estimate.py", "fitting.py"}),
        ("import numpy", set()),
        ("this is no Python", set()),
    ],
)
def test_imports_are_followed(book, code, expected):
    book.write("alpha", code)
    assert library() == expected


def test_imports_are_followed_through_the_library_relative_ones_too(book):
    (book.folder / "lib/scalebook/topics/used.py").write_text("from ..fitting import fit\nfrom . import other\n")
    book.write("alpha", "from scalebook.topics import used")
    assert {"fitting.py", "topics/other.py"} <= library()


def test_circles_end(book):
    (book.folder / "lib/scalebook/estimate.py").write_text("import scalebook.chapter\n")
    book.write("alpha", "from scalebook import Chapter")
    assert library() == {"__init__.py", "chapter.py", "estimate.py"}


def test_assets_that_a_module_names_are_inputs(book):
    folder = book.folder / "lib/scalebook/assets"
    folder.mkdir()
    (folder / "cards.css").write_text("a {}")
    (folder / "other.css").write_text("a {}")
    (book.folder / "lib/scalebook/chapter.py").write_text('STYLE = "assets/cards.css"\n')
    book.write("alpha", "from scalebook import Chapter")
    assert "assets/cards.css" in library() and "assets/other.css" not in library()


def test_editing_a_module_changes_the_fingerprint_and_touching_another_topic_does_not(book):
    book.write("alpha", "from scalebook import Chapter\nfrom scalebook.topics import used")
    before = inputs.fingerprint("alpha")
    (book.folder / "lib/scalebook/topics/other.py").write_text("other = 2\n")
    assert inputs.fingerprint("alpha") == before
    (book.folder / "lib/scalebook/estimate.py").write_text("mean = 2\n")
    assert inputs.fingerprint("alpha") != before


def test_declared_data_are_inputs_files_and_folders(book):
    (book.folder / "data" / "suite").mkdir()
    for name in ("a.csv", "b.csv"):
        (book.folder / "data" / "suite" / name).write_text("1")
    (book.folder / "data" / "published.yml").write_text("x")
    book.write("alpha", data=["data/suite", "data/published.yml"])
    assert {"data/suite/a.csv", "data/suite/b.csv", "data/published.yml"} <= names()


def test_declared_data_that_are_not_there_are_named(book):
    book.write("alpha", data=["data/nowhere.csv"])
    with pytest.raises(ScalebookError, match="nowhere.csv"):
        names()


@pytest.mark.parametrize("content", ["{", "[]", '{"cells": 3}', '{"cells": [3]}'])
def test_a_broken_notebook_is_named(book, content):
    (book.folder / "chapters" / "alpha.ipynb").write_text(content)
    with pytest.raises(ScalebookError, match="chapters/alpha.ipynb"):
        names()


def test_a_real_chapter_depends_on_the_modules_it_uses_and_no_other_topic(monkeypatch):
    monkeypatch.delenv("SCALEBOOK_ROOT", raising=False)
    if "superposition" not in inputs.written():
        pytest.skip("the chapter is not written yet")
    found = library("superposition")
    assert {"__init__.py", "chapter.py", "estimate.py", "verdict.py", "assets/cards.css"} <= found
    assert not found & {"cli.py", "runner.py", "site.py"}


def test_a_published_table_named_in_the_notebook_is_an_input_by_whether_it_is_here(book, monkeypatch):
    key = "somebody2020/table"
    monkeypatch.setattr("scalebook.published.registry", lambda: {key: None})
    monkeypatch.setattr("scalebook.published.state", lambda asked: f"state of {asked}")
    book.write("alpha", f'ch.given(["{key}", "no/table"], print)')
    assert inputs.published_tables("alpha") == [key]
    assert inputs.fingerprints("alpha")[f"published/{key}"] == f"state of {key}"

"""Bundled sets, generators and the standard library as data."""

from __future__ import annotations

import numpy as np
import pytest

from scalebook import datasets
from scalebook.errors import DataNotHere, ScalebookError, UserError
from scalebook.suite import plan, storage


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    images, labels = datasets.digits()
    theirs = load_digits()
    assert images.shape == (1797, 64) and images.min() == 0 and images.max() == 1
    assert np.array_equal(images * 16, theirs.data) and np.array_equal(labels, theirs.target)


def test_digits_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        datasets.digits()[0][0, 0] = 1


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(datasets.importlib.util, "find_spec", lambda name: None)
    datasets.digits.cache_clear()
    with pytest.raises(ScalebookError, match="scikit-learn"):
        datasets.digits()
    datasets.digits.cache_clear()


def test_mnist1d_has_the_published_shape_and_spread():
    curves, labels = datasets.mnist1d(np.random.default_rng(0), 2000)
    assert curves.shape == (2000, 40) and np.array_equal(np.bincount(labels), np.full(10, 200))
    # spread of each class over the spread of all, from 5000 curves of the package mnist1d 0.0.2
    published = [1.196, 0.873, 0.835, 1.009, 0.881, 0.838, 1.191, 0.877, 1.000, 0.899]
    spread = [curves[labels == c].std() / curves.std() for c in range(10)]
    assert spread == pytest.approx(published, abs=0.06)


def test_mnist1d_repeats_with_its_generator_and_refuses_none():
    first, second = (datasets.mnist1d(np.random.default_rng(5), 20) for _ in range(2))
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])
    with pytest.raises(UserError, match="at least 1"):
        datasets.mnist1d(np.random.default_rng(5), 0)


def test_library_source_reads_packages_and_modules_without_tests():
    assert "class Decimal" in datasets.library_source("_pydecimal")
    assert "class Message" in datasets.library_source("email")
    assert "class TestCase" in datasets.library_source("unittest")


@pytest.mark.parametrize("name", ["no_such_package", "../site-packages", ""])
def test_what_is_no_library_package_is_refused(name):
    with pytest.raises(UserError, match="standard library"):
        datasets.library_source(name)


def test_words_keep_underscores_and_drop_numbers():
    assert datasets.words("x_1 = 3.5e2  # don't") == ["x_1", "e2", "don", "t"]


def test_docstrings_only():
    source = '"""Module."""\nx = 1  # no\ndef f():\n    """Function."""\nclass C:\n    """Class."""\n    y = "no"\n'
    assert sorted(datasets.docstrings(source).split("\n")) == ["Class.", "Function.", "Module."]


def written_suite(blocks: str, blown_up: str = "") -> storage.Table:
    """Return a table with every planned curve of these blocks, two points each, as workers write them."""
    table = storage.Table()
    for job in plan.jobs():
        for segment, members in job.segments().items() if job.block in blocks else ():
            last = [2.0 if job.run(m, segment) != blown_up else float("nan") for m in members]
            rows = [
                {"member": job.members.index(m), "step": step, "lr_now": 0.01, "s1": 0.5, "train": 2.5, "val": val}
                | ({"val2": 2.25} if step == 120 else {})
                for m, val in zip(members, last)
                for step in (120, 60)
            ]
            for cells in storage.curve_rows(job, segment, list(members), [0.01] * len(members), rows):
                table.curves.setdefault(cells[0], []).append(cells)
    return table


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEBOOK_ROOT", str(tmp_path))
    return tmp_path / "data" / "suite"


def test_the_suite_gives_whole_blocks_with_numbers_as_numbers(house):
    blown_up = "H-h28x9-s1003-cooled-1M"
    storage.write(written_suite("HS", blown_up), house)
    table = datasets.suite("H")
    assert list(table.columns) == list(storage.COLUMNS) and list(table.index) == list(range(80))
    assert set(table["block"]) == {"H"} and table["run"].nunique() == 40
    assert set(table["arm"]) == {""} and table["seed"].dtype == int and table["tokens"].dtype == int
    assert table["wd"].dtype == float  # whole numbers in some blocks, fractions in others
    first = table.iloc[0]
    assert (first["run"], first["step"], first["tokens"]) == ("H-h28x9-s1000-cooled-1M", 60, 60 * 1024)
    assert first["n_nonemb"] == 12 * 9 * 28**2 and first["flops_nonemb"] == 6 * first["n_nonemb"] * 60 * 1024
    assert table["val2"].isna().sum() == 40 and table.loc[table["run"] == blown_up, "val"].isna().all()
    assert set(datasets.suite("S", "H")["block"]) == {"S", "H"}


def test_a_part_of_a_block_is_not_the_block(house):
    with pytest.raises(DataNotHere, match="block H lacks 40 of 40 curves.*scalebook suite"):
        datasets.suite("H")
    table = written_suite("H")
    del table.curves["H-h60x2-s1002-cooled-1M"]
    storage.write(table, house)
    with pytest.raises(DataNotHere, match=r"block M lacks (\d+) of \1 curves, block H lacks 1 of 40 curves"):
        datasets.suite("M", "H")


@pytest.mark.parametrize("blocks", [(), ("Q",), ("MH",)])
def test_blocks_of_the_suite_are_single_known_letters(blocks):
    with pytest.raises(UserError, match="choose among M, L, S, W, B, H"):
        datasets.suite(*blocks)

"""Bundled sets, generators and the standard library as data."""

from __future__ import annotations

import numpy as np
import pytest

from scalebook import datasets
from scalebook.errors import ScalebookError, UserError


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

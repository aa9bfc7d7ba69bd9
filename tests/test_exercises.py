"""Checks: they never raise, never give the answer away, and know every mistake that is stored with them."""

import textwrap
from pathlib import Path

import numpy as np
import pytest
import yaml

from scalebook import exercises
from scalebook.errors import ScalebookError
from scalebook.estimate import Estimate
from scalebook.exercise_records import ExerciseError, compute, load_exercises
from scalebook.exercises import check, contract_problems
from scalebook.paths import root

STORED = sorted((Path(__file__).resolve().parents[1] / "data" / "exercises").glob("*.yml"))


def example() -> str:
    """The example of the module's docstring, which authors copy."""
    lines = exercises.__doc__.split("data/exercises/<slug>.yml``:\n", 1)[1].split("``tests/test_exercises.py``", 1)[0]
    return textwrap.dedent(lines)


@pytest.fixture
def book(tmp_path, monkeypatch):
    (tmp_path / "data" / "exercises").mkdir(parents=True)
    (tmp_path / "data" / "exercises" / "superposition.yml").write_text(example(), encoding="utf-8")
    monkeypatch.setenv("SCALEBOOK_ROOT", str(tmp_path))
    return tmp_path / "data" / "exercises" / "superposition.yml"


def changed(book, number, **fields):
    content = yaml.safe_load(book.read_text(encoding="utf-8"))
    entry = content["exercises"][number]
    for name, value in fields.items():
        if value is None:
            entry.pop(name)
        else:
            entry[name] = value
    book.write_text(yaml.safe_dump(content), encoding="utf-8")
    return content


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_every_stored_truth_is_right_and_every_stored_mistake_gets_its_hint(path):
    problems = [problem for exercise in load_exercises(path).exercises for problem in contract_problems(exercise)]
    assert problems == []


def test_the_example_for_authors_keeps_the_contract(book):
    found = load_exercises(book).exercises
    assert [e.kind for e in found] == ["number", "array", "choice", "function", "function"]
    assert [p for e in found for p in contract_problems(e)] == []


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("e1", 1 / 64),
        ("e1", np.float32(0.0156)),
        ("e1", [0.015625]),
        ("e1", Estimate(0.0156, 0.015, 0.016, 8)),
        ("e2", [1 / 8, 1 / 16, 1 / 32]),
        ("e2", np.array([0.125, 0.0625, 0.03125])),
        ("e3", "c"),
        ("e3", " C "),
        ("e4", lambda n, m: (n / m - 1) / (n - 1)),
        ("e5", lambda n, m, batch: 7.5 * n * m * batch),
    ],
)
def test_right(book, name, answer):
    outcome = check(f"superposition.{name}", answer)
    assert outcome.right and outcome.state == "right"
    assert str(outcome).startswith("✓ Right. ") and len(outcome.message) > 10


@pytest.mark.parametrize(
    ("name", "answer", "says"),
    [
        ("e1", 0.125, "Square it before averaging"),
        ("e1", 15.625, "power of ten is off"),
        ("e1", 0.7, "wanted in squared cosine"),
        ("e1", -1 / 64, "wanted in"),
        ("e2", [1 / 8, 1 / 16, 1 / 16], "1 of 3 values are off"),
        ("e3", "a", "norms of the rare rows"),
        ("e4", lambda n, m: 1 / m, "n must matter"),
        ("e4", lambda n, m: 1.0 * m, "should be falling along m"),
        ("e4", lambda n, m: float("nan"), "not a finite number"),
        ("e4", lambda n, m: m**-3.0, "slope -3.00 along m"),
        ("e4", lambda n, m: [1, 2], "return shape ()"),
        ("e4", lambda n, m: 1.01 * (n - m) / (m * (n - 1)), "4 of 4 values are off"),
        ("e5", lambda n, m, batch: n * m**2 * batch, "multiply m by ten"),
    ],
)
def test_not_yet(book, name, answer, says):
    outcome = check(f"superposition.{name}", answer)
    assert outcome.state == "not yet" and not outcome.right
    assert says in outcome.message and str(outcome).startswith("↻ Not yet. ")
    assert "0.0156" not in str(outcome)


class Hostile:
    """Fails whenever it is touched."""

    def __getattr__(self, name):
        raise RuntimeError("no")

    def __array__(self, *args, **kwargs):
        raise RuntimeError("no")

    __repr__ = __str__ = __array__


def stops(n, m):
    raise SystemExit


WRONG_KINDS = ["x", True, [1, 2, 3, 4], float("nan"), float("inf"), 10**400, object(), 1j, {}, [], [[1, 2], [3]], b"x", Hostile,
               np.array(["a"]), print, lambda: 1, stops, lambda n, m: None, lambda n, m: "x", lambda n, m: m.missing,
               lambda n, m: Hostile()]  # fmt: skip


@pytest.mark.parametrize("answer", WRONG_KINDS, ids=lambda answer: type(answer).__name__)
@pytest.mark.parametrize("name", ["e1", "e2", "e3", "e4"])
def test_nothing_raises_and_wrong_kinds_get_a_sentence(book, name, answer):
    outcome = check(f"superposition.{name}", Hostile() if answer is Hostile else answer)
    assert outcome.state in ("cannot read", "not yet") and not outcome.right
    assert len(outcome.message) > 20 and "Traceback" not in outcome.message


def test_none_is_your_turn(book):
    outcome = check("superposition.e1", None)
    assert outcome.state == "your turn" and str(outcome).startswith("○ Your turn. The mean squared")


class Tensor:
    """Behaves like a torch tensor that carries gradients: no array until detached and brought home."""

    home = False

    def detach(self):
        return self

    def cpu(self):
        self.home = True
        return self

    def __array__(self, *args, **kwargs):
        if not self.home:
            raise RuntimeError("call detach and cpu first")
        return np.array(1 / 64)


def test_a_tensor_counts_as_a_number(book):
    assert check("superposition.e1", Tensor()).right
    assert check("superposition.e5", lambda n, m, batch: 6 * n * m * batch * Tensor().cpu().__array__()).right


@pytest.mark.parametrize("name", ["superposition.e9", "elsewhere.e1", "e1", "../x.e1", 7, None, Hostile])
def test_an_unknown_exercise_is_named_not_raised(book, name):
    name = Hostile() if name is Hostile else name
    assert check(name, 1).state == "cannot read"
    assert not check(name).right


def test_a_broken_file_is_a_sentence_too(book):
    book.write_text("exercises: [", encoding="utf-8")
    assert "not readable as YAML" in check("superposition.e1", 1).message


def test_html_has_symbol_and_words_and_escapes_what_the_reader_wrote(book):
    html = check("superposition.e3", "<script>")._repr_html_()
    assert "&lt;script&gt;" in html and "<script>" not in html
    assert 'class="sb-check sb-check-cannot-read"' in html and 'data-sb-asset="explorer.css"' in html
    assert "✓" in check("superposition.e3", "c")._repr_html_()


def test_no_message_of_a_wrong_answer_holds_the_truth(book):
    for exercise in load_exercises(book).exercises:
        for mistake in exercise.mistakes:
            assert exercise.why not in mistake.hint
    for guess in np.geomspace(1e-4, 1e2, 60):
        outcome = check("superposition.e1", guess)
        assert outcome.right or not any(text in str(outcome) for text in ("0.015", "1 / 64", "1/64"))


@pytest.mark.parametrize(
    ("number", "fields", "says"),
    [
        (0, {"rell": 0.1}, r"superposition.yml, exercise superposition.e1, field rell: given 0.1; allowed"),
        (0, {"truth": None}, r"exercise superposition.e1, field truth: given nothing; allowed: this field is required"),
        (0, {"kind": "essay"}, r"exercise superposition.e1.*'number', 'array', 'choice', 'function'"),
        (0, {"level": "hard"}, r"field level: given 'hard'"),
        (0, {"mistakes": []}, r"core exercise needs at least two mistakes"),
        (0, {"truth": "__import__('os')"}, r"uses the name '__import__'"),
        (0, {"truth": "pi.real"}, r"uses attribute"),
        (0, {"truth": "1 / 0"}, r"cannot be computed \(ZeroDivisionError"),
        (0, {"truth": 0}, r"abs must be above 0"),
        (0, {"truth": "[1, 2]"}, r"one number is wanted"),
        (1, {"truth": "[1, 2"}, r"is not an expression"),
        (1, {"truth": [1.0, 2.0]}, r"another shape than the truth"),
        (2, {"truth": "z"}, r"'z' is not among the options a, b, c"),
        (3, {"fixed": {}}, r"each of n, m must stand once"),
        (3, {"truth": "k * m"}, r"uses the name 'k'"),
        (4, {"sweep": {"m": [1, 2], "batch": [1]}}, r"must have one length"),
        (4, {"truth": "n * array([m, batch])"}, r"returns one number"),
        (1, {"id": "superposition.e1"}, r"given twice"),
        (1, {"id": "other.e1"}, r"not of the form superposition.e1"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(book, number, fields, says):
    changed(book, number, **fields)
    with pytest.raises(ExerciseError, match=says):
        load_exercises(book)


def test_the_contract_is_seen_to_fail(book):
    changed(
        book,
        0,
        rel=0.5,
        mistakes=[{"name": "near", "answer": 0.017, "hint": "h"}, {"name": "far", "answer": 1, "hint": "h"}],
    )
    changed(book, 1, mistakes=[{"name": n, "answer": "[8, 16, 32]", "hint": "h"} for n in ("one", "two")])
    changed(book, 3, properties={"slope": {"low": 2}})
    problems = [p for e in load_exercises(book).exercises for p in contract_problems(e)]
    assert [p.split(":")[0] for p in problems] == [
        "superposition.e1, mistake 'near'", "superposition.e2, mistake 'two'", "superposition.e4",
    ]  # fmt: skip


def test_expressions_reach_nothing_but_numbers():
    assert compute("sum(arange(n)) / n", {"n": 5}) == 2
    assert compute("[x ** 2 for x in (1, 2)]", {}) == [1, 4]
    for text in (
        "open('x')",
        "().__class__",
        "(lambda: 1)()",
        "f'{1}'",
        "exec('1')",
        "[c for c in ().__class__.__mro__]",
    ):
        with pytest.raises(ValueError, match="uses"):
            compute(text, {})


def test_errors_are_the_books_own():
    assert issubclass(ExerciseError, ScalebookError) and root()

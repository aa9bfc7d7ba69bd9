"""What ``data/exercises/<slug>.yml`` may hold (the format is described at the top of ``scalebook.exercises``)."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scalebook.errors import ScalebookError
from scalebook.paths import root

NAMES = (  # what an expression may use: numpy's functions under their own names, and nothing that reaches a file
    "abs arange arctan argmax argmin argsort array clip concatenate cos cumprod cumsum diag diff dot exp eye floor "
    "full linspace log log10 log1p log2 logspace max maximum mean median min minimum ones outer pi power prod sign sin "
    "sort sqrt std sum tan tanh trace var vstack where zeros"
).split()
NAMESPACE = {name: getattr(np, name) for name in NAMES} | {"len": len, "range": range, "__builtins__": {}}
FORBIDDEN = (ast.Attribute, ast.Lambda, ast.Await, ast.Yield, ast.NamedExpr, ast.JoinedStr)


class ExerciseError(ScalebookError):
    """A file of exercises cannot be used; the message names file, exercise, field, what is given and allowed."""


def compute(stored: Any, arguments: Mapping[str, Any]) -> Any:
    """Return the value of a stored number, list or expression; in an expression the arguments are names.

    Raises ValueError on an expression that uses anything but arithmetic, the names in NAMES and the arguments.
    """
    if not isinstance(stored, str):
        return np.asarray(stored, dtype=float) if isinstance(stored, list) else stored
    code = _compiled(stored, tuple(arguments))
    try:
        with np.errstate(all="ignore"):
            return eval(code, dict(NAMESPACE), dict(arguments))
    except (ArithmeticError, TypeError, LookupError) as error:
        raise ValueError(f"{stored!r} cannot be computed ({type(error).__name__}: {error})") from None


@lru_cache(maxsize=512)
def _compiled(text: str, arguments: tuple[str, ...]) -> Any:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise ValueError(f"{text!r} is not an expression ({error.msg})") from None
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, FORBIDDEN):
            raise ValueError(
                f"{text!r} uses {type(node).__name__.lower()}; allowed: arithmetic and calls such as sum(x ** 2)"
            )
        if isinstance(node, ast.Name) and node.id not in {*NAMESPACE, *arguments, *bound}:
            raise ValueError(f"{text!r} uses the name {node.id!r}; allowed: {', '.join([*arguments, *NAMES])}")
    return compile(tree, "<exercise>", "eval")


class Record(BaseModel):
    """Frozen, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Mistake(Record):
    """A wrong answer that a reader is likely to reach, and what to tell them then."""

    name: str
    answer: Any
    hint: str


class _Common(Record):
    id: str
    level: Literal["warm-up", "core", "project"]
    ask: str
    why: str
    mistakes: tuple[Mistake, ...] = ()

    @model_validator(mode="after")
    def _enough_mistakes(self) -> _Common:
        if self.level == "core" and len(self.mistakes) < 2:
            raise ValueError("a core exercise needs at least two mistakes, each with name, answer and hint")
        if len({mistake.name for mistake in self.mistakes}) != len(self.mistakes):
            raise ValueError("every mistake needs a name of its own")
        return self


class _Tolerant(_Common):
    rel: float = Field(0.01, ge=0, le=0.5)
    abs: float = Field(0.0, ge=0)


class NumberExercise(_Tolerant):
    """One number."""

    kind: Literal["number"]
    truth: float | str
    unit: str = ""

    @model_validator(mode="after")
    def _is_number(self) -> NumberExercise:
        for stored in (self.truth, *(mistake.answer for mistake in self.mistakes)):
            _finite(stored, 0)
        if compute(self.truth, {}) == 0 and self.abs == 0:
            raise ValueError("the truth is 0, so abs must be above 0: a relative tolerance of 0 accepts only 0 itself")
        return self


class ArrayExercise(_Tolerant):
    """An array of a given shape."""

    kind: Literal["array"]
    truth: list[Any] | str

    @model_validator(mode="after")
    def _is_array(self) -> ArrayExercise:
        shape = _finite(self.truth, None)
        if not shape:
            raise ValueError("the truth is one number; kind number fits better")
        for mistake in self.mistakes:
            if _finite(mistake.answer, None) != shape:
                raise ValueError(f"mistake {mistake.name!r} has another shape than the truth, {shape}")
        return self


class ChoiceExercise(_Common):
    """One of several options."""

    kind: Literal["choice"]
    options: dict[str, str] = Field(min_length=2)
    truth: str

    @model_validator(mode="after")
    def _among_options(self) -> ChoiceExercise:
        for stored in (self.truth, *(mistake.answer for mistake in self.mistakes)):
            if stored not in self.options:
                raise ValueError(f"{stored!r} is not among the options {', '.join(self.options)}")
        return self


class Slope(Record):
    """Bounds on the least-squares slope on log axes, inclusive."""

    low: float = -math.inf
    high: float = math.inf


class Properties(Record):
    """What a function must satisfy; whatever is not given is not asked."""

    values: bool = False
    finite: bool = True
    monotone: Literal["rising", "falling"] | None = None
    slope: Slope | None = None
    units: dict[str, float] = {}


class FunctionExercise(_Tolerant):
    """A function, judged by its values at stored inputs or by properties."""

    kind: Literal["function"]
    arguments: tuple[str, ...] = Field(min_length=1)
    sweep: dict[str, list[float | int]] = Field(min_length=1)
    fixed: dict[str, Any] = {}
    truth: str | float
    properties: Properties = Properties(values=True)

    @model_validator(mode="after")
    def _calls_work(self) -> FunctionExercise:
        if {*self.sweep, *self.fixed} != {*self.arguments} or len(self.sweep) + len(self.fixed) != len(self.arguments):
            raise ValueError(f"each of {', '.join(self.arguments)} must stand once, under sweep or under fixed")
        if len({len(values) for values in self.sweep.values()}) != 1:
            raise ValueError("the swept lists must have one length: they are used side by side")
        if not {*self.properties.units} <= {*self.arguments}:
            raise ValueError("units names an argument that the function does not have")
        stored = (self.truth, *(mistake.answer for mistake in self.mistakes))
        shapes = [np.shape(compute(answer, inputs)) for inputs in self.calls() for answer in stored]
        one_number = self.properties.monotone or self.properties.slope or self.properties.units
        if one_number and shapes[0] != ():
            raise ValueError("monotone, slope and units need a function that returns one number")
        return self

    def calls(self) -> Iterator[dict[str, Any]]:
        """Yield the arguments of each call, in the order in which the function takes them."""
        fixed = {name: compute(value, {}) for name, value in self.fixed.items()}
        for values in zip(*self.sweep.values(), strict=True):
            at = {**fixed, **dict(zip(self.sweep, values, strict=True))}
            yield {name: at[name] for name in self.arguments}


Exercise = NumberExercise | ArrayExercise | ChoiceExercise | FunctionExercise


class ExerciseFile(Record):
    """All checks of one chapter."""

    chapter: str
    exercises: tuple[Annotated[Exercise, Field(discriminator="kind")], ...]

    @model_validator(mode="after")
    def _names(self) -> ExerciseFile:
        known: set[str] = set()
        for exercise in self.exercises:
            if not re.fullmatch(re.escape(self.chapter) + r"\.[a-z0-9][a-z0-9-]*", exercise.id):
                raise ValueError(
                    f"the id {exercise.id!r} is not of the form {self.chapter}.e1 (small letters, digits, hyphens)"
                )
            if exercise.id in known:
                raise ValueError(f"the id {exercise.id!r} is given twice")
            known.add(exercise.id)
        return self


def _finite(stored: Any, dimensions: int | None) -> tuple[int, ...]:
    """Return the shape of a stored answer's value; ValueError where it is no finite number."""
    value = np.asarray(compute(stored, {}))
    if value.dtype.kind not in "iuf" or not np.isfinite(value).all():
        raise ValueError(f"{stored!r} is not a finite number or an expression that gives one")
    if dimensions is not None and value.ndim != dimensions:
        raise ValueError(f"{stored!r} has shape {value.shape}; one number is wanted")
    return value.shape


def find_exercise(exercise_id: object) -> Exercise:
    """Return one exercise. Raises ExerciseError with the known ids when there is none of that id."""
    if not isinstance(exercise_id, str) or not re.fullmatch(r"[a-z0-9_]+\.[a-z0-9-]+", exercise_id):
        raise ExerciseError('An exercise is named by text such as "superposition.e2": chapter, point, exercise.')
    slug = exercise_id.partition(".")[0]
    path = root() / "data" / "exercises" / f"{slug}.yml"
    if not path.is_file():
        known = sorted(found.stem for found in path.parent.glob("*.yml"))
        raise ExerciseError(
            f"There are no exercises for {slug!r}. Chapters that have some: {', '.join(known) or 'none'}."
        )
    exercises = load_exercises(path).exercises
    for exercise in exercises:
        if exercise.id == exercise_id:
            return exercise
    raise ExerciseError(f"There is no exercise {exercise_id!r}. This chapter has {', '.join(e.id for e in exercises)}.")


def load_exercises(path: Path) -> ExerciseFile:
    """Return the exercises in a file. Raises ExerciseError naming file, exercise, field, what is given and allowed."""
    return _load(Path(path), Path(path).stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _load(path: Path, mtime_ns: int) -> ExerciseFile:
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise ExerciseError(f"{path.name}: not readable as YAML: {error}") from None
    try:
        found = ExerciseFile.model_validate(raw)
    except ValidationError as error:
        raise ExerciseError("\n".join(f"{path.name}{_problem(detail, raw)}" for detail in error.errors())) from None
    if found.chapter != path.stem:
        raise ExerciseError(
            f"{path.name}, field chapter: given {found.chapter!r}; allowed: {path.stem!r}, the file's name."
        )
    return found


def _problem(detail: Any, raw: Any) -> str:
    """Return one line for one of pydantic's errors: exercise, field, what is given, what is allowed."""
    where, steps = "", [step for step in detail["loc"] if step not in ("number", "array", "choice", "function")]
    if steps[:1] == ["exercises"] and len(steps) > 1:
        entry = raw["exercises"][steps[1]]
        where = f", exercise {entry.get('id', steps[1]) if isinstance(entry, dict) else steps[1]}"
        steps = steps[2:]
    if steps:
        where += f", field {'.'.join(str(step) for step in steps)}"
    if detail["type"] == "missing":
        return f"{where}: given nothing; allowed: this field is required."
    given = repr(detail["input"])
    shown = f"given {given}; " if len(given) <= 80 and steps else ""
    return f"{where}: {shown}allowed: {detail['msg'].removeprefix('Value error, ')}."

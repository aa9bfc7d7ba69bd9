"""How an answer is read and compared: whatever a reader hands in becomes numbers, a letter or a function's values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from scalebook.exercise_records import (
    ArrayExercise,
    ChoiceExercise,
    Exercise,
    FunctionExercise,
    NumberExercise,
    compute,
)


class Unreadable(Exception):
    """The answer is not of the kind that the exercise asks for; the message is a sentence for the reader."""


def truth_of(exercise: Exercise) -> object:
    """Return the stored truth in the form in which a reader would hand it in."""
    return as_answer(exercise, exercise.truth)


def as_answer(exercise: Exercise, stored: Any) -> object:
    """Return a stored truth or mistake in the form in which a reader would hand it in."""
    if isinstance(exercise, ChoiceExercise):
        return stored
    if isinstance(exercise, FunctionExercise):
        return lambda *values: compute(stored, dict(zip(exercise.arguments, values, strict=True)))
    return compute(stored, {})


def read(exercise: Exercise, answer: object) -> Any:
    """Return the answer in the form that is compared: a float, an array, a letter, or a function's values."""
    if isinstance(exercise, ChoiceExercise):
        return _read_choice(exercise, answer)
    if isinstance(exercise, FunctionExercise):
        if not callable(answer):
            raise Unreadable(
                f"Hand in the function itself, taking ({', '.join(exercise.arguments)}); this is {_kind(answer)}."
            )
        return _Called(exercise, answer)
    array = _read_array(answer)
    if isinstance(exercise, NumberExercise):
        if array.size != 1:
            raise Unreadable(f"One number is asked for; this has {array.size}.")
        return float(array.reshape(()))
    wanted = np.shape(truth_of(exercise))
    if array.shape != wanted:
        raise Unreadable(f"An array of shape {wanted} is asked for; this has shape {array.shape}.")
    return array


def _read_choice(exercise: ChoiceExercise, answer: object) -> str:
    letters = {key.casefold(): key for key in exercise.options}
    key = letters.get(answer.strip().casefold()) if isinstance(answer, str) else None
    if key is None:
        raise Unreadable(
            f"Choose one of {', '.join(repr(key) for key in exercise.options)}, as text; this is {_kind(answer)}."
        )
    return key


def _read_array(answer: object) -> np.ndarray:
    """Return finite floats from whatever holds numbers: Python, numpy, pandas, torch, an Estimate."""
    if isinstance(answer, (bool, np.bool_)) or callable(answer):
        raise Unreadable(f"Numbers are asked for; this is {_kind(answer)}.")
    if hasattr(answer, "detach"):
        answer = answer.detach().cpu()
    if hasattr(answer, "value") and hasattr(answer, "low"):
        answer = answer.value
    try:
        array = np.asarray(answer)
        if array.dtype.kind not in "iuf" and not (array.dtype == object and array.size):
            raise TypeError
        array = array.astype(float)
    except (TypeError, ValueError, OverflowError):
        raise Unreadable(f"Numbers are asked for; this is {_kind(answer)}.") from None
    if not np.isfinite(array).all():
        raise Unreadable("The answer holds a value that is not a finite number.")
    return array


class _Called:
    """A function's values over the stored calls, shape (calls, ...), with room for calls at other inputs."""

    def __init__(self, exercise: FunctionExercise, function: Callable[..., Any]) -> None:
        self.exercise, self.function = exercise, function
        self.values = self.at({})

    def at(self, factors: Mapping[str, float]) -> np.ndarray:
        """Return the values with some arguments multiplied by a factor."""
        rows = [self._call(inputs, factors) for inputs in self.exercise.calls()]
        if len({row.shape for row in rows}) != 1:
            raise Unreadable("Your function returns values of different shapes for different inputs.")
        return np.stack(rows)

    def _call(self, inputs: Mapping[str, Any], factors: Mapping[str, float]) -> np.ndarray:
        values = {name: np.array(value) if np.ndim(value) else value for name, value in inputs.items()}
        values |= {name: values[name] * factor for name, factor in factors.items()}
        shown = ", ".join(f"{name} = {value}" for name, value in values.items() if np.ndim(value) == 0)
        try:
            with np.errstate(all="ignore"):
                found = self.function(*values.values())
        except (Exception, SystemExit) as error:  # a reader's function may fail in any way; say where
            text = f"{type(error).__name__}: {error}"
            raise Unreadable(f"Your function stopped at {shown} with {text[:160]}") from None
        if found is None:
            raise Unreadable(f"Your function returned None at {shown}; does it have a return line?")
        try:
            return np.asarray(found.detach().cpu() if hasattr(found, "detach") else found).astype(float)
        except (TypeError, ValueError):
            raise Unreadable(f"Your function returned {_kind(found)} at {shown}; numbers are asked for.") from None


def off(exercise: Exercise, given: Any) -> str | None:
    """Return a sentence on what is off, without the truth in it, or None when the answer is right."""
    if isinstance(exercise, FunctionExercise):
        return next(_property_problems(exercise, given), None)
    if same(exercise, given, read(exercise, truth_of(exercise))):
        return None
    if isinstance(exercise, NumberExercise) and exercise.unit:
        return _number_problem(exercise, given)
    if isinstance(exercise, ArrayExercise):
        wrong = int(np.sum(~_close(exercise, given, read(exercise, truth_of(exercise)))))
        return f"{wrong} of {given.size} values are off." if given.size > 1 else "Look at the steps again."
    return "Look at the steps again; the worked solution is folded below the exercise."


def _number_problem(exercise: NumberExercise, given: float) -> str:
    truth = float(compute(exercise.truth, {}))
    if truth and given and truth * given > 0:
        power = math.log10(given / truth)
        if abs(power - round(power)) < 0.004 and round(power):
            return f"A power of ten is off: the answer is wanted in {exercise.unit}."
    return f"The answer is wanted in {exercise.unit}; look at the steps again."


def _property_problems(exercise: FunctionExercise, given: _Called) -> Iterator[str]:
    asked, values = exercise.properties, given.values
    swept = next(iter(exercise.sweep))
    truth = _Called(exercise, as_answer(exercise, exercise.truth))
    if values.shape != truth.values.shape:
        yield f"Each call should return shape {truth.values.shape[1:]}; yours returns {values.shape[1:]}."
        return
    if asked.finite and not np.isfinite(values).all():
        yield f"Your function is not a finite number for {int(np.sum(~np.isfinite(values)))} of {values.size} values."
        return
    if asked.monotone and not (np.diff(values) * (1 if asked.monotone == "rising" else -1) > 0).all():
        yield f"Your values should be {asked.monotone} along {swept}, and somewhere they are not."
    if asked.slope:
        x = np.log(np.array(exercise.sweep[swept], dtype=float))
        found = float(np.polyfit(x, np.log(np.abs(values)), 1)[0]) if (values != 0).all() else math.nan
        if not asked.slope.low <= found <= asked.slope.high:
            yield f"On log axes your values have slope {found:.2f} along {swept}, outside the range that is right."
    for name, power in asked.units.items():
        if not np.allclose(given.at({name: 10}), values * 10.0**power, rtol=max(exercise.rel, 1e-9), atol=exercise.abs):
            yield f"The units do not work out: multiply {name} by ten and the value changes by the wrong factor."
    if asked.values and not _close(exercise, values, truth.values).all():
        yield f"{int(np.sum(~_close(exercise, values, truth.values)))} of {values.size} values are off."


def same(exercise: Exercise, given: Any, stored: Any) -> bool:
    """Tell whether two answers that have been read agree within the exercise's tolerance."""
    if isinstance(exercise, ChoiceExercise):
        return given == stored
    if isinstance(exercise, FunctionExercise):
        return given.values.shape == stored.values.shape and bool(_close(exercise, given.values, stored.values).all())
    return bool(np.all(_close(exercise, given, stored)))


def _close(exercise: Any, given: Any, stored: Any) -> np.ndarray:
    return np.isclose(given, stored, rtol=exercise.rel, atol=exercise.abs, equal_nan=True)


def _kind(answer: object) -> str:
    """Return what the reader handed in, in words, without calling its repr (which may fail or fill the page)."""
    words = {"str": "text", "list": "a list", "dict": "a dict", "function": "a function", "bool": "True or False"}
    name = type(answer).__name__
    if isinstance(answer, str) and len(answer) <= 20:
        return f"the text {answer!r}"
    return words.get(name, f"of type {name}")

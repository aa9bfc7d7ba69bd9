"""Checks of the book's exercises: right, or not yet with the likely mistake; never the answer.

A chapter's cell says ``check("superposition.e2", answer)``; the answers live in ``data/exercises/<slug>.yml``:

    chapter: superposition
    exercises:
    - id: superposition.e1          # <chapter>.<name>
      level: core                   # warm-up, core or project; a core exercise stores two mistakes or more
      kind: number
      ask: The mean squared overlap of random unit vectors in 64 dimensions.
      truth: 1 / 64                 # a number, or an expression in numpy's names (sqrt, log, arange, sum, pi, ...)
      rel: 0.01                     # relative tolerance (0.01 unless given)
      abs: 0                        # absolute tolerance (0 unless given; needed where the truth is 0)
      unit: squared cosine          # shown when something is off; leave it out for a pure number
      why: By symmetry every coordinate carries 1/m of the squared length.       # one line, shown when right
      mistakes:                     # each recognised by the wrong answer that it leads to
      - name: root instead of square
        answer: 1 / 8
        hint: That is the typical overlap itself. Square it before averaging.
      - name: Welch value
        answer: (256 - 64) / (64 * 255)
        hint: That is the least possible value for 256 vectors. Random vectors do not reach it.
    - id: superposition.e2
      level: core
      kind: array
      ask: The same for 8, 16 and 32 dimensions.
      truth: 1 / array([8, 16, 32])           # or a list [0.125, 0.0625, 0.03125]
      why: It halves whenever the width doubles.
      mistakes:
      - {name: no square, answer: "1 / sqrt(array([8, 16, 32]))", hint: Square the overlap before averaging.}
      - {name: upside down, answer: "[8, 16, 32]", hint: More room means less overlap; yours grows.}
    - id: superposition.e3
      level: core
      kind: choice
      ask: Which regime does plain weight decay of zero give?
      options: {a: strong superposition, b: weak superposition, c: in between}
      truth: c
      why: Frequent features are kept, rare ones drift.
      mistakes:
      - {name: strong, answer: a, hint: Look at the norms of the rare rows.}
      - {name: weak, answer: b, hint: Count the rows above one half.}
    - id: superposition.e4
      level: core
      kind: function                          # the reader hands in a function
      ask: welch(n, m), the least mean squared overlap of n unit vectors in m dimensions.
      arguments: [n, m]                       # in this order
      sweep: {m: [8, 16, 32, 64]}             # called once for each value; several lists go side by side
      fixed: {n: 256}                         # the same in every call; an array where it is written as an expression
      truth: (n - m) / (m * (n - 1))          # an expression in the arguments
      rel: 0.001
      properties:                             # all that are given must hold; without any: values and finite
        values: true                          # equal to the truth in every call
        finite: true
        monotone: falling                     # or rising, along the sweep (for functions that return one number)
        slope: {low: -1.4, high: -1.0}        # least-squares slope of log |value| on log of the first swept argument
      why: The trace of the Gram matrix is n and its rank is at most m.
      mistakes:                               # wrong functions, written as expressions in the arguments
      - {name: random vectors, answer: 1 / m, hint: That is the value of random vectors; n must matter.}
      - {name: upside down, answer: (n - 1) * m / (n - m), hint: Overlap falls as m grows.}
    - id: superposition.e5
      level: warm-up
      kind: function
      ask: cost(n, m, batch), the FLOP of one training step.
      arguments: [n, m, batch]
      sweep: {m: [8, 16], batch: [64, 128]}   # two lists go side by side: (8, 64), then (16, 128)
      fixed: {n: 256}
      truth: 6 * n * m * batch
      properties:                             # without values: any constant in front is accepted
        units: {m: 1, batch: 1}               # ten times m must give 10^1 times the value
      why: Three matrix products, two FLOP for each multiply and add.

``tests/test_exercises.py`` feeds every stored truth and every stored mistake to its check.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Literal

from scalebook.errors import ScalebookError
from scalebook.exercise_judging import Unreadable, as_answer, off, read, same, truth_of
from scalebook.exercise_records import Exercise, find_exercise

State = Literal["right", "not yet", "your turn", "cannot read"]
LOOK = {  # state -> symbol (doubles the colour) and the words that open the sentence
    "right": ("✓", "Right."),
    "not yet": ("↻", "Not yet."),
    "your turn": ("○", "Your turn."),
    "cannot read": ("?", "This cannot be checked as it is."),
}


@dataclass(frozen=True)
class Outcome:
    """What a check says: a state, one sentence, and the mistake that it recognised, if any."""

    exercise: str
    state: State
    message: str
    mistake: str = ""

    @property
    def right(self) -> bool:
        """Tell whether the answer is right."""
        return self.state == "right"

    def __str__(self) -> str:
        symbol, opening = LOOK[self.state]
        return f"{symbol} {opening} {self.message}".rstrip()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from scalebook.explorer import style_tag  # only a notebook shows HTML; the check itself stays light

        symbol, opening = LOOK[self.state]
        kind = self.state.replace(" ", "-")
        return (
            f'{style_tag()}<div class="sb-check sb-check-{kind}">'
            f'<span class="sb-check-mark" aria-hidden="true">{symbol}</span>'
            f"<p><strong>{opening}</strong> {html.escape(self.message)}</p></div>"
        )


def check(exercise_id: str, answer: object = None) -> Outcome:
    """Compare a reader's answer with the stored one, and say what is likely wrong.

    ``answer`` is a number, an array, the letter of a choice or a function, as the exercise asks; None means "not yet
    tried". Whatever is handed in, the outcome is a sentence and never an exception.
    """
    try:
        exercise = find_exercise(exercise_id)
        if answer is None:
            return Outcome(exercise.id, "your turn", exercise.ask)
        return _judge(exercise, answer)
    except (Unreadable, ScalebookError) as error:
        return Outcome(_name(exercise_id), "cannot read", str(error))
    except Exception as error:  # an answer may be any object at all, and a check must not end a reader's notebook
        return Outcome(_name(exercise_id), "cannot read", f"The answer could not be compared ({type(error).__name__}).")


def contract_problems(exercise: Exercise) -> list[str]:
    """Return what keeps an exercise from working: its truth not accepted, or a mistake not recognised by its hint."""
    problems = []
    outcome = _judge(exercise, truth_of(exercise))
    if not outcome.right:
        problems.append(f"{exercise.id}: its own truth is answered with: {outcome}")
    for mistake in exercise.mistakes:
        try:
            outcome = _judge(exercise, as_answer(exercise, mistake.answer))
        except Unreadable as error:
            problems.append(f"{exercise.id}, mistake {mistake.name!r}: its answer cannot be read: {error}")
            continue
        if outcome.right:
            problems.append(f"{exercise.id}, mistake {mistake.name!r}: its answer counts as right; tighten rel or abs")
        elif outcome.mistake != mistake.name:
            problems.append(f"{exercise.id}, mistake {mistake.name!r}: its answer is taken for {outcome.mistake!r}")
    return problems


def _judge(exercise: Exercise, answer: object) -> Outcome:
    given = read(exercise, answer)
    problem = off(exercise, given)
    if problem is None:
        return Outcome(exercise.id, "right", exercise.why)
    for mistake in exercise.mistakes:
        if same(exercise, given, read(exercise, as_answer(exercise, mistake.answer))):
            return Outcome(exercise.id, "not yet", mistake.hint, mistake.name)
    return Outcome(exercise.id, "not yet", problem)


def _name(exercise_id: object) -> str:
    return exercise_id if isinstance(exercise_id, str) else type(exercise_id).__name__

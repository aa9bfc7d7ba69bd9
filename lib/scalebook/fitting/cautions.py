"""What a careful reader of a fit should know: the warnings that a fit carries with it."""

from __future__ import annotations

import numpy as np

from scalebook.fitting.problem import Problem
from scalebook.fitting.solver import Solution

SAME = 1e-6  # relative difference of two losses that counts as none
PERFECT = 1e-24  # a loss below this is rounding
CLOSE = 0.01  # another optimum whose loss is this close, relatively, deserves a warning
APART = 0.01  # relative difference of two values of a parameter that makes two optima of one
FEW_DECADES = 1.5
FEW_POINTS = 3  # per free parameter


def reached(found: Solution) -> np.ndarray:
    """Tell for each start (S,) whether it ended at the lowest loss of all."""
    return found.value <= found.value.min() * (1 + SAME) + PERFECT


def cautions(problem: Problem, found: Solution) -> list[str]:
    """Return one sentence for each thing that limits what the best of the solutions ``found`` can tell."""
    best = int(np.argmin(found.value))
    vanished = _vanished(problem, found.theta[best])
    said = [*_about_data(problem), *_about_bounds(problem, found.theta[best]), *vanished]
    if not found.converged[best]:
        said.append("the best start stopped before it converged: give other starts or fewer free parameters")
    return said if vanished else [*said, *_about_optima(problem, found)]  # what has vanished may take any value


def _about_data(problem: Problem) -> list[str]:
    said, free = [], len(problem.law.free)
    if problem.y.size < FEW_POINTS * free:
        said.append(f"only {problem.y.size} points for {free} free parameters")
    for name, array in problem.x.items():
        decades = np.log10(array.max() / array.min()) if array.min() > 0 else FEW_DECADES
        if decades < FEW_DECADES:
            said.append(f"{name} spans {decades:.2f} decades; an exponent takes {FEW_DECADES} or more to be trusted")
    return said


def _about_bounds(problem: Problem, best: np.ndarray) -> list[str]:
    values = problem.natural(best[None])
    return [
        f"{name} is at its bound {values[name][0]:.4g}: the bound chose the value, not the data"
        for name, at, low, high in zip(problem.law.free, best, problem.low, problem.high)
        if min(at - low, high - at) <= 1e-9 * max(1.0, abs(at))
    ]


def _vanished(problem: Problem, best: np.ndarray) -> list[str]:
    return [
        f"{name} has vanished: the data favour the law without the term it belongs to"
        for name, strength in zip(problem.law.parameters, problem.influence(best))
        if name in problem.law.free and name in problem.form.positive and strength < SAME
    ]


def _about_optima(problem: Problem, found: Solution) -> list[str]:
    values, lowest = problem.natural(found.theta), reached(found)
    close = found.converged & (found.value <= found.value.min() * (1 + CLOSE)) & ~lowest
    for which, text in ((lowest, "the same loss"), (lowest | close, f"a loss within {CLOSE:.0%} of the lowest")):
        for name in problem.law.free:
            ends = values[name][which]
            if np.ptp(ends) > APART * np.abs(ends).max():
                return [f"several optima: starts end with {text} at {name} from {ends.min():.4g} to {ends.max():.4g}"]
    return []

"""What published scaling laws advise for a budget: parameters N and tokens D at C = 6 N D.

Every constant carries its source. A recipe is the line log N = log G + a log C; where runs are on this machine it is
fitted again, and the draws of that fit give the interval that most papers do not print.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scalebook.estimate import Estimate
from scalebook.fitting import Allocation, Fit, exponent, optimum
from scalebook.topics.isoflop_curves import Reading

PETAFLOP_DAY = 8.64e19  # FLOP
FLOP_PER_PARAMETER = 6.0  # and token
WORDS = ((1e15, " quadrillion"), (1e12, " trillion"), (1e9, " billion"), (1e6, " million"), (1e3, " thousand"))


@dataclass(frozen=True)
class Recipe:
    """One law: ``lines`` (1 + draws, 2) hold log N at C = 1 and the exponent a; the first row is the law itself.

    ``source`` says where its numbers stand, ``counts`` which parameters N are, ``span`` the budgets of its runs (FLOP).
    """

    name: str
    source: str
    counts: str
    span: tuple[float, float]
    lines: np.ndarray

    @property
    def exponent(self) -> float:
        """The exponent a of N ~ C^a."""
        return float(self.lines[0, 1])

    @property
    def has_interval(self) -> bool:
        """Whether draws are known, and so an interval."""
        return len(self.lines) > 2

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the ends of the exponent's interval over the draws; NaN where none is known."""
        if not self.has_interval:
            return np.nan, np.nan
        low, high = np.quantile(self.lines[1:, 1], [(1 - level) / 2, (1 + level) / 2])
        return float(min(low, self.exponent)), float(max(high, self.exponent))

    def estimate(self) -> Estimate:
        """Return the exponent with its interval, if it has one, as an estimate to be drawn."""
        ends = self.interval() if self.has_interval else (None, None)
        return Estimate(self.exponent, *ends, len(self.lines))

    def size(self, budget: float, level: float = 0.95) -> tuple[float, float, float]:
        """Return N at ``budget`` FLOP with the ends of its interval; NaN ends where none is known."""
        values = np.exp(self.lines @ [1.0, np.log(budget)])
        if not self.has_interval:
            return float(values[0]), np.nan, np.nan
        low, high = np.quantile(values[1:], [(1 - level) / 2, (1 + level) / 2])
        return float(values[0]), float(min(low, values[0])), float(max(high, values[0]))

    def covers(self, budget: float) -> bool:
        """Whether a budget lies within a factor of two of those that the law was fitted on."""
        return self.span[0] / 2 <= budget <= self.span[1] * 2


def through(size: float, budget: float, a: float) -> np.ndarray:
    """Return the one line (1, 2) of exponent a that gives ``size`` parameters at ``budget`` FLOP."""
    return np.array([[np.log(size) - a * np.log(budget), a]])


def of_surface(params: Mapping[str, float]) -> np.ndarray:
    """Return the line of a Chinchilla law, (1, 2), or one a draw where the parameters are arrays, (draws, 2)."""
    a = np.atleast_1d(exponent(params))
    n, _ = optimum(params, 1.0)
    return np.stack([np.log(np.atleast_1d(n)), a], axis=1)


def printed() -> list[Recipe]:
    """Return the laws whose constants stand in their papers, without intervals: none can be had from constants."""
    hoffmann = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
    besiroglu = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
    return [
        Recipe("Kaplan 2020, as fitted", "arXiv 2001.08361, runs at one batch size: 1.6e9 (C / PF-day)^0.88",
               "without embeddings", (1e16, 1e21), through(1.6e9, PETAFLOP_DAY, 0.88)),
        Recipe("Kaplan 2020, at the critical batch", "arXiv 2001.08361, table 6: 1.3e9 (C / PF-day)^0.73",
               "without embeddings", (1e16, 1e21), through(1.3e9, PETAFLOP_DAY, 0.73)),
        Recipe("Hoffmann 2022, envelope", "arXiv 2203.15556, table 3: 67e9 parameters at 5.76e23 FLOP; a = 0.50",
               "all", (6e18, 3e21), through(67e9, 5.76e23, 0.50)),
        Recipe("Hoffmann 2022, surface", "arXiv 2203.15556, equation 10: 406.4, 410.7, 0.34, 0.28",
               "all", (6e18, 3e21), of_surface(hoffmann)),
        Recipe("Besiroglu 2024, surface again", "arXiv 2404.10102: 482.01, 2085.43, 0.3478, 0.3658",
               "all", (6e18, 3e21), of_surface(besiroglu)),
        Recipe("twenty tokens a parameter", "rule of thumb after arXiv 2203.15556: N = (C / 120)^0.5",
               "all", (6e18, 6e23), through(np.sqrt(1 / 120), 1.0, 0.50)),
        Recipe("DeepSeek 2024", "arXiv 2401.02954: M = 0.1715 C^0.5243 FLOP a token, read as M = 6 N",
               "without embeddings, attention counted", (1e17, 3e20), through(0.1715 / 6, 1.0, 0.5243)),
        Recipe("Porian 2024, tuned", "arXiv 2406.19146, released fits: 0.1182 C^0.497",
               "without input embeddings", (1.25e16, 2.6e19), through(0.118199, 1.0, 0.497029)),
    ]  # fmt: skip


def from_allocation(name: str, source: str, counts: str, found: Allocation) -> Recipe:
    """Return the recipe of minima or of an envelope fitted here, with its draws."""
    budgets = found.optima["C"]
    return Recipe(name, source, counts, (float(budgets.min()), float(budgets.max())), found.lines)


def from_fit(name: str, source: str, counts: str, found: Fit) -> Recipe:
    """Return the recipe of a Chinchilla law fitted here, with its bootstrap draws."""
    lines = np.concatenate([of_surface(found.params), of_surface(found.resamples)])
    budgets = FLOP_PER_PARAMETER * found.x["N"] * found.x["D"]
    return Recipe(name, source, counts, (float(budgets.min()), float(budgets.max())), lines)


def budget_table(recipes: Iterable[Recipe], budgets: np.ndarray) -> pd.DataFrame:
    """Return one row a recipe and budget: law, C, N, D, tokens per parameter, with ends, and whether it is covered.

    A large N goes with few tokens, so the ends of D and of D / N are those of N in the other order.
    """
    rows = []
    for recipe in recipes:
        for budget in np.asarray(budgets, dtype=float):
            n, low, high = recipe.size(budget)
            product = budget / FLOP_PER_PARAMETER
            rows.append({
                "law": recipe.name, "C": budget, "N": n, "N_low": low, "N_high": high, "D": product / n,
                "D_low": product / high, "D_high": product / low, "ratio": product / n**2,
                "ratio_low": product / high**2, "ratio_high": product / low**2, "covered": recipe.covers(budget),
            })  # fmt: skip
    return pd.DataFrame(rows)


def amount(value: float) -> str:
    """Write a count as a reader says it: 2.8 billion, 60 million, 740."""
    for power, word in WORDS:
        if value >= power:
            return f"{value / power:.3g}{word}"
    return f"{value:.3g}"


def suite_recipe(reading: Reading, name: str, counts: str) -> Recipe:
    """Return what the minima of the model suite advise under one way of counting, with its redrawn tables as draws."""
    log_c = np.log(reading.budgets)
    lines = []
    for row, a in zip(reading.best, reading.exponent, strict=True):
        if np.isfinite(a):
            known = np.isfinite(row)
            lines.append((row[known].mean() - a * log_c[known].mean(), a))
    span = (float(reading.budgets[0]), float(reading.budgets[-1]))
    source = "runs of this book, cooled, data/suite"
    return Recipe(name, source, counts, span, np.array(lines))


def advice_sentence(row: pd.Series, recipe: Recipe) -> str:
    """Return in words what a law advises at one budget, with interval, source and a warning outside its runs."""
    ratio = f"{row['ratio']:.0f}" if row["ratio"] >= 10 else f"{row['ratio']:.2g}"

    def ends(name: str) -> str:
        known = np.isfinite(row[f"{name}_low"])
        return f" ({amount(row[f'{name}_low'])} to {amount(row[f'{name}_high'])})" if known else ""

    far = "" if row["covered"] else " This budget lies outside the law's own runs."
    return (
        f"{amount(row['N'])} parameters{ends('N')} on {amount(row['D'])} tokens{ends('D')}: "
        f"{ratio} tokens a parameter. Counted: {recipe.counts}. Source: {recipe.source}.{far}"
    )

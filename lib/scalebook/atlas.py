"""The atlas of exponents: every exponent that a published run measured, beside the paper's own."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from scalebook.cards import number, prose
from scalebook.downloads import csv_text
from scalebook.markup import raw, value
from scalebook.records import PaperValue
from scalebook.runs import Measured
from scalebook.standing import Record, Row

COLUMNS = (
    "claim", "measure", "definition", "paper", "year", "chapter", "fidelity", "verdict", "value", "low", "high",
    "units", "x_min", "x_max", "decades", "paper_value", "paper_low", "paper_high", "paper_source",
)  # fmt: skip
HEAD, TITLE, ROW = 40, 34, 22  # heights in the drawing, px


@dataclass(frozen=True)
class Exponent:
    """One measured exponent: the claim it belongs to, its run, the paper's value where it gives one."""

    row: Row
    measure: str
    record: Record
    given: PaperValue | None

    @property
    def estimate(self) -> Measured:
        """The stored estimate: value, low, high, n."""
        return self.record.measurements[self.measure]

    @property
    def decades(self) -> float | None:
        """Powers of ten of x that support the fit."""
        span = self.record.outcome.spans.get(self.measure)
        return math.log10(span[1] / span[0]) if span and span[0] > 0 else None


def exponents(rows: Sequence[Row]) -> list[Exponent]:
    """Return the published exponents in reading order; those without a value are left out."""
    return [
        Exponent(row, name, row.published, row.claim.paper_values.get(name))
        for row in rows
        if row.published is not None
        for name in row.claim.exponents
        if name in row.published.measurements and row.published.measurements[name].value is not None
    ]


def table_csv(found: Sequence[Exponent]) -> str:
    """Return the atlas as CSV, one exponent a line."""
    lines: list[list[object]] = []
    for item in found:
        row, estimate, given = item.row, item.estimate, item.given
        span = item.record.outcome.spans.get(item.measure, [None, None])
        lines.append([
            row.claim.id, item.measure, row.claim.measures[item.measure],
            row.paper.title, row.paper.year, row.chapter.slug, row.claim.fidelity, row.verdict,
            estimate.value, estimate.low, estimate.high, estimate.n, *span,
            None if item.decades is None else round(item.decades, 2),
            *((given.value, given.low, given.high, given.where) if given else (None,) * 4),
        ])  # fmt: skip
    return csv_text(COLUMNS, lines)


def shown(found: Sequence[Exponent]) -> str:
    """Return the atlas: one picture, then a table with the same numbers."""
    if not found:
        return "No exponent is published yet. They appear here when the first full run is accepted.\n"
    figure = (
        '<figure class="sb-figure" id="fig-atlas">'
        f'<div class="sb-scroll sb-atlas" role="group" aria-label="Atlas" tabindex="0">{picture(found)}</div>'
        "<figcaption>Dot: our value, its interval as a line. Diamond: the paper's value. Hollow: a toy mechanism. "
        "Right: how many powers of ten of x the fit spans. An arrow points to a value off the scale. "
        '<a href="../downloads/atlas.csv" download>Data (CSV)</a></figcaption></figure>'
    )
    columns = ("Exponent", "Ours", "Paper", "Decades of x", "Fidelity")
    heads = "".join(f'<th scope="col">{name}</th>' for name in columns)
    table = (
        '<div class="sb-scroll" role="group" aria-label="Table of exponents" tabindex="0">'
        f'<table class="sb-plain sb-stack sb-exponents"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(map(_line, found))}</tbody></table></div>"
    )
    return f"{raw(figure)}\n## The same as a table\n\n{raw(table)}"


def picture(found: Sequence[Exponent]) -> str:
    """Return the atlas as one drawing, a line for each exponent; its colours are those of the page around it."""
    left, right = _window(found)
    start = 16 + 7.9 * max(len(item.measure) for item in found)  # letters of 13 px in a row of equal ones
    stop = start + 300

    def at(value: float) -> float:
        return round(start + (stop - start) * (value - left) / (right - left), 1)

    y, chapter, lines = HEAD, "", []
    for item in found:
        if item.row.chapter.title != chapter:
            chapter = item.row.chapter.title
            y += TITLE
            lines.append(f'<text class="sb-atlas-title" x="0" y="{y - 8}">{escape(chapter)}</text>')
        y += ROW
        lines.append(
            f'<text class="sb-atlas-name" x="{start - 12:.0f}" y="{y - 6}">{item.measure}</text>'
            f"{_marks(item, at, y - 10, left, right)}"
            f'<text class="sb-atlas-span" x="{stop + 66:.0f}" y="{y - 6}">{_decades(item)}</text>'
        )
    step = next((step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if right - left <= 9 * step), 100)
    ticks = [step * k for k in range(math.ceil(left / step), math.floor(right / step) + 1)]
    grid = "".join(
        f'<path class="sb-atlas-{"zero" if tick == 0 else "grid"}" d="M{at(tick)} {HEAD}V{y + 4}"/>'
        f'<text class="sb-atlas-tick" x="{at(tick)}" y="{HEAD - 6}">{number(tick)}</text>'
        f'<text class="sb-atlas-tick" x="{at(tick)}" y="{y + 20}">{number(tick)}</text>'
        for tick in ticks
    )
    columns = (
        f'<text class="sb-atlas-tick" x="{(start + stop) / 2:.0f}" y="14">exponent</text>'
        f'<text class="sb-atlas-span" x="{stop + 66:.0f}" y="14">decades</text>'
    )
    return (
        f'<svg viewBox="0 0 {stop + 70:.0f} {y + 28}" role="img" aria-label="{escape(_alt(found))}">'
        f"{grid}{columns}{''.join(lines)}</svg>"
    )


def _window(found: Sequence[Exponent]) -> tuple[float, float]:
    """Return the stretch of the axis that is drawn: a single huge value must not press all others into one column."""
    values = [item.estimate.value for item in found] + [item.given.value for item in found if item.given]
    quarters = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    reach = max(2 * (quarters[2] - quarters[0]), 0.5)
    inside = [v for v in values if quarters[0] - reach <= v <= quarters[2] + reach]
    left, right = min([0.0, *inside]), max([0.0, *inside])
    margin = 0.06 * (right - left) or 0.5
    return left - margin, right + margin


def _marks(item: Exponent, at: Callable[[float], float], y: float, left: float, right: float) -> str:
    """Return the dot, the interval and the paper's diamond of one exponent, or an arrow where it is off the scale."""
    estimate = item.estimate
    if not left <= estimate.value <= right:
        low = estimate.value < left
        x, tip, anchor = (at(left), 7, "start") if low else (at(right), -7, "end")
        return (
            f'<path class="sb-atlas-arrow" d="M{x} {y}l{tip} -4v8z"/><text class="sb-atlas-far" x="{x + 2 * tip}" '
            f'y="{y + 4}" text-anchor="{anchor}">{number(estimate.value)}</text>'
        )
    marks = ""
    if estimate.low is not None and estimate.high is not None:
        marks += f'<path class="sb-atlas-line" d="M{at(max(estimate.low, left))} {y}H{at(min(estimate.high, right))}"/>'
    kind = "hollow" if item.row.claim.fidelity == "mechanism" else "full"
    marks += f'<circle class="sb-atlas-{kind}" cx="{at(estimate.value)}" cy="{y}" r="4"/>'
    if item.given is not None and left <= item.given.value <= right:
        marks += f'<path class="sb-atlas-paper" d="M{at(item.given.value)} {y - 7}l6.5 7l-6.5 7l-6.5 -7z"/>'
    return marks


def _alt(found: Sequence[Exponent]) -> str:
    values = [item.estimate.value for item in found]
    return (
        f"{len(found)} exponents as dots with whiskers, one a line, from {min(values):.2f} to {max(values):.2f}; "
        f"{sum(item.given is not None for item in found)} have the paper's value beside them as a diamond."
    )


def _decades(item: Exponent) -> str:
    return "—" if item.decades is None else f"{item.decades:.1f}"


def _line(item: Exponent) -> str:
    row = item.row
    paper = number(item.given.value) if item.given else "—"
    return (
        f'<tr><th scope="row"><a href="ledger.html#{row.claim.id}"><code>{item.measure}</code></a> '
        f"{prose(row.claim.measures[item.measure])}"
        f'<br><span class="sb-small"><cite>{escape(row.paper.title)}</cite> ({row.paper.year})</span></th><td data-label="ours">'
        f"{value(item.estimate)}</td>"
        f'<td data-label="paper">{paper}</td><td data-label="decades of x">{_decades(item)}</td>'
        f'<td data-label="fidelity">{row.claim.fidelity}</td></tr>'
    )

"""The atlas of exponents: every exponent that a published run measured, beside the paper's own."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from scalebook.cards import number
from scalebook.markup import prose, raw, value
from scalebook.paths import atomic_write
from scalebook.records import PaperValue
from scalebook.runs import Measured
from scalebook.standing import Record, Row

COLUMNS = (
    "claim", "measure", "definition", "paper", "year", "chapter", "fidelity", "verdict", "value", "low", "high",
    "units", "x_min", "x_max", "decades", "paper_value", "paper_low", "paper_high", "paper_source",
)  # fmt: skip


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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for item in found:
        row, estimate, given = item.row, item.estimate, item.given
        span = item.record.outcome.spans.get(item.measure, [None, None])
        writer.writerow([
            row.claim.id, item.measure, row.claim.measures[item.measure],
            row.paper.title, row.paper.year, row.chapter.slug, row.claim.fidelity, row.verdict,
            estimate.value, estimate.low, estimate.high, estimate.n, *span,
            None if item.decades is None else round(item.decades, 2),
            *((given.value, given.low, given.high, given.where) if given else (None,) * 4),
        ])  # fmt: skip
    return text.getvalue()


def shown(found: Sequence[Exponent]) -> str:
    """Return the atlas: one picture, then a table with the same numbers."""
    if not found:
        return "No exponent is published yet. They appear here when the first full run is accepted.\n"
    values = [item.estimate.value for item in found]
    alt = (
        f"{len(found)} exponents as dots with whiskers, one a line, from {min(values):.2f} to {max(values):.2f}; "
        f"{sum(item.given is not None for item in found)} have the paper's value beside them as a diamond."
    )
    images = "".join(
        f'<img class="only-{mode}" src="../_static/figures/atlas/atlas.{mode}.svg" alt="{escape(alt)}">'
        for mode in ("light", "dark")
    )
    figure = (
        '<figure class="sb-figure" id="fig-atlas">'
        f'<div class="sb-scroll sb-atlas" role="group" aria-label="Atlas" tabindex="0">{images}</div>'
        "<figcaption>Dot: our value and its interval. Diamond: the paper's value. Hollow: a toy mechanism. "
        '<a href="../downloads/atlas.csv" download>Data (CSV)</a></figcaption></figure>'
    )
    columns = ("Exponent", "Ours", "Paper", "Decades of x", "Fidelity")
    heads = "".join(f'<th scope="col">{name}</th>' for name in columns)
    table = (
        '<div class="sb-scroll" role="group" aria-label="Table of exponents" tabindex="0">'
        f'<table class="sb-plain sb-exponents"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(map(_line, found))}</tbody></table></div>"
    )
    return f"{raw(figure)}\n## The same as a table\n\n{raw(table)}"


def draw(found: Sequence[Exponent], folder: Path) -> None:
    """Draw the atlas for light and dark grounds into a folder."""
    from scalebook import plots

    for mode in ("light", "dark"):
        with plots.theme(mode):
            picture = _picture(found)
            buffer = io.BytesIO()
            picture.savefig(buffer, format="svg", metadata={"Date": None})
            atomic_write(folder / f"atlas.{mode}.svg", buffer.getvalue())
            plots.close(picture)


def _picture(found: Sequence[Exponent]) -> object:
    import matplotlib.pyplot as plt
    from matplotlib import rcParams

    ink, ground = rcParams["text.color"], rcParams["axes.facecolor"]
    figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.32 * len(found)), layout="constrained")
    for line, item in enumerate(found):
        estimate = item.estimate
        hollow = item.row.claim.fidelity == "mechanism"
        if estimate.low is not None:
            axes.plot([estimate.low, estimate.high], [line, line], color=ink, linewidth=1.4, zorder=2)
        axes.plot(
            estimate.value, line, "o", markersize=6, color=ink, markerfacecolor=ground if hollow else ink, zorder=3
        )
        if item.given is not None:
            axes.plot(item.given.value, line, "D", markersize=7, color="C0", markerfacecolor="none", zorder=4)
    axes.set_yticks(range(len(found)), [f"{i.row.claim.id.split('.')[0]}: {i.measure}" for i in found], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("exponent")
    axes.axvline(0, color=ink, linewidth=0.6, alpha=0.5)
    return figure


def _line(item: Exponent) -> str:
    row = item.row
    paper = number(item.given.value) if item.given else "—"
    decades = "—" if item.decades is None else f"{item.decades:.1f}"
    return (
        f'<tr><th scope="row"><a href="ledger.html#{row.claim.id}"><code>{item.measure}</code></a> '
        f"{prose(row.claim.measures[item.measure])}"
        f'<br><span class="sb-small"><cite>{escape(row.paper.title)}</cite> ({row.paper.year})</span></th><td>'
        f"{value(item.estimate)}</td>"
        f"<td>{paper}</td><td>{decades}</td><td>{row.claim.fidelity}</td></tr>"
    )

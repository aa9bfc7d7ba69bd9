"""What pages show of the register and the results: the ledger of all claims, and the failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from scalebook.cards import REACH, amendments, badge, number, prose
from scalebook.markup import choices, paper_numbers, raw, source, tally_bar, value
from scalebook.records import bounds_text
from scalebook.register import parts
from scalebook.standing import VERDICTS, Record, Row, tally
from scalebook.verdict import INCONCLUSIVE, NOT_REPRODUCED, NOT_RUN, PLANNED, what_would_change

DOWNLOADS = (
    '<p class="sb-downloads">Download: <a href="../downloads/ledger.csv" download>ledger.csv</a>'
    '<a href="../downloads/ledger.json" download>ledger.json</a>'
    '<a href="../downloads/atlas.csv" download>atlas.csv</a>'
    '<a href="../downloads/references.bib" download>references.bib</a></p>'
)
SHOWN = 3  # measures in a cell of the ledger; the rest is one fold away


def ledger(rows: Sequence[Row]) -> str:
    """Return the ledger: counts, downloads, and a plain table of every claim that a script can filter and order."""
    body = "\n".join(_ledger_row(row, first) for row, first in _with_first(rows))
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("Claim", "Published", "This build", "Verdict"))
    table = (
        '<div class="sb-scroll sb-ledger-frame"><table class="sb-ledger" id="ledger">'
        '<caption class="sb-hidden">All claims</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )
    return raw(tally_bar(tally(row.verdict for row in rows)) + DOWNLOADS + _controls(rows) + table)


def failures(rows: Sequence[Row], reasons: Mapping[str, str]) -> str:
    """Return what did not reproduce and what stayed open, each with its reason, under two headings.

    ``reasons`` gives, by claim, the sentence with which a chapter explains an outcome.
    """
    judged = [row for row in rows if row.verdict not in (PLANNED, NOT_RUN)]
    if not judged:
        return "Nothing is published yet, so nothing has failed yet.\n"
    failed = [row for row in judged if row.verdict == NOT_REPRODUCED]
    undecided = [row for row in judged if row.verdict == INCONCLUSIVE]
    text = f"{len(judged)} judged so far: {len(failed)} did not reproduce, {len(undecided)} stayed open.\n\n"
    for title, chosen in (("Not reproduced", failed), ("Inconclusive", undecided)):
        cards = "\n".join(_failure(row, reasons.get(row.claim.id)) for row in chosen)
        text += f"## {title}\n\n{raw(cards) if chosen else 'None so far.'}\n\n"
    return text


def _with_first(rows: Sequence[Row]) -> list[tuple[Row, bool]]:
    """Pair every row with whether it is the first of its chapter."""
    before = [None, *(row.chapter.slug for row in rows[:-1])]
    return [(row, row.chapter.slug != slug) for row, slug in zip(rows, before, strict=True)]


def _ledger_row(row: Row, first: bool) -> str:
    claim, chapter = row.claim, row.chapter
    anchor = f'<span class="sb-anchor" id="chapter-{chapter.slug}"></span>' if first else ""
    home = (
        f'<a href="../chapters/{chapter.slug}.html#{claim.id}">{escape(chapter.title)}</a>'
        if row.written
        else escape(chapter.title)
    )
    return (
        f'<tr id="{claim.id}" data-part="{escape(chapter.part)}" data-chapter="{chapter.slug}" '
        f'data-fidelity="{claim.fidelity}" '
        f'data-verdict="{row.verdict}" data-year="{row.paper.year}">'
        f'<th scope="row">{anchor}<p class="sb-says">{escape(claim.says)}</p>'
        f'<p class="sb-small"><cite>{escape(row.paper.title)}</cite> · {source(row.paper)}</p>'
        f'<p class="sb-small">{home} · {claim.fidelity} · <a class="sb-permalink" href="#{claim.id}">{claim.id}</a></p>'
        f"<details><summary>Rule and sources<span class='sb-hidden'> of {claim.id}</span></summary>"
        f"{_fold(row)}</details></th>"
        f"{_cell(row, row.published, 'Published')}{_cell(row, row.built, 'This build')}"
        f'<td data-label="Verdict">{badge(row.verdict)}<span class="sb-small">{_dated(row)}</span></td></tr>'
    )


def _fold(row: Row) -> str:
    """Return what a reader unfolds: rule in words, the paper's figures, registration, what would change our mind."""
    claim = row.claim
    sight = "blind" if claim.blind else "not blind: figures of prototypes were in view"
    more = _measures(row.published, len(claim.measures), skip=SHOWN) if row.published else ""
    return (
        f"<p><b>Rule.</b> {prose(claim.rule)}</p><p><b>What would have changed our mind.</b> "
        f"{prose(what_would_change(claim))}</p>"
        f"<p><b>The paper's figures.</b></p>{paper_numbers(row.paper, claim)}"
        + (f"<p><b>Further published values.</b></p>{more}" if more else "")
        + f'<p class="sb-small">Rule registered {claim.registered}, {sight}. Interval over: {escape(claim.unit)}.</p>'
        + amendments(claim)
    )


def _cell(row: Row, record: Record | None, label: str) -> str:
    if record is None:
        return f'<td data-label="{label}" class="sb-none">—</td>'
    rest = len(record.judged) - SHOWN
    more = f'<p class="sb-small">and {rest} more</p>' if rest > 0 else ""
    note = (
        ""
        if record is row.published or record.verdict == row.verdict
        else f'<p class="sb-small">here: {record.verdict}</p>'
    )
    return f'<td data-label="{label}">{_measures(record, SHOWN)}{more}{note}</td>'


def _measures(record: Record, count: int, skip: int = 0) -> str:
    names = record.judged[skip : skip + count]
    items = "".join(f"<li><code>{name}</code> {value(record.measurements[name])}</li>" for name in names)
    return f'<ul class="sb-numbers">{items}</ul>' if items else ""


def _dated(row: Row) -> str:
    if row.published is not None:
        note = " This build disagrees." if row.disagrees else ""
        return f"{REACH[row.claim.fidelity]}, {row.published.date}.{note}"
    if row.written:
        return "not yet published"
    return f"rule of {row.claim.registered}"


def _controls(rows: Sequence[Row]) -> str:
    """Return the filter; it is hidden until the script that serves it runs."""
    present = [v for v in VERDICTS if any(row.verdict == v for row in rows)]
    book = "".join(
        f'<optgroup label="{escape(title)}">'
        + "".join(f'<option value="{c.slug}">{escape(c.title)}</option>' for c in chapters)
        + "</optgroup>"
        for title, chapters in parts()
    )
    menus = (
        ("verdict", "Verdict", choices(present)),
        ("part", "Part", choices(title for title, _ in parts())),
        ("chapter", "Chapter", book),
        ("fidelity", "Fidelity", choices(REACH)),
    )
    fields = "".join(
        f'<label>{label}<select name="{name}"><option value="">all</option>{options}</select></label>'
        for name, label, options in menus
    )
    return (
        '<form class="sb-filter" id="ledger-filter" hidden role="search" aria-label="Filter the ledger">'
        '<label class="sb-filter-text">Text<input type="search" name="text" autocomplete="off" '
        'placeholder="claim, paper, rule"></label>'
        f"{fields}"
        '<label>Order<select name="sort"><option value="">book</option><option value="verdict">verdict</option>'
        '<option value="year">newest paper first</option><option value="id">claim id</option></select></label>'
        '<p class="sb-filter-count"><output name="count" aria-live="polite"></output>'
        '<button type="reset">Show all</button></p></form>'
    )


def _failure(row: Row, reason: str | None) -> str:
    record, claim = row.published, row.claim
    chapter = f"../chapters/{row.chapter.slug}.html"
    why = (
        f'{prose(reason)} <a href="{chapter}#why-{claim.id}">More in the chapter</a>'
        if reason
        else f'See <a href="{chapter}#{claim.id}">our reading of it, below the verdict in the chapter</a>.'
    )
    title, states = (
        ("What failed", ("outside",))
        if row.verdict == NOT_REPRODUCED
        else ("What stayed open", ("straddles", "missing"))
    )
    found = "".join(
        f"<li><code>{part.measure}</code> {prose(claim.measures[part.measure])}: "
        f"{value(record.measurements[part.measure])}, "
        f"accepted {bounds_text(part.low, part.high)}{_against(row, part.measure)}</li>"
        for part in record.outcome.parts
        if part.state in states and part.measure in record.measurements
    )
    return (
        f'<section class="sb-card" id="{claim.id}" aria-label="{claim.id}"><p class="sb-head">{badge(row.verdict)}'
        f' <span class="sb-small">{REACH[claim.fidelity]}</span>'
        f'<a class="sb-permalink" href="#{claim.id}">{claim.id}</a></p><p class="sb-says">{escape(claim.says)}</p>'
        f'<p class="sb-small"><cite>{escape(row.paper.title)}</cite> · {source(row.paper)}</p>'
        f"<p><b>{title}.</b></p>{f'<ul>{found}</ul>' if found else f'<p>{prose(record.outcome.reason)}</p>'}"
        f"<p><b>Why.</b> {why}</p>"
        "<details><summary>The rule, and what would have changed our mind</summary>"
        f"<p>{prose(claim.rule)}</p><p>{prose(what_would_change(claim))}</p></details>"
        f'<p>The experiment: <a href="{chapter}#{claim.id}">{escape(row.chapter.title)}</a></p></section>'
    )


def _against(row: Row, measure: str) -> str:
    given = row.claim.paper_values.get(measure)
    return f"; the paper has {number(given.value)}" if given is not None else ""

"""The moving pieces of the cover: the figure to remember, the count of verdicts, the chapters by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from scalebook.cards import ICONS, TONES
from scalebook.markup import raw, tally_bar
from scalebook.register import ChapterInfo, parts
from scalebook.standing import Row, tally
from scalebook.verdict import NOT_RUN, PLANNED


def standing(rows: Sequence[Row]) -> str:
    """Return the count of verdicts over the whole book."""
    return raw(tally_bar(tally(row.verdict for row in rows)))


def chapters(rows: Sequence[Row], states: Mapping[str, str]) -> str:
    """Return every chapter as a card, by part; ``states`` says of each slug: run, failed, unrun or planned."""
    claims: dict[str, list[Row]] = {}
    for row in rows:
        claims.setdefault(row.chapter.slug, []).append(row)
    text = ""
    for number, (title, members) in enumerate(parts(), start=1):
        cards = "".join(_card(chapter, claims[chapter.slug], states[chapter.slug]) for chapter in members)
        text += f"### Part {number}: {title}\n\n" + raw(f'<ul class="sb-gallery">{cards}</ul>') + "\n"
    return text


def key_figure(chapter: ChapterInfo, figure: Mapping[str, str], images: Mapping[str, tuple[str, int, int]]) -> str:
    """Return a chapter's figure to remember for the cover.

    ``images`` maps light and dark to the picture's address, width and height in pixels.
    """
    pictures = "".join(
        f'<img class="only-{mode}" src="{src}" width="{width}" height="{height}" '
        f'alt="{escape(figure["alt"])}" loading="lazy">'
        for mode, (src, width, height) in images.items()
    )
    caption = figure["caption"]
    return raw(
        '<figure class="sb-figure sb-key"><div class="sb-scroll" role="group" aria-label="The figure to remember" '
        f'tabindex="0">{pictures}</div>'
        f'<figcaption>{caption} From <a href="chapters/{chapter.slug}.html">{escape(chapter.title)}</a>'
        ".</figcaption></figure>"
    )


def _card(chapter: ChapterInfo, rows: Sequence[Row], state: str) -> str:
    counts = tally(row.verdict for row in rows)
    facts = f"{chapter.minutes} min · {chapter.level}"
    if state == "planned":
        link, status = f"pages/ledger.html?chapter={chapter.slug}#chapter-{chapter.slug}", ""
        facts += f" · planned, {len(rows)} {'rule' if len(rows) == 1 else 'rules'} registered"
    else:
        link = f"chapters/{chapter.slug}.html"
        judged = {verdict: count for verdict, count in counts.items() if verdict not in (NOT_RUN, PLANNED)}
        status = (
            " ".join(
                f'<span class="sb-{TONES[v]}"><span aria-hidden="true">{ICONS[v]}</span> {count} {v}</span>'
                for v, count in judged.items()
            )
            or {
                "run": "measured, not yet published",
                "failed": "its last run failed",
                "unrun": "written, not run in this build",
            }[state]
        )
        status = f'<p class="sb-chapter-state">{status}</p>'
    return (
        f'<li class="sb-chapter sb-chapter-{state}"><p class="sb-chapter-title"><span class="sb-number">'
        f"{chapter.order}</span> "
        f'<a href="{link}">{escape(chapter.title)}</a></p><p class="sb-question">{escape(chapter.question)}</p>'
        f'<p class="sb-chapter-facts">{facts}</p>{status}</li>'
    )

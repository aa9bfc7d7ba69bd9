"""The head of a chapter: what it asks of the reader, what its run cost, what came out, how to run it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from scalebook.cards import ICONS, TONES
from scalebook.downloads import cite
from scalebook.markup import copyable
from scalebook.register import ChapterInfo
from scalebook.runs import Cost, Results
from scalebook.standing import Row


@dataclass(frozen=True)
class Book:
    """What the head needs to know of the book: its title, its repository and branch (empty when it has no address)."""

    title: str
    repository: str
    branch: str

    @property
    def path(self) -> str:
        """Owner and name of the repository, for services that take them from the address."""
        return "/".join(self.repository.rstrip("/").split("/")[-2:])


def opening(
    chapter: ChapterInfo,
    rows: Sequence[Row],
    titles: Mapping[str, tuple[str, bool]],
    book: Book,
    *,
    tables: Sequence[str] = (),
    results: Results | None = None,
    cost: Cost | None = None,
) -> str:
    """Return the head as HTML.

    ``titles`` gives for every slug its title and whether it has a page; ``tables`` the names of figure data files;
    ``results`` and ``cost`` are those of the run, None where the chapter has not been run.
    """
    needs = ", ".join(_needed(slug, *titles[slug]) for slug in chapter.needs) or "nothing before it"
    facts = f"{escape(chapter.part)} · {chapter.minutes} minutes to read · {chapter.level} · needs {needs}"
    spent = _cost(cost, results) if results else ""
    # a chapter that ran asks its question itself
    question = "" if results else f'<p class="sb-opening-question">{escape(chapter.question)}</p>'
    return (
        f'<div class="sb-opening"><p class="sb-opening-facts">{facts}</p>{question}{_outcomes(rows) if results else ""}'
        f"{_actions(chapter, rows, book, tables)}{spent}</div>"
    )


def _needed(slug: str, title: str, has_page: bool) -> str:
    return f'<a href="{slug}.html">{escape(title)}</a>' if has_page else f"{escape(title)} (planned)"


def _outcomes(rows: Sequence[Row]) -> str:
    """Return one line a claim: what came out, and the way to its experiment."""
    items = ""
    for row in rows:
        verdict = row.built.verdict if row.built else row.verdict
        items += (
            f'<li><span class="sb-mark sb-{TONES[verdict]}" aria-hidden="true">{ICONS[verdict]}</span> '
            f'<a href="#{row.claim.id}">{escape(row.claim.says)}</a> <span class="sb-small">{verdict}</span></li>'
        )
    summary = f"{len(rows)} claims: {_counted(rows)}"
    return f'<details class="sb-outcomes"><summary>{summary}</summary><ul>{items}</ul></details>'


def _counted(rows: Sequence[Row]) -> str:
    verdicts = [row.built.verdict if row.built else row.verdict for row in rows]
    return ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))


def _cost(cost: Cost | None, results: Results) -> str:
    """Return what the run on this page cost and with which settings."""
    pieces = [f"profile <b>{results.profile}</b>", f"seed <b>{results.seed}</b>"]
    pieces += [f"{escape(name)} = {escape(str(knob))}" for name, knob in results.parameters.items()]
    if cost is not None:
        pieces += [f"<b>{cost.cpu_seconds:.0f}</b> core-seconds", f"<b>{cost.peak_rss_mb / 1024:.1f}</b> GB at most"]
        pieces += [
            escape(text)
            for text in (cost.finished[:10], cost.machine, f"Python {cost.python}", f"PyTorch {cost.torch}")
        ]
    return f'<p class="sb-cost"><span class="sb-kicker">This run</span> {" · ".join(pieces)}</p>'


def _actions(chapter: ChapterInfo, rows: Sequence[Row], book: Book, tables: Sequence[str]) -> str:
    """Return what a reader can do with the chapter: run, take, cite, disagree."""
    year = max((int(str(row.published.date)[:4]) for row in rows if row.published and row.published.date), default=0)
    year = year or max(row.claim.registered.year for row in rows)
    notebook = f'<a href="../downloads/notebooks/{chapter.slug}.ipynb" download>Notebook</a>'
    data = "".join(
        f'<li><a href="../_static/figures/{chapter.slug}/{name}.csv" download>{name}.csv</a></li>' for name in tables
    )
    data = f"<details><summary>Figure data ({len(tables)})</summary><ul>{data}</ul></details>" if tables else ""
    entry = escape(cite(chapter, book.title, year, book.repository))
    quoted = (
        f'<details><summary>How to cite</summary><pre tabindex="0">{entry}</pre>'
        f'<button type="button" class="sb-copy" data-copy="{entry}">Copy BibTeX</button></details>'
    )
    return (
        f'<div class="sb-actions">{copyable(f"scalebook run {chapter.slug}", "Command that runs this chapter again")}'
        f"<p>{notebook}{_hosted(chapter, book)}</p>{data}{quoted}{_disagree(rows, book)}</div>"
    )


def _hosted(chapter: ChapterInfo, book: Book) -> str:
    """Return links that open the notebook on a public service; empty while the book has no address."""
    if not book.repository:
        return ""
    place = f"{book.path}/blob/{book.branch}/chapters/{chapter.slug}.ipynb"
    inside = quote(f"chapters/{chapter.slug}.ipynb", safe="")
    binder = f"https://mybinder.org/v2/gh/{book.path}/{book.branch}?labpath={inside}"
    return f' · <a href="https://colab.research.google.com/github/{place}">Colab</a> · <a href="{binder}">Binder</a>'


def _disagree(rows: Sequence[Row], book: Book) -> str:
    """Return one link a claim to a form for whoever disagrees with its verdict; empty while the book has no address."""
    if not book.repository:
        return ""
    links = "".join(
        f'<li><a href="{book.repository.rstrip("/")}/issues/new?template=verdict.yml&amp;claim={quote(row.claim.id)}'
        f'&amp;title={quote(f"Verdict of {row.claim.id}")}">{row.claim.id}</a></li>'
        for row in rows
    )
    return (
        "<details><summary>You wrote one of these papers and disagree?</summary>"
        f"<p>Tell us which verdict is off and why:</p><ul>{links}</ul></details>"
    )

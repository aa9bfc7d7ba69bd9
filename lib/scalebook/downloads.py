"""What a reader may take away: the ledger as CSV and JSON, the references, the list of downloads, how to cite."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from scalebook.markup import raw
from scalebook.paths import dump_json
from scalebook.register import ChapterInfo, Paper
from scalebook.standing import Record, Row

COLUMNS = (
    "claim", "paper", "title", "year", "arxiv", "part", "chapter", "fidelity", "verdict", "blind", "registered",
    "amendments", "measure", "accept_low", "accept_high",
    "published", "published_low", "published_high", "published_units", "published_on",
    "build", "build_low", "build_high", "build_units", "build_verdict", "build_profile", "build_seed", "rule",
)  # fmt: skip
WHOLE = {
    "ledger.csv": "every judged condition of every claim: rule, published value, this build's value",
    "ledger.json": "the same with the rules in full, one object a claim",
    "atlas.csv": "every exponent: value, interval, decades of x, the paper's value",
    "references.bib": "all papers of the book as BibTeX",
}
SUITE = {  # name here: file in data/suite, what it holds
    "microscale.csv.gz": ("microscale.csv.gz", "the microscale suite, our own learning curves: one row a logged point"),
    "microscale-runs.csv.gz": ("runs.csv.gz", "its runs: machine, date, probes, loss by position"),
    "microscale.json": ("microscale.json", "its provenance: corpus, versions, learning-rate law, blocks"),
    "microscale.md": ("README.md", "its columns, units and design, and how to make it again"),
}


def csv_text(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV: a line of names, then one line each, the same bytes on every system."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *lines])
    return text.getvalue()


def ledger_csv(rows: Sequence[Row]) -> str:
    """Return the ledger as CSV: one line for every judged condition of every claim."""
    lines: list[list[object]] = []
    for row in rows:
        claim, paper, built = row.claim, row.paper, row.built
        for condition in claim.conditions.conditions():
            lines.append([
                claim.id, paper.key, paper.title, paper.year, paper.arxiv, row.chapter.part, row.chapter.slug,
                claim.fidelity, row.verdict, claim.blind, claim.registered, len(claim.amended),
                condition.measure, condition.low, condition.high,
                *_estimate(row.published, condition.measure), row.published.date if row.published else None,
                *_estimate(built, condition.measure),
                *((built.verdict, built.profile, built.seed) if built else (None,) * 3),
                claim.rule,
            ])  # fmt: skip
    return csv_text(COLUMNS, lines)


def ledger_json(rows: Sequence[Row]) -> str:
    """Return the ledger as JSON: one object for every claim, with its published and its built measurements."""
    return dump_json([
        {
            "claim": row.claim.id,
            "says": row.claim.says,
            "paper": row.paper.key,
            "title": row.paper.title,
            "year": row.paper.year,
            "arxiv": row.paper.arxiv,
            "part": row.chapter.part,
            "chapter": row.chapter.slug,
            "fidelity": row.claim.fidelity,
            "verdict": row.verdict,
            "rule": row.claim.rule,
            "conditions": [
                {"measure": c.measure, "low": c.low, "high": c.high} for c in row.claim.conditions.conditions()
            ],
            "blind": row.claim.blind,
            "registered": str(row.claim.registered),
            "amended": [
                {"date": str(a.date), "field": a.field, "from": a.was, "to": a.now, "why": a.why}
                for a in row.claim.amended
            ],
            "published": _outcome(row.published),
            "build": _outcome(row.built),
        }
        for row in rows
    ])  # fmt: skip


def references_bib(papers: Iterable[Paper]) -> str:
    """Return the papers of the register as BibTeX, sorted by key."""
    return "\n".join(_entry(paper) for paper in sorted(papers, key=lambda paper: paper.key))


def cite(chapter: ChapterInfo, book: str, year: int, url: str) -> str:
    """Return the BibTeX entry of a chapter."""
    fields = [
        ("author", f"{{The authors of {book}}}"),
        ("title", f"{{{chapter.title}}}"),
        ("booktitle", f"{{{book}}}"),
        ("year", str(year)),
        ("note", f"Chapter {chapter.order} of an open book whose claims are measured when it is built"),
    ] + ([("url", f"{url.rstrip('/')}")] if url else [])
    lines = "".join(f"  {name:<9} = {{{text}}},\n" for name, text in fields)
    return f"@incollection{{howthingsscale_{chapter.slug},\n{lines}}}"


def suite_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Return the files of the model suite that are in ``folder``: name of the download -> path and what it holds."""
    return {name: (folder / file, what) for name, (file, what) in SUITE.items() if (folder / file).is_file()}


def files(suite: Mapping[str, tuple[Path, str]]) -> str:
    """Return the files about the whole book, with what each holds; ``suite`` is what ``suite_files`` returns."""
    whole = WHOLE | {name: what for name, (_, what) in suite.items()}
    lines = "".join(
        f'<tr><th scope="row"><a href="../downloads/{name}" download>{name}</a></th><td>{what}</td></tr>'
        for name, what in whole.items()
    )
    return raw(f'<table class="sb-plain"><tbody>{lines}</tbody></table>')


def notebooks(written: Sequence[tuple[ChapterInfo, list[str]]]) -> str:
    """Return the downloads of each chapter; ``written`` pairs chapters with the names of their figure tables."""
    if not written:
        return "No chapter is written yet.\n"
    lines = "".join(
        f'<tr><th scope="row">{escape(chapter.title)}</th>'
        f'<td><a href="../downloads/notebooks/{chapter.slug}.ipynb" download>{chapter.slug}.ipynb</a></td>'
        f"<td>{_tables(chapter, tables)}</td></tr>"
        for chapter, tables in written
    )
    columns = ("Chapter", "Notebook without outputs", "Data of its figures")
    heads = "".join(f'<th scope="col">{name}</th>' for name in columns)
    return raw(
        '<div class="sb-scroll" role="group" aria-label="Chapters" tabindex="0"><table class="sb-plain sb-stack">'
        f"<thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _tables(chapter: ChapterInfo, tables: Sequence[str]) -> str:
    links = [f'<a href="../_static/figures/{chapter.slug}/{name}.csv" download>{name}.csv</a>' for name in tables]
    return "<br>".join(links) or "none in this build"


def _estimate(record: Record | None, measure: str) -> tuple[Any, ...]:
    found = record.measurements.get(measure) if record else None
    return (found.value, found.low, found.high, found.n) if found else (None,) * 4


def _outcome(record: Record | None) -> dict[str, Any] | None:
    if record is None:
        return None
    run = {"profile": record.profile, "seed": record.seed, "date": record.date, "machine": record.machine}
    return record.outcome.model_dump() | run


def _entry(paper: Paper) -> str:
    authors = paper.authors.replace(" et al.", " and others").replace(", ", " and ").replace(" and and ", " and ")
    lines = [f"  title  = {{{{{paper.title}}}}},", f"  author = {{{authors}}},", f"  year   = {{{paper.year}}},"]
    if paper.arxiv:
        lines += [f"  eprint = {{{paper.arxiv}}},", "  archiveprefix = {arXiv},"]
    return f"@misc{{{paper.key},\n" + "\n".join(lines) + "\n}\n"

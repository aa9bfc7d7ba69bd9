"""The chapters of a build as staged pages: those that ran, those that failed, those that nobody has run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from scalebook import notebook_page, runs
from scalebook.errors import ScalebookError
from scalebook.inputs import notebook_path
from scalebook.markup import raw
from scalebook.notebook_page import Pictured
from scalebook.opening import Book, opening
from scalebook.paths import root, run_dir
from scalebook.register import ChapterInfo, load_chapters
from scalebook.stage import SITE_SCRIPTS, SITE_STYLES, Figures, Stage
from scalebook.standing import Row

ENTRY = re.compile(r"^@\w+\{.*?(?=^@\w+\{|\Z)", re.MULTILINE | re.DOTALL)


@dataclass
class Chapters:
    """What staging found out about the chapters: states, figure tables, pages, reasons given for failures."""

    states: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[str]] = field(default_factory=dict)
    pages: dict[str, dict[str, Any]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def state_of(slug: str, profile: str, seed: int) -> str:
    """Return planned (no notebook), unrun (not in this build), failed (its last run stopped) or run."""
    if not notebook_path(slug).is_file():
        return "planned"
    folder = run_dir(profile, seed, slug)
    if (folder / "failure.json").is_file():
        return "failed"
    return "run" if (folder / "executed.ipynb").is_file() else "unrun"


def stage_chapters(stage: Stage, found: Sequence[Row], book: Book, profile: str, seed: int) -> Chapters:
    """Stage a page for every written chapter, with its figures, notebook and references."""
    infos = load_chapters()
    made = Chapters({chapter.slug: state_of(chapter.slug, profile, seed) for chapter in infos})
    titles = {chapter.slug: (chapter.title, made.states[chapter.slug] != "planned") for chapter in infos}
    for chapter in infos:
        state = made.states[chapter.slug]
        if state == "planned":
            continue
        own = [row for row in found if row.chapter.slug == chapter.slug]
        folder = run_dir(profile, seed, chapter.slug)
        assets: list[str] = []
        image = ""
        if state == "run":
            results, cost = runs.load_results(profile, seed, chapter.slug), runs.load_cost(profile, seed, chapter.slug)
            drawn = [figure["name"] for figure in getattr(results, "figures", [])]
            tables = [name for name in drawn if Figures(folder / "figures").has(f"{name}.csv")]
            made.tables[chapter.slug] = tables
            head = opening(chapter, own, titles, book, tables=tables, results=results, cost=cost)
            page = _run_page(stage, chapter.slug, own, head, tables, folder)
            assets = page.assets
            made.reasons |= page.reasons
            image = _preview(stage, chapter.slug, results, Figures(folder / "figures"))
        else:
            _missing_page(stage, chapter, opening(chapter, own, titles, book), folder, state)
        made.pages[f"chapters/{chapter.slug}"] = {
            "image": image,
            "title": chapter.title,
            "description": " ".join(chapter.summary.split()),
            "styles": [name for name in assets if name.endswith(".css") and name not in SITE_STYLES],
            "scripts": [name for name in assets if name.endswith(".js") and name not in SITE_SCRIPTS],
        }
        stage.write(f"_extra/downloads/notebooks/{chapter.slug}.ipynb", _clean(notebook_path(chapter.slug)))
    written = [chapter.slug for chapter in infos if made.states[chapter.slug] != "planned"]
    sources = [path for path in (root() / "chapters" / f"{slug}.bib" for slug in sorted(written)) if path.is_file()]
    stage.write("chapters/references.bib", references({path.name: path.read_text(encoding="utf-8") for path in sources}))
    return made


def references(files: Mapping[str, str]) -> str:
    """Return the references of all chapters as one file in which a work that several of them cite stands once.

    Raises ScalebookError, naming key and files, when two chapters describe a key in different words.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, text in files.items():
        for entry in ENTRY.findall(text):
            key = entry.partition("{")[2].partition(",")[0].strip()
            known, where = found.setdefault(key, (entry, name))
            if " ".join(known.split()) != " ".join(entry.split()):
                raise ScalebookError(
                    f"chapters/{where} and chapters/{name} describe {key!r} differently; make the two entries the same."
                )
    return "\n".join(entry for entry, _ in found.values())


def _run_page(stage: Stage, slug: str, own: list[Row], head: str, tables: list[str], folder: Path) -> Pictured:
    """Stage the page of a chapter that ran, with its figures, and return it."""
    figures = Figures(folder / "figures")
    rows = {row.claim.id: row for row in own}
    page = notebook_page.page(folder / "executed.ipynb", opening=head, rows=rows, figures=figures)
    stage.write(f"chapters/{slug}.ipynb", page.text)
    for name in dict.fromkeys([*page.files, *(f"{table}.csv" for table in tables)]):
        stage.copy(f"_static/figures/{slug}/{name}", figures.folder / name)
    return page


def _preview(stage: Stage, slug: str, results: runs.Results | None, figures: Figures) -> str:
    """Stage the picture that stands for a chapter where its address is shared, and return its place in the site."""
    drawn = [f"{figure['name']}.light.png" for figure in getattr(results, "figures", []) if figure["key"]]
    if not drawn or not figures.has(drawn[0]):
        return ""
    place = f"_static/figures/{slug}/{drawn[0]}"
    stage.copy(place, figures.folder / drawn[0])
    return place


def _missing_page(stage: Stage, chapter: ChapterInfo, head: str, folder: Path, state: str) -> None:
    """Stage a page that says that the chapter has no run to show, and why."""
    if state == "failed":
        failure = json.loads((folder / "failure.json").read_text(encoding="utf-8"))
        where = f" at code cell {failure['cell']}" if failure.get("cell") else ""
        what = (
            f"The last run of this chapter stopped{where}, so there is nothing to "
            f"show.\n\n```text\n{failure['error']}\n```\n\n"
            "The command above runs it again and names the log."
        )
    else:
        what = (
            "This chapter is written, but this build has not run it. The command above runs it; "
            "then build the site again."
        )
    stage.write(
        f"chapters/{chapter.slug}.md",
        f"# {chapter.title}\n\n{raw(head)}\n:::{{admonition}} Nothing to show in this build\n{what}\n:::\n",
    )


def _clean(path: Path) -> str:
    """Return a notebook without outputs, as it is offered for download."""
    try:
        content = nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise ScalebookError(f"{path} is not a notebook that can be read: {error}.") from error
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(content) + "\n"

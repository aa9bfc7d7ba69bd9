"""From an executed notebook to a page of the book: header, figures as files, published values, shared styles once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import nbformat

from scalebook.cards import badge
from scalebook.errors import ScalebookError
from scalebook.markup import raw, value
from scalebook.stage import Figures
from scalebook.standing import Record, Row

ASSET = re.compile(r'<(style|script)\b[^>]*\bdata-sb-asset="([^"]+)"[^>]*>.*?</\1>\s*', re.DOTALL)
TAG = re.compile(r'<(img|a)\b[^>]*\bdata-file="([^"]+)"[^>]*>')
ADDRESS = re.compile(r'\b(src|href)="data:[^"]*"')
PUBLISHED = re.compile(r'<div class="sb-published" data-claim="([^"]+)"></div>')
ANCHOR = re.compile(r'\bid="([^"]+)"')
LINK = re.compile(r"\[([^\]\n]+)\]\(#([^)\s]+)\)")
# an author's own sentence on why a claim did not reproduce: <!-- why chapter.claim: the sentence -->
WHY = re.compile(r"<!--\s*why\s+([a-z][\w.-]*):\s*(.*?)\s*-->", re.DOTALL)
TITLE = re.compile(r"\A((?:\([^)\n]*\)=\n)?# [^\n]*\n?)")


@dataclass
class Pictured:
    """A page made from a notebook: its text, the shared assets it needs, the figure files it shows.

    ``reasons`` holds, by claim, the sentence that the chapter gives for a claim that did not reproduce.
    """

    text: str
    assets: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)


def page(path: Path, *, opening: str, rows: Mapping[str, Row], figures: Figures) -> Pictured:
    """Return the page of an executed notebook.

    ``opening`` is HTML that follows the title; ``rows`` the chapter's claims by id; ``figures`` the files of the run.
    Raises ScalebookError for a notebook that cannot be read, has no title or explains a claim that it does not test.
    """
    notebook = _read(path)
    made = Pictured("")
    slug = next(iter(rows.values())).chapter.slug

    def rewrite(html: str) -> str:
        for _, asset in ASSET.findall(html):
            if asset not in made.assets:
                made.assets.append(asset)
        html = ASSET.sub("", html)
        html = TAG.sub(lambda tag: _file(tag, slug, figures, made.files), html)
        return PUBLISHED.sub(lambda mark: published(rows[mark[1]]) if mark[1] in rows else "", html)

    cells = []
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            continue
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _shown(output, rewrite)]
        else:
            made.reasons |= {claim: " ".join(sentence.split()) for claim, sentence in WHY.findall(cell.source)}
            cell.source = WHY.sub(r'<span class="sb-anchor" id="why-\1"></span>', cell.source)
        cells.append(cell)
    for claim in made.reasons.keys() - rows.keys():
        raise ScalebookError(f"chapters/{slug}.ipynb says why {claim!r} failed; its claims: {', '.join(rows)}.")
    _link_outputs(cells)
    first = next((i for i, cell in enumerate(cells) if cell.cell_type == "markdown"), None)
    split = TITLE.match(cells[first].source) if first is not None else None
    if split is None:
        raise ScalebookError(f"chapters/{slug}.ipynb has no title. Begin its first text cell with a line '# Title'.")
    title, rest = split[1].rstrip(), cells[first].source[split.end() :].lstrip()
    cells[first].source = f"{title}\n\n{raw(opening)}\n{rest}"
    notebook.cells = cells
    notebook.metadata.pop("papermill", None)
    made.text = nbformat.writes(notebook)
    return made


def published(row: Row) -> str:
    """Return the line that sets the published outcome of a claim beside this build's."""
    record = row.published
    if record is None:
        text = "<b>Published:</b> not yet. The verdict above is this build's."
        return f'<div class="sb-published"><p class="sb-small">{text}</p></div>'
    note = ""
    if row.built is not None and row.built.verdict != record.verdict:
        note = " This build comes out differently: it is smaller, or it shows how far the verdict can be trusted."
    return (
        f'<div class="sb-published"><p><b>Published:</b> {badge(record.verdict)} {_values(record)}</p>'
        f'<p class="sb-small">{record.profile} profile, seed {record.seed}, {escape(str(record.date))}'
        f"{', ' + escape(record.machine) if record.machine else ''}.{note}</p></div>"
    )


def _values(record: Record) -> str:
    return "; ".join(f"<code>{name}</code> {value(record.measurements[name])}" for name in record.judged)


def _read(path: Path) -> Any:
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise ScalebookError(f"{path} is not a notebook that can be read: {error}. Run the chapter again.") from error


def _link_outputs(cells: list[Any]) -> None:
    """Turn links to figures and claims into HTML: they are made by code, where MyST does not look for them."""
    html = "".join(o.get("data", {}).get("text/html", "") for c in cells for o in c.get("outputs", []))
    made = set(ANCHOR.findall(html))
    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(lambda m: f'<a href="#{m[2]}">{m[1]}</a>' if m[2] in made else m[0], cell.source)


def _shown(output: Any, rewrite: Callable[[str], str]) -> bool:
    """Rewrite an output's HTML in place; tell whether anything is left to show."""
    html = output.get("data", {}).get("text/html")
    if html is None:
        return True
    output.data["text/html"] = rewrite("".join(html))
    return bool(output.data["text/html"].strip())


def _file(tag: re.Match[str], slug: str, figures: Figures, files: list[str]) -> str:
    """Return an element whose inline data is replaced by a file of the run, with its size so that nothing jumps."""
    name = tag[2]
    if not figures.has(name):
        return tag[0]
    shown, drawing = figures.lighter(name), figures.drawing(name)
    files += [shown] if drawing is None else [shown, drawing]
    folder = f"../_static/figures/{slug}"
    html = ADDRESS.sub(rf'\1="{folder}/{shown}"', tag[0])
    if not name.endswith(".png"):
        return html
    width, height = figures.pixels(name)
    html = html[:-1].rstrip("/").rstrip() + f' width="{width}" height="{height}" loading="lazy" decoding="async">'
    if drawing is None:
        return html
    mode = re.search(r'class="(only-\w+)"', html)
    extra = f" {mode[1]}" if mode else ""
    return f'<a class="sb-zoom{extra}" href="{folder}/{drawing}" title="Enlarge">{html}</a>'

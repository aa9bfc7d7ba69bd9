"""Assemble the source of the site in ``_build/stage``: prose, generated pages, executed notebooks, shared files."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from scalebook import atlas, downloads, gallery, generated, runs, sphinx_local
from scalebook.chapter_pages import Chapters, stage_chapters
from scalebook.errors import ScalebookError
from scalebook.opening import Book
from scalebook.paths import atomic_write, build_dir, dump_json, root, run_dir
from scalebook.register import ChapterInfo, load_all, load_chapters
from scalebook.stage import SITE_SCRIPTS, SITE_STYLES, Figures, Stage
from scalebook.standing import Row, rows

ASSETS = Path(__file__).parent / "assets"
PAGE_SCRIPTS = {"pages/ledger": ["ledger.js"]}
MATHJAX = ("startup.js", "core.js", "input/tex.js", "output/svg.js", "output/svg/fonts/tex.js", "a11y/assistive-mml.js")
FONT = "output/svg/fonts/tex.js"
# a third of MathJax's font is letters that few formulas ask for: broken, sans-serif, typewriter, old digits
RARE = re.compile(r"\\(?:math|text|sym)?(?:bf)?(?:frak|sf|tt)|\\oldstyle|\\verb")
RARE_LETTER = re.compile(r"(?<=[{,])(12\d{4}):\"[^\"]*\",?")
RARE_RANGES = ((0x1D504, 0x1D537), (0x1D56C, 0x1D6A3), (0x1D756, 0x1D7C9), (0x1D7D8, 0x1D7FF))
RARE_FONT = re.compile(r"\((\w+)\.(fraktur|frakturBold|monospace|sansSerif\w*|texOldstyle\w*),\{[^{}]*\}")
MARK = re.compile(r"<!-- book: ([a-z-]+)(?: ([a-z_]+))? -->")
FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


def assemble(profile: str, seed: int) -> Stage:
    """Assemble the stage for one build and return it. Raises ScalebookError naming the file that is wrong."""
    stage = Stage(build_dir() / "stage")
    config = yaml.safe_load((root() / "_config.yml").read_text(encoding="utf-8"))
    repository = config.get("repository") or {}
    book = Book(config["title"], repository.get("url") or "", repository.get("branch") or "main")
    found = rows(profile, seed)
    chapters = stage_chapters(stage, found, book, profile, seed)
    pages = chapters.pages | _pages(stage, found, chapters, profile, seed)
    pages["index"]["image"] = next((page["image"] for page in chapters.pages.values() if page["image"]), "")
    stage.copy("_config.yml", root() / "_config.yml")
    stage.write("_toc.yml", _contents(chapters.states))
    _shared(stage, found, chapters)
    titles = sorted((name, page.get("title", "")) for name, page in pages.items())
    frame = sphinx_local.fingerprint()  # with the titles, what every page repeats
    facts = {
        "profile": profile,
        "seed": seed,
        "fingerprint": hashlib.sha256(repr((titles, frame)).encode()).hexdigest()[:16],
        "pages": pages,
        "styles": list(SITE_STYLES),
        "scripts": list(SITE_SCRIPTS),
    }
    stage.write("stage.json", dump_json(facts))
    stage.write(
        "conf.py",
        "from pathlib import Path\n\nfrom scalebook.sphinx_local import configuration\n\n"
        "globals().update(configuration(Path(__file__).parent))\n",
    )
    stage.sweep()
    return stage


def _pages(
    stage: Stage, found: Sequence[Row], chapters: Chapters, profile: str, seed: int
) -> dict[str, dict[str, Any]]:
    """Stage the cover and the pages, their marks filled in; return what Sphinx should know of each."""
    infos = {chapter.slug: chapter for chapter in load_chapters()}
    exponents = atlas.exponents(found)
    written = [
        (info, chapters.tables.get(slug, [])) for slug, info in infos.items() if chapters.states[slug] != "planned"
    ]
    marks: dict[str, Callable[[str], str]] = {
        "tally": lambda _: gallery.standing(found),
        "gallery": lambda _: gallery.chapters(found, chapters.states),
        "key-figure": lambda slug: _key_figure(stage, infos[slug], profile, seed) if slug in infos else "",
        "ledger": lambda _: generated.ledger(found),
        "failures": lambda _: generated.failures(found, chapters.reasons),
        "atlas": lambda _: atlas.shown(exponents),
        "files": lambda _: downloads.files(downloads.suite_files(root() / "data" / "suite")),
        "notebooks": lambda _: downloads.notebooks(written),
    }
    facts = {}
    for path in [root() / "index.md", *sorted((root() / "pages").glob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root()).with_suffix("").as_posix()
        front, title = FRONT.match(text), re.search(r"^# (.*)$", text, re.MULTILINE)
        facts[name] = {
            "title": title[1] if title else "",
            "description": (yaml.safe_load(front[1]) or {}).get("description", "") if front else "",
            "styles": [],
            "scripts": PAGE_SCRIPTS.get(name, []),
        }
        for mark in MARK.findall(text):
            if mark[0] not in marks:
                raise ScalebookError(f"{name}.md asks for {mark[0]!r}; a page can show {', '.join(marks)}.")
        stage.write(f"{name}.md", MARK.sub(lambda mark: marks[mark[1]](mark[2] or ""), text))
    stage.write("_extra/downloads/atlas.csv", atlas.table_csv(exponents))
    return facts


def _key_figure(stage: Stage, chapter: ChapterInfo, profile: str, seed: int) -> str:
    """Return the figure to remember of a chapter, or nothing where this build has not drawn it."""
    figures = Figures(run_dir(profile, seed, chapter.slug) / "figures")
    drawn = getattr(runs.load_results(profile, seed, chapter.slug), "figures", [])
    key = next((figure for figure in drawn if figure["key"]), None)
    if key is None or not figures.has(f"{key['name']}.light.png"):
        return ""
    images = {}
    for mode in ("light", "dark"):
        name = f"{key['name']}.{mode}.png"
        shown = figures.lighter(name)
        stage.copy(f"_static/figures/{chapter.slug}/{shown}", figures.folder / shown)
        images[mode] = (f"_static/figures/{chapter.slug}/{shown}", *figures.pixels(name))
    return gallery.key_figure(chapter, key, images)


def _shared(stage: Stage, found: Sequence[Row], chapters: Chapters) -> None:
    """Stage styles, scripts, MathJax, the page for lost readers and the downloads."""
    for path in sorted(ASSETS.iterdir()):
        if path.suffix in (".css", ".js", ".svg"):
            stage.copy(f"_static/{path.name}", path)
    stage.copy("_extra/404.html", ASSETS / "404.html")
    mathjax = _mathjax()
    extensions = sorted((mathjax / "input" / "tex" / "extensions").glob("*.js"))
    for name in [*MATHJAX, *(p.relative_to(mathjax).as_posix() for p in extensions if p.name != "all-packages.js")]:
        if name != FONT:
            stage.copy(f"_static/mathjax/{name}", mathjax / name)
    pages = (path.read_text(encoding="utf-8") for path in stage.kept if path.suffix in (".md", ".ipynb"))
    font = (mathjax / FONT).read_text(encoding="utf-8")
    stage.write(f"_static/mathjax/{FONT}", font if any(map(RARE.search, pages)) else common_letters(font))
    stage.write("_extra/downloads/ledger.csv", downloads.ledger_csv(found))
    stage.write("_extra/downloads/ledger.json", downloads.ledger_json(found))
    for name, (path, _) in downloads.suite_files(root() / "data" / "suite").items():
        stage.copy(f"_extra/downloads/{name}", path)
    papers = [paper for register in load_all().values() for paper in register.papers]
    stage.write("_extra/downloads/references.bib", downloads.references_bib(papers))


def _mathjax() -> Path:
    """Return MathJax's folder in the package sphinx-mathjax-offline, whose name no import statement can say."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise ScalebookError(
            "The package sphinx-mathjax-offline is not installed. Run `make book`, or pip install -e . with the lock."
        )
    return Path(spec.origin).parent / "static" / "mathjax"


def common_letters(font: str) -> str:
    """Return MathJax's font without its rare letters."""

    def kept(glyph: re.Match[str]) -> str:
        return "" if any(low <= int(glyph[1]) <= high for low, high in RARE_RANGES) else glyph[0]

    return RARE_FONT.sub(r"(\1.\2,{}", RARE_LETTER.sub(kept, font))


def _contents(states: Mapping[str, str]) -> str:
    """Return the table of contents without chapters that are not written and without parts that are then empty.

    Raises ScalebookError when a written chapter is not listed: nobody would find it.
    """
    contents = yaml.safe_load((root() / "_toc.yml").read_text(encoding="utf-8"))
    written = {f"chapters/{slug}" for slug, state in states.items() if state != "planned"}
    parts = []
    for part in contents["parts"]:
        files = [entry["file"] for entry in part["chapters"] or []]
        kept = [name for name in files if name in written or not name.startswith("chapters/")]
        if kept:
            parts.append({"caption": part["caption"], "chapters": [{"file": name} for name in kept]})
        written -= set(files)
    for name in sorted(written):
        raise ScalebookError(
            f"_toc.yml does not list {name}, which has a notebook. Add the line '- file: {name}' to its part."
        )
    return yaml.safe_dump({**contents, "parts": parts}, sort_keys=False, allow_unicode=True)

"""Build the site: assemble the stage, let Sphinx turn it into pages, take pictures of them."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from scalebook import sphinx_local
from scalebook.errors import ScalebookError
from scalebook.paths import atomic_write, build_dir
from scalebook.stage import Stage

HEIGHTS = {1280: 900, 390: 844}  # of the window for each width, in px
MODES = ("light", "dark")
# copied by the themes and never loaded by a page of ours
NEVER_LOADED = (
    "scripts/fontawesome.js",
    "scripts/fontawesome.js.LICENSE.txt",
    "vendor",
    "locales",
    "sbt-webpack-macros.html",
    "webpack-macros.html",
    "sphinx-design.min.css",
    "design-tabs.js",
)
# scripts of the themes that report to the browser's console what nobody asked
TALKATIVE = ("scripts/pydata-sphinx-theme.js", "scripts/sphinx-book-theme.js", "togglebutton.js")
# whole rules (never a part of one) of the theme's icon font: names of icons, the font, motions; site.css draws ours
ICON_FONT = re.compile(
    r"(?<=[{}/;])(?:(?:\.fa-[a-z0-9-]+(?:::?before)?,?)+\{[^{}]*\}|@font-face\{[^{}]*\}"
    r"|@(?:-webkit-)?keyframes fa-[a-z-]+\{(?:[^{}]*\{[^{}]*\})*\})"
)
CONSOLE = re.compile(r"\bconsole\.(?:log|info|debug)\((?!\))")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def build_site(profile: str = "quick", seed: int = 1000) -> Path:
    """Build the site from the runs of one profile and seed and return its first page, ``_build/html/index.html``.

    Nothing is done when nothing changed. Raises ScalebookError that lists Sphinx's warnings: a warning is an error,
    because each is a broken link, formula or reference on somebody's page.
    """
    from scalebook.staging import assemble

    stage = assemble(profile, seed)
    html, note = build_dir() / "html", build_dir() / "site.digest"
    digest = stage.digest() + sphinx_local.fingerprint()
    index = html / "index.html"
    if index.is_file() and note.is_file() and note.read_text(encoding="utf-8") == digest:
        return index
    note.unlink(missing_ok=True)
    _sphinx(stage, html)
    _sync(stage, html)
    _prune(stage, html)
    atomic_write(note, digest)
    return index


def pages() -> list[Path]:
    """Return every page of the built site, sorted. Raises ScalebookError when there is none."""
    html = build_dir() / "html"
    found = sorted(path for path in html.rglob("*.html") if "_static" not in path.relative_to(html).parts)
    if not found:
        raise ScalebookError(
            f"No site in {html}. Run `make book`, or `scalebook site` when the chapters have been run."
        )
    return found


def bundle() -> Path:
    """Pack the built site, which holds notebooks and ledger too, into one zip: ``_build/how-things-scale.zip``.

    Raises ScalebookError when there is no site.
    """
    pages()
    html, target = build_dir() / "html", build_dir() / "how-things-scale.zip"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(html.rglob("*")):
            if path.is_file() and path.name not in (".buildinfo", "objects.inv"):
                # one fixed date: the same site gives the same file
                entry = zipfile.ZipInfo(f"how-things-scale/{path.relative_to(html).as_posix()}", (1980, 1, 1, 0, 0, 0))
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(entry, path.read_bytes())
    atomic_write(target, packed.getvalue())
    return target


def shots(folder: Path) -> list[Path]:
    """Take a picture of every page at both widths on both grounds and return the files.

    Raises ScalebookError when there is no site or no browser.
    """
    from playwright.sync_api import sync_playwright

    from scalebook import browser

    program = browser.find()
    if program is None:
        raise ScalebookError("There is no Chromium here to take pictures with. Run: playwright install chromium")
    folder.mkdir(parents=True, exist_ok=True)
    html, taken = build_dir() / "html", []
    with sync_playwright() as play:
        window = play.chromium.launch(executable_path=str(program), args=list(browser.FLAGS))
        for width, height in HEIGHTS.items():
            for mode in MODES:
                context = window.new_context(viewport={"width": width, "height": height}, color_scheme=mode)
                tab = context.new_page()
                for path in pages():
                    tab.goto(path.as_uri())
                    tab.wait_for_load_state("networkidle")
                    _load_images(tab)
                    page = path.relative_to(html).with_suffix("").as_posix().replace("/", "-")
                    taken.append(folder / f"{page}.{width}.{mode}.png")
                    tab.screenshot(path=taken[-1], full_page=True)
                context.close()
        window.close()
    return taken


def _load_images(tab: object) -> None:
    """Load the pictures that wait for the reader to scroll to them."""
    tab.evaluate(
        "() => Promise.all([...document.images].filter(i => i.offsetParent).map(i => { i.loading = 'eager'; return "
        "i.decode().catch(() => {}); }))"
    )


def _sphinx(stage: Stage, html: Path) -> None:
    """Run Sphinx on the stage, in a process of its own: it keeps global state that would outlive a build."""
    doctrees = build_dir() / "doctrees"
    command = [
        *(sys.executable, "-m", "sphinx", "-b", "html", "-d", str(doctrees)),
        *("-W", "--keep-going", "-n", "-q"),
        *(str(stage.folder), str(html)),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return
    # Sphinx warns only about pages that it reads: without this the next build would pass in silence
    shutil.rmtree(doctrees, ignore_errors=True)
    told = _COLOUR.sub("", result.stderr or result.stdout).replace(f"{stage.folder}/", "").strip().splitlines()
    lines = [line for line in told if line.strip() and "build finished with problems" not in line]
    more = f"\n  and {len(lines) - 40} lines more" if len(lines) > 40 else ""
    raise ScalebookError(
        "The site has problems. Each line names a page of the stage; mend the page or notebook it came from:\n  "
        + "\n  ".join(lines[:40])
        + more
    )


def _sync(stage: Stage, html: Path) -> None:
    """Bring figures, styles and downloads up to date: Sphinx copies them only when it also writes a page."""
    wanted = set()
    for path in stage.kept:
        folder, _, name = path.relative_to(stage.folder).as_posix().partition("/")
        if folder in ("_static", "_extra"):
            target = html / ("_static" if folder == "_static" else "") / name
            wanted.add(target)
            if not (target.is_file() and target.read_bytes() == path.read_bytes()):
                atomic_write(target, path.read_bytes())
    for folder in ("_static/figures", "downloads"):
        for path in (html / folder).rglob("*"):
            if path.is_file() and path not in wanted:
                path.unlink()


def _prune(stage: Stage, html: Path) -> None:
    """Remove pages whose source is gone and files of the themes that no page loads."""
    sources = {path.relative_to(stage.folder).with_suffix("").as_posix() for path in stage.kept}
    for path in html.rglob("*.html"):
        name = path.relative_to(html).with_suffix("").as_posix()
        if not name.startswith("_static/") and name not in sources | {"search", "404"}:
            path.unlink()
    for name in NEVER_LOADED:
        path = html / "_static" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in (html / "_static").rglob("*.map"):
        path.unlink()
    for name in TALKATIVE:
        _rewrite(html / "_static" / name, CONSOLE, "void(")
    _rewrite(html / "_static" / "styles" / "pydata-sphinx-theme.css", ICON_FONT, "")


def _rewrite(path: Path, what: re.Pattern[str], by: str) -> None:
    """Replace something in a file of the themes."""
    atomic_write(path, what.sub(by, path.read_text(encoding="utf-8")))

"""What the book adds to jupyter-book's Sphinx: its configuration, a lighter head, link previews.

The staged folder holds a two-line ``conf.py`` that takes `configuration` from here, so that ``sphinx-build`` and our
own command build the same site. `setup` makes this module a Sphinx extension.
"""

from __future__ import annotations

import hashlib
import json
import re
import textwrap
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ASSETS = Path(__file__).parent / "assets"

# jupyter-book loads these for every book; ours must work without a network and without their scripts
UNUSED = {"sphinx_thebe", "sphinx_comments", "sphinx_design", "sphinx.ext.intersphinx", "sphinx_jupyterbook_latex"}

# Pygments wraps names, punctuation and spaces too, in the colour that code has anyway: a third of a chapter's page
PLAIN_CODE = re.compile(r'<span class="(?:n|nn|p|w)">([^<]*)</span>')

# a browser may break a line between a formula and the comma behind it
FORMULA_END = re.compile(r'(<span class="math[^"]*">[^<]*</span>)([,.;:!?)’”]+)')

# MathJax in its own parts, loaded by its own loader: without menu and unused packages, a quarter lighter than the
# whole in one file (tex-svg-full.js)
MATHJAX = {
    "loader": {"load": ["input/tex", "output/svg", "a11y/assistive-mml"]},
    "options": {"processHtmlClass": "tex2jax_process|mathjax_process|math|output_area"},
    "svg": {"fontCache": "local"},
}


def configuration(stage: Path) -> dict[str, Any]:
    """Return every Sphinx setting of a staged book: jupyter-book's, from its ``_config.yml``, then ours."""
    from jupyter_book.config import get_final_config

    settings, _ = get_final_config(
        user_yaml=stage / "_config.yml", cli_config={"latex_individualpages": False}, sourcedir=None
    )
    facts = json.loads((stage / "stage.json").read_text(encoding="utf-8"))
    settings["extensions"] = [name for name in settings["extensions"] if name not in UNUSED]
    settings.update(
        html_static_path=["_static"],
        html_extra_path=["_extra"],
        html_css_files=facts["styles"],
        html_js_files=[(name, {"defer": "defer"}) for name in facts["scripts"]],
        templates_path=[str(ASSETS / "templates")],
        bibtex_bibfiles=["chapters/references.bib"],
        # chapters cite the same works, each in a list of its own that its citations lead to
        suppress_warnings=["myst.domains", "bibtex.duplicate_citation", "bibtex.duplicate_label"],
        mathjax_path="mathjax/startup.js",
        mathjax3_config=MATHJAX,
        html_copy_source=False,
        html_use_index=False,
        # the summaries under search results are fetched, which a browser refuses on file://
        html_show_search_summary=False,
        # a change of these rewrites every page, because every page shows them
        html_context={"default_mode": "auto", **{key: facts[key] for key in ("profile", "seed", "fingerprint")}},
    )
    settings["html_theme_options"].update(
        use_download_button=False,
        use_fullscreen_button=False,
        show_navbar_depth=1,
        navbar_persistent=[],  # no bar across the page: the search field is in the contents
        footer_content_items=["book-footer.html"],
        search_bar_text="Search the book",
        logo={"text": settings["html_title"]},
    )
    return settings


def fingerprint() -> str:
    """Return a checksum of what shapes every page besides its text: this module, templates, styles and scripts."""
    total = hashlib.sha256()
    for path in [Path(__file__), *sorted(p for p in ASSETS.rglob("*") if p.suffix in (".html", ".css", ".js"))]:
        total.update(path.read_bytes())
    return total.hexdigest()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("html-page-context", _page, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _page(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Give a page its description, its link preview and the scripts and styles that only it needs."""
    facts = _all_facts(app).get(page, {})
    title = "" if page == app.config.root_doc else context.get("pagetitle") or context.get("title") or ""
    site = app.config.html_title
    about = facts.get("description") or _first_words(doctree)
    preview = {"og:type": "article" if facts else "website", "og:site_name": site, "og:title": title or site}
    if about:
        preview["og:description"] = about
    base = (app.config.html_baseurl or "").rstrip("/")
    if base:
        preview["og:url"] = f"{base}/{page}.html"
        if facts.get("image"):
            preview["og:image"] = f"{base}/{facts['image']}"
    tags = [f'<meta property="{key}" content="{escape(value)}" />' for key, value in preview.items()]
    card = "summary_large_image" if "og:image" in preview else "summary"
    tags.append(f'<meta name="twitter:card" content="{card}" />')
    if about:
        tags.append(f'<meta name="description" content="{escape(about)}" />')
    context["metatags"] = context.get("metatags", "") + "\n    ".join(tags)
    if page == "search":
        context["abouts"] = {
            name: found["description"] for name, found in _all_facts(app).items() if found["description"]
        }
    if not (doctree and any(doctree.findall(lambda node: isinstance(node, (nodes.math, nodes.math_block))))):
        # Sphinx also loads it where only a page further down the contents has formulas: two megabytes on the cover
        context["script_files"][:] = [script for script in context["script_files"] if "mathjax" not in _told(script)]
    if "body" in context:
        # docutils marks entries of a list of references with a role that lists may not hold
        body = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')
        # and sphinx-exercise gives all exercises of a page the same anchor
        body = re.sub(r' id="(?:exercise|solution)-content"', "", body)
        body = PLAIN_CODE.sub(r"\1", body)
        context["body"] = FORMULA_END.sub(r'<span class="sb-keep">\1\2</span>', body)
    for name in facts.get("styles", []):
        app.add_css_file(name)
    for name in facts.get("scripts", []):
        app.add_js_file(name, loading_method="defer")


def _first_words(doctree: nodes.document | None) -> str:
    """Return the beginning of a page's first paragraph, for pages that do not describe themselves."""
    first = next(doctree.findall(nodes.paragraph), None) if doctree else None
    return textwrap.shorten(first.astext(), 200, placeholder=" …") if first else ""


def _told(script: Any) -> str:
    """Return in small letters what a script's tag says: its file or its text."""
    attributes = getattr(script, "attributes", {})
    return f"{getattr(script, 'filename', script)} {attributes.get('body', '')}".lower()


def _all_facts(app: Sphinx) -> dict[str, dict[str, Any]]:
    if not hasattr(app, "_scalebook_pages"):
        app._scalebook_pages = json.loads((Path(app.srcdir) / "stage.json").read_text(encoding="utf-8"))["pages"]
    return app._scalebook_pages

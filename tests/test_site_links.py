"""The built pages as files: every link, anchor and picture leads somewhere, every picture says what it shows."""

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import HTML, built_pages

pytestmark = pytest.mark.site

EMPTY_ALT_ALLOWED = {"sb-decoration"}


class Page(HTMLParser):
    """What a page links to, which anchors it has, which pictures it shows, what it says about itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.doubled: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.meta: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if found.get("id"):
            (self.doubled.append(found["id"]) if found["id"] in self.anchors else self.anchors.add(found["id"]))
        if tag == "a" and found.get("name"):
            self.anchors.add(found["name"])
        if tag == "img":
            self.pictures.append(found)
        if tag == "meta" and (found.get("name") or found.get("property")):
            self.meta[found.get("name") or found["property"]] = found.get("content") or ""
        for key in ("href", "src", "data", "poster"):
            if found.get(key):
                self.links.append(found[key])

    handle_startendtag = handle_starttag


@pytest.fixture(scope="module")
def pages(html) -> dict[Path, Page]:
    return {html / name: Page((html / name).read_text(encoding="utf-8")) for name in built_pages()}


def places(fragment: str) -> set[str]:
    """Return the anchors that a fragment needs; a view of explorers, ``explore-dial=gamma:0``, needs the explorers."""
    views = unquote(fragment).split("&")
    return {view.partition("=")[0] if view.startswith("explore-") else unquote(fragment) for view in views}


def dead(file: Path, page: Page, pages: dict[Path, Page]) -> list[str]:
    """Return the links of a page that lead nowhere."""
    problems = []
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or link.startswith("//"):
            continue
        target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
        if not target.is_file():
            problems.append(f"{link}: no such file")
        elif parts.fragment and target in pages and not places(parts.fragment) <= pages[target].anchors:
            problems.append(f"{link}: no such place on that page")
    return problems


@pytest.mark.parametrize("name", built_pages())
def test_links_anchors_and_pictures_lead_somewhere(name, html, pages):
    assert dead(html / name, pages[html / name], pages) == []


@pytest.mark.parametrize("name", built_pages())
def test_no_anchor_is_there_twice(name, html, pages):
    assert pages[html / name].doubled == []


@pytest.mark.parametrize("name", built_pages())
def test_pictures_say_what_the_eye_should_see(name, html, pages):
    for picture in pages[html / name].pictures:
        alt = (picture.get("alt") or "").strip()
        assert 20 <= len(alt) <= 300, f"{picture.get('src', '')[:80]}: alt text of {len(alt)} characters"
        assert "figure of" not in alt.lower() and not alt.lower().startswith(("image of", "plot of", "picture of")), alt


@pytest.mark.parametrize("name", built_pages())
def test_pages_say_what_they_are_when_they_are_shared(name, html, pages):
    meta = pages[html / name].meta
    if name in ("search.html", "404.html"):
        return
    assert meta["og:title"] and meta["og:site_name"]
    assert 20 <= len(meta["og:description"]) <= 300 and meta["description"] == meta["og:description"]


def test_the_checker_finds_what_is_broken(tmp_path):
    (tmp_path / "there.html").write_text('<p id="here"></p>')
    (tmp_path / "page.html").write_text(
        '<a href="there.html#here">good</a><a href="there.html#gone">no place</a><img src="gone.png"><a '
        'href="https://example.org/x">out</a>'
        '<div id="explore-dial"></div><a href="#explore-dial=gamma:0">view</a><a href="#explore-gone=gamma:0">no view</a>'
        '<p id="twice"></p><p id="twice"></p>'
    )
    pages = {path: Page(path.read_text()) for path in tmp_path.glob("*.html")}
    assert dead(tmp_path / "page.html", pages[tmp_path / "page.html"], pages) == [
        "there.html#gone: no such place on that page",
        "gone.png: no such file",
        "#explore-gone=gamma:0: no such place on that page",
    ]
    assert pages[tmp_path / "page.html"].doubled == ["twice"]


def test_every_claim_has_its_place_in_the_ledger(html, pages):
    from scalebook.register import load_all

    claims = {claim.id for register in load_all().values() for _, claim in register.claims()}
    assert claims <= pages[html / "pages" / "ledger.html"].anchors


def test_every_judged_claim_has_its_place_in_its_chapter(html, pages):
    ledger = json.loads((html / "downloads" / "ledger.json").read_text(encoding="utf-8"))
    judged = [row for row in ledger if row["build"] and (html / "chapters" / f"{row['chapter']}.html").is_file()]
    for row in judged:
        assert row["claim"] in pages[html / "chapters" / f"{row['chapter']}.html"].anchors


@pytest.mark.parametrize("slug", [path.stem for path in sorted((HTML / "chapters").glob("*.html"))] or ["no site"])
def test_numbers_in_the_prose_are_printed_as_they_were_glued(slug, html):
    """Thousands with their comma, gains with their sign, zeros at the end."""
    from scalebook.paths import root, run_dir

    glued = json.loads((run_dir("quick", 1000, slug) / "results.json").read_text(encoding="utf-8"))["glue"]
    cells = json.loads((root() / "chapters" / f"{slug}.ipynb").read_text(encoding="utf-8"))["cells"]
    prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    asked = re.findall(r"\{glue:text\}`([^`]+)`", re.sub(r"<!--.*?-->", "", prose, flags=re.DOTALL))
    page = (html / "chapters" / f"{slug}.html").read_text(encoding="utf-8")
    printed = [unescape(text) for text in re.findall(r'<span class="pasted-text">(.*?)</span>', page)]
    assert asked and sorted(printed) == sorted(glued[name] for name in asked)


def test_the_model_suite_can_be_taken_away(html, pages):
    from scalebook.downloads import SUITE
    from scalebook.paths import root

    page = (html / "pages" / "downloads.html").read_text(encoding="utf-8")
    for name, (file, _) in SUITE.items():
        assert f'href="../downloads/{name}"' in page
        assert (html / "downloads" / name).read_bytes() == (root() / "data" / "suite" / file).read_bytes()

"""The site of a small book: what becomes of a run, a failure, an absence; warnings; what is rebuilt and what is not."""

import csv
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import nbformat
import pytest
from dummy_book import REPOSITORY, make_book

from scalebook import generated, site
from scalebook.cards import style
from scalebook.chapter_pages import references
from scalebook.errors import ScalebookError
from scalebook.stage import Figures, Stage
from scalebook.standing import rows

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000020000000108020000007b40e8dd0000000f4944415478016378f7ee1d030300088a02ff22d21fbd0000000049454e44ae426082"
)
PAGES = (
    "reading",
    "rerunning",
    "teaching",
    "ledger",
    "atlas",
    "failures",
    "notation",
    "glossary",
    "adding",
    "downloads",
)
COST = {
    "started": "2026-01-02T10:00:00+00:00", "finished": "2026-01-02T10:00:09+00:00", "wall_seconds": 9.0,
    "cpu_seconds": 8.4, "peak_rss_mb": 512.0, "machine": "a machine", "python": "3.11.7", "torch": "2.0",
    "scalebook": "0.1.0", "claim_seconds": {},
}  # fmt: skip


def results(slug: str, profile: str = "quick") -> dict:
    """Results of a run in which the slope misses its bounds."""
    measured = {
        "slope": {"value": 1.5, "low": 1.4, "high": 1.6, "n": 8, "reason": None},
        "seconds": {"value": 1.0, "low": 1.0, "high": 1.0, "n": 1, "reason": None},
    }
    claim = {
        "verdict": "not reproduced", "reason": "`slope` lies outside.", "paper": f"{slug}2020", "fidelity": "exact",
        "parts": [{"measure": "slope", "low": 0.0, "high": 1.0, "state": "outside"}], "measurements": measured,
        "control": {"measure": "slope", "state": "not run", "reason": "none"}, "spans": {"slope": [1.0, 1000.0]},
    }  # fmt: skip
    figures = [{"name": "law", "alt": "A straight line that falls by one decade.", "caption": "The law.", "key": True}]
    return {
        "chapter": slug, "profile": profile, "seed": 1000, "parameters": {"width": 8}, "complete": True,
        "claims": {f"{slug}.slope": claim}, "glue": {}, "figures": figures,
    }  # fmt: skip


def executed(slug: str) -> str:
    """An executed notebook as the runner leaves it."""
    figure = (
        '<figure class="sb-figure" id="fig-law"><div class="sb-scroll">'
        '<img class="only-light" data-file="law.light.png" alt="A straight line that falls by one decade." '
        'src="data:image/png;base64,AAAA">'
        '<img class="only-dark" data-file="law.dark.png" alt="A straight line that falls by one decade." '
        'src="data:image/png;base64,AAAA">'
        '</div><figcaption>The law. <a data-file="law.csv" download="law.csv" href="data:text/csv;base64,AAAA">'
        "Data</a></figcaption></figure>"
    )
    place = f'<div class="sb-published" data-claim="{slug}.slope"></div>'
    strip = f'<section class="sb-card" id="{slug}.slope">{place}</section>'
    script = '<script data-sb-asset="guess.js">let inline = 1;</script>'
    outputs = [style(), figure, strip + script]
    cells = [nbformat.v4.new_markdown_cell("# The chapter\n\nIts **answer**, $1/m$, and [the law](#fig-law).")]
    reason = f"<!-- why {slug}.slope: It is `steep`\n& short. -->\nThe slope is steep."
    cells += [nbformat.v4.new_markdown_cell(reason)]
    cells += [nbformat.v4.new_code_cell("width = 999", metadata={"tags": ["injected-parameters"]})]
    for html in outputs:
        output = nbformat.v4.new_output("display_data", data={"text/html": html, "text/plain": "plain"})
        cells.append(nbformat.v4.new_code_cell("pass", outputs=[output], execution_count=1))
    for number, cell in enumerate(cells):
        cell["id"] = f"c{number}"
    language = {"kernelspec": {"name": "python3", "display_name": "Python"}, "language_info": {"name": "python"}}
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata=language))


def place_run(folder: Path, slug: str) -> None:
    """Put a finished run into a run folder."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for mode in ("light", "dark"):
        (folder / "figures" / f"law.{mode}.png").write_bytes(PNG)
        (folder / "figures" / f"law.{mode}.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (folder / "figures" / "law.csv").write_text("x,y\n1,2\n")
    (folder / "results.json").write_text(json.dumps(results(slug)))
    (folder / "cost.json").write_text(json.dumps(COST))
    (folder / "executed.ipynb").write_text(executed(slug))


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A book of four chapters, one run and published, one failed, one not run, one planned; and its built site."""
    book = make_book(tmp_path_factory.mktemp("book") / "repository", ("ran", "failed", "unrun"), ("planned",))
    shutil.copy(REPOSITORY / "_config.yml", book.folder)
    shutil.copy(REPOSITORY / "index.md", book.folder)
    shutil.copytree(REPOSITORY / "pages", book.folder / "pages")
    prose = [f"  - file: pages/{name}\n" for name in PAGES]
    chapters = [f"  - file: chapters/{slug}\n" for slug in ("ran", "failed", "unrun", "planned")]
    parts = f"- caption: Pages\n  chapters:\n{''.join(prose)}- caption: One part\n  chapters:\n{''.join(chapters)}"
    parts += "- caption: Nothing yet\n  chapters:\n  - file: chapters/later\n"
    (book.folder / "_toc.yml").write_text(f"format: jb-book\nroot: index\nparts:\n{parts}")
    place_run(book.run_folder("ran"), "ran")
    book.run_folder("failed").mkdir(parents=True)
    (book.run_folder("failed") / "failure.json").write_text(
        json.dumps({"cell": 3, "error": "ZeroDivisionError: oops", "log": "log"})
    )
    found = results("ran", "full")
    published = {"accepted": "2026-01-03", "machine": "big", "python": "3.11", "torch": "2", "cost": {}, **found}
    (book.folder / "data" / "ledger" / "ran.json").write_text(json.dumps(published))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SCALEBOOK_ROOT", "SCALEBOOK_BUILD"):
            patch.setenv(name, book.environment[name])
        site.build_site()
        yield book


@pytest.fixture(scope="module")
def html(book):
    return book.folder / "_build" / "html"


def text(html: Path, name: str) -> str:
    return (html / name).read_text(encoding="utf-8")


def test_figures_become_files_of_known_size(html):
    page = text(html, "chapters/ran.html")
    assert "data:image/png" not in page and "data:text/csv" not in page
    # the drawing is smaller than the pixels here, so it is what is shown
    assert re.search(
        r'<img[^>]*src="\.\./_static/figures/ran/law\.light\.svg"[^>]*width="2" height="1" loading="lazy"', page
    )
    assert 'href="../_static/figures/ran/law.csv"' in page
    assert '<a href="#fig-law">the law</a>' in page and 'id="fig-law"' in page
    for name in ("law.light.svg", "law.dark.svg", "law.csv"):
        assert (html / "_static" / "figures" / "ran" / name).is_file()


def test_shared_styles_and_scripts_are_loaded_once(html):
    page = text(html, "chapters/ran.html")
    assert "data-sb-asset" not in page and "let inline" not in page
    assert page.count("cards.css") == 1 and page.count("guess.js") == 1 and page.count("book.js") == 1
    assert "guess.js" not in text(html, "pages/ledger.html") and "ledger.js" in text(html, "pages/ledger.html")


def test_the_head_of_a_chapter_says_what_it_cost_and_how_to_repeat_it(html):
    page = text(html, "chapters/ran.html")
    assert "width = 8" in page and "999" not in page  # the settings are told, the injected cell is not shown
    assert "<b>8</b> core-seconds" in page and "<b>0.5</b> GB" in page and "a machine" in page
    assert "scalebook run ran" in page and "@incollection{howthingsscale_ran" in page
    assert page.index("<h1>") < page.index("sb-opening") < page.index("answer")
    assert "colab" not in page and "issues/new" not in page  # the book has no address yet


def test_published_and_built_stand_side_by_side(html):
    page = text(html, "chapters/ran.html")
    assert "<b>Published:</b>" in page and "full profile, seed 1000, 2026-01-03, big" in page
    row = re.search(r'<tr id="ran\.slope".*?</tr>', text(html, "pages/ledger.html"), re.DOTALL)[0]
    assert row.count("<b>1.5</b> [1.4, 1.6]") == 2 and "not reproduced" in row and "2026-01-03" in row


def test_what_failed_and_what_was_not_run_says_so(html):
    assert "ZeroDivisionError: oops" in text(html, "chapters/failed.html") and "code cell 3" in text(
        html, "chapters/failed.html"
    )
    assert "has not run it" in text(html, "chapters/unrun.html")
    assert not (html / "chapters" / "planned.html").exists()
    cover = text(html, "index.html")
    assert "its last run failed" in cover and "planned, 1 rule registered" in cover


def test_the_page_of_failures_names_the_condition(html):
    page = text(html, "pages/failures.html")
    assert "1 judged so far: 1 did not reproduce" in page and "accepted 0 to 1" in page
    assert 'href="../chapters/ran.html#ran.slope"' in page


def test_the_page_of_failures_gives_the_reason_of_the_chapter_or_the_way_to_it(html, book):
    page = text(html, "pages/failures.html")
    assert "<b>Why.</b> It is <code>steep</code> &amp; short. " in page
    assert 'href="../chapters/ran.html#why-ran.slope"' in page
    assert 'id="why-ran.slope"' in text(html, "chapters/ran.html")
    (row,) = [row for row in rows("quick", 1000) if row.claim.id == "ran.slope"]
    silent = generated.failures([row], {})
    assert '<b>Why.</b> See <a href="../chapters/ran.html#ran.slope">' in silent and "why-" not in silent


def test_a_reason_for_somebody_elses_claim_is_refused(book):
    path = book.run_folder("ran") / "executed.ipynb"
    before = path.read_text()
    try:
        path.write_text(before.replace("why ran.slope", "why ran.slop"))
        with pytest.raises(ScalebookError, match=r"why 'ran\.slop' failed; its claims: ran\.slope"):
            site.build_site()
    finally:
        path.write_text(before)


def test_code_and_formulas_are_light_and_keep_together(html):
    page = text(html, "chapters/ran.html")
    assert '<span class="n">' not in page and '<span class="k">pass</span>' in page
    assert re.search(r'<span class="sb-keep"><span class="math[^>]*>\\\(1/m\\\)</span>,</span>', page)
    theme = text(html, "_static/styles/pydata-sphinx-theme.css")
    assert "@font-face" not in theme and ".fa-heart" not in theme
    # no rule has lost its beginning
    assert "}html[data-mode=auto] .theme-switch-button .theme-switch[data-mode=auto]" in theme
    assert not (html / "_static" / "sphinx-design.min.css").exists()


def test_the_font_of_formulas_is_whole_where_its_rare_letters_are_used(book, html):
    page, font = book.folder / "pages" / "reading.md", "_static/mathjax/output/svg/fonts/tex.js"
    before, small = page.read_text(), (html / font).stat().st_size
    try:
        page.write_text(before + "\n$\\mathfrak{g}$\n")
        site.build_site()
        assert (html / font).stat().st_size > small + 250_000
    finally:
        page.write_text(before)
        site.build_site()

def test_downloads_hold_every_claim(html):
    rows = json.loads(text(html, "downloads/ledger.json"))
    assert [row["claim"] for row in rows] == ["ran.slope", "failed.slope", "unrun.slope", "planned.slope"]
    assert rows[0]["published"]["date"] == "2026-01-03" and rows[3]["verdict"] == "planned" and rows[3]["build"] is None
    lines = list(csv.DictReader(text(html, "downloads/ledger.csv").splitlines()))
    assert len(lines) == 8 and lines[0]["published"] == "1.5" and lines[0]["build_verdict"] == "not reproduced"
    assert text(html, "downloads/references.bib").count("@misc{") == 4
    clean = nbformat.reads(text(html, "downloads/notebooks/ran.ipynb"), as_version=4)
    assert all(not cell.outputs for cell in clean.cells if cell.cell_type == "code")


def test_empty_parts_and_planned_chapters_are_not_in_the_contents(html):
    contents = re.search(r'<nav class="bd-links sb-contents".*?</nav>', text(html, "index.html"), re.DOTALL)[0]
    assert "Nothing yet" not in contents and "planned" not in contents and "chapters/ran.html" in contents


def test_nothing_changed_means_nothing_done(book, html, monkeypatch):
    monkeypatch.setattr(site, "_sphinx", lambda *_: pytest.fail("Sphinx was started although nothing changed"))
    assert site.build_site() == html / "index.html"


def test_a_new_figure_replaces_the_old_one_though_the_text_is_the_same(book, html):
    drawing = book.run_folder("ran") / "figures" / "law.light.svg"
    before, page = drawing.read_text(), (html / "chapters" / "ran.html").stat().st_mtime_ns
    try:
        drawing.write_text('<svg xmlns="http://www.w3.org/2000/svg"><g/></svg>')
        site.build_site()
        assert "<g/>" in text(html, "_static/figures/ran/law.light.svg")
        assert (html / "chapters" / "ran.html").stat().st_mtime_ns == page  # the page itself was not written again
    finally:
        drawing.write_text(before)


def test_the_bundle_holds_the_site(book, html):
    with zipfile.ZipFile(site.bundle()) as archive:
        names = set(archive.namelist())
    assert {
        "how-things-scale/index.html",
        "how-things-scale/downloads/ledger.json",
        "how-things-scale/chapters/ran.html",
    } <= names
    assert not any("fontawesome" in name or name.endswith(".map") for name in names)


def test_an_address_brings_buttons_and_a_warning_stops_the_site(book, html):
    config, page = book.folder / "_config.yml", book.folder / "pages" / "reading.md"
    settings, prose = config.read_text(), page.read_text()
    assert '  url: ""' in settings and '  baseurl: ""' in settings
    try:
        addressed = settings.replace('  url: ""', "  url: https://github.com/someone/scale", 1)
        config.write_text(addressed.replace('  baseurl: ""', "  baseurl: https://scale.example/book/", 1))
        page.write_text(prose + "\n[a way to nowhere](no-such-page.md)\n")
        for _ in range(2):  # also when nothing changed since the last try
            with pytest.raises(ScalebookError, match=r"pages/reading\.md.*no-such-page"):
                site.build_site()
        page.write_text(prose)
        site.build_site()
        shown = text(html, "chapters/ran.html")
        assert "colab.research.google.com/github/someone/scale/blob/main/chapters/ran.ipynb" in shown
        assert "mybinder.org/v2/gh/someone/scale/main" in shown
        assert "issues/new?template=verdict.yml&amp;claim=ran.slope" in shown
        picture = "_static/figures/ran/law.light.png"
        for name in ("index.html", "chapters/ran.html"):  # a link to them shows the figure to remember
            assert f'property="og:image" content="https://scale.example/book/{picture}"' in text(html, name)
            assert f'property="og:url" content="https://scale.example/book/{name}"' in text(html, name)
        assert (html / picture).is_file()
    finally:
        config.write_text(settings)
        page.write_text(prose)


def test_a_written_chapter_must_be_in_the_contents(book):
    contents = book.folder / "_toc.yml"
    listed = contents.read_text()
    try:
        contents.write_text(listed.replace("  - file: chapters/unrun\n", ""))
        with pytest.raises(ScalebookError, match="does not list chapters/unrun"):
            site.build_site()
    finally:
        contents.write_text(listed)


def test_the_stage_writes_what_differs_and_sweeps_what_is_gone(tmp_path):
    first = Stage(tmp_path)
    first.write("a/one.md", "same")
    first.write("two.md", "old")
    before = first.digest()
    os.utime(tmp_path / "a" / "one.md", (1, 1))
    second = Stage(tmp_path)
    second.write("a/one.md", "same")
    second.sweep()
    assert (tmp_path / "a" / "one.md").stat().st_mtime == 1
    assert not (tmp_path / "two.md").exists()
    assert second.digest() != before


def test_the_lighter_form_of_a_picture_is_shown(tmp_path):
    (tmp_path / "a.light.png").write_bytes(PNG)
    (tmp_path / "a.light.svg").write_text("<svg/>" * 100)
    (tmp_path / "b.light.png").write_bytes(PNG)
    figures = Figures(tmp_path)
    assert figures.lighter("a.light.png") == "a.light.png" and figures.drawing("a.light.png") == "a.light.svg"
    assert figures.lighter("b.light.png") == "b.light.png" and figures.drawing("b.light.png") is None
    assert figures.pixels("b.light.png") == (2, 1)


def test_a_work_that_two_chapters_cite_stands_once_and_in_the_same_words():
    one = "@article{a2020,\n  title = {Same},\n}\n@misc{b2021,\n  title = {B}\n}\n"
    merged = references({"one.bib": one, "two.bib": "@article{a2020, title = {Same}, }\n@misc{c2022, title = {C}}\n"})
    assert [merged.count(key) for key in ("a2020", "b2021", "c2022")] == [1, 1, 1]
    with pytest.raises(ScalebookError, match=r"one.bib and chapters/two.bib describe 'a2020'"):
        references({"one.bib": one, "two.bib": "@article{a2020, title = {Other}}\n"})

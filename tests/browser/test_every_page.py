"""Every page of the site, seen from the file system at two widths on two grounds."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import built_pages

pytestmark = [pytest.mark.browser, pytest.mark.site]

PAGES = built_pages()
MEGABYTE = 2**20
WIDTHS = (1280, 390)
SLOW = 2000  # ms until the largest part of a page is painted
# axe is slow on what is many: of a long table, of code, of formulas, of cards and boxes of one kind only the beginning
# is looked at for barriers, since one template makes all rows and all cards of a kind, one style sheet colours all code,
# one program sets all formulas (the frames of the others stay: a wide one must be within reach of the keyboard)
THIN_OUT = """() => {
    for (const body of document.querySelectorAll("tbody")) [...body.rows].slice(6).forEach(row => row.remove());
    [...document.querySelectorAll("div.highlight")].slice(4).forEach(code => code.remove());
    for (const formula of [...document.querySelectorAll("mjx-container")].slice(12)) {
        formula.querySelector("mjx-assistive-mml")?.remove();
        formula.querySelector("svg")?.replaceChildren();
    }
    const seen = {};
    for (const box of document.querySelectorAll(".sb-card, .admonition")) {
        seen[box.className] = (seen[box.className] ?? 0) + 1;
        if (seen[box.className] > 3) box.remove();
    }
}"""
# pictures load when the reader comes near; all that this ground shows belong to the page's weight (those of the other
# ground are never loaded)
ALL_PICTURES = """() => Promise.all([...document.images].filter(picture => !picture.closest(".only-dark"))
    .map(picture => { picture.loading = "eager"; return picture.decode().catch(() => {}); }))"""
# what depends on the ground alone; everything else is looked at once for each width
GROUND_RULES = ["color-contrast", "link-in-text-block"]
LARGEST_PAINT = """() => new Promise(done => {
    let last = 0;
    new PerformanceObserver(list => { last = list.getEntries().at(-1).startTime; })
        .observe({ type: "largest-contentful-paint", buffered: true });
    const wait = left => setTimeout(() => (last || !left ? done(last) : wait(left - 1)), 50);
    wait(100);
})"""


@dataclass
class Visit:
    """What was seen on one page."""

    said: list[str] = field(default_factory=list)
    fetched: dict[str, int] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)
    barriers: list[str] = field(default_factory=list)
    too_wide: list[str] = field(default_factory=list)
    painted: float = 0.0


@pytest.fixture(scope="module")
def visits(browser, html) -> dict[str, Visit]:
    return {}


@pytest.fixture
def visit(browser, html, visits, request) -> Visit:
    """The page of this test; looked at once, whatever the number of tests."""
    name = request.param
    if name not in visits:
        visits[name] = look(browser, html / name)
    return visits[name]


def look(browser, file: Path) -> Visit:
    """Open a page at both widths, turn the lights off in between, and note what happens."""
    from axe_playwright_python.sync_playwright import Axe

    seen, axe = Visit(), Axe()
    context = browser.new_context(viewport={"width": WIDTHS[0], "height": 900}, color_scheme="light", offline=True)
    page = context.new_page()
    page.on("console", lambda message: seen.said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: seen.said.append(f"error: {error}"))
    page.on("requestfailed", lambda asked: seen.said.append(f"failed: {asked.url}"))
    page.on("request", lambda asked: note(seen, asked.url))
    page.goto(file.as_uri())
    page.wait_for_load_state("networkidle")
    seen.painted = page.evaluate(LARGEST_PAINT)
    for _ in range(2):  # a busy machine may be slow once
        if seen.painted > SLOW:
            seen.painted = min(seen.painted, painted_again(browser, file))
    page.evaluate(ALL_PICTURES)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            seen.too_wide.append(f"{wide} px at {width} px")
    page.evaluate(THIN_OUT)
    page.add_style_tag(content="* { transition: none !important; }")  # colours must not be looked at half faded
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(350)  # scripts answer a new width after 300 ms
        for mode in ("light", "dark"):
            page.emulate_media(color_scheme=mode)
            page.evaluate("mode => { document.documentElement.dataset.theme = mode; }", mode)
            only = {"runOnly": {"type": "rule", "values": GROUND_RULES}} if mode == "dark" else {}
            options = {"preload": False, "resultTypes": ["violations"], **only}
            for found in axe.run(page, options=options).response["violations"]:
                if found["impact"] in ("serious", "critical"):
                    places = "; ".join(node["html"][:160] for node in found["nodes"][:3])
                    seen.barriers.append(f"{width} px, {mode}: {found['id']}: {places}")
    context.close()
    return seen


def painted_again(browser, file: Path) -> float:
    """Return when the largest part of a page is painted, in ms, in a fresh context."""
    context = browser.new_context(viewport={"width": WIDTHS[0], "height": 900}, offline=True)
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_load_state("networkidle")
    painted = page.evaluate(LARGEST_PAINT)
    context.close()
    return painted


def note(seen: Visit, address: str) -> None:
    """Add up what a page loads; whatever is not on disk or inside the page is elsewhere."""
    if address.startswith("data:"):
        return
    if not address.startswith("file://"):
        seen.elsewhere.append(address)
        return
    path = Path(address.removeprefix("file://").split("?")[0].split("#")[0])
    seen.fetched[str(path)] = path.stat().st_size if path.is_file() else 0


every_page = pytest.mark.parametrize("visit", PAGES, indirect=True)


@every_page
def test_it_is_silent(visit):
    assert visit.said == []


@every_page
def test_it_asks_nobody_for_anything(visit):
    assert visit.elsewhere == []


@every_page
def test_it_has_no_barriers(visit):
    assert visit.barriers == []


@every_page
def test_it_fits_the_screen(visit):
    assert visit.too_wide == []


@every_page
def test_it_is_light(visit):
    total = sum(visit.fetched.values())
    heaviest = sorted(visit.fetched.items(), key=lambda item: -item[1])[:5]
    assert total <= 3 * MEGABYTE, f"{total / MEGABYTE:.2f} MB, most of it {heaviest}"


@every_page
def test_it_loads_no_icon_font(visit):
    assert [name for name in visit.fetched if name.endswith((".woff", ".woff2", ".ttf"))] == []


@every_page
def test_its_main_part_is_painted_within_two_seconds(visit):
    assert 0 < visit.painted < SLOW


def test_the_look_finds_what_is_wrong(browser, tmp_path):
    (tmp_path / "heavy.png").write_bytes(b"\0" * 4 * MEGABYTE)
    (tmp_path / "far-down.png").write_bytes(b"\0" * MEGABYTE)
    (tmp_path / "page.html").write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Faulty</title></head><body><main><h1>'
        "Faulty</h1>"
        '<p style="color: #ccc; background: #fff">too pale</p><img src="heavy.png" alt="heavy"><img '
        'src="https://example.org/x.png" alt="far">'
        '<div style="height: 20000px"></div><img loading="lazy" src="far-down.png" alt="far down">'
        '<div style="width: 2000px">too wide</div></main><script>console.log("hello")</script></body></html>'
    )
    seen = look(browser, tmp_path / "page.html")
    assert "log: hello" in seen.said and any(line.startswith("failed: https://example.org") for line in seen.said)
    assert seen.elsewhere == ["https://example.org/x.png"]
    assert any("color-contrast" in line for line in seen.barriers)
    assert seen.too_wide == ["2008 px at 1280 px", "2008 px at 390 px"]
    assert sum(seen.fetched.values()) > 5 * MEGABYTE

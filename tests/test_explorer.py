"""Explorers: the picture without script, the same picture with it, and a figure that follows keys and addresses."""

import itertools
import json
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from browsing import opened, page_around, serious

from scalebook.errors import UserError
from scalebook.explorer import ASSETS, Axis, Control, Line, Style, explorer
from scalebook.explorer_data import rounded

ALT = "Loss against width on log axes: points fall along a line of slope −1.0."
X, Y = Axis("m", "width m (features)"), Axis("loss", "loss (sum of squares)")
GAMMA = Control("gamma", "weight decay γ", start=1, names={-1: "−1 (growth)"})


def curves() -> pd.DataFrame:
    rows = []
    for gamma, alpha in itertools.product([-1, 0, 1], [0.5, 1.25]):
        for m in (8, 16, 32, 64):
            loss = 2 * m ** -(1.0 + 0.3 * gamma * alpha)
            rows.append((gamma, alpha, "measured", m, loss, 0.9 * loss, 1.1 * loss))
            rows.append((gamma, alpha, "1/m & no <more>", m, 2 / m, np.nan, np.nan))
    return pd.DataFrame(rows, columns=["gamma", "alpha", "series", "m", "loss", "low", "high"])


def decay(**changes):
    arguments = {
        "name": "decay", "alt": ALT, "x": X, "y": Y, "series": "series", "interval": ("low", "high"),
        "styles": {"1/m & no <more>": Style(points=False, dashed=True)}, "lines": [Line(-1, (10, 0.4), "slope −1")],
    }  # fmt: skip
    grid = changes.pop("grid", curves())
    controls = changes.pop("controls", [GAMMA, Control("alpha", "data exponent α")])
    return explorer(grid, controls, "What the dial does.", **{**arguments, **changes})


def plane():
    rows = [
        (field, kept, data, 1 + (kept - 0.4) ** 2 + k / data)
        for (field, k), kept, data in itertools.product(
            [("law", 1), ("code", 3)], np.linspace(0.1, 1, 5), [1, 10, 100, 1000]
        )
    ]
    grid = pd.DataFrame(rows, columns=["field", "kept", "data", "loss"])
    return explorer(
        grid, [Control("field", "field")], "Which share to keep.", name="kept",
        alt="Loss over kept share and data: smallest at a share of 0.4.", x=Axis("data", "data (tokens)"),
        y=Axis("kept", "kept share (of all)", "linear"), z=Axis("loss", "loss (nats)"),
    )  # fmt: skip


def payload(component) -> dict:
    text = re.search(r'<script type="application/json">(.*?)</script>', component.html, re.DOTALL).group(1)
    return json.loads(text)


def test_the_script_is_short_loads_nothing_and_stores_nothing():
    script = (ASSETS / "explorer.js").read_text(encoding="utf-8")
    assert len(script.splitlines()) <= 200
    assert not re.search(r"\bfetch\b|XMLHttpRequest|import\(|https?://|document\.cookie|localStorage", script)
    assert "</script" not in script and "</style" not in (ASSETS / "explorer.css").read_text(encoding="utf-8")


def test_shades_are_cividis():
    css = (ASSETS / "explorer.css").read_text(encoding="utf-8")
    found = [re.search(rf"\.sb-z{i} {{ fill: (#\w+)", css).group(1) for i in range(9)]
    assert found == [mpl.colors.to_hex(mpl.colormaps["cividis"](i / 8)) for i in range(9)]


def test_values_lie_in_the_page_with_four_digits_and_unmoved_series_once():
    data = payload(decay())
    measured, reference = data["series"]
    assert measured["step"] == [8, 4] and len(measured["y"]) == 3 * 2 * 4
    assert reference["step"] == [0, 0] and reference["y"] == [0.25, 0.125, 0.0625, 0.03125]
    assert measured["y"][:4] == [rounded(2 * m**-0.85) for m in (8, 16, 32, 64)]
    assert reference["low"] == [None] * 4
    assert [c["labels"] for c in data["controls"]] == [["−1 (growth)", "0", "1"], ["0.5", "1.25"]]
    assert [c["start"] for c in data["controls"]] == [2, 0]
    assert [rounded(v) for v in (0.123456, 3.0, float("nan"), 123456)] == [0.1235, 3, None, 123500]


def test_the_still_picture_holds_the_starting_view():
    html = decay().html
    assert "Shown: <span" in html and "weight decay γ = 1, data exponent α = 0.5" in html
    assert html.count('class="sb-point') == 4 + 1  # and one in the key
    assert (
        'class="sb-bars sb-s0"' in html
        and 'class="sb-curve sb-s1 sb-dashed"' in html
        and 'class="sb-reference"' in html
    )
    assert f'role="img" aria-label="{ALT}"' in html
    assert "1/m &amp; no &lt;more&gt;" in html
    assert '<div class="sb-controls" hidden>' in html
    assert "measured: 0.183 at m 8, 0.0167 at 64; 1/m" in html


def test_say_writes_the_sentence_of_every_setting():
    seen = []

    def say(at, rows):
        seen.append((at["gamma"], at["alpha"], len(rows)))
        return f"Decay {at['gamma']}."

    data = payload(decay(say=say))
    assert seen == [(g, a, 8) for g in (-1, 0, 1) for a in (0.5, 1.25)]
    assert data["say"] == ["Decay -1."] * 2 + ["Decay 0."] * 2 + ["Decay 1."] * 2


def test_many_points_make_a_line_with_a_band_and_gaps_stay_gaps():
    m = np.geomspace(1, 100, 60)
    grid = pd.DataFrame({"gamma": np.repeat([0, 1], 60), "m": np.tile(m, 2), "loss": np.concatenate([1 / m, 2 / m])})
    grid["low"], grid["high"] = 0.8 * grid["loss"], 1.2 * grid["loss"]
    grid.loc[5, ["loss", "low", "high"]] = np.nan
    html = explorer(grid, [Control("gamma", "γ")], "c", name="many", alt=ALT, x=X, y=Y, interval=("low", "high")).html
    assert "sb-area" in html and "sb-point" not in html and "sb-bars" not in html
    assert re.search(r'sb-curve sb-s0" d="(M[^"]*)"', html).group(1).count("M") == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "Decay"}, "small letters and digits"),
        ({"alt": "short"}, "alt text of 5 characters"),
        ({"controls": []}, "one to four"),
        ({"controls": [Control("beta", "β")]}, "needs the columns beta"),
        ({"controls": [Control("gamma", "γ", start=7)]}, "starts at 7; its values are"),
        ({"styles": {"ours": Style()}}, "the series are measured"),
        ({"lines": [Line(-1, (10, 1e6), "far")]}, "does not cross"),
        ({"grid": curves().iloc[8:]}, "no row at gamma = -1, alpha = 0.5"),
        ({"grid": pd.concat([curves(), curves().iloc[:1]])}, "more than one row at"),
        ({"grid": curves().assign(loss=-1)}, "at or below 0"),
        ({"grid": curves().iloc[:0]}, "no rows"),
        ({"say": lambda at, rows: "x" * 60_000}, "weighs 4.. kB; at most 300 kB"),
    ],
)
def test_what_does_not_fit_is_refused(changes, says):
    with pytest.raises(UserError, match=says):
        decay(**changes)


def test_axes_need_units_and_known_scales():
    with pytest.raises(UserError, match="no unit"):
        Axis("m", "width")
    with pytest.raises(UserError, match="log or linear"):
        Axis("m", "width (features)", "loglog")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("explorers")
    # both carry the script, as in a notebook: the second copy must do no harm
    link = '<p><a style="color: inherit" href="#explore-decay=gamma:-1,alpha:0.5">growth</a></p>'
    body = decay()._repr_html_() + link + plane()._repr_html_()
    return {mode: page_around(folder, body, mode) for mode in ("light", "dark")}


def numbers(html: str) -> list[float]:
    return [float(text) for text in re.findall(r"-?\d+(?:\.\d+)?", html)]


def view(page) -> tuple[str, str]:
    return page.inner_text("#explore-decay .sb-at-text"), page.get_attribute("#explore-decay-gamma", "aria-valuetext")


@pytest.mark.browser
def test_script_and_still_picture_draw_the_same(browser, files):
    with opened(browser, files["light"], script=False) as page:
        still = [page.inner_html(f"#explore-{name} .sb-marks") for name in ("decay", "kept")]
        assert page.is_hidden("#explore-decay .sb-controls") and page.is_hidden("#explore-decay .sb-buttons")
        assert page.is_visible("#explore-decay .sb-at") and page.is_visible("#explore-decay svg")
    with opened(browser, files["light"]) as page:
        live = [page.inner_html(f"#explore-{name} .sb-marks") for name in ("decay", "kept")]
        assert page.is_visible("#explore-decay .sb-controls") and page.is_hidden("#explore-decay .sb-at")
    for one, other in zip(still, live, strict=True):
        assert re.sub(r"[-\d.]+", "", one) == re.sub(r"[-\d.]+", "", other)
        assert numbers(one) == pytest.approx(numbers(other), abs=0.11)


@pytest.mark.browser
def test_keys_move_the_figure_and_the_address_follows(browser, files):
    with opened(browser, files["light"], hash="#a.plain-anchor") as page:
        before = page.inner_html("#explore-decay .sb-marks")
        page.wait_for_timeout(250)
        assert page.url.endswith("#a.plain-anchor")
        page.focus("#explore-decay-gamma")
        page.keyboard.press("ArrowLeft")
        assert view(page) == ("weight decay γ = 0, data exponent α = 0.5", "0")
        assert "measured: 0.25 at m 8" in page.inner_text("#explore-decay .sb-readout")
        page.keyboard.press("Home")
        page.keyboard.press("Tab")
        page.keyboard.press("End")
        assert view(page) == ("weight decay γ = −1 (growth), data exponent α = 1.25", "−1 (growth)")
        assert page.inner_html("#explore-decay .sb-marks") != before
        page.select_option("#explore-kept-field", label="code")
        page.wait_for_function("location.hash === '#explore-decay=gamma:-1,alpha:1.25&explore-kept=field:code'")
        page.click("#explore-decay [data-do=reset]")
        assert page.inner_html("#explore-decay .sb-marks") == before
        page.wait_for_function("location.hash === '#explore-kept=field:code'")
        page.click("#explore-kept [data-do=reset]")
        page.wait_for_function("location.hash === ''")


@pytest.mark.browser
def test_a_shared_address_opens_the_same_view(browser, files):
    with opened(browser, files["light"], hash="#explore-decay=gamma:0,alpha:1.25&explore-kept=field:code") as page:
        assert view(page) == ("weight decay γ = 0, data exponent α = 1.25", "0")
        assert page.input_value("#explore-kept-field") == "1"
        page.click("text=growth")  # a link in the text asks for a view
        page.wait_for_function("document.querySelector('#explore-decay-gamma').value === '0'")
        page.click("#explore-decay [data-do=link]")
        page.wait_for_function("document.querySelector('#explore-decay .sb-said').textContent.length > 5")
    with opened(
        browser, files["light"], hash="#explore-decay=gamma:99,alpha:1.25,x:1&explore-else=a:1&explore-kept="
    ) as page:
        assert view(page) == ("weight decay γ = 1, data exponent α = 1.25", "1")


@pytest.mark.browser
def test_all_values_can_be_taken_away(browser, files, tmp_path):
    with opened(browser, files["light"]) as page:
        tables = []
        for name in ("decay", "kept"):
            with page.expect_download() as waiting:
                page.click(f"#explore-{name} [data-do=csv]")
            waiting.value.save_as(tmp_path / f"{name}.csv")
            tables.append(pd.read_csv(tmp_path / f"{name}.csv"))
    assert list(tables[0].columns) == ["gamma", "alpha", "series", "m", "loss", "low", "high"]
    order = ["gamma", "alpha", "series", "m"]
    found, given = (t.sort_values(order).reset_index(drop=True) for t in (tables[0], curves()))
    pd.testing.assert_frame_equal(found, given, rtol=1e-3, check_dtype=False)
    assert list(tables[1].columns) == ["field", "series", "data", "kept", "loss"] and len(tables[1]) == 2 * 5 * 4
    row = tables[1].query("field == 'code' and data == 10 and kept == 1")
    assert row["loss"].item() == pytest.approx(1 + 0.36 + 0.3, rel=1e-3)


@pytest.mark.browser
@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_barrier_and_nothing_cut_off(browser, files, mode, width):
    with opened(browser, files[mode], width=width) as page:
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        smallest = """[...document.querySelectorAll('.sb-explorer > svg text')].map(text =>
            parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getBoundingClientRect().width / 560)"""
        assert min(page.evaluate(smallest)) >= 11
        inside = """[...document.querySelectorAll('.sb-explorer > svg text')].every(text => {
            const box = text.getBoundingClientRect(), frame = text.closest('.sb-explorer').getBoundingClientRect();
            return box.left >= frame.left && box.right <= frame.right; })"""
        assert page.evaluate(inside)
        touched = ".sb-explorer :is(input, select, button)"
        heights = page.evaluate(f"[...document.querySelectorAll('{touched}')].map(e => e.offsetHeight)")
        assert min(heights) >= 32  # room for a thumb


def test_the_code_on_the_page_for_authors_runs():
    page = Path(__file__).resolve().parents[1] / "pages" / "authors-explorers.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    names: dict = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), names)

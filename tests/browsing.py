"""A headless Chromium for tests that look at pages, and a plain page around a component."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scalebook.browser import FLAGS, find

CARDS = (Path(__file__).resolve().parents[1] / "lib" / "scalebook" / "assets" / "cards.css").read_text(encoding="utf-8")


@contextmanager
def chromium() -> Iterator:
    """Yield a running browser; skip the test where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = find()
    if path is None:
        pytest.skip("no Chromium here")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(path), args=list(FLAGS))
        yield browser
        browser.close()


@contextmanager
def opened(browser, file: Path, *, hash: str = "", width: int = 1280, script: bool = True) -> Iterator:
    """Yield a page opened from the file system without a network; fail on any console message."""
    context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=script, offline=True)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"file://{file}{hash}")
    yield page
    context.close()
    assert said == []


def page_around(folder: Path, body: str, mode: str = "light") -> Path:
    """Write a page that holds a component as the site does, and return its file."""
    file = folder / f"page-{mode}.html"
    file.write_text(
        f'<!doctype html><html lang="en" data-theme="{mode}"><head><meta charset="utf-8"><title>Test</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{CARDS} '
        f"body {{ font: 16px/1.6 sans-serif; "
        f"margin: 1rem auto; max-width: 46rem; padding: 0 1rem; color: var(--sb-ink); "
        f"background: var(--sb-ground); }}</style>"
        f'</head><body><main><h1>Test</h1><p id="a.plain-anchor">Text.</p>{body}'
        f'<p style="height: 120rem">More text.</p></main></body></html>',
        encoding="utf-8",
    )
    return file


def serious(page) -> list[str]:
    """Return axe-core's serious and critical findings on a page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page, options={"preload": False}).response["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in found if v["impact"] in ("serious", "critical")]

"""Shared by all tests: the built site, a browser, and a loud word when there is none."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from browsing import chromium
from scalebook.browser import find
from scalebook.paths import build_dir

# An example may take long where other processes use the machine too; no test here is about time.
settings.register_profile("book", deadline=None)
settings.load_profile("book")

HTML = build_dir() / "html"
REQUIRED = "SCALEBOOK_REQUIRE_BROWSER"
NO_BROWSER, NO_TABLE = "no Chromium here", "published table"


def built_pages() -> list[str]:
    """Return the pages of the built site by their path below its folder; one made-up name where there is no site."""
    found = [path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html") if "_static" not in path.parts]
    return sorted(found) or ["no site has been built"]


@pytest.fixture(scope="session")
def html() -> Path:
    """The folder of the built site."""
    if not (HTML / "index.html").is_file():
        pytest.fail(f"There is no site in {HTML}. `make test` builds it first; by hand: scalebook build")
    return HTML


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A running Chromium, one for the tests of a file (two at once would disturb each other)."""
    with chromium() as program:
        yield program


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip browser tests where there is no browser, or fail them where one is required."""
    if item.get_closest_marker("browser") is None or find() is not None:
        return
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"No Chromium found and {REQUIRED}=1. Install one: playwright install chromium", pytrace=False)
    pytest.skip(NO_BROWSER)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests nobody ran for want of a browser or of the published tables."""
    # from the reports and not from lists kept here: the tests may have run in other processes
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    tables, pages = (sum(word in reason for reason in reasons) for word in (NO_TABLE, NO_BROWSER))
    if tables:
        terminalreporter.section("NO PUBLISHED TABLES")
        terminalreporter.line(f"{tables} tests on published tables were skipped: SCALEBOOK_MIRROR names no folder of tables.")
    if pages:
        terminalreporter.section("NO BROWSER", red=True, bold=True)
        terminalreporter.line(f"{pages} browser tests were skipped: nobody has looked at these pages.")
        terminalreporter.line(
            "Install a Chromium (playwright install chromium) or set CHROME, and run the tests again."
        )

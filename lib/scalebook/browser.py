"""A Chromium for looking at the built pages: where it is, or how to get one.

``$CHROME`` first, then the browsers on the path and in the usual places, then what Playwright has installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from scalebook.errors import ScalebookError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
USUAL = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
)
CACHES = ("~/.cache/ms-playwright", "~/Library/Caches/ms-playwright", "~/AppData/Local/ms-playwright")
INSIDE = ("chrome-linux*/chrome", "chrome-mac*/*.app/Contents/MacOS/*", "chrome-win*/chrome.exe")

# Root has no sandbox; the rest keeps the browser from talking to anyone while pages are looked at.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find() -> Path | None:
    """Return a Chromium or Chrome, None when there is none.

    Raises ScalebookError when ``$CHROME`` is set to something that cannot be run: a wish should not be passed over.
    """
    wished = os.environ.get("CHROME")
    if wished:
        found = shutil.which(wished)
        if found is None:
            raise ScalebookError(
                f"CHROME is {wished!r}, which is no program here. Correct it, or unset it to have one looked for."
            )
        return Path(found)
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return Path(found)
    for place in USUAL:
        if os.access(place, os.X_OK):
            return Path(place)
    return _playwrights()


def ensure(say: Callable[[str], None] = print) -> Path | None:
    """Return a browser, installing one when there is none: the system's package as root on Debian, else Playwright's.

    None when nothing worked; ``say`` is told what was tried and why it failed.
    """
    found = find()
    attempts = []
    if found is None and hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = ["-qq", "-o", "Dpkg::Use-Pty=0"]
        attempts.append(
            [["apt-get", *quiet, "update"], ["apt-get", *quiet, "install", "-y", "--no-install-recommends", "chromium"]]
        )
    attempts.append([[sys.executable, "-m", "playwright", "install", "chromium"]])
    for commands in attempts:
        if found is not None:
            break
        for command in commands:
            say(f"No browser yet: {' '.join(command)}")
            done = subprocess.run(
                command, capture_output=True, text=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            )
            if done.returncode != 0:
                say(f"That failed: {(done.stderr or done.stdout).strip()[-300:]}")
                break
        found = find()
    return found


def _playwrights() -> Path | None:
    """Return the newest browser in Playwright's cache."""
    named = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    for cache in [Path(named)] if named else [Path(place).expanduser() for place in CACHES]:
        for build in sorted(cache.glob("chromium-*"), reverse=True):
            for pattern in INSIDE:
                for program in build.glob(pattern):
                    if os.access(program, os.X_OK):
                        return program
    return None


if __name__ == "__main__":
    browser = ensure(lambda text: print(text, file=sys.stderr))
    print(browser or "no browser")
    sys.exit(0 if browser else 1)

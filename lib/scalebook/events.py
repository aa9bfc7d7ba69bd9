"""News from running chapters to the command that shows them: lines of JSON appended to one file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VARIABLE = "SCALEBOOK_EVENTS"


def send(kind: str, run: str, **details: Any) -> None:
    """Append one event; without a listener (``$SCALEBOOK_EVENTS`` unset) nothing happens.

    A short append is one write, so lines of several chapters do not mix. News is never worth a chapter: when the file
    cannot be written, the event is lost.
    """
    path = os.environ.get(VARIABLE)
    if path:
        line = json.dumps({"kind": kind, "run": run, **details}) + "\n"
        try:
            handle = os.open(path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)
        except OSError:
            return


def receive(path: Path, start: int) -> tuple[list[dict[str, Any]], int]:
    """Return the whole events after byte ``start`` and where to go on."""
    with open(path, "rb") as file:
        file.seek(start)
        content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    return list(_decoded(whole)), start + len(whole)


def _decoded(content: bytes) -> Iterator[dict[str, Any]]:
    for line in content.splitlines():
        yield json.loads(line)

"""One build at a time: a lock of the operating system on ``_build/.lock``, released even by kill -9."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from scalebook.errors import ScalebookError
from scalebook.paths import build_dir

if sys.platform == "win32":
    import msvcrt

    def _try(file: IO[str]) -> bool:
        file.seek(0x40000000)  # far beyond the note, which others must be able to read while the lock is held
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try(file: IO[str]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


POLL_SECONDS = 0.3


@contextmanager
def build_lock(command: str, *, wait: bool = True, say: Callable[[str], None] = print) -> Iterator[None]:
    """Hold the build folder while the block runs.

    When another command holds it, ``say`` is told who (process, command, since when) and we wait for our turn; with
    ``wait=False`` a ScalebookError says it instead. Raises ScalebookError when the folder is not writable.
    """
    path = build_dir() / ".lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")
    except OSError as error:
        raise ScalebookError(
            f"The build folder {path.parent} is not usable: {error.strerror}. Fix its permissions."
        ) from error
    with file:
        told = ""
        while not _try(file):
            holder = _holder(path)
            if not wait:
                raise ScalebookError(
                    f"Another command is at work in {path.parent}: {holder}. Try again when it has finished."
                )
            if holder != told:
                say(f"Waiting for {holder}. Ctrl-C gives up.")
                told = holder
            time.sleep(POLL_SECONDS)
        file.seek(0)
        file.truncate()
        since = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": since}, file)
        file.flush()
        yield


def _holder(path: Path) -> str:
    """Return in words who holds the lock, as far as its note says."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return f"process {note['pid']} on {note['host']} (`{note['command']}`, since {note['since']})"
    except (OSError, ValueError, KeyError):
        return "a process that has not left its name yet"

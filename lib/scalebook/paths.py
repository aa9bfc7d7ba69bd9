"""Where things are, and the one way to write a file so that a crash never leaves half of it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from functools import lru_cache
from pathlib import Path

from scalebook.errors import ScalebookError


def root() -> Path:
    """Return the repository's folder: ``$SCALEBOOK_ROOT``, else the nearest parent that holds the book."""
    named = os.environ.get("SCALEBOOK_ROOT")
    if named:
        return Path(named).resolve()
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (folder / "_config.yml").is_file() and (folder / "lib" / "scalebook").is_dir():
                return folder
    raise ScalebookError(
        f"No book found at or above {Path.cwd()}. Run inside a clone of the repository, or set SCALEBOOK_ROOT to its folder."
    )


def build_dir() -> Path:
    """Return the folder of everything generated: ``$SCALEBOOK_BUILD``, else ``_build`` in the repository."""
    named = os.environ.get("SCALEBOOK_BUILD")
    return Path(named).resolve() if named else root() / "_build"


def run_dir(profile: str, seed: int, slug: str) -> Path:
    """Return the folder of one run of one chapter."""
    return build_dir() / "runs" / profile / str(seed) / slug


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part.

    A temporary file in the same folder is written, flushed to disk and renamed over the target.
    Raises ScalebookError with the folder and the reason when the disk is full or the folder is not writable.
    """
    path = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ScalebookError(
            f"Could not write {path}: {error.strerror or error}. Nothing was changed; free space or fix the folder's "
            "permissions and run the command again."
        ) from error


def dump_json(value: object) -> str:
    """Return JSON that is the same text for the same value (sorted keys, no NaN, newline at the end)."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file; read again only when its time or size has changed."""
    status = path.stat()
    return _sha256(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

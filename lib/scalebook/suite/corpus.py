"""The corpus: every Python file of the standard library, as one array of bytes below 128.

Another patch release of Python has other files, so the corpus is known by its SHA-256 and not by its name.
Torch is not needed here.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import sysconfig
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalebook import paths
from scalebook.errors import ScalebookError

CONTEXT = 128
VOCABULARY = 128
SMALLEST, LARGEST = 200, 200_000  # bytes of a file that is kept
NON_ASCII = 0.05  # a file with a larger share of bytes from 128 up is left out
VALIDATION = 0.04  # share of the bytes, from the front
LEFT_OUT = ("site-packages", "dist-packages", "idlelib", "lib2to3")
# Written when Python itself is built: they hold that machine's paths, so they would give each build its own corpus.
BUILD_PRODUCTS = ("_sysconfigdata_", "config-")
HELD_OUT = ("val", "val2", "ood1", "ood2")


@dataclass(frozen=True)
class Corpus:
    """Training bytes and four held-out texts.

    ``train`` and each of ``held`` are 1-D uint8 arrays with values below 128; ``hashes`` holds the SHA-256 of the
    whole corpus (``corpus``) and of the two out-of-distribution texts.
    """

    train: np.ndarray
    held: dict[str, np.ndarray]
    hashes: dict[str, str]
    python: str
    files: int


def documents(folder: Path) -> list[tuple[str, bytes]]:
    """Return (relative path, bytes) of the files that are kept, ordered by the SHA-1 of the relative path.

    That order is fixed and mixes the packages well. Bytes from 128 up become 127.
    """
    found = []
    for path in folder.rglob("*.py"):
        name = path.relative_to(folder).as_posix()
        first = name.split("/")[0]
        if first in LEFT_OUT or first.startswith(BUILD_PRODUCTS):
            continue
        if not SMALLEST <= path.stat().st_size <= LARGEST:
            continue
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        if (data >= VOCABULARY).mean() > NON_ASCII:
            continue
        found.append((hashlib.sha1(name.encode()).hexdigest(), name, np.minimum(data, VOCABULARY - 1).tobytes()))
    return [(name, data) for _, name, data in sorted(found)]


def _join(texts: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"\0".join(texts), dtype=np.uint8)


def _plain(data: bytes) -> bytes:
    return np.minimum(np.frombuffer(data, dtype=np.uint8), VOCABULARY - 1).tobytes()


def build(folder: Path | None = None, headers: Path | None = None) -> Corpus:
    """Read the corpus from the installed Python.

    ``folder`` is the standard library and ``headers`` NumPy's C header files (both found when not given).
    The first 4 percent of the bytes, cut at the end of a file, are held out: its files go to ``val`` and ``val2``
    in turn. ``ood1`` is the reference prose of ``pydoc_data/topics.py`` (too long a file for the training text);
    ``ood2`` is another language, the C headers of the pinned NumPy without the one that its build writes.
    Raises ScalebookError when a folder holds no such files.
    """
    folder = folder or Path(sysconfig.get_path("stdlib"))
    headers = headers or Path(np.get_include())
    kept = documents(folder)
    if len(kept) < 3:
        raise ScalebookError(
            f"Found {len(kept)} Python files to train on in {folder}; give the folder of a standard library."
        )
    ends = np.cumsum([len(data) + 1 for _, data in kept])
    cut = int(np.searchsorted(ends, VALIDATION * ends[-1])) + 1
    cut = min(max(cut, 2), len(kept) - 1)
    texts = [data for _, data in kept]
    topics = folder / "pydoc_data" / "topics.py"
    sources = sorted(path for path in headers.rglob("*.h") if path.name != "_numpyconfig.h")
    if not topics.is_file() or not sources:
        raise ScalebookError(f"The out-of-distribution texts are missing: need {topics} and C headers below {headers}.")
    held = {
        "val": _join(texts[0:cut:2]),
        "val2": _join(texts[1:cut:2]),
        "ood1": _join([_plain(topics.read_bytes())]),
        "ood2": _join([_plain(path.read_bytes()) for path in sources]),
    }
    hashes = {"corpus": hashlib.sha256(_join(texts)).hexdigest()}
    hashes |= {name: hashlib.sha256(held[name]).hexdigest() for name in ("ood1", "ood2")}
    return Corpus(_join(texts[cut:]), held, hashes, platform.python_version(), len(kept))


def _cache() -> tuple[Path, str]:
    return paths.build_dir() / "suite", f"corpus-{platform.python_version()}-numpy{np.__version__}"


def _digest(arrays: dict[str, np.ndarray]) -> str:
    return hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest()


def store(corpus: Corpus) -> None:
    """Write a corpus to ``_build/suite``, where ``load`` finds it."""
    folder, stem = _cache()
    arrays = {"train": corpus.train, **corpus.held}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        paths.atomic_write(folder / f"{stem}-{name}.npy", buffer.getvalue())
    about = {"hashes": corpus.hashes, "python": corpus.python, "files": corpus.files, "arrays": _digest(arrays)}
    paths.atomic_write(folder / f"{stem}.json", paths.dump_json(about))


def _stored(index: Path) -> Corpus | None:
    """Return the corpus of one index file in ``_build/suite``; None when a file of it is absent or damaged."""
    files = {name: index.with_name(f"{index.stem}-{name}.npy") for name in ("train", *HELD_OUT)}
    if not index.is_file() or not all(path.is_file() for path in files.values()):
        return None
    known = json.loads(index.read_text(encoding="utf-8"))
    arrays = {name: np.load(path) for name, path in files.items()}
    if _digest(arrays) != known["arrays"]:
        return None
    return Corpus(arrays.pop("train"), arrays, known["hashes"], known["python"], known["files"])


def load(expected: dict | None = None) -> Corpus:
    """Return the corpus of the running Python, from ``_build/suite`` once it has been read.

    ``expected`` is the entry ``corpus`` of ``data/suite/microscale.json``: where ``_build/suite`` holds that corpus,
    carried from a machine whose Python has it, it is the one returned.
    """
    folder, stem = _cache()
    indices = [folder / f"{stem}.json", *sorted(folder.glob("corpus-*.json"))] if expected else []
    for index in indices:
        found = _stored(index)
        if found and difference(found, expected) is None:
            return found
    found = _stored(folder / f"{stem}.json")
    if found:
        return found
    corpus = build()
    store(corpus)
    return corpus


def difference(corpus: Corpus, expected: dict) -> str | None:
    """Say how this corpus differs from the one of the table, or None when it is the same.

    ``expected`` is the entry ``corpus`` of ``data/suite/microscale.json``.
    """
    if all(corpus.hashes[name] == expected["sha256"][name] for name in corpus.hashes):
        return None
    return (
        f"The standard library here (Python {corpus.python}, {corpus.files} files, {corpus.train.size / 1e6:.1f} MB to "
        f"train on) is not the corpus of the table (Python {expected['python']}, {expected['files']} files, "
        f"{expected['train_bytes'] / 1e6:.1f} MB): SHA-256 {corpus.hashes['corpus'][:12]}... against "
        f"{expected['sha256']['corpus'][:12]}.... Every patch release has other files, and some distributions leave "
        f"out the package test. Use CPython {expected['python']} as pyenv or uv installs it to continue the table."
    )


def check(corpus: Corpus, expected: dict) -> None:
    """Raise ScalebookError, with both hashes and what to do, unless this is the corpus of the table."""
    told = difference(corpus, expected)
    if told:
        raise ScalebookError(told)


def sample(text: np.ndarray, count: int, name: str) -> np.ndarray:
    """Return ``count`` windows of 129 bytes of a held-out text, int64 (count, 129): the same ones on every call.

    Inputs are the first 128 bytes of a window and targets the last 128. The windows do not overlap by more than a byte.
    """
    starts = np.arange((text.size - 1) // CONTEXT) * CONTEXT
    if starts.size < count:
        raise ScalebookError(
            f"The text {name} has {starts.size} windows of {CONTEXT} bytes and {count} are asked for; give a longer text."
        )
    rng = np.random.default_rng(np.random.SeedSequence([0, zlib.crc32(name.encode())]))
    chosen = np.sort(rng.choice(starts, size=count, replace=False))
    return text[chosen[:, None] + np.arange(CONTEXT + 1)].astype(np.int64)

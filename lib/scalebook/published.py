"""Raw tables that papers have published: found in a mirror folder, else read from their source, and checked by content.

The tables are never part of the repository. ``data/published.yml`` names each one: where its source is, its licence,
columns with units, a checksum of the file in the mirror, and for every column a few sums by which any copy is known.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml
from pydantic import ConfigDict, ValidationError

from scalebook.errors import DataNotHere, ScalebookError, UserError
from scalebook.paths import build_dir, root, sha256
from scalebook.records import Model

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-6  # relative, of the sums that a table is known by: what a conversion to single precision leaves
Reader = Literal["same bytes", "csv", "columns", "parquet", "jsonl sets", "gadre", "annealing"]


class Source(Model):
    """Where a table comes from: a public repository, a commit, a path in it, and how it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repository: str
    commit: str
    path: str
    url: str
    reader: Reader | None = None
    files: list[str] = []  # names that stand for the star or the braces of the path, where there are several files


class Table(Model):
    """One published table as registered."""

    paper: str
    file: str
    sha256: str
    bytes: int
    rows: int
    licence: str
    redistribute: str
    citation: str
    columns: dict[str, str]
    content: dict[str, list[float]]
    source: Source
    check: str | None = None


@lru_cache(maxsize=4)
def _read_registry(path: Path, mtime_ns: int) -> dict[str, Table]:
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return {key: Table.model_validate(entry) for key, entry in raw.items()}
    except (OSError, yaml.YAMLError, AttributeError, ValidationError) as error:
        raise ScalebookError(f"data/published.yml cannot be read: {error} Restore it from the repository.") from error


def registry() -> dict[str, Table]:
    """Return every registered table by its key, ``paper/table``."""
    path = root() / "data" / "published.yml"
    if not path.is_file():
        raise ScalebookError("data/published.yml is not here; restore it from the repository.")
    return _read_registry(path, path.stat().st_mtime_ns)


def table(key: str) -> Table:
    """Return the registration of one table. Raises UserError for an unknown key."""
    known = registry()
    if key not in known:
        close = difflib.get_close_matches(key, known, n=3, cutoff=0.4)
        hint = f"; close to it: {', '.join(close)}" if close else ""
        raise UserError(f"No published table {key!r} is registered{hint}. All keys are in data/published.yml.")
    return known[key]


def load(key: str, *, download: bool = True) -> pd.DataFrame:
    """Return a published table, rows and columns in the order of the registry.

    Looked for in ``$SCALEBOOK_MIRROR``, then among earlier downloads, then (with ``download``) at its source. Whatever
    is found is held against the registered content. Raises UserError for an unknown key and DataNotHere, saying what
    was tried and what to do, when no good copy can be had.
    """
    entry = table(key)
    tried = []
    for place in (_from_mirror, _from_cache, *([_from_source] if download else [])):
        try:
            found = place(key, entry)
            check(found, entry)
            return found
        except DataNotHere as reason:
            tried.append(str(reason))
    raise DataNotHere(
        f"The table {key} is not here ({'; '.join(tried)}). Set SCALEBOOK_MIRROR to a folder that holds {entry.file}, "
        f"or get it from {entry.source.repository} (licence: {entry.licence})."
    )


def state(key: str) -> str:
    """Return a table's checksum when a copy is on this machine, else "not here": what a run's currency depends on."""
    entry = table(key)
    here = [path for path in (_mirrored(entry), _cached(key)) if path and path.is_file()]
    return sha256(here[0]) if here else "not here"


def fetch(key: str) -> bool:
    """Make sure that a table is on this machine, from its source if need be; return whether it is."""
    try:
        load(key)
    except DataNotHere:
        return False
    return True


def content(frame: pd.DataFrame) -> dict[str, list[float]]:
    """Return what a table is known by: for each column the values there are, their sum, and their sum by row number.

    A column of text counts its letters instead. The second sum notices rows in another order.
    """
    import numpy as np
    import pandas as pd

    found = {}
    weight = np.arange(1, len(frame) + 1) / max(len(frame), 1)
    for name in frame.columns:
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column):
            numbers = column.to_numpy(dtype=float, na_value=np.nan)
        else:
            numbers = column.map(lambda value: len(str(value)), na_action="ignore").to_numpy(dtype=float, na_value=np.nan)
        there = np.isfinite(numbers)
        found[str(name)] = [int(there.sum()), float(numbers[there].sum()), float((numbers * weight)[there].sum())]
    return found


def check(frame: pd.DataFrame, entry: Table) -> None:
    """Raise DataNotHere, naming what differs, unless a table has the registered content."""
    import numpy as np

    if len(frame) != entry.rows or list(map(str, frame.columns)) != list(entry.content):
        raise DataNotHere(
            f"a copy has {len(frame)} rows and the columns {', '.join(map(str, frame.columns))[:120]}; registered are "
            f"{entry.rows} rows and {', '.join(entry.content)[:120]}"
        )
    for name, (count, *sums) in content(frame).items():
        wanted_count, *wanted = entry.content[name]
        if count != wanted_count or not np.allclose(sums, wanted, rtol=TOLERANCE, atol=1e-12):
            raise DataNotHere(f"a copy differs from the registered table in the column {name!r}")


def read_file(path: Path) -> pd.DataFrame:
    """Read a file of the mirror: csv, parquet, or one JSON object of settings and losses."""
    import pandas as pd

    if path.suffix == ".parquet":
        return read_parquet(path)
    if path.suffix == ".json":
        settings = json.loads(path.read_text(encoding="utf-8"))
        return pd.DataFrame({"setting": list(settings), "loss": list(settings.values())})
    return pd.read_csv(path)


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a parquet file (with DuckDB, whose package is a third the size of Arrow's), one thread."""
    import duckdb

    with duckdb.connect(config={"threads": 1}) as connection:
        return connection.execute("select * from read_parquet(?)", [str(path)]).df()


def _mirrored(entry: Table) -> Path | None:
    named = os.environ.get("SCALEBOOK_MIRROR")
    return Path(named) / entry.file if named else None


def _cached(key: str) -> Path:
    return build_dir() / "cache" / "published" / f"{key}.csv.gz"


def _from_mirror(key: str, entry: Table) -> pd.DataFrame:
    path = _mirrored(entry)
    if path is None:
        raise DataNotHere("SCALEBOOK_MIRROR is not set")
    if not path.is_file():
        raise DataNotHere(f"the mirror has no {entry.file}")
    if sha256(path) != entry.sha256:
        raise DataNotHere(f"{entry.file} in the mirror has another checksum than registered")
    return _read(read_file, path)


def _from_cache(key: str, entry: Table) -> pd.DataFrame:
    path = _cached(key)
    if not path.is_file():
        raise DataNotHere("no earlier download")
    return _read(read_file, path)


def _from_source(key: str, entry: Table) -> pd.DataFrame:
    from scalebook import published_sources

    found = published_sources.read(entry.source)
    check(found, entry)
    path = _cached(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    found.to_csv(partial, index=False, float_format=None, compression={"method": "gzip", "mtime": 0})
    os.replace(partial, path)
    return found


def _read(reader: Callable[[Path], pd.DataFrame], path: Path) -> pd.DataFrame:
    try:
        return reader(path)
    except (OSError, ValueError) as error:
        raise DataNotHere(f"{path.name} cannot be read ({type(error).__name__})") from error

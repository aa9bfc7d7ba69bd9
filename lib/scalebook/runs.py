"""What runs leave behind, read back and checked: results, cost, published values, and whether they are current."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scalebook import inputs, parameters
from scalebook.errors import ScalebookError
from scalebook.paths import root, run_dir

STAMP = "inputs.json"
"""The file that a finished run writes last: the hashes of everything it was made from."""
FILES = ("results.json", "executed.ipynb", "cost.json")

Number = Annotated[float, Field(allow_inf_nan=False)]
State = Literal["fresh", "stale", "missing"]


class _Record(BaseModel):
    """Frozen; fields added later do not make older readers fail."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Measured(_Record):
    """One measured value with its interval, as an Estimate writes it."""

    value: Number | None
    low: Number | None
    high: Number | None
    n: int
    reason: str | None = None


class JudgedPart(_Record):
    """One condition of the rule as it was judged: the accepted bounds and where the interval lay."""

    measure: str
    low: Number | None
    high: Number | None
    state: str


class ClaimRecord(_Record):
    """One claim of a run; ``seconds`` only in published files."""

    verdict: str
    reason: str
    paper: str
    fidelity: str
    parts: list[JudgedPart]
    control: dict[str, str]
    measurements: dict[str, Measured]
    spans: dict[str, list[Number]] = {}
    seconds: Number | None = None


class Results(_Record):
    """``results.json`` of a run."""

    chapter: str
    profile: str
    seed: int
    parameters: dict[str, Any]
    complete: bool
    claims: dict[str, ClaimRecord]


class Cost(_Record):
    """``cost.json`` of a run: seconds of the kernel and its children, largest resident memory of one process."""

    started: str
    finished: str
    wall_seconds: Number
    cpu_seconds: Number
    peak_rss_mb: Number
    machine: str
    python: str
    torch: str
    scalebook: str
    claim_seconds: dict[str, Number]


class Published(_Record):
    """``data/ledger/<slug>.json``: the accepted run of a chapter."""

    chapter: str
    profile: str
    seed: int
    accepted: str
    machine: str
    python: str
    torch: str
    cost: dict[str, Number]
    claims: dict[str, ClaimRecord]


Kind = TypeVar("Kind", bound=_Record)


def read_results(path: Path) -> Results:
    """Return a results file. Raises ScalebookError, naming file and field, when it is broken."""
    return _read(path, Results)


def load_results(profile: str, seed: int, run: str) -> Results | None:
    """Return the results of a run, None where there is none. Errors as for `read_results`."""
    path = run_dir(profile, seed, run) / "results.json"
    return _read(path, Results) if path.is_file() else None


def load_cost(profile: str, seed: int, run: str) -> Cost | None:
    """Return the cost of a run, None where there is none. Errors as for `read_results`."""
    path = run_dir(profile, seed, run) / "cost.json"
    return _read(path, Cost) if path.is_file() else None


def published_path(slug: str) -> Path:
    """Return where the accepted values of a chapter are kept."""
    return root() / "data" / "ledger" / f"{slug}.json"


def load_published(slug: str) -> Published | None:
    """Return the accepted values of a chapter, None where none were accepted. Errors as for `read_results`."""
    path = published_path(slug)
    return _read(path, Published) if path.is_file() else None


def state(profile: str, seed: int, run: str) -> State:
    """Tell whether a run is there and was made from the files as they are now (by content, not by date)."""
    folder = run_dir(profile, seed, run)
    now = inputs.fingerprints(parameters.slug_of(run))
    if not all((folder / name).is_file() for name in FILES):
        return "missing"
    return "fresh" if _recorded(folder) == now else "stale"


def finished(profile: str, seed: int, run: str) -> bool:
    """Tell whether the last attempt at a run came to its end (its results may be older than an edit since)."""
    folder = run_dir(profile, seed, run)
    return all((folder / name).is_file() for name in (*FILES, STAMP))


def changed_inputs(profile: str, seed: int, run: str) -> list[str]:
    """Return the files that differ from those that a run was made from, sorted."""
    recorded = _recorded(run_dir(profile, seed, run))
    now = inputs.fingerprints(parameters.slug_of(run))
    return sorted(name for name in {*recorded, *now} if recorded.get(name) != now.get(name))


def _recorded(folder: Path) -> dict[str, str]:
    """Return the hashes that a run was made from; empty when a later attempt has not finished."""
    try:
        return dict(json.loads((folder / STAMP).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _read(path: Path, kind: type[Kind]) -> Kind:
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ScalebookError(f"{path} cannot be read: {error.strerror}. Fix its permissions.") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(step) for step in first["loc"]) or "the whole file"
        remedy = (
            "Restore it from the repository."
            if path.parent == published_path("").parent
            else f"Run the chapter again: scalebook run {parameters.slug_of(path.parent.name)} --force "
            "(same --profile and --seed)."
        )
        raise ScalebookError(f"{path} is broken at {field}: {first['msg']}. {remedy}") from error

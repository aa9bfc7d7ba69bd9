"""The register of claims: what each paper says and the rule that decides it, fixed before anything is run.

``data/papers/<slug>.yml`` holds one chapter's papers and claims, ``data/chapters.yml`` the order of the chapters.
Both are read into the frozen records of ``scalebook.records``; whatever does not fit is refused by name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from scalebook.errors import ScalebookError, UserError
from scalebook.paths import root
from scalebook.records import (
    Amendment,
    Bounds,
    ChapterEntry,
    ChapterInfo,
    ChapterRegister,
    Claim,
    Condition,
    Control,
    Figure,
    Model,
    Paper,
    PaperValue,
    Replicates,
    Rule,
    Text,
    bounds_text,
    refuse,
)

__all__ = [
    "Amendment",
    "Bounds",
    "ChapterInfo",
    "ChapterRegister",
    "Claim",
    "Condition",
    "Control",
    "Figure",
    "Paper",
    "PaperValue",
    "RegisterError",
    "Replicates",
    "Rule",
    "bounds_text",
    "find_claim",
    "load_all",
    "load_chapters",
    "load_register",
    "parts",
    "slugs",
]

Record = TypeVar("Record", bound=Model)
SHOWN = 8  # a file with more problems than this needs a look as a whole, not a longer list


class RegisterError(ScalebookError):
    """A file of the register cannot be used; the message names file, paper, claim, field, what is given and allowed."""


class PartEntry(Model):
    """A part of the book: its title and its chapters in reading order."""

    title: Text
    chapters: tuple[ChapterEntry, ...] = Field(min_length=1)


class Contents(Model):
    """The whole of ``data/chapters.yml``."""

    parts: tuple[PartEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _readable_in_order(self) -> Contents:
        earlier: list[str] = []
        for entry in (entry for part in self.parts for entry in part.chapters):
            if entry.slug in earlier:
                raise refuse("slug", entry.slug, "every chapter once")
            for need in entry.needs:
                if need not in earlier:
                    raise refuse(f"needs of {entry.slug}", need, f"earlier chapters: {', '.join(earlier) or 'none'}")
            earlier.append(entry.slug)
        return self


def slugs() -> list[str]:
    """Return the chapters that have a register file, sorted."""
    return sorted(path.stem for path in (root() / "data" / "papers").glob("*.yml"))


def load_register(slug: str) -> ChapterRegister:
    """Return one chapter's papers and claims.

    Raises UserError for a chapter that does not exist, RegisterError for a file that does not fit.
    """
    known = slugs()
    if slug not in known:
        raise UserError(f"Unknown chapter {slug!r}.{_nearest(slug, known)} `scalebook list` shows all {len(known)}.")
    path = root() / "data" / "papers" / f"{slug}.yml"
    register = _cached(path, ChapterRegister)
    if register.chapter != slug:
        raise RegisterError(
            f"{_shown(path)}: field chapter: given {register.chapter!r}; allowed: {slug!r}, the file's name."
        )
    return register


def load_all() -> dict[str, ChapterRegister]:
    """Return every chapter's papers and claims by slug, sorted. Errors as for ``load_register``."""
    registers = {slug: load_register(slug) for slug in slugs()}
    homes: dict[str, str] = {}
    for slug, register in registers.items():
        for paper in register.papers:
            if paper.key in homes:
                raise RegisterError(
                    f"data/papers/{slug}.yml: paper {paper.key}, field key: given a key that "
                    f"data/papers/{homes[paper.key]}.yml has already; allowed: a key of its own."
                )
            homes[paper.key] = slug
    return registers


def find_claim(claim_id: str) -> tuple[ChapterRegister, Paper, Claim]:
    """Return a claim with its paper and chapter. Raises UserError when there is none of that id."""
    slug = claim_id.partition(".")[0]
    if slug not in slugs():
        raise UserError(f"Unknown claim {claim_id!r}: there is no chapter {slug!r}.{_nearest(slug, slugs())}")
    register = load_register(slug)
    for paper, claim in register.claims():
        if claim.id == claim_id:
            return register, paper, claim
    known = [claim.id for _, claim in register.claims()]
    raise UserError(f"Unknown claim {claim_id!r}.{_nearest(claim_id, known)} This chapter has: {', '.join(known)}.")


def load_chapters() -> list[ChapterInfo]:
    """Return the chapters of the book in reading order.

    Raises RegisterError when ``data/chapters.yml`` does not fit.
    """
    return [chapter for _, chapters in parts() for chapter in chapters]


def parts() -> list[tuple[str, list[ChapterInfo]]]:
    """Return the parts of the book, each with its chapters in reading order. Errors as for ``load_chapters``."""
    contents = _cached(root() / "data" / "chapters.yml", Contents)
    book, order = [], 0
    for part in contents.parts:
        chapters = []
        for entry in part.chapters:
            order += 1
            chapters.append(ChapterInfo(**dict(entry), part=part.title, order=order))
        book.append((part.title, chapters))
    return book


def _cached(path: Path, kind: type[Record]) -> Record:
    try:
        status = path.stat()
    except OSError as error:
        problem = error.strerror or error
        raise RegisterError(f"{_shown(path)}: {problem}. Restore the file from the repository.") from error
    return _read(path, kind, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=128)
def _read(path: Path, kind: type[Record], mtime_ns: int, size: int) -> Record:
    try:
        raw = _parse(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise RegisterError(f"{_shown(path)}{line}: {getattr(error, 'problem', None) or error}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RegisterError(f"{_shown(path)}: cannot be read as UTF-8 text: {error}.") from error
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        problems = [_problem(detail, raw) for detail in _roots(error.errors())]
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise RegisterError(f"{_shown(path)} does not fit:\n  " + "\n  ".join(problems[:SHOWN]) + more) from error


def _parse(text: str) -> Any:
    """Return YAML as plain values; a key given twice is an error, not a silent loss of the first value."""
    loader = yaml.CSafeLoader(text)

    def plain(node: yaml.Node) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return [plain(item) for item in node.value]
        if isinstance(node, yaml.MappingNode):
            mapping: dict[str, Any] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.value in mapping:
                    raise yaml.MarkedYAMLError(
                        problem=f"given the key {key.value!r} twice or as a list; allowed: every key once, as a word",
                        problem_mark=key.start_mark,
                    )
                mapping[key.value] = plain(value)
            return mapping
        # most scalars are text, which needs none of the loader's own machinery
        return node.value if node.tag == "tag:yaml.org,2002:str" else loader.construct_object(node)

    try:
        node = loader.get_single_node()
        return None if node is None else plain(node)
    except ValueError as error:  # PyYAML builds dates and numbers itself and lets Python's own errors through
        raise yaml.YAMLError(f"a date or number cannot be read: {error}") from error
    finally:
        loader.dispose()


def _roots(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out what pydantic adds on top: a list counts as too short when none of its items could be read."""
    places = [detail["loc"] for detail in details]

    def echo(detail: ErrorDetails) -> bool:
        place = detail["loc"]
        deeper = any(len(other) > len(place) and other[: len(place)] == place for other in places)
        return detail["type"] == "too_short" and deeper

    return [detail for detail in details if not echo(detail)]


def _problem(detail: ErrorDetails, raw: Any) -> str:
    """Return one line for one of pydantic's errors: paper, claim, field, what is given, what is allowed."""
    names, field = [], ""
    for step in _steps(detail["loc"]):
        field += f"[{step}]" if isinstance(step, int) else f".{step}"
        found = isinstance(raw, (Mapping, Sequence)) and not isinstance(raw, str)
        raw = raw[step] if found and (step in raw if isinstance(raw, Mapping) else isinstance(step, int)) else None
        for key, label in (("key", "paper"), ("id", "claim"), ("slug", "chapter")):
            if isinstance(step, int) and isinstance(raw, Mapping) and key in raw:
                names.append(f"{label} {raw[key]}")
                field = ""
    context = detail.get("ctx", {})
    given, allowed = repr(detail["input"]), detail["msg"].removeprefix("Input should be ")
    if detail["type"] == "register":
        given, allowed = context["given"], context["allowed"]
        field = f"{field}.{context['field']}"
    elif detail["type"] == "missing":
        given, allowed = "nothing", "this field is required"
    elif detail["type"] == "literal_error":
        allowed = str(context["expected"])
    if len(given) > 120:
        given = given[:117] + "..."
    where = ", ".join([*names, f"field {field.lstrip('.')}" if field else "the whole entry"])
    return f"{where}: given {given}; allowed: {allowed}."


def _steps(location: tuple[int | str, ...]) -> Iterator[int | str]:
    """Yield the steps of a pydantic location that exist in the file: without union tags and key markers."""
    before: list[int | str] = []
    for step in location:
        in_rule = len(before) > 1 and isinstance(before[-1], int) and before[-2] in ("all", "any")
        tag = in_rule and step in ("condition", "rule")
        if not tag and step != "[key]":
            yield step
        before.append(step)


def _nearest(given: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _shown(path: Path) -> str:
    return path.relative_to(root()).as_posix() if path.is_relative_to(root()) else str(path)

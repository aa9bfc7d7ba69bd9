"""The parameters of a run: which chapter, profile and seed, and the knobs a reader may turn, with their types.

Types come from the notebook's own parameters cell, so that a chapter declares a knob once, where the reader sees it.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import math
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from scalebook import inputs
from scalebook.errors import ScalebookError, UserError
from scalebook.paths import dump_json, root, run_dir

PROFILES = ("quick", "full", "large")
FIRST_SEED = 1000
LARGEST_SEED = 2**31 - 1
SLUG = re.compile(r"[a-z][a-z0-9_]*")
_BY_FLAG = {"profile": "--profile", "seed": "--seed"}


def check_slug(given: str) -> str:
    """Return the name of a chapter whose notebook exists; raises UserError, with the nearest name, otherwise."""
    ready = inputs.written()
    if given in ready:
        return given
    if not SLUG.fullmatch(given):
        stem = given.replace("\\", "/").rpartition("/")[2].removesuffix(".ipynb")
        hint = f" Write {stem!r}." if stem in ready else ""
        raise UserError(
            f"{given!r} is not the name of a chapter: names are small letters, digits and underscores, not paths.{hint}"
        )
    if (root() / "data" / "papers" / f"{given}.yml").is_file():
        raise UserError(
            f"The chapter {given!r} is planned; its notebook is not written yet. "
            f"Written so far: {', '.join(ready) or 'none'}."
        )
    close = difflib.get_close_matches(given, ready, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UserError(f"Unknown chapter {given!r}.{hint} `scalebook list` shows them all.")


def check_profile(given: str) -> str:
    """Return a known profile; raises UserError otherwise."""
    if given not in PROFILES:
        close = difflib.get_close_matches(given, PROFILES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(f"Unknown profile {given!r}; choose one of {', '.join(PROFILES)}.{hint}")
    return given


def check_seed(given: int) -> int:
    """Return a usable seed; raises UserError otherwise."""
    if not 0 <= given <= LARGEST_SEED:
        raise UserError(f"Seed {given} is out of range; give a whole number from 0 to {LARGEST_SEED}.")
    return given


def defaults(slug: str) -> dict[str, Any]:
    """Return the knobs of a chapter with their default values, ``profile`` and ``seed`` included.

    Reads the one code cell tagged ``parameters``. Raises ScalebookError when there is none, when it does not parse, or
    when it lacks ``profile`` or ``seed``.
    """
    cells = [
        cell
        for cell in inputs.read_notebook(slug)["cells"]
        if cell["cell_type"] == "code" and "parameters" in cell.get("metadata", {}).get("tags", [])
    ]
    if len(cells) != 1:
        raise ScalebookError(
            f"chapters/{slug}.ipynb has {len(cells)} code cells tagged `parameters`; it needs exactly one."
        )
    try:
        tree = ast.parse(inputs.source(cells[0]))
    except SyntaxError as error:
        raise ScalebookError(
            f"chapters/{slug}.ipynb: the parameters cell is not Python (line {error.lineno}: {error.msg})."
        ) from error
    found: dict[str, Any] = {}
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            if isinstance(target, ast.Name) and node.value is not None:
                try:
                    found[target.id] = ast.literal_eval(node.value)
                except ValueError:
                    continue  # computed from other values: not a knob
    missing = [name for name in _BY_FLAG if name not in found]
    if missing:
        raise ScalebookError(f"chapters/{slug}.ipynb: the parameters cell does not set {' and '.join(missing)}.")
    return found


def parse(slug: str, assignments: Sequence[str]) -> dict[str, Any]:
    """Return the knobs that ``name=value`` texts set to something other than their default.

    A whole number is taken for a float, lists and texts in quotes are JSON, truth values are true or false. Raises
    UserError for anything that is not a knob of the chapter or not of its type.
    """
    if not assignments:
        return {}
    known = defaults(slug)
    chosen: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals:
            raise UserError(f"-p {assignment!r}: write name=value, for example -p {next(iter(known))}=...")
        if name in _BY_FLAG:
            raise UserError(f"-p {name}=...: use the option {_BY_FLAG[name]} for that.")
        knobs = [knob for knob in known if knob not in _BY_FLAG]
        if name not in knobs:
            close = difflib.get_close_matches(name, knobs, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            offered = f"it has {', '.join(knobs)}" if knobs else "it has none"
            raise UserError(f"{slug} has no parameter {name!r}; {offered}.{hint}")
        chosen[name] = _convert(name, text.strip(), known[name])
    return {name: value for name, value in chosen.items() if value != known[name]}


def run_name(slug: str, parameters: dict[str, Any]) -> str:
    """Return the folder name of a run: the slug, with a short hash of the knobs where any is turned."""
    return f"{slug}@{hashlib.sha256(dump_json(parameters).encode()).hexdigest()[:8]}" if parameters else slug


def slug_of(run: str) -> str:
    """Return the chapter of a run's folder name."""
    return run.partition("@")[0]


def load_chosen(profile: str, seed: int, run: str) -> dict[str, Any]:
    """Return the knobs of a run as its folder records them; none for a run without a hash in its name.

    Raises ScalebookError when the record is gone, because the hash does not say what the knobs were.
    """
    if "@" not in run:
        return {}
    path = run_dir(profile, seed, run) / "parameters.json"
    try:
        chosen = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ScalebookError(f"{path} cannot be read ({error}). Run the chapter again with its -p options.") from error
    if run_name(slug_of(run), chosen) != run:
        raise ScalebookError(
            f"{path} does not belong to this run. Delete the folder and run the chapter again with its -p options."
        )
    return chosen


def _convert(name: str, text: str, default: Any) -> Any:
    """Return the text as a value of the default's type."""
    try:
        value = text if isinstance(default, str) else _literal(text)
        return _fit(value, default)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"-p {name}={text}: expected {_kind(default)}, as in -p {name}={_shown(default)}. {error}".strip()
        ) from error


def _literal(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError:
        if text in ("True", "False"):
            return text == "True"
    try:
        number = float(text)  # forms that JSON lacks, such as .5
    except ValueError:
        raise TypeError from None
    return number if math.isfinite(number) else _refuse(text)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a usable number.")


def _fit(value: Any, default: Any) -> Any:
    """Return ``value`` if it has the default's type (whole numbers pass for floats, lists item by item)."""
    if isinstance(default, (list, tuple)):
        if not isinstance(value, list):
            raise TypeError
        return [_fit(item, default[0]) for item in value] if default else value
    if default is None:
        return value
    if isinstance(default, float) and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError("Only finite numbers are usable.")
        return float(value)
    if type(value) is not type(default):
        raise TypeError
    return value


def _kind(default: Any) -> str:
    if isinstance(default, (list, tuple)):
        return f"a JSON list, each item {_kind(default[0])}" if default else "a JSON list"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return names.get(type(default), "a JSON value")


def _shown(default: Any) -> str:
    return default if isinstance(default, str) else json.dumps(default)

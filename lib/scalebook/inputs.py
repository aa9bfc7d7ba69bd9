"""What a chapter's results depend on: its files, and the library modules that it imports, followed by ``ast``.

Nothing is imported to find out, so that a broken or heavy module costs nothing here. ``from scalebook import X`` leads
to the one module that the package's table of lazy names gives for X, and not to all of them.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from scalebook.errors import ScalebookError
from scalebook.paths import root, sha256

PACKAGE = "scalebook"
TABLE_KEY = re.compile(r"[a-z_0-9]+/\w+")


def written() -> list[str]:
    """Return the chapters whose notebook exists, sorted."""
    return sorted(path.stem for path in (root() / "chapters").glob("*.ipynb"))


def notebook_path(slug: str) -> Path:
    """Return where the notebook of a chapter is or will be."""
    return root() / "chapters" / f"{slug}.ipynb"


def read_notebook(slug: str) -> dict[str, Any]:
    """Return a chapter's notebook as plain data. Raises ScalebookError, naming the file, when it cannot be read."""
    path = notebook_path(slug)
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = notebook["cells"]
        if not isinstance(cells, list) or not all(isinstance(cell, dict) and "cell_type" in cell for cell in cells):
            raise TypeError("`cells` is not a list of cells")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise ScalebookError(
            f"The notebook chapters/{slug}.ipynb cannot be read ({reason}). Restore it from the repository, or open "
            "and save it in Jupyter."
        ) from error
    return notebook


def source(cell: dict[str, Any]) -> str:
    """Return the text of a cell, which notebooks store as one string or as lines."""
    text = cell.get("source", "")
    return text if isinstance(text, str) else "".join(text)


def input_files(slug: str) -> list[Path]:
    """Return every file that a run of the chapter depends on, sorted.

    The notebook, its register, its exercises, the data named in the notebook's metadata under ``scalebook: {data:
    [...]}`` (files or folders), the lock, and the library. Raises ScalebookError for declared data that is not there.
    """
    book, notebook = root(), read_notebook(slug)
    optional = [
        book / "data" / "papers" / f"{slug}.yml",
        book / "data" / "exercises" / f"{slug}.yml",
        book / "constraints.txt",
    ]
    found = {notebook_path(slug), *(path for path in optional if path.is_file())}
    for name in notebook.get("metadata", {}).get(PACKAGE, {}).get("data", []):
        path = (book / name).resolve()
        if path.is_dir():
            found.update(file for file in path.rglob("*") if file.is_file())
        elif path.is_file():
            found.add(path)
        else:
            raise ScalebookError(
                f"The notebook chapters/{slug}.ipynb declares the data {name!r}, which is not in the repository. "
                "Restore it, or correct `scalebook: {data: [...]}` in the notebook's metadata."
            )
    code = "\n".join(_parsable(source(cell)) for cell in notebook["cells"] if cell["cell_type"] == "code")
    found.update(_library_files(_names(ast.parse(code), None)))
    return sorted(found)


def published_tables(slug: str) -> list[str]:
    """Return the keys of the published tables that a notebook names, sorted."""
    code = "\n".join(_parsable(source(cell)) for cell in read_notebook(slug)["cells"] if cell["cell_type"] == "code")
    words = {node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)}
    named = sorted(word for word in words if isinstance(word, str) and TABLE_KEY.fullmatch(word))
    if not named:
        return []
    from scalebook import published  # not at the top: most chapters need none

    return [key for key in named if key in published.registry()]


def fingerprints(slug: str) -> dict[str, str]:
    """Return the SHA-256 of every input by its path in the repository; of published tables, whether they are here."""
    book = root()
    files = {path.relative_to(book).as_posix(): sha256(path) for path in input_files(slug)}
    tables = published_tables(slug)
    if tables:
        from scalebook import published

        files |= {f"published/{key}": published.state(key) for key in tables}
    return files


def fingerprint(slug: str) -> str:
    """Return one hash over all input files: it changes exactly when one of them is added, removed or edited."""
    return hashlib.sha256(json.dumps(fingerprints(slug), sort_keys=True).encode()).hexdigest()


def _parsable(code: str) -> str:
    """Return the code without IPython's magic lines; nothing at all when it does not parse (its run will say why)."""
    plain = "\n".join("" if line.lstrip().startswith(("%", "!", "?")) else line for line in code.splitlines())
    try:
        ast.parse(plain)
    except SyntaxError:
        return ""
    return plain


def _library_files(modules: set[str]) -> set[Path]:
    """Return the files of the named modules and of everything that they import from the package."""
    seen: set[str] = set()
    files: set[Path] = set()
    waiting = sorted(modules)
    while waiting:
        module = waiting.pop()
        path = _module_path(module)
        if module in seen or path is None:
            continue
        seen.add(module)
        files.add(path)
        imported, assets = _read_module(path, module, *_stamp(path))
        files.update(assets)
        waiting.extend(imported - seen)
    return files


@lru_cache(maxsize=512)
def _read_module(path: Path, module: str, mtime_ns: int, size: int) -> tuple[frozenset[str], frozenset[Path]]:
    """Return what a library module imports from the package and which of the package's assets it names."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError, OSError):
        return frozenset(), frozenset()  # the chapter's own run reports this, with the line
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    folder = root() / "lib" / PACKAGE / "assets"
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names = {word.rpartition("/")[2] for word in words if len(word) < 200 and "\n" not in word}
    assets = {folder / name for name in names if "." in name.strip(".") and (folder / name).is_file()}
    return frozenset(_names(tree, package)), frozenset(assets)


def _names(tree: ast.Module, package: str | None) -> set[str]:
    """Return the package's modules that the code imports; ``package`` resolves relative imports."""
    found: set[str] = set()
    aliases: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == PACKAGE:
                    found.update(_with_parents(alias.name))
                    aliases.add(alias.asname or PACKAGE)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            if base.partition(".")[0] == PACKAGE:
                found.update(_with_parents(base))
                for alias in node.names:
                    found.update(_member(base, alias.name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            found.update(_member(PACKAGE, node.attr))
    return found


def _absolute(node: ast.ImportFrom, package: str | None) -> str:
    if node.level == 0:
        return node.module or ""
    base = (package or "").split(".")
    return ".".join([*base[: len(base) - node.level + 1], *([node.module] if node.module else [])])


def _with_parents(module: str) -> Iterator[str]:
    steps = module.split(".")
    return (".".join(steps[: k + 1]) for k in range(len(steps)))


def _member(base: str, name: str) -> set[str]:
    """Return the modules behind ``from base import name``: a submodule, a lazy export, or none beyond ``base``."""
    if base == PACKAGE:
        exports = _exports()
        if name == "*":
            return set(exports.values())
        if name in exports:
            return set(_with_parents(exports[name]))
    return {f"{base}.{name}"} if _module_path(f"{base}.{name}") else set()


def _exports() -> dict[str, str]:
    path = root() / "lib" / PACKAGE / "__init__.py"
    return _read_exports(path, *_stamp(path)) if path.is_file() else {}


@lru_cache(maxsize=8)
def _read_exports(path: Path, mtime_ns: int, size: int) -> dict[str, str]:
    """Return the package's table of lazy names, read without importing it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "_EXPORTS" for target in targets):
            return ast.literal_eval(node.value)
    return {}


def _module_path(module: str) -> Path | None:
    base = root().joinpath("lib", *module.split("."))
    for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size

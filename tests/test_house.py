"""The house rules that a machine can check: arrows, room sizes, the lock, notebooks without outputs."""

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lib" / "scalebook"

# each floor may import from itself (without circles) and from the floors above it
FLOORS = [
    {"errors", "paths"},
    {"estimate", "ranks", "records"},
    {"register", "verdict"},
    {"laws", "fitting", "published", "published_sources", "datasets", "models", "ensemble", "widths", "curves"},
    {"ticks", "plots", "exercise_records", "exercise_judging", "exercises", "explorer_data", "explorer_svg", "explorer"}
    | {"guess", "cards"},
    {"chapter", "topics", "suite"},
    {"runner", "cli"},
]


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path) -> set[str]:
    """Return the modules of the package that a module imports when it is loaded (not those it loads on demand)."""
    known, found = modules(), set()
    pending = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("scalebook"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("scalebook")}
        pending += list(ast.iter_child_nodes(node))
    return found - {name, "scalebook"}


def family(name: str) -> str:
    return name.split(".")[1] if "." in name else name


def test_imports_have_no_circles():
    graph = {name: imports(name, path) for name, path in modules().items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"circle: {' -> '.join([*trail[trail.index(name):], name])}"
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_arrows_point_one_way():
    level = {room: index for index, floor in enumerate(FLOORS) for room in floor}
    for name, path in modules().items():
        for other in imports(name, path):
            here, there = level.get(family(name)), level.get(family(other))
            if here is not None and there is not None:
                assert there <= here, f"{name} imports {other}, which stands on a later floor (DESIGN: arrows point one way)"


def test_rooms_are_small():
    sizes = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert not {name: lines for name, lines in sizes.items() if lines > 400}


@pytest.mark.parametrize("pattern", [r"^\s*except\s*:", r"filterwarnings\(.ignore.\)", r"\b(TODO|FIXME|XXX)\b"])
def test_no_bare_except_blanket_filter_or_reminder_left_behind(pattern):
    here = Path(__file__).resolve()
    folders = ("lib", "workflow", "tests", "benchmarks", "chapters")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.suffix in {".py", ".ipynb", ".js"} and p != here]
    hits = [f"{p.relative_to(ROOT)}" for p in files if re.search(pattern, p.read_text(encoding="utf-8"), re.MULTILINE)]
    assert not hits


def test_the_lock_pins_every_direct_dependency_without_local_suffix():
    tomllib = pytest.importorskip("tomllib")
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^\s+]+", line) for line in lines), "one exact version a line, no '+suffix'"
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    names = {re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", w).group()).lower() for w in wanted}
    assert names <= pinned
    assert "torch==2.13.0" in lines


def notebooks() -> list[Path]:
    return sorted((ROOT / "chapters").glob("*.ipynb"))


@pytest.mark.parametrize("path", notebooks(), ids=lambda p: p.stem)
def test_notebooks_are_committed_without_outputs(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


def test_the_repository_names_no_registry_host_and_no_large_file():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    hosts = re.compile("|".join(["files.python" + "hosted", "registry." + "npmjs", "pypi" + r"\.org", "download.py" + "torch"]))
    for name in filter(None, listed):
        path = ROOT / name
        if not path.is_file():
            continue
        assert path.stat().st_size < 1_500_000, f"{name} is {path.stat().st_size} bytes"
        if path.suffix not in {".png", ".gz"}:
            assert not hosts.search(path.read_text(encoding="utf-8")), name

"""One chapter, executed: ``python -m scalebook.execution PROFILE SEED RUN``, the command that the workflow schedules.

The notebook runs in a folder of its own beside the run's folder; only a finished run is moved over, ``inputs.json``
last, so that a crash or a failure leaves the earlier run as it was.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import signal
import sys
import time
import traceback
from datetime import datetime, UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalebook import events, inputs, parameters
from scalebook.errors import ScalebookError
from scalebook.paths import atomic_write, build_dir, dump_json, root, run_dir
from scalebook.processes import kill_group, one_thread, same_arithmetic, when_parent_dies
from scalebook.runs import FILES, STAMP, read_results

if TYPE_CHECKING:
    from nbformat import NotebookNode

KEPT = ("figures", *FILES, STAMP)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_MEGABYTE = 1024 * 1024


class ChapterFailed(ScalebookError):
    """A notebook that stopped with an error: at which of its code cells (counted from 1), and which error."""

    def __init__(self, cell: int, error: str) -> None:
        super().__init__(error)
        self.cell, self.error = cell, error


def execute(profile: str, seed: int, run: str) -> None:
    """Run one chapter and leave its results in the run's folder.

    Raises ChapterFailed when the notebook does (the copy up to the failing cell is kept as ``failed.ipynb``),
    ScalebookError when a file is broken or the disk refuses.
    """
    slug = parameters.slug_of(run)
    folder, began = run_dir(profile, seed, run), time.time()
    chosen = parameters.load_chosen(profile, seed, run)
    parameters.defaults(slug)
    _fetch_tables(slug)
    hashes = inputs.fingerprints(slug)
    scratch = _fresh_scratch(folder)
    try:
        os.environ.update(_kernel_environment(scratch))
        notebook = _run_notebook(slug, scratch, {"profile": profile, "seed": seed, **chosen}, f"{profile}/{seed}/{run}")
        atomic_write(scratch / "executed.ipynb", dump_json(_tidy(notebook)))
        _check_results(scratch, slug, profile, seed)
        atomic_write(scratch / "cost.json", dump_json(_cost(scratch, began)))
        atomic_write(scratch / STAMP, dump_json({"files": hashes, "parameters": chosen}))
        _move(scratch, folder)
    except ChapterFailed:
        if (scratch / "executed.ipynb").exists():
            os.replace(scratch / "executed.ipynb", folder / "failed.ipynb")
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for name in ("failed.ipynb", "failure.json"):
        (folder / name).unlink(missing_ok=True)


def _fetch_tables(slug: str) -> None:
    """Get the published tables that the chapter names before it starts: inside a chapter nothing touches the network."""
    keys = inputs.published_tables(slug)
    if keys:
        from scalebook import published

        absent = [key for key in keys if not published.fetch(key)]
        if absent:
            print(f"not here, so claims on them are not run: {', '.join(absent)}", flush=True)


def main(arguments: list[str]) -> int:
    """Run one chapter with its output in the run's log; returns the exit status of the process."""
    profile, seed, run = arguments[0], int(arguments[1]), arguments[2]
    name, folder, began = f"{profile}/{seed}/{run}", run_dir(profile, seed, run), time.monotonic()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _abandon())
    when_parent_dies(_abandon)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    except OSError as error:
        events.send("failed", name, error=f"{folder} is not writable: {error.strerror}", cell=None)
        return 1
    os.dup2(log, 1)
    os.dup2(log, 2)
    print(f"{datetime.now():%Y-%m-%d %H:%M:%S} {name}, process {os.getpid()}, {sys.executable}", flush=True)
    events.send("started", name)
    try:
        execute(profile, seed, run)
    except Exception as error:  # whatever it is, the reader is told which chapter, and finds the rest in its log
        known = isinstance(error, (ScalebookError, OSError))
        if not known:
            traceback.print_exc()
        cell = error.cell if isinstance(error, ChapterFailed) else None
        failure = {
            "cell": cell,
            "error": str(error) if known else f"{type(error).__name__}: {error}",
            "log": str(folder / "log"),
        }
        print(f"failed after {time.monotonic() - began:.1f} s: {error}", flush=True)
        events.send("failed", name, **failure)
        try:
            atomic_write(folder / "failure.json", dump_json(failure))
        except ScalebookError as second:
            print(second, flush=True)
        return 1
    print(f"finished after {time.monotonic() - began:.1f} s", flush=True)
    events.send("finished", name, seconds=time.monotonic() - began)
    return 0


def _fresh_scratch(folder: Path) -> Path:
    """Return a new folder beside the run's, after clearing those that killed runs left behind."""
    import psutil

    for left in folder.parent.glob(f".{folder.name}.*"):
        owner = left.name.rpartition(".")[2]
        if not (owner.isdecimal() and psutil.pid_exists(int(owner))):
            shutil.rmtree(left, ignore_errors=True)
    scratch = folder.parent / f".{folder.name}.{os.getpid()}"
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
    except OSError as error:
        raise ScalebookError(
            f"Could not make {scratch}: {error.strerror}. Free space or fix the folder's permissions."
        ) from error
    return scratch


def _kernel_environment(scratch: Path) -> dict[str, str]:
    """Return what the kernel sees: this book, one thread and arithmetic, a fixed hash seed, nobody's start-up files."""
    return {
        **one_thread(),
        **same_arithmetic(),
        "SCALEBOOK_ROOT": str(root()),
        "SCALEBOOK_BUILD": str(build_dir()),
        "SCALEBOOK_RUN_DIR": str(scratch),
        "PYTHONHASHSEED": "0",
        "IPYTHONDIR": str(scratch / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(scratch / "runtime"),
        "JUPYTER_CONFIG_DIR": str(scratch / "config"),
    }


def _run_notebook(slug: str, scratch: Path, values: dict[str, Any], name: str) -> NotebookNode:
    """Execute the notebook with papermill in a kernel of this interpreter and return it with its outputs."""
    import nbformat
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from scalebook.kernel import OwnKernelManager

    count = sum(cell["cell_type"] == "code" for cell in inputs.read_notebook(slug)["cells"])
    number = 0

    def started(cell: NotebookNode, cell_index: int) -> None:
        nonlocal number
        number += "injected-parameters" not in cell.metadata.get("tags", [])  # not one of the chapter's own
        first = inputs.source(cell).strip().partition("\n")[0]
        print(f"{datetime.now():%H:%M:%S} code cell {number} of {count}: {first}", flush=True)
        events.send("cell", name, number=number, count=count)

    try:
        return papermill.execute_notebook(
            inputs.notebook_path(slug),
            scratch / "executed.ipynb",
            parameters=values,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=inputs.notebook_path(slug).parent,
            kernel_manager_class=OwnKernelManager,
            on_cell_execute=started,
            record_timing=False,
        )
    except PapermillExecutionError as error:
        print(_COLOUR.sub("", "\n".join(error.traceback)), flush=True)
        raise ChapterFailed(number, _error_line(error.ename, error.evalue, error.traceback)) from error
    except DeadKernelError as error:
        raise ChapterFailed(number, "the kernel died, most often because memory ran out; try fewer --jobs") from error
    except (CellTimeoutError, RuntimeError, nbformat.ValidationError) as error:
        raise ChapterFailed(number, f"{type(error).__name__}: {error}") from error


def _error_line(name: str, value: str, lines: list[str]) -> str:
    """Return an exception in one line, with the line of the notebook that raised it."""
    text = _COLOUR.sub("", "\n".join(lines))
    arrow = re.search(r"^-+> *\d+ (.*)$", text, re.MULTILINE)
    message = value.strip().partition("\n")[0]
    return f"{name}: {message}" + (f", at `{arrow.group(1).strip()}`" if arrow else "")


def _tidy(notebook: NotebookNode) -> NotebookNode:
    """Drop what papermill notes of times and paths: the same run gives the same file, and the site rebuilds less."""
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell["id"] = "injected-parameters"
    return notebook


def _check_results(scratch: Path, slug: str, profile: str, seed: int) -> None:
    if not (scratch / "results.json").is_file():
        raise ScalebookError(
            f"chapters/{slug}.ipynb wrote no results: its set-up cell must make a Chapter({slug!r}, ...)."
        )
    results = read_results(scratch / "results.json")
    if (results.chapter, results.profile, results.seed) != (slug, profile, seed):
        raise ScalebookError(
            f"chapters/{slug}.ipynb wrote results for {results.chapter}, {results.profile}, seed {results.seed}; its "
            f"set-up cell must read Chapter({slug!r}, profile=profile, seed=seed)."
        )


def _cost(scratch: Path, began: float) -> dict[str, Any]:
    """Return what the run cost: the kernel has ended by now, so the system's account of ended children is complete."""
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    seconds = scratch / "claim_seconds.json"
    versions = {name: importlib.metadata.version(name) for name in ("torch", "scalebook")}
    return {
        "started": datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(time.time() - began, 3),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 3),
        "peak_rss_mb": round(used.ru_maxrss * unit / _MEGABYTE, 1),
        "machine": machine(),
        "python": platform.python_version(),
        **versions,
        "claim_seconds": json.loads(seconds.read_text(encoding="utf-8")) if seconds.is_file() else {},
    }


def machine() -> str:
    """Return the machine in words: processor, cores, system."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        named = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
        model = named.group(1) if named else model
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


def _move(scratch: Path, folder: Path) -> None:
    """Move a finished run over the earlier one, file by file, its list of inputs last: until then it counts as old."""
    for name in KEPT:
        new, old = scratch / name, folder / name
        if old.is_dir():
            shutil.rmtree(old)
        if new.exists():
            os.replace(new, old)
        else:
            old.unlink(missing_ok=True)


def _abandon() -> None:
    """End at once with the kernel and all it started: whoever asked for this run is gone or wants it stopped."""
    if "scalebook.kernel" in sys.modules:
        for leader in sys.modules["scalebook.kernel"].running:
            kill_group(leader)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

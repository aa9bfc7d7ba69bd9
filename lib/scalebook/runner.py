"""Running chapters: Snakemake decides which and schedules them, each in a process of its own; here is the bridge."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from scalebook import events, parameters, runs
from scalebook.errors import ScalebookError
from scalebook.paths import atomic_write, build_dir, dump_json, root, run_dir
from scalebook.progress import Progress

POLL_SECONDS = 0.15
STOP_SECONDS = 10


@dataclass(frozen=True)
class Wanted:
    """A run that is asked for: a chapter, a profile, a seed and the knobs that are turned."""

    slug: str
    profile: str
    seed: int
    chosen: dict[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """The run's folder name."""
        return parameters.run_name(self.slug, self.chosen)

    @property
    def name(self) -> str:
        """The run as messages and events name it."""
        return f"{self.profile}/{self.seed}/{self.run}"

    @property
    def folder(self) -> Path:
        """Where its results are."""
        return run_dir(self.profile, self.seed, self.run)


@dataclass(frozen=True)
class Failure:
    """A run that did not work: what happened, in which code cell, and the log that tells more."""

    name: str
    error: str
    cell: int | None = None
    log: Path | None = None

    def text(self) -> str:
        """Return the failure in words."""
        where = f", code cell {self.cell}" if self.cell else ""
        return f"{self.name}{where}: {self.error}" + (f"\n    log: {self.log}" if self.log else "")


def run_all(
    wanted: Iterable[Wanted], *, jobs: int, console: Console, force: bool = False, executor: str | None = None
) -> list[Failure]:
    """Bring the wanted runs up to date and return those that failed; one failure does not stop the others.

    ``jobs`` chapters run at a time; ``force`` runs even what is current; ``executor`` names a Snakemake executor plugin
    (a cluster), local otherwise. The caller holds the build lock. Raises ScalebookError when the workflow itself cannot
    start.
    """
    chosen = list(wanted)
    ready, failures = _prepared(chosen, force)
    current = len(chosen) - len(ready) - len(failures)
    if current:
        console.print(f"[dim]{current} of {len(chosen)} up to date[/dim]")
    if not ready:
        return failures
    progress = Progress(console, len(ready))
    command = _command([item.folder for item in ready], jobs, executor)
    log = build_dir() / "workflow.log"
    try:
        with (
            tempfile.NamedTemporaryFile(dir=build_dir(), prefix=".events-") as news,
            open(log, "wb") as output,
            progress,
        ):
            book = {"SCALEBOOK_ROOT": str(root()), "SCALEBOOK_BUILD": str(build_dir())}
            environment = {**os.environ, **book, events.VARIABLE: news.name}
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=root())
            status = _follow(process, Path(news.name), progress)
    except OSError as error:
        raise ScalebookError(
            f"The workflow could not start in {build_dir()}: {error.strerror or error}. "
            "Free space or fix its permissions."
        ) from error
    failed = {
        name: Failure(name, event["error"], event.get("cell"), _log_path(event))
        for name, event in progress.failures.items()
    }
    for item in ready:
        if item.name not in failed and not runs.finished(item.profile, item.seed, item.run):
            failed[item.name] = Failure(item.name, f"it did not finish: {_last_error(log)}", None, log)
        elif item.name not in failed and runs.state(item.profile, item.seed, item.run) != "fresh":
            console.print(f"{item.name}: a file it depends on was edited while it ran; the next run repeats it.")
    if status and not failed:
        raise ScalebookError(f"The workflow stopped: {_last_error(log)}. Its log: {log}")
    return [*failures, *failed.values()]


def _prepared(wanted: Iterable[Wanted], force: bool) -> tuple[list[Wanted], list[Failure]]:
    """Return the runs that are to be made, and failures for those whose files cannot be read.

    Current runs are in neither list. The others lose their stamp, which makes the workflow repeat them whatever the
    dates of the files say; knobs are recorded in the run's folder.
    """
    ready: list[Wanted] = []
    failures: list[Failure] = []
    for item in wanted:
        try:
            parameters.defaults(item.slug)
            if runs.state(item.profile, item.seed, item.run) == "fresh" and not force:
                continue
            (item.folder / runs.STAMP).unlink(missing_ok=True)
            if item.chosen:
                atomic_write(item.folder / "parameters.json", dump_json(item.chosen))
            ready.append(item)
        except (ScalebookError, OSError) as error:
            failures.append(Failure(item.name, str(error)))
    return ready, failures


def _command(folders: list[Path], jobs: int, executor: str | None) -> list[str]:
    """Return Snakemake's command line; targets are relative to the build folder."""
    targets = [(folder / runs.STAMP).relative_to(build_dir()).as_posix() for folder in folders]
    cache = build_dir() / ".snakemake" / "cache"
    many = ["--executor", executor, "--jobs", str(jobs)] if executor else ["--cores", str(jobs)]
    return [
        *(sys.executable, "-m", "scalebook.processes", "snakemake"),
        *("--snakefile", str(root() / "workflow" / "Snakefile"), "--directory", str(build_dir())),
        *many,
        *("--rerun-incomplete", "--nolock", "--keep-going", "--scheduler", "greedy"),
        *("--runtime-source-cache-path", str(cache), "--nocolor"),
        "--",
        *targets,
    ]


def _follow(process: subprocess.Popen[bytes], news: Path, progress: Progress) -> int:
    """Show the news until the workflow ends; when we are stopped (Ctrl-C), the workflow is stopped first."""
    position = 0
    try:
        while True:
            ended = process.poll() is not None  # asked before reading, so that the last news are not missed
            found, position = events.receive(news, position)
            for event in found:
                progress.take(event)
            if ended:
                return process.returncode
            progress.refresh()
            try:
                process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    except BaseException:
        process.send_signal(signal.SIGINT)  # lets it cancel jobs on a cluster; local ones end with it in any case
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def _log_path(event: dict[str, Any]) -> Path | None:
    return Path(event["log"]) if event.get("log") else None


def _last_error(log: Path) -> str:
    """Return the last telling line of Snakemake's log."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or "error" in line or "Exception" in line]
    return (telling or lines or ["the workflow said nothing"])[-1][:300]

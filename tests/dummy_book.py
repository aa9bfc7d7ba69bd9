"""A small book in a temporary folder: a few notebooks that write their results without measuring anything."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]

PARAMETERS = """profile = "quick"
seed = 1000
width = 8
rate = 0.5
sizes = [1.0, 2.0]
steep = True
label = "plain"
"""

RESULTS = """import json, os, pathlib
folder = pathlib.Path(os.environ["SCALEBOOK_RUN_DIR"])
measured = {"slope": {"value": rate, "low": rate - 0.1, "high": rate + 0.1, "n": 8, "reason": None}}
judged = [{"measure": "slope", "low": 0.0, "high": 1.0, "state": "inside"}]
control = {"measure": "slope", "state": "not run", "reason": "none"}
claim = {"verdict": "reproduced", "reason": "One condition holds.", "paper": "%(slug)s2020", "fidelity": "exact",
         "parts": judged, "control": control, "measurements": measured, "spans": {}}
knobs = {"width": width, "rate": rate, "sizes": sizes, "steep": steep, "label": label}
results = {"chapter": "%(slug)s", "profile": profile, "seed": seed, "parameters": knobs, "complete": True,
           "claims": {"%(slug)s.slope": claim}, "glue": {}, "figures": []}
(folder / "results.json").write_text(json.dumps(results))
(folder / "claim_seconds.json").write_text(json.dumps({"%(slug)s.slope": 0.25}))
"""

REGISTER = """chapter: %(slug)s
title: A chapter
story: A story.
papers:
- key: %(slug)s2020
  title: A paper
  authors: Somebody
  year: 2020
  arxiv: null
  provenance: made up
  idea: An idea.
  formulas: [y = x]
  figures: []
  claims:
  - id: %(slug)s.slope
    says: The slope is between 0 and 1.
    fidelity: exact
    measure: A slope.
    rule: The slope lies in [0, 1].
    measures: {slope: the slope, extra: another number, seconds: a time in s}
    conditions: {all: [{measure: slope, low: 0, high: 1}, {measure: seconds, high: 9, profiles: [full]}]}
    reported: [extra]
    timings: [seconds]
    unit: seed
    replicates: {quick: 8, full: 16}
    control: {measure: slope, must_fail: {low: 2}}
    blind: true
    table: null
    registered: 2025-01-01
"""

CONTENTS = """parts:
- title: One part
  chapters:
"""
ENTRY = """  - slug: %(slug)s
    title: The chapter %(slug)s
    question: What?
    summary: This.
    level: introductory
    minutes: 20
"""


@dataclass
class DummyBook:
    """A book of its own with the repository's workflow; commands run in it as separate processes."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead the command to this book."""
        return {
            **os.environ,
            "SCALEBOOK_ROOT": str(self.folder),
            "SCALEBOOK_BUILD": str(self.folder / "_build"),
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "1",
        }

    def write(self, slug: str, *cells: str, parameters: str | None = PARAMETERS, data: list[str] | None = None) -> Path:
        """Write a notebook of the given code cells between the parameters and the results."""
        tags = [] if parameters is None else [["parameters"]]
        sources = [*([] if parameters is None else [parameters]), *cells, RESULTS % {"slug": slug}]
        code = [
            {"cell_type": "code", "id": f"c{k}", "metadata": {"tags": (tags + [[]] * 99)[k]}, "source": text,
             "outputs": [], "execution_count": None}
            for k, text in enumerate(sources)
        ]  # fmt: skip
        metadata: dict[str, Any] = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        if data:
            metadata["scalebook"] = {"data": data}
        path = self.folder / "chapters" / f"{slug}.ipynb"
        path.write_text(json.dumps({"cells": code, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
        return path

    def run_folder(self, slug: str, profile: str = "quick", seed: int = 1000) -> Path:
        """Return the folder of a run."""
        return self.folder / "_build" / "runs" / profile / str(seed) / slug

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start the command in a group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "scalebook.cli", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder,
            env={**self.environment, **variables}, start_new_session=True,
            # whoever runs the tests in the background has SIGINT ignored, and children inherit that
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def command(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def fabricate(
        self, slug: str, profile: str = "quick", seed: int = 1000, verdict: str = "reproduced", complete: bool = True,
        **measured: tuple[float | None, float | None, float | None],
    ) -> Path:  # fmt: skip
        """Write a finished run by hand, current with its inputs; returns its folder."""
        from scalebook import inputs

        values = {
            name: {"value": v, "low": low, "high": high, "n": 8, "reason": "none" if v is None else None}
            for name, (v, low, high) in measured.items()
        }
        parts = [
            {"measure": "slope", "low": 0.0, "high": 1.0, "state": "inside"},
            {
                "measure": "seconds",
                "low": None,
                "high": 9.0,
                "state": "inside" if profile == "full" else "not in this profile",
            },
        ]
        claim = {
            "verdict": verdict, "reason": "made up", "paper": f"{slug}2020", "fidelity": "exact", "spans": {},
            "parts": parts,
            "control": {"measure": "slope", "state": "not run", "reason": "none"}, "measurements": values,
        }  # fmt: skip
        results = {
            "chapter": slug, "profile": profile, "seed": seed, "parameters": {}, "complete": complete,
            "claims": {f"{slug}.slope": claim} if measured else {}, "glue": {}, "figures": [],
        }  # fmt: skip
        cost = {
            "started": "2025-01-01", "finished": "2025-01-01", "wall_seconds": 2.0, "cpu_seconds": 1.5,
            "peak_rss_mb": 99.0,
            "machine": "a machine", "python": "3.11.0", "torch": "2.13.0", "scalebook": "0.1.0",
            "claim_seconds": {f"{slug}.slope": 0.75},
        }  # fmt: skip
        folder = self.run_folder(slug, profile, seed)
        folder.mkdir(parents=True, exist_ok=True)
        stamp = {"files": inputs.fingerprints(slug), "parameters": {}}
        for name, content in (("results", results), ("cost", cost), ("inputs", stamp)):
            (folder / f"{name}.json").write_text(json.dumps(content))
        (folder / "executed.ipynb").write_text("{}")
        return folder


def make_book(folder: Path, written: tuple[str, ...], planned: tuple[str, ...] = ()) -> DummyBook:
    """Return a book whose ``written`` chapters have notebooks and whose ``planned`` ones have only a register."""
    for name in ("chapters", "data/papers", "data/ledger", "data/exercises", "workflow", "lib/scalebook/topics"):
        (folder / name).mkdir(parents=True)
    (folder / "_config.yml").write_text("title: dummy\n")
    (folder / "constraints.txt").write_text("numpy==1\n")
    shutil.copy(REPOSITORY / "workflow" / "Snakefile", folder / "workflow")
    library = folder / "lib" / "scalebook"
    library.joinpath("__init__.py").write_text(
        '_EXPORTS = {"Chapter": "scalebook.chapter", "fit": "scalebook.fitting"}\n'
    )
    library.joinpath("chapter.py").write_text("from scalebook.estimate import mean\n")
    library.joinpath("estimate.py").write_text("mean = 1\n")
    library.joinpath("fitting.py").write_text("fit = 1\n")
    library.joinpath("topics", "__init__.py").write_text("")
    library.joinpath("topics", "used.py").write_text("used = 1\n")
    library.joinpath("topics", "other.py").write_text("other = 1\n")
    (folder / "data" / "chapters.yml").write_text(
        CONTENTS + "".join(ENTRY % {"slug": slug} for slug in written + planned)
    )
    book = DummyBook(folder)
    for slug in written + planned:
        (folder / "data" / "papers" / f"{slug}.yml").write_text(REGISTER % {"slug": slug})
    for slug in written:
        book.write(slug)
    return book

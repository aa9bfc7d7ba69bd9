"""Tables and provenance from finished runs, and what is finished so far. No torch."""

from __future__ import annotations

import platform

import numpy as np

from scalebook import paths
from scalebook.errors import ScalebookError
from scalebook.suite import corpus, rates, running, storage
from scalebook.suite.plan import BLOCKS, jobs, runs

BEGIN, END = "<!-- blocks: written by scalebook suite --merge -->", "<!-- end of blocks -->"


def provenance(table: storage.Table, known: corpus.Corpus | None) -> dict:
    """Return what ``microscale.json`` holds, from the runs of a merged table.

    ``known`` is the corpus of the running Python; it is used for a first table only.
    """
    about = dict(table.about)
    if "corpus" not in about:
        about["corpus"] = {
            "python": known.python, "files": known.files, "train_bytes": int(known.train.size), "sha256": known.hashes,
            "held_out_bytes": {name: int(text.size) for name, text in known.held.items()},
        }
        about["numpy"] = np.__version__
        about["implementation"] = platform.python_implementation()
    rows = [dict(zip(storage.RUN_COLUMNS, row, strict=True)) for row in table.runs.values()]
    block_of = {run: lines[0][storage.COLUMNS.index("block")] for run, lines in table.curves.items()}
    planned = {block: set(runs([job for job in jobs() if job.block == block])) for block in BLOCKS}
    about["blocks"] = {
        block: {
            "what": what,
            "runs": sum(run in planned[block] for run in table.curves),
            "planned": len(planned[block]),
            "core_seconds": round(sum(float(row["seconds"]) for row in rows if block_of[row["run"]] == block)),
        }
        for block, what in BLOCKS.items()
    }
    for name in ("machine", "torch"):
        about[name] = sorted({row[name] for row in rows})
    about["dates"] = [min((row["date"] for row in rows), default=""), max((row["date"] for row in rows), default="")]
    about["law"] = about.get("law") or rates.fit(storage.finals(table))
    throughput = storage.work_dir() / "throughput.json"
    if "throughput" not in about and throughput.is_file():
        about["throughput"] = storage.read_json(throughput)
    about["licence"] = "CC BY 4.0"
    return about


def blocks_text(about: dict) -> str:
    """Return the Markdown table of the blocks for the README."""
    lines = ["| block | what | runs | of | complete | core-seconds |", "| --- | --- | --- | --- | --- | --- |"]
    for block, entry in about["blocks"].items():
        complete = "yes" if entry["runs"] == entry["planned"] else "no"
        cells = [block, entry["what"], entry["runs"], entry["planned"], complete, f"{entry['core_seconds']:,}"]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def merge() -> str:
    """Add every finished part to the committed tables and say how many runs there are now.

    The tables depend on the parts and the committed rows alone; the same ones give the same bytes.
    """
    table = storage.committed()
    parts = storage.read_parts()
    if not parts and not table.curves:
        raise ScalebookError(
            f"There is nothing to merge: no finished run in {storage.work_dir()}. Run `scalebook suite` first."
        )
    merged = storage.combine(table, parts)
    known = corpus.load() if "corpus" not in table.about else None
    if known is not None and parts and parts[0]["corpus"] != known.hashes:
        raise ScalebookError(
            f"The parts were trained on another corpus than that of Python {known.python}. Merge with the Python that "
            "trained them, or delete the parts."
        )
    merged.about = provenance(merged, known)
    storage.write(merged)
    readme = storage.data_dir() / "README.md"
    if readme.is_file():
        text = readme.read_text(encoding="utf-8")
        before, found, rest = text.partition(BEGIN)
        _, closed, after = rest.partition(END)
        if not (found and closed):
            raise ScalebookError(f"{readme} lacks the lines {BEGIN!r} and {END!r} between which the blocks are listed.")
        paths.atomic_write(readme, f"{before}{BEGIN}\n{blocks_text(merged.about)}\n{END}{after}")
    return f"{len(merged.curves)} runs in data/suite ({len(merged.curves) - len(table.curves)} new)."


def status(blocks: str) -> str:
    """Return one line a block: runs finished here, runs in the table, and the core time left."""
    running.chosen(blocks)  # an unknown letter is an error here too
    table = storage.committed()
    done = storage.Done(table)
    lines = []
    for block in BLOCKS:
        if block not in blocks.upper():
            continue
        chosen = running.chosen(block)
        finished = sum(done.runs(job) for job in chosen)
        published = sum(run in table.curves for run in runs(chosen))
        left = running.clock(running.left_seconds(chosen, done))
        lines.append(
            f"{block}  {finished:4d} of {len(runs(chosen)):4d} runs finished, {published:4d} in the table, "
            f"about {left} of one core left  ({BLOCKS[block]})"
        )
    return "\n".join(lines)

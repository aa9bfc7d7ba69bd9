"""Parts and tables: each finished segment is a file of its own; the tables are made from them, byte for byte.

Numbers become text once, when a part is written; merging only sorts and joins, so it cannot change a digit.
Torch is not needed here.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

from scalebook import paths
from scalebook.errors import ScalebookError
from scalebook.suite.corpus import CONTEXT
from scalebook.suite.plan import COOLDOWN, Job, Member, unlabel

CURVES, RUNS, ABOUT = "microscale.csv.gz", "runs.csv.gz", "microscale.json"
COLUMNS = (
    "run", "block", "size", "d", "L", "heads", "n_nonemb", "n_total", "batch", "lr_peak", "schedule", "wd", "seed",
    "budget", "steps", "arm", "stack", "step", "tokens", "flops_nonemb", "flops_head", "flops_attention", "lr_now",
    "s1", "val", "val2", "val2a", "val2b", "ood1", "ood2", "train",
)
LOSSES = COLUMNS[COLUMNS.index("val") :]
PROBES = ("bracket", "recall", "indentation")
RUN_COLUMNS = ("run", "stack", "date", "machine", "torch", "seconds", *PROBES, *(f"p{k + 1}" for k in range(CONTEXT)))


def data_dir() -> Path:
    """Return the folder of the committed data set."""
    return paths.root() / "data" / "suite"


def work_dir() -> Path:
    """Return the folder of everything the suite makes on the way."""
    return paths.build_dir() / "suite"


def part_path(job: Job, segment: str) -> Path:
    """Return where a finished segment is written."""
    return work_dir() / "parts" / f"{job.name}.{segment}.json"


def loss_text(value: float) -> str:
    """Write a loss in nats with five digits after the point; ``nan`` and ``inf`` for a run that blew up."""
    return f"{value:.5f}"


def curve_rows(job: Job, segment: str, members: list[Member], peaks: list[float], rows: list[dict]) -> list[list[str]]:
    """Return rows of the table of curves, as text.

    ``members`` and ``peaks`` belong to the segment in order; each entry of ``rows`` names its member by position in the
    job and holds step, lr_now, s1, train and the measured losses.
    """
    place = {job.members.index(member): k for k, member in enumerate(members)}
    shape = job.shape
    schedule, budget = unlabel(segment)
    found = []
    for row in rows:
        member, peak = members[place[row["member"]]], peaks[place[row["member"]]]
        tokens = row["step"] * job.batch
        cells = [job.run(member, segment), job.block, job.size, shape.width, shape.layers, shape.heads, shape.n_nonemb,
                 shape.n_total, job.batch, f"{peak:.3g}", schedule, f"{member.decay:g}", member.seed, budget,
                 job.steps(budget), job.arm, job.name, row["step"], tokens, *shape.flops(tokens),
                 f"{row['lr_now']:.6g}", f"{row['s1']:.6g}"]
        cells += [loss_text(row[name]) if name in row else "" for name in LOSSES]
        found.append([str(cell) for cell in cells])
    return sorted(found, key=lambda cells: (cells[0], int(cells[COLUMNS.index("step")])))


def write_part(job: Job, segment: str, part: dict) -> None:
    """Write one finished segment: ``curves`` and ``runs`` (rows of text) and ``corpus`` (hashes of its text)."""
    paths.atomic_write(part_path(job, segment), paths.dump_json(part))


@dataclass
class Table:
    """Both tables by run: curves {run: rows of text}, runs {run: row of text}; the provenance as committed."""

    curves: dict[str, list[list[str]]] = field(default_factory=dict)
    runs: dict[str, list[str]] = field(default_factory=dict)
    about: dict = field(default_factory=dict)


def _read_csv(path: Path, columns: tuple[str, ...]) -> list[list[str]]:
    if not path.is_file():
        return []
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    if not rows or tuple(rows[0]) != columns:
        raise ScalebookError(
            f"{path} does not have the columns of this version ({', '.join(columns[:6])}, ...). "
            "Restore the committed file with git before merging."
        )
    return rows[1:]


def committed(folder: Path | None = None) -> Table:
    """Read the committed data set; an absent one is an empty table."""
    folder = folder or data_dir()
    table = Table()
    for row in _read_csv(folder / CURVES, COLUMNS):
        table.curves.setdefault(row[0], []).append(row)
    table.runs = {row[0]: row for row in _read_csv(folder / RUNS, RUN_COLUMNS)}
    if (folder / ABOUT).is_file():
        table.about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    return table


def read_json(path: Path) -> dict:
    """Read one JSON file of the suite."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_parts() -> list[dict]:
    """Read every part in the order of the file names."""
    found = []
    for path in sorted((work_dir() / "parts").glob("*.json")):
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")))
        except json.JSONDecodeError as error:
            raise ScalebookError(
                f"{path} is not a whole part ({error}). Delete it; its runs are then trained again."
            ) from error
    return found


def combine(table: Table, parts: list[dict]) -> Table:
    """Add the runs of parts to a table; a run that the table already has stays as it is published.

    Raises ScalebookError when a part was trained on another corpus than the table or another part.
    """
    expected = table.about.get("corpus", {}).get("sha256") or (parts[0]["corpus"] if parts else {})
    merged = Table(dict(table.curves), dict(table.runs), table.about)
    for part in parts:
        if part["corpus"] != expected:
            raise ScalebookError(
                f"The part of {part['stack']} was trained on corpus {part['corpus']['corpus'][:12]}..., the table on "
                f"{expected['corpus'][:12]}...: another patch release of Python. Delete the parts of one of them in "
                f"{work_dir() / 'parts'}."
            )
        fresh: dict[str, list[list[str]]] = {}
        for row in part["curves"]:
            if row[0] not in table.curves:
                fresh.setdefault(row[0], []).append(row)
        merged.curves |= fresh
        merged.runs |= {row[0]: row for row in part["runs"] if row[0] not in table.runs}
    return merged


def packed(columns: tuple[str, ...], rows: list[list[str]]) -> bytes:
    """Return a gzipped CSV that is the same bytes for the same rows: no time and no file name in its header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=9, mtime=0) as file:
        file.write(text.getvalue().encode("utf-8"))
    return buffer.getvalue()


def write(table: Table, folder: Path | None = None) -> None:
    """Write both tables, sorted by run and step, and the provenance."""
    folder = folder or data_dir()
    curves = [row for run in sorted(table.curves) for row in table.curves[run]]
    paths.atomic_write(folder / CURVES, packed(COLUMNS, curves))
    paths.atomic_write(folder / RUNS, packed(RUN_COLUMNS, [table.runs[run] for run in sorted(table.runs)]))
    paths.atomic_write(folder / ABOUT, paths.dump_json(table.about))


def finals(table: Table) -> dict[str, float]:
    """Return {run: last validation loss in nats}."""
    value = COLUMNS.index("val")
    return {run: float(rows[-1][value]) for run, rows in table.curves.items()}


class Done:
    """Knows which segments are finished: a part is there, or all its runs are in the committed table."""

    def __init__(self, table: Table) -> None:
        self.published = frozenset(table.curves)

    def segment(self, job: Job, segment: str) -> bool:
        """Whether one segment needs no training any more."""
        members = job.segments()[segment]
        return all(job.run(m, segment) in self.published for m in members) or part_path(job, segment).is_file()

    def runs(self, job: Job) -> int:
        """Return how many of a job's runs are finished."""
        return sum(len(members) for segment, members in job.segments().items() if self.segment(job, segment))

    def job(self, job: Job) -> bool:
        """Whether all segments of a job are finished."""
        return all(self.segment(job, segment) for segment in job.segments())

    def share(self, job: Job) -> float:
        """Share of a job's training tokens whose segments are finished."""
        return 1.0 if self.job(job) else sum(
            cost for segment, cost in segment_tokens(job).items() if self.segment(job, segment)
        ) / job.trained_tokens()


def segment_tokens(job: Job) -> dict[str, int]:
    """Return the training tokens that each segment costs."""
    found = {}
    for segment, members in job.segments().items():
        schedule, tokens = unlabel(segment)
        found[segment] = int(len(members) * tokens * (COOLDOWN if schedule != job.schedule else 1.0))
    return found


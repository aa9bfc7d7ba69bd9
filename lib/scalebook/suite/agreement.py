"""Train a few published runs again and compare: does this machine make the table that is published?

Started by ``scalebook suite --check`` as a process of its own, because the arithmetic has to be chosen before PyTorch is
loaded (`running.WORKER_ENVIRONMENT`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch

from scalebook.errors import ScalebookError
from scalebook.suite import corpus, rates, storage
from scalebook.suite.plan import Job, Member, jobs
from scalebook.suite.training import State, Trainer, held_windows
from scalebook.suite.worker import EVAL_COUNT

# A stack of five rates from far too small to far too large, and a deeper model near its best rate: some ten seconds.
REMADE = {"L-m0": 125_000, "L-m3-lr1e-2-s1000": 125_000}
WITHIN = 1e-3  # relative difference of the final loss that another kind of arithmetic may make


@dataclass(frozen=True)
class Remade:
    """One run trained again: its published row says where; ``end`` is the relative difference of the final loss."""

    run: str
    machine: str
    same: bool  # every number of the curve, as text
    end: float


def remade(job: Job, tokens: int, table: storage.Table, text: corpus.Corpus) -> list[Remade]:
    """Train the cooled runs of a job that end by ``tokens`` again and hold each against the table."""
    peaks = [rates.resolve(member.rate, job.shape, table.about["law"]) for member in job.members]
    trainer = Trainer(job, peaks, text.train, held_windows(text.held, EVAL_COUNT))
    column, found = storage.COLUMNS.index("val"), []

    def compare(segment: str, state: State, members: list[Member], rows: list[dict], _: torch.Tensor) -> None:
        own = [peaks[job.members.index(member)] for member in members]
        fresh: dict[str, list[list[str]]] = {}
        for row in storage.curve_rows(job, segment, members, own, rows):
            fresh.setdefault(row[0], []).append(row)
        for run, curve in fresh.items():
            published = table.curves[run]
            end = float(curve[-1][column]) / float(published[-1][column]) - 1
            found.append(Remade(run, table.runs[run][storage.RUN_COLUMNS.index("machine")], curve == published, end))

    for state, _ in trainer.run(trainer.start(), lambda _: False, compare):
        if state.step >= job.steps(tokens):
            break
    return found


def report(found: list[Remade]) -> str:
    """Say how the runs agree; raises ScalebookError where a final loss is further off than `WITHIN`."""
    lines = [f"{one.run}: {'identical' if one.same else f'final loss off by {one.end:+.1e}'}" for one in found]
    far = [one for one in found if not abs(one.end) <= WITHIN]
    if far:
        raise ScalebookError(
            "\n".join([*lines, f"{len(far)} of {len(found)} runs miss their published final loss by more than {WITHIN:g}. "
            f"They were trained on {far[0].machine}. Processors without AVX2 round differently, and large learning "
            "rates amplify that; if this one has AVX2, compare the version of PyTorch with data/suite/microscale.json."])
        )
    return "\n".join([*lines, f"All {len(found)} agree, {sum(one.same for one in found)} to the last digit."])


def main() -> None:
    """Compare all of `REMADE` and print the report."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    table = storage.committed()
    known = {job.name: job for job in jobs()}
    try:
        text = corpus.load(table.about["corpus"])
        corpus.check(text, table.about["corpus"])
        print(report([one for name, tokens in REMADE.items() for one in remade(known[name], tokens, table, text)]))
    except ScalebookError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()

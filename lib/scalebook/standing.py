"""Where each claim stands: what is published, what this build measured, what is only planned.

The published values are those of the accepted full run in ``data/ledger/``; a build's are in its run folders. Both are
read as they are, nothing is judged again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from scalebook import inputs, runs
from scalebook.register import ChapterInfo, Claim, Paper, load_chapters, load_register
from scalebook.verdict import INCONCLUSIVE, NOT_REPRODUCED, NOT_RUN, PLANNED, REPRODUCED

VERDICTS = (REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE, NOT_RUN, PLANNED)


@dataclass(frozen=True)
class Record:
    """One claim's outcome in one run: the stored outcome, and where and when it was measured."""

    outcome: runs.ClaimRecord
    profile: str
    seed: int
    date: str | None = None
    machine: str | None = None

    @property
    def verdict(self) -> str:
        """The verdict of this run."""
        return self.outcome.verdict

    @property
    def measurements(self) -> dict[str, runs.Measured]:
        """What was measured, by the name of the measure."""
        return self.outcome.measurements

    @property
    def judged(self) -> list[str]:
        """The measures that the verdict rests on, each once, in the rule's order."""
        return list(dict.fromkeys(part.measure for part in self.outcome.parts if part.measure in self.measurements))


@dataclass(frozen=True)
class Row:
    """A claim with its paper and chapter, its published outcome and this build's."""

    chapter: ChapterInfo
    paper: Paper
    claim: Claim
    written: bool
    published: Record | None
    built: Record | None

    @property
    def verdict(self) -> str:
        """The verdict that the book shows: the published one; without it, whether the chapter exists."""
        if self.published is not None:
            return self.published.verdict
        return NOT_RUN if self.written else PLANNED

    @property
    def disagrees(self) -> bool:
        """Tell whether this build decided the claim and decided it the other way."""
        if self.published is None or self.built is None:
            return False
        decided = {REPRODUCED, NOT_REPRODUCED}
        return {self.published.verdict, self.built.verdict} == decided


def rows(profile: str, seed: int) -> list[Row]:
    """Return every claim of the book in reading order, with its published outcome and that of the named build.

    Raises ScalebookError, naming file and field, for a stored file that is broken.
    """
    found = []
    for chapter in load_chapters():
        accepted = runs.load_published(chapter.slug)
        results = runs.load_results(profile, seed, chapter.slug)
        written = inputs.notebook_path(chapter.slug).is_file()
        found += [
            Row(chapter, paper, claim, written, _record(accepted, claim.id), _record(results, claim.id))
            for paper, claim in load_register(chapter.slug).claims()
        ]
    return found


def _record(run: runs.Published | runs.Results | None, claim: str) -> Record | None:
    if run is None or claim not in run.claims:
        return None
    date, machine = (run.accepted, run.machine) if isinstance(run, runs.Published) else (None, None)
    return Record(run.claims[claim], run.profile, run.seed, date, machine)


def tally(verdicts: Iterable[str]) -> dict[str, int]:
    """Return how many there are of each verdict, in the book's order, without the empty ones."""
    counts = Counter(verdicts)
    return {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]}

"""The ledger: every claim with its verdict and measurements as plain rows, and the act of accepting a full run.

A row is ``{claim, paper, chapter, fidelity, verdict, profile, seed, seconds, measurements}``; a measurement is
``{measure, value, low, high, accept_low, accept_high}``, with null for what is not there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scalebook import inputs, parameters, runs
from scalebook.errors import ScalebookError, UserError
from scalebook.parameters import FIRST_SEED, slug_of
from scalebook.paths import atomic_write, dump_json
from scalebook.records import Claim, Paper
from scalebook.register import load_chapters, load_register
from scalebook.verdict import NOT_RUN, PLANNED

Row = dict[str, Any]
PUBLISHED = "full"  # the profile that the book publishes


def book_rows(profile: str) -> list[Row]:
    """Return all claims of the book in reading order: published values for full, else this build's with seed 1000."""
    found: list[Row] = []
    for chapter in load_chapters():
        if profile == PUBLISHED:
            published = runs.load_published(chapter.slug)
            found += _rows(chapter.slug, profile, published.seed if published else FIRST_SEED, published, {})
        else:
            found += run_rows(profile, FIRST_SEED, chapter.slug)
    return found


def run_rows(profile: str, seed: int, run: str, *, only_finished: bool = False) -> list[Row]:
    """Return the claims of one run's chapter; ``only_finished`` takes the results
    that an unfinished attempt left standing for none at all."""
    usable = not only_finished or runs.finished(profile, seed, run)
    results = runs.load_results(profile, seed, run) if usable else None
    cost = runs.load_cost(profile, seed, run) if results else None
    return _rows(slug_of(run), profile, seed, results, cost.claim_seconds if cost else {})


def check_seed(seed: int) -> int:
    """Return a seed whose run may be published; raises UserError for one that may have served to develop a chapter."""
    if parameters.check_seed(seed) < FIRST_SEED:
        raise UserError(f"Seed {seed} may have served to develop the chapter; published are seeds from {FIRST_SEED}.")
    return seed


def accept(slug: str, seed: int = FIRST_SEED) -> Path:
    """Publish the full run of a seed as the chapter's ledger file and return its path.

    The seed is 1000 unless a rule or control was amended after a run of it had been seen: then another, named in the
    amendment before its run. Raises UserError for a seed below 1000; ScalebookError, saying what to do, when there is no
    such run, when it does not judge every registered claim, or when a file that it depends on has changed since.
    """
    check_seed(seed)
    again = f"Run: scalebook run {slug} --profile {PUBLISHED}" + (f" --seed {seed}" if seed != FIRST_SEED else "")
    state = runs.state(PUBLISHED, seed, slug)
    results = runs.load_results(PUBLISHED, seed, slug)
    cost = runs.load_cost(PUBLISHED, seed, slug)
    if results is None or cost is None:
        raise ScalebookError(f"{slug} has no {PUBLISHED} run of seed {seed} to accept. {again}")
    if state != "fresh":
        finished = runs.finished(PUBLISHED, seed, slug)
        changed = runs.changed_inputs(PUBLISHED, seed, slug) if finished else []
        why = f"older than what it depends on: {', '.join(changed[:5])}" if changed else "not finished"
        raise ScalebookError(f"The {PUBLISHED} run of {slug} is {why}. {again}")
    missing = [claim.id for _, claim in load_register(slug).claims() if claim.id not in results.claims]
    if missing or not results.complete:
        raise ScalebookError(
            f"The {PUBLISHED} run of {slug} is not complete: no result for {', '.join(missing) or 'some claims'}. Add "
            f"ch.claim(...) for each to chapters/{slug}.ipynb. {again}"
        )
    path = runs.published_path(slug)
    claims = {
        name: {**record.model_dump(), "seconds": cost.claim_seconds.get(name)}
        for name, record in results.claims.items()
    }
    published = {
        "chapter": slug,
        "profile": PUBLISHED,
        "seed": seed,
        "accepted": datetime.now(UTC).date().isoformat(),
        "machine": cost.machine,
        "python": cost.python,
        "torch": cost.torch,
        "cost": {"cpu_seconds": cost.cpu_seconds, "peak_rss_mb": cost.peak_rss_mb},
        "claims": claims,
    }
    atomic_write(path, dump_json(published))
    return path


def _rows(
    slug: str, profile: str, seed: int, source: runs.Results | runs.Published | None, seconds: dict[str, float]
) -> list[Row]:
    written = inputs.notebook_path(slug).is_file()
    rows = []
    for paper, claim in load_register(slug).claims():
        record = source.claims.get(claim.id) if source else None
        rows.append(_row(slug, paper, claim, record, written, profile, seed, seconds.get(claim.id)))
    return rows


def _row(
    slug: str,
    paper: Paper,
    claim: Claim,
    record: runs.ClaimRecord | None,
    written: bool,
    profile: str,
    seed: int,
    seconds: float | None,
) -> Row:
    if record is None:
        verdict = NOT_RUN if written else PLANNED
        seconds, measurements = None, _registered(claim)
    else:
        verdict, measurements = record.verdict, _measured(claim, record)
        seconds = record.seconds if seconds is None else seconds
    return {
        "claim": claim.id,
        "paper": paper.key,
        "chapter": slug,
        "fidelity": claim.fidelity,
        "verdict": verdict,
        "profile": profile,
        "seed": seed,
        "seconds": seconds,
        "measurements": measurements,
    }


def _measured(claim: Claim, record: runs.ClaimRecord) -> list[Row]:
    """Return the measured values: those judged with the bounds they were held against, then the others without."""
    judged = [(part.measure, part.low, part.high) for part in record.parts if part.state != "not in this profile"]
    rows = []
    for name, low, high in _with_others(claim, judged):
        value = record.measurements.get(name)
        rows.append(_measurement(name, value, low, high))
    return rows


def _registered(claim: Claim) -> list[Row]:
    """Return every measure with its registered bounds and no value."""
    judged = [(condition.measure, condition.low, condition.high) for condition in claim.conditions.conditions()]
    return [_measurement(name, None, low, high) for name, low, high in _with_others(claim, judged)]


def _with_others(
    claim: Claim, judged: list[tuple[str, float | None, float | None]]
) -> list[tuple[str, float | None, float | None]]:
    """Return each judged measure and bounds once, followed by the measures that are not judged."""
    once = list(dict.fromkeys(judged))
    names = {name for name, _, _ in once}
    return [*once, *((name, None, None) for name in claim.measures if name not in names)]


def _measurement(name: str, found: runs.Measured | None, low: float | None, high: float | None) -> Row:
    return {
        "measure": name,
        "value": found.value if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "accept_low": low,
        "accept_high": high,
    }

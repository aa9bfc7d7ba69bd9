"""Drift: how a full run on this machine compares with the published values.

A measure has moved when the two intervals do not meet; an exact one when it differs by more than a millionth. Times
are left out, in measures and in verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass

from scalebook import runs
from scalebook.errors import ScalebookError, UserError
from scalebook.estimate import Estimate
from scalebook.records import Claim
from scalebook.register import load_chapters, load_register
from scalebook.verdict import NOT_RUN, judge_claim

EXACT_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Moved:
    """A measure whose published and new values do not agree."""

    measure: str
    published: runs.Measured
    found: runs.Measured | None


@dataclass(frozen=True)
class Drift:
    """One claim, compared: the verdicts without times, and the measures that moved."""

    claim: str
    published: str
    found: str
    moved: tuple[Moved, ...]

    @property
    def changed(self) -> bool:
        """Tell whether the verdict is another one than published."""
        return self.published != self.found


def compare(profile: str, slugs: list[str] | None = None) -> list[Drift]:
    """Return the comparison for every claim that is published and whose chapter this build has run in ``profile``.

    Raises UserError when the published run has another profile, ScalebookError when there is nothing to compare or the
    run is older than what it depends on.
    """
    chosen = slugs or [chapter.slug for chapter in load_chapters()]
    found: list[Drift] = []
    missing = []
    for slug in chosen:
        published = runs.load_published(slug)
        if published is None:
            if slugs:
                raise ScalebookError(
                    f"{slug} has no published values yet. Accept a full run: scalebook ledger --accept {slug}"
                )
            continue
        if published.profile != profile:
            raise UserError(
                f"{slug}: a {profile} run cannot be compared with published values of the {published.profile} profile; "
                f"sizes differ by design. Use: scalebook drift --profile {published.profile}"
            )
        results = runs.load_results(profile, published.seed, slug)
        if results is None:
            missing.append((slug, published.seed))
            continue
        if runs.state(profile, published.seed, slug) != "fresh":
            raise ScalebookError(
                f"The {profile} run of {slug} is older than its inputs. Run: scalebook run {slug} --profile {profile} "
                f"--seed {published.seed}"
            )
        if results.profile != published.profile:
            raise UserError(
                f"{slug}: the run in the {profile} folder says profile {results.profile}. Run it again with --force."
            )
        found += _chapter(slug, published, results)
    if missing and (slugs or not found):
        raise ScalebookError(
            f"No {profile} run of {', '.join(slug for slug, _ in missing)} to compare. Run: "
            + "; ".join(f"scalebook run {slug} --profile {profile} --seed {seed}" for slug, seed in missing)
        )
    if not found:
        raise ScalebookError(
            "Nothing is published yet, so nothing can drift. Accept a full run: scalebook ledger --accept SLUG"
        )
    return found


def _chapter(slug: str, published: runs.Published, results: runs.Results) -> list[Drift]:
    drifts = []
    for _, claim in load_register(slug).claims():
        old, new = published.claims.get(claim.id), results.claims.get(claim.id)
        if old is None:
            continue
        moved = tuple(
            Moved(name, value, new.measurements.get(name) if new else None)
            for name, value in old.measurements.items()
            if name not in claim.timings and has_moved(value, new.measurements.get(name) if new else None)
        )
        after = _verdict(claim, new, results.profile) if new else NOT_RUN
        drifts.append(Drift(claim.id, _verdict(claim, old, published.profile), after, moved))
    return drifts


def has_moved(old: runs.Measured, new: runs.Measured | None) -> bool:
    """Tell whether two measured values disagree; without intervals there is nothing to disagree about.

    A value that appeared or vanished has moved.
    """
    if new is None or (old.value is None) != (new.value is None):
        return True
    if None in (old.value, old.low, old.high, new.low, new.high):
        return False
    if old.low == old.high and new.low == new.high:
        return abs(old.value - new.value) > EXACT_TOLERANCE * max(abs(old.value), abs(new.value))
    return new.high < old.low or old.high < new.low


def _verdict(claim: Claim, record: runs.ClaimRecord, profile: str) -> str:
    """Return the recorded verdict; where times are judged, the verdict that the rest of the rule gives."""
    if not set(claim.timings) & claim.conditions.measures():
        return record.verdict
    estimates = {
        name: Estimate(found.value, found.low, found.high, found.n, found.reason)
        for name, found in record.measurements.items()
    }
    return judge_claim(claim, estimates, profile, timings_judged=False).verdict

"""The pieces of HTML that state a claim before its run and show its verdict after it.

Notebooks and the site use the same pieces. They read well without script and without the stylesheet.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

from scalebook.estimate import Estimate
from scalebook.records import Claim, Figure, Paper, bounds_text
from scalebook.verdict import INCONCLUSIVE, NOT_REPRODUCED, NOT_RUN, PLANNED, REPRODUCED, ClaimResult, what_would_change

ASSETS = Path(__file__).parent / "assets"

ICONS = {REPRODUCED: "✓", NOT_REPRODUCED: "✗", INCONCLUSIVE: "~", NOT_RUN: "○", PLANNED: "·"}
TONES = {REPRODUCED: "good", NOT_REPRODUCED: "bad", INCONCLUSIVE: "open", NOT_RUN: "idle", PLANNED: "idle"}

# what a verdict covers, in words: the scale of our test is part of the answer
REACH = {
    "exact": "as the paper states it",
    "scaled": "at laptop scale",
    "mechanism": "in a toy mechanism",
    "reanalysis": "on the paper's own numbers",
}


def style(asset: str = "cards.css") -> str:
    """Return a stylesheet as an inline element; the site loads it once and drops these copies."""
    return f'<style data-sb-asset="{asset}">{(ASSETS / asset).read_text(encoding="utf-8")}</style>'


def prose(text: str) -> str:
    """Return text as HTML: escaped, words between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def standing_of(figure: Figure) -> str:
    """Say where a paper gives a figure and, where that does not say it already, how sure we are of it."""
    return prose(figure.where if figure.sure in figure.where.lower() else f"{figure.where}; {figure.sure}")


def figure_item(figure: Figure) -> str:
    """Return a figure that a paper prints as an item of a list: what, how much, where it stands."""
    place = f"<span class='sb-small'>({standing_of(figure)})</span>"
    return f"<li>{prose(figure.what)}: <b>{prose(figure.value)}</b> {place}</li>"


def number(value: float | None) -> str:
    """Write a number with four significant digits, without an exponent where that stays short."""
    if value is None:
        return "none"
    if value != 0 and (abs(value) >= 1e6 or abs(value) < 1e-4):
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa} × 10<sup>{int(exponent)}</sup>".replace("-", "−")
    return f"{value:.4g}".replace("-", "−") if abs(value) < 1e4 else f"{value:,.0f}".replace("-", "−")


def badge(verdict: str) -> str:
    """Return a verdict as text with its icon and colour."""
    return f'<span class="sb-badge sb-{TONES[verdict]}"><span aria-hidden="true">{ICONS[verdict]}</span> {verdict}</span>'


def measured(estimate: Estimate) -> str:
    """Write an estimate: value, then its interval in brackets."""
    if estimate.value is None:
        return f"no value: {prose(estimate.reason or '')}"
    text = f"<strong>{number(estimate.value)}</strong>"
    if estimate.low is None:
        return f"{text} (no interval from {estimate.n} {'unit' if estimate.n == 1 else 'units'})"
    return text if estimate.is_exact else f"{text} [{number(estimate.low)}, {number(estimate.high)}]"


def paper_card(paper: Paper) -> str:
    """Return the card that introduces a paper and states its claims and rules before anything is run."""
    source = f'<a href="https://arxiv.org/abs/{escape(paper.arxiv)}">arXiv {escape(paper.arxiv)}</a>' if paper.arxiv else ""
    claims = "".join(
        f'<li><p class="sb-says">{escape(claim.says)}</p><p class="sb-rule"><b>Rule.</b> {prose(claim.rule)}</p>'
        f'<p class="sb-small">{_provenance(claim)}</p></li>'
        for claim in paper.claims
    )
    figures = "".join(map(figure_item, paper.figures))
    return (
        f'<section class="sb-card sb-paper" aria-label="Paper: {escape(paper.title)}">'
        f'<p class="sb-kicker">The paper</p><p class="sb-title">{escape(paper.title)}</p>'
        f'<p class="sb-small">{escape(paper.authors)} · {paper.year}{" · " + source if source else ""}</p>'
        f"<p>{escape(paper.idea)}</p>"
        f'<p class="sb-kicker">Claims and rules, fixed before the run</p><ol class="sb-claims">{claims}</ol>'
        f"<details><summary>The paper's own figures, and how sure we are of them</summary><ul>{figures}</ul>"
        f'<p class="sb-small">{escape(paper.provenance)}</p></details></section>'
    )


def claim_strip(claim: Claim, result: ClaimResult, measurements: Mapping[str, Estimate]) -> str:
    """Return the strip shown under an experiment: what the paper says, what was measured, the rule, the verdict."""
    judged = "".join(
        _row(claim, part.measure, measurements.get(part.measure), part.low, part.high, part.state) for part in result.parts
    )
    others = [name for name in claim.reported if name in measurements]
    reported = "".join(_row(claim, name, measurements[name], None, None, "reported, not judged") for name in others)
    if reported:
        reported = f"<details><summary>Also measured, not judged ({len(others)})</summary><ul>{reported}</ul></details>"
    reason = f'<p class="sb-reason">{prose(result.reason)}</p>' if result.reason else ""
    return (
        f'<section class="sb-card sb-claim sb-edge-{TONES[result.verdict]}" id="{claim.id}" aria-label="Verdict: {claim.id}">'
        f'<p class="sb-head">{badge(result.verdict)} <span class="sb-small">{REACH[claim.fidelity]}</span>'
        f'<a class="sb-permalink" href="#{claim.id}" aria-label="Permanent link to claim {claim.id}">{claim.id}</a></p>'
        f'<p class="sb-says">{escape(claim.says)}</p>{reason}<ul class="sb-measures">{judged}</ul>'
        f"{_control(claim, result, measurements)}{reported}"
        f'<details><summary>The rule, and what would have changed our mind</summary><p class="sb-rule">{prose(claim.rule)}</p>'
        f"<p>{prose(what_would_change(claim))}</p>"
        f'<p class="sb-small">{_provenance(claim)}</p>{amendments(claim)}</details>'
        f'<div class="sb-published" data-claim="{claim.id}"></div></section>'
    )


def amendments(claim: Claim) -> str:
    """Return the list of changes a rule has had since it was registered, with the old and the new text."""
    if not claim.amended:
        return ""
    items = "".join(
        f"<li><b>{a.date}</b> {escape(a.field)}: <del>{escape(str(a.was))}</del> <ins>{escape(str(a.now))}</ins>. "
        f"{escape(a.why)}</li>"
        for a in claim.amended
    )
    return f'<p class="sb-small">Amended:</p><ul class="sb-small">{items}</ul>'


def _provenance(claim: Claim) -> str:
    sight = "blind: no figure of ours was in view when the rule was written" if claim.blind else (
        "not blind: figures of prototypes were in view when the rule was written, so it is judged on fresh seeds"
    )
    planned = claim.replicates.model_dump(exclude_none=True)
    runs = ", ".join(f"{count} in {profile}" for profile, count in planned.items())
    return escape(
        f"Registered {claim.registered}; {sight}. Tested {REACH[claim.fidelity]}. Unit of the interval: {claim.unit} ({runs})."
    )


def _row(claim: Claim, name: str, estimate: Estimate | None, low: float | None, high: float | None, state: str) -> str:
    bounded = low is not None or high is not None
    ours = "not measured in this profile" if estimate is None else f"ours {measured(estimate)}"
    pieces = [ours] + ([f"accepted {bounds_text(low, high)}"] if bounded else [])
    paper = claim.paper_values.get(name)
    if paper is not None:
        pieces.append(f"paper {number(paper.value)}")
    bar = _bar(estimate, low, high, None if paper is None else paper.value) if bounded and estimate is not None else ""
    return (
        f'<li><span class="sb-name"><code>{escape(name)}</code> {prose(claim.measures[name])}</span>'
        f'<span class="sb-values">{" · ".join(pieces)} <em class="sb-state">{escape(state)}</em></span>{bar}</li>'
    )


def _control(claim: Claim, result: ClaimResult, measurements: Mapping[str, Estimate]) -> str:
    control, judged = claim.control, result.control
    estimate = measurements.get(control.measure)
    value = "not measured in this profile" if estimate is None else measured(estimate)
    tone = {"fails as it must": "good", "does not fail": "bad"}.get(judged.state, "open")
    return (
        f'<p class="sb-control"><b>Control.</b> {prose(claim.measures[control.measure])}: {value}; it must fall outside '
        f'{control.must_fail.text()}. <span class="sb-badge sb-{tone}">{escape(judged.state)}</span></p>'
    )


def _bar(estimate: Estimate, low: float | None, high: float | None, paper: float | None) -> str:
    """Draw the accepted band, our interval on it and the paper's value, 240 units wide."""
    shown = [v for v in (low, high, estimate.value, estimate.low, estimate.high, paper) if v is not None]
    if estimate.value is None:
        return ""
    left, right = min(shown), max(shown)
    pad = 0.15 * (right - left) or 0.1 * abs(right) or 1.0
    left, right = left - pad, right + pad

    def at(value: float) -> float:
        return round(240 * (value - left) / (right - left), 1)

    start, stop = (0.0 if low is None else at(low)), (240.0 if high is None else at(high))
    whisker = ""
    if estimate.low is not None and not math.isclose(estimate.low, estimate.high):
        whisker = f'<line class="sb-whisker" x1="{at(estimate.low)}" x2="{at(estimate.high)}" y1="9" y2="9"/>'
    diamond = ""
    if paper is not None:
        x = at(paper)
        diamond = f'<path class="sb-paper-mark" d="M{x} 3l4 6-4 6-4-6z"/>'
    return (
        '<svg class="sb-bar" viewBox="0 0 240 18" aria-hidden="true" preserveAspectRatio="none">'
        f'<rect class="sb-band" x="{start}" y="2" width="{round(stop - start, 1)}" height="14"/>{whisker}{diamond}'
        f'<circle class="sb-dot" cx="{at(estimate.value)}" cy="9" r="4"/></svg>'
    )

"""Small pieces of HTML that several generated pages share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape

from scalebook.cards import ICONS, TONES, figure_item, number, prose
from scalebook.records import Claim, Paper, PaperValue
from scalebook.runs import Measured


def raw(html: str) -> str:
    """Return HTML as a block that MyST passes on untouched; blank lines inside would end it."""
    return "```{raw} html\n" + re.sub(r"\n\s*\n", "\n", html).strip() + "\n```\n"


def value(estimate: Measured) -> str:
    """Write a stored estimate: value, then its interval in brackets."""
    if estimate.value is None:
        return f"no value ({prose(estimate.reason or 'no reason given')})"
    if estimate.low is None or estimate.high is None:
        return f"<b>{number(estimate.value)}</b> (no interval)"
    if estimate.low == estimate.high:
        return f"<b>{number(estimate.value)}</b>"
    return f"<b>{number(estimate.value)}</b> [{number(estimate.low)}, {number(estimate.high)}]"


def tally_bar(counts: Mapping[str, int]) -> str:
    """Return a bar whose pieces are as long as the verdicts are many, and the same in words."""
    pieces = "".join(
        f'<span class="sb-piece sb-fill-{TONES[verdict]} sb-piece-{verdict.replace(" ", "-")}" '
        f'style="flex-grow:{count}"></span>'
        for verdict, count in counts.items()
    )
    return (
        f'<div class="sb-tally"><div class="sb-tally-bar" aria-hidden="true">{pieces}</div>{tally_words(counts)}</div>'
    )


def tally_words(counts: Mapping[str, int]) -> str:
    """Return the counts of verdicts as a list with icons and colours."""
    items = "".join(
        f'<li class="sb-{TONES[verdict]}"><span aria-hidden="true">{ICONS[verdict]}</span> <b>{count}</b> '
        f"{verdict}</li>"
        for verdict, count in counts.items()
    )
    return f'<ul class="sb-tally-words">{items}</ul>'


def source(paper: Paper) -> str:
    """Return a paper's authors, year and link."""
    link = (
        f' · <a href="https://arxiv.org/abs/{escape(paper.arxiv)}">arXiv {escape(paper.arxiv)}</a>'
        if paper.arxiv
        else ""
    )
    return f"{escape(paper.authors)} · {paper.year}{link}"


def paper_numbers(paper: Paper, claim: Claim) -> str:
    """Return the paper's own numbers as a list: those of this claim's measures, then what else it prints."""
    items = [
        f"<li><code>{name}</code> <b>{_stated(given)}</b> <span class='sb-small'>({prose(given.where)})</span></li>"
        for name, given in claim.paper_values.items()
    ]
    items += map(figure_item, paper.figures)
    return f"<ul>{''.join(items)}</ul>" if items else "<p>The paper states no number for this.</p>"


def copyable(command: str, label: str = "") -> str:
    """Return a command with a button that copies it; the button works only where scripts run."""
    name = f' aria-label="{escape(label)}"' if label else ""
    return (
        f'<div class="sb-command"{name}><code>{escape(command)}</code>'
        f'<button type="button" class="sb-copy" data-copy="{escape(command)}">Copy</button></div>'
    )


def choices(values: Iterable[str]) -> str:
    """Return options of a menu."""
    return "".join(f'<option value="{escape(v)}">{escape(v)}</option>' for v in values)


def _stated(given: PaperValue) -> str:
    interval = f" [{number(given.low)}, {number(given.high)}]" if given.low is not None else ""
    return f"{number(given.value)}{interval}"

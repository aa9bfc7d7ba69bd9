"""Guess first: a reader commits to a number or a curve before the answer opens.

What was guessed stays in the reader's browser and nowhere else. Without script the answer lies folded on the page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from scalebook.errors import UserError
from scalebook.estimate import Estimate
from scalebook.explorer import NAME, script_tag, style_tag
from scalebook.ticks import tick_text

WIDE, TALL, EDGE = 120, 76, 8  # view box of an option's small curve


@dataclass(frozen=True)
class Guess:
    """The finished component; a notebook shows it, and ``html`` is what the site needs beside script and style."""

    name: str
    html: str

    def _repr_html_(self) -> str:
        return style_tag() + self.html + script_tag("guess.js")

    def __repr__(self) -> str:
        return f"<guess {self.name}>"


def guess_number(
    name: str,
    question: str,
    truth: float | Estimate,
    unit: str,
    low: float,
    high: float,
    *,
    log: bool = True,
    reveal: Any = "",
) -> Guess:
    """Ask for a number between ``low`` and ``high`` before showing ``truth`` and whatever ``reveal`` holds.

    ``unit`` stands after the number, "" for a pure one. With ``log`` the distance is told as a factor (for quantities
    that span powers of ten), else as a difference. ``question`` is HTML; ``reveal`` is HTML or an object that a
    notebook shows as HTML, such as an explorer. Raises UserError for a truth outside the range.
    """
    value = truth.value if isinstance(truth, Estimate) else float(truth)
    if value is None:
        raise UserError(f"Guess {name!r}: the truth has no value ({truth.reason}); there is nothing to guess.")
    if not (math.isfinite(value) and low < high and low <= value <= high and (low > 0 or not log)):
        above = " and above 0 where log=True" if log else ""
        raise UserError(
            f"Guess {name!r}: truth {value:g}, range {low:g} to {high:g}; the truth must lie in the range{above}."
        )
    after = f" {escape(unit)}" if unit else ""
    spread = ""
    if isinstance(truth, Estimate) and truth.low is not None and not truth.is_exact:
        spread = f" (95 % interval {_short(truth.low)} to {_short(truth.high)})"
    entry = (
        f'<label for="guess-{name}-entry">Your guess</label>'
        f'<input type="number" id="guess-{name}-entry" name="guess" step="any" '
        f'min="{low:g}" max="{high:g}" required inputmode="decimal" aria-describedby="guess-{name}-range">'
        f'<span class="sb-range" id="guess-{name}-range">{after} between {tick_text(low)} and {tick_text(high)}</span>'
    )
    data = {"kind": "number", "truth": float(f"{value:.4g}"), "unit": unit, "low": low, "high": high, "log": int(log)}
    return _guess(
        name, question, entry, data, f"<p>Measured: <strong>{_short(value)}{after}</strong>{spread}.</p>", reveal
    )


def guess_curve(
    name: str,
    question: str,
    options: Mapping[str, Sequence[float] | np.ndarray],
    truth: str,
    *,
    told: Mapping[str, str] | None = None,
    reveal: Any = "",
) -> Guess:
    """Ask which of several curves is the right one before showing it and whatever ``reveal`` holds.

    ``options`` maps a label to heights at equal steps from left to right, all drawn on one scale; ``truth`` is the
    right label. ``told`` gives, for single labels, the sentence that a reader reads after choosing it: how far off it
    is, in plain words. ``question`` and ``reveal`` as for ``guess_number``.
    """
    labels, told = list(options), dict(told or {})
    if truth not in options or not 2 <= len(options) <= 6 or set(told) - set(options):
        raise UserError(
            f"Guess {name!r}: two to six options, truth and told among them; options are {labels}, truth {truth!r}."
        )
    heights = [np.asarray(values, dtype=float) for values in options.values()]
    if any(h.ndim != 1 or h.size < 2 or not np.isfinite(h).all() for h in heights):
        raise UserError(f"Guess {name!r}: every option needs two or more finite heights in one row.")
    low, high = min(h.min() for h in heights), max(h.max() for h in heights)
    boxes = "".join(
        f'<label class="sb-option">{_sparkline(h, low, high)}<span>'
        f'<input type="radio" name="guess" value="{i}" required>'
        f'{escape(label)}<span class="sb-mark"></span></span></label>'
        for i, (label, h) in enumerate(zip(labels, heights, strict=True))
    )
    entry = f'<fieldset aria-labelledby="guess-{name}-question">{boxes}</fieldset>'
    usual = f"The measured one is: {truth}."
    texts = [told.get(label, "" if label == truth else usual) for label in labels]
    data = {"kind": "curve", "truth": labels.index(truth), "told": texts}
    return _guess(name, question, entry, data, f"<p>Measured: <strong>{escape(truth)}</strong>.</p>", reveal)


def _guess(name: str, question: str, entry: str, data: dict[str, Any], answer: str, reveal: Any) -> Guess:
    if not NAME.fullmatch(name):
        raise UserError(f"Guess name {name!r}: use small letters and digits joined by hyphens, as in weak-slope.")
    shown = reveal if isinstance(reveal, str) else reveal._repr_html_()
    packed = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    return Guess(
        name,
        f'<section class="sb-guess" id="guess-{name}" aria-labelledby="guess-{name}-question">'
        f'<p class="sb-kicker">Guess first</p><p class="sb-question" id="guess-{name}-question">{question}</p>'
        f'<form hidden>{entry}<button type="submit">Commit to my guess</button>'
        f'<button type="button" data-do="again" hidden>Guess again</button></form>'
        f'<p class="sb-told" role="status"></p><div class="sb-drawn"></div>'
        f'<details><summary>Show the answer</summary><div class="sb-answer">{answer}{shown}</div></details>'
        f'<script type="application/json">{packed}</script></section>',
    )


def _sparkline(heights: np.ndarray, low: float, high: float) -> str:
    across = np.linspace(EDGE, WIDE - EDGE, heights.size)
    up = TALL - EDGE - (heights - low) / ((high - low) or 1.0) * (TALL - 2 * EDGE)
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(across, up, strict=True))
    frame = f'<path class="sb-axis" d="M{EDGE / 2:g} {EDGE / 2:g}V{TALL - EDGE / 2:g}H{WIDE - EDGE / 2:g}"/>'
    return f'<svg class="sb-s0" viewBox="0 0 {WIDE} {TALL}" aria-hidden="true">{frame}<path d="M{path}"/></svg>'


def _short(value: float) -> str:
    return tick_text(float(f"{value:.3g}"))

"""The picture of an explorer: axes, reference lines, and the marks of one setting, exactly as the script draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from scalebook.errors import UserError
from scalebook.explorer_data import Block, flat, rounded
from scalebook.ticks import linear_ticks, log_ticks, tick_text

if TYPE_CHECKING:
    from scalebook.explorer import Axis, Line, Style

WIDE, TALL = 560, 366  # units of the view box; about 1.1 px each on a desktop and 0.64 px on a phone
TOP, RIGHT, BOTTOM = 40, 20, 56
LETTER = 11  # units a letter takes on a phone, where the text is set largest
MARKERS = (  # circle, square, triangle, diamond, triangle down, plus: the order of plots.MARKERS
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z", "M-4.5-4.5h9v9h-9Z", "M0-5.8L5.4 4.2H-5.4Z", "M0-6L6 0L0 6L-6 0Z",
    "M0 5.8L5.4-4.2H-5.4Z", "M-2-5.5h4v3.5h3.5v4h-3.5v3.5h-4v-3.5h-3.5v-4h3.5Z",
)  # fmt: skip
COLOURS, SHADES = 6, 9
FEW = 30  # with more points than this a series is a curve: no markers, and its interval is a band


@dataclass(frozen=True)
class Scale:
    """An axis in units of the view box: position = at + per * value (or * log10 of the value)."""

    axis: Axis
    low: float
    high: float
    at: float
    per: float

    def __call__(self, value: float) -> float:
        return self.at + self.per * (math.log10(value) if self.axis.scale == "log" else value)

    def ticks(self) -> list[tuple[float, str]]:
        """Return (value, label) pairs."""
        return (log_ticks if self.axis.scale == "log" else linear_ticks)(self.low, self.high)

    def json(self) -> dict[str, Any]:
        """Return what the script needs."""
        return {"at": round(self.at, 4), "per": round(self.per, 6), "log": int(self.axis.scale == "log")}


@dataclass(frozen=True)
class Frame:
    """Both scales, and the shades' bounds where the figure is a plane."""

    x: Scale
    y: Scale
    z: Axis | None
    cuts: tuple[float, ...]

    def payload(self, blocks: Sequence[Block], styles: Sequence[Style]) -> dict[str, Any]:
        """Return the part of the page's data that says what to draw."""
        found: dict[str, Any] = {"x": self.x.json(), "y": self.y.json(), "series": []}
        if self.z is not None:
            block = blocks[0]
            cells_x, cells_y = _cells(self.x, block.x), _cells(self.y, block.rows)
            found["plane"] = {
                "x": cells_x, "y": cells_y, "xs": flat(block.x), "ys": flat(block.rows), "z": flat(block.y),
                "step": block.steps, "cuts": [rounded(cut) for cut in self.cuts],
            }  # fmt: skip
            return found
        for block, style in zip(blocks, styles, strict=True):
            few = len(block.x) <= FEW
            marked = style.points and few
            entry = {
                "label": block.label, "title": escape(block.label or self.y.axis.column),
                "colour": style.index % COLOURS, "marker": MARKERS[style.index % len(MARKERS)] if marked else "", "line": int(style.line or not marked),
                "dashed": int(style.dashed), "step": block.steps, "x": flat(block.x), "y": flat(block.y),
            }  # fmt: skip
            if block.low is not None:
                entry |= {"bars": int(marked), "low": flat(block.low), "high": flat(block.high)}
            found["series"].append(entry)
        return found


def scales(blocks: Sequence[Block], x: Axis, y: Axis, z: Axis | None) -> Frame:
    """Return scales that hold every setting, so that what moves is the data and never the axes."""
    plane = z is not None
    across = np.concatenate([block.x for block in blocks])
    up = (
        blocks[0].rows
        if plane
        else np.concatenate([a.ravel() for b in blocks for a in (b.y, b.low, b.high) if a is not None])
    )
    low_x, high_x = _range(across, x, len(blocks[0].x) if plane else 0)
    low_y, high_y = _range(up, y, len(blocks[0].rows) if plane else 0)
    texts = [text for _, text in (log_ticks if y.scale == "log" else linear_ticks)(low_y, high_y)]
    left = 16 + LETTER * max(len(text) for text in texts or [""])
    cuts: tuple[float, ...] = ()
    if plane:
        shown = blocks[0].y[np.isfinite(blocks[0].y)]
        space = np.geomspace if z.scale == "log" else np.linspace
        low, high = (shown.min() if z.low is None else z.low), (shown.max() if z.high is None else z.high)
        cuts = tuple(float(cut) for cut in space(low, high, SHADES + 1)[1:-1])
    return Frame(_scale(x, low_x, high_x, left, WIDE - RIGHT), _scale(y, low_y, high_y, TALL - BOTTOM, TOP), z, cuts)


def draw(
    frame: Frame, payload: dict[str, Any], start: Sequence[int], lines: Sequence[Line], name: str, alt: str
) -> str:
    """Return the SVG of the starting view."""
    left, right, top, bottom = frame.x(frame.x.low), frame.x(frame.x.high), frame.y(frame.y.high), frame.y(frame.y.low)
    pieces = []
    for value, text in _apart(frame.x):
        at = number(frame.x(value))
        pieces.append(f'<path class="sb-grid" d="M{at} {number(top)}V{number(bottom)}"/>')
        pieces.append(f'<text x="{at}" y="{number(bottom + 21)}" text-anchor="middle">{text}</text>')
    for value, text in frame.y.ticks():
        at = frame.y(value)
        pieces.append(f'<path class="sb-grid" d="M{number(left)} {number(at)}H{number(right)}"/>')
        pieces.append(f'<text x="{number(left - 8)}" y="{number(at)}" dy=".35em" text-anchor="end">{text}</text>')
    pieces.append(f'<path class="sb-axis" d="M{number(left)} {number(top)}V{number(bottom)}H{number(right)}"/>')
    pieces.append(f'<text class="sb-axis-name" x="4" y="20">{escape(frame.y.axis.label)}</text>')
    label = escape(frame.x.axis.label)
    pieces.append(f'<text class="sb-axis-name" x="{number(right)}" y="{TALL - 5}" text-anchor="end">{label}</text>')
    clip = f"explore-{name}-clip"
    size = f'width="{number(right - left + 8)}" height="{number(bottom - top + 8)}"'
    box = f'<clipPath id="{clip}"><rect x="{number(left)}" y="{number(top - 8)}" {size}/></clipPath>'
    return (
        f'<svg viewBox="0 0 {WIDE} {TALL}" role="img" aria-label="{escape(alt)}">{box}'
        f'{"".join(pieces)}<g class="sb-marks" clip-path="url(#{clip})">{marks(payload, start)}</g>'
        f"{''.join(_reference(frame, line) for line in lines)}</svg>"
    )


def marks(payload: dict[str, Any], at: Sequence[int]) -> str:
    """Return the moving part for one setting, as explorer.js writes it."""
    pieces = []
    if "plane" in payload:
        cells = payload["plane"]
        first = _offset(cells["step"], at)
        for row, (y, height) in enumerate(cells["y"]):
            for column, (x, width) in enumerate(cells["x"]):
                value = cells["z"][first + row * len(cells["x"]) + column]
                if value is not None:
                    shade = sum(cut <= value for cut in cells["cuts"])
                    pieces.append(
                        f'<rect class="sb-z{shade}" x="{x}" y="{y}" width="{width}" height="{height}">'
                        f"<title>{value}</title></rect>"
                    )
    return "".join(pieces + [_curve(series, at, payload["x"], payload["y"]) for series in payload["series"]])


def legend(payload: dict[str, Any], blocks: Sequence[Block], styles: Sequence[Style], shades: int) -> str:
    """Return the key above the picture, as text that wraps: series with their marks, or the shades of a plane."""
    if "plane" in payload:
        cuts = payload["plane"]["cuts"]
        boxes = "".join(f'<rect class="sb-z{i}" x="{20 * i}" width="20" height="14"/>' for i in range(shades))
        low, high = (tick_text(float(f"{cut:.3g}")) for cut in (cuts[0], cuts[-1]))
        bar = f'<svg class="sb-shades" viewBox="0 0 {20 * shades} 14" aria-hidden="true">{boxes}</svg>'
        name = escape(payload["columns"][2])
        return f'<p class="sb-legend"><span>{name}: below {low}</span>{bar}<span>above {high}</span></p>'
    if len(blocks) == 1 and not blocks[0].label:
        return ""
    items = []
    for series in payload["series"]:
        colour, dashed = f"sb-s{series['colour']}", " sb-dashed" if series["dashed"] else ""
        line = f'<path class="sb-curve {colour}{dashed}" d="M1 8H33"/>' if series["line"] else ""
        point = (
            f'<path class="sb-point {colour}" transform="translate(17 8)" d="{series["marker"]}"/>'
            if series["marker"]
            else ""
        )
        items.append(
            f'<li><svg viewBox="0 0 34 16" aria-hidden="true">{line}{point}</svg>{escape(series["label"])}</li>'
        )
    return f'<ul class="sb-legend">{"".join(items)}</ul>'


def number(value: float) -> str:
    """Return a coordinate with one decimal, as the script rounds and writes it."""
    return f"{math.floor(value * 10 + 0.5) / 10:.1f}".removesuffix(".0")


def _curve(series: dict[str, Any], at: Sequence[int], x: dict[str, Any], y: dict[str, Any]) -> str:
    first, colour = _offset(series["step"], at), f"sb-s{series['colour']}"
    part = slice(first, first + len(series["x"]))
    xs = [number(_place(x, value)) for value in series["x"]]

    def level(name: str) -> list[str | None]:
        return [None if value is None else number(_place(y, value)) for value in series[name][part]]

    ys, html = level("y"), ""
    if "low" in series:
        ends = [end for end in zip(xs, level("low"), level("high"), strict=True) if None not in end]
        if series["bars"]:
            html += f'<path class="sb-bars {colour}" d="{"".join(f"M{a} {b}V{c}" for a, b, c in ends)}"/>'
        elif ends:
            around = [f"{a} {c}" for a, b, c in ends] + [f"{a} {b}" for a, b, c in reversed(ends)]
            html += f'<path class="sb-area {colour}" d="M{"L".join(around)}Z"/>'
    if series["line"]:
        path, before = "", None
        for a, b in zip(xs, ys, strict=True):
            path += "" if b is None else f"{'M' if before is None else 'L'}{a} {b}"
            before = b
        html += f'<path class="sb-curve {colour}{" sb-dashed" if series["dashed"] else ""}" d="{path}"/>'
    if series["marker"]:
        for a, b, value_x, value_y in zip(xs, ys, series["x"], series["y"][part], strict=True):
            if b is not None:
                html += f'<path class="sb-point {colour}" transform="translate({a} {b})" d="{series["marker"]}">'
                html += f"<title>{series['title']}: {value_x}, {value_y}</title></path>"
    return html


def _offset(steps: Sequence[int], at: Sequence[int]) -> int:
    return sum(step * i for step, i in zip(steps, at, strict=True))


def _place(scale: dict[str, Any], value: float) -> float:
    return scale["at"] + scale["per"] * (math.log10(value) if scale["log"] else value)


def _scale(axis: Axis, low: float, high: float, start: float, end: float) -> Scale:
    a, b = (math.log10(low), math.log10(high)) if axis.scale == "log" else (low, high)
    per = (end - start) / (b - a)
    return Scale(axis, low, high, start - per * a, per)


def _range(values: np.ndarray, axis: Axis, cells: int) -> tuple[float, float]:
    """Return the ends of an axis: the data's and a little room, or half a cell where they are centres of cells."""
    values = values[np.isfinite(values)]
    if axis.scale == "log":
        values = np.log10(values)
    low, high = float(values.min()), float(values.max())
    room = (high - low) / (2 * (cells - 1)) if cells > 1 else 0.04 * (high - low)
    if room == 0:
        room = 0.5 if axis.scale == "log" else 0.5 * abs(high) or 0.5
    ends = (low - room, high + room)
    if axis.scale == "log":
        ends = (10.0 ** ends[0], 10.0 ** ends[1])
    found = (ends[0] if axis.low is None else axis.low, ends[1] if axis.high is None else axis.high)
    if not found[0] < found[1]:
        raise UserError(f"Axis {axis.column!r} would run from {found[0]:g} to {found[1]:g}; low must lie below high.")
    return found


def _cells(scale: Scale, centres: np.ndarray) -> list[list[float]]:
    """Return (start, length) of every cell along one axis, bounded half way to its neighbours."""
    at = np.array([scale(float(centre)) for centre in centres])
    edges = np.concatenate([[scale(scale.low)], (at[1:] + at[:-1]) / 2, [scale(scale.high)]])
    starts, lengths = np.minimum(edges[1:], edges[:-1]), np.abs(np.diff(edges))
    return [[rounded(round(s, 1)), rounded(round(w + 0.3, 1))] for s, w in zip(starts, lengths, strict=True)]


def _apart(scale: Scale) -> list[tuple[float, str]]:
    """Return the ticks of the lower axis whose labels do not touch, round numbers first."""
    order = "152374689"
    ticks = scale.ticks()
    ranked = sorted(ticks, key=lambda tick: (order.index(f"{tick[0]:e}"[0]) if tick[0] > 0 else 0, len(f"{tick[0]:g}")))
    kept: list[tuple[float, float]] = []
    chosen = []
    for value, text in ranked if scale.axis.scale == "log" else ticks:
        half = LETTER * len(text) / 2 + 4
        middle = scale(value)
        if all(abs(middle - other) >= half + other_half for other, other_half in kept):
            kept.append((middle, half))
            chosen.append((value, text))
    return chosen


def _reference(frame: Frame, line: Line) -> str:
    """Return a straight line on two log or two linear axes, cut at the frame, with its label on the free side."""
    x, y = frame.x, frame.y
    if x.axis.scale != y.axis.scale:
        raise UserError(f"Line {line.label!r}: a straight reference line needs two log axes or two linear ones.")
    x0, y0 = x(line.through[0]), y(line.through[1])
    tilt = line.slope * y.per / x.per
    left, right, top, bottom = x(x.low), x(x.high), y(y.high), y(y.low)
    a, b = left, right
    if tilt:
        at_top, at_bottom = x0 + (top - y0) / tilt, x0 + (bottom - y0) / tilt
        a, b = max(left, min(at_top, at_bottom)), min(right, max(at_top, at_bottom))
    elif not top <= y0 <= bottom:
        b = a
    if not a < b:
        raise UserError(f"Line {line.label!r} does not cross the figure; choose another point to pass through.")

    def rise(at: float) -> float:
        return y0 + tilt * (at - x0)

    middle = a + 0.5 * (b - a)
    anchor, shift = ("start", 6) if tilt >= 0 else ("end", -6)
    return (
        f'<path class="sb-reference" d="M{number(a)} {number(rise(a))}L{number(b)} {number(rise(b))}"/>'
        f'<text class="sb-reference-name" x="{number(middle + shift)}" y="{number(rise(middle) - 5)}" '
        f'text-anchor="{anchor}">{escape(line.label)}</text>'
    )

"""Explorers: figures that a reader moves with sliders, without a kernel and without a network.

Every value is computed when the book is built and lies in the page; one script (``assets/explorer.js``) chooses which
values are drawn. What is shown without script, and printed, is a picture of the starting view, drawn here.
``pages/authors-explorers.md`` shows how to make one.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from scalebook.errors import UserError
from scalebook.explorer_data import Block, arrange, rounded
from scalebook.explorer_svg import SHADES, draw, legend, scales
from scalebook.ticks import tick_text

ASSETS = Path(__file__).parent / "assets"
LARGEST = 300_000  # bytes of one explorer: ten of them still leave a page under 3 MB
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
UNIT = re.compile(r"\([^()]+\)\s*$")


@dataclass(frozen=True)
class Control:
    """A slider (or a list, where the values are words): ``column`` of the grid, and what the reader sees.

    ``start`` is the value at which the figure opens, the first unless given. ``unit`` follows the shown value;
    ``names`` replaces the shown text of single values, as in ``names={-1: "−1 (strong)"}``.
    """

    column: str
    label: str
    unit: str = ""
    start: Any = None
    names: Mapping[Any, str] = field(default_factory=dict)

    def text(self, value: Any) -> str:
        """Return a value as the reader sees it."""
        shown = self.names.get(value, value if isinstance(value, str) else tick_text(float(value)))
        return f"{shown} {self.unit}".rstrip() if value not in self.names else shown


@dataclass(frozen=True)
class Axis:
    """One axis: a column, its label with the unit in brackets, its scale, and its ends where the data's will not do."""

    column: str
    label: str
    scale: Literal["log", "linear"] = "log"
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if not UNIT.search(self.label):
            raise UserError(
                f"Axis {self.column!r}: label {self.label!r} has no unit; end it with one in brackets, '(count)'."
            )
        if self.scale not in ("log", "linear"):
            raise UserError(f"Axis {self.column!r}: scale {self.scale!r} is unknown; choose log or linear.")


@dataclass(frozen=True)
class Style:
    """How a series is drawn: markers (a measurement), a line (a prediction), or both; colour and shape by ``index``."""

    points: bool = True
    line: bool = True
    dashed: bool = False
    index: int | None = None


@dataclass(frozen=True)
class Line:
    """A straight reference line that no control moves: a power law of ``slope`` on two log axes."""

    slope: float
    through: tuple[float, float]
    label: str


@dataclass(frozen=True)
class Explorer:
    """The finished component; a notebook shows it, and ``html`` is what the site needs beside script and style."""

    name: str
    html: str
    alt: str

    def _repr_html_(self) -> str:
        return style_tag() + self.html + script_tag("explorer.js")

    def __repr__(self) -> str:
        return f"<explorer {self.name}: {self.alt}>"


def explorer(
    grid: pd.DataFrame,
    controls: Sequence[Control],
    caption: str,
    *,
    name: str,
    alt: str,
    x: Axis,
    y: Axis,
    z: Axis | None = None,
    series: str | None = None,
    styles: Mapping[str, Style] | None = None,
    interval: tuple[str, str] | None = None,
    lines: Sequence[Line] = (),
    say: Callable[[dict[str, Any], pd.DataFrame], str] | None = None,
) -> Explorer:
    """Return a figure moved by controls.

    ``grid`` is a tidy table with one row for each point: the columns of the controls in every combination, of the
    axes, of the series' names (``series``) and of the interval's ends (``interval``). With ``z`` the figure is a plane:
    x and y span the cells, z gives their shade. ``say(settings, rows)`` returns the sentence under the figure for one
    combination: settings by column, and the rows drawn. ``caption`` is HTML; ``alt`` describes the starting view.
    ``name`` names it in the address (``#explore-name=gamma:3``) and must be unique in its page.
    Raises UserError where the grid is not complete, an axis has no unit, or the whole weighs more than 300 kB.
    """
    _check(grid, controls, name, alt, [axis.column for axis in (x, y, z) if axis], series, interval)
    values = [list(dict.fromkeys(_plain(grid[control.column]))) for control in controls]
    values = [sorted(each) if not any(isinstance(v, str) for v in each) else each for each in values]
    start = tuple(_start(control, each) for control, each in zip(controls, values, strict=True))
    columns = [control.column for control in controls]
    blocks = arrange(grid, columns, values, x, y, z, series, interval)
    styles = _styles(blocks, styles or {})
    frame = scales(blocks, x, y, z)
    payload = {
        "controls": [
            {
                "key": control.column, "label": control.label, "values": [rounded(v) for v in each],
                "labels": [control.text(v) for v in each], "start": at,
            }
            for control, each, at in zip(controls, values, start, strict=True)
        ],
        "columns": [a.column for a in (x, y, z) if a] + list(interval or ()),
        **frame.payload(blocks, styles),
        "say": [_sentence(grid, columns, setting, x, y, z, series, say) for setting in itertools.product(*values)],
    }  # fmt: skip
    html = _markup(
        name,
        alt,
        caption,
        controls,
        values,
        start,
        payload,
        draw(frame, payload, start, lines, name, alt),
        blocks,
        styles,
    )
    size = len(html.encode())
    if size > LARGEST:
        counts = " x ".join(str(len(each)) for each in values)
        raise UserError(
            f"Explorer {name!r} weighs {size // 1000} kB; at most {LARGEST // 1000} kB are allowed. "
            f"It has {counts} settings of {sum(block.y.shape[-1] for block in blocks)} points: give fewer values of a control or fewer points."
        )
    return Explorer(name, html, alt)


@lru_cache(maxsize=4)
def style_tag() -> str:
    """Return the style of all components of this module, marked so that the site can load it once instead."""
    return f'<style data-sb-asset="explorer.css">{(ASSETS / "explorer.css").read_text(encoding="utf-8")}</style>'


@lru_cache(maxsize=4)
def script_tag(asset: str) -> str:
    """Return a script of this package, marked so that the site can load it once instead."""
    return f'<script data-sb-asset="{asset}">{(ASSETS / asset).read_text(encoding="utf-8")}</script>'


def _check(
    grid: pd.DataFrame, controls: Sequence[Control], name: str, alt: str, axes: list[str], series: str | None,
    interval: tuple[str, str] | None,
) -> None:  # fmt: skip
    if grid.empty:
        raise UserError(f"Explorer {name!r}: the grid has no rows.")
    if not NAME.fullmatch(name):
        raise UserError(f"Explorer name {name!r}: use small letters and digits joined by hyphens, as in weight-decay.")
    if not 20 <= len(alt) <= 300:
        raise UserError(
            f"Explorer {name!r}: alt text of {len(alt)} characters; 20 to 300 are allowed (plots.alt makes one)."
        )
    if not 1 <= len(controls) <= 4:
        raise UserError(f"Explorer {name!r}: {len(controls)} controls; one to four are allowed.")
    needed = [c.column for c in controls] + axes + ([series] if series else []) + list(interval or ())
    missing = [column for column in needed if column not in grid]
    if missing or len(set(needed)) != len(needed):
        raise UserError(
            f"Explorer {name!r} needs the columns {', '.join(needed)}, each once; the grid has {', '.join(grid)}."
        )
    bad = [control.column for control in controls if not KEY.fullmatch(control.column)]
    if bad:
        raise UserError(
            f"Explorer {name!r}: the column {bad[0]!r} goes into the address; use letters, digits and _ only."
        )


def _start(control: Control, values: list[Any]) -> int:
    if control.start is None:
        return 0
    if control.start not in values:
        raise UserError(f"Control {control.column!r} starts at {control.start!r}; its values are {values}.")
    return values.index(control.start)


def _styles(blocks: Sequence[Block], given: Mapping[str, Style]) -> list[Style]:
    labels = [block.label for block in blocks]
    unknown = sorted(set(given) - set(labels))
    if unknown:
        raise UserError(f"A style is given for {unknown[0]!r}; the series are {', '.join(labels)}.")
    found = [given.get(label, Style()) for label in labels]
    return [Style(s.points, s.line, s.dashed, number if s.index is None else s.index) for number, s in enumerate(found)]


def _sentence(
    grid: pd.DataFrame, columns: list[str], setting: tuple[Any, ...], x: Axis, y: Axis, z: Axis | None,
    series: str | None, say: Callable[[dict[str, Any], pd.DataFrame], str] | None,
) -> str:  # fmt: skip
    chosen = np.logical_and.reduce([grid[c].to_numpy() == v for c, v in zip(columns, setting, strict=True)])
    rows = grid[chosen]
    if say is not None:
        return say(dict(zip(columns, setting, strict=True)), rows)
    if z is not None:
        best = rows.loc[rows[z.column].idxmin()]
        at = ", ".join(f"{axis.column} {_short(best[axis.column])}" for axis in (x, y))
        return f"Smallest {z.column}: {_short(best[z.column])} at {at}."
    texts = []
    for label, part in rows.groupby(series, sort=False) if series else [("", rows)]:
        ends = part.dropna(subset=[y.column]).sort_values(x.column).iloc[[0, -1]]
        (x0, x1), (y0, y1) = ends[x.column], ends[y.column]
        texts.append(
            f"{label + ': ' if label else ''}{_short(y0)} at {x.column} {_short(x0)}, {_short(y1)} at {_short(x1)}"
        )
    return "; ".join(texts) + "."


def _short(value: Any) -> str:
    return tick_text(float(f"{float(value):.3g}"))


def _plain(column: pd.Series) -> list[Any]:
    return [value.item() if hasattr(value, "item") else value for value in column.unique()]


def _markup(
    name: str, alt: str, caption: str, controls: Sequence[Control], values: list[list[Any]], start: tuple[int, ...],
    payload: dict[str, Any], picture: str, blocks: Sequence[Block], styles: list[Style],
) -> str:  # fmt: skip
    inputs = []
    for control, each, at, texts in zip(controls, values, start, payload["controls"], strict=True):
        box, labels = f"explore-{name}-{control.column}", texts["labels"]
        if any(isinstance(value, str) for value in each):
            options = "".join(
                f'<option value="{i}"{" selected" if i == at else ""}>{escape(text)}</option>'
                for i, text in enumerate(labels)
            )
            entry = f'<select id="{box}" data-key="{control.column}">{options}</select><output hidden></output>'
        else:
            entry = (
                f'<input type="range" id="{box}" data-key="{control.column}" min="0" max="{len(each) - 1}" '
                f'step="1" value="{at}" '
                f'aria-valuetext="{escape(labels[at])}"><output for="{box}">{escape(labels[at])}</output>'
            )
        inputs.append(f'<div class="sb-control"><label for="{box}">{escape(control.label)}</label>{entry}</div>')
    chosen = ", ".join(f"{c['label']} = {c['labels'][c['start']]}" for c in payload["controls"])
    number = int(np.ravel_multi_index(start, [len(each) for each in values]))
    buttons = "".join(
        f'<button type="button" data-do="{do}">{text}</button>'
        for do, text in (("reset", "Reset"), ("link", "Copy link"), ("csv", "Data (CSV)"))
    )
    data = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    shades = legend(payload, blocks, styles, SHADES)
    return (
        f'<figure class="sb-explorer" id="explore-{name}" aria-labelledby="explore-{name}-caption">'
        f'<div class="sb-controls" hidden>{"".join(inputs)}</div>'
        f'<p class="sb-at">Shown: <span class="sb-at-text">{escape(chosen)}</span></p>{shades}{picture}'
        f'<p class="sb-readout" role="status">{escape(payload["say"][number])}</p>'
        f'<div class="sb-buttons">{buttons}<span class="sb-said" role="status"></span></div>'
        f'<figcaption id="explore-{name}-caption">{caption}</figcaption>'
        f'<script type="application/json">{data}</script></figure>'
    )

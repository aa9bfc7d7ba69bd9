"""One look for every figure of the book: colours, markers, log axes with plain ticks, bands, alt text.

Figures are drawn once on a light and once on a dark ground, inside ``theme(mode)``. Inside it the colours C0 to C5
are the ground's own palette, so a drawing function never names a colour: it says ``index=2``.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import Formatter, Locator, NullLocator

from scalebook.errors import UserError
from scalebook.estimate import Estimate
from scalebook.ticks import log_ticks, tick_text

Mode = Literal["light", "dark"]

# six hues apart from each other also without red, green or blue cones (tests/test_plots.py computes the distances)
PALETTE: dict[str, tuple[str, ...]] = {
    "light": ("#0f3c75", "#dc4a10", "#2f8a75", "#ab2a9c", "#9a87cd", "#5c420c"),
    "dark": ("#5f93fb", "#f0974f", "#b4f5dc", "#ea559f", "#d6b4ff", "#a5741a"),
}
MARKERS = ("o", "s", "^", "D", "v", "P")  # the shape doubles the colour: series index picks both
GROUND = {"light": "#ffffff", "dark": "#14181e"}  # the two grounds of the site's theme
INK = {"light": "#1f2328", "dark": "#e6e9ed"}
MUTED = {"light": "#57606a", "dark": "#a9b2bd"}
LINE = {"light": "#d5dae1", "dark": "#3a4350"}
WIDE, TALL = 6.4, 4.0  # inches: legible when a phone shrinks it to 360 px
UNIT = re.compile(r"\([^()]+\)\s*$")

close = plt.close


@contextmanager
def theme(mode: Mode = "light") -> Iterator[None]:
    """Draw on a light or a dark ground; matplotlib's settings are as before afterwards."""
    if mode not in GROUND:
        raise UserError(f"Theme {mode!r} is unknown; choose light or dark.")
    ink, muted, ground = INK[mode], MUTED[mode], GROUND[mode]
    settings = sns.axes_style("ticks") | {
        "figure.figsize": (WIDE, TALL), "figure.facecolor": ground, "figure.dpi": 100,
        "figure.constrained_layout.use": True,
        "savefig.facecolor": ground, "axes.facecolor": ground,
        "font.family": ["sans-serif"], "font.sans-serif": ["DejaVu Sans"], "font.size": 11.0,
        "axes.labelsize": 11.5, "axes.titlesize": 12.0, "axes.titleweight": "bold", "axes.titlelocation": "left",
        "xtick.labelsize": 10.5, "ytick.labelsize": 10.5, "legend.fontsize": 10.5, "legend.title_fontsize": 10.5,
        "text.color": ink, "axes.labelcolor": ink, "axes.titlecolor": ink,
        "xtick.labelcolor": ink, "ytick.labelcolor": ink,
        "axes.edgecolor": muted, "xtick.color": muted, "ytick.color": muted, "grid.color": LINE[mode],
        "axes.grid": True, "grid.linewidth": 0.7, "axes.axisbelow": True,
        "axes.spines.top": False, "axes.spines.right": False,
        "axes.linewidth": 0.9, "lines.linewidth": 1.9, "lines.markersize": 6.0, "errorbar.capsize": 0.0,
        "legend.frameon": False, "patch.edgecolor": ground, "hatch.color": ink, "image.cmap": "cividis",
        "axes.prop_cycle": mpl.cycler(color=PALETTE[mode]), "axes.unicode_minus": True, "svg.hashsalt": "scalebook",
    }  # fmt: skip
    with mpl.rc_context(settings):
        yield


def loglog(
    ax: Axes,
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray | Sequence[Estimate],
    *,
    label: str,
    index: int = 0,
    interval: tuple[np.ndarray, np.ndarray] | None = None,
    line: bool = True,
    hollow: bool = False,
) -> None:
    """Draw one series on log axes: markers, a thin line through them, and the interval of each point.

    ``x``, ``y`` have shape (points,); ``y`` may hold Estimates, whose intervals are then drawn. ``interval`` is (low,
    high) in the units of y, not distances from it. ``index`` picks colour and marker together; ``hollow`` marks values
    of another kind (a mechanism, a prediction). Raises UserError on values that a log axis cannot show.
    """
    x, y, interval = _points(x, y, interval)
    for name, values in (("x", x), ("y", y)):
        if not (values[np.isfinite(values)] > 0).all():
            raise UserError(f"loglog, series {label!r}: {name} has values at or below 0, which a log axis cannot show.")
    ax.set_xscale("log")
    ax.set_yscale("log")
    colour = f"C{index % len(PALETTE['light'])}"
    face = ax.get_facecolor() if hollow else colour
    style = {
        "marker": MARKERS[index % len(MARKERS)],
        "markerfacecolor": face,
        "markeredgecolor": colour,
        "color": colour,
    }
    style |= {"linestyle": "-" if line else "none", "linewidth": 1.3, "label": label}
    if interval is None:
        ax.plot(x, y, **style)
    else:
        distances = np.clip(np.stack([y - interval[0], interval[1] - y]), 0, None)
        ax.errorbar(x, y, yerr=distances, elinewidth=1.6, **style)
    plain_ticks(ax)


def fit_band(
    ax: Axes, x_grid: np.ndarray, fit: Any, *, label: str | None = None, index: int = 0, dashed: bool = False
) -> None:
    """Draw a fitted curve with its band.

    ``fit`` is (value, low, high), each of shape (points,) at ``x_grid``; low and high may be None. A function of
    ``x_grid`` that returns such a triple, or values alone, will do as well.
    """
    found = fit(x_grid) if callable(fit) else fit
    value, low, high = found if isinstance(found, tuple) else (found, None, None)
    colour = f"C{index % len(PALETTE['light'])}"
    if low is not None:
        ax.fill_between(x_grid, low, high, color=colour, alpha=0.22, linewidth=0)
    ax.plot(x_grid, value, color=colour, linestyle=(0, (5, 3)) if dashed else "-", label=label)


def reference_line(ax: Axes, slope: float, through: tuple[float, float], label: str) -> None:
    """Draw the power law of a given slope through a point, dashed across the axes as they stand: call it last."""
    left, right = ax.get_xlim()
    bottom, top = ax.get_ylim()
    ends = np.geomspace(left, right, 200)
    values = through[1] * (ends / through[0]) ** slope
    inside = (values >= bottom) & (values <= top)
    if not inside.any():
        raise UserError(
            f"reference_line {label!r}: the line does not cross the axes; choose another point to pass through."
        )
    ends, values = ends[inside], values[inside]
    ink = ax.xaxis.label.get_color()
    ax.plot(ends, values, color=ink, linestyle=(0, (4, 3)), linewidth=1.1, zorder=1.5, scalex=False, scaley=False)
    at = int(0.6 * (len(ends) - 1))
    side, shift = ("left", 4) if slope < 0 else ("right", -4)  # the free side, above the line
    text = ax.annotate(
        label, (ends[at], values[at]), xytext=(shift, 3), textcoords="offset points", ha=side, va="bottom"
    )
    text.set(fontsize=10.5, path_effects=[withStroke(linewidth=3, foreground=ax.get_facecolor())])


def label_axes(ax: Axes, *, x: str, y: str, title: str = "") -> None:
    """Name both axes, each with its unit in brackets: "width m (features)", "exponent α (no unit)"."""
    for name, text in (("x", x), ("y", y)):
        if not UNIT.search(text):
            raise UserError(
                f"label_axes: {name}={text!r} has no unit; write it in brackets at the end, "
                "as in 'width m (features)' or 'exponent α (no unit)'."
            )
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    if title:
        ax.set_title(title)


def require_labels(figure: Figure) -> None:
    """Refuse a figure with an axis that has no label with a unit (axes that share another's scale may leave it out)."""
    for number, ax in enumerate(figure.axes, 1):
        for name, axis, shared in (("x", ax.xaxis, ax.get_shared_x_axes()), ("y", ax.yaxis, ax.get_shared_y_axes())):
            texts = [getattr(other, f"{name}axis").get_label_text() for other in shared.get_siblings(ax)]
            drawn = ax.get_visible() and ax.axison and axis.get_visible() and len(axis.get_ticklocs())
            if drawn and not any(UNIT.search(text) for text in texts):
                raise UserError(
                    f"Axes {number} of the figure: the {name} axis is labelled {axis.get_label_text()!r}; "
                    "label it with label_axes(ax, x=..., y=...), the unit in brackets at the end."
                )


def rendered(figure: Figure, dots: int = 160) -> dict[str, bytes]:
    """Return the figure as PNG (``dots`` an inch) and as SVG; the same figure gives the same bytes.

    Its parts are placed once: matplotlib would draw every format once for nothing, to place them anew.
    """
    figure.set_dpi(dots)
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
    found = {}
    # a date or a version inside the file would change its bytes
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        buffer = io.BytesIO()
        # saving asks these settings for an engine wherever the figure has none
        with mpl.rc_context({"figure.constrained_layout.use": False, "figure.autolayout": False}):
            figure.set_layout_engine(None)
            figure.savefig(buffer, format=suffix, dpi=dots, metadata=metadata)
        found[suffix] = buffer.getvalue()
    return found


def plain_ticks(ax: Axes) -> None:
    """Label logarithmic axes with plain numbers (10, 20, 50, 100), with powers of ten beyond three decades."""
    for axis in (ax.xaxis, ax.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_locator(_PlainLocator())
            axis.set_major_formatter(_PlainFormatter())
            axis.set_minor_locator(NullLocator())


class _PlainLocator(Locator):
    def __call__(self) -> list[float]:
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        return [value for value, _ in log_ticks(*sorted((vmin, vmax)))]


class _PlainFormatter(Formatter):
    def __call__(self, x: float, pos: int | None = None) -> str:
        return dict(log_ticks(*sorted(self.axis.get_view_interval()))).get(x) or tick_text(x)


def alt(what: str, sees: str, **numbers: float | Estimate) -> str:
    """Return alt text: what is drawn, what the eye should see, and numbers of the run with their names.

    ``alt("Loss against width on log axes", "three parallel lines fall", slope=estimate)`` gives "Loss against width on
    log axes: three parallel lines fall. Slope −1.02 (−1.08 to −0.97)." Raises UserError outside 20 to 300 characters,
    without a number, or where the text opens with "figure of" and the like, which a screen reader says anyway.
    """
    shown = ", ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in numbers.items())
    text = f"{what.strip().rstrip('.:')}: {sees.strip().rstrip('.')}." + (
        f" {shown[:1].upper()}{shown[1:]}." if shown else ""
    )
    if not 20 <= len(text) <= 300:
        raise UserError(f"alt text has {len(text)} characters; 20 to 300 are allowed: {text!r}")
    if re.match(r"(a |an |the )?(figure|image|picture|plot|graph|chart) (of|showing)", text, re.IGNORECASE):
        raise UserError(f"alt text opens with what a screen reader says anyway; open with what is drawn: {text!r}")
    if not re.search(r"\d", text):
        raise UserError(f"alt text has no number from the run; add one by keyword, as in slope=estimate: {text!r}")
    return text


def _points(x: Any, y: Any, interval: Any) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    x = np.asarray(x, dtype=float)
    y = list(y)
    if y and all(isinstance(item, Estimate) for item in y):
        table = np.array([(item.value, item.low, item.high) for item in y], dtype=float)  # None becomes nan: not drawn
        y, interval = table[:, 0], (table[:, 1], table[:, 2])
    y = np.asarray(y, dtype=float)
    if interval is not None:
        interval = (np.asarray(interval[0], dtype=float), np.asarray(interval[1], dtype=float))
    shapes = {x.shape, y.shape, *(end.shape for end in interval or ())}
    if len(shapes) != 1:
        raise UserError(f"x, y and interval have shapes {sorted(shapes)}; all need one value for each point.")
    return x, y, interval


def _number(value: float | Estimate) -> str:
    if isinstance(value, Estimate):
        if value.value is None:
            return "not measured"
        if value.low is None or value.is_exact:
            return _number(value.value)
        return f"{_number(value.value)} ({_number(value.low)} to {_number(value.high)})"
    return f"{value:.3g}".replace("-", "−")

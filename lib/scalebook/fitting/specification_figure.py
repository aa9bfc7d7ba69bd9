"""The picture of a specification curve: values above, the choices behind each below."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scalebook.errors import UserError

RESULTS = ["value", "low", "high", "reason"]


def specification_figure(
    table: pd.DataFrame, *, label: str, reference: tuple[float, float] | float | None = None, reference_label: str = ""
) -> Figure:
    """Draw the table of `specification_curve`: sorted values with their intervals, and a dot for each choice made.

    ``label`` names the value with its unit. ``reference`` is a published value, or interval, drawn across. Analyses
    without a value are left out and counted on the axis. Raises UserError if none has a value.
    """
    known = table[table["value"].notna()].reset_index(drop=True)
    if known.empty:
        raise UserError("specification_figure: no analysis has a value; look at the column reason.")
    names = [name for name in table.columns if name not in RESULTS]
    options: Sequence[tuple[str, object]] = [(name, option) for name in names for option in table[name].cat.categories]
    above, below = 3.2, 0.24 * (len(options) + len(names))  # inches
    figure, (upper, lower) = plt.subplots(
        2, 1, sharex=True, figsize=(plt.rcParams["figure.figsize"][0], above + below + 0.5),
        gridspec_kw={"height_ratios": [above, below]},
    )  # fmt: skip
    place = np.arange(len(known))
    upper.vlines(
        place,
        known["low"].fillna(known["value"]),
        known["high"].fillna(known["value"]),
        color="C0",
        alpha=0.45,
        linewidth=1.2,
    )
    upper.plot(place, known["value"], "o", color="C0", markersize=3)
    if reference is not None:
        low, high = np.broadcast_to(reference, 2)
        upper.axhspan(low, high, color="C1", alpha=0.5, linewidth=0.8, label=reference_label)
        if reference_label:
            upper.legend(loc="upper left")  # sorted values leave that corner free
    upper.set_ylabel(label)
    ticks, labels, at = [], [], 0.0
    for name in names:
        for option in table[name].cat.categories:
            made = np.flatnonzero(known[name] == option)
            lower.plot(made, np.full(made.size, at), "|", color="C0", markersize=6, markeredgewidth=1.2)
            ticks.append(at)
            labels.append(f"{name}: {option}")
            at += 1
        at += 0.6  # a gap between one choice and the next
    lower.set_yticks(ticks, labels)
    lower.set_ylim(at - 1, -1)
    lower.grid(axis="x", visible=False)
    missing = len(table) - len(known)
    lower.set_xlabel(f"{len(known)} analyses, sorted" + (f", {missing} more gave no value" if missing else "") + " (rank)")
    lower.set_ylabel("choice made (kind)")
    return figure

"""Every defensible analysis of one data set, side by side: the specification curve (Simonsohn et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import pandas as pd

from scalebook.errors import ScalebookError, UserError
from scalebook.estimate import Estimate


def specification_curve(
    analyse: Callable[..., Estimate | float], choices: Mapping[str, Mapping[str, object] | Sequence[object]]
) -> pd.DataFrame:
    """Run ``analyse`` for every combination of ``choices`` and return one row each, sorted by value.

    ``choices`` maps each argument of ``analyse`` to its options: a sequence, or a dict label -> option where the option
    itself is not fit to print. ``analyse`` returns an Estimate or a number. Columns: the choices (labels, as
    categories), value, low, high and reason; an analysis without a result (a missing Estimate, a ScalebookError) has no
    value, and the reason says why. List the choices before looking at any result.
    """
    options = {
        name: dict(given) if isinstance(given, Mapping) else {str(option): option for option in given}
        for name, given in choices.items()
    }
    bare = [name for name, given in options.items() if not given]
    if bare or not options or set(options) & {"value", "low", "high", "reason"}:
        raise UserError(
            f"specification_curve: choices {list(options)}, without options: {bare}. Give one option or more to each."
        )
    rows = []
    for labels in product(*options.values()):
        chosen = dict(zip(options, labels))
        try:
            found = analyse(**{name: options[name][label] for name, label in chosen.items()})
        except ScalebookError as error:
            found = Estimate.missing(str(error))
        if not isinstance(found, Estimate):
            found = Estimate(float(found), None, None, 1)
        rows.append({**chosen, "value": found.value, "low": found.low, "high": found.high, "reason": found.reason})
    table = pd.DataFrame(rows).astype({"value": float, "low": float, "high": float})
    for name, given in options.items():
        table[name] = pd.Categorical(table[name], categories=list(given))
    return table.sort_values("value", kind="stable", ignore_index=True)

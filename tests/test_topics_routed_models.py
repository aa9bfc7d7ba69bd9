"""Laws on routed models, where the table was made from one of them, and on the published curves."""

import numpy as np
import pandas as pd
import pytest

from scalebook import published
from scalebook.errors import DataNotHere
from scalebook.topics import routed_models
from scalebook.topics.sparse_students import SparseLaw

BASES = {"15M": 1.6e7, "25M": 2.7e7, "55M": 5.7e7, "130M": 1.3e8, "370M": 3.7e8, "1.3B": 1.3e9}


def grid() -> pd.DataFrame:
    rows = [(base, k, n * (1 + 0.3 * (k - 1)), n) for base, n in BASES.items() for k in (1, 2, 8, 32, 128)]
    return pd.DataFrame(rows, columns=["base", "experts", "total", "dense"])


def test_the_law_that_made_the_table_forecasts_it_and_a_dense_law_does_not():
    table = grid()
    share = 1 - table["dense"] / table["total"]
    truth = {"e": 1.2, "a": 60.0, "b": 0.0, "c": 8.0, "alpha": 0.25, "beta": 0.3, "gamma": 0.0}
    x = {"N": table["total"].to_numpy(), "D": np.ones(len(table)), "S": share.to_numpy()}
    table["loss"] = SparseLaw(x, truth)
    found = routed_models.misses(table, routed_models.forecasts(table))
    assert found[routed_models.AWARE] < 1e-3 < 0.02 < min(found[name] for name in routed_models.DENSE)
    n, k = np.log(table["dense"]), np.log(table["experts"])
    table["loss"] = np.exp(2.5 - 0.083 * n - 0.082 * k + 0.003 * n * k)
    found = routed_models.misses(table, routed_models.forecasts(table))
    assert found[routed_models.OWN] < 1e-9 < 0.005 < min(found[name] for name in routed_models.DENSE)


def test_final_losses_of_the_published_curves():
    try:
        curves = published.load(routed_models.KEY, download=False)
    except DataNotHere as reason:
        pytest.skip(f"published table: {reason}")
    table = routed_models.cells(curves, "S-Base")
    assert len(table) == 59 and set(table["base"]) == set(BASES) and table.duplicated(["base", "experts"]).sum() == 0
    dense = table[table["experts"] == 1]
    assert np.polyfit(np.log(dense["dense"]), np.log(dense["loss"]), 1)[0] == pytest.approx(-0.078, abs=0.003)  # as published
    routed = dict(tuple(table.groupby("base")))
    slopes = {b: np.polyfit(np.log(routed[b]["experts"]), np.log(routed[b]["loss"]), 1)[0] for b in ("25M", "1.3B")}
    assert slopes["25M"] < 1.5 * slopes["1.3B"] < 0  # experts pay less the larger the model, the paper's interaction

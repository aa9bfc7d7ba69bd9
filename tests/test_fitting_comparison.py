"""Rival laws on hidden scales, and the specification curve."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from scalebook import laws
from scalebook.errors import UserError
from scalebook.estimate import Estimate
from scalebook.fitting import fit, rivals, specification_curve
from scalebook.fitting.specification_figure import specification_figure
from scalebook.plots import require_labels

X = np.logspace(4, 8, 30)


def data(seed=0, sigma=0.002):
    return laws.PowerFloor(X, E=1.5, A=20.0, alpha=0.3) * np.exp(
        sigma * np.random.default_rng(seed).standard_normal(X.size)
    )


def test_the_true_law_predicts_hidden_scales_best():
    table = rivals([laws.Logarithmic, laws.PowerLaw, laws.Exponential, laws.PowerFloor], X, data(), bootstrap=100)
    assert table["law"][0] == "power law with floor"
    assert set(table["law"]) == {"logarithmic", "power law", "exponential", "power law with floor", "no change"}
    best = table.iloc[0]
    assert best["error"] < 0.005 and best["low"] <= best["error"] <= best["high"] and best["ahead"] > 0.9
    assert table["ahead"].sum() == pytest.approx(1)
    naive = table.set_index("law").loc["no change"]
    assert naive["free"] == 0 and naive["bias"] > 0 and naive["low"] == naive["high"] == naive["error"]


def test_errors_are_those_of_a_fit_on_the_rows_that_were_shown():
    y = data()
    table = rivals([laws.PowerLaw], X, y, holdout=X > 1e7).set_index("law")
    alone = fit(laws.PowerLaw, X[X <= 1e7], y[X <= 1e7])
    misses = np.log(alone.predict(X[X > 1e7]) / y[X > 1e7])
    assert table.loc["power law", "error"] == pytest.approx(np.sqrt((misses**2).mean()))
    assert table.loc["power law", "bias"] == pytest.approx(misses.mean())
    assert table.loc["no change", "error"] == pytest.approx(np.sqrt((np.log(y[X <= 1e7][-1] / y[X > 1e7]) ** 2).mean()))


def test_laws_of_different_inputs_compete_on_one_table():
    n, d = (g.ravel() for g in np.meshgrid(np.logspace(6, 9, 8), np.logspace(8, 11, 6)))
    loss = laws.Chinchilla({"N": n, "D": d}, E=1.7, A=400.0, B=500.0, alpha=0.34, beta=0.3)
    frame = pd.DataFrame({"N": n, "D": d, "C": 6 * n * d})
    table = rivals([laws.Chinchilla, laws.PowerFloor.on(x="C").named("compute only")], frame, loss, by="C", holdout=0.2)
    assert table["law"].tolist()[0] == "Chinchilla" and table["error"][0] < 1e-4


def test_a_law_that_forecasts_less_than_nothing_comes_last():
    y = laws.PowerLaw(X, A=300.0, alpha=0.6)
    table = rivals([laws.Logarithmic, laws.PowerLaw], X, y, holdout=0.5, bootstrap=20)
    assert table["law"].tolist() == ["power law", "no change", "logarithmic"]
    assert np.isinf(table["error"].iloc[-1]) and table["ahead"].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"holdout": 1.5}, "holdout is 1.5"),
        ({"holdout": np.ones(30, bool)}, "some must be hidden"),
        ({"by": "N"}, "by is 'N'"),
        ({"laws": [laws.PowerLaw, laws.PowerLaw]}, "Law.named"),
        ({"laws": [laws.Chinchilla]}, "x lacks"),
        ({"y": X[:3]}, "one value of y"),
    ],
)
def test_rivals_say_what_is_wrong(arguments, words):
    with pytest.raises(UserError) as caught:
        rivals(**{"laws": [laws.PowerLaw], "x": X, "y": data()} | arguments)
    assert words in str(caught.value)


def analyses(delta, outliers, law):
    y = data()
    y[3] *= 1.3
    kept = np.arange(X.size) != 3 if outliers == "dropped" else np.full(X.size, True)
    if law is laws.Logarithmic:
        raise UserError("a logarithm has no exponent")
    return fit(law, X[kept], y[kept], delta=delta, bootstrap=30).interval("alpha")


CHOICES = {
    "delta": {"Huber": 1e-3, "squares": None},
    "outliers": ["kept", "dropped"],
    "law": {"floor": laws.PowerFloor, "pure": laws.PowerLaw, "log": laws.Logarithmic},
}


def test_a_specification_curve_runs_every_combination_and_keeps_failures():
    table = specification_curve(analyses, CHOICES)
    assert len(table) == 12 and list(table.columns) == ["delta", "outliers", "law", "value", "low", "high", "reason"]
    known = table[table["value"].notna()]
    assert len(known) == 8 and (np.diff(known["value"]) >= 0).all()
    assert set(table[table["law"] == "log"]["reason"]) == {"a logarithm has no exponent"}
    one = table[(table["delta"] == "Huber") & (table["outliers"] == "kept") & (table["law"] == "floor")].iloc[0]
    alone = analyses(1e-3, "kept", laws.PowerFloor)
    assert (one["value"], one["low"], one["high"]) == (alone.value, alone.low, alone.high)


def test_analyses_may_return_plain_numbers_or_nothing():
    table = specification_curve(lambda a: a if a < 2 else Estimate.missing("too large"), {"a": [1.0, 2.0]})
    assert table["value"].tolist()[0] == 1.0 and np.isnan(table["low"][0]) and table["reason"][1] == "too large"
    with pytest.raises(UserError, match="without options"):
        specification_curve(lambda a: 1.0, {"a": []})


def test_the_figure_shows_every_analysis_choice_and_reference():
    table = specification_curve(analyses, CHOICES)
    figure = specification_figure(table, label="exponent α (no unit)", reference=(0.29, 0.31), reference_label="truth")
    upper, lower = figure.axes
    assert upper.lines[0].get_xdata().size == 8
    assert [text.get_text() for text in lower.get_yticklabels()][:2] == ["delta: Huber", "delta: squares"]
    assert sum(line.get_xdata().size for line in lower.lines) == 8 * 3
    assert "4 more gave no value" in lower.get_xlabel()
    require_labels(figure)
    plt.close(figure)
    with pytest.raises(UserError, match="no analysis has a value"):
        specification_figure(table[table["value"].isna()], label="a")

"""Approaches 1 to 3 to the compute-optimal size, on surfaces whose optimum is known."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize
from scipy.spatial import ConvexHull

from scalebook import laws
from scalebook.errors import UserError
from scalebook.fitting import envelope, exponent, fit, isoflop, optimum
from scalebook.fitting.allocation import _lower_hull

# equal exponents: log loss at fixed C is then symmetric about the optimum, and a is exactly 1/2
EVEN = {"E": 1.7, "A": 400.0, "B": 500.0, "alpha": 0.35, "beta": 0.35}
TILTED = {"E": 1.7, "A": 400.0, "B": 2000.0, "alpha": 0.30, "beta": 0.38}
BUDGETS = np.logspace(18, 21, 7)


def iso_runs(params, sigma=0.0, seed=0, sizes=9, width=3.0):
    c = np.repeat(BUDGETS, sizes)
    n = optimum(params, c)[0] * np.tile(np.geomspace(1 / width, width, sizes), BUDGETS.size)
    loss = laws.Chinchilla({"N": n, "D": c / (6 * n)}, params)
    return n, c, loss * np.exp(sigma * np.random.default_rng(seed).standard_normal(n.size))


@pytest.mark.parametrize("params", [EVEN, TILTED])
def test_the_closed_form_optimum_is_where_scipy_finds_it(params):
    c = 3e20

    def loss(log_n):
        n = np.exp([log_n])
        return float(laws.Chinchilla({"N": n, "D": c / (6 * n)}, params)[0])

    found = optimize.minimize_scalar(loss, bounds=(10, 30), method="bounded", options={"xatol": 1e-10})
    n, d = optimum(params, c)
    assert n == pytest.approx(np.exp(found.x), rel=1e-4)
    assert 6 * n * d == pytest.approx(c)
    assert exponent(params) == pytest.approx(np.log(optimum(params, 10 * c)[0] / n) / np.log(10))


def test_parabolas_on_a_symmetric_surface_give_the_exact_exponent():
    found = isoflop(*iso_runs(EVEN), bootstrap=50)
    assert found.exponent.value == pytest.approx(0.5, abs=1e-6)
    assert found.optima["N"].to_numpy() == pytest.approx(optimum(EVEN, BUDGETS)[0], rel=1e-4)
    assert found.size(1e22).value == pytest.approx(optimum(EVEN, 1e22)[0], rel=1e-3)
    assert not found.dropped


def test_parabola_intervals_cover_the_exponent():
    hits, errors = 0, []
    for seed in range(60):
        found = isoflop(*iso_runs(EVEN, sigma=0.003, seed=seed), bootstrap=300)
        hits += found.exponent.low <= 0.5 <= found.exponent.high
        errors.append(found.exponent.value - 0.5)
    assert 53 <= hits <= 60
    assert abs(np.mean(errors)) < 0.3 * np.std(errors)


def test_a_minimum_at_the_edge_of_the_sizes_is_dropped_and_named():
    n, c, loss = iso_runs(EVEN)
    edge = (c == BUDGETS[2]) & (n > 1.1 * optimum(EVEN, BUDGETS[2])[0])  # the smaller sizes were never run
    few = (c == BUDGETS[4]) & (np.arange(n.size) % 3 > 0)
    rows = ~((c == BUDGETS[2]) & ~edge) & ~few
    found = isoflop(n[rows], c[rows], loss[rows], bootstrap=20)
    assert len(found.optima) == 5 and len(found.dropped) == 2
    assert any("3 sizes, 4 needed" in text for text in found.dropped)
    assert found.exponent.value == pytest.approx(0.5, abs=1e-3)


def test_labels_group_runs_whose_compute_differs_a_little():
    n, c, loss = iso_runs(EVEN)
    jitter = c * np.exp(0.01 * np.random.default_rng(0).standard_normal(c.size))
    found = isoflop(
        n,
        jitter,
        laws.Chinchilla({"N": n, "D": jitter / (6 * n)}, EVEN),
        budgets=np.round(np.log10(c), 3),
        bootstrap=20,
    )
    assert found.exponent.value == pytest.approx(0.5, abs=0.02)


def test_far_sizes_bend_the_parabola_and_can_be_left_out():
    n, c, loss = iso_runs(TILTED, width=100.0, sizes=25)
    all_sizes, near = (isoflop(n, c, loss, around=around, bootstrap=20) for around in (np.inf, 4.0))
    truth = optimum(TILTED, BUDGETS)[0]
    assert np.abs(np.log(near.optima["N"] / truth)).max() < 0.1 < np.abs(np.log(all_sizes.optima["N"] / truth)).max()
    assert near.exponent.value == pytest.approx(exponent(TILTED), abs=0.01)


def curves(params, sigma=0.0, seed=0, sizes=24):
    """Training curves of a ladder of sizes: every checkpoint is a point."""
    n = np.repeat(np.geomspace(1e6, 1e10, sizes), 60)
    d = np.tile(np.geomspace(1e5, 1e13, 60), sizes)  # long enough that no curve is cut off before its turn
    luck = np.random.default_rng(seed).standard_normal(sizes)
    loss = laws.Chinchilla({"N": n, "D": d}, params) * np.exp(sigma * np.repeat(luck, 60))
    return n, 6 * n * d, loss


@pytest.mark.parametrize("hull", [False, True])
@pytest.mark.parametrize("params", [EVEN, TILTED])
def test_the_envelope_of_training_curves_follows_the_optimum(params, hull):
    found = envelope(*curves(params), hull=hull, bootstrap=60)
    assert found.exponent.value == pytest.approx(exponent(params), abs=0.05)
    assert found.exponent.low <= found.exponent.value <= found.exponent.high
    assert found.exponent.n == 24
    assert (np.diff(found.optima["C"]) > 0).all()


def test_the_lower_hull_equals_scipys():
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 1, 200), rng.uniform(0, 1, 200)
    x = np.append(x, 2.0)
    y = np.append(y, -1.0)  # the hull falls all the way
    corners = set(ConvexHull(np.stack([x, y], axis=1)).vertices)
    left = min(corners, key=lambda i: x[i])
    lower = {i for i in corners if y[i] <= y[left] + (y[-1] - y[left]) * (x[i] - x[left]) / (x[-1] - x[left]) + 1e-12}
    assert set(_lower_hull(x, y)) == lower


def test_the_three_approaches_agree_on_one_surface():
    n, c, loss = iso_runs(TILTED, sigma=0.001)
    third = fit(laws.Chinchilla, {"N": n, "D": c / (6 * n)}, loss)
    assert exponent(third.params) == pytest.approx(exponent(TILTED), abs=0.03)
    assert isoflop(n, c, loss, bootstrap=20).exponent.value == pytest.approx(exponent(TILTED), abs=0.03)
    assert envelope(*curves(TILTED), bootstrap=5).exponent.value == pytest.approx(exponent(TILTED), abs=0.05)


def test_the_same_call_gives_the_same_interval():
    runs = iso_runs(EVEN, sigma=0.003)
    assert isoflop(*runs).exponent == isoflop(*runs).exponent != isoflop(*runs, seed=1).exponent
    points = curves(EVEN, sigma=0.003)
    assert envelope(*points, bootstrap=20).exponent == envelope(*points, bootstrap=20).exponent


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda n, c, loss: isoflop(n, c, -loss), "loss holds values"),
        (lambda n, c, loss: isoflop(n, c, loss[1:]), "Lengths differ"),
        (lambda n, c, loss: isoflop(n, c, loss, budgets=[1]), "one label for each of the 63 runs"),
        (lambda n, c, loss: isoflop(n[:18], c[:18], loss[:18]), "2 budgets with a minimum inside, 3 needed"),
        (lambda n, c, loss: isoflop(n, c, loss, around=0.5), "around is 0.5"),
        (lambda n, c, loss: envelope(n, c, loss, units=[1]), "one label for each of the 63 points"),
        (lambda n, c, loss: envelope(n, c, loss, bins=2), "more bins"),
    ],
)
def test_errors_say_what_was_given_and_what_to_do(call, words):
    with pytest.raises(UserError) as caught:
        call(*iso_runs(EVEN))
    assert words in str(caught.value)


MIRROR = os.environ.get("SCALEBOOK_MIRROR")
# Porian et al. 2024 (arXiv 2406.19146): weighted exponents of the authors' released results, RefinedWeb
STEPS = {
    ("base", "long", "kaplan", "kaplan"): 0.835,
    ("base", "long", "kaplan", "attention"): 0.717,
    ("base", "short", "kaplan", "attention"): 0.622,
    ("base", "short", "chinchilla", "attention"): 0.577,
    ("tuned", "short", "const", "attention"): 0.505,
}


@pytest.mark.skipif(not MIRROR, reason="published table: set SCALEBOOK_MIRROR to the folder of tables")
def test_parabolas_walk_from_kaplans_exponent_to_chinchillas():
    table = pd.read_csv(Path(MIRROR) / "porian2024resolving" / "isoflop_points.csv").dropna(subset=["params", "loss"])
    table = table[(table["dataset"] == "rw") & (table["split"] == "train")]
    for step, printed in STEPS.items():
        rows = table[(table[["hparams", "warmup", "decay", "param_count"]] == list(step)).all(axis=1)]
        found = isoflop(rows["params"], rows["flops"], rows["loss"], around=5, bootstrap=200).exponent
        assert found.value == pytest.approx(printed, abs=0.03), step
        assert found.low < printed < found.high, step

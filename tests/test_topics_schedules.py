"""Schedules, their two areas, the annealing law, and the stack of tiny models."""

import numpy as np
import pytest
import torch

from scalebook.errors import UserError
from scalebook.suite.network import token_losses
from scalebook.suite.plan import Shape
from scalebook.topics import schedule_annealing as annealing
from scalebook.topics import schedule_shapes as shapes
from scalebook.topics import schedule_training as training
from scalebook.topics.schedule_bench import Bench, Spec

SMALL = Shape(16, 1, 2)


def generator(name, r=0):
    return np.random.default_rng([sum(map(ord, name)), r])


def test_areas_of_a_single_drop_have_their_closed_form():
    eta, momentum, drop, steps = 0.3, 0.9, 60, 100
    rates = np.where(np.arange(1, steps + 1) < drop, eta, eta / 2)
    s1, s2 = shapes.areas(rates, momentum, warmup=20)
    assert s1[-1] == pytest.approx(eta * (drop - 1) + eta / 2 * (steps - drop + 1))
    later = np.arange(drop, steps + 1)
    assert s2[drop - 1 :] == pytest.approx(eta / 2 * (1 - momentum ** (later - drop + 1)) / (1 - momentum))
    assert not s2[: drop - 1].any()


def test_annealing_area_is_the_papers_double_sum():
    rates, momentum = shapes.cooled(60, 0.4), 0.8
    double = [
        sum((rates[k - 1] - rates[k]) * momentum ** (i - k) for i in range(s + 1) for k in range(shapes.WARMUP, i + 1))
        for s in range(60)
    ]
    assert shapes.areas(rates, momentum)[1] == pytest.approx(double)
    assert shapes.areas(rates, [0.5, momentum])[1][1] == pytest.approx(double)


def test_a_cooldown_is_one_minus_a_square_root():
    rates = shapes.cooled(1000, 0.2)
    assert rates[19:801] == pytest.approx(1.0)
    assert rates[850] == pytest.approx(1 - np.sqrt(0.25))
    assert shapes.cooled(1000, 0.2, root=False)[850] == pytest.approx(0.75)
    assert shapes.cooled(1000, 1.0, root=False)[20:] == pytest.approx(shapes.unit_rates("linear to 0", 1000)[20:])
    assert shapes.cooled(1000, 0.0) == pytest.approx(shapes.unit_rates("constant", 1000))


def test_half_a_cosine_is_at_its_middle_half_way():
    rates = shapes.unit_rates("cosine to 10 %", 1020, warmup=20)
    assert rates[20 + 500] == pytest.approx(0.55)
    assert shapes.unit_rates("two cycles", 1000)[520] == pytest.approx(1.0)  # warmed up again
    with pytest.raises(UserError, match="unknown"):
        shapes.unit_rates("square", 100)


def test_tokens_of_a_trunk_with_three_branches():
    assert shapes.token_ratio((1, 2, 4), 0.2) == pytest.approx((4 + 0.2 * 7) / 7)


TRUE = {"L0": 1.6, "A": 0.9, "alpha": 0.45, "C": 0.05}


def true_curve(rates, momentum=0.99, noise=0.0, rng=None):
    at = np.arange(25, len(rates) + 1, 25)
    s1, s2 = (area[at - 1] for area in shapes.areas(rates, momentum))
    loss = TRUE["L0"] + TRUE["A"] * s1 ** -TRUE["alpha"] - TRUE["C"] * s2
    return annealing.Curve(rates, at, loss * np.exp(noise * rng.standard_normal(len(at))) if noise else loss)


def test_the_annealing_law_is_found_again_and_foretells_a_schedule_it_has_not_seen():
    two = [true_curve(0.03 * shapes.unit_rates(kind, 1000)) for kind in ("constant", "cosine to 10 %")]
    found = annealing.choose(two, 200)
    assert found.momentum == 0.99 and not found.degenerate
    assert {k: found.fitted.params[k] for k in TRUE} == pytest.approx(TRUE, rel=0.02)
    new = true_curve(0.03 * shapes.cooled(1000, 0.2))
    assert found.predict(new.rates, new.at) == pytest.approx(new.loss, rel=1e-4)
    blind = annealing.fit_curves(two, 0.99, 200, annealing=False)
    assert blind.predict(new.rates)[-1] > 1.01 * new.loss[-1]


def test_a_floor_that_collapses_is_said_to_be_degenerate():
    at, rates = np.arange(25, 1001, 25), 0.03 * shapes.unit_rates("constant", 1000)
    curve = annealing.Curve(rates, at, 3.0 * shapes.areas(rates, 0.9)[0][at - 1] ** -0.07)  # no floor at all
    assert annealing.fit_curves([curve, curve], 0.9, 200).degenerate


def test_the_law_falls_while_the_rate_is_zero():
    found = annealing.choose([true_curve(0.03 * shapes.unit_rates(k, 1000)) for k in ("constant", "cosine to 0")], 200)
    told = found.predict(np.concatenate([0.03 * shapes.cooled(1000, 0.2), np.zeros(200)]))
    assert told[-1] < told[999] - 0.005


@pytest.fixture(scope="module")
def reading():
    windows = np.random.default_rng(3).integers(9, 127, (200, 17)).astype(np.uint8)
    return training.reading(windows, 40, 4, np.random.default_rng(4)), windows[:8]


@pytest.mark.parametrize("size", [1.0, 6.0], ids=["as begun", "so large that gradients are clipped"])
def test_a_step_is_that_of_torch(reading, size):
    text, held = reading
    start = training.begin(SMALL, np.random.default_rng(5))
    start = training.Point(size * start.weights, start.first, start.second, 0)
    rates = 0.02 * shapes.unit_rates("constant", 41, warmup=5)[:12]
    (ours,) = training.train(SMALL, [training.Run(rates, text, start)], held)
    weights = start.weights.clone().requires_grad_()
    adam = torch.optim.AdamW([weights], lr=1.0, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    for step, rate in enumerate(rates):
        adam.param_groups[0]["lr"] = rate
        adam.zero_grad()
        token_losses(weights[None], torch.from_numpy(text[step].astype(np.int64))[None], SMALL).mean().backward()
        norm = torch.nn.utils.clip_grad_norm_([weights], 1.0)
        assert size == 1 or step == 0 or norm > 1
        adam.step()
    assert torch.allclose(ours.end.weights, weights.detach(), atol=2e-5)


def test_a_branch_is_the_run_that_was_trained_alone(reading):
    text, held = reading
    start = training.begin(SMALL, np.random.default_rng(5))
    flat = np.full(40, 0.02)
    bent = np.where(np.arange(40) < 25, 0.02, 0.005)
    (trunk,) = training.train(SMALL, [training.Run(flat, text, start, save=frozenset({25}))], held)
    other = training.Run(flat, text, training.begin(SMALL, np.random.default_rng(6)))
    branch, _ = training.train(SMALL, [training.Run(bent, text, trunk.saved[25]), other], held)
    (alone,) = training.train(SMALL, [training.Run(bent, text, start)], held)
    assert torch.allclose(branch.end.weights, alone.end.weights, atol=2e-5)
    assert branch.loss[-1] == pytest.approx(alone.loss[-1], abs=1e-5)
    assert abs(branch.loss[-1] - trunk.loss[-1]) > 1e-5


def test_averaged_weights_are_the_mean_of_the_steps(reading):
    text, held = reading
    start = training.begin(SMALL, np.random.default_rng(5))
    every = frozenset(range(41))
    run = training.Run(np.full(40, 0.02), text, start, save=every, sums=frozenset({30, 40}))
    (one,) = training.train(SMALL, [run], held)
    by_hand = torch.stack([one.saved[step].weights.double() for step in range(31, 41)]).mean(0).float()
    assert torch.allclose(training.averaged(one.sums, 40, 10), by_hand, atol=1e-6)
    with pytest.raises(UserError, match="no sum"):
        training.averaged(one.sums, 40, 5)


def test_bytes_that_do_not_count_have_no_gradient(reading):
    text, held = reading
    start = training.begin(SMALL, np.random.default_rng(5))
    counted = np.zeros((40, 4, 16), dtype=bool)
    counted[:, :, :8] = True
    changed = text.copy()
    changed[:, :, 9:] = 33  # later bytes are never seen by what counts
    one, two = training.train(
        SMALL, [training.Run(np.full(6, 0.02), words, start, counted) for words in (text, changed)], held
    )
    assert torch.allclose(one.end.weights, two.end.weights, atol=1e-6)


def test_text_is_dealt_out_once():
    train, held = training.split_text(np.random.default_rng(0), 10_000, packages=("json", "logging"))
    assert len(held) == 3 and train.shape[1] == held.shape[1] == training.PIECE
    windows = training.cut(held, 64)
    assert windows.shape[1] == 65 and np.array_equal(windows[0, -1:], windows[1, :1])
    with pytest.raises(UserError, match="shorten"):
        training.reading(windows, 1000, 4, np.random.default_rng(0))


def test_the_bench_trains_a_trunk_once_and_joins_the_curve_of_a_branch(monkeypatch):
    once, trained = training.train, []
    bench = Bench(generator, (100,), points=5)
    branch, flat = Spec("cooled", 0.03, 100, 1), Spec("constant", 0.03, 100, 1)
    bench.train([branch])
    before = bench.final(flat)
    monkeypatch.setattr(training, "train", lambda shape, runs, held: trained.extend(runs) or once(shape, runs, held))
    bench.train([flat, branch, Spec("linear to 0", 0.03, 100, 1)])
    assert len(trained) == 1
    assert bench.final(flat) == before
    curve = bench.curve(branch)
    assert curve.at.tolist() == [20, 40, 60, 80, 100]
    assert curve.loss[:4] == pytest.approx(bench.curve(flat).loss[:4])
    assert curve.loss[4] != pytest.approx(before, abs=1e-6)
    assert branch.leaves == 80 and Spec("two steps", 0.03, 100, 1).leaves == 60

"""The stacked toy model against automatic differentiation, PyTorch's AdamW and closed forms."""

import math

import numpy as np
import pytest
import torch

from scalebook.errors import UserError
from scalebook.topics import toy_superposition as toy

P = toy.frequencies("power", 24, 1.25)


def start(seed=1):
    return torch.Generator().manual_seed(seed)


def trained(models, *, seed=1, steps=40, p=P, **options):
    return toy.train(p, models, batch=16, steps=steps, start=start(seed), data=np.random.default_rng(seed), **options)


def dense_batches(p, batch, steps, seed, chunk=20):
    """The same batches as the trainer's, as dense x (B, n)."""
    rng = np.random.default_rng(seed)
    for first in range(0, steps, chunk):
        now = min(chunk, steps - first)
        sample, feature, value = toy.draw(p, now * batch, rng)
        x = torch.zeros(now * batch, len(p))
        x[sample, feature] = torch.from_numpy(value)
        yield from x.view(now, batch, len(p))


def alone(width, gamma, *, seed=1, steps=40, p=P, batch=16, rate=1e-2):
    """The model written plainly: dense, by automatic differentiation, torch's Adam, the row rule before its step."""
    g = start(seed)
    w = (torch.randn(width, len(p), generator=g) / math.sqrt(width)).T.clone().requires_grad_()
    b = torch.randn(len(p), generator=g).requires_grad_()
    adam = torch.optim.Adam([w, b], lr=rate)
    for step, x in enumerate(dense_batches(p, batch, steps, seed)):
        rise = round(0.1 * steps)
        done = (step - rise) / (steps - rise)
        now = rate * ((step + 1) / rise if step < rise else 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
        loss = (torch.relu(x @ w @ w.T + b) - x).square().sum(dim=1).mean()
        adam.param_groups[0]["lr"] = now
        adam.zero_grad()
        loss.backward()
        with torch.no_grad():
            length = w.norm(dim=1, keepdim=True)
            w -= now * gamma * w if gamma >= 0 else now * abs(gamma) * w * (1 - 1 / length)
        adam.step()
    return w.detach(), b.detach()


@pytest.mark.parametrize("gamma", [-1.0, 0.0, 1 / 3])
def test_training_equals_the_plain_model(gamma):
    (model,) = trained([(5, gamma)])
    w, b = alone(5, gamma)
    np.testing.assert_allclose(model.rows, w, atol=2e-5)
    np.testing.assert_allclose(model.bias, b, atol=2e-5)


def test_gradient_equals_automatic_differentiation_in_double_precision():
    stack = toy._Stack(P, [(3, -1.0), (3, 0.5), (7, -1.0)], 16, start(), False, False, "cpu")
    sample, feature, value = (torch.from_numpy(a) for a in toy.draw(P, 16, np.random.default_rng(3)))
    x = torch.zeros(16, len(P), dtype=torch.float64)
    x[sample, feature] = value.double()
    stack.forward((sample, feature, value))
    stack.backward((sample, feature, value))
    for k, (m, _) in enumerate(stack.models):
        block = stack.theta[stack.starts[k] : stack.starts[k + 1]].double().requires_grad_()
        w, b = block[:m].T, block[-1]
        (torch.relu(x @ w @ w.T + b) - x).square().sum(dim=1).mean().backward()
        found = stack.gradient[stack.starts[k] : stack.starts[k + 1]] * (2 / 16)
        torch.testing.assert_close(found.double(), block.grad, atol=1e-6, rtol=1e-5)


def test_stack_gives_the_losses_of_single_runs():
    models = [(m, gamma) for m in (3, 5, 8) for gamma in (-1.0, 0.0, 1 / 3)]
    together = trained(models, steps=200)
    for (width, gamma), model in zip(models, together, strict=True):
        assert (model.width, model.gamma) == (width, gamma)
    # A width's start depends on the widths before it, so the single run is the narrowest one.
    for gamma, model in zip((-1.0, 0.0, 1 / 3), together[:3], strict=True):
        (single,) = trained([(3, gamma)], steps=200)
        assert model.loss == pytest.approx(single.loss, abs=1e-4)


def test_padding_is_exact():
    models = [(3, -1.0), (5, -1.0), (8, 1 / 3)]
    for narrow, padded in zip(trained(models), trained(models, padded=True), strict=True):
        np.testing.assert_allclose(padded.rows, narrow.rows, atol=2e-5)
        assert padded.loss == pytest.approx(narrow.loss, abs=1e-4)
    stack = toy._Stack(P, models, 16, start(), False, True, "cpu")
    for step, pairs in enumerate(toy._stream(P, 16, 50, np.random.default_rng(0), "cpu")):
        stack.step(pairs, 1e-2 * (step + 1) / 50)
    assert torch.count_nonzero(stack.theta[3:8]) == 0, "the empty columns of the narrowest model have moved"


def test_frozen_rows_stay_at_unit_length_and_only_thresholds_learn():
    (before,) = trained([(5, -1.0)], frozen=True, steps=0)
    (after,) = trained([(5, -1.0)], frozen=True, steps=200)
    np.testing.assert_array_equal(before.rows, after.rows)
    np.testing.assert_allclose(toy.norms(after), 1.0, atol=1e-6)
    assert after.loss < before.loss and not np.allclose(before.bias, after.bias)


def test_models_that_differ_in_gamma_start_alike_and_order_is_kept():
    first, second = trained([(8, 1 / 3), (3, -1.0)], steps=0)
    assert (first.width, second.width) == (8, 3)
    strong, weak = trained([(8, -1.0), (8, 1 / 3)], steps=0)
    np.testing.assert_array_equal(strong.rows, weak.rows)


def test_the_dial_has_two_ends():
    strong, weak = trained([(4, -1.0), (4, 1 / 3)], steps=1500)
    np.testing.assert_allclose(toy.norms(strong), 1.0, atol=0.35)
    assert toy.unlearned_mass(strong, P) == 0.0
    assert (toy.norms(weak) < 0.5).sum() >= len(P) - 8
    assert weak.loss == pytest.approx(toy.unlearned_mass(weak, P), rel=0.15)


def test_loss_of_doing_nothing_is_four_thirds():
    stack = toy._Stack(P, [(4, 0.0)], 16, start(), False, False, "cpu")
    stack.theta.zero_()
    (model,) = stack.finish(P, np.random.default_rng(0), samples=2**16)
    assert model.loss == pytest.approx(4 / 3, abs=0.03)


def test_samples_have_the_frequencies_and_values_asked_for():
    sample, feature, value = toy.draw(P, 200_000, np.random.default_rng(0))
    counts = np.bincount(feature, minlength=len(P)) / 200_000
    assert np.abs((counts - P) / np.sqrt(P * (1 - P) / 200_000)).max() < 4.5
    assert value.mean() == pytest.approx(1.0, abs=0.01) and (value**2).mean() == pytest.approx(4 / 3, abs=0.01)
    assert (np.diff(sample) >= 0).all()


@pytest.mark.parametrize(
    ("kind", "parameter", "ratio"),
    [("power", 1.5, 2**1.5), ("exponential", 10.0, math.exp(0.1)), ("linear", 1.0, 100 / 99)],
)
def test_shapes_of_frequencies(kind, parameter, ratio):
    p = toy.frequencies(kind, 100, parameter, activity=0.7)
    assert p.sum() == pytest.approx(0.7) and p[0] / p[1] == pytest.approx(ratio)


def test_overlap_of_random_rows_is_one_over_m_and_of_a_tight_frame_the_welch_value():
    rows = np.random.default_rng(0).standard_normal((800, 20))
    assert toy.mean_square_overlap(rows) == pytest.approx(1 / 20, rel=0.02)
    triangle = np.array([[np.cos(a), np.sin(a)] for a in (0, 2 * np.pi / 3, 4 * np.pi / 3)])
    assert toy.mean_square_overlap(triangle) == pytest.approx(toy.welch(3, 2)) == pytest.approx(0.25)
    assert toy.mean_square_overlap(np.vstack([triangle[:2], triangle[:1]]), np.array([1.0, 1.0, 0.0])) == pytest.approx(0.25)


def test_tail_and_unlearned_mass_agree_where_the_rarest_are_forgotten():
    rows = np.zeros((len(P), 2))
    rows[:6, 0] = 1.0
    model = toy.Model(2, 0.0, rows, np.zeros(len(P)), 0.0)
    assert toy.unlearned_mass(model, P) == pytest.approx(toy.tail_mass(P, 6)) == pytest.approx(4 / 3 * P[6:].sum())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: toy.frequencies("zipf", 10), "power, exponential, linear"),
        (lambda: toy.frequencies("power", 2, 3.0, activity=1.9), "smaller activity"),
        (lambda: trained([]), "at least one"),
        (lambda: trained([(0, 1.0)]), "width >= 1"),
    ],
)
def test_wrong_calls_say_what_to_do(wrong, says):
    with pytest.raises(UserError, match=says):
        wrong()

"""Stacks of very small language models: what they read, at which rate, and that a stack is nothing but its members."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scalebook.errors import UserError
from scalebook.suite.plan import Shape
from scalebook.topics import tiny_runs as tiny

SHAPE = Shape(8, 1, 2)


@pytest.fixture(scope="module")
def text():
    return tiny.text(np.random.default_rng(7), ("json", "logging", "html"))


def test_text_is_cut_into_windows_and_held_out_pieces_are_not_trained_on(text):
    assert text.train.dtype == np.uint8 and text.train.shape[1] == 65 and text.train.max() < 128
    assert [half.shape for half in text.held] == [(512, 65), (512, 65)]
    seen = {bytes(row) for row in text.train}
    shared = np.mean([bytes(row) in seen for half in text.held for row in half])
    assert shared < 0.02  # a licence header or a table of blanks may stand in two files
    again = tiny.text(np.random.default_rng(7), ("json", "logging", "html"))
    assert (again.train == text.train).all()


def test_rates_rise_hold_or_fall():
    flat = tiny.rates(tiny.Run(0, 1e-2, 100, 10))
    assert flat[0] == pytest.approx(0.1) and (flat[9:] == 1).all()
    falling = tiny.rates(tiny.Run(0, 1e-2, 100, 10, falling=True))
    assert falling.max() == pytest.approx(1.0) and falling[-1] == pytest.approx(1 / 90)
    assert (np.diff(falling[10:]) < 0).all()
    assert tiny.rates(tiny.Run(0, 1e-2, 50, 195))[-1] == pytest.approx(50 / 195)  # it never gets out of the warm-up


def test_text_is_read_once_or_in_epochs():
    fresh = tiny.order(tiny.Run(3, 1e-2, 50, 1), 1000)
    assert len(set(fresh.ravel())) == 400
    again = tiny.order(tiny.Run(3, 1e-2, 50, 1, unique=40), 1000)
    epochs = again.ravel().reshape(10, 40)
    assert all(set(epoch) == set(epochs[0]) for epoch in epochs) and len(set(epochs[0])) == 40
    assert (epochs[0] == fresh.ravel()[:40]).all() and (epochs[0] != epochs[1]).any()
    with pytest.raises(UserError, match="shorten"):
        tiny.order(tiny.Run(3, 1e-2, 200, 1), 1000)


def test_a_member_of_a_stack_is_what_it_is_alone(text):
    runs = [
        tiny.Run(1, 1e-2, 12, 2, at=[10]),
        tiny.Run(2, 3e-3, 20, 2, True, 0.5),
        tiny.Run(1, 1e-2, 20, 10, unique=16, at=[4, 10]),
    ]
    together = tiny.train(SHAPE, runs, text)
    for run, one in zip(runs, together):
        (alone,) = tiny.train(SHAPE, [run], text)
        assert list(one.steps) == list(alone.steps) == [*run.at, run.steps]
        np.testing.assert_allclose(one.held, alone.held, rtol=2e-4)
        np.testing.assert_allclose(one.train, alone.train, rtol=2e-4)


def test_training_loss_is_the_mean_since_the_last_measurement(text):
    runs = [tiny.Run(1, 1e-2, 20, 2, at=[10]), tiny.Run(1, 1e-2, 20, 2)]
    (halves,), (whole,) = (tiny.train(SHAPE, [run], text) for run in runs)
    assert halves.train.mean() == pytest.approx(whole.train[0], rel=1e-5) and halves.train[1] < halves.train[0] - 0.1


def test_training_learns_and_long_warm_up_learns_less(text):
    short, long = tiny.train(SHAPE, [tiny.Run(1, 1e-2, 60, 2), tiny.Run(1, 1e-2, 60, 195)], text)
    assert short.held[-1].mean() < 3.6 < np.log(128) and long.held[-1].mean() > short.held[-1].mean() + 0.3
    assert short.train[-1] == pytest.approx(short.held[-1].mean(), abs=1.0)


def test_one_step_is_torchs_adamw(text):
    """Truth: torch.optim.AdamW on the same network, weights that are not decayed left out by hand."""
    from scalebook.suite.network import decay_mask, initial, token_losses

    run = tiny.Run(5, 1e-2, 3, 1, decay=0.7)
    weights = initial(SHAPE, 5, "tiny")[None].clone().requires_grad_()
    optimiser = torch.optim.AdamW([weights], lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    mask = decay_mask(SHAPE)
    for rows in tiny.order(run, len(text.train)):
        windows = torch.from_numpy(text.train[rows].astype(np.int64))[None]
        optimiser.zero_grad()
        token_losses(weights, windows, SHAPE).mean().backward()
        torch.nn.utils.clip_grad_norm_([weights], 1.0)
        with torch.no_grad():
            weights.mul_(1 - 1e-2 * 0.7 * mask)
        optimiser.step()
    expected = float(tiny._held(weights.detach(), text.held[0], SHAPE)[0])
    (found,) = tiny.train(SHAPE, [run], text)
    assert found.held[-1, 0] == pytest.approx(expected, rel=1e-5)

"""Denoisers for a causal model, multiple choice over gaps, and the saving rate."""

import numpy as np
import pytest
import torch

from scalebook.errors import UserError
from scalebook.suite.network import initial, token_losses
from scalebook.suite.plan import Shape
from scalebook.topics import second_phase as second

TEXT = np.arange(20, 60, dtype=np.uint8)


def test_a_span_is_moved_to_the_end_and_nothing_is_lost():
    found, counted = second.infill(TEXT, 10, 5, second.MODE_R)
    assert len(found) == len(TEXT) + second.MARKS
    assert found[0] == second.MODE_R and (found == second.SENTINEL).sum() == 2
    assert found[counted].tolist() == TEXT[10:15].tolist()
    body = found[~counted]
    assert body[body > 8].tolist() == np.delete(TEXT, range(10, 15)).tolist()


def test_the_mixture_has_its_shares_and_counts_what_was_hidden():
    windows = np.random.default_rng(0).integers(20, 120, (4000, 97)).astype(np.uint8)
    found, counted = second.mixed(windows, np.random.default_rng(1))
    assert found.shape == windows.shape and counted.shape == (4000, 96)
    kinds = found[:, 0]
    for kind, share in ((second.MODE_R, 0.25), (second.MODE_X, 0.25), (second.MODE_S, 0.5)):
        assert (kinds == kind).mean() == pytest.approx(share, abs=0.03)
    hidden = counted.sum(axis=1)
    short = hidden[kinds == second.MODE_R]
    assert short.min() >= 8 and short.max() <= 16
    assert set(hidden[kinds == second.MODE_X]) == {47}
    # the last target that counts is the last byte of the window, where the span was put
    moved = kinds != second.MODE_S
    assert counted[moved, -1].all() and (found[moved] == second.SENTINEL).sum(axis=1).tolist() == [2] * moved.sum()


def test_questions_hide_the_truth_in_the_first_option():
    pieces = np.random.default_rng(2).integers(20, 120, (6, 4096)).astype(np.uint8)
    asked = second.questions(pieces, 50, 96, np.random.default_rng(3))
    assert asked.plain.shape == asked.moved.shape == (50, 4, 97)
    for q in range(50):
        flat = pieces[[bytes(asked.plain[q, 0, :94]) in bytes(piece) for piece in pieces]]
        assert len(flat) == 1
        differs = (asked.plain[q] != asked.plain[q, :1]).any(axis=0)
        assert not differs[:47].any() and not differs[47 + 16 :].any()
        size = asked.moved_counted[q].sum()
        assert asked.moved[q, 0, 1:][asked.moved_counted[q]].tolist() == asked.plain[q, 0, 47 : 47 + size].tolist()
    assert asked.plain_counted[:, 46:93].all() and asked.plain_counted.sum() == 50 * 47


def test_losses_of_options_are_sums_over_what_counts():
    shape = Shape(16, 1, 2)
    weights = initial(shape, 1, "test")  # a head of zeros: every byte costs log 128
    windows = np.full((3, 4, 33), 40, dtype=np.uint8)
    counted = np.zeros((3, 32), dtype=bool)
    counted[:, 5:15] = True
    losses = second.option_losses(shape, weights, windows, counted, at_once=2)
    assert losses == pytest.approx(np.full((3, 4), 10 * np.log(128)), rel=1e-5)
    assert isinstance(weights, torch.Tensor)


def test_options_behind_one_prefix_score_as_if_each_were_read_alone():
    shape, rng = Shape(16, 2, 2), np.random.default_rng(5)
    weights = initial(shape, 1, "test")
    weights = weights + 0.1 * torch.from_numpy(rng.standard_normal(weights.numel(), dtype=np.float32))
    windows = np.repeat(rng.integers(9, 120, (5, 1, 33), dtype=np.uint8), 4, axis=1)
    windows[:, 1:, 20:27] = rng.integers(9, 120, (5, 3, 7))
    counted = np.zeros((5, 32), dtype=bool)
    for q in range(5):
        counted[q, 19 - q : 30] = True
    flat = torch.from_numpy(windows.reshape(1, 20, 33).astype(np.int64))
    alone = token_losses(weights[None], flat, shape)[0].view(5, 4, 32).numpy() * counted[:, None]
    together = second.option_losses(shape, weights, windows, counted, at_once=2)
    assert together == pytest.approx(alone.sum(axis=-1), rel=1e-5)
    assert np.ptp(together, axis=1).min() > 0.1


def test_options_must_not_differ_before_what_counts():
    shape = Shape(16, 1, 2)
    windows = np.full((2, 4, 33), 40, dtype=np.uint8)
    windows[1, 2, 10] = 41
    counted = np.zeros((2, 32), dtype=bool)
    counted[:, 10:15] = True
    with pytest.raises(UserError, match="before byte 11"):
        second.option_losses(shape, initial(shape, 1, "test"), windows, counted)


def test_ties_share_a_point():
    losses = np.array([[1.0, 2, 3, 4], [2, 1, 3, 4], [1, 1, 3, 4]])
    assert second.scores(losses).tolist() == [1, 0, 0.5]


def test_the_saving_rate_of_a_line_in_log_compute():
    compute = np.array([1.0, 1.25, 1.5, 2.0])
    levels = np.array([0.5, 0.6, 0.7])
    causal = levels[:, None] + 0.1 * np.log(compute)
    same = levels + 0.1 * np.log(1.5)
    assert second.saving_rate(compute, causal, same, 1.05) == pytest.approx(np.full(3, 1.5 / 1.05))
    assert second.saving_rate(compute, causal, same + 1, 1.05) == pytest.approx(np.full(3, second.RATES[1]))
    assert second.saving_rate(compute, causal, same - 1, 1.05) == pytest.approx(np.full(3, second.RATES[0]))
    falling = levels[:, None] - 0.1 * np.log(compute)
    low, high = second.RATES
    assert second.saving_rate(compute, falling, levels + [0.1, -0.1, 0.1], 1.05).tolist() == [high, low, high]

"""A short second phase on a mixture of denoisers, for a byte-level language model that stays causal.

A span is cut out, a sentinel left in its place, and the span written at the end behind the same sentinel: a causal
model can then fill in what it has not seen. Mode tokens say which kind of example follows (Tay and others 2022, arXiv
2210.11399; the proportions are recalled, not verified). Bytes 1 to 8 never occur in the text and serve as marks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from scalebook.errors import UserError
from scalebook.suite.network import logits
from scalebook.suite.plan import Shape

MODE_R, MODE_X, MODE_S = 1, 2, 3  # short spans, long spans, plain continuation
SENTINEL = 5
MARKS = 3  # a mode token and the sentinel twice
MIXTURE = {MODE_R: 0.25, MODE_X: 0.25, MODE_S: 0.5}
SPAN = (8, 16)  # bytes of a span in R, and of a question
RATES = (0.5, 2.0)  # a saving rate beyond these is censored: no branch reaches so far


def infill(text: np.ndarray, start: int, size: int, mode: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (bytes, counted) of a text with ``size`` bytes from ``start`` moved to its end, uint8 and bool.

    mode | text with a sentinel for the span | sentinel | span. ``counted`` marks the bytes of the span.
    """
    span, mark = text[start : start + size], np.array([SENTINEL])
    found = np.concatenate([[mode], text[:start], mark, text[start + size :], mark, span]).astype(np.uint8)
    return found, np.arange(len(found)) >= len(found) - size


def mixed(windows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Turn windows of text (n, T + 1) into examples of the mixture, and which targets count, (n, T + 1) and (n, T).

    R hides one span of 8 to 16 bytes, about an eighth of a window of 96; X hides half of the window in one piece; S
    is a mode token and the text, whose second half counts. Room for the marks is made by dropping the last bytes.
    """
    n, length = windows.shape
    found, counted = np.empty_like(windows), np.zeros((n, length), dtype=bool)
    kinds = rng.choice(list(MIXTURE), size=n, p=list(MIXTURE.values()))
    for i, (text, kind) in enumerate(zip(windows, kinds)):
        if kind == MODE_S:
            found[i] = np.concatenate([[MODE_S], text[:-1]])
            counted[i, length // 2 :] = True
            continue
        text = text[: length - MARKS]
        size = int(rng.integers(SPAN[0], SPAN[1] + 1)) if kind == MODE_R else len(text) // 2
        start = int(rng.integers(1, len(text) - size))
        found[i], counted[i] = infill(text, start, size, int(kind))
    return found, counted[:, 1:]


@dataclass(frozen=True)
class Questions:
    """Multiple choice on held-out text: which of four spans stood in the gap?

    ``plain`` (Q, 4, T + 1): prefix, option, suffix; ``moved`` (Q, 4, T + 1): mode, prefix, sentinel, suffix, sentinel,
    option; each with its counted targets (Q, T), the same for all options of a question. Option 0 is the true one.
    """

    plain: np.ndarray
    plain_counted: np.ndarray
    moved: np.ndarray
    moved_counted: np.ndarray


def questions(pieces: np.ndarray, count: int, context: int, rng: np.random.Generator) -> Questions:
    """Ask ``count`` questions about held-out pieces of text, uint8 (pieces, bytes).

    The false options are spans of the same length from elsewhere in the same piece. The first half of a window is
    prefix; windows of both formats hold ``context`` + 1 bytes, padded at the end where nothing counts.
    """
    room = context + 1 - MARKS  # bytes of text
    shape = (count, 4, context + 1)
    plain, moved = np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.uint8)
    plain_counted, moved_counted = np.zeros((count, context), dtype=bool), np.zeros((count, context), dtype=bool)
    for q in range(count):
        piece = pieces[rng.integers(len(pieces))]
        at, size = int(rng.integers(len(piece) - room)), int(rng.integers(SPAN[0], SPAN[1] + 1))
        text, start = piece[at : at + room], room // 2
        for option in range(4):
            if option:
                other = int(rng.integers(len(piece) - size))
                text = text.copy()
                text[start : start + size] = piece[other : other + size]
            plain[q, option, :room] = text
            moved[q, option], marks = infill(text, start, size, MODE_R)
        plain_counted[q, start - 1 : room - 1] = True  # span and suffix; the prefix is the same for all
        moved_counted[q] = marks[1:]
    return Questions(plain, plain_counted, moved, moved_counted)


def option_losses(
    shape: Shape, weights: torch.Tensor, windows: np.ndarray, counted: np.ndarray, at_once: int = 16
) -> np.ndarray:
    """Return the summed loss of the counted bytes of every option in nats, of one model (P,): (Q, options).

    ``windows`` (Q, options, T + 1), ``counted`` (Q, T). What comes before the first byte that counts anywhere must be
    the same in all options of a question: it is read once, and the options stand behind it side by side, where none
    sees another.
    """
    first, options, end = int(counted.any(axis=0).argmax()), windows.shape[1], windows.shape[2] - 1
    if (windows[:, :, : first + 1] != windows[:, :1, : first + 1]).any():
        raise UserError(f"option_losses: options differ before byte {first + 1}, the first that counts; count from there.")
    tail = np.arange(first, end)
    places = np.concatenate([np.arange(first), *[tail] * options])
    owner = np.repeat(np.arange(-1, options), [first, *[len(tail)] * options])  # -1: the part that all share
    seen = (places[None] <= places[:, None]) & ((owner[None] == owner[:, None]) | (owner[None] < 0))
    places, seen = torch.from_numpy(places), torch.from_numpy(seen)
    found = []
    with torch.no_grad():
        for start in range(0, len(windows), at_once):
            part = windows[start : start + at_once].astype(np.int64)
            row = np.concatenate([part[:, 0, :first], part[:, :, first:end].reshape(len(part), -1)], axis=1)
            scores = logits(weights[None], torch.from_numpy(row)[None], shape, places, seen)[0, :, first:]
            targets = torch.from_numpy(part[:, :, first + 1 :].reshape(-1))
            losses = F.cross_entropy(scores.flatten(0, 1), targets, reduction="none").view(len(part), options, -1)
            found.append((losses.numpy() * counted[start : start + at_once, None, first:]).sum(axis=-1))
    return np.concatenate(found)


def scores(losses: np.ndarray) -> np.ndarray:
    """Return 1 where option 0 has the lowest loss of (Q, 4), ties shared, (Q,)."""
    best = losses == losses.min(axis=1, keepdims=True)
    return best[:, 0] / best.sum(axis=1)


def saving_rate(compute: np.ndarray, causal: np.ndarray, score: np.ndarray, spent: float) -> np.ndarray:
    """Return causal compute with the same score over what was spent, one a seed, (K,).

    ``causal`` (K, C) are scores of causal branches at ``compute`` (C,), ``score`` (K,) what is compared, ``spent`` its
    compute. Scores rise in a line in log compute with one slope for all seeds and a level for each: single seeds are
    too noisy for a slope of their own. A rate is censored at `RATES`. Where the slope is not above zero more causal
    training
    buys nothing, and the rate is the upper end for a score above the seed's mean, else the lower.
    """
    x = np.log(compute)
    centred = x - x.mean()
    rise = float((causal.mean(axis=0) * centred).sum() / (centred**2).sum())
    above = score - causal.mean(axis=1)
    if rise <= 0:
        return np.where(above > 0, RATES[1], RATES[0]).astype(float)
    reached = np.clip(x.mean() + above / rise, np.log(RATES[0] * spent), np.log(RATES[1] * spent))
    return np.exp(reached) / spent

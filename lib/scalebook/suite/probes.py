"""Three zero-shot probes on held-out code, all scored with the true text before the item.

Completing greedily equals predicting every byte of the item from the true prefix, so one pass over the windows of a
probe is enough.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

import numpy as np
import torch

from scalebook.suite.corpus import CONTEXT
from scalebook.suite.network import logits
from scalebook.suite.plan import FIRST_SEED, Job, Member, Shape, unlabel

ITEMS = 2000
PAIRS = {ord(")"): ord("("), ord("]"): ord("["), ord("}"): ord("{")}
CLOSERS = tuple(PAIRS)
SHORTEST_NAME = 6
SPACE = ord(" ")
NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]{%d,}" % (SHORTEST_NAME - 1))
INDENT = re.compile(rb":\n( +)(?=[^ \n])")


@dataclass(frozen=True)
class Probe:
    """Items of one probe: windows int64 (items, T + 1); the item is the targets [start, stop) of its window.

    Targets are counted from 0: target j is byte j + 1 of the window, predicted from bytes 0 to j.
    """

    windows: np.ndarray
    start: np.ndarray
    stop: np.ndarray


def _cut(text: bytes, spans: list[tuple[int, int]], name: str, items: int) -> Probe:
    """Draw items and put each at the end of its window, so that it has as much context as there can be."""
    fit = [(first, last) for first, last in spans if last >= CONTEXT + 1 and last - first <= CONTEXT // 2]
    rng = np.random.default_rng(np.random.SeedSequence([0, zlib.crc32(f"probe/{name}".encode())]))
    chosen = sorted(rng.permutation(len(fit))[:items])
    data = np.frombuffer(text, dtype=np.uint8)
    windows = np.array([data[fit[k][1] - CONTEXT - 1 : fit[k][1]] for k in chosen], dtype=np.int64)
    lengths = np.array([fit[k][1] - fit[k][0] for k in chosen])
    return Probe(windows, CONTEXT - lengths, np.full(len(chosen), CONTEXT))


def bracket_spans(text: bytes) -> list[tuple[int, int]]:
    """Return (first, last + 1) of closing brackets whose partner stands in the same window; strings count as code."""
    spans, opened = [], []
    for place, byte in enumerate(text):
        if byte in PAIRS.values():
            opened.append((byte, place))
        elif byte in PAIRS:
            if opened and opened[-1][0] == PAIRS[byte]:
                _, partner = opened.pop()
                if place - partner < CONTEXT:
                    spans.append((place, place + 1))
            else:
                opened.clear()
        elif byte == 0:  # the end of a file
            opened.clear()
    return spans


def recall_spans(text: bytes) -> list[tuple[int, int]]:
    """Return the second halves of names of six letters or more that stand earlier in the same window."""
    seen: dict[bytes, int] = {}
    spans = []
    for match in NAME.finditer(text):
        before = seen.get(match.group(), -CONTEXT - 1)
        if match.end() - before <= CONTEXT:
            spans.append((match.start() + len(match.group()) // 2, match.end()))
        seen[match.group()] = match.start()
    return spans


def indentation_spans(text: bytes) -> list[tuple[int, int]]:
    """Return the leading spaces of lines that follow a line ending in ':', and the byte that ends them."""
    return [(match.start(1), match.end(1) + 1) for match in INDENT.finditer(text)]


def wanted(job: Job, segment: str, members: list[Member]) -> bool:
    """Whether a segment's models are scored: block M's cooled branches, each of seed 1000 and the longest of others."""
    schedule, tokens = unlabel(segment)
    chosen = any(member.seed == FIRST_SEED or member.tokens == tokens for member in members)
    return job.probes and schedule == "cooled" and chosen


def items(held: dict[str, np.ndarray], count: int = ITEMS) -> dict[str, Probe]:
    """Return the items of all probes, the same on every call, from both validation texts."""
    text = held["val"].tobytes() + b"\0" + held["val2"].tobytes()
    found = {"bracket": bracket_spans(text), "recall": recall_spans(text), "indentation": indentation_spans(text)}
    return {name: _cut(text, spans, name, count) for name, spans in found.items()}


def errors(weights: torch.Tensor, shape: Shape, probes: dict[str, Probe]) -> dict[str, list[float]]:
    """Return {probe: error of each member}, error = 1 - accuracy over the items.

    bracket: the right one of ) ] } has the highest score of the three. recall: every byte of the second half of the
    name is the most likely one. indentation: a space is the most likely byte as often as it should be, then another.
    ``weights`` is (S, P).
    """
    return {name: _error(weights, shape, name, probe) for name, probe in probes.items()}


def _error(weights: torch.Tensor, shape: Shape, name: str, probe: Probe, piece: int = 32) -> list[float]:
    device = weights.device
    right = torch.zeros(len(weights), device=device)
    inside = (np.arange(CONTEXT) >= probe.start[:, None]) & (np.arange(CONTEXT) < probe.stop[:, None])
    with torch.no_grad():
        for first in range(0, len(probe.windows), piece):
            windows = torch.from_numpy(probe.windows[first : first + piece]).to(device)
            counted = torch.from_numpy(inside[first : first + piece]).to(device)
            targets = windows[:, 1:]
            scores = logits(weights, windows[:, :-1].expand(len(weights), -1, -1), shape)
            if name == "bracket":
                among = torch.full_like(scores, -torch.inf)
                among[..., CLOSERS] = scores[..., CLOSERS]
                agrees = among.argmax(-1) == targets
            elif name == "indentation":
                agrees = (scores.argmax(-1) == SPACE) == (targets == SPACE)
            else:
                agrees = scores.argmax(-1) == targets
            right += (agrees | ~counted).all(-1).sum(1)
    return [1 - float(value) / len(probe.windows) for value in right]

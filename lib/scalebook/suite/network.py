"""The transformer of the suite, several of one size at a time, as a function of one flat array of parameters.

Letters in shapes: S stack, B batch, T time, D width, V vocabulary, P parameters of one member.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from scalebook.suite.corpus import CONTEXT, VOCABULARY
from scalebook.suite.plan import Shape

DECAYED = ("qkv", "out", "up", "down", "head")  # weight decay leaves norms and embeddings alone


@dataclass(frozen=True)
class Layout:
    """Where each matrix lies in the flat array: names, shapes and lengths, in order."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    lengths: tuple[int, ...]

    @property
    def total(self) -> int:
        """Parameters of one member."""
        return sum(self.lengths)


def layout(shape: Shape) -> Layout:
    """Return the order of the matrices of one member: embeddings, blocks, last norm, head."""
    d = shape.width
    entries: list[tuple[str, tuple[int, ...]]] = [("tokens", (VOCABULARY, d)), ("positions", (CONTEXT, d))]
    for layer in range(shape.layers):
        entries += [
            (f"{layer}.norm1", (d,)), (f"{layer}.shift1", (d,)), (f"{layer}.qkv", (d, 3 * d)), (f"{layer}.out", (d, d)),
            (f"{layer}.norm2", (d,)), (f"{layer}.shift2", (d,)), (f"{layer}.up", (d, 4 * d)),
            (f"{layer}.down", (4 * d, d)),
        ]
    entries += [("norm", (d,)), ("shift", (d,)), ("head", (d, VOCABULARY))]
    return Layout(
        tuple(name for name, _ in entries),
        tuple(size for _, size in entries),
        tuple(math.prod(size) for _, size in entries),
    )


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the generator of one purpose and seed; no two purposes or seeds share any draw."""
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(name.encode()), 0]))


def initial(shape: Shape, seed: int, name: str) -> torch.Tensor:
    """Return fresh parameters of one member, float32 (P,).

    Weights are N(0, 1/fan_in), token embeddings N(0, 1); the two matrices of a block that write to the residual stream
    are divided by sqrt(2 L). Positions start at zero: random ones are noise on every byte, which costs 0.1 nats at
    0.25M tokens. The head starts at zero, so that the first loss is log 128.
    """
    rng = stream(seed, f"initial/{name}")
    plan = layout(shape)
    pieces = []
    for entry, size in zip(plan.names, plan.shapes, strict=True):
        kind = entry.split(".")[-1]
        if kind.startswith("norm"):
            pieces.append(np.ones(size, dtype=np.float32))
        elif kind.startswith("shift") or kind in ("head", "positions"):
            pieces.append(np.zeros(size, dtype=np.float32))
        else:
            fan_in = 1 if kind == "tokens" else size[0]  # one row of an embedding is read at a time
            scale = 1 / math.sqrt(fan_in)
            if kind in ("out", "down"):
                scale /= math.sqrt(2 * shape.layers)
            pieces.append((rng.standard_normal(size, dtype=np.float32) * np.float32(scale)).ravel())
    return torch.from_numpy(np.concatenate([piece.ravel() for piece in pieces]))


def decay_mask(shape: Shape) -> torch.Tensor:
    """Return 1 where weight decay applies and 0 elsewhere, float32 (P,)."""
    plan = layout(shape)
    return torch.cat([
        torch.full((length,), float(name.split(".")[-1] in DECAYED))
        for name, length in zip(plan.names, plan.lengths, strict=True)
    ])


def _norm(hidden: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    if scale.dim() == 1:
        return F.layer_norm(hidden, scale.shape, scale, shift)
    return torch.addcmul(shift[:, None], F.layer_norm(hidden, scale.shape[1:]), scale[:, None])


def _rows(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    if index.is_cuda:  # the embedding's gradient sorts and waits for the host, which a CUDA graph cannot hold
        return table.index_select(0, index.reshape(-1)).view(*index.shape, -1)
    return F.embedding(index, table)


def logits(
    flat: torch.Tensor, inputs: torch.Tensor, shape: Shape, places: torch.Tensor | None = None,
    seen: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """Return next-byte scores, float32 (S, B, T, V).

    ``flat`` is (S, P), ``inputs`` int64 (S, B, T). A stack of one takes plain matrix products in place of batched
    ones, which is faster on a CPU; both paths agree to rounding. Several continuations of one text fit in one row:
    ``places`` int64 (T,) is then where each input stands in its own text, ``seen`` bool (T, T) which inputs (columns)
    each of them (rows) may look at.
    """
    stack, batch, time = inputs.shape
    places = slice(time) if places is None else places
    plan, d = layout(shape), shape.width
    if stack == 1:
        split = zip(plan.names, flat.view(-1).split(plan.lengths), plan.shapes, strict=True)
        p = {name: piece.view(size) for name, piece, size in split}
        hidden = _rows(p["tokens"], inputs[0]) + p["positions"][places]  # B T D
        rows: tuple[int, ...] = (batch * time,)
    else:
        split = zip(plan.names, flat.split(plan.lengths, dim=1), plan.shapes, strict=True)
        p = {name: piece.reshape(stack, *size) for name, piece, size in split}
        offset = torch.arange(stack, device=inputs.device).mul_(VOCABULARY).view(stack, 1, 1)
        hidden = _rows(p["tokens"].reshape(-1, d), inputs + offset) + p["positions"][:, None, places]  # S B T D
        rows = (stack, batch * time)
    hidden = hidden.view(*rows, d)
    for layer in range(shape.layers):
        normed = _norm(hidden, p[f"{layer}.norm1"], p[f"{layer}.shift1"])
        qkv = torch.matmul(normed, p[f"{layer}.qkv"]).view(stack * batch, time, 3, shape.heads, d // shape.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each: S*B, heads, T, D/heads
        mixed = F.scaled_dot_product_attention(query, key, value, seen, is_causal=seen is None)
        hidden = hidden + torch.matmul(mixed.transpose(1, 2).reshape(*rows, d), p[f"{layer}.out"])
        normed = _norm(hidden, p[f"{layer}.norm2"], p[f"{layer}.shift2"])
        hidden = hidden + torch.matmul(F.gelu(torch.matmul(normed, p[f"{layer}.up"])), p[f"{layer}.down"])
    scores = torch.matmul(_norm(hidden, p["norm"], p["shift"]), p["head"])
    return scores.view(stack, batch, time, VOCABULARY)


def token_losses(flat: torch.Tensor, windows: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Return the cross-entropy in nats of each byte, float32 (S, B, T), for windows int64 (S, B, T + 1)."""
    scores = logits(flat, windows[..., :-1], shape)
    losses = F.cross_entropy(scores.view(-1, VOCABULARY), windows[..., 1:].reshape(-1), reduction="none")
    return losses.view(windows.shape[0], windows.shape[1], -1)

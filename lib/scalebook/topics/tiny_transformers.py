"""Small transformers as stacks: the same network for symbols and for patches of numbers, causal or not.

Pre-norm, GELU, width 4d in the middle, learned positions, no biases but the norms'. Shapes: S stack, B batch, T
positions, D width, H heads, V symbols or inputs, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from scalebook.ensemble import Forward, Parameters
from scalebook.errors import UserError


@dataclass(frozen=True)
class Build:
    """What a network looks like. ``inputs``: symbols where ``symbols``, else numbers a patch."""

    width: int
    heads: int
    layers: int
    positions: int
    inputs: int
    outputs: int
    symbols: bool = True
    causal: bool = True
    relative: bool = False  # positions by a learned bias for each head and lag, not by a vector for each place

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UserError(f"Build: width {self.width} does not divide into {self.heads} heads; choose a divisor.")

    @property
    def inner(self) -> int:
        """Parameters of attention and MLP, 12 L d^2, as scaling laws usually count."""
        return 12 * self.layers * self.width**2

    @property
    def total(self) -> int:
        """All parameters."""
        places = self.layers * self.heads * self.positions if self.relative else self.positions * self.width
        return self.inner + (self.inputs + self.outputs + 4 * self.layers + 2) * self.width + places


def start(build: Build, generators: Sequence[torch.Generator]) -> Parameters:
    """Return fresh parameters, one member a generator: N(0, 1/fan-in), positions and head from zero.

    Matrices that write to the residual stream are divided by sqrt(2 L).
    """
    d, down = build.width, 1 / math.sqrt(2 * build.layers)
    spread = {"embed": (build.inputs, d, 1.0 if build.symbols else 1 / math.sqrt(build.inputs))}
    for k in range(build.layers):
        spread |= {
            f"qkv{k}": (d, 3 * d, d**-0.5), f"out{k}": (d, d, down * d**-0.5),
            f"up{k}": (d, 4 * d, d**-0.5), f"down{k}": (4 * d, d, down * (4 * d) ** -0.5),
        }  # fmt: skip
    found: Parameters = {}
    for name, (rows, columns, scale) in spread.items():
        found[name] = torch.stack([torch.randn(rows, columns, generator=g) * scale for g in generators])
    stack = len(generators)
    if build.relative:
        for k in range(build.layers):
            found[f"lag{k}"] = torch.zeros(stack, build.heads, build.positions)
    else:
        found["where"] = torch.zeros(stack, build.positions, d)
    found["head"] = torch.zeros(stack, d, build.outputs)
    for name in [f"{part}{k}" for k in range(build.layers) for part in ("norm", "second")] + ["last"]:
        found[f"{name}-scale"], found[f"{name}-shift"] = torch.ones(stack, 1, d), torch.zeros(stack, 1, d)
    return found


def network(build: Build) -> Forward:
    """Return the forward pass: (parameters, x) -> (S, B, T, O).

    x is (S, B, T) of whole numbers below V, or (S, B, T, V) of floats; without the leading S all members read the same.
    """
    heads, d = build.heads, build.width
    place = torch.arange(build.positions)
    lag = place[:, None] - place  # of the key behind the query; below zero where the key lies ahead

    def attention(p: Parameters, k: int, q: Tensor, key: Tensor, value: Tensor, stack: int, time: int) -> Tensor:
        if not build.relative:
            return F.scaled_dot_product_attention(q, key, value, is_causal=build.causal)
        behind = lag[:time, :time]
        bias = p[f"lag{k}"][:, :, behind.abs()].masked_fill(behind < 0, -torch.inf) if build.causal else (
            p[f"lag{k}"][:, :, behind.abs()]
        )  # S H T T
        scores = q @ key.transpose(-1, -2) / math.sqrt(d // heads)
        scores = scores.view(stack, -1, heads, time, time) + bias[:, None]
        return scores.softmax(-1).view(-1, heads, time, time) @ value

    def forward(p: Parameters, x: Tensor) -> Tensor:
        stack = p["head"].shape[0]
        x = x if x.dim() == (3 if build.symbols else 4) else x.expand(stack, *x.shape)
        batch, time = x.shape[1:3]
        if build.symbols:
            offset = torch.arange(stack)[:, None, None] * build.inputs
            h = F.embedding(x + offset, p["embed"].reshape(-1, d)).view(stack, batch * time, d)
        else:
            h = torch.bmm(x.reshape(stack, batch * time, -1), p["embed"])
        if not build.relative:
            h = (h.view(stack, batch, time, d) + p["where"][:, None, :time]).view(stack, batch * time, d)
        for k in range(build.layers):
            qkv = torch.bmm(_norm(p, f"norm{k}", h), p[f"qkv{k}"]).view(stack * batch, time, 3, heads, d // heads)
            q, key, value = qkv.permute(2, 0, 3, 1, 4)
            seen = attention(p, k, q, key, value, stack, time)
            seen = seen.transpose(1, 2).reshape(stack, batch * time, d)
            h = h + torch.bmm(seen, p[f"out{k}"])
            h = h + torch.bmm(F.gelu(torch.bmm(_norm(p, f"second{k}", h), p[f"up{k}"])), p[f"down{k}"])
        return torch.bmm(_norm(p, "last", h), p["head"]).view(stack, batch, time, build.outputs)

    return forward


def _norm(p: Parameters, name: str, h: Tensor) -> Tensor:
    return torch.addcmul(p[f"{name}-shift"], F.layer_norm(h, h.shape[-1:]), p[f"{name}-scale"])


def linear_decay(warmup: float = 0.05):
    """Return a schedule: a short rise, then a straight line to zero."""

    def factor(step: int, steps: int) -> float:
        rise = max(1, round(warmup * steps))
        return (step + 1) / rise if step < rise else (steps - step) / max(1, steps - rise)

    return factor

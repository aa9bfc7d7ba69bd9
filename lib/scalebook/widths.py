"""A sweep over width: the same data, the same training, only the number of hidden units changes.

Every run of a sweep is one setting and one seed with rows of its own, and trains a network of each width on them.
Small networks are packed: the hidden units of all narrow widths of a run lie side by side in one layer, and every
later matrix is zero outside the blocks that belong to one width. A mask keeps it so, hence packing is exact: no width
sees another. Wide networks fill a matrix alone. Training itself is `scalebook.ensemble`.

Shape code: S runs, N rows of a run, B rows of a batch, D inputs, U hidden units of a pack, M widths of a pack, W all
widths.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scalebook.ensemble import Forward, Minibatches, Optimiser, Parameters, Schedule, train
from scalebook.errors import UserError

NARROW = 16  # widths up to this one share a pack: wider ones would be mostly zeros in it
FLOATS = 2**19  # activations of one stack: 2 MB stay in the cache, and a step still outweighs the calls it makes

Generators = Callable[[int], torch.Generator]


def rise_and_fall(warmup: int) -> Schedule:
    """Return a schedule: `warmup` steps of linear rise to the peak, then a straight line down to 0."""

    def factor(step: int, steps: int) -> float:
        rise = min(warmup, steps // 2)
        return (step + 1) / rise if step < rise else (steps - step) / max(1, steps - rise)

    return factor


@dataclass(frozen=True)
class Rows:
    """What a stack of S runs is trained on.

    x (S, N, D); y (S, N), the probability of class 1 (0 or 1 for a hard label); `weight` (S, N), what a row counts in
    the loss, scaled here to sum to 1 in each run (equal rows unless given). `batch` rows a step, each run in the
    order of its own generator `order(run)`; None trains on all rows. Labels where `redraw` (S, N) is true are tossed
    anew at every step by `coins(run)`, so that they can be seen but never learned; this needs all rows in every step.
    """

    x: Tensor
    y: Tensor
    weight: Tensor | None = None
    batch: int | None = None
    order: Generators | None = None
    redraw: Tensor | None = None
    coins: Generators | None = None

    def __post_init__(self) -> None:
        if self.x.dim() != 3 or self.y.shape != self.x.shape[:2]:
            raise UserError(
                f"Rows: x has shape {tuple(self.x.shape)} and y {tuple(self.y.shape)}. Give x (runs, rows, inputs) and "
                "y (runs, rows)."
            )
        for name in ("weight", "redraw"):
            given = getattr(self, name)
            if given is not None and given.shape != self.y.shape:
                given_shape, wanted = tuple(given.shape), tuple(self.y.shape)
                raise UserError(f"Rows: {name} has shape {given_shape}; give one value a row, {wanted}.")
        if (self.batch is None) != (self.order is None) or (self.redraw is None) != (self.coins is None):
            raise UserError("Rows: `batch` needs `order`, and `redraw` needs `coins`; give both of a pair or neither.")
        if self.batch is not None and self.redraw is not None:
            raise UserError("Rows: labels are re-drawn only where every step sees all rows; leave `batch` out.")

    def stream(self, runs: range) -> Callable[[int], tuple[Tensor, Tensor]]:
        """Return what `ensemble.train` reads: step -> x (S, B, D) and target (S, B, 2), label and weight of a row."""
        part = slice(runs.start, runs.stop)
        x, y = self.x[part], self.y[part]
        weight = torch.ones_like(y) if self.weight is None else self.weight[part]
        weight = weight / weight.sum(dim=1, keepdim=True)
        if self.batch is not None and self.order is not None:
            target = torch.stack([y, weight * y.shape[1] / self.batch], dim=-1)
            return Minibatches(x, target, self.batch, [self.order(s) for s in runs], own_data=True)
        target = torch.stack([y, weight], dim=-1)
        if self.redraw is None or self.coins is None or not self.redraw[part].any():
            return lambda step: (x, target)
        tossed = [s for s in range(len(runs)) if self.redraw[runs[s]].any()]
        coins = {s: self.coins(runs[s]) for s in tossed}

        def fresh(step: int) -> tuple[Tensor, Tensor]:
            for s in tossed:
                where = self.redraw[runs[s]]
                target[s, where, 0] = torch.randint(2, (int(where.sum()),), generator=coins[s]).to(target.dtype)
            return x, target.clone()

        return fresh


@dataclass(frozen=True)
class Swept:
    """The trained networks of a sweep: their widths (W,), and each pack with its forward pass and parameters."""

    widths: tuple[int, ...]
    packs: list[tuple[tuple[int, ...], Forward, list[tuple[range, Parameters]]]]

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Return what every network says, (S, W, N), for x (S, N, D); above 0 means class 1."""
        columns: dict[int, Tensor] = {}
        for pack, forward, stacks in self.packs:
            said = torch.cat([forward(held, x[runs.start : runs.stop]) for runs, held in stacks])  # (S, N, M)
            columns |= {width: said[..., m] for m, width in enumerate(pack)}
        return torch.stack([columns[width] for width in self.widths], dim=1)

    def margins(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the logits counted towards the right label, (S, W, N), for x (S, N, D) and y (S, N) in {0, 1}.

        Above 0 the answer is right, and the probability given to the right label is the sigmoid of the margin.
        """
        return self.logits(x) * (2 * y[:, None] - 1)


def sweep(
    rows: Rows,
    widths: Sequence[int],
    *,
    steps: int,
    start: Callable[[int, int], torch.Generator],
    depth: int = 1,
    rate: float = 2e-2,
    warmup: int = 50,
) -> Swept:
    """Train a ReLU network of every width on every run, `depth` hidden layers of one width, and return them all.

    Weights start as N(0, 1/fan-in), biases as 0, from the generator `start(width, run)`, so that a network starts
    alike in whatever company. The loss is the weighted binary cross-entropy of `rows`; Adam without decay, peak
    learning rate `rate`, `warmup` steps up and a straight line down to 0. Raises UserError for a width below 1 or
    given twice.
    """
    if len(set(widths)) != len(widths) or min(widths) < 1 or depth < 1:
        raise UserError(
            f"Widths {list(widths)}, depth {depth}: give different widths of at least 1 and a depth of at least 1."
        )
    runs, batch, inputs = rows.x.shape[0], rows.batch or rows.x.shape[1], rows.x.shape[2]
    optimiser = Optimiser(rate=rate, schedule=rise_and_fall(warmup))
    packs = []
    for pack in packed(widths):
        forward, size = _forward(pack, depth), max(1, FLOATS // (batch * sum(pack)))
        stacks = []
        for low in range(0, runs, size):
            part = range(low, min(runs, low + size))
            begun = _start(pack, inputs, depth, [[start(width, s) for width in pack] for s in part])
            found = train(begun, forward, weighted_cross_entropy, rows.stream(part), steps, optimiser)
            stacks.append((part, found.parameters))
        packs.append((pack, forward, stacks))
    return Swept(tuple(widths), packs)


def packed(widths: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the widths in packs: all narrow ones together, every wide one alone."""
    narrow = tuple(width for width in widths if width <= NARROW)
    return ([narrow] if narrow else []) + [(width,) for width in widths if width > NARROW]


def weighted_cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """Return each run's weighted cross-entropy in nats (S,), summed over widths: logits (S, B, M), target (S, B, 2)."""
    label, weight = target[..., :1], target[..., 1]
    each = torch.nn.functional.softplus(prediction) - label * prediction  # (S, B, M)
    return (each.sum(dim=-1) * weight).sum(dim=1)


def _start(pack: tuple[int, ...], inputs: int, depth: int, generators: list[list[torch.Generator]]) -> Parameters:
    units, runs = sum(pack), len(generators)
    shapes = [(inputs, units), *[(units, units)] * (depth - 1), (units, len(pack))]
    held = {f"w{layer}": torch.zeros(runs, *shape) for layer, shape in enumerate(shapes)}
    held |= {f"b{layer}": torch.zeros(runs, 1, columns) for layer, (_, columns) in enumerate(shapes)}
    for s, row in enumerate(generators):
        low = 0
        for m, (width, generator) in enumerate(zip(pack, row, strict=True)):
            mine = slice(low, low + width)
            for layer in range(depth + 1):
                rows, columns = slice(None) if layer == 0 else mine, mine if layer < depth else slice(m, m + 1)
                target = held[f"w{layer}"][s, rows, columns]
                target.copy_(torch.randn(target.shape, generator=generator) / math.sqrt(target.shape[0]))
            low += width
    return held


def _forward(pack: tuple[int, ...], depth: int) -> Forward:
    """Return the forward pass of a pack: (parameters, x (S, B, D)) -> logits (S, B, M)."""
    owner = torch.repeat_interleave(torch.arange(len(pack)), torch.tensor(pack))  # (U,): which width a unit belongs to
    square, last = (owner[:, None] == owner).float(), (owner[:, None] == torch.arange(len(pack))).float()
    masks = [*[square] * (depth - 1), last]
    desk = _Desk([])

    def forward(held: Parameters, x: Tensor) -> Tensor:
        weights = [held["w0"]]
        for layer, mask in enumerate(masks, 1):
            weights.append(held[f"w{layer}"] if len(pack) == 1 else held[f"w{layer}"] * mask)
        return _Network.apply(desk, x, *weights, *[held[f"b{layer}"] for layer in range(depth + 1)])

    return forward


@dataclass
class _Desk:
    """Activations (S, B, U) of every hidden layer, and one more for their gradient, kept from one step to the next.

    Fresh ones of this size would come from the operating system at every step, which costs more than the arithmetic.
    """

    sheets: list[Tensor]

    def of(self, shape: tuple[int, int, int], depth: int) -> list[Tensor]:
        if len(self.sheets) != depth + 1 or self.sheets[0].shape != shape:
            self.sheets = [torch.empty(shape) for _ in range(depth + 1)]
        return self.sheets


class _Network(torch.autograd.Function):
    """A ReLU network with its gradient written out, so that both can work in the same memory at every step."""

    @staticmethod
    def forward(ctx: Any, desk: _Desk, x: Tensor, *parameters: Tensor) -> Tensor:
        depth = len(parameters) // 2 - 1
        weights, biases = parameters[: depth + 1], parameters[depth + 1 :]
        *hidden, back = desk.of((x.shape[0], x.shape[1], weights[0].shape[2]), depth)
        below = x
        for h, w, b in zip(hidden, weights, biases, strict=False):
            below = torch.baddbmm(b, below, w, out=h).relu_()
        ctx.hidden, ctx.back, ctx.x, ctx.weights = hidden, back, x, weights
        return torch.baddbmm(biases[-1], below, weights[-1])

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        weights: list[Tensor] = []
        biases: list[Tensor] = []
        for layer in reversed(range(len(ctx.weights))):
            below = ctx.hidden[layer - 1] if layer else ctx.x
            weights.insert(0, torch.bmm(below.transpose(1, 2), above))
            biases.insert(0, above.sum(dim=1, keepdim=True))
            if layer:
                down = ctx.weights[layer].transpose(1, 2)
                if down.shape[1] == 1:
                    above = torch.mul(above, down, out=ctx.back)
                elif above is ctx.back:
                    above = torch.bmm(above, down)
                else:
                    above = torch.bmm(above, down, out=ctx.back)
                # 0 where the ReLU was 0, in place
                above = torch.ops.aten.threshold_backward.grad_input(above, below, 0, grad_input=above)
        return (None, None, *weights, *biases)

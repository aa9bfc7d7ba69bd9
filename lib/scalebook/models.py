"""Small networks as stacks: parameters with a leading axis S, and a forward pass for all of them at once.

Shape code: S stack, B batch, D inputs, H hidden units, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from scalebook.ensemble import Forward, Parameters
from scalebook.errors import UserError


def mlp(
    sizes: Sequence[Sequence[int]], generators: Sequence[torch.Generator], *, gain: float = math.sqrt(2.0)
) -> Parameters:
    """Return the parameters of a stack of multilayer perceptrons of one depth and any widths.

    sizes: one (D, H1, ..., O) a model; generators: one a model, so that a model starts alike in every stack. Weights are
    N(0, gain^2/fan-in), biases 0. Narrow layers are filled up with zeros. With an activation that maps 0 to 0
    (relu, tanh, gelu) this is exact: a zero unit has zero gradient in and out, and no optimiser of ours moves it.
    Returns "w0" (S, D, H1), "b0" (S, 1, H1), "w1", ... Raises UserError for models of different depth, inputs or outputs.
    """
    shapes = {(len(one), one[0], one[-1]) for one in sizes}
    if len(shapes) != 1 or len(generators) != len(sizes):
        raise UserError(
            f"{len(sizes)} models with (depth, inputs, outputs) {sorted(shapes)} and {len(generators)} generators were given. "
            "Give models of one depth with the same inputs and outputs, and one generator a model."
        )
    depth = len(sizes[0]) - 1
    widest = [max(one[layer] for one in sizes) for layer in range(depth + 1)]
    parameters: Parameters = {}
    for layer in range(depth):
        parameters[f"w{layer}"] = torch.zeros(len(sizes), widest[layer], widest[layer + 1])
        parameters[f"b{layer}"] = torch.zeros(len(sizes), 1, widest[layer + 1])
    for k, (one, generator) in enumerate(zip(sizes, generators, strict=True)):
        for layer, (rows, columns) in enumerate(zip(one[:-1], one[1:], strict=True)):
            drawn = torch.randn(rows, columns, generator=generator) * gain / math.sqrt(rows)
            parameters[f"w{layer}"][k, :rows, :columns] = drawn
    return parameters


def mlp_forward(activation: Callable[[Tensor], Tensor] = torch.relu) -> Forward:
    """Return the forward pass of `mlp`: (parameters, x (B, D) or (S, B, D)) -> (S, B, O)."""

    def forward(parameters: Parameters, x: Tensor) -> Tensor:
        depth = len(parameters) // 2
        h = x if x.dim() == 3 else x.expand(parameters["w0"].shape[0], *x.shape)  # (S, B, D)
        for layer in range(depth):
            h = torch.baddbmm(parameters[f"b{layer}"], h, parameters[f"w{layer}"])  # (S, B, H)
            if layer < depth - 1:
                h = activation(h)
        return h

    return forward

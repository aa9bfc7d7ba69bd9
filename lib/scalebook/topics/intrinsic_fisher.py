"""The local effective dimension of a small classifier, from its Fisher information.

d_eff = 2 log(mean over a ball of sqrt det(1 + kappa F)) / log kappa with kappa = gamma n / (2 pi log n), where F is
the Fisher information scaled so that its trace is the number of weights d (Abbas, Sutter, Figalli and Woerner 2021,
arXiv:2112.04807).

F is d x d, but comes from few points: with scores as rows of B, F = B^T B, and det(1 + c B^T B) = det(1 + c B B^T).
For two layers the products of scores need no gradients: a weight's gradient is (input of its layer) times (signal
behind it).

Shape code: S stack, B points, D inputs, H hidden units, C classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scalebook.ensemble import Parameters

TAU = 2.0 * math.pi


def score_gram(parameters: Parameters, x: Tensor) -> Tensor:
    """Return products of scores whose squares add up to the Fisher information, (S, B*(C-1), B*(C-1)).

    parameters: a two-layer tanh network "w0" (S, D, H), "b0", "w1" (S, H, C), "b1"; x (B, D). The classes are
    weighted by the network's own probabilities, so the Fisher information is exact and needs no labels. The C scores
    of a point add up to 0 under these weights; C - 1 combinations carry all.
    """
    p = {name: value.double() for name, value in parameters.items()}
    x = x.double()
    h = torch.tanh(x @ p["w0"] + p["b0"])  # (S, B, H)
    probability = torch.softmax(h @ p["w1"] + p["b1"], dim=-1)  # (S, B, C)
    stack, points, classes = probability.shape
    root = probability.sqrt()
    signal = _across(root) * root[..., None] / math.sqrt(points)  # (S, B, C, C-1): combinations of d log p / d logits
    signal, classes = signal.transpose(2, 3), classes - 1
    back = (signal @ p["w1"].transpose(1, 2)[:, None]) * (1 - h**2)[:, :, None]  # (S, B, C-1, H)
    rows = points * classes
    outer, inner = signal.reshape(stack, rows, -1), back.reshape(stack, rows, -1)
    by_hidden = (1 + h @ h.transpose(1, 2)).view(stack, points, 1, points, 1)  # 1 for the bias
    by_input = (1 + x @ x.T).view(1, points, 1, points, 1)
    shape = (stack, points, classes, points, classes)
    gram = (outer @ outer.transpose(1, 2)).view(shape).mul_(by_hidden)
    gram += (inner @ inner.transpose(1, 2)).view(shape).mul_(by_input)
    return gram.view(stack, rows, rows)


def _across(unit: Tensor) -> Tensor:
    """Return C - 1 orthonormal directions at right angles to unit vectors (..., C) of entries >= 0, (..., C, C-1)."""
    axis = unit.clone()
    axis[..., 0] += 1.0  # a reflection along unit + e_0 takes unit to -e_0, so its other columns are the ones wanted
    turn = 2 * axis[..., :, None] * axis[..., None, 1:] / axis.square().sum(dim=-1)[..., None, None]
    return torch.eye(unit.shape[-1], dtype=unit.dtype)[:, 1:] - turn


def weights(parameters: Parameters) -> int:
    """Return the number of weights d of one network of a stack."""
    return sum(value[0].numel() for value in parameters.values())


def kappa(samples: int, gamma: float = 1.0) -> float:
    """Return the resolution kappa = gamma n / (2 pi log n) that n samples allow."""
    return gamma * samples / (TAU * math.log(samples))


def half_log_determinant(gram: Tensor, trace: Tensor, size: int, resolution: float) -> Tensor:
    """Return log sqrt det(1 + kappa F) (S,), F scaled to trace d = ``size``; gram (S, R, R), trace (S,)."""
    scaled = gram * (resolution * size / trace)[:, None, None]
    scaled.diagonal(dim1=1, dim2=2).add_(1.0)
    return torch.linalg.cholesky(scaled).diagonal(dim1=1, dim2=2).log().sum(dim=1)


def in_ball(parameters: Parameters, radius: float, generator: torch.Generator) -> Parameters:
    """Return parameters moved to uniform points of a ball of this radius around them, one a network."""
    size = weights(parameters)
    steps = {name: torch.randn(value.shape, generator=generator) for name, value in parameters.items()}
    length = sum(step.flatten(1).square().sum(dim=1) for step in steps.values()).sqrt()  # (S,)
    out = radius * torch.rand(len(length), generator=generator) ** (1 / size) / length
    return {name: value + steps[name] * out.view(-1, *[1] * (value.dim() - 1)) for name, value in parameters.items()}


def local_effective_dimension(
    parameters: Parameters, x: Tensor, samples: int, draws: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return d_eff / d averaged over the ball of radius 1/sqrt(n), and with the Fisher at the centre alone, each (S,).

    x (B, D) are the points of the Fisher, ``samples`` is n, ``draws`` the number of points in the ball. The trace
    that scales F is the mean over the ball; the average of sqrt det is taken through logarithms.
    """
    size, resolution = weights(parameters), kappa(samples)
    grams = [score_gram(in_ball(parameters, samples**-0.5, generator), x) for _ in range(draws)]
    trace = torch.stack([gram.diagonal(dim1=1, dim2=2).sum(dim=1) for gram in grams]).mean(dim=0)
    halves = torch.stack([half_log_determinant(gram, trace, size, resolution) for gram in grams])  # (draws, S)
    ball = 2 * (torch.logsumexp(halves, dim=0) - math.log(draws)) / math.log(resolution)
    centre = score_gram(parameters, x)
    alone = half_log_determinant(centre, centre.diagonal(dim1=1, dim2=2).sum(dim=1), size, resolution)
    return ball / size, 2 * alone / math.log(resolution) / size

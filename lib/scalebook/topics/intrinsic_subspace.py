"""Training inside a random subspace: at which dimension do solutions first appear?

All weights theta = theta0 + P z move only through the d coordinates z; the columns of P (D x d) are random directions
of length 1 (Li, Farkhoor, Liu and Yosinski 2018, arXiv:1804.08838).

Shape code: R draws, K subspaces of one draw, s starts, D weights, d coordinates, C constraints.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from scalebook.ensemble import Forward, Parameters
from scalebook.models import mlp_forward

BLOCKS = 10  # constraints of the toy problem, one a block of weights
BLOCK = 100  # weights a block


def unit_columns(rng: np.random.Generator, weights: int, d: int) -> np.ndarray:
    """Return a random basis (weights, d), float32, with columns of length 1."""
    basis = rng.standard_normal((weights, d), dtype=np.float32)
    return basis / np.linalg.norm(basis, axis=0)


def linear_dimension(
    rng: np.random.Generator, highest: int = 16, tolerance: float = 1e-9, *, independent: int = BLOCKS
) -> float:
    """Return the smallest d at which a random subspace holds weights whose block sums are 1, 2, ..., 10.

    With ``independent`` below 10 the last blocks, weights, directions and goals, copy the first. nan above ``highest``.
    """
    theta, basis = rng.standard_normal(BLOCKS * BLOCK), unit_columns(rng, BLOCKS * BLOCK, highest).astype(float)
    copies = np.arange(BLOCKS) % independent
    gap = (np.arange(1, BLOCKS + 1) - theta.reshape(BLOCKS, BLOCK).sum(axis=1))[copies]
    sums = basis.reshape(BLOCKS, BLOCK, highest).sum(axis=1)[copies]
    for d in range(1, highest + 1):
        rest = gap - sums[:, :d] @ np.linalg.lstsq(sums[:, :d], gap, rcond=None)[0]
        if rest @ rest < tolerance * (gap @ gap):
            return float(d)
    return float("nan")


def nonlinear_dimension(
    rngs: Sequence[np.random.Generator],
    dimensions: Sequence[int],
    *,
    independent: int = BLOCKS,
    starts: int = 5,
    tolerance: float = 1e-9,
    iterations: int = 80,
) -> tuple[np.ndarray, np.ndarray]:
    """Return per draw the smallest d that holds a solution (R,), nan if none, and the least loss of each d (R, len).

    Constraint j asks the sum of tanh over block j of 100 weights to be what it is at an independent N(0, 1) draw.
    Start theta0 is N(0, 1); subspaces are nested; Levenberg and Marquardt's method runs from ``starts`` random z (sd
    1). A solution has a squared loss below ``tolerance`` times that at theta0. With ``independent`` below 10 the last
    blocks copy the first.
    """
    widest, copies = max(dimensions), np.arange(BLOCKS) % independent
    theta, goal, basis = [], [], []
    for rng in rngs:
        theta.append(rng.standard_normal((BLOCKS, BLOCK))[copies])
        goal.append(np.tanh(rng.standard_normal((BLOCKS, BLOCK))[copies]).sum(axis=1))
        basis.append(unit_columns(rng, BLOCKS * BLOCK, widest).astype(float).reshape(BLOCKS, BLOCK, widest)[copies])
    theta, goal, basis = np.array(theta), np.array(goal), np.array(basis)
    z = np.array([rng.standard_normal((starts, widest)) for rng in rngs])  # (R, s, d)
    found, least = np.full(len(rngs), np.nan), np.full((len(rngs), len(dimensions)), np.nan)
    for k, d in enumerate(dimensions):
        left = np.flatnonzero(np.isnan(found))
        if not len(left):
            break
        narrow = np.ascontiguousarray(basis[left, :, :, :d])
        part = _descend(theta[left], goal[left], narrow, z[left, :, :d], tolerance, iterations)
        least[left, k] = part
        found[left[part < tolerance]] = d
    return found, least


def _descend(
    theta: np.ndarray, goal: np.ndarray, basis: np.ndarray, z: np.ndarray, tolerance: float, iterations: int
) -> np.ndarray:
    """Return the least relative loss (R,); theta (R, C, B), goal (R, C), basis (R, C, B, d), z (R, s, d)."""
    at_start = ((np.tanh(theta).sum(axis=2) - goal) ** 2).sum(axis=1)[:, None]
    best, going = np.full(len(z), np.inf), np.arange(len(z))

    def look(rows: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        moved = np.tanh(theta[rows, :, :, None] + basis[rows] @ where.swapaxes(1, 2)[:, None])  # (R, C, B, s)
        residual = moved.sum(axis=2).swapaxes(1, 2) - goal[rows, None]  # (R, s, C)
        return residual, moved, (residual**2).sum(axis=2) / at_start[rows]

    z, damping = z.copy(), np.full(z.shape[:2], 1.0)
    residual, moved, loss = look(going, z)
    for _ in range(iterations):
        slopes = (1 - moved**2).swapaxes(2, 3) @ basis[going]  # (R, C, s, d): derivative of each constraint
        slopes = slopes.swapaxes(1, 2)  # (R, s, C, d)
        gram = slopes @ slopes.swapaxes(2, 3) + damping[..., None, None] * np.eye(goal.shape[1])
        step = (slopes.swapaxes(2, 3) @ np.linalg.solve(gram, residual[..., None]))[..., 0]
        tried = z - step
        new_residual, new_moved, new_loss = look(going, tried)
        better = new_loss < loss
        z = np.where(better[..., None], tried, z)
        residual = np.where(better[..., None], new_residual, residual)
        moved = np.where(better[:, None, None, :], new_moved, moved)
        loss = np.where(better, new_loss, loss)
        damping = np.clip(np.where(better, damping / 3, damping * 4), 1e-10, 1e8)
        best[going] = loss.min(axis=1)
        on = best[going] >= tolerance
        going, z, damping, residual, moved, loss = (a[on] for a in (going, z, damping, residual, moved, loss))
        if not len(going):
            break
    return best


def flat(parameters: Parameters) -> Tensor:
    """Return stacked parameters as one matrix (S, D), layer by layer."""
    return torch.cat([value.flatten(1) for value in parameters.values()], dim=1)


def unflat(theta: Tensor, like: Parameters) -> Parameters:
    """Return a matrix (S, D) as stacked parameters of the shapes in ``like``."""
    sizes = [value[0].numel() for value in like.values()]
    return {
        name: part.reshape(-1, *like[name].shape[1:])
        for name, part in zip(like, theta.split(sizes, dim=1), strict=True)
    }


def subspace_forward(starts: Parameters, bases: Tensor, allowed: Tensor) -> tuple[Parameters, Forward]:
    """Return coordinates z = 0 as stacked parameters, and the forward pass of networks that move through them.

    starts: parameters of R networks; bases (R, d, D), one basis a network, its rows the directions; allowed (K, d), 1
    where a subspace may use a direction and 0 where not. Model r*K + k is network r in subspace k.
    """
    draws, widest, _ = bases.shape
    theta0, forward = flat(starts)[:, None], mlp_forward()
    used = (allowed * torch.arange(1, widest + 1)).amax(dim=1)  # the last direction that a subspace may use
    few = int(used[used <= widest / 4].max()) if (used <= widest / 4).any() else 0
    low, high = torch.nonzero(used <= few).flatten(), torch.nonzero(used > few).flatten()
    order = torch.argsort(torch.cat([low, high]))

    def run(parameters: Parameters, x: Tensor) -> Tensor:
        z = parameters["z"].view(draws, -1, widest) * allowed  # (R, K, d)
        # small subspaces are multiplied by the few directions that they use: most of the cost is here
        moves = torch.cat([z[:, low, :few] @ bases[:, :few], z[:, high] @ bases], dim=1)[:, order]
        return forward(unflat((theta0 + moves).flatten(0, 1), starts), x)  # theta (R*K, D)

    return {"z": torch.zeros(draws * len(allowed), widest)}, run


def crossing(grid: Sequence[float], values: np.ndarray, level: np.ndarray | float) -> np.ndarray:
    """Return where values (..., len(grid)) first reach a level (...), log-interpolated in the grid; nan outside it."""
    logs, values = np.log(np.asarray(grid, dtype=float)), np.asarray(values, dtype=float)
    level = np.broadcast_to(np.asarray(level, dtype=float), values.shape[:-1])
    above = values >= level[..., None]
    first = above.argmax(axis=-1)
    inside = above.any(axis=-1) & (first > 0)
    at = np.maximum(first, 1)[..., None]
    low, high = (np.take_along_axis(values, at - k, axis=-1)[..., 0] for k in (1, 0))
    gap = np.where(inside, high - low, 1.0)
    share = (level - low) / gap
    at = at[..., 0]
    return np.where(inside, np.exp(logs[at - 1] + share * (logs[at] - logs[at - 1])), np.nan)

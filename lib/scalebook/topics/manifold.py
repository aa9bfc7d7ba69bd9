"""Learning a smooth function on a curved d-dimensional surface in a larger space, by three kinds of predictor.

The error of a predictor that is piecewise constant falls as D^(-2/d) in the number D of examples, of one that is
piecewise linear as D^(-4/d), d being the dimension of the surface and not that of the space (Bahri and others 2021,
arXiv:2102.06701; Sharma and Kaplan 2020, arXiv:2004.10802).

Shape code: D examples, Q test points, d intrinsic and n ambient dimensions, G sizes, S students.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import Delaunay

from scalebook.errors import UserError

if TYPE_CHECKING:
    import torch

SINES, LONGEST = 5, 2.0  # terms of a target, and the largest length of a wave vector (periods per unit of u)
MARGIN = 0.15  # test points keep this distance from the boundary of [0, 1]^d


@dataclass(frozen=True)
class Sines:
    """A target f(u) = sum of sin(2 pi k.u + phase); `waves` (5, d) in periods per unit, `phases` (5,) in radians."""

    waves: np.ndarray
    phases: np.ndarray

    def __call__(self, u: np.ndarray) -> np.ndarray:
        """Return f at points u (..., d') as (...); coordinates beyond the target's own are ignored."""
        return np.sin(2 * np.pi * u[..., : self.waves.shape[1]] @ self.waves.T + self.phases).sum(axis=-1)


def draw_target(rng: np.random.Generator, dimension: int) -> Sines:
    """Return a random target: directions uniform, lengths |k| uniform on [0, 2], phases uniform."""
    waves = rng.standard_normal((SINES, dimension))
    waves *= LONGEST * rng.uniform(size=(SINES, 1)) / np.linalg.norm(waves, axis=1, keepdims=True)
    return Sines(waves, rng.uniform(0, 2 * np.pi, SINES))


def draw_lift(rng: np.random.Generator, dimension: int, ambient: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a curved map of [0, 1]^d into R^n: u padded with 0.5 sin(W u), W standard normal, then a random turn."""
    if ambient <= dimension:
        raise UserError(f"A lift from {dimension} into {ambient} dimensions was asked for; the second must be larger.")
    bend = rng.standard_normal((ambient - dimension, dimension))
    turn = np.linalg.qr(rng.standard_normal((ambient, ambient)))[0]
    return lambda u: np.concatenate([u, 0.5 * np.sin(u @ bend.T)], axis=-1) @ turn.T


def nearest_neighbour_errors(
    x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, sizes: Sequence[int]
) -> np.ndarray:
    """Return the mean squared error (G,) of the nearest neighbour among the first `sizes` of x (D, n), Euclidean."""
    scale = (x**2).sum(axis=1)  # |q|^2 is the same for every candidate and may be left out
    best = np.full(len(x_test), np.inf)
    value = np.zeros(len(x_test))
    errors, begin = [], 0
    for size in sizes:  # nested: each size looks at the new examples only
        distance = scale[begin:size] - 2 * x_test @ x[begin:size].T  # (Q, new)
        closest = distance.argmin(axis=1)
        found = distance[np.arange(len(x_test)), closest]
        value = np.where(found < best, y[begin:size][closest], value)
        best, begin = np.minimum(found, best), size
        errors.append(np.mean((value - y_test) ** 2))
    return np.array(errors)


def linear_errors(
    u: np.ndarray, y: np.ndarray, u_test: np.ndarray, y_test: np.ndarray, sizes: Sequence[int]
) -> np.ndarray:
    """Return the mean squared error (G,) of linear interpolation on the mesh of the first `sizes` of u (D, d).

    The mesh is Delaunay's, in one dimension the sorted points. Test points outside the smallest mesh are left out for
    all sizes alike, so that every size is asked the same questions.
    """
    if u.shape[1] == 1:
        order = [np.argsort(u[:size, 0]) for size in sizes]
        inside = (u_test[:, 0] >= u[: sizes[0]].min()) & (u_test[:, 0] <= u[: sizes[0]].max())
        read = [np.interp(u_test[:, 0], u[:size, 0][o], y[:size][o]) for size, o in zip(sizes, order, strict=True)]
    else:
        read = [LinearNDInterpolator(Delaunay(u[:size]), y[:size])(u_test) for size in sizes]
        inside = np.isfinite(read[0])
    return np.array([np.mean((values[inside] - y_test[inside]) ** 2) for values in read])


def student_errors(
    x: np.ndarray,
    y: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    sizes: Sequence[int],
    starts: Sequence[torch.Generator],
    order: torch.Generator,
    *,
    width: int = 64,
    steps: int = 6000,
    batch: int = 256,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (test, train) mean squared errors (S, G) of ReLU networks with three hidden layers, one stack for all.

    x (S, D, n), y (S, D), x_test (S, Q, n), y_test (S, Q): one problem a student; `sizes`: how many examples each size
    sees, the first ones of D; `starts` (S,) give the first weights, `order` the batches. Adam at 1e-3, cosine decay;
    inputs are shifted and scaled by the mean and the overall deviation of the problem's examples. torch is loaded here,
    so that who does not train does not pay for it.
    """
    import torch

    from scalebook import ensemble, models

    s, g = len(x), len(sizes)
    x, y = x[:, : sizes[-1]], y[:, : sizes[-1]]
    mean, spread = x.mean(axis=1, keepdims=True), x.std(axis=(1, 2), keepdims=True)
    level, scale = y.mean(axis=1, keepdims=True), y.std(axis=1, keepdims=True)
    as_tensor = [torch.tensor(v, dtype=torch.float32) for v in ((x - mean) / spread, (y - level) / scale)]
    x_in, y_in = as_tensor[0], as_tensor[1][..., None]  # (S, D, n), (S, D, 1)
    queries = torch.tensor((x_test - mean) / spread, dtype=torch.float32).repeat_interleave(g, dim=0)
    answers = torch.tensor((y_test - level) / scale, dtype=torch.float32).repeat_interleave(g, dim=0)[..., None]
    parameters = models.mlp([(x.shape[2], width, width, width, 1)] * (s * g), [q for q in starts for _ in range(g)])
    limit = torch.tensor(list(sizes) * s)[:, None]  # (S G, 1)
    problem = torch.arange(s).repeat_interleave(g)[:, None]

    def batches(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = (torch.rand(s * g, batch, generator=order) * limit).long()
        return x_in[problem, rows], y_in[problem, rows]

    forward = models.mlp_forward()
    optimiser = ensemble.Optimiser(rate=1e-3, schedule=ensemble.warmup_cosine(warmup=0.0, floor=0.0))
    trained = ensemble.train(parameters, forward, ensemble.mean_squared_error, batches, steps, optimiser).parameters
    with torch.no_grad():
        test = ensemble.mean_squared_error(forward(trained, queries), answers)
        seen = forward(trained, x_in.repeat_interleave(g, dim=0)) - y_in.repeat_interleave(g, dim=0)  # (S G, D, 1)
        known = (torch.arange(x.shape[1])[None] < limit).float()
        train = (seen.squeeze(-1).square() * known).sum(dim=1) / limit.squeeze(1)
    back = scale**2  # (S, 1): errors in the units of y
    return test.reshape(s, g).numpy() * back, train.reshape(s, g).numpy() * back

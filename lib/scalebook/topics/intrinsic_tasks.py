"""Small tasks of known and unknown difficulty: twelve variants of the digits, and 24 tasks whose shape is measured.

Also what is asked of them: how many examples a support vector machine needs, and how much ten times more data helps
three learners that have little in common.

Shape code: n points, D inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.ndimage import map_coordinates

from scalebook.datasets import digits
from scalebook.topics import intrinsic_geometry as geometry
from scalebook.topics import intrinsic_topology as topology

SIZES = (40, 80, 160, 320, 640, 1200)  # training sets of the support vector machine
NOT_REACHED = 2400  # the need of a task that the largest of them does not settle
REAL, MADE = (40, 400), (200, 2000)  # few and many examples, of real sets and of made ones
LOOPED = 60  # points a class whose loops are counted


def moved(images: np.ndarray, angles: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return images (n, 8, 8) turned about their middle by angles (n,) in radians and moved by whole pixels (n, 2)."""
    n, side, _ = images.shape
    middle = (side - 1) / 2
    rows, columns = np.meshgrid(np.arange(side) - middle, np.arange(side) - middle, indexing="ij")
    c, s = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    down, across = rows - shifts[:, 0, None, None], columns - shifts[:, 1, None, None]
    where = np.stack([np.broadcast_to(np.arange(n)[:, None, None], (n, side, side)),
                      c * down - s * across + middle, s * down + c * across + middle])  # fmt: skip
    return map_coordinates(images, where, order=1, mode="constant")


def digit_variants(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return twelve data sets made of the same 1797 digits, name -> (1797, D); the labels stay what they are."""
    images = digits()[0].reshape(-1, 8, 8).astype(float)
    n, sd = len(images), images.std()
    still, straight = np.zeros((n, 2)), np.zeros(n)
    flat = images.reshape(n, 64)
    found = {"plain": flat}
    for degrees in (15, 45, 180):
        found[f"rotated {degrees}"] = moved(images, np.radians(rng.uniform(-degrees, degrees, n)), still).reshape(n, 64)
    for pixels in (1, 2):
        found[f"shifted {pixels}"] = moved(images, straight, rng.integers(-pixels, pixels + 1, (n, 2))).reshape(n, 64)
    found["half the pixels"] = flat[:, rng.permutation(64)[:32]]
    found["pooled"] = images.reshape(n, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(n, 16)
    for share in (0.5, 1.0, 2.0):
        found[f"noise {share:g} sd"] = flat + share * sd * rng.standard_normal(flat.shape)
    found["ten components"] = topology.principal(flat, 10)
    return found


def support_need(
    x: np.ndarray, y: np.ndarray, orders: Sequence[np.ndarray], make: Callable[[], object], goal: float = 0.8
) -> float:
    """Return the number of examples at which a classifier first reaches an accuracy, log-interpolated.

    orders: permutations of the n rows, one a split; the first rows train, the last n - 1200 test. ``make`` returns a
    fresh classifier. The first of `SIZES` where the goal is met at once; `NOT_REACHED` where it never is.
    """
    before = None
    for size in SIZES:
        now = 0.0
        for order in orders:
            train, test = order[:size], order[SIZES[-1] :]
            now += float((make().fit(x[train], y[train]).predict(x[test]) == y[test]).mean()) / len(orders)
        if now >= goal:
            return float(size) if before is None else float(size * 2.0 ** -((now - goal) / (now - before)))
        before = now
    return float(NOT_REACHED)


@dataclass(frozen=True)
class Task:
    """Inputs (n, D) and classes (n,) of a task; the first ``few`` or ``many`` rows train, those after ``many`` test."""

    name: str
    x: np.ndarray
    y: np.ndarray
    few: int
    many: int

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return len(np.unique(self.y))


def shape_tasks(rng: np.random.Generator, cancer: tuple[np.ndarray, np.ndarray], test: int = 1000) -> list[Task]:
    """Draw the 24 tasks. ``cancer`` holds the 569 cases (569, 30) and diagnoses of the breast cancer set."""
    few, many = MADE
    n = many + test
    found = []
    for d in (1, 2, 3, 4, 6):
        cloud, mark, u = geometry.manifold(d, 32, rng), geometry.label(d, rng), rng.random((n, d))
        found += [Task(f"manifold d={d} f={f}", cloud.lift(u), mark(u, f), few, many) for f in (1, 4)]
        if d in (2, 4):
            found.append(Task(f"random labels d={d}", cloud.lift(u), rng.integers(2, size=n), few, many))
    for k in (3, 6, 10):
        x = rng.uniform(-1, 1, (n, 10))
        found.append(Task(f"parity of {k}", x, (np.prod(np.sign(x[:, :k]), axis=1) > 0).astype(int), few, many))
    a, b = rng.uniform(0, 2 * np.pi, (2, n))
    ball = rng.standard_normal((n, 3))
    shapes = {
        "ring": np.stack([np.cos(a), np.sin(a)], axis=1),
        "torus": np.stack([(2 + np.cos(b)) * np.cos(a), (2 + np.cos(b)) * np.sin(a), np.sin(b)], axis=1),
        "sphere": ball / np.linalg.norm(ball, axis=1, keepdims=True),
    }
    for name, x in shapes.items():
        value = geometry.label(x.shape[1], rng).value(x, 1.0)
        found.append(Task(name, x, (value > np.median(value)).astype(int), few, many))
    for size in (10, 30):
        x = rng.standard_normal((n, size))
        found.append(Task(f"linear in {size}", x, (x @ rng.standard_normal(size) > 0).astype(int), few, many))
    few, many = REAL
    images, labels = digits()
    for classes in (2, 5, 10):
        order = rng.permutation(len(images))
        found.append(Task(f"digits modulo {classes}", images[order].astype(float), labels[order] % classes, few, many))
    order = rng.permutation(len(cancer[0]))
    scaled = (cancer[0] - cancer[0].mean(axis=0)) / cancer[0].std(axis=0)
    return [*found, Task("breast cancer", scaled[order], cancer[1][order], few, many)]


def shape_of(task: Task) -> tuple[float, float, float, float]:
    """Return 1/dimension, roughness, piece gap and loop life of a task, from its first 200 rows (50 of a real set)."""
    seen = 50 if (task.few, task.many) == REAL else task.few
    x, y = topology.principal(task.x[:seen]), task.y[:seen]
    clouds = [topology.summary(x[y == c][:LOOPED]) for c in np.unique(y)]
    pieces, loops = np.mean(clouds, axis=0)
    return 1 / geometry.two_nn(x), topology.roughness(x, y), pieces, loops


def smoothed_error(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Return the error with half a mistake added, so that no error has a logarithm."""
    return float(((predicted != truth).sum() + 0.5) / (len(truth) + 1))


def nearest_neighbour(x: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the classes (M,) of the training points nearest to test (M, D)."""
    return y[geometry.squared_distances(test, x).argmin(axis=1)]


def kernel_ridge(x: np.ndarray, y: np.ndarray, test: np.ndarray, ridge: float = 1e-2) -> np.ndarray:
    """Return classes (M,) by kernel ridge regression on indicators, Gaussian kernel, length the median distance."""
    x, test = x.astype(np.float32), test.astype(np.float32)  # enough for a class, and twice as fast
    squared = _squared(x, x)
    length = np.median(squared[: min(len(x), 400)])
    kernel = np.exp(squared / (-2 * length))
    kernel[np.diag_indices(len(x))] += ridge
    classes = np.unique(y)
    goal = np.where(y[:, None] == classes, 1.0, -1.0).astype(np.float32)
    alpha = linalg.cho_solve(linalg.cho_factor(kernel, check_finite=False), goal, check_finite=False)
    return classes[(np.exp(_squared(test, x) / (-2 * length)) @ alpha).argmax(axis=1)]


def gains(task: Task, boosting: Callable[[], object]) -> np.ndarray:
    """Return log10 of error with few over with many examples: nearest neighbour, kernel ridge, boosting (3,)."""

    def boosted(x: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
        return boosting().fit(x, y).predict(test)

    test, truth = task.x[task.many :], task.y[task.many :]
    errors = [
        [smoothed_error(learn(task.x[:n], task.y[:n], test), truth) for n in (task.few, task.many)]
        for learn in (nearest_neighbour, kernel_ridge, boosted)
    ]
    return np.log10([few / many for few, many in errors])


def left_out_predictions(features: np.ndarray, goal: np.ndarray, ridge: float = 1.0) -> np.ndarray:
    """Return what ridge regression on the other tasks predicts for each, (..., n); features (..., n, F), goal (n,).

    Features are standardised over all tasks, which uses no goal; the intercept is free. Leaving one out has a closed
    form: the residual divided by one minus the leverage.
    """
    z = (features - features.mean(axis=-2, keepdims=True)) / features.std(axis=-2, keepdims=True)
    z = np.concatenate([np.ones((*z.shape[:-1], 1)), z], axis=-1)
    penalty = ridge * np.eye(z.shape[-1])
    penalty[0, 0] = 0.0
    hat = z @ np.linalg.solve(z.swapaxes(-1, -2) @ z + penalty, z.swapaxes(-1, -2))
    residual = goal - hat @ goal
    return goal - residual / (1 - np.diagonal(hat, axis1=-2, axis2=-1))


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T, 0)

"""Learning curves of students that memorise facts with a long tail, beside students of a smooth function.

Facts: item k of K is drawn with probability p_k, has a random code and a random label. Whoever memorises what was seen
and guesses the rest errs on a share (1 - 1/labels) of the unseen mass U(m) = sum_k p_k (1 - p_k)^m after m samples. The
smooth teacher is a random Fourier sum. Shapes: S stack of students, B batch, M samples, K items, D inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scalebook.ensemble import Forward, Optimiser, Parameters, cross_entropy, mean_squared_error, train
from scalebook.estimate import slope
from scalebook.models import mlp, mlp_forward

FEATURES = 64  # of the smooth teacher
STEEPNESS = 1.5  # standard deviation of its frequencies


def zipf(items: int, alpha: float) -> np.ndarray:
    """Return p_k proportional to k^-(1 + alpha) for k = 1 ... items, (K,)."""
    p = np.arange(1, items + 1, dtype=float) ** -(1 + alpha)
    return p / p.sum()


def unseen_mass(p: np.ndarray, samples: Sequence[int]) -> np.ndarray:
    """Return U(m) = sum_k p_k (1 - p_k)^m for each number of samples m."""
    return np.array([(p * np.exp(m * np.log1p(-p))).sum() for m in samples])


def tail_slope(p: np.ndarray, samples: Sequence[int]) -> float:
    """Return the least-squares slope of log U(m) on log m over these samples: negative, exact for this finite K."""
    return float(slope(np.log(samples), np.log(unseen_mass(p, samples))))


@dataclass(frozen=True)
class Student:
    """A multilayer perceptron: hidden widths, activation, and the share of its training labels that are redrawn."""

    name: str
    hidden: tuple[int, ...]
    activation: Callable[[Tensor], Tensor] = torch.relu
    noise: float = 0.0


@dataclass(frozen=True)
class Facts:
    """One world: codes (K, D), labels (K,) and for each task a sequence of sampled items (M,)."""

    codes: np.ndarray
    labels: np.ndarray
    sampled: dict[float, np.ndarray]
    p: dict[float, np.ndarray]
    kinds: int


def draw_facts(
    alphas: Sequence[float], most: int, rng: np.random.Generator, items: int = 8000, inputs: int = 48, kinds: int = 10
) -> Facts:
    """Draw codes, labels and ``most`` samples for each exponent of the frequencies."""
    codes = rng.standard_normal((items, inputs)).astype(np.float32)
    labels = rng.integers(kinds, size=items)
    p = {alpha: zipf(items, alpha) for alpha in alphas}
    return Facts(codes, labels, {a: rng.choice(items, size=most, p=p[a]) for a in alphas}, p, kinds)


def drawn_mass(facts: Facts, task: float, samples: Sequence[int]) -> np.ndarray:
    """Return the mass of the items that one world's first m samples did not happen to draw, for each m."""
    sampled, p = facts.sampled[task], facts.p[task]
    return np.array([1 - p[np.unique(sampled[:m])].sum() for m in samples])


def _batches(data: Tensor, lengths: Tensor, size: int, generator: torch.Generator, look: Callable) -> Callable:
    """Return a source of batches: each step draws rows below each model's own length, with replacement."""

    def batch(step: int):
        share = torch.rand(len(lengths), size, generator=generator)
        return look((share * lengths[:, None]).long().clamp_(max=data.shape[1] - 1))

    return batch


def memorise(
    student: Student, worlds: Sequence[Facts], samples: Sequence[int], *, steps: int, batch: int,
    start: Callable[[int], torch.Generator], rate: float = 1e-2,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Train a student on every world, task and number of samples; return its errors and whether it memorised.

    ``start(r)`` gives the generator of world r: initial weights and the noise of labels; that of world 0 also draws
    the batches. Rates are cooled, or the last few items would come and go. Returns the exact test error, the mass
    of misclassified items, and the share of the distinct items seen for which it does not say the label that they
    were most often given, both (R, tasks, samples).
    """
    tasks = list(worlds[0].sampled)
    shape = (len(worlds), len(tasks), len(samples))
    inputs, kinds = worlds[0].codes.shape[1], worlds[0].kinds
    codes = torch.from_numpy(np.stack([w.codes for w in worlds]))  # R K D
    truth = torch.from_numpy(np.stack([w.labels for w in worlds]))  # R K
    errors, missed = np.empty(shape), np.empty(shape)
    sizes = [(inputs, *student.hidden, kinds)]
    for t, task in enumerate(tasks):  # one task a stack: what fits the processor's cache
        drawn = torch.from_numpy(np.stack([w.sampled[task] for w in worlds]))  # R M
        world = torch.arange(len(worlds)).repeat_interleave(len(samples))
        lengths = torch.tensor(samples).repeat(len(worlds))
        generators = [start(r) for r in range(len(worlds))]
        given = torch.gather(truth, 1, drawn)
        for r, generator in enumerate(generators):
            wrong = torch.rand(given.shape[1], generator=generator) < student.noise
            given[r] = torch.where(wrong, torch.randint(kinds, wrong.shape, generator=generator), given[r])
        parameters = _repeated(mlp(sizes * len(worlds), generators), len(samples))

        def look(rows: Tensor, drawn=drawn, given=given, world=world) -> tuple[Tensor, Tensor]:
            item = drawn[world[:, None], rows]
            return codes[world[:, None], item], given[world[:, None], rows]

        source = _batches(drawn, lengths, batch, generators[0], look)
        forward = mlp_forward(student.activation)
        optimiser = Optimiser(rate=rate, schedule=cooled)
        found = train(parameters, forward, cross_entropy, source, steps, optimiser).parameters
        for r, facts in enumerate(worlds):
            own = {name: value[world == r] for name, value in found.items()}
            said = forward(own, codes[r]).argmax(-1).numpy()  # samples, K
            errors[r, t] = (said != facts.labels) @ facts.p[task]
            told = (facts.sampled[task], given[r].numpy())
            missed[r, t] = [_missed(said[i], told[0][:m], told[1][:m], kinds) for i, m in enumerate(samples)]
    return errors, missed


def _missed(said: np.ndarray, items: np.ndarray, given: np.ndarray, kinds: int) -> float:
    """Return the share of the distinct items for which ``said`` (K,) is not among the labels most often given."""
    seen, place = np.unique(items, return_inverse=True)
    counts = np.zeros((seen.size, kinds))
    np.add.at(counts, (place, given), 1)
    return float((counts[np.arange(seen.size), said[seen]] < counts.max(axis=1)).mean())


def _repeated(parameters: Parameters, times: int) -> Parameters:
    """Return a stack in which every model stands ``times`` times, so that its sizes of data share a start."""
    return {name: value.repeat_interleave(times, dim=0) for name, value in parameters.items()}


@dataclass(frozen=True)
class Teacher:
    """sqrt(2/F) sum_j v_j sin(w_j x + b_j) on [-1, 1]^D: weights (F, D), phases (F,), heights (F,)."""

    weights: np.ndarray
    phases: np.ndarray
    heights: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, inputs: int = 4) -> Teacher:
        """Draw one: frequencies 1.5 N(0, 1), uniform phases, heights N(0, 1)."""
        return cls(
            STEEPNESS * rng.standard_normal((FEATURES, inputs)), rng.uniform(0, 2 * np.pi, FEATURES),
            rng.standard_normal(FEATURES),
        )  # fmt: skip

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the function at x (..., D), shape (...)."""
        return np.sqrt(2 / FEATURES) * np.sin(x @ self.weights.T + self.phases) @ self.heights


def fit_smooth(
    student: Student, teachers: Sequence[Teacher], samples: Sequence[int], *, steps: int, batch: int,
    start: Callable[[int], torch.Generator], data: Callable[[int], np.random.Generator], rate: float = 1e-2,
) -> np.ndarray:  # fmt: skip
    """Train a student on noise-free values of each teacher; return mean squared errors on 4,000 others, (R, samples).

    ``student.noise`` is here the standard deviation of noise on the training values, in units of the teacher's own.
    """
    most, inputs = max(samples), teachers[0].weights.shape[1]
    train_x, train_y, test_x, test_y = [], [], [], []
    for r, teacher in enumerate(teachers):
        rng = data(r)
        x = rng.uniform(-1, 1, (most + 4000, inputs))
        y = teacher(x)
        noisy = y[:most] + student.noise * y.std() * rng.standard_normal(most)
        train_x.append(x[:most]), train_y.append(noisy), test_x.append(x[most:]), test_y.append(y[most:])
    x, y, x_test, y_test = (_floats(part) for part in (train_x, train_y, test_x, test_y))
    generators = [start(r) for r in range(len(teachers))]
    world = torch.arange(len(teachers)).repeat_interleave(len(samples))
    lengths = torch.tensor(samples).repeat(len(teachers))
    parameters = _repeated(mlp([(inputs, *student.hidden, 1)] * len(teachers), generators), len(samples))
    forward: Forward = mlp_forward(student.activation)
    source = _batches(x[..., 0], lengths, batch, generators[0],
                      lambda rows: (x[world[:, None], rows], y[world[:, None], rows]))  # fmt: skip
    found = train(
        parameters, forward, lambda p, t: mean_squared_error(p[..., 0], t), source, steps,
        Optimiser(rate=rate, schedule=cooled),
    ).parameters  # fmt: skip
    with torch.no_grad():
        error = (forward(found, x_test[world])[..., 0] - y_test[world]).square().mean(dim=1)
    return error.numpy().reshape(len(teachers), len(samples))


def cooled(step: int, steps: int) -> float:
    """Return 1 for the first half, then a straight line down to zero: an error far below the noise of large steps."""
    return min(1.0, 2 * (1 - step / steps))


def _floats(parts: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(parts).astype(np.float32))

"""The toy model of superposition: an autoencoder that stores n features in m < n dimensions, trained in stacks.

y = relu(x W W^T + b), with W (n, m) and b (n,); the loss is E||x - y||^2, summed over features. Feature i is active with
probability p_i and then has a value uniform on [0, 2]. One dial gamma sets how row i of W, the vector that represents feature i,
changes before each Adam step of rate eta:

    gamma >= 0:  W_i <- W_i - eta gamma W_i                       ordinary decoupled decay: weak superposition
    gamma <  0:  W_i <- W_i - eta |gamma| W_i (1 - 1/||W_i||)     rows are drawn to unit length: strong superposition

Model, rule and schedule follow Liu, Liu and Gore, "Superposition Yields Robust Neural Scaling" (2025, arXiv:2505.10465). All
models of one call see the same batches, so differences between widths or dials are not differences between data.

Speed: about one feature of a sample is active, so x W and the gradient through it touch only active (sample, feature) pairs; what
remains dense are three products a step, 6 B n m floating-point operations a model. Weights lie as (m, n), which keeps
the long axis of every product contiguous. Models of one width form a block and are multiplied together.

Shape code: S models in a block, R rows of all blocks, m width, n features, B batch, K active pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scalebook.ensemble import warmup_cosine
from scalebook.errors import UserError

SECOND_MOMENT = 4.0 / 3.0  # E[v^2] of a value uniform on [0, 2]: the loss of doing nothing, per unit of activity
BETAS = (0.9, 0.999)
EPSILON = 1e-8


@dataclass(frozen=True)
class Model:
    """A trained model: rows W (n, m), bias (n,), loss = E||x - y||^2 on fresh data."""

    width: int
    gamma: float
    rows: np.ndarray
    bias: np.ndarray
    loss: float


def frequencies(kind: str, features: int, parameter: float = 1.0, activity: float = 1.0) -> np.ndarray:
    """Return p (n,), falling, summing to `activity`, the mean number of active features in a sample.

    kind: "power", p_i ~ i^-parameter; "exponential", p_i ~ exp(-i/parameter); "linear", p_i ~ n - i + 1.
    """
    i = np.arange(1, features + 1, dtype=float)
    shapes: dict[str, Callable[[], np.ndarray]] = {
        "power": lambda: i**-parameter,
        "exponential": lambda: np.exp(-i / parameter),
        "linear": lambda: features - i + 1,
    }
    if kind not in shapes:
        raise UserError(f"Frequencies of kind {kind!r} are not known. Use one of {', '.join(shapes)}.")
    p = shapes[kind]()
    p *= activity / p.sum()
    if p.max() > 1.0:
        raise UserError(f"Activity {activity} makes a probability {p.max():.2f}. Use a smaller activity.")
    return p


def draw(p: np.ndarray, samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw samples and return their active pairs: sample (K,), ascending, feature (K,), value (K,) in [0, 2]."""
    active = np.flatnonzero(rng.random((samples, len(p)), dtype=np.float32) < p.astype(np.float32))
    sample, feature = np.divmod(active, len(p))
    return sample, feature, 2.0 * rng.random(len(active), dtype=np.float32)


def train(
    p: np.ndarray,
    models: Sequence[tuple[int, float]],
    *,
    batch: int,
    steps: int,
    start: torch.Generator,
    data: np.random.Generator,
    rate: float = 1e-2,
    frozen: bool = False,
    padded: bool = False,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> list[Model]:
    """Train one model per (width, gamma) on the same fresh batches; return them in the order asked.

    start draws W ~ N(0, 1)/sqrt(m) and b ~ N(0, 1), once per width, widths ascending: models that differ only in gamma start
    alike. frozen: rows are scaled to unit length, stay there, and only b learns. padded: all widths in one block, narrow
    ones filled up with zeros (exact: a zero dimension has zero gradient); else a block for each width. Steps: Adam moments,
    rate with linear warm-up over a tenth and a cosine down to a twentieth. Loss: on 2^14 fresh samples.
    """
    stack = _Stack(p, models, batch, start, frozen, padded, device)
    schedule = warmup_cosine(0.1, 0.05)
    for step, pairs in enumerate(_stream(p, batch, steps, data, device)):
        stack.step(pairs, rate * schedule(step, steps))
        if progress is not None:
            progress(step + 1, steps)
    return stack.finish(p, data)


Pairs = tuple[Tensor, Tensor, Tensor]


def _stream(p: np.ndarray, batch: int, steps: int, rng: np.random.Generator, device: str, chunk: int = 20) -> Iterator[Pairs]:
    """Yield the active pairs of one batch after another, drawn `chunk` batches at a time."""
    for first in range(0, steps, chunk):
        now = min(chunk, steps - first)
        sample, feature, value = draw(p, now * batch, rng)
        cuts = np.searchsorted(sample, batch * np.arange(now + 1))
        tensors = [torch.from_numpy(a).to(device) for a in (sample % batch, feature, value)]
        for a, z in zip(cuts[:-1], cuts[1:], strict=True):
            yield tensors[0][a:z], tensors[1][a:z], tensors[2][a:z]


class _Stack:
    """Weights, moments and buffers of all models, allocated once; a step works in place.

    A model fills m + 1 consecutive rows of `theta` (R, n): W^T, then b, which multiplies a hidden unit held at 1.
    """

    def __init__(
        self,
        p: np.ndarray,
        models: Sequence[tuple[int, float]],
        batch: int,
        start: torch.Generator,
        frozen: bool,
        padded: bool,
        device: str,
    ) -> None:
        n, widths = len(p), sorted({m for m, _ in models})
        if not models or widths[0] < 1:
            raise UserError(f"Models {list(models)} cannot be trained. Give at least one (width, gamma) with width >= 1.")
        self.order = sorted(range(len(models)), key=lambda k: models[k][0])
        self.models = [models[k] for k in self.order]
        self.frozen, self.batch = frozen, batch
        sizes = [widths[-1] if padded else m for m, _ in self.models]  # rows reserved for W^T of each model
        self.starts = np.concatenate([[0], np.cumsum([m + 1 for m in sizes])]).tolist()
        rows = self.starts[-1]
        zeros = [torch.zeros(rows, n, device=device) for _ in range(5)]
        self.theta, self.gradient, self.first, self.second, self.scratch = zeros
        self.hidden, self.hidden_gradient = (torch.zeros(rows, batch, device=device) for _ in range(2))
        self.output = torch.empty(len(models), batch, n, device=device)  # y, then its gradient
        self.norm = torch.empty(len(models), n, device=device)
        self.member = torch.zeros(len(models), rows, device=device)  # 1 where a row belongs to W of a model
        initial = {m: (torch.randn(m, n, generator=start) / math.sqrt(m), torch.randn(n, generator=start)) for m in widths}
        for k, (m, _) in enumerate(self.models):
            first, bias = self.starts[k], self.starts[k + 1] - 1
            weights = initial[m][0]
            self.theta[first : first + m] = weights / weights.norm(dim=0) if frozen else weights
            self.theta[bias] = initial[m][1]
            self.member[k, first:bias] = 1.0
        gamma = torch.tensor([g for _, g in self.models], device=device)[:, None]
        self.strength, self.pull = gamma.abs(), (gamma < 0).float()
        self.taken = 0
        self.blocks = [self._block(a, z) for a, z in _runs(sizes)]

    def _block(self, a: int, z: int) -> tuple[Tensor, ...]:
        """Return views (S, m + 1, .) of models a to z - 1, which have the same size."""
        part, size = slice(self.starts[a], self.starts[z]), self.starts[a + 1] - self.starts[a]
        views = [t[part].view(z - a, size, -1) for t in (self.theta, self.gradient, self.hidden, self.hidden_gradient)]
        return (*views, self.output[a:z], self.norm[a:z])

    def forward(self, pairs: Pairs) -> None:
        """Fill `hidden` with (xW, 1) and `output` with y = relu(xWW^T + b)."""
        sample, feature, value = pairs
        self.hidden.zero_().index_add_(1, sample, self.theta.index_select(1, feature).mul_(value))
        for theta, _, hidden, _, output, _ in self.blocks:
            hidden[:, -1].fill_(1.0)
            torch.bmm(hidden.transpose(1, 2), theta, out=output)  # (S, B, n)
        self.output.relu_()

    def backward(self, pairs: Pairs) -> None:
        """Fill `gradient` with half of B times the gradient of the mean loss."""
        sample, feature, value = pairs
        # Where y > 0 the gradient is y - x, elsewhere 0; x is 0 but for the active pairs.
        flat, at = self.output.view(len(self.models), -1), sample * self.output.shape[2] + feature
        y = flat.index_select(1, at)
        flat.index_copy_(1, at, (y - value).mul_(y > 0))
        for theta, gradient, hidden, hidden_gradient, output, _ in self.blocks:
            torch.bmm(hidden, output, out=gradient)  # through the second W, and b: (S, m + 1, n)
            if not self.frozen:
                torch.bmm(theta, output.transpose(1, 2), out=hidden_gradient)  # (S, m + 1, B)
                hidden_gradient[:, -1].zero_()  # the constant unit does not depend on x
        if not self.frozen:
            self.gradient.index_add_(1, feature, self.hidden_gradient.index_select(1, sample).mul_(value))

    def step(self, pairs: Pairs, rate: float) -> None:
        """Do one step on one batch: row rule, then Adam on W and b (bias without decay)."""
        self.forward(pairs)
        self.backward(pairs)
        self.taken += 1
        if self.frozen:
            self.gradient.mul_(1.0 - self.member.sum(0)[:, None])
        else:
            self.row_rule(rate)
        # `gradient` lacks the factor 2/B. Adam divides it away again but for epsilon, which is divided by it instead; the
        # corrections of both moments go into the rate and epsilon, which saves passes over the weights.
        correction = math.sqrt(1 - BETAS[1] ** self.taken)
        self.first.lerp_(self.gradient, 1 - BETAS[0])
        self.second.mul_(BETAS[1]).addcmul_(self.gradient, self.gradient, value=1 - BETAS[1])
        torch.sqrt(self.second, out=self.scratch).add_(EPSILON * correction * self.batch / 2)
        self.theta.addcdiv_(self.first, self.scratch, value=-rate * correction / (1 - BETAS[0] ** self.taken))

    def row_rule(self, rate: float) -> None:
        """Multiply row i of every W by 1 - rate |gamma| (1 - [gamma < 0]/||W_i||)."""
        torch.mul(self.theta, self.theta, out=self.scratch)
        torch.mm(self.member, self.scratch, out=self.norm).sqrt_().clamp_min_(1e-12)
        self.norm.reciprocal_().mul_(self.pull).neg_().add_(1.0).mul_(-rate * self.strength).add_(1.0)
        for theta, _, _, _, _, factor in self.blocks:
            theta[:, :-1].mul_(factor.unsqueeze(1))

    def finish(self, p: np.ndarray, rng: np.random.Generator, samples: int = 2**14) -> list[Model]:
        """Measure the loss on fresh samples and return the models in the order asked."""
        total = torch.zeros(len(self.models), dtype=torch.float64, device=self.theta.device)
        batches = math.ceil(samples / self.batch)
        for pairs in _stream(p, self.batch, batches, rng, str(self.theta.device)):
            self.forward(pairs)
            sample, feature, value = pairs
            at = sample * self.output.shape[2] + feature
            y = self.output.view(len(self.models), -1).index_select(1, at)
            # sum (y - x)^2 = sum y^2 + sum over active pairs (x^2 - 2 x y)
            total += self.output.square().sum((1, 2)).double() + (value * (value - 2.0 * y)).sum(1).double()
        found: list[Model | None] = [None] * len(self.models)
        for k, (m, gamma) in enumerate(self.models):
            block = self.theta[self.starts[k] : self.starts[k + 1]].cpu().numpy()
            loss = float(total[k]) / (batches * self.batch)
            found[self.order[k]] = Model(m, gamma, block[:m].T.copy(), block[-1].copy(), loss)
        return [model for model in found if model is not None]


def _runs(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Return the half-open ranges of equal neighbours."""
    cuts = [k for k in range(len(sizes) + 1) if k in (0, len(sizes)) or sizes[k] != sizes[k - 1]]
    return list(zip(cuts[:-1], cuts[1:], strict=True))


def norms(model: Model) -> np.ndarray:
    """Return the lengths of the rows (n,)."""
    return np.linalg.norm(model.rows, axis=1)


def unlearned_mass(model: Model, p: np.ndarray) -> float:
    """Return 4/3 times the activity of the features whose row is shorter than 1/2: what forgetting them costs."""
    return SECOND_MOMENT * float(p[norms(model) < 0.5].sum())


def tail_mass(p: np.ndarray, width: int) -> float:
    """Return 4/3 times the activity of all but the first `width` features: the cost of forgetting the rarest."""
    return SECOND_MOMENT * float(p[width:].sum())


def welch(n: int, m: int) -> float:
    """Return the smallest mean squared overlap of n unit vectors in m dimensions, (n - m)/(m(n - 1)) (Welch 1974)."""
    return (n - m) / (m * (n - 1))


def squared_overlaps(rows: np.ndarray) -> np.ndarray:
    """Return (U_i.U_j)^2 (n, n) of the unit rows U of rows (n, m), in double precision."""
    unit = rows.astype(float) / np.linalg.norm(rows, axis=1, keepdims=True)
    return (unit @ unit.T) ** 2


def mean_square_overlap(rows: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean of (U_i.U_j)^2 over pairs i != j, each pair weighted by weights_i weights_j if given."""
    w = np.ones(len(rows)) if weights is None else weights
    pairs = np.outer(w, w)
    np.fill_diagonal(pairs, 0.0)
    return float((pairs * squared_overlaps(rows)).sum() / pairs.sum())

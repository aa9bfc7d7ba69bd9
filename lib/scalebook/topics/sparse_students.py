"""Small networks with fixed random masks, trained as one stack in plain numpy, and the law that knows their sparsity.

For Hossain et al. (2025, arXiv 2508.06617). The networks are so small that a framework would spend its time on calls,
so forward and backward pass are written out. Shapes: S networks in the stack, B batch, W width, d inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalebook import laws
from scalebook.fitting import Fit, fit
from scalebook.laws import Law, Sum

INPUTS = 4
NOISE_VARIANCE = 0.01  # of the labels: the floor of every test loss
WAVES = 24  # cosines in the teacher
BATCH = 32
RATE = 0.01
BETAS, TINY = (0.9, 0.99), 1e-8


def _law(name: str, shrinks: bool) -> Law:
    """Return the law of Hossain et al. 2025 (S = 0 is the dense Chinchilla form), or with (1-S)^alpha left out."""
    return Law(
        name=name,
        formula=f"e (1-S)^gamma + (a{' (1-S)^alpha' if shrinks else ''} + c S) N^-alpha + b D^-beta",
        inputs={"N": "parameters", "D": "samples", "S": "inactive share"},
        parameters={
            "e": "y", "a": "y N^alpha", "b": "y D^beta", "c": "y N^alpha", "alpha": "1", "beta": "1", "gamma": "1",
        },
        signed=("S",),
        form=lambda x: Sum(
            e={"gamma": np.log1p(-x["S"])},
            a={"alpha": (np.log1p(-x["S"]) if shrinks else 0) - np.log(x["N"])},
            c={"alpha": -np.log(x["N"]), "times": x["S"]},
            b={"beta": -np.log(x["D"])},
        ),
        grid=lambda x: {"alpha": (0.3, 0.6, 1.2), "beta": (0.3, 0.6, 1.2), "gamma": (0.0, 0.3)},
        limits={"gamma": (-5.0, 5.0)},
    )  # fmt: skip


SparseLaw = _law("sparsity-aware", True)
StraightLaw = _law("straight in the sparsity", False)  # a + c S: what (1-S)^alpha adds is seen by comparing


@dataclass(frozen=True)
class Teacher:
    """A smooth function of `INPUTS` inputs in [-1, 1]: a sum of cosines, unit variance before noise."""

    waves: np.ndarray  # (WAVES, d)
    phases: np.ndarray  # (WAVES,)
    heights: np.ndarray  # (WAVES,)

    @classmethod
    def drawn(cls, rng: np.random.Generator, roughness: float = 1.0) -> Teacher:
        """Draw a teacher; ``roughness`` is the standard deviation of the wave numbers, radians per unit of input."""
        heights = rng.standard_normal(WAVES)
        return cls(
            roughness * rng.standard_normal((WAVES, INPUTS)),
            rng.uniform(0, 2 * np.pi, WAVES),
            heights * np.sqrt(2 / (heights**2).sum()),
        )

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the function at inputs (..., d), shape (...)."""
        return np.cos(x @ self.waves.T + self.phases) @ self.heights


def parameters(width: int) -> int:
    """Return the number of weights of a network with two hidden layers, active or not (biases are not counted)."""
    return INPUTS * width + width * width + width


def masks(width: int, sparsity: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Return one 0/1 mask for each weight matrix, (d, W), (W, W), (W, 1), each with its exact share of zeros."""
    found = []
    for shape in ((INPUTS, width), (width, width), (width, 1)):
        mask = np.ones(shape[0] * shape[1], dtype=np.float32)
        mask[rng.permutation(mask.size)[: round(sparsity * mask.size)]] = 0.0
        found.append(mask.reshape(shape))
    return found


def start(width: int, sparsity: float, rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return parameters [W1, b1, W2, b2, W3, b3] and their masks (biases have masks of ones).

    Weights from N(0, 2 / active inputs of their unit): every unit starts at the size it would have without a mask.
    """
    values, kept = [], []
    for layer, mask in enumerate(masks(width, sparsity, rng)):
        active = np.maximum(mask.sum(axis=0, keepdims=True), 1)
        gain = 2.0 if layer < 2 else 1.0
        values += [mask * rng.standard_normal(mask.shape) * np.sqrt(gain / active), np.zeros((1, mask.shape[1]))]
        kept += [mask, np.ones((1, mask.shape[1]), dtype=np.float32)]
    values[1] = rng.uniform(-1, 1, values[1].shape)  # kinks spread over the inputs
    return [value.astype(np.float32) for value in values], kept


def forward(params: Sequence[np.ndarray], x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return both hidden layers (S, B, W) and the answers (S, B) of a stack of networks to inputs x (S, B, d)."""
    w1, b1, w2, b2, w3, b3 = params
    h1 = np.maximum(x @ w1 + b1, 0)
    h2 = np.maximum(h1 @ w2 + b2, 0)
    return h1, h2, (h2 @ w3 + b3)[..., 0]


def loss_and_gradient(
    params: Sequence[np.ndarray], x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the mean squared error of each network (S,) and its gradients, shaped as ``params``.

    ``params`` are stacks of [W1, b1, W2, b2, W3, b3] with a leading S; x is (S, B, d), y (S, B).
    """
    w2, w3 = params[2], params[4]
    h1, h2, answers = forward(params, x)
    error = answers - y  # (S, B)
    down = (2 / x.shape[1] * error)[..., None]  # (S, B, 1)
    to_h2 = (down @ w3.swapaxes(1, 2)) * (h2 > 0)
    to_h1 = (to_h2 @ w2.swapaxes(1, 2)) * (h1 > 0)
    gradients = []
    for below, above in ((x, to_h1), (h1, to_h2), (h2, down)):
        gradients += [below.swapaxes(1, 2) @ above, above.sum(axis=1, keepdims=True)]
    return (error**2).mean(axis=1), gradients


def adam_step(p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, rate: float, count: int) -> None:
    """Take step number ``count`` (from 1) of Adam (Kingma and Ba 2015) in place; ``g`` is used up as scratch space."""
    m += (1 - BETAS[0]) * (g - m)
    g *= g
    g -= v
    g *= 1 - BETAS[1]
    v += g
    np.sqrt(v, out=g)
    g *= 1 / np.sqrt(1 - BETAS[1] ** count)
    g += TINY
    np.divide(m, g, out=g)
    g *= rate / (1 - BETAS[0] ** count)
    p -= g


def train_step(
    params: Sequence[np.ndarray], kept: Sequence[np.ndarray], moments: Sequence[Sequence[np.ndarray]], x: np.ndarray,
    y: np.ndarray, rate: float, count: int,
) -> None:  # fmt: skip
    """Take step number ``count`` of Adam in place for stacks of networks; what the masks ``kept`` switch off stays."""
    gradients = loss_and_gradient(params, x, y)[1]
    for p, g, m, v, mask in zip(params, gradients, *moments, kept):
        g *= mask
        adam_step(p, g, m, v, rate, count)


def trained(
    width: int,
    sparsities: Sequence[float],
    samples: int,
    teachers: Sequence[Teacher],
    rngs: Sequence[np.random.Generator],
) -> np.ndarray:
    """Train one network for each seed and sparsity on fresh samples, one pass; return test losses (seed, sparsity).

    ``teachers`` and ``rngs`` have one entry a seed. Adam with a rate of `RATE` at width 32, falling with the root of
    the width, and in a straight line to zero over the run. Networks of one seed share samples and order, and differ in
    masks and weights. The test loss is the squared error against the teacher on 4,000 fresh inputs plus the variance of
    the label noise.
    """
    per_seed, rate = len(sparsities), RATE * (32 / width) ** 0.5
    models = [start(width, s, rng) for rng in rngs for s in sparsities]
    params = [np.stack(arrays) for arrays in zip(*(values for values, _ in models))]
    kept = [np.stack(arrays) for arrays in zip(*(mask for _, mask in models))]
    moments = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    steps = samples // BATCH
    data = [rng.uniform(-1, 1, (steps, BATCH, INPUTS)).astype(np.float32) for rng in rngs]
    labels = [
        (teacher(x) + np.sqrt(NOISE_VARIANCE) * rng.standard_normal(x.shape[:2])).astype(np.float32)
        for teacher, x, rng in zip(teachers, data, rngs)
    ]
    for step in range(steps):
        x = np.repeat(np.stack([each[step] for each in data]), per_seed, axis=0)
        y = np.repeat(np.stack([each[step] for each in labels]), per_seed, axis=0)
        train_step(params, kept, moments, x, y, rate * (1 - step / steps), step + 1)
    losses = []
    for k, (teacher, rng) in enumerate(zip(teachers, rngs)):
        x = rng.uniform(-1, 1, (1, 4000, INPUTS)).astype(np.float32)
        own, truth = [p[k * per_seed : (k + 1) * per_seed] for p in params], teacher(x).astype(np.float32)
        losses.append([
            float(((forward([p[[i]] for p in own], x)[-1] - truth) ** 2).mean()) for i in range(per_seed)
        ])  # fmt: skip
    return np.array(losses) + NOISE_VARIANCE


RIVALS = ("sparsity-aware", "dense, all parameters", "dense, active parameters", "free fit for each sparsity")
VARIANTS = ("active parameters", "straight in S")  # the law with N read as active parameters, and `StraightLaw`


def compare_laws(
    n: np.ndarray, d: np.ndarray, s: np.ndarray, loss: np.ndarray, hidden: np.ndarray
) -> dict[str, object]:
    """Fit the law and its rivals to the cells (n,) that are not ``hidden``, and score them on those that are.

    Returns "error": root mean square of log forecast - log loss over the hidden cells for each of `RIVALS` and
    `VARIANTS`; "dense": the same over hidden cells with S = 0 for the sparsity-aware law and for the dense law fitted
    to S = 0 alone, NaN where none is hidden, as happens when sparsities are dealt out at random; "joint", "alone" and
    "active": the parameters of these two and of the first variant.
    """
    seen, dense = ~hidden, s == 0
    active = n * (1 - s)

    def chinchilla(size: np.ndarray, cells: np.ndarray) -> Fit:
        return fit(laws.Chinchilla, {"N": size[cells], "D": d[cells]}, loss[cells], delta=None)

    def sparse(law: Law, size: np.ndarray) -> tuple[Fit, np.ndarray]:
        found = fit(law, {"N": size[seen], "D": d[seen], "S": s[seen]}, loss[seen], delta=None)
        return found, found.predict({"N": size, "D": d, "S": s})

    joint, aware = sparse(SparseLaw, n)
    of_active, by_active = sparse(SparseLaw, active)
    forecasts = {RIVALS[0]: aware, VARIANTS[0]: by_active, VARIANTS[1]: sparse(StraightLaw, n)[1]}
    for name, size in ((RIVALS[1], n), (RIVALS[2], active)):
        forecasts[name] = chinchilla(size, seen).predict({"N": size, "D": d})
    free = np.empty_like(loss)
    for value in np.unique(s):
        mine = s == value
        free[mine] = chinchilla(n, seen & mine).predict({"N": n[mine], "D": d[mine]})
    forecasts[RIVALS[3]] = free
    miss = {name: np.log(values / loss) for name, values in forecasts.items()}
    at, alone = hidden & dense, chinchilla(n, seen & dense)
    missed = [np.full(2, np.nan)] * 2
    if at.any():
        missed = [miss[RIVALS[0]][at], np.log(alone.predict({"N": n[at], "D": d[at]}) / loss[at])]
    return {
        "error": {name: float(np.sqrt((values[hidden] ** 2).mean())) for name, values in miss.items()},
        "dense": [float(np.sqrt((values**2).mean())) for values in missed],
        "joint": joint.params,
        "alone": alone.params,
        "active": of_active.params,
    }

"""Train a whole stack of small torch models at once.

Small networks leave a processor idle: most of the time goes into calling kernels, not into arithmetic. Every tensor here has
a leading axis S, one entry a model, so that one call serves the whole stack. Models in a stack may differ in seed, learning
rate, decay, data and (by zero padding, see `models`) width; they never exchange anything, because the summed loss of
independent models has each model's own gradient.

Shape code: S stack, B batch, D input features, O outputs, N samples of a data set.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scalebook.errors import UserError

Parameters = dict[str, Tensor]
Forward = Callable[[Parameters, Tensor], Tensor]
Schedule = Callable[[int, int], float]


def constant(step: int, steps: int) -> float:
    """Return 1: the learning rate stays at its peak."""
    return 1.0


def warmup_cosine(warmup: float = 0.1, floor: float = 0.05) -> Schedule:
    """Return a schedule: linear rise over the first `warmup` share of the steps, then half a cosine down to `floor`.

    The schedule maps (step, steps), step counted from 0, to a factor of the peak learning rate in (0, 1].
    """

    def factor(step: int, steps: int) -> float:
        rise = max(1, round(warmup * steps))
        if step < rise:
            return (step + 1) / rise
        done = (step - rise) / max(1, steps - rise)
        return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * done))

    return factor


def mean_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of each model (S,); prediction (S, B, ...), target (B, ...) or (S, B, ...)."""
    return (prediction - target).square().flatten(1).mean(dim=1)


def cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean cross-entropy of each model (S,) in nats; logits (S, B, ..., classes), labels (B, ...) or (S, B, ...)."""
    labels = target.expand(prediction.shape[:-1]).unsqueeze(-1)
    return (torch.logsumexp(prediction, dim=-1) - prediction.gather(-1, labels).squeeze(-1)).flatten(1).mean(dim=1)


def stack(modules: Sequence[torch.nn.Module], own_data: bool = False) -> tuple[Parameters, Forward]:
    """Return stacked parameters and the forward pass of modules of one architecture that differ in their values.

    For networks without a stacked form in `models`: any module whose buffers training does not change. The forward pass takes
    x (B, ...), which all models read, or with `own_data` x (S, B, ...), and returns (S, B, ...).
    """
    parameters, buffers = torch.func.stack_module_state(list(modules))
    skeleton = copy.deepcopy(modules[0]).to("meta")

    def one(values: Parameters, constants: Parameters, x: Tensor) -> Tensor:
        return torch.func.functional_call(skeleton, (values, constants), (x,))

    every = torch.func.vmap(one, in_dims=(0, 0, 0 if own_data else None))
    return {name: value.detach() for name, value in parameters.items()}, lambda values, x: every(values, buffers, x)


def log_steps(steps: int, per_decade: int = 4) -> list[int]:
    """Return whole numbers of steps from 1 to `steps`, evenly spaced in the logarithm, both ends included."""
    count = max(1, math.ceil(per_decade * math.log10(max(steps, 2))))
    return sorted({round(10 ** (k * math.log10(steps) / count)) for k in range(count + 1)} | {steps})


@dataclass(frozen=True)
class Optimiser:
    """What one step does to every model of a stack.

    `rate` and `decay` are numbers, or sequences of length S with one value a model. Decay is decoupled: parameters shrink by
    1 - rate*decay before the step, whatever the gradient (Loshchilov and Hutter 2019, arXiv:1711.05101). `undecayed` names
    the parameters that it leaves alone. `kind` is "adam" (moments `betas`, `epsilon`) or "sgd" (heavy-ball `momentum`).
    """

    kind: str = "adam"
    rate: float | Sequence[float] = 1e-3
    decay: float | Sequence[float] = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    momentum: float = 0.0
    schedule: Schedule = constant
    undecayed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.kind not in ("adam", "sgd"):
            raise UserError(f"Optimiser kind {self.kind!r} is not known. Use 'adam' or 'sgd'.")


@dataclass
class Trained:
    """Parameters at the end (name -> (S, ...)), and the history: `steps` (K,) and name -> (K, S) of what was evaluated."""

    parameters: Parameters
    steps: list[int] = field(default_factory=list)
    history: dict[str, Tensor] = field(default_factory=dict)


class Minibatches:
    """Endless minibatches from a data set in memory, each epoch a new order.

    x is (N, ...) shared or (S, N, ...) with one data set a model (`own_data`), y likewise. One generator gives one order that
    all models share, batches (B, ...), the cheapest and the fairest comparison; S generators give every model its own order,
    batches (S, B, ...). A last part of an epoch that fills no batch is left out, as in a data loader with drop_last.
    """

    def __init__(
        self, x: Tensor, y: Tensor, batch: int, generators: Sequence[torch.Generator], own_data: bool = False
    ) -> None:
        self.x, self.y, self.batch, self.generators, self.own_data = x, y, batch, list(generators), own_data
        self.samples = x.shape[1] if own_data else x.shape[0]
        if not 1 <= batch <= self.samples:
            raise UserError(f"A batch of {batch} was asked from {self.samples} samples. Use 1 to {self.samples}.")
        self.order = torch.empty(0)
        self.next = self.samples

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the next batch; `step` is not used, the stream remembers where it is."""
        if self.next + self.batch > self.samples:
            self.order = torch.stack([torch.randperm(self.samples, generator=g) for g in self.generators])
            self.order, self.next = self.order.to(self.x.device), 0
        rows = self.order[:, self.next : self.next + self.batch]  # (1 or S, B)
        self.next += self.batch
        return self._take(self.x, rows), self._take(self.y, rows)

    def _take(self, values: Tensor, rows: Tensor) -> Tensor:
        if not self.own_data:
            return values[rows[0]] if len(rows) == 1 else values[rows]
        return values[torch.arange(values.shape[0], device=values.device)[:, None], rows]


def train(
    parameters: Mapping[str, Tensor],
    forward: Forward,
    loss: Callable[[Tensor, Tensor], Tensor],
    batches: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
    optimiser: Optimiser,
    evaluate: Callable[[Parameters], Mapping[str, Tensor]] | None = None,
    at: Sequence[int] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train every model of a stack for `steps` steps and return parameters and history.

    parameters: name -> (S, ...), copied, not changed. forward: (parameters, x) -> (S, B, ...), x being (B, ...) or
    (S, B, ...) as `batches(step)` gives it. loss: (prediction, target) -> (S,), one mean loss a model. `evaluate` is called
    without gradients after the numbers of steps in `at` (0: before the first) and returns name -> (S,). `progress` is
    called with (steps done, steps) after each. Same inputs, same machine: same result.
    """
    held = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
    update = _Update(held, optimiser)
    wanted = set(at)
    result = Trained(held)
    records: dict[str, list[Tensor]] = {}

    def look(done: int) -> None:
        if evaluate is None or done not in wanted:
            return
        with torch.no_grad():
            for name, value in evaluate(held).items():
                records.setdefault(name, []).append(value.detach().clone())
        result.steps.append(done)

    look(0)
    for step in range(steps):
        x, y = batches(step)
        losses = loss(forward(held, x), y)  # (S,)
        gradients = torch.autograd.grad(losses.sum(), list(held.values()))
        update(gradients, optimiser.schedule(step, steps))
        look(step + 1)
        if progress is not None:
            progress(step + 1, steps)
    result.parameters = {name: value.detach() for name, value in held.items()}
    result.history = {name: torch.stack(values) for name, values in records.items()}
    return result


class _Update:
    """The optimiser's state for one stack and its step, in place."""

    def __init__(self, parameters: Parameters, optimiser: Optimiser) -> None:
        self.optimiser = optimiser
        self.parameters = parameters
        self.first = [torch.zeros_like(p) for p in parameters.values()]
        self.second = [torch.zeros_like(p) for p in parameters.values()] if optimiser.kind == "adam" else []
        stack = {p.shape[0] for p in parameters.values()}
        if len(stack) != 1:
            raise UserError(f"Parameters have stacks of {sorted(stack)} models. Give all the same leading size.")
        self.rate = _per_model(optimiser.rate, stack.pop(), "rate")
        self.decay = _per_model(optimiser.decay, len(self.first[0]), "decay")
        self.taken = 0

    @torch.no_grad()
    def __call__(self, gradients: Sequence[Tensor], factor: float) -> None:
        o = self.optimiser
        self.taken += 1
        for k, ((name, p), g) in enumerate(zip(self.parameters.items(), gradients, strict=True)):
            rate = _broadcast(self.rate, p) * factor
            if o.decay != 0.0 and name not in o.undecayed:
                p.mul_(1.0 - rate * _broadcast(self.decay, p))
            if o.kind == "sgd":
                move = self.first[k].mul_(o.momentum).add_(g) if o.momentum else g
            else:
                self.first[k].lerp_(g, 1.0 - o.betas[0])
                self.second[k].mul_(o.betas[1]).addcmul_(g, g, value=1.0 - o.betas[1])
                scale = (self.second[k] / (1.0 - o.betas[1] ** self.taken)).sqrt_().add_(o.epsilon)
                move = self.first[k].div(scale).div_(1.0 - o.betas[0] ** self.taken)
            if isinstance(rate, Tensor):
                p.sub_(move * rate)
            else:
                p.sub_(move, alpha=rate)


def _per_model(value: float | Sequence[float], stack: int, name: str) -> float | Tensor:
    if isinstance(value, (int, float)):
        return float(value)
    if len(value) != stack:
        raise UserError(f"{name} has {len(value)} values for a stack of {stack} models. Give one number, or {stack}.")
    return torch.as_tensor(value, dtype=torch.float32)


def _broadcast(value: float | Tensor, like: Tensor) -> float | Tensor:
    if not isinstance(value, Tensor):
        return value
    return value.to(device=like.device, dtype=like.dtype).reshape(-1, *[1] * (like.dim() - 1))

"""How much faster a stack trains than its models one after another, one thread on both sides, same losses.

    python benchmarks/ensemble.py            # both comparisons, medians of 5
    python benchmarks/ensemble.py --quick    # one repetition, fewer steps

First: 32 multilayer perceptrons, hidden width 16 to 64, as one padded stack against ordinary modules with torch's AdamW. Second:
the sweep of the chapter on superposition (four widths, two settings of the dial, 256 features), stacked and sparse, against the
same eight models written plainly: dense, automatic differentiation, torch's Adam.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from scalebook.ensemble import Minibatches, Optimiser, mean_squared_error, train
from scalebook.models import mlp, mlp_forward
from scalebook.topics import toy_superposition as toy

WIDTHS = [16 + 48 * k // 31 for k in range(32)]


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def perceptrons(steps: int) -> tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]:
    """Return two functions that train the same 32 networks and return their losses (32,)."""
    x = torch.randn(1024, 8, generator=generator(1))
    y = torch.sin(x.sum(dim=1, keepdim=True))
    start = mlp([(8, width, 1) for width in WIDTHS], [generator(k) for k in range(32)])
    forward = mlp_forward(torch.tanh)

    def stacked() -> torch.Tensor:
        batches = Minibatches(x, y, 64, [generator(2)])
        found = train(start, forward, mean_squared_error, batches, steps, Optimiser(rate=3e-3, decay=0.01))
        return mean_squared_error(forward(found.parameters, x), y)

    def one_after_another() -> torch.Tensor:
        losses = []
        for k, width in enumerate(WIDTHS):
            net = torch.nn.Sequential(torch.nn.Linear(8, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))
            with torch.no_grad():
                for layer, linear in enumerate((net[0], net[2])):
                    linear.weight.copy_(start[f"w{layer}"][k, : linear.in_features, : linear.out_features].T)
                    linear.bias.zero_()
            optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01)
            batches = Minibatches(x, y, 64, [generator(2)])
            for step in range(steps):
                bx, by = batches(step)
                optimiser.zero_grad()
                torch.nn.functional.mse_loss(net(bx), by).backward()
                optimiser.step()
            losses.append((net(x) - y).square().mean().detach())
        return torch.stack(losses)

    return stacked, one_after_another


def superposition(steps: int, n: int = 256, batch: int = 128) -> tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]:
    """Return two functions that train the same eight toy models and return their losses (8,)."""
    p = toy.frequencies("power", n, 1.25)
    models = [(m, gamma) for m in (6, 10, 16, 26) for gamma in (-1.0, 1 / 3)]

    def stacked() -> torch.Tensor:
        found = toy.train(p, models, batch=batch, steps=steps, start=generator(1), data=np.random.default_rng(1))
        return torch.tensor([model.loss for model in found])

    def plain(w: torch.Tensor, b: torch.Tensor, gamma: float) -> torch.Tensor:
        data, schedule = np.random.default_rng(1), toy.warmup_cosine(0.1, 0.05)
        adam = torch.optim.Adam([w, b], lr=1e-2)
        x = torch.zeros(batch, n)
        for step, (sample, feature, value) in enumerate(toy._stream(p, batch, steps, data, "cpu")):
            x.zero_()[sample, feature] = value
            rate = 1e-2 * schedule(step, steps)
            adam.param_groups[0]["lr"] = rate
            adam.zero_grad()
            (torch.relu(x @ w @ w.T + b) - x).square().sum(dim=1).mean().backward()
            with torch.no_grad():
                pull = 1 - 1 / w.norm(dim=1, keepdim=True) if gamma < 0 else 1.0
                w -= rate * abs(gamma) * pull * w
            adam.step()
        total, batches = 0.0, math.ceil(2**14 / batch)
        with torch.no_grad():
            for sample, feature, value in toy._stream(p, batch, batches, data, "cpu"):
                x.zero_()[sample, feature] = value
                total += float((torch.relu(x @ w @ w.T + b) - x).square().sum())
        return torch.tensor(total / (batches * batch))

    def one_after_another() -> torch.Tensor:
        losses, g = [], generator(1)
        starts = {m: (torch.randn(m, n, generator=g) / math.sqrt(m), torch.randn(n, generator=g)) for m in (6, 10, 16, 26)}
        for m, gamma in models:
            w, b = starts[m][0].T.clone().requires_grad_(), starts[m][1].clone().requires_grad_()
            losses.append(plain(w, b, gamma))
        return torch.stack(losses)

    return stacked, one_after_another


def compare(name: str, pair: tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]], repetitions: int) -> float:
    """Print and return the ratio of the medians; refuse a comparison whose losses differ."""
    stacked, one_after_another = pair
    gap = float((stacked() - one_after_another()).abs().max())
    times = [statistics.median(seconds(run) for _ in range(repetitions)) for run in (stacked, one_after_another)]
    ratio = times[1] / times[0]
    print(f"{name}: stacked {times[0]:.2f} s, one after another {times[1]:.2f} s, {ratio:.1f} times faster, losses within {gap:.1e}")
    return ratio


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one repetition, fewer steps")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    repetitions = 1 if quick else 5
    compare("32 perceptrons, hidden width 16 to 64", perceptrons(100 if quick else 300), repetitions)
    compare("8 toy models of the superposition sweep", superposition(50 if quick else 300), repetitions)

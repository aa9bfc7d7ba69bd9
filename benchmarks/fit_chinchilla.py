"""Time the fitter against scipy on the best-known fit there is: approach 3 on the points of the Chinchilla figure.

Both sides do what Besiroglu et al. (2024, arXiv 2404.10102) did: minimise the sum of Huber terms (delta 1e-3) from each
of the 4,500 starts of the published grid, then refit 4,000 bootstrap resamples from the optimum. One process, one
thread. The two take five turns: the fitter does all of it in each, scipy a random part of it, scaled up to the whole.
CPU seconds, so that other work on the machine matters less.

    SCALEBOOK_MIRROR=<folder of published tables> python benchmarks/fit_chinchilla.py [--parts 12]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from scipy.optimize import minimize  # noqa: E402

from scalebook import laws  # noqa: E402
from scalebook.fitting import fit  # noqa: E402

DELTA = 1e-3
GRID = {
    "E": np.exp([-1.0, -0.5, 0.0, 0.5, 1.0]),
    "A": np.exp([0.0, 5.0, 10.0, 15.0, 20.0, 25.0]),
    "B": np.exp([0.0, 5.0, 10.0, 15.0, 20.0, 25.0]),
    "alpha": [0.0, 0.5, 1.0, 1.5, 2.0],
    "beta": [0.0, 0.5, 1.0, 1.5, 2.0],
}
RESAMPLES = 4000
TURNS = 5
TIGHT = {"maxiter": 15_000, "maxfun": 1_000_000, "ftol": 1e-15, "gtol": 1e-10}


def points() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return N, D = C/(6N) and the loss of the 240 points: those below the fifth highest loss."""
    mirror = os.environ.get("SCALEBOOK_MIRROR")
    if not mirror:
        sys.exit("Set SCALEBOOK_MIRROR to the folder that holds besiroglu2024chinchilla/chinchilla_points.csv.")
    table = pd.read_csv(Path(mirror) / "besiroglu2024chinchilla" / "chinchilla_points.csv").astype(float)
    table = table[table["loss"] < table["loss"].nlargest(5).min()]
    n, c = table["params"].to_numpy(), table["flops"].to_numpy()
    return {"N": n, "D": c / (6 * n)}, table["loss"].to_numpy()


def objective(theta, log_n, log_d, log_loss, weights):
    """Return 1e3 times the sum of Huber terms and its gradient: what one writes by hand for scipy."""
    e, a, b, alpha, beta = theta
    terms = np.stack([np.full_like(log_n, e), a - alpha * log_n, b - beta * log_d])
    top = terms.max(axis=0)
    shares = np.exp(terms - top)
    total = shares.sum(axis=0)
    shares /= total
    residual = top + np.log(total) - log_loss
    size = np.abs(residual)
    value = (weights * np.where(size <= DELTA, residual**2 / 2, DELTA * (size - DELTA / 2))).sum()
    slope = weights * np.clip(residual, -DELTA, DELTA)
    pull = shares @ slope
    return 1e3 * value, 1e3 * np.array([*pull, -(slope * shares[1]) @ log_n, -(slope * shares[2]) @ log_d])


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Return the CPU seconds of ``work()`` and its result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", type=int, default=12, help="starts and resamples that scipy does in each turn")
    parts = parser.parse_args().parts
    x, loss = points()
    logs, every = (np.log(x["N"]), np.log(x["D"]), np.log(loss)), np.ones(loss.size)
    rng = np.random.default_rng(0)
    mesh = np.meshgrid(*(np.log(GRID[name]) for name in "EAB"), GRID["alpha"], GRID["beta"], indexing="ij")
    starts = rng.permutation(np.stack(mesh, axis=-1).reshape(-1, 5))
    draws = rng.multinomial(loss.size, every / loss.size, size=TURNS * parts).astype(float)

    def exact(start):
        return minimize(objective, start, (*logs, every), jac=True, method="L-BFGS-B", options=TIGHT)

    def differences(start):
        return minimize(lambda *given: objective(*given)[0], start, (*logs, every), method="L-BFGS-B", options=TIGHT)

    def refit(draw):
        return minimize(objective, optimum, (*logs, draw), jac=True, method="BFGS", options={"gtol": 1e-8})

    seconds, lowest, gaps = {}, np.inf, []
    for turn in range(TURNS):
        mine = slice(turn * parts, (turn + 1) * parts)
        seconds["search", turn], found = timed(lambda: fit(laws.Chinchilla, x, loss, starts=GRID))
        seconds["bootstrap", turn], redrawn = timed(lambda: fit(laws.Chinchilla, x, loss, bootstrap=RESAMPLES))
        optimum = internal(found.params)
        seconds["exact", turn], one = timed(lambda: [exact(start) for start in starts[mine]])
        some = starts[mine][: parts // 4]
        seconds["differences", turn], two = timed(lambda: [differences(start) for start in some])
        seconds["refit", turn], three = timed(lambda: [refit(draw) for draw in draws[mine]])
        lowest = min(lowest, *(result.fun / 1e3 for result in (*one, *two)))
        ours = found.refit(weights=draws[mine])
        for i, (draw, theirs) in enumerate(zip(draws[mine], three)):
            here = internal({name: values[i] for name, values in ours.items()})
            gaps.append(objective(here, *logs, draw)[0] / theirs.fun - 1)

    cost = {name: np.median([seconds[name, turn] for turn in range(TURNS)]) for name, _ in seconds}
    cost["exact"] *= len(starts) / parts
    cost["differences"] *= len(starts) / (parts // 4)
    cost["refit"] *= RESAMPLES / parts
    total = cost["search"] + cost["bootstrap"]
    print(
        f"CPU seconds, one thread, median of {TURNS} turns; scipy's scaled up from {parts}, {parts // 4}, {parts} each"
    )
    print(f"optimum    {found.loss:.9e}, scipy's best {lowest:.9e}; {found.starts}")
    print(
        "           " + ", ".join(f"{k} {v:.5g} (se {redrawn.resamples[k].std():.3g})" for k, v in found.params.items())
    )
    print(f"resamples  loss over scipy's, less 1: {min(gaps):+.1e} to {max(gaps):+.1e} on {len(gaps)}")
    print(
        f"fitter     {cost['search']:.2f} for {len(starts)} starts, {cost['bootstrap']:.2f} for {RESAMPLES} resamples"
    )
    print(f"scipy      {cost['exact']:.0f} for the starts with exact gradients,")
    print(f"           {cost['differences']:.0f} for the starts with finite differences,")
    print(f"           {cost['refit']:.0f} for the resamples with exact gradients")
    print(f"ratio      {(cost['exact'] + cost['refit']) / total:.0f} where scipy has exact gradients throughout")
    print(
        f"           {(cost['differences'] + cost['refit']) / total:.0f} where its starts use differences, as is usual"
    )


def internal(params: dict[str, float]) -> np.ndarray:
    return np.array([*(np.log(params[name]) for name in "EAB"), params["alpha"], params["beta"]])


if __name__ == "__main__":
    main()

"""Measure bias and coverage of the fitter on data simulated from random laws, the truth being known.

For each law, data sets are simulated on a fixed design from random truths, with log-normal noise of 0.2 to 0.5 percent;
each is fitted with the default settings and 400 bootstrap resamples. Wanted: bias under a quarter of a standard error,
and 95 percent intervals that hold the truth in 90 to 98 percent of 200 data sets. Amplitudes are judged on logs.

    python benchmarks/coverage_of_truth.py [--sets 200] [--law Chinchilla]
"""

from __future__ import annotations

import argparse
import os
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402

from scalebook import laws  # noqa: E402
from scalebook.fitting import fit  # noqa: E402

NOISE = (0.002, 0.005)


def sizes_and_tokens() -> dict[str, np.ndarray]:
    """A ladder of eight sizes and eight numbers of tokens, both over three decades."""
    n, d = np.meshgrid(np.logspace(6, 9, 8), np.logspace(8, 11, 8))
    return {"N": n.ravel(), "D": d.ravel()}


def compute_and_multiplier() -> dict[str, np.ndarray]:
    c, m = np.meshgrid(np.logspace(17, 21, 10), np.logspace(0.5, 2.8, 6))
    return {"C": c.ravel(), "M": m.ravel()}


def schedules() -> dict[str, np.ndarray]:
    """A constant rate, and one with a linear cooldown over the last fifth (annealing ends at 0.2 of S1's unit)."""
    s1 = np.concatenate([np.linspace(0.1, 1.0, 30), np.linspace(0.1, 0.9, 30)])
    return {"S1": s1, "S2": np.concatenate([np.zeros(30), np.maximum(np.linspace(0.1, 1.0, 30) - 0.8, 0.0)])}


DECADES = {"x": np.logspace(5, 9, 40)}

# law -> (design, the range from which each parameter of a truth is drawn); every term of the law matters somewhere
CASES = {
    "PowerLaw": (DECADES, {"A": (5, 50), "alpha": (0.05, 0.3)}),
    "PowerFloor": (DECADES, {"E": (1, 2), "A": (30, 100), "alpha": (0.25, 0.4)}),
    "Exponential": ({"x": np.linspace(0.1, 4, 40)}, {"E": (1, 2), "A": (1, 3), "k": (0.7, 1.5)}),
    "Logarithmic": (DECADES, {"a": (6, 8), "b": (0.1, 0.2)}),
    "Chinchilla": (
        sizes_and_tokens(),
        {"E": (1.4, 2), "A": (200, 600), "B": (500, 2500), "alpha": (0.3, 0.4), "beta": (0.3, 0.4)},
    ),
    "Kaplan": (
        sizes_and_tokens(),
        {"Nc": (1e13, 1e14), "Dc": (1e13, 1e14), "alpha_N": (0.06, 0.08), "alpha_D": (0.09, 0.12)},
    ),
    "OverTraining": (
        compute_and_multiplier(),
        {"E": (1.4, 2), "a": (50, 150), "b": (50, 150), "eta": (0.13, 0.18)},
    ),
    "BrokenPower": (
        {"x": np.logspace(4, 10, 80)},
        {"E": (0.3, 0.6), "b": (5, 8), "c0": (0.02, 0.06), "c1": (0.25, 0.4), "d": (1e6, 1e7), "f": (0.3, 0.8)},
    ),
    "Annealing": (schedules(), {"L0": (1.5, 2.5), "A": (0.5, 1), "C": (0.4, 1), "alpha": (0.4, 0.7)}),
}


def simulate(name: str, sets: int, bootstrap: int = 400, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Return parameter -> (bias in standard errors, share of 95 percent intervals that hold the truth)."""
    law, (x, ranges) = getattr(laws, name), CASES[name]
    form = law.bind(law.check_inputs(x))
    rows = []
    for number in range(sets):
        rng = np.random.default_rng([seed, number])
        truth = {parameter: rng.uniform(*ends) for parameter, ends in ranges.items()}
        clean = law(x, truth)
        noise = rng.uniform(*NOISE) * rng.standard_normal(clean.size)
        found = fit(law, x, clean * np.exp(noise), bootstrap=bootstrap)
        row = []
        for parameter in law.parameters:
            scale = np.log if parameter in form.positive else np.asarray
            interval = found.interval(parameter)
            error = (scale(found.params[parameter]) - scale(truth[parameter])) / scale(found.resamples[parameter]).std()
            row.append((error, interval.low <= truth[parameter] <= interval.high))
        rows.append(row)
    values = np.array(rows, dtype=float)  # sets, parameters, 2
    return {p: tuple(values[:, j].mean(axis=0).tolist()) for j, p in enumerate(law.parameters)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--law", choices=CASES, action="append")
    arguments = parser.parse_args()
    for name in arguments.law or CASES:
        start = time.process_time()
        found = simulate(name, arguments.sets)
        shown = "  ".join(f"{p} {bias:+.2f} {cover:.1%}" for p, (bias, cover) in found.items())
        print(f"{name:<14} {shown}   ({time.process_time() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()

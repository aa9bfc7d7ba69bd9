"""How fast the suite trains by size, alone and in stacks, one thread.

    python benchmarks/suite.py            # sizes m0 to m7 alone and m0 to m4 in stacks
    python benchmarks/suite.py --quick    # one repetition of m0 and m3

The clock counts the thread's own processor time, the configurations take turns, medians of 5. Above m1 a stack is no
faster than its members one after another: matrix products are then most of the work, and a stack leaves the cache.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

from scalebook.suite.running import WORKER_ENVIRONMENT

os.environ.update({name: value for name, value in WORKER_ENVIRONMENT.items() if name.endswith("THREADS")})

import numpy as np  # noqa: E402
import torch  # noqa: E402

from scalebook.suite.plan import BATCH, MILLION, Job, Member, Rate  # noqa: E402
from scalebook.suite.training import Trainer  # noqa: E402


def trainer(size: str, stack: int, batch: int) -> Trainer:
    """Return a trainer of a stack of one size on random bytes."""
    text = np.random.default_rng(0).integers(0, 128, 2 * MILLION, dtype=np.uint8)
    members = tuple(Member(str(seed), seed, Rate("fixed", 1e-2), MILLION) for seed in range(stack))
    return Trainer(Job("speed", "L", size, "cooled", members, batch=batch), [1e-2] * stack, text, {})


def main() -> None:
    """Print tokens a second of thread time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one repetition of two sizes")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    cases = [(size, 1, BATCH) for size in ("m0", "m3")] if quick else [
        *((size, stack, BATCH) for size in ("m0", "m1", "m2", "m3", "m4") for stack in (1, 3, 5)),
        *((size, 1, BATCH) for size in ("m5", "m6", "m7")),
        *(("m1", stack, batch) for stack in (1, 3) for batch in (256, 4096)),
    ]
    made = {case: trainer(*case) for case in cases}
    states = {case: made[case].start() for case in cases}
    speeds: dict[tuple, list[float]] = {case: [] for case in cases}
    for repeat in range(-1, 1 if quick else 5):
        for case in cases:
            steps = 0
            started = time.thread_time()
            while time.thread_time() - started < 0.5:
                made[case].step(states[case], np.full(case[1], 1e-2))
                steps += 1
            if repeat >= 0:  # the first round warms up
                speeds[case].append(steps * case[1] * case[2] / (time.thread_time() - started))
    print("size  stack  batch  tokens/s")
    for (size, stack, batch), values in speeds.items():
        print(f"{size:4s}  {stack:5d}  {batch:5d}  {statistics.median(values):8.0f}")


if __name__ == "__main__":
    main()

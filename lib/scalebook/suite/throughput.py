"""Training speed of the shapes of block H, measured once and stored, since a chapter may not time anything."""

from __future__ import annotations

import time

import numpy as np
import torch

from scalebook.suite.plan import BATCH, MILLION, SHAPES_H, Job, Member, Rate
from scalebook.suite.training import Trainer

REPEATS, STEPS, WARM = 8, 20, 5


def measure(train: np.ndarray) -> dict:
    """Return {"tokens_per_second": {shape: [one a repeat]}, ...} of training with 8 sequences of 128 bytes a step.

    One thread; the shapes take turns within each repeat, so that a change of the machine meets them all. The clock
    counts the thread's own processor time and not the time that other programs take.
    """
    trainers = {}
    for name in SHAPES_H:
        job = Job(f"time-{name}", "H", name, "cooled", (Member("", 0, Rate("fixed", 1e-2), MILLION),))
        trainer = Trainer(job, [1e-2], train, {})
        trainers[name] = (trainer, trainer.start())
    speeds: dict[str, list[float]] = {name: [] for name in SHAPES_H}
    for repeat in range(-1, REPEATS):  # the first round warms up and is dropped
        for name, (trainer, state) in trainers.items():
            started = time.thread_time()
            for _ in range(STEPS if repeat >= 0 else WARM):
                trainer.step(state, np.array([1e-2]))
            if repeat >= 0:
                speeds[name].append(round(STEPS * BATCH / (time.thread_time() - started), 1))
    about = {"steps": STEPS, "batch": BATCH, "clock": "thread CPU time", "torch": torch.__version__}
    return about | {"tokens_per_second": speeds}

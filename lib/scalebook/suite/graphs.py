"""The hot loop on a GPU: a step of a stack is one CUDA graph, and several jobs run side by side, each on its stream.

A step of these models is a few hundred kernels of microseconds, so that launching them one by one would cost more than
their work. Everything a step needs is on the GPU: the text, its order, the schedule and the number of the step.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from scalebook.errors import ScalebookError
from scalebook.suite import storage
from scalebook.suite.corpus import CONTEXT
from scalebook.suite.network import layout, token_losses
from scalebook.suite.plan import GPU_BLOCKS, Job
from scalebook.suite.training import BETA1, BETA2, State, Stopped, Trainer, adamw
from scalebook.suite.worker import Worker

SIDE_BY_SIDE = 8  # jobs at a time
CHUNK = 64  # steps handed to the GPU in one go
TENSORS = ("weights", "first", "second", "loss_sum")


class Slot:
    """The fixed memory that one graph works on, for one set of members of a job. Letters as in ``training``."""

    def __init__(self, trainer: GraphTrainer, members: tuple[int, ...], steps: int) -> None:
        device, count = trainer.device, len(members)
        total = layout(trainer.job.shape).total
        self.weights, self.first, self.second = (torch.zeros(count, total, device=device) for _ in range(3))
        self.loss_sum = torch.zeros(count, device=device)
        self.at = torch.zeros(1, dtype=torch.long, device=device)
        self.size, self.shrink = (torch.zeros(count, steps, device=device) for _ in range(2))  # S, steps
        self.scale = torch.ones(steps, device=device)
        orders = np.stack([trainer.orders[k] for k in members])
        self.order = torch.from_numpy(orders).to(device)  # S, windows
        self.batch, self.shape, self.text = trainer.batch, trainer.job.shape, trainer.text
        self.decay = np.array([trainer.job.members[k].decay for k in members])
        self.peaks = trainer.peaks[list(members)]
        self.mask = trainer.mask.to(device) if self.decay.any() else None
        self.within = torch.arange(self.batch, device=device)
        self.bytes = torch.arange(CONTEXT + 1, device=device)
        self.state: State | None = None
        self.unit: np.ndarray | None = None
        self.replay = self._captured() if device.type == "cuda" else self.step

    def step(self) -> None:
        """Take the step of ``Trainer.step`` with every number read from the GPU's memory."""
        windows = self.order.index_select(1, self.at * self.batch + self.within)  # S B
        windows = self.text[windows[..., None] * CONTEXT + self.bytes].long()  # S B T+1
        weights = self.weights.detach().requires_grad_()
        losses = token_losses(weights, windows, self.shape).flatten(1).mean(1)
        (gradient,) = torch.autograd.grad(losses.sum(), weights)
        with torch.no_grad():
            size, scale = self.size.index_select(1, self.at), self.scale.index_select(0, self.at)
            shrink = None if self.mask is None else self.shrink.index_select(1, self.at) * self.mask
            adamw(self.weights, self.first, self.second, gradient, size, scale, shrink)
            self.loss_sum += losses.detach()
            self.at += 1

    def _captured(self) -> Callable[[], None]:
        for _ in range(3):  # libraries set themselves up outside the graph
            self.step()
        torch.cuda.current_stream().synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            self.step()
        return graph.replay

    def load(self, state: State, unit: np.ndarray) -> None:
        """Work on ``state`` from now on; the one before keeps copies of its own."""
        if state.weights is not self.weights:
            if self.state is not None and self.state.weights is self.weights:
                for name in TENSORS:
                    setattr(self.state, name, getattr(self, name).clone())
            for name in TENSORS:
                getattr(self, name).copy_(getattr(state, name))
                setattr(state, name, getattr(self, name))
            self.state = state
        self.at.fill_(state.step)
        if self.unit is not unit:
            steps = np.arange(1, unit.size + 1, dtype=np.float64)
            rate = unit * self.peaks[:, None]
            for table, values in (
                (self.size, -rate / (1 - BETA1**steps)), (self.shrink, rate * self.decay[:, None]),
                (self.scale, np.sqrt(1 - BETA2**steps)),
            ):
                table[..., : unit.size] = torch.from_numpy(values.astype(np.float32)).to(table.device)
            self.unit = unit


class GraphTrainer(Trainer):
    """``Trainer`` on a GPU; on a CPU the same code without the graph, which is what the tests compare.

    Matrix products are in TF32 (10 bits of fraction) where the process allows it.
    """

    eval_windows = 128
    device = torch.device("cuda")

    def __init__(self, job: Job, peaks: list[float], train: np.ndarray, held: Mapping[str, torch.Tensor]) -> None:
        super().__init__(job, peaks, train, {name: windows.to(self.device) for name, windows in held.items()})
        self.text = torch.from_numpy(np.array(train)).to(self.device)
        self.slots: dict[tuple[int, ...], Slot] = {}
        self.steps = max(job.steps(member.tokens) for member in job.members)

    def advance(self, state: State, unit: np.ndarray, until: int) -> Generator[None]:
        """Take the steps up to ``until``, and pause after each chunk that is on its way."""
        key = tuple(state.members)
        if key not in self.slots:
            self.slots.clear()  # a stack only loses members, but for branches that keep them all
            self.slots[key] = Slot(self, key, self.steps)
        slot = self.slots[key]
        slot.load(state, unit)
        flying: list[torch.cuda.Event] = []
        while True:
            count = min(CHUNK, until - state.step)
            for _ in range(count):
                slot.replay()
            state.step += count
            state.loss_steps += count
            if state.step == until:
                return
            if self.device.type == "cuda":
                flying.append(torch.cuda.current_stream().record_event())
            yield
            while len(flying) > 1 and not flying[0].query():
                yield
            del flying[:-1]


class GraphWorker(Worker):
    """A worker whose jobs share one GPU; its seconds are elapsed time over the number of jobs side by side."""

    trainer = GraphTrainer
    saves = False  # gigabytes, and all the other jobs would wait for the disk
    clock = staticmethod(lambda: time.perf_counter() / SIDE_BY_SIDE)

    def __init__(self, deadline: float, table: storage.Table, tell: Callable[..., None]) -> None:
        super().__init__(deadline, table, tell)
        self.name = torch.cuda.get_device_name()


@dataclass
class Active:
    """A job at work: its generator, its stream, and the step it is at."""

    job: Job
    work: Generator[None]
    stream: torch.cuda.Stream
    step: int = 0


def work(jobs: list[Job], law: dict, table: storage.Table, deadline: float, show: Callable[[list[Active]], None]) -> None:
    """Train jobs on the GPU until all are finished or ``deadline`` (time.time()) is there, then with states saved.

    ``show`` is called with the jobs at work after every round. Raises ScalebookError where there is no GPU.
    """
    if not torch.cuda.is_available():
        raise ScalebookError("There is no GPU that PyTorch can use here; leave --gpu out, or use a machine with one.")
    torch.set_num_threads(1)
    active: list[Active] = []

    def tell(event: str, job: str = "", step: int = 0, **_: object) -> None:
        for entry in active:
            if event == "step" and entry.job.name == job:
                entry.step = step

    worker = GraphWorker(deadline, table, tell)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: setattr(worker, "deadline", 0.0))
    waiting = list(jobs)
    while waiting or active:
        while waiting and len(active) < SIDE_BY_SIDE:
            job = waiting.pop(0)
            active.append(Active(job, worker.train(job, law), torch.cuda.Stream()))
        for entry in list(active):
            # The runs of the other blocks were made without it, and a table should not mix the two.
            torch.backends.cuda.matmul.allow_tf32 = entry.job.block in GPU_BLOCKS
            try:
                with torch.cuda.stream(entry.stream):
                    next(entry.work)
            except StopIteration:
                active.remove(entry)
            except Stopped:
                active.remove(entry)
                waiting.clear()
        show(active)

"""One worker process: reads names of jobs, trains them, writes their parts, tells its parent how far it is.

Started by ``running``; one line of JSON per message in both directions. It stops when its parent is gone.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import torch

from scalebook import paths
from scalebook.errors import ScalebookError
from scalebook.suite import corpus, probes, rates, storage, throughput
from scalebook.suite.plan import Job, Member, jobs
from scalebook.suite.training import State, Stopped, Trainer, held_windows

SAVE_SECONDS = 120.0
TELL_SECONDS = 2.0
EVAL_COUNT = 256  # windows of each held-out sample, at every measurement


def machine() -> str:
    """Return the processor's name and the number of cores."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


class Worker:
    """Trains jobs; ``deadline`` is a time.time() after which it stops at the next step.

    ``clock`` counts the seconds that the table reports, ``name`` is the machine in it; ``saves`` says whether the state
    is saved on the way and not only when time is over.
    """

    trainer = Trainer
    saves = True
    clock = staticmethod(time.process_time)

    def __init__(self, deadline: float, table: storage.Table, tell: Callable[..., None]) -> None:
        self.deadline, self.table, self.tell = deadline, table, tell
        self.corpus = corpus.load(table.about.get("corpus"))
        self.held = held_windows(self.corpus.held, EVAL_COUNT)
        self.name = machine()
        self.probes: dict | None = None
        self.parent = os.getppid()

    def train(self, job: Job, law: dict | None) -> Generator[None]:
        """Train what is missing of one job, with a pause wherever it may wait; raises ``Stopped`` when time is over."""
        done = storage.Done(self.table)
        saved_at = storage.work_dir() / "state" / f"{job.name}.pt"
        peaks = [rates.resolve(member.rate, job.shape, law) for member in job.members]
        started, saved, told = self.clock(), time.time(), 0.0

        def finish(
            segment: str, state: State, members: list[Member], rows: list[dict], by_position: torch.Tensor
        ) -> None:
            nonlocal started
            scores = self.score(job, segment, state, members)
            seconds = (self.clock() - started) / len(members)
            date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
            own = [peaks[job.members.index(member)] for member in members]
            described = []
            for place, member in enumerate(members):
                cells = [job.run(member, segment), job.name, date, self.name, torch.__version__, f"{seconds:.1f}"]
                cells += [f"{scores[name][place]:.4f}" if scores else "" for name in storage.PROBES]
                positions = by_position[place].tolist() if job.block == "M" else []
                cells += [f"{loss:.4f}" for loss in positions] or [""] * corpus.CONTEXT
                described.append(cells)
            storage.write_part(job, segment, {
                "stack": job.name, "corpus": self.corpus.hashes, "runs": described,
                "curves": storage.curve_rows(job, segment, members, own, rows),
            })
            started = self.clock()
            self.tell("segment", name=segment)

        trainer = self.trainer(job, peaks, self.corpus.train, self.held)
        state = State.unpack(saved_at.read_bytes()) if saved_at.is_file() else trainer.start()
        for trunk, due in trainer.run(state, lambda segment: done.segment(job, segment), finish):
            now = time.time()
            over = now > self.deadline or os.getppid() != self.parent
            if over or self.saves and (due or now - saved > SAVE_SECONDS):
                paths.atomic_write(saved_at, trunk.pack())
                saved = now
            if over:
                raise Stopped
            if now - told > TELL_SECONDS:
                told = now
                self.tell("step", job=job.name, step=trunk.step)
            yield
        saved_at.unlink(missing_ok=True)

    def time_shapes(self) -> None:
        """Measure the training speed of block H's shapes, once."""
        timed = storage.work_dir() / "throughput.json"
        if "throughput" not in self.table.about and not timed.is_file():
            about = {"machine": self.name, **throughput.measure(self.corpus.train)}
            paths.atomic_write(timed, paths.dump_json(about))

    def score(self, job: Job, segment: str, state: State, members: list[Member]) -> dict[str, list[float]] | None:
        """Return the probe errors of a segment's models, or None where they are not wanted."""
        if not probes.wanted(job, segment, members):
            return None
        if self.probes is None:
            self.probes = probes.items(self.corpus.held)
        return probes.errors(state.weights, job.shape, self.probes)


def tell(event: str, **more: object) -> None:
    """Send one message to the parent."""
    print(json.dumps({"event": event, **more}), flush=True)


def main() -> None:
    """Serve jobs from standard input: {"job": name, "law": {...} or null} a line."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        worker = Worker(float(sys.argv[1]), storage.committed(), tell)
        # Ctrl-C reaches the whole group: the parent alone answers it, and asks its workers to save and stop.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: setattr(worker, "deadline", 0.0))
        known = {job.name: job for job in jobs()}
        tell("ready")
        for line in sys.stdin:
            order = json.loads(line)
            job = known[order["job"]]
            if job.block == "H":
                worker.time_shapes()
            for _ in worker.train(job, order["law"]):
                pass
            tell("done")
    except Stopped:
        tell("stopped")
    except ScalebookError as error:
        tell("failed", message=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()

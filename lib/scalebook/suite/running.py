"""Hand jobs to worker processes, one thread each, and show how far they are. No torch in this process."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from scalebook.errors import ScalebookError, UserError
from scalebook.processes import one_thread, same_arithmetic
from scalebook.suite import corpus, rates, storage
from scalebook.suite.plan import BLOCKS, GPU_BLOCKS, SHAPES, Job, jobs, label

# Training tokens per second of one thread at 2.5 GHz with another beside it, stacked as in the plan, measurements
# included: only for the remaining time shown, which is corrected by what this machine turns out to do.
SPEED = {"m0": 7.5e4, "m1": 6.8e4, "m2": 4.4e4, "m3": 2.8e4, "m4": 1.45e4, "m5": 7.0e3, "m6": 3.8e3, "m7": 1.3e3}
# Freed memory stays with the process: returning large arrays to the system at every step costs a tenth of the time.
WORKER_ENVIRONMENT = {
    **one_thread(), **same_arithmetic(),
    "MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "1073741824", "MALLOC_TOP_PAD_": "67108864",
}
QUIET_TELL_SECONDS = 60.0


def chosen(blocks: str, sizes: str = "") -> list[Job]:
    """Return the jobs of the named blocks in the order of work, of some sizes only where ``sizes`` names any.

    Raises UserError for an unknown letter or size.
    """
    unknown = sorted(set(blocks.upper()) - set(BLOCKS))
    if unknown or not blocks:
        raise UserError(f"There is no block {', '.join(unknown) or '(none given)'}; give letters of {''.join(BLOCKS)}.")
    names = [name.strip() for name in sizes.split(",") if name.strip()]
    strange = sorted(set(names) - set(SHAPES))
    if strange:
        raise UserError(f"There is no size {', '.join(strange)}; give some of {', '.join(SHAPES)} with commas between.")
    return [job for job in jobs() if job.block in blocks.upper() and (not names or job.size in names)]


def expected_seconds(job: Job, tokens: int | None = None) -> float:
    """Return a guess of the core-seconds of a job, or of so many of its training tokens."""
    return (job.trained_tokens() if tokens is None else tokens) / SPEED.get(job.size, SPEED["m3"])


def left_seconds(todo: list[Job], done: storage.Done) -> float:
    """Return a guess of the core-seconds of what is not finished."""
    return sum(expected_seconds(job) * (1 - done.share(job)) for job in todo)


def under_way(job: Job, step: int, done: storage.Done) -> float:
    """Return a guess of the core-seconds in the unfinished part of a job's trunk, ``step`` steps from its start."""
    going = [m for m in job.members if not (job.trunk and done.segment(job, f"{job.schedule}-{label(m.tokens)}"))]
    return expected_seconds(job, 0 if done.job(job) else sum(min(step * job.batch, m.tokens) for m in going))


def current_law(table: storage.Table) -> dict | None:
    """Return the law of the learning rates: the published one, else the one that block L's runs give so far."""
    if table.about.get("law"):
        return table.about["law"]
    return rates.fit(storage.finals(storage.combine(table, storage.read_parts())))


def clock(seconds: float) -> str:
    """Write a duration as 2 h 05 min."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


@contextmanager
def only_one(name: str = "lock") -> Iterator[None]:
    """Hold a lock of the suite's work folder; raises ScalebookError when another process has it."""
    path = storage.work_dir() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        try:
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ScalebookError(
                f"Another `scalebook suite` is at work in {path.parent}; wait for it or stop it first."
            ) from error
        yield


class _Worker:
    """One worker process and the job that it has."""

    def __init__(self, number: int, deadline: float, inbox: queue.Queue) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scalebook.suite.worker", str(deadline)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | WORKER_ENVIRONMENT,
        )
        self.job: Job | None = None
        self.step = 0
        threading.Thread(target=self._listen, args=(number, inbox), daemon=True).start()

    def _listen(self, number: int, inbox: queue.Queue) -> None:
        for line in self.process.stdout:
            inbox.put((number, json.loads(line)))
        inbox.put((number, {"event": "gone", "status": self.process.wait()}))

    def give(self, job: Job, law: dict | None) -> None:
        """Send one job."""
        self.job, self.step = job, 0
        self.process.stdin.write(json.dumps({"job": job.name, "law": law}) + "\n")
        self.process.stdin.flush()


class Progress:
    """Progress and remaining time: one line rewritten on a terminal, one line a minute in a file."""

    def __init__(self, todo: list[Job], done: storage.Done, count: int) -> None:
        self.todo, self.done, self.count = todo, done, count
        self.begun, self.at_start = time.time(), left_seconds(todo, done)
        self.total_runs = sum(len(members) for job in todo for members in job.segments().values())
        self.last = 0.0

    def show(self, workers: list[_Worker], force: bool = False) -> None:
        """Print where the work stands."""
        live = sys.stderr.isatty()
        now = time.time()
        if not force and now - self.last < (1.0 if live else QUIET_TELL_SECONDS):
            return
        self.last = now
        left = left_seconds(self.todo, self.done)
        left -= sum(under_way(worker.job, worker.step, self.done) for worker in workers if worker.job)
        finished = sum(self.done.runs(job) for job in self.todo)
        worked = (now - self.begun) * self.count
        # Two minutes of our own pace outweigh the guess; before that the guess counts.
        pace = (120 + worked) / (120 + self.at_start - left)
        doing = ", ".join(f"{worker.job.name} step {worker.step}" for worker in workers if worker.job)
        text = f"{finished}/{self.total_runs} runs, about {clock(left * max(pace, 0.1) / self.count)} left; {doing}"
        print(f"\r\033[K{text}" if live else text, end="" if live else "\n", file=sys.stderr, flush=True)


def work(blocks: str, count: int, minutes: float | None, sizes: str = "", gpu: bool = False) -> bool:
    """Train what is missing of some blocks; return whether all of it is finished.

    With ``count`` worker processes, or on the GPU. Stops after ``minutes`` with everything saved. Raises UserError for
    blocks that a CPU cannot train in a day, and ScalebookError when the corpus here is not the table's, when a worker
    dies, or when another suite is at work.
    """
    todo = chosen(blocks, sizes)
    heavy = sorted({job.block for job in todo} & set(GPU_BLOCKS))
    if heavy and not gpu:
        raise UserError(f"Block {', '.join(heavy)} would take days on a CPU; add --gpu on a machine that has one.")
    table = storage.committed()
    if table.about.get("corpus"):
        corpus.check(corpus.load(table.about["corpus"]), table.about["corpus"])
    done = storage.Done(table)
    waiting = [job for job in todo if not done.job(job)]
    if not waiting:
        return True
    deadline = time.time() + 60 * minutes if minutes is not None else float("inf")
    if gpu:
        _on_gpu(waiting, table, deadline, Progress(todo, done, 1))
    else:
        _on_cpu(waiting, table, deadline, Progress(todo, done, min(count, len(waiting))))
    return all(done.job(job) for job in todo)


def _on_gpu(waiting: list[Job], table: storage.Table, deadline: float, progress: Progress) -> None:
    from scalebook.suite import graphs

    law = current_law(table)
    if law is None:
        raise ScalebookError("The learning rates come from block L; run `scalebook suite --blocks L` first.")
    with only_one("lock-gpu"):  # the processor of the same machine may train other jobs meanwhile
        graphs.work(waiting, law, table, deadline, progress.show)
    progress.show([], force=True)


def _on_cpu(waiting: list[Job], table: storage.Table, deadline: float, progress: Progress) -> None:
    with only_one():
        corpus.load(table.about.get("corpus"))  # read once here, so that two workers do not write the same cache
        inbox: queue.Queue = queue.Queue()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        workers = [_Worker(number, deadline, inbox) for number in range(progress.count)]
        try:
            _serve(workers, inbox, waiting, table, progress)
        finally:
            for worker in workers:
                worker.process.stdin.close()
                worker.process.terminate()
                worker.process.wait()


def _serve(
    workers: list[_Worker], inbox: queue.Queue, waiting: list[Job], table: storage.Table, progress: Progress
) -> None:
    idle: set[int] = set()
    alive = set(range(len(workers)))
    law = current_law(table)
    while alive:
        for number in sorted(idle):
            law = law or current_law(table)
            ready = next((job for job in waiting if law or not job.needs_rates), None)
            if ready:
                waiting.remove(ready)
                workers[number].give(ready, law)
                idle.discard(number)
        if idle == alive:
            if waiting:
                raise ScalebookError(
                    "The learning rates of these blocks come from block L; add L to --blocks or run it first."
                )
            break
        try:
            number, message = inbox.get(timeout=1.0)
        except queue.Empty:
            progress.show(workers)
            continue
        worker = workers[number]
        if message["event"] in ("ready", "done"):
            worker.job = None
            idle.add(number)
        elif message["event"] == "step":
            worker.step = message["step"]
        elif message["event"] == "failed":
            raise ScalebookError(message["message"])
        elif message["event"] == "stopped":
            worker.job = None
            alive.discard(number)
        elif message["event"] == "gone" and number in alive:
            name = worker.job.name if worker.job else "no job"
            raise ScalebookError(
                f"A worker ended with status {message['status']} while it had {name}. What was finished is kept; run "
                "the same command to go on. Status -9 means that it was killed, often for want of memory."
            )
        progress.show(workers, force=message["event"] == "done")
    progress.show(workers, force=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)


def check() -> None:
    """Train a few published runs again in a process with the workers' arithmetic; its report goes to standard output.

    Raises ScalebookError when they do not agree or cannot be trained here; the process has said why.
    """
    command = [sys.executable, "-m", "scalebook.suite.agreement"]
    if subprocess.run(command, env=os.environ | WORKER_ENVIRONMENT, check=False).returncode:
        raise ScalebookError("The suite's published runs could not be made again here; the reason stands above.")

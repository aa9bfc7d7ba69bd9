"""The microscale suite: parts, tables, and a run that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from scalebook.errors import ScalebookError, UserError
from scalebook.suite import corpus, merging, plan, running, storage, training
from scalebook.suite.plan import Job


@pytest.fixture()
def house(tmp_path, monkeypatch):
    """A repository and a build folder of this test's own."""
    (tmp_path / "data" / "suite").mkdir(parents=True)
    monkeypatch.setenv("SCALEBOOK_ROOT", str(tmp_path))
    monkeypatch.setenv("SCALEBOOK_BUILD", str(tmp_path / "_build"))
    return tmp_path


def make_part(job: Job, segment: str, corpus_hash: str = "c" * 64, val: float = 2.0) -> None:
    """Write a part as a worker does."""
    members = list(job.segments()[segment])
    measured = {"lr_now": 1e-2, "s1": 0.5, "train": val, "val": val}
    rows = [{"member": job.members.index(m), "step": step, **measured} for step in (10, 100) for m in members]
    blank = [""] * (len(storage.PROBES) + 128)
    described = [[job.run(m, segment), job.name, "2025-01-01", "a machine", "2.13.0", "1.0", *blank] for m in members]
    storage.write_part(job, segment, {
        "stack": job.name, "corpus": {"corpus": corpus_hash, "ood1": "d", "ood2": "e"}, "runs": described,
        "curves": storage.curve_rows(job, segment, members, [1e-2] * len(members), rows),
    })


@pytest.fixture()
def small_corpus(monkeypatch):
    """A corpus that needs no reading."""
    text = np.zeros(5000, dtype=np.uint8)
    held = {name: text for name in corpus.HELD_OUT}
    known = corpus.Corpus(text, held, {"corpus": "c" * 64, "ood1": "d", "ood2": "e"}, "3.11.7", 3)
    monkeypatch.setattr(corpus, "load", lambda expected=None: known)
    return known


def read_all(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "data" / "suite").iterdir())}


def test_merge_gives_the_same_bytes_from_the_same_parts(house, small_corpus):
    readme = house / "data" / "suite" / "README.md"
    readme.write_text(f"before\n{merging.BEGIN}\n{merging.END}\nafter\n")
    jobs = plan.jobs()
    make_part(jobs[0], "cooled-1M")
    make_part(jobs[1], "cooled-2M", val=3.0)
    assert merging.merge() == "10 runs in data/suite (10 new)."
    first = read_all(house)
    time.sleep(1.1)  # a time stamp would show
    assert merging.merge() == "10 runs in data/suite (0 new)." and read_all(house) == first
    for path in (house / "_build" / "suite" / "parts").iterdir():
        path.unlink()
    assert merging.merge() == "10 runs in data/suite (0 new)." and read_all(house) == first  # the table alone is enough
    assert "| L | learning rate | 10 | 245 | no | 10 |" in readme.read_text()
    about = json.loads(first["microscale.json"])
    assert about["corpus"]["sha256"]["corpus"] == "c" * 64 and about["blocks"]["L"]["runs"] == 10
    make_part(jobs[0], "cooled-0.5M")
    assert "5 new" in merging.merge()
    table = storage.committed()
    assert list(table.curves) == sorted(table.curves) and len(table.curves) == 15
    row = dict(zip(storage.COLUMNS, table.curves["L-m0-lr3e-3-s1000-cooled-1M"][-1]))
    cells = [row[name] for name in ("n_nonemb", "tokens", "budget", "steps")]
    assert cells == ["6144", "102400", "1000000", "976"]
    assert row["stack"] == "L-m0" and row["val"] == "2.00000" and row["ood1"] == ""


def test_published_rows_stay_when_a_part_has_the_same_run(house, small_corpus):
    job = plan.jobs()[0]
    make_part(job, "cooled-1M")
    merging.merge()
    make_part(job, "cooled-1M", val=9.0)
    merging.merge()
    assert set(storage.finals(storage.committed()).values()) == {2.0}


def test_parts_of_another_corpus_are_refused(house, small_corpus):
    jobs = plan.jobs()
    make_part(jobs[0], "cooled-1M")
    make_part(jobs[1], "cooled-1M", corpus_hash="b" * 64)
    with pytest.raises(ScalebookError, match="L-m1 was trained on corpus bbbbbbbbbbbb.*cccccccccccc.*patch release"):
        merging.merge()


def test_a_torn_part_is_named(house, small_corpus):
    make_part(plan.jobs()[0], "cooled-1M")
    path = storage.part_path(plan.jobs()[0], "cooled-1M")
    path.write_text(path.read_text()[:100])
    with pytest.raises(ScalebookError, match=r"L-m0\.cooled-1M\.json is not a whole part"):
        merging.merge()


def test_nothing_to_merge_is_told(house, small_corpus):
    with pytest.raises(ScalebookError, match="nothing to merge"):
        merging.merge()


def test_committed_runs_and_parts_count_as_done(house, small_corpus):
    job = plan.jobs()[0]
    make_part(job, "cooled-1M")
    assert storage.Done(storage.Table()).segment(job, "cooled-1M")
    merging.merge()
    storage.part_path(job, "cooled-1M").unlink()
    assert not storage.Done(storage.Table()).segment(job, "cooled-1M")
    done = storage.Done(storage.committed())
    assert done.segment(job, "cooled-1M") and not done.job(job) and 0 < done.share(job) < 0.2
    assert "5 of  245 runs finished,    5 in the table" in merging.status("L")


def test_the_time_left_counts_the_run_under_way(house, small_corpus):
    """Half of a trunk of two members is half of its seconds; once a member's part is written, it is counted there."""
    members = tuple(plan.Member("", 1000 + k, plan.Rate("fixed", 0.01), (k + 1) * plan.MILLION) for k in range(2))
    job, done = plan.Job("M-x", "M", "m1", "constant", members), storage.Done(storage.Table())
    half = plan.MILLION // 2 // job.batch
    whole = running.left_seconds([job], done)
    assert running.under_way(job, half, done) == pytest.approx(whole / 3, rel=0.01)  # 0.5 and 0.5 of 1 and 2 million
    make_part(job, "constant-1M")
    left = running.left_seconds([job], done)
    assert left == pytest.approx(2 * whole / 3)
    assert running.under_way(job, half, done) == pytest.approx(left / 4, rel=0.01)
    make_part(job, "constant-2M")
    assert running.under_way(job, half, done) == 0


def test_unknown_blocks_are_refused():
    with pytest.raises(UserError, match="There is no block X; give letters of MLSWBH"):
        running.chosen("MX")
    with pytest.raises(UserError, match="There is no size m77; give some of m0, m1"):
        running.chosen("M", "m0,m77")
    assert {job.size for job in running.chosen("ML", "m3, m4")} == {"m3", "m4"}


def test_a_corpus_carried_from_another_machine_is_used(house, monkeypatch):
    """A machine with another Python continues the table with the text that was brought along."""
    text = np.arange(5000, dtype=np.uint8) % 128
    held = {name: text[:400] for name in corpus.HELD_OUT}
    known = corpus.Corpus(text, held, {"corpus": "c" * 64, "ood1": "d", "ood2": "e"}, "3.11.7", 3)
    corpus.store(known)
    monkeypatch.setattr(corpus.platform, "python_version", lambda: "3.99.1")
    monkeypatch.setattr(corpus, "build", lambda: pytest.fail("the corpus was read from this machine's Python"))
    expected = {"sha256": known.hashes, "python": "3.11.7", "files": 3, "train_bytes": 1}
    assert corpus.load(expected).hashes == known.hashes
    damaged = next((storage.work_dir()).glob("corpus-*-val.npy"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    with pytest.raises(pytest.fail.Exception, match="was read from this machine"):
        corpus.load(expected)


def test_a_table_of_another_corpus_stops_the_work(house, small_corpus):
    make_part(plan.jobs()[0], "cooled-1M")
    merging.merge()
    about = house / "data" / "suite" / "microscale.json"
    about.write_text(about.read_text().replace("c" * 64, "a" * 64))
    with pytest.raises(ScalebookError, match="not the corpus of the table"):
        running.work("L", 1, 0.0)


def test_killed_workers_lose_at_most_the_current_run(house):
    """The real command on a made-up corpus: killed with -9 while it trains, then stopped by its own budget."""
    text = np.random.default_rng(0).integers(0, 128, 2_100_000, dtype=np.uint8)
    held = {name: text[:40_000] for name in corpus.HELD_OUT}
    corpus.store(corpus.Corpus(text, held, {"corpus": "c" * 64, "ood1": "d", "ood2": "e"}, "3.11.7", 3))
    command = [sys.executable, "-m", "scalebook.suite", "--blocks", "L", "--jobs", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    state = storage.work_dir() / "state" / "L-m0.pt"
    until = time.time() + 120
    while not state.is_file() and time.time() < until:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = training.State.unpack(state.read_bytes()).step
    assert before >= 98  # the state is saved before the first branch, which leaves at step 98
    ended = subprocess.run([*command, "--minutes", "0"], capture_output=True, text=True, check=True)
    assert "Stopped; run it again to go on." in ended.stdout
    assert training.State.unpack(state.read_bytes()).step >= before
    assert "0 of  245 runs finished" in merging.status("L") or storage.read_parts()

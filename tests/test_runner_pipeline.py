"""Chapters run for real in a small book: scheduling, failing, being killed, going on, costs, and what a kernel sees.

The tests of the first part share one book and go through its life in order: a run of the workflow takes seconds.
"""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from dummy_book import make_book

from scalebook import processes, runner

WITNESS = """import os, sys, subprocess
seen = {name: os.environ.get(name) for name in
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED", "SCALEBOOK_ROOT", "MKL_CBWR")}
seen["executable"] = sys.executable
seen["hijacked"] = "hijacked" in globals()
seen["here"] = os.getcwd()
print(repr(seen))
"""

BURN = """import subprocess, sys
block = bytearray(200_000_000)
code = "import time\\nend = time.process_time() + 1.0\\nwhile time.process_time() < end: pass"
subprocess.run([sys.executable, "-c", code], check=True)
"""

USES = "if False:\n    from scalebook import Chapter\n    from scalebook.topics import used"


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """Three chapters: alpha uses the library, beta fails, witness reports on its kernel and burns time and memory."""
    made = make_book(tmp_path_factory.mktemp("book"), ("alpha", "beta", "witness"))
    made.write("alpha", USES)
    made.write("beta", "fine = 1", "raise ValueError('too big')")
    made.write("witness", WITNESS, BURN)
    return made


def rows(done: subprocess.CompletedProcess) -> dict[str, dict]:
    """Return the rows that a command printed as JSON, by chapter."""
    return {row["chapter"]: row for row in json.loads(done.stdout)}


def started(done: subprocess.CompletedProcess) -> set[str]:
    """Return the chapters that a command started, from its progress lines."""
    return {line.split("/")[-1] for line in done.stderr.splitlines() if line.startswith("start")}


def output(book, slug: str) -> str:
    cells = json.loads((book.run_folder(slug) / "executed.ipynb").read_text())["cells"]
    return "".join(
        "".join(o["text"]) for cell in cells for o in cell.get("outputs", []) if o["output_type"] == "stream"
    )


@pytest.fixture(scope="module")
def first(book, tmp_path_factory):
    """The first run of all three, with foreign kernels and start-up files lying in wait."""
    foreign = tmp_path_factory.mktemp("home")
    kernel = foreign / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "foreign", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    startup = foreign / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("hijacked = True\n")
    return book.command(
        "run", "alpha", "beta", "witness", "--json",
        JUPYTER_PATH=str(foreign / "jupyter"), JUPYTER_DATA_DIR=str(foreign / "jupyter"),
        IPYTHONDIR=str(foreign / "ipython"), OMP_NUM_THREADS="7",
    )  # fmt: skip


def test_one_failing_chapter_does_not_stop_the_others(book, first):
    assert first.returncode == 1
    found = rows(first)
    assert [found[slug]["verdict"] for slug in ("alpha", "beta", "witness")] == ["reproduced", "not run", "reproduced"]


def test_the_failure_is_reported_last_with_cell_line_and_log(book, first):
    report = first.stderr[first.stderr.index("1 failed") :]
    assert "quick/1000/beta, code cell 3: ValueError: too big" in report
    assert "raise ValueError('too big')" in report
    assert str(book.run_folder("beta") / "log") in report
    assert "ValueError: too big" in (book.run_folder("beta") / "log").read_text()
    assert "Traceback" not in first.stderr
    assert json.loads((book.run_folder("beta") / "failure.json").read_text())["cell"] == 3
    assert (book.run_folder("beta") / "failed.ipynb").is_file()


def test_progress_tells_start_end_verdicts_and_memory(first):
    assert started(first) == {"alpha", "beta", "witness"}
    assert any(
        line.startswith("done") and "1 reproduced" in line and " MB" in line for line in first.stderr.splitlines()
    )


def test_json_rows_have_the_promised_shape(first):
    row = rows(first)["alpha"]
    assert list(row) == sorted(
        ["claim", "paper", "chapter", "fidelity", "verdict", "profile", "seed", "seconds", "measurements"]
    )
    assert (row["claim"], row["profile"], row["seed"], row["seconds"]) == ("alpha.slope", "quick", 1000, 0.25)
    assert row["measurements"][0] == {
        "measure": "slope", "value": 0.5, "low": 0.4, "high": 0.6, "accept_low": 0.0, "accept_high": 1.0
    }  # fmt: skip


def test_the_kernel_is_ours_with_one_thread_and_nobodys_start_up_files(book, first):
    seen = eval(output(book, "witness"))
    assert {seen[f"{name}_NUM_THREADS"] for name in ("OMP", "MKL", "OPENBLAS")} == {"1"}
    assert seen["PYTHONHASHSEED"] == "0"
    assert seen["MKL_CBWR"] == processes.same_arithmetic().get("MKL_CBWR")
    assert seen["executable"] == sys.executable
    assert seen["hijacked"] is False
    assert seen["SCALEBOOK_ROOT"] == str(book.folder) and seen["here"] == str(book.folder / "chapters")


ARITHMETIC = """import numpy, threadpoolctl, torch
from numpy._core._multiarray_umath import __cpu_features__ as known
print(torch.backends.cpu.get_cpu_capability(), known["X86_V3"], known["X86_V4"],
      *(one["architecture"] for one in threadpoolctl.threadpool_info() if one["internal_api"] == "openblas"))
"""


def test_libraries_take_the_arithmetic_that_is_asked_for():
    """Wider instructions of this processor, if it has any, are left alone; PyTorch's answer shows that it listens."""
    asked = processes.same_arithmetic()
    if not asked:
        pytest.skip("needs an x86 processor with AVX2 on Linux")

    def answer(**more):
        command = [sys.executable, "-c", ARITHMETIC]
        return subprocess.run(command, env=os.environ | asked | more, check=True, capture_output=True, text=True).stdout

    assert answer().split()[:4] == ["AVX2", "True", "False", "Haswell"]
    assert answer(ATEN_CPU_CAPABILITY="default").split()[0] == "DEFAULT"


@pytest.mark.parametrize(("text", "asked"), [("flags : fma avx2 avx512f", True), ("flags : sse2 avx", False), (None, False)])
def test_arithmetic_is_only_asked_of_a_processor_that_has_it(tmp_path, monkeypatch, text, asked):
    monkeypatch.setattr(processes, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(processes.platform, "machine", lambda: "x86_64")
    if text:
        (tmp_path / "cpuinfo").write_text(text)
    assert bool(processes.same_arithmetic()) == asked
    monkeypatch.setattr(processes.platform, "machine", lambda: "aarch64")
    assert processes.same_arithmetic() == {}


def test_cost_counts_children_and_peak_memory(book, first):
    cost = json.loads((book.run_folder("witness") / "cost.json").read_text())
    plain = json.loads((book.run_folder("alpha") / "cost.json").read_text())
    assert cost["cpu_seconds"] > plain["cpu_seconds"] + 0.7
    assert cost["peak_rss_mb"] > plain["peak_rss_mb"] + 130
    assert cost["claim_seconds"] == {"witness.slope": 0.25}
    assert {"machine", "python", "torch", "scalebook", "started", "finished", "wall_seconds"} <= set(cost)


def test_nothing_is_left_behind_beside_the_results(book, first):
    assert sorted(path.name for path in book.run_folder("alpha").iterdir()) == [
        "cost.json", "executed.ipynb", "inputs.json", "log", "results.json"
    ]  # fmt: skip
    assert not [path for path in book.run_folder("alpha").parent.iterdir() if path.name.startswith(".")]


def test_the_executed_notebook_names_neither_times_nor_places(book, first):
    text = (book.run_folder("alpha") / "executed.ipynb").read_text()
    assert str(book.folder) not in text and "papermill" not in text and "iopub" not in text


def test_only_what_changed_runs_again_and_what_failed(book, first):
    """Touch and edit modules that nobody imports; then edit one of alpha's, mend beta, break witness."""
    kept = {(slug, name): (book.run_folder(slug) / name).read_bytes() for slug in ("alpha", "witness") for name in
            ("results.json", "executed.ipynb")}  # fmt: skip
    (book.folder / "lib/scalebook/topics/other.py").write_text("other = 2\n")
    os.utime(book.folder / "lib/scalebook/chapter.py")
    second = book.command("run", "alpha", "beta", "witness", "--json")
    assert (second.returncode, started(second)) == (1, {"beta"}), "a failure must not pass for up to date"
    assert "2 of 3 up to date" in second.stderr

    (book.folder / "lib/scalebook/estimate.py").write_text("mean = 2\n")
    book.write("beta", "fine = 1")
    book.write("witness", "1 / 0")
    third = book.command("run", "alpha", "beta", "witness", "--json")
    assert (third.returncode, started(third)) == (1, {"alpha", "beta", "witness"})
    assert "ZeroDivisionError" in third.stderr
    assert [row["verdict"] for row in rows(third).values()] == ["reproduced", "reproduced", "not run"]
    assert not (book.run_folder("beta") / "failure.json").exists()
    again = {(slug, name): (book.run_folder(slug) / name).read_bytes() for slug, name in kept}
    assert again == kept, "same seed, same bytes (alpha); a failing run keeps the earlier results (witness)"


def test_turned_knobs_make_a_run_of_their_own(book, first):
    done = book.command("run", "alpha", "--seed", "7", "-p", "rate=2", "-p", "sizes=[3]", "--json")
    assert done.returncode == 0, done.stderr
    assert rows(done)["alpha"]["measurements"][0]["value"] == 2.0
    (folder,) = book.run_folder("alpha", seed=7).parent.iterdir()
    results = json.loads((folder / "results.json").read_text())
    assert folder.name.startswith("alpha@") and results["seed"] == 7
    assert results["parameters"] == {"width": 8, "rate": 2.0, "sizes": [3.0], "steep": True, "label": "plain"}


def test_seeds_prints_agreement(book, first):
    done = book.command("seeds", "alpha", "--seeds", "2", "--first", "2000", "--json")
    assert done.returncode == 0, done.stderr
    (claim,) = json.loads(done.stdout)
    assert (claim["claim"], claim["agree"]) == ("alpha.slope", 1.0)
    assert [run["seed"] for run in claim["runs"]] == [2000, 2001]
    assert set(claim["runs"][0]) == {"seed", "verdict", "measurements"}


@pytest.mark.parametrize(
    ("executor", "many"), [(None, ["--cores", "3"]), ("slurm", ["--executor", "slurm", "--jobs", "3"])]
)
def test_the_workflow_is_called_with_the_flags_that_survive_trouble(book, monkeypatch, executor, many):
    monkeypatch.setenv("SCALEBOOK_ROOT", str(book.folder))
    monkeypatch.setenv("SCALEBOOK_BUILD", str(book.folder / "_build"))
    command = runner._command([book.run_folder("alpha")], 3, executor)
    assert {"--rerun-incomplete", "--nolock", "--keep-going"} <= set(command)
    assert " ".join(many) in " ".join(command) and ("--cores" in command) == (executor is None)
    assert command[-2:] == ["--", "runs/quick/1000/alpha/inputs.json"]


def alive(marker: str) -> list[str]:
    """Return the command lines of living processes that work for a book or carry a marker in their arguments."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            if process.status() != psutil.STATUS_ZOMBIE and (
                marker in line or process.environ().get("SCALEBOOK_ROOT") == marker
            ):
                found.append(line)
        except psutil.Error:
            continue
    return found


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
def test_stopped_mid_chapter_no_process_stays_and_after_kill_the_next_run_completes(tmp_path, how):
    """Only the command itself is hit: workflow, chapter, kernel and the kernel's own child must go with it."""
    book = make_book(tmp_path, ("alpha",))
    mark = tmp_path / "here"
    slow = (
        "import os, pathlib, subprocess, sys, time\n"
        f"if not pathlib.Path({str(mark)!r}).exists():\n"
        f"    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)', {str(tmp_path)!r}])\n"
        f"    pathlib.Path({str(mark)!r}).write_text('')\n"
        "    time.sleep(300)\n"
    )
    book.write("alpha", slow)
    process = book.start("run", "alpha")
    try:
        wait_for(mark.exists)
        assert len(alive(str(tmp_path))) >= 5
        process.send_signal(how)
        _, err = process.communicate(timeout=120)
        wait_for(lambda: not alive(str(tmp_path)), 10)
    finally:
        process.kill()
        process.wait()
    assert not (book.run_folder("alpha") / "results.json").exists()
    if how is signal.SIGINT:
        assert process.returncode == 130 and "Stopped" in err and "Traceback" not in err
        return
    again = book.command("run", "alpha", "--json")
    assert again.returncode == 0, again.stderr
    assert rows(again)["alpha"]["verdict"] == "reproduced"
    assert not [path for path in book.run_folder("alpha").parent.iterdir() if path.name.startswith(".")]


def test_the_workflow_by_hand_knows_what_changed_too(book, first):
    """Snakemake alone, as on a cluster: after an edit it plans the chapter that imports the module, and no other."""
    (book.folder / "lib/scalebook/fitting.py").write_text("fit = 2\n")
    book.write("beta", "fine = 1")
    (book.folder / "lib/scalebook/topics/used.py").write_text("used = 2\n")
    targets = [f"runs/quick/1000/{slug}/inputs.json" for slug in ("alpha", "beta")]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-s", "workflow/Snakefile", "--directory", "_build", "-n", "--nolock",
         "--quiet", "progress", "--cores", "1", "--", *targets],
        cwd=book.folder, env=book.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "run=alpha" in done.stdout + done.stderr and "run=beta" not in done.stdout + done.stderr

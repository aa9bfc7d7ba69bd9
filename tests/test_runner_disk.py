"""A full disk, a folder without permission, a broken file: a message, exit status 1, and nothing lost."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys

import pytest
from dummy_book import make_book

from scalebook import cli, execution, paths, runs
from scalebook.errors import ScalebookError


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEBOOK_ROOT", str(tmp_path))
    monkeypatch.setenv("SCALEBOOK_BUILD", str(tmp_path / "_build"))
    made = make_book(tmp_path, ("alpha",))
    made.fabricate("alpha", "full", slope=(0.5, 0.4, 0.6))
    return made


def main(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["scalebook", *arguments])
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_ledger_and_no_half_file(book, monkeypatch, capsys, step):
    path = runs.published_path("alpha")
    path.write_text("old")
    before = set(path.parent.iterdir())

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(paths.os, step, full)
    assert main(monkeypatch, "ledger", "--accept", "alpha") == 1
    told = capsys.readouterr().err
    assert "No space left on device" in told and "free space" in told and "Traceback" not in told
    assert path.read_text() == "old" and set(path.parent.iterdir()) == before


def test_a_disk_that_takes_nothing_is_told(book):
    """For real, not patched: the system refuses every write of this process."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    path = runs.published_path("alpha")
    path.write_text("old")
    done = subprocess.run(
        [sys.executable, "-m", "scalebook.cli", "ledger", "--accept", "alpha"],
        env=book.environment, capture_output=True, text=True, preexec_fn=limited,
    )  # fmt: skip
    assert done.returncode == 1
    assert "File too large" in done.stderr and "Traceback" not in done.stderr
    assert path.read_text() == "old"


def test_a_chapter_that_meets_a_full_disk_fails_and_keeps_its_earlier_run(book, monkeypatch):
    before = {path.name: path.read_bytes() for path in book.fabricate("alpha", slope=(0.5, 0.4, 0.6)).iterdir()}

    def notebook(slug, scratch, values, name):
        import nbformat.v4

        (scratch / "results.json").write_text(json.dumps(json.loads(before["results.json"])))
        return nbformat.v4.new_notebook()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(execution, "_run_notebook", notebook)
    monkeypatch.setattr(execution, "_kernel_environment", lambda scratch: {})
    monkeypatch.setattr(paths.os, "fsync", full)
    with pytest.raises(ScalebookError, match="No space left"):
        execution.execute("quick", 1000, "alpha")
    folder = book.run_folder("alpha")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["alpha"]


def test_a_run_is_moved_with_its_stamp_last(book, monkeypatch):
    """A crash between two files must leave a run that counts as unfinished or as old, never as the new one."""
    folder = book.fabricate("alpha", slope=(0.5, 0.4, 0.6))
    scratch = folder.parent / ".alpha.1"
    scratch.mkdir()
    for name in (*runs.FILES, runs.STAMP):
        (scratch / name).write_text("{}")
    moved = []
    monkeypatch.setattr(execution.os, "replace", lambda source, target: moved.append(target.name))
    execution._move(scratch, folder)
    assert moved[-1] == runs.STAMP and set(moved) == {*runs.FILES, runs.STAMP}


def test_old_figures_do_not_survive_a_new_run(book):
    folder = book.fabricate("alpha", slope=(0.5, 0.4, 0.6))
    (folder / "figures").mkdir()
    (folder / "figures" / "old.svg").write_text("old")
    scratch = folder.parent / ".alpha.1"
    (scratch / "figures").mkdir(parents=True)
    (scratch / "figures" / "new.svg").write_text("new")
    execution._move(scratch, folder)
    assert [path.name for path in (folder / "figures").iterdir()] == ["new.svg"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"chapter": "alpha"}'])
def test_a_broken_results_file_is_named_with_the_way_out(book, monkeypatch, capsys, text):
    folder = book.fabricate("alpha", slope=(0.5, 0.4, 0.6))
    (folder / "results.json").write_text(text)
    assert main(monkeypatch, "ledger", "--json") == 1
    told = capsys.readouterr()
    assert str(folder / "results.json") in told.err and "scalebook run alpha --force" in told.err and told.out == ""


@pytest.mark.parametrize("number", ["NaN", "Infinity", '"many"'])
def test_a_measured_value_that_is_no_number_is_refused(book, number):
    folder = book.fabricate("alpha", slope=(0.5, 0.4, 0.6))
    path = folder / "results.json"
    path.write_text(path.read_text().replace("0.5", number))
    with pytest.raises(ScalebookError, match="slope.value"):
        runs.read_results(path)


def test_a_broken_ledger_file_asks_for_the_repository(book, monkeypatch, capsys):
    runs.published_path("alpha").write_text("{")
    assert main(monkeypatch, "ledger", "--profile", "full", "--json") == 1
    assert "Restore it from the repository" in capsys.readouterr().err


def test_a_broken_register_is_named(book, monkeypatch, capsys):
    (book.folder / "data" / "papers" / "alpha.yml").write_text("chapter: [")
    assert main(monkeypatch, "ledger", "--json") == 1
    assert "alpha.yml" in capsys.readouterr().err


def test_a_broken_notebook_fails_alone(book, monkeypatch, capsys):
    """No workflow is started for it, and its message names the file."""
    (book.folder / "chapters" / "alpha.ipynb").write_text("{")
    assert main(monkeypatch, "run", "alpha", "--json") == 1
    assert "chapters/alpha.ipynb cannot be read" in capsys.readouterr().err

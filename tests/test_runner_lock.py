"""One build at a time: who waits is told for whom, and kill -9 frees the lock."""

import subprocess
import sys
import time

import pytest
from dummy_book import make_book

from scalebook.errors import ScalebookError
from scalebook.lock import build_lock

HOLD = """
import sys, time
from scalebook.lock import build_lock
with build_lock("scalebook build --profile full"):
    print("held", flush=True)
    time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEBOOK_ROOT", str(tmp_path))
    monkeypatch.setenv("SCALEBOOK_BUILD", str(tmp_path / "_build"))
    made = make_book(tmp_path, ("alpha",))
    made.fabricate("alpha", slope=(0.5, 0.4, 0.6))
    return made


def holder(book, seconds: float) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(seconds)], stdout=subprocess.PIPE, text=True, env=book.environment
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_command_waits_says_for_whom_and_then_works(book):
    process = holder(book, 2.0)
    began = time.monotonic()
    done = book.command("run", "alpha", "--json")
    assert done.returncode == 0 and process.poll() == 0
    assert f"Waiting for process {process.pid}" in done.stderr and "scalebook build --profile full" in done.stderr
    assert done.stderr.count("Waiting") == 1
    assert time.monotonic() - began > 1.0


def test_no_wait_says_who_and_exits(book):
    process = holder(book, 60)
    try:
        done = book.command("run", "alpha", "--no-wait")
        assert done.returncode == 1 and done.stdout == ""
        assert f"process {process.pid}" in done.stderr and "since 20" in done.stderr and "Try again" in done.stderr
    finally:
        process.kill()
        process.wait()


def test_a_killed_holder_frees_the_lock_whatever_its_note_says(book):
    process = holder(book, 60)
    process.kill()
    process.wait()
    with build_lock("next", wait=False):
        pass


def test_commands_that_only_read_do_not_wait(book):
    process = holder(book, 60)
    try:
        assert book.command("ledger", "--json").returncode == 0
    finally:
        process.kill()
        process.wait()


def test_the_lock_is_not_handed_to_children(book):
    with build_lock("one", wait=False):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with build_lock("two", wait=False):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_build_folder_that_cannot_be_used_is_named(book, monkeypatch):
    (book.folder / "taken").write_text("a file")
    monkeypatch.setenv("SCALEBOOK_BUILD", str(book.folder / "taken"))
    with pytest.raises(ScalebookError, match="taken"), build_lock("one"):
        pass

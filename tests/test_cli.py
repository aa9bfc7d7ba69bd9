"""The command as a reader meets it: exit statuses, messages, what goes to which stream, and how fast it answers."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from dummy_book import make_book

from scalebook import browser, cli
from scalebook.errors import ScalebookError
from scalebook.runner import Failure


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEBOOK_ROOT", str(tmp_path))
    monkeypatch.setenv("SCALEBOOK_BUILD", str(tmp_path / "_build"))
    monkeypatch.setenv("COLUMNS", "200")
    return make_book(tmp_path, ("alpha", "beta"), ("gamma",))


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command in this process; returns exit status, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["scalebook", *arguments])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = end.code or 0
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return status, told.out, told.err

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "alpah"], "Did you mean 'alpha'"),
        (["run", "gamma"], "planned"),
        (["run", "chapters/alpha.ipynb"], "Write 'alpha'"),
        (["run", "/etc/passwd"], "not paths"),
        (["run"], "Missing argument"),
        (["run", "alpha", "--profile", "fast"], "quick, full, large"),
        (["run", "alpha", "--seed", "-1"], "2147483647"),
        (["run", "alpha", "--seed", "2147483648"], "2147483647"),
        (["run", "alpha", "--seed", "1.5"], "--seed"),
        (["run", "alpha", "--jobs", "0"], "at least 1"),
        (["run", "alpha", "--jobs", "many"], "--jobs"),
        (["run", "alpha", "-p", "width=wide"], "a whole number"),
        (["run", "alpha", "-p", "depth=3"], "width, rate"),
        (["run", "alpha", "-p", "seed=3"], "--seed"),
        (["run", "alpha", "--what"], "--what"),
        (["build", "--profile", "fast"], "quick, full, large"),
        (["build", "--jobs", "-2"], "at least 1"),
        (["site", "--profile", "fast"], "quick, full, large"),
        (["ledger", "--profile", "fast"], "quick, full, large"),
        (["ledger", "--accept", "alpah"], "Did you mean 'alpha'"),
        (["ledger", "--accept", "alpha", "--profile", "quick"], "Only full runs"),
        (["ledger", "--accept", "alpha", "--seed", "7"], "from 1000"),
        (["seeds", "alpha", "--seeds", "0"], "at least 1"),
        (["seeds", "alpha"], "--seeds"),
        (["seeds", "alpha", "--seeds", "2", "--first", "2147483647"], "2147483647"),
        (["seeds", "nothing", "--seeds", "2"], "scalebook list"),
        (["drift", "--profile", "fast"], "quick, full, large"),
        (["drift", "nothing"], "scalebook list"),
        (["new", "alpha"], "begun already"),
        (["new", "Gamma!"], "small letters"),
        (["new", "../gamma"], "small letters"),
        (["new", "gama"], "Did you mean 'gamma'"),
        (["nothing"], "nothing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_exits_with_2_and_says_what_is_allowed(book, call, arguments, expected):
    status, out, err = call(*arguments)
    assert status == 2 and out == ""
    assert expected in " ".join(err.replace("│", "").split())
    assert not (book.folder / "_build").exists(), "a wrong call must not begin anything"


def test_an_unforeseen_error_is_a_message_and_debugging_shows_it(book, call, monkeypatch):
    def broken():
        raise RuntimeError("beyond us")

    monkeypatch.setattr("scalebook.register.parts", broken)
    status, _, err = call("list")
    assert status == 1 and "beyond us" in err and "SCALEBOOK_DEBUG=1" in err
    monkeypatch.setenv("SCALEBOOK_DEBUG", "1")
    with pytest.raises(RuntimeError):
        call("list")


def test_no_book_here(call, monkeypatch, tmp_path):
    monkeypatch.setenv("SCALEBOOK_ROOT", str(tmp_path))
    status, _, err = call("list")
    assert status == 1 and "chapters.yml" in err


def test_list_shows_what_is_written_and_what_is_planned(book, call):
    status, out, _ = call("list")
    assert status == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "written" in lines["alpha"] and "planned" in lines["gamma"]


class TestBuild:
    """`build` with chapters and site replaced: the order of work and the report."""

    @pytest.fixture
    def replaced(self, book, monkeypatch):
        book.fabricate("alpha", slope=(0.5, 0.4, 0.6))
        calls = []

        def run_all(wanted, **options):
            calls.append(("run", [item.name for item in wanted], options["jobs"], options["executor"]))
            return [Failure("quick/1000/beta", "ValueError: too big", 3, Path("somewhere/log"))] if self.failing else []

        def build_site(profile, seed):
            calls.append(("site", profile, seed))
            if self.site_fails:
                raise ScalebookError("page x has a broken link")
            return book.folder / "_build" / "html" / "index.html"

        monkeypatch.setattr("scalebook.runner.run_all", run_all)
        monkeypatch.setattr("scalebook.site.build_site", build_site)
        return calls

    failing = site_fails = False

    def test_runs_every_written_chapter_then_the_site_then_shows_table_and_page(self, replaced, call):
        status, out, _ = call("build", "--jobs", "3")
        assert status == 0
        assert replaced == [("run", ["quick/1000/alpha", "quick/1000/beta"], 3, None), ("site", "quick", 1000)]
        assert "alpha" in out and "1 reproduced" in out and "1 not run" in out
        assert out.rstrip().splitlines()[-1].startswith("Open file:///") and out.rstrip().endswith(
            "_build/html/index.html"
        )

    def test_executor_and_profile_are_passed_on(self, replaced, call):
        assert call("build", "--profile", "full", "--executor", "slurm")[0] == 0
        assert replaced[0][1] == ["full/1000/alpha", "full/1000/beta"] and replaced[0][3] == "slurm"
        assert replaced[1] == ("site", "full", 1000)

    def test_as_many_chapters_at_a_time_as_cores(self, replaced, call):
        call("build")
        assert replaced[0][2] == len(os.sched_getaffinity(0))

    def test_a_failing_chapter_still_gets_a_site_and_ends_with_1(self, replaced, call, monkeypatch):
        monkeypatch.setattr(type(self), "failing", True)
        status, out, err = call("build")
        assert status == 1 and "Open file:" in out
        assert "1 failed" in err and "beta, code cell 3: ValueError: too big" in err and "somewhere/log" in err

    def test_a_failing_site_still_shows_the_verdicts(self, replaced, call, monkeypatch):
        monkeypatch.setattr(type(self), "site_fails", True)
        status, out, err = call("build")
        assert status == 1 and "1 reproduced" in out and "Open" not in out
        assert "broken link" in err


def test_new_writes_a_notebook_with_every_section_and_claim(book, call):
    import nbformat

    from scalebook import parameters
    from scalebook.exercises import check

    status, out, _ = call("new", "gamma")
    assert status == 0 and out.count("wrote") == 3
    notebook = nbformat.read(book.folder / "chapters" / "gamma.ipynb", as_version=4)
    nbformat.validate(notebook)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert text.startswith("# The chapter gamma\n\n**What?**")
    for section in ("## A paper", "## The control", "## What a laptop cannot show", "## Exercises", "## References"):
        assert section in text
    assert '"gamma.slope",\n    slope=Estimate.missing' in text and "extra=" in text and "seconds=" in text
    assert parameters.defaults("gamma") == {"profile": "quick", "seed": 1000}
    assert [cell for cell in notebook.cells if "key-figure" in cell.metadata.get("tags", [])]
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert [source for source in code if "import" in source] == [code[1]], "only the set-up cell imports"
    for source in code:
        compile(source, "cell", "exec")
    assert "gamma2020" in (book.folder / "chapters" / "gamma.bib").read_text()
    assert check("gamma.e1").state == "your turn"
    assert call("new", "gamma")[0] == 2


def test_doctor_finds_python_kernel_and_lock(book, call, monkeypatch):
    from scalebook import doctor

    status, out, _ = call("doctor")
    assert status == 0
    for name in ("Python", "packages", "disk", "kernel", "PyTorch", "data mirror", "browser"):
        assert name in out
    assert "numpy" in out and "instead of 1" in out, "the small book's lock is not ours"
    monkeypatch.setattr(doctor, "NEEDED_GB", 1e9)
    monkeypatch.setattr(doctor, "_kernel", lambda: doctor.Check("kernel", "missing", "no"))
    status, out, _ = call("doctor")
    assert status == 1 and out.count("missing") == 2


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["ledger", "--json"], ["run", "--help"]], ids=" ".join)
def test_quick_answers_load_nothing_heavy(arguments):
    """Start-up under 1.5 s of processor time, and neither torch nor pandas nor papermill in memory."""
    code = (
        "import sys\nfrom scalebook import cli\n"
        f"sys.argv = ['scalebook', *{arguments!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "names = {'torch', 'pandas', 'papermill', 'snakemake', 'matplotlib', 'nbformat', 'IPython'}\n"
        "heavy = names & set(sys.modules)\n"
        "print('heavy', sorted(heavy), file=sys.stderr)\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCALEBOOK")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "heavy []" in done.stderr
    limit = 3.0 if "--json" in arguments else 1.5  # the ledger reads all 37 files of the register
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < limit


class TestBrowser:
    """Where a browser is looked for, and how one is installed; nothing is installed here."""

    def program(self, folder: Path, name: str) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    @pytest.fixture
    def bare(self, tmp_path, monkeypatch):
        monkeypatch.delenv("CHROME", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "cache"))
        monkeypatch.setattr(browser, "USUAL", ())
        return tmp_path

    def test_the_order(self, bare, monkeypatch):
        assert browser.find() is None
        cached = self.program(bare, "cache/chromium-1200/chrome-linux64/chrome")
        assert browser.find() == cached
        google = self.program(bare, "bin/google-chrome")
        assert browser.find() == google
        chromium = self.program(bare, "bin/chromium")
        assert browser.find() == chromium
        wished = self.program(bare, "elsewhere/mine")
        monkeypatch.setenv("CHROME", str(wished))
        assert browser.find() == wished

    def test_a_wish_that_is_no_program_is_refused(self, bare, monkeypatch):
        monkeypatch.setenv("CHROME", "/nowhere/chrome")
        with pytest.raises(ScalebookError, match="/nowhere/chrome"):
            browser.find()

    @pytest.mark.parametrize(("user", "expected"), [(0, ["apt-get", "apt-get", "playwright"]), (1000, ["playwright"])])
    def test_installing_as_root_and_as_anyone(self, bare, monkeypatch, user, expected):
        self.program(bare, "bin/apt-get")
        monkeypatch.setattr(browser.os, "geteuid", lambda: user)
        calls = []

        def run(command, **_):
            calls.append("playwright" if "playwright" in command else Path(command[0]).name)
            return subprocess.CompletedProcess(command, 1 if command[-1] == "chromium" else 0, "", "no network")

        said = []
        monkeypatch.setattr(browser.subprocess, "run", run)
        assert browser.ensure(said.append) is None
        assert calls == expected
        assert any("no network" in text for text in said)

    def test_nothing_is_installed_where_there_is_one(self, bare, monkeypatch):
        chromium = self.program(bare, "bin/chromium")
        monkeypatch.setattr(browser.subprocess, "run", lambda *_, **__: pytest.fail("nothing to install"))
        assert browser.ensure() == chromium


def test_json_is_all_there_is_on_standard_output(book, call):
    book.fabricate("alpha", slope=(0.5, 0.4, 0.6))
    status, out, err = call("run", "alpha", "--json")
    assert status == 0 and len(json.loads(out)) == 1
    assert "up to date" in err

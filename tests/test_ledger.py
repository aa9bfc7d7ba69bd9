"""The ledger: rows of every claim, accepting a full run, drift against what was accepted, agreement over seeds."""

import json
import shutil
import sys

import pytest
from dummy_book import make_book

from scalebook import cli, drift, ledger, runs, seeds
from scalebook.errors import ScalebookError, UserError

ROW = {"claim", "paper", "chapter", "fidelity", "verdict", "profile", "seed", "seconds", "measurements"}
MEASUREMENT = {"measure", "value", "low", "high", "accept_low", "accept_high"}


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEBOOK_ROOT", str(tmp_path))
    monkeypatch.setenv("SCALEBOOK_BUILD", str(tmp_path / "_build"))
    monkeypatch.setenv("COLUMNS", "200")
    return make_book(tmp_path, ("alpha", "beta"), ("gamma",))


def main(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["scalebook", *arguments])
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    return 0


def of(rows, slug):
    return next(row for row in rows if row["chapter"] == slug)


@pytest.mark.parametrize("profile", ["quick", "full", "large"])
def test_the_books_own_ledger_has_every_claim_once(monkeypatch, capsys, profile):
    monkeypatch.delenv("SCALEBOOK_ROOT", raising=False)
    assert main(monkeypatch, "ledger", "--profile", profile, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 374 == len({row["claim"] for row in rows})
    assert len({row["paper"] for row in rows}) == 195 and len({row["chapter"] for row in rows}) == 37
    for row in rows:
        assert set(row) == ROW and row["profile"] == profile
        assert row["verdict"] in ("reproduced", "not reproduced", "inconclusive", "not run", "planned")
        assert row["measurements"] and all(set(m) == MEASUREMENT for m in row["measurements"])
        if row["verdict"] == "planned":
            assert row["seconds"] is None and all(m["value"] is None for m in row["measurements"])
            assert any(m["accept_low"] is not None or m["accept_high"] is not None for m in row["measurements"])


def test_planned_not_run_and_measured(book):
    book.fabricate("alpha", slope=(0.5, 0.4, 0.6), seconds=(3.0, 3.0, 3.0))
    rows = ledger.book_rows("quick")
    assert [row["verdict"] for row in rows] == ["reproduced", "not run", "planned"]
    measured = of(rows, "alpha")
    assert measured["seconds"] == 0.75 and measured["seed"] == 1000
    assert measured["measurements"] == [
        {"measure": "slope", "value": 0.5, "low": 0.4, "high": 0.6, "accept_low": 0.0, "accept_high": 1.0},
        {"measure": "extra", "value": None, "low": None, "high": None, "accept_low": None, "accept_high": None},
        {"measure": "seconds", "value": 3.0, "low": 3.0, "high": 3.0, "accept_low": None, "accept_high": None},
    ]
    planned = {m["measure"]: (m["accept_low"], m["accept_high"]) for m in of(rows, "gamma")["measurements"]}
    assert planned == {"slope": (0.0, 1.0), "seconds": (None, 9.0), "extra": (None, None)}


def test_full_shows_the_published_values_and_not_this_build(book):
    book.fabricate("alpha", "full", slope=(0.5, 0.4, 0.6))
    assert of(ledger.book_rows("full"), "alpha")["verdict"] == "not run"
    ledger.accept("alpha")
    book.fabricate("alpha", "full", verdict="not reproduced", slope=(5, 4, 6))
    row = of(ledger.book_rows("full"), "alpha")
    assert row["verdict"] == "reproduced" and row["seconds"] == 0.75 and row["measurements"][0]["value"] == 0.5


def test_large_reads_the_builds_large_runs(book):
    book.fabricate("beta", "large", verdict="inconclusive", slope=(0.5, -1, 2))
    assert [row["verdict"] for row in ledger.book_rows("large")] == ["not run", "inconclusive", "planned"]


class TestAccept:
    """Only a complete and current full run is published, of seed 1000 unless another is named."""

    def test_it_writes_the_ledger_file_the_same_way_every_time(self, book):
        book.fabricate("alpha", "full", slope=(0.5, 0.4, 0.6))
        path = ledger.accept("alpha")
        text = path.read_text()
        ledger.accept("alpha")
        assert path.read_text() == text and text.endswith("\n")
        assert path == book.folder / "data" / "ledger" / "alpha.json"
        content = json.loads(text)
        assert (content["chapter"], content["profile"], content["seed"]) == ("alpha", "full", 1000)
        assert content["cost"] == {"cpu_seconds": 1.5, "peak_rss_mb": 99.0} and content["machine"] == "a machine"
        assert content["claims"]["alpha.slope"]["seconds"] == 0.75
        assert content["claims"]["alpha.slope"]["measurements"]["slope"]["value"] == 0.5

    def test_a_missing_run(self, book):
        book.fabricate("alpha", "quick", slope=(0.5, 0.4, 0.6))
        book.fabricate("alpha", "full", seed=7, slope=(0.5, 0.4, 0.6))
        with pytest.raises(ScalebookError, match="scalebook run alpha --profile full"):
            ledger.accept("alpha")
        with pytest.raises(UserError, match="from 1000"):
            ledger.accept("alpha", 7)

    def test_another_seed_is_published_by_name_and_compared_with_itself(self, book):
        book.fabricate("alpha", "full", slope=(0.5, 0.4, 0.6))
        with pytest.raises(ScalebookError, match="run alpha --profile full --seed 2000"):
            ledger.accept("alpha", 2000)
        book.fabricate("alpha", "full", seed=2000, slope=(0.8, 0.7, 0.9))
        content = json.loads(ledger.accept("alpha", 2000).read_text())
        assert content["seed"] == 2000 and content["claims"]["alpha.slope"]["measurements"]["slope"]["value"] == 0.8
        assert [one.moved for one in drift.compare("full", ["alpha"])] == [()]
        shutil.rmtree(runs.run_dir("full", 2000, "alpha"))
        with pytest.raises(ScalebookError, match="run alpha --profile full --seed 2000"):
            drift.compare("full", ["alpha"])

    def test_an_unfinished_run(self, book):
        (book.fabricate("alpha", "full", slope=(0.5, 0.4, 0.6)) / runs.STAMP).unlink()
        with pytest.raises(ScalebookError, match="not finished"):
            ledger.accept("alpha")

    def test_a_run_older_than_its_inputs(self, book):
        book.fabricate("alpha", "full", slope=(0.5, 0.4, 0.6))
        with (book.folder / "data" / "papers" / "alpha.yml").open("a") as file:
            file.write("# amended\n")
        with pytest.raises(ScalebookError, match="data/papers/alpha.yml"):
            ledger.accept("alpha")

    @pytest.mark.parametrize(("complete", "measured"), [(True, {}), (False, {}), (False, {"slope": (0.5, 0.4, 0.6)})])
    def test_an_incomplete_run(self, book, complete, measured):
        book.fabricate("alpha", "full", complete=complete, **measured)
        with pytest.raises(ScalebookError, match="not complete"):
            ledger.accept("alpha")

    def test_nothing_is_written_when_refused(self, book):
        with pytest.raises(ScalebookError):
            ledger.accept("alpha")
        assert not list((book.folder / "data" / "ledger").iterdir())


class TestDrift:
    """Measures move when intervals part; only a changed verdict is an error."""

    @pytest.fixture(autouse=True)
    def published(self, book):
        book.fabricate("alpha", "full", slope=(0.5, 0.4, 0.6), extra=(2.0, 2.0, 2.0), seconds=(3.0, 2.9, 3.1))
        ledger.accept("alpha")

    def test_the_same_run_does_not_drift(self, monkeypatch, capsys):
        assert main(monkeypatch, "drift") == 0
        assert "0 verdicts changed, 0 measures moved" in capsys.readouterr().out

    def test_overlapping_intervals_have_not_moved_and_parted_ones_have(self, book, monkeypatch, capsys):
        book.fabricate("alpha", "full", slope=(0.7, 0.6, 0.8), extra=(2.0, 2.0, 2.0))
        assert not drift.compare("full")[0].moved
        book.fabricate("alpha", "full", slope=(0.7, 0.61, 0.8), extra=(2.0, 2.0, 2.0))
        assert [moved.measure for moved in drift.compare("full")[0].moved] == ["slope"]
        assert main(monkeypatch, "drift") == 0, "moved alone is no error"
        assert "0.5 [0.4, 0.6] -> 0.7 [0.61, 0.8]" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("value", "expected"), [(2.0 + 1e-6, []), (2.0 + 1e-5, ["extra"]), (2.0 - 1e-5, ["extra"])]
    )
    def test_exact_measures_move_by_more_than_a_millionth(self, book, value, expected):
        book.fabricate("alpha", "full", slope=(0.5, 0.4, 0.6), extra=(value, value, value))
        assert [moved.measure for moved in drift.compare("full")[0].moved] == expected

    def test_times_are_left_out(self, book):
        book.fabricate("alpha", "full", slope=(0.5, 0.4, 0.6), extra=(2.0, 2.0, 2.0), seconds=(90.0, 89.0, 91.0))
        (found,) = drift.compare("full")
        assert not found.moved and not found.changed

    def test_a_verdict_that_changed_through_times_alone_is_not_a_change(self, book):
        book.fabricate(
            "alpha",
            "full",
            verdict="not reproduced",
            slope=(0.5, 0.4, 0.6),
            extra=(2.0, 2.0, 2.0),
            seconds=(90.0, 89.0, 91.0),
        )
        assert not drift.compare("full")[0].changed

    def test_a_changed_verdict_exits_with_1(self, book, monkeypatch, capsys):
        book.fabricate("alpha", "full", verdict="not reproduced", slope=(3.0, 2.9, 3.1), extra=(2.0, 2.0, 2.0))
        assert main(monkeypatch, "drift", "alpha") == 1
        out = capsys.readouterr().out
        assert "alpha.slope" in out and "not reproduced" in out and "1 verdicts changed" in out

    def test_values_that_vanish_have_moved_and_missing_claims_changed(self, book):
        book.fabricate("alpha", "full", slope=(0.5, 0.4, 0.6), extra=(None, None, None))
        assert [moved.measure for moved in drift.compare("full")[0].moved] == ["extra"]
        book.fabricate("alpha", "full")
        assert drift.compare("full")[0].found == "not run"

    def test_another_profile_is_refused(self, book, monkeypatch, capsys):
        book.fabricate("alpha", "quick", slope=(0.5, 0.4, 0.6))
        assert main(monkeypatch, "drift", "--profile", "quick") == 2
        assert "scalebook drift --profile full" in capsys.readouterr().err

    def test_a_run_that_says_another_profile_than_its_folder_is_refused(self, book):
        folder = book.fabricate("alpha", "full", slope=(0.5, 0.4, 0.6))
        path = folder / "results.json"
        path.write_text(path.read_text().replace('"full"', '"quick"'))
        with pytest.raises(UserError, match="says profile quick"):
            drift.compare("full")

    def test_what_is_missing_is_said(self, book, monkeypatch, capsys):
        (book.run_folder("alpha", "full") / "results.json").unlink()
        assert main(monkeypatch, "drift") == 1
        assert "scalebook run alpha --profile full" in capsys.readouterr().err
        assert main(monkeypatch, "drift", "beta") == 1
        assert "scalebook ledger --accept beta" in capsys.readouterr().err

    def test_an_old_run_is_refused(self, book, monkeypatch, capsys):
        book.write("alpha", "edited = 1")
        assert main(monkeypatch, "drift") == 1
        assert "older than its inputs" in capsys.readouterr().err


def test_agreement_is_the_share_of_the_commonest_verdict(book):
    for seed, verdict in ((1000, "reproduced"), (1001, "reproduced"), (1002, "inconclusive")):
        book.fabricate("alpha", seed=seed, verdict=verdict, slope=(seed / 2000, 0.4, 0.6))
    (claim,) = seeds.agreement("quick", [1000, 1001, 1002, 1003], "alpha")
    assert claim["claim"] == "alpha.slope" and claim["agree"] == 0.5
    assert [run["verdict"] for run in claim["runs"]] == ["reproduced", "reproduced", "inconclusive", "not run"]
    assert claim["runs"][1]["measurements"][0]["value"] == 0.5005

"""The register loads whole, and what does not fit is refused with the place, what is given and what is allowed."""

from __future__ import annotations

import copy
import datetime
import shutil
from pathlib import Path

import pytest
import yaml

from scalebook import register
from scalebook.errors import UserError
from scalebook.register import RegisterError

ROOT = Path(__file__).resolve().parents[1]

CHAPTERS = (
    "adapters compound_scaling compute_optimal concept_geometry data_mixtures data_pruning data_sources diffusion "
    "embeddings emergence evaluation feature_learning fitting high_dimension hyperbolic interactions "
    "intrinsic_dimension inverse_scaling magnitude multidimensional_scaling nature power_laws quantization regimes "
    "reinforcement retrieval schedules self_supervised state_space step_sizes superposition test_time_generation "
    "test_time_reasoning trust u_shaped_networks visual_measurement visual_tokens"
).split()


@pytest.fixture
def book(tmp_path, monkeypatch) -> Path:
    """A book of its own that holds one register and the contents, to be broken freely."""
    (tmp_path / "data" / "papers").mkdir(parents=True)
    shutil.copy(ROOT / "data" / "papers" / "superposition.yml", tmp_path / "data" / "papers")
    shutil.copy(ROOT / "data" / "chapters.yml", tmp_path / "data")
    monkeypatch.setenv("SCALEBOOK_ROOT", str(tmp_path))
    return tmp_path


def rewrite(book: Path, change) -> None:
    path = book / "data" / "papers" / "superposition.yml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def claim_of(content: dict) -> dict:
    return content["papers"][0]["claims"][0]


# ---------------------------------------------------------------- what is there


def test_every_chapter_paper_and_claim_is_there():
    registers = register.load_all()
    assert sorted(registers) == sorted(CHAPTERS)
    assert sum(len(r.papers) for r in registers.values()) == 195
    assert sum(1 for r in registers.values() for _ in r.claims()) == 374


def test_keys_and_ids_are_unique_and_no_title_is_doubled():
    papers = [paper for r in register.load_all().values() for paper in r.papers]
    claims = [claim.id for paper in papers for claim in paper.claims]
    for names in ([p.key for p in papers], [p.title.lower() for p in papers], claims):
        assert len(set(names)) == len(names)
    arxiv = [paper.arxiv for paper in papers if paper.arxiv]
    assert len(set(arxiv)) == len(arxiv) == 193


def test_every_claim_was_registered_before_the_book_ran_and_none_is_amended_unexplained():
    for r in register.load_all().values():
        for _, claim in r.claims():
            assert claim.registered == datetime.date(2026, 11, 26)
            assert all(amendment.date >= claim.registered and amendment.why for amendment in claim.amended)


def test_a_profile_without_units_is_not_run_and_every_claim_runs_at_full():
    for r in register.load_all().values():
        for _, claim in r.claims():
            assert claim.replicates.at("full") is not None, claim.id
            assert claim.replicates.at("large") == claim.replicates.at("full")
            assert any(condition.applies("full") for condition in claim.conditions.conditions()), claim.id


def test_find_claim_returns_chapter_paper_and_claim():
    chapter, paper, claim = register.find_claim("superposition.overlap-welch")
    assert (chapter.chapter, paper.key, claim.unit) == ("superposition", "liu2025superposition", "training seed")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: register.load_register("superpositon"), "Did you mean 'superposition'?"),
        (lambda: register.load_register("../chapters"), "Unknown chapter '../chapters'."),
        (lambda: register.find_claim("superposition.overlap-welsh"), "Did you mean 'superposition.overlap-welch'?"),
        (lambda: register.find_claim("nothing.at-all"), "there is no chapter 'nothing'"),
        (lambda: register.find_claim("superposition.overlap-welch")[2].replicates.at("slow"), "quick, full and large"),
    ],
)
def test_an_unknown_name_is_the_callers_error_and_helps(call, expected):
    with pytest.raises(UserError) as error:
        call()
    assert expected in str(error.value)


def test_loading_again_reads_no_file():
    register._read.cache_clear()
    first = register.load_all()
    read = register._read.cache_info().misses
    assert read >= len(first)
    assert register.load_all() == first
    assert register._read.cache_info().misses == read


def test_a_changed_file_is_read_again(book):
    assert register.load_register("superposition").title == "Superposition and memory capacity"
    rewrite(book, lambda content: content.update(title="Another title"))
    assert register.load_register("superposition").title == "Another title"


# ---------------------------------------------------------------- the contents


def test_the_contents_name_every_chapter_once_with_its_title():
    registers, chapters = register.load_all(), register.load_chapters()
    assert sorted(chapter.slug for chapter in chapters) == sorted(registers)
    assert [chapter.order for chapter in chapters] == list(range(1, 38))
    for chapter in chapters:
        assert chapter.title == registers[chapter.slug].title


def test_the_parts_hold_the_chapters_in_order_and_superposition_stands_near_the_front():
    flat = [chapter.slug for _, chapters in register.parts() for chapter in chapters]
    assert flat == [chapter.slug for chapter in register.load_chapters()]
    titles = [title for title, _ in register.parts()]
    assert 7 <= len(titles) == len(set(titles)) <= 10
    assert flat.index("superposition") < 8


def test_every_need_is_an_earlier_chapter_and_no_easier_chapter_needs_a_harder_one():
    levels = ["introductory", "intermediate", "advanced"]
    seen = {}
    for chapter in register.load_chapters():
        for need in chapter.needs:
            assert need in seen, f"{chapter.slug} needs {need}, which comes later"
            assert levels.index(seen[need]) <= levels.index(chapter.level), (chapter.slug, need)
        seen[chapter.slug] = chapter.level


def test_questions_and_summaries_are_one_sentence_each():
    for chapter in register.load_chapters():
        assert chapter.question.count("?") == 1 and len(chapter.question) < 110, chapter.slug
        assert chapter.summary.endswith(".") and ". " not in chapter.summary, chapter.slug
        assert 15 <= chapter.minutes <= 45


# ---------------------------------------------------------------- what is refused

BROKEN = {
    "an unknown key": (lambda c: claim_of(c).update(verdict="yes"), ["field verdict", "unknown key", "the keys "]),
    "a missing field": (lambda c: claim_of(c).pop("unit"), ["field unit", "given nothing", "required"]),
    "an unknown fidelity": (
        lambda c: claim_of(c).update(fidelity="rough"),
        ["field fidelity", "'rough'", "'exact', 'scaled', 'mechanism' or 'reanalysis'"],
    ),
    "a doubled claim": (
        lambda c: claim_of(c).update(id="superposition.overlap-welch"),
        ["'superposition.overlap-welch'", "every key and id once"],
    ),
    "an id of another chapter": (
        lambda c: claim_of(c).update(id="regimes.strong-inverse-width"),
        ["regimes.strong-inverse-width", "start with 'superposition.'"],
    ),
    "a condition on an unknown measure": (
        lambda c: claim_of(c)["conditions"]["all"][0].update(measure="alpha"),
        ["field conditions", "'alpha'", "alpha_m_power125, alpha_m_power05"],
    ),
    "a reported unknown measure": (lambda c: claim_of(c).update(reported=["beta"]), ["field reported", "'beta'"]),
    "an unknown timing": (lambda c: claim_of(c).update(timings=["beta"]), ["field timings", "'beta'"]),
    "an unknown exponent": (lambda c: claim_of(c).update(exponents=["beta"]), ["field exponents", "'beta'"]),
    "a paper's value for an unknown measure": (
        lambda c: claim_of(c).update(paper_values={"beta": {"value": 1.0, "where": "table 1"}}),
        ["field paper_values", "'beta'"],
    ),
    "a paper's value outside its own interval": (
        lambda c: claim_of(c).update(paper_values={"overlap": {"value": 3.0, "low": 1.0, "high": 2.0, "where": "x"}}),
        ["paper_values.overlap", "3 between them"],
    ),
    "a control on an unknown measure": (
        lambda c: claim_of(c)["control"].update(measure="beta"),
        ["field control", "'beta'"],
    ),
    "a control without a bound": (
        lambda c: claim_of(c)["control"].update(must_fail={}),
        ["field control.must_fail", "neither", "at least one bound"],
    ),
    "a condition without a bound": (
        lambda c: claim_of(c)["conditions"]["all"][0].update(low=None, high=None),
        ["field conditions.all[0]", "at least one bound"],
    ),
    "bounds the wrong way round": (
        lambda c: claim_of(c)["conditions"]["all"][0].update(low=2.0),
        ["field conditions.all[0]", "(2.0, 1.2)", "low at most high"],
    ),
    "a bound that is text": (
        lambda c: claim_of(c)["conditions"]["all"][1].update(low="0.8"),
        ["field conditions.all[1].low", "'0.8'", "allowed: a valid number"],
    ),
    "a bound that is yes": (lambda c: claim_of(c)["conditions"]["all"][1].update(low=True), ["all[1].low", "True"]),
    "a bound that is infinite": (
        lambda c: claim_of(c)["conditions"]["all"][1].update(high=float("inf")),
        ["all[1].high", "inf", "finite"],
    ),
    "no units": (
        lambda c: claim_of(c)["replicates"].update(quick=0),
        ["field replicates.quick", "given 0", "greater than or equal to 1"],
    ),
    "half a unit": (lambda c: claim_of(c)["replicates"].update(full=8.5), ["field replicates.full", "8.5"]),
    "an unknown profile": (
        lambda c: claim_of(c)["conditions"]["all"][0].update(profiles=["slow"]),
        ["all[0].profiles[0]", "'slow'", "'quick', 'full' or 'large'"],
    ),
    "a rule three deep": (
        lambda c: claim_of(c).update(conditions={"all": [{"any": [{"all": claim_of(c)["conditions"]["all"]}]}]}),
        ["field conditions.all:", "nesting one deep"],
    ),
    "both all and any": (
        lambda c: claim_of(c)["conditions"].update(any=claim_of(c)["conditions"]["all"]),
        ["field conditions.all, any", "exactly one of the two"],
    ),
    "an empty rule": (
        lambda c: claim_of(c).update(conditions={"all": []}),
        ["field conditions.all", "at least 1 item"],
    ),
    "a rule that is a list": (lambda c: claim_of(c).update(conditions=[]), ["field conditions", "given []"]),
    "a measure that nothing uses": (
        lambda c: claim_of(c)["measures"].update(beta="the slope"),
        ["field measures", "'beta'", "`reported` or the control"],
    ),
    "a derivation of a bound that is not there": (
        lambda c: claim_of(c).update(derivations={"alpha_m_power125 middle": "1"}),
        ["field derivations", "'alpha_m_power125 middle'", "alpha_m_power125 high"],
    ),
    "a blindness that is text": (lambda c: claim_of(c).update(blind="no"), ["field blind", "'no'"]),
    "a date that is none": (lambda c: claim_of(c).update(registered="soon"), ["field registered", "'soon'"]),
    "an amendment without its reason": (
        lambda c: claim_of(c).update(amended=[{"date": "2026-12-01", "field": "rule", "from": "a", "to": "b"}]),
        ["field amended[0].why", "required"],
    ),
    "an unknown certainty": (
        lambda c: c["papers"][0]["figures"][0].update(sure="very"),
        ["paper liu2025superposition, field figures[0].sure", "'very'", "'printed'"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_register_is_refused_by_name(book, name):
    change, expected = BROKEN[name]
    rewrite(book, change)
    with pytest.raises(RegisterError) as error:
        register.load_register("superposition")
    message = str(error.value)
    assert message.startswith("data/papers/superposition.yml does not fit:")
    assert "given" in message and "allowed:" in message
    for part in expected:
        assert part in message, message
    place = message.split("\n")[1]
    if name not in ("a doubled claim", "an id of another chapter"):
        assert place.startswith("  paper liu2025superposition"), place
    assert "pydantic" not in message and "Traceback" not in message


def test_several_problems_are_listed_together_and_a_flood_is_cut(book):
    def change(content):
        for paper in content["papers"]:
            for claim in paper["claims"]:
                claim["fidelity"], claim["blind"] = "rough", "no"

    rewrite(book, change)
    with pytest.raises(RegisterError, match=r"and 6 more") as error:
        register.load_register("superposition")
    assert "claim superposition.weak-is-unlearned-mass, field fidelity" in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chapter: superposition\ntitle: one\ntitle: two\n", "superposition.yml, line 3: given the key 'title' twice"),
        ("chapter: [superposition\n", "superposition.yml, line 2"),
        ("chapter: superposition\nregistered: 2026-13-45\n", "a date or number cannot be read"),
        ("", "the whole entry: given None"),
        ("- a list\n", "the whole entry: given ['a list']"),
        ("\x00", "superposition.yml"),
    ],
)
def test_text_that_is_no_register_is_refused(book, text, expected):
    (book / "data" / "papers" / "superposition.yml").write_text(text, encoding="utf-8")
    with pytest.raises(RegisterError) as error:
        register.load_register("superposition")
    assert expected in str(error.value)


def test_bytes_that_are_no_text_are_refused(book):
    (book / "data" / "papers" / "superposition.yml").write_bytes(b"chapter: \xff\xfe\n")
    with pytest.raises(RegisterError, match="UTF-8"):
        register.load_register("superposition")


def test_a_file_under_another_name_and_a_key_in_two_files_are_refused(book):
    papers = book / "data" / "papers"
    shutil.copy(papers / "superposition.yml", papers / "regimes.yml")
    with pytest.raises(RegisterError, match="given 'superposition'; allowed: 'regimes', the file's name"):
        register.load_register("regimes")
    content = yaml.safe_load((papers / "superposition.yml").read_text(encoding="utf-8"))
    content["chapter"] = "regimes"
    for paper in content["papers"]:
        for claim in paper["claims"]:
            claim["id"] = claim["id"].replace("superposition.", "regimes.")
    (papers / "regimes.yml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(RegisterError, match=r"superposition.yml: paper liu2025superposition.*data/papers/regimes.yml"):
        register.load_all()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c["parts"][0]["chapters"][0].update(question="No question."), "chapter power_laws, field question"),
        (lambda c: c["parts"][0]["chapters"][0].update(needs=["regimes"]), "needs of power_laws: given 'regimes'"),
        (lambda c: c["parts"][0]["chapters"][0].update(slug="fitting"), "given 'fitting'; allowed: every chapter once"),
        (lambda c: c["parts"][0]["chapters"][0].update(level="easy"), "field level: given 'easy'"),
        (lambda c: c["parts"][0].pop("title"), "field parts[0].title: given nothing"),
    ],
)
def test_broken_contents_are_refused_by_name(book, change, expected):
    path = book / "data" / "chapters.yml"
    content = copy.deepcopy(yaml.safe_load(path.read_text(encoding="utf-8")))
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    with pytest.raises(RegisterError) as error:
        register.load_chapters()
    assert str(error.value).startswith("data/chapters.yml does not fit:")
    assert expected in str(error.value)


def test_missing_contents_say_what_to_do(book):
    (book / "data" / "chapters.yml").unlink()
    with pytest.raises(RegisterError, match="data/chapters.yml: .*Restore the file"):
        register.load_chapters()

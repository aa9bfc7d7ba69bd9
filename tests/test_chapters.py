"""The contract of every chapter: its notebook's shape, its quick run, its published run."""

import ast
import json
import re
import warnings
from pathlib import Path

import pytest

from scalebook.parameters import FIRST_SEED
from scalebook.paths import run_dir
from scalebook.register import load_register
from scalebook.verdict import INCONCLUSIVE, NOT_REPRODUCED, NOT_RUN, REPRODUCED

ROOT = Path(__file__).resolve().parents[1]
SLUGS = sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb"))
LONGEST_CELL = 24  # lines; about twenty is the aim
BUDGET, LIMIT = 60, 90  # core-seconds of the quick profile: warned above the first, refused above the second (machines differ)
PUBLISHED = [slug for slug in SLUGS if (ROOT / "data" / "ledger" / f"{slug}.json").is_file()]


def cells(slug: str, kind: str = "code") -> list[dict]:
    found = json.loads((ROOT / "chapters" / f"{slug}.ipynb").read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in found if cell["cell_type"] == kind]


def tagged(slug: str, tag: str) -> list[dict]:
    return [cell for cell in cells(slug) if tag in cell["metadata"].get("tags", [])]


@pytest.fixture(params=SLUGS)
def slug(request) -> str:
    return request.param


@pytest.fixture
def run(slug) -> Path:
    folder = run_dir("quick", FIRST_SEED, slug)
    if not (folder / "results.json").is_file():
        pytest.fail(f"{slug} has no quick run in {folder}. `make test` runs it first; by hand: scalebook run {slug}")
    return folder


def test_one_parameters_cell_with_profile_and_seed(slug):
    (cell,) = tagged(slug, "parameters")
    values = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(cell["source"]).body}
    assert values["profile"] == "quick" and values["seed"] == FIRST_SEED


def test_only_the_set_up_cell_imports(slug):
    importing = [cell["id"] for cell in cells(slug) if re.search(r"^\s*(import|from)\s", cell["source"], re.MULTILINE)]
    assert len(importing) == 1
    assert "Chapter(" in next(cell["source"] for cell in cells(slug) if cell["id"] == importing[0])


def test_every_cell_has_a_name_of_its_own(slug):
    names = [cell["id"] for kind in ("code", "markdown") for cell in cells(slug, kind)]
    assert len(set(names)) == len(names)


def test_code_cells_stay_short(slug):
    long = {cell["id"]: len(cell["source"].splitlines()) for cell in cells(slug)}
    assert not {name: lines for name, lines in long.items() if lines > LONGEST_CELL}


def test_the_chapter_has_its_parts(slug):
    prose = "\n".join(cell["source"] for cell in cells(slug, "markdown"))
    assert len(tagged(slug, "key-figure")) == 1
    for wanted in (r"(?m)^# ", r"What a laptop cannot show", r"objection", r"(?m)^## Exercises", r"\{bibliography\}"):
        assert re.search(wanted, prose), f"{slug}: no {wanted!r}"
    assert ":class: dropdown" in prose and "hide_solutions" not in prose


def test_papers_are_introduced_and_claims_judged_once(slug):
    code = "\n".join(cell["source"] for cell in cells(slug))
    for paper in load_register(slug).papers:
        assert code.count(f'ch.paper("{paper.key}")') == 1
        shown = code.index(f'ch.paper("{paper.key}")')
        for claim in paper.claims:
            assert code.count(f'"{claim.id}"') >= 1
            judged = re.search(rf'ch\.claim\(\s*"{re.escape(claim.id)}"', code)
            assert judged and shown < judged.start(), f"{claim.id}: the card with its rule comes before its verdict"


def test_every_claim_is_judged_in_the_quick_run(run, slug):
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert results["complete"]
    assert {claim["verdict"] for claim in results["claims"].values()} <= {
        REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE, NOT_RUN,
    }  # fmt: skip
    for name, claim in results["claims"].items():
        assert claim["control"]["state"] != "does not fail", f"{name}: {claim['control']['reason']}"


def test_the_quick_run_stays_within_its_budget(run, slug):
    cost = json.loads((run / "cost.json").read_text(encoding="utf-8"))
    if cost["cpu_seconds"] > BUDGET:
        warnings.warn(f"{slug}: {cost['cpu_seconds']:.0f} core-seconds in quick, the budget is {BUDGET}", stacklevel=1)
    assert cost["cpu_seconds"] <= LIMIT
    assert cost["peak_rss_mb"] <= 2000


@pytest.mark.parametrize("published", PUBLISHED)
def test_the_published_run_judges_every_claim(published):
    ledger = json.loads((ROOT / "data" / "ledger" / f"{published}.json").read_text(encoding="utf-8"))
    assert ledger["profile"] == "full" and ledger["seed"] >= FIRST_SEED
    registered = {claim.id for _, claim in load_register(published).claims()}
    assert set(ledger["claims"]) == registered
    for name, claim in ledger["claims"].items():
        assert claim["verdict"] in (REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE), name
        assert claim["control"]["state"] != "does not fail", name

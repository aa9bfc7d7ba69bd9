"""Published tables: whatever is found is held against the registered content, and what is not here says what to do."""

import json
import os
import urllib.error

import numpy as np
import pandas as pd
import pytest

from scalebook import datasets, published, published_sources
from scalebook.errors import DataNotHere, ScalebookError, UserError

KEY = "besiroglu2024chinchilla/chinchilla_points"
MIRROR = os.environ.get("SCALEBOOK_MIRROR")
with_tables = pytest.mark.skipif(not MIRROR, reason="published table: set SCALEBOOK_MIRROR to the folder of tables")


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A machine without mirror, earlier downloads or network."""
    monkeypatch.delenv("SCALEBOOK_MIRROR", raising=False)
    monkeypatch.setenv("SCALEBOOK_BUILD", str(tmp_path))
    monkeypatch.setenv("SCALEBOOK_OFFLINE", "1")
    return tmp_path


def small() -> tuple[pd.DataFrame, published.Table]:
    frame = pd.DataFrame({"name": ["a", "bcd", None], "loss": [3.5, np.nan, 2.25], "steps": [10, 20, 40]})
    entry = published.Table(
        paper="nobody2020", file="nobody2020/small.csv", sha256="", bytes=0, rows=3, licence="CC0", redistribute="yes",
        citation="Nobody 2020", columns={"name": "", "loss": "nats", "steps": "count"}, content=published.content(frame),
        source=published.Source(repository="nobody/none", commit="0", path="small.csv", url="https://example.org/small.csv"),
    )  # fmt: skip
    return frame, entry


def test_the_register_of_tables_says_what_each_is():
    tables = published.registry()
    assert len(tables) == 73
    for key, table in tables.items():
        assert list(table.columns) == list(table.content), key
        assert table.file.startswith(table.paper) and len(table.sha256) == 64 and table.licence and table.citation, key
        assert table.source.commit in table.source.url, key


def test_content_by_hand():
    frame, _ = small()
    assert published.content(frame) == {
        "name": [2, 4.0, pytest.approx(1 / 3 + 3 * 2 / 3)],
        "loss": [2, 5.75, pytest.approx(3.5 / 3 + 2.25)],
        "steps": [3, 70.0, pytest.approx(10 / 3 + 40 / 3 + 40)],
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.assign(loss=frame["loss"] * 1.0001),
        lambda frame: frame.iloc[::-1],
        lambda frame: frame.head(2),
        lambda frame: frame.fillna({"loss": 0.0}),
        lambda frame: frame.rename(columns={"loss": "Loss"}),
        lambda frame: frame.assign(name=["a", "bc", None]),
    ],
)
def test_another_table_is_refused(change):
    frame, entry = small()
    published.check(frame.astype({"loss": "float32"}), entry)  # a conversion to single precision is the same table
    with pytest.raises(DataNotHere):
        published.check(change(frame), entry)


def test_an_unknown_key_names_its_neighbours():
    with pytest.raises(UserError, match="chinchilla_points"):
        published.table("besiroglu2024chinchilla/points")


def test_without_any_copy_it_says_what_was_tried_and_what_to_do(alone):
    with pytest.raises(DataNotHere) as caught:
        datasets.published(KEY)
    for word in ("SCALEBOOK_MIRROR", "no earlier download", "SCALEBOOK_OFFLINE", "chinchilla_points.csv", "licence"):
        assert word in str(caught.value)
    assert published.state(KEY) == "not here" and not published.fetch(KEY)


def test_a_mirror_with_another_file_under_the_name_is_not_believed(alone, monkeypatch):
    file = alone / "mirror" / published.table(KEY).file
    file.parent.mkdir(parents=True)
    file.write_text("params,flops,tokens,loss\n1,2,3,4\n")
    monkeypatch.setenv("SCALEBOOK_MIRROR", str(alone / "mirror"))
    with pytest.raises(DataNotHere, match="another checksum"):
        published.load(KEY)


def test_a_source_that_does_not_answer_is_waited_for_once(alone, monkeypatch):
    monkeypatch.delenv("SCALEBOOK_OFFLINE")
    monkeypatch.setattr(published_sources, "_silent", set())
    asked = []

    def nobody(url, timeout):
        asked.append(url)
        raise urllib.error.URLError("no route")

    monkeypatch.setattr("urllib.request.urlopen", nobody)
    for _ in range(2):
        with pytest.raises(DataNotHere, match="no route|did not answer"):
            published.load(KEY)
    assert len(asked) == 1


def test_a_broken_register_of_tables_is_named(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "published.yml").write_text("a/b: {paper: x}\n")
    monkeypatch.setenv("SCALEBOOK_ROOT", str(tmp_path))
    with pytest.raises(ScalebookError, match="data/published.yml cannot be read"):
        published.registry()


# the sources as they are, a record of each by hand; the mirror has the converted row
GADRE_MODEL = {
    "name": "c4_original-d=1024_l=24_h=8-0.25", "dataset_name": "c4_original",
    "hyperparameters": {"params": 411616256, "params_no_embed": 359973888, "tokens": 2058081280, "lr": 0.003, "wd": 0.033,
                        "warmup": 2000, "global_bs": 512, "chinchilla_multiplier": 0.25},
    "results": [{"loss": value} for value in (
        4.257023584842682, 3.5279492850157737, 3.5510682991711526, 4.059366468020848, 3.898109313918323, 4.9792116988788955,
        4.247638743403354, 4.509730387944728)],
}  # fmt: skip
GADRE_EVALUATION = {"eval_metrics": {"icl": {"agi_eval_lsat_ar": 0.20000000298023224, "arc_easy": 0.341329962015152}}}
GEMSTONE = {"run_name": "PyGemma-1024x28_pretrain", "params_active_precise": 543482880, "width": 1024, "depth": 28,
            "tokens": 10997465088, "step": 2622, "num_nodes": 32, "seconds_per_step": 1.3941352542, "final_loss": 3.0146045685}  # fmt: skip


@with_tables
def test_every_table_of_the_mirror_is_the_registered_one():
    for key in published.registry():
        published.load(key, download=False)


@with_tables
def test_a_row_of_gadre_from_its_source():
    row = published_sources.gadre_row(GADRE_MODEL, GADRE_EVALUATION)
    table = published.load("gadre2024language/testbed_104_models", download=False)
    assert row == table.loc[0, list(row)].to_dict()


@with_tables
def test_a_row_of_the_gemstones_from_its_source(monkeypatch):
    source = published.table("mcleish2025gemstones/gemstone_losses").source
    monkeypatch.setattr(published_sources, "_get", lambda url: json.dumps(GEMSTONE).encode() if "cool_end" in url else b"")
    row = published_sources.read(source).iloc[0]
    table = published.load("mcleish2025gemstones/gemstone_losses", download=False)
    assert row.to_dict() == table[table["set"] == "cool_end"].iloc[0].to_dict()


@with_tables
@pytest.mark.parametrize("key", [
    "li2025predictable/dense_lr_bs_loss", "ruan2024observational/base_llm_benchmark_eval", KEY, "tissue2024scaling/loss_curves",
])  # fmt: skip
def test_a_source_is_read_checked_and_kept(key, alone, monkeypatch):
    """The source is played from the mirror's table in the source's form: names of columns, row numbers, files."""
    table = published.read_file(published.Path(MIRROR) / published.table(key).file)

    def source(url: str) -> bytes:
        if "tissue" in key:
            size, _, name = url.partition("csv_")[2].partition("/")
            part = table[(table["params_millions"] == int(size)) & (table["schedule"] == name.removesuffix(".csv"))]
            return part.rename(columns={"loss": "Metrics/loss"}).drop(columns=["params_millions"]).to_csv(index=False).encode()
        names = {new: old for old, new in published_sources.RENAMED.items()} if key == KEY else {}
        return table.rename(columns=names).to_csv(index="predictable" in key).encode()

    monkeypatch.delenv("SCALEBOOK_OFFLINE")
    monkeypatch.setattr(published_sources, "_get", source)
    pd.testing.assert_frame_equal(published.load(key), table, check_dtype=False)
    monkeypatch.setenv("SCALEBOOK_OFFLINE", "1")
    pd.testing.assert_frame_equal(published.load(key), table, check_dtype=False)  # from the earlier download
    assert published.state(key) != "not here"
    monkeypatch.delenv("SCALEBOOK_OFFLINE")
    monkeypatch.setattr(published_sources, "_get", lambda url: source(url).replace(b"3", b"4"))
    published._cached(key).unlink()
    with pytest.raises(DataNotHere):
        published.load(key)

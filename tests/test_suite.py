"""The microscale suite: its corpus, its run list, its learning rates and its probes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from scalebook.errors import ScalebookError
from scalebook.suite import corpus, network, plan, probes, rates, schedule
from scalebook.suite.plan import Rate

TEXT = (b"def area(width, height):\n    if width:\n        return (width * height)\n    return [0]\n\n\n" * 400)


@pytest.fixture()
def toy_library(tmp_path):
    """A folder laid out as a standard library, and a folder of C headers."""
    library, headers = tmp_path / "library", tmp_path / "headers"
    for name, data in {
        "a.py": b"x = 1\n" * 100, "b.py": b"y = 2\n" * 100, "package/c.py": b"z = 3\n" * 100, "d.py": b"w = 4\n" * 100,
        "short.py": b"x" * 199, "least.py": b"x" * 200, "long.py": b"x" * 200_001, "most.py": b"x" * 200_000,
        "foreign.py": ("\u00e9" * 300).encode(), "some.py": b"x" * 500 + "\u00e9".encode(),
        "site-packages/e.py": b"x" * 500, "idlelib/f.py": b"x" * 500, "lib2to3/g.py": b"x" * 500,
        "_sysconfigdata__linux.py": b"x" * 500, "config-3.11/h.py": b"x" * 500, "note.txt": b"x" * 500,
        "pydoc_data/topics.py": b"t" * 300_000,
    }.items():
        path = library / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    headers.mkdir()
    (headers / "b.h").write_bytes(b"int b;")
    (headers / "a.h").write_bytes(b"int a;")
    (headers / "_numpyconfig.h").write_bytes(b"#define MACHINE 1")
    return library, headers


def test_corpus_keeps_the_files_of_the_rules(toy_library):
    kept = corpus.documents(toy_library[0])
    assert {name for name, _ in kept} == {"a.py", "b.py", "package/c.py", "d.py", "least.py", "most.py", "some.py"}
    order = [hashlib.sha1(name.encode()).hexdigest() for name, _ in kept]
    assert order == sorted(order)
    assert dict(kept)["some.py"].endswith(b"\x7f\x7f")


def test_corpus_holds_out_whole_files_and_joins_with_zero(toy_library):
    (toy_library[0] / "most.py").unlink()  # so large that it would move the 4 percent
    built = corpus.build(*toy_library)
    assert built.train.max() < 128 and built.held["ood2"].tobytes() == b"int a;\0int b;"
    names = [data for _, data in corpus.documents(toy_library[0])]
    assert built.held["val"].tobytes() == names[0] and built.held["val2"].tobytes() == names[1]
    assert built.train.tobytes() == b"\0".join(names[2:])
    assert built.hashes == corpus.build(*toy_library).hashes


def test_another_corpus_is_told_with_both_hashes(toy_library):
    built = corpus.build(*toy_library)
    hashes = {**built.hashes, "corpus": "f" * 64}
    other = {"python": "3.11.7", "files": 1411, "train_bytes": 25_399_639, "sha256": hashes}
    with pytest.raises(ScalebookError, match=r"not the corpus of the table.*3\.11\.7.*ffffffffffff.*patch release"):
        corpus.check(built, other)
    corpus.check(built, {**other, "sha256": built.hashes})


def test_an_empty_library_is_refused(tmp_path):
    with pytest.raises(ScalebookError, match="Found 0 Python files"):
        corpus.build(tmp_path, tmp_path)


def test_held_out_windows_are_the_same_on_every_call():
    text = np.random.default_rng(0).integers(0, 128, 10_000, dtype=np.uint8)
    first = corpus.sample(text, 16, "val")
    assert first.shape == (16, 129) and (first == corpus.sample(text, 16, "val")).all()
    assert not (first == corpus.sample(text, 16, "val2")).all()
    with pytest.raises(ScalebookError, match="78 windows"):
        corpus.sample(text, 1000, "val")


@pytest.mark.parametrize(
    "size, nonemb, total",
    [("m0", 6_144, 12_448), ("m1", 13_824, None), ("m2", 36_864, None), ("m3", 82_944, None), ("m4", 196_608, None),
     ("m5", 442_368, None), ("m6", 983_040, None), ("m7", 2_654_208, None)],
)
def test_parameter_counts_are_the_designs_and_the_networks(size, nonemb, total):
    shape = plan.SIZES[size]
    assert shape.n_nonemb == nonemb
    assert total in (None, shape.n_total)
    built = network.layout(shape)
    assert built.total == shape.n_total
    blocks = ("qkv", "out", "up", "down")
    assert sum(n for name, n in zip(built.names, built.lengths) if name.split(".")[-1] in blocks) == shape.n_nonemb


def test_flops_are_counted_three_ways():
    assert plan.SIZES["m0"].flops(1000) == (
        6 * 6144 * 1000, 6 * (6144 + 2048) * 1000, 6 * (6144 + 2048) * 1000 + 6 * 128 * 16 * 2 * 1000
    )
    assert {name: shape.n_nonemb for name, shape in plan.SHAPES_H.items()} == {
        "h84x1": 84_672, "h60x2": 86_400, "h48x3": 82_944, "h36x5": 77_760, "h28x9": 84_672
    }


def test_plan_has_the_designs_cells():
    jobs = plan.jobs()
    runs = plan.runs(jobs)
    assert len(runs) == len(set(runs)) and len({job.name for job in jobs}) == len(jobs)
    cooled = {run for run in runs if run.startswith("M-") and "-cooled-" in run}
    for size, top in {"m0": 16, "m3": 16, "m4": 8, "m5": 4, "m6": 4, "m7": 1}.items():
        reach = [tokens for tokens in plan.LADDER if tokens <= top * plan.MILLION]
        assert {f"M-{size}-s1000-cooled-{plan.label(tokens)}" for tokens in reach} <= cooled
        assert f"M-{size}-s1000-cooled-{plan.label(top * 2_000_000)}" not in cooled
    seeds = {size: {run.split("-")[2] for run in cooled if run.startswith(f"M-{size}-")} for size in plan.SIZES}
    assert [len(seeds[size]) for size in plan.SIZES] == [3, 5, 3, 3, 3, 3, 3, 1]
    assert min(member.seed for job in jobs for member in job.members) == 1000
    assert sum(run.startswith("S-") for run in runs) == 3 * 3 * 5 + 3 * 3
    assert sum(run.startswith("W-") for run in runs) == 4 * 6 * 4 + 3 * 4 * 4
    assert sum(run.startswith("H-") for run in runs) == 5 * 8
    assert {int(run.split("-")[2][1:]) for run in runs if run.startswith("B-m1")} == {2**k for k in range(7, 14)}
    assert sum("-best-m" in run for run in runs) == 5 * 2 * 10
    assert sum(run.startswith("U-") for run in runs) == 4 * 5
    assert sum(run[0] in "MLS" for run in runs) >= 250
    assert [job.block for job in jobs if not job.needs_rates] == ["L"] * 17  # the rates come first
    assert "".join(dict.fromkeys(job.block for job in jobs if job.needs_rates)) == "MLSWBHGRTU"
    assert plan.SHAPES["m10"].n_nonemb == 37_748_736 and all(shape.width % shape.heads == 0 for shape in plan.SHAPES.values())


def test_cooled_branch_follows_its_trunk_and_ends_near_zero():
    trunk, branch = schedule.rates("constant", 976), schedule.rates("cooled", 976)
    start = schedule.cooldown_start(976)
    assert (trunk[:start] == branch[:start]).all() and trunk[0] == 1 / 20 and trunk[19:].min() == 1
    assert branch[start] == 1 and branch[-1] < 0.01
    middle = start + (976 - start) // 2
    assert branch[middle] == pytest.approx(1 - ((middle - start) / (976 - start)) ** 0.5)


@pytest.mark.parametrize("name, end", [("linear0", 0.0), ("cosine0", 0.0), ("cosine10", 0.1)])
def test_schedules_end_where_they_should(name, end):
    unit = schedule.rates(name, 3906)
    assert unit[77] == pytest.approx(1, abs=0.02) and unit[-1] == pytest.approx(end, abs=1e-3) and unit.max() <= 1
    assert schedule.warmup(name, 3906) == 78 and schedule.warmup(name, 100) == 20
    with pytest.raises(ValueError, match="unknown schedule"):
        schedule.rates("sawtooth", 10)


def test_law_of_learning_rates_is_recovered():
    final = {}
    for (size, tokens), members in rates.sweep().items():
        optimum = 3.0 * plan.SIZES[size].n_nonemb ** -0.5 * (tokens / 1e6) ** -0.1
        for run, rate in members.items():
            final[run] = 2.0 + 0.1 * np.log(rate / optimum) ** 2
    law = rates.fit(final)
    assert law["exponent"] == pytest.approx(-0.5, abs=0.002) and law["intercept"] == pytest.approx(np.log(3), abs=0.01)
    assert rates.resolve(plan.LAW, plan.SIZES["m6"], law) == pytest.approx(3 * 983_040**-0.5, rel=0.02)
    assert rates.resolve(Rate("best", size="m0"), plan.SIZES["m4"], law) == 3e-2
    final[next(run for run in final if run.startswith("L-m2"))] = float("nan")
    assert rates.fit(final) is not None
    final.popitem()
    assert rates.fit(final) is None


def test_a_flat_or_monotone_sweep_falls_back_to_a_constant():
    final = {run: 2 - np.log(rate) for members in rates.sweep().values() for run, rate in members.items()}
    law = rates.fit(final)
    assert law["exponent"] == 0 and np.exp(law["intercept"]) == pytest.approx(0.3, rel=0.01) and law["optima"] == []


def test_probe_items_are_what_they_say():
    text = TEXT
    held = {"val": np.frombuffer(text, dtype=np.uint8), "val2": np.frombuffer(text, dtype=np.uint8)}
    found = probes.items(held, 50)
    assert all(len(probe.windows) == 50 for probe in found.values())
    ends = {
        name: {bytes(row[start + 1 :].tolist()) for row, start in zip(probe.windows, probe.start)}
        for name, probe in found.items()
    }
    assert ends["bracket"] <= {b")", b"]"}
    assert ends["recall"] == {b"ght", b"urn"}
    assert ends["indentation"] == {b"    i", b"        r"}


def test_probe_errors_of_a_model_that_knows_the_text():
    """A lookup that copies the next byte scores 0; one that always says '}' scores 1 on the brackets."""
    windows = np.frombuffer(b" " * 124 + b"(a)\n ", dtype=np.uint8)[None].astype(np.int64)
    probe = probes.Probe(windows, np.array([125]), np.array([126]))
    shape = plan.SIZES["m0"]
    built = network.layout(shape)
    weights = torch.zeros(2, built.total)
    parts = dict(zip(built.names, range(len(built.names))))
    starts = np.cumsum([0, *built.lengths])
    weights[:, starts[parts["shift"]] : starts[parts["shift"] + 1]] = 1.0
    for member, byte in enumerate((")", "}")):
        head = torch.zeros(shape.width, 128)
        head[:, ord(byte)] = 1.0
        weights[member, starts[parts["head"]] :] = head.ravel()
    assert probes._error(weights, shape, "bracket", probe) == [0.0, 1.0]
    assert probes._error(weights, shape, "recall", probe) == [0.0, 1.0]

"""The microscale suite: the network against an independent one, and training to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scalebook.errors import ScalebookError, UserError
from scalebook.suite import agreement, corpus, graphs, network, plan, running, storage, throughput, training
from scalebook.suite.plan import Job, Member, Rate, Shape

TEXT = (b"def area(width, height):\n    if width:\n        return (width * height)\n    return [0]\n\n\n" * 400)


@pytest.fixture()
def one_thread():
    """Training is defined for one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _plain_loss(flat: torch.Tensor, windows: torch.Tensor, shape: Shape) -> torch.Tensor:
    """The same network from torch.nn, written on its own: mean loss of one member."""
    built = network.layout(shape)
    p = {n: x.view(s) for n, x, s in zip(built.names, flat.split(built.lengths), built.shapes)}
    d, heads = shape.width, shape.heads
    x, y = windows[:, :-1], windows[:, 1:]
    h = p["tokens"][x] + p["positions"][: x.shape[1]]
    causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()

    def norm(v, scale, shift):
        spread = (v.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return (v - v.mean(-1, keepdim=True)) / spread * scale + shift

    for layer in range(shape.layers):
        a = norm(h, p[f"{layer}.norm1"], p[f"{layer}.shift1"])
        q, k, v = [part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (a @ p[f"{layer}.qkv"]).split(d, -1)]
        scores = (q @ k.transpose(-1, -2)) / (d / heads) ** 0.5
        mixed = scores.masked_fill(~causal, -torch.inf).softmax(-1) @ v
        h = h + mixed.transpose(1, 2).flatten(2) @ p[f"{layer}.out"]
        a = norm(h, p[f"{layer}.norm2"], p[f"{layer}.shift2"]) @ p[f"{layer}.up"]
        h = h + (0.5 * a * (1 + torch.erf(a / 2**0.5))) @ p[f"{layer}.down"]
    return -(norm(h, p["norm"], p["shift"]) @ p["head"]).log_softmax(-1).gather(-1, y[..., None]).mean()


@pytest.mark.parametrize("stack", [1, 3])
def test_loss_and_gradient_agree_with_an_independent_network(stack):
    shape = Shape(12, 2, 3)
    rng = torch.Generator().manual_seed(1)
    flat = torch.randn(stack, network.layout(shape).total, generator=rng) * 0.3
    windows = torch.randint(0, 128, (stack, 2, 129), generator=rng)
    flat.requires_grad_()
    ours = network.token_losses(flat, windows, shape).flatten(1).mean(1)
    (gradient,) = torch.autograd.grad(ours.sum(), flat)
    for member in range(stack):
        one = flat[member].detach().double().requires_grad_()
        theirs = _plain_loss(one, windows[member], shape)
        (expected,) = torch.autograd.grad(theirs, one)
        assert ours[member].item() == pytest.approx(theirs.item(), abs=1e-5)
        assert torch.allclose(gradient[member].double(), expected, atol=1e-5, rtol=1e-3)


def test_first_loss_is_that_of_a_uniform_guess():
    weights = network.initial(plan.SIZES["m0"], 1000, "m0")[None]
    windows = torch.randint(0, 128, (1, 2, 129))
    losses = network.token_losses(weights, windows, plan.SIZES["m0"])
    assert losses.mean().item() == pytest.approx(np.log(128), abs=1e-5)
    assert not torch.equal(weights[0], network.initial(plan.SIZES["m0"], 1001, "m0"))


TINY = Shape(8, 1, 2)


def tiny_job(schedule_name: str = "constant", members: tuple | None = None, **more) -> Job:
    """A job of a few dozen steps."""
    members = members or (
        Member("a", 1, Rate("fixed", 1e-2), 20_000),
        Member("b", 1, Rate("fixed", 3e-2), 20_000),
        Member("c", 2, Rate("fixed", 1e-2), 10_000),
    )
    branches = (10_000, 20_000) if schedule_name == "constant" else ()
    return Job("tiny", "L", "tiny", schedule_name, members, branches, batch=256, **more)


@pytest.fixture()
def trained(monkeypatch, one_thread):
    """Returns train(job, ...) -> {segment: (run names, rows, final weights)}."""
    monkeypatch.setitem(plan.SHAPES, "tiny", TINY)
    text = np.frombuffer(TEXT, dtype=np.uint8)
    held = training.held_windows({name: text for name in corpus.HELD_OUT}, 4)

    def train(
        job, checkpoint=lambda state, due: None, state=None, done=lambda segment: False, kind=training.Trainer
    ):
        trainer = kind(job, [m.rate.factor for m in job.members], text, held)
        found = {}

        def finish(segment, state, members, rows, by_position):
            found[segment] = ([job.run(m, segment) for m in members], rows, state.weights.clone())

        for trunk, due in trainer.run(state or trainer.start(), done, finish):
            checkpoint(trunk, due)
        return found

    return train


def same(one: dict, other: dict) -> bool:
    """Whether two trainings agree to the bit."""
    return one.keys() == other.keys() and all(
        one[s][0] == other[s][0] and one[s][1] == other[s][1] and torch.equal(one[s][2], other[s][2]) for s in one
    )


def test_training_is_the_same_to_the_bit_and_learns(trained):
    first = trained(tiny_job())
    assert same(first, trained(tiny_job()))
    assert list(first) == ["cooled-0.01M", "constant-0.01M", "cooled-0.02M", "constant-0.02M"]
    assert [len(runs) for runs, *_ in first.values()] == [3, 1, 2, 2]
    last = first["cooled-0.02M"][1][-1]
    assert last["val"] < 3.5 and last["step"] == 78
    assert {"val2", "val2a", "val2b", "ood1", "ood2", "train"} <= last.keys()
    assert "val2" not in first["cooled-0.02M"][1][0]


def test_training_goes_on_to_the_same_bits_from_any_checkpoint(trained):
    whole = trained(tiny_job())
    saved: list[bytes] = []

    def keep(state, due):
        saved.append(state.pack())

    trained(tiny_job(), keep)
    for data in saved[:: len(saved) // 4]:
        state = training.State.unpack(data)
        state_step = state.step
        rest = trained(tiny_job(), state=state)
        left = ["constant-0.02M"] if state_step > 62 else ["cooled-0.02M", "constant-0.02M"]
        assert list(rest)[-len(left) :] == left and same(rest, {name: whole[name] for name in rest})


def test_finished_segments_are_not_trained_again(trained):
    whole = trained(tiny_job())
    rest = trained(tiny_job(), done=lambda segment: segment in ("cooled-0.01M", "constant-0.01M"))
    assert list(rest) == ["cooled-0.02M", "constant-0.02M"] and same(rest, {name: whole[name] for name in rest})


@pytest.mark.parametrize("name", ["constant", "linear0"])
def test_a_stack_agrees_with_its_members_alone(trained, name):
    rate = Rate("fixed", 1e-2)
    members = (Member("a", 1, rate, 10_000), Member("b", 2, rate, 10_000, decay=0.5))
    job = tiny_job(name, members)
    together = trained(job)
    for place, member in enumerate(members):
        alone = trained(tiny_job(name, (member,)))
        for segment in alone:
            ours = [row["val"] for row in together[segment][1] if row["member"] == place]
            assert ours == pytest.approx([row["val"] for row in alone[segment][1]], abs=1e-4)


class GraphTrainer(graphs.GraphTrainer):
    """The GPU's trainer on this processor: the same arithmetic and bookkeeping, without the graph."""

    device = torch.device("cpu")


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_the_gpus_trainer_agrees_with_the_processors(trained, decay):
    rate = Rate("fixed", 1e-2)
    members = (
        Member("a", 1, rate, 20_000, decay), Member("b", 2, Rate("fixed", 3e-2), 20_000),
        Member("c", 2, rate, 10_000),
    )
    job = tiny_job(members=members)
    ours, theirs = trained(job, kind=GraphTrainer), trained(job)
    assert ours.keys() == theirs.keys()
    for segment, (runs, rows, weights) in ours.items():
        expected = theirs[segment]
        assert runs == expected[0] and torch.allclose(weights, expected[2], atol=2e-3)
        for row, other in zip(rows, expected[1], strict=True):
            assert row == pytest.approx(other, abs=2e-4)


def test_the_gpus_trainer_goes_on_from_any_checkpoint(trained, monkeypatch):
    monkeypatch.setattr(graphs, "CHUNK", 7)
    whole, saved = trained(tiny_job(), kind=GraphTrainer), []
    trained(tiny_job(), lambda state, due: saved.append(state.pack()), kind=GraphTrainer)
    for data in saved[:: len(saved) // 4]:
        rest = trained(tiny_job(), state=training.State.unpack(data), kind=GraphTrainer)
        assert "cooled-0.02M" in rest and same(rest, {name: whole[name] for name in rest})


def test_repeated_text_is_the_same_windows_in_another_order(trained):
    member = Member("a", 1, Rate("fixed", 1e-2), 10_000)
    text = np.frombuffer(TEXT, dtype=np.uint8)
    trainer = training.Trainer(tiny_job("linear0", (member,), unique=2048), [1e-2], text, {})
    epochs = trainer.orders[0][:64].reshape(4, 16)
    once = training.Trainer(tiny_job("linear0", (member,)), [1e-2], text, {}).orders[0]
    assert (epochs[0] == once[:16]).all()  # the first epoch is the run that reads everything once
    assert all((np.sort(epoch) == np.sort(epochs[0])).all() for epoch in epochs)
    assert not (epochs[1] == epochs[0]).all() and not (epochs[2] == epochs[1]).all()
    with pytest.raises(ValueError, match="windows of text"):
        training.Trainer(tiny_job("linear0", (member,), unique=10 * text.size), [1e-2], text, {})


def test_without_a_gpu_its_blocks_are_refused():
    with pytest.raises(UserError, match="Block G would take days on a CPU"):
        running.work("G", 1, 0.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_told():
    with pytest.raises(ScalebookError, match="no GPU"):
        graphs.work([], {}, None, 0.0, lambda active: None)


def test_weight_decay_spares_norms_and_embeddings():
    mask = network.decay_mask(TINY)
    built = network.layout(TINY)
    kept = {n: piece for n, piece in zip(built.names, mask.split(built.lengths))}
    assert not any(kept[name].any() for name in ("tokens", "positions", "0.norm1", "0.shift2", "norm"))
    assert all(kept[name].all() for name in ("0.qkv", "0.out", "0.up", "0.down", "head"))


def test_one_step_is_torchs_adamw(trained, monkeypatch):
    monkeypatch.setitem(plan.SHAPES, "tiny", TINY)
    text = np.frombuffer(TEXT, dtype=np.uint8)
    member = Member("a", 1, Rate("fixed", 1e-2), 10_000, decay=0.3)
    trainer = training.Trainer(tiny_job("linear0", (member,)), [1e-2], text, {})
    state = trainer.start()
    theirs = torch.nn.Parameter(state.weights[0].clone())
    mask = network.decay_mask(TINY)
    optimiser = torch.optim.AdamW([theirs], lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    for step in range(5):
        index = trainer.orders[0][step * 2 : step * 2 + 2]
        windows = torch.from_numpy(trainer.windows[index].astype(np.int64))[None]
        network.token_losses(theirs[None], windows, TINY).mean().backward()
        torch.nn.utils.clip_grad_norm_([theirs], 1.0)
        with torch.no_grad():
            theirs.mul_(1 - 1e-2 * 0.3 * mask)
        optimiser.step()
        optimiser.zero_grad()
        trainer.step(state, np.array([1e-2]))
        assert torch.allclose(state.weights[0], theirs, atol=1e-5)


def test_throughput_is_measured_for_every_shape(one_thread, monkeypatch):
    monkeypatch.setattr(throughput, "REPEATS", 2)
    monkeypatch.setattr(throughput, "STEPS", 1)
    monkeypatch.setattr(throughput, "WARM", 1)
    text = np.zeros(1_100_000, dtype=np.uint8)
    speeds = throughput.measure(text)["tokens_per_second"]
    assert speeds.keys() == plan.SHAPES_H.keys() and all(len(v) == 2 and min(v) > 0 for v in speeds.values())


def test_published_runs_are_made_again_here():
    """In a process with the workers' arithmetic, as ``scalebook suite --check`` does it."""
    about = storage.committed().about["corpus"]
    if corpus.difference(corpus.load(about), about):
        pytest.skip(f"needs the standard library of Python {about['python']}, which is the suite's text")
    running.check()


def test_a_run_that_does_not_agree_is_told():
    close = agreement.Remade("L-m0-a", "another machine", False, -9e-4)
    assert "off by -9.0e-04" in agreement.report([close]) and "All 1 agree, 0 to the last digit" in agreement.report([close])
    for end in (1.1e-3, -1.1e-3, float("nan")):
        with pytest.raises(ScalebookError, match="1 of 2 runs miss.*another machine"):
            agreement.report([close, agreement.Remade("L-m0-b", "another machine", False, end)])


def test_a_remade_run_is_held_against_its_own_row(monkeypatch, trained):
    """The last loss of a published curve is changed: its run is no longer the same, and its end is off by as much."""
    text = np.frombuffer(TEXT, dtype=np.uint8)
    whole = corpus.Corpus(text, {name: text for name in corpus.HELD_OUT}, {}, "", 0)
    monkeypatch.setattr(agreement, "EVAL_COUNT", 4)
    job, peaks = tiny_job(), [1e-2, 3e-2, 1e-2]
    found = trained(job)
    table = storage.Table(about={"law": None})
    for segment, (runs, rows, _) in found.items():
        members = [member for member in job.members if job.run(member, segment) in runs]
        own = [peaks[job.members.index(member)] for member in members]
        for row in storage.curve_rows(job, segment, members, own, rows):
            table.curves.setdefault(row[0], []).append(row)
            table.runs[row[0]] = ["here"] * len(storage.RUN_COLUMNS)
    again = agreement.remade(job, 10_000, table, whole)
    assert len(again) == 4 and all(one.same and one.end == 0 and one.machine == "here" for one in again)
    row = table.curves[again[0].run][-1]
    row[storage.COLUMNS.index("val")] = storage.loss_text(float(row[storage.COLUMNS.index("val")]) * 1.01)
    again = agreement.remade(job, 10_000, table, whole)
    assert [one.same for one in again] == [False, True, True, True]
    assert again[0].end == pytest.approx(1 / 1.01 - 1, abs=1e-4)

"""A width sweep must train like one network after another in plain PyTorch, and its packing must be exact."""

import pytest
import torch

from scalebook import widths
from scalebook.errors import UserError
from scalebook.widths import Rows, packed, rise_and_fall, sweep

WIDTHS = (1, 3, 7, 16, 20)
RUNS, ROWS, INPUTS, STEPS = 3, 48, 5, 120


def generator(seed):
    return torch.Generator().manual_seed(seed)


def start(width, run):
    return generator(1000 * width + run)


def data():
    g = generator(5)
    x = torch.randn(RUNS, ROWS, INPUTS, generator=g)
    y = (x.prod(dim=-1) + 0.3 * torch.randn(RUNS, ROWS, generator=g) > 0).float()
    return x, y, torch.rand(RUNS, ROWS, generator=g)


def alone(width, run, batches, depth=1, steps=STEPS, warmup=20, rate=2e-2):
    """Return the losses over training of one torch.nn network, trained by torch's AdamW and its own loss."""
    drawn, sizes = start(width, run), [INPUTS, *[width] * depth, 1]
    layers = []
    for rows, columns in zip(sizes[:-1], sizes[1:], strict=True):
        linear = torch.nn.Linear(rows, columns)
        with torch.no_grad():
            linear.weight.copy_((torch.randn(rows, columns, generator=drawn) / rows**0.5).T)
            linear.bias.zero_()
        layers += [linear, torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    adam = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.0)
    for step in range(steps):
        factor = (step + 1) / warmup if step < warmup else (steps - step) / (steps - warmup)
        adam.param_groups[0]["lr"] = rate * factor
        x, y, weight = batches(step)
        adam.zero_grad()
        torch.nn.BCEWithLogitsLoss(weight=weight, reduction="sum")(net(x)[:, 0], y).backward()
        adam.step()
    return net


def loss_of(logits, y, weight):
    y, weight = y.expand_as(logits), weight.expand_as(logits)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, y, weight=weight, reduction="none").sum(dim=-1)


@pytest.mark.parametrize("depth", [1, 2])
def test_every_network_trains_like_an_unstacked_one(depth):
    x, y, weight = data()
    found = sweep(Rows(x, y, weight), WIDTHS, steps=STEPS, start=start, depth=depth, warmup=20).logits(x)
    share = weight / weight.sum(dim=1, keepdim=True)
    for run in range(RUNS):
        for m, width in enumerate(WIDTHS):
            net = alone(width, run, lambda step, run=run: (x[run], y[run], share[run]), depth)
            expected = loss_of(net(x[run])[:, 0].detach(), y[run], share[run])
            assert float(loss_of(found[run, m], y[run], share[run])) == pytest.approx(float(expected), abs=1e-4)
    trained = loss_of(found, y[:, None], share[:, None])
    assert float(trained[:, -1].max()) < 0.5, "the test must train far enough to mean something"


def test_minibatches_of_every_run_come_in_its_own_order_and_losses_agree():
    x, y, _ = data()
    rows = Rows(x, y, batch=16, order=lambda run: generator(70 + run))
    found = sweep(rows, (2, 20), steps=STEPS, start=start, warmup=20).logits(x)
    for run in range(RUNS):
        order = generator(70 + run)
        parts = [p for _ in range(STEPS // 3) for p in torch.randperm(ROWS, generator=order).split(16)]
        equal = torch.full((16,), 1 / 16)
        for m, width in enumerate((2, 20)):
            net = alone(width, run, lambda step: (x[run][parts[step]], y[run][parts[step]], equal))  # noqa: B023
            even = torch.full((ROWS,), 1 / ROWS)
            ours, theirs = (loss_of(z, y[run], even) for z in (found[run, m], net(x[run])[:, 0]))
            assert float(ours) == pytest.approx(float(theirs.detach()), abs=1e-4)


@pytest.mark.parametrize("depth", [1, 2])
def test_packing_is_exact(depth):
    x, y, weight = data()
    together = sweep(Rows(x, y, weight), WIDTHS, steps=60, start=start, depth=depth)
    pack, _, ((_, held),) = together.packs[0]
    owner = torch.repeat_interleave(torch.arange(len(pack)), torch.tensor(pack))
    blocks = owner[:, None] == torch.arange(len(pack))
    assert torch.count_nonzero(held[f"w{depth}"][:, ~blocks]) == 0, "outside its blocks the last matrix stays zero"
    if depth == 2:
        assert torch.count_nonzero(held["w1"][:, owner[:, None] != owner]) == 0
    for m, width in enumerate(WIDTHS):
        apart = sweep(Rows(x, y, weight), (width,), steps=60, start=start, depth=depth).logits(x)[:, 0]
        torch.testing.assert_close(together.logits(x)[:, m], apart, atol=1e-4, rtol=1e-4)


def test_a_run_does_not_depend_on_its_company(monkeypatch):
    x, y, weight = data()
    whole = sweep(Rows(x, y, weight), (3, 20), steps=40, start=start).logits(x)
    monkeypatch.setattr(widths, "FLOATS", 1)  # every run in a stack of its own
    apart = sweep(Rows(x, y, weight), (3, 20), steps=40, start=start).logits(x)
    torch.testing.assert_close(apart, whole, atol=1e-4, rtol=1e-4)


def test_written_gradient_equals_automatic_differentiation():
    pack, depth = (1, 3, 4), 3
    forward = widths._forward(pack, depth)
    held = widths._start(pack, INPUTS, depth, [[start(w, s) for w in pack] for s in range(2)])
    held = {name: (value + 0.1).double().requires_grad_() for name, value in held.items()}  # off the blocks too
    x = torch.randn(2, 9, INPUTS, generator=generator(1), dtype=torch.float64)

    def plain(held, x):
        owner = torch.repeat_interleave(torch.arange(len(pack)), torch.tensor(pack))
        h = x @ held["w0"] + held["b0"]
        for layer in (1, 2):
            h = torch.relu(h) @ (held[f"w{layer}"] * (owner[:, None] == owner)) + held[f"b{layer}"]
        return torch.relu(h) @ (held["w3"] * (owner[:, None] == torch.arange(len(pack)))) + held["b3"]

    single = {name: value.detach().float().requires_grad_() for name, value in held.items()}
    ours = torch.autograd.grad(forward(single, x.float()).square().sum(), list(single.values()))
    theirs = torch.autograd.grad(plain(held, x).square().sum(), list(held.values()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.double(), b, atol=1e-4, rtol=1e-4)


def test_weights_decide_what_is_learned_and_redrawn_labels_are_not():
    x, y, _ = data()
    flipped = torch.cat([x, x], dim=1), torch.cat([y, 1 - y], dim=1)
    heavy = torch.cat([torch.full_like(y, 0.95), torch.full_like(y, 0.05)], dim=1)
    said = sweep(Rows(*flipped, heavy), (24,), steps=300, start=start).margins(x, y)[:, 0]
    assert (said > 0).float().mean() > 0.95, "the heavier of two contradicting labels wins"
    tossed = torch.ones_like(y, dtype=torch.bool)
    never = sweep(Rows(x, y, redraw=tossed, coins=generator), (24,), steps=300, start=start).margins(x, y)[:, 0]
    assert abs(float((never > 0).float().mean()) - 0.5) < 0.15
    assert torch.sigmoid(never).mean() == pytest.approx(0.5, abs=0.1)


def test_schedule_rises_and_falls_in_straight_lines():
    factor = rise_and_fall(50)
    assert [factor(step, 400) for step in (0, 24, 49, 50, 225)] == pytest.approx([0.02, 0.5, 1.0, 1.0, 0.5])
    assert factor(399, 400) == pytest.approx(1 / 350)
    assert rise_and_fall(50)(0, 10) == pytest.approx(0.2), "a short training warms up over its first half"


def test_same_inputs_give_the_same_bits():
    x, y, weight = data()
    first, second = (sweep(Rows(x, y, weight), (3, 20), steps=30, start=start).logits(x) for _ in range(2))
    assert torch.equal(first, second)


def test_narrow_widths_share_a_pack_and_answers_keep_the_order_asked_for():
    assert packed((32, 1, 16, 64)) == [(1, 16), (32,), (64,)]
    x, y, weight = data()
    one, two = (sweep(Rows(x, y, weight), order, steps=5, start=start).logits(x) for order in ((20, 3), (3, 20)))
    torch.testing.assert_close(one, two.flip(1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y": torch.zeros(2, 2)}, "x has shape"),
        ({"weight": torch.ones(2, 2)}, "weight has shape"),
        ({"batch": 4}, "needs"),
        ({"batch": 4, "order": generator, "redraw": torch.ones(RUNS, ROWS) > 0, "coins": generator}, "re-drawn"),
    ],
)
def test_rows_that_do_not_fit_are_refused(change, words):
    x, y, weight = data()
    with pytest.raises(UserError, match=words):
        Rows(**({"x": x, "y": y, "weight": weight} | change))


@pytest.mark.parametrize("given", [(0, 2), (2, 2)])
def test_widths_below_one_or_twice_are_refused(given):
    with pytest.raises(UserError, match="different widths"):
        sweep(Rows(*data()), given, steps=1, start=start)

"""A stack must train like its models one after another, and its optimisers like PyTorch's own."""

import pytest
import torch

from scalebook import ensemble
from scalebook.ensemble import Minibatches, Optimiser, log_steps, mean_squared_error, train, warmup_cosine
from scalebook.errors import UserError
from scalebook.models import mlp, mlp_forward

WIDTHS = (4, 7, 16)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def data(samples=64):
    x = torch.randn(samples, 5, generator=generator(100))
    return x, torch.sin(x.sum(dim=1, keepdim=True))


def parameters(widths=WIDTHS):
    return mlp([(5, width, width, 1) for width in widths], [generator(width) for width in widths])


def module(stacked, k, width):
    """Return model k of a stack as an ordinary PyTorch module without padding."""
    layers = [torch.nn.Linear(5, width), torch.nn.Tanh(), torch.nn.Linear(width, width), torch.nn.Tanh(), torch.nn.Linear(width, 1)]
    net = torch.nn.Sequential(*layers)
    with torch.no_grad():
        for layer, linear in enumerate((net[0], net[2], net[4])):
            rows, columns = linear.in_features, linear.out_features
            linear.weight.copy_(stacked[f"w{layer}"][k, :rows, :columns].T)
            linear.bias.copy_(stacked[f"b{layer}"][k, 0, :columns])
    return net


def trained_alone(net, optimiser, batches, steps, schedule=None):
    peak = optimiser.param_groups[0]["lr"]
    for step in range(steps):
        if schedule is not None:
            optimiser.param_groups[0]["lr"] = peak * schedule(step, steps)
        x, y = batches(step)
        optimiser.zero_grad()
        (net(x) - y).square().mean().backward()
        optimiser.step()
    x, y = data()
    return (net(x) - y).square().mean().item()


def losses(found):
    x, y = data()
    return mean_squared_error(mlp_forward(torch.tanh)(found.parameters, x), y)


def test_stack_of_three_widths_matches_pytorch_adamw_one_after_another():
    x, y = data()
    schedule = warmup_cosine(0.2, 0.1)
    found = train(
        parameters(), mlp_forward(torch.tanh), mean_squared_error, Minibatches(x, y, 16, [generator(1)]), 200,
        Optimiser(rate=1e-2, decay=0.1, schedule=schedule),
    )  # fmt: skip
    alone = []
    for k, width in enumerate(WIDTHS):
        net = module(parameters(), k, width)
        torch_adamw = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.1)
        alone.append(trained_alone(net, torch_adamw, Minibatches(x, y, 16, [generator(1)]), 200, schedule))
    torch.testing.assert_close(losses(found), torch.tensor(alone), atol=1e-4, rtol=0)
    assert max(alone) < 0.5 * float(y.var()), "the test must train far enough to mean something"


def test_one_adam_step_equals_torch_adamw():
    x, y = data()
    start = parameters((6,))
    net = module(start, 0, 6)
    trained_alone(net, torch.optim.AdamW(net.parameters(), lr=3e-2, weight_decay=0.5), lambda _: (x, y), 1)
    rule = Optimiser(rate=3e-2, decay=0.5)
    found = train(start, mlp_forward(torch.tanh), mean_squared_error, lambda _: (x, y), 1, rule)
    torch.testing.assert_close(found.parameters["w0"][0].T, net[0].weight.detach(), atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(found.parameters["b1"][0, 0], net[2].bias.detach(), atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_equals_torch_sgd(momentum):
    x, y = data()
    start = parameters((6,))
    net = module(start, 0, 6)
    alone = trained_alone(net, torch.optim.SGD(net.parameters(), lr=0.05, momentum=momentum), lambda _: (x, y), 50)
    rule = Optimiser("sgd", rate=0.05, momentum=momentum)
    found = train(start, mlp_forward(torch.tanh), mean_squared_error, lambda _: (x, y), 50, rule)
    assert float(losses(found)) == pytest.approx(alone, abs=1e-5)


def test_each_model_keeps_its_own_rate_decay_and_batches():
    x, y = data()
    rates, decays = [1e-2, 1e-3, 3e-2], [0.0, 0.2, 0.05]
    found = train(
        parameters(), mlp_forward(torch.tanh), mean_squared_error, Minibatches(x, y, 16, [generator(s) for s in (7, 8, 9)]), 100,
        Optimiser(rate=rates, decay=decays),
    )  # fmt: skip
    alone = []
    for k, width in enumerate(WIDTHS):
        net = module(parameters(), k, width)
        rule = torch.optim.AdamW(net.parameters(), lr=rates[k], weight_decay=decays[k])
        alone.append(trained_alone(net, rule, Minibatches(x, y, 16, [generator(7 + k)]), 100))
    torch.testing.assert_close(losses(found), torch.tensor(alone), atol=1e-4, rtol=0)


def test_padding_stays_zero_and_a_model_does_not_depend_on_its_company():
    x, y = data()
    rule = Optimiser(rate=1e-2, decay=0.1)
    together = train(parameters(), mlp_forward(torch.relu), mean_squared_error, lambda _: (x, y), 60, rule)
    assert torch.count_nonzero(together.parameters["w1"][0, 4:]) == 0
    assert torch.count_nonzero(together.parameters["w1"][0, :, 4:]) == 0
    apart = train(parameters((4,)), mlp_forward(torch.relu), mean_squared_error, lambda _: (x, y), 60, rule)
    torch.testing.assert_close(together.parameters["w1"][0, :4, :4], apart.parameters["w1"][0], atol=1e-5, rtol=1e-4)


def test_undecayed_parameters_are_left_alone():
    start = {"w0": torch.ones(2, 5, 1), "b0": torch.ones(2, 1, 1)}
    rule = Optimiser("sgd", rate=0.1, decay=0.5, undecayed=frozenset({"b0"}))
    still = train(start, mlp_forward(), lambda p, _: 0.0 * p.flatten(1).sum(1), lambda _: data(), 1, rule).parameters
    torch.testing.assert_close(still["w0"], torch.full((2, 5, 1), 0.95))
    torch.testing.assert_close(still["b0"], torch.ones(2, 1, 1))


def test_history_is_taken_at_the_steps_asked_for_and_progress_is_told():
    x, y = data()
    told = []
    found = train(
        parameters(), mlp_forward(torch.tanh), mean_squared_error, lambda _: (x, y), 8, Optimiser(),
        evaluate=lambda p: {"loss": mean_squared_error(mlp_forward(torch.tanh)(p, x), y)}, at=[0, 2, 8],
        progress=lambda done, steps: told.append((done, steps)),
    )  # fmt: skip
    assert found.steps == [0, 2, 8] and told[-1] == (8, 8)
    assert found.history["loss"].shape == (3, 3)
    assert (found.history["loss"][-1] < found.history["loss"][0]).all()


def test_same_inputs_give_the_same_bits():
    x, y = data()

    def once():
        batches = Minibatches(x, y, 16, [generator(3)])
        return train(parameters(), mlp_forward(torch.tanh), mean_squared_error, batches, 30, Optimiser(rate=1e-2)).parameters

    first, second = once(), once()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_modules_of_any_architecture_can_be_stacked():
    torch.manual_seed(0)
    nets = [torch.nn.Sequential(torch.nn.Conv1d(2, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(9, 4)) for _ in range(3)]
    x, labels = torch.randn(8, 2, 5, generator=generator(0)), torch.randint(4, (8,), generator=generator(1))
    stacked, forward = ensemble.stack(nets)
    torch.testing.assert_close(forward(stacked, x), torch.stack([net(x) for net in nets]).detach(), atol=1e-6, rtol=1e-5)
    own = torch.randn(3, 8, 2, 5, generator=generator(2))
    stacked, forward_own = ensemble.stack(nets, own_data=True)
    torch.testing.assert_close(forward_own(stacked, own)[1], nets[1](own[1]).detach(), atol=1e-6, rtol=1e-5)
    truth = torch.stack([torch.nn.functional.cross_entropy(net(x), labels) for net in nets]).detach()
    torch.testing.assert_close(ensemble.cross_entropy(forward(stacked, x), labels).detach(), truth)


def test_minibatches_visit_every_sample_once_an_epoch():
    x = torch.arange(12.0)[:, None]
    stream = Minibatches(x, x, 4, [generator(5), generator(6)])
    epoch = torch.cat([stream(0)[0] for _ in range(3)], dim=1)  # (S, 12, 1)
    assert epoch.shape == (2, 12, 1)
    assert all(sorted(one.flatten().tolist()) == list(range(12)) for one in epoch)
    assert not torch.equal(epoch[0], epoch[1])


def test_models_with_data_sets_of_their_own():
    x = torch.stack([torch.zeros(6, 1), torch.ones(6, 1)])
    batch, _ = Minibatches(x, x, 3, [generator(0)], own_data=True)(0)
    assert batch.shape == (2, 3, 1) and batch[0].sum() == 0 and batch[1].sum() == 3


def test_schedule_rises_then_falls_to_its_floor():
    schedule = warmup_cosine(0.1, 0.05)
    values = [schedule(step, 1000) for step in range(1000)]
    assert values[0] == pytest.approx(0.01) and values[99] == 1.0
    assert values[-1] == pytest.approx(0.05, abs=1e-4)
    assert max(values) == 1.0 and all(b <= a for a, b in zip(values[99:], values[100:], strict=False))


def test_log_steps_reach_both_ends():
    assert log_steps(1000, 2) == [1, 3, 10, 32, 100, 316, 1000]
    assert log_steps(1) == [1]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Optimiser("lion"), "Use 'adam' or 'sgd'"),
        (lambda: Minibatches(*data(), 65, [generator(0)]), "Use 1 to 64"),
        (lambda: mlp([(5, 3, 1), (5, 3, 3, 1)], [generator(0)] * 2), "one depth"),
        (lambda: mlp([(5, 3, 1)], [generator(0)] * 2), "one generator a model"),
        (
            lambda: train(parameters(), mlp_forward(), mean_squared_error, lambda _: data(), 1, Optimiser(rate=[1e-3])),
            "1 values for a stack of 3",
        ),
    ],
)
def test_wrong_calls_say_what_to_do(wrong, says):
    with pytest.raises(UserError, match=says):
        wrong()

"""Long tails, known entropies, best forecasts and small transformers, against closed forms and other libraries."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from scalebook.ensemble import Optimiser, mean_squared_error, train
from scalebook.errors import UserError
from scalebook.models import mlp, mlp_forward
from scalebook.topics import byte_domains, floors, lag_source, learning_tails, needed_sizes, series_forecasts
from scalebook.topics.tiny_transformers import Build, network, start

OCTAVES = [128, 256, 512, 1024, 2048, 4096]


# facts


@pytest.mark.parametrize(("alpha", "slope"), [(0.3, -0.311), (0.5, -0.364), (0.8, -0.450), (1.2, -0.545)])
def test_slope_of_the_unseen_mass_of_eight_thousand_facts(alpha, slope):
    # computed independently by the referee of the design
    assert learning_tails.tail_slope(learning_tails.zipf(8000, alpha), OCTAVES) == pytest.approx(slope, abs=0.001)


def test_unseen_mass_of_equal_facts_is_a_geometric_series():
    found = learning_tails.unseen_mass(np.full(50, 0.02), [1, 10, 100])
    assert found == pytest.approx([0.98, 0.98**10, 0.98**100])


def test_a_long_tail_has_the_textbook_slope():
    assert learning_tails.tail_slope(learning_tails.zipf(2_000_000, 1.0), OCTAVES) == pytest.approx(-0.5, abs=0.01)


def test_who_memorises_errs_on_the_unseen_mass():
    worlds = [learning_tails.draw_facts((1.2,), 256, np.random.default_rng(3), items=500)]
    student = learning_tails.Student("small", (64,))
    errors, missed = learning_tails.memorise(
        student, worlds, (64, 256), steps=200, batch=64, start=lambda r: torch.Generator().manual_seed(r)
    )
    world = worlds[0]
    unseen = [world.p[1.2][~np.isin(np.arange(500), world.sampled[1.2][:m])].sum() for m in (64, 256)]
    assert missed.max() == 0
    assert (errors[0, 0] <= unseen).all() and errors[0, 0] == pytest.approx(0.9 * np.array(unseen), rel=0.12)


def test_the_mass_that_a_world_leaves_out_is_the_unseen_mass_on_average():
    worlds = [learning_tails.draw_facts((0.8,), 400, np.random.default_rng(s), items=300) for s in range(200)]
    found = np.mean([learning_tails.drawn_mass(world, 0.8, (50, 400)) for world in worlds], axis=0)
    assert found == pytest.approx(learning_tails.unseen_mass(worlds[0].p[0.8], (50, 400)), rel=0.05)


def test_a_student_is_held_to_the_labels_it_was_told():
    said = np.array([1, 2, 0, 3])
    items, given = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 2, 0, 2, 3])
    assert learning_tails._missed(said, items, given, 4) == pytest.approx(1 / 3)  # 0 by majority, 1 by a tie, 2 wrong


# sufficient sizes


def test_sufficient_size_of_a_power_law():
    sizes = np.geomspace(10, 10_000, 7)
    errors = 5 * sizes[None] ** -0.5
    found = needed_sizes.smallest_sufficient(sizes, errors, np.array([5 * 300**-0.5]))
    assert found == pytest.approx([300.0])


def test_a_student_is_scored_where_held_out_samples_like_it_best():
    """The same training once more, with every moment scored, and the best of all moments and rates taken at the end."""
    teacher = learning_tails.Teacher.draw(np.random.default_rng(0))
    how = {"steps": 400, "batch": 16}
    found = needed_sizes.student_errors(
        [teacher], (8, 200), (32,), (1e-3, 3e-2), lambda r, w: torch.Generator().manual_seed(w),
        lambda r: np.random.default_rng(9), **how,
    )  # fmt: skip
    rng, most = np.random.default_rng(9), 200
    x = rng.uniform(-1, 1, (most + needed_sizes.HELD + needed_sizes.SCORED, 4))
    noise = needed_sizes.NOISE * rng.standard_normal(most + needed_sizes.HELD)
    y = torch.from_numpy((teacher(x) + np.append(noise, np.zeros(needed_sizes.SCORED))).astype(np.float32))
    x = torch.from_numpy(x.astype(np.float32))
    order = torch.Generator().manual_seed(32)
    begun = {name: value.repeat_interleave(4, dim=0) for name, value in mlp([(4, 32, 32, 1)], [order]).items()}
    lengths = torch.tensor([8, 8, 200, 200])[:, None]

    def batches(step):
        rows = (torch.rand(4, 16, generator=order) * lengths).long()
        return x[rows], y[rows]

    def look(p):
        miss = (mlp_forward(torch.relu)(p, x[most:].expand(4, -1, -1))[..., 0] - y[most:]).square()
        return {"held": miss[:, : needed_sizes.HELD].mean(1), "scored": miss[:, needed_sizes.HELD :].mean(1)}

    of = train(begun, mlp_forward(torch.relu), lambda p, t: mean_squared_error(p[..., 0], t), batches, 400,
               Optimiser(rate=[1e-3, 3e-2] * 2), look, range(50, 401, 50)).history  # fmt: skip
    held, scored = (of[name].numpy().reshape(8, 2, 2) for name in ("held", "scored"))  # moment, samples, rate
    for m in range(2):
        moment, rate = np.unravel_index(held[:, m].argmin(), (8, 2))
        assert found[0, m, 0] == pytest.approx(scored[moment, m, rate], rel=1e-4)
    assert len(np.unique(held.argmin(axis=0))) > 1  # not all are best at the same moment


def test_a_size_at_either_end_is_no_answer():
    sizes = np.array([1.0, 2.0, 4.0])
    errors = np.array([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [3.0, 2.5, 2.0]])
    assert np.isnan(needed_sizes.smallest_sufficient(sizes, errors, np.array([1.5, 1.5, 1.0]))).all()


def test_no_slope_from_three_sizes():
    samples, needed = np.array([1, 2, 4, 8]), np.array([[2.0, 4.0, 8.0, 16.0], [2.0, 4.0, 8.0, np.nan]])
    found = needed_sizes.size_slope(samples, needed)
    assert found[0] == pytest.approx(1.0) and np.isnan(found[1])


# the source of known entropy


def test_chances_of_all_symbols_sum_to_one():
    source = lag_source.Source.draw(np.random.default_rng(1), 12)
    x = source.chains(5, 20, np.random.default_rng(2))
    total = 0
    for symbol in range(lag_source.SYMBOLS):
        x[:, -1] = symbol
        total = total + source.chance(x, 1, (3, 12))
    assert total == pytest.approx(np.ones_like(total))


def test_who_knows_all_lags_knows_the_source():
    source = lag_source.Source.draw(np.random.default_rng(1), 12)
    exact, partial, whole = source.chance(source.chains(9, 40, np.random.default_rng(2)), 30, (1, 12))
    assert whole == pytest.approx(exact) and -np.log(partial).mean() > -np.log(exact).mean()


def test_chances_are_calibrated():
    source = lag_source.Source.draw(np.random.default_rng(1), 8)
    chance = source.chance(source.chains(400, 60, np.random.default_rng(2)), 50)[0]
    likely = chance[chance > 0.0]
    # E[1/p] over what happened is the number of symbols that can happen
    assert (1 / likely).mean() == pytest.approx(lag_source.SYMBOLS, rel=0.03)


def test_floor_of_an_exact_law_is_found():
    sizes = np.array([1.0, 2, 4, 8, 16, 32, 64])
    fitted, naive = lag_source.floor_errors(sizes, 2.0 + sizes**-0.7, 2.0)
    assert fitted < 1e-4 and naive == pytest.approx(64**-0.7)


# floors in closed form


def test_constant_and_height_are_those_of_non_negative_least_squares():
    rng = np.random.default_rng(4)
    sizes = np.array([10.0, 30, 90, 270])
    for losses in rng.uniform(0.5, 2, (20, 4)):
        columns = np.stack([1 / losses, sizes**-0.5 / losses], axis=1)
        assert floors.with_constant(sizes, losses, 0.5) == pytest.approx(nnls(columns, np.ones(4))[0], abs=1e-9)


def test_forecast_of_an_exact_law():
    sizes = np.geomspace(6e3, 2e5, 5)
    alpha = floors.ALPHAS[60]
    losses = 1.1 + 7 * sizes[None] ** -alpha
    assert floors.forecast(sizes, losses, np.array([1e6]))[0, 0] == pytest.approx(1.1 + 7 * 1e6**-alpha, rel=1e-9)


# four domains


@pytest.mark.parametrize("domain", byte_domains.DOMAINS)
def test_windows_hold_the_symbols_of_their_domain(domain):
    found = byte_domains.windows(domain, 40, np.random.default_rng(5))
    assert found.shape == (40, 65) and found.min() >= 0 and found.max() < byte_domains.DOMAINS[domain]


def test_the_sums_are_right():
    alphabet = np.array(list("0123456789+=\n"))
    text = "".join(alphabet[byte_domains.windows("sums", 3, np.random.default_rng(5))[0]])
    a, rest = next(line for line in text.split("\n") if len(line) == 12).split("+")
    assert int(a) + int(rest[:3]) == int(rest[4:])


def test_each_form_wins_where_it_is_the_truth():
    sizes = 12.0 * np.array([8, 16, 32, 64]) ** 2
    alpha = floors.ALPHAS[50]
    with_floor = np.array([e + a * sizes**-alpha for e, a in ((1, 3), (2, 5), (0.5, 2), (1.5, 9))])
    pure = np.array([a * sizes**-b for a, b in ((3, 0.05), (5, 0.1), (2, 0.08), (9, 0.2))])
    assert byte_domains.log_ratio(byte_domains.forecast_errors(sizes, with_floor)) < -2
    assert byte_domains.log_ratio(byte_domains.forecast_errors(sizes, pure)) > 2
    made = byte_domains.made_losses(sizes, pure, "pure", 0.0, 2, 3, np.random.default_rng(1))
    assert made == pytest.approx(np.broadcast_to(pure, (3, 2, 4, 4)))


# series with a known best forecast


def test_best_loss_on_a_known_signal_is_the_entropy_of_its_noise():
    values, following, once = series_forecasts._family("sines", 400, np.random.default_rng(6))
    entropy = 0.5 * np.log(2 * np.pi * np.e * series_forecasts.NOISE**2)
    assert following.mean() == pytest.approx(entropy, abs=0.01) and (following == once).all()


def test_best_loss_on_a_walk_is_that_of_a_growing_variance():
    _, following, once = series_forecasts._family("random walk", 3000, np.random.default_rng(6))
    entropy = 0.5 * np.log(2 * np.pi * np.e * series_forecasts.NOISE**2 * np.arange(1, 33)).reshape(4, 8).mean(axis=1)
    assert once.mean(axis=0) == pytest.approx(entropy, abs=0.05)
    assert following.mean(axis=0) == pytest.approx(np.full(4, entropy[0]), abs=0.03)
    assert following[:, 0] == pytest.approx(once[:, 0])


def test_scaling_moves_a_density_by_its_logarithm():
    one = series_forecasts.draw(("sines",), 200, np.random.default_rng(7))
    assert np.abs(one.values[:, :128]).mean(axis=1) == pytest.approx(np.ones(200), rel=1e-5)
    _, following, _ = series_forecasts._family("sines", 200, np.random.default_rng(7))
    raw = series_forecasts._family("sines", 200, np.random.default_rng(7))[0]
    scale = np.abs(raw[:, :128]).mean(axis=1)
    assert np.sort(one.next_patch[:, 0]) == pytest.approx(np.sort(following[:, 0] - np.log(scale)))


def test_losses_are_those_of_a_normal_distribution():
    g = torch.Generator().manual_seed(1)
    output, about = torch.randn(2, 3, 19, 16, generator=g), torch.randn(3, 4, 8, generator=g)
    centre, log_spread = output[:, :, -4:].chunk(2, dim=-1)
    told = -torch.distributions.Normal(centre, log_spread.exp()).log_prob(about.expand(2, 3, 4, 8)).mean(dim=-1)
    assert torch.allclose(series_forecasts.losses(output, about), told, atol=1e-5)


# the networks

BUILDS = [
    Build(8, 2, 2, 10, 7, 5),
    Build(8, 2, 1, 10, 7, 5, relative=True),
    Build(8, 1, 2, 10, 3, 4, symbols=False, causal=False),
]


def made(build, stack=3):
    p = start(build, [torch.Generator().manual_seed(s) for s in range(stack)])
    g = torch.Generator().manual_seed(9)
    p = {name: value + 0.3 * torch.randn(value.shape, generator=g) for name, value in p.items()}
    shape = (stack, 2, 10)
    symbols = torch.randint(build.inputs, shape, generator=g)
    return p, symbols if build.symbols else torch.randn(*shape, build.inputs, generator=g)


@pytest.mark.parametrize("build", BUILDS)
def test_a_stack_is_its_members(build):
    p, x = made(build)
    whole = network(build)(p, x)
    alone = [network(build)({name: value[[s]] for name, value in p.items()}, x[[s]]) for s in range(3)]
    assert torch.allclose(whole, torch.cat(alone), atol=1e-5)


@pytest.mark.parametrize("build", BUILDS)
def test_parameters_are_counted(build):
    p, _ = made(build, 1)
    assert sum(value.numel() for value in p.values()) == build.total


@pytest.mark.parametrize("build", BUILDS[:2])
def test_a_causal_network_does_not_see_what_comes(build):
    p, x = made(build)
    later = x.clone()
    later[..., 6:] = (later[..., 6:] + 1) % build.inputs
    before, after = network(build)(p, x), network(build)(p, later)
    assert torch.allclose(before[:, :, :6], after[:, :, :6], atol=1e-6) and not torch.allclose(before, after)


def test_without_a_mask_the_first_place_sees_the_last():
    p, x = made(BUILDS[2])
    later = x.clone()
    later[:, :, -1] += 1
    assert not torch.allclose(network(BUILDS[2])(p, x)[:, :, 0], network(BUILDS[2])(p, later)[:, :, 0])


def test_a_relative_network_does_not_know_where_it_is():
    build = BUILDS[1]
    p, x = made(build)
    p["lag0"][:, :, 2:] = -50.0  # it looks one step back at most, so a shift moves its answers along
    shifted = torch.roll(x, 3, dims=-1)
    assert torch.allclose(
        network(build)(p, x)[:, :, 1:7], network(build)(p, shifted)[:, :, 4:], atol=1e-5
    )


def test_a_plain_layer_agrees_with_torch():
    build = Build(8, 2, 1, 10, 3, 4, symbols=False)
    p, x = made(build, 1)
    layer = torch.nn.TransformerEncoderLayer(
        8, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.self_attn.in_proj_weight.copy_(p["qkv0"][0].T), layer.self_attn.out_proj.weight.copy_(p["out0"][0].T)
        layer.linear1.weight.copy_(p["up0"][0].T), layer.linear2.weight.copy_(p["down0"][0].T)
        for name, norm in (("norm0", layer.norm1), ("second0", layer.norm2)):
            norm.weight.copy_(p[f"{name}-scale"][0, 0]), norm.bias.copy_(p[f"{name}-shift"][0, 0])
        h = x[0] @ p["embed"][0] + p["where"][0]
        h = layer(h, src_mask=torch.nn.Transformer.generate_square_subsequent_mask(10))
        h = torch.nn.functional.layer_norm(h, (8,), p["last-scale"][0, 0], p["last-shift"][0, 0])
        assert torch.allclose(network(build)(p, x)[0], h @ p["head"][0], atol=1e-4)


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="divide into"):
        Build(10, 4, 1, 8, 3, 3)

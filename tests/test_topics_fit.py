"""The algorithms of the chapter on fitting against scipy, closed forms, automatic gradients and simulated truths."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq, check_grad
from scipy.special import huber
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from scalebook import laws
from scalebook.fitting import exponent, fit
from scalebook.topics import (
    fit_advice,
    fit_multiverse,
    fit_stopping,
    fit_widths,
    frontiers,
    sparse_students,
    two_towers,
)

LAW = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}


def runs(n: int, noise: float, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    size, flops = (np.exp(rng.uniform(*np.log(ends), n)) for ends in ((4e7, 1.6e10), (1e18, 1e22)))
    x = {"N": size, "D": flops / (6 * size)}
    return x, laws.Chinchilla(x, LAW) * np.exp(noise * rng.standard_normal(n))


def test_the_huber_sum_is_scipys_and_its_gradient_is_right():
    x, loss = runs(30, 0.02)
    logs = (np.log(x["N"]), np.log(x["D"]), np.log(loss), np.random.default_rng(1).uniform(0, 2, 30))
    theta = fit_stopping.internal(LAW) + 0.01
    law = {"E": np.exp(theta[0]), "A": np.exp(theta[1]), "B": np.exp(theta[2]), "alpha": theta[3], "beta": theta[4]}
    residual = np.log(laws.Chinchilla(x, law)) - logs[2]
    value, _ = fit_stopping.huber_sum(theta, *logs, 7.0)
    assert value == pytest.approx(7 * (logs[3] * huber(fit_stopping.DELTA, residual)).sum(), rel=1e-12)
    error = check_grad(lambda t: fit_stopping.huber_sum(t, *logs, 1e3)[0],
                       lambda t: fit_stopping.huber_sum(t, *logs, 1e3)[1], theta)  # fmt: skip
    assert error < 1e-3


def test_the_grid_has_4500_different_starts():
    starts = fit_stopping.grid_starts(np.arange(4500))
    assert len(np.unique(starts, axis=0)) == 4500
    assert starts[0] == pytest.approx([-1, 0, 0, 0, 0]) and starts[-1] == pytest.approx([1, 25, 25, 2, 2])


def test_tight_tolerances_end_where_the_books_fitter_does_and_defaults_on_a_mean_do_not():
    x, loss = runs(120, 0.005)
    found = fit(laws.Chinchilla, x, loss)
    start = fit_stopping.internal({"E": 1.0, "A": np.exp(5), "B": np.exp(5), "alpha": 0.5, "beta": 0.5})[None]
    tight, value = fit_stopping.ends(start, x, loss, scale=1e3, options=fit_stopping.TIGHT)
    early, worse = fit_stopping.ends(start, x, loss, scale=1 / 120, options=fit_stopping.DEFAULTS)
    assert value[0] == pytest.approx(found.loss, rel=1e-9) and worse[0] > 1.01 * found.loss
    assert fit_stopping.exponent(tight[0]) == pytest.approx(exponent(found.params), abs=1e-5)
    assert abs(fit_stopping.exponent(early[0]) - exponent(found.params)) > 0.01
    thrice = start.repeat(3, axis=0)
    assert len(fit_stopping.ends(thrice, x, loss, scale=1e3, options=fit_stopping.TIGHT)[1]) == 3
    optimum = (1 + 1e-9) * found.loss
    assert len(fit_stopping.ends(thrice, x, loss, scale=1e3, options=fit_stopping.TIGHT, enough=optimum)[1]) == 1
    scaled = fit_stopping.ends(start, x, loss, scale=1 / 120, factor=120e3, options=fit_stopping.DEFAULTS)
    assert scaled[1][0] == pytest.approx(found.loss, rel=1e-4)


def test_widths_follow_the_theory_of_each_method():
    x, loss = runs(300, 0.005)
    found = fit(laws.Chinchilla, x, loss, delta=None)
    rng = np.random.default_rng(0)
    case, sub, wild = fit_widths.widths_by_method(found, 600, rng)
    assert sub / case == pytest.approx(0.5, abs=0.1)  # sqrt(1/0.8 - 1) of the full error
    assert wild / case == pytest.approx(1.0, abs=0.15)
    assert fit_widths.width(rng.standard_normal(200_000)) == pytest.approx(2 * norm.ppf(0.9), rel=0.02)
    by_size = fit_widths.widths_by_size(found, (75, 300), 300, 6, rng)
    made = fit_widths.widths_simulated(found, (300, 1200), 300, rng, LAW)
    assert by_size[0] / by_size[1] == pytest.approx(2.0, rel=0.3) and made[0] / made[1] == pytest.approx(2.0, rel=0.3)
    assert made[0] == pytest.approx(by_size[1], rel=0.3)  # both have random residuals
    with pytest.raises(ValueError, match="unknown"):
        fit_widths.redrawn(found, "jackknife", 10, rng)


def test_a_multiverse_of_a_perfect_law_spreads_no_more_than_sampling_does():
    x, loss = runs(245, 0.005)
    table = {"N": x["N"], "C": 6 * x["N"] * x["D"], "loss": loss}
    listed = fit_multiverse.analyses(("all", "C < 1e21"), ("grid of starts",))
    assert len(fit_multiverse.analyses()) == 72 and len(listed) == 12
    fits = {one: fit_multiverse.analyse(table, one) for one in listed}
    at = fit_multiverse.exponents(fits, table)
    drawn = fit_multiverse.exponents(fits, table, fit_multiverse.counts_of(245, 30, np.random.default_rng(0)))
    assert fit_multiverse.spread_ratio(at, drawn) < 1.5
    known = fit_multiverse.spread_ratio(np.array([1.0, 2, 3]), np.array([[0.0, 2], [0, 4], [0, 10]]))
    assert known == pytest.approx(1 / np.sqrt(8))  # SD 1 over the median of sqrt(2), sqrt(8), sqrt(50)
    assert at == pytest.approx(exponent(LAW), abs=0.06)
    again = fit_multiverse.exponents(fits, table, np.ones((1, 245)))[:, 0]
    assert again == pytest.approx(at, abs=1e-6)  # every run once is the table itself
    assert len(fit_multiverse.rows_of(table, "drop five", "all")) == 240


def test_analyses_that_keep_the_same_runs_share_a_fit_and_no_others_do():
    x, loss = runs(245, 0.005)
    table = {"N": x["N"], "C": 6 * x["N"] * x["D"], "loss": loss}
    listed = fit_multiverse.analyses(("all", "C > 3e19"), ("grid of starts", "best of 5"))
    found = fit_multiverse.analyse_all(table, listed, np.random.default_rng(0))
    kept, dropped = (("Huber 1e-3", "C > 3e19", "grid of starts"), ("Huber 1e-3", "all", "grid of starts"))
    assert (table["C"][np.argsort(loss)[-5:]] < 3e19).all()
    assert found["keep all", *kept] is found["drop five", *kept]
    assert found["keep all", *dropped] is not found["drop five", *dropped]
    assert found["keep all", *kept[:2], "best of 5"] is not found["drop five", *kept[:2], "best of 5"]
    for one in listed[::5]:
        alone = exponent(fit_multiverse.analyse(table, one).params)
        assert exponent(found[one].params) == pytest.approx(alone, abs=0.02)


def test_advice_is_the_optimum_of_the_law_and_a_lower_floor_of_rates_moves_it():
    rows, rng, law = [], np.random.default_rng(0), LAW | {"alpha": 0.25, "A": 60.0, "beta": 0.45, "B": 9000.0}
    for n in np.geomspace(5e7, 1e9, 8):
        for d in np.geomspace(1e9, 2e10, 6):
            for rate in (0.001, 0.002, 0.004):
                loss = float(laws.Chinchilla({"N": [n], "D": [d]}, law)[0]) * (1 + (rate == 0.004) * 0.02)
                loss *= 1 + 0.01 * (rate == 0.002)
                rows.append((loss, int(n), int(0.8 * n), int(d), 6 * n * d, 100, rate, "s"))
    columns = ["loss", "N", "N_no_emb", "D", "C", "total_steps", "peak_lr", "sweep"]
    last = pd.DataFrame(rows, columns=columns)
    every = last.assign(portion_steps_elapsed=1.0)
    tables = fit_advice.arrange(last, every)
    assert len(tables["base"]) == 48 and set(tables["base"].index) == set(last[last["peak_lr"] == 0.001].index)
    fits = {name: fit_advice.fitted(tables, name) for name in ("base", *fit_advice.DETAILS, "FLOP count")}
    base = {name: np.array([value]) for name, value in fits["base"].params.items()}
    compute = (6 * tables["base"]["N"].astype(float) * tables["base"]["D"].astype(float)).max()
    sizes = np.geomspace(1e7, 1e11, 20_001)
    least = sizes[np.argmin(laws.Chinchilla({"N": sizes, "D": compute / (6 * sizes)}, law))]
    wanted = np.log(compute / 6 / least**2)
    assert fit_advice.advice(tables, "base", base)[0] == pytest.approx(wanted, abs=0.02)
    moved = fit_advice.changes(tables, fits)
    assert abs(moved["FLOP count"][0]) < 1e-3 and abs(moved["checkpoints"][0]) < 1e-3
    same = fit_advice.half_change(tables, fits["base"], np.ones((1, 48)), 4, rng)
    assert same[0] < 0.05  # without noise, halves agree


def test_gradients_of_the_students_are_those_of_an_automatic_library():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    models = [sparse_students.start(16, s, rng)[0] for s in (0.0, 0.5)]
    params = [np.stack(arrays).astype(np.float64) for arrays in zip(*models)]
    x, y = rng.uniform(-1, 1, (2, 8, 4)), rng.standard_normal((2, 8))
    loss, gradients = sparse_students.loss_and_gradient(params, x, y)
    w = [torch.tensor(p, requires_grad=True) for p in params]
    h = torch.relu(torch.relu(torch.tensor(x) @ w[0] + w[1]) @ w[2] + w[3])
    theirs = ((h @ w[4] + w[5])[..., 0] - torch.tensor(y)).square().mean(dim=1)
    theirs.sum().backward()
    assert loss == pytest.approx(theirs.detach().numpy())
    for ours, other in zip(gradients, w):
        assert ours == pytest.approx(other.grad.numpy(), abs=1e-9)


def test_adam_takes_the_steps_of_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    p = rng.standard_normal(5)
    theirs = torch.tensor(p.copy(), requires_grad=True)
    optimiser = torch.optim.Adam([theirs], lr=0.01, betas=sparse_students.BETAS, eps=sparse_students.TINY)
    m, v = np.zeros(5), np.zeros(5)
    for count in range(1, 6):
        g = rng.standard_normal(5)
        theirs.grad = torch.tensor(g.copy())
        optimiser.step()
        sparse_students.adam_step(p, g, m, v, 0.01, count)
    assert p == pytest.approx(theirs.detach().numpy(), abs=1e-9)


def test_masks_keep_their_share_and_masked_weights_never_move():
    rng = np.random.default_rng(0)
    kept = sparse_students.masks(32, 0.75, rng)
    assert [mask.mean() for mask in kept] == pytest.approx([0.25] * 3)
    assert sum(mask.size for mask in kept) == sparse_students.parameters(32)
    values, off = sparse_students.start(16, 0.75, rng)
    stack, switched = [v[None].copy() for v in values], [mask[None] for mask in off]
    moments = tuple([np.zeros_like(p) for p in stack] for _ in range(2))
    for count in range(1, 6):
        x, y = rng.uniform(-1, 1, (1, 8, 4)).astype(np.float32), rng.standard_normal((1, 8)).astype(np.float32)
        sparse_students.train_step(stack, switched, moments, x, y, 0.01, count)
    for before, after, mask in zip(values, stack, off):
        assert (after[0][mask == 0] == 0).all() and (after[0] != before)[mask == 1].any()
    teacher = sparse_students.Teacher.drawn(rng)
    x = rng.uniform(-1, 1, (20_000, 4))
    assert teacher(x).std() < 2 and teacher(x).shape == (20_000,)
    loss = sparse_students.trained(16, (0.0, 0.9), 2048, [teacher], [np.random.default_rng(1)])
    assert loss.shape == (1, 2) and sparse_students.NOISE_VARIANCE < loss[0, 0] < loss[0, 1]


def test_the_sparse_law_is_the_dense_one_at_zero_and_is_found_again():
    axes = (np.geomspace(3e2, 7e4, 5), [1e3, 4e3, 1.6e4], [0, 0.5, 0.75, 0.9])
    n, d, s = (grid.ravel() for grid in np.meshgrid(*axes, indexing="ij"))
    truth = {"e": 0.01, "a": 4.0, "b": 30.0, "c": 2.0, "alpha": 0.5, "beta": 0.8, "gamma": -0.3}
    loss = sparse_students.SparseLaw({"N": n, "D": d, "S": s}, truth)
    dense = laws.Chinchilla({"N": n, "D": d}, E=0.01, A=4.0, B=30.0, alpha=0.5, beta=0.8)
    assert loss[s == 0] == pytest.approx(dense[s == 0])
    found = sparse_students.compare_laws(n, d, s, loss, n > 3e4)
    assert found["joint"]["alpha"] == pytest.approx(0.5, abs=0.01)
    assert found["error"][sparse_students.RIVALS[0]] < 0.01 < found["error"][sparse_students.RIVALS[1]]
    assert found["joint"]["alpha"] == pytest.approx(found["alone"]["alpha"], abs=0.02)
    none_dense = sparse_students.compare_laws(n, d, s, loss, (n > 3e4) & (s > 0))
    assert np.isnan(none_dense["dense"]).all() and np.isfinite(found["dense"]).all()
    by_active = sparse_students.SparseLaw({"N": n * (1 - s), "D": d, "S": s}, truth)
    other = sparse_students.compare_laws(n, d, s, by_active, n > 3e4)
    assert other["active"]["alpha"] == pytest.approx(0.5, abs=0.01)
    assert other["error"]["active parameters"] < 0.01 < other["error"][sparse_students.RIVALS[0]]
    straight = 0.01 * (1 - s) ** -0.3 + (4.0 + 2.0 * s) * n**-0.5 + 30.0 * d**-0.8
    assert sparse_students.StraightLaw({"N": n, "D": d, "S": s}, truth) == pytest.approx(straight)


def test_gradients_of_contrast_and_captions_are_those_of_an_automatic_library():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    image, text = rng.standard_normal((2, 3, 6, 5))
    loss, to_image, to_text = two_towers.contrast(image, text)
    a, b = (torch.tensor(each, requires_grad=True) for each in (image, text))
    unit = [torch.nn.functional.normalize(each, dim=2) for each in (a, b)]
    logits = two_towers.SHARPNESS * unit[0] @ unit[1].mT
    own = torch.arange(6).repeat(3)
    both = [torch.nn.functional.cross_entropy(z.flatten(0, 1), own, reduction="none") for z in (logits, logits.mT)]
    theirs = (both[0] + both[1]).view(3, 6).mean(dim=1) / 2
    theirs.sum().backward()
    assert loss == pytest.approx(theirs.detach().numpy(), rel=1e-5)
    assert to_image == pytest.approx(a.grad.numpy(), abs=1e-5) and to_text == pytest.approx(b.grad.numpy(), abs=1e-5)
    z = torch.tensor(rng.standard_normal((2, 4, 7)), requires_grad=True)
    there = (rng.random((2, 4, 7)) < 0.5).astype(float)
    bce = torch.nn.functional.binary_cross_entropy_with_logits(z, torch.tensor(there), reduction="none")
    bce = bce.mean(dim=(1, 2))
    bce.sum().backward()
    value, slope = two_towers.caption_loss(z.detach().numpy(), there)
    assert value == pytest.approx(bce.detach().numpy()) and slope == pytest.approx(z.grad.numpy(), abs=1e-9)


def test_a_net_passes_its_gradient_down_and_the_error_is_one_minus_the_area():
    rngs = [np.random.default_rng(k) for k in range(2)]
    net = two_towers.Net([5, 7, 3], rngs)
    net.values = [v.astype(np.float64) for v in net.values]
    x, weight = rngs[0].standard_normal((2, 4, 5)), rngs[0].standard_normal((2, 4, 3))
    outputs = net.forward(x)
    _, down = net.backward(outputs, weight)
    bump = np.zeros_like(x)
    bump[1, 2, 3] = 1e-6
    change = ((net.forward(x + bump)[-1] - net.forward(x - bump)[-1]) * weight).sum() / 2e-6
    assert down[1, 2, 3] == pytest.approx(change, rel=1e-5)
    nets = {name: two_towers.Net(sizes, rngs[:1]) for name, sizes in two_towers.layer_sizes("contrast", 64).items()}
    images, there, told = two_towers.World(rngs[:1]).draw(400)
    image = nets["image"].forward(images)[-1][0]
    text = nets["text"].forward(np.eye(two_towers.ATTRIBUTES, dtype=np.float32)[None])[-1][0]
    image, text = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (image, text))
    scores = image @ text.T
    area = np.mean([roc_auc_score(there[0, :, k], scores[:, k]) for k in range(two_towers.ATTRIBUTES)])
    assert two_towers.attribute_error(nets, images, there)[0] == pytest.approx(1 - area, abs=1e-4)
    assert not (told & ~there).any() and there.sum(axis=2).mean() == pytest.approx(two_towers.PRESENT, rel=0.1)


def test_captions_cost_half_of_a_step():
    for width in (16, 256):
        once, twice = (two_towers.step_flops(name, width) for name in two_towers.PROCEDURES)
        assert twice / once == pytest.approx(2.0, rel=0.03)


def test_frontiers_cross_where_two_known_laws_do():
    at = np.geomspace(1, 1e4, 33)
    first, second = 0.30 + 0.5 * at**-0.5, 0.10 + 0.8 * at**-0.3
    wanted = brentq(lambda t: 0.20 + 0.5 * np.exp(-0.5 * t) - 0.8 * np.exp(-0.3 * t), 1, 9)
    assert np.log(frontiers.last_sign_change(at, second - first)) == pytest.approx(wanted, abs=0.02)
    small, predicted, measured, factor = frontiers.forecast_gap(at, first, second)
    assert small > 0 > measured and predicted == pytest.approx(measured, abs=0.005)
    assert factor == pytest.approx(1.0, abs=0.1)
    least = frontiers.frontier(np.array([1.0, 2, 3]), np.array([0.5, 0.6, 0.2]), np.array([0.5, 1, 2.5, 3]))
    assert np.isnan(least[0]) and least[1:] == pytest.approx([0.5, 0.5, 0.2])

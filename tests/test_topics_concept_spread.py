"""The chapter on the geometry of concepts, its ruler: measures of spread and spectra, against closed forms and scipy."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity

from scalebook.errors import UserError
from scalebook.topics import concept_spectra as spectra
from scalebook.topics import spread_measures as spread


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_average_cosine_is_the_mean_over_all_pairs(rng):
    x = rng.standard_normal((40, 6)) + 0.7
    cosine = cosine_similarity(x)
    assert spread.average_cosine(x) == pytest.approx(cosine[~np.eye(40, dtype=bool)].mean())


def test_average_cosine_of_a_cloud_moved_by_four_deviations(rng):
    # position, not spread: |shift|^2 / (|shift|^2 + variance) with all of the shift in one direction of unit variance
    x = rng.standard_normal((4000, 64))
    x[:, 0] += 4 * 8  # 4 in units where the squared length of the noise is 1
    assert spread.average_cosine(x) == pytest.approx(16 / 17, abs=0.01)


def test_partition_ratio_by_hand(rng):
    x = np.array([[0.3, -0.2], [1.0, 0.5], [-0.4, 0.9]])
    seen = np.random.default_rng(9).standard_normal((2, spread.DIRECTIONS))
    z = np.exp(x @ (seen / np.linalg.norm(seen, axis=0))).mean(axis=0)
    assert spread.partition_ratio(x, np.random.default_rng(9)) == pytest.approx(z.min() / z.max(), rel=1e-5)
    assert spread.partition_ratio(x + 30, rng) < 1e-6 < spread.partition_ratio(x, rng)


def test_spectrum_is_that_of_pca_and_the_raw_one_keeps_the_position(rng):
    x = rng.standard_normal((300, 7)) @ np.diag(np.arange(1, 8)) + 5
    pca = PCA().fit(x)
    assert spread.spectrum(x) * 300 / 299 == pytest.approx(pca.explained_variance_)
    assert spread.spectrum(x, centred=False)[0] > spread.spectrum(x)[0] + 7 * 25 * 0.8


@pytest.mark.parametrize("d", [2, 10, 100])
def test_ends_of_the_spectral_measures(d):
    one, flat = np.eye(d)[0], np.ones(d)
    assert spread.enrichment(flat) == pytest.approx(0)
    assert spread.enrichment(one) == pytest.approx((d - 1) / d)
    assert (spread.participation(flat), spread.effective_rank(flat)) == pytest.approx((1, 1))
    assert (spread.participation(one), spread.effective_rank(one)) == pytest.approx((1 / d, 1 / d))
    assert spread.isoscore(flat) == pytest.approx(1) and spread.isoscore(one) == pytest.approx(0, abs=1e-12)
    assert spread.components_for(flat) == pytest.approx(0.9) and spread.components_for(one) == pytest.approx(0.9 / d)


def test_isoscore_is_linear_in_the_number_of_used_dimensions():
    # the paper's own illustration: k of d dimensions used evenly score (k - 1)/(d - 1)
    for k in (2, 5, 9):
        used = np.r_[np.ones(k), np.zeros(10 - k)]
        assert spread.isoscore(used) == pytest.approx((k - 1) / 9)


def test_enrichment_against_an_area_by_quadrature():
    values = np.array([5.0, 3.0, 1.0, 1.0])
    grid = np.linspace(0, 4, 40001)
    curve = np.interp(grid, np.arange(5), np.r_[0, np.cumsum(values) / 10])
    area = np.mean(curve - grid / 4) * 4
    assert spread.enrichment(values) == pytest.approx(area / 2, abs=1e-4)


def test_component_entropies_of_a_gaussian_and_a_uniform(rng):
    n = 20_000
    x = np.column_stack([3 * rng.standard_normal(n), rng.random(n)])
    assert spread.component_entropies(x) == pytest.approx([0.0, norm(scale=3).entropy()], abs=0.03)


def test_roughness_of_gaussians_has_a_closed_form(rng):
    deviations = np.array([2.0, 1.0, 0.5, 0.25])
    x = rng.standard_normal((20_000, 4)) * deviations
    scaled = deviations * np.sqrt(4 / np.sum(deviations**2))
    found = spread.roughness(spread.component_entropies(x), spread.spectrum(x).sum())
    assert found == pytest.approx(np.mean((1 - scaled) ** 2), abs=0.01)
    moved = spread.roughness(spread.component_entropies(7 * x + 9), spread.spectrum(7 * x + 9).sum())
    assert moved == pytest.approx(found, abs=1e-9)


def test_centred_overlap_is_one_when_isotropic_and_d_on_a_line(rng):
    assert spread.centred_overlap(rng.standard_normal((3000, 20))) == pytest.approx(1, abs=0.02)
    assert spread.centred_overlap(np.outer(rng.standard_normal(50), np.ones(8))) == pytest.approx(8)


@pytest.mark.parametrize("f", [0.15, 0.5, 1.0])
def test_clouds_have_the_spread_they_were_asked_for(f, rng):
    values = spread.power_spectrum(50, f)
    assert spread.participation(values) == pytest.approx(f) and values.sum() == pytest.approx(50)
    for shape in ("gaussian", "clusters", "student"):
        x = spread.cloud(50, 60_000, f, shape, 2.0, rng)
        measured = spread.spectrum(x)
        assert measured.sum() == pytest.approx(50, rel=0.35 if shape == "clusters" else 0.05)
        if shape == "gaussian":
            assert measured == pytest.approx(values, rel=0.07)  # the sample alone spreads equal ones by 6 %


def test_concordance_by_hand():
    values, true, dims = np.array([1.0, 2.0, 3.0, 2.5]), np.array([0.1, 0.5, 0.9, 0.5]), np.array([2, 9, 2, 2])
    # pairs of different d and different spread: (0, 1) and (1, 2); both rise with the truth
    assert spread.concordance(values, true, dims, True) == 1
    assert spread.concordance(values, true, dims, False) == 0
    assert spread.concordance(-values, true, dims, None) == 1
    assert spread.concordance(np.ones(4), true, dims, True) == 0.5
    assert spread.concordance(np.array([1.0, 2.0, 0.0, 9.0]), true, dims, True) == 0.5


def test_the_seven_clouds(rng):
    made = {name: draw(10, 4000, rng) for name, draw in spread.SEVEN.items()}
    length = {name: np.linalg.norm(x, axis=1) for name, x in made.items()}
    assert np.mean(length["ball"]) == pytest.approx(10 / 11, abs=0.01)  # mean radius of the unit ball is d/(d + 1)
    assert length["shell"] == pytest.approx(1)
    assert sorted(set(np.round(length["nested shells"], 6))) == pytest.approx([1 / 3, 2 / 3, 1], abs=1e-6)
    assert (made["cone"][:, 0] / length["cone"]).min() >= np.cos(np.pi / 6) - 1e-12
    assert np.linalg.norm(made["clusters"].mean(axis=0)) < 0.1 < np.linalg.norm(made["shifted clusters"].mean(axis=0))
    every = spread.measure_all(made["cone"], np.random.default_rng(1))
    assert set(every) == {*spread.MEASURES, "EEE uncentred"}
    assert {**every, **spread.measure_four(made["cone"], np.random.default_rng(1))} == every


def test_a_power_law_and_an_exponential_are_each_recognised():
    rank = np.arange(1, 200)
    law = spectra.fit_spectrum(3 * rank**-0.7)
    assert (law.slope, law.slope_fitted, law.r2) == pytest.approx((-0.7, -0.7, 1))
    assert law.error_power == pytest.approx(0, abs=1e-12) and law.error_exponential > 0.5
    decay = spectra.fit_spectrum(np.exp(-rank / 30))
    assert decay.error_exponential == pytest.approx(0, abs=1e-12) and decay.error_power > 0.5


def test_the_held_out_error_is_that_of_a_line_fitted_elsewhere():
    rank = np.arange(1, 200)
    bent = np.where(rank <= 32, rank**-1.0, 32.0**-1 * (rank / 32) ** -2.0)
    expected = np.sqrt(np.mean(np.log(np.arange(33, 129) / 32) ** 2))
    assert spectra.fit_spectrum(bent).error_power == pytest.approx(expected)


def test_marchenko_pastur_against_samples_and_its_moments(rng):
    law = spectra.marchenko_pastur(1000, 300)
    sample = spectra.falling_spectrum(rng.standard_normal((1000, 300)))
    assert law == pytest.approx(sample, rel=0.04)
    assert law.mean() == pytest.approx(1, abs=1e-3) and (law**2).mean() == pytest.approx(1.3, abs=2e-3)  # 1 and 1 + d/n


@pytest.mark.parametrize("call", [lambda: spectra.marchenko_pastur(5, 5), lambda: spectra.fit_spectrum(np.ones(100))])
def test_what_cannot_be_fitted_is_refused(call):
    with pytest.raises(UserError):
        call()

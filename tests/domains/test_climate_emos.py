"""EMOS against numerical integration, an independent library, and laws that are known."""

import json
import math

import numpy as np
import pytest
import scoringrules
import torch
from scipy import integrate, stats

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.climate import emos
from unstir.domains.climate.emos import Emos, fit_emos, normal_crps


@pytest.mark.parametrize("low", [-math.inf, -0.4, 0.3])
def test_the_score_is_the_integral_of_the_squared_distance_of_distribution_functions(low):
    for location, scale, observed in ((0.2, 0.7, 1.3), (-1.5, 1.1, 0.3), (2.0, 0.4, 0.5), (0.0, 3.0, 8.0)):
        seen = max(observed, low)

        def squared(x, location=location, scale=scale, seen=seen):
            reached = stats.norm.cdf(x, location, scale) if x >= low else 0.0
            return (reached - (x >= seen)) ** 2

        ends = (location - 12 * scale, max(location + 12 * scale, seen + 1))
        points = [x for x in (low, seen) if ends[0] < x < ends[1]]
        expected = integrate.quad(squared, *ends, points=points, limit=400, epsabs=1e-11)[0]
        found = normal_crps(*(torch.tensor(x, dtype=torch.float64) for x in (location, scale, seen)), low)
        assert found.item() == pytest.approx(expected, abs=1e-8)


def test_the_score_is_that_of_an_independent_library():
    generator = np.random.default_rng(0)
    location, observed = generator.normal(size=(2, 200))
    scale = generator.uniform(0.1, 3.0, 200)
    told = [torch.from_numpy(each) for each in (location, scale, observed)]
    assert np.allclose(normal_crps(*told), scoringrules.crps_normal(observed, location, scale), atol=1e-12)
    rain = np.maximum(observed, 0)
    expected = scoringrules.crps_cnormal(rain, location, scale, lower=0.0, upper=np.inf)
    assert np.allclose(normal_crps(told[0], told[1], torch.from_numpy(rain), 0.0), expected, atol=1e-12)


def drawn(count=6000, places=2, low=0.0):
    seeds = Seeds.range(5, count)
    a = seeds.at("a").normal((places, 2), torch.float64)
    b = seeds.at("b").uniform((places, 1))
    location = 0.4 + 0.9 * a[..., 0] - 0.5 * a[..., 1] + torch.arange(places)
    scale = (-0.6 + 0.8 * b[..., 0]).exp()
    latent = location + scale * seeds.at("noise").normal((places,), torch.float64)
    return a, b, latent.clamp(min=low), (location, scale), latent


def test_a_censored_law_is_found_again_by_its_observations():
    a, b, observed, (location, scale), _ = drawn()
    law = fit_emos(a, b, observed, torch.zeros(2))
    found = law.law(a, b)
    assert (found[0] - location).square().mean().sqrt() < 0.08
    assert (found[1] / scale).log().abs().mean() < 0.08
    # least CRPS: no better one lies nearby
    best = normal_crps(*found, observed, law.low).mean(0)
    for shift in (-0.05, 0.05):
        assert (normal_crps(found[0] + shift, found[1], observed, law.low).mean(0) > best).all()
        assert (normal_crps(found[0], found[1] * math.exp(shift), observed, law.low).mean(0) > best).all()


def test_a_fit_that_forgets_the_heap_at_zero_is_biased(monkeypatch):
    """A broken copy, plain normal in the censored one's place, does not find the latent law."""
    a, b, observed, (location, _), _ = drawn()
    broken = fit_emos(a, b, observed, None).law(a, b)[0]
    assert (broken - location).square().mean().sqrt() > 0.16
    monkeypatch.setattr(
        emos, "normal_crps", lambda location, scale, observed, low: normal_crps(location, scale, observed)
    )
    assert (fit_emos(a, b, observed, torch.zeros(2)).law(a, b)[0] - location).square().mean().sqrt() > 0.16


def test_missing_observations_are_left_out_and_each_place_stands_alone():
    a, b, observed, _, _ = drawn(count=800)
    holes = observed.clone()
    holes[::3, 0] = torch.nan
    law = fit_emos(a, b, holes, torch.zeros(2))
    alone = fit_emos(a[:, 1:], b[:, 1:], observed[:, 1:], torch.zeros(1))
    assert torch.allclose(law.location[1], alone.location[0], atol=1e-3)
    kept = torch.arange(800) % 3 != 0
    fewer = fit_emos(a[kept][:, :1], b[kept][:, :1], observed[kept][:, :1], torch.zeros(1))
    # standardised over different cases, the laws are the same
    first, second = law.law(a, b)[0][:, 0], fewer.law(a[:, :1], b[:, :1])[0][:, 0]
    assert torch.allclose(first, second, atol=5e-3)


def test_a_penalty_shrinks_and_a_constant_predictor_does_no_harm():
    a, b, observed, _, _ = drawn(count=500)
    constant = torch.cat((a, torch.ones_like(a[..., :1])), -1)
    free, held = (fit_emos(constant, b, observed, torch.zeros(2), penalty) for penalty in (0.0, 0.3))
    assert held.location[:, 1:].norm() < 0.7 * free.location[:, 1:].norm()
    assert free.location.isfinite().all()


def test_draws_below_the_bound_follow_the_latent_law():
    a, b, observed, _, latent = drawn(count=20000, places=1)
    seeds = Seeds.range(9, len(observed))
    law = fit_emos(a, b, observed, torch.zeros(1))
    told = law.law(a, b)
    imputed = law.latent(told, observed, seeds.uniform((1,)))
    wet = observed > 0
    assert torch.equal(imputed[wet], observed[wet])
    assert (imputed[~wet] <= 0).all()
    # dry cases: the imputed values and the true latent ones are draws of one law but for the fit
    assert stats.ks_2samp(imputed[~wet].numpy(), latent[~wet].numpy()).statistic < 0.04
    assert stats.ks_2samp(torch.zeros(int((~wet).sum())).numpy(), latent[~wet].numpy()).statistic > 0.5


def test_quantiles_are_those_of_the_censored_law():
    law = Emos(
        *(torch.zeros(1, 1, dtype=torch.float64),) * 2,
        *(torch.zeros(2, 1, 0, dtype=torch.float64),) * 2,
        torch.zeros(1),
    )
    levels = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)[:, None, None]
    location, scale = torch.full((1, 1), 0.3, dtype=torch.float64), torch.full((1, 1), 0.9, dtype=torch.float64)
    expected = np.maximum(stats.norm.ppf(levels.numpy(), 0.3, 0.9), 0)
    assert np.allclose(law.quantiles((location, scale), levels), expected, atol=1e-12)


def test_it_comes_back_from_its_record_also_without_predictors_of_the_scale():
    a, b, observed, _, _ = drawn(count=300)
    for spreads, low in ((b, torch.zeros(2)), (b[..., :0], None)):
        law = fit_emos(a, spreads, observed, low)
        again = Emos.restored(json.loads(json.dumps(law.record(), allow_nan=False)))
        assert all(torch.equal(x, y) for x, y in zip(law.law(a, spreads), again.law(a, spreads), strict=True))
        assert torch.equal(law.low, again.low)


def test_bad_input_is_refused_in_words():
    a, b, observed, _, _ = drawn(count=50)
    with pytest.raises(InputError, match=r"predictors \(n, places, k\)"):
        fit_emos(a[:, 0], b, observed)
    with pytest.raises(InputError, match="5 coefficients"):
        fit_emos(a[:4], b[:4], observed[:4])
    with pytest.raises(InputError, match="finite predictors"):
        fit_emos(torch.where(a > 2, torch.nan, a), b, observed)
    with pytest.raises(InputError, match="was fitted to predictors"):
        fit_emos(a, b, observed).law(a[..., :1], b)

"""The table of what networks predict: right for known data and noise, and every pair converts there and back."""

import math

import pytest
import torch
from thresholds import assert_mean

from unstir.core.catalogue import entries
from unstir.core.seeds import Seeds
from unstir.denoisers.parameterisations import convert

TABLE = {name: entry.load() for name, entry in entries("parameterisations").items()}

# each target, from the clean data and the noise that made xt; EDM's in its own terms (its table 1), where
# y = xt/alpha has the noise s = sigma/alpha: F = (x0 - c_skip y)/c_out
TARGETS = {
    "clean": lambda x0, eps, alpha, sigma, _: x0,
    "noise": lambda x0, eps, alpha, sigma, _: eps,
    "score": lambda x0, eps, alpha, sigma, _: -eps / sigma,
    "v": lambda x0, eps, alpha, sigma, _: alpha * eps - sigma * x0,
    "flow": lambda x0, eps, alpha, sigma, _: eps - x0,
    "edm": lambda x0, eps, alpha, sigma, d: (
        (x0 - d**2 / ((sigma / alpha) ** 2 + d**2) * (x0 + sigma / alpha * eps))
        / (sigma / alpha * d / ((sigma / alpha) ** 2 + d**2) ** 0.5)
    ),
}
# of every scale, and of none
PAIRS = [(0.8, 0.6), (1.0, 1e-3), (1.0, 40.0), (0.3, 0.7), (0.02, 0.9996), (0.9, 0.19), (1.7, 0.4)]


@pytest.fixture
def known():
    seeds = Seeds.range(0, 30)
    return seeds.at("x0").normal((3,), torch.float64), seeds.at("eps").normal((3,), torch.float64)


def at(alpha, sigma):
    return torch.tensor(alpha, dtype=torch.float64), torch.tensor(sigma, dtype=torch.float64)


def test_every_parameterisation_is_held_against_its_definition():
    assert set(TABLE) == set(TARGETS)


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize(("alpha", "sigma"), PAIRS)
@pytest.mark.parametrize("sigma_data", [1.0, 0.4])
def test_clean_data_from_the_target(name, alpha, sigma, sigma_data, known):
    x0, eps = known
    a, b = TABLE[name](*at(alpha, sigma), sigma_data)
    target = TARGETS[name](x0, eps, alpha, sigma, sigma_data)
    xt = alpha * x0 + sigma * eps
    # v's formula in a and b assumes nothing of the scale, but its xt must be the one that it was made of
    torch.testing.assert_close(a * xt + b * target, x0, rtol=0, atol=1e-10 * (1 + sigma / alpha))


@pytest.mark.parametrize("source", TABLE)
@pytest.mark.parametrize("target", TABLE)
@pytest.mark.parametrize(("alpha", "sigma"), PAIRS)
def test_every_pair_converts(source, target, alpha, sigma, known):
    """To the other's definition, and back again."""
    x0, eps = known
    xt = alpha * x0 + sigma * eps
    value, expected = (TARGETS[name](x0, eps, alpha, sigma, 0.5) for name in (source, target))
    coefficients = at(alpha, sigma)
    there = convert(value, xt, *coefficients, TABLE[source], TABLE[target], 0.5)
    size = 1e-10 * max(1, sigma, 1 / sigma) ** 2 / min(alpha, 1)
    torch.testing.assert_close(there, expected, rtol=0, atol=size)
    back = convert(there, xt, *coefficients, TABLE[target], TABLE[source], 0.5)
    torch.testing.assert_close(back, value, rtol=0, atol=size)


def test_conversion_takes_a_level_for_each_sample(known):
    x0, eps = known
    alpha = torch.linspace(0.1, 0.9, 30, dtype=torch.float64)[:, None]
    sigma = (1 - alpha.square()).sqrt()
    told = convert(eps, alpha * x0 + sigma * eps, alpha, sigma, TABLE["noise"], TABLE["v"])
    torch.testing.assert_close(told, alpha * eps - sigma * x0)


@pytest.mark.parametrize(("alpha", "sigma"), PAIRS)
@pytest.mark.parametrize("sigma_data", [1.0, 0.4])
def test_edms_target_has_unit_variance_and_nothing_of_the_input(alpha, sigma, sigma_data):
    """For data of deviation sigma_data; uncorrelated with xt, which is what makes b as small as it can be."""
    seeds = Seeds.range(5, 100_000)
    x0 = sigma_data * seeds.at("x0").normal((), torch.float64)
    xt = alpha * x0 + sigma * seeds.at("eps").normal((), torch.float64)
    a, b = TABLE["edm"](*at(alpha, sigma), sigma_data)
    target = (x0 - a * xt) / b
    spread = math.sqrt((alpha * sigma_data) ** 2 + sigma**2)
    assert_mean(target, 0, 1)
    assert_mean(target.square(), 1, math.sqrt(2))
    assert_mean(target * xt / spread, 0, 1)


@pytest.mark.parametrize("name", ["clean", "v", "flow", "edm"])
@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.0), (0.0, 1.0)])
def test_coefficients_are_finite_at_both_ends(name, alpha, sigma):
    assert all(value.isfinite() for value in TABLE[name](*at(alpha, sigma), 0.5))


@pytest.mark.parametrize("name", ["noise", "score"])
def test_noise_and_score_say_nothing_where_the_data_is_gone(name):
    """As the table says; this is why they are not the default."""
    assert not any(value.isfinite() for value in TABLE[name](*at(0.0, 1.0)))

"""Deliberately broken parts of a training: each misses a bound of a check that its original passes."""

import functools

import pytest
import torch
from mutants import is_caught, misses
from torch import nn

from unstir.core.catalogue import build
from unstir.denoisers import parameterisations
from unstir.denoisers.noise_levels import ImportanceLevels, Levels, LogNormalLevels
from unstir.denoisers.weightings import LikelihoodWeighting, MinSNRWeighting, NoiseWeighting
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.training.learning_rates import Cosine, Linear
from unstir.verification.checks import (
    learning_rates,
    networks,
    noise_levels,
    weightings,
)
from unstir.verification.checks import parameterisations as dialects

# parameterisations


def broken(original, change):
    @functools.wraps(original)
    def mutant(alpha, sigma, sigma_data=1.0):
        return change(*original(alpha, sigma, sigma_data), alpha, sigma, sigma_data)

    return mutant


@pytest.mark.parametrize(
    ("check", "name", "change"),
    [
        (dialects.parameterisation_target, "v", lambda a, b, alpha, sigma, d: (a, -b)),
        (dialects.parameterisation_target, "score", lambda a, b, alpha, sigma, d: (a, b / sigma)),
        (dialects.parameterisation_target, "edm", lambda a, b, alpha, sigma, d: (a / d, b)),
        (dialects.parameterisation_unit_variance, "edm", lambda a, b, alpha, sigma, d: (a, b * d)),
        (dialects.parameterisation_round_trip, "noise", lambda a, b, alpha, sigma, d: (a, b * (sigma < 100))),
        (dialects.parameterisation_conversion, "flow", lambda a, b, alpha, sigma, d: (a, b.float().double() * 0)),
    ],
)
def test_parameterisations(check, name, change):
    original = getattr(parameterisations, name)
    assert is_caught(check, original, broken(original, change))


def test_a_denoiser_with_another_parameterisation_than_it_says(monkeypatch):
    assert not misses(dialects.parameterisation_mean, parameterisations.v)
    monkeypatch.setattr(parameterisations, "v", broken(parameterisations.v, lambda a, b, *_: (a, -b)))
    assert misses(dialects.parameterisation_mean, parameterisations.v)


# weightings


@pytest.mark.parametrize(
    ("check", "kind", "factor"),
    [
        (weightings.weighting_elbo, LikelihoodWeighting, lambda log_snr: 2.0),
        (weightings.weighting_elbo, LikelihoodWeighting, lambda log_snr: 1 + 1e-4 * log_snr),
        (weightings.weighting_formula, MinSNRWeighting, lambda log_snr: 1 + 1e-9),
        (weightings.weighting_error, NoiseWeighting, lambda log_snr: (log_snr / 100).exp()),
        (weightings.weighting_finite, NoiseWeighting, lambda log_snr: log_snr.sign()),
        (weightings.weighting_finite, NoiseWeighting, lambda log_snr: 1 / log_snr.relu()),
    ],
)
def test_weightings(check, kind, factor, monkeypatch):
    assert not misses(check, kind())
    right = kind.__call__
    monkeypatch.setattr(
        kind, "__call__", lambda self, log_snr, density: right(self, log_snr, density) * factor(log_snr)
    )
    assert misses(check, kind())


# noise levels


class WrongDensity(LogNormalLevels):
    def quantile(self, u):
        log_snr, density = super().quantile(u)
        return log_snr, 2 * density  # of ln(sigma/alpha), not of the log-SNR


class Uncorrected(ImportanceLevels):
    def forward(self, u):
        made = super().forward(u)
        return Levels(made.log_snr, made.density, torch.ones_like(made.density))


@pytest.mark.parametrize("check", [noise_levels.levels_density, noise_levels.levels_correction])
def test_a_density_of_another_variable(check):
    assert is_caught(check, LogNormalLevels(), WrongDensity())


def test_importance_without_its_correction():
    schedule = CosineSchedule()
    assert is_caught(noise_levels.levels_correction, ImportanceLevels(schedule), Uncorrected(schedule))


@pytest.mark.parametrize(
    ("check", "quantile"),
    [
        (noise_levels.levels_law, lambda log_snr, density: (1.15 * log_snr, density)),
        (noise_levels.levels_stratified, lambda log_snr, density: (1.15 * log_snr, density)),
        (noise_levels.levels_falling, lambda log_snr, density: (-log_snr, density)),
    ],
)
def test_levels_of_another_law(check, quantile, monkeypatch):
    assert not misses(check, LogNormalLevels())
    right = LogNormalLevels.quantile
    monkeypatch.setattr(LogNormalLevels, "quantile", lambda self, u: quantile(*right(self, u)))
    assert misses(check, LogNormalLevels())


# networks


class Wrapped(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.shape = inner, inner.shape


class Mixing(Wrapped):
    """Normalises over the batch, by a millionth."""

    def forward(self, x, noise, drop=None, **condition):
        return self.inner(x + 1e-6 * x.mean(0, keepdim=True), noise, drop, **condition)


class Timeless(Wrapped):
    def forward(self, x, noise, drop=None, **condition):
        return self.inner(x, torch.zeros_like(noise), drop, **condition)


class Stubborn(Wrapped):
    """Cannot forget its label."""

    def forward(self, x, noise, drop=None, **condition):
        kept = {name: condition[name] for name in ("label", "augment") if name in condition}
        told, none = self.inner(x, noise, **condition), self.inner(x, noise, **kept)
        return told if drop is None else torch.where(drop.reshape(-1, *[1] * (x.ndim - 1)), none, told)


class DeadWeight(Wrapped):
    def __init__(self, inner):
        super().__init__(inner)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x, noise, drop=None, **condition):
        return self.inner(x, noise, drop, **condition)


class Detached(Wrapped):
    """Its answer does depend on the noise level, its gradient does not."""

    def forward(self, x, noise, drop=None, **condition):
        return self.inner(x, noise.detach() + 0 * noise, drop, **condition)


class Restless(Wrapped):
    def forward(self, x, noise, drop=None, **condition):
        return nn.functional.dropout(self.inner(x, noise, drop, **condition), 0.1, training=True)


class Loud(Wrapped):
    def forward(self, x, noise, drop=None, **condition):
        return self.inner(x, noise, drop, **condition).float() + 1


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        (networks.network_company, Mixing),
        (networks.network_conditions, Timeless),
        (networks.network_drop, Stubborn),
        (networks.network_gradient, DeadWeight),
        (networks.network_derivatives, Detached),
        (networks.network_repeatability, Restless),
        (networks.network_shape, Loud),
    ],
)
def test_networks(check, mutant):
    conditions = {"label": {"classes": 10}, "vector": {"size": 3}, "augment": {"size": 9}, "image": {"channels": 2}}
    options = {"name": "mlp", "width": 16, "depth": 2, "embedding": 16}
    network = build("networks", options, shape=(1, 4, 4), conditions=conditions)
    assert is_caught(check, network, mutant(network))


# learning rates


@pytest.mark.parametrize(
    ("check", "kind", "change"),
    [
        (learning_rates.learning_rate_bounds, Linear, lambda rate, progress, step: rate - 1e-5),
        (learning_rates.learning_rate_curve, Cosine, lambda rate, progress, step: rate * (1 - progress / 1e6)),
        (learning_rates.learning_rate_smoothness, Linear, lambda rate, progress, step: rate * (1 + (progress > 0.5))),
    ],
)
def test_learning_rates(check, kind, change, monkeypatch):
    assert not misses(check, kind())
    right = kind.__call__
    monkeypatch.setattr(
        kind, "__call__", lambda self, progress, step: change(right(self, progress, step), progress, step)
    )
    assert misses(check, kind())


def test_a_warm_up_that_starts_at_zero(monkeypatch):
    assert not misses(learning_rates.learning_rate_warm_up, Cosine())
    right = Cosine.__call__

    def late(self, progress, step):
        return right(self, progress, step) * (min(1, step / (step + 1)) if step < self.warm_up else 1)

    monkeypatch.setattr(Cosine, "__call__", late)
    assert misses(learning_rates.learning_rate_warm_up, Cosine())

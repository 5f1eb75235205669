"""Diffusivity from trajectories: against a numerical likelihood and published errors, units, edge cases, bad input."""

import math
from dataclasses import replace

import numpy as np
import pint
import pytest
import torch
from scipy import optimize, stats

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics.brownian_motion import BrownianMotion
from unstir.physics.trajectories import anomalous_exponent, estimate_diffusivity, mean_squared_displacement
from unstir.verification.base import Effort
from unstir.verification.checks.physics_trajectories import (
    diffusivity_error_bars,
    displacements_by_definition,
    exponent_of_fractional_motion,
)

units = pint.UnitRegistry()
METHODS = ("likelihood", "covariance", "displacements")


def trajectories(count, steps, diffusivity=0.7, noise=0.0, dt=0.1, seed=1):
    seeds = Seeds.range(seed, count)
    paths = BrownianMotion.of_diffusivity(diffusivity).simulate(0.0, np.arange(steps + 1) * dt, seeds)
    return paths + math.sqrt(noise) * seeds.at("noise").normal((steps + 1,), torch.float64)


def matrices(length, dt, blur):
    beside = np.eye(length, k=1) + np.eye(length, k=-1)
    return 2 * dt * ((1 - 2 * blur) * np.eye(length) + blur * beside), 2 * np.eye(length) - beside


@pytest.mark.parametrize("blur", [0.0, 1 / 6])
def test_the_likelihood_is_at_its_greatest(blur):
    paths, (moved, seen) = trajectories(3, 40, noise=0.08), matrices(40, 0.1, blur)
    increments = paths.diff(dim=1).numpy()

    def loss(parameters):
        law = stats.multivariate_normal(cov=parameters[0] * moved + parameters[1] * seen, allow_singular=False)
        return -law.logpdf(increments).sum()

    best = optimize.minimize(loss, [0.7, 0.08], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    told = estimate_diffusivity(paths, 0.1, "likelihood", blur)
    np.testing.assert_allclose([told.diffusivity, told.localisation_variance], best.x, rtol=1e-5)
    known = optimize.minimize_scalar(lambda d: loss([d, 0.05]), bounds=(0.01, 5), options={"xatol": 1e-10})
    told = estimate_diffusivity(paths, 0.1, "likelihood", blur, localisation_variance=0.05)
    assert told.diffusivity == pytest.approx(known.x, rel=1e-6)


@pytest.mark.parametrize(("noise", "blur"), [(0.0, 0.0), (0.14, 0.0), (0.03, 1 / 6)])
def test_the_covariance_estimator_s_error_is_vestergaard_s(noise, blur):
    # their equation: var(D)/D^2 = (6 + 4e + 2e^2)/N + 4 (1 + e)^2/N^2, e = s^2/(D dt) - 2 R, up to order 1/N^3
    steps, dt = 150, 0.1
    told = estimate_diffusivity(trajectories(1, steps, noise=noise), dt, "covariance", blur)
    ratio = told.localisation_variance / (told.diffusivity * dt) - 2 * blur
    variance = (6 + 4 * ratio + 2 * ratio**2) / steps + 4 * (1 + ratio) ** 2 / steps**2
    assert told.standard_error / told.diffusivity == pytest.approx(math.sqrt(variance), rel=4 / steps**2 * 10)


@pytest.mark.parametrize("method", METHODS)
def test_without_noise_and_with_it_known_the_textbook_answer(method):
    paths = trajectories(4, 100)
    told = estimate_diffusivity(paths, 0.1, method, localisation_variance=0)
    expected = float(paths.diff(dim=1).square().mean()) / 0.2
    # independent increments: their mean square holds all that is known of D
    assert told.diffusivity == pytest.approx(expected, rel=1e-6)
    assert told.standard_error == pytest.approx(expected * math.sqrt(2 / 400), rel=1e-3)
    assert told.localisation_variance == told.localisation_standard_error == 0


@pytest.mark.parametrize("method", METHODS)
def test_axes_count_as_trajectories(method):
    paths = trajectories(6, 50, noise=0.02)
    stacked = torch.stack((paths[:3], paths[3:]), dim=-1)
    one, other = estimate_diffusivity(paths, 0.1, method), estimate_diffusivity(stacked, 0.1, method)
    assert one.diffusivity == pytest.approx(other.diffusivity, rel=1e-9)
    assert one.standard_error == pytest.approx(other.standard_error, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_units(method):
    paths = trajectories(5, 60, noise=0.02)
    plain = estimate_diffusivity(paths, 0.1, method)
    told = estimate_diffusivity(paths.numpy() * units.um, 100 * units.ms, method)
    assert told.diffusivity.to("um**2/s").magnitude == pytest.approx(plain.diffusivity, rel=1e-6)
    assert told.standard_error.to("um**2/s").magnitude == pytest.approx(plain.standard_error, rel=1e-6)
    assert told.localisation_variance.to("um**2").magnitude == pytest.approx(plain.localisation_variance, rel=1e-5)
    assert mean_squared_displacement(paths.numpy() * units.um).check("[length]**2")
    with pytest.raises(InputError, match="dt is a time"):
        estimate_diffusivity(paths.numpy() * units.um, 0.1, method)


@pytest.mark.parametrize("method", METHODS)
def test_much_noise_and_short_trajectories_still_give_numbers(method):
    for seed in range(20):
        told = estimate_diffusivity(trajectories(1, 5, 1e-3, 1.0, seed=seed), 0.1, method)
        assert all(map(math.isfinite, vars(told).values()))
        assert told.standard_error > 0


def test_displacements_of_a_straight_line():
    line = torch.arange(20.0)[None] * 3
    torch.testing.assert_close(
        mean_squared_displacement(line), (3 * torch.arange(20.0).double()).square(), atol=1e-9, rtol=0
    )


def test_displacements_far_from_the_origin_keep_their_digits():
    paths = trajectories(20, 100)
    far = mean_squared_displacement(paths + 1e6)
    torch.testing.assert_close(far, mean_squared_displacement(paths), rtol=1e-6, atol=1e-8)


def test_one_path_has_an_exponent_without_error_bar():
    told = anomalous_exponent(trajectories(1, 200))
    assert math.isnan(told.standard_error)
    assert 0 < told.exponent < 2
    assert anomalous_exponent(torch.arange(101.0)[None]).exponent == pytest.approx(2)


@pytest.mark.parametrize(
    ("told", "call"),
    [
        ("unknown method 'maximum'", lambda x: estimate_diffusivity(x, 0.1, "maximum")),
        ("dt must be", lambda x: estimate_diffusivity(x, 0.0)),
        ("motion_blur, R, lies", lambda x: estimate_diffusivity(x, 0.1, motion_blur=0.3)),
        ("localisation_variance must be", lambda x: estimate_diffusivity(x, 0.1, localisation_variance=-1.0)),
        ("at least 4 positions", lambda x: estimate_diffusivity(x[:, :3], 0.1)),
        ("do not move", lambda x: estimate_diffusivity(0 * x, 0.1)),
        ("do not move", lambda x: anomalous_exponent(0 * x)),
        ("finite numbers of the shape", lambda x: estimate_diffusivity(x[0], 0.1)),
        ("finite numbers of the shape", lambda x: mean_squared_displacement(x / 0)),
        ("longest lag must be 1 to 30", lambda x: mean_squared_displacement(x, 31)),
        ("unknown average", lambda x: mean_squared_displacement(x, average="all")),
        ("lags must satisfy", lambda x: anomalous_exponent(x, 5, 4)),
    ],
)
def test_bad_input(told, call):
    with pytest.raises(InputError, match=told):
        call(trajectories(2, 30))


def narrow(*arguments):
    told = estimate_diffusivity(*arguments)
    return replace(told, standard_error=told.standard_error / 2)


def deaf_to_blur(paths, dt, method, motion_blur):
    return estimate_diffusivity(paths, dt, method)


def uncorrected(paths, dt, method, motion_blur):
    return estimate_diffusivity(paths, dt, method, motion_blur, 0.0)


def wasteful(paths, *arguments):
    return estimate_diffusivity(paths[: len(paths) // 3], *arguments)


def one_lag_late(paths, longest=None, average="time-and-paths"):
    return torch.roll(mean_squared_displacement(paths, longest, average), 1, -1)


def sure(paths):
    told = anomalous_exponent(paths)
    return replace(told, exponent=told.exponent + 0.1)


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        (diffusivity_error_bars, narrow),
        (diffusivity_error_bars, deaf_to_blur),
        (diffusivity_error_bars, uncorrected),
        (diffusivity_error_bars, wasteful),
        (displacements_by_definition, one_lag_late),
        (exponent_of_fractional_motion, sure),
    ],
)
def test_the_checks_catch_broken_estimators(check, mutant):
    assert not all(measured.passed for measured in check(mutant, Effort(quick=True)))

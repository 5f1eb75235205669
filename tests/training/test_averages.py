import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from unstir.core.errors import InputError
from unstir.training.averages import Averages
from unstir.training.profiles import LONGEST, ClassicalProfile, Plan, PowerProfile, gamma_of

LENGTHS = (0.02, 0.05, 0.10, 0.2, LONGEST)


@pytest.mark.parametrize("length", LENGTHS)
def test_length_is_the_standard_deviation_of_the_profile(length):
    gamma = gamma_of(length)
    mean, square = (quad(lambda x, k=k: x**k * (gamma + 1) * x**gamma, 0, 1, limit=200)[0] for k in (1, 2))
    assert math.sqrt(square - mean**2) == pytest.approx(length, rel=1e-6)


@pytest.mark.parametrize("length", LENGTHS)
def test_power_average_is_the_weighted_sum_of_its_formula(length):
    steps = 40
    weights = torch.randn(steps, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    profile = PowerProfile(length)
    averages = Averages([profile], {"w": torch.full((5,), 7.0, dtype=torch.float64)})
    for step in range(1, steps + 1):
        averages.update({"w": weights[step - 1]}, step, batch=3)
    edges = (torch.arange(steps + 1, dtype=torch.float64) / steps) ** (profile.gamma + 1)
    assert torch.allclose(averages.of[profile.label]["w"], edges.diff() @ weights, rtol=1e-12, atol=1e-12)


def test_classical_average_forgets_half_in_its_halflife():
    profile = ClassicalProfile(halflife_samples=1000, ramp_up=None)
    averages = Averages([profile], {"w": torch.ones(1, dtype=torch.float64)})
    for step in range(1, 21):
        averages.update({"w": torch.zeros(1, dtype=torch.float64)}, step, batch=50)
    assert averages.of["average"]["w"].item() == pytest.approx(0.5, rel=1e-12)


def test_classical_average_is_shorter_at_the_start():
    profile = ClassicalProfile(halflife_samples=1000, ramp_up=0.05)
    assert profile.decay(10, 100) == pytest.approx(0.5 ** (100 / 50))
    assert profile.decay(1000, 100) == pytest.approx(0.5 ** (100 / 1000))


def test_averages_do_not_share_memory_with_the_weights():
    weight = torch.zeros(3)
    averages = Averages(Plan.of("power").profiles, {"w": weight})
    weight.fill_(9.0)
    assert all(named["w"].eq(0).all() for named in averages.of.values())


@pytest.mark.parametrize("steps", [1, 3, 8, 9, 1000])
def test_snapshots_are_spread_evenly_and_end_with_the_training(steps):
    plan = Plan.of({"name": "power", "snapshots": 8})
    taken = [step for step in range(1, steps + 1) if plan.is_snapshot(step, steps)]
    assert len(taken) == min(8, steps) and taken[-1] == steps
    assert np.ptp(np.diff([0, *taken])) <= 1
    assert not any(Plan.of("classical").is_snapshot(step, steps) for step in range(1, steps + 1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "power", "lengths": 0.05}, "must be a list"),
        ({"name": "power", "lengths": []}, "must be a list"),
        ({"name": "power", "lengths": [0]}, "above 0 and at most 0.2887"),
        ({"name": "power", "snapshots": -1}, "snapshots must be a whole number"),
        ({"name": "classical", "halflife_samples": 0}, "halflife_samples must be a positive number"),
        ({"name": "classical", "ramp_up": -1.0}, "ramp_up must be a positive number"),
        ({"name": "classical", "halflife": 3}, "did you mean 'halflife_samples'"),
        ({"lengths": [0.1]}, "Allowed: classical, power"),
    ],
)
def test_bad_options_are_named(given, message):
    with pytest.raises(InputError, match=message):
        Plan.of(given)

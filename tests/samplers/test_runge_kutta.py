"""The Runge-Kutta family against EDM's algorithm and its own tableaux."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.tableaus import EULER, HEUN, KUTTA_3, MIDPOINT, RUNGE_KUTTA_4
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.samplers.base import sample
from unstir.samplers.runge_kutta import RungeKuttaSampler, edm, euler, heun, kutta3, midpoint, rk4
from unstir.verification.references import IN_THE_PLANE, NormalDenoiser, PointDenoiser, arrive, walk


@pytest.mark.parametrize("schedule", [EDMSchedule(), CosineSchedule(), RectifiedFlowSchedule()], ids=lambda s: s.scale)
def test_heun_is_edms_algorithm(schedule):
    """Karras et al. (2022), algorithm 1, written in its own variables: x and the noise level s, of which the
    derivative is (x - D(x; s))/s; the last step, into s = 0, has no correction."""
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(schedule)))
    reference = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(EDMSchedule())))

    def derivative(x, level):
        return (x - reference(x, EDMSchedule().time_at_sigma(level)).mean) / level

    times = karras(schedule, 9, sigma_max=30.0)
    levels = [(30 ** (1 / 7) + i / 8 * (0.002 ** (1 / 7) - 30 ** (1 / 7))) ** 7 for i in range(9)] + [0.0]
    x = 30 * Seeds.range(0, 5).normal((2,), torch.float64)
    states = walk(heun(), denoiser, schedule.alpha(times[0]) * x, times)
    for state, time, level, following in zip(states[1:], times[1:], levels[:-1], levels[1:], strict=True):
        slope = derivative(x, level)
        predicted = x + (following - level) * slope
        if following:
            slope = (slope + derivative(predicted, following)) / 2
        x = x + (following - level) * slope
        torch.testing.assert_close(state.x / schedule.alpha(time), x, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("tableau", [EULER, MIDPOINT, HEUN, KUTTA_3, RUNGE_KUTTA_4], ids=lambda one: str(one.order))
def test_tableaux_meet_the_order_conditions(tableau):
    """Butcher's conditions, all of those up to order four; each row of a sums to its c."""
    c, b = np.array(tableau.nodes), np.array(tableau.weights)
    a = np.zeros((len(c), len(c)))
    for number, row in enumerate(tableau.matrix):
        a[number, : len(row)] = row
    np.testing.assert_allclose(a.sum(1), c, atol=1e-15)
    conditions = [
        (1, b.sum(), 1), (2, b @ c, 1 / 2), (3, b @ c**2, 1 / 3), (3, b @ a @ c, 1 / 6), (4, b @ c**3, 1 / 4),
        (4, (b * c) @ a @ c, 1 / 8), (4, b @ a @ c**2, 1 / 12), (4, b @ a @ a @ c, 1 / 24),
    ]  # fmt: skip
    for order, value, expected in conditions:
        if order <= tableau.order:
            assert abs(value - expected) < 1e-14
    assert any(abs(value - expected) > 1e-3 for order, value, expected in conditions) or tableau.order == 4
    assert RungeKuttaSampler(tableau).calls_per_step == len(tableau.nodes)


@pytest.mark.parametrize("schedule", [EDMSchedule(), CosineSchedule(), RectifiedFlowSchedule()], ids=lambda s: s.scale)
def test_edm_is_the_papers_algorithm(schedule):
    """Karras et al. (2022), algorithm 2, in its own variables, gamma chosen so that 1 + gamma = (r/r_s)^churn."""
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(schedule)))
    reference = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(EDMSchedule(sigma_max=1e4))))

    def derivative(x, level):
        return (x - reference(x, EDMSchedule(sigma_max=1e4).time_at_sigma(level)).mean) / level

    levels = [30.0, 11.0, 4.0, 1.0, 0.3, 0.0]
    times = torch.cat((schedule.time_at_sigma(torch.tensor(levels[:-1], dtype=torch.float64)), torch.zeros(1).double()))
    seeds = Seeds.range(4, 5)
    x = 30 * Seeds.range(0, 5).normal((2,), torch.float64)
    states = walk(edm(0.7, 0.5, 20.0, 1.05), denoiser, schedule.alpha(times[0]) * x, times, seeds)
    for number, (level, following) in enumerate(pairwise(levels)):
        raised = level
        if 0.5 <= level <= 20.0 and following:
            raised = level * (level / following) ** 0.7
            noise = 1.05 * seeds.at("step", number).normal((2,), torch.float64)
            x = x + (raised**2 - level**2) ** 0.5 * noise
        slope = derivative(x, raised)
        predicted = x + (following - raised) * slope
        if following:
            slope = (slope + derivative(predicted, following)) / 2
        x = x + (following - raised) * slope
        torch.testing.assert_close(states[number + 1].x / schedule.alpha(times[number + 1]), x, rtol=1e-6, atol=1e-7)


def test_churn_stays_within_the_schedule_and_zero_is_heun():
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(EDMSchedule(sigma_max=20.0))))
    x, times = 20 * Seeds.range(0, 5).normal((2,), torch.float64), torch.tensor([1.0, 0.6, 0.2, 0.0]).double()
    asked = []
    hook = denoiser.register_forward_hook(lambda *told: asked.append(float(told[1][1])))
    drawn = arrive(edm(3.0), denoiser, x, times)
    hook.remove()
    assert max(asked) == 1.0 and drawn.isfinite().all() and asked[2] > 0.6
    assert torch.equal(arrive(edm(0.0), denoiser, x, times), arrive(heun(), denoiser, x, times))
    for options in ({"churn": -1.0}, {"least": 2.0, "most": 1.0}, {"inflation": 0.0}):
        with pytest.raises(InputError, match="the churn is at least 0"):
            edm(**options)


@pytest.mark.parametrize("make", [euler, midpoint, heun, kutta3, rk4, edm], ids=lambda make: make.__name__)
def test_pure_noise_is_a_place_to_start_from(make):
    """From alpha = 0 the step is made in x/sigma, where normal data's flow is smooth: the order is kept."""
    schedule = RectifiedFlowSchedule()
    denoiser = NormalDenoiser(0.6, 0.8, GaussianProcess(schedule))
    noise = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    end = torch.tensor(0.3, dtype=torch.float64)
    expected = schedule.alpha(end) * 0.6 + noise * torch.hypot(0.8 * schedule.alpha(end), schedule.sigma(end))
    sampler = replace(make(), churn=0.0)
    errors = []
    for steps in (64, 128):
        times = torch.linspace(1, 0.3, steps + 1, dtype=torch.float64)
        errors.append((arrive(sampler, denoiser, noise, times) - expected).abs().max().item())
    assert schedule.alpha(1.0) == 0
    assert errors[0] / errors[1] > 0.8 * 2**sampler.order
    cosine = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess()))
    drawn = sample(cosine, make(), (2,), 3, grid="uniform", steps=8, batch=3)
    assert drawn.isfinite().all() and drawn.abs().max() < 5

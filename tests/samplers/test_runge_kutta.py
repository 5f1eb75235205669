"""The Runge-Kutta family against EDM's algorithm and its own tableaux."""

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras, uniform
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.samplers.base import sample
from unstir.samplers.runge_kutta import EULER, HEUN, RungeKuttaSampler, euler, heun
from unstir.verification.references import IN_THE_PLANE, PointDenoiser, walk


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


@pytest.mark.parametrize("tableau", [EULER, HEUN])
def test_tableaux_meet_the_order_conditions(tableau):
    """sum b = 1, sum b c = 1/2, and each row of a sums to its c."""
    assert sum(tableau.weights) == 1
    assert [sum(row) for row in tableau.matrix] == list(tableau.nodes)
    if tableau.order >= 2:
        assert sum(b * c for b, c in zip(tableau.weights, tableau.nodes, strict=True)) == 0.5
    assert RungeKuttaSampler(tableau).calls_per_step == len(tableau.nodes)


@pytest.mark.parametrize("sampler", [euler(), heun()], ids=["euler", "heun"])
def test_a_start_without_any_data_is_refused(sampler):
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess()))
    with pytest.raises(InputError, match=r"alpha = 0.*sigma_max.*exponential sampler such as ddim"):
        sample(denoiser, sampler, (2,), 3, grid="uniform", steps=4)
    drawn = sample(denoiser, sampler, (2,), 3, grid={"name": "uniform", "sigma_max": 50.0}, steps=4, batch=3)
    assert drawn.isfinite().all()
    assert torch.equal(uniform(denoiser.process.schedule, 4)[:1], torch.ones(1, dtype=torch.float64))

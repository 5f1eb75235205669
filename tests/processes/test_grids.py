"""Grids: they fall from the noisy end to exactly zero on every schedule, and are the spacings of their papers."""

import math

import pytest
import torch
from schedules import SCHEDULES

from unstir.core.catalogue import build, entries
from unstir.core.errors import InputError
from unstir.processes.grids import karras, log_snr_uniform, quadratic, straight_flow, uniform
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.schedules.linear_vp import LinearVPSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule

every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
every_grid = pytest.mark.parametrize("grid", entries("grids"))


def ratios(schedule, times):
    return (-schedule.log_snr(times) / 2).exp()


@every_grid
@every_schedule
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_times_fall_to_zero(schedule, grid, steps):
    times = build("grids", grid, schedule=schedule, steps=steps)
    assert times.shape == (steps + 1,)
    assert times.dtype == torch.float64
    assert (times.diff() < 0).all()
    assert times[-1] == 0
    assert times[0] <= 1


@every_grid
@every_schedule
def test_a_grid_can_start_from_less_noise(schedule, grid):
    times = build("grids", {"name": grid, "sigma_max": 2.0}, schedule=schedule, steps=10)
    assert ratios(schedule, times[0]).item() == pytest.approx(2.0, rel=1e-9)
    assert (times.diff() < 0).all()


def test_even_and_quadratic_times():
    schedule = RectifiedFlowSchedule()
    assert uniform(schedule, 4).tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert quadratic(schedule, 4).tolist() == [1, 0.5625, 0.25, 0.0625, 0]
    assert uniform(schedule, 2, sigma_max=1.0).tolist() == pytest.approx([0.5, 0.25, 0])


@every_schedule
@pytest.mark.parametrize("rho", [1.0, 7.0])
def test_karras_is_the_papers_formula(schedule, rho):
    """Karras et al. (2022), eq. 5, in the noise levels; the schedule must not matter."""
    steps, low, high = 12, 0.01, 2.5
    times = karras(schedule, steps, low, high, rho)
    expected = [
        (high ** (1 / rho) + i / (steps - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(steps)
    ]
    assert ratios(schedule, times[:-1]).tolist() == pytest.approx(expected, rel=1e-9)


@every_schedule
def test_log_snr_grid_has_even_steps(schedule):
    times = log_snr_uniform(schedule, 9, 0.01, 2.5)
    steps = schedule.log_snr(times[:-1]).diff()
    assert steps.tolist() == pytest.approx([2 * math.log(250) / 8] * 8, rel=1e-8)


def test_even_times_of_the_edm_schedule_are_karras_with_no_lowest_level():
    schedule = EDMSchedule()
    steps = 10
    expected = [(80 ** (1 / 7) * (1 - i / steps)) ** 7 for i in range(steps)]
    assert ratios(schedule, uniform(schedule, steps)[:-1]).tolist() == pytest.approx(expected, rel=1e-9)


def test_default_ends():
    """EDM's 80 where the schedule reaches it, the schedule's own end where it does not."""
    assert ratios(CosineSchedule(), karras(CosineSchedule(), 5)[0]).item() == pytest.approx(80, rel=1e-9)
    assert ratios(LinearVPSchedule(), log_snr_uniform(LinearVPSchedule(), 5)[0]).item() == pytest.approx(80, rel=1e-9)
    short = ExponentialVESchedule(sigma_max=50.0)
    assert karras(short, 5)[0].item() == pytest.approx(1, abs=1e-12)
    assert ratios(short, karras(short, 5)[-2]).item() == pytest.approx(0.002, rel=1e-9)


@every_grid
@pytest.mark.parametrize("steps", [0, -3])
def test_no_steps_are_refused(grid, steps):
    with pytest.raises(InputError, match=f"at least 1 step; seen {steps}"):
        build("grids", grid, schedule=CosineSchedule(), steps=steps)


@every_grid
@pytest.mark.parametrize("sigma_max", [-1.0, 0.0, 6.0, math.nan])
def test_a_start_that_the_schedule_does_not_have_is_refused(grid, sigma_max):
    with pytest.raises(InputError, match=r"<= 5, the schedule's own end.*seen.* sigma_max"):
        build("grids", {"name": grid, "sigma_max": sigma_max}, schedule=EDMSchedule(sigma_max=5.0), steps=4)


@pytest.mark.parametrize("grid", ["karras", "log-snr-uniform"])
@pytest.mark.parametrize("sigma_min", [0.0, -0.1, 3.0, math.nan])
def test_an_impossible_lowest_level_is_refused(grid, sigma_min):
    with pytest.raises(InputError, match="0 < sigma_min < sigma_max"):
        build("grids", {"name": grid, "sigma_min": sigma_min, "sigma_max": 2.0}, schedule=CosineSchedule(), steps=4)


@pytest.mark.parametrize("rho", [0.0, -7.0])
def test_rho_must_be_positive(rho):
    with pytest.raises(InputError, match=f"rho must be positive; seen {rho}"):
        karras(CosineSchedule(), 4, rho=rho)


def test_even_times_of_a_straight_flow_are_even_in_its_own_clock():
    schedule = RectifiedFlowSchedule()
    times = straight_flow(schedule, 10, scale=1.0, sigma_max=9.0)
    assert times.tolist() == pytest.approx([0.9 * (10 - k) / 10 for k in range(11)], rel=1e-9)
    levels = EDMSchedule().sigma(straight_flow(EDMSchedule(), 8, scale=0.5))[:-1]
    shares = levels / (levels + 0.5)
    assert shares.diff().tolist() == pytest.approx([-80 / 80.5 / 8] * 7, rel=1e-6)
    with pytest.raises(InputError, match="scale must be positive"):
        straight_flow(schedule, 4, scale=0.0)

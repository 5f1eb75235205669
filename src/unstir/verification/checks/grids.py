"""What every spacing of time steps keeps, on every schedule; and the law that each of ours is named after."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.processes.schedules.base import Schedule
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.schedules.linear_vp import LinearVPSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.processes.schedules.sub_vp import SubVPSchedule
from unstir.verification.base import Curve, Effort, Measured, Plot, claim
from unstir.verification.statistics import at_most

__all__ = ["grid_fall", "grid_levels", "grid_refusals", "grid_spacing_in_time", "grid_spacing_of_levels"]

Grid = Callable[..., Tensor]
SCHEDULES: dict[str, Schedule] = {
    "cosine": CosineSchedule(),
    "linear-vp": LinearVPSchedule(),
    "sub-vp": SubVPSchedule(),
    "flow": RectifiedFlowSchedule(),
    "exponential-ve": ExponentialVESchedule(),
    "edm": EDMSchedule(),
}


@claim("grids")
def grid_fall(grid: Grid, effort: Effort) -> Iterator[Measured]:
    """On every schedule its times fall strictly from at most 1 to exactly 0, in as many steps as were asked for."""
    for steps in effort.of((1, 2, 7, 100), (1, 2, 3, 7, 18, 100, 1000)):
        wrong = 0
        for schedule in SCHEDULES.values():
            times = grid(schedule, steps)
            wrong += times.shape != (steps + 1,) or times.dtype != torch.float64
            wrong += bool(times[0] > 1) or bool(times[-1] != 0) or not bool((times.diff() < 0).all())
        yield at_most(f"schedules without such a grid, of {steps} steps", wrong, 0.0)


@claim("grids")
def grid_levels(grid: Grid, effort: Effort) -> Iterator[Measured]:
    """It starts at the noise level that was asked for, in units of the data, on every schedule."""
    steps = 12
    curves = []
    for name, schedule in SCHEDULES.items():
        times = grid(schedule, steps, sigma_max=7.0)
        levels = (schedule.sigma(times) / schedule.alpha(times))[:-1]
        curves.append(Curve(name, [float(step) for step in range(steps)], levels.tolist()))
        yield at_most(f"relative error of the first level, {name}", abs(levels[0].item() / 7 - 1), 1e-9)
    plot = Plot("noise levels of twelve steps", "step", "sigma/alpha", tuple(curves), y_log=True)
    levels = [curve.y for curve in curves]
    falling = all(first > second for curve in levels for first, second in pairwise(curve))
    yield at_most("schedules whose levels do not fall", int(not falling), 0.0, plot=plot)


@claim("grids")
def grid_refusals(grid: Grid, effort: Effort) -> Iterator[Measured]:
    """No steps, or a first noise level that the schedule does not reach, is answered with an error of the input."""
    unanswered = []
    for name, arguments in {
        "no steps": {"steps": 0},
        "a level beyond the end": {"steps": 5, "sigma_max": 1e9},
        "a level of zero": {"steps": 5, "sigma_max": 0.0},
    }.items():
        try:
            grid(RectifiedFlowSchedule() if name == "no steps" else EDMSchedule(), **arguments)
            unanswered.append(name)
        except InputError:
            pass
    yield at_most("mistakes that are not answered", len(unanswered), 0.0, note=", ".join(unanswered))


@claim("grids", "uniform", "quadratic")
def grid_spacing_in_time(grid: Grid, effort: Effort) -> Iterator[Measured]:
    """Its times, or their roots, are evenly spaced from the schedule's end to 0."""
    power = {"uniform": 1, "quadratic": 2}[grid.__name__]
    for name, schedule in SCHEDULES.items():
        times = grid(schedule, 16)
        wanted = torch.tensor([((16 - step) / 16) ** power for step in range(17)], dtype=torch.float64)
        yield at_most(f"error of the times, {name}", (times - wanted).abs().max(), 1e-15)


@claim("grids", "karras", "log-snr-uniform")
def grid_spacing_of_levels(grid: Grid, effort: Effort) -> Iterator[Measured]:
    """Noise levels go from sigma_max to sigma_min, even in the power or the logarithm that names the grid."""
    steps, low, high = 16, 0.02, 40.0
    for name, schedule in SCHEDULES.items():
        times = grid(schedule, steps, sigma_min=low, sigma_max=high)[:-1]
        levels = schedule.sigma(times) / schedule.alpha(times)
        share = [step / (steps - 1) for step in range(steps)]
        if grid.__name__ == "karras":
            wanted = [(high ** (1 / 7) + part * (low ** (1 / 7) - high ** (1 / 7))) ** 7 for part in share]
        else:
            wanted = [math.exp(math.log(high) + part * (math.log(low) - math.log(high))) for part in share]
        error = (levels / torch.tensor(wanted, dtype=torch.float64) - 1).abs()
        yield at_most(f"relative error of the levels, {name}", error.max(), 1e-9)

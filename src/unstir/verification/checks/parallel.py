"""Sampling in rounds instead of steps gives what the sampler itself gives."""

from collections.abc import Iterator

import torch

from unstir.core.errors import InputError
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.samplers.base import Sampler, SamplerState, follow
from unstir.samplers.parallel import follow_parallel
from unstir.samplers.step_coefficients import coefficients_of
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.references import IN_THE_PLANE, PointDenoiser, goes_along_any_times
from unstir.verification.statistics import at_most

__all__ = ["sampler_in_parallel"]


@claim("samplers")
def sampler_in_parallel(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """Solved in parallel over time it goes the same way: at tolerance 0 to rounding, else within the tolerance.

    For samplers with one call a step that is linear in beliefs and noise. It takes no more rounds than steps, and at
    a tolerance of a thousandth of the noise fewer than two thirds of them.
    """
    goes_along_any_times(sampler)
    steps, count = effort.of((36, 6), (100, 50))
    schedules = {"edm": EDMSchedule(), **effort.of({}, {"cosine": CosineSchedule()})}
    for name, schedule in schedules.items():
        denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(schedule)))
        times, seeds = karras(schedule, steps), effort.seeds(count, "parallel")
        try:
            coefficients_of(sampler, denoiser.process, times, 0, False)
        except InputError as error:
            raise NotMeasured(str(error), silent=True) from error
        start = SamplerState(denoiser.process.prior((2,), seeds.at("prior"), times[0], torch.float64), seeds)
        expected = follow(denoiser, sampler, start, times).tensor
        for tolerance, window, bound in ((0.0, None, 1e-10), (1e-3, None, 1e-2), (1e-3, 12, 1e-2)):
            found = follow_parallel(denoiser, sampler, start, times, window, tolerance)
            where = f"tolerance {tolerance:g}, window {window or steps}, {name}"
            away = (found.state.tensor - expected).square().mean().sqrt()
            yield at_most(f"root-mean-square distance from the sampler's own way, {where}", away, bound)
            allowed = 2 * steps / 3 if tolerance and window is None else steps
            yield at_most(f"rounds for {steps} steps, {where}", found.rounds.max(), allowed)

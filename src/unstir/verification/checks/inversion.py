"""Encoding and decoding: that a sampler's steps can be undone, and what the other ways along the flow are worth."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from unstir.core.errors import InputError
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import log_snr_uniform
from unstir.processes.schedules.base import Schedule
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.samplers.base import EUCLIDEAN, Sampler
from unstir.samplers.calibrated import CalibratedSampler
from unstir.samplers.inversion import Encoded, decode, encode
from unstir.samplers.inversion_ways import AlongFlow, InverseSteps, ReversedSteps, Way
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.references import IN_THE_PLANE, PointDenoiser
from unstir.verification.statistics import at_most, order_of

__all__ = ["encoding_along_the_flow", "encoding_by_reversed_steps", "sampler_inversion"]

SCHEDULES: dict[str, Schedule] = {"cosine": CosineSchedule(), "edm": EDMSchedule(), "flow": RectifiedFlowSchedule()}
LOW, HIGH = 0.02, 20.0  # noise levels between which is encoded


@claim("samplers")
def sampler_inversion(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """Its steps can be undone one by one: data that is encoded and decoded comes back, to rounding.

    For samplers that neither draw nor remember, on wide steps as on narrow ones. Rounding, 1e-15, grows by as much as
    the flow draws neighbouring noises apart on its way, here less than 1e4.
    """
    if not EUCLIDEAN & sampler.spaces or sampler.calls_per_step is None or isinstance(sampler, CalibratedSampler):
        raise NotMeasured("its steps are no smooth maps of a Euclidean space", silent=True)
    way = InverseSteps(sampler)
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess()))
    times = log_snr_uniform(denoiser.process.schedule, 5, LOW, HIGH)[:-1]
    try:
        way.check(denoiser, _data(effort), times)
    except InputError as error:
        raise NotMeasured(f"its steps have no inverse each: {error}", silent=True) from error
    for name, schedule in SCHEDULES.items():
        for steps in effort.of((5, 20), (3, 5, 10, 20, 50)):
            errors = _encoded(schedule, way, effort, steps).round_trip
            yield at_most(f"distance of the data from what came back, {steps} steps, {name}", errors, 1e-10)


@claim("samplers", "ddim")
def encoding_along_the_flow(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """Encoding along the flow gives the flow's own noise, as SciPy solves it, and leads back within the tolerance.

    The errors of the steps add up, and grow as the flow spreads: a hundred tolerances are allowed.
    """
    x0 = _data(effort)
    expected = IN_THE_PLANE.flow(x0.numpy(), LOW, HIGH) / HIGH
    for name, schedule in SCHEDULES.items():
        for tolerance in (1e-4, 1e-6, 1e-8):
            encoded = _encoded(schedule, AlongFlow(tolerance), effort)
            start = log_snr_uniform(schedule, 20, LOW, HIGH)[0]
            away = np.abs((encoded.noise / schedule.alpha(start) / HIGH).numpy() - expected)
            where = f"tolerance {tolerance:g}, {name}"
            yield at_most(f"distance of the noise from SciPy's, {where}", away, 100 * tolerance)
            yield at_most(f"distance of the data from what came back, {where}", encoded.round_trip, 100 * tolerance)


@claim("samplers", "ddim")
def encoding_by_reversed_steps(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """DDIM's steps taken backwards lead back with an error of first order, which is told as it is.

    What ``encode`` says of a sample is what decoding its noise shows.
    """
    counts = effort.of([60, 90, 135, 200], [100, 200, 400, 800])
    for name, schedule in SCHEDULES.items():
        found = [_encoded(schedule, ReversedSteps(), effort, steps) for steps in counts]
        errors = [float(encoded.round_trip.square().mean().sqrt()) for encoded in found]
        yield order_of(f"order of the round trip, {name}", [1 / steps for steps in counts], errors, 1.0, 0.15)
        denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(schedule)))
        grid = log_snr_uniform(schedule, counts[0], LOW, HIGH)
        again = decode(denoiser, found[0].noise, way=ReversedSteps(), grid=grid)
        told = (again - _data(effort)).square().mean(1).sqrt() - found[0].round_trip
        yield at_most(f"difference of the error from what is told, {name}", told.abs().max(), 1e-12)


def _data(effort: Effort) -> Tensor:
    law = IN_THE_PLANE.denoiser(GaussianProcess())
    return law.draw(effort.seeds(effort.of(24, 200), "inversion"))  # type: ignore[operator]


def _encoded(schedule: Schedule, way: Way, effort: Effort, steps: int = 20) -> Encoded:
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(schedule)))
    grid = log_snr_uniform(schedule, steps, LOW, HIGH)
    return encode(denoiser, _data(effort), way=way, grid=grid, batch=200)

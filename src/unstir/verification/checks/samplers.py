"""What every sampler keeps: its order, the law of the data, its cost, and that it remembers nothing."""

import functools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras, log_snr_uniform
from unstir.processes.schedules.base import Schedule
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.linear_vp import LinearVPSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.processes.schedules.sub_vp import SubVPSchedule
from unstir.samplers.base import ANY_SPACE, Sampler, SamplerState, sample
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.references import (
    IN_THE_PLANE,
    ON_THE_LINE,
    NormalDenoiser,
    PointDenoiser,
    arrive,
    exact_moments,
    goes_along_any_times,
    small_network,
    suited,
)
from unstir.verification.statistics import at_most, distribution_is, order_of

__all__ = [
    "sampler_calls",
    "sampler_company",
    "sampler_declarations",
    "sampler_law",
    "sampler_memory",
    "sampler_order",
    "sampler_point_data",
    "sampler_precision",
    "sampler_seeds",
    "sampler_spaces",
    "sampler_weak_order",
]

START, LEVEL = 10.0, 0.05  # noise levels that trajectories start from, and where some are compared
Grid = Callable[[Schedule, int], Tensor]


def _powers(exponent: int) -> Grid:
    """Times whose roots are even, down to 0."""

    def grid(schedule: Schedule, steps: int) -> Tensor:
        ramp = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        return ramp**exponent * schedule.time_at_sigma(START)

    return grid


def _alternating(schedule: Schedule, steps: int) -> Tensor:
    """Steps of log-SNR that are one and three wide by turns, down to a level."""
    widths = torch.tensor([1.0, 3.0], dtype=torch.float64).repeat(steps // 2)
    share = torch.cat((torch.zeros(1, dtype=torch.float64), widths.cumsum(0) / widths.sum()))
    logs = math.log(START) + (math.log(LEVEL) - math.log(START)) * share
    return schedule.time_at_sigma(logs.exp())


# The error of the last step, into no noise at all, is of the size of its noise level squared. In the first
# grids the noise level falls at least with the cube of the steps left, k^3/N^3, so that it cannot spoil an
# order of four, nor the steps in log-SNR near the end, some 3/k wide, one that is met where the noise is small.
# On a linear beta sigma/alpha goes with the root of time, hence the sixth powers.
# The others end at a fixed level before the last step, which nothing refines; the error is taken there.
CASES: dict[str, tuple[Schedule, Grid, float]] = {
    "cosine, cubes": (CosineSchedule(), _powers(3), 0.0),
    "edm, even": (EDMSchedule(sigma_max=START), _powers(1), 0.0),
    "linear-vp, sixth powers": (LinearVPSchedule(), _powers(6), 0.0),
    "sub-vp, karras": (SubVPSchedule(), lambda schedule, steps: karras(schedule, steps + 1, LEVEL, START)[:-1], LEVEL),
    "flow, log-snr": (
        RectifiedFlowSchedule(),
        lambda schedule, steps: log_snr_uniform(schedule, steps + 1, LEVEL, START)[:-1],
        LEVEL,
    ),
    "cosine, narrow and wide by turns": (CosineSchedule(), _alternating, LEVEL),
}
IN_BRIEF = ("cosine, narrow and wide by turns",)
TO_THE_END = [case for case, (_, _, end) in CASES.items() if end == 0]


@claim("samplers")
def sampler_order(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """Its error on the probability-flow ODE falls with the declared order, on any schedule and grid.

    Against SciPy's solution of a mixture's flow, to 1e-11, from the same states; to a tenth of the order.
    """
    goes_along_any_times(sampler)
    if sampler.calls_per_step is None:
        raise NotMeasured("it chooses its own steps; its tolerance is measured", silent=True)
    if not _deterministic(sampler):
        raise NotMeasured("it draws noise; its weak order is measured", silent=True)
    counts = effort.of([48, 80, 134, 224], [96, 192, 384, 768])
    order = float(sampler.order)
    for case in effort.of(IN_BRIEF, CASES):
        schedule, grid, end = CASES[case]
        denoiser = suited(sampler, PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(schedule))))
        y, expected = _flow(end)
        errors = []
        for steps in counts:
            times = grid(schedule, steps)
            x = arrive(sampler, denoiser, schedule.alpha(times[0]) * y, times)
            errors.append(float(np.sqrt(np.mean(((x / schedule.alpha(times[-1])).numpy() - expected) ** 2))))
        widths = [1 / steps for steps in counts]
        yield order_of(f"order, {case}", widths, errors, order, effort.of(0.15, 0.1) * order, corrected=True)


@claim("samplers")
def sampler_weak_order(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """The error of its mean and variance on normal data falls at least with the declared weak order.

    The moments are exact: with a belief that is linear in the state, the last state is affine in each draw.
    """
    goes_along_any_times(sampler)
    if _deterministic(sampler):
        raise NotMeasured("it draws no noise; its order is measured", silent=True)
    mean, deviation = 0.6, 0.8
    counts = effort.of([48, 72, 108, 160], [64, 128, 256, 512, 1024])
    for case in effort.of(TO_THE_END[1:2], TO_THE_END):
        schedule, grid, _ = CASES[case]
        denoiser = suited(sampler, NormalDenoiser(mean, deviation, GaussianProcess(schedule)))
        errors = []
        for steps in counts:
            times = grid(schedule, steps)
            alpha, sigma = schedule.alpha(times[0]).item(), schedule.sigma(times[0]).item()
            told = exact_moments(sampler, denoiser, times, alpha * mean, (alpha * deviation) ** 2 + sigma**2)
            errors.append(abs(told[0] - mean) + abs(told[1] - deviation**2))
        tolerance = effort.of(0.15, 0.1)
        steps_wide = [1 / steps for steps in counts]
        yield order_of(
            f"weak order, {case}", steps_wide, errors, float(sampler.order), tolerance, at_least=True, corrected=True
        )
        yield at_most(f"error of mean and variance after {counts[-1]} steps, {case}", errors[-1], 0.1)


@claim(
    "samplers",
    *("ancestral", "ddim", "ddpm", "deis", "dpm-solver-1", "dpm-solver-2", "dpm-solver-3", "dpm-solver-pp-2m"),
    *("dpm-solver-pp-2s", "dpm-solver-pp-3m", "dpm-solver-pp-sde", "dpm-solver-pp-sde-2s", "euler", "heun", "kutta3"),
    *("midpoint", "multistep", "plms", "rk4", "sa-solver", "unipc"),
)
def sampler_point_data(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """For data of one point the law at every noise level is exact, however few the steps.

    The belief is then constant, and the exponential integrators, the straight lines in sigma/alpha and the bridge
    all solve what is left in closed form: the state is normal about alpha x0 with deviation sigma.
    """
    point = 0.6
    for name, schedule in {"cosine": CosineSchedule(), "flow": RectifiedFlowSchedule(), "edm": EDMSchedule()}.items():
        times = _alternating(schedule, 6)
        alpha, sigma = (values.tolist() for values in (schedule.alpha(times), schedule.sigma(times)))
        denoiser = NormalDenoiser(point, 0.0, GaussianProcess(schedule))
        errors = []
        for last in range(1, len(times)):
            mean, variance = exact_moments(sampler, denoiser, times[: last + 1], alpha[0] * point, sigma[0] ** 2)
            errors += [abs(mean - alpha[last] * point), abs(variance / sigma[last] ** 2 - 1)]
        yield at_most(f"error of mean and relative error of variance, {name}", np.array(errors), 1e-9)


@claim("samplers")
def sampler_law(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """Its samples have the law of the data, given the exact denoiser."""
    goes_along_any_times(sampler)
    count, steps = effort.of((2000, 100), (10_000, 400))
    denoiser = ON_THE_LINE.denoiser(GaussianProcess())
    drawn = sample(denoiser, sampler, (1,), count, steps=steps, seed=effort.seed + 3, batch=count, dtype=torch.float64)
    yield distribution_is(f"samples after {steps} steps", drawn.numpy(), ON_THE_LINE.cdf)


@claim("samplers")
def sampler_calls(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """It calls the denoiser as often as it says, once for the last step, which lands on the belief's mean."""
    goes_along_any_times(sampler)
    if sampler.calls_per_step is None:
        raise NotMeasured("it decides on its way how often it calls", silent=True)
    denoiser = suited(sampler, PointDenoiser(ON_THE_LINE.denoiser(GaussianProcess())))
    for steps in (1, 2, 9):
        times: list[float] = []
        means: list[Tensor] = []

        def record(module: Any, arguments: Any, output: Any, times: Any = times, means: Any = means) -> None:
            times.append(float(arguments[1]))
            means.append(output.mean)

        hook = denoiser.register_forward_hook(record)
        grid = karras(denoiser.process.schedule, steps)
        drawn = sample(denoiser, sampler, (1,), 4, grid=grid, batch=4, dtype=torch.float64)
        hook.remove()
        expected = float(sampler.calls(steps) or math.nan)
        yield Measured(f"calls in {steps} steps", float(len(times)), expected, expected)
        yield at_most(f"distance of the last call from the last noisy time, {steps} steps", times[-1] - grid[-2], 0.0)
        away = (drawn - means[-1]).abs().max()
        yield at_most(f"distance of the samples from the last belief's mean, {steps} steps", away, 1e-12)


@claim("samplers")
def sampler_company(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """A sample does not depend on those beside it: to the bit through `sample`, to rounding in a lone step.

    Each sample is drawn alone, in another order and in other batches; and steps of float64 are taken for one row,
    whose rounding (1e-15 a step) may grow along the trajectory, but not to 1e-9.
    """
    goes_along_any_times(sampler)
    network = suited(sampler, small_network({"label": {"classes": 4}}))
    labels = torch.arange(70) % 4
    options: dict[str, Any] = {"steps": 3, "batch": 32}
    whole = sample(network, sampler, (5,), 70, seed=5, condition={"label": labels}, **options)
    yield at_most("repeated samples among 70", 70 - len(whole.unique(dim=0)), 0.0)
    differing = 0
    for chosen in ([17], [69, 3, 17, 40], list(range(33, 64)), list(range(69, -1, -1))):
        rows = torch.tensor(chosen)
        told = {"label": labels[rows]}
        some = sample(network, sampler, (5,), seeds=Seeds(5, rows), condition=told, **options)
        differing += int((some != whole[rows]).any(1).sum())
    yield at_most("samples with other bits in other company", differing, 0.0)

    denoiser = suited(sampler, PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess())))
    times, seeds = karras(denoiser.process.schedule, 8, sigma_max=START), Seeds.range(5, 6)
    x = denoiser.process.prior((2,), seeds.at("prior"), times[0], torch.float64)
    together = arrive(sampler, denoiser, x, times, seeds)
    alone = torch.cat([arrive(sampler, denoiser, x[row : row + 1], times, seeds[row : row + 1]) for row in range(6)])
    yield at_most("difference of lone steps, float64", (together - alone).abs().max(), 1e-9)


@claim("samplers")
def sampler_seeds(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """The same seed gives the same samples, and another seed others."""
    goes_along_any_times(sampler)
    network = suited(sampler, small_network())
    first, again, other = (
        sample(network, sampler, (5,), 6, steps=3, seed=effort.seed + shift, batch=8) for shift in (1, 1, 2)
    )
    yield at_most("numbers that differ under the same seed", (first != again).sum(), 0.0)
    yield at_most("numbers that agree under another seed", (first == other).sum(), 0.0)


@claim("samplers")
def sampler_memory(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """All memory is in the state: trajectories step about, or in threads, go as they go apart."""
    goes_along_any_times(sampler)
    network = suited(sampler, small_network())
    times = karras(network.process.schedule, 6)
    starts = [50 * Seeds.range(seed, 3).normal((5,)) for seed in (1, 2)]
    seeds = [Seeds.range(9 + number, 3) for number in range(2)]
    apart = [arrive(sampler, network, x, times, own) for x, own in zip(starts, seeds, strict=True)]
    states = [SamplerState(x, own) for x, own in zip(starts, seeds, strict=True)]
    kept = [x.clone() for x in starts]
    with torch.no_grad():
        for t, s in pairwise(times):
            states = [sampler.step(network, state, t, s) for state in states]
    met = sum(int((state.tensor != own).sum()) for state, own in zip(states, apart, strict=True))
    yield at_most("numbers changed by steps taken by turns", met, 0.0)
    changed = sum(int((x != own).sum()) for x, own in zip(starts, kept, strict=True))
    yield at_most("numbers changed in the first state", changed, 0.0)
    miscounted = sum(abs(state.step - (len(times) - 1)) for state in states)
    yield at_most("steps miscounted", miscounted, 0.0)

    def draw(seed: int) -> Tensor:
        return sample(network, sampler, (5,), 24, steps=5, seed=seed, batch=16)

    alone = [draw(seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(draw, range(3)))
    changed = sum(int((one != other).sum()) for one, other in zip(alone, together, strict=True))
    yield at_most("numbers changed by other threads", changed, 0.0)


@claim("samplers")
def sampler_precision(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """It computes in the precision it is asked for, and says the belief's mean as the denoiser told it."""
    goes_along_any_times(sampler)
    network = suited(sampler, small_network())
    t, s = torch.tensor(0.6, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    for dtype in (torch.float32, torch.float64):
        own = network.to(dtype)
        state = SamplerState(Seeds.range(0, 3).normal((5,), dtype), Seeds.range(0, 3))
        told: list[Tensor] = []
        hook = own.register_forward_hook(lambda module, arguments, output, told=told: told.append(output.mean))
        with torch.no_grad():
            after = sampler.step(own, state, t, s)
        hook.remove()
        name = str(dtype).removeprefix("torch.")
        yield at_most(f"states of another precision, {name}", int(after.tensor.dtype != dtype), 0.0)
        if not isinstance(after.mean, Tensor):
            raise InputError("the state after a step has no mean of the belief")
        rounding = 64 * torch.finfo(dtype).eps
        away = min(float(((after.mean - mean).abs() / (rounding * (1 + mean.abs()))).max()) for mean in told)
        yield at_most(f"distance of the mean from the belief's in 64 roundings, {name}", away, 1.0)


@claim("samplers")
def sampler_spaces(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """A process on a space that it cannot serve is refused, with those named that can; one that it serves is not."""
    network = suited(sampler, small_network())
    refused = []
    for space in [*sorted(sampler.spaces - ANY_SPACE), "nowhere"]:
        network.process = _Elsewhere(network.process.schedule, space)
        try:
            sampler.check(network)
        except InputError as error:
            refused.append((space, str(error)))
    expected = 0.0 if sampler.spaces == ANY_SPACE else 1.0
    yield Measured("spaces refused", float(len(refused)), expected, expected)
    silent = sum(repr(space) not in text or "samplers that do" not in text for space, text in refused)
    yield at_most("refusals that do not say the space and who serves it", silent, 0.0)


@claim("samplers")
def sampler_declarations(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """It declares an order, the calls a step takes and the spaces it serves."""
    yield Measured("order", float(sampler.order), low=0.5)
    if sampler.calls_per_step is not None:
        yield Measured("calls a step", float(sampler.calls_per_step), low=1.0)
    mixed = "any" in sampler.spaces and sampler.spaces != ANY_SPACE
    yield at_most("spaces beside 'any', or none", int(mixed or not sampler.spaces), 0.0)


class _Elsewhere(GaussianProcess):
    """A process that says it lives on another space."""

    def __init__(self, schedule: Schedule, space: str) -> None:
        super().__init__(schedule)
        object.__setattr__(self, "space", space)


def _deterministic(sampler: Sampler) -> bool:
    denoiser = suited(sampler, NormalDenoiser(0.6, 0.8, GaussianProcess()))
    times = karras(denoiser.process.schedule, 4, sigma_max=START)
    x = torch.ones(3, 1, dtype=torch.float64)
    return torch.equal(*(arrive(sampler, denoiser, x, times, Seeds.range(seed, 3)) for seed in (0, 1)))


@functools.cache
def _flow(end: float) -> tuple[Tensor, np.ndarray]:
    """States at the first noise level, and the flow's solution at the last."""
    y = (START**2 + 1) ** 0.5 * Seeds.range(8, 12).normal((2,), torch.float64)
    return y, IN_THE_PLANE.flow(y.numpy(), START, end)

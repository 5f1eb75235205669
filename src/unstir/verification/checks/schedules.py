"""What every noise schedule keeps, in every scale that it offers."""

import copy
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from unstir.processes.schedules.base import Schedule
from unstir.verification.base import Curve, Effort, Measured, NotMeasured, Plot, claim
from unstir.verification.statistics import at_most

__all__ = [
    "schedule_clean_start",
    "schedule_coefficient_derivatives",
    "schedule_equality",
    "schedule_falling_log_snr",
    "schedule_finite_ends",
    "schedule_forward_moments",
    "schedule_log_snr_derivative",
    "schedule_scale",
    "schedule_time_clipping",
    "schedule_time_inverse",
    "schedule_times_of_any_kind",
]

EPSILON = float(np.finfo(np.float64).eps)


def inside(effort: Effort) -> Tensor:
    """Times between the ends. None is a simple fraction, where curves made of pieces may have a kink."""
    return torch.linspace(0, 1, effort.of(403, 2003), dtype=torch.float64)[1:-1]


@claim("schedules")
def schedule_clean_start(schedule: Schedule, effort: Effort) -> Iterator[Measured]:
    """Time 0 is the data itself: alpha = 1, sigma = 0, and the log-SNR is infinite."""
    yield at_most("|alpha(0) - 1|", abs(schedule.alpha(0.0).item() - 1), 0.0)
    yield at_most("sigma(0)", schedule.sigma(0.0).item(), 0.0)
    yield at_most("1/SNR at time 0", math.exp(-schedule.log_snr(0.0).item()), 0.0)


@claim("schedules")
def schedule_falling_log_snr(schedule: Schedule, effort: Effort) -> Iterator[Measured]:
    """The log-SNR falls strictly from time 0 to time 1."""
    times = torch.cat((torch.tensor([1e-9, 1e-6, 1e-4], dtype=torch.float64), inside(effort)))
    values = schedule.log_snr(times)
    story = Plot("signal-to-noise story", "time", "log-SNR", (Curve("log-SNR", times.tolist(), values.tolist()),))
    yield at_most("times where it is not finite", (~values.isfinite()).sum().item(), 0.0, plot=story)
    falls = torch.cat((values, schedule.log_snr(torch.ones(1)))).diff() < 0
    yield at_most("steps where it does not fall", (~falls).sum().item(), 0.0)
    rising = ~(schedule.log_snr_derivative(inside(effort)) < 0)
    yield at_most("times whose derivative is not negative", rising.sum().item(), 0.0)


@claim("schedules")
def schedule_scale(schedule: Schedule, effort: Effort) -> Iterator[Measured]:
    """alpha and sigma meet the constraint of the scale at all times, and their ratio is the SNR."""
    times = inside(effort)
    every = torch.cat((torch.zeros(1), times, torch.ones(1)))
    alpha, sigma = schedule.alpha(every), schedule.sigma(every)
    kept = {
        "vp": alpha.square() + sigma.square(),
        "ve": alpha,
        "flow": alpha + sigma,
        "sub-vp": alpha.square() + sigma,
    }
    yield at_most("distance from the constraint", (kept[schedule.scale] - 1).abs().max(), 4 * EPSILON)
    told = 2 * (schedule.alpha(times) / schedule.sigma(times)).log()
    wanted = schedule.log_snr(times)
    error = (told - wanted).abs() / (1 + wanted.abs())
    yield at_most("relative error of 2 log(alpha/sigma) as the log-SNR", error.max(), 1e-12)


@claim("schedules")
def schedule_time_inverse(schedule: Schedule, effort: Effort) -> Iterator[Measured]:
    """The time at a log-SNR inverts the log-SNR at a time, both ways, to rounding."""
    levels = torch.linspace(-20, 20, effort.of(201, 801), dtype=torch.float64)
    levels = levels[levels > schedule.log_snr(1.0 - 1e-9)]
    yield Measured("levels between -20 and 20 that are reached, of all", len(levels) / effort.of(201, 801), low=0.25)
    times = schedule.time(levels)
    # a time is known to a rounding of its own size or of one less it, which the slope magnifies
    rounding = EPSILON * (1 + levels.abs() - schedule.log_snr_derivative(times) * times)
    error = (schedule.log_snr(times) - levels).abs() / rounding
    yield at_most("error of the log-SNR, in roundings", error.max(), 64.0)

    times = inside(effort)
    slope = schedule.log_snr_derivative(times).abs()
    rounding = EPSILON * (times + (1 + schedule.log_snr(times).abs()) / slope)
    error = (schedule.time(schedule.log_snr(times)) - times).abs() / rounding
    yield at_most("error of the time, in roundings", error.max(), 64.0)
    ratio = schedule.sigma(times) / schedule.alpha(times)
    error = (schedule.time_at_sigma(ratio) - times).abs() / rounding
    yield at_most("error of the time at a noise level, in roundings", error.max(), 64.0)


@claim("schedules")
def schedule_time_clipping(schedule: Schedule, effort: Effort) -> Iterator[Measured]:
    """Levels beyond the schedule's ends have the time of the end: 0 of no noise, 1 of nothing but noise."""
    yield at_most("time of infinite log-SNR", abs(schedule.time(math.inf).item()), 0.0)
    yield at_most("time of no noise", abs(schedule.time_at_sigma(0.0).item()), 0.0)
    yield at_most("|time of log-SNR minus infinity - 1|", abs(schedule.time(-math.inf).item() - 1), 0.0)
    yield at_most("|time of the last log-SNR - 1|", abs(schedule.time(schedule.log_snr(1.0)).item() - 1), 1e-12)


@claim("schedules")
def schedule_log_snr_derivative(schedule: Schedule, effort: Effort) -> Iterator[Measured]:
    """The derivative of the log-SNR is that of its curve, found by automatic differentiation."""
    error = _relative(schedule.log_snr_derivative(inside(effort)), _slope(schedule.log_snr, inside(effort)), 0.0)
    yield at_most("relative error", error, 1e-9)


@claim("schedules")
def schedule_coefficient_derivatives(schedule: Schedule, effort: Effort) -> Iterator[Measured]:
    """The derivatives of alpha and sigma are those of their curves, found by automatic differentiation."""
    times = inside(effort)
    times = times[(times > 0.01) & (times < 0.99)]
    alpha = _relative(schedule.alpha_derivative(times), _slope(schedule.alpha, times), 1e-5)
    yield at_most("relative error of alpha'", alpha, 1e-8)
    sigma = _relative(schedule.sigma_derivative(times), _slope(schedule.sigma, times), 1e-5)
    yield at_most("relative error of sigma'", sigma, 1e-8)


@claim("schedules")
def schedule_forward_moments(schedule: Schedule, effort: Effort) -> Iterator[Measured]:
    r"""The forward SDE dx = f x dt + g dW carries mean and variance from alpha and sigma to alpha and sigma.

    With A = exp(integral of f) from the first time on, alpha ends at A times its first value, and sigma^2 at A^2 times
    its first value plus the integral of g^2/A^2. Gauss' quadrature on panels between multiples of 1/200, where
    curves made of pieces have their kinks.
    """
    edges = torch.arange(4, 197, dtype=torch.float64) / 200
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(8))
    times = edges[:-1, None] + (nodes + 1) / 400
    drift = schedule.drift(times)
    panels = (drift * weights).sum(1) / 400
    starts = torch.cat((torch.zeros(1, dtype=torch.float64), panels.cumsum(0)))
    log_alpha = starts[:-1, None] + drift @ _antiderivative(nodes.numpy()) / 400
    first, last = edges[0], edges[-1]
    told = (schedule.alpha(last) / schedule.alpha(first)).log()
    yield at_most("error of log alpha", (told - starts[-1]).abs(), 1e-9)
    noise = (schedule.diffusion(times).square() * (-2 * log_alpha).exp() * weights).sum() / 400
    carried = (schedule.sigma(first).square() + noise) * (2 * starts[-1]).exp()
    yield at_most("relative error of sigma^2", (schedule.sigma(last).square() / carried - 1).abs(), 1e-8)


@claim("schedules")
def schedule_finite_ends(schedule: Schedule, effort: Effort) -> Iterator[Measured]:
    """alpha, drift, diffusion and derivatives are finite at both ends; so is sigma, while any of the data is left."""
    functions = (
        schedule.alpha,
        schedule.drift,
        schedule.diffusion,
        schedule.alpha_derivative,
        schedule.sigma_derivative,
    )
    broken = sum(not bool(function(t).isfinite()) for t in (0.0, 1.0) for function in functions)
    yield at_most("coefficients that are not finite", broken, 0.0)
    # without a bound on sigma, a curve that forgets the data altogether has infinite noise
    unbounded = schedule.scale == "ve" and schedule.log_snr(1.0) == -math.inf
    last = schedule.sigma(1.0)
    yield at_most("sigma(1) where it is neither", int(not bool(last.isinf() if unbounded else last.isfinite())), 0.0)


@claim("schedules")
def schedule_times_of_any_kind(schedule: Schedule, effort: Effort) -> Iterator[Measured]:
    """A time may be a number, or a tensor of any shape and precision; what comes back is float64 of its shape."""
    wrong, errors = 0, []
    for function in (schedule.alpha, schedule.sigma, schedule.log_snr, schedule.drift, schedule.diffusion):
        several = function(torch.tensor([[0.25, 0.5, 0.75]], dtype=torch.float32))
        wrong += several.shape != (1, 3) or several.dtype != torch.float64
        wrong += function(torch.tensor(0.5)).shape != () or function(0.5).dtype != torch.float64
        errors.append(abs((several[0, 1] - function(0.5)).item()))
    yield at_most("results of a wrong shape or precision", wrong, 0.0)
    yield at_most("difference between a number and a row of a tensor", np.max(errors), 0.0)


@claim("schedules")
def schedule_equality(schedule: Schedule, effort: Effort) -> Iterator[Measured]:
    """A schedule is a value: a copy is equal to it and has its hash."""
    other = copy.copy(schedule)
    yield at_most("copies that differ", int(other != schedule) + int(hash(other) != hash(schedule)), 0.0)


def _slope(function: Callable[[Tensor], Tensor], times: Tensor) -> Tensor:
    times = times.clone().requires_grad_()
    value = function(times)
    if not value.requires_grad:
        if bool((value == value[0]).all()):
            return torch.zeros_like(times)
        raise NotMeasured("its curve cannot be differentiated by torch")
    return torch.autograd.grad(value.sum(), times)[0]


def _relative(seen: Tensor, wanted: Tensor, floor: float) -> float:
    """The largest error, relative to the value or to ``floor``."""
    return float(((seen - wanted).abs() / wanted.abs().clamp(min=max(floor, 1e-300))).max())


def _antiderivative(nodes: np.ndarray) -> Tensor:
    """The matrix from values at Gauss' nodes to the integrals from -1 to each node, (nodes, nodes)."""
    integrals = []
    for unit in np.eye(len(nodes)):
        coefficients = np.polynomial.legendre.legfit(nodes, unit, len(nodes) - 1)
        integrals.append(np.polynomial.legendre.legval(nodes, np.polynomial.legendre.legint(coefficients, lbnd=-1)))
    return torch.from_numpy(np.array(integrals))

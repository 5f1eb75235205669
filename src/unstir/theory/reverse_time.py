r"""Stirring run backwards: Anderson's reverse-time equation, and the flow without noise that has the same law.

The forward equation dx = f x dt + g dW has the marginals p_t. For any ``stochasticity`` :math:`\eta \ge 0` so has

.. math:: dx = \Big[f x - \tfrac{1+\eta^2}{2} g^2 \nabla\log p_t(x)\Big] dt + \eta\,g\,d\bar W,

run from late to early times: Anderson's equation at :math:`\eta = 1`, the probability-flow ODE at 0. With an exact
score both return the law of the data, and along the flow the density can be followed as well.

Reference: Anderson, Reverse-time diffusion equation models (1982); Song et al., Score-based generative modeling
through SDEs (2021), sections 3.3 and 4.3, appendix D; Karras et al. (2022), eq. 6 and 8.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.nn.functional import softplus

from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.exact.base import EuclideanDenoiser, ExactDenoiser
from unstir.physics.stochastic_process import ItoProcess
from unstir.processes.schedules.base import Schedule

DensityAtEnd = Callable[[Tensor, float], Tensor]
_LAST = 1 - 1e-12  # where the log-SNR of a schedule that ends in pure noise is still finite


def score_at(denoiser: Denoiser, xt: Tensor, t: Tensor | float | int) -> Tensor:
    """grad log p_t(x_t): the exact score where the law is known, else by Tweedie's formula from the belief's mean."""
    t = torch.as_tensor(t, dtype=torch.float64, device=xt.device)
    if isinstance(denoiser, EuclideanDenoiser):
        return denoiser.score(xt, t)
    weights = next(denoiser.parameters(), xt)
    return denoiser.process.score_of(xt, denoiser(xt.to(weights.dtype), t).mean.to(xt.dtype), t)


def reverse_sde(denoiser: Denoiser, stochasticity: float | int = 1.0) -> ItoProcess:
    """The reverse-time equation of a denoiser's process, to be simulated along falling times.

    ``stochasticity`` is eta of the module's formula, non-negative: 1 for Anderson's equation, 0 for the probability
    flow. States are float64, (paths, *shape). Raises InputError for a process that is not Gaussian noise on a
    Euclidean space.
    """
    schedule = schedule_of(denoiser)
    eta = float(stochasticity)
    if not 0 <= eta < math.inf:
        raise InputError(f"the stochasticity must be a finite number, not negative; seen {stochasticity}")

    def drift(x: Tensor, t: Tensor) -> Tensor:
        push = (1 + eta**2) / 2 * schedule.diffusion(t).square()
        return schedule.drift(t) * x - push * score_at(denoiser, x, t)

    def diffusion(x: Tensor, t: Tensor) -> Tensor:
        return eta * schedule.diffusion(t)

    return ItoProcess(drift, diffusion)


def return_to_data(
    denoiser: Denoiser,
    seeds: Seeds,
    shape: Sequence[int] | None = None,
    steps: int = 400,
    stochasticity: float | int = 1.0,
    log_snr: tuple[float | int, float | int] = (-10.0, 12.0),
) -> Tensor:
    """Data out of noise: the reverse-time equation in Euler–Maruyama steps, even in log-SNR.

    It starts with the process's prior at the first ``log_snr`` and ends at the second (each kept within what the
    schedule reaches), where the mean of the belief replaces what noise is left. ``shape`` is that of one sample;
    an exact denoiser knows its own. The law of the result, float64 (len(seeds), *shape), is that of the data up to
    an error of first order in the step. The samplers do the same in far fewer steps; this is the plain equation.
    """
    if shape is None:
        if not isinstance(denoiser, ExactDenoiser):
            raise InputError("say the shape of one sample: shape=...; only an exact denoiser knows its own")
        shape = denoiser.draw(seeds[:1]).shape[1:]
    times = times_between(schedule_of(denoiser), *log_snr, steps)
    start = denoiser.process.prior(shape, seeds.at("prior"), times[0], torch.float64)
    with torch.no_grad():
        x = reverse_sde(denoiser, stochasticity).simulate(start, times, seeds.at("reverse"))[:, -1]
        weights = next(denoiser.parameters(), x)
        return denoiser(x.to(weights.dtype), times[-1].to(x.device)).mean.double()


def probability_flow(
    denoiser: Denoiser, x: Tensor, start: float | int, end: float | int, tolerance: float = 1e-9
) -> Tensor:
    """Where the probability flow takes states ``x`` (batch, *shape) from the time ``start`` to the time ``end``.

    Either direction; solved by an adaptive Runge–Kutta method of order 8 to the relative ``tolerance``, in float64.
    """
    return _follow(denoiser, x, float(start), float(end), tolerance, with_density=False)[0]


def log_density_by_flow(
    denoiser: Denoiser,
    x: Tensor,
    start: float | int = 0.0,
    end: float | int | None = None,
    end_density: DensityAtEnd | None = None,
    tolerance: float = 1e-9,
) -> Tensor:
    r"""log p_t at ``x`` (batch, *shape) and t = ``start``, in nats, by following the probability flow to the noise.

    :math:`\log p_t(x) = \log p_{end}(x_{end}) + \int_t^{end} \nabla\cdot v\,ds`, the divergence being the exact trace
    of the Jacobian, a backward pass for each element of a sample. ``end_density(x, t)`` is the log-density (batch,)
    at the end; by default that of the process's prior, whose distance from the true p_end is then part of the
    answer. ``end`` is by default the time where the log-SNR is -20, or the end of time if that comes first.
    """
    schedule = schedule_of(denoiser)
    if end is None:
        end = min(float(schedule.time(-20.0)), _LAST)
    moved, gained = _follow(denoiser, x, float(start), float(end), tolerance, with_density=True)
    if end_density is not None:
        return end_density(moved, float(end)).double() + gained
    sigma = schedule.sigma(end)
    squares = (moved / sigma).square().flatten(1).sum(1)
    return gained - squares / 2 - moved[0].numel() * float((2 * math.pi * sigma**2).log()) / 2


def times_between(schedule: Schedule, first: float | int, last: float | int, steps: int) -> Tensor:
    """``steps`` + 1 times, even in log-SNR from ``first`` to ``last`` (kept within the schedule's range), float64."""
    if steps < 1:
        raise InputError(f"at least 1 step is needed; seen {steps}")
    reached = float(schedule.log_snr(1.0))
    levels = torch.linspace(max(first, reached), max(last, reached), steps + 1, dtype=torch.float64)
    times = schedule.time(levels)
    if not bool((times.diff() > 0).all() or (times.diff() < 0).all()):
        raise InputError(
            f"log-SNR from {first} to {last} are not {steps} steps of time: the schedule ends at {reached:g}"
        )
    return times


def schedule_of(denoiser: Denoiser) -> Schedule:
    """The schedule of a Gaussian process; an InputError for a process of another kind."""
    process = denoiser.process
    if getattr(process, "space", None) != "euclidean" or not isinstance(getattr(process, "schedule", None), Schedule):
        raise InputError(
            f"a score, and so the reverse-time equation, belongs to Gaussian noise on a Euclidean space; "
            f"seen {type(process).__name__} on the space {getattr(process, 'space', 'unknown')!r}"
        )
    return process.schedule


def _follow(
    denoiser: Denoiser, x: Tensor, start: float, end: float, tolerance: float, with_density: bool
) -> tuple[Tensor, Tensor]:
    """States moved along the flow, and the log-density at the start less that at the end, (batch,).

    Every schedule takes the same road at its own pace. With z = x / sqrt(alpha^2 + sigma^2) and the clock
    u = log(1 + sigma^2/alpha^2) it is dz/du = -(z + score of z)/2, smooth at both ends: this is what is solved.
    """
    schedule = schedule_of(denoiser)
    for time in (start, end):
        if not 0 <= time <= 1 or not math.isfinite(_clock(schedule, time)):
            raise InputError(f"the flow runs between times from 0 to 1 where some signal is left; seen {time}")
    shape, elements = x.shape, x[0].numel()
    clocks = _clock(schedule, start), _clock(schedule, end)

    def slopes(clock: float, packed: np.ndarray) -> np.ndarray:
        edges = {clocks[0]: start, clocks[1]: end}  # without the rounding of an inverted schedule
        t = edges[clock] if clock in edges else float(schedule.time(-math.log(math.expm1(clock))))
        size = _size(schedule, t)
        z = torch.as_tensor(packed[: x.numel()], device=x.device).reshape(shape)
        if not with_density:
            with torch.no_grad():
                return _flat(-(z + size * score_at(denoiser, size * z, t)) / 2)
        with torch.enable_grad():
            xt = (size * z).requires_grad_()
            score = score_at(denoiser, xt, t)
            trace = divergence(score, xt)
        slope = -(z + size * score.detach()) / 2
        return np.concatenate((_flat(slope), _flat((elements + size**2 * trace) / 2)))

    first = x.detach().double() / _size(schedule, start)
    packed = np.concatenate((_flat(first), np.zeros(len(x) if with_density else 0)))
    if clocks[0] == clocks[1]:
        return x.detach().double(), torch.zeros(len(x), dtype=torch.float64, device=x.device)
    solved: Any = solve_ivp(slopes, clocks, packed, method="DOP853", rtol=tolerance, atol=tolerance * 1e-2)
    if not solved.success or not np.isfinite(solved.y[:, -1]).all():
        raise NonFiniteError(f"the probability flow could not be followed from {start:g} to {end:g}: {solved.message}")
    last = torch.as_tensor(solved.y[:, -1], device=x.device)
    moved = _size(schedule, end) * last[: x.numel()].reshape(shape)
    # the slope carried along is minus the divergence, the change of the log-density on the way
    change = last[x.numel() :]
    stretch = elements * math.log(_size(schedule, end) / _size(schedule, start))
    return moved, stretch - change if with_density else change


def divergence(field: Tensor, x: Tensor) -> Tensor:
    """The trace of the Jacobian of ``field`` by ``x``, sample by sample, (batch,); both are (batch, *shape)."""
    trace = torch.zeros(len(x), dtype=field.dtype, device=x.device)
    for place, component in enumerate(field.flatten(1).unbind(1)):
        (gradient,) = torch.autograd.grad(component.sum(), x, retain_graph=True)
        trace = trace + gradient.flatten(1)[:, place]
    return trace


def _clock(schedule: Schedule, t: float) -> float:
    return float(softplus(-schedule.log_snr(t), threshold=50))


def _size(schedule: Schedule, t: float) -> float:
    return math.hypot(float(schedule.alpha(t)), float(schedule.sigma(t)))


def _flat(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy().ravel()

"""The log-density along the probability flow."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.errors import InputError, NonFiniteError, unknown
from unstir.core.ode import solve
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, expand
from unstir.denoisers.base import ConditionedDenoiser, Denoiser
from unstir.exact.base import EuclideanDenoiser
from unstir.exact.spectral import SpectralMixtureDenoiser
from unstir.likelihood.divergence import TraceEstimator, mean_and_error, places
from unstir.likelihood.spectral_flow import SpectralFlow
from unstir.processes.schedules.base import Schedule, alpha_at, sigma_at
from unstir.processes.spectral import SpectralProcess
from unstir.theory.reverse_time import schedule_of

__all__ = ["flow_log_density"]

DensityAtEnd = Callable[[Tensor, float], Tensor]
ENDS = ("matched", "prior")
SMALLEST_LEVEL = 2e-3  # sigma/alpha, where the flow of a network starts: below, its belief is rounding
_LAST_LOG_SNR = -20.0
_KNEE = 0.1**2  # of the clock, log(1 + r^2/knee): even in r^2 below and in log r above; a third fewer calls than knee 1
_ROWS, _NUMBERS = 1024, 2**20  # in one solution, unless the caller says


@dataclass(frozen=True)
class LogDensity:
    """Log-densities of a batch, and how well they are known.

    ``nats`` is the natural logarithm of the density in the units of the data, float64 (batch,), of x_0 with noise
    ``level`` added. ``standard_error`` (batch,) is that of the trace estimate alone, from ``probes`` independent
    ones (zero if ``method`` is "exact", where ``probes`` is 1): errors in units of it have the t-distribution with
    probes - 1 degrees of freedom. ``calls`` of the denoiser and ``elements`` are int64 (batch,).
    """

    nats: Tensor
    standard_error: Tensor
    calls: Tensor
    elements: Tensor
    method: str
    probes: int
    level: float

    @property
    def bits_per_dimension(self) -> Tensor:
        """Minus the log-density in bits, per element (batch,): of a density, so that the data's unit shifts it."""
        return -self.nats / (self.elements * math.log(2))

    @property
    def bits_standard_error(self) -> Tensor:
        """The standard error of ``bits_per_dimension``, (batch,)."""
        return self.standard_error / (self.elements * math.log(2))

    def interval(self, coverage: float = 0.95) -> tuple[Tensor, Tensor]:
        """The bounds in nats, each (batch,), between which the exact trace would lead with this probability."""
        if not 0 < coverage < 1:
            raise InputError(f"a coverage lies between 0 and 1; seen {coverage}")
        from scipy.stats import t as student

        reach = self.standard_error * (
            float(student(self.probes - 1).ppf((1 + coverage) / 2)) if self.probes > 1 else 0
        )
        return self.nats.detach() - reach, self.nats.detach() + reach

    def __str__(self) -> str:
        nats, bits, count = self.nats.detach(), self.bits_per_dimension.detach(), len(self.nats)
        spread = float(nats.std()) / math.sqrt(count) if count > 1 else float(self.standard_error[0])
        trace = "exact trace"
        if self.method != "exact":
            error = float(self.standard_error.mean())
            trace = f"{self.method}, {self.probes} probes, standard error {error:.2g} nats a sample"
        blurred = f" of the data with noise {self.level:g} added" if self.level else ""
        return (
            f"log-density{blurred}: mean {float(nats.mean()):.4f} ± {spread:.2g} nats over {count} samples, "
            f"{float(bits.mean()):.4f} bits per dimension ({trace}; {int(self.calls.max())} calls at most)"
        )


def flow_log_density(
    denoiser: Denoiser,
    x: Tensor,
    *,
    condition: Mapping[str, Tensor] | None = None,
    level: float | None = None,
    divergence: str = "auto",
    probes: int = 16,
    tolerance: float = 3e-6,
    seeds: Seeds | None = None,
    end_density: str | DensityAtEnd = "matched",
    differentiable: bool = False,
    batch: int | None = None,
    max_calls: int = 10_000,
) -> LogDensity:
    r"""The log-density of data by following the probability flow to the noise, each sample at its own pace.

    With r the noise in units of the data and :math:`p_r` the density of :math:`x_0+r\epsilon`, the flow
    :math:`dy/dr=-r\nabla\log p_r(y)` from y = x gives

    .. math:: \log p_{level}(x)=\log p_{end}(y_{end})-\int_{level}^{end} r\,\Delta\log p_r(y_r)\,dr,

    solved in a clock even in r^2 at first and in log r later, and in coordinates of unit scale, for any schedule.

    ``x`` (batch, *shape) is clean data of any shape. ``level``, the noise r whose density is told, is by default 0
    for an exact law (which must have a density) and 0.002 for another denoiser, whose belief below is rounding.
    ``condition`` holds named tensors, batch first; padded places of the condition ``mask`` do not count.

    ``divergence`` is "exact", "hutchinson", "hutchinson-gaussian", "hutch++" or "auto" (exact up to 128 elements,
    else hutch++), ``probes`` the number of independent estimates; see ``likelihood/divergence.py``. ``seeds``, one a
    sample, address the probes. ``tolerance`` bounds the error of a step, of the state in units of its spread and of
    the log-density in nats and relative to it.

    ``end_density`` is the law at the noisy end (where log-SNR is -20, or where the schedule ends if that comes first):
    "matched", the isotropic Gaussian with the mean and variance that the denoiser's score tells there at zero;
    "prior", the noise that samplers start from, whose distance from the true law is then part of the answer (with
    signal left at the end it is the mean's size in units of the noise, about 0.01 nats at EDM's 80); or a function
    of x_end and its time that returns (batch,) nats.

    ``differentiable`` keeps the graph, so that ``nats.sum().backward()`` reaches x and the denoiser's weights.
    ``batch`` samples are followed at once.

    Raises InputError for other than real tensors under Gaussian noise and for options that make no sense, and
    NonFiniteError where the flow cannot be followed.

    Reference: Chen, Rubanova, Bettencourt, Duvenaud, Neural ordinary differential equations (2018), section 4;
    Grathwohl et al., FFJORD (2019), section 3; Song et al., Score-based generative modeling through SDEs (2021),
    section 4.3 and appendix D.2.
    """
    spectral = isinstance(denoiser.process, SpectralProcess)
    if denoiser.process.space not in ("euclidean", "spectral"):
        raise InputError(
            "the flow's density is known here on the Euclidean space and on grids; seen the space "
            f"{denoiser.process.space!r} of {type(denoiser.process).__name__}"
        )
    schedule = denoiser.process.schedule if spectral else schedule_of(denoiser)
    condition = dict(condition or {})
    while isinstance(denoiser, ConditionedDenoiser):
        condition = {**denoiser.condition, **condition}
        denoiser = denoiser.denoiser
    _check(x, condition, tolerance, end_density, batch)
    if level is None:
        level = 0.0 if isinstance(denoiser, EuclideanDenoiser | SpectralMixtureDenoiser) else SMALLEST_LEVEL
    end = min(float(schedule.time(_LAST_LOG_SNR)), 1.0)
    last = math.exp(-float(schedule.log_snr(end)) / 2)
    if not 0 <= level < last:
        raise InputError(f"the noise level must be at least 0 and below {last:.6g}, where the flow ends; seen {level}")
    seeds = Seeds.range(0, len(x)) if seeds is None else seeds
    if len(seeds) != len(x):
        raise InputError(f"{len(seeds)} seeds for a batch of {len(x)} samples")
    rows = batch or max(1, min(_ROWS, _NUMBERS // max(1, x[0].numel())))
    found = []
    for part in torch.arange(len(x)).split(rows):
        chosen = slice(int(part[0]), int(part[-1]) + 1)
        given = {name: values[chosen] for name, values in condition.items()}
        states = x[chosen].double() if differentiable else x[chosen].detach().double()
        estimator = TraceEstimator.plan(states, divergence, probes, seeds[chosen], given.get("mask"))
        flow: _Flow | SpectralFlow = _Flow(denoiser, schedule, given, estimator, differentiable)
        if spectral:
            process, size = denoiser.process, tuple(x.shape[2:])
            flow = SpectralFlow(denoiser, process, given, estimator, differentiable, size, _KNEE)
        with torch.set_grad_enabled(differentiable):
            found.append(_follow(flow, states, level, (end, last), tolerance, end_density, max_calls))
    nats, error, calls, elements = (torch.cat(parts) for parts in zip(*found, strict=True))
    return LogDensity(nats, error, calls, elements, estimator.method, estimator.columns, float(level))


@dataclass(frozen=True)
class _Flow:
    """The flow's slope and the rate of the log-density for one batch; states are z = x_t / sqrt(alpha^2 + sigma^2)."""

    denoiser: Denoiser
    schedule: Schedule
    condition: Mapping[str, Tensor]
    estimator: TraceEstimator
    differentiable: bool

    @property
    def mask(self) -> Tensor | None:
        return self.condition.get("mask")

    def begun(self, x: Tensor, level: float) -> Tensor:
        """The state of data x, with noise of this level added."""
        return apply_mask(x / math.hypot(1, level), self.mask)

    def stretch(self, x: Tensor, level: float) -> Tensor:
        """By how much the log-density of x lies below that of its state."""
        return elements_of(x, self.mask) * math.log1p(level**2) / 2

    def slope(self, z: Tensor, squared: Tensor) -> tuple[Tensor, Tensor]:
        """dz and d log p by the clock: with u = log(1 + r^2), dz/du = -(z + score of z)/2, times du by the clock."""
        score, traces = self.score(z, squared)
        pace = (squared + _KNEE) / (1 + squared)
        elements = elements_of(z, self.mask)
        return -expand(pace, z) / 2 * (z + score), -pace[:, None] / 2 * (elements[:, None] + traces)

    def noise_share(self, z: Tensor, squared: float) -> Tensor:
        """The variance of each element under the prior."""
        return z.new_full((1,), squared / (1 + squared))

    def at_end(self, z: Tensor, t: float, density: DensityAtEnd) -> Tensor:
        """What a density of states tells of z, which is the state at t."""
        size = math.hypot(*(float(part(t)) for part in (self.schedule.alpha, self.schedule.sigma)))
        return density(size * z, t).double() + elements_of(z, self.mask) * math.log(size)

    def score(self, z: Tensor, squared: Tensor) -> tuple[Tensor, Tensor]:
        """The score of z, like z, and estimates of its divergence, (batch, columns), at noise levels r^2 (batch,)."""
        log_snr = -squared.log()
        alpha, sigma = alpha_at(self.schedule.scale, log_snr), sigma_at(self.schedule.scale, log_snr)
        size = expand((alpha.square() + sigma.square()).sqrt(), z)
        if isinstance(self.denoiser, EuclideanDenoiser):
            exact = self.denoiser

            def field(at: Tensor) -> Tensor:
                return size * exact.score_at(size * at, alpha, sigma, **self.condition)
        else:
            t = self.schedule.time(log_snr)
            dtype = next((weight.dtype for weight in self.denoiser.parameters()), z.dtype)

            def field(at: Tensor) -> Tensor:
                xt = size * at
                mean = self.denoiser(xt.to(dtype), t, **self.condition).mean.to(z.dtype)
                score = (expand(alpha, z) * mean - xt) / expand(sigma.square(), z)
                return apply_mask(size * score, self.mask)

        return self.estimator(field, z, self.differentiable)


def elements_of(x: Tensor, mask: Tensor | None) -> Tensor:
    """How many elements each sample has that are no padding, (batch,)."""
    there = places(x, mask)
    return torch.full((len(x),), x[0].numel(), device=x.device) if there is None else there.sum(1)


def _follow(
    flow: "_Flow | SpectralFlow",
    x: Tensor,
    level: float,
    end: tuple[float, float],
    tolerance: float,
    end_density: str | DensityAtEnd,
    max_calls: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Nats, standard errors, calls and elements of one batch; ``end`` is the last time and noise level."""
    count = x[0].numel()
    elements = elements_of(x, flow.mask)
    columns = flow.estimator.columns
    first, last = (math.log1p(noise**2 / _KNEE) for noise in (level, end[1]))

    def slope(clock: Tensor, packed: Tensor) -> Tensor:
        z, squared = packed[:, :count].reshape(x.shape), _KNEE * torch.expm1(clock)
        moved, gained = flow.slope(z, squared)
        return torch.cat((moved.flatten(1), gained), 1)

    start = flow.begun(x, level).flatten(1)
    packed = torch.cat((start, start.new_zeros(len(x), columns)), 1)
    # solve bounds the root mean square over all places: this makes it that of the state, and that of the log-density
    bound = packed.new_full((1, count + columns), tolerance * math.sqrt(count / (count + columns)))
    bound[:, count:] = tolerance * math.sqrt(columns / (count + columns))
    try:
        solved = solve(slope, packed, first, last, relative=bound, absolute=bound, max_calls=max_calls)
    except NonFiniteError as error:
        hint = "" if level else " A law without a density (points, a plane) has none at level 0: give a level above."
        raise NonFiniteError(f"the probability flow: {error}.{hint}") from error
    z = solved.y[:, :count].reshape(x.shape)
    gained, standard_error = mean_and_error(solved.y[:, count:])
    if callable(end_density):
        told = flow.at_end(z, end[0], end_density)
    else:
        told = _gaussian_at_end(flow, z, end[1] ** 2, elements, end_density == "matched")
    calls = solved.calls + int(end_density == "matched")
    return told + gained - flow.stretch(x, level), standard_error, calls, elements


def _gaussian_at_end(
    flow: "_Flow | SpectralFlow", z: Tensor, squared: float, elements: Tensor, matched: bool
) -> Tensor:
    """The log-density of z at the end, r^2 = ``squared``: under the prior, or matched to the score."""
    if not matched:
        variance = expand_all(flow.noise_share(z, squared), z)
        logs = (z.square() / variance + (2 * math.pi * variance).log()).expand_as(z)
        return -apply_mask(logs, flow.mask).flatten(1).sum(1) / 2
    push, traces = flow.score(torch.zeros_like(z), z.new_full((len(z),), squared))
    variance = -elements / traces.mean(1)
    if not bool((variance > 0).all()):
        raise InputError('the score at the noisy end is that of no Gaussian: use end_density="prior"')
    centre = expand(variance, z) * push
    squares = (apply_mask(z - centre, flow.mask)).square().flatten(1).sum(1)
    return -(squares / variance + elements * (2 * math.pi * variance).log()) / 2


def expand_all(values: Tensor, like: Tensor) -> Tensor:
    """One number, or one for each element, to broadcast against a state."""
    return values if values.ndim == like.ndim else values.reshape(-1, *(1,) * (like.ndim - 1))


def _check(
    x: Tensor, condition: Mapping[str, Tensor], tolerance: float, end_density: str | DensityAtEnd, batch: int | None
) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2 or not x.numel():
        seen = f"{tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"a log-density is that of a tensor of real numbers, (batch, *shape); seen {seen}")
    places(x, mask := condition.get("mask"))
    strange = ~apply_mask(x, mask).isfinite().flatten(1).all(1)
    if bool(strange.any()):
        raise InputError(f"data must be finite; row {int(strange.nonzero()[0])} is not")
    for name, values in condition.items():
        if len(values) != len(x):
            raise InputError(f"the condition {name!r} needs a row for each of the {len(x)} samples; seen {len(values)}")
    if not 0 < tolerance < 1:
        raise InputError(f"the tolerance must lie between 0 and 1; seen {tolerance}")
    if not callable(end_density) and end_density not in ENDS:
        raise unknown("density at the end", str(end_density), ENDS)
    if batch is not None and batch < 1:
        raise InputError(f"a batch needs at least 1 sample; seen {batch}")

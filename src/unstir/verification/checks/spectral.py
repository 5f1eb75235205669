"""Claims of heat dissipation: the equation, the modes' own noise, the exact law, and samplers on it."""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import fft
from scipy.integrate import solve_ivp
from torch import Tensor

from unstir.exact.spectral import SpectralMixtureDenoiser
from unstir.physics.fractional_space import SpaceFractionalHeat
from unstir.physics.fractional_time import FractionalHeat
from unstir.physics.heat_finite_difference import FiniteDifferenceHeat
from unstir.physics.heat_spectral import SpectralHeat
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.spectral import SpectralProcess
from unstir.samplers.base import Sampler
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.references import ImpulseSeeds, PointDenoiser, arrive, suited
from unstir.verification.statistics import at_most, distribution_is, order_of

__all__ = [
    "spectral_bands_are_schedules",
    "spectral_belief_is_bayes",
    "spectral_bridge_is_conditioning",
    "spectral_density_obeys_continuity",
    "spectral_law_is_drawn",
    "spectral_sampler_order",
    "spectral_sampler_weak_order",
    "spectral_score_is_gradient",
    "spectral_without_noise_is_heat_flow",
]

_TIMES = (0.2, 0.5, 0.9)
START, LEVEL = 10.0, 0.05


def _time(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@claim("processes", "spectral")
def spectral_without_noise_is_heat_flow(process: Any, effort: Effort) -> Iterator[Measured]:
    """Without noise it solves the heat equation, or its fractional kin: to rounding, and as finite differences do.

    Against the solvers of ``physics``, which know nothing of it; finite differences come nearer with the square of
    the spacing.
    """
    field = effort.seeds(3, "field").normal((1, 12, 7), torch.float64)
    size = field.shape[2:]
    for boundary in ("neumann", "periodic", "dirichlet"):
        own = replace(process, least=0.0, boundary=boundary)
        box = {"lengths": np.array(size, dtype=float), "boundary": boundary}
        errors = []
        for t in _TIMES:
            told = own.dissipated(field, _time(t))[:, 0].numpy()
            clock = float(own.dissipation_time(t))
            for start, found in zip(field[:, 0].numpy(), told, strict=True):
                if own.time_order < 1:
                    wanted = FractionalHeat(own.time_order, **box).solve(start, clock)
                elif own.space_order < 2:
                    wanted = SpaceFractionalHeat(own.space_order, **box).solve(start, clock)
                else:
                    wanted = SpectralHeat(size, **box).solve(start, [clock])[0]
                errors.append(np.abs(found - wanted).max())
        yield at_most(f"largest difference from the equation's solution, {boundary}", np.array(errors), 1e-11)
    if process.space_order == 2 and process.time_order == 1:
        yield _finite_differences(process, effort)


def _finite_differences(process: SpectralProcess, effort: Effort) -> Measured:
    """A smooth field on finer and finer grids of one box; a cell is the unit of length, so that blur is scaled."""
    counts, errors = effort.of((8, 16, 32), (8, 16, 32, 64)), []
    for count in counts:
        place = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        start = (math.pi * place).cos() + 0.5 * (2 * math.pi * place).cos() - 0.2 * (3 * math.pi * place).cos()
        own = replace(process, blur=0.3 * count, least=0.0, boundary="neumann")
        told = own.dissipated(start[None, None], _time(0.8))[0, 0].numpy()
        clock = float(own.dissipation_time(0.8)) / count**2  # in units of the box
        solved = FiniteDifferenceHeat(count, 1.0).solve(start.numpy(), [clock], step=clock / (8 * count))[-1]
        errors.append(float(np.abs(told - solved).max()))
    return order_of("order of the difference from finite differences", [1 / count for count in counts], errors, 2, 0.15)


@claim("processes", "spectral")
def spectral_bands_are_schedules(process: Any, effort: Effort) -> Iterator[Measured]:
    """Each band's log-SNR falls, the faster the higher the frequency; slopes are its derivatives, times its inverse."""
    schedules, place = process.bands((5, 4))
    yield at_most("modes without a band", int(place.max()) + 1 - len(schedules), 0.0)
    t = torch.linspace(0.02, 0.98, effort.of(49, 197), dtype=torch.float64)
    step = 1e-5
    rising, inverse, slopes, before = 0.0, 0.0, 0.0, torch.full_like(t, torch.inf)
    for schedule in schedules:
        told = schedule.log_snr(t)
        rising = max(rising, float(told.diff().max()), float((told - before).max()))
        inverse = max(inverse, float((schedule.time(told) - t).abs().max()))
        for value, slope in (
            (schedule.log_snr, schedule.log_snr_derivative),
            (schedule.alpha, schedule.alpha_derivative),
        ):
            found = (value(t - 2 * step) - 8 * value(t - step) + 8 * value(t + step) - value(t + 2 * step)) / (
                12 * step
            )
            slopes = max(slopes, float(((found - slope(t)).abs() / (1 + slope(t).abs())).max()))
        before = told
    yield at_most("largest rise of a log-SNR in time or in frequency", rising, 1e-12)
    yield at_most("largest error of an inverted log-SNR, in time", inverse, 1e-12)
    yield at_most("largest error of a derivative, relative", slopes, 1e-8)


@claim("processes", "spectral")
def spectral_bridge_is_conditioning(process: Any, effort: Effort) -> Iterator[Measured]:
    """In every mode the bridge's coefficients are those of conditioning the joint normal law of x_s and x_t."""
    grid = torch.linspace(0.02, 0.98, effort.of(12, 40), dtype=torch.float64)
    s, t = (grid[index][:, None] for index in torch.triu_indices(len(grid), len(grid), 1))
    bands = process.every_band((4, 3))
    ratio = bands.alpha(t) / bands.alpha(s)
    here, there = bands.sigma(s).square(), bands.sigma(t).square()
    slope = ratio * here / there
    kept, pulled, deviation = process.mode_bridge(process.modes((4, 3)), t, s)
    expected = (slope, bands.alpha(s) - slope * bands.alpha(t), here - slope.square() * there)
    for name, value, wanted, scale in zip(
        ("of x_t", "of x_0", "variance"), (kept, pulled, deviation.square()), expected, (slope, bands.alpha(s), here),
        strict=True,
    ):  # fmt: skip
        yield at_most(f"{name}: largest relative error", ((value - wanted).abs() / scale).max(), 1e-9)


@claim("exact", "spectral-mixture")
def spectral_score_is_gradient(law: Any, effort: Effort) -> Iterator[Measured]:
    """Its score is the gradient of its density, and both Tweedie's formula and the process turn its mean into it."""
    for t in _TIMES:
        xt = law.draw(effort.seeds(effort.of(16, 64), "score"), t).requires_grad_()
        (gradient,) = torch.autograd.grad(law.log_density(xt, t).sum(), xt)
        size = gradient.norm()
        with torch.no_grad():
            score, told = law.score(xt, t), law.process.score_of(xt, law(xt, t).mean, _time(t))
        yield at_most(f"score against gradient, t = {t}", float((score - gradient).norm() / size), 1e-9)
        yield at_most(f"process's score against gradient, t = {t}", float((told - gradient).norm() / size), 1e-8)


@claim("exact", "spectral-mixture")
def spectral_density_obeys_continuity(law: Any, effort: Effort) -> Iterator[Measured]:
    """The density changes in time as the process's own probability flow carries it."""
    process, step = law.process, 1e-4
    for t in _TIMES:
        xt = law.draw(effort.seeds(effort.of(8, 32), "continuity"), t).requires_grad_()
        terms = [law.log_density(xt.detach(), t + shift * step) for shift in (-2, -1, 1, 2)]
        change = (terms[0] - 8 * terms[1] + 8 * terms[2] - terms[3]) / (12 * step)
        velocity = process.velocity_of(xt, law(xt, t).mean, _time(t)).flatten(1)
        (gradient,) = torch.autograd.grad(law.log_density(xt, t).sum(), xt, retain_graph=True)
        spread = torch.zeros(len(xt), dtype=torch.float64)
        for place in range(velocity.shape[1]):
            (row,) = torch.autograd.grad(velocity[:, place].sum(), xt, retain_graph=True)
            spread += row.flatten(1)[:, place]
        left = (change + (velocity.detach() * gradient.flatten(1)).sum(1) + spread).abs()
        scale = change.abs() + spread.abs() + 1
        yield at_most(f"what is left of the continuity equation, t = {t}", (left / scale).max(), 1e-7)


@claim("exact", "spectral-mixture")
def spectral_belief_is_bayes(law: Any, effort: Effort) -> Iterator[Measured]:
    """Prior times likelihood is belief times evidence, and the belief's covariance is the slope of its mean."""
    seeds = effort.seeds(effort.of(16, 64), "bayes")
    x0 = law.draw(seeds)
    for t in _TIMES:
        xt = law.process.noise(x0, _time(t), seeds.at("noise", str(t)))
        belief = law(xt, t)
        joint = law.log_density(x0, 0.0) + law.process.log_density(xt, x0, _time(t))
        left = joint - belief.log_prob(x0) - law.log_density(xt, t)
        yield at_most(f"Bayes' rule, nats, t = {t}", left.abs().max(), 1e-8)
    xt = xt[:4].requires_grad_()
    belief = law(xt, t)
    size = xt[0].numel()
    slope = torch.stack(
        [
            torch.autograd.grad(belief.mean.flatten(1)[:, place].sum(), xt, retain_graph=True)[0]
            for place in range(size)
        ],
        1,
    ).flatten(2)
    # d mean / d x_t = covariance A / sigma^2, in the modes
    grid, (alpha, sigma) = law.process.modes(xt), law.process.coefficients(t, xt.detach())
    scaled = grid.to_grid(
        alpha / sigma.square() * grid.to_modes(belief.covariance().detach().reshape(-1, *xt.shape[1:]))
    )
    away = (scaled.reshape(slope.shape) - slope).abs().max() / slope.abs().max()
    yield at_most("covariance against the slope of the mean", away, 1e-8)
    yield at_most("variance against the covariance's diagonal", _diagonal(belief), 1e-12)


def _diagonal(belief: Any) -> float:
    own = belief.covariance().diagonal(dim1=1, dim2=2)
    return float((own - belief.variance.flatten(1)).abs().max().detach())


@claim("exact", "spectral-mixture")
def spectral_law_is_drawn(law: Any, effort: Effort) -> Iterator[Measured]:
    """Draws have its density: along each mode they are its mixture of normals, clean and noisy."""
    count = effort.of(4000, 40_000)
    weights = law.log_weights.exp().numpy()
    for t in (0.0, 0.4):
        drawn = law.draw(effort.seeds(count, "drawn", str(t)), t)
        modes = law.grid.to_modes(drawn).flatten(1).numpy()
        alpha, sigma = (part.expand(-1, *law.shape).flatten().numpy() for part in law.process.coefficients(t, drawn))
        means, variances = law.components.means[0].numpy(), law.components.variances()[0].numpy()
        for place in (0, modes.shape[1] - 1):
            centres = alpha[place] * means[:, place]
            widths = np.sqrt(alpha[place] ** 2 * variances[:, place] + sigma[place] ** 2)
            cdf = functools.partial(_mixture_cdf, weights=weights, centres=centres, widths=widths)
            yield distribution_is(f"mode {place}, t = {t:g}", modes[:, place], cdf)


def _mixture_cdf(x: np.ndarray, weights: np.ndarray, centres: np.ndarray, widths: np.ndarray) -> np.ndarray:
    from scipy import stats

    return (weights * stats.norm.cdf(x[..., None], centres, widths)).sum(-1)


# The law of the samplers' claims: three isotropic Gaussians on two by two cells, under heat on a cosine schedule,
# where sigma/alpha = r is tan(pi t/2), so that tau = b^2/2 (r^2/(1 + r^2))^2 needs no time.
BLUR, LEAST = 1.5, 1e-3
WEIGHTS = np.array([0.5, 0.3, 0.2])
MEANS = np.array([[1.0, 0.4, -0.2, 0.6], [-0.8, 0.5, 0.3, -0.6], [0.1, -1.0, 0.7, 0.2]]).reshape(3, 1, 2, 2)
DEVIATIONS = np.array([0.5, 0.4, 0.6])


@functools.cache
def _law() -> SpectralMixtureDenoiser:
    process = SpectralProcess(CosineSchedule(), BLUR, least=LEAST)
    return SpectralMixtureDenoiser(WEIGHTS, torch.from_numpy(MEANS), DEVIATIONS**2, process)


def _kept(r: float) -> tuple[np.ndarray, np.ndarray]:
    """d_k of the four modes, and d log d_k / dr; by no means of ``processes``."""
    k = math.pi * np.arange(2) / 2
    squares = (k[:, None] ** 2 + k[None] ** 2).ravel()
    share = r * r / (1 + r * r)
    fallen = (1 - LEAST) * np.exp(-squares * BLUR**2 / 2 * share**2)
    kept = fallen + LEAST
    pace = BLUR**2 * share * 2 * r / (1 + r * r) ** 2
    return kept, -squares * fallen * pace / kept


def _denoised(y: np.ndarray, r: float) -> np.ndarray:
    """The belief's mean in modes, from y = z / (alpha d) (n, 4)."""
    means = fft.dctn(MEANS[:, 0], axes=(1, 2), norm="ortho").reshape(3, 4)
    noise = (r / _kept(r)[0]) ** 2
    variance = DEVIATIONS[:, None] ** 2 + noise
    away = y[:, None] - means
    logs = np.log(WEIGHTS) - (away**2 / variance + np.log(variance)).sum(2) / 2
    shares = np.exp(logs - logs.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    return (shares[..., None] * (means + DEVIATIONS[:, None] ** 2 / variance * away)).sum(1)


@functools.cache
def _flow(count: int) -> tuple[np.ndarray, np.ndarray]:
    """States y of the probability flow at the levels ``START`` and ``LEVEL``, by SciPy to 1e-11."""
    first = np.random.default_rng(1).normal(size=(count, 4)) * START / _kept(START)[0]

    def slope(r: float, flat: np.ndarray) -> np.ndarray:
        y = flat.reshape(-1, 4)
        return ((y - _denoised(y, r)) * (1 / r - _kept(r)[1])).ravel()

    solved = solve_ivp(slope, (START, LEVEL), first.ravel(), method="DOP853", rtol=1e-11, atol=1e-12)
    return first, solved.y[:, -1].reshape(-1, 4)


def _times(steps: int) -> Tensor:
    """Steps of log-SNR that are one and two wide by turns."""
    widths = torch.tensor([1.0, 2.0], dtype=torch.float64).repeat(steps // 2)
    share = torch.cat((torch.zeros(1, dtype=torch.float64), widths.cumsum(0) / widths.sum()))
    return CosineSchedule().time_at_sigma((math.log(START) + math.log(LEVEL / START) * share).exp())


@claim("samplers", slow=True)
def spectral_sampler_order(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """Where every frequency has a schedule of its own, its error on the flow still falls with the declared order.

    Against SciPy's solution in the modes, on three Gaussians stirred by heat; to a fifth of the order.
    """
    _serves(sampler)
    if _noisy(sampler) or sampler.calls_per_step is None:
        raise NotMeasured("it draws noise, or chooses its own steps", silent=True)
    denoiser = suited(sampler, PointDenoiser(_law()))
    process = denoiser.process
    grid, (first, expected) = process.modes((2, 2)), _flow(8)
    counts, errors = effort.of([16, 32, 64], [96, 192, 384, 768]), []
    for steps in counts:
        times = _times(steps)
        scales = [process.coefficients(t, torch.empty(8, 1, 2, 2, dtype=torch.float64))[0] for t in times[[0, -1]]]
        x = grid.to_grid(scales[0] * torch.from_numpy(first).reshape(8, 1, 2, 2))
        y = grid.to_modes(arrive(sampler, denoiser, x, times)) / scales[1]
        errors.append(float(np.sqrt(np.mean((y.reshape(8, 4).numpy() - expected) ** 2))))
    order = float(sampler.order)
    widths = [1 / steps for steps in counts]
    yield order_of("order under heat", widths, errors, order, effort.of(0.3, 0.2) * order, True, corrected=True)
    yield at_most(f"error after {counts[-1]} steps", errors[-1], 0.05)


@claim("samplers", slow=True)
def spectral_sampler_weak_order(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """Where every frequency has a schedule of its own, the moments of a sampler with noise tend to the data's.

    On one Gaussian with a spectrum, each mode's answer to the first state and to each draw is found exactly.
    """
    _serves(sampler)
    if not _noisy(sampler) or sampler.calls_per_step is None:
        raise NotMeasured("it draws no noise, or chooses its own steps", silent=True)
    spectrum = torch.tensor([[0.8, 0.3], [0.5, 0.1]], dtype=torch.float64)
    process = SpectralProcess(CosineSchedule(), BLUR, least=LEAST)
    means = process.modes((2, 2)).to_grid(torch.full((1, 1, 2, 2), 0.6, dtype=torch.float64))
    law = SpectralMixtureDenoiser([1.0], means, None, process, spectra=spectrum[None, None])
    denoiser = suited(sampler, PointDenoiser(law))
    counts, errors = effort.of([48, 96], [128, 256, 512, 1024]), []
    for steps in counts:
        told = _moments(sampler, denoiser, _cubes(steps))
        errors.append(float((told[0] - 0.6).abs().sum() + (told[1] - spectrum).abs().sum()))
    widths = [1 / steps for steps in counts]
    order = float(sampler.order)
    yield order_of("weak order under heat", widths, errors, order, effort.of(0.3, 0.2) * order, True)
    yield at_most(f"error of means and variances after {counts[-1]} steps", errors[-1], 0.2)


def _cubes(steps: int) -> Tensor:
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** 3 * CosineSchedule().time_at_sigma(START)


def _moments(sampler: Sampler, denoiser: Any, times: Tensor) -> tuple[Tensor, Tensor]:
    """Each mode's mean and variance at the end, from the exact law at the first time; modes do not meet."""
    process = denoiser.process
    grid = process.modes((2, 2))
    ones = grid.to_grid(torch.ones(1, 1, 2, 2, dtype=torch.float64))
    counting = _Impulses(0, torch.arange(1), pattern=ones)
    arrive(sampler, denoiser, torch.zeros_like(ones), times, counting)
    rows = 2 + len(counting.draws)
    x = torch.zeros(rows, 1, 2, 2, dtype=torch.float64)
    x[1] = ones[0]
    last = grid.to_modes(arrive(sampler, denoiser, x, times, _Impulses(0, torch.arange(rows), pattern=ones)))[:, 0]
    constant, answers = last[0], last[1:] - last[0]
    alpha, sigma = (part[0, 0] for part in process.coefficients(times[0], ones))
    law: Any = denoiser.denoiser if isinstance(denoiser, PointDenoiser) else denoiser.denoiser.denoiser
    spectrum = law.spectra[0, 0]
    mean = constant + answers[0] * alpha * 0.6
    return mean, answers[0].square() * (alpha.square() * spectrum + sigma.square()) + answers[1:].square().sum(0)


@dataclass(frozen=True)
class _Impulses(ImpulseSeeds):
    """Impulses that are one in every mode, in place of in every cell."""

    pattern: Any = None

    def normal(self, shape: Sequence[int] = (), dtype: torch.dtype = torch.float32) -> Tensor:
        """The next impulse."""
        return super().normal(shape, dtype) * self.pattern.to(dtype)


def _serves(sampler: Sampler) -> None:
    if "spectral" not in sampler.spaces:
        raise NotMeasured("it does not serve the spectral space, or does by the process's own bridge", silent=True)
    if sampler.own_times(CosineSchedule()) is not None:
        raise NotMeasured("it goes along its own times", silent=True)


def _noisy(sampler: Sampler) -> bool:
    from unstir.verification.checks.samplers import _deterministic

    return not _deterministic(sampler)

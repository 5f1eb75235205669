"""What variances of the belief promise: the right spread at every noise level, and a loss that teaches them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.denoisers.posteriors import LearnedGaussianPosterior, PointPosterior, Posterior
from unstir.denoisers.variances import VarianceTable, linear_variance, measure_variances, with_variance
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.samplers.base import Sampler, SamplerState
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.references import (
    IN_THE_PLANE,
    ON_THE_LINE,
    Mixture,
    NormalDenoiser,
    PointDenoiser,
    exact_moments,
)
from unstir.verification.statistics import at_most, mean_is, probable

__all__ = [
    "learned_variance_loss",
    "measured_variance",
    "measured_variance_between_levels",
    "optimal_variance_of_any_data",
    "optimal_variance_of_normal_data",
]

_ALL = ("analytic-dpm", "ddpm-learned", "ddpm-upper")
_SCHEDULES = {"cosine": CosineSchedule(), "flow": RectifiedFlowSchedule(), "edm": EDMSchedule()}


@claim("samplers", *_ALL)
def optimal_variance_of_normal_data(sampler: Any, effort: Effort) -> Iterator[Measured]:
    """Told the variance of normal data, it keeps their law at every noise level exactly, in however few steps.

    Mean and variance of the state, which are exact: the trajectory is affine in each draw.
    """
    mean, deviation = 0.6, 0.8
    table = VarianceTable.of_normal(deviation)
    sampler = replace(sampler, deviation=deviation, table=None if sampler.table is None else table)
    for name, schedule in _SCHEDULES.items():
        denoiser = NormalDenoiser(mean, deviation, GaussianProcess(schedule))
        told = with_variance(denoiser, table) if sampler.needs_variance else denoiser
        for steps in (2, 7):
            times = karras(schedule, steps, 0.02, 30.0)
            errors = []
            for last in range(1, steps):
                alphas, sigmas = schedule.alpha(times).tolist(), schedule.sigma(times).tolist()
                spreads = [(a * deviation) ** 2 + s**2 for a, s in zip(alphas, sigmas, strict=True)]
                found = exact_moments(sampler, told, times[: last + 1], alphas[0] * mean, spreads[0])
                errors += [abs(found[0] - alphas[last] * mean), abs(found[1] / spreads[last] - 1)]
            yield at_most(f"error of mean and relative error of variance, {name}, {steps} steps", max(errors), 1e-9)


@claim("samplers", "analytic-dpm", "ddpm-learned")
def optimal_variance_of_any_data(sampler: Any, effort: Effort) -> Iterator[Measured]:
    """A step from the exact law, however wide, keeps the mean square of the state exactly, whatever the data.

    This is what makes the variance the optimal one: the best Gaussian for the true reverse step has its moments.
    """
    count = effort.of(20_000, 100_000)
    for name, schedule in _SCHEDULES.items():
        denoiser: Any = IN_THE_PLANE.denoiser(GaussianProcess(schedule))
        if sampler.table is not None:
            sampler = replace(sampler, table=_exact_table(IN_THE_PLANE, count, effort))
        t, s = schedule.time_at_sigma(1.5), schedule.time_at_sigma(0.15)
        seeds = effort.seeds(count, "any-data", name)
        x = denoiser.draw(seeds.at("start"), t)
        with torch.no_grad():
            after = sampler.step(denoiser, SamplerState(x, seeds.at("step")), t, s).tensor
        alpha, sigma = float(schedule.alpha(s)), float(schedule.sigma(s))
        expected = alpha**2 * _mean_square(IN_THE_PLANE) + sigma**2
        yield mean_is(f"mean square of the state, {name}", after.square().mean(1).numpy(), expected)


@claim("samplers", "analytic-dpm")
def measured_variance(sampler: Any, effort: Effort) -> Iterator[Measured]:
    """The variance measured on an exact denoiser's mean, in either way, is the true one, and its errors cover it."""
    if sampler.table is None:
        raise NotMeasured("it takes the belief's own", silent=True)
    count = effort.of(4000, 40_000)
    law: Any = ON_THE_LINE.denoiser(GaussianProcess())
    denoiser, clean = PointDenoiser(law), law.draw(effort.seeds(count, "clean"))
    for method in ("error", "score"):
        seeds = effort.seeds(count, "noise", method)
        levels = torch.linspace(-2, 8, 11, dtype=torch.float64)
        table = measure_variances(denoiser, clean, levels, seeds, method=method, batch=4096)
        exact = torch.tensor([_true_variance(ON_THE_LINE, level) for level in levels.tolist()])
        inside = exact < 0.95 * linear_variance(levels, table.deviation)  # the score's way is cut off at the bound
        away = ((table.variances - exact).abs() / table.errors)[inside].max().item()
        chance = min(1.0, 2 * len(levels) * _normal_tail(away))
        yield probable(f"largest distance in standard errors, {method}", chance, f"{away:.1f}, {count} rows")


@claim("samplers", "analytic-dpm")
def measured_variance_between_levels(sampler: Any, effort: Effort) -> Iterator[Measured]:
    """Between and beyond its levels a table is true to a hundredth of the data's linear estimate, and never rises."""
    if sampler.table is None:
        raise NotMeasured("it takes the belief's own", silent=True)
    law = ON_THE_LINE
    deviation = _variance(law) ** 0.5
    levels = torch.linspace(-9, 14, 41, dtype=torch.float64)
    exact = torch.tensor([_true_variance(law, level) for level in levels.tolist()], dtype=torch.float64)
    table = VarianceTable(levels, exact, torch.zeros(len(levels)), deviation)
    asked = torch.linspace(-20, 20, effort.of(121, 481), dtype=torch.float64)
    true = torch.tensor([_true_variance(law, level) for level in asked.tolist()], dtype=torch.float64)
    share = (table(asked) - true).abs() / linear_variance(asked, deviation)
    yield at_most("error as a share of the linear estimate's variance", share.max(), 0.01)
    yield at_most("rises where the noise falls", (table(asked).diff() > 0).sum(), 0.0)
    ends = table(torch.tensor([-torch.inf, torch.inf], dtype=torch.float64))
    yield at_most("error at infinite noise, as a share of the data's variance", abs(ends[0] / deviation**2 - 1), 1e-3)
    yield at_most("variance without noise", ends[1], 0.0)


@claim("samplers", "ddpm-learned")
def learned_variance_loss(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """The loss that teaches a variance is least at the true mean and variance, and teaches the mean nothing else.

    Over two points at one deviation about the mean, which average every square as a normal law does.
    """
    seeds = effort.seeds(16, "loss")
    mean = seeds.at("mean").normal((3,), torch.float64)
    variance = seeds.at("variance").normal((3,), torch.float64).exp()
    scale = seeds.at("scale").normal((1,), torch.float64).exp()
    both = (mean + variance.sqrt(), mean - variance.sqrt())

    def gradients(center: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        told = center.clone().requires_grad_(), spread.clone().requires_grad_()
        found = torch.autograd.grad(_total(LearnedGaussianPosterior(told[0], told[1], scale), both), told)
        return found[0], found[1]

    at_truth = gradients(mean, variance)
    yield at_most("gradient by the mean at the truth", at_truth[0].abs().max(), 1e-12)
    yield at_most("gradient by the variance at the truth", at_truth[1].abs().max(), 1e-12)
    wrong = mean + seeds.at("wrong").normal((3,), torch.float64)
    missed = variance + (wrong - mean).square()
    yield at_most("gradient by the variance that counts a mean's error", gradients(wrong, missed)[1].abs().max(), 1e-12)
    rising = gradients(mean, 1.5 * variance)[1].min(), -gradients(mean, variance / 1.5)[1].max()
    yield Measured("least slope of the loss away from the true variance", float(min(rising)), low=1e-12)
    plain = wrong.clone().requires_grad_()
    (expected,) = torch.autograd.grad(_total(PointPosterior(plain), both), plain)
    away = (gradients(wrong, variance)[0] - expected).abs().max()
    yield at_most("difference of the mean's gradient from a squared error's", away, 0.0)


def _total(posterior: Posterior, clean: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([posterior.loss(x0) for x0 in clean]).sum()


def _average(law: Mixture, function: Callable[[Any], Any], r: float) -> float:
    """The mean of a function of y = x_0 + r eps over a law on the line, by the trapezium rule: exact to rounding."""
    spread = max(np.hypot(deviation, r) for deviation in law.deviations)
    middle = [mean[0] for mean in law.means]
    y = np.linspace(min(middle) - 12 * spread, max(middle) + 12 * spread, 20_001)
    parts = zip(law.weights, law.means, law.deviations, strict=True)
    density = sum(w / np.hypot(s, r) * np.exp(-((y - m[0]) ** 2) / (2 * (s**2 + r**2))) for w, m, s in parts)
    return float(np.trapezoid(density * function(y), y) / np.trapezoid(density, y))


def _true_variance(law: Mixture, log_snr: float) -> float:
    """E Var(x_0 | y): r^2 (1 - r^2 E s^2), s the score of y; Tweedie's formula for the variance, averaged by parts."""
    r = float(np.exp(-log_snr / 2))
    if r > 3:  # where the first form cancels: the variance of x_0 less that of its mean
        mean = sum(w * m[0] for w, m in zip(law.weights, law.means, strict=True))
        told = _average(law, lambda y: (y + r**2 * law.score(y[:, None], r)[:, 0] - mean) ** 2, r)
        return _variance(law) - told
    return r**2 * (1 - r**2 * _average(law, lambda y: law.score(y[:, None], r)[:, 0] ** 2, r))


def _mean_square(law: Mixture) -> float:
    """Of an element."""
    parts = zip(law.weights, law.means, law.deviations, strict=True)
    return float(sum(w * (np.mean(np.square(m)) + s**2) for w, m, s in parts))


def _variance(law: Mixture) -> float:
    """Of an element, the elements' own average."""
    centre = np.average(np.asarray(law.means), axis=0, weights=law.weights)
    return _mean_square(law) - float(np.mean(centre**2))


def _exact_table(law: Mixture, count: int, effort: Effort) -> VarianceTable:
    """Of the beliefs' own variances, averaged over so many draws that their error is a tenth of the check's."""
    denoiser: Any = law.denoiser(GaussianProcess())
    levels = torch.tensor([-2 * np.log(1.5), -2 * np.log(0.15)], dtype=torch.float64)
    found = []
    for level in levels:
        t = denoiser.process.schedule.time(level)
        own = [denoiser(denoiser.draw(effort.seeds(count, "table", k), t), t).variance.mean(1) for k in range(4)]
        found.append(torch.cat(own))
    rows = torch.stack(found)
    return VarianceTable(levels, rows.mean(1), rows.std(1) / rows.shape[1] ** 0.5, _variance(law) ** 0.5)


def _normal_tail(distance: float) -> float:
    from scipy import stats

    return float(stats.norm.sf(distance))

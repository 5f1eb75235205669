"""What every distribution of training noise levels keeps: it draws what its density says."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor

from unstir.denoisers.noise_levels import NoiseLevels, stratified
from unstir.verification.base import Curve, Effort, Measured, Plot, claim
from unstir.verification.statistics import at_most, distribution_is, mean_is

__all__ = ["levels_correction", "levels_density", "levels_falling", "levels_law", "levels_stratified"]

LAWS = ("importance", "log-normal", "logit-normal", "uniform", "uniform-log-snr")


def _numbers(count: int) -> Tensor:
    """Numbers on (0, 1), finer towards both ends."""
    return torch.linspace(-20, 20, count, dtype=torch.float64).sigmoid()


@claim("noise_levels")
def levels_falling(levels: NoiseLevels, effort: Effort) -> Iterator[Measured]:
    """Rising uniform numbers give falling, finite log-SNR; densities and corrections are positive and finite."""
    made = levels(_numbers(effort.of(501, 5001)))
    yield at_most("steps where the log-SNR does not fall", (~(made.log_snr.diff() < 0)).sum(), 0.0)
    wrong = sum((~(values.isfinite() & (values > 0))).sum().item() for values in (made.density, made.correction))
    yield at_most("densities and corrections that are not positive and finite", wrong, 0.0)
    rough = sum(values.dtype != torch.float64 for values in made) + int((~made.log_snr.isfinite()).sum())
    yield at_most("values that are not finite, or not float64", rough, 0.0)


@claim("noise_levels")
def levels_density(levels: NoiseLevels, effort: Effort) -> Iterator[Measured]:
    """The density is that of the levels: one over the slope of the quantile function, and of integral one.

    The slope by automatic differentiation; it is that of what is drawn, the base density over the correction.
    """
    u = torch.linspace(0.003, 0.997, effort.of(200, 2000), dtype=torch.float64).requires_grad_()
    made = levels(u)
    (slope,) = torch.autograd.grad(made.log_snr.sum(), u)
    error = (-slope * (made.density / made.correction) - 1).abs()
    yield at_most("relative error of the density drawn from", error.detach().max(), 1e-9)
    made = levels(_numbers(20_001))
    total = torch.trapezoid(made.density.flip(0), made.log_snr.flip(0)).item()
    places = slice(None, None, 200)
    curve = Curve("base density", made.log_snr[places].tolist(), made.density[places].tolist())
    plot = Plot("density of noise levels", "log-SNR", "density", (curve,))
    yield at_most("distance of the density's integral from one", abs(total - 1), 1e-4, plot=plot)


@claim("noise_levels", *LAWS)
def levels_law(levels: NoiseLevels, effort: Effort) -> Iterator[Measured]:
    """Levels of independent uniform numbers have the law of their name, as SciPy knows it."""
    u = effort.seeds(effort.of(5000, 100_000), "noise levels").uniform()
    coordinate, cdf = _law(levels)
    yield distribution_is("levels drawn", coordinate(levels(u).log_snr).numpy(), cdf)


@claim("noise_levels", *LAWS)
def levels_stratified(levels: NoiseLevels, effort: Effort) -> Iterator[Measured]:
    """A stratified batch of n covers the law evenly: its distribution function is never more than 1/n away."""
    coordinate, cdf = _law(levels)
    for batch in effort.of((8, 64), (8, 64, 1024)):
        distances: list[float] = []
        for repeat in range(20):
            u = stratified(effort.seeds(1, "stratified", batch, repeat), batch, torch.arange(batch))
            told = np.sort(cdf(coordinate(levels(u).log_snr).numpy()))
            steps = np.arange(batch + 1) / batch
            distances += [float(np.abs(told - edges).max()) for edges in (steps[1:], steps[:-1])]
        yield at_most(f"distance times n, batches of {batch}", np.max(distances) * batch, 1 + 1e-6)


@claim("noise_levels")
def levels_correction(levels: NoiseLevels, effort: Effort) -> Iterator[Measured]:
    """With the correction a mean over the draws is that over the base law, before and after it has met losses."""
    own = copy.deepcopy(levels)
    for when in ("before", "after"):
        made = own(effort.seeds(effort.of(10_000, 200_000), "correction", when).uniform())
        even = own(_numbers(20_001))
        for name, function in {"sigmoid": torch.sigmoid, "cosine": torch.cos}.items():
            whole = torch.trapezoid((even.density * function(even.log_snr)).flip(0), even.log_snr.flip(0)).item()
            drawn = made.correction * function(made.log_snr)
            yield mean_is(f"mean of the {name} of the log-SNR, {when} learning", drawn.numpy(), whole)
        for step in range(100):
            u = stratified(effort.seeds(1, "learning", step), 64, torch.arange(64))
            own.update(u, (own(u).log_snr / 4).sigmoid())


def _law(levels: Any) -> tuple[Callable[[Tensor], Tensor], Callable[[Any], Any]]:
    """A coordinate of the log-SNR, rising with the noise, and its distribution function."""
    kind = type(levels).__name__
    if kind == "UniformLogSNRLevels":
        return torch.neg, stats.uniform(-levels.highest, levels.highest - levels.lowest).cdf
    if kind == "LogNormalLevels":
        return lambda log_snr: -log_snr / 2, stats.norm(levels.mean, levels.deviation).cdf
    if kind == "LogitNormalLevels":
        law = stats.norm(levels.inner.mean, levels.inner.deviation)
        # the straight flow's time is sigma/(alpha + sigma), with the scale left out 1/(1 + alpha/sigma)
        return lambda log_snr: 1 / (1 + (log_snr / 2).exp()), lambda t: law.cdf(special.logit(t))
    base = levels.base if kind == "ImportanceLevels" else levels
    return base.schedule.time, stats.uniform(base.first, base.last - base.first).cdf

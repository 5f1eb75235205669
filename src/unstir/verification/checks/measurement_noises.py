"""Claims of the noise of measuring: densities are normalised, and draws have them."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.inverse.noises.base import MeasurementNoise
from unstir.inverse.noises.confusion import ConfusionNoise
from unstir.inverse.noises.gaussian_unknown import GaussianUnknownNoise
from unstir.inverse.noises.poisson import PoissonNoise
from unstir.inverse.noises.wrapped_normal import WrappedNormalNoise
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.statistics import at_most, counts_are, mean_is, uniform_are

__all__ = [
    "noise_likelihoods_have_the_slope_of_differences",
    "noise_of_readings_is_drawn_one_by_one",
    "noise_of_unknown_deviation_is_one_for_a_reading",
    "poisson_readings_have_their_mean_and_deviation",
    "readings_follow_their_likelihood",
]

PLACES = (0.0, 0.37)  # clean values, in the unit of a period where there is one


def _clean(noise: MeasurementNoise, seeds: Seeds, shape: tuple[int, ...]) -> Tensor:
    """Clean values that the noise serves."""
    if isinstance(noise, ConfusionNoise):
        return seeds.integers(0, noise.classes, shape)
    return seeds.uniform(shape) * getattr(noise, "period", 1.0)


def _readings(noise: MeasurementNoise, clean: Tensor) -> tuple[Tensor, Tensor | None]:
    """All that may be read of one clean value, (n, 1), and for densities the widths for a sum over them."""
    if isinstance(noise, ConfusionNoise):
        return torch.arange(noise.table.shape[1])[:, None], None
    if isinstance(noise, PoissonNoise):
        expected = noise.expected(clean).item()
        counts = torch.arange(int(expected + 12 * expected**0.5 + 40), dtype=torch.float64)
        return noise.reading_of(counts)[:, None], None
    if isinstance(noise, WrappedNormalNoise):
        grid = torch.linspace(0, noise.period, 20_001, dtype=torch.float64)
        return grid[:, None], torch.full_like(grid, grid[1].item())
    # a sinh goes far enough for Student's tails, and is fine in the middle
    scale = getattr(noise, "deviation", 0.0) or (noise.prior_scale / noise.prior_shape) ** 0.5  # type: ignore[attr-defined]
    place = torch.linspace(-18, 18, 40_001, dtype=torch.float64)
    grid = clean + scale * place.sinh() / 10
    return grid.reshape(-1, 1), scale * place.cosh() / 10 * (place[1] - place[0])


@claim("noises")
def readings_follow_their_likelihood(noise: MeasurementNoise, effort: Effort) -> Iterator[Measured]:
    """The likelihood sums up to one over all readings, and draws follow it."""
    count = effort.of(4_000, 100_000)
    for number, place in enumerate(PLACES):
        tokens = isinstance(noise, ConfusionNoise)
        clean = torch.tensor([[number]]) if tokens else torch.tensor([[place]], dtype=torch.float64)
        clean = clean * getattr(noise, "period", 1)
        grid, widths = _readings(noise, clean)
        chances = noise.log_likelihood(grid, clean.expand(len(grid), 1)).exp()
        drawn = noise.draw(clean.expand(count, 1), effort.seeds(count, "noises", number))
        if widths is None:
            yield at_most(f"departure of the sum from one, at {clean.item():g}", abs(chances.sum() - 1), 1e-9)
            every = torch.searchsorted(grid[:, 0].contiguous(), drawn[:, 0].contiguous() - (0 if tokens else 1e-9))
            counted = np.bincount(every.numpy(), minlength=len(grid))
            yield counts_are(f"draws at {clean.item():g}", counted, chances.numpy())
            continue
        parts = chances * widths
        steps = torch.cat((parts.new_zeros(1), (parts[1:] + parts[:-1]) / 2)).cumsum(0)
        yield at_most(f"departure of the integral from one, at {clean.item():g}", abs(steps[-1] - 1), 1e-6)
        chance = np.interp(drawn[:, 0].numpy(), grid[:, 0].numpy(), (steps / steps[-1]).numpy())
        yield uniform_are(f"draws at {clean.item():g}, in units of the distribution function", chance)


@claim("noises")
def noise_of_readings_is_drawn_one_by_one(noise: MeasurementNoise, effort: Effort) -> Iterator[Measured]:
    """A draw is the same alone and in any batch, keeps the dtype, and a reading's likelihood is its own."""
    seeds = effort.seeds(6, "noises", "alone")
    clean = _clean(noise, seeds.at("clean"), (2, 3))
    drawn = noise.draw(clean, seeds)
    alone = torch.cat([noise.draw(clean[row : row + 1], seeds[row : row + 1]) for row in range(6)])
    yield at_most("readings that differ, alone or in a batch", int((drawn != alone).sum()), 0)
    dtype = clean.dtype if isinstance(noise, ConfusionNoise) else torch.float32
    kept = noise.draw(clean.to(dtype), seeds)
    yield at_most("dtypes or shapes changed", int(kept.dtype != dtype) + int(kept.shape != clean.shape), 0)
    together = noise.log_likelihood(drawn[:1], clean)
    single = torch.cat([noise.log_likelihood(drawn[:1], clean[row : row + 1]) for row in range(6)])
    away = torch.where(together == single, 0.0, (together - single).abs() / single.abs())
    yield at_most("difference of log-likelihoods, relative", away, 1e-12)
    wrong = int(together.dtype != torch.float64) + int(tuple(together.shape) != (6,))
    yield at_most("log-likelihoods not float64, one a sample", wrong, 0)
    yield at_most("draws that are the clean values", int((drawn == clean).all()), 0)


@claim("noises")
def noise_likelihoods_have_the_slope_of_differences(noise: MeasurementNoise, effort: Effort) -> Iterator[Measured]:
    """The log-likelihood's gradient in the clean values is that of finite differences."""
    if isinstance(noise, ConfusionNoise):
        raise NotMeasured("tokens have no slope", silent=True)
    seeds = effort.seeds(8, "noises", "slope")
    clean = _clean(noise, seeds.at("clean"), (5,))
    reading, way = noise.draw(clean, seeds), seeds.at("way").normal((5,), torch.float64)
    given = clean.clone().requires_grad_()
    (slope,) = torch.autograd.grad(noise.log_likelihood(reading, given).sum(), given)
    step = 1e-5 * getattr(noise, "period", 1.0)
    ends = [noise.log_likelihood(reading, clean + sign * step * way) for sign in (1, -1)]
    told, steep = (slope * way).sum(1), (ends[0] - ends[1]) / (2 * step)
    scale = slope.norm(dim=1) * way.norm(dim=1)
    yield at_most("difference, relative", ((told - steep).abs() / scale).max(), 1e-5)


@claim("noises", "poisson")
def poisson_readings_have_their_mean_and_deviation(noise: PoissonNoise, effort: Effort) -> Iterator[Measured]:
    """A reading has the clean value as its mean, and the approximate deviation is its own."""
    count = effort.of(4_000, 100_000)
    clean = torch.tensor([0.0, 0.2, 1.0, 5.0], dtype=torch.float64).expand(count, 4)
    drawn = noise.draw(clean, effort.seeds(count, "noises", "mean"))
    yield mean_is("mean of the readings", drawn, clean[0])
    told = noise.approximate_deviation(clean)[0]
    yield mean_is("mean of their squares about it", (drawn - clean).square(), told.square())


@claim("noises", "gaussian-unknown")
def noise_of_unknown_deviation_is_one_for_a_reading(noise: GaussianUnknownNoise, effort: Effort) -> Iterator[Measured]:
    """Several values of one reading share their deviation: the squares of their errors have the law of that.

    Of two values, the chance of a larger sum of squares than s is (1 + s/2b)^-a; their likelihood is that law's.
    The estimate is the posterior mean: over draws of the law it has the mean of the deviation itself.
    """
    count, a, b = effort.of(4_000, 100_000), noise.prior_shape, noise.prior_scale
    errors = noise.draw(torch.zeros(count, 2, dtype=torch.float64), effort.seeds(count, "noises", "one"))
    squares = errors.square().sum(1)
    yield uniform_are("sums of two squares, in units of their law", (1 + squares / (2 * b)).pow(-a))
    rays = torch.linspace(0.01, 3, 50, dtype=torch.float64)
    told = noise.log_likelihood(torch.stack((rays, 0 * rays), 1), torch.zeros(50, 2, dtype=torch.float64))
    wanted = math.log(a / (2 * math.pi * b)) - (a + 1) * torch.log1p(rays.square() / (2 * b))
    yield at_most("largest error of the log-likelihood", (told - wanted).abs().max(), 1e-10)
    mean = b**0.5 * math.exp(math.lgamma(a - 0.5) - math.lgamma(a)) if a > 0.5 else math.inf
    estimates = noise.estimate(errors, torch.zeros_like(errors))
    if a > 2:  # else single draws rule the mean
        yield mean_is("mean of the estimates", estimates, mean)

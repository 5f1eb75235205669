"""Inverse problems whose posterior law is known exactly, on which posterior samplers are compared.

All are stated in the operator's own coordinates, in which A is a diagonal: y_i = s_i x_i + noise for the first m
elements of x, and nothing is measured of the others. Turning the space leaves every method as it is, and lets libraries
with a notion of their own of an operator take part. The data is of unit deviation, element by element.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.exact.base import EuclideanDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.inverse.measurement import Measurement, exact_posterior
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.matrix import MatrixOperator
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule


@dataclass(frozen=True, eq=False)
class Problem:
    """A mixture of round Gaussians, (k, d) ``means`` and one ``deviation``, and a reading of it; float64.

    ``singular`` (m,) are the operator's factors, ``noise`` the deviation of the reading (m,).
    """

    name: str
    weights: Tensor
    means: Tensor
    deviation: float
    singular: Tensor
    noise: float
    reading: Tensor
    count: int

    @property
    def dimension(self) -> int:
        """How many numbers a sample has."""
        return self.means.shape[1]

    @cached_property
    def law(self) -> MixtureDenoiser:
        """The prior, as an exact denoiser under the process that unstir proposes for vectors."""
        variances = torch.full((len(self.weights),), self.deviation**2, dtype=torch.float64)
        return MixtureDenoiser(self.weights, self.means, variances, GaussianProcess(EDMSchedule()))

    @cached_property
    def measurement(self) -> Measurement:
        """The reading and how it came about."""
        matrix = torch.zeros(len(self.singular), self.dimension, dtype=torch.float64)
        matrix[:, : len(self.singular)] = torch.diag(self.singular)
        return Measurement(MatrixOperator((self.dimension,), matrix), self.reading, GaussianNoise(self.noise))

    @cached_property
    def posterior(self) -> EuclideanDenoiser:
        """What all methods are after."""
        return exact_posterior(self.law, self.measurement)

    def denoise(self, y: Tensor, sigma: Tensor | float) -> Tensor:
        """E[x_0 | x_0 + sigma z = y], (n, d), differentiable: the one belief that every library is given."""
        spread = self.deviation**2 + torch.as_tensor(sigma, dtype=y.dtype).square().reshape(-1, 1)
        means, logs = self.means.to(y.dtype), self.weights.log().to(y.dtype)
        squares = y.square().sum(1, keepdim=True) - 2 * y @ means.T + means.square().sum(1)
        centre = (logs - squares / (2 * spread)).softmax(1) @ means
        return centre + self.deviation**2 / spread * (y - centre)


def ring() -> Problem:
    """Two dimensions, eight unequal modes on a ring, one coordinate seen through noise: the answer has four modes."""
    angles = torch.arange(8, dtype=torch.float64) * (math.pi / 4) + 0.2
    weights = torch.tensor([4, 1, 6, 2, 8, 3, 5, 7], dtype=torch.float64)
    means = 1.4 * torch.stack((angles.cos(), angles.sin()), 1)
    reading = torch.tensor([0.35], dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    return Problem("ring, 2 dimensions", weights / weights.sum(), means, 0.15, one, 0.3, reading, 4096)


def grid_of_modes(dimension: int, rows: int, seed: int, count: int) -> Problem:
    """Twenty-five modes on a grid, repeated over pairs of coordinates, and ``rows`` random directions measured.

    Weights, directions, factors and noise are random; so is the reading, drawn from the law.

    Reference: Cardoso, Janati El Idrissi, Le Corff, Moulines, Monte Carlo guided denoising diffusion models for
    Bayesian linear inverse problems (2024), section 4 and appendix; there the modes have unit deviation.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    steps = torch.arange(-2, 3, dtype=torch.float64) * 8
    means = torch.cartesian_prod(steps, steps).repeat(1, dimension // 2)
    scale = means.square().mean().add(1).sqrt().item()
    turned = torch.linalg.qr(torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)).Q
    means, weights = means @ turned / scale, uniform(25) + 0.05
    weights = weights / weights.sum()
    singular = uniform(rows).clamp(min=0.05).sort(descending=True).values
    noise = float(uniform(1).clamp(min=0.05) * singular[0]) / scale
    chosen = int(torch.multinomial(weights, 1, generator=generator))
    drawn = means[chosen] + torch.randn(dimension, generator=generator, dtype=torch.float64) / scale
    reading = singular * drawn[:rows] + noise * torch.randn(rows, generator=generator, dtype=torch.float64)
    name = f"25 modes, {dimension} dimensions, {rows} measured"
    return Problem(name, weights, means, 1 / scale, singular, noise, reading, count)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "ring": ring,
    "8": lambda: grid_of_modes(8, 1, 1, 2048),
    "80": lambda: grid_of_modes(80, 2, 2, 1024),
    "800": lambda: grid_of_modes(800, 4, 3, 512),
}


def distance(first: Tensor, second: Tensor, directions: int = 200) -> float:
    """Sliced Wasserstein-1 distance of two sets of as many samples, along the same random directions each time.

    Of order one: a share of the samples in the wrong mode counts by its distance, where order two takes the square
    root of it, so that chance alone would hide much.
    """
    across = Seeds.range(20261122, directions).normal((first.shape[1],), torch.float64)
    across = (across / across.norm(dim=1, keepdim=True)).T
    apart = (first.double() @ across).sort(0).values - (second.double() @ across).sort(0).values
    return apart.abs().mean().item()

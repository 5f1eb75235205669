r"""Noise on the sphere: Brownian motion of directions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.processes import isotropic_gaussian, quaternions, sphere_heat_kernel
from unstir.processes.base import even_pairs
from unstir.processes.brownian import BrownianProcess
from unstir.processes.schedules.base import Schedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule

__all__ = ["SphereProcess"]


@dataclass(frozen=True)
class SphereProcess(BrownianProcess):
    r"""Brownian motion on the sphere: directions, places on a globe, states (batch, ..., 3) of unit vectors.

    The law of x_t given x_0 is the sphere's heat kernel of deviation sigma_t, in radians of arc: for little noise
    :math:`N(0, \sigma_t^2 I_2)` in the tangent plane. Densities refer to the uniform law. A schedule up to 5 radians
    ends within 1e-10 of it.

    Reference: De Bortoli et al., Riemannian score-based generative modelling (2022), section 4 and appendix on the
    heat kernel of the sphere.
    """

    schedule: Schedule = field(default_factory=lambda: ExponentialVESchedule(0.01, 5.0))
    space = "sphere"
    learned = "sphere"
    element = (3,)

    def __post_init__(self) -> None:
        self.check_schedule()

    @classmethod
    def examples(cls) -> Mapping[str, "SphereProcess"]:
        """Members whose claims are measured: one that meets narrow and wide noise, and a noisier one."""
        return {"default": cls(), "noisy from the start": cls(ExponentialVESchedule(0.3, 4.0))}

    def prior_error(self, t: Tensor | float = 1.0) -> float:
        sigma = self.schedule.sigma(t)
        if bool((sigma < isotropic_gaussian.WIDE).any()):
            return torch.expm1(sphere_heat_kernel.log_density(torch.zeros_like(sigma), sigma)).max().item()
        degree = torch.arange(1, 8, dtype=torch.float64)
        return ((2 * degree + 1) * (-degree * (degree + 1) * sigma[..., None].square() / 2).exp()).sum(-1).max().item()

    def example_data(self, count: int) -> Tensor:
        pairs = even_pairs(count)
        height, longitude = 1 - 2 * pairs, 6.0 * pairs.flip(1)
        across = (1 - height.square()).sqrt()
        return torch.stack((across * longitude.cos(), across * longitude.sin(), height), -1)

    def features(self, x: Tensor) -> Tensor:
        """The three coordinates."""
        return x

    def contains(self, x: Tensor) -> Tensor:
        """Whether all are of length one, to a hundred roundings of their dtype."""
        off = (x.double().square().sum(-1) - 1).abs()
        return (off.flatten(1).amax(1) if off.ndim > 1 else off) <= 100 * torch.finfo(x.dtype).eps

    def log_kernel(self, x: Tensor, y: Tensor, deviation: Tensor) -> Tensor:
        return sphere_heat_kernel.log_density(arc_between(x, y), deviation)

    def draw_product(
        self, first: Tensor, first_deviation: Tensor, second: Tensor, second_deviation: Tensor, seeds: Seeds
    ) -> Tensor:
        a, b = unit(first), unit(second)
        return sphere_heat_kernel.draw_product(a, first_deviation, b, second_deviation, seeds)

    def uniform(self, shape: Sequence[int], seeds: Seeds) -> Tensor:
        return quaternions.normalised(seeds.normal(shape, torch.float64))

    def conditional_score(self, xt: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        """The gradient of log q(x_t | x_0) in x_t: a tangent vector at x_t, of the state's shape and dtype."""
        arc, away = arc_between(xt, x0), departure(x0, xt)
        slope = sphere_heat_kernel.score(arc, self.deviation(t, xt))
        return torch.nan_to_num((slope[..., None] * away).to(xt.dtype))


def unit(x: Tensor) -> Tensor:
    """Vectors (..., 3) at length one, float64; a padded zero becomes the third axis."""
    x = x.double()
    size = quaternions.length(x)[..., None]
    return torch.where(size > 1e-140, x / size, x.new_tensor([0.0, 0.0, 1.0]))


def arc_between(x: Tensor, y: Tensor) -> Tensor:
    """The angle between the directions x and y (..., 3), in [0, pi]; float64, differentiable at zero too."""
    x, y = torch.broadcast_tensors(x.double(), y.double())
    return torch.atan2(quaternions.length(torch.linalg.cross(x, y)), (x * y).sum(-1))


def departure(start: Tensor, end: Tensor) -> Tensor:
    """The unit tangent at the ``end`` of the great circle that comes from the ``start``, float64; zero at no arc."""
    start, end = torch.broadcast_tensors(unit(start), unit(end))
    tangent = torch.linalg.cross(torch.linalg.cross(start, end), end)
    return tangent / quaternions.length(tangent)[..., None]

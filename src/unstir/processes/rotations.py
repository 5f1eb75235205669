r"""Noise on rotations: Brownian motion on SO(3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.processes import isotropic_gaussian, isotropic_gaussian_draws, quaternions
from unstir.processes.base import even_pairs
from unstir.processes.brownian import BrownianProcess
from unstir.processes.schedules.base import Schedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule

__all__ = ["RotationProcess"]


@dataclass(frozen=True)
class RotationProcess(BrownianProcess):
    r"""Brownian motion on SO(3): orientations of molecules, residues and bodies, states (batch, ..., 3, 3).

    The law of x_t given x_0 is the isotropic Gaussian of deviation sigma_t about x_0, in radians: for little noise
    :math:`x_t = x_0 \exp[\sigma_t\epsilon]_\times` with :math:`\epsilon \sim N(0, I_3)`. Densities refer to Haar
    measure of total mass one. A schedule up to 5 radians ends within 1e-10 of the uniform law.

    Frames, each a position with an orientation, are a joint process of a Gaussian one and this.

    Reference: Leach et al., Denoising diffusion probabilistic models on SO(3) for rotational alignment (2022); Yim et
    al., SE(3) diffusion model with application to protein backbone generation (2023), for frames.
    """

    schedule: Schedule = field(default_factory=lambda: ExponentialVESchedule(0.01, 5.0))
    space = "rotations"
    learned = "rotations"
    element = (3, 3)

    def __post_init__(self) -> None:
        self.check_schedule()

    @classmethod
    def examples(cls) -> Mapping[str, "RotationProcess"]:
        """Members whose claims are measured: one that meets narrow and wide noise, and a noisier one."""
        return {"default": cls(), "noisy from the start": cls(ExponentialVESchedule(0.3, 4.0))}

    def prior_error(self, t: Tensor | float = 1.0) -> float:
        return isotropic_gaussian.largest_deviation_from_uniform(self.schedule.sigma(t)).max().item()

    def example_data(self, count: int) -> Tensor:
        """Turns about tilted axes; the two of a sample hang together."""
        pairs = even_pairs(count)
        half, tilt = 3.1 * pairs, 6.0 * pairs.flip(1)
        zero = torch.zeros_like(half)
        turn = torch.stack((half.cos(), half.sin(), zero, zero), -1)
        tilted = torch.stack((tilt.cos(), zero, zero.clone(), tilt.sin()), -1)
        return quaternions.to_matrix(quaternions.multiply(tilted, turn))

    def features(self, x: Tensor) -> Tensor:
        """The nine entries of every matrix, (..., 9)."""
        return x.flatten(-2)

    def contains(self, x: Tensor) -> Tensor:
        """Whether all are orthogonal matrices of determinant one, to a hundred roundings of their dtype."""
        gram = (x[..., :, None] * x[..., None, :]).sum(-3)
        off = (gram - torch.eye(3, dtype=x.dtype, device=x.device)).abs().flatten(1).amax(1)
        proper = (
            (torch.linalg.det(x.double()) > 0).flatten(1).all(1) if x.ndim > 3 else torch.linalg.det(x.double()) > 0
        )
        return (off <= 100 * torch.finfo(x.dtype).eps) & proper

    def log_kernel(self, x: Tensor, y: Tensor, deviation: Tensor) -> Tensor:
        return isotropic_gaussian.log_density(angle_between(x, y), deviation)

    def draw_product(
        self, first: Tensor, first_deviation: Tensor, second: Tensor, second_deviation: Tensor, seeds: Seeds
    ) -> Tensor:
        a, b = quaternions.from_matrix(first), quaternions.from_matrix(second)
        drawn = isotropic_gaussian_draws.draw_product(a, first_deviation, b, second_deviation, seeds)
        return quaternions.to_matrix(drawn)

    def uniform(self, shape: Sequence[int], seeds: Seeds) -> Tensor:
        drawn = seeds.normal((*shape[:-2], 4), torch.float64)
        return quaternions.to_matrix(quaternions.normalised(drawn))

    def conditional_score(self, xt: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        """The gradient of log q(x_t | x_0) in x_t, as the rotation vector v of x_t exp[v], of shape (batch, ..., 3).

        It is the target of denoising score matching on SO(3); without noise it is as large as the dtype can be.
        """
        way = quaternions.multiply(quaternions.inverse(quaternions.from_matrix(x0)), quaternions.from_matrix(xt))
        angle, axis = quaternions.angle_and_axis(way)
        slope = isotropic_gaussian.score(angle, self.deviation(t, xt))
        return torch.nan_to_num((slope[..., None] * axis).to(xt.dtype))


def angle_between(x: Tensor, y: Tensor) -> Tensor:
    """The angle of the rotation from x to y, matrices (..., 3, 3), in [0, pi]; float64, differentiable at zero too."""
    x, y = torch.broadcast_tensors(x.double(), y.double())
    way = (x[..., :, :, None] * y[..., :, None, :]).sum(-3)
    twist = torch.stack(
        (way[..., 2, 1] - way[..., 1, 2], way[..., 0, 2] - way[..., 2, 0], way[..., 1, 0] - way[..., 0, 1]), -1
    )
    trace = way[..., 0, 0] + way[..., 1, 1] + way[..., 2, 2]
    return torch.atan2(quaternions.length(twist), trace - 1)

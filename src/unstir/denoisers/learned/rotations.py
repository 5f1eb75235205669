r"""A network's belief about rotations."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.denoisers.learned.spread import checked_components, spread_directions, widths
from unstir.denoisers.rotational import RotationPosterior
from unstir.processes import quaternions
from unstir.processes.rotations import RotationProcess

__all__ = ["RotationsDenoiser"]


class RotationsDenoiser(LearnedDenoiser):
    r"""A mixture of ``components`` isotropic Gaussians for every rotation; those of one sample are independent.

    Of each component the network tells two columns of a matrix (six numbers, made a rotation by Gram and Schmidt: no
    continuous code of rotations has fewer than five), a deviation (through a softplus; at first that of the noise) and
    a weight. Centres are told relative to the noisy rotation and in units of the noise, so that the belief turns with
    the state where the network does. The loss is the negative log-density in nats per rotation, against Haar measure of
    mass one.

    Reference: Zhou, Barnes, Lu, Yang, Li, On the continuity of rotation representations in neural networks (2019),
    section 4.2; Bishop, Mixture density networks (1994).
    """

    process: RotationProcess

    def __init__(
        self, network: nn.Module | None, process: RotationProcess, layout: str = "vector", components: int = 4
    ) -> None:
        super().__init__(network, process, layout)
        self.components = checked_components(components)

    @property
    def numbers(self) -> int:
        """Two columns, a deviation and a weight of each component."""
        return 8 * self.components

    def read(self, numbers: Tensor, xt: Tensor, t: Tensor, mask: Tensor | None) -> RotationPosterior:
        told = numbers.double().reshape(*numbers.shape[:-1], self.components, 8)
        noise = self.process.deviation(t, xt)[..., None]
        # in units of the noise: that far it may have led
        unit = noise.clamp(max=1.0)[..., None]
        turned = gram_schmidt(unit * told[..., :6] + told.new_tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))
        # components start apart, for else they would all learn the same
        start = quaternions.exponential(spread_directions(told) * 2 * unit)
        centres = xt.double()[..., None, :, :] @ quaternions.to_matrix(start) @ turned
        return RotationPosterior(
            self.process,
            torch.zeros(len(xt), 1, dtype=torch.float64, device=xt.device),
            told[..., 7].log_softmax(-1)[:, None],
            centres[:, None],
            widths(told[..., 6], noise)[:, None],
            xt.dtype,
        )


def gram_schmidt(numbers: Tensor) -> Tensor:
    """The rotation (..., 3, 3) whose first two columns come nearest to the six numbers (..., 6), one after the other.

    Where they are parallel, or zero, it says nothing, and is finite.
    """
    first = F.normalize(numbers[..., :3], dim=-1)
    second = numbers[..., 3:] - (first * numbers[..., 3:]).sum(-1, keepdim=True) * first
    second = F.normalize(second, dim=-1)
    return torch.stack((first, second, torch.linalg.cross(first, second)), -1)

"""Mixtures of isotropic Gaussians on the rotations."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from unstir.denoisers.rotational import RotationPosterior
from unstir.exact.kernel_mixture import KernelMixtureDenoiser
from unstir.processes import isotropic_gaussian, quaternions
from unstir.processes.rotations import RotationProcess
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule

__all__ = ["RotationMixtureDenoiser"]


class RotationMixtureDenoiser(KernelMixtureDenoiser):
    r"""The exact belief for a mixture of isotropic Gaussians on SO(3), for one rotation a sample or any number.

    ``weights`` (k,), ``centres`` (k, ..., 3, 3), ``deviations`` in radians: a number, (k,) or (k, ...), zero for a
    point and infinite for uniform. Within a component the rotations are independent. Noise only widens each Gaussian,
    :math:`\tau^2 + \sigma_t^2`, since the heat kernels of SO(3) are a semigroup. The belief is a mixture of the
    products :math:`f_\tau(x_0; c)\,f_{\sigma_t}(x_t; x_0)`, which are no isotropic Gaussians: its density is
    exact, its draws are exact, and its mean is a quadrature.

    The score is the rotation vector v of :math:`x_t\exp[v]_\times`. ``labels`` (k,), whole numbers, allow the condition
    ``label`` (batch,).

    Reference: Nikolayev, Savyolov, Normal distribution on the rotation group SO(3) (1997), for the semigroup.
    """

    posterior = RotationPosterior

    @classmethod
    def examples(cls) -> Mapping[str, "RotationMixtureDenoiser"]:
        """One rotation, narrow and wide; two that hang together, with labels and a uniform part."""
        vectors = torch.tensor([[0.3, -0.2, 0.5], [0.0, 3.0, 0.4], [-1.2, 0.8, 0.0], [2.0, 2.0, 0.5]])
        a, b, c, d = quaternions.to_matrix(quaternions.exponential(vectors.double()))
        uniform = math.inf
        pairs = torch.stack((torch.stack((a, b)), torch.stack((c, d)), torch.stack((d, a))))
        return {
            "one rotation": cls([0.5, 0.3, 0.2], torch.stack((a, b, c)), [0.15, 0.4, 1.2], RotationProcess()),
            "two rotations, labelled": cls(
                [0.4, 0.4, 0.2],
                pairs,
                [[0.3, 0.2], [0.6, 0.3], [0.5, uniform]],
                RotationProcess(ExponentialVESchedule(0.05, 4.0)),
                labels=[0, 1, 1],
            ),
        }

    def slopes(self, x: Tensor, centres: Tensor, deviations: Tensor) -> Tensor:
        """The score of every component, as a rotation vector in the body's frame."""
        way = quaternions.multiply(quaternions.inverse(quaternions.from_matrix(centres)), quaternions.from_matrix(x))
        angle, axis = quaternions.angle_and_axis(way)
        return isotropic_gaussian.score(angle, deviations)[..., None] * axis

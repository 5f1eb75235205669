"""Mixtures of heat kernels on the sphere."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from unstir.denoisers.spherical import SpherePosterior
from unstir.exact.kernel_mixture import KernelMixtureDenoiser
from unstir.processes import sphere_heat_kernel
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.sphere import SphereProcess, arc_between, departure

__all__ = ["SphereMixtureDenoiser"]


class SphereMixtureDenoiser(KernelMixtureDenoiser):
    r"""The exact belief for a mixture of heat kernels on the sphere, for one direction a sample or any number.

    ``weights`` (k,), ``centres`` (k, ..., 3) of length one, ``deviations`` in radians: a number, (k,) or (k, ...), zero
    for a point and infinite for uniform. Within a component the directions are independent. Noise only widens each
    kernel, :math:`\tau^2 + \sigma_t^2`; the belief is a mixture of products of two kernels, whose density and draws
    are exact and whose mean is a quadrature. The score is a tangent vector. ``labels`` (k,), whole numbers, allow the
    condition ``label`` (batch,).

    Reference: Roberts, Ursell, Random walk on a sphere and on a Riemannian manifold (1960), for the kernel.
    """

    posterior = SpherePosterior

    @classmethod
    def examples(cls) -> Mapping[str, "SphereMixtureDenoiser"]:
        """One direction, narrow and wide; two that hang together, with labels and a uniform part."""
        places = torch.tensor([[0.2, 0.3, 0.9], [0.7, -0.7, 0.1], [-0.5, 0.4, -0.8], [0.1, 0.2, -0.9]]).double()
        a, b, c, d = places / places.norm(dim=1, keepdim=True)
        pairs = torch.stack((torch.stack((a, b)), torch.stack((c, d)), torch.stack((d, a))))
        return {
            "one direction": cls([0.5, 0.3, 0.2], torch.stack((a, b, c)), [0.1, 0.4, 1.2], SphereProcess()),
            "two directions, labelled": cls(
                [0.4, 0.4, 0.2],
                pairs,
                [[0.3, 0.2], [0.6, 0.3], [0.5, math.inf]],
                SphereProcess(ExponentialVESchedule(0.05, 4.0)),
                labels=[0, 1, 1],
            ),
        }

    def slopes(self, x: Tensor, centres: Tensor, deviations: Tensor) -> Tensor:
        """The score of every component, a tangent vector."""
        slope = sphere_heat_kernel.score(arc_between(x, centres), deviations)
        return slope[..., None] * departure(centres, x)

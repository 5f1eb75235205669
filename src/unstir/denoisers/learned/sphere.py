r"""A network's belief about directions."""

import torch
from torch import Tensor, nn

from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.denoisers.learned.spread import checked_components, spread_directions, widths
from unstir.denoisers.spherical import SpherePosterior
from unstir.processes.sphere import SphereProcess, unit

__all__ = ["SphereDenoiser"]


class SphereDenoiser(LearnedDenoiser):
    r"""A mixture of ``components`` heat kernels for every direction; the directions of one sample are independent.

    Of each component the network tells a vector, a deviation (through a softplus; at first that of the noise) and a
    weight. The centre has the direction of the noisy state and, in units of the noise, the vector together. The loss is
    the negative log-density in nats per direction, against the uniform law.

    Reference: Bishop, Mixture density networks (1994); De Bortoli et al., Riemannian score-based generative modelling
    (2022), for the process.
    """

    process: SphereProcess

    def __init__(
        self, network: nn.Module | None, process: SphereProcess, layout: str = "vector", components: int = 4
    ) -> None:
        super().__init__(network, process, layout)
        self.components = checked_components(components)

    @property
    def numbers(self) -> int:
        """Vector, deviation and weight of each component."""
        return 5 * self.components

    def read(self, numbers: Tensor, xt: Tensor, t: Tensor, mask: Tensor | None) -> SpherePosterior:
        told = numbers.double().reshape(*numbers.shape[:-1], self.components, 5)
        noise = self.process.deviation(t, xt)[..., None]
        # in units of the noise, that far it may have led; and apart, for else all components would learn the same
        step = noise.clamp(max=1.0)[..., None] * (told[..., :3] + 2 * spread_directions(told))
        return SpherePosterior(
            self.process,
            torch.zeros(len(xt), 1, dtype=torch.float64, device=xt.device),
            told[..., 4].log_softmax(-1)[:, None],
            unit(unit(xt)[..., None, :] + step)[:, None],
            widths(told[..., 3], noise)[:, None],
            xt.dtype,
        )

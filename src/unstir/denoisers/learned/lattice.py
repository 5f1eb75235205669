"""A network's belief about sites in a periodic cell."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.core.errors import InputError
from unstir.denoisers.lattice import LatticePosterior
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.processes.lattice import LatticeProcess

__all__ = ["LatticeDenoiser"]

_NARROWEST = 1e-3  # of the edge of a cube of the cell's volume
_SPREAD = (0.7548776662466927, 0.5698402909980532, 0.8191725133961645)  # irrational: components start apart


class LatticeDenoiser(LearnedDenoiser):
    r"""A mixture of ``components`` wrapped normals in space for every site; the sites of one sample are independent.

    Of each component the network tells a direction (two numbers) for every fractional coordinate, one deviation
    (through a softplus, in edges of a cube of the cell's volume) and a weight. Centres are told relative to the noisy
    site, so that the belief moves with the state where the network does. The loss is the negative log-density,
    relative to the uniform law, in nats per coordinate.

    Reference: Bishop, Mixture density networks (1994); Jiao et al., Crystal structure prediction by joint equivariant
    diffusion (2023), for the process.
    """

    process: LatticeProcess

    def __init__(
        self, network: nn.Module | None, process: LatticeProcess, layout: str = "sequence", components: int = 4
    ) -> None:
        super().__init__(network, process, layout)
        if components < 1:
            raise InputError(f"a mixture has at least 1 component; seen {components}")
        self.components = components

    @property
    def numbers(self) -> int:
        """A direction for each coordinate, a deviation and a weight, of each component."""
        return (2 * len(self.process.cell) + 2) * self.components

    def read(self, numbers: Tensor, xt: Tensor, t: Tensor, mask: Tensor | None) -> LatticePosterior:
        size = len(self.process.cell)
        told = numbers.double().unflatten(-1, (self.components, 2 * size + 2))
        x, y = told[..., : 2 * size].chunk(2, -1)
        steps = torch.arange(self.components, device=xt.device, dtype=torch.float64)[:, None]
        start = 2 * math.pi * steps * torch.tensor(_SPREAD[:size], device=xt.device, dtype=torch.float64)
        turns = torch.atan2(y + start.sin(), x + start.cos()) / (2 * math.pi)
        edge = self.process.lattice.volume ** (1 / size)
        return LatticePosterior(
            told[..., -1].log_softmax(-1),
            xt.double()[..., None, :] + turns,
            (_NARROWEST + F.softplus(told[..., -2] - 2)) * edge,
            self.process,
            xt.dtype,
        )

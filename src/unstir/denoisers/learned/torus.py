"""A network's belief about angles and other periodic data."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.core.errors import InputError
from unstir.denoisers.circular import CircularPosterior
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.processes.wrapped import WrappedProcess

__all__ = ["TorusDenoiser"]

_NARROWEST = 1e-3  # of the period


class TorusDenoiser(LearnedDenoiser):
    r"""A mixture of ``components`` wrapped normals for every angle; the angles of one sample are independent.

    Of each component the network tells a direction (two numbers), a deviation (through a softplus, in periods) and a
    weight. Centres are told relative to the noisy angle, so that the belief turns with the state where the network
    does. The loss is the negative log-density in nats per angle.

    Reference: Bishop, Mixture density networks (1994); Jing et al., Torsional diffusion (2022), for the process.
    """

    process: WrappedProcess
    kind = "sites"

    def __init__(
        self, network: nn.Module | None, process: WrappedProcess, layout: str = "vector", components: int = 4
    ) -> None:
        super().__init__(network, process, layout)
        if components < 1:
            raise InputError(f"a mixture has at least 1 component; seen {components}")
        self.components = components

    @property
    def numbers(self) -> int:
        """Direction, deviation and weight of each component."""
        return 4 * self.components

    def seen(self, xt: Tensor, t: Tensor) -> Tensor:
        return xt / self.process.periods(xt).to(xt.dtype)

    def read(self, numbers: Tensor, xt: Tensor, t: Tensor, mask: Tensor | None) -> CircularPosterior:
        x, y, width, logits = numbers.double().chunk(4, -1)
        periods = self.process.periods(xt)
        # components start spread round the circle, for else they would all learn the same
        spread = 2 * math.pi * torch.arange(self.components, device=xt.device, dtype=torch.float64) / self.components
        turns = torch.atan2(y + spread.sin(), x + spread.cos()) / (2 * math.pi)
        centres = xt.double()[..., None] + turns * periods[..., None]
        deviations = (_NARROWEST + F.softplus(width - 2)) * periods[..., None]
        return CircularPosterior(
            torch.zeros(len(xt), 1, dtype=torch.float64, device=xt.device),
            logits.log_softmax(-1)[:, None],
            centres[:, None],
            deviations[:, None],
            periods,
            xt.dtype,
        )

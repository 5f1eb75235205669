"""A network's belief about data in a bounded interval."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.core.errors import InputError
from unstir.denoisers.interval import ReflectedPosterior
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.processes.reflected import ReflectedProcess

__all__ = ["IntervalDenoiser"]

_NARROWEST = 1e-3  # of the width
_GOLDEN = 0.6180339887498949


class IntervalDenoiser(LearnedDenoiser):
    r"""A mixture of ``components`` reflected normals for every element; a sample's elements are independent.

    Of each component the network tells a shift (one number, in widths), a deviation (through a softplus, in widths)
    and a weight. Centres are the noisy place, shifted, and folded back into the interval where the shift leaves it. The
    loss is the negative log-density in nats per element.

    Reference: Bishop, Mixture density networks (1994); Lou and Ermon, Reflected diffusion models (2023), for the
    process.
    """

    process: ReflectedProcess

    def __init__(
        self, network: nn.Module | None, process: ReflectedProcess, layout: str = "vector", components: int = 4
    ) -> None:
        super().__init__(network, process, layout)
        if components < 1:
            raise InputError(f"a mixture has at least 1 component; seen {components}")
        self.components = components

    @property
    def numbers(self) -> int:
        """Shift, deviation and weight of each component."""
        return 3 * self.components

    def read(self, numbers: Tensor, xt: Tensor, t: Tensor, mask: Tensor | None) -> ReflectedPosterior:
        shift, spread, logits = numbers.double().chunk(3, -1)
        low, width = (end[..., None] for end in self.process.ends(xt))
        # components start apart, for else they would all learn the same
        apart = 2 * (_GOLDEN * torch.arange(self.components, device=xt.device, dtype=torch.float64) % 1)
        centres = xt.double()[..., None] - low + (shift + apart) * width
        deviations = (_NARROWEST + F.softplus(spread - 2)) * width
        return ReflectedPosterior(
            torch.zeros(len(xt), 1, dtype=torch.float64, device=xt.device),
            logits.log_softmax(-1)[:, None],
            centres[:, None],
            deviations[:, None],
            self.process,
            xt,
        )

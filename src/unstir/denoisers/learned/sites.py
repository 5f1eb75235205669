"""A network's belief about the sites of a periodic cell."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.core.errors import InputError
from unstir.core.state import apply_mask, expand
from unstir.denoisers.circular import CircularPosterior
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.processes import wrapped_normal
from unstir.processes.sites import SitesProcess

__all__ = ["SitesDenoiser"]

_NARROWEST = 0.1  # of the scale: what is sharper than that makes no difference to the next step
_TURNS = 4.0


@dataclass(frozen=True)
class SitesPosterior(CircularPosterior):
    """Mixtures of wrapped normals about where the clean sites are, moved together to lie nearest to the noisy ones.

    ``noisy`` is x_t. The loss moves the clean sites there before it scores them, so that it does not depend on their
    origin; ``log_prob`` and ``sample`` are of the sites as they lie.
    """

    noisy: Tensor = field(kw_only=True)

    def loss(self, x0: Tensor, mask: Tensor | None = None) -> Tensor:
        """Negative log-density in nats per coordinate, of the clean sites moved to the noisy ones."""
        return super().loss(nearest(x0, self.noisy, mask), mask)


class SitesDenoiser(LearnedDenoiser):
    r"""A mixture of ``components`` wrapped normals for every coordinate, of a crystal whose origin does not count.

    A belief about the crystal alone: the clean sites are thought of as moved, all together, to where
    :math:`\sum_i\cos 2\pi(x_{0,i}-x_{t,i})` is largest on each axis. If the net translation had to be believed in too,
    no site could be known better than to :math:`\sigma_t/\sqrt n`; so each is known as well as the others tell. Steps
    of sampling that draw x_0 from it move the crystal as a whole by what is arbitrary, and by nothing else.

    Of each component the network tells a place, a width and a weight, in units of :math:`\rho=\sigma_t/(1+4\sigma_t)`,
    the noise or a quarter of the cell: the centre is :math:`x_t+\rho(F+k)`, k = ..., -1/2, 1/2, ..., the deviation
    :math:`\rho(0.1+\mathrm{softplus}\,G)`. So networks meet numbers of about unit size at every noise level.

    Reference: Jiao et al., Crystal structure prediction by joint equivariant diffusion (2023), section 4.2 and appendix
    A; Bishop, Mixture density networks (1994).
    """

    process: SitesProcess
    kind = "sites"

    def __init__(
        self, network: nn.Module | None, process: SitesProcess, layout: str = "vector", components: int = 4
    ) -> None:
        super().__init__(network, process, layout)
        if components < 1:
            raise InputError(f"a mixture has at least 1 component; seen {components}")
        self.components = components

    @property
    def numbers(self) -> int:
        """Place, width and weight of each component."""
        return 3 * self.components

    def seen(self, xt: Tensor, t: Tensor) -> Tensor:
        return xt

    def read(self, numbers: Tensor, xt: Tensor, t: Tensor, mask: Tensor | None) -> SitesPosterior:
        place, width, logits = numbers.double().chunk(3, -1)
        sigma = expand(self.process.schedule.sigma(t), xt.double())[..., None]
        # at no noise at all a deviation must still not be zero
        scale = (sigma / (1 + _TURNS * sigma)).clamp(min=1e-12)
        spread = torch.arange(self.components, device=xt.device, dtype=torch.float64) - (self.components - 1) / 2
        return SitesPosterior(
            torch.zeros(len(xt), 1, dtype=torch.float64, device=xt.device),
            logits.log_softmax(-1)[:, None],
            (xt.double()[..., None] + scale * (place + spread))[:, None],
            (scale * (_NARROWEST + F.softplus(width)))[:, None],
            self.process.periods(xt),
            xt.dtype,
            noisy=xt,
        )


def nearest(x0: Tensor, xt: Tensor, mask: Tensor | None = None) -> Tensor:
    """Sites ``x0`` (batch, n, d), moved together to lie nearest to ``xt``: float64 in [0, 1), zero in padded places.

    Nearest is where the sum of the cosines of all differences is largest, on each axis by itself. Where all moves are
    equally near it is one of them.
    """
    turns = 2 * math.pi * (x0.double() - xt.double())
    cosine, sine = (apply_mask(part, mask).sum(1, keepdim=True) for part in (turns.cos(), turns.sin()))
    return apply_mask(wrapped_normal.wrap(x0.double() - torch.atan2(sine, cosine) / (2 * math.pi), 1.0), mask)

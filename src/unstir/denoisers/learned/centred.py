"""A network's belief about sets of points whose centre is zero."""

from torch import Tensor, nn

from unstir.core.errors import InputError
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes.centred import CentredProcess

__all__ = ["CentredDenoiser"]


class CentredDenoiser(NetworkDenoiser):
    r"""A network with its preconditioning, of whose estimate the centre is taken away.

    Everything else is as in ``NetworkDenoiser``. An equivariant network makes an equivariant belief; any other may be
    used. ``variance`` is ``none``: a learned one of each coordinate would not stay within the subspace.

    Reference: Hoogeboom, Satorras, Vignac, Welling, Equivariant diffusion for molecule generation in 3D (2022),
    section 3.2; Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), section 5.
    """

    process: CentredProcess
    kind = "points"

    def __init__(
        self,
        network: nn.Module | None,
        process: CentredProcess,
        parameterisation: str = "edm",
        sigma_data: float = 1.0,
        variance: str = "none",
        layout: str = "as-it-is",
    ) -> None:
        if variance != "none":
            raise InputError(f"a belief about centred points is a point: take variance: none; seen {variance!r}")
        super().__init__(network, process, parameterisation, sigma_data, variance, layout)

    def _belief(
        self, output: Tensor, told: Tensor | None, xt: Tensor, t: Tensor, mask: Tensor | None
    ) -> PointPosterior:
        estimate = super()._belief(output, told, xt, t, mask).mean
        return PointPosterior(self.process.project(estimate, mask))

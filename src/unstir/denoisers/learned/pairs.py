"""A network's belief about tokens on the pairs of a set."""

from torch import Tensor

from unstir.denoisers.learned.tokens import TokensDenoiser
from unstir.processes.pairs import square, triangle

__all__ = ["PairsDenoiser"]


class PairsDenoiser(TokensDenoiser):
    """Logits of every pair's clean class, each pair once; a network that takes parts sees the table of all pairs.

    Everything else is as in ``TokensDenoiser``.

    Reference: Vignac et al., MiDi: mixed graph and 3D denoising diffusion for molecule generation (2023), section 4.
    """

    kind = "pairs"

    def seen(self, xt: Tensor, t: Tensor) -> Tensor:
        return square(self.features(xt, t))

    def elementwise(self, output: Tensor) -> Tensor:
        return triangle(output)

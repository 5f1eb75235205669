"""A belief on one picture or field, learned by what is wrong in each of its frequencies."""

from dataclasses import dataclass, field

from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.state import mean_per_sample
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes.frequency_bands import GridModes


@dataclass(frozen=True)
class SpectralPointPosterior(PointPosterior):
    """All belief on one grid; the loss weighs the squared error of each mode by the square of its ``share``.

    ``share`` has the shape (batch or 1, 1, *size) and is positive: the mean that is learned does not depend on it.
    """

    share: Tensor = field(repr=False)
    grid: GridModes = field(repr=False)

    def loss(self, x0: Tensor, mask: Tensor | None = None) -> Tensor:
        """The weighted squared error, averaged over the modes of each sample."""
        if mask is not None:
            raise InputError("heat flows on whole grids: train without a mask")
        return mean_per_sample((self.share * self.grid.to_modes(self.mean - x0)).square())

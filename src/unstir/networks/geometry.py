"""What networks of points in space share: lists of the pairs that there are, radial functions, triple products."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from unstir.networks.options import require_positive

_SOFTENED = 1e-2  # added to squared distances in a direction's length, so that it is smooth where points coincide
_NEAREST = 1e-12  # added where only the root's derivative at zero is in the way


class Pairs(NamedTuple):
    """The elements of a padded batch that are there, one after another, and each two of one sample once.

    ``places`` (nodes,): where each element lies in the flattened (batch * n); ``samples`` (nodes,) and ``of`` (pairs,):
    the sample of each; ``first`` and ``second`` (pairs,): a pair's two elements, as rows of the nodes; ``cells``
    (2 pairs,): where a pair lies in the flattened table (batch * n * n), first the one way, then the other.
    """

    mask: Tensor
    places: Tensor
    samples: Tensor
    counts: Tensor
    of: Tensor
    first: Tensor
    second: Tensor
    cells: Tensor

    @classmethod
    def among(cls, mask: Tensor) -> "Pairs":
        """Those of a mask, boolean (batch, n); padding costs nothing from here on."""
        batch, size = mask.shape
        places = mask.flatten().nonzero()[:, 0]
        samples = places.div(size, rounding_mode="floor")
        rows = torch.zeros(batch * size, dtype=torch.int64, device=mask.device)
        rows[places] = torch.arange(len(places), device=mask.device)
        both = (mask[:, :, None] & mask[:, None, :]).triu(1)
        of, i, j = both.nonzero(as_tuple=True)
        cells = torch.cat(((of * size + i) * size + j, (of * size + j) * size + i))
        return cls(mask, places, samples, mask.sum(1), of, rows[of * size + i], rows[of * size + j], cells)

    @property
    def batch(self) -> int:
        """The number of samples."""
        return self.mask.shape[0]

    @property
    def size(self) -> int:
        """The places of a sample, padding included."""
        return self.mask.shape[1]

    def nodes(self, x: Tensor) -> Tensor:
        """The rows (nodes, ...) of (batch, n, ...) that are there."""
        return x.flatten(0, 1).index_select(0, self.places)

    def padded(self, rows: Tensor) -> Tensor:
        """Rows (nodes, ...) at their places in (batch, n, ...), zero elsewhere."""
        found = rows.new_zeros(self.batch * self.size, *rows.shape[1:])
        return found.index_copy(0, self.places, rows).unflatten(0, (self.batch, self.size))

    def told(self, table: Tensor) -> Tensor:
        """The rows (pairs, ...) of a symmetric table (batch, n, n, ...): the mean of both ways."""
        one, other = table.flatten(0, 2).index_select(0, self.cells).chunk(2)
        return (one + other) / 2

    def table(self, rows: Tensor) -> Tensor:
        """Rows (pairs, ...) as a symmetric table (batch, n, n, ...), zero on the diagonal and where nothing is."""
        found = rows.new_zeros(self.batch * self.size * self.size, *rows.shape[1:])
        found = found.index_copy(0, self.cells, torch.cat((rows, rows)))
        return found.unflatten(0, (self.batch, self.size, self.size))

    def sums(self, rows: Tensor) -> Tensor:
        """Of each pair its two elements' rows added, (pairs, ...)."""
        return rows.index_select(0, self.first) + rows.index_select(0, self.second)

    def differences(self, rows: Tensor) -> Tensor:
        """Of each pair the first element's row less the second's, (pairs, ...)."""
        return rows.index_select(0, self.first) - rows.index_select(0, self.second)

    def gathered(self, rows: Tensor) -> Tensor:
        """Of each element the sum over its pairs, (nodes, ...), over the root of how many there are in its sample."""
        return self._shared(self.first, rows, self.second, rows)

    def collected(self, rows: Tensor) -> Tensor:
        """The same of rows (2 pairs, ...) of which the first elements take the first half, the second the rest."""
        one, other = rows.chunk(2)
        return self._shared(self.first, one, self.second, other)

    def drawn(self, rows: Tensor) -> Tensor:
        """The same of what points from the second to the first: added to the first, taken from the second."""
        return self._shared(self.first, rows, self.second, -rows)

    def _shared(self, first: Tensor, one: Tensor, second: Tensor, other: Tensor) -> Tensor:
        found = one.new_zeros(len(self.places), *one.shape[1:])
        found = found.index_add(0, first, one).index_add(0, second, other)
        scale = self.counts.to(one.dtype).rsqrt().index_select(0, self.samples)
        return found * scale.reshape(-1, *(1,) * (one.ndim - 1))

    def directions(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Of points (nodes, sets, d): unit vectors from the second to the first, (pairs, sets, d), and distances."""
        away = self.differences(points)
        squared = away.square().sum(-1)
        return away * (squared + _SOFTENED).rsqrt()[..., None], (squared + _NEAREST).sqrt()

    def mean(self, rows: Tensor) -> Tensor:
        """Of each sample, (batch, ...); zero for a sample without any element."""
        total = rows.new_zeros(self.batch, *rows.shape[1:]).index_add(0, self.samples, rows)
        return total / self.counts.clamp(min=1).to(rows.dtype).reshape(-1, *(1,) * (rows.ndim - 1))


class RadialFunctions(nn.Module):
    r"""``count`` bumps of a distance d, narrow where it is short.

    .. math:: e_k(d) = \exp\!\left(-\tfrac{K^2}{4}\,(e^{-d}-\mu_k)^2\right), \qquad \mu_k = \tfrac{k}{K-1}

    Distances are in units of the points' spread, so that the bumps tell bonds of different orders apart where data are
    nearly clean. Fixed and smooth, hence differentiable wherever points do not coincide.

    Reference: Unke, Meuwly, PhysNet (2019), eqs. 7 and 8, without its cutoff.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.linspace(0, 1, require_positive("radial", count)), persistent=False)
        self.sharpness = (count / 2) ** 2

    def forward(self, distances: Tensor) -> Tensor:
        """Features (..., count) of distances (...)."""
        away = (-distances)[..., None].exp() - self.means.to(distances.dtype)
        return (-self.sharpness * away.square()).exp()


def handedness(vectors: Tensor) -> Tensor:
    """Triple products (nodes, k) of vectors (nodes, 3, 3 k), between -1 and 1; they change their sign in a mirror."""
    short = vectors * (1 + vectors.square().sum(1, keepdim=True)).rsqrt()
    first, second, third = short.chunk(3, 2)
    return (first * torch.linalg.cross(second, third, dim=1)).sum(1)

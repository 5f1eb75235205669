"""Equivariant graph network: messages that know of space through distances alone."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.networks.conditioning import Conditions
from unstir.networks.equivariant_parts import Entrance, Exit, Shape, small_examples
from unstir.networks.geometry import Pairs, handedness
from unstir.networks.options import require_positive

__all__ = ["EGNN"]

_TRIPLES = 4  # triple products of a node's vectors, where handedness enters


class EGNN(nn.Module):
    r"""E(n)-equivariant graph network on the complete graph of a set: messages from distances, moves along differences.

    .. math:: m_{ij} = \phi_e(h_i, h_j, |x_i-x_j|^2, a_{ij}), \quad
        x_i \leftarrow x_i + \tfrac{1}{\sqrt n}\sum_j \frac{x_i-x_j}{|x_i-x_j|}\,\phi_x(m_{ij}), \quad
        h_i \leftarrow h_i + \phi_h(h_i, \tfrac{1}{\sqrt n}\sum_j m_{ij})

    Takes parts by themselves (``networks.parts``): points, nodes, pairs and whole; a bare shape (n, d) is that of
    points. Of a padded batch only the pairs that there are cost time, and the first layer of :math:`\phi_e` is applied
    to elements, not to pairs. ``depth`` rounds of ``width``; ``pair_width`` numbers carry what is told of a pair.

    What it says of points turns with them and is mirrored with them, so it cannot tell left from right: a molecule and
    its mirror image are equally likely. With ``chiral`` triple products of vectors enter, which a mirror changes: then
    it turns with rotations only, and handedness can be learned.

    Raises InputError for parts that it does not take (sites of a periodic cell), and for tensors of another form.

    Reference: Satorras, Hoogeboom, Welling, E(n) equivariant graph neural networks (2021), eqs. 3 to 6; directions
    softened near zero as in Hoogeboom et al., Equivariant diffusion for molecule generation in 3D (2022), appendix B.
    """

    takes = "parts"

    @classmethod
    def examples(cls) -> Mapping[str, "EGNN"]:
        """Members whose claims are measured."""
        return small_examples(cls, width=32, depth=2, pair_width=8, embedding=32)

    def __init__(
        self,
        shape: Shape,
        conditions: Conditions | None = None,
        *,
        width: int = 128,
        depth: int = 6,
        pair_width: int = 16,
        embedding: int = 128,
        chiral: bool = False,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.entrance = Entrance(shape, conditions, outputs, require_positive("width", width), pair_width, embedding)
        self.entrance.check_chiral(chiral)
        if not isinstance(shape, Mapping):
            self.shape = tuple(shape)
        sets, vectors = len(self.entrance.names["points"]), self.entrance.vectors
        ends = [False] * (require_positive("depth", depth) - 1) + [True]
        self.layers = nn.ModuleList(
            _Layer(width, pair_width, sets, embedding, chiral, moves=not last or chiral or vectors > 0) for last in ends
        )
        self.away = nn.Linear(width, sets * vectors, bias=False) if vectors else None
        self.exit = Exit(self.entrance, width, width, vectors + sets)

    def forward(
        self,
        x: Tensor | Mapping[str, Tensor],
        noise: Tensor,
        drop: Tensor | None = None,
        mask: Tensor | None = None,
        **condition: Tensor,
    ) -> Tensor | dict[str, Tensor]:
        inside, dtype = self.entrance(x, noise, drop, mask, condition)
        among, start, h, told = inside.among, inside.points, inside.nodes, F.silu(inside.embedding)
        points, message = start, h.new_zeros(0)
        for layer in self.layers:
            h, points, message = layer(h, points, inside.pairs, among, told)
        one, other = message.chunk(2)
        pairs, vectors = one + other, (points - start).transpose(1, 2)
        if self.away is not None:
            directions, _ = among.directions(points)
            weights = self.away(pairs + among.sums(h)).unflatten(1, (directions.shape[1], 1, -1))
            vectors = torch.cat((among.drawn((weights * directions[..., None]).sum(1)), vectors), 2)
        return self.exit(inside._replace(nodes=h, pairs=pairs), vectors, dtype)


class _Layer(nn.Module):
    """One round of messages, each pair in both directions."""

    def __init__(self, width: int, pair_width: int, sets: int, embedding: int, chiral: bool, moves: bool) -> None:
        super().__init__()
        self.centre, self.neighbour = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.of_pair = nn.Linear(pair_width + sets, width)
        self.message = nn.Linear(width, width)
        self.told = nn.Linear(embedding, width)
        self.triples = 3 * _TRIPLES if chiral else 0
        stack = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, max(sets, 1) * (1 + self.triples)))
        self.move = stack if sets and moves else None
        self.update = nn.Sequential(
            nn.Linear(2 * width + (_TRIPLES if chiral else 0), width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(
        self, h: Tensor, points: Tensor, pairs: Tensor, among: Pairs, told: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        directions, distances = among.directions(points)
        known = self.of_pair(torch.cat((pairs, distances.square()), 1))
        centre = self.centre(h + self.told(told).index_select(0, among.samples))
        neighbour = self.neighbour(h)
        one = centre.index_select(0, among.first) + neighbour.index_select(0, among.second) + known
        other = centre.index_select(0, among.second) + neighbour.index_select(0, among.first) + known
        message = F.silu(self.message(F.silu(torch.cat((one, other)))))
        gathered = among.collected(message)
        parts = [h, gathered]
        if self.move is not None:
            ways = torch.cat((directions, -directions))
            weights = self.move(message).unflatten(1, (points.shape[1], -1))
            points = points + among.collected(weights[..., :1] * ways)
            if self.triples:
                vectors = among.collected((weights[..., None, 1:] * ways[..., None]).sum(1))
                parts.append(handedness(vectors))
        return h + self.update(torch.cat(parts, 1)), points, message

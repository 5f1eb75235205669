"""Equivariant transformer: attention among points in space, with vectors of each point and features of each pair."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.core.errors import InputError
from unstir.networks.conditioning import Conditions
from unstir.networks.equivariant_parts import Entrance, Exit, Shape, small_examples
from unstir.networks.geometry import Pairs, RadialFunctions, handedness
from unstir.networks.layers import normalise_last, zero_
from unstir.networks.options import require_dropout, require_positive

__all__ = ["EquivariantTransformer"]

_SHARE = 10.0  # of a vector's unit that points move in a layer at first, so that they stay apart


class EquivariantTransformer(nn.Module):
    r"""Attention on a set of points whose logits and messages know of each pair's distance, angles and bond.

    Each of ``depth`` layers holds numbers :math:`h_i` (``width``) and vectors :math:`v_i` (``vectors``) of each
    element and numbers :math:`e_{ij}` (``pair_width``) of each pair. A pair's message
    :math:`m_{ij} = \mathrm{silu}(A e_{ij} + B(h_i+h_j) + C\,[\rho(|x_{ij}|), (v_i-v_j)\cdot\hat x_{ij}, v_i\cdot v_j])`
    updates :math:`e_{ij}`, biases the logits of ``heads`` of attention among the :math:`h`, is summed up in each
    element and draws vectors, :math:`v_i \leftarrow v_i + \sum_j (D m_{ij})\,\hat x_{ij}`; the points then move along
    their vectors. :math:`\rho` are ``radial`` bumps. Noise level and conditions modulate elements and pairs.

    It takes parts by themselves (``networks.parts``): points, nodes, pairs and whole, as many of each as there are; a
    bare shape (n, d) is that of points. Messages are symmetric, so each pair is computed once, and of a padded batch
    only the pairs that there are: a quarter of the work of a dense table, or less.

    What it says of points turns with them and is mirrored with them, so it cannot tell left from right: a molecule and
    its mirror image are equally likely. With ``chiral`` triple products of vectors enter, which a mirror changes: then
    it turns with rotations only, and handedness can be learned.

    Raises InputError for parts that it does not take (sites of a periodic cell), and for tensors of another form.

    Reference: Schütt, Unke, Gastegger, Equivariant message passing for the prediction of tensorial properties (2021),
    section 3 (vectors); Vignac et al., MiDi: mixed graph and 3D denoising diffusion for molecule generation (2023),
    section 5.2 (pairs that are carried along); Thölke, De Fabritiis, TorchMD-NET (2022) (attention).
    """

    takes = "parts"

    @classmethod
    def examples(cls) -> Mapping[str, "EquivariantTransformer"]:
        """Members whose claims are measured."""
        return small_examples(cls, width=32, pair_width=16, vectors=4, depth=2, heads=4, radial=12, embedding=32)

    def __init__(
        self,
        shape: Shape,
        conditions: Conditions | None = None,
        *,
        width: int = 96,
        pair_width: int = 32,
        vectors: int = 8,
        depth: int = 5,
        heads: int = 8,
        radial: int = 24,
        expansion: int = 2,
        dropout: float = 0.0,
        embedding: int = 64,
        chiral: bool = False,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        require_positive("width", width)
        require_positive("pair_width", pair_width)
        hidden = width * require_positive("expansion", expansion)
        if width % require_positive("heads", heads):
            raise InputError(f"the width {width} must be a multiple of heads, seen {heads}")
        self.entrance = Entrance(shape, conditions, outputs, width, pair_width, embedding)
        self.entrance.check_chiral(chiral)
        if not isinstance(shape, Mapping):
            self.shape = tuple(shape)
        self.radial = RadialFunctions(radial)
        sets = len(self.entrance.names["points"])
        self.vectors = require_positive("vectors", vectors) if sets else 0
        ends = [False] * (require_positive("depth", depth) - 1) + [True]
        self.layers = nn.ModuleList(
            _Layer(
                _Sizes(width, pair_width, self.vectors, sets, heads, radial, hidden, embedding),
                require_dropout(dropout),
                chiral,
                tells_pairs=not last or bool(self.entrance.told("pairs")),
                moves=bool(sets) and (not last or bool(self.entrance.told("points"))),
            )
            for last in ends
        )
        self.exit = Exit(self.entrance, width, pair_width, self.vectors + sets)

    def forward(
        self,
        x: Tensor | Mapping[str, Tensor],
        noise: Tensor,
        drop: Tensor | None = None,
        mask: Tensor | None = None,
        **condition: Tensor,
    ) -> Tensor | dict[str, Tensor]:
        inside, dtype = self.entrance(x, noise, drop, mask, condition)
        among, start, h, e, told = inside
        points, v = start, h.new_zeros(len(h), start.shape[2], self.vectors)
        for layer in self.layers:
            directions, distances = among.directions(points)
            radial = self.radial(distances).flatten(1)
            h, e, v, points = layer(h, e, v, points, directions, radial, among, told)
        moved = torch.cat((v, (points - start).transpose(1, 2)), 2)
        return self.exit(inside._replace(nodes=h, pairs=e), moved, dtype)


class _Sizes(NamedTuple):
    width: int
    pair_width: int
    vectors: int
    sets: int
    heads: int
    radial: int
    hidden: int
    embedding: int


class _Layer(nn.Module):
    """Pairs from their elements and their geometry, elements from all others, then vectors and points."""

    def __init__(self, sizes: _Sizes, dropout: float, chiral: bool, tells_pairs: bool, moves: bool) -> None:
        super().__init__()
        width, pair_width, vectors, sets = sizes[:4]
        self.sizes, self.dropout = sizes, dropout
        self.node_modulation = zero_(nn.Linear(sizes.embedding, 6 * width))
        self.pair_modulation = zero_(nn.Linear(sizes.embedding, 2 * pair_width))
        self.to_pair = nn.Linear(width, pair_width, bias=False)
        geometry = sets * (sizes.radial + vectors) + vectors
        self.pair_in = nn.Linear(pair_width + geometry, pair_width)
        self.pair_out = nn.Linear(pair_width, pair_width) if tells_pairs else None
        self.from_pair = nn.Linear(pair_width, sizes.heads + sets * vectors)
        self.attend = nn.Linear(width, 3 * width, bias=False)
        self.mix = nn.Linear(vectors, vectors, bias=False) if sets else None
        self.triple = nn.Linear(vectors, 3 * vectors, bias=False) if chiral else None
        self.update = nn.Linear(width + pair_width + (2 if chiral else 1) * vectors, width)
        self.widen, self.narrow = nn.Linear(width, sizes.hidden), nn.Linear(sizes.hidden, width)
        self.scale = nn.Linear(width, (1 + sets) * vectors) if moves else None

    def forward(
        self,
        h: Tensor,
        e: Tensor,
        v: Tensor,
        points: Tensor,
        directions: Tensor,
        radial: Tensor,
        among: Pairs,
        told: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        factors = self.node_modulation(told).index_select(0, among.samples).chunk(6, 1)
        n = _modulated(h, factors[0], factors[1])
        message = self._message(n, e, v, directions, radial, among, told)
        if self.pair_out is not None:
            e = e + self.pair_out(message)
        bias, weights = self.from_pair(message).split((self.sizes.heads, self.sizes.sets * self.sizes.vectors), 1)
        parts = [self._attention(n, bias, among), among.gathered(message)]
        turned = v
        if self.mix is not None:
            pulls = (weights.unflatten(1, (self.sizes.sets, 1, -1)) * directions[..., None]).sum(1)
            v = v + among.drawn(pulls.flatten(1)).unflatten(1, v.shape[1:])
            turned = self.mix(v)
            parts.append((turned * v).sum(1))
        if self.triple is not None:
            parts.append(handedness(self.triple(v)))
        h = h + (1 + factors[2]) * self._dropped(self.update(torch.cat(parts, 1)))
        n = _modulated(h, factors[3], factors[4])
        h = h + (1 + factors[5]) * self._dropped(self.narrow(F.silu(self.widen(n))))
        if self.scale is not None:
            gain, *steps = self.scale(normalise_last(h, "layer")).unflatten(1, (1 + self.sizes.sets, -1)).unbind(1)
            v = v + gain[:, None] * turned
            points = points + torch.stack([(step[:, None] * v).sum(2) for step in steps], 1) / _SHARE
        return h, e, v, points

    def _message(
        self, n: Tensor, e: Tensor, v: Tensor, directions: Tensor, radial: Tensor, among: Pairs, told: Tensor
    ) -> Tensor:
        """What each pair tells, from one gather of all that it needs of its two elements."""
        width = self.sizes.pair_width
        both = torch.cat((self.to_pair(n), v.flatten(1)), 1)
        one, other = both.index_select(0, among.first), both.index_select(0, among.second)
        first, second = (ends[:, width:].unflatten(1, v.shape[1:]) for ends in (one, other))
        along = [((first - second) * each[..., None]).sum(1) for each in directions.unbind(1)]
        seen = torch.cat((e, radial, *along, (first * second).sum(1)), 1)
        message = self.pair_in(seen) + one[:, :width] + other[:, :width]
        shift, scale = self.pair_modulation(told).index_select(0, among.of).chunk(2, 1)
        return F.silu(torch.addcmul(message + shift, message, scale))

    def _attention(self, n: Tensor, bias: Tensor, among: Pairs) -> Tensor:
        parts = among.padded(self.attend(n)).unflatten(2, (3, self.sizes.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + among.table(bias).permute(0, 3, 1, 2)
        # finite, so that a sample without any element is too, though it is never read
        logits = logits.masked_fill(~among.mask[:, None, None], torch.finfo(logits.dtype).min / 2)
        return among.nodes((logits.softmax(-1) @ value).transpose(1, 2).flatten(2))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


def _modulated(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    normal = normalise_last(h, "layer")
    return torch.addcmul(normal + shift, normal, scale)

"""How the parts of a state enter a network of points in space, and how its answers leave it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.core.errors import InputError
from unstir.core.state import Condition
from unstir.networks.conditioning import Conditioner, Conditions
from unstir.networks.geometry import Pairs
from unstir.networks.layers import normalise_last, zero_
from unstir.networks.options import require_positive, require_shape
from unstir.networks.parts import Part, checked_parts

Shape = Mapping[str, Part] | Sequence[int]
TAKEN = ("points", "nodes", "pairs", "whole")
ALONE = "x"  # the name of the points where the state is one tensor


class Inside(NamedTuple):
    """A batch inside a network: ``points`` (nodes, sets, d), ``nodes`` and ``pairs`` as embedded, the ``embedding``."""

    among: Pairs
    points: Tensor
    nodes: Tensor
    pairs: Tensor
    embedding: Tensor


class Entrance(nn.Module):
    """Embeds parts, noise level and conditions: rows of width ``width`` for nodes, of ``pair_width`` for pairs.

    Raises InputError for parts that such a network does not take, and for tensors of another form than their part's.
    """

    def __init__(
        self, shape: Shape, conditions: Conditions | None, outputs: int, width: int, pair_width: int, embedding: int
    ) -> None:
        super().__init__()
        self.parts = parts_of(shape, outputs)
        self.alone = not isinstance(shape, Mapping)
        self.embedding = require_positive("embedding", embedding)
        conditions = dict(conditions or {})
        self.of_pairs = {
            name: require_positive(f"condition {name!r}: pairs", kind["pairs"])
            for name, kind in conditions.items()
            if set(kind) == {"pairs"}
        }
        rest = {name: kind for name, kind in conditions.items() if name not in self.of_pairs}
        self.conditioner = Conditioner(rest, embedding, axis=2)
        self.names = {kind: [name for name, part in self.parts.items() if part.kind == kind] for kind in TAKEN}
        self.dimension = max((self.parts[name].inputs for name in self.names["points"]), default=0)
        if any(self.parts[name].inputs != self.dimension for name in self.names["points"]):
            raise InputError("all points of one state lie in a space of the same dimension")
        self.vectors = sum(self.parts[name].outputs // self.dimension for name in self.names["points"])
        self.node_stem = nn.Linear(1 + self._inputs("nodes") + self.conditioner.channels, width)
        told = self._inputs("pairs") + sum(self.of_pairs.values()) + len(self.of_pairs)
        self.pair_stem = nn.Linear(1 + told, pair_width)
        self.noise_to_pairs = nn.Linear(embedding, pair_width)
        self.whole_stem = nn.Linear(self._inputs("whole"), embedding) if self.names["whole"] else None

    def told(self, kind: str) -> list[str]:
        """The parts of that kind which are answered."""
        return [name for name in self.names[kind] if self.parts[name].outputs]

    def check_chiral(self, chiral: bool) -> None:
        """Refuses handedness where there is none."""
        if chiral and self.dimension != 3:
            raise InputError("only points in three dimensions have a handedness: leave chiral out")

    def _inputs(self, kind: str) -> int:
        return sum(self.parts[name].inputs for name in self.names[kind])

    def forward(
        self, x: Tensor | Mapping[str, Tensor], noise: Tensor, drop: Tensor | None, mask: Tensor | None, told: Condition
    ) -> tuple[Inside, torch.dtype]:
        """The batch inside, and the precision that it came in."""
        state = self._checked({ALONE: x} if isinstance(x, Tensor) else x)
        dtype = self.node_stem.weight.dtype
        batch, size = next(state[name].shape[:2] for name, part in self.parts.items() if part.kind != "whole")
        like = next(iter(state.values()))
        if mask is None:
            mask = torch.ones(batch, size, dtype=torch.bool, device=like.device)
        elif mask.shape != (batch, size) or mask.dtype != torch.bool:
            raise InputError(
                f"mask must be boolean of shape {(batch, size)}, True for the elements that there are; seen "
                f"{mask.dtype} of {tuple(mask.shape)}"
            )
        among = Pairs.among(mask)
        ones = torch.ones(batch, size, 1, dtype=dtype, device=like.device)
        nodes = torch.cat([ones, *(state[name].to(dtype) for name in self.names["nodes"])], -1)
        of_nodes = {name: value for name, value in told.items() if name not in self.of_pairs}
        nodes, embedding = self.conditioner(nodes, noise, drop, of_nodes)
        if self.whole_stem is not None:
            whole = torch.cat([state[name].to(dtype) for name in self.names["whole"]], -1)
            embedding = embedding + self.whole_stem(whole)
        pairs = [among.told(state[name].to(dtype)) for name in self.names["pairs"]]
        pairs += [self._pairs_told(name, told.get(name), drop, among, ones) for name in self.of_pairs]
        pairs.append(ones.new_ones(len(among.of), 1))
        e = self.pair_stem(torch.cat(pairs, -1)) + self.noise_to_pairs(embedding).index_select(0, among.of)
        empty = ones.new_zeros(len(among.places), 0, max(self.dimension, 1))
        points = [among.nodes(state[name].to(dtype))[:, None] for name in self.names["points"]]
        inside = Inside(among, torch.cat([*points, empty], 1), self.node_stem(among.nodes(nodes)), e, embedding)
        return inside, like.dtype

    def _checked(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if set(state) != set(self.parts):
            raise InputError(f"this network takes the parts {sorted(self.parts)}; seen {sorted(state)}")
        sizes = set()
        for name, part in self.parts.items():
            seen = state[name].shape
            axes = {"whole": 2, "pairs": 4}.get(part.kind, 3)
            if len(seen) != axes or seen[-1] != part.inputs or (axes == 4 and seen[1] != seen[2]):
                form = {"whole": "(batch, {})", "pairs": "(batch, n, n, {})"}.get(part.kind, "(batch, n, {})")
                raise InputError(
                    f"the part {name!r} ({part.kind}) must be of shape {form.format(part.inputs)}; seen {tuple(seen)}"
                )
            sizes.add((seen[0], None if part.kind == "whole" else seen[1]))
        if len({batch for batch, _ in sizes}) > 1 or len({size for _, size in sizes} - {None}) > 1:
            raise InputError(
                "the parts of a state must agree in their batch and number of elements; seen "
                f"{ {name: tuple(value.shape) for name, value in state.items()} }"
            )
        return state

    def _pairs_told(self, name: str, value: Tensor | None, drop: Tensor | None, among: Pairs, like: Tensor) -> Tensor:
        """A condition's numbers for each pair and one that says they are there; zeros where they are not."""
        channels = self.of_pairs[name]
        if value is None:
            return like.new_zeros(len(among.of), channels + 1)
        shape = (among.batch, among.size, among.size, channels)
        if value.shape != shape:
            raise InputError(f"condition {name!r} must be of shape {shape}, seen {tuple(value.shape)}")
        found = torch.cat((among.told(value.to(like.dtype)), like.new_ones(len(among.of), 1)), -1)
        return found if drop is None else found * (~drop).to(found.dtype).index_select(0, among.of)[:, None]


class Exit(nn.Module):
    """From what a network holds at its end to an answer for each part; all zero at the start.

    Vectors (nodes, d, ``vectors``) are mixed linearly, so that the answers turn with them.
    """

    def __init__(self, entrance: Entrance, width: int, pair_width: int, vectors: int) -> None:
        super().__init__()
        self.parts, self.alone = entrance.parts, entrance.alone
        self.heads = nn.ModuleDict()
        for name, part in self.parts.items():
            if part.outputs and part.kind == "points":
                self.heads[name] = zero_(nn.Linear(vectors, part.outputs // part.inputs, bias=False))
            elif part.outputs:
                self.heads[name] = zero_(nn.Linear(pair_width if part.kind == "pairs" else width, part.outputs))
        tells = [name for kind in ("nodes", "pairs", "whole") for name in entrance.told(kind)]
        self.modulation = zero_(nn.Linear(entrance.embedding, 2 * width)) if tells else None
        self.ends = nn.Linear(width, pair_width) if entrance.told("pairs") else None

    def forward(self, inside: Inside, vectors: Tensor, dtype: torch.dtype) -> Any:
        """The answers, padded again."""
        among, nodes, found = inside.among, inside.nodes, {}
        if self.modulation is not None:
            shift, scale = self.modulation(inside.embedding).index_select(0, among.samples).chunk(2, 1)
            nodes = normalise_last(nodes, "layer") * (1 + scale) + shift
        pairs = inside.pairs if self.ends is None else F.silu(inside.pairs + among.sums(self.ends(nodes)))
        for name, head in self.heads.items():
            kind = self.parts[name].kind
            if kind == "points":
                found[name] = among.padded(head(vectors).transpose(1, 2).flatten(1))
            elif kind == "pairs":
                found[name] = among.table(head(pairs))
            else:
                found[name] = head(among.mean(nodes)) if kind == "whole" else among.padded(head(nodes))
        found = {name: value.to(dtype) for name, value in found.items()}
        return found[ALONE] if self.alone else found


def parts_of(shape: Shape, outputs: int) -> dict[str, Part]:
    """The parts that a network is built for; a bare shape (n, d) is that of points."""
    require_positive("outputs", outputs)
    if not isinstance(shape, Mapping):
        size = require_shape(shape, 2, 2, "(points, dimensions)")
        return {ALONE: Part("points", size[1], outputs * size[1])}
    parts = {name: Part(*part) for name, part in shape.items()}
    if any(part.kind == "sites" for part in parts.values()):
        astray = [name for name, part in parts.items() if part.kind == "sites"]
        raise InputError(
            f"the part {astray[0]!r} holds sites of a periodic cell; take the network periodic-transformer, which "
            "knows them"
        )
    checked_parts(parts, TAKEN)
    if all(part.kind == "whole" for part in parts.values()):
        raise InputError(f"no part has elements; one at least must be points, nodes or pairs, seen {sorted(parts)}")
    for name, part in parts.items():
        if part.kind == "points" and part.outputs % part.inputs:
            raise InputError(
                f"the points {name!r} have {part.inputs} coordinates, so their answer is one or several vectors of as "
                f"many; seen {part.outputs} outputs"
            )
    return parts


def small_examples(network: Any, **options: Any) -> dict[str, Any]:
    """Small members of an architecture, whose claims are measured: points alone, with all kinds of conditions."""
    told = {"label": {"classes": 10}, "vector": {"size": 3}, "augment": {"size": 9}, "image": {"channels": 2}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {"two points in a plane": network((2, 2), told, **options)}

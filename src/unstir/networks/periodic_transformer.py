"""Transformer over the sites of a periodic cell."""

import math
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.core.errors import InputError
from unstir.core.state import apply_mask
from unstir.networks.conditioning import Conditioner, Conditions
from unstir.networks.layers import modulate, normalise_last, zero_
from unstir.networks.options import require_dropout, require_positive, require_shape
from unstir.networks.parts import Part, checked_parts

__all__ = ["PeriodicTransformer"]

_KINDS = ("sites", "nodes", "pairs", "whole")
_FURTHEST = 0.1  # periods that a block may move a site
_GROUP = 16  # samples that are enough to be worth a call


class PeriodicTransformer(nn.Module):
    r"""Messages between all sites of a crystal's cell, which know of places what does not change with the origin.

    What two sites i and j know of each other's place are the waves :math:`\cos 2\pi k(x_j-x_i)_a` and
    :math:`\sin 2\pi k(x_j-x_i)_a` of each axis a, k = 1, ..., ``waves``: moving all sites together changes nothing, nor
    does moving one by a lattice vector, nor which periodic image is named. A wave of whose phase the noise sigma leaves
    little is damped, by :math:`1/(1+(2\pi k\sigma)^2/2)`. A block's message from j to i is
    :math:`m_{ij} = \mathrm{silu}(A h_i + B h_j + E\,p_{ij})`, of which each head takes its share of the channels and
    weighs it over j by a softmax of what the message says; a perceptron of each site follows. Both are modulated by the
    noise level, the conditions and the parts of the whole (the lattice). Each block then moves the sites, by the mean
    over j of the sines with weights that the message tells and at most by a tenth of a period, and the next one sees
    them where they have come: where a site belongs is found step by step, as it is among points in space by EGNN. How
    far each has come is told along with the last block's features. Sites have no order: permuting them permutes the
    answer.

    It takes parts (``networks.parts``) of the kinds sites (at least one), nodes, pairs and whole; ``shape`` may also be
    (n, d), the sites alone, and is then answered with a tensor. Conditions: labels, vectors, ``{"channels": k}``
    numbers of each site (batch, n, k), ``{"pairs": k}`` of each two (batch, n, n, k). ``mask`` (batch, n) says which
    sites there are; the others influence none and come out as zero. The set may be of any size; on a processor, a batch
    of unequal sizes is computed in groups of about one size each, so that padding costs little.

    Options: ``width``, ``depth`` (blocks), ``head_width`` (a divisor of width), ``waves``, ``expansion`` of the
    perceptron, ``dropout``, ``embedding``. Raises InputError for options out of range and parts of another kind.

    Reference: Jiao et al., Crystal structure prediction by joint equivariant diffusion (2023), section 4.3, for the
    waves of differences; Satorras, Hoogeboom, Welling, E(n) equivariant graph neural networks (2021), eq. 4, for the
    moves; Veličković et al., Graph attention networks (2018); Peebles, Xie, Scalable diffusion models with transformers
    (2023), for the modulation.
    """

    takes = "parts"

    @classmethod
    def examples(cls) -> Mapping[str, "PeriodicTransformer"]:
        """Members whose claims are measured."""
        told = {"label": {"classes": 10}, "vector": {"size": 3}, "augment": {"size": 9}, "image": {"channels": 2}}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return {"two sites in a plane": cls((2, 2), told, width=32, depth=2, embedding=32)}

    def __init__(
        self,
        shape: Mapping[str, Part] | Sequence[int],
        conditions: Conditions | None = None,
        *,
        outputs: int = 1,
        width: int = 128,
        depth: int = 4,
        head_width: int = 16,
        waves: int = 6,
        expansion: int = 2,
        dropout: float = 0.0,
        embedding: int = 128,
    ) -> None:
        super().__init__()
        if isinstance(shape, Mapping):
            self.parts = checked_parts(dict(shape), _KINDS)
        else:
            self.shape = require_shape(shape, 2, 2, "(sites, axes)")
            self.parts = {"sites": Part("sites", self.shape[1], require_positive("outputs", outputs) * self.shape[1])}
        if not self._named("sites"):
            raise InputError(
                "a periodic network needs a part of sites: fractional coordinates in a cell, under a WrappedProcess; "
                f"seen { ({name: part.kind for name, part in self.parts.items()}) }"
            )
        require_positive("width", width)
        if width % require_positive("head_width", head_width):
            raise InputError(f"the width {width} must be a multiple of head_width, seen {head_width}")
        hidden, dropout = width * require_positive("expansion", expansion), require_dropout(dropout)
        own = {name: kind["pairs"] for name, kind in (conditions or {}).items() if set(kind) == {"pairs"}}
        self.pair_conditions = {name: require_positive(f"{name}: pairs", size) for name, size in own.items()}
        others = {name: kind for name, kind in (conditions or {}).items() if name not in own}
        self.conditioner = Conditioner(others, embedding, axis=2)
        self.waves = require_positive("waves", waves)
        nodes = self._inputs("nodes") + self.conditioner.channels
        pairs = 2 * waves * self._inputs("sites") + self._inputs("pairs") + sum(size + 1 for size in own.values())
        self.start = nn.Parameter(torch.zeros(width))
        self.stem = nn.Linear(nodes, width, bias=False) if nodes else None
        if self.stem is not None:
            # what is told of an element is mostly a one-hot code, all of whose numbers but one are zero
            nn.init.normal_(self.stem.weight)
        self.whole = nn.Linear(self._inputs("whole"), embedding) if self._inputs("whole") else None
        self.blocks = nn.ModuleList(
            _Block(width, hidden, head_width, pairs, waves, self._inputs("sites"), embedding, dropout)
            for _ in range(require_positive("depth", depth))
        )
        self.modulation = zero_(nn.Linear(embedding, 2 * width))
        told = {name: part for name, part in self.parts.items() if part.outputs}
        self.heads = nn.ModuleDict({name: zero_(nn.Linear(width, part.outputs)) for name, part in told.items()})
        self.along = nn.ModuleDict(
            {
                name: zero_(nn.Linear(embedding, part.outputs // part.inputs))
                for name, part in told.items()
                if part.kind == "sites"
            }
        )
        two = any(part.kind == "pairs" for part in told.values())
        self.of_two = nn.ModuleList([nn.Linear(width, width), nn.Linear(pairs, width)]) if two else None

    def forward(
        self,
        x: Tensor | Mapping[str, Tensor],
        noise: Tensor,
        drop: Tensor | None = None,
        mask: Tensor | None = None,
        **condition: Tensor,
    ) -> Any:
        seen = {"sites": x} if isinstance(x, Tensor) else x
        self._check(seen, mask)
        dtype = self.start.dtype
        own = {name: condition.pop(name) for name in self.pair_conditions if name in condition}
        sites = torch.cat([seen[name].to(dtype) for name in self._named("sites")], -1)
        nodes = torch.cat([sites[..., :0], *(seen[name].to(dtype) for name in self._named("nodes"))], -1)
        nodes, embedding = self.conditioner(nodes, noise, drop, condition)
        if self.whole is not None:
            embedding = embedding + self.whole(torch.cat([seen[name].to(dtype) for name in self._named("whole")], -1))
        beside = [*(seen[name].to(dtype) for name in self._named("pairs")), *self._told(own, drop, sites)]
        h = self.start.expand(*sites.shape[:2], -1)
        if self.stem is not None:
            h = h + self.stem(apply_mask(nodes, mask))
        place = torch.cat([h.new_zeros(*h.shape[:2], h.shape[1], 0), *beside], -1)
        inside = _Inside(h, sites, place, self._damping(noise.to(dtype), sites), embedding, mask)
        answer = {name: part.to(seen[name].dtype) for name, part in self._answers(inside).items()}
        return answer["sites"] if isinstance(x, Tensor) else answer

    def _answers(self, inside: "_Inside") -> dict[str, Tensor]:
        """What is told of each part; sets of unequal size by groups of about one size, so that padding costs little."""
        # an accelerator waits for the number of calls, not for padding, and a compiled graph holds one size
        groups = [] if torch.compiler.is_compiling() or inside.h.device.type != "cpu" else _by_size(inside.mask)
        if not groups:
            return self._among(inside)
        found = [self._among(inside.of(rows, size)) for rows, size in groups]
        order = torch.cat([rows for rows, _ in groups]).argsort()
        return {name: self._joined(name, [each[name] for each in found], inside)[order] for name in found[0]}

    def _joined(self, name: str, found: list[Tensor], inside: "_Inside") -> Tensor:
        """The answers of all groups, padded to one size again."""
        ways = {"whole": 0, "pairs": 2}.get(self.parts[name].kind, 1)
        return torch.cat([F.pad(each, (0, 0) + (0, inside.h.shape[1] - each.shape[1]) * ways) for each in found])

    def _among(self, inside: "_Inside") -> dict[str, Tensor]:
        h, sites, place, damping, embedding, mask = inside
        moved, pairs = torch.zeros_like(sites), place
        for block in self.blocks:
            waves = damping * self._waves(sites + moved)
            pairs = torch.cat([waves, place], -1)
            h, step = block(h, pairs, waves[..., waves.shape[-1] // 2 :], embedding, mask)
            moved = moved + step
        shift, scale = self.modulation(embedding).chunk(2, dim=1)
        h = modulate(normalise_last(h, "layer"), shift, scale, axis=2)
        return {name: self._answer(name, h, pairs, moved, embedding, mask) for name in self.heads}

    def _waves(self, sites: Tensor) -> Tensor:
        """Cosines and sines of all differences, (batch, n, n, 2 waves axes)."""
        # taken of each site and multiplied out: a sixth of the sines, and no rounding from winding round
        angles = 2 * math.pi * torch.arange(1, self.waves + 1, device=sites.device, dtype=sites.dtype)
        # within one period first: single precision has few digits left for the phase of what has wound far
        angles = (sites.remainder(1)[..., None] * angles).flatten(2)
        cosine, sine = angles.cos(), angles.sin()
        here, there = (cosine[:, :, None], sine[:, :, None]), (cosine[:, None], sine[:, None])
        return torch.cat((here[0] * there[0] + here[1] * there[1], here[0] * there[1] - here[1] * there[0]), -1)

    def _damping(self, noise: Tensor, like: Tensor) -> Tensor:
        """What is left of each wave under the noise, roughly, (batch, 1, 1, 2 waves axes)."""
        orders = 2 * math.pi * torch.arange(1, self.waves + 1, device=like.device, dtype=like.dtype)
        left = 1 / (1 + (orders * (4 * noise.expand(len(like))[:, None]).exp()).square() / 2)
        return left.repeat(1, 2 * like.shape[-1])[:, None, None]

    def _told(self, given: Mapping[str, Tensor], drop: Tensor | None, like: Tensor) -> list[Tensor]:
        """The conditions of pairs, each with a channel that says that it is there."""
        found, places = [], (len(like), like.shape[1], like.shape[1])
        for name, size in self.pair_conditions.items():
            if name not in given:
                found.append(like.new_zeros(*places, size + 1))
                continue
            if given[name].shape != (*places, size):
                raise InputError(
                    f"condition {name!r} must be of shape {(*places, size)}, seen {tuple(given[name].shape)}"
                )
            there = torch.cat((given[name].to(like.dtype), like.new_ones(*places, 1)), -1)
            found.append(there if drop is None else torch.where(drop[:, None, None, None], 0.0, there))
        return found

    def _answer(
        self, name: str, h: Tensor, pairs: Tensor, moved: Tensor, embedding: Tensor, mask: Tensor | None
    ) -> Tensor:
        kind, head = self.parts[name].kind, self.heads[name]
        if kind == "sites":
            first = sum(self.parts[other].inputs for other in takewhile(lambda one: one != name, self._named("sites")))
            own = moved[..., first : first + self.parts[name].inputs, None]
            return apply_mask(head(h) + (own * self.along[name](embedding)[:, None, None]).flatten(2), mask)
        if kind == "nodes":
            return apply_mask(head(h), mask)
        if kind == "whole":
            count = h.shape[1] if mask is None else mask.sum(1, keepdim=True).clamp(min=1)
            return head(apply_mask(h, mask).sum(1) / count)
        assert self.of_two is not None
        ends, place = self.of_two[0](h), self.of_two[1](pairs)
        told = head(F.silu(ends[:, :, None] + ends[:, None] + place + place.transpose(1, 2)))
        return told if mask is None else apply_mask(apply_mask(told, mask).transpose(1, 2), mask)

    def _named(self, kind: str) -> list[str]:
        return [name for name, part in self.parts.items() if part.kind == kind]

    def _inputs(self, kind: str) -> int:
        return sum(self.parts[name].inputs for name in self._named(kind))

    def _check(self, seen: Mapping[str, Tensor], mask: Tensor | None) -> None:
        if set(seen) != set(self.parts):
            raise InputError(f"this network takes the parts {sorted(self.parts)}; seen {sorted(seen)}")
        batch, size = seen[self._named("sites")[0]].shape[:2]
        for name, part in self.parts.items():
            places = {"whole": (), "pairs": (size, size)}.get(part.kind, (size,))
            if seen[name].shape != (batch, *places, part.inputs):
                raise InputError(
                    f"this network takes samples of shape {(*places, part.inputs)} in the part {name!r}, seen "
                    f"{tuple(seen[name].shape[1:])}"
                )
        if mask is not None and (mask.shape != (batch, size) or mask.dtype != torch.bool):
            raise InputError(f"mask must be boolean of shape {(batch, size)}, seen {mask.dtype} of {tuple(mask.shape)}")


class _Inside(NamedTuple):
    """What the blocks begin with; ``place`` is what is told of each two sites beside their waves."""

    h: Tensor
    sites: Tensor
    place: Tensor
    damping: Tensor
    embedding: Tensor
    mask: Tensor | None

    def of(self, rows: Tensor, size: int) -> "_Inside":
        """The samples of ``rows``, their first ``size`` sites."""
        assert self.mask is not None
        return _Inside(
            self.h[rows, :size],
            self.sites[rows, :size],
            self.place[rows, :size, :size],
            self.damping[rows],
            self.embedding[rows],
            self.mask[rows, :size],
        )


def _by_size(mask: Tensor | None) -> list[tuple[Tensor, int]]:
    """Rows of about equal size, each group with the places that it needs; none where that would save nothing."""
    if mask is None or not mask.numel():
        return []
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    sizes, order = (mask * places).amax(1).clamp(min=1).sort(stable=True)
    groups: dict[int, list[Tensor]] = {}
    for rows, theirs in zip(order.split(_GROUP), sizes.split(_GROUP), strict=True):
        groups.setdefault(int(theirs[-1]), []).append(rows)
    return [] if set(groups) == {mask.shape[1]} else [(torch.cat(rows), size) for size, rows in groups.items()]


class _Block(nn.Module):
    """Messages, then a perceptron of each site."""

    def __init__(
        self,
        width: int,
        hidden: int,
        head_width: int,
        pairs: int,
        waves: int,
        axes: int,
        embedding: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.heads, self.dropout, self.waves, self.axes = width // head_width, dropout, waves, axes
        modulation = nn.Linear(embedding, 6 * width)
        zero_(modulation)
        with torch.no_grad():
            # what a block says counts from the first step on: the answer is zero by its heads
            modulation.bias.view(6, width)[[2, 5]] = 1.0
        self.modulation = modulation
        self.ends, self.place = nn.Linear(width, 2 * width), nn.Linear(pairs, width, bias=False)
        self.weigh, self.output = nn.Linear(width, self.heads), nn.Linear(width, width)
        self.pull = nn.Linear(width, axes * waves)
        with torch.no_grad():
            self.pull.weight.mul_(0.1)
        self.widen, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(
        self, x: Tensor, pairs: Tensor, sines: Tensor, embedding: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        factors = self.modulation(embedding).chunk(6, dim=1)
        h = modulate(normalise_last(x, "layer"), factors[0], factors[1], axis=2)
        here, there = self.ends(h).chunk(2, -1)
        messages = F.silu(here[:, :, None] + there[:, None] + self.place(pairs))
        logits = self.weigh(messages)
        present = None
        if mask is not None:
            # a sample without any site weighs its padding: finite, and never read
            present = (mask | ~mask.any(1, keepdim=True))[:, None, :, None]
            logits = logits.masked_fill(~present, -math.inf)
        weights = logits.softmax(2)[..., None]
        pulls = self.pull(messages) * sines
        if present is None:
            step = pulls.mean(2)
        else:
            step = pulls.masked_fill(~present, 0.0).sum(2) / present.sum(2).to(pulls.dtype)
        step = _FURTHEST * torch.tanh(step.unflatten(-1, (self.axes, self.waves)).sum(-1))
        h = self.output((weights * messages.unflatten(-1, (self.heads, -1))).sum(2).flatten(2))
        x = torch.addcmul(x, h, factors[2][:, None].to(x.dtype))
        h = modulate(normalise_last(x, "layer"), factors[3], factors[4], axis=2)
        h = self.narrow(F.dropout(F.gelu(self.widen(h), approximate="tanh"), self.dropout, self.training))
        return torch.addcmul(x, h, factors[5][:, None].to(x.dtype)), step

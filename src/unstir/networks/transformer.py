"""Diffusion transformer, for grids in patches, for sequences and for sets."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.core.errors import InputError, unknown
from unstir.core.state import apply_mask
from unstir.networks.conditioning import Conditioner, Conditions
from unstir.networks.layers import (
    SelfAttention,
    crop,
    depth_to_space,
    modulate,
    normalise_last,
    pad_to_multiple,
    require_normalisation,
    sinusoids,
    space_to_depth,
    zero_,
)
from unstir.networks.options import require_dropout, require_positive, require_shape

__all__ = ["DiffusionTransformer"]

_TOKENS = ("patches", "sequence", "set")


class DiffusionTransformer(nn.Module):
    """Transformer over patches or elements, modulated by noise level and condition.

    What a token is, ``tokens``:

    - ``patches``: samples (channels, *size) in any dimension, cut into cubes of ``patch`` places.
    - ``sequence``: samples (n, features), one token an element, with a position.
    - ``set``: samples (n, features), one token an element, without a position, hence equivariant
      under permutations of the elements; the number of elements may differ from ``n``.

    Sequences and sets take ``mask``, boolean (batch, n), True where there is an element: padded
    places influence no other and come out as zero. Their maps (conditions with ``channels``) have
    the shape (batch, n, channels).

    Options: ``width``, ``depth`` (blocks), ``head_width`` (a divisor of width), ``expansion`` of the
    perceptron, ``dropout``, ``normalisation`` (layer, rms, none), ``embedding``, ``outputs`` (how often
    the output has the channels, or features, of ``x``). ``neighbours``, an odd number, lets each block of a
    sequence begin with a depthwise convolution over so many places: what stands beside a place is then known
    from the first step of training on, while attention has to learn first where to look; 0 is none.
    ``stem_scale`` is a factor of the first layer's initial weights: the root of the number of features suits
    one-hot codes, all of whose numbers but one are zero. Raises InputError for an option out of range, and
    for ``x`` of another shape than ``shape``.

    Reference: Peebles, Xie, Scalable diffusion models with transformers (2023): blocks with adaLN-Zero; Chu et
    al., Conditional positional encodings for vision transformers (2021), section 3.3, for the convolution.
    """

    def __init__(
        self,
        shape: Sequence[int],
        conditions: Conditions | None = None,
        *,
        tokens: str = "patches",
        patch: int = 2,
        width: int = 192,
        depth: int = 6,
        head_width: int = 32,
        expansion: int = 4,
        dropout: float = 0.0,
        normalisation: str = "layer",
        embedding: int = 128,
        outputs: int = 1,
        neighbours: int = 0,
        stem_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if tokens not in _TOKENS:
            raise unknown("kind of tokens", tokens, _TOKENS)
        if neighbours and (tokens != "sequence" or require_positive("neighbours", neighbours) % 2 == 0):
            raise InputError(f"neighbours is 0, or odd with tokens 'sequence'; seen {neighbours} with {tokens!r}")
        grid = tokens == "patches"
        what = "(channels, *size) with one to three sizes" if grid else "(elements, features)"
        self.shape = require_shape(shape, 2, 4 if grid else 2, what)
        if require_normalisation(normalisation) == "group":
            raise InputError("normalisation 'group' would mix the tokens of a sample; allowed: layer, rms, none")
        require_positive("width", width)
        self.tokens, self.patch, self.normalisation = tokens, require_positive("patch", patch), normalisation
        self.conditioner = Conditioner(conditions, embedding, axis=1 if grid else 2)
        volume = patch ** (len(self.shape) - 1) if grid else 1
        features = self.shape[0] if grid else self.shape[1]
        self.stem = nn.Linear((features + self.conditioner.channels) * volume, width)
        if not stem_scale > 0:
            raise InputError(f"stem_scale, a factor of the first layer's weights, must be positive; seen {stem_scale}")
        with torch.no_grad():
            self.stem.weight.mul_(stem_scale)
        if tokens != "set":
            sizes = [-(-size // patch) for size in self.shape[1:]] if grid else [self.shape[0]]
            places = torch.tensor(list(itertools.product(*map(range, sizes))), dtype=torch.float32)
            self.position = nn.Parameter(sinusoids(places, width))
        hidden = width * require_positive("expansion", expansion)
        self.blocks = nn.ModuleList(
            _Block(width, hidden, head_width, embedding, require_dropout(dropout), normalisation, neighbours)
            for _ in range(require_positive("depth", depth))
        )
        self.modulation = zero_(nn.Linear(embedding, 2 * width))
        self.head = zero_(nn.Linear(width, require_positive("outputs", outputs) * features * volume))

    def forward(
        self, x: Tensor, noise: Tensor, drop: Tensor | None = None, mask: Tensor | None = None, **condition: Tensor
    ) -> Tensor:
        self._check(x, mask)
        joined, embedding = self.conditioner(x, noise, drop, condition)
        grid = torch.Size()
        if self.tokens == "patches":
            joined = space_to_depth(pad_to_multiple(joined, self.patch), self.patch)
            grid = joined.shape[2:]
            h = self.stem(joined.flatten(2).transpose(1, 2))
        else:
            h = self.stem(apply_mask(joined, mask))
        if self.tokens != "set":
            h = h + self.position[: h.shape[1]].to(h.dtype)
        for block in self.blocks:
            h = block(h, embedding, mask)
        shift, scale = self.modulation(embedding).chunk(2, dim=1)
        h = self.head(modulate(normalise_last(h, self.normalisation), shift, scale, axis=2))
        if self.tokens == "patches":
            return crop(depth_to_space(h.transpose(1, 2).unflatten(2, grid), self.patch), x.shape[2:]).to(x.dtype)
        return apply_mask(h, mask).to(x.dtype)

    def _check(self, x: Tensor, mask: Tensor | None) -> None:
        seen, wanted = tuple(x.shape[1:]), self.shape
        fits = seen == wanted
        if self.tokens != "patches":
            fits = len(seen) == 2 and seen[1] == wanted[1] and (self.tokens == "set" or seen[0] <= wanted[0])
        if not fits:
            raise InputError(f"this network takes samples of shape {wanted}, seen {seen}")
        if mask is not None and self.tokens == "patches":
            raise InputError("a mask belongs to tokens 'set' or 'sequence'; this network has 'patches'")
        if mask is not None and (mask.shape != x.shape[:2] or mask.dtype != torch.bool):
            raise InputError(
                f"mask must be boolean of shape {tuple(x.shape[:2])}, seen {mask.dtype} of {tuple(mask.shape)}"
            )


class _Block(nn.Module):
    def __init__(
        self,
        width: int,
        hidden: int,
        head_width: int,
        embedding: int,
        dropout: float,
        normalisation: str,
        neighbours: int,
    ) -> None:
        super().__init__()
        self.normalisation, self.dropout = normalisation, dropout
        self.beside = nn.Conv1d(width, width, neighbours, padding="same", groups=width) if neighbours else None
        self.modulation = zero_(nn.Linear(embedding, 6 * width))
        self.attention = SelfAttention(width, head_width)
        self.widen, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor, embedding: Tensor, mask: Tensor | None) -> Tensor:
        if self.beside is not None:
            x = x + self.beside(apply_mask(x, mask).transpose(1, 2)).transpose(1, 2)
        factors = self.modulation(embedding).chunk(6, dim=1)
        h = modulate(normalise_last(x, self.normalisation), factors[0], factors[1], axis=2)
        x = torch.addcmul(x, self.attention(h, mask), factors[2][:, None].to(x.dtype))
        h = modulate(normalise_last(x, self.normalisation), factors[3], factors[4], axis=2)
        h = self.narrow(F.dropout(F.gelu(self.widen(h), approximate="tanh"), self.dropout, self.training))
        return torch.addcmul(x, h, factors[5][:, None].to(x.dtype))

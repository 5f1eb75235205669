"""U-Net in one, two or three dimensions."""

from collections.abc import Sequence
from typing import Any

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
    masked,
    modulate,
    normalise,
    normalise_last,
    pad_to_multiple,
    require_normalisation,
    space_to_depth,
    wrap,
    zero_,
)
from unstir.networks.options import require_dropout, require_mask, require_positive, require_shape

__all__ = ["UNet"]

_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
PLACEMENTS = ("pre", "post", "none")


class UNet(nn.Module):
    """Convolutional encoder and decoder with a shortcut at every resolution.

    Samples (channels, *size) of one, two or three sizes, odd ones too. The picture is first folded
    into cubes of ``patch`` places (space to depth), so that the work sits at a resolution where
    channels are many and matrix units are full. Level i then has ``widths[i]`` channels and
    ``blocks[i]`` residual blocks (one number for all) on the way down and up; the last level has
    them once. Between levels the size halves.

    A block: normalise, scale and shift by the embedding of noise level and conditions, convolve,
    SiLU, dropout, convolve, add. ``normalisation``: layer, rms (over channels), group, none;
    ``placement``: pre (as said), post (on the branch, before it is added), none. Levels listed in
    ``attention`` (0 is the finest) have self-attention after each block, in heads of ``head_width``
    channels. ``outputs``: how often the output has the channels of ``x``.

    ``periodic`` names axes of space (0 is the first) whose end meets their beginning, as longitudes around
    the globe do: convolutions reach across, and the network commutes with shifts along such an axis by
    multiples of ``stride``, the patch times two for each level but the first. Its size must be one of them.

    Places where ``mask``, boolean of the shape of ``x``, is False (missing values, land in a map of the
    sea) come in and go out as zero.

    Raises InputError for an option out of range, and for ``x`` of other channels or dimension;
    other sizes than those of ``shape`` are welcome, along axes that are not periodic any.

    Reference: Ronneberger, Fischer, Brox, U-Net (2015); Ho, Jain, Abbeel, Denoising diffusion
    probabilistic models (2020), appendix B; Hoogeboom, Heek, Salimans, Simple diffusion (2023),
    section 3, for the work at low resolution.
    """

    def __init__(
        self,
        shape: Sequence[int],
        conditions: Conditions | None = None,
        *,
        widths: Sequence[int] = (64, 128),
        blocks: int | Sequence[int] = 2,
        attention: Sequence[int] = (),
        head_width: int = 32,
        patch: int = 1,
        kernel: int = 3,
        dropout: float = 0.0,
        normalisation: str = "layer",
        placement: str = "pre",
        embedding: int = 128,
        outputs: int = 1,
        periodic: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.shape = require_shape(shape, 2, 4, "(channels, *size) with one to three sizes")
        self.dimension, self.patch = len(self.shape) - 1, require_positive("patch", patch)
        widths = [require_positive("widths: each", width) for width in widths]
        counts = [blocks] * len(widths) if isinstance(blocks, int) else list(blocks)
        self._check(widths, counts, attention, kernel, placement)
        self.stride, self.periodic = patch * 2 ** (len(widths) - 1), _axes(periodic, self.dimension)
        self._check_turns(self.shape[1:])
        self.normalisation = "none" if placement == "none" else require_normalisation(normalisation)
        self.conditioner = Conditioner(conditions, embedding)
        convolution, volume = _PLAIN[self.dimension], patch**self.dimension
        options = {
            "dimension": self.dimension,
            "periodic": self.periodic,
            "kernel": kernel,
            "embedding": embedding,
            "dropout": require_dropout(dropout),
            "normalisation": self.normalisation,
            "post": placement == "post",
        }

        def stage(level: int) -> _Stage:
            layers: list[nn.Module] = []
            for _ in range(require_positive("blocks: each", counts[level])):
                layers.append(_Block(widths[level], **options))
                if level in attention:
                    layers.append(_Attention(widths[level], head_width, self.normalisation))
            return _Stage(layers)

        levels = range(len(widths))
        channels = (self.shape[0] + self.conditioner.channels) * volume
        self.stem = _convolution(self.dimension, channels, widths[0], kernel, self.periodic)
        self.encoder = nn.ModuleList(stage(level) for level in levels)
        self.down = nn.ModuleList(convolution(widths[i], widths[i + 1], 2, stride=2) for i in levels[:-1])
        self.up = nn.ModuleList(convolution(widths[i + 1], widths[i] * 2**self.dimension, 1) for i in levels[:-1])
        self.shortcut = nn.ModuleList(convolution(widths[i], widths[i], 1) for i in levels[:-1])
        self.decoder = nn.ModuleList(stage(level) for level in levels[:-1])
        self.modulation = zero_(nn.Linear(embedding, 2 * widths[0]))
        told = self.shape[0] * require_positive("outputs", outputs) * volume
        self.head = zero_(_convolution(self.dimension, widths[0], told, kernel, self.periodic))
        for parameter in self.parameters():
            if self.dimension in _CHANNELS_LAST and parameter.ndim == self.dimension + 2:
                parameter.data = parameter.data.contiguous(memory_format=_CHANNELS_LAST[self.dimension])

    def forward(
        self, x: Tensor, noise: Tensor, drop: Tensor | None = None, mask: Tensor | None = None, **condition: Tensor
    ) -> Tensor:
        if x.ndim != self.dimension + 2 or x.shape[1] != self.shape[0]:
            raise InputError(f"this network takes samples of shape {self.shape}, seen {tuple(x.shape[1:])}")
        self._check_turns(tuple(x.shape[2:]))
        mask = require_mask(mask, x)
        joined, embedding = self.conditioner(apply_mask(x, mask), noise, drop, condition)
        h = space_to_depth(pad_to_multiple(joined, self.patch), self.patch)
        if self.dimension in _CHANNELS_LAST:
            h = h.contiguous(memory_format=_CHANNELS_LAST[self.dimension])
        h = self.stem(h)
        shortcuts = []
        for level, stage in enumerate(self.encoder):
            h = stage(h, embedding)
            if level < len(self.down):
                shortcuts.append(h)
                h = self.down[level](pad_to_multiple(h, 2))
        for level in reversed(range(len(self.up))):
            shortcut = shortcuts[level]
            h = crop(depth_to_space(self.up[level](h), 2), shortcut.shape[2:]) + self.shortcut[level](shortcut)
            h = self.decoder[level](h, embedding)
        shift, scale = self.modulation(embedding).chunk(2, dim=1)
        # linear from here on: at low noise the output is a filter of the input, which SiLU would have to undo
        h = self.head(modulate(normalise(h, self.normalisation), shift, scale))
        return masked(crop(depth_to_space(h, self.patch), x.shape[2:]), mask).to(x.dtype)

    def _check_turns(self, size: tuple[int, ...]) -> None:
        for axis in self.periodic:
            if size[axis] % self.stride:
                raise InputError(
                    f"axis {axis} of space is periodic and has {size[axis]} places, no multiple of {self.stride} "
                    "(the patch, times two for each of the widths but the first): give fewer widths, a smaller patch, "
                    "or leave the axis out of `periodic`"
                )

    def _check(
        self, widths: list[int], counts: list[int], attention: Sequence[int], kernel: int, placement: str
    ) -> None:
        if not widths:
            raise InputError("widths must name at least one level")
        if len(counts) != len(widths):
            raise InputError(
                f"blocks has {len(counts)} entries for the {len(widths)} levels of widths; give one each, or a number"
            )
        for level in attention:
            if level not in range(len(widths)):
                raise InputError(f"attention names level {level}; the levels are 0 to {len(widths) - 1}")
        if require_positive("kernel", kernel) % 2 == 0:
            raise InputError(f"kernel must be odd, seen {kernel}")
        if placement not in PLACEMENTS:
            raise unknown("placement of the normalisation", placement, PLACEMENTS)
        coarsest = self.patch * 2 ** (len(widths) - 1)
        if max(self.shape[1:]) <= coarsest // 2 and len(widths) > 1:
            raise InputError(
                f"{len(widths)} levels and patch {self.patch} shrink {coarsest}-fold, "
                f"more than the size {self.shape[1:]}; give fewer widths or a smaller patch"
            )


def _axes(periodic: Sequence[int], dimension: int) -> tuple[int, ...]:
    """The periodic axes of space, checked."""
    axes: tuple[Any, ...] = tuple(periodic) if isinstance(periodic, Sequence) else (periodic,)
    whole = all(isinstance(axis, int) and not isinstance(axis, bool) and 0 <= axis < dimension for axis in axes)
    if not whole or len(set(axes)) != len(axes):
        raise InputError(f"periodic names axes of space, each once, from 0 to {dimension - 1}; seen {list(axes)!r}")
    return axes


class _Wrapped:
    """Of a convolution: it reaches across the ends of the ``periodic`` axes, and sees zeros beyond the others'."""

    periodic: tuple[int, ...]
    reach: int

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(wrap(input, self.reach, self.periodic))  # type: ignore[misc]


class _Wrapped1d(_Wrapped, nn.Conv1d):
    pass


class _Wrapped2d(_Wrapped, nn.Conv2d):
    pass


class _Wrapped3d(_Wrapped, nn.Conv3d):
    pass


_PLAIN = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_WRAPPED = {1: _Wrapped1d, 2: _Wrapped2d, 3: _Wrapped3d}


def _convolution(dimension: int, inner: int, outer: int, kernel: int, periodic: tuple[int, ...]) -> nn.Module:
    """A convolution that keeps the size."""
    reach = kernel // 2
    if not periodic or not reach:
        return _PLAIN[dimension](inner, outer, kernel, padding=reach)
    padding = tuple(0 if axis in periodic else reach for axis in range(dimension))
    made: Any = _WRAPPED[dimension](inner, outer, kernel, padding=padding)  # type: ignore[arg-type]
    made.periodic, made.reach = periodic, reach
    return made


class _Stage(nn.Module):
    """The blocks of one level, one way."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, embedding)
        return x


class _Block(nn.Module):
    def __init__(
        self,
        width: int,
        dimension: int,
        periodic: tuple[int, ...],
        kernel: int,
        embedding: int,
        dropout: float,
        normalisation: str,
        post: bool,
    ) -> None:
        super().__init__()
        self.dropout, self.normalisation, self.post = dropout, normalisation, post
        self.modulation = zero_(nn.Linear(embedding, 2 * width))
        self.first = _convolution(dimension, width, width, kernel, periodic)
        self.second = _convolution(dimension, width, width, kernel, periodic)
        if not post:
            zero_(self.second)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        shift, scale = self.modulation(embedding).chunk(2, dim=1)
        h = x if self.post else modulate(normalise(x, self.normalisation), shift, scale)
        h = self.second(F.dropout(F.silu(self.first(h)), self.dropout, self.training))
        return x + (modulate(normalise(h, self.normalisation), shift, scale) if self.post else h)


class _Attention(nn.Module):
    def __init__(self, width: int, head_width: int, normalisation: str) -> None:
        super().__init__()
        self.normalisation = "layer" if normalisation == "group" else normalisation
        self.attention = SelfAttention(width, head_width)
        zero_(self.attention.output)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        mixed = self.attention(normalise_last(tokens, self.normalisation))
        return x + mixed.transpose(1, 2).reshape(x.shape)

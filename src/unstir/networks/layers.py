"""Parts that several architectures share: normalisation, modulation, attention, patches."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.core.errors import InputError, unknown
from unstir.core.state import apply_mask
from unstir.networks.options import require_positive

NORMALISATIONS = ("group", "rms", "layer", "none")
_EPSILON = 1e-5


def require_normalisation(kind: str) -> str:
    """The kind of normalisation, or an error with the nearest one."""
    if kind not in NORMALISATIONS:
        raise unknown("normalisation", kind, NORMALISATIONS)
    return kind


def normalise(x: Tensor, kind: str) -> Tensor:
    """Normalises ``x`` of shape (batch, channels, ...) without learned factors (modulation follows it).

    ``layer`` and ``rms`` run over the channels of each place, ``group`` over places and a group of
    at least four channels.

    Reference: Wu, He, Group normalization (2018); Ba, Kiros, Hinton, Layer normalization (2016);
    Zhang, Sennrich, Root mean square layer normalization (2019).
    """
    if kind == "none":
        return x
    if kind == "group":
        return F.group_norm(x, groups_of(x.shape[1]), eps=_EPSILON)
    # a free view where the memory is channels-last, so that the fused kernels apply
    return normalise_last(x.movedim(1, -1), kind).movedim(-1, 1)


def normalise_last(x: Tensor, kind: str) -> Tensor:
    """The same for ``x`` whose channels are the last axis, (batch, ..., channels)."""
    if kind == "layer":
        return F.layer_norm(x, x.shape[-1:], eps=_EPSILON)
    if kind == "rms":
        return F.rms_norm(x, x.shape[-1:], eps=_EPSILON)
    return x if kind == "none" else normalise(x.movedim(-1, 1), kind).movedim(1, -1)


def groups_of(channels: int) -> int:
    """The most groups, 32 at the highest, of equal size and at least four channels each."""
    return max(number for number in range(1, 33) if channels % number == 0 and (channels >= 4 * number or number == 1))


def modulate(x: Tensor, shift: Tensor, scale: Tensor, axis: int = 1) -> Tensor:
    """``x * (1 + scale) + shift``; shift and scale of shape (batch, channels), channels at ``axis`` of ``x``."""
    shape = [len(x)] + [1] * (x.ndim - 1)
    shape[axis] = x.shape[axis]
    # in the format of x: under autocast a float32 factor would turn the whole activation to float32
    return x * (1 + scale).to(x.dtype).reshape(shape) + shift.to(x.dtype).reshape(shape)


def zero_(layer: nn.Module) -> nn.Module:
    """Sets a layer's parameters to zero, in place: a residual branch or an output that starts at zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class SelfAttention(nn.Module):
    """Multi-head self-attention over tokens, (batch, n, channels) to the same.

    ``mask``, boolean (batch, n), is True for the tokens that exist; the others are not attended to.
    Queries and keys are normalised, which keeps their product bounded in 16-bit formats.

    Reference: Vaswani et al., Attention is all you need (2017); Dehghani et al., Scaling vision
    transformers to 22 billion parameters (2023), section 2, for the normalisation.
    """

    def __init__(self, channels: int, head_width: int) -> None:
        super().__init__()
        if channels % require_positive("head_width", head_width):
            raise InputError(f"the width {channels} must be a multiple of head_width, seen {head_width}")
        self.heads = channels // head_width
        self.project = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        parts = self.project(tokens).unflatten(-1, (3, self.heads, -1)).transpose(1, 3)
        query, key, value = parts.unbind(2)
        query, key = normalise_last(query, "layer"), normalise_last(key, "layer")
        if mask is not None:
            # a sample without any element attends to its padding: finite, and never read
            mask = (mask | ~mask.any(dim=1, keepdim=True))[:, None, None, :]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.output(mixed.transpose(1, 2).flatten(2))


def pad_to_multiple(x: Tensor, factor: int) -> Tensor:
    """Pads each spatial axis of (batch, channels, *size) with zeros at its end to a multiple of ``factor``."""
    missing = [-size % factor for size in x.shape[2:]]
    return F.pad(x, [amount for missed in reversed(missing) for amount in (0, missed)]) if any(missing) else x


def wrap(x: Tensor, amount: int, axes: Sequence[int]) -> Tensor:
    """Continues (batch, channels, *size) by ``amount`` places at both ends of those axes of space, as if periodic."""
    for axis in (axis + 2 for axis in axes):
        size = x.shape[axis]
        if amount <= size:
            x = torch.cat((x.narrow(axis, size - amount, amount), x, x.narrow(axis, 0, amount)), dim=axis)
        else:  # a reach of more than one turn
            x = x.index_select(axis, torch.arange(-amount, size + amount, device=x.device) % size)
    return x


def crop(x: Tensor, size: torch.Size) -> Tensor:
    """The first ``size`` places along each spatial axis."""
    for axis, length in enumerate(size, start=2):
        if x.shape[axis] != length:
            x = x.narrow(axis, 0, length)
    return x


def masked(output: Tensor, mask: Tensor | None) -> Tensor:
    """An output with the channels of its state once or several times, zero where the state's ``mask`` is False."""
    if mask is None:
        return output
    return apply_mask(output, mask.repeat(1, output.shape[1] // mask.shape[1], *(1,) * (mask.ndim - 2)))


def space_to_depth(x: Tensor, factor: int) -> Tensor:
    """(batch, c, *size) to (batch, factor**d * c, *size / factor), in any dimension d; whole rows of channels move."""
    if factor == 1:
        return x
    x, dimension = x.movedim(1, -1), x.ndim - 2
    for axis in range(dimension):
        x = x.unflatten(1 + 2 * axis, (-1, factor))
    outer, within = range(1, 2 * dimension, 2), range(2, 2 * dimension + 1, 2)
    return x.permute(0, *outer, *within, x.ndim - 1).flatten(1 + dimension).movedim(-1, 1)


def depth_to_space(x: Tensor, factor: int) -> Tensor:
    """The inverse of :func:`space_to_depth`."""
    if factor == 1:
        return x
    x, dimension = x.movedim(1, -1), x.ndim - 2
    x = x.unflatten(-1, (*(factor,) * dimension, -1))
    pairs = [axis for place in range(dimension) for axis in (1 + place, 1 + dimension + place)]
    x = x.permute(0, *pairs, x.ndim - 1)
    for axis in range(dimension):
        x = x.flatten(1 + axis, 2 + axis)
    return x.movedim(-1, 1)


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Sine and cosine of coordinates, (..., d), in ``width`` components; an odd rest is zero.

    Reference: Vaswani et al., Attention is all you need (2017), section 3.5, one share of the
    components for each axis.
    """
    half = width // (2 * positions.shape[-1])
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(half) / max(half, 1))
    angles = (positions[..., None] * frequencies).flatten(-2)
    features = torch.cat((angles.cos(), angles.sin()), dim=-1)
    return F.pad(features, (0, width - features.shape[-1]))

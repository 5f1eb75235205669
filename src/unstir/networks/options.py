"""Checks of the options that architectures share."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unstir.core.errors import InputError


def require_positive(name: str, value: object) -> int:
    """``value`` as a positive integer, or an error that names the option."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} must be a positive whole number, seen {value!r}")
    return value


def require_shape(shape: Sequence[int], least: int, most: int, what: str) -> tuple[int, ...]:
    """The shape of one sample, of ``least`` to ``most`` axes."""
    if not least <= len(shape) <= most:
        raise InputError(f"the shape of one sample must be {what}, seen {tuple(shape)}")
    return tuple(require_positive(f"each size of the shape {tuple(shape)}", int(size)) for size in shape)


def require_mask(mask: Tensor | None, x: Tensor) -> Tensor | None:
    """A mask of the state's whole shape, True where there is a value; None for none."""
    if mask is not None and (mask.shape != x.shape or mask.dtype != torch.bool):
        raise InputError(
            f"mask must be boolean of the state's shape {tuple(x.shape)}, True where there is a value; seen "
            f"{mask.dtype} of {tuple(mask.shape)}"
        )
    return mask


def require_dropout(value: float) -> float:
    """A dropout probability in [0, 1)."""
    if not 0 <= value < 1:
        raise InputError(f"dropout must be at least 0 and below 1, seen {value!r}")
    return float(value)

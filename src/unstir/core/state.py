"""State: a tensor, or a dict of named tensors, batch first; and the mask of padded sets."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from unstir.core.errors import InputError

State: TypeAlias = Tensor | dict[str, Tensor]
Condition: TypeAlias = Mapping[str, Tensor]


def map_state(function: Callable[..., Any], state: Any, *others: Any) -> Any:
    """Applies ``function`` to each tensor of the state (with the matching tensors of the others)."""
    if isinstance(state, Mapping):
        for other in others:
            if set(other) != set(state):
                raise InputError(f"states of different parts: {sorted(state)} and {sorted(other)}")
        return {name: map_state(function, value, *(other[name] for other in others)) for name, value in state.items()}
    return function(state, *others)


def tensors_of(state: Any) -> list[Tensor]:
    """All tensors of a state, in the order of its names."""
    if isinstance(state, Mapping):
        return [tensor for name in sorted(state) for tensor in tensors_of(state[name])]
    return [state]


def batch_size(state: Any) -> int:
    """The number of samples; all parts must agree."""
    sizes = {len(tensor) for tensor in tensors_of(state)}
    if len(sizes) != 1:
        raise InputError(f"the parts of a state must have one batch size, seen: {sorted(sizes)}")
    return sizes.pop()


def take(state: Any, index: Any) -> Any:
    """The samples at ``index`` (a slice, or a tensor of integers or booleans)."""
    return map_state(lambda tensor: tensor[index], state)


def concatenate(states: list[Any]) -> Any:
    """Joins states along the batch."""
    return map_state(lambda *tensors: torch.cat(tensors), *states)


def beside(values: Tensor, like: Tensor) -> Tensor:
    """Values of shape () or (batch, ...), with axes of one added at the end until they broadcast against ``like``."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim)) if values.ndim else values


def expand(values: Tensor, like: Tensor) -> Tensor:
    """Per-sample values, shape () or (batch,), in the shape (batch, 1, ...) and dtype of ``like``."""
    return beside(values.to(device=like.device, dtype=like.dtype), like)


def apply_mask(tensor: Tensor, mask: Tensor | None) -> Tensor:
    """Sets the padded places to zero; ``mask`` is boolean, of shape (batch, n), True where there is an element."""
    if mask is None:
        return tensor
    # not a product: zero times whatever a padded place held may be NaN
    return torch.where(mask.reshape(mask.shape + (1,) * (tensor.ndim - mask.ndim)), tensor, 0)


def mean_per_sample(tensor: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean over everything but the batch, of the places where ``mask`` is True; shape (batch,)."""
    if mask is None:
        return tensor.flatten(1).mean(1)
    total = apply_mask(tensor, mask).flatten(1).sum(1)
    places = mask.flatten(1).sum(1) * (tensor[0].numel() // mask[0].numel())
    return total / places.clamp(min=1)

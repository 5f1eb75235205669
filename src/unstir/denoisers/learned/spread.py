"""How a mixture of heat kernels starts out: apart, and as wide as the noise."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from unstir.core.errors import InputError

_NARROWEST = 1e-3  # radians


def checked_components(components: int) -> int:
    """Refuses a mixture of nothing."""
    if components < 1:
        raise InputError(f"a mixture has at least 1 component; seen {components}")
    return components


def spread_directions(told: Tensor) -> Tensor:
    """Vectors (components, 3) for numbers (..., components, m): zero, and directions spread evenly on the sphere."""
    count = told.shape[-2]
    place = torch.arange(1, count, dtype=torch.float64, device=told.device)
    height = 1 - 2 * (place - 0.5) / max(1, count - 1)
    longitude = math.pi * (3 - math.sqrt(5)) * place
    across = (1 - height.square()).sqrt()
    spiral = torch.stack((across * longitude.cos(), across * longitude.sin(), height), -1)
    return torch.cat((told.new_zeros(1, 3, dtype=torch.float64), spiral))


def widths(told: Tensor, noise: Tensor) -> Tensor:
    """Deviations in radians; where the network tells zero, that of the noise, kept within 0.001 and 1."""
    start = noise.clamp(_NARROWEST, 1.0)
    return _NARROWEST + F.softplus(told + torch.expm1(start).log())

"""Matrices that bring a line of elements to another length."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def average(size: int, factor: int) -> Tensor:
    """Means of blocks, (size / factor, size)."""
    return torch.eye(size // factor, dtype=torch.float64).repeat_interleave(factor, 1) / factor


def subsample(size: int, factor: int) -> Tensor:
    """The first of each block, (size / factor, size)."""
    return torch.eye(size, dtype=torch.float64)[::factor]


def bicubic(x: Tensor) -> Tensor:
    """Keys' cubic kernel with a = -1/2, which has two elements on either side."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x.square() + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def lanczos(x: Tensor) -> Tensor:
    """Lanczos' kernel with three elements on either side."""
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), 0.0)


def filtered(size: int, factor: int, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """The kernel stretched by the factor around each new element's centre, rows that sum to one."""
    centres = (torch.arange(size // factor, dtype=torch.float64) + 0.5) * factor
    places = torch.arange(size, dtype=torch.float64) + 0.5
    weights = kernel((places - centres[:, None]) / factor)
    return weights / weights.sum(1, keepdim=True)


def gaussian_weights(deviation: float | int) -> Tensor:
    """A normal density at whole distances up to four deviations, as weights that sum to one."""
    radius = int(4 * deviation + 0.5)
    weights = (-torch.arange(-radius, radius + 1, dtype=torch.float64).square() / (2 * deviation**2)).exp()
    return weights / weights.sum()


def motion_weights(length: float | int, angle: float | int) -> Tensor:
    """A straight line of light through the middle, (side, side): sampled finely, shared among the nearest elements.

    ``angle`` in degrees, from the horizontal against the clock (rows count downwards).
    """
    radius = math.ceil(max(length - 1, 0) / 2) + 1
    side = 2 * radius + 1
    count = 16 * math.ceil(length)
    way = ((torch.arange(count, dtype=torch.float64) + 0.5) / count - 0.5) * max(length - 1, 0)
    row = radius - way * math.sin(math.radians(angle))
    column = radius + way * math.cos(math.radians(angle))
    weights = torch.zeros(side, side, dtype=torch.float64)
    for down in (0, 1):
        for right in (0, 1):
            places = (
                (row.floor().long() + down).clamp(max=side - 1),
                (column.floor().long() + right).clamp(max=side - 1),
            )
            share = (1 - (row - row.floor() - down).abs()) * (1 - (column - column.floor() - right).abs())
            weights.index_put_(places, share, accumulate=True)
    return weights / count

"""A Gaussian belief with a covariance between its elements, which is found when it is asked for."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import Posterior

_ROUNDING = 1e-12  # of the largest width: what is narrower is a plane, on which the belief lies


@dataclass(frozen=True)
class ToldGaussian(Posterior):
    """A Gaussian whose covariance is R R^T, with R (batch, d, k), float64, of ``find``; asked for once at most.

    ``mean`` has the state's shape and dtype. Where R has no full rank the density is that on the plane of the belief,
    and -inf beside it.
    """

    mean: Tensor
    find: Callable[[], Tensor] = field(repr=False)

    @cached_property
    def root(self) -> Tensor:
        """R."""
        return self.find()

    def covariance(self) -> Tensor:
        """The covariance of the elements of each sample, float64 (batch, d, d)."""
        return self.root @ self.root.mT

    @property
    def variance(self) -> Tensor:
        """The variance of each element, of the state's shape."""
        return self.root.square().sum(2).reshape(self.mean.shape).to(self.mean.dtype)

    def sample(self, seeds: Seeds) -> Tensor:
        """One draw a sample."""
        normal = seeds.to(self.root.device).normal((self.root.shape[2],), torch.float64)
        return self.mean + (self.root @ normal[..., None]).reshape(self.mean.shape).to(self.mean.dtype)

    def log_prob(self, x0: Tensor) -> Tensor:
        """The log-density of each sample in nats, (batch,)."""
        axes, widths, _ = torch.linalg.svd(self.root, full_matrices=False)
        wide = widths > _ROUNDING * widths.amax(1, keepdim=True)
        away = (x0 - self.mean).double().flatten(1)
        along = (axes.mT @ away[..., None])[..., 0]
        beside = away - (axes @ torch.where(wide, along, 0.0)[..., None])[..., 0]
        scale = away.norm(dim=1) + x0.double().flatten(1).norm(dim=1)
        on_plane = beside.norm(dim=1) <= 1e3 * torch.finfo(x0.dtype).eps * scale
        safe = torch.where(wide, widths, 1.0)
        nats = torch.where(wide, (along / safe).square() / 2 + safe.log() + math.log(2 * math.pi) / 2, 0.0).sum(1)
        return torch.where(on_plane, -nats, -math.inf).to(x0.dtype)

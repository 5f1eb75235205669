"""Belief about sites in a periodic cell."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask
from unstir.denoisers.posteriors import Posterior
from unstir.processes import lattice_theta
from unstir.processes.lattice import LatticeProcess
from unstir.processes.wrapped_normal import wrap


@dataclass(frozen=True)
class LatticePosterior(Posterior):
    """For each site a mixture of normals wrapped round the cell, the same in every direction; sites are independent.

    ``log_shares`` (batch, ..., k), ``centres`` (batch, ..., k, d) in fractional coordinates, ``deviations``
    (batch, ..., k) in the cell's unit of length. Densities are relative to the uniform law. ``mean`` is the direction
    of ``moment``, coordinate by coordinate; where the belief is uniform (moment 0) it says nothing.
    """

    mean: Tensor = field(init=False)
    log_shares: Tensor
    centres: Tensor
    deviations: Tensor
    process: LatticeProcess
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", self._wrapped(self.moment.angle() / (2 * math.pi)))

    @property
    def moment(self) -> Tensor:
        """E[exp(2 pi i f)] of every fractional coordinate f, complex (batch, ..., d)."""
        # the waves whose phase a single fractional coordinate is: the dual basis
        dual = torch.linalg.inv(self.process.lattice.to(self.centres.device).cell)
        damped = (-2 * math.pi**2 * self.deviations.square()[..., None] * dual.square().sum(0)).exp()
        weights = self.log_shares.exp()[..., None] * damped
        turns = 2 * math.pi * self.centres
        return torch.complex((weights * turns.cos()).sum(-2), (weights * turns.sin()).sum(-2))

    def sample(self, seeds: Seeds) -> Tensor:
        chosen = choose(self.log_shares, seeds.at("share"))[..., None]
        deviation = self.deviations.expand_as(self.log_shares).gather(-1, chosen)
        size = self.centres.shape[-1]
        centre = self.centres.gather(-2, chosen[..., None].expand(*chosen.shape, size))[..., 0, :]
        fresh = seeds.at("within").to(centre.device).normal(tuple(centre.shape[1:]), torch.float64)
        lattice = self.process.lattice.to(centre.device)
        return self._wrapped(centre + lattice.fractional(deviation.clamp(max=lattice.uniform) * fresh))

    def log_prob(self, x0: Tensor) -> Tensor:
        return self._log_densities(x0).flatten(1).sum(1)

    def loss(self, x0: Tensor, mask: Tensor | None = None) -> Tensor:
        """Negative log-density in nats per coordinate; with a mask, of the sites that are there."""
        nats = -self._log_densities(x0)
        sites = (
            nats[0].numel()
            if mask is None
            else mask.flatten(1).sum(1).clamp(min=1) * (nats[0].numel() // mask[0].numel())
        )
        return apply_mask(nats, mask).flatten(1).sum(1) / (sites * x0.shape[-1])

    def _log_densities(self, x0: Tensor) -> Tensor:
        """Of every site, (batch, ...)."""
        lattice = self.process.lattice.to(self.centres.device)
        away = x0.double()[..., None, :] - self.centres
        logs = lattice_theta.log_density(lattice, away, self.deviations.expand_as(self.log_shares))
        return torch.logsumexp(self.log_shares + logs, -1)

    def _wrapped(self, fractional: Tensor) -> Tensor:
        return wrap(wrap(fractional, 1.0).to(self.dtype), 1.0)

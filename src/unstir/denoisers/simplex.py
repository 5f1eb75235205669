"""Belief about compositions."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, beside
from unstir.denoisers.posteriors import Posterior
from unstir.processes.simplex import SimplexProcess


@dataclass(frozen=True)
class LogisticNormalPosterior(Posterior):
    """A mixture of products of mixtures of logistic-normal laws.

    ``log_weights`` (batch, c) are the components'; within one the compositions of a sample are independent, each a
    mixture with the log-shares ``log_shares`` (batch, c, ..., k) of normal laws of its isometric log-ratios, with the
    ``centres`` and ``deviations`` (batch, c, ..., k, parts - 1). Densities are against the volume of the first
    parts - 1 parts. ``mean`` is the composition of the log-ratios' mean (Aitchison's centre).
    """

    mean: Tensor = field(init=False)
    log_weights: Tensor
    log_shares: Tensor
    centres: Tensor
    deviations: Tensor
    process: SimplexProcess
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", self.process.composition(self.mean_coordinates, self.dtype))

    @property
    def mean_coordinates(self) -> Tensor:
        """E[z_0] of the log-ratios, float64 (batch, ..., parts - 1)."""
        inner = (self.log_shares.exp()[..., None] * self.centres).sum(-2)
        weights = beside(self.log_weights.exp(), inner)
        return (weights * inner).sum(1)

    def sample(self, seeds: Seeds) -> Tensor:
        component = choose(self.log_weights, seeds.at("component"))
        rows = torch.arange(len(component), device=component.device)
        shares, centres, deviations = (
            part[rows, component] for part in (self.log_shares, self.centres, self.deviations)
        )
        chosen = choose(shares, seeds.at("share"))[..., None, None]
        place = chosen.expand(*chosen.shape[:-1], centres.shape[-1])
        centre, deviation = (part.gather(-2, place)[..., 0, :] for part in (centres, deviations.expand_as(centres)))
        fresh = seeds.at("within").to(centre.device).normal(tuple(centre.shape[1:]), torch.float64)
        return self.process.composition(centre + deviation * fresh, self.dtype)

    def log_prob(self, x0: Tensor) -> Tensor:
        return self._mixed(self._log_densities(x0)) + self.process.log_volume(x0)

    def loss(self, x0: Tensor, mask: Tensor | None = None) -> Tensor:
        """Negative log-density of the log-ratios in nats for each; with a mask, of the places that are there."""
        each = self._log_densities(x0)
        places = torch.tensor(float(each[0, 0].numel()), device=each.device)
        if mask is not None:
            count = self.log_weights.shape[1]
            # padded places count for nothing in any component
            each = apply_mask(each.flatten(0, 1), mask.repeat_interleave(count, 0)).unflatten(0, each.shape[:2])
            places = mask.flatten(1).sum(1).clamp(min=1) * (each[0, 0].numel() // mask[0].numel())
        return -self._mixed(each) / (places * (x0.shape[-1] - 1))

    def _mixed(self, each: Tensor) -> Tensor:
        return torch.logsumexp(self.log_weights + each.reshape(*each.shape[:2], -1).sum(-1), -1)

    def _log_densities(self, x0: Tensor) -> Tensor:
        """Of the log-ratios of every composition in every component, (batch, c, ...)."""
        z = self.process.coordinates(x0)[:, None, ..., None, :]
        logs = -((z - self.centres) / self.deviations).square() / 2 - self.deviations.log() - math.log(2 * math.pi) / 2
        return torch.logsumexp(self.log_shares + logs.sum(-1), -1)

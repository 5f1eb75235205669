"""Belief about data in a bounded interval."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, beside
from unstir.denoisers.posteriors import Posterior
from unstir.processes import reflected_normal
from unstir.processes.reflected import ReflectedProcess


@dataclass(frozen=True)
class ReflectedPosterior(Posterior):
    """A mixture of products of mixtures of normals reflected at the ends of an interval.

    ``log_weights`` (batch, c) are the components'; within one the elements of the sample are independent, each a
    mixture with the log-shares ``log_shares``, the ``centres`` and the ``deviations``, all (batch, c, ..., k), of which
    the last may have one deviation (batch, c, ..., 1) for all shares. Centres lie anywhere on the line, relative to the
    lower end. ``mean`` is the mean, in the data's unit; ``like`` a state whose dtype and shape draws have.
    """

    mean: Tensor = field(init=False)
    log_weights: Tensor
    log_shares: Tensor
    centres: Tensor
    deviations: Tensor
    process: ReflectedProcess
    like: Tensor

    def __post_init__(self) -> None:
        low, width = self.process.ends(self.like)
        means = reflected_normal.mean(self.centres, self.deviations, width[..., None])
        inner = (self.log_shares.exp() * means).sum(-1)
        weights = beside(self.log_weights.exp(), inner)
        object.__setattr__(self, "mean", (low + (weights * inner).sum(1)).to(self.like.dtype))

    def sample(self, seeds: Seeds) -> Tensor:
        component = choose(self.log_weights, seeds.at("component"))
        rows = torch.arange(len(component), device=component.device)
        shares, centres, deviations = (
            part[rows, component] for part in (self.log_shares, self.centres, self.deviations)
        )
        chosen = choose(shares, seeds.at("share"))
        centre, deviation = (
            part.expand_as(shares).gather(-1, chosen[..., None])[..., 0] for part in (centres, deviations)
        )
        fresh = seeds.at("within").to(centre.device).normal(tuple(centre.shape[1:]), torch.float64)
        low, width = self.process.ends(self.like)
        # a deviation that is too large would only cost digits
        drawn = centre + torch.minimum(deviation, 3 * width) * fresh
        return self.process.folded(low + drawn, self.like)

    def log_prob(self, x0: Tensor) -> Tensor:
        each = self._log_densities(x0)
        return torch.logsumexp(self.log_weights + each.flatten(2).sum(-1), -1)

    def loss(self, x0: Tensor, mask: Tensor | None = None) -> Tensor:
        """Negative log-density in nats per element; with a mask, of the elements that are there."""
        if mask is None:
            return super().loss(x0)
        each = self._log_densities(x0)
        count = self.log_weights.shape[1]
        # padded places count for nothing in any component
        kept = apply_mask(each.flatten(0, 1), mask.repeat_interleave(count, 0)).unflatten(0, each.shape[:2])
        total = torch.logsumexp(self.log_weights + kept.flatten(2).sum(-1), -1)
        return -total / (mask.flatten(1).sum(1) * (x0[0].numel() // mask[0].numel())).clamp(min=1)

    def _log_densities(self, x0: Tensor) -> Tensor:
        """Of every element in every component, (batch, c, ...)."""
        low, width = self.process.ends(self.like)
        place = (x0.double() - low)[:, None, ..., None]
        logs = reflected_normal.log_density(place, self.centres, self.deviations, width[..., None])
        return torch.logsumexp(self.log_shares + logs, -1)

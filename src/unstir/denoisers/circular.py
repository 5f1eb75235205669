"""Belief about angles and other periodic data."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, beside
from unstir.denoisers.posteriors import Posterior
from unstir.processes import wrapped_normal


@dataclass(frozen=True)
class CircularPosterior(Posterior):
    """A mixture of products of mixtures of wrapped normals.

    ``log_weights`` (batch, c) are the components'; within one the elements of the sample are independent, each a
    mixture of wrapped normals with the log-shares ``log_shares``, the ``centres`` and the ``deviations``, all
    (batch, c, ..., k), of which the last may have one deviation (batch, c, ..., 1) for all shares; ``period``
    broadcasts against the state. ``mean`` is the circular mean, the direction of ``moment``; where the belief is
    uniform (moment 0) it says nothing.
    """

    mean: Tensor = field(init=False)
    log_weights: Tensor
    log_shares: Tensor
    centres: Tensor
    deviations: Tensor
    period: Tensor
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", self.direction(self.moment))

    @property
    def moment(self) -> Tensor:
        """E[exp(2 pi i x_0 / P)] of every element, complex; its modulus is 1 for a point and 0 for uniform."""
        turns = 2 * math.pi * self.centres / self.period[..., None]
        shrunk = (-2 * (math.pi * self.deviations / self.period[..., None]).square()).exp()
        shares = self.log_shares.exp() * shrunk
        spread = torch.complex((shares * turns.cos()).sum(-1), (shares * turns.sin()).sum(-1))
        return (beside(self.log_weights.exp(), spread) * spread).sum(1)

    def direction(self, moment: Tensor) -> Tensor:
        """The place on the torus that first moments point to."""
        turned = wrapped_normal.wrap(moment.angle() / (2 * math.pi) * self.period, self.period)
        return wrapped_normal.wrap(turned.to(self.dtype), self.period)

    def sample(self, seeds: Seeds) -> Tensor:
        component = choose(self.log_weights, seeds.at("component"))
        rows = torch.arange(len(component), device=component.device)
        shares, centres, deviations = (
            part[rows, component] for part in (self.log_shares, self.centres, self.deviations)
        )
        chosen = choose(shares, seeds.at("winding"))
        centre, deviation = (
            part.expand_as(shares).gather(-1, chosen[..., None])[..., 0] for part in (centres, deviations)
        )
        fresh = seeds.at("within").to(centre.device).normal(tuple(centre.shape[1:]), torch.float64)
        drawn = wrapped_normal.wrap(centre + deviation * fresh, self.period)
        return wrapped_normal.wrap(drawn.to(self.dtype), self.period)

    def log_prob(self, x0: Tensor) -> Tensor:
        return torch.logsumexp(self.log_weights + self._each(x0).flatten(2).sum(-1), -1)

    def loss(self, x0: Tensor, mask: Tensor | None = None) -> Tensor:
        """Negative log-density in nats per angle, of the places where the mask is True."""
        if mask is None:
            return super().loss(x0)
        each = apply_mask(self._each(x0).movedim(1, -1), mask).movedim(-1, 1)
        places = mask.flatten(1).sum(1) * (x0[0].numel() // mask[0].numel())
        return -torch.logsumexp(self.log_weights + each.flatten(2).sum(-1), -1) / places.clamp(min=1)

    def _each(self, x0: Tensor) -> Tensor:
        """The log-density of every angle in every component, (batch, c, ...)."""
        away = x0.double()[:, None, ..., None] - self.centres
        logs = wrapped_normal.log_density(away, self.deviations, self.period[..., None])
        return torch.logsumexp(self.log_shares + logs, -1)

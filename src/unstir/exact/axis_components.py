"""Gaussians whose coordinates are independent: one variance each, or one for all."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.exact.gaussian_components import FLOOR, NARROWEST, WELL_SEPARATED, Components, Noisy, on_support


@dataclass(frozen=True)
class Centred:
    """Means about their own mean: distances by matrix products are then safe where the means are not far apart."""

    centre: Tensor  # (d,)
    means: Tensor  # (k, d)
    squares: Tensor  # (k,)


@dataclass(frozen=True)
class AxisComponents(Components):
    """Means (rows, k, d) and variances (rows, k, d), or (rows, k, 1) where all coordinates share one.

    Every noisy marginal is diagonal too. Sums over components are matrix products wherever components are the
    same for the whole batch, and squared distances as well, if the means are not so far apart for their width
    that the expanded square would lose digits: then differences are taken.
    """

    means: Tensor
    values: Tensor
    centred: Centred | None = field(default=None)

    @classmethod
    def of(cls, means: Tensor, values: Tensor) -> "AxisComponents":
        """Of (k, d) and (k, d) or (k, 1)."""
        centre = means.mean(0)
        around = means - centre
        furthest = around.square().amax(0)
        wide = bool(values.min() > NARROWEST)
        near = wide and bool(((furthest / values).sum(1) < WELL_SEPARATED).all())
        centred = Centred(centre, around, around.square().sum(1)) if near else None
        return cls(means[None], values[None], centred)

    def noisy(self, x: Tensor, alpha: Tensor, noise: Tensor) -> "NoisyAxis":
        return NoisyAxis(self, x, alpha, noise)

    def draw(self, chosen: Tensor, seeds: Seeds) -> Tensor:
        rows = torch.arange(len(chosen), device=chosen.device)
        mean, value = (part.expand(len(rows), -1, -1)[rows, chosen] for part in (self.means, self.values))
        return mean + value.sqrt() * seeds.to(mean.device).normal(mean.shape[1:], torch.float64)

    def variances(self) -> Tensor:
        return self.values.expand(*self.values.shape[:2], self.means.shape[2])

    def covariances(self) -> Tensor:
        return torch.diag_embed(self.variances())

    def to(self, device: torch.device | str) -> "AxisComponents":
        moved = AxisComponents(self.means.to(device), self.values.to(device))
        if self.centred is None:
            return moved
        parts = (part.to(device) for part in (self.centred.centre, self.centred.means, self.centred.squares))
        return AxisComponents(moved.means, moved.values, Centred(*parts))


class NoisyAxis(Noisy):
    """See ``Noisy``."""

    def __init__(self, parts: AxisComponents, x: Tensor, alpha: Tensor, noise: Tensor) -> None:
        self.parts, self.x, self.alpha, self.noise = parts, x, alpha, noise
        self.size = x.shape[1]
        self.values = values = parts.values
        self.isotropic = values.shape[2] == 1 and noise.shape[1] == 1 and alpha.shape[1] == 1
        shared = alpha.shape == noise.shape == (1, 1)
        self.centred = parts.centred if self.isotropic or shared else None
        if self.centred is not None and self.isotropic:
            self.marginal = torch.addcmul(noise, alpha.square(), values[..., 0]).clamp_(min=FLOOR)  # (rows, k)
            self.log_determinant = self.size * self.marginal.log()
        else:
            self.marginal = torch.addcmul(noise[:, None], alpha.square()[:, None], values).clamp_(min=FLOOR)
            self.log_determinant = self.marginal.log().sum(2)
            if self.marginal.shape[2] == 1:
                self.log_determinant = self.log_determinant * self.size
        self.nulls = None
        self.squares = self._squares()

    def _squares(self) -> Tensor:
        if self.centred is not None:
            about = self.centred
            self.shifted = shifted = self.x - self.alpha * about.centre
            if self.isotropic:
                distances = shifted.square().sum(1, keepdim=True) + self.alpha.square() * about.squares
                return (distances - 2 * self.alpha * (shifted @ about.means.T)).clamp(min=0) / self.marginal
            precise = self.marginal[0].reciprocal()
            pull = about.means * precise
            own = self.alpha.square() * (about.means * pull).sum(1)
            return (shifted.square() @ precise.T - 2 * self.alpha * (shifted @ pull.T) + own).clamp(min=0)
        means = self.alpha[:, None] * self.parts.means
        self.residual = self.x[:, None] - means
        self.residual, null = on_support(self.residual, self.marginal, means.abs())
        if null is not None:
            self.nulls = null.sum(2) * (self.size // null.shape[2])
        return (self.residual.square() / self.marginal).sum(2)

    def mean(self, weights: Tensor) -> Tensor:
        if self.centred is not None and self.isotropic:
            share = weights / self.marginal
            gain = (share * self.values[..., 0]).sum(1, keepdim=True) * self.alpha
            return torch.addcmul((share * self.noise) @ self.parts.means[0], gain, self.x)
        if self.centred is not None:
            gain = self.alpha * self.values[0] / self.marginal[0]
            kept = self.noise / self.marginal[0] * self.parts.means[0]
            return torch.addcmul(weights @ kept, weights @ gain, self.x)
        return (weights[..., None] * self.means()).sum(1)

    def score(self, weights: Tensor) -> Tensor:
        if self.centred is not None and self.isotropic:
            share = weights / self.marginal
            return self.alpha * (share @ self.centred.means) - share.sum(1, keepdim=True) * self.shifted
        if self.centred is not None:
            precise = self.marginal[0].reciprocal()
            return self.alpha * (weights @ (self.centred.means * precise)) - (weights @ precise) * self.shifted
        return -(weights[..., None] * self.residual / self.marginal).sum(1)

    def means(self) -> Tensor:
        """The mean of each component's belief, (batch, k, d)."""
        marginal = self.marginal[..., None] if self.marginal.ndim == 2 else self.marginal
        gain = self.alpha[:, None] * self.values / marginal
        return gain * self.x[:, None] + (self.noise[:, None] / marginal) * self.parts.means

    def posterior(self) -> AxisComponents:
        marginal = self.marginal[..., None] if self.marginal.ndim == 2 else self.marginal
        return AxisComponents(self.means(), self.values * (self.noise[:, None] / marginal))

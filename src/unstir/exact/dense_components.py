"""Gaussians with any covariance, by its eigenvectors: those are the same at every noise."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.exact.gaussian_components import FLOOR, NARROWEST, WELL_SEPARATED, Components, Noisy, on_support


@dataclass(frozen=True)
class Turned:
    """One law's means along all eigenvectors, made once where differences may be taken after the turn."""

    centre: Tensor  # (d,)
    means: Tensor  # (k, d): centred, along the eigenvectors
    into: Tensor  # (d, k d): all eigenvectors side by side


@dataclass(frozen=True)
class DenseComponents(Components):
    r"""Means (rows, k, d) and covariances :math:`Q\,\mathrm{diag}(e)\,Q^T`: values (rows, k, d), basis (k, d, d).

    With the eigenvectors in hand, any noise costs two matrix products: into the eigenvectors' coordinates, where
    all is diagonal, and back.
    """

    means: Tensor
    values: Tensor
    basis: Tensor
    turned: Turned | None = field(default=None, repr=False)

    @classmethod
    def of(cls, means: Tensor, values: Tensor, basis: Tensor) -> "DenseComponents":
        """Of means (k, d), eigenvalues (k, d) and eigenvectors (k, d, d), in columns."""
        centre = means.mean(0)
        around = means - centre
        narrowest = float(values.min())
        if narrowest < NARROWEST or float(around.square().sum(1).max()) / narrowest >= WELL_SEPARATED:
            return cls(means[None], values[None], basis)
        into = basis.transpose(0, 1).flatten(1).contiguous()
        return cls(means[None], values[None], basis, Turned(centre, torch.einsum("kd,kde->ke", around, basis), into))

    @classmethod
    def from_covariances(cls, means: Tensor, covariances: Tensor) -> "DenseComponents":
        """Of means (k, d) and covariances (k, d, d); an eigenvalue that is zero but for rounding becomes zero."""
        values, basis = torch.linalg.eigh(covariances)
        tiny = values.abs().amax(1, keepdim=True) * values.shape[1] * torch.finfo(values.dtype).eps
        return cls.of(means, torch.where(values > tiny, values, 0.0), basis)

    def noisy(self, x: Tensor, alpha: Tensor, noise: Tensor) -> "NoisyDense":
        return NoisyDense(self, x, alpha, noise)

    def draw(self, chosen: Tensor, seeds: Seeds) -> Tensor:
        batch, count, size = len(chosen), *self.means.shape[1:]
        rows = torch.arange(batch, device=chosen.device)
        mean, value = (part.expand(batch, -1, -1)[rows, chosen] for part in (self.means, self.values))
        along = value.sqrt() * seeds.to(mean.device).normal((size,), torch.float64)
        away = torch.empty_like(along)
        for component in range(count):  # a gather of the eigenvectors would hold (batch, d, d) at once
            here = chosen == component
            away[here] = along[here] @ self.basis[component].T
        return mean + away

    def variances(self) -> Tensor:
        return torch.einsum("bke,kde->bkd", self.values, self.basis.square())

    def covariances(self) -> Tensor:
        return (self.basis * self.values[:, :, None]) @ self.basis.mT

    def to(self, device: torch.device | str) -> "DenseComponents":
        turned = self.turned
        if turned is not None:
            turned = Turned(turned.centre.to(device), turned.means.to(device), turned.into.to(device))
        return DenseComponents(self.means.to(device), self.values.to(device), self.basis.to(device), turned)


class NoisyDense(Noisy):
    """See ``Noisy``."""

    def __init__(self, parts: DenseComponents, x: Tensor, alpha: Tensor, noise: Tensor) -> None:
        self.parts, self.alpha, self.noise = parts, alpha[:, None], noise[:, None]
        self.size = x.shape[1]
        self.marginal = torch.addcmul(self.noise, self.alpha.square(), parts.values).clamp_(min=FLOOR)
        self.log_determinant = self.marginal.log().sum(2)
        count = parts.basis.shape[0]
        turned = parts.turned
        if turned is not None:
            along = ((x - alpha * turned.centre) @ turned.into).unflatten(1, (count, self.size))
            self.residual = torch.addcmul(along, self.alpha, turned.means, value=-1)
            self.nulls = None
        else:
            means = self.alpha * parts.means
            away = x[:, None] - means
            self.residual = (away.transpose(0, 1) @ parts.basis).transpose(0, 1)
            scale = x.norm(dim=1)[:, None, None] + means.norm(dim=2, keepdim=True)
            self.residual, null = on_support(self.residual, self.marginal, scale)
            self.nulls = None if null is None else null.sum(2)
        self.solved = self.residual / self.marginal
        self.squares = torch.linalg.vecdot(self.residual, self.solved)

    def mean(self, weights: Tensor) -> Tensor:
        weighted = self.solved * (self.alpha * self.parts.values) * weights[..., None]
        return self._mixed(self.parts.means, weights) + self._back(weighted)

    def score(self, weights: Tensor) -> Tensor:
        return -self._back(self.solved * weights[..., None])

    def posterior(self) -> DenseComponents:
        along = self.solved * (self.alpha * self.parts.values)
        away = (along.transpose(0, 1) @ self.parts.basis.mT).transpose(0, 1)
        return DenseComponents(
            self.parts.means + away, self.parts.values * (self.noise / self.marginal), self.parts.basis
        )

    def _back(self, along: Tensor) -> Tensor:
        """Sums what the components have along their eigenvectors, (batch, k, d), in the coordinates of the state."""
        if self.parts.turned is not None:
            return along.flatten(1) @ self.parts.turned.into.T
        return along.flatten(1) @ self.parts.basis.mT.reshape(-1, self.size)

    @staticmethod
    def _mixed(means: Tensor, weights: Tensor) -> Tensor:
        return weights @ means[0] if len(means) == 1 else (weights[..., None] * means).sum(1)

r"""Gaussians of any covariance under noise whose strength differs from coordinate to coordinate."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.exact.gaussian_components import Components, Noisy


@dataclass(frozen=True)
class FactorComponents(Components):
    """Means (rows, k, d) and covariances :math:`F F^T` with regular factors F (rows, k, d, d)."""

    means: Tensor
    factors: Tensor

    @classmethod
    def of(cls, means: Tensor, covariances: Tensor) -> "FactorComponents":
        """Of means (k, d) and covariances (k, d, d); InputError unless they are positive definite."""
        factors, failed = torch.linalg.cholesky_ex((covariances + covariances.mT) / 2)
        if bool(failed.any()):
            raise InputError(
                "a covariance between modes must be positive definite; give a law without width in some direction by "
                "variances (k,) or spectra, or add a small variance"
            )
        return cls(means[None], factors[None])

    def noisy(self, x: Tensor, alpha: Tensor, noise: Tensor) -> "NoisyFactor":
        return NoisyFactor(self, x, alpha, noise)

    def draw(self, chosen: Tensor, seeds: Seeds) -> Tensor:
        count, rows = len(chosen), torch.arange(len(chosen), device=chosen.device)
        along = seeds.to(self.means.device).normal(self.means.shape[2:], torch.float64)
        mean = self.means.expand(count, -1, -1)[rows, chosen]
        factor = self.factors.expand(count, -1, -1, -1)[rows, chosen]
        return mean + (factor @ along[..., None])[..., 0]

    def variances(self) -> Tensor:
        return self.factors.square().sum(3)

    def covariances(self) -> Tensor:
        return self.factors @ self.factors.mT

    def to(self, device: torch.device | str) -> "FactorComponents":
        return FactorComponents(self.means.to(device), self.factors.to(device))


class NoisyFactor(Noisy):
    r"""See ``Noisy``: :math:`V = A F F^T A + S` with diagonal A and S, each (rows, d)."""

    def __init__(self, parts: FactorComponents, x: Tensor, alpha: Tensor, noise: Tensor) -> None:
        self.parts, self.size, self.nulls = parts, x.shape[1], None
        self.noise = noise.expand(-1, self.size)
        self.seen = alpha[:, None, :, None] * parts.factors
        marginal = self.seen @ self.seen.mT + torch.diag_embed(self.noise)[:, None]
        root = torch.linalg.cholesky(marginal)
        self.log_determinant = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        residual = x[:, None] - alpha[:, None] * parts.means
        root = root.expand(len(x), -1, -1, -1)
        self.solved = torch.cholesky_solve(residual[..., None], root)[..., 0]
        self.squares = (residual * self.solved).sum(2)

    def mean(self, weights: Tensor) -> Tensor:
        return (weights[..., None] * self.means()).sum(1)

    def score(self, weights: Tensor) -> Tensor:
        return -(weights[..., None] * self.solved).sum(1)

    def means(self) -> Tensor:
        """The mean of each component's belief, (batch, k, d)."""
        along = (self.seen.mT @ self.solved[..., None])[..., 0]
        return self.parts.means + (self.parts.factors @ along[..., None])[..., 0]

    def posterior(self) -> FactorComponents:
        # F (1 + B^T B)^-1 F^T with B = S^(-1/2) A F: no difference of covariances, at any noise
        scaled = self.seen / self.noise.sqrt()[:, None, :, None]
        precision = torch.eye(self.size, dtype=scaled.dtype, device=scaled.device) + scaled.mT @ scaled
        root = torch.linalg.cholesky(precision)
        factors = torch.linalg.solve_triangular(root, self.parts.factors.mT.expand_as(root), upper=False).mT
        return FactorComponents(self.means(), factors)

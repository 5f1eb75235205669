"""Gaussians with a diagonal covariance plus a few common factors, in any number of dimensions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.exact.gaussian_components import FLOOR, Components, Noisy, on_support


@dataclass(frozen=True)
class LowRankComponents(Components):
    r"""Means (rows, k, d), covariances :math:`\mathrm{diag}(D)+UU^T`: values D (rows, k, d), factors U (rows, k, d, r).

    The law is :math:`x_0=m+Uz+\sqrt De`. Nothing of the size d x d is formed: given the factors z the
    coordinates are independent, and z is found by least squares,
    :math:`\min_z (r-\alpha Uz)^T\Lambda^{-1}(r-\alpha Uz)+|z|^2` with :math:`\Lambda=\alpha^2D+\sigma^2`. The minimum
    is the squared Mahalanobis distance: a sum of squares, where Woodbury's formula would subtract.
    """

    means: Tensor
    values: Tensor
    factors: Tensor

    @classmethod
    def of(cls, means: Tensor, values: Tensor, factors: Tensor) -> "LowRankComponents":
        """Of (k, d), (k, d) and (k, d, r)."""
        return cls(means[None], values[None], factors[None])

    def noisy(self, x: Tensor, alpha: Tensor, noise: Tensor) -> "NoisyLowRank":
        return NoisyLowRank(self, x, alpha, noise)

    def draw(self, chosen: Tensor, seeds: Seeds) -> Tensor:
        batch, size, rank = len(chosen), *self.factors.shape[2:]
        rows = torch.arange(batch, device=chosen.device)
        mean, value = (part.expand(batch, -1, -1)[rows, chosen] for part in (self.means, self.values))
        seeds = seeds.to(mean.device)
        common = seeds.at("factors").normal((rank,), torch.float64)
        if len(self.factors) == 1:
            away = torch.empty_like(mean)
            for component in range(self.factors.shape[1]):
                here = chosen == component
                away[here] = common[here] @ self.factors[0, component].T
        else:
            away = (self.factors[rows, chosen] @ common[..., None])[..., 0]
        return mean + away + value.sqrt() * seeds.normal((size,), torch.float64)

    def variances(self) -> Tensor:
        return self.values + self.factors.square().sum(3)

    def covariances(self) -> Tensor:
        return torch.diag_embed(self.values) + self.factors @ self.factors.mT

    def to(self, device: torch.device | str) -> "LowRankComponents":
        return LowRankComponents(self.means.to(device), self.values.to(device), self.factors.to(device))


class NoisyLowRank(Noisy):
    """See ``Noisy``."""

    def __init__(self, parts: LowRankComponents, x: Tensor, alpha: Tensor, noise: Tensor) -> None:
        self.parts, self.x, self.alpha, self.noise = parts, x, alpha[:, None], noise[:, None]
        self.size = x.shape[1]
        self.marginal = torch.addcmul(self.noise, self.alpha.square(), parts.values).clamp_(
            min=FLOOR
        )  # given the factors
        seen = self.alpha[..., None] * parts.factors
        precise = seen / self.marginal[..., None]
        information = seen.mT @ precise + torch.eye(seen.shape[3], dtype=seen.dtype, device=seen.device)
        self.root = torch.linalg.cholesky(information)
        means = self.alpha * parts.means
        residual, null = on_support(x[:, None] - means, self.marginal, means.abs())
        self.nulls = None if null is None else null.sum(2)
        pulled = _per_component(residual, precise)
        self.factors = torch.cholesky_solve(pulled[..., None], self.root)[..., 0]  # their belief's mean, (batch, k, r)
        rest = residual - _per_component(self.factors, seen.mT)
        self.solved = rest / self.marginal
        self.squares = torch.linalg.vecdot(rest, self.solved) + self.factors.square().sum(2)
        self.log_determinant = self.marginal.log().sum(2) + 2 * self.root.diagonal(dim1=2, dim2=3).log().sum(2)

    def mean(self, weights: Tensor) -> Tensor:
        return (weights[..., None] * self._means()).sum(1)

    def score(self, weights: Tensor) -> Tensor:
        return -(weights[..., None] * self.solved).sum(1)

    def posterior(self) -> LowRankComponents:
        kept = self.noise / self.marginal
        factors = torch.linalg.solve_triangular(self.root, (kept[..., None] * self.parts.factors).mT, upper=False).mT
        return LowRankComponents(self._means(), self.parts.values * kept, factors)

    def _means(self) -> Tensor:
        kept = self.noise / self.marginal
        prior = self.parts.means + _per_component(self.factors, self.parts.factors.mT)
        return kept * prior + (self.alpha * self.parts.values / self.marginal) * self.x[:, None]


def _per_component(vectors: Tensor, matrices: Tensor) -> Tensor:
    """(batch, k, a) times (rows, k, a, b): one product a component where the matrices are the whole batch's."""
    if len(matrices) == 1:
        return (vectors.transpose(0, 1) @ matrices[0]).transpose(0, 1)
    return (vectors[:, :, None] @ matrices)[:, :, 0]

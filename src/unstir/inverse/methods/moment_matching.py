"""Moment matching: the belief taken for a Gaussian whose covariance the slope of its mean tells."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError, unknown
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior, Posterior
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods.base import GAUSSIAN_LAWS, NO_LAW, Method
from unstir.inverse.methods.conjugate_gradients import conjugate_gradients
from unstir.inverse.methods.guided import LINEAR_SPACES, MeasuredDenoiser, Slope, check_share, check_whole
from unstir.inverse.methods.told_gaussian import ToldGaussian
from unstir.samplers.base import Sampler

__all__ = ["MMPSMethod", "TMPDMethod"]

COVARIANCES = ("full", "rows")
_LARGEST_DENSE = 1024  # passes through the denoiser a step, and rows of a matrix of each sample
_ROUNDING = 1e-13  # of the largest eigenvalue: what is less is none


@dataclass(frozen=True)
class MMPSMethod(Method):
    r"""MMPS: the belief's covariance by the slope of its mean, which conjugate gradients invert without a matrix.

    With :math:`V=\frac{\sigma^2}{\alpha}\frac{\partial\hat x_0}{\partial x_t}`, the covariance of x_0 given x_t by
    Tweedie's formula, the belief's mean becomes

    .. math:: \hat x_0' = \hat x_0 + VA^T(\sigma_y^2I+AVA^T)^{-1}(y-A\hat x_0),

    which is exact where the data are normal, and so are then the draws in the limit of many steps. Of other laws the
    belief is no Gaussian, and what it has beside mean and covariance is left out.

    Each of ``iterations`` costs a pass backwards through the denoiser, and one more is needed; fewer are taken where
    the residual has fallen to the share ``tolerance`` of the right-hand side. As many as there are measured values are
    always enough; of pictures a few do nearly as well. A deviation of zero is allowed. The belief is a point, with
    which ancestral sampling comes out too narrow unless it takes very many steps: a ``sampler`` of second order does
    not, with more noise than the reverse process has (the default, which forgets early errors) or without any
    (dpm-solver-pp-2m).

    Raises InputError for options out of range.

    Reference: Rozet, Andry, Lanusse, Louppe, Learning diffusion priors from observations by expectation maximization
    (2024), section 4.2 and algorithm 3.
    """

    iterations: int = 8
    tolerance: float | int = 1e-8
    sampler: Any = field(default_factory=lambda: {"name": "multistep", "order": 2, "stochasticity": 2.0})

    exact_for = GAUSSIAN_LAWS
    spaces = LINEAR_SPACES
    needs = frozenset({"linear", "gaussian"})

    def __post_init__(self) -> None:
        check_whole("the number of iterations", self.iterations)
        check_share("the tolerance of conjugate gradients", self.tolerance)

    def pair(self, denoiser: Denoiser, measurement: Measurement) -> tuple[Denoiser, Sampler]:
        return MMPSDenoiser(denoiser, measurement, self), build("samplers", self.sampler)


class MMPSDenoiser(MeasuredDenoiser):
    """The belief of ``MMPSMethod``: a point."""

    def __init__(self, denoiser: Denoiser, measurement: Measurement, method: MMPSMethod) -> None:
        super().__init__(denoiser, measurement)
        self.method = method

    def told(self, slope: Slope) -> Posterior:
        operator, noise = self.operator, self.noise_variance

        def multiply(values: Tensor) -> Tensor:
            return noise * values + operator(slope.covariance_times(operator.adjoint(values)))

        residual = self.measurement.residual(slope.mean.double())
        weights = conjugate_gradients(multiply, residual, self.method.iterations, float(self.method.tolerance))
        return PointPosterior(slope.moved(slope.covariance_times(operator.adjoint(weights))))


@dataclass(frozen=True)
class TMPDMethod(Method):
    r"""TMPD: the belief projected on a Gaussian with its mean and covariance, by Tweedie's formulas.

    The belief's mean moves as in MMPS, by :math:`VA^T(\sigma_y^2I+AVA^T)^{-1}(y-A\hat x_0)`, and with ``covariance``
    full, for small problems, everything is made as matrices: :math:`AVA^T` by one pass backwards for each measured
    value, and where a sampler draws from the belief also its covariance :math:`V-VA^T(\sigma_y^2I+AVA^T)^{-1}AV`, by
    one for each element. For normal data the belief is then exact, and ancestral sampling in any number of steps.

    With rows :math:`AVA^T` is replaced by the sums of its rows on a diagonal, with three passes in all. That is exact
    where V says the same of all elements, and cheap; it goes wrong where elements hang together with changing signs,
    and as it then goes too far, the move is cut back to the best one along its line, which is not in the paper.

    Raises InputError for options out of range and, when run, for more than 1024 values with full.

    Reference: Boys, Girolami, Pidstrigach, Reich, Mosca, Akyildiz, Tweedie moment projected diffusions for inverse
    problems (2023), section 3 and its diagonal approximation.
    """

    covariance: str = "full"
    sampler: Any = "ancestral"

    spaces = LINEAR_SPACES
    needs = frozenset({"linear", "gaussian"})

    def __post_init__(self) -> None:
        if self.covariance not in COVARIANCES:
            raise unknown("covariance of TMPD", self.covariance, COVARIANCES)

    @property
    def exact_for(self) -> str:  # type: ignore[override]
        """The sums of rows are the whole truth of one measured value only."""
        return GAUSSIAN_LAWS if self.covariance == "full" else NO_LAW

    def pair(self, denoiser: Denoiser, measurement: Measurement) -> tuple[Denoiser, Sampler]:
        return TMPDDenoiser(denoiser, measurement, self.covariance), build("samplers", self.sampler)

    @classmethod
    def examples(cls) -> Mapping[str, "TMPDMethod"]:
        """Both covariances."""
        return {name: cls(name) for name in COVARIANCES}


class TMPDDenoiser(MeasuredDenoiser):
    """The belief of ``TMPDMethod``: a Gaussian, or with rows a point."""

    def __init__(self, denoiser: Denoiser, measurement: Measurement, covariance: str) -> None:
        super().__init__(denoiser, measurement)
        self.covariance = covariance

    def told(self, slope: Slope) -> Posterior:
        residual = self.measurement.residual(slope.mean.double())
        if self.covariance == "rows":
            return PointPosterior(slope.moved(self._by_rows(slope, residual)))
        _check_size(residual, "measured values", "take the covariance 'rows', or the method mmps")
        moves = _columns(lambda value: slope.covariance_times(self.operator.adjoint(value)), residual)
        seen = torch.stack([self.operator(move).flatten(1) for move in moves.unbind(1)], 1)
        weights = _solved((seen + seen.mT) / 2, self.noise_variance, residual.flatten(1))
        told = torch.einsum("bm,bm...->b...", weights, moves)
        return ToldGaussian(slope.moved(told), lambda: self._root(slope))

    def _by_rows(self, slope: Slope, residual: Tensor) -> Tensor:
        """The move that the sums of the rows tell, cut back where it would go too far."""
        operator, noise = self.operator, self.noise_variance
        ones = torch.ones_like(residual)
        variance = operator(slope.covariance_times(operator.adjoint(ones))).clamp(min=0) + noise
        weights = torch.where(variance > 0, residual / torch.where(variance > 0, variance, 1.0), 0.0)
        move = slope.covariance_times(operator.adjoint(weights))
        # the quadratic that the exact weights minimise, along these
        slant = (weights * residual).flatten(1).sum(1)
        bend = (weights * (operator(move) + noise * weights)).flatten(1).sum(1)
        share = torch.where(bend > slant, slant / torch.where(bend > slant, bend, 1.0), 1.0)
        return share.reshape(-1, *(1,) * (move.ndim - 1)) * move

    def _root(self, slope: Slope) -> Tensor:
        """R (batch, d, d) with R R^T the covariance of x_0 given x_t and y."""
        like = slope.mean.double()
        _check_size(like, "elements", "take a sampler that asks for the mean alone (dpm-solver-pp-2m), or mmps")
        whole = _columns(slope.covariance_times, like).flatten(2)
        values, vectors = torch.linalg.eigh((whole + whole.mT) / 2)
        root = vectors * values.clamp(min=0).sqrt()[:, None]
        rows = root.mT.reshape(-1, *like.shape[1:])
        seen = self.operator(rows).reshape(*root.shape[:2], -1)  # (A R)^T, (batch, d, m)
        kept, deviations, _ = torch.linalg.svd(seen, full_matrices=True)
        told = root.new_zeros(root.shape[:2])
        told[:, : deviations.shape[1]] = deviations.square()
        known = told > told.amax(1, keepdim=True) * _ROUNDING
        left = torch.where(known, self.noise_variance / (self.noise_variance + told).clamp(min=1e-300), 1.0)
        return (root @ kept) * left.sqrt()[:, None]


def _check_size(values: Tensor, what: str, advice: str) -> None:
    if values[0].numel() > _LARGEST_DENSE:
        raise InputError(
            f"TMPD makes matrices of at most {_LARGEST_DENSE} {what} a sample; seen {values[0].numel()}: {advice}"
        )


def _columns(product: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """The products with each unit vector of the shape of ``like``, stacked after the batch."""
    size = like[0].numel()
    units = torch.eye(size, dtype=like.dtype, device=like.device).reshape(size, 1, *like.shape[1:])
    return torch.stack([product(unit.expand_as(like)) for unit in units], 1)


def _solved(seen: Tensor, noise: float, residual: Tensor) -> Tensor:
    """(S + n I)^-1 r of symmetric S (batch, m, m), its negative eigenvalues taken for zero; pseudo-inverse if n = 0."""
    values, vectors = torch.linalg.eigh(seen)
    total = values.clamp(min=0) + noise
    used = total > total.amax(1, keepdim=True) * _ROUNDING
    modes = (residual[:, None] @ vectors)[:, 0]
    return (vectors @ torch.where(used, modes / torch.where(used, total, 1.0), 0.0)[..., None])[..., 0]

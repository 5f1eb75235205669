"""Pseudo-inverse guidance: the belief taken for a Gaussian of one width."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.state import expand
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior, Posterior
from unstir.denoisers.variances import linear_variance
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods.base import NO_LAW, Method
from unstir.inverse.methods.conjugate_gradients import conjugate_gradients
from unstir.inverse.methods.guided import MeasuredDenoiser, Slope, check_deviation, check_strength, deviation_of
from unstir.inverse.operators.base import LinearOperator
from unstir.samplers.base import Sampler

__all__ = ["PiGDMMethod"]

_LARGEST_DENSE = 2048  # elements of a sample, for operators whose singular values are found in a matrix
_ITERATIONS, _TOLERANCE = 64, 1e-8


@dataclass(frozen=True)
class PiGDMMethod(Method):
    r"""Pseudo-inverse guidance (PiGDM): the belief taken for a Gaussian of one width about its mean.

    .. math:: \hat x_0' = \hat x_0 + \zeta\,\frac{\sigma^2}{\alpha}\Big(\frac{\partial\hat x_0}{\partial x_t}\Big)^T
              A^T\big(r_t^2AA^T+\sigma_y^2I\big)^{-1}(y-A\hat x_0)

    with :math:`r_t^2 = s^2\sigma^2/(\alpha^2s^2+\sigma^2)`, what is left of data of standard ``deviation`` s (by
    default the network's own, else 1). ``strength`` :math:`\zeta=1` is Bayes's rule, and then the belief's mean is
    exact for independent normal data of that deviation. Of data with structure more is known than :math:`r_t` says, so
    that this pull is too weak there, and the default is stronger, as are the paper's weights. One pass backwards a
    step; the inverse is found in the operator's singular values, or without a matrix for large samples. An exact
    measurement is allowed, for which the inverse is the pseudo-inverse.

    Raises InputError for options out of range.

    Reference: Song, Vahdat, Mardani, Kautz, Pseudoinverse-guided diffusion models for inverse problems (2023),
    section 3 and eq. 7.
    """

    strength: float | int = 4.0
    deviation: float | int | None = None
    sampler: Any = "ancestral"

    exact_for = NO_LAW
    spaces = frozenset({"euclidean"})
    needs = frozenset({"linear", "gaussian"})

    def __post_init__(self) -> None:
        check_strength(self.strength)
        check_deviation(self.deviation)

    def pair(self, denoiser: Denoiser, measurement: Measurement) -> tuple[Denoiser, Sampler]:
        return PiGDMDenoiser(denoiser, measurement, self), build("samplers", self.sampler)


class PiGDMDenoiser(MeasuredDenoiser):
    """The belief of ``PiGDMMethod``: a point."""

    def __init__(self, denoiser: Denoiser, measurement: Measurement, method: PiGDMMethod) -> None:
        super().__init__(denoiser, measurement)
        self.method, self.deviation = method, deviation_of(denoiser, method.deviation)

    def told(self, slope: Slope) -> Posterior:
        width = linear_variance(slope.log_snr, self.deviation)
        pull = weighed(self.operator, self.measurement.residual(slope.mean.double()), width, self.noise_variance)
        return PointPosterior(slope.moved(self.method.strength * slope.covariance_times(pull)))


def weighed(operator: LinearOperator, residual: Tensor, width: Tensor, noise: float) -> Tensor:
    r""":math:`A^T(vAA^T+nI)^{-1}r` of float64 residuals, (batch, *shape); ``width`` v is () or (batch,).

    What was read without noise and cannot be changed is left out.
    """
    dense = type(operator).decomposition is LinearOperator.decomposition
    if dense and math.prod(operator.shape) > _LARGEST_DENSE:
        v = expand(width, residual)
        found = conjugate_gradients(
            lambda values: v * operator(operator.adjoint(values)) + noise * values, residual, _ITERATIONS, _TOLERANCE
        )
        return operator.adjoint(found)
    parts = operator.decomposition
    values = parts.values.to(residual)
    modes = parts.measured_to_modes(residual)[:, : len(values)]
    total = (width[:, None] if width.ndim else width).to(values) * values.square() + noise
    known = (values > values.max() * 1e-7) & (total > 0)
    told = torch.where(known, values * modes / torch.where(known, total, 1.0), 0.0)
    rest = told.new_zeros(len(told), math.prod(operator.shape) - len(values))
    return parts.modes_to_samples(torch.cat((told, rest), 1))

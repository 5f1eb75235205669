"""Diffusion posterior sampling: down the slope of how far the belief's mean is from what was read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import unknown
from unstir.core.state import expand
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior, Posterior
from unstir.denoisers.variances import linear_variance
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods.base import NO_LAW, Method
from unstir.inverse.methods.guided import (
    LINEAR_SPACES,
    MeasuredDenoiser,
    Slope,
    check_deviation,
    check_strength,
    deviation_of,
)
from unstir.samplers.base import Sampler

__all__ = ["DPSMethod"]

ENERGIES = ("residual", "likelihood")


@dataclass(frozen=True)
class DPSMethod(Method):
    r"""DPS: the belief's mean goes down the slope of its residual, with a step that the residual's size divides.

    .. math:: \hat x_0' = \hat x_0 - \zeta\,\frac{\sigma^2}{\alpha}\,
              \frac{\sqrt m}{\sqrt{\sigma_y^2+r_t^2}}\,\nabla_{x_t}\|y-A(\hat x_0)\|

    As published, :math:`\zeta_i\nabla\|y-A(\hat x_0)\|` is taken from the state after each step of one schedule. A step
    from t to s multiplies the mean by :math:`\alpha_s(1-e^{\lambda_t-\lambda_s})`, so the same is a move of the mean
    that any sampler follows; in the form above it depends neither on the schedule nor on the number of steps. With
    ``strength`` :math:`\zeta=1` it is Bayes's rule where the m values of the residual are as large as they should be:
    of the noise's deviation :math:`\sigma_y` and what is not known of the data, :math:`r_t`, for data of the standard
    ``deviation`` (by default the network's own, else 1) seen without amplification. More is needed where few values
    are read or A weakens them. The norm is of each sample alone, and of it the gradient is bounded.

    With ``energy`` likelihood the mean moves by :math:`\zeta\frac{\sigma^2}{\alpha}\nabla_{x_t}\log p(y|\hat x_0)`, for
    noise of any law: too far wherever the belief is wide, since it takes :math:`\hat x_0` for the truth.

    A may be any differentiable operator. Exact for no law: the width of the belief is left out.

    Raises InputError for options out of range.

    Reference: Chung, Kim, McCann, Klasky, Ye, Diffusion posterior sampling for general noisy inverse problems (2023),
    algorithm 1 and section 3.2.
    """

    strength: float | int = 5.0
    energy: str = "residual"
    deviation: float | int | None = None
    sampler: Any = "ancestral"

    exact_for = NO_LAW
    spaces = LINEAR_SPACES

    def __post_init__(self) -> None:
        check_strength(self.strength)
        check_deviation(self.deviation)
        if self.energy not in ENERGIES:
            raise unknown("energy of DPS", self.energy, ENERGIES)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """A likelihood needs noise of some width."""
        return frozenset({"differentiable", "positive"} if self.energy == "likelihood" else {"differentiable"})

    def pair(self, denoiser: Denoiser, measurement: Measurement) -> tuple[Denoiser, Sampler]:
        return DPSDenoiser(denoiser, measurement, self), build("samplers", self.sampler)

    @classmethod
    def examples(cls) -> Mapping[str, "DPSMethod"]:
        """Both energies."""
        return {"residual": cls(), "likelihood": cls(0.3, "likelihood")}


class DPSDenoiser(MeasuredDenoiser):
    """The belief of ``DPSMethod``: a point, since nothing is known of its width."""

    def __init__(self, denoiser: Denoiser, measurement: Measurement, method: DPSMethod) -> None:
        super().__init__(denoiser, measurement)
        self.method, self.deviation = method, deviation_of(denoiser, method.deviation)

    def told(self, slope: Slope) -> Posterior:
        if self.method.energy == "likelihood":
            with torch.enable_grad():
                energy = -self.measurement.log_likelihood(slope.attached_mean).sum()
            shift = slope.covariance_times(slope.in_mean(energy))
        else:
            shift = slope.covariance_times(self._steepest(slope))
        return PointPosterior(slope.moved(-self.method.strength * shift))

    def _steepest(self, slope: Slope) -> Tensor:
        """The gradient of the residual's norm in the mean, over the width that the residual should have."""
        with torch.enable_grad():
            residual = self.measurement.residual(slope.attached_mean).double().flatten(1)
            half_square = residual.square().sum() / 2
        gradient = slope.in_mean(half_square)
        size = (residual if slope.outer else residual.detach()).norm(dim=1)
        # at zero the norm has no gradient, and nothing moves
        unit = torch.where(size > 0, 1 / torch.where(size > 0, size, 1.0), 0.0)
        gain = (gradient.flatten(1).norm(dim=1) * unit).square()
        width = self.noise_variance + gain * linear_variance(slope.log_snr, self.deviation)
        factor = torch.where(width > 0, residual.shape[1] / torch.where(width > 0, width, 1.0), 0.0).sqrt() * unit
        return expand(factor, gradient) * gradient

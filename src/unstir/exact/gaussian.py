"""The exact denoiser of one Gaussian."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.exact.component_denoiser import ComponentDenoiser
from unstir.exact.covariances import LowRank, components_of
from unstir.exact.observations import observe
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule

__all__ = ["GaussianDenoiser"]


class GaussianDenoiser(ComponentDenoiser):
    r"""A Gaussian, whose belief about the clean data is a Gaussian: Wiener's filter.

    For :math:`x_0\sim N(m,C)`, :math:`V=\alpha^2C+\sigma^2I`: the noisy law is :math:`N(\alpha m,V)`, the belief has
    the mean :math:`m+\alpha CV^{-1}(x_t-\alpha m)` and the covariance :math:`\sigma^2CV^{-1}`.

    ``mean`` has the shape of one sample, of any number of axes. ``covariance``, in the square of the data's unit, is
    one variance (), one for each element (*shape), the matrix (d, d), d the number of elements, or a ``LowRank``, whose
    cost grows with d and not with its square. Zero variances are allowed. All else is as in ``MixtureDenoiser``.

    Raises InputError for shapes that do not agree or a covariance that is none.

    Reference: Wiener, Extrapolation, interpolation and smoothing of stationary time series (1949); Bishop, Pattern
    Recognition and Machine Learning (2006), eq. 2.113 to 2.117.
    """

    def __init__(
        self,
        mean: Any,
        covariance: Any,
        process: GaussianProcess,
    ) -> None:
        mean = torch.as_tensor(mean, dtype=torch.float64)
        if not mean.numel() or not bool(mean.isfinite().all()):
            raise InputError(f"a mean is finite and has the shape of one sample; seen shape {tuple(mean.shape)}")
        if isinstance(covariance, LowRank):
            given: Any = LowRank(torch.as_tensor(covariance.factor)[None], torch.as_tensor(covariance.diagonal)[None])
        else:
            given = torch.as_tensor(covariance, dtype=torch.float64)[None]
        log_weights = torch.zeros(1, dtype=torch.float64, device=mean.device)
        super().__init__(log_weights, components_of(mean[None], given), mean.shape, process)

    @property
    def mean(self) -> Tensor:
        """Of the shape of one sample."""
        return self.components.means[0, 0].reshape(self.shape)

    def covariance(self) -> Tensor:
        """The covariance of the elements, (d, d)."""
        return self.components.covariances()[0, 0]

    def given_observation(
        self, operator: Tensor, observation: Tensor, noise: Tensor | float | int
    ) -> "GaussianDenoiser":
        """The Gaussian given y = A x_0 + e (Kalman's update); see ``EuclideanDenoiser.given_observation``.

        ``log_evidence`` of the result is log p(y), added to what it was.
        """
        components, log_weights, evidence = observe(self.components, self.log_weights, operator, observation, noise)
        given = GaussianDenoiser.__new__(GaussianDenoiser)
        ComponentDenoiser.__init__(
            given, log_weights, components, self.shape, self.process, None, self.log_evidence + evidence
        )
        return given

    @classmethod
    def examples(cls) -> Mapping[str, "GaussianDenoiser"]:
        """One variance, one an element, a whole matrix and factors; three kinds of schedule."""
        matrix = torch.tensor([[1.0, 0.6, -0.2], [0.6, 0.8, 0.1], [-0.2, 0.1, 0.3]])
        factors = LowRank(torch.tensor([[0.9], [0.4], [-0.6], [0.2], [0.5]]), torch.tensor([0.1, 0.3, 0.2, 0.1, 0.4]))
        flow, ve = GaussianProcess(RectifiedFlowSchedule()), GaussianProcess(EDMSchedule(sigma_max=20.0))
        return {
            "isotropic-ve": cls([0.5, -1.0], 0.3, ve),
            "grid": cls([[0.3, -0.2], [0.8, 0.1]], [[0.1, 0.5], [0.9, 0.3]], GaussianProcess()),
            "correlated-flow": cls([0.5, 0.0, -1.0], matrix, flow),
            "factors": cls([0.2, 0.1, -0.4, 0.0, 1.0], factors, GaussianProcess()),
        }

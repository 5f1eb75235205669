"""The exact denoiser of a mixture of Gaussians."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.exact.component_denoiser import ComponentDenoiser
from unstir.exact.covariances import LowRank, components_of
from unstir.exact.gaussian_components import Components
from unstir.exact.labels import checked_labels, checked_weights
from unstir.exact.observations import observe
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule

__all__ = ["MixtureDenoiser"]


class MixtureDenoiser(ComponentDenoiser):
    r"""A mixture of Gaussians, of any weights and covariances; its belief about the clean data is one too.

    For :math:`x_0\sim\sum_j w_jN(m_j,C_j)` the noisy law is :math:`\sum_j w_jN(\alpha m_j,V_j)`,
    :math:`V_j=\alpha^2C_j+\sigma^2I`, and the belief is the mixture of
    :math:`N(m_j+\alpha C_jV_j^{-1}(x_t-\alpha m_j),\,\sigma^2C_jV_j^{-1})` with weights in proportion to
    :math:`w_jN(x_t;\alpha m_j,V_j)`. The score is their weighted mean of :math:`V_j^{-1}(\alpha m_j-x_t)`.

    ``weights`` (k,) are non-negative and are made to sum to one. ``means`` are (k, *shape), ``shape`` that of one
    sample. ``covariances``, in the square of the data's unit, say by their shape what they are: (k,) one variance
    for each component, (k, *shape) one for each element, (k, d, d) the whole matrix with d the number of elements; or
    a ``LowRank``. Zero variances are allowed. ``labels`` (k,), whole numbers: the condition ``label`` then leaves
    the components with that label.

    Everything is computed in float64. Log-weights are as exact as squared Mahalanobis distances are: to about 1e-16
    of the larger of those compared, which is what a change of x_t in its last digit would do to them. At time 0 the
    belief is x_t itself, and where noise is infinite the data's own law.

    Raises InputError for shapes that do not agree, negative variances, or conditions that are not known.

    Reference: Bishop, Pattern Recognition and Machine Learning (2006), section 2.3.3 and 9.2; Vincent, A connection
    between score matching and denoising autoencoders (2011).
    """

    def __init__(
        self,
        weights: Any,
        means: Any,
        covariances: Any,
        process: GaussianProcess,
        labels: Any = None,
    ) -> None:
        means = torch.as_tensor(means, dtype=torch.float64)
        if not means.ndim or not means.numel() or not bool(means.isfinite().all()):
            raise InputError(f"means are finite, of shape (components, *sample); seen shape {tuple(means.shape)}")
        count = len(means)
        components = components_of(means, covariances)
        log_weights = checked_weights(weights, count, "component").to(means.device)
        super().__init__(log_weights, components, means.shape[1:], process, checked_labels(labels, count, "component"))

    @property
    def weights(self) -> Tensor:
        """(k,), summing to one."""
        return self.log_weights.exp()

    @property
    def means(self) -> Tensor:
        """(k, *shape)."""
        return self.components.means[0].reshape(-1, *self.shape)

    def covariances(self) -> Tensor:
        """The covariance of each component, (k, d, d)."""
        return self.components.covariances()[0]

    def given_observation(
        self, operator: Tensor, observation: Tensor, noise: Tensor | float | int
    ) -> "MixtureDenoiser":
        """The mixture given y = A x_0 + e: components are updated, and weighted by how well they foretold y.

        See ``EuclideanDenoiser.given_observation``. ``log_evidence`` of the result is log p(y), added to what it was.
        """
        components, log_weights, log_evidence = observe(self.components, self.log_weights, operator, observation, noise)
        return self._with(components, log_weights, self.log_evidence + log_evidence)

    def _with(self, components: Components, log_weights: Tensor, log_evidence: Tensor) -> "MixtureDenoiser":
        given = type(self).__new__(type(self))
        ComponentDenoiser.__init__(given, log_weights, components, self.shape, self.process, self.labels, log_evidence)
        return given

    @classmethod
    def examples(cls) -> Mapping[str, "MixtureDenoiser"]:
        """Isotropic, unequal along axes, correlated, labelled, with factors, and on a grid of elements."""
        rotated = torch.tensor([[[1.0, 0.7], [0.7, 0.6]], [[0.3, -0.2], [-0.2, 0.5]], [[0.5, 0.0], [0.0, 0.05]]])
        plane = [[1.0, 0.5], [-1.0, 0.8], [0.2, -1.2]]
        axes = [[0.2, 0.5, 0.05], [0.4, 0.1, 0.3]]
        factor = torch.tensor([[[0.8], [0.3], [-0.5], [0.1]], [[-0.2], [0.6], [0.4], [0.9]]])
        low_rank = LowRank(factor, torch.tensor([[0.1, 0.2, 0.3, 0.1], [0.4, 0.1, 0.1, 0.2]]))
        apart = [[1.0, 0.0, 0.0, 0.5], [-1.0, 0.5, 0.5, 0.0]]
        grid = [[[1.0, -0.5], [0.3, 0.8]], [[-1.0, 0.2], [0.4, -0.6]]]
        flow, ve = GaussianProcess(RectifiedFlowSchedule()), GaussianProcess(EDMSchedule(sigma_max=20.0))
        return {
            "line": cls([0.7, 0.3], [[-1.0], [1.5]], [0.04, 0.25], GaussianProcess()),
            "correlated": cls([0.5, 0.3, 0.2], plane, rotated, GaussianProcess()),
            "axes-flow": cls([0.6, 0.4], [[1.0, 0.0, -0.5], [-0.8, 0.6, 0.4]], axes, flow),
            "labelled-ve": cls([0.2, 0.3, 0.5], plane, [0.1, 0.2, 0.15], ve, labels=[0, 1, 1]),
            "factors": cls([0.35, 0.65], apart, low_rank, GaussianProcess()),
            "grid-ve": cls([0.5, 0.5], grid, [0.2, 0.1], ve),
        }

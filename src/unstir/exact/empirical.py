"""The exact denoiser of finitely many points."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.exact.base import EuclideanDenoiser
from unstir.exact.empirical_posterior import EmpiricalPosterior, Points
from unstir.exact.labels import checked_labels, checked_weights, label_log_weights
from unstir.exact.noise_pairs import flat_noise
from unstir.exact.observations import measurement
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule

__all__ = ["EmpiricalDenoiser"]


class EmpiricalDenoiser(EuclideanDenoiser):
    r"""Finitely many points, with weights: what a perfect memoriser of a data set would believe.

    The belief puts the share :math:`w_i\propto p_i\exp(-|x_t-\alpha x_i|^2/2\sigma^2)` on the point :math:`x_i`; the
    noisy law is a mixture of Gaussians of the noise's width about the points.

    ``points`` (n, *shape) stay in the dtype that they have (float32 saves memory); they are taken ``chunk`` at a time,
    so that memory grows with batch times chunk. ``weights`` (n,), even if left out, are made to sum to one. ``labels``
    (n,), whole numbers: the condition ``label`` leaves the points with that label. Distances are matrix products,
    and differences where those would lose digits. Points are of probability, not density: at time 0 ``log_density`` is
    the log-probability of a point and -inf elsewhere, as is ``log_prob`` of the belief. At time 0 the belief is
    the nearest point.

    Raises InputError for shapes that do not agree, or conditions that are not known.

    Reference: Gu, Du, Pang, Li, Lin, Wang, On memorization in diffusion models (2023), section 2.2; Karras et al.,
    Elucidating the design space of diffusion models (2022), eq. 57.
    """

    def __init__(
        self,
        points: Any,
        process: GaussianProcess,
        weights: Any = None,
        labels: Any = None,
        chunk: int = 4096,
        log_evidence: Tensor | None = None,
    ) -> None:
        super().__init__()
        points = points if isinstance(points, Tensor) else torch.as_tensor(points, dtype=torch.float64)
        points = points if points.is_floating_point() else points.double()
        if not points.ndim or not points.numel() or not bool(points.isfinite().all()):
            raise InputError(f"points are finite, of shape (points, *sample); seen shape {tuple(points.shape)}")
        if chunk < 1:
            raise InputError(f"a chunk holds at least one point; seen {chunk}")
        self.process = process
        self.shape = tuple(points.shape[1:])
        weights = torch.ones(len(points)) if weights is None else weights
        self.log_weights = checked_weights(weights, len(points), "point").to(points.device)
        self.labels = checked_labels(labels, len(points), "point")
        self.law = Points(points.reshape(len(points), -1), chunk)
        self.log_evidence = torch.zeros((), dtype=torch.float64) if log_evidence is None else log_evidence

    @property
    def points(self) -> Tensor:
        """(n, *shape)."""
        return self.law.values.reshape(-1, *self.shape)

    @property
    def weights(self) -> Tensor:
        """(n,), summing to one."""
        return self.log_weights.exp()

    def belief(
        self, xt: Tensor, alpha: Tensor | float, sigma: Tensor | float, drop: Tensor | None = None, **condition: Tensor
    ) -> EmpiricalPosterior:
        """The belief: shares of the points."""
        seen = self._seen(xt, alpha, sigma, drop, condition)
        total, mean = seen.summed()
        return EmpiricalPosterior(mean.reshape(xt.shape).to(xt.dtype), total, seen)

    def score_at(
        self, xt: Tensor, alpha: Tensor | float, sigma: Tensor | float, drop: Tensor | None = None, **condition: Tensor
    ) -> Tensor:
        seen = self._seen(xt, alpha, sigma, drop, condition)
        mean = seen.summed()[1]
        return ((seen.alpha * mean - seen.x) / seen.noise).reshape(xt.shape).to(xt.dtype)

    def log_density_at(
        self, xt: Tensor, alpha: Tensor | float, sigma: Tensor | float, drop: Tensor | None = None, **condition: Tensor
    ) -> Tensor:
        seen = self._seen(xt, alpha, sigma, drop, condition)
        return seen.log_density(seen.summed()[0])

    def draw(self, seeds: Seeds, t: Tensor | float = 0.0, drop: Tensor | None = None, **condition: Tensor) -> Tensor:
        """Exact draws of x_t, float64."""
        seeds = seeds.to(self.log_weights.device)
        chosen = choose(
            self._log_weights(len(seeds), drop, condition).expand(len(seeds), -1), seeds.at("data", "component")
        )
        clean = self.points[chosen].double()
        alpha, sigma = self.process.coefficients(torch.as_tensor(t, dtype=torch.float64), clean)
        return alpha * clean + sigma * seeds.at("noise").normal_like(clean)

    def given_observation(
        self, operator: Tensor, observation: Tensor, noise: Tensor | float | int
    ) -> "EmpiricalDenoiser":
        """The points given y = A x_0 + e, weighted by how well they foretell y; see ``EuclideanDenoiser``.

        ``log_evidence`` of the result is log p(y), added to what it was. With noise zero a point either gives y
        (to within rounding) or not, and p(y) is a probability in those directions.
        """
        size = self.law.values.shape[1]
        operator, observation, covariance = measurement(operator, observation, noise, size, self.log_weights.device)
        log_likelihood = self.law.log_likelihood(operator, observation, covariance)
        joint = self.log_weights + log_likelihood
        total = joint.logsumexp(0)
        if not bool(total > -torch.inf):
            raise InputError("the observation is impossible under this law: no point gives it; check it or its noise")
        kept = joint > -torch.inf
        return EmpiricalDenoiser(
            self.points[kept],
            self.process,
            (joint[kept] - total).exp(),
            None if self.labels is None else self.labels[kept],
            self.law.chunk,
            self.log_evidence + total,
        )

    @classmethod
    def examples(cls) -> Mapping[str, "EmpiricalDenoiser"]:
        """Few points with unequal weights, labelled ones, and many in small chunks."""
        spiral = torch.linspace(0.5, 6.0, 40, dtype=torch.float64)
        many = torch.stack((spiral * spiral.cos(), spiral * spiral.sin()), 1) / 3
        few = [[1.0, 0.0, 0.3], [-0.5, 0.8, 0.0], [0.0, -1.0, -0.6], [0.4, 0.4, 0.9]]
        return {
            "few": cls(few, GaussianProcess(), weights=[0.4, 0.3, 0.2, 0.1]),
            "spiral-ve": cls(many, GaussianProcess(EDMSchedule(sigma_max=20.0)), chunk=16),
            "labelled": cls([[-1.0], [0.2], [1.1]], GaussianProcess(), labels=[0, 1, 1]),
        }

    def _log_weights(self, batch: int, drop: Tensor | None, condition: Mapping[str, Tensor]) -> Tensor:
        return label_log_weights(type(self).__name__, self.log_weights, self.labels, batch, drop, condition)

    def _seen(
        self, xt: Tensor, alpha: Tensor | float, sigma: Tensor | float, drop: Tensor | None, condition: Any
    ) -> Any:
        x, alpha, sigma = flat_noise(xt, alpha, sigma, self.shape)
        return self.law.seen(x, alpha, sigma, self._log_weights(len(xt), drop, condition))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "EmpiricalDenoiser":
        """Follows to another device; the numbers keep their dtype whatever is asked for."""
        super()._apply(fn, recurse)
        device = fn(self.log_weights).device
        self.law = self.law.to(device)
        self.log_weights, self.log_evidence = self.log_weights.to(device), self.log_evidence.to(device)
        self.labels = None if self.labels is None else self.labels.to(device)
        return self

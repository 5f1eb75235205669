"""The exact denoiser of a mixture of Gaussians on a grid, where every frequency has a schedule of its own."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import Posterior
from unstir.exact.axis_components import AxisComponents
from unstir.exact.base import ExactDenoiser
from unstir.exact.factor_components import FactorComponents
from unstir.exact.gaussian_components import Components, Noisy, floored, log_mixture
from unstir.exact.labels import checked_labels, checked_weights, label_log_weights
from unstir.exact.mixture import MixtureDenoiser
from unstir.exact.mixture_posterior import MixturePosterior
from unstir.processes.frequency_bands import GridModes
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.spectral import SpectralProcess

__all__ = ["SpectralMixtureDenoiser"]


@dataclass(frozen=True)
class SpectralPosterior(Posterior):
    """A mixture of Gaussians for each sample, known in the modes of a grid and told on the grid."""

    mean: Tensor
    modes: MixturePosterior = field(repr=False)
    grid: GridModes = field(repr=False)

    @property
    def variance(self) -> Tensor:
        """The variance of each element, of the state's shape."""
        return self.covariance().diagonal(dim1=1, dim2=2).reshape(self.mean.shape)

    def covariance(self) -> Tensor:
        """The covariance of the elements of each sample, (batch, d, d)."""
        own = self.modes.covariance().double()
        count, size = len(own), own.shape[1]
        half = self.grid.to_grid(own.reshape(count * size, *self.mean.shape[1:])).reshape(count, size, size)
        whole = self.grid.to_grid(half.mT.reshape(count * size, *self.mean.shape[1:]))
        return whole.reshape(count, size, size).to(self.mean.dtype)

    def sample(self, seeds: Seeds) -> Tensor:
        return self.grid.to_grid(self.modes.sample(seeds)).to(self.mean.dtype)

    def log_prob(self, x0: Tensor) -> Tensor:
        return self.modes.log_prob(self.grid.to_modes(x0.double())).to(x0.dtype)


class SpectralMixtureDenoiser(ExactDenoiser):
    r"""A mixture of Gaussians on a grid, stirred by heat: in the modes, noise and signal differ by coordinate.

    With the orthonormal modes Q, the components :math:`N(Qm_j, QC_jQ^T)` meet :math:`z_t = A z_0 + S\epsilon` with the
    diagonal A and S of the process: :math:`V_j = AQC_jQ^TA + S^2`. The belief is Gaussian algebra in z, told back on
    the grid.

    ``weights`` (k,), ``means`` (k, channels, *size). Either ``covariances`` as in ``MixtureDenoiser`` (of the grid's
    values; one variance for each component (k,), one for each element, or whole matrices), or ``spectra`` (k, channels,
    *size): the variance of each mode, in the order of ``process.modes``, of stationary fields; their cost grows with d
    only. ``labels`` (k,) allow the condition ``label``. Float64 throughout.

    Raises InputError for shapes that do not agree and for matrices that are not positive definite.

    Reference: Hoogeboom, Salimans, Blurring diffusion models (2023), section 4; Bishop, Pattern recognition and machine
    learning (2006), section 2.3.3.
    """

    def __init__(
        self,
        weights: Any,
        means: Any,
        covariances: Any,
        process: SpectralProcess,
        labels: Any = None,
        spectra: Any = None,
    ) -> None:
        super().__init__()
        means = torch.as_tensor(means, dtype=torch.float64)
        if means.ndim < 3 or not bool(means.isfinite().all()):
            raise InputError(f"means are finite, (components, channels, *size); seen the shape {tuple(means.shape)}")
        if (covariances is None) == (spectra is None):
            raise InputError("give covariances of the grid's values, or spectra of the modes: one of the two")
        count = len(means)
        self.process, self.shape = process, tuple(means.shape[1:])
        self.grid = process.modes(means)
        self.log_weights = checked_weights(weights, count, "component")
        self.labels = checked_labels(labels, count, "component")
        self.spectra = None if spectra is None else torch.as_tensor(spectra, dtype=torch.float64)
        given = torch.zeros(count) if covariances is None else covariances
        # the data's own law, where no noise has been: it is the same whatever stirs it
        self.law = MixtureDenoiser(weights, means, given, GaussianProcess(process.schedule), labels)
        self.components = self._in_modes(means, covariances)
        self.log_evidence = torch.zeros((), dtype=torch.float64)

    @classmethod
    def examples(cls) -> Mapping[str, "SpectralMixtureDenoiser"]:
        """Isotropic, stationary and correlated; heat, waits and leaps."""
        draw = torch.Generator().manual_seed(0)
        means = torch.randn(3, 1, 2, 3, generator=draw, dtype=torch.float64)
        roots = torch.randn(2, 6, 6, generator=draw, dtype=torch.float64) / 3
        spectra = 0.05 + torch.rand(2, 1, 2, 3, generator=draw, dtype=torch.float64)
        heat, leaps = SpectralProcess(blur=2.0), SpectralProcess(EDMSchedule(sigma_max=20.0), 1.0, space_order=1.0)
        waits = SpectralProcess(blur=1.5, time_order=0.5, boundary="periodic")
        matrices = roots @ roots.mT + 0.05 * torch.eye(6, dtype=torch.float64)
        return {
            "one variance each, labelled": cls([0.5, 0.3, 0.2], means, [0.1, 0.2, 0.15], heat, labels=[0, 1, 1]),
            "stationary, waits": cls([0.4, 0.6], means[:2], None, waits, spectra=spectra),
            "correlated, leaps": cls([0.7, 0.3], means[1:], matrices, leaps),
        }

    def forward(self, xt: Tensor, t: Tensor | float, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The belief about the clean data."""
        noisy, log_weights = self._seen(xt, t, drop, condition)
        shares = (log_weights + noisy.log_densities).log_softmax(1)
        mean = noisy.mean(shares.exp()).reshape(xt.shape)
        inner = MixturePosterior(mean, shares, noisy)
        return SpectralPosterior(self.grid.to_grid(mean).to(xt.dtype), inner, self.grid)

    def score(self, xt: Tensor, t: Tensor | float, drop: Tensor | None = None, **condition: Tensor) -> Tensor:
        """grad log p_t(x_t), of the state's shape and dtype."""
        noisy, log_weights = self._seen(xt, t, drop, condition)
        shares = (log_weights + noisy.log_densities).softmax(1)
        return self.grid.to_grid(noisy.score(shares).reshape(xt.shape)).to(xt.dtype)

    def log_density(self, xt: Tensor, t: Tensor | float, drop: Tensor | None = None, **condition: Tensor) -> Tensor:
        """log p_t(x_t) in nats, float64 (batch,)."""
        noisy, log_weights = self._seen(xt, t, drop, condition, floor=False)
        return log_mixture(log_weights, noisy)

    def draw(self, seeds: Seeds, t: Tensor | float = 0.0, **condition: Tensor) -> Tensor:
        """Exact draws of x_t, float64."""
        log_weights = self._log_weights(len(seeds), None, condition).expand(len(seeds), -1)
        chosen = choose(log_weights, seeds.at("data", "component"))
        clean = self.components.draw(chosen, seeds.at("data", "within")).reshape(len(seeds), *self.shape)
        return self.process.noise(self.grid.to_grid(clean), torch.as_tensor(t, dtype=torch.float64), seeds.at("noise"))

    def given_observation(
        self, operator: Tensor, observation: Tensor, noise: Tensor | float | int
    ) -> "SpectralMixtureDenoiser":
        """The law given y = A x_0 + e, under the same process; see ``EuclideanDenoiser.given_observation``.

        ``log_evidence`` of the result is log p(y).
        """
        law = self.law
        if self.spectra is not None:
            law = MixtureDenoiser(law.weights, law.means, self._covariances(), law.process, self.labels)
        told = law.given_observation(operator, observation, noise)
        given = SpectralMixtureDenoiser(told.weights, told.means, told.covariances(), self.process, self.labels)
        given.log_evidence = self.log_evidence + told.log_evidence
        return given

    def _in_modes(self, means: Tensor, covariances: Any) -> Components:
        count, size = len(means), math.prod(self.shape)
        flat = self.grid.to_modes(means).reshape(count, size)
        if self.spectra is not None:
            if self.spectra.shape != means.shape or not bool((self.spectra >= 0).all()):
                raise InputError(
                    f"spectra are variances, none negative, of the means' shape {tuple(means.shape)}; seen "
                    f"{tuple(self.spectra.shape)}"
                )
            return AxisComponents(flat[None], self.spectra.reshape(1, count, size))
        variances = torch.as_tensor(covariances, dtype=torch.float64) if not hasattr(covariances, "factor") else None
        if variances is not None and variances.shape == (count,):
            return AxisComponents(flat[None], variances[None, :, None].expand(1, count, size))
        return FactorComponents.of(flat, self._turned(self.law.covariances()))

    def _turned(self, matrices: Tensor, back: bool = False) -> Tensor:
        """Q C Q^T of matrices (k, d, d), or Q^T C Q."""
        turn = self.grid.to_grid if back else self.grid.to_modes
        for _ in range(2):
            matrices = turn(matrices.reshape(-1, *self.shape)).reshape(matrices.shape).mT
        return matrices

    def _covariances(self) -> Tensor:
        return self._turned(self.components.covariances()[0], back=True)

    def _log_weights(self, batch: int, drop: Tensor | None, condition: Mapping[str, Tensor]) -> Tensor:
        return label_log_weights(type(self).__name__, self.log_weights, self.labels, batch, drop, condition)

    def _seen(
        self, xt: Tensor, t: Tensor | float, drop: Tensor | None, condition: Mapping[str, Tensor], floor: bool = True
    ) -> tuple[Noisy, Tensor]:
        if tuple(xt.shape[1:]) != self.shape:
            raise InputError(f"samples of the shape {self.shape} are known here; seen a batch {tuple(xt.shape)}")
        modes = self.grid.to_modes(xt.double()).flatten(1)
        alpha, sigma = (part.expand(-1, *self.shape).flatten(1) for part in self.process.coefficients(t, xt.double()))
        noise = floored(sigma.square()) if floor else sigma.square()
        return self.components.noisy(modes, alpha, noise), self._log_weights(len(xt), drop, condition)

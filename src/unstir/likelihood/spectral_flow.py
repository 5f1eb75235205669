"""The probability flow in the modes of a grid, where every frequency has a schedule of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.denoisers.base import Denoiser
from unstir.exact.spectral import SpectralMixtureDenoiser
from unstir.likelihood.divergence import TraceEstimator
from unstir.processes.schedules.base import float64
from unstir.processes.spectral import SpectralProcess


@dataclass(frozen=True)
class SpectralFlow:
    r"""The flow's slope and the rate of the log-density; states are modes :math:`z_k = x_k/\sqrt{\alpha_k^2+\sigma^2}`.

    Along :math:`u_k = \log(1+r_k^2)` each mode obeys :math:`dz_k/du_k = -(z_k + \nabla_k\log p(z))/2`; the clock is
    :math:`\log(1+r^2/knee)` of the slowest mode, whose noise level is r.
    """

    denoiser: Denoiser
    process: SpectralProcess
    condition: Mapping[str, Tensor]
    estimator: TraceEstimator
    differentiable: bool
    size: tuple[int, ...]
    knee: float

    @property
    def mask(self) -> Tensor | None:
        """Grids are whole."""
        return None

    def begun(self, x: Tensor, level: float) -> Tensor:
        """The state of data x, in the modes."""
        return self.process.modes(x).to_modes(x) / self._growth(x, level)

    def stretch(self, x: Tensor, level: float) -> Tensor:
        """By how much the log-density of x lies below that of its state."""
        return self._growth(x, level).log().expand_as(x[:1]).sum().expand(len(x))

    def slope(self, z: Tensor, squared: Tensor) -> tuple[Tensor, Tensor]:
        """dz and d log p by the clock, (batch, *shape) and (batch, columns), at noise levels r^2 (batch,)."""
        paces = self._paces(z, squared)
        score, traces = self.score(z, squared, paces)
        whole = paces.expand_as(z).flatten(1).sum(1, keepdim=True)
        return -(paces * z + score) / 2, -(whole + traces) / 2

    def score(self, z: Tensor, squared: Tensor, paces: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """The score of z times the paces, and estimates of its divergence."""
        t, grid = self._times(squared), self.process.modes(z)
        alpha, sigma = self.process.coefficients(t, z)
        scale = torch.hypot(alpha.expand_as(z), sigma.expand_as(z))
        dtype = next((weight.dtype for weight in self.denoiser.parameters()), z.dtype)

        def field(at: Tensor) -> Tensor:
            xt = grid.to_grid(scale * at)
            if isinstance(self.denoiser, SpectralMixtureDenoiser):
                told = self.denoiser.score(xt, t, **self.condition)
            else:
                mean = self.denoiser(xt.to(dtype), t, **self.condition).mean.to(z.dtype)
                told = self.process.score_of(xt, mean, t)
            return paces * scale * grid.to_modes(told)

        return self.estimator(field, z, self.differentiable)

    def noise_share(self, z: Tensor, squared: float) -> Tensor:
        """The variance of each mode under the prior."""
        own = squared / self._kept(z, torch.full((1,), squared, dtype=torch.float64)).square()
        return own / (1 + own)

    def at_end(self, z: Tensor, t: float, density: Callable[[Tensor, float], Tensor]) -> Tensor:
        """What a density of states tells of z, which is the state at t."""
        alpha, sigma = self.process.coefficients(t, z)
        scale = torch.hypot(alpha, sigma)
        told = density(self.process.modes(z).to_grid(scale * z), t).double()
        return told + scale.log().expand_as(z[:1]).sum()

    def _growth(self, x: Tensor, level: float) -> Tensor:
        kept = self._kept(x, torch.full((1,), level**2, dtype=torch.float64))
        return (1 + (level / kept).square()).sqrt()

    def _times(self, squared: Tensor) -> Tensor:
        return self.process.schedule.time(-float64(squared).log())

    def _kept(self, like: Tensor, squared: Tensor) -> Tensor:
        kept = self.process.every_band(self.size).log_kept(self._times(squared)[:, None]).exp()
        return self.process.modes(like).spread(kept, like)

    def _paces(self, z: Tensor, squared: Tensor) -> Tensor:
        """d u_k by the clock."""
        grid, bands = self.process.modes(z), self.process.every_band(self.size)
        faster = grid.spread(bands.pace(self._times(squared)[:, None]), z)
        kept = self._kept(z, squared)
        level = squared.reshape(-1, *(1,) * (z.ndim - 1))
        return faster * (level + self.knee) / (kept.square() + level)

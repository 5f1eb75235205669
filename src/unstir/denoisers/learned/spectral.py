r"""A network's belief about pictures and fields, told and read by frequency."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unstir.core.errors import InputError
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.denoisers.spectral import SpectralPointPosterior
from unstir.processes.spectral import SpectralProcess

__all__ = ["SpectralDenoiser"]


class SpectralDenoiser(NetworkDenoiser):
    r"""A network with a preconditioning for each frequency: in the modes, :math:`E[x_0^k|x_t] = a_k x_t^k + b_k F^k`.

    As in ``NetworkDenoiser``, but with the alpha and sigma of each mode, and with its own deviation of the data: the
    network's input :math:`(\alpha_k^2s_k^2+\sigma^2)^{-1/2}x_t^k` has unit variance in every mode at every noise level,
    and so has its target under ``edm``. The loss is the squared error of F, in units of that of the mode that does not
    fade, so that the weightings mean what they mean elsewhere.

    ``spectrum`` holds the data's standard deviation in each band, slowest first, as ``band_deviations`` measures it;
    without it the data is taken for white, of deviation ``sigma_data``.

    Raises InputError for a spectrum that is not positive or has not as many bands as the grid.

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), section 5, mode by
    mode; Hoogeboom, Salimans, Blurring diffusion models (2023), section 4.2.
    """

    process: SpectralProcess

    def __init__(
        self,
        network: nn.Module | None,
        process: SpectralProcess,
        parameterisation: str = "edm",
        sigma_data: float = 1.0,
        spectrum: Sequence[float] | None = None,
    ) -> None:
        super().__init__(network, process, parameterisation, sigma_data)
        if spectrum is not None and not all(value > 0 for value in spectrum):
            raise InputError(f"a spectrum is the positive deviation of each band; seen {list(spectrum)}")
        self.spectrum = None if spectrum is None else tuple(float(value) for value in spectrum)

    @classmethod
    def options_for(
        cls, process: Any, given: Mapping[str, Any], state: Any, condition: Mapping[str, Tensor] | None = None
    ) -> dict[str, Any]:
        options = super().options_for(process, given, state, condition)
        if not given.get("spectrum"):
            options["spectrum"] = [float(f"{value:.4g}") for value in band_deviations(process, state)]
        return options

    def inputs(self, xt: Tensor, t: Tensor) -> Tensor:
        """The state, brought to unit variance in every mode."""
        grid, (alpha, sigma) = self.process.modes(xt), self.process.coefficients(t, xt)
        scale = ((alpha * self._deviations(xt)).square() + sigma.square()).rsqrt()
        return grid.to_grid(scale * grid.to_modes(xt))

    def _belief(
        self, output: Tensor, told: Tensor | None, xt: Tensor, t: Tensor, mask: Tensor | None
    ) -> SpectralPointPosterior:
        if mask is not None:
            raise InputError("heat flows on whole grids: a condition `mask` has no meaning here")
        grid, (alpha, sigma) = self.process.modes(xt), self.process.coefficients(t, xt.double())
        deviations = self._deviations(xt.double())
        a, b = self._coefficients(alpha, sigma, deviations)
        _, slowest = self._coefficients(alpha / self._kept(xt, t), sigma, self.sigma_data)
        share = torch.where(b == 0, 1.0, slowest / b).to(xt.dtype)
        mean = grid.to_grid(a.to(xt.dtype) * grid.to_modes(xt) + b.to(xt.dtype) * grid.to_modes(output))
        return SpectralPointPosterior(mean, share, grid)

    def _kept(self, xt: Tensor, t: Tensor) -> Tensor:
        grid = self.process.modes(xt)
        kept = self.process.every_band(xt.shape[2:]).log_kept(t.reshape(-1, 1)).exp()
        return grid.spread(kept, xt.double())

    def _deviations(self, xt: Tensor) -> Tensor | float:
        if self.spectrum is None:
            return self.sigma_data
        grid = self.process.modes(xt)
        if len(self.spectrum) != len(grid.eigenvalues):
            raise InputError(
                f"the grid {tuple(xt.shape[2:])} has {len(grid.eigenvalues)} bands; seen a spectrum of "
                f"{len(self.spectrum)}: measure it with band_deviations"
            )
        return grid.spread(torch.tensor(self.spectrum, dtype=torch.float64), xt)


def band_deviations(process: SpectralProcess, x0: Tensor) -> tuple[float, ...]:
    """The root mean square of data (batch, channels, *size) in each band, slowest first: a ``spectrum``.

    A band without any of it has a thousandth of the largest.
    """
    grid = process.modes(x0)
    squares = grid.to_modes(x0.double()).square().mean((0, 1)).flatten()
    total = torch.zeros(len(grid.eigenvalues), dtype=torch.float64).index_add(0, grid.band.flatten(), squares)
    deviations = (total / grid.band.flatten().bincount(minlength=len(total))).sqrt()
    return tuple(deviations.clamp(min=1e-3 * float(deviations.max())).tolist())

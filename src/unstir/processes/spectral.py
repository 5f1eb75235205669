r"""Stirring by heat flow and its fractional kin: a Gaussian process whose schedule depends on the frequency."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.processes.base import even_pairs
from unstir.processes.frequency_bands import DampedSchedule, Decay, GridModes, checked_boundary, grid_modes
from unstir.processes.gaussian import Belief, GaussianProcess
from unstir.processes.schedules.base import Schedule, float64
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule

__all__ = ["SpectralProcess"]


@dataclass(frozen=True)
class SpectralProcess(GaussianProcess):
    r"""Heat dissipation with noise: each mode of a picture or field is stirred by a schedule of its own.

    In the orthonormal modes of the grid, :math:`x_t^k = d_k(t)\,\alpha_t x_0^k + \sigma_t\epsilon^k`, where
    :math:`d_k` is what heat flow (Fick's law) leaves of the mode after the dissipation time
    :math:`\tau(t) = \tfrac12 (b\sin^2(\pi t/2))^2`, with b the ``blur``, the deviation in cells to which a point has
    spread at time 1:

    .. math:: d_k = (1-f)\,E_\beta(-|k|^a\,\tau^\beta) + f, \qquad E_1 = \exp.

    ``space_order`` a = 2 and ``time_order`` beta = 1 are heat; a < 2 is the spectral fractional Laplacian (leaps),
    beta < 1 the Mittag-Leffler decay of subdiffusion (waits). That decay is no semigroup: as physics, the field
    remembers. Here it only says how much is left of the clean data; given those, x_t is a Markov chain by
    construction, as of any schedule whose log-SNR falls. ``least`` f > 0 keeps faded modes within the reach of numbers.

    States are grids (batch, channels, *size); cells are one wide. ``boundary``: ``neumann`` (no flux; cosines),
    ``periodic`` or ``dirichlet`` (held at zero), one for all axes or one each. ``schedule`` is that of a mode that does
    not decay, and the clock of samplers. ``bands`` tells the modes' own schedules.

    Raises InputError for options out of range, states that are no grids, and masks.

    Reference: Hoogeboom, Salimans, Blurring diffusion models (2023), section 4; Rissanen, Heinonen, Solin, Generative
    modelling with inverse heat dissipation (2023); Metzler, Klafter, The random walk's guide to anomalous diffusion
    (2000), for the fractional laws.
    """

    schedule: Schedule = field(default_factory=CosineSchedule)
    blur: float | int = 8.0
    space_order: float | int = 2.0
    time_order: float | int = 1.0
    least: float | int = 1e-3
    boundary: str | Sequence[str] = "neumann"
    decay: Decay = field(init=False, repr=False, compare=False)
    _known: dict[Any, Any] = field(init=False, repr=False, compare=False, default_factory=dict)
    space = "spectral"
    learned = "spectral"

    def __post_init__(self) -> None:
        object.__setattr__(self, "boundary", checked_boundary(self.boundary))
        object.__setattr__(self, "decay", Decay(self.blur, self.space_order, self.time_order, self.least))

    @classmethod
    def examples(cls) -> Mapping[str, "SpectralProcess"]:  # type: ignore[override]
        """Members whose claims are measured: heat, both fractional kinds, each scale and boundary."""
        return {
            "heat": cls(blur=2.0),
            "waits, periodic, variance exploding": cls(EDMSchedule(), 1.0, time_order=0.6, boundary="periodic"),
            "leaps, straight flow, no least": cls(RectifiedFlowSchedule(), 1.0, space_order=1.2, least=0.0),
            "one edge held at zero": cls(blur=1.0, boundary=("dirichlet", "neumann")),
        }

    def example_data(self, count: int) -> Tensor:
        """Grids of two by two cells: three or four bands."""
        first, second = (2 * even_pairs(count) - 1).unbind(1)
        return torch.stack((first, second, first - second, (first + second) / 2), 1).reshape(count, 1, 2, 2)

    def contains(self, x: Tensor) -> Tensor:
        self.modes(x)
        return super().contains(x)

    def modes(self, x: Tensor | Sequence[int]) -> GridModes:
        """The modes of a state's grid, or of a ``size``."""
        if isinstance(x, Tensor):
            if x.ndim < 3 or 0 in x.shape[2:]:
                raise InputError(
                    f"heat flows on a grid, (batch, channels, *size); seen the shape {tuple(x.shape)}; give vectors a "
                    "channel: x[:, None]"
                )
            x = x.shape[2:]
        return grid_modes(tuple(x), self.boundary)  # type: ignore[arg-type]

    def bands(self, size: Sequence[int]) -> tuple[tuple[DampedSchedule, ...], Tensor]:
        """The distinct schedules on a grid of this ``size``, slowest first, and the place of each mode's (*size)."""
        grid = self.modes(size)
        key = ("bands", tuple(size))
        if key not in self._known:
            schedules = [DampedSchedule(self.schedule, self.decay, value) for value in grid.eigenvalues.tolist()]
            self._known[key] = tuple(schedules)
        return self._known[key], grid.band

    def dissipated(self, x0: Tensor, t: Tensor | float) -> Tensor:
        """The data after heat flow alone: x_t without noise, and without the schedule's own alpha."""
        grid = self.modes(x0)
        kept = self._every_band(grid).log_kept(_column(t, x0)).exp()
        return grid.to_grid(grid.spread(kept, x0) * grid.to_modes(x0))

    def dissipation_time(self, t: Tensor | float) -> Tensor:
        """How long heat has flowed, with diffusivity one: squared cells."""
        return self.decay.dissipation_time(t)

    def coefficients(self, t: Tensor | float, like: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma of the modes at the times, ready to multiply ``modes(x).to_modes(x)``."""
        grid = self.modes(like)
        bands, t = self._every_band(grid), _column(t, like)
        return grid.spread(bands.alpha(t), like), grid.spread(bands.sigma(t), like)

    def log_density(self, xt: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        grid = self.modes(xt)
        alpha, sigma = self.coefficients(t, xt.double())
        away = (grid.to_modes(xt.double()) - alpha * grid.to_modes(x0.double())) / sigma
        return -(away.square() / 2 + sigma.log() + math.log(2 * math.pi) / 2).flatten(1).sum(1)

    def noise(self, x0: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Tensor:
        """A draw of x_t given x_0."""
        _no_mask(mask)
        grid, fresh = self.modes(x0), seeds.normal_like(x0)
        alpha, _ = self.coefficients(t, x0)
        stirred = grid.to_grid(alpha * grid.to_modes(x0)) + self.schedule.sigma(_flat(t, x0)).to(x0.dtype) * fresh
        return torch.where(_flat(t, x0) == 0, x0, stirred)

    def transition(self, xs: Tensor, s: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Tensor:
        r"""A draw of x_t given x_s, for s <= t, mode by mode as in ``GaussianProcess``."""
        _no_mask(mask)
        grid = self.modes(xs)
        kept, spread = self._transition(grid, _column(s, xs), _column(t, xs))
        moved = grid.spread(kept, xs) * grid.to_modes(xs) + grid.spread(spread, xs) * grid.to_modes(
            seeds.normal_like(xs)
        )
        # what does not move keeps its bits
        return torch.where(_flat(s, xs) == _flat(t, xs), xs, grid.to_grid(moved))

    def prior(
        self,
        shape: Sequence[int],
        seeds: Seeds,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.float32,
        mask: Tensor | None = None,
    ) -> Tensor:
        """White noise, of which sampling starts at time ``t``; ``shape`` is that of one sample, (channels, *size)."""
        _no_mask(mask)
        self.modes(shape[1:])
        return super().prior(shape, seeds, t, dtype)

    def bridge(
        self, xt: Tensor, posterior: Belief, t: Tensor, s: Tensor, seeds: Seeds, mask: Tensor | None = None
    ) -> Tensor:
        """A draw of x_s given x_t and the belief about x_0, for s <= t, mode by mode as in ``GaussianProcess``."""
        _no_mask(mask)
        grid, x0 = self.modes(xt), posterior.sample(seeds.at("clean"))
        kept, pulled, deviation = (
            grid.spread(value, xt) for value in self.mode_bridge(grid, _column(t, xt), _column(s, xt))
        )
        noise = grid.to_modes(seeds.at("bridge").normal_like(xt))
        moved = grid.to_grid(kept * grid.to_modes(xt) + pulled * grid.to_modes(x0) + deviation * noise)
        moved = torch.where(_flat(s, xt) == 0, x0.to(xt.dtype), moved)
        return torch.where(_flat(s, xt) == _flat(t, xt), xt, moved)

    def bridge_coefficients(
        self, t: Tensor | float, s: Tensor | float, device: torch.device | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Refused: they differ from mode to mode; see ``mode_bridge``."""
        raise InputError("under a spectral process a bridge's coefficients differ from mode to mode: use mode_bridge")

    def mode_bridge(self, grid: GridModes, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of q(x_s | x_t, x_0) in each band: the factors of x_t and x_0, and the deviation; times of shape (..., 1)."""
        bands = self._every_band(grid)
        kept, fresh = self._moved(bands, s, t)
        sigma_s, sigma_t = self.schedule.sigma(s), self.schedule.sigma(t)
        kept = torch.where(sigma_s > 0, (sigma_s / sigma_t).square() * kept, 0.0)
        return torch.where(fresh == 0, 1.0, kept), bands.alpha(s) * fresh, sigma_s * fresh.sqrt()

    def noise_of(self, xt: Tensor, mean: Tensor, t: Tensor) -> Tensor:
        """The noise that the belief's mean implies."""
        grid = self.modes(xt)
        alpha, sigma = self.coefficients(t, xt)
        return grid.to_grid((grid.to_modes(xt) - alpha * grid.to_modes(mean)) / sigma)

    def score_of(self, xt: Tensor, mean: Tensor, t: Tensor) -> Tensor:
        """The score, by Tweedie's formula in every mode."""
        grid = self.modes(xt)
        alpha, sigma = self.coefficients(t, xt)
        return grid.to_grid((alpha * grid.to_modes(mean) - grid.to_modes(xt)) / sigma.square())

    def velocity_of(self, xt: Tensor, mean: Tensor, t: Tensor) -> Tensor:
        """dx/dt of the probability-flow ODE."""
        grid = self.modes(xt)
        bands, times = self._every_band(grid), _column(t, xt)
        alpha_slope = grid.spread(bands.alpha_derivative(times), xt)
        sigma_slope = expand_flat(self.schedule.sigma_derivative(_flat(t, xt)), xt)
        return grid.to_grid(alpha_slope * grid.to_modes(mean)) + sigma_slope * self.noise_of(xt, mean, t)

    def every_band(self, size: Sequence[int]) -> DampedSchedule:
        """All bands of a grid at once: a schedule that is asked at times of shape (..., 1) and tells (..., bands)."""
        return self._every_band(self.modes(size))

    def _every_band(self, grid: GridModes) -> DampedSchedule:
        return DampedSchedule(self.schedule, self.decay, grid.eigenvalues)

    def _transition(self, grid: GridModes, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        kept, fresh = self._moved(self._every_band(grid), s, t)
        spread = torch.where(fresh == 0, 0.0, self.schedule.sigma(t) * fresh.sqrt())
        return torch.where(fresh == 0, 1.0, kept), spread

    def _moved(self, bands: DampedSchedule, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t / alpha_s, and the share of the noise at t that is new since s, in each band."""
        if bool((s > t).any()):
            raise InputError(f"times must not be turned round: s must not exceed t; seen s = {s} and t = {t}")
        lost = bands.log_kept(t) - bands.log_kept(s)  # as logarithms, for what is left may vanish
        fresh = -torch.expm1(self._gap(s, t) + 2 * lost)
        return self.schedule.alpha(t) / self.schedule.alpha(s) * lost.exp(), torch.where(s == t, 0.0, fresh)


def _column(t: Tensor | float, like: Tensor) -> Tensor:
    """Times () or (batch,) as (1,) or (batch, 1), to broadcast against bands."""
    return float64(t).to(like.device).reshape(-1, 1) if float64(t).ndim else float64(t).to(like.device).reshape(1)


def _flat(t: Tensor | float, like: Tensor) -> Tensor:
    """Times () or (batch,), to broadcast against a state."""
    t = float64(t).to(like.device)
    return t.reshape(-1, *(1,) * (like.ndim - 1)) if t.ndim else t


def expand_flat(values: Tensor, like: Tensor) -> Tensor:
    """Numbers that broadcast against a state, in its dtype."""
    return values.to(dtype=like.dtype)


def _no_mask(mask: Tensor | None) -> None:
    if mask is not None:
        raise InputError("heat flows on whole grids: a padded set with a mask needs another process (gaussian)")

r"""What heat flow does to the modes of a grid: their shapes, their decay, and a noise schedule for each.

A grid of cells one wide has real orthonormal modes that depend on what happens at its edges; a mode with the eigenvalue
:math:`k^2` of the negative Laplacian keeps :math:`d_k` of itself, and all modes with one eigenvalue are a *band*.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.physics.box_modes import decay_rates, to_modes
from unstir.physics.heat_boundaries import wall_kinds
from unstir.physics.mittag_leffler import mittag_leffler
from unstir.processes.schedules.base import Schedule, float64

_EDGE = 1e-12
_ROUNDS, _CLOSE = 80, 1e-15


@dataclass(frozen=True)
class Decay:
    r"""How much of a mode is left: :math:`d = (1-f)\,E_\beta(-|k|^a \tau^\beta) + f`, with :math:`E_1 = \exp`.

    The dissipation time is :math:`\tau(t) = \tfrac12 (b \sin^2(\pi t/2))^2`, in which a point spreads to a deviation of
    b cells in all. ``space_order`` is a, ``time_order`` :math:`\beta`, ``blur`` b and ``least`` f, which keeps what
    has faded within the reach of numbers. Times, eigenvalues and results are float64 and broadcast.
    """

    blur: float | int
    space_order: float | int
    time_order: float | int
    least: float | int

    def __post_init__(self) -> None:
        if not 0 <= self.blur < math.inf:
            raise InputError(f"the blur, a deviation in cells, is at least 0 and finite; seen {self.blur}")
        if not 0 < self.space_order <= 2 or not 0 < self.time_order <= 1:
            seen = f"{self.space_order} and {self.time_order}"
            raise InputError(f"the order in space lies in (0, 2], that in time in (0, 1], 2 and 1 is heat; seen {seen}")
        if not 0 <= self.least < 1:
            raise InputError(f"what is left of every mode, least, is at least 0 and below 1; seen {self.least}")

    def dissipation_time(self, t: Tensor | float) -> Tensor:
        """The time of the heat equation with diffusivity one, in squared cells."""
        return (self.blur * (math.pi / 2 * float64(t)).sin().square()).square() / 2

    def log_kept(self, eigenvalue: Tensor | float, t: Tensor | float) -> Tensor:
        """log d, zero at t = 0."""
        strength, clock = self._strength(eigenvalue), self.dissipation_time(t)
        if self.time_order == 1 and self.least == 0:
            return -strength * clock
        return (self.least + (1 - self.least) * self._relaxed(strength, clock)).log()

    def log_kept_slope(self, eigenvalue: Tensor | float, t: Tensor | float) -> Tensor:
        """d log d / dt."""
        t = float64(t).clamp(_EDGE, 1 - _EDGE)
        strength, clock = self._strength(eigenvalue), self.dissipation_time(t)
        angle = math.pi / 2 * t
        log_pace = 2 * math.pi * angle.cos() / angle.sin()  # of the dissipation time
        if self.time_order == 1:
            fallen = -strength * clock * (-strength * clock).exp()
            if self.least == 0:
                return -strength * clock * log_pace
        else:
            power = clock.pow(self.time_order) * strength
            fallen = -power * _mittag_leffler(-power, self.time_order, self.time_order)
        kept = self.least + (1 - self.least) * self._relaxed(strength, clock)
        return (1 - self.least) * fallen * log_pace / kept

    def _strength(self, eigenvalue: Tensor | float) -> Tensor:
        return float64(eigenvalue).pow(self.space_order / 2)

    def _relaxed(self, strength: Tensor, clock: Tensor) -> Tensor:
        if self.time_order == 1:
            return (-strength * clock).exp()
        return _mittag_leffler(-strength * clock.pow(self.time_order), self.time_order, 1.0)


def _mittag_leffler(z: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.from_numpy(np.asarray(mittag_leffler(z.cpu().numpy(), alpha, beta))).to(z.device)


@dataclass(frozen=True, eq=False)
class DampedSchedule(Schedule):
    r"""The schedule of a band: :math:`\alpha_k = d_k\,\alpha` and :math:`\sigma_k = \sigma`, of the schedule ``clock``.

    ``eigenvalue`` is a number, or a tensor that times broadcast against. It has no ``scale`` in which alpha and
    sigma would follow from the log-SNR.
    """

    clock: Schedule
    decay: Decay
    eigenvalue: Any

    @property
    def scale(self) -> str:
        raise InputError("a band of frequencies has no scale: its alpha and sigma do not follow from its log-SNR")

    def log_kept(self, t: Tensor | float) -> Tensor:
        """log(alpha_k / alpha)."""
        t = float64(t)
        return self.decay.log_kept(torch.as_tensor(self.eigenvalue, dtype=torch.float64, device=t.device), t)

    def log_snr(self, t: Tensor | float) -> Tensor:
        return self.clock.log_snr(t) + 2 * self.log_kept(t)

    def log_snr_derivative(self, t: Tensor | float) -> Tensor:
        return self.clock.log_snr_derivative(t) + 2 * self._log_kept_slope(t)

    def pace(self, t: Tensor | float) -> Tensor:
        """How much faster the log-SNR falls than the clock's: at least 1, also where both fall without bound."""
        return 1 + 2 * self._log_kept_slope(t) / self.clock.log_snr_derivative(t)

    def time(self, log_snr: Tensor | float) -> Tensor:
        """By Newton's method in the clock's log-SNR, within bounds that close in."""
        wanted = float64(log_snr)
        bounded = wanted.isfinite()
        low = torch.where(bounded, wanted, 0.0)
        high = low - 2 * self.log_kept(torch.ones_like(low))
        place, last = low, 1 + high - low
        for _ in range(_ROUNDS):
            t = self.clock.time(place)
            excess = self.log_snr(t) - wanted
            low, high = torch.where(excess < 0, place, low), torch.where(excess > 0, place, high)
            change = -torch.where(bounded, excess, 0.0) / self.pace(t)
            # halved instead where Newton's step leaves the bounds, or does not shrink (it may go to and fro)
            sure = (place + change >= low) & (place + change <= high) & (change.abs() <= last / 2)
            moved = torch.where(sure, place + change, (low + high) / 2)
            last, place = (moved - place).abs(), moved
            if bool((last <= _CLOSE * (1 + place.abs())).all()):
                break
        return torch.where(bounded, self.clock.time(place), self.clock.time(wanted))

    def alpha(self, t: Tensor | float) -> Tensor:
        return self.clock.alpha(t) * self.log_kept(t).exp()

    def sigma(self, t: Tensor | float) -> Tensor:
        # of the shape of all else, where the eigenvalues are several
        return self.clock.sigma(t) + 0 * torch.as_tensor(self.eigenvalue, dtype=torch.float64)

    def drift(self, t: Tensor | float) -> Tensor:
        return self.clock.drift(t) + self._log_kept_slope(t)

    def sigma_derivative(self, t: Tensor | float) -> Tensor:
        return self.clock.sigma_derivative(t)

    def _log_kept_slope(self, t: Tensor | float) -> Tensor:
        t = float64(t)
        return self.decay.log_kept_slope(torch.as_tensor(self.eigenvalue, dtype=torch.float64, device=t.device), t)


def clock_of(schedule: Schedule) -> Schedule:
    """The schedule that spaces a band's steps; any other schedule is its own."""
    return schedule.clock if isinstance(schedule, DampedSchedule) else schedule


@dataclass(frozen=True, eq=False)
class GridModes:
    """The modes of a grid: a basis for each axis, and which band each mode is in.

    ``bases`` are orthonormal, float64 (n, n) for each axis, with a mode in every column. ``eigenvalues`` (bands,) rise;
    ``band`` (*size) is the place in them of each mode's own.
    """

    bases: tuple[Tensor, ...]
    eigenvalues: Tensor
    band: Tensor
    _ready: dict[Any, Any] = field(default_factory=dict, repr=False)

    def to_modes(self, x: Tensor) -> Tensor:
        """From a grid (batch, channels, *size) to its modes, of the same shape."""
        for axis, basis in zip(range(2, x.ndim), self._on("bases", x), strict=True):
            x = _along(x, axis, basis)
        return x

    def to_grid(self, z: Tensor) -> Tensor:
        """The inverse of ``to_modes``, and its transpose."""
        for axis, basis in zip(range(2, z.ndim), self._on("bases", z), strict=True):
            z = _along(z, axis, basis.T)
        return z

    def spread(self, values: Tensor, like: Tensor) -> Tensor:
        """Of a value for each band, (bands,) or (batch, bands), that of each mode, (batch or 1, 1, *size)."""
        values = values.to(device=like.device, dtype=like.dtype)
        values = values if values.ndim == 2 else values[None]
        return values[:, self._on("band", like)].reshape(len(values), 1, *self.band.shape)

    def _on(self, name: str, like: Tensor) -> Any:
        key = (name, like.device, like.dtype)
        if key not in self._ready:
            if name == "band":
                self._ready[key] = self.band.flatten().to(like.device)
            else:
                self._ready[key] = tuple(basis.to(device=like.device, dtype=like.dtype) for basis in self.bases)
        return self._ready[key]


def _along(x: Tensor, axis: int, basis: Tensor) -> Tensor:
    moved = x.movedim(axis, -1)
    rows = moved.reshape(len(x), -1, len(basis))
    # a product for every sample: in one of all samples, rounding would depend on how many they are
    product = torch.bmm(rows, basis.expand(len(x), -1, -1))
    return product.reshape(moved.shape).movedim(-1, axis)


def checked_boundary(boundary: Any) -> Any:
    """One word, or one for each axis as a tuple."""
    words = (boundary,) if isinstance(boundary, str) else tuple(boundary)
    wall_kinds(words if len(words) != 2 else tuple((word, word) for word in words), len(words))
    return boundary if isinstance(boundary, str) else words


@functools.lru_cache(maxsize=64)
def grid_modes(size: tuple[int, ...], boundary: str | tuple[str, ...]) -> GridModes:
    """The modes of a grid with one kind of edge for all axes, or one each."""
    words: Sequence[str] = (boundary,) * len(size) if isinstance(boundary, str) else boundary
    if len(words) != len(size):
        raise InputError(f"one boundary, or one for each of the {len(size)} axes of the grid; seen {boundary}")
    kinds = wall_kinds(tuple((word, word) for word in words), len(size))
    bases = tuple(torch.from_numpy(to_modes(np.eye(count), (kind,))) for count, kind in zip(size, kinds, strict=True))
    rates = decay_rates(size, np.array(size, dtype=np.float64), kinds, np.ones(len(size)))
    # one band for what differs by rounding alone
    told = [float(f"{rate:.12g}") for rate in rates.ravel()]
    distinct, band = np.unique(np.array(told), return_inverse=True)
    return GridModes(bases, torch.from_numpy(distinct), torch.from_numpy(band.reshape(size)))

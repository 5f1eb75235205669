"""Brownian bridge: Brownian motion whose end is known."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics.stochastic_process import brownian_increments, check_number, check_times, tensors_of
from unstir.physics.units import dimensions

__all__ = ["BrownianBridge"]


@dimensions(start="length", end="length", duration="time", sigma="length/time**0.5")
@dataclass(frozen=True, eq=False)
class BrownianBridge:
    r"""Brownian motion tied down at both ends: its law at any time, and exact draws of whole paths.

    ``start`` and ``end`` (length) are numbers, or one per component (d,); ``duration`` (time) from the one to the
    other; ``sigma`` (length/time^½) of the motion between.

    :math:`X_t \sim N(a + (b - a) t/T,\; \sigma^2 t (T - t)/T)`, with the covariance
    :math:`\sigma^2 s (T - t)/T` for s <= t. A path is drawn as :math:`a + W_t + (b - a - W_T)\,t/T`.

    Reference: Karatzas, Shreve, Brownian motion and stochastic calculus (1991), chapter 5.6.B; crossing: chapter 4.3.C.
    """

    start: Any
    end: Any
    duration: float | int
    sigma: float | int

    def __post_init__(self) -> None:
        check_number(self.duration, "duration", 0, strict=True)
        check_number(self.sigma, "sigma", 0, strict=True)
        start, end = tensors_of(self.start, self.end)
        if start.shape != end.shape or start.ndim > 1 or not bool((start + end).isfinite().all()):
            raise InputError(
                "start and end are two finite numbers, or two vectors of one length; "
                f"seen {self.start!r} and {self.end!r}"
            )

    @dimensions("length", times="time")
    def simulate(self, times: Any, seeds: Seeds) -> Tensor:
        """Draws paths at rising times within [0, duration]: float64 (paths, len(times)[, d]), jointly exact."""
        grid = check_times(times)
        if grid[0] < 0 or grid[-1] > self.duration or grid[1] < grid[0]:
            raise InputError(f"times must rise within 0 and {self.duration:g}; seen {grid[0]:g} to {grid[-1]:g}")
        start, end = (value.to(seeds.samples.device) for value in tensors_of(self.start, self.end))
        late, early = int(grid[0] > 0), int(grid[-1] < self.duration)
        whole = [0.0] * late + grid.tolist() + [self.duration] * early
        increments = self.sigma * brownian_increments(whole, seeds, tuple(start.shape))
        motion = torch.cat((torch.zeros_like(increments[:, :1]), increments.cumsum(1)), dim=1)
        final = motion[:, -1:]
        wanted = motion[:, late : late + len(grid)]
        share = torch.as_tensor(grid / self.duration, device=start.device).reshape(-1, *(1,) * start.ndim)
        return start + wanted + (end - start - final) * share

    @dimensions("length", times="time")
    def mean(self, times: Any) -> Tensor:
        """The straight line between the ends, (len(times)[, d])."""
        start, end, times = tensors_of(self.start, self.end, times)
        share = (self._inside(times) / self.duration).reshape(times.shape + (1,) * start.ndim)
        return start + (end - start) * share

    @dimensions("length**2", times="time")
    def variance(self, times: Any) -> Tensor:
        """Sigma^2 t (T - t)/T, of one component."""
        times = self._inside(tensors_of(times)[0])
        return self.sigma**2 * times * (self.duration - times) / self.duration

    @dimensions("length**2", first="time", second="time")
    def covariance(self, first: Any, second: Any) -> Tensor:
        """Of one component between two times, elementwise: sigma^2 min (T - max)/T."""
        first, second = (self._inside(times) for times in tensors_of(first, second))
        return (
            self.sigma**2
            * torch.minimum(first, second)
            * (self.duration - torch.maximum(first, second))
            / (self.duration)
        )

    @dimensions("1", level="length")
    def crossing_probability(self, level: Any) -> Tensor:
        """The chance that the path touches ``level`` on its way: exp(-2 (l - a)(l - b)/(sigma^2 T)), or 1 between."""
        level, start, end = tensors_of(level, self.start, self.end)
        product = ((level - start) * (level - end)).clamp(min=0)
        return torch.exp(-2 * product / (self.sigma**2 * self.duration))

    def _inside(self, times: Tensor) -> Tensor:
        if not bool(((times >= 0) & (times <= self.duration)).all()):
            raise InputError(f"times of the bridge lie within 0 and {self.duration:g}; seen {times.tolist()}")
        return times

"""Continuous-time random walks: jumps with waits between them that have no mean."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.physics.fractional_arguments import instants, positive, within
from unstir.physics.fractional_time import Subdiffusion
from unstir.physics.mittag_leffler import mittag_leffler
from unstir.physics.units import dimensions

__all__ = ["ContinuousTimeWalk"]

_BLOCK = 64  # jumps drawn at a time; part of the draws' addresses
_MOST_JUMPS = 1e7


@dimensions(wait="time", jump="length")
@dataclass(frozen=True)
class ContinuousTimeWalk:
    """Continuous-time random walk with Mittag-Leffler waiting times: exact paths and exact laws.

    A jump comes later than t with probability ``E_order(-(t/wait)^order)``, whose mean is infinite below order 1;
    at order 1 waits are exponential. After a time t there have been ``(t/wait)^order/Gamma(1 + order)`` jumps on
    average, and the position has ``E exp(i k X) = E_order(-(t/wait)^order (1 - E exp(i k jump)))`` at *every*
    time. On scales far beyond wait and jump the law is that of ``limit``.

    Arguments: ``order`` in (0, 1]; ``wait``, the waits' scale, a time; ``jump``, the root mean square of a jump in
    each coordinate, a length; ``jumps``: ``gaussian``, or ``lattice`` (each coordinate by ±jump).

    Raises InputError for numbers out of range, and for times that would take more than ten million jumps.

    Reference: Montroll, Weiss, Random walks on lattices II (J. Math. Phys. 1965); Fulger, Scalas, Germano, Monte
    Carlo simulation of uncoupled continuous-time random walks (Phys. Rev. E 2008), the waits.
    """

    order: float | int
    wait: Any = 1.0
    jump: Any = 1.0
    jumps: str = "gaussian"

    def __post_init__(self) -> None:
        within("ContinuousTimeWalk", self.order, 0)
        positive("ContinuousTimeWalk", wait=self.wait, jump=self.jump)
        if self.jumps not in ("gaussian", "lattice"):
            raise unknown("kind of jumps", self.jumps, ("gaussian", "lattice"))

    @property
    def limit(self) -> Subdiffusion:
        """The fractional diffusion seen from far: ``D = jump²/(2 wait)`` with the clock ``wait``."""
        law = Subdiffusion(self.order, self.jump**2 / (2 * self.wait), self.wait)
        for name in ("_registry", "_field_unit"):
            if hasattr(self, name):
                object.__setattr__(law, name, getattr(self, name))
        return law

    @dimensions(returns="length", times="time")
    def simulate(self, times: Any, seeds: Seeds, dimension: int = 1) -> Tensor:
        """Positions at the ``times`` (any order, from 0 on), float64 of shape (batch, times, dimension), a length.

        One path each: further times show more of the same path.
        """
        moments = np.atleast_1d(instants("ContinuousTimeWalk", times))
        expected = float(self._ripeness(moments.max(initial=0.0))) / math.gamma(1 + self.order)
        if expected > _MOST_JUMPS:
            raise InputError(
                f"ContinuousTimeWalk: {expected:.1e} jumps to be expected by the last time, at most {_MOST_JUMPS:.0e}; "
                "use limit.sample, which jumps over them"
            )
        asked = torch.as_tensor(moments, dtype=torch.float64, device=seeds.samples.device)
        result = asked.new_zeros(len(seeds), len(asked), dimension)
        left = torch.arange(len(seeds), device=asked.device)
        clock, place = asked.new_zeros(len(left)), asked.new_zeros(len(left), dimension)
        block = 0
        while len(left) and len(asked):
            own = seeds[left].at("walk", block)
            arrivals = clock[:, None] + self._waits(own, _BLOCK).cumsum(1)
            places = torch.cat((place[:, None], place[:, None] + self._draw_jumps(own, dimension).cumsum(1)), dim=1)
            wanted = asked.expand(len(left), -1).contiguous()
            count = torch.searchsorted(arrivals, wanted, right=True)
            row, column = ((wanted >= clock[:, None]) & (count < _BLOCK)).nonzero(as_tuple=True)
            result[left[row], column] = places[row, count[row, column]]
            going = arrivals[:, -1] <= asked.max()
            left, clock, place, block = left[going], arrivals[going, -1], places[going, -1], block + 1
        return result

    @dimensions(returns="time")
    def draw_waits(self, seeds: Seeds, count: int = 1) -> Tensor:
        """Independent waiting times, float64 of shape (batch, count): an exponential one times a stable mixture."""
        return self._waits(seeds, count)

    @dimensions(returns="1", wave="length**-1", time="time")
    def characteristic(self, wave: Any, time: Any) -> Any:
        """E exp(i wave X) of a coordinate at a ``time``; ``wave`` of any shape, 1/length."""
        phase = np.asarray(wave) * self.jump
        # both are 1 - E cos(phase of a jump), without cancellation for long waves
        falls = -np.expm1(-(phase**2) / 2) if self.jumps == "gaussian" else 2 * np.sin(phase / 2) ** 2
        return mittag_leffler(-self._ripeness(time) * falls, self.order)

    @dimensions(returns="1", time="time")
    def lattice_law(self, time: Any, reach: int) -> Any:
        """Exact probabilities of the sites ``-reach ... reach`` times jump at a ``time``, (2 reach + 1,).

        By Fourier sums of the characteristic function, on as many sites as it takes for nothing to lie beyond.
        """
        if self.jumps != "lattice" or reach < 0:
            raise InputError("ContinuousTimeWalk: sites are those of lattice jumps, with a reach from 0 on")
        sites = 1 << max(10, (2 * reach + 1).bit_length() + 1)
        while True:
            waves = 2 * np.pi * np.arange(sites // 2 + 1) / sites
            falls = 2 * np.sin(waves / 2) ** 2
            law = np.fft.irfft(mittag_leffler(-self._ripeness(time) * falls, self.order), sites)
            if abs(law[sites // 2]) < 1e-15 or sites >= 1 << 20:
                return np.maximum(np.concatenate((law[sites - reach :], law[: reach + 1])), 0.0)
            sites *= 2

    @dimensions(returns="length**2", time="time")
    def variance(self, time: Any) -> Any:
        """The variance of each coordinate, length², at every ``time`` (any shape)."""
        return self.jump**2 * self._ripeness(time) / math.gamma(1 + self.order)

    def _ripeness(self, time: Any) -> Any:
        return (instants("ContinuousTimeWalk", time) / self.wait) ** self.order

    def _waits(self, seeds: Seeds, count: int) -> Tensor:
        exponential = -seeds.at("wait", "exponential").uniform((count,)).log()
        if self.order == 1:
            return self.wait * exponential
        share = seeds.at("wait", "mixture").uniform((count,)) * (math.pi * self.order)
        return (
            self.wait * exponential * (torch.sin(math.pi * self.order - share) / torch.sin(share)) ** (1 / self.order)
        )

    def _draw_jumps(self, seeds: Seeds, dimension: int) -> Tensor:
        own = seeds.at("jump")
        if self.jumps == "gaussian":
            return self.jump * own.normal((_BLOCK, dimension), torch.float64)
        return self.jump * (2.0 * own.integers(0, 2, (_BLOCK, dimension)) - 1)

r"""Where along a categorical process's clock an integral is taken: even shares of a scale on which it is level."""

import math

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.processes.categorical import CategoricalProcess

_BISECTIONS = 60
_LONGEST = 30.0  # of the clock: nothing is left beyond, and less than rounding of the share touched


class Clock:
    r"""From a share of the way in [0, 1], noise first, to the time there and the clock that a share takes.

    The scale is the share of tokens touched, :math:`1-e^{-\tau}`, for uniform noise and masking. Other rates may be of
    very different speeds, from f, the fastest, to g, the slowest memory: half of the scale is then
    :math:`1-e^{-g\tau}`, and half is even in the logarithm of tau from 1/f to 1/g. ``first`` and ``last`` are the times
    of the ends, within the schedule's reach.
    """

    def __init__(self, process: CategoricalProcess, lowest: float | int, highest: float | int) -> None:
        self.process = process
        schedule = process.schedule
        one = torch.ones((), dtype=torch.float64)
        noisiest = schedule.log_snr(one)
        self.first = schedule.time(torch.tensor(float(lowest)).double()) if lowest > noisiest else one
        self.last = schedule.time(torch.tensor(float(highest)).double())
        closed = isinstance(process.rates, str)
        self._slow = 1.0 if closed else process.slowest
        self._fast = 1.0 if closed else max(-process.generator.diagonal().min().item(), self._slow)
        self._ends = self._passed(process.clock(self.first)), self._passed(process.clock(self.last))

    def at(self, share: Tensor) -> tuple[Tensor, Tensor]:
        """The times at these shares, float64 of their shape, and d tau/d share (positive) there."""
        tau = self._tau(share)
        weight = (self._ends[0] - self._ends[1]) / self._density(tau)
        return self.process.schedule.time(_log_snr(tau)).clamp(self.last, self.first), weight

    def log_snr(self, share: Tensor) -> Tensor:
        """The log-SNR at these shares."""
        ends = [self.process.schedule.log_snr(end) for end in (self.first, self.last)]
        inner = _log_snr(self._tau(share))
        return torch.where(share <= 0, ends[0], torch.where(share >= 1, ends[1], inner))

    def _tau(self, share: Tensor) -> Tensor:
        wanted = torch.lerp(*self._ends, share.double())
        if self._fast == self._slow == 1.0:
            return -torch.log1p(-wanted.clamp(max=-math.expm1(-_LONGEST)))
        low, high = torch.full_like(wanted, -50.0), torch.full_like(wanted, 50.0)  # log tau
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            below = self._passed(middle.exp()) < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return ((low + high) / 2).exp()

    def _passed(self, tau: Tensor) -> Tensor:
        slowly = -torch.expm1(-self._slow * tau)
        if self._even:
            return slowly
        # log((1 + f tau)/(1 + g tau)), finite for ever
        ratio = (1 / tau + self._fast) / (1 / tau + self._slow)
        return (slowly + ratio.log() / math.log(self._fast / self._slow)) / 2

    def _density(self, tau: Tensor) -> Tensor:
        slowly = self._slow * (-self._slow * tau).exp()
        if self._even:
            return slowly
        quickly = self._fast / (1 + self._fast * tau) - self._slow / (1 + self._slow * tau)
        return (slowly + quickly / math.log(self._fast / self._slow)) / 2

    @property
    def _even(self) -> bool:
        return self._fast < 1.01 * self._slow


def falling_times(times: Tensor | int) -> Tensor:
    """Noisy times, from the noisiest; a clean end is left out. A number makes as many steps, even from 1 to 0."""
    given = torch.linspace(1, 0, times + 1, dtype=torch.float64) if isinstance(times, int) else times.double()
    if given.ndim == 1 and len(given) > 1 and given[-1] == 0:
        given = given[:-1]
    if given.ndim != 1 or not len(given) or not bool((given.diff() < 0).all()) or not 0 < given[-1] <= given[0] <= 1:
        raise InputError(f"times fall from at most 1 to the last noisy one (or to 0); seen {given.tolist()}")
    return given


def _log_snr(tau: Tensor) -> Tensor:
    """The log-SNR at which -log sigmoid(log-SNR) is tau."""
    return -tau - torch.log(-torch.expm1(-tau))

r"""Leaps of tokens at frozen rates, of first and second order.

All of them count by the clock v of ``token_steps``. Where no rate says how wide a step is, out of pure noise by a chain
that leads to and fro and into time 0, the step is the bridge of every token: the last one lands on clean tokens.

The theta-trapezoidal step of width h takes a leap over a share :math:`\theta` of it, and asks for the belief again. The
rest is a leap at the extrapolated rates

.. math:: \alpha_1\hat R_\rho(y) - \alpha_2\hat R_t(x), \qquad \alpha_1 = \frac{1}{2\theta(1-\theta)}, \quad
          \alpha_2 = \alpha_1 - 1,

where it is of no use to let a token that has jumped go back on the rates it had before: such a one goes on at
:math:`\alpha_1\hat R_\rho` alone, which has the same second order and cannot be negative.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.denoisers.base import Denoiser
from unstir.samplers.token_steps import (
    Moves,
    TokenSampler,
    belief_at,
    bridge_law,
    leap,
    reading,
    reverse_rates,
    time_of,
    without,
)

__all__ = ["TauLeapingSampler", "ThetaRK2Sampler", "ThetaTrapezoidalSampler", "TokenEulerSampler"]


class _LeapingSampler(TokenSampler):
    """Leaps where rates say how far, bridges at the ends."""

    def moves(self, denoiser: Denoiser, x: Tensor, t: Tensor, s: Tensor) -> Moves:
        process = denoiser.process
        belief, mean = belief_at(denoiser, x, t)
        begin, end = reading(process, t), reading(process, s)
        if s == 0 or begin == torch.inf:
            yield bridge_law(process, belief, x, t, s)
        else:
            yield from self.leaps(denoiser, x, reverse_rates(process, belief, x, t), begin, end)
        return mean

    @abstractmethod
    def leaps(self, denoiser: Denoiser, x: Tensor, rates: Tensor, begin: Tensor, end: Tensor) -> Moves:
        """The moves between two readings of the clock, the rates at the first known."""


@dataclass(frozen=True)
class TauLeapingSampler(_LeapingSampler):
    """Tau-leaping: every token jumps by itself, at the rates that the reversed chain had when the step began.

    Classes have no order here: a token jumps once in a leap at most, with the chance that a Poisson clock gives. Under
    masking this is the bridge of every single token, exactly.

    Reference: Campbell et al., A continuous time framework for discrete denoising models (2022), section 4.3.
    """

    order = 1

    def leaps(self, denoiser: Denoiser, x: Tensor, rates: Tensor, begin: Tensor, end: Tensor) -> Moves:
        yield leap(x, rates, begin - end)


@dataclass(frozen=True)
class TokenEulerSampler(_LeapingSampler):
    """Euler's step of the reversed chain: the chance of a jump is the rate times the step's width, one at most.

    Reference: Lou, Meng, Ermon, Discrete diffusion modeling by estimating the ratios of the data distribution (2024),
    section 4.1.
    """

    order = 1

    def leaps(self, denoiser: Denoiser, x: Tensor, rates: Tensor, begin: Tensor, end: Tensor) -> Moves:
        chances = rates * (begin - end)
        chances = chances / chances.sum(-1, keepdim=True).clamp(min=1.0)
        yield chances.scatter(-1, x[..., None], 1 - chances.sum(-1, keepdim=True)).clamp(min=0).log()


@dataclass(frozen=True)
class ThetaTrapezoidalSampler(_LeapingSampler):
    """Two leaps a step, the second at extrapolated rates: weak order two.

    So long as no jump of one token lowers another's rates by a factor below alpha_2/alpha_1 (a half for ``theta`` 1/2,
    the least there is): rates that would be negative are cut off, which leaves an error of first order, two to three
    times smaller than that of tau-leaping.

    Reference: Ren et al., Fast solvers for discrete diffusion models (2025), algorithm 2; Anderson, Koyama, Weak error
    analysis of numerical methods for stochastic models of population processes (2012), for the scheme.
    """

    theta: float = 0.5
    order = 2
    calls_per_step = 2

    def __post_init__(self) -> None:
        _check_share(self.theta, "theta-trapezoidal", below_one=True)

    @classmethod
    def examples(cls) -> Mapping[str, "ThetaTrapezoidalSampler"]:
        """Members whose claims are measured."""
        return {"theta 1/2": cls(), "theta 1/3": cls(1 / 3)}

    def leaps(self, denoiser: Denoiser, x: Tensor, rates: Tensor, begin: Tensor, end: Tensor) -> Moves:
        middle = torch.lerp(begin, end, self.theta)
        y = yield leap(x, rates, begin - middle)
        there = _rates_at(denoiser, y, middle)
        new = 1 / (2 * self.theta * (1 - self.theta))
        still = (y == x)[..., None]
        yield leap(y, torch.where(still, (new * there - (new - 1) * rates).clamp(min=0), new * there), middle - end)


@dataclass(frozen=True)
class ThetaRK2Sampler(_LeapingSampler):
    """A trial leap, then the whole step from where it began at rates extrapolated through both: theta-RK-2.

    The trial's jumps are forgotten, so that tokens which should move together do so only through the rates: the error
    of their joint law is of first order, whatever theta. ``theta-trapezoidal`` costs the same, keeps them, and has
    order two.

    Reference: Ren et al., Fast solvers for discrete diffusion models (2025), algorithm 1.
    """

    theta: float = 0.5
    order = 1
    calls_per_step = 2

    def __post_init__(self) -> None:
        _check_share(self.theta, "theta-RK-2", below_one=False)

    def leaps(self, denoiser: Denoiser, x: Tensor, rates: Tensor, begin: Tensor, end: Tensor) -> Moves:
        middle = torch.lerp(begin, end, self.theta)
        y = yield leap(x, rates, begin - middle)
        there = _rates_at(denoiser, y, middle)
        new = 1 / (2 * self.theta)
        yield leap(x, without(((1 - new) * rates + new * there).clamp(min=0), x), begin - end)


def _rates_at(denoiser: Denoiser, x: Tensor, v: Tensor) -> Tensor:
    t = time_of(denoiser.process, v)
    return reverse_rates(denoiser.process, belief_at(denoiser, x, t)[0], x, t)


def _check_share(theta: float, name: str, below_one: bool) -> None:
    if not 0 < theta <= 1 or (below_one and theta == 1):
        raise InputError(f"the theta of {name} lies in (0, 1{')' if below_one else ']'}; seen {theta}")

r"""From densities to probabilities of whole numbers: noise within the cell, uniform or learned.

A model of real numbers gives the integer v the probability of its cell, :math:`P(v)=\int p(x)\,dx` over
:math:`x = x_v + \Delta(u-\tfrac12)`, u in the unit cube. For any law q(u|v) of the place in the cell

.. math:: \log P(v) \ge E_q[\log p(x) + n\log\Delta - \log q(u|v)],

with the uniform law the plain way, with a learned one tighter, tight where q is p within the cell. The mean over
several draws inside the logarithm (importance weighting) tightens either, to log P itself with infinitely many.

:math:`\Delta` is the distance between levels *as the denoiser sees them*, from ``Cells``; a constant such as
8 bits per dimension belongs to one scaling only, and is wrong by a bit for pictures in [-1, 1].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask
from unstir.likelihood.bits import LogProbability, sum_per_sample

__all__ = ["truncated_normal_dequantisation", "uniform_dequantisation", "variational_dequantisation"]

LogDensity: TypeAlias = Callable[[Tensor], Tensor]


@runtime_checkable
class _Range(Protocol):
    """An encoding that takes the values ``low`` to ``high`` to -1 and 1, as that of pictures does."""

    low: Any
    high: Any


@dataclass(frozen=True)
class Cells:
    """Levels 0 to ``levels`` - 1 and where a denoiser sees them: the least at ``low``, the greatest at ``high``.

    Each level's cell reaches half-way to its neighbours. For data standardised with mean m and deviation s, ``low`` is
    (0 - m)/s and ``high`` (levels - 1 - m)/s.
    """

    levels: int
    low: float | int = -1.0
    high: float | int = 1.0

    def __post_init__(self) -> None:
        if self.levels < 2 or not -math.inf < self.low < self.high < math.inf:
            raise InputError(
                f"cells are of 2 levels at least, between a least and a greater place; seen {self.levels} levels from "
                f"{self.low} to {self.high}"
            )

    @classmethod
    def of(cls, encoding: Any) -> "Cells":
        """The cells of an encoding of whole numbers ``low`` to ``high`` to [-1, 1]; level 0 is its ``low``."""
        if not isinstance(encoding, _Range) or getattr(encoding, "dtype", "")[:1] in ("f", "c"):
            raise InputError(
                f"{type(encoding).__name__} does not say whole numbers from low to high; say the cells: Cells(levels, "
                "low, high)"
            )
        return cls(round(float(encoding.high) - float(encoding.low)) + 1)

    @property
    def step(self) -> float:
        """The width of a cell, in the denoiser's units."""
        return (self.high - self.low) / (self.levels - 1)

    @property
    def log_step(self) -> float:
        """log of the width, in nats: what one element adds to a log-density to make it a log-probability."""
        return math.log(self.step)

    def values(self) -> Tensor:
        """Where the levels lie, float64 (levels,)."""
        return self.low + self.step * torch.arange(self.levels, dtype=torch.float64)

    def encode(self, integers: Tensor, place: Tensor | float | int = 0.5) -> Tensor:
        """The ``place`` in the cell of each integer, 0 and 1 being its ends; float64."""
        return self.low + self.step * (self.checked(integers).double() + (place - 0.5))

    def decode(self, state: Tensor) -> Tensor:
        """The integers in whose cells the states lie, int64; what lies beyond all cells belongs to the outermost."""
        return ((state.double() - self.low) / self.step + 0.5).floor().long().clamp(0, self.levels - 1)

    def checked(self, integers: Tensor) -> Tensor:
        """The integers, if they are levels."""
        if integers.is_floating_point() or integers.is_complex() or integers.dtype == torch.bool or integers.ndim < 1:
            raise InputError(f"levels are whole numbers (batch, *shape); seen {integers.dtype}")
        if integers.numel() and (int(integers.min()) < 0 or int(integers.max()) >= self.levels):
            raise InputError(
                f"levels go from 0 to {self.levels - 1}; seen {int(integers.min())} to {int(integers.max())}"
            )
        return integers


@dataclass(frozen=True)
class Dequantised:
    """Real numbers drawn for whole ones: ``state`` (batch, *shape), float64 as the denoiser sees it.

    ``log_weight`` (batch,), nats, is n log(step) - log q(u|v): added to the state's log-density it gives an estimate
    whose exponential has the mean P(v), and which is a lower bound on log P(v) in the mean.
    """

    state: Tensor
    log_weight: Tensor


@runtime_checkable
class Dequantiser(Protocol):
    """A law of the place in the cell."""

    @property
    def cells(self) -> Cells:
        """The cells that it is of."""
        ...

    def draw(self, integers: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Dequantised:
        """One draw a row of ``integers``, (batch, *shape); padded places of a ``mask`` (batch, n) count for nothing."""
        ...


@dataclass(frozen=True)
class UniformDequantiser:
    """Every place in the cell is equally likely."""

    cells: Cells

    def draw(self, integers: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Dequantised:
        """See ``Dequantiser``."""
        place = seeds.to(integers.device).uniform(integers.shape[1:])
        state = apply_mask(self.cells.encode(integers, place), mask)
        return Dequantised(state, self.cells.log_step * count(integers, mask))


@dataclass(frozen=True)
class TruncatedNormalDequantiser:
    """Normal about the level and cut off at the cell's ends, with the ``deviation`` in the denoiser's units.

    With the deviation sigma/alpha of a denoiser's first noise level the state looks like that level's own.
    """

    cells: Cells
    deviation: float | int

    def __post_init__(self) -> None:
        if not 0 < self.deviation < math.inf:
            raise InputError(f"the deviation must be positive; seen {self.deviation}")

    def draw(self, integers: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Dequantised:
        """See ``Dequantiser``."""
        reach = self.cells.step / 2 / self.deviation
        inside = math.erf(reach / math.sqrt(2))
        share = seeds.to(integers.device).uniform(integers.shape[1:])
        z = math.sqrt(2) * torch.special.erfinv(inside * (2 * share - 1)).clamp(-reach / 2**0.5, reach / 2**0.5)
        log_density = -z.square() / 2 - math.log(math.sqrt(2 * math.pi) * self.deviation * inside)
        state = self.cells.encode(integers) + self.deviation * z
        return Dequantised(apply_mask(state, mask), -sum_per_sample(log_density, mask))


def uniform_dequantisation(
    log_density: LogDensity,
    integers: Tensor,
    cells: Cells,
    seeds: Seeds,
    draws: int = 1,
    *,
    weighted: bool = False,
    mask: Tensor | None = None,
) -> LogProbability:
    """The log-probability of whole numbers under a density, by uniform noise within their cells.

    ``log_density`` maps states (batch, *shape), float64 as the denoiser sees them, to nats (batch,); ``integers``
    (batch, *shape) are levels 0 to ``cells.levels`` - 1, with one seed a row. A lower bound in the mean;
    ``weighted`` takes the log of the mean over ``draws`` of the probabilities in place of the mean of their logs: a
    tighter lower bound (Burda et al. 2016), for a ``log_density`` without noise of its own.

    Reference: Theis, van den Oord, Bethge, A note on the evaluation of generative models (2016), section 3.1.
    """
    return estimate(log_density, integers, UniformDequantiser(cells), seeds, draws, weighted=weighted, mask=mask)


def truncated_normal_dequantisation(
    log_density: LogDensity,
    integers: Tensor,
    cells: Cells,
    deviation: float | int,
    seeds: Seeds,
    draws: int = 1,
    *,
    weighted: bool = False,
    mask: Tensor | None = None,
) -> LogProbability:
    """The log-probability of whole numbers under a density, by normal noise cut off at the ends of their cells.

    For models of slightly noisy data, whose states at the first noise level are just such; else as
    ``uniform_dequantisation``.

    Reference: Zheng, Lu, Chen, Zhu, Improved techniques for maximum likelihood estimation for diffusion ODEs (2023),
    section 3.
    """
    dequantiser = TruncatedNormalDequantiser(cells, deviation)
    return estimate(log_density, integers, dequantiser, seeds, draws, weighted=weighted, mask=mask)


def variational_dequantisation(
    log_density: LogDensity,
    integers: Tensor,
    dequantiser: Dequantiser,
    seeds: Seeds,
    draws: int = 1,
    *,
    weighted: bool = False,
    mask: Tensor | None = None,
) -> LogProbability:
    """The log-probability of whole numbers under a density, by noise within their cells of a learned law.

    ``dequantiser`` comes from ``flow_dequantiser.fit_dequantiser``, which starts at the uniform law and raises this
    very bound; else as ``uniform_dequantisation``.

    Reference: Ho, Chen, Srinivas, Duan, Abbeel, Flow++: improving flow-based generative models with variational
    dequantization and architecture design (2019), eq. 9 to 12; Burda, Grosse, Salakhutdinov, Importance weighted
    autoencoders (2016), eq. 8.
    """
    return estimate(log_density, integers, dequantiser, seeds, draws, weighted=weighted, mask=mask)


def estimate(
    log_density: LogDensity,
    integers: Tensor,
    dequantiser: Dequantiser,
    seeds: Seeds,
    draws: int = 1,
    *,
    weighted: bool = False,
    mask: Tensor | None = None,
) -> LogProbability:
    """What the three say, by any dequantiser."""
    dequantiser.cells.checked(integers)
    if draws < 1 or len(seeds) != len(integers):
        raise InputError(
            f"1 draw at least, and one seed for each of {len(integers)} samples; seen {draws} draws, {len(seeds)} seeds"
        )
    told = []
    with torch.no_grad():
        for draw in range(draws):
            drawn = dequantiser.draw(integers, seeds.at("dequantise", draw), mask)
            told.append(log_density(drawn.state).double() + drawn.log_weight)
    logs = torch.stack(told)
    if bool((logs.isnan() | (logs == math.inf)).any()):
        raise NonFiniteError("the log-density is not a number for some of the samples; check it at the data itself")
    error = torch.full_like(logs[0], math.nan)
    if weighted:
        nats = torch.logsumexp(logs, 0) - math.log(draws)
        if draws > 1:  # of a logarithm by that of what stands in it, relative to it
            error = (logs - nats).exp().std(0) / math.sqrt(draws)
    else:
        nats = logs.mean(0)
        if draws > 1:
            error = logs.std(0) / math.sqrt(draws)
    return LogProbability(nats, error, count(integers, mask), draws)


def count(integers: Tensor, mask: Tensor | None) -> Tensor:
    """The elements that the mask leaves, float64 (batch,)."""
    return sum_per_sample(torch.ones_like(integers, dtype=torch.float64), mask)

r"""What a sampler does, as numbers: the coefficients by which a whole trajectory is linear in beliefs and noise.

Every sampler with one call a step that computes with sums alone (all of the exponential family, of any order, with
correctors and with noise, DDPM's bridge, Euler's method) makes of the first state, the beliefs' means
:math:`\hat x_j` met on the way and standard normal draws :math:`z_j`

.. math:: x_{i+1} = \sum_j k_{ij}\,x_j + \sum_j g_{ij}\,\hat x_j + \sum_j f_{ij}\,z_j,

where only a few of the last j matter. The coefficients depend on the schedule and the times, not on the data, and
:func:`coefficients_of` finds them by asking the sampler itself: it is run on numbers that are all zero but one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.samplers.base import Sampler, SamplerState

_DEEPEST = 8  # past steps that a step may remember
_ROUNDING, _EXACT = 1e-9, 1e-12


@dataclass(frozen=True)
class Draw:
    """One draw of noise: by its address, or, where the state has a noise path, by its stretch of log(alpha/sigma)."""

    purpose: tuple[str | int, ...] = ()
    stretch: tuple[float, float] | None = None


@dataclass(frozen=True)
class StepCoefficients:
    """Of each step: ``states`` {j: k_ij}, ``means`` {j: g_ij}, ``noises`` {place in ``draws``: f_ij}; and ``draws``.

    ``draws_beliefs`` says whether the sampler draws from beliefs, which is their mean only for points.
    """

    states: tuple[dict[int, float], ...]
    means: tuple[dict[int, float], ...]
    noises: tuple[dict[int, float], ...]
    draws: tuple[Draw, ...]
    draws_beliefs: bool

    @property
    def reach(self) -> int:
        """How many steps back the oldest state or belief lies that a step still uses."""
        rules = enumerate(zip(self.states, self.means, strict=True))
        return max(step - min((*states, *means), default=step) for step, (states, means) in rules)

    def give(self, states: Tensor, means: Tensor, draws: Tensor) -> bool:
        """Whether they lead from the first of the states, one number each, to all others, but for rounding."""
        found = [states[:1]]
        for step in range(len(self.states)):
            sums = zip((self.states, self.means, self.noises), (found, means, draws), strict=True)
            found.append(sum((share * of[j] for kind, of in sums for j, share in kind[step].items()), 0 * states[:1]))
        return bool(((torch.cat(found) - states).abs() <= _ROUNDING * states.abs().max()).all())


def coefficients_of(sampler: Sampler, process: Any, times: Tensor, first_step: int, path: bool) -> StepCoefficients:
    """The coefficients of a sampler on the falling ``times``, the first of them being that of step ``first_step``.

    ``path`` tells whether the noise comes from a noise path. Raises InputError for a sampler that takes another number
    of calls, asks at other times, or is not linear.
    """
    steps = len(times) - 1
    # rows: the first state; each mean; each draw (two a step at most); and a row of everything, to see if it is linear
    means, draws = slice(1, 1 + steps), slice(1 + steps, 1 + 3 * steps)
    rows = 2 + 3 * steps
    mixture = torch.sin(1.0 + torch.arange(rows - 1, dtype=torch.float64))
    probe = _Probe(process, times, mixture[means])
    x = torch.zeros(rows, 1, dtype=torch.float64)
    x[0], x[-1] = 1, mixture[0]
    book = _Book(draws.start, mixture)
    seeds = _ProbeSeeds(0, torch.arange(rows), (), book)
    state = SamplerState(x, seeds, first_step, path=_ProbePath(book) if path else None)
    found = [x[:, 0]]
    for step, (t, s) in enumerate(pairwise(times)):
        probe.step = book.step = step
        probe.calls = 0
        try:
            state = sampler.step(probe, state, t, s)
        except InputError as error:
            raise _refused(sampler, str(error)) from error
        if probe.calls != 1:
            raise _refused(sampler, f"it calls the denoiser {probe.calls} times in a step")
        found.append(state.tensor[:, 0])
    table = torch.stack(found)
    used = len(book.draws)
    expected = table[:, :-1] @ mixture
    if not bool(((table[:, -1] - expected).abs() <= _ROUNDING * (1 + table.abs().sum(1))).all()):
        raise _refused(sampler, "its steps are not sums of states, beliefs and noise alone")
    responses = table[:, : draws.start + used]
    made_at = torch.tensor([-1, *range(steps), *book.steps])  # by which step each column came in
    for band in range(1, _DEEPEST + 1):
        rules = [_rule(responses, made_at, step, band) for step in range(steps)]
        if all(rule is not None for rule in rules):
            break
    else:
        raise _refused(sampler, f"its steps remember more than {_DEEPEST} others")
    states_used, remainders = zip(*(rule for rule in rules if rule is not None), strict=True)
    means_used = tuple(_nonzero(left[means]) for left in remainders)
    noises_used = tuple(_nonzero(left[draws.start :]) for left in remainders)
    found_rules = StepCoefficients(states_used, means_used, noises_used, tuple(book.draws), probe.drawn_from)
    if not found_rules.give(table[:, -1], mixture[means], mixture[draws]):
        raise _refused(sampler, "its steps cannot be told apart to the digits that a sum would need")
    return found_rules


def _nonzero(values: Tensor) -> dict[int, float]:
    return {place: value for place, value in enumerate(values.tolist()) if value}


def _rule(table: Tensor, made_at: Tensor, step: int, band: int) -> tuple[dict[int, float], Tensor] | None:
    """The factors of the last states in a step, and what is left beside them.

    Things older than the last ``band`` steps may come in by way of states only; None if they do not. Of many factors
    that would do, those are taken whose squares are least; one state is enough for all that predict the data.
    """
    after, old = table[step + 1], (made_at <= step - band) | (made_at < 0)
    for states in sorted({1, min(band, step + 1)}):
        known = table[step + 1 - states : step + 1].flip(0)
        solved = torch.linalg.lstsq(known[:, old].T, after[old, None], rcond=1e-13, driver="gelsd").solution[:, 0]
        left = after - solved @ known
        size = after.abs() + solved.abs() @ known.abs()
        if bool((left[old].abs() <= _EXACT * size.max()).all()):
            # what cancels but for rounding is nothing
            left = torch.where(old | (left.abs() <= 1e-14 * size), 0.0, left)
            return {step - place: factor for place, factor in enumerate(solved.tolist()) if factor}, left
    return None


def _refused(sampler: Sampler, reason: str) -> InputError:
    return InputError(
        f"{type(sampler).__name__} cannot be run in parallel: {reason}; take one with a single call a step that is "
        "linear in the beliefs, such as ddim, ddpm or multistep"
    )


@dataclass
class _Book:
    """The draws made so far, and the steps that made them."""

    first_row: int
    mixture: Tensor
    draws: list[Draw] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    step: int = 0

    def impulse(self, draw: Draw, rows: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Zero but for the draw's own row, where it is one, and the last, where it has its part in the mixture."""
        row = self.first_row + len(self.draws)
        if row >= rows - 1:
            raise InputError("it draws more than two noises a step")
        self.draws.append(draw)
        self.steps.append(self.step)
        drawn = torch.zeros(rows, *shape, dtype=dtype)
        drawn[row], drawn[-1] = 1, self.mixture[row]
        return drawn


@dataclass(frozen=True)
class _ProbeSeeds(Seeds):
    """Seeds whose normal draws are impulses."""

    book: _Book | None = None

    def normal(self, shape: Sequence[int] = (), dtype: torch.dtype = torch.float32) -> Tensor:
        """The next impulse."""
        assert self.book is not None
        return self.book.impulse(Draw(self.purpose), len(self), shape, dtype)

    def words(self, count: int) -> Tensor:
        """No other draws are linear."""
        raise InputError("it draws other than normal numbers")


@dataclass(frozen=True)
class _ProbePath:
    """A noise path whose draws are impulses."""

    book: _Book

    def normal_like(self, like: Tensor, seeds: Seeds, here: float, there: float) -> Tensor:
        """The next impulse."""
        return self.book.impulse(Draw(stretch=(here, there)), len(like), like.shape[1:], like.dtype)


@dataclass(frozen=True)
class _ToldPosterior(PointPosterior):
    """A belief that notes being drawn from."""

    probe: Any = None

    def sample(self, seeds: Seeds) -> Tensor:
        """The point."""
        self.probe.drawn_from = True
        return self.mean


class _Probe(Denoiser):
    """A denoiser whose belief at step j is one in the row of that step, and the mixture's part in the last."""

    def __init__(self, process: Any, times: Tensor, mixture: Tensor) -> None:
        super().__init__()
        self.process, self.times, self.mixture = process, times, mixture
        self.step, self.calls, self.drawn_from = 0, 0, False

    def forward(self, xt: Any, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> PointPosterior:
        """The impulse of the present step."""
        self.calls += 1
        told = torch.as_tensor(t, dtype=torch.float64)
        if not math.isclose(told.flatten()[0].item(), self.times[self.step].item(), rel_tol=1e-12):
            raise InputError("it asks the denoiser at other times than the grid's")
        mean = torch.zeros_like(xt)
        mean[1 + self.step], mean[-1] = 1, self.mixture[self.step]
        return _ToldPosterior(mean, self)


def with_purpose(seeds: Seeds, purpose: tuple[str | int, ...]) -> Seeds:
    """The samples' seeds for a draw's whole address."""
    return replace(seeds, purpose=purpose)

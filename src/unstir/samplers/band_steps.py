"""The executor of linear steps where every band of frequencies has a schedule of its own.

A family's plan is asked for once for each band; what comes out is worked with in the modes of the grid, each
mode by its band's numbers. Inner states lie at the clock's times, at which the whole state is known.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.denoisers.base import Denoiser
from unstir.processes.frequency_bands import GridModes
from unstir.samplers.base import SamplerState

_MOST_PLANS = 2048
_TERMS = ("means", "past", "noises")


@dataclass(frozen=True)
class BandCombination:
    """A state to be, as in ``linear.Combination``, with a number for each band: (terms, bands), float64."""

    numbers: Tensor
    means: int
    past: int
    noises: int

    @classmethod
    def of(cls, combinations: Sequence[Any]) -> "BandCombination":
        """Of one combination for each band; a term that a band has not is zero in it."""
        counts = [max(len(getattr(each, name)) for each in combinations) for name in _TERMS]
        rows = [
            [
                each.state,
                *(value for name, count in zip(_TERMS, counts, strict=True) for value in _filled(each, name, count)),
            ]
            for each in combinations
        ]
        return cls(torch.tensor(rows, dtype=torch.float64).T, *counts)

    def __call__(
        self, grid: GridModes, x: Tensor, means: Sequence[Tensor], past: Sequence[Tensor], noises: Sequence[Tensor]
    ) -> Tensor:
        """The sum, of modes."""
        terms = [x, *means[: self.means], *past[: self.past], *noises[: self.noises]]
        shares = grid.spread(self.numbers, x)
        total = shares[0] * x
        for share, term in zip(shares[1:], terms[1:], strict=True):
            total = torch.addcmul(total, share, term)
        return total


@dataclass(frozen=True)
class BandPlan:
    """One step's numbers in all bands; see ``linear.Plan``."""

    end: BandCombination | None
    inner: tuple[tuple[Tensor, BandCombination], ...]
    kept: BandCombination | None
    memory: int
    inner_kept: bool
    stretches: tuple[tuple[float, float], ...]
    raised: tuple[Tensor, BandCombination] | None

    @classmethod
    def of(cls, plans: Sequence[Any], clock: Any) -> "BandPlan":
        """Of one plan for each band, and the clock's, whose stretches name the noise."""
        first = plans[0]
        if first.end is None:
            return cls(None, (), None, 0, False, (), _raised(plans))
        longest = max((clock, *plans), key=lambda plan: len(plan.stretches))
        inner = tuple(
            (time, BandCombination.of([plan.inner[number][1] for plan in plans]))
            for number, (time, _) in enumerate(first.inner)
        )
        kept = None
        if first.kept is not None:
            pairs = torch.tensor([plan.kept for plan in plans], dtype=torch.float64).T
            kept = BandCombination(pairs, 1, 0, 0)
        end = BandCombination.of([plan.end for plan in plans])
        stretches = clock.stretches or longest.stretches
        return cls(end, inner, kept, first.memory, first.inner_kept, stretches, _raised(plans))

    @property
    def finite(self) -> bool:
        """Whether all numbers are."""
        parts = [self.end, self.kept, *(each for _, each in self.inner), self.raised and self.raised[1]]
        return all(bool(part.numbers.isfinite().all()) for part in parts if part is not None)


def step_by_bands(
    sampler: Any, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor, draw: Any
) -> SamplerState:
    """A step of a ``LinearSampler``; ``draw(state, like, number, ends)`` draws its noise."""
    process, x = denoiser.process, state.tensor
    grid: GridModes = process.modes(x)
    start = t.item()
    plan = _remembered(sampler, process, tuple(x.shape[2:]), start, s.item(), tuple(at for at, _ in state.history))
    noises = [grid.to_modes(draw(state, x, number, ends)) for number, ends in enumerate(plan.stretches)]
    modes = None
    if plan.raised is not None:
        t, combination = plan.raised
        modes = combination(grid, grid.to_modes(x), (), (), noises)
        x = grid.to_grid(modes)
    mean = denoiser(x, t).mean
    if plan.end is None:
        return state.advance(mean, mean)
    modes = grid.to_modes(x) if modes is None else modes
    means, past = [grid.to_modes(mean.to(x.dtype))], [value for _, value in state.history]
    inner = modes
    for time, combination in plan.inner:
        inner = combination(grid, modes, means, past, noises)
        means.append(grid.to_modes(denoiser(grid.to_grid(inner), time).mean.to(x.dtype)))
    moved = grid.to_grid(plan.end(grid, modes, means, past, noises))
    if plan.kept is None:
        return state.advance(moved, mean)
    last = (inner, means[-1]) if plan.inner_kept else (modes, means[0])
    value = plan.kept(grid, last[0], last[1:], (), ())
    return state.advance(moved, mean, ((start, value), *state.history[: plan.memory - 1]))


def _filled(combination: Any, name: str, count: int) -> list[float]:
    values = getattr(combination, name)
    return [*values, *(0.0 for _ in range(count - len(values)))]


def _raised(plans: Sequence[Any]) -> tuple[Tensor, BandCombination] | None:
    if plans[0].raised is None:
        return None
    return plans[0].raised[0], BandCombination.of([plan.raised[1] for plan in plans])


# by identity, as the plans of ``linear.py``
_plans: dict[tuple[Any, ...], tuple[BandPlan, Any, Any]] = {}


def _remembered(
    sampler: Any, process: Any, size: tuple[int, ...], t: float, s: float, past: tuple[float, ...]
) -> BandPlan:
    key = (id(sampler), id(process), size, t, s, past)
    found = _plans.get(key)
    if found is None:
        if len(_plans) >= _MOST_PLANS:
            _plans.clear()
        schedules, _ = process.bands(size)
        plan: BandPlan | None = None
        with suppress(ZeroDivisionError, OverflowError):
            plan = BandPlan.of(
                [sampler.plan(schedule, t, s, past) for schedule in schedules],
                sampler.plan(process.schedule, t, s, past),
            )
        if plan is None or not plan.finite:
            raise InputError(
                f"{type(sampler).__name__} cannot step from {t:.6g} to {s:.6g}: the fastest mode of a grid of {size} "
                "has faded beyond the reach of numbers; give the process a larger `least`, or less blur"
            )
        found = _plans[key] = (plan, sampler, process)
    return found[0]

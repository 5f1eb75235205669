"""Restart sampling: a solver of the flow, sent back up through a stretch of noise several times."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.state import apply_mask
from unstir.denoisers.base import Denoiser
from unstir.samplers.base import EUCLIDEAN, Sampler, SamplerState

__all__ = ["restart"]


@dataclass(frozen=True)
class RestartSampler(Sampler):
    """The solver's step; where it comes to or below the level ``low``, ``repeats`` times up to ``high`` and down again.

    Up by the forward process, with new noise, and down by the solver in ``inner_steps`` even steps of log-SNR, or in
    steps as wide as the one that led there. What a step of the solver contributes to the error is forgotten at the
    way up, as with an SDE, while on the ways down the error is that of an ODE solver.
    """

    solver: Sampler
    low: float
    high: float
    repeats: int
    inner_steps: int | None = None
    calls_per_step = None
    spaces = EUCLIDEAN

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf:
            seen = f"{self.low} and {self.high}"
            raise InputError(f"a restart goes between two levels of sigma/alpha, 0 < low < high; seen {seen}")
        if self.repeats < 1 or (self.inner_steps is not None and self.inner_steps < 1):
            seen = f"{self.repeats} and {self.inner_steps}"
            raise InputError(f"a restart is done at least once, and in at least 1 step; seen {seen}")

    @property
    def order(self) -> float:  # type: ignore[override]
        """The solver's; in a fixed number of inner steps, their error stays however fine the grid."""
        return float(self.solver.order)

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        process = denoiser.process
        moved = self.solver.step(denoiser, state, t, s)
        here, there = (-process.schedule.log_snr(time).item() / 2 for time in (t, s))  # log(sigma/alpha)
        if s == 0 or not there <= math.log(self.low) < here:
            return moved
        times = self._way_down(denoiser, s, here, there)
        mask = denoiser.mask
        inner = moved
        for number in range(self.repeats):
            seeds = state.step_seeds().at("restart", number)
            x = process.transition(inner.tensor, s, times[0], seeds.at("up"), mask)
            inner = SamplerState(x, seeds.at("down"), mask=mask, project=state.project)
            for first, second in pairwise(times):
                inner = self.solver.step(denoiser, inner, first, second)
                inner = replace(inner, x=apply_mask(inner.tensor, mask), mean=None)
        return state.advance(inner.x, moved.mean, inner.history)

    def _way_down(self, denoiser: Denoiser, s: Tensor, here: float, there: float) -> list[Tensor]:
        """The times from the level ``high`` to s; ``here`` and ``there`` are log(sigma/alpha) at t and s."""
        schedule = denoiser.process.schedule
        last = -schedule.log_snr(1.0).item() / 2
        top = math.log(self.high)
        if top > last:
            raise InputError(f"a restart up to {self.high} is beyond the schedule's own end, {math.exp(last):.6g}")
        count = self.inner_steps
        if count is None:
            count = max(1, math.ceil((top - there) / min(here - there, top - there) - 1e-9))
        levels = torch.linspace(top, there, count + 1, dtype=torch.float64, device=s.device)
        return [*schedule.time(-2 * levels[:-1]), s]


def restart(
    solver: str | Mapping[str, Any] = "heun",
    low: float = 0.1,
    high: float = 0.6,
    repeats: int = 2,
    inner_steps: int | None = None,
) -> RestartSampler:
    """Restart sampling: Heun's steps down, and between two noise levels several times up with new noise and down again.

    ``low`` and ``high`` are levels of sigma/alpha, in the data's units; the way up starts from the first level of the
    grid that is not above ``low``. Without ``inner_steps`` the way down has steps as wide as the grid's there.
    ``solver`` is a deterministic sampler's name, with its options if it has any.

    Reference: Xu et al., Restart sampling for improving generative processes (2023), algorithm 1.
    """
    return RestartSampler(build("samplers", solver), low, high, repeats, inner_steps)


# on which the claims are measured
restart.examples = lambda: {  # type: ignore[attr-defined]
    "heun": restart(),
    "ddim, four times": restart("ddim", 0.2, 2.0, 4),
}

"""Ways along the probability flow, in both directions: what ``inversion.encode`` and ``decode`` go by."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.ode import solve
from unstir.core.seeds import Seeds
from unstir.core.state import expand, mean_per_sample
from unstir.denoisers.base import Denoiser
from unstir.samplers.base import Sampler, SamplerState
from unstir.samplers.exponential import ddim
from unstir.samplers.fixed_point import solve_fixed_point


class Way(ABC):
    """A way along the flow, in both directions; ``times`` fall, the last one being the smallest noise level."""

    @abstractmethod
    def up(self, denoiser: Denoiser, x: Tensor, times: Tensor) -> Tensor:
        """The states at the first of the times, from those at the last."""

    @abstractmethod
    def down(self, denoiser: Denoiser, x: Tensor, times: Tensor) -> Tensor:
        """The states at the last of the times, from those at the first."""


@dataclass(frozen=True)
class ReversedSteps(Way):
    """DDIM's step taken backwards, with the belief of where it comes from: one call a step, error of first order."""

    def up(self, denoiser: Denoiser, x: Tensor, times: Tensor) -> Tensor:
        for s, t in pairwise(times.flip(0)):
            x = _exponential_step(denoiser, x, denoiser(x, s).mean, s, t)
        return x

    def down(self, denoiser: Denoiser, x: Tensor, times: Tensor) -> Tensor:
        for t, s in pairwise(times):
            x = _exponential_step(denoiser, x, denoiser(x, t).mean, t, s)
        return x


@dataclass(frozen=True)
class InverseSteps(Way):
    """The exact inverse of a sampler's steps: each is solved for the state that it starts from, sample by sample.

    The sampler must draw no noise and remember nothing. ``tolerance`` is the residual allowed after a step, relative
    to the state's size; without one it is 32 roundings. ``limit`` is the most iterations for a step. Wide steps at
    low noise are the hard ones; a sample that is not solved is an InputError that names it.

    Reference: Pan et al., Effective real image editing with accelerated iterative diffusion inversion (2023), the
    fixed point; here per sample, for any one-step sampler, and to rounding.
    """

    sampler: Sampler = field(default_factory=ddim)
    tolerance: float | None = None
    limit: int = 200

    def __post_init__(self) -> None:
        if self.limit < 1 or (self.tolerance is not None and not self.tolerance > 0):
            seen = f"{self.tolerance} and {self.limit}"
            raise InputError(f"the tolerance must be positive and the limit at least 1; seen {seen}")

    def up(self, denoiser: Denoiser, x: Tensor, times: Tensor) -> Tensor:
        self.check(denoiser, x, times)
        mean = denoiser(x, times[-1]).mean  # of the first guess; later ones come from the step before
        for s, t in pairwise(times.flip(0)):
            x, mean = self._undone(denoiser, x, mean, t, s)
        return x

    def down(self, denoiser: Denoiser, x: Tensor, times: Tensor) -> Tensor:
        for t, s in pairwise(times):
            x = self._step(denoiser, x, t, s).tensor
        return x

    def _step(self, denoiser: Denoiser, x: Tensor, t: Tensor, s: Tensor) -> SamplerState:
        return self.sampler.step(denoiser, SamplerState(x, _NoDraws(0, torch.arange(len(x), device=x.device))), t, s)

    def _undone(self, denoiser: Denoiser, xs: Tensor, mean: Tensor, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """The state at t whose step ends in ``xs`` at s, and a belief's mean near it."""
        schedule = denoiser.process.schedule
        beliefs: list[Tensor] = [mean]

        def stepped(xt: Tensor) -> Tensor:
            after = self._step(denoiser, xt, t, s)
            assert isinstance(after.mean, Tensor)
            beliefs[0] = after.mean
            return after.tensor

        # the step's slope lies between that for a belief that knows the data and one that follows the state
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        known = (schedule.sigma(s) / sigma).item()
        following = (schedule.alpha(s) / alpha).item() if alpha > 0 else known
        slope = known + (following - known) / 2 / (1 + (sigma / alpha).item() ** 2) if alpha > 0 else known
        relative = self.tolerance or 32 * torch.finfo(xs.dtype).eps
        tolerance = relative * (mean_per_sample(xs.double().square()).sqrt() + 1e-6 * schedule.sigma(s).item())
        guess = _exponential_step(denoiser, xs, mean, s, t)
        solved = solve_fixed_point(stepped, xs, guess, slope, tolerance, self.limit)
        if not bool(solved.converged.all()):
            raise InputError(_unsolved(solved.converged, solved.residual, schedule, t, s, self.limit))
        return solved.x, beliefs[0]

    def check(self, denoiser: Denoiser, x: Tensor, times: Tensor) -> None:
        """Refuses a sampler whose steps draw noise, or depend on the steps before them; takes a few steps for that."""
        first = self._step(denoiser, x, times[-2], times[-1])
        if not first.history or len(times) < 3:
            return
        first = self._step(denoiser, x, times[-3], times[-2])
        fresh = self._step(denoiser, first.tensor, times[-2], times[-1])
        if not torch.equal(self.sampler.step(denoiser, first, times[-2], times[-1]).tensor, fresh.tensor):
            raise InputError(
                f"{type(self.sampler).__name__} remembers past steps, which cannot be undone one by one; take a "
                "one-step sampler such as ddim or heun, or AlongFlow()"
            )


@dataclass(frozen=True)
class AlongFlow(Way):
    r"""The probability flow solved to a tolerance, each sample with its own steps; the grid gives its two ends only.

    With :math:`z=x/\sqrt{\alpha^2+\sigma^2}` and :math:`\phi=\arctan(\sigma/\alpha)` the flow is
    :math:`dz/d\phi=\cos\phi\,\hat\epsilon-\sin\phi\,\hat x_0`, smooth for every schedule, from the data to pure noise.
    ``tolerance`` bounds a step's error, relative and absolute in the unit of z.
    """

    tolerance: float = 1e-6
    max_calls: int = 10_000

    def up(self, denoiser: Denoiser, x: Tensor, times: Tensor) -> Tensor:
        return self._followed(denoiser, x, times[-1], times[0])

    def down(self, denoiser: Denoiser, x: Tensor, times: Tensor) -> Tensor:
        return self._followed(denoiser, x, times[0], times[-1])

    def _followed(self, denoiser: Denoiser, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
        schedule = denoiser.process.schedule

        def slope(angle: Tensor, z: Tensor) -> Tensor:
            t = schedule.time_at_sigma(angle.tan()).to(z.device)
            alpha, sigma = expand(schedule.alpha(t), z), expand(schedule.sigma(t), z)
            size = torch.hypot(alpha, sigma)
            mean = denoiser(size * z, t).mean
            return (alpha * (size * z - alpha * mean) / sigma - sigma * mean) / size

        begun, ended = (torch.atan2(schedule.sigma(t), schedule.alpha(t)) for t in (start, end))
        sizes = [torch.hypot(schedule.sigma(t), schedule.alpha(t)).item() for t in (start, end)]
        bounds = {"relative": self.tolerance, "absolute": self.tolerance, "max_calls": self.max_calls}
        return solve(slope, x / sizes[0], begun, ended, **bounds).y * sizes[1]


class _NoDraws(Seeds):
    """Addresses for a sampler that must not draw."""

    def words(self, count: int) -> Tensor:
        """An error."""
        raise InputError("this sampler draws noise, so its steps have no inverse; take one that does not, such as ddim")

    def normal(self, shape: Sequence[int] = (), dtype: torch.dtype = torch.float32) -> Tensor:
        """An error."""
        return self.words(math.prod(shape))


def _exponential_step(denoiser: Denoiser, x: Tensor, mean: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The flow from t to s, in either direction, for a belief that stays as it is."""
    schedule = denoiser.process.schedule
    kept = schedule.sigma(s) / schedule.sigma(t)
    pulled = schedule.alpha(s) - kept * schedule.alpha(t)
    return kept.item() * x + pulled.item() * mean


def _unsolved(converged: Tensor, residual: Tensor, schedule: Any, t: Tensor, s: Tensor, limit: int) -> str:
    rows = (~converged).nonzero().flatten().tolist()
    levels = [(schedule.sigma(time) / schedule.alpha(time)).item() for time in (t, s)]
    worst = residual[~converged].max().item()
    return (
        f"the step from noise level {levels[0]:.3g} to {levels[1]:.3g} could not be undone for {len(rows)} of "
        f"{len(converged)} samples (rows {rows[:5]}, residual {worst:.1e}) in {limit} iterations; "
        "take more steps, a larger tolerance, or AlongFlow()"
    )

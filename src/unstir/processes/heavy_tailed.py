r"""Heavy-tailed noise: :math:`x_t = \alpha_t x_0 + \sigma_t z` with Student's t in the place of the normal law."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, expand
from unstir.processes import student_clock
from unstir.processes.base import Process, even_pairs
from unstir.processes.schedules.base import Schedule, float64
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule

__all__ = ["HeavyTailedProcess"]


@dataclass(frozen=True)
class HeavyTailedProcess(Process):
    r"""Student-t noise with ``degrees`` nu of freedom, for data with extremes: :math:`x_t = \alpha_t x_0 + \sigma_t z`.

    :math:`z = \epsilon\sqrt V` with :math:`V = \nu/\chi^2_\nu`, one V for each element or, with ``shared``, one for the
    whole sample (the multivariate t). All moments below nu exist: the noise has the variance
    :math:`\sigma^2\nu/(\nu-2)` for nu > 2 and none for nu <= 2.

    The process is Markov, with exactly this law at all times. In y = x/alpha it is a Brownian motion from x_0, read by
    a random clock of independent increments that stands at :math:`r^2V` (in law) where :math:`\sigma/\alpha = r`; V is
    self-decomposable, and so there is one (see ``student_clock.py``). A transition draws what the clock gains, by its
    quantiles; the bridge draws where it stands at t given x_t and x_0, then how much of that had passed at s, then the
    Brownian bridge between. Numbers drawn so are true to about six digits of their ranks. They are found on the
    processor, at some hundredth of a millisecond each in a bridge.

    Beside ancestral sampling, all samplers that follow the probability flow by linear steps serve it as they are:
    :math:`dx/dt = E[\alpha' x_0 + \sigma' z | x_t]` holds whatever the law of z.

    Raises InputError for degrees that are not within [0.5, 100].

    Reference: Pandey, Pathak, Xu, Mandt, Pritchard, Vahdat, Mardani, Heavy-tailed diffusion models (2024), for the
    noise; Sato, Self-similar processes with independent increments (1991), for the clock.
    """

    schedule: Schedule = field(default_factory=CosineSchedule)
    degrees: float | int = 4.0
    shared: bool = False
    space = "heavy-tailed"
    learned = "network"

    def __post_init__(self) -> None:
        if not 0.5 <= self.degrees <= 100:
            raise InputError(
                f"degrees of freedom lie within 0.5 and 100; seen {self.degrees}; for more, take the process gaussian"
            )

    @classmethod
    def examples(cls) -> Mapping[str, "HeavyTailedProcess"]:
        """Members whose claims are measured: each element for itself, and one clock for all; Cauchy's law too."""
        return {
            "for each element": cls(),
            "shared, straight flow": cls(RectifiedFlowSchedule(), 3.0, shared=True),
            "Cauchy, variance exploding": cls(EDMSchedule(), 1.0),
        }

    def example_data(self, count: int) -> Tensor:
        return 2 * even_pairs(count) - 1

    def features(self, x: Tensor) -> Tensor:
        """The inverse hyperbolic sine of each number, on an axis of its own: it has moments, whatever the degrees."""
        return x.asinh()[..., None]

    def contains(self, x: Tensor) -> Tensor:
        return x.flatten(1).isfinite().all(1)

    def log_density(self, xt: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        t = float64(t)
        alpha, sigma = (
            expand(part(t).to(xt.device), xt.double()) for part in (self.schedule.alpha, self.schedule.sigma)
        )
        away = ((xt.double() - alpha * x0.double()) / sigma).flatten(1)
        size = away.shape[1] if self.shared else 1
        squares = away.square().sum(1, keepdim=True) if self.shared else away.square()
        half = torch.tensor([self.degrees / 2, (self.degrees + size) / 2], dtype=torch.float64).lgamma()
        norm = float(half[1] - half[0]) - size / 2 * math.log(self.degrees * math.pi)
        logs = norm - (self.degrees + size) / 2 * torch.log1p(squares / self.degrees)
        return logs.sum(1) - (sigma.log() + torch.zeros_like(xt.double())).flatten(1).sum(1)

    def noise(self, x0: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Tensor:
        """A draw of x_t given x_0."""
        alpha, sigma = (expand(part(float64(t)), x0) for part in (self.schedule.alpha, self.schedule.sigma))
        return apply_mask(alpha * x0 + sigma * self._student(seeds, tuple(x0.shape[1:]), x0.dtype).to(x0.device), mask)

    def transition(self, xs: Tensor, s: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Tensor:
        r"""A draw of x_t given x_s, for s <= t: :math:`\frac{\alpha_t}{\alpha_s}x_s + \sigma_t\sqrt W\epsilon`."""
        s, t, ratio = self._times(s, t, xs)
        gained = self._each(ratio, [self._uniform(seeds.at("clock"), xs)], lambda c, u: self._gained(c, u), len(xs)).to(
            xs.device
        )
        schedule = self.schedule
        kept = torch.where(ratio == 1, 1.0, schedule.alpha(t) / schedule.alpha(s))
        kept = torch.where(ratio == 0, torch.where(s == 0, schedule.alpha(t), 0.0), kept)
        spread = expand(schedule.sigma(t), xs.double()) * _shaped(gained, xs).sqrt()
        moved = expand(kept, xs) * xs + (spread * _normal(seeds.at("step"), xs)).to(xs.dtype)
        return apply_mask(moved, mask)

    def prior(
        self,
        shape: Sequence[int],
        seeds: Seeds,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.float32,
        mask: Tensor | None = None,
    ) -> Tensor:
        """A draw of the noise that sampling starts from, at time ``t``; ``shape`` is that of one sample."""
        sigma = self.schedule.sigma(t).to(device=seeds.samples.device, dtype=dtype)
        return apply_mask(sigma * self._student(seeds, tuple(shape), dtype), mask)

    def bridge(
        self, xt: Tensor, posterior: Any, t: Tensor, s: Tensor, seeds: Seeds, mask: Tensor | None = None
    ) -> Tensor:
        """A draw of x_s given x_t and the belief about x_0, for s <= t.

        Exact, as far as numbers are drawn exactly, for any s < t if the belief is the true posterior.
        """
        s, t, ratio = self._times(s, t, xt)
        x0 = posterior.sample(seeds.at("clean")).to(xt.device)
        sigma_t = expand(self.schedule.sigma(t), xt.double())
        alpha_t, alpha_s = (expand(self.schedule.alpha(time), xt.double()) for time in (t, s))
        still = expand((t == s).double(), xt.double()) > 0
        away = apply_mask((xt.double() - alpha_t * x0.double()) / torch.where(sigma_t > 0, sigma_t, 1.0), mask)
        squares, count = self._squares(away, mask)
        uniforms = [self._uniform(seeds.at("whole"), xt), self._uniform(seeds.at("share"), xt)]
        whole = torch.from_numpy(
            student_clock.given_distance(uniforms[0], squares.cpu().numpy(), count.cpu().numpy(), float(self.degrees))
        )
        own = self._each(ratio, [uniforms[1], whole.numpy()], self._own, len(xt))
        # where ratio is 0 (the clean end, or nothing left of the data at t) the clock at s knows nothing of the whole
        c = expand(ratio, xt.double())
        own, whole = (_shaped(value.to(xt.device), xt) for value in (own, whole))
        straight = c * own / whole
        left = (1 - c.square() * own / whole).clamp(min=0)
        fresh = (own * left).sqrt() * _normal(seeds.at("bridge"), xt)
        moved = alpha_s * x0.double() + expand(self.schedule.sigma(s), xt.double()) * (straight * away + fresh)
        return apply_mask(torch.where(still, xt, moved.to(xt.dtype)), mask)

    def _student(self, seeds: Seeds, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        like = torch.empty(len(seeds), *shape, dtype=torch.float64)
        clock = torch.from_numpy(student_clock.quantile(self._uniform(seeds.at("clock"), like), float(self.degrees)))
        return (_shaped(clock, like).sqrt() * _normal(seeds.at("step"), like)).to(dtype)

    def _gained(self, c: float, u: np.ndarray) -> np.ndarray:
        if c == 1:
            return np.zeros_like(u)
        if c == 0:
            return student_clock.quantile(u, float(self.degrees))
        return student_clock.increment(float(self.degrees), c).quantile(u)

    def _own(self, c: float, u: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """Where the clock stood at s, in units of r_s^2."""
        if c == 1:
            return whole
        if c == 0:
            return student_clock.quantile(u, float(self.degrees))
        law = student_clock.increment(float(self.degrees), c)
        return law.share(u.ravel(), whole.ravel()).reshape(u.shape)

    def _each(self, ratio: Tensor, values: list[np.ndarray], function: Any, batch: int) -> Tensor:
        """``function`` of each distinct ratio and the rows that have it."""
        ratios = ratio.cpu().expand(batch).numpy()
        found = np.empty_like(values[0])
        for c in np.unique(ratios):
            rows = ratios == c
            found[rows] = function(float(c), *(value[rows] for value in values))
        return torch.from_numpy(found)

    def _uniform(self, seeds: Seeds, like: Tensor) -> np.ndarray:
        """One for each clock, (batch, clocks)."""
        return seeds.to("cpu").uniform((1 if self.shared else math.prod(like.shape[1:]),)).numpy()

    def _squares(self, away: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Of each clock, (batch, clocks): the sum of the squares that share it, and how many they are."""
        flat = away.flatten(1).square()
        if not self.shared:
            return flat, torch.ones_like(flat)
        there = apply_mask(torch.ones_like(away), mask).flatten(1)
        return flat.sum(1, keepdim=True), there.sum(1, keepdim=True)

    def _times(self, s: Tensor | float, t: Tensor | float, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both times, and (sigma/alpha at s) / (sigma/alpha at t): 1 where no time passes, 0 from the clean end."""
        s, t = (float64(time).to(like.device) for time in (s, t))
        if bool((s > t).any()):
            raise InputError(f"times must not be turned round: s must not exceed t; seen s = {s} and t = {t}")
        s, t = torch.broadcast_tensors(s, t)
        ratio = ((self.schedule.log_snr(t) - self.schedule.log_snr(s)) / 2).exp()
        return s, t, torch.where(s == t, 1.0, ratio.nan_to_num(nan=1.0))


def _normal(seeds: Seeds, like: Tensor) -> Tensor:
    return seeds.to(like.device).normal(tuple(like.shape[1:]), torch.float64)


def _shaped(clocks: Tensor, like: Tensor) -> Tensor:
    """One number for each clock, (batch, clocks), to broadcast against a state."""
    if clocks.shape[1] == 1 and math.prod(like.shape[1:]) != 1:
        return clocks.reshape(-1, *(1,) * (like.ndim - 1))
    return clocks.reshape(like.shape)

r"""Noise on the torus: :math:`x_t = x_0 + \sigma_t \epsilon` modulo the period."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, expand
from unstir.processes import wrapped_normal
from unstir.processes.base import Process, even_pairs
from unstir.processes.schedules.base import Schedule, float64
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.spreading import check_spreading, gained_deviation

__all__ = ["WrappedProcess"]


@dataclass(frozen=True)
class WrappedProcess(Process):
    r"""Brownian motion on the torus: angles, phases, periodic cells; x_t = (x_0 + sigma_t eps) modulo the period.

    ``period`` is one number, or one for each element of the state's last axis; states lie in [0, P). The schedule
    is a variance-exploding one, its sigmas in the unit of the period. At time 1 the law is uniform up to
    ``prior_error``, which is 5e-9 where sigma_max is one period and falls with its square in the exponent.

    Reference: Jing et al., Torsional diffusion for molecular conformer generation (2022), section 3.2; De Bortoli
    et al., Riemannian score-based generative modelling (2022).
    """

    schedule: Schedule = field(default_factory=lambda: ExponentialVESchedule(0.01, 10.0))
    period: float | int | Sequence[float | int] = 1.0
    space = "torus"
    learned = "torus"

    def __post_init__(self) -> None:
        several = not isinstance(self.period, float | int)
        if several:
            object.__setattr__(self, "period", tuple(float(value) for value in self.period))  # type: ignore[union-attr]
        periods = torch.tensor(self.period, dtype=torch.float64)
        if not bool((periods.isfinite() & (periods > 0)).all()) or (several and not periods.numel()):
            raise InputError(f"a period is positive and finite; seen {self.period}")
        check_spreading(self, "on the torus nothing can be shrunk", f"{periods.max():g}")

    @classmethod
    def examples(cls) -> Mapping[str, "WrappedProcess"]:
        """Members whose claims are measured."""
        return {
            "unit period": cls(ExponentialVESchedule(0.01, 2.0)),
            "degrees and turns": cls(ExponentialVESchedule(0.02, 400.0), (360.0, 1.0)),
        }

    def periods(self, like: Tensor) -> Tensor:
        """The period, float64, ready to broadcast against ``like``."""
        period = torch.tensor(self.period, dtype=torch.float64, device=like.device)
        if period.ndim and (like.ndim < 2 or like.shape[-1] != len(period)):
            raise InputError(
                f"{len(period)} periods need a last axis of {len(period)}; the state's shape is {tuple(like.shape)}"
            )
        return period

    def prior_error(self, t: Tensor | float = 1.0) -> float:
        """The largest relative deviation of the density of x_t given x_0 from the uniform one, over all x_t."""
        period = torch.tensor(self.period, dtype=torch.float64)
        return wrapped_normal.largest_deviation_from_uniform(self.schedule.sigma(t), period).max().item()

    def example_data(self, count: int) -> Tensor:
        pairs = even_pairs(count)
        return pairs * self.periods(pairs)

    def features(self, x: Tensor) -> Tensor:
        """Cosine and sine of every angle, (..., n, 2)."""
        turns = 2 * math.pi * x / self.periods(x).to(x.dtype)
        return torch.stack((turns.cos(), turns.sin()), -1)

    def contains(self, x: Tensor) -> Tensor:
        return ((x >= 0) & (x < self.periods(x))).flatten(1).all(1)

    def transition(self, xs: Tensor, s: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Tensor:
        # the law is uniform there to 1e-19; more noise would only cost digits
        spread = torch.minimum(self._spread(s, t, xs), wrapped_normal.UNIFORM * self.periods(xs))
        drawn = xs.double() + spread * seeds.to(xs.device).normal(tuple(xs.shape[1:]), torch.float64)
        return apply_mask(self._wrapped(drawn, xs), mask)

    def prior(
        self,
        shape: Sequence[int],
        seeds: Seeds,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.float32,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Uniform draws, of which sampling starts at any time ``t``; ``shape`` is that of one sample."""
        drawn = seeds.uniform(shape)
        return apply_mask(self._wrapped(drawn * self.periods(drawn), drawn.to(dtype)), mask)

    def bridge(
        self, xt: Tensor, posterior: Any, t: Tensor, s: Tensor, seeds: Seeds, mask: Tensor | None = None
    ) -> Tensor:
        """A draw of x_s given x_t and the belief about x_0, for s <= t.

        With x_0 drawn from the belief, the way from it to x_t may have gone round any number of times; that number is
        drawn with its weight, and between the unwrapped ends lies a Brownian bridge. Exact for any s < t if
        the belief is the true posterior.
        """
        rest = self._spread(s, t, xt)
        x0 = posterior.sample(seeds.at("clean")).to(xt.device)
        periods = self.periods(xt)
        shares, centres, deviation = wrapped_normal.product(
            x0, expand(self.schedule.sigma(s), xt.double()), xt, rest, periods
        )
        chosen = choose(shares, seeds.at("winding"))
        centre = centres.gather(-1, chosen[..., None])[..., 0]
        fresh = seeds.at("bridge").to(xt.device).normal(tuple(xt.shape[1:]), torch.float64)
        drawn = self._wrapped(centre + deviation * fresh, xt)
        drawn = torch.where(expand(float64(s), xt.double()).to(xt.device) > 0, drawn, self._wrapped(x0.double(), xt))
        return apply_mask(torch.where(rest == 0, xt, drawn), mask)

    def log_density(self, xt: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        sigma = expand(self.schedule.sigma(t), xt.double())
        return wrapped_normal.log_density(xt.double() - x0.double(), sigma, self.periods(xt)).flatten(1).sum(1)

    def conditional_score(self, xt: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        """d log q(x_t | x_0) / d x_t of every element: the target of denoising score matching on the torus."""
        sigma = expand(self.schedule.sigma(t), xt.double())
        return wrapped_normal.score(xt.double() - x0.double(), sigma, self.periods(xt)).to(xt.dtype)

    def _spread(self, s: Tensor | float, t: Tensor | float, like: Tensor) -> Tensor:
        """The deviation that the noise gains from s to t, float64, to broadcast against ``like``."""
        return expand(gained_deviation(self.schedule, s, t, like.device), like.double())

    def _wrapped(self, x: Tensor, like: Tensor) -> Tensor:
        periods = self.periods(like)
        return wrapped_normal.wrap(wrapped_normal.wrap(x, periods).to(like.dtype), periods)

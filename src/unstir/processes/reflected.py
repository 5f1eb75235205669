r"""Noise in an interval: Brownian motion that its ends throw back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, expand
from unstir.processes import reflected_normal
from unstir.processes.base import Process, even_pairs
from unstir.processes.schedules.base import Schedule, float64
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.spreading import check_spreading, gained_deviation

__all__ = ["ReflectedProcess"]

_UNIFORM = 3.0  # widths: from this deviation on the law is uniform to 1e-19


@dataclass(frozen=True)
class ReflectedProcess(Process):
    r"""Brownian motion reflected at both ends of an interval: fractions, saturations, pixels that cannot overflow.

    :math:`x_t` is :math:`x_0 + \sigma_t\epsilon` folded into [low, high], each element for itself. ``low`` and
    ``high`` are numbers, or one each for every element of the state's last axis. The schedule is a
    variance-exploding one, its sigmas in the unit of the data. At time 1 the law is uniform up to ``prior_error``,
    which is 5e-9 where sigma_max is two widths of the interval. A padded place (``mask``) holds zero.

    Reference: Lou and Ermon, Reflected diffusion models (2023), sections 3 and 4.
    """

    schedule: Schedule = field(default_factory=lambda: ExponentialVESchedule(0.005, 5.0))
    low: float | int | Sequence[float | int] = 0.0
    high: float | int | Sequence[float | int] = 1.0
    space = "interval"
    learned = "interval"

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            if not isinstance(getattr(self, name), float | int):
                object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        low, high = (torch.tensor(end, dtype=torch.float64) for end in (self.low, self.high))
        if low.ndim and high.ndim and low.shape != high.shape:
            raise InputError(f"as many lower as upper ends are needed; seen {len(low)} and {len(high)}")
        if not bool(((high - low).isfinite() & (high > low)).all()) or not (low + high).numel():
            raise InputError(f"an interval needs finite ends, low < high; seen {self.low} and {self.high}")
        check_spreading(self, "in an interval nothing can be shrunk", f"{2 * (high - low).max():g}")

    @classmethod
    def examples(cls) -> Mapping[str, "ReflectedProcess"]:
        """Members whose claims are measured."""
        return {
            "unit interval": cls(ExponentialVESchedule(0.01, 2.0)),
            "two ranges": cls(ExponentialVESchedule(0.05, 30.0), (-1.0, 10.0), (1.0, 25.0)),
        }

    def ends(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The lower end and the width, float64, ready to broadcast against ``like``."""
        low, high = (torch.tensor(end, dtype=torch.float64, device=like.device) for end in (self.low, self.high))
        count = (low + high).numel() if low.ndim or high.ndim else 0
        if count and (like.ndim < 2 or like.shape[-1] != count):
            raise InputError(f"{count} intervals need a last axis of {count}; the state's shape is {tuple(like.shape)}")
        return low, high - low

    def prior_error(self, t: Tensor | float = 1.0) -> float:
        """The largest relative deviation of the density of x_t given x_0 from the uniform one."""
        width = torch.tensor(self.high, dtype=torch.float64) - torch.tensor(self.low, dtype=torch.float64)
        return reflected_normal.largest_deviation_from_uniform(self.schedule.sigma(t), width).max().item()

    def example_data(self, count: int) -> Tensor:
        pairs = even_pairs(count)
        low, width = self.ends(pairs)
        return low + pairs * width

    def features(self, x: Tensor) -> Tensor:
        """The place in the interval, from -1 to 1, (..., n, 1)."""
        low, width = self.ends(x)
        return ((2 * (x - low) / width - 1).to(x.dtype))[..., None]

    def contains(self, x: Tensor) -> Tensor:
        low, high = self._edges(x)
        return ((x >= low) & (x <= high)).flatten(1).all(1)

    def transition(self, xs: Tensor, s: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Tensor:
        low, width = self.ends(xs)
        spread = self._spread(s, t, xs)
        # the law is uniform there to 1e-19; more noise would only cost digits
        fresh = torch.minimum(spread, _UNIFORM * width) * seeds.to(xs.device).normal(tuple(xs.shape[1:]), torch.float64)
        drawn = self._folded(xs.double() - low + fresh, xs)
        return apply_mask(torch.where(spread == 0, xs, drawn), mask)

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
        return apply_mask(self._folded(drawn * self.ends(drawn)[1], drawn.to(dtype)), mask)

    def bridge(
        self, xt: Tensor, posterior: Any, t: Tensor, s: Tensor, seeds: Seeds, mask: Tensor | None = None
    ) -> Tensor:
        """A draw of x_s given x_t and the belief about x_0, for s <= t.

        With x_0 drawn from the belief, how often the way to x_t was thrown back is drawn with its weight; between the
        ends of the way unfolded lies a Brownian bridge. Exact for any s < t if the belief is the true posterior.
        """
        rest = self._spread(s, t, xt)
        x0 = posterior.sample(seeds.at("clean")).to(xt.device)
        low, width = self.ends(xt)
        shares, centres, deviation = reflected_normal.product(
            x0.double() - low, expand(self.schedule.sigma(s), xt.double()), xt.double() - low, rest, width
        )
        chosen = choose(shares, seeds.at("mirror"))
        centre = centres.gather(-1, chosen[..., None])[..., 0]
        fresh = seeds.at("bridge").to(xt.device).normal(tuple(xt.shape[1:]), torch.float64)
        drawn = self._folded(centre + deviation * fresh, xt)
        drawn = torch.where(expand(float64(s), xt.double()).to(xt.device) > 0, drawn, x0.to(xt.dtype))
        return apply_mask(torch.where(rest == 0, xt, drawn), mask)

    def log_density(self, xt: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        low, width = self.ends(xt)
        sigma = expand(self.schedule.sigma(t), xt.double())
        logs = reflected_normal.log_density(xt.double() - low, x0.double() - low, sigma, width)
        return logs.flatten(1).sum(1)

    def conditional_score(self, xt: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        """d log q(x_t | x_0) / d x_t of every element: the target of denoising score matching in the interval."""
        low, width = self.ends(xt)
        sigma = expand(self.schedule.sigma(t), xt.double())
        return reflected_normal.score(xt.double() - low, x0.double() - low, sigma, width).to(xt.dtype)

    def folded(self, y: Tensor, like: Tensor) -> Tensor:
        """Any numbers in the data's unit, reflected into the interval, of the dtype of ``like``."""
        return self._folded(y - self.ends(like)[0], like)

    def _edges(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Both ends as the precision of ``like`` knows them."""
        low, width = self.ends(like)
        return low.to(like.dtype), (low + width).to(like.dtype)

    def _folded(self, y: Tensor, like: Tensor) -> Tensor:
        """Places on the line, relative to the lower end, in the interval; rounding does not leave it."""
        low, width = self.ends(like)
        edges = self._edges(like)
        return (low + reflected_normal.fold(y, width)).to(like.dtype).clamp(*edges)

    def _spread(self, s: Tensor | float, t: Tensor | float, like: Tensor) -> Tensor:
        """The deviation that the noise gains from s to t, float64, to broadcast against ``like``."""
        return expand(gained_deviation(self.schedule, s, t, like.device), like.double())

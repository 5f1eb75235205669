r"""Noise on compositions: positive parts that sum to one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, expand
from unstir.core.transforms import LogRatio, contrasts
from unstir.processes.base import Process, even_pairs
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.base import Schedule, float64
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule

__all__ = ["SimplexProcess"]

_WIDEST = 9.0  # of this deviation a part may be e^-87 of another, the least that float32 knows
_RATIOS = LogRatio()


@dataclass(frozen=True)
class SimplexProcess(Process):
    r"""Logistic-normal noise on compositions: shares of species, phases, topics, votes, probabilities.

    States are (batch, ..., parts), positive and summing to one. In isometric log-ratio coordinates
    :math:`z = V^T\log x` the noise is Gaussian, :math:`z_t = \alpha_t z_0 + \sigma_t\epsilon`, the same along all
    ratios, so that no part is special; :math:`x_t` is a power of :math:`x_0` perturbed by a logistic-normal factor. Any
    schedule serves whose sigma ends below 9, beyond which parts would underflow. ``log_density`` is against the volume
    of the first parts - 1 parts.

    A part that is zero has no log-ratio: replace what is below detection first. A padded place (``mask``) holds
    zeros. For all samplers of Gaussian processes, encode with ``core.transforms.LogRatio`` and take
    ``GaussianProcess``: the law is the same.

    Raises InputError for states that are no compositions.

    Reference: Aitchison and Shen, Logistic-normal distributions (1980); Egozcue et al., Isometric logratio
    transformations for compositional data analysis (2003); Floto et al., Diffusion on the probability simplex (2023).
    """

    schedule: Schedule = field(default_factory=CosineSchedule)
    parts: int = 3
    space = "simplex"
    learned = "simplex"

    def __post_init__(self) -> None:
        if self.parts < 2:
            raise InputError(f"a composition has 2 parts at least; seen {self.parts}")
        if (largest := self.schedule.sigma(1.0).item()) > _WIDEST:
            raise InputError(
                f"noise of sigma {largest:g} in log-ratios makes parts too small for a computer's numbers; take a "
                f"schedule whose sigma ends at {_WIDEST:g} at most (cosine, rectified-flow)"
            )

    @classmethod
    def examples(cls) -> Mapping[str, "SimplexProcess"]:
        """Members whose claims are measured."""
        return {
            "three parts": cls(CosineSchedule()),
            "four parts, straight flow": cls(RectifiedFlowSchedule(), 4),
        }

    @property
    def coordinates_process(self) -> GaussianProcess:
        """The same noise in log-ratio coordinates."""
        return GaussianProcess(self.schedule)

    def example_data(self, count: int) -> Tensor:
        """One composition of all parts."""
        pairs = 3 * even_pairs(count) - 1.5
        return self.composition(pairs.repeat(1, self.parts // 2 + 1)[:, : self.parts - 1])

    def coordinates(self, x: Tensor) -> Tensor:
        """Isometric log-ratios (batch, ..., parts - 1), float64; zero where a place is padded, all its parts zero."""
        if x.ndim < 2 or x.shape[-1] != self.parts:
            raise InputError(
                f"compositions of {self.parts} parts are (batch, ..., {self.parts}); seen {tuple(x.shape)}"
            )
        padded = (x == 0).all(-1, keepdim=True)
        if not bool((padded | (x > 0)).all()):
            raise InputError(
                f"every part of a composition is positive; the least of these is {x.min().item():g}. Replace what is "
                "below detection by a small share of the rest"
            )
        logs = torch.where(padded, torch.ones_like(x), x).double().log()
        return logs @ contrasts(self.parts, logs)

    def composition(self, z: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """The composition of log-ratios, none of its parts less than the dtype's least normal number."""
        parts = _RATIOS.inverse(z.double()).clamp(min=torch.finfo(dtype).tiny)
        return parts.to(dtype)

    def features(self, x: Tensor) -> Tensor:
        """The isometric log-ratios, of the state's dtype."""
        return self.coordinates(x).to(x.dtype)

    def contains(self, x: Tensor) -> Tensor:
        whole = (x.sum(-1) - 1).abs() <= 8 * self.parts * torch.finfo(x.dtype).eps
        return ((x > 0).all(-1) & whole).reshape(len(x), -1).all(1)

    def transition(self, xs: Tensor, s: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Tensor:
        drawn = self.coordinates_process.transition(self.coordinates(xs), s, t, seeds)
        still = expand(float64(s) == float64(t), xs).to(xs.device).bool()
        return apply_mask(torch.where(still, xs, self.composition(drawn, xs.dtype)), mask)

    def prior(
        self,
        shape: Sequence[int],
        seeds: Seeds,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.float32,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Logistic-normal draws about equal parts; ``shape`` is that of one sample."""
        if not shape or shape[-1] != self.parts:
            raise InputError(
                f"a composition of {self.parts} parts has the shape (..., {self.parts}); seen {tuple(shape)}"
            )
        drawn = self.coordinates_process.prior((*shape[:-1], self.parts - 1), seeds, t, torch.float64)
        return apply_mask(self.composition(drawn, dtype), mask)

    def bridge(
        self, xt: Tensor, posterior: Any, t: Tensor, s: Tensor, seeds: Seeds, mask: Tensor | None = None
    ) -> Tensor:
        """A draw of x_s given x_t and the belief about x_0, for s <= t: the Gaussian bridge of log-ratios.

        Exact for any s < t if the belief is the true posterior.
        """
        x0 = posterior.sample(seeds.at("clean")).to(xt.device)
        known = _Drawn(self.coordinates(x0))
        drawn = self.coordinates_process.bridge(self.coordinates(xt), known, t, s, seeds)
        made = self.composition(drawn, xt.dtype)
        s, t = (expand(float64(time).to(xt.device), xt.double()) for time in (s, t))
        made = torch.where(s > 0, made, x0.to(xt.dtype))
        return apply_mask(torch.where(s == t, xt, made), mask)

    def log_density(self, xt: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        z = self.coordinates_process.log_density(self.coordinates(xt), self.coordinates(x0), float64(t).to(xt.device))
        return z + self.log_volume(xt)

    def log_volume(self, x: Tensor) -> Tensor:
        """log|dz/dx|: what a log-density of coordinates gains as one of compositions, (batch,)."""
        return _RATIOS.log_abs_det(x.double())


@dataclass(frozen=True)
class _Drawn:
    """A belief that has been drawn from already."""

    x0: Tensor

    def sample(self, seeds: Seeds) -> Tensor:
        """What was drawn."""
        return self.x0

"""Bridges: processes that end in other data, the source, instead of noise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, expand
from unstir.processes.base import Process, even_pairs
from unstir.processes.bridge_schedule import BridgeSchedule
from unstir.processes.schedules.base import Schedule, float64
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule

__all__ = ["BridgeProcess"]

SOURCES = ("data", "normal")


@dataclass(frozen=True)
class BridgeProcess(Process):
    r"""A path from data to a source, which may be data too: rectified flow, stochastic interpolants, Brownian bridges.

    :math:`x_t=\alpha_tx_0+\sigma_tx_1+g\sqrt{\alpha_t\sigma_t}\,z` with z standard normal and x_1 the source, of the
    state's shape. With the straight schedule, and g = ``sigma`` > 0, it is the Brownian bridge with the variance
    :math:`g^2t(1-t)`; every other schedule that leaves nothing of the data is this bridge at another time and scale
    (trigonometric interpolants: cosine). With ``sigma`` = 0 there is no motion but a flow from the one to the other.

    Given its source it is Markov:
    :math:`x_t=kx_s+mx_1+g\sqrt{\alpha_tm}\,z,\ k=\alpha_t/\alpha_s,\ m=\sigma_t-k\sigma_s`. Backwards the source need
    not be known: :math:`x_s=qx_t+px_0+g\sqrt{\sigma_sp}\,z,\ q=\sigma_s/\sigma_t,\ p=\alpha_s-q\alpha_t`, so that a
    denoiser may see the source (as a condition of its own) or not.

    ``source`` says what x_1 is where none is given: an error for ``data``; for ``normal`` standard normal
    noise, one a sample whatever the purpose of its address. Data and source may hang together in any way.

    What a belief's mean tells is the flow, not a score: without motion every deterministic sampler of the Euclidean
    space serves, with motion the ancestral one. ``schedule`` says the noise level that grids and networks go by (see
    ``bridge_schedule.py``); ``path`` has alpha and sigma.

    Raises InputError for a schedule that does not end in the source, a negative ``sigma``, or a source that is missing.

    Reference: Liu, Gong, Liu, Flow straight and fast (2022); Albergo, Boffi, Vanden-Eijnden, Stochastic interpolants
    (2023); Liu et al., I2SB: image-to-image Schrödinger bridge (2023), section 3; Zhou et al., Denoising diffusion
    bridge models (2023).
    """

    schedule: Schedule = field(default_factory=RectifiedFlowSchedule)
    sigma: float = 0.0
    source: str = "data"
    learned = "network"
    grid = "uniform"

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise unknown("source of a bridge", self.source, SOURCES)
        if not 0 <= self.sigma < math.inf:
            raise InputError(f"sigma, the deviation of the bridge's motion, is not negative; seen {self.sigma}")
        path = self.path
        if path.alpha(1.0) != 0 or path.sigma(1.0) != 1:
            raise InputError(
                "a bridge ends in its source: the schedule's alpha must be 0 at time 1 and its sigma 1 "
                "(rectified-flow, cosine); "
                f"seen {path.alpha(1.0):.3g} and {path.sigma(1.0):.3g} of {type(path).__name__}"
            )
        object.__setattr__(self, "schedule", BridgeSchedule(path, self.sigma) if self.sigma > 0 else path)

    @classmethod
    def examples(cls) -> Mapping[str, "BridgeProcess"]:
        """Members whose claims are measured."""
        return {
            "straight flow": cls(source="normal"),
            "trigonometric flow": cls(CosineSchedule(), source="normal"),
            "brownian bridge": cls(sigma=0.8, source="normal"),
            "trigonometric bridge": cls(CosineSchedule(), 1.5, source="normal"),
        }

    @property
    def space(self) -> str:  # type: ignore[override]
        """The Euclidean one for a flow; with motion, samplers must know the bridge."""
        return "euclidean" if self.sigma == 0 else "bridge"

    @property
    def path(self) -> Schedule:
        """alpha and sigma, the factors of data and source."""
        return self.schedule.path if isinstance(self.schedule, BridgeSchedule) else self.schedule

    def example_data(self, count: int) -> Tensor:
        return 2 * even_pairs(count) - 1

    def features(self, x: Tensor) -> Tensor:
        """The numbers themselves, each on an axis of its own."""
        return x[..., None]

    def contains(self, x: Tensor) -> Tensor:
        return x.flatten(1).isfinite().all(1)

    def coefficients(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma of the path at the times, ready to multiply ``like``."""
        t = torch.as_tensor(t, dtype=torch.float64, device=like.device)
        return expand(self.path.alpha(t), like), expand(self.path.sigma(t), like)

    def normal_source(self, shape: Sequence[int], seeds: Seeds, dtype: torch.dtype = torch.float32) -> Tensor:
        """The source of each sample where it is noise: the same for every purpose."""
        if self.source != "normal":
            raise InputError(
                "this bridge leads to data, which must be told: train on data that gives the condition 'source', "
                "sample with start=...; or take source: normal for noise"
            )
        return replace(seeds, purpose=("bridge", "source")).normal(shape, torch.float64).to(dtype)

    def noise(
        self, x0: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None = None, source: Tensor | None = None
    ) -> Tensor:
        """A draw of x_t given x_0 and the source."""
        alpha, sigma = self.coefficients(t, x0)
        drawn = alpha * x0 + sigma * self._source(x0, seeds, source)
        if self.sigma > 0:
            drawn = drawn + self.sigma * (alpha * sigma).sqrt() * seeds.normal_like(x0)
        return apply_mask(drawn, mask)

    def transition(
        self,
        xs: Tensor,
        s: Tensor,
        t: Tensor,
        seeds: Seeds,
        mask: Tensor | None = None,
        source: Tensor | None = None,
    ) -> Tensor:
        """A draw of x_t given x_s and the source, for s <= t."""
        s, t = self._ordered(s, t, xs.device)
        alpha = self.path.alpha(t)
        kept = torch.where(s == t, 1.0, alpha / self.path.alpha(s))
        pulled = torch.where(s == t, 0.0, (self.path.sigma(t) - kept * self.path.sigma(s)).clamp(min=0))
        drawn = expand(kept, xs) * xs + expand(pulled, xs) * self._source(xs, seeds, source)
        if self.sigma > 0:
            drawn = drawn + expand(self.sigma * (alpha * pulled).sqrt(), xs) * seeds.normal_like(xs)
        return apply_mask(drawn, mask)

    def prior(
        self,
        shape: Sequence[int],
        seeds: Seeds,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.float32,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The source itself at time 1, where it is noise; before, what the path has of it and of the motion."""
        source = self.normal_source(shape, seeds, dtype)
        return self.noise(torch.zeros_like(source), float64(t), seeds, mask, source)

    def bridge(
        self, xt: Tensor, posterior: Any, t: Tensor, s: Tensor, seeds: Seeds, mask: Tensor | None = None
    ) -> Tensor:
        """A draw of x_s given x_t and the belief about x_0, for s <= t; the source need not be known.

        Marginals are exact for any s < t if the belief is the true posterior.
        """
        kept, pulled, deviation = (expand(value, xt) for value in self.bridge_coefficients(t, s, xt.device))
        drawn = kept * xt + pulled * posterior.sample(seeds.at("clean"))
        if self.sigma > 0:
            drawn = drawn + deviation * seeds.at("bridge").normal_like(xt)
        return apply_mask(drawn, mask)

    def bridge_coefficients(
        self, t: Tensor | float, s: Tensor | float, device: torch.device | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of q(x_s | x_t, x_0): the factors of x_t and x_0, and the standard deviation."""
        s, t = self._ordered(s, t, device)
        sigma = self.path.sigma(s)
        kept = torch.where(s == t, 1.0, sigma / self.path.sigma(t))
        pulled = torch.where(s == t, 0.0, (self.path.alpha(s) - kept * self.path.alpha(t)).clamp(min=0))
        return kept, pulled, self.sigma * (sigma * pulled).sqrt()

    def log_density(self, xt: Tensor, x0: Tensor, t: Tensor | float, source: Tensor | None = None) -> Tensor:
        """log q(x_t | x_0) in nats, float64 (batch,): given the source, or for normal ones."""
        alpha, sigma = self.coefficients(float64(t), xt.double())
        centre, variance = alpha * x0.double(), self.sigma**2 * alpha * sigma
        if source is None:
            if self.source != "normal":
                raise InputError("the density of a bridge to data is that given the source; tell source=...")
            variance = variance + sigma.square()
        elif self.sigma == 0:
            raise InputError("given its source, a flow without motion (sigma 0) has no density")
        else:
            centre = centre + sigma * source.double()
        away = (xt.double() - centre).square() / variance
        return -(away + variance.log() + math.log(2 * math.pi)).flatten(1).sum(1) / 2

    def source_of(self, xt: Tensor, mean: Tensor, t: Tensor) -> Tensor:
        """E[x_1 | x_t] of a flow, which its belief about x_0 implies: (x_t - alpha x_0)/sigma."""
        self._only_flow("the source that a belief implies")
        alpha, sigma = self.coefficients(t, xt)
        return (xt - alpha * mean) / sigma

    def velocity_of(self, xt: Tensor, mean: Tensor, t: Tensor) -> Tensor:
        r"""dx/dt of the flow, E[alpha' x_0 + sigma' x_1 | x_t]; for the straight schedule E[x_1 - x_0 | x_t]."""
        self._only_flow("the velocity")
        t = torch.as_tensor(t, dtype=torch.float64, device=xt.device)
        alpha_slope, sigma_slope = self.path.alpha_derivative(t), self.path.sigma_derivative(t)
        return expand(alpha_slope, xt) * mean + expand(sigma_slope, xt) * self.source_of(xt, mean, t)

    def _source(self, like: Tensor, seeds: Seeds, source: Tensor | None) -> Tensor:
        if source is None:
            return self.normal_source(like.shape[1:], seeds.to(like.device), like.dtype)
        if source.shape != like.shape:
            raise InputError(
                f"a bridge's source has the shape of the state, {tuple(like.shape)}; seen {tuple(source.shape)}"
            )
        return source.to(like)

    def _only_flow(self, what: str) -> None:
        if self.sigma > 0:
            raise InputError(f"{what} follows from the mean of x_0 for a flow only (sigma 0); seen sigma {self.sigma}")

    @staticmethod
    def _ordered(s: Tensor | float, t: Tensor | float, device: torch.device | None) -> tuple[Tensor, Tensor]:
        s, t = (torch.as_tensor(time, dtype=torch.float64, device=device) for time in (s, t))
        if bool((s > t).any()):
            raise InputError(f"s must not exceed t, forwards and back; seen s = {s} and t = {t}")
        return s, t

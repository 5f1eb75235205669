r"""The Gaussian process: :math:`x_t = \alpha_t x_0 + \sigma_t \epsilon`.

Score, noise and velocity are dialects of the belief about the clean data; the functions that
translate between them are methods here, and nowhere else.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, expand
from unstir.processes.base import Process, even_pairs
from unstir.processes.schedules.base import Schedule, float64
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.processes.schedules.sub_vp import SubVPSchedule

__all__ = ["GaussianProcess"]


@runtime_checkable
class Belief(Protocol):
    """What a process needs of a posterior: a draw of the clean data."""

    def sample(self, seeds: Seeds) -> Tensor:
        """One draw of x_0 per sample."""
        ...


@dataclass(frozen=True)
class GaussianProcess(Process):
    r"""Gaussian noise on continuous data, by any schedule.

    :math:`x_t = \alpha_t x_0 + \sigma_t \epsilon` with standard normal :math:`\epsilon`.
    VP, VE, sub-VP and straight flow are schedules of this one process. Times have the shape () or
    (batch,); states (batch, ...). ``mask`` is boolean of shape (batch, n), True where a padded set has an
    element; padded places are kept at zero.

    Reference: Song et al., Score-based generative modeling through SDEs (2021); Kingma et al., Variational
    diffusion models (2021).
    """

    schedule: Schedule = field(default_factory=CosineSchedule)
    space = "euclidean"
    learned = "network"

    @classmethod
    def examples(cls) -> Mapping[str, "GaussianProcess"]:
        """Members whose claims are measured: one of each scale."""
        return {
            "variance preserving": cls(CosineSchedule()),
            "variance exploding": cls(EDMSchedule()),
            "straight flow": cls(RectifiedFlowSchedule()),
            "sub-variance preserving": cls(SubVPSchedule()),
        }

    def example_data(self, count: int) -> Tensor:
        return 2 * even_pairs(count) - 1

    def features(self, x: Tensor) -> Tensor:
        """The numbers themselves, each on an axis of its own."""
        return x[..., None]

    def contains(self, x: Tensor) -> Tensor:
        return x.flatten(1).isfinite().all(1)

    def log_density(self, xt: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        alpha, sigma = self.coefficients(float64(t), xt.double())
        away = (xt.double() - alpha * x0.double()) / sigma
        return -(away.square() / 2 + sigma.log() + math.log(2 * math.pi) / 2).flatten(1).sum(1)

    def coefficients(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma at the times, ready to multiply ``like``."""
        t = torch.as_tensor(t, dtype=torch.float64, device=like.device)
        return expand(self.schedule.alpha(t), like), expand(self.schedule.sigma(t), like)

    def project(self, noise: Tensor, mask: Tensor | None = None) -> Tensor:
        """Standard normal numbers as this process adds them: none in padded places; samplers ask here too.

        A process on a linear subspace overrides it with the orthogonal projection (see ``centred.py``).
        """
        return apply_mask(noise, mask)

    def noise(self, x0: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Tensor:
        """A draw of x_t given x_0."""
        alpha, sigma = self.coefficients(t, x0)
        return apply_mask(alpha * x0 + sigma * self.project(seeds.normal_like(x0), mask), mask)

    def transition(self, xs: Tensor, s: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Tensor:
        r"""A draw of x_t given x_s, for s <= t.

        :math:`x_t = \frac{\alpha_t}{\alpha_s} x_s + \sigma_t\sqrt{1-e^{\lambda_t-\lambda_s}}\,\epsilon`.
        """
        s, t = (torch.as_tensor(time, dtype=torch.float64, device=xs.device) for time in (s, t))
        if bool((s > t).any()):
            raise InputError(f"a transition goes on in time: s must not exceed t; seen s = {s} and t = {t}")
        fresh = -torch.expm1(self._gap(s, t))
        # in no time nothing happens, even where nothing is left of the data
        kept = torch.where(fresh == 0, 1.0, self.schedule.alpha(t) / self.schedule.alpha(s))
        spread = torch.where(fresh == 0, 0.0, self.schedule.sigma(t) * fresh.sqrt())
        fresh_noise = self.project(seeds.normal_like(xs), mask)
        return apply_mask(expand(kept, xs) * xs + expand(spread, xs) * fresh_noise, mask)

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
        return apply_mask(sigma * self.project(seeds.normal(shape, dtype), mask), mask)

    def bridge(
        self, xt: Tensor, posterior: Belief, t: Tensor, s: Tensor, seeds: Seeds, mask: Tensor | None = None
    ) -> Tensor:
        r"""A draw of x_s given x_t and the belief about x_0, for s < t: one ancestral step on the way to the data.

        With x_0 drawn from the belief, :math:`x_s \sim q(x_s|x_t,x_0)`, whose mean and variance are
        :math:`\frac{\sigma_s^2\alpha_t}{\sigma_t^2\alpha_s} x_t + \alpha_s(1-e^{\lambda_t-\lambda_s})x_0` and
        :math:`\sigma_s^2(1-e^{\lambda_t-\lambda_s})`. Exact for any s < t if the belief is the true
        posterior; with a point belief it is DDPM's step with the lower variance.
        """
        kept, pulled, deviation = (expand(value, xt) for value in self.bridge_coefficients(t, s, xt.device))
        x0 = posterior.sample(seeds.at("clean"))
        noise = self.project(seeds.at("bridge").normal_like(xt), mask)
        return apply_mask(kept * xt + pulled * x0 + deviation * noise, mask)

    def bridge_coefficients(
        self, t: Tensor | float, s: Tensor | float, device: torch.device | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of q(x_s | x_t, x_0): the factors of x_t and x_0, and the standard deviation."""
        t, s = (torch.as_tensor(time, dtype=torch.float64, device=device) for time in (t, s))
        if bool((s > t).any()):
            raise InputError(f"a bridge goes back in time: s must not exceed t; seen s = {s} and t = {t}")
        alpha_s, sigma_s = self.schedule.alpha(s), self.schedule.sigma(s)
        alpha_t, sigma_t = self.schedule.alpha(t), self.schedule.sigma(t)
        fresh = -torch.expm1(self._gap(s, t))
        kept = torch.where(sigma_s > 0, (sigma_s / sigma_t).square() * alpha_t / alpha_s, 0.0)
        kept = torch.where(fresh == 0, 1.0, kept)
        return kept, alpha_s * fresh, sigma_s * fresh.sqrt()

    def _gap(self, s: Tensor, t: Tensor) -> Tensor:
        """The log-SNR that is lost from s to t, negative; where both are infinite nothing happens."""
        lost = self.schedule.log_snr(t) - self.schedule.log_snr(s)
        return torch.nan_to_num(lost, nan=0.0, neginf=float("-inf"))

    def noise_of(self, xt: Tensor, mean: Tensor, t: Tensor) -> Tensor:
        """The noise epsilon that the belief's mean implies: (x_t - alpha x_0)/sigma."""
        alpha, sigma = self.coefficients(t, xt)
        return (xt - alpha * mean) / sigma

    def score_of(self, xt: Tensor, mean: Tensor, t: Tensor) -> Tensor:
        """The score, grad log p_t(x_t) = (alpha E[x_0|x_t] - x_t)/sigma^2 (Tweedie's formula)."""
        alpha, sigma = self.coefficients(t, xt)
        return (alpha * mean - xt) / sigma.square()

    def velocity_of(self, xt: Tensor, mean: Tensor, t: Tensor) -> Tensor:
        r"""dx/dt of the probability-flow ODE: :math:`\alpha' E[x_0|x_t] + \sigma' E[\epsilon|x_t]`."""
        t = torch.as_tensor(t, dtype=torch.float64, device=xt.device)
        alpha_slope = expand(self.schedule.alpha_derivative(t), xt)
        sigma_slope = expand(self.schedule.sigma_derivative(t), xt)
        return alpha_slope * mean + sigma_slope * self.noise_of(xt, mean, t)

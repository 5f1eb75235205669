"""Guidance towards an event, for sequential Monte Carlo: how probable the event is, given a noisy state."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.variances import linear_variance
from unstir.domains.climate.tasks.generating.events import BoundEvent
from unstir.inverse.methods.gradient_twist import GradientTwist, Pulled
from unstir.inverse.methods.twists import Potential

_NEVER = -700.0  # nats: no event, and yet finite, so that a population without one counts as nothing


@dataclass(frozen=True)
class EventTwist(GradientTwist):
    r"""The guess of P(event | x_t) that pulls the particles, and weighs them.

    The event is that one (or each) of the parts :math:`a_i(x_0)` passes the level c. Given :math:`x_t` each is taken to
    be normal around :math:`a_i(\hat x_0)` with one variance, the mean over the parts of Tweedie's
    :math:`\frac{\sigma^2}{\alpha}\,\partial a_i(\hat x_0)/\partial x_t\,\nabla a_i^T`, found by one probe of random
    signs, and no less than :math:`1-\beta_t` times that of normal data. With :math:`z_i` how far the mean is above the
    level in deviations, :math:`\psi_t = 1-\prod_i\Phi(-z_i)` (or :math:`\prod_i\Phi(z_i)`). Of one linear part of a
    Gaussian law this is P(event | x_t) itself.

    In the end the true event decides, so the estimate is right whatever was guessed; see ``inverse/methods/twists.py``.
    """

    event: BoundEvent | None = None

    def look(self, denoiser: Denoiser, x: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None) -> Pulled:
        assert self.event is not None
        schedule = denoiser.process.schedule
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        with torch.enable_grad():
            given = x.detach().requires_grad_()
            belief = denoiser(given, t)
            kind = self._kind(belief, alpha)
            if kind == "tweedie":
                probe = seeds.at("probe").normal_like(x).sign()
                (slope,) = torch.autograd.grad((belief.mean * probe).sum(), given, retain_graph=True)
                own = (sigma**2 / alpha * (slope.double() * probe)).flatten(1).mean(1)
                variance = own.reshape(-1, *(1,) * (x.ndim - 1))
            else:
                variance = self._variance(kind, denoiser.process, belief, t, mask)
            if alpha == 0:
                still = torch.zeros_like(x)
                return Pulled(belief.mean.detach(), still.flatten(1)[:, 0].double(), variance.detach(), still, True)
            log_psi, gradient = self._guess(given, belief.mean, sigma**2 / alpha, denoiser.process, t, seeds)
        pull = (gradient * (sigma**2 / alpha)).detach()
        wide = kind in ("own", "table")
        return Pulled(belief.mean.detach(), log_psi.detach(), variance.detach(), pull, wide)

    def _guess(
        self, x: Tensor, mean: Tensor, tweedie: float, process: Any, t: Tensor, seeds: Seeds
    ) -> tuple[Tensor, Tensor]:
        """log psi (batch,) and its gradient in x; the variance is held fixed."""
        assert self.event is not None
        parts = self.event.parts(mean)
        signs = seeds.at("parts").normal((parts.shape[1],), torch.float64).sign().to(parts.device)
        (slopes,) = torch.autograd.grad((parts * signs).sum(), x, retain_graph=True)
        there = mean.detach().requires_grad_()
        (local,) = torch.autograd.grad((self.event.parts(there) * signs).sum(), there)
        count = parts.shape[1]
        spread = tweedie * (slopes.double() * local.double()).flatten(1).sum(1) / count
        least = (1 - self.share(process, t)) * float(linear_variance(process.schedule.log_snr(t), self.deviation))
        floor = least * local.double().square().flatten(1).sum(1) / count
        z = (parts - self.event.level) / torch.maximum(spread, floor).clamp(min=1e-12).sqrt()[:, None]
        log_psi = log_guess(z, self.event.every)
        (gradient,) = torch.autograd.grad(log_psi.sum(), x)
        trust = self._trust(process, t)
        return trust * log_psi, trust * gradient


def log_guess(z: Tensor, every: bool) -> Tensor:
    """The logarithm of the probability that one, or ``every`` one, of independent normals passes; z (batch, k)."""
    if every:
        return torch.special.log_ndtr(z).sum(1)
    none = torch.special.log_ndtr(-z).sum(1)
    # where all are improbable, 1 - exp(none) has lost its digits, and the probabilities add up
    rare = torch.special.log_ndtr(z).logsumexp(1)
    sure = torch.where(none < -0.01, none, -0.01)
    return torch.where(none < -0.01, torch.log(-torch.expm1(sure)), rare)


def potential_of(event: BoundEvent) -> Potential:
    """Zero nats where the event is, and so few where it is not that nothing counts."""

    def log(state: Tensor) -> Tensor:
        return torch.where(event.severity(state) >= event.level, 0.0, _NEVER)

    return Potential(log, differentiable=False)


def probability(log_evidence: Tensor) -> Tensor:
    """Of log-evidences under ``potential_of``: what the no-events add is taken as nothing."""
    return torch.where(log_evidence > _NEVER / 2, log_evidence.exp(), 0.0 * log_evidence).nan_to_num(nan=math.nan)

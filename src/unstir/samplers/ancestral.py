"""Ancestral sampling: the process's own bridge, step by step, and DDPM's choices of variance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.state import expand
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import Posterior
from unstir.denoisers.variances import VarianceTable, linear_variance, variance_of
from unstir.samplers.base import ANY_SPACE, EUCLIDEAN, Sampler, SamplerState

__all__ = ["AncestralSampler", "analytic_dpm", "ddpm_learned", "ddpm_upper"]

VARIANCES = ("lower", "upper", "table", "belief", "learned")


@dataclass(frozen=True)
class AncestralSampler(Sampler):
    """The bridge of the process itself: DDPM on Gaussian noise, and its likes on every other space.

    Each step draws x_s from q(x_s | x_t, x_0) with x_0 drawn from the belief. With the exact posterior
    the law of every x_s is exact whatever the number of steps; with a point belief the weak order is one.

    Reference: Ho, Jain, Abbeel, Denoising diffusion probabilistic models (2020), algorithm 2.
    """

    order = 1
    spaces = ANY_SPACE

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        posterior = denoiser(state.x, t)
        x = denoiser.process.bridge(state.x, posterior, t, s, state.step_seeds(), state.mask)
        return state.advance(x, posterior.mean)


@dataclass(frozen=True)
class GaussianAncestralSampler(Sampler):
    r"""DDPM's reverse step with a chosen variance of the belief, on any schedule and spacing of times.

    The bridge q(x_s | x_t, x_0) has the mean :math:`k x_t + p x_0` and a variance :math:`b^2`; with x_0 Gaussian of
    variance v about the belief's mean, x_s is Gaussian of variance :math:`b^2 + p^2 v`, and one draw makes it.

    ``variance`` says which v: ``lower`` zero; ``upper`` what the best linear estimate leaves, for data of standard
    deviation ``deviation``; ``table`` the one measured in ``table``; ``belief`` the belief's own, and ``learned`` one
    that was taught beside the mean. The last step, into no noise at all, lands on the mean, or with ``draw_last`` on a
    draw from the belief.
    """

    variance: str
    deviation: float = 1.0
    table: VarianceTable | None = None
    draw_last: bool = False
    order = 1

    def __post_init__(self) -> None:
        if self.variance not in VARIANCES:
            raise unknown("variance of an ancestral sampler", self.variance, VARIANCES)
        if not self.deviation > 0:
            raise InputError(f"the data's standard deviation must be positive; seen {self.deviation}")
        if (self.variance == "table") != (self.table is not None):
            raise InputError("a table of variances goes with the variance 'table', and with no other")

    @property
    def spaces(self) -> frozenset[str]:  # type: ignore[override]
        """The Euclidean ones; a variance of each coordinate would not keep the centre of a set of points."""
        return EUCLIDEAN if self.variance in ("lower", "upper") else frozenset({"euclidean"})

    @property
    def needs_variance(self) -> str | None:  # type: ignore[override]
        """Whether it asks the belief for a variance, which a point has not."""
        return {"belief": "any", "learned": "learned"}.get(self.variance)

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        process = denoiser.process
        posterior = denoiser(state.tensor, t)
        mean = posterior.mean
        here, there = process.schedule.log_snr(t), process.schedule.log_snr(s)
        width = self._variance(posterior, here)
        if s == 0 and not self.draw_last:
            return state.advance(mean, mean)
        kept, pulled, deviation = process.bridge_coefficients(t, s)
        spread = _shaped(deviation.square(), mean) + _shaped(pulled.square(), mean) * _shaped(width, mean)
        noise = state.noise_like(mean, float(here) / 2, float(there) / 2)
        x = _shaped(kept, mean) * state.tensor + _shaped(pulled, mean) * mean + spread.sqrt() * noise
        return state.advance(x, mean)

    def _variance(self, posterior: Posterior, log_snr: Tensor) -> Tensor:
        if self.needs_variance:
            return variance_of(posterior)
        if self.table is not None:
            self.table.check_shape(posterior.mean)
            return self.table(log_snr)
        return linear_variance(log_snr, self.deviation) if self.variance == "upper" else torch.zeros_like(log_snr)


def _shaped(value: Tensor, like: Tensor) -> Tensor:
    """One number, one of each element or one of all, of the dtype and on the device of ``like``."""
    return expand(value, like) if value.ndim == 0 else value.to(device=like.device, dtype=like.dtype)


def ddpm_upper(deviation: float = 1.0) -> GaussianAncestralSampler:
    r"""DDPM's ancestral step with the upper variance: beta itself, for data of deviation 1 under a VP schedule.

    The variance of the transition from s to t is the optimal one for normal data of unit variance, and too large
    for all other data of that variance. ``deviation`` is the data's own: the same is then said of them, under
    any schedule; at infinity it is the step of NCSN++ under VE.

    Reference: Ho, Jain, Abbeel, Denoising diffusion probabilistic models (2020), section 3.2; Bao et al.,
    Analytic-DPM (2022), theorem 2, for the bound.
    """
    return GaussianAncestralSampler("upper", deviation)


def analytic_dpm(
    table: VarianceTable | Mapping[str, Any] | None = None, draw_last: bool = False
) -> GaussianAncestralSampler:
    """Analytic-DPM: DDPM with the optimal variance, measured on the denoiser beforehand, or the belief's own.

    ``table`` is what ``denoisers.variances.measure_variances`` found, or its ``as_dict``; without one the belief
    must have a variance (an exact law, a learned variance, ``with_variance``). ``draw_last`` draws from the belief in
    the last step too: for independent normal data the law is then exact to the end, in any number of steps.

    Reference: Bao, Li, Zhu, Zhang, Analytic-DPM: an analytic estimate of the optimal reverse variance in diffusion
    probabilistic models (2022), theorem 1.
    """
    if table is None:
        return GaussianAncestralSampler("belief", draw_last=draw_last)
    if not isinstance(table, VarianceTable):
        table = VarianceTable.from_dict(table)
    return GaussianAncestralSampler("table", table=table, draw_last=draw_last)


def ddpm_learned() -> GaussianAncestralSampler:
    """DDPM with learned variance: the belief's own, which the network was taught beside the mean.

    Train with the recipe's ``denoiser.variance=learned``.

    Reference: Nichol, Dhariwal, Improved denoising diffusion probabilistic models (2021), section 3.1.
    """
    return GaussianAncestralSampler("learned")


# on which the claims are measured
analytic_dpm.examples = lambda: {  # type: ignore[attr-defined]
    "measured variance": analytic_dpm(VarianceTable.of_normal()),
    "the belief's variance": analytic_dpm(),
}

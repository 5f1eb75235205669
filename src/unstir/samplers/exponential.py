r"""The exponential-integrator family on Gaussian processes, in data prediction.

With the half log-SNR :math:`\ell = \log(\alpha/\sigma)`, the belief's mean :math:`\hat x_0` along the
path and a stochasticity :math:`\tau` (0: probability-flow ODE, 1: reverse SDE), the exact solution
from t to s, a distance :math:`h = \ell_s - \ell_t`, is, with :math:`a = 1 + \tau^2`,

.. math::
    x_s = \tfrac{\sigma_s}{\sigma_t} e^{-\tau^2 h} x_t
          + \alpha_s \int_0^h a\,e^{-a(h-u)}\,\hat x_0(u)\,du + \sigma_s\sqrt{1 - e^{-2\tau^2 h}}\,z.

Order k replaces :math:`\hat x_0(u)` by the polynomial through its last k values, and the integral is
done in closed form for any schedule and grid.

Reference: Xue et al., SA-Solver (2023), proposition 4.2; Lu et al., DPM-Solver++ (2022), section 4.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.state import expand
from unstir.denoisers.base import Denoiser
from unstir.samplers.base import EUCLIDEAN, Sampler, SamplerState

__all__ = ["ddim", "ddpm", "multistep"]


@dataclass(frozen=True)
class ExponentialSampler(Sampler):
    """The family's one implementation: ``steps_used`` past beliefs (1 or 2) and the stochasticity tau.

    ``eta``, if given, replaces tau by DDIM's scale of the noise, whose square is the share of the noise
    that DDPM's step would add. The step into time 0 is of order one, since there the path ends.
    """

    steps_used: int = 1
    stochasticity: float = 0.0
    eta: float | None = None
    spaces = EUCLIDEAN

    def __post_init__(self) -> None:
        if self.steps_used not in (1, 2):
            raise InputError(f"the order is 1 or 2; seen {self.steps_used}")
        if self.stochasticity < 0 or (self.eta is not None and not 0 <= self.eta <= 1):
            seen = f"{self.stochasticity} and {self.eta}"
            raise InputError(f"the stochasticity is at least 0 and eta lies between 0 and 1; seen {seen}")

    @property
    def order(self) -> float:  # type: ignore[override]
        """Of the ODE; with noise the weak order is one, however small it makes the error."""
        return 1.0 if self.stochasticity or self.eta else float(self.steps_used)

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        schedule = denoiser.process.schedule
        mean = denoiser(state.x, t).mean
        here, there = schedule.log_snr(t) / 2, schedule.log_snr(s) / 2
        h = (there - here).to(torch.float64)
        decay = self._noise_decay(h)  # tau^2 h
        gain = -torch.expm1(-(h + decay))
        target = expand(schedule.alpha(s) * gain, mean) * mean
        if self.steps_used == 2 and state.history and s > 0:
            last_place, last_mean = state.history[0]
            slope = (mean - last_mean) / expand(here - last_place, mean)
            target = target + expand(schedule.alpha(s) * (h - gain * h / (h + decay)), mean) * slope
        kept = schedule.sigma(s) / schedule.sigma(t) * torch.exp(-decay) if s > 0 else torch.zeros_like(h)
        x = expand(kept, state.tensor) * state.tensor + target
        if s > 0 and decay > 0:
            fresh = schedule.sigma(s) * (-torch.expm1(-2 * decay)).sqrt()
            x = x + expand(fresh, x) * state.step_seeds().normal_like(x)
        return state.advance(x, mean, ((here, mean),) if self.steps_used == 2 else ())

    def _noise_decay(self, h: Tensor) -> Tensor:
        if self.eta is None:
            return self.stochasticity**2 * h if self.stochasticity else torch.zeros_like(h)
        # e^(-2 tau^2 h) = 1 - eta^2 (1 - e^(-2h)) makes the new noise eta times DDPM's
        if self.eta == 1:
            return h
        return -torch.log1p(self.eta**2 * torch.expm1(-2 * h)) / 2


def ddim(eta: float = 0.0) -> ExponentialSampler:
    """DDIM: the probability-flow ODE at order one; eta between 0 and 1 adds noise up to DDPM's.

    Reference: Song, Meng, Ermon, Denoising diffusion implicit models (2021), eq. 12.
    """
    return ExponentialSampler(eta=eta)


def ddpm() -> ExponentialSampler:
    """DDPM's ancestral step with the lower variance, on any spacing of times.

    Reference: Ho, Jain, Abbeel, Denoising diffusion probabilistic models (2020), eq. 6-7.
    """
    return ExponentialSampler(stochasticity=1.0)


def multistep(order: int = 2, stochasticity: float = 0.0) -> ExponentialSampler:
    """Multistep exponential integrator with exact coefficients, from ODE (stochasticity 0) to SDE (1) and beyond.

    One call a step. With noise it corrects the errors of a trained network on its way.

    Reference: Xue et al., SA-Solver: stochastic Adams solver for fast sampling (2023), the predictor alone.
    """
    return ExponentialSampler(steps_used=order, stochasticity=stochasticity)


# on which the claims are measured: the plain ones, and those that only an option makes
ddim.examples = lambda: {"eta 0": ddim(), "eta 0.5": ddim(0.5)}  # type: ignore[attr-defined]
multistep.examples = lambda: {  # type: ignore[attr-defined]
    "order 2": multistep(),
    "order 1": multistep(1),
    "order 2, stochasticity 1": multistep(2, 1.0),
}

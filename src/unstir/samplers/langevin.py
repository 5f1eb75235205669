r"""Langevin steps, which move a state within one noise level: alone, or after another sampler's steps.

At a level with the score :math:`\nabla\log p_t(x) = (\alpha_t \hat x_0 - x)/\sigma_t^2` a step of size
:math:`\epsilon = 2 r^2 \sigma_t^2`, r being the signal-to-noise ratio, is

.. math:: x' = x + \epsilon\,\nabla\log p_t(x) + n z, \qquad n^2 = 2\epsilon - \epsilon^2/V, \qquad
          V = \alpha_t^2 s^2 + \sigma_t^2.

It leaves normal data of mean m and deviation s, ``data_deviation``, exactly as they are, whatever r. With V infinite
it is the plain step, after which the variance is too large by about :math:`\epsilon/2`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, expand
from unstir.denoisers.base import Denoiser
from unstir.samplers.base import EUCLIDEAN, Sampler, SamplerState, projection

__all__ = ["langevin", "predictor_corrector"]


@dataclass(frozen=True)
class Corrections:
    """How many Langevin steps at one level, at which signal-to-noise ratio, for data of about which deviation."""

    count: int
    snr: float
    data_deviation: float

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"at least 1 Langevin step at a level is needed; seen {self.count}")
        if not 0 < self.snr < 1:
            raise InputError(f"the signal-to-noise ratio of a Langevin step lies between 0 and 1; seen {self.snr}")
        if not self.data_deviation >= 0:
            raise InputError(f"the data's deviation must not be negative; seen {self.data_deviation}")

    def at(self, denoiser: Denoiser, x: Tensor, t: Tensor, seeds: Seeds) -> tuple[Tensor, list[Tensor]]:
        """The state after all of the steps at time t, and the means of the beliefs on the way."""
        schedule = denoiser.process.schedule
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        share = 2 * self.snr**2  # epsilon / sigma^2
        variance = (alpha * self.data_deviation).square() + sigma.square()
        fresh = sigma * (share * (2 - share * sigma.square() / variance)).sqrt()
        mask, project = denoiser.mask, projection(denoiser)
        means = []
        for number in range(self.count):
            x = apply_mask(x, mask)
            means.append(denoiser(x, t).mean)
            noise = project(seeds.at("correction", number).normal_like(x), mask)
            x = (1 - share) * x + expand(alpha * share, x) * means[-1] + expand(fresh, x) * noise
        return x, means


@dataclass(frozen=True)
class PredictorCorrectorSampler(Sampler):
    """Another sampler's step to the next level, and Langevin steps there; none after the step into time 0.

    The corrections draw from the step's own address, the predictor from wherever it does (a path of noise, say).
    """

    predictor: Sampler
    corrections: Corrections
    spaces = EUCLIDEAN

    @property
    def order(self) -> float:  # type: ignore[override]
        """One at most: what the corrections do in a stretch of log-SNR grows with the number of steps in it."""
        return min(1.0, float(self.predictor.order))

    @property
    def calls_per_step(self) -> int | None:  # type: ignore[override]
        """The predictor's, and one for each correction."""
        calls = self.predictor.calls_per_step
        return None if calls is None else calls + self.corrections.count

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        moved = self.predictor.step(denoiser, state, t, s)
        if s == 0:
            return moved
        x, _ = self.corrections.at(denoiser, moved.tensor, s, state.step_seeds())
        return state.advance(x, moved.mean, moved.history)


@dataclass(frozen=True)
class AnnealedLangevinSampler(Sampler):
    """Langevin steps at one level after the other; between levels the state, in units of the data, stays.

    The last step, into time 0, takes the mean of the belief instead. What is left of the levels before dies out by a
    rate in proportion to sigma^2, so that the order depends on the grid: one for even log-SNR, 2/3 for even sigma.
    """

    corrections: Corrections
    order = 0.5
    spaces = EUCLIDEAN

    @property
    def calls_per_step(self) -> int:  # type: ignore[override]
        """One for each Langevin step."""
        return self.corrections.count

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        schedule = denoiser.process.schedule
        if s == 0:
            mean = denoiser(state.tensor, t).mean
            return state.advance(mean, mean)
        x, means = self.corrections.at(denoiser, state.tensor, t, state.step_seeds())
        # where nothing is left of the data there are no units of it, and the noise alone is brought to the next level
        size = schedule.alpha if schedule.alpha(t) > 0 else schedule.sigma
        return state.advance(expand(size(s) / size(t), x) * x, means[0])


def predictor_corrector(
    predictor: str | Mapping[str, Any] = "ddpm",
    corrections: int = 1,
    snr: float = 0.16,
    data_deviation: float = 1.0,
) -> PredictorCorrectorSampler:
    """Predictor-corrector: any sampler's step, then Langevin steps at the level it came to.

    ``predictor`` is a sampler's name, with its options if it has any. Each step takes the predictor's calls and
    ``corrections`` more. The size of a Langevin step is the paper's with the norms' expectations in the place of the
    norms over a batch, ``data_deviation`` = infinity makes its noise the paper's too. Weak order one.

    Reference: Song et al., Score-based generative modeling through stochastic differential equations (2021),
    algorithms 4 and 5; the noise of a Langevin step that keeps a normal law: Neal, MCMC using Hamiltonian dynamics
    (2011), section 5.
    """
    return PredictorCorrectorSampler(build("samplers", predictor), Corrections(corrections, snr, data_deviation))


def langevin(corrections: int = 8, snr: float = 0.5, data_deviation: float = 1.0) -> AnnealedLangevinSampler:
    """Annealed Langevin dynamics: Langevin steps alone, at falling noise levels.

    ``corrections`` is the number of steps at each level. It needs many levels: use ``predictor_corrector`` for few.

    Reference: Song, Ermon, Generative modeling by estimating gradients of the data distribution (2019), algorithm 1.
    """
    return AnnealedLangevinSampler(Corrections(corrections, snr, data_deviation))

"""DiffPIR: the belief's mean, brought towards the reading, is what the next state is made of."""

from dataclasses import dataclass

from torch import Tensor

from unstir.denoisers.base import Denoiser
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods.base import NO_LAW, Method
from unstir.inverse.methods.guided import check_deviation, check_share, check_whole
from unstir.inverse.methods.proximal import check_likelihood, nearest, positive
from unstir.inverse.methods.stepping import MeasuredSampler, level_of, refuse_padding
from unstir.samplers.base import Sampler, SamplerState

__all__ = ["DiffPIRMethod"]


@dataclass(frozen=True)
class DiffPIRMethod(Method):
    r"""DiffPIR: plug-and-play restoration along a diffusion, with the belief's mean for a denoised picture.

    At each level :math:`\hat x_0` is moved to the maximum of :math:`\log p(y|x) - \lambda|x-\hat x_0|^2\alpha^2/(2
    \sigma^2)`, in closed form for linear maps with normal noise, else by ``iterations`` gradient steps. From it and the
    noise :math:`\hat\epsilon` that it leaves of the state, the next one is
    :math:`\alpha_s\hat x_0+\sigma_s(\sqrt{1-\zeta}\hat\epsilon+\sqrt\zeta\epsilon)`. ``weight`` is lambda, ``fresh`` is
    zeta, from 0 (nothing is drawn) to 1, which leaves the errors of earlier levels behind and comes nearest to the
    posterior; for few steps and one good picture the paper takes a weight of 1 to 25 and 0.1 to 0.5 of fresh noise. It
    draws from no posterior exactly.

    Its own times are spread for data of the standard deviation ``deviation``, where none is said that of the network.

    Raises InputError for options out of range.

    Reference: Zhu et al., Denoising diffusion models for plug-and-play image restoration (2023), algorithm 1.
    """

    weight: float | int = 1.0
    fresh: float | int = 1.0
    deviation: float | int | None = None
    iterations: int = 20

    exact_for = NO_LAW
    spaces = frozenset({"euclidean"})
    needs = frozenset({"differentiable"})

    def __post_init__(self) -> None:
        positive("the weight of the prior", self.weight)
        check_whole("the number of gradient steps", self.iterations)
        check_share("the share of fresh noise", self.fresh)
        check_deviation(self.deviation)

    def pair(self, denoiser: Denoiser, measurement: Measurement) -> tuple[Denoiser, Sampler]:
        check_likelihood(measurement, "DiffPIR")
        return denoiser, DiffPIRSampler(measurement, self)


@dataclass(frozen=True, eq=False)
class DiffPIRSampler(MeasuredSampler):
    """One call of the denoiser, one proximal step."""

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        refuse_padding(state, "DiffPIR")
        process, x = denoiser.process, state.tensor
        mean = denoiser(x, t).mean
        width = level_of(process.schedule, t) / self.options.weight**0.5
        clean = nearest(self.measurement, mean, width, self.options.iterations)
        if s == 0:
            return state.advance(clean, mean)
        alpha, sigma = process.coefficients(s, x)
        left = process.noise_of(x, clean, t)
        here, there = (float(process.schedule.log_snr(time)) / 2 for time in (t, s))
        noise = (1 - self.options.fresh) ** 0.5 * left + self.options.fresh**0.5 * state.noise_like(x, here, there)
        return state.advance(alpha * clean + sigma * noise, mean)

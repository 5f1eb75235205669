"""DAPS: noise annealed, but each level's state made anew from a draw of the clean data."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.denoisers.base import Denoiser
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods.base import NO_LAW, Method
from unstir.inverse.methods.guided import check_deviation, check_whole
from unstir.inverse.methods.proximal import check_likelihood, drawn, positive
from unstir.inverse.methods.stepping import MeasuredSampler, refuse_padding, width_at
from unstir.samplers.base import Sampler, SamplerState

__all__ = ["DAPSMethod"]


@dataclass(frozen=True)
class DAPSMethod(Method):
    r"""Decoupled annealing: a flow to the clean end, a draw near there that fits the reading, noise of the next level.

    At each level the probability flow leads in ``flow_steps`` steps from the state to :math:`\hat x_0`; then clean data
    is drawn from :math:`N(x_0;\hat x_0,r^2)\,p(y|x_0)`, exactly for linear maps with normal noise, else by ``langevin``
    steps with Metropolis' test; then the next state is drawn from :math:`q(x_s|x_0)`. As it may go far in one step,
    errors of early levels can be mended. ``ratio`` is r in units of what the best linear estimate leaves of data of the
    standard deviation ``deviation`` (where none is said, that of the network): at low levels :math:`\sigma/\alpha`, the
    paper's unit, and at high ones no more than the data's deviation. The normal law stands for :math:`p(x_0|x_t)`,
    which has another mean and another width: an approximation, also for normal data.

    Raises InputError for options out of range.

    Reference: Zhang et al., Improving diffusion inverse problem solving with decoupled noise annealing (2024),
    algorithm 1 and proposition 1.
    """

    flow_steps: int = 2
    ratio: float | int = 1.0
    deviation: float | int | None = None
    langevin: int = 40

    exact_for = NO_LAW
    spaces = frozenset({"euclidean"})
    needs = frozenset({"differentiable"})
    steps = 50

    def __post_init__(self) -> None:
        check_whole("the number of steps along the flow", self.flow_steps)
        check_whole("the number of Langevin steps", self.langevin)
        positive("the width's ratio", self.ratio)
        check_deviation(self.deviation)

    def pair(self, denoiser: Denoiser, measurement: Measurement) -> tuple[Denoiser, Sampler]:
        check_likelihood(measurement, "DAPS")
        return denoiser, DAPSSampler(measurement, self)


@dataclass(frozen=True, eq=False)
class DAPSSampler(MeasuredSampler):
    """As many calls a step as the flow takes; into time 0, whence nothing is left to flow through, one."""

    @property
    def calls_per_step(self) -> int:  # type: ignore[override]
        """One for each step along the flow."""
        return self.options.flow_steps

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        refuse_padding(state, "DAPS")
        process = denoiser.process
        guess = clean_end(denoiser, state.tensor, t, 1 if s == 0 else self.options.flow_steps)
        width = self.options.ratio * width_at(process.schedule.log_snr(t), self.deviation)
        seeds = state.step_seeds()
        clean = drawn(self.measurement, guess, width, seeds.at("clean"), self.options.langevin)
        if s == 0:
            return state.advance(clean, guess)
        return state.advance(process.noise(clean, s, seeds.at("noise")), guess)


def clean_end(denoiser: Denoiser, x: Tensor, t: Tensor, steps: int) -> Tensor:
    """Where the probability flow leads from x at time t, in DDIM's steps, even in log-SNR but for the last."""
    process, time = denoiser.process, t
    top = process.schedule.log_snr(t)
    levels = torch.linspace(0, 1, steps + 1, dtype=torch.float64)[1:-1] * _SPAN
    for level in levels.tolist():
        mean, later = denoiser(x, time).mean, process.schedule.time(top + level)
        alpha, sigma = process.coefficients(later, x)
        x, time = alpha * mean + sigma * process.noise_of(x, mean, time), later
    return denoiser(x, time).mean


_SPAN = 9.0  # of log-SNR: the flow's last call is at a hundredth of the noise where it began

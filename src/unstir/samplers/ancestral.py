"""Ancestral sampling: the process's own bridge, step by step."""

from dataclasses import dataclass

from torch import Tensor

from unstir.denoisers.base import Denoiser
from unstir.samplers.base import ANY_SPACE, Sampler, SamplerState

__all__ = ["AncestralSampler"]


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
        return state.advance(denoiser.process.bridge(state.x, posterior, t, s, state.step_seeds()), posterior.mean)

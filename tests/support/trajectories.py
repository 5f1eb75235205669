"""References for samplers: the ODE solved by SciPy, and impulses that give a sampler's exact moments."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.integrate import solve_ivp

from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.samplers.base import SamplerState


def solve_flow(denoiser, y, start, end):
    """The probability-flow ODE of a mixture from noise level ``start`` to ``end``, in y = x/alpha.

    dy/dr = -r grad log p_r(y), where p_r is the data with noise of deviation r: no schedule appears. The
    mixture's score is written anew here, in NumPy.
    """
    weights, means, deviations = (v.numpy() for v in (denoiser.weights, denoiser.means, denoiser.deviations))
    shape = y.shape

    def slope(r, flat):
        away = means[None] - flat.reshape(shape)[:, None]
        variance = deviations**2 + r**2
        dimension = shape[1]
        logs = np.log(weights) - (away**2).sum(-1) / (2 * variance) - dimension / 2 * np.log(variance)
        shares = np.exp(logs - logs.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        return (-r * ((shares / variance)[..., None] * away).sum(1)).ravel()

    solved = solve_ivp(slope, (start, end), y.ravel(), method="DOP853", rtol=1e-11, atol=1e-12)
    return solved.y[:, -1].reshape(shape)


def walk(sampler, denoiser, x, times, seeds=None):
    """All states of the steps over ``times``, from the state x."""
    states = [SamplerState(x, seeds or Seeds.range(0, len(x)))]
    for t, s in itertools.pairwise(times):
        states.append(sampler.step(denoiser, states[-1], t, s))
    return states


class PointDenoiser(Denoiser):
    """The mean of another's belief and nothing more, as a network would tell."""

    def __init__(self, denoiser):
        super().__init__()
        self.denoiser, self.process = denoiser, denoiser.process

    def forward(self, xt, t, drop=None, **condition):
        return PointPosterior(self.denoiser(xt, t).mean.to(xt.dtype))


@dataclass(frozen=True)
class ImpulseSeeds(Seeds):
    """Each normal draw is zero in every row but one, where it is one: row 2 for the first draw, 3 for the next."""

    draws: list = field(default_factory=list)

    def normal(self, shape=(), dtype=torch.float32):
        if self.purpose in self.draws:
            raise AssertionError(f"the same address is drawn from twice: {self.purpose}")
        self.draws.append(self.purpose)
        drawn = torch.zeros(len(self), *shape, dtype=dtype)
        drawn[1 + len(self.draws)] = 1
        return drawn

    def uniform(self, shape=(), dtype=torch.float64):
        raise AssertionError("a point belief needs no other draws")


def exact_moments(sampler, denoiser, times, mean, variance):
    """Mean and variance of the last state, for a belief that is linear in x, from a normal first state.

    All rows of one batch: the trajectory is then affine in the first state and in each draw, and its slopes
    are found by impulses, exactly and without random numbers.
    """
    rows = 2 + 2 * len(times)
    x = torch.zeros(rows, 1, dtype=torch.float64)
    x[1] = 1
    seeds = ImpulseSeeds(0, torch.arange(rows))
    last = walk(sampler, denoiser, x, times, seeds)[-1].x.flatten()
    slopes = last[1 : 2 + len(seeds.draws)] - last[0]
    return (last[0] + slopes[0] * mean).item(), (slopes[0] ** 2 * variance + slopes[1:].square().sum()).item()

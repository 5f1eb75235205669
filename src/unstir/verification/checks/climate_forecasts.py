"""Claims of forecasts by steps: where the law of one step is exact, so is that of the whole path."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.domains.climate.tasks.forecasting.rollout import Stepper, rollout
from unstir.domains.climate.tasks.forecasting.stencil import StencilForecast
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.kalman import LinearChain
from unstir.exact.linear_chain import LinearChainDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.samplers.base import sample
from unstir.samplers.presets import dpm_solver_pp_2m
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most, mean_is

__all__ = ["forecasts_by_steps_have_the_chains_law"]

_STILL = 1e-9  # variances below it count as none


class StepDenoiser(Denoiser):
    """The exact law of one step of a chain: normal about the condition ``centre``, with the noise's covariance."""

    def __init__(self, chain: LinearChain) -> None:
        super().__init__()
        self.process = GaussianProcess()
        self.residual = GaussianDenoiser(torch.zeros(len(chain.mean)), chain.noise, self.process)

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> PointPosterior:
        alpha, _ = self.process.coefficients(t, xt)
        centre = condition["centre"].to(xt)
        return PointPosterior(self.residual(xt - alpha * centre, t).mean + centre)


def stepper_of(chain: LinearChain) -> Stepper:
    """A stepper whose regression is the chain's own: one state is known, and centres the belief about A x + b."""
    size = len(chain.mean)
    one = np.ones(size)
    weights = (chain.transition - torch.eye(size, dtype=torch.float64)).numpy()
    regression = StencilForecast(weights, chain.offset.numpy(), one, one, (), ())
    return Stepper(1, regression, "regression", torch.ones(2, size, dtype=torch.float64), torch.zeros(0))


def drawn_by(denoiser: Denoiser, size: int, steps: int) -> Any:
    """A function that draws the next states, as a run's does."""

    def draw(count: int, seed: int, condition: Mapping[str, Tensor]) -> Tensor:
        told = {"centre": condition["centre"]}
        return sample(
            denoiser, dpm_solver_pp_2m(), (size,), count, steps=steps, grid="uniform", seed=seed, condition=told,
            batch=count,
        )  # fmt: skip

    return draw


def path_law(chain: LinearChain, start: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Mean (length * n,) and covariance of the states 1 to ``length`` of a chain that begins at ``start``."""
    size = len(start)
    means, variances, state = [], [], start
    variance = torch.zeros(size, size, dtype=torch.float64)
    for _ in range(length):
        state = chain.transition @ state + chain.offset
        variance = chain.transition @ variance @ chain.transition.T + chain.noise
        means.append(state)
        variances.append(variance)
    joint = torch.zeros(length, size, length, size, dtype=torch.float64)
    for early in range(length):
        block = variances[early]
        for late in range(early, length):
            joint[late, :, early], joint[early, :, late] = block, block.T
            block = chain.transition @ block
    return torch.cat(means), joint.reshape(length * size, length * size)


@claim("exact", "linear-chain")
def forecasts_by_steps_have_the_chains_law(denoiser: LinearChainDenoiser, effort: Effort) -> Iterator[Measured]:
    """Members that go on from their own draws have, over all leads together, the closed form's mean and covariance.

    The path less its mean, in the axes of its covariance and over its deviations there, must be standard normal.
    """
    chain, length, count = denoiser.chain, effort.of(4, 8), effort.of(4000, 20_000)
    start = chain.mean + torch.tensor([1.5, -1.0], dtype=torch.float64)[: len(chain.mean)]
    draw = drawn_by(StepDenoiser(chain), len(start), effort.of(40, 100))
    leads = range(1, length + 1)
    found = rollout(draw, stepper_of(chain), start[None, None], lambda steps: np.zeros(1), leads, count, effort.seed)
    paths = found[0].flatten(1).double()
    # a start is float32, as states are
    mean, covariance = path_law(chain, start.float().double(), length)
    variances, axes = torch.linalg.eigh(covariance)
    shaken = variances > _STILL
    white = (paths - mean) @ axes[:, shaken] / variances[shaken].sqrt()
    width = white.shape[1]
    products = (white[:, :, None] * white[:, None, :]).flatten(1)
    yield mean_is("means over all leads", white.numpy(), 0.0)
    yield mean_is("covariances over all leads", products.numpy(), np.eye(width).ravel())
    fourth = white.square().square()
    yield mean_is("fourth moments over all leads", fourth.numpy(), 3.0, math.sqrt(96.0))
    if not bool(shaken.all()):
        still = ((paths - mean) @ axes[:, ~shaken]).abs().max()
        yield at_most("deviation where there is no noise", still, 1e-3, note="float32 states, and a sampler's steps")

"""References that checks share: a mixture written anew in NumPy, its flow solved by SciPy, and a network with weights.

Nothing here goes through the samplers or exact denoisers that are measured against it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy import stats
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.denoisers.variances import VarianceTable, with_variance
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.samplers.base import ANY_SPACE, EUCLIDEAN, Sampler, SamplerState
from unstir.verification.base import NotMeasured


@dataclass(frozen=True)
class Mixture:
    """Isotropic Gaussians in d dimensions: weights (k,), means (k, d), deviations (k,)."""

    weights: Sequence[float]
    means: Sequence[Sequence[float]]
    deviations: Sequence[float]

    def denoiser(self, process: GaussianProcess) -> Denoiser:
        """The exact denoiser of the catalogue for this law."""
        from unstir.exact.mixture import MixtureDenoiser

        weights, means, deviations = (
            torch.tensor(values, dtype=torch.float64) for values in (self.weights, self.means, self.deviations)
        )
        return MixtureDenoiser(weights, means, deviations.square(), process)

    def score(self, y: np.ndarray, r: float) -> np.ndarray:
        """grad log p_r at y, (n, d), of the data with noise of deviation r added."""
        means, deviations = np.asarray(self.means), np.asarray(self.deviations)
        away = means[None] - y[:, None]
        variance = deviations**2 + r**2
        logs = np.log(self.weights) - (away**2).sum(-1) / (2 * variance) - y.shape[1] / 2 * np.log(variance)
        shares = np.exp(logs - logs.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        return ((shares / variance)[..., None] * away).sum(1)

    def flow(self, y: np.ndarray, start: float, end: float) -> np.ndarray:
        """The probability-flow ODE from noise level ``start`` to ``end``, in y = x/alpha and r = sigma/alpha.

        dy/dr = -r grad log p_r(y): no schedule appears. To 1e-11 by SciPy's DOP853.
        """

        def slope(r: float, flat: np.ndarray) -> np.ndarray:
            return (-r * self.score(flat.reshape(y.shape), r)).ravel()

        solved = solve_ivp(slope, (start, end), y.ravel(), method="DOP853", rtol=1e-11, atol=1e-12)
        return solved.y[:, -1].reshape(y.shape)

    def cdf(self, x: np.ndarray, alpha: float = 1.0, sigma: float = 0.0) -> np.ndarray:
        """The distribution function of alpha x_0 + sigma eps, of a mixture on the line."""
        parts = zip(self.weights, self.means, self.deviations, strict=True)
        return np.sum(
            [
                weight * stats.norm.cdf(x, alpha * mean[0], np.hypot(alpha * deviation, sigma))
                for weight, mean, deviation in parts
            ],
            axis=0,
        )


# overlapping, about the scale of standardised data; and well apart, unequal in weight and width
IN_THE_PLANE = Mixture((0.5, 0.3, 0.2), ((1.0, 0.5), (-1.0, 0.8), (0.2, -1.2)), (0.5, 0.4, 0.6))
ON_THE_LINE = Mixture((0.7, 0.3), ((-1.0,), (1.5,)), (0.2, 0.5))


class PointDenoiser(Denoiser):
    """The mean of another's belief and nothing more, as a network would tell."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser, self.process = denoiser, denoiser.process

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> PointPosterior:
        """The point belief at the other's mean."""
        return PointPosterior(self.denoiser(xt, t).mean.to(xt.dtype))


class NormalDenoiser(Denoiser):
    """The mean of the belief for normal data of this mean and deviation: linear in x, for any batch."""

    def __init__(self, mean: float, deviation: float, process: GaussianProcess) -> None:
        super().__init__()
        self.mean, self.variance, self.process = mean, deviation**2, process

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> PointPosterior:
        """m + alpha s^2 (x - alpha m) / (alpha^2 s^2 + sigma^2)."""
        alpha, sigma = self.process.coefficients(t, xt)
        gain = alpha * self.variance / (alpha.square() * self.variance + sigma.square())
        return PointPosterior(self.mean + gain * (xt - alpha * self.mean))


def suited(sampler: Sampler, denoiser: Denoiser) -> Denoiser:
    """The denoiser, with the variance of unit normal data where the sampler asks the belief for one."""
    return with_variance(denoiser, VarianceTable.of_normal()) if sampler.needs_variance else denoiser


def goes_along_any_times(sampler: Sampler) -> None:
    """NotMeasured, silently, for a sampler that cannot be put on a Euclidean space and on whatever times."""
    if sampler.spaces != ANY_SPACE and not EUCLIDEAN & sampler.spaces:
        raise NotMeasured("it does not serve the Euclidean space", silent=True)
    if sampler.own_times(CosineSchedule()) is not None:
        raise NotMeasured("it goes along its own times; its own claims are measured", silent=True)


@torch.no_grad()
def walk(
    sampler: Sampler, denoiser: Denoiser, x: Tensor, times: Tensor, seeds: Seeds | None = None
) -> list[SamplerState]:
    """The states at all of the falling ``times``, from the state x at the first."""
    states = [SamplerState(x, seeds or Seeds.range(0, len(x)))]
    for t, s in pairwise(times):
        states.append(sampler.step(denoiser, states[-1], t, s))
    return states


def arrive(sampler: Sampler, denoiser: Denoiser, x: Tensor, times: Tensor, seeds: Seeds | None = None) -> Tensor:
    """The state at the last of the times."""
    return walk(sampler, denoiser, x, times, seeds)[-1].tensor


@dataclass(frozen=True)
class ImpulseSeeds(Seeds):
    """Each normal draw is zero in every row but one, where it is one: row 2 for the first draw, 3 for the next.

    In too few rows all is zero, and the draws are counted.
    """

    draws: list[tuple[str | int, ...]] = field(default_factory=list)

    def normal(self, shape: Sequence[int] = (), dtype: torch.dtype = torch.float32) -> Tensor:
        """The next impulse; an address that is drawn from twice would be no new noise, and is an error."""
        if self.purpose in self.draws:
            raise AssertionError(f"the same address is drawn from twice: {self.purpose}")
        self.draws.append(self.purpose)
        drawn = torch.zeros(len(self), *shape, dtype=dtype)
        if 1 + len(self.draws) < len(self):
            drawn[1 + len(self.draws)] = 1
        return drawn

    def uniform(self, shape: Sequence[int] = (), dtype: torch.dtype = torch.float64) -> Tensor:
        """A point belief needs no other draws than normal ones."""
        raise AssertionError("impulses stand for normal draws only")


def affine_walk(sampler: Sampler, denoiser: Denoiser, times: Tensor) -> Tensor:
    """Every state, for a belief that is linear in x: (times, 2 + draws).

    The first column is the state from zero without noise; the next how it answers to a one in the first state, the
    others to a one in each draw, in the order of drawing: exactly, and without random numbers.
    """
    counting = ImpulseSeeds(0, torch.arange(1))
    walk(sampler, denoiser, torch.zeros(1, 1, dtype=torch.float64), times, counting)
    rows = 2 + len(counting.draws)
    x = torch.zeros(rows, 1, dtype=torch.float64)
    x[1] = 1
    states = walk(sampler, denoiser, x, times, ImpulseSeeds(0, torch.arange(rows)))
    answers = torch.stack([state.tensor.flatten() for state in states])
    return torch.cat((answers[:, :1], answers[:, 1:] - answers[:, :1]), dim=1)


def exact_moments(
    sampler: Sampler, denoiser: Denoiser, times: Tensor, mean: float, variance: float
) -> tuple[float, float]:
    """Mean and variance of the last state, for a belief that is linear in x, from a normal first state."""
    constant, first, *drawn = affine_walk(sampler, denoiser, times)[-1].unbind()
    noise = torch.stack(drawn).square().sum().item() if drawn else 0.0
    return (constant + first * mean).item(), first.square().item() * variance + noise


def stirred(network: nn.Module, seed: int = 0, scale: float = 0.15) -> nn.Module:
    """The network in evaluation mode with all weights drawn anew, since a fresh one starts at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def small_network(conditions: Mapping[str, Any] | None = None) -> NetworkDenoiser:
    """A network on five numbers, with weights."""
    from unstir.networks.mlp import MLP

    with torch.random.fork_rng(devices=[]):
        network = MLP((5,), conditions, width=24, depth=2, embedding=16)
    return NetworkDenoiser(stirred(network), GaussianProcess())

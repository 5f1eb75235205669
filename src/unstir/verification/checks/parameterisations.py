"""What every parameterisation keeps: what a network predicts, and the clean data, say the same."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from unstir.core.catalogue import entries
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.denoisers.parameterisations import Parameterisation, convert
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.base import SCALES
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.references import IN_THE_PLANE
from unstir.verification.statistics import at_most

__all__ = [
    "parameterisation_conversion",
    "parameterisation_mean",
    "parameterisation_round_trip",
    "parameterisation_target",
    "parameterisation_unit_variance",
]

EPSILON = float(np.finfo(np.float64).eps)
OURS = ("clean", "noise", "score", "v", "flow", "edm")
DEVIATIONS = (1.0, 0.5, 3.0)  # of the data


def _levels(effort: Effort) -> Iterator[tuple[str, Tensor, Tensor]]:
    """alpha and sigma, (levels, 1), in every scale: computed here from the scale's constraint, not by a schedule."""
    ratio = torch.linspace(-10, 10, effort.of(41, 401), dtype=torch.float64).exp()[:, None]
    alphas = {
        "vp": 1 / (1 + ratio.square()).sqrt(),
        "ve": torch.ones_like(ratio),
        "flow": 1 / (1 + ratio),
        "sub-vp": 2 / (ratio + (ratio.square() + 4).sqrt()),
    }
    for scale in SCALES:
        yield scale, alphas[scale], alphas[scale] * ratio


@claim("parameterisations")
def parameterisation_round_trip(coefficients: Parameterisation, effort: Effort) -> Iterator[Measured]:
    """From the clean data to what is predicted and back, to rounding, at every noise level and scale.

    A prediction F always determines the clean data, x0 = a x + b F. A rounding of the prediction weighs |b F|,
    one of the state |a x|.
    """
    clean, noise = (Seeds.range(3, 1).at(what).normal((64,), torch.float64) for what in ("clean", "noise"))
    for scale, alpha, sigma in _levels(effort):
        xt = alpha * clean + sigma * noise
        worst: list[float] = []
        for deviation in DEVIATIONS:
            a, b = coefficients(alpha, sigma, deviation)
            prediction = (clean - a * xt) / b
            rounding = EPSILON * ((a * xt).abs() + (b * prediction).abs() + clean.abs())
            worst.append(float(((a * xt + b * prediction - clean).abs() / rounding).max()))
        yield at_most(f"error in roundings, {scale}", np.max(worst), 8.0)


@claim("parameterisations", *OURS)
def parameterisation_target(coefficients: Parameterisation, effort: Effort) -> Iterator[Measured]:
    """A prediction that is what its name says gives the clean data back.

    The target is written here from its definition: x0; eps; -eps/sigma; alpha eps - sigma x0; eps - x0; EDM's.
    """
    clean, noise = (Seeds.range(4, 1).at(what).normal((64,), torch.float64) for what in ("clean", "noise"))
    name = coefficients.__name__
    for scale, alpha, sigma in _levels(effort):
        xt = alpha * clean + sigma * noise
        worst: list[float] = []
        for deviation in DEVIATIONS:
            target = _definition(name, alpha, sigma, clean.expand_as(xt), noise.expand_as(xt), deviation)
            a, b = coefficients(alpha, sigma, deviation)
            rounding = EPSILON * ((a * xt).abs() + (b * target).abs() + clean.abs() + (a * sigma * noise).abs())
            worst.append(float(((a * xt + b * target - clean).abs() / rounding).max()))
        yield at_most(f"error in roundings, {scale}", np.max(worst), 16.0)


@claim("parameterisations", "edm")
def parameterisation_unit_variance(coefficients: Parameterisation, effort: Effort) -> Iterator[Measured]:
    """For data of the deviation it is told, what the network is to predict has variance one at every level."""
    for scale, alpha, sigma in _levels(effort):
        worst: list[float] = []
        for deviation in DEVIATIONS:
            a, b = coefficients(alpha, sigma, deviation)
            # F = ((1 - a alpha) x0 - a sigma eps) / b with independent x0 and eps
            variance = (((1 - a * alpha) * deviation).square() + (a * sigma).square()) / b.square()
            worst.append(float((variance - 1).abs().max()))
        # 1 - a alpha cancels to a rounding over sigma^2/alpha^2, at most e^20
        yield at_most(f"distance of the variance from one, {scale}", np.max(worst), 8 * EPSILON * math.exp(20))


@claim("parameterisations")
def parameterisation_conversion(coefficients: Parameterisation, effort: Effort) -> Iterator[Measured]:
    """Told in any other parameterisation and back again, a prediction is the same.

    At noise levels from e^-3 to e^3, where each of them is well conditioned.
    """
    prediction, xt = (Seeds.range(5, 1).at(what).normal((64,), torch.float64) for what in ("prediction", "state"))
    ratio = torch.linspace(-3, 3, 25, dtype=torch.float64).exp()[:, None]
    alpha = 1 / (1 + ratio.square()).sqrt()
    sigma = alpha * ratio
    for name, entry in entries("parameterisations").items():
        other = entry.load()
        told = convert(prediction, xt, alpha, sigma, coefficients, other, 0.7)
        back = convert(told, xt, alpha, sigma, other, coefficients, 0.7)
        yield at_most(f"error by way of {name}", (back - prediction).abs().max(), 1e-10)


@claim("parameterisations", *OURS)
def parameterisation_mean(coefficients: Parameterisation, effort: Effort) -> Iterator[Measured]:
    """A network that predicts what the exact law answers makes the exact denoiser, whatever it predicts.

    The score of a mixture is computed in NumPy. The definitions are linear in x0 and eps, so that the exact answer
    is the definition at their conditional means, Tweedie's (x + sigma^2 score)/alpha and -sigma score.
    """
    process, deviation = GaussianProcess(CosineSchedule()), 0.7
    for t in (0.05, 0.5, 0.95):
        time = torch.tensor(t, dtype=torch.float64)
        alpha, sigma = process.schedule.alpha(time), process.schedule.sigma(time)
        x = Seeds.range(6, 32).normal((2,), torch.float64)
        score = torch.from_numpy(IN_THE_PLANE.score((x / alpha).numpy(), (sigma / alpha).item())) / alpha
        mean = (x + sigma.square() * score) / alpha
        answer = _definition(coefficients.__name__, alpha, sigma, mean, -sigma * score, deviation)
        belief = NetworkDenoiser(_Told(answer), process, coefficients.__name__, deviation)(x, time)
        yield at_most(f"error of the mean at time {t}", (belief.mean - mean).abs().max(), 1e-11)


def _definition(name: str, alpha: Tensor, sigma: Tensor, clean: Tensor, noise: Tensor, deviation: float) -> Tensor:
    """What is predicted, from what its name says: of the clean data and the noise."""
    return {
        "clean": clean,
        "noise": noise,
        "score": -noise / sigma,
        "v": alpha * noise - sigma * clean,
        "flow": noise - clean,
        "edm": (sigma * clean - alpha * deviation**2 * noise)
        / (deviation * (alpha.square() * deviation**2 + sigma.square()).sqrt()),
    }[name]


class _Told(torch.nn.Module):
    """A network that knows the answer."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor, noise: Tensor, drop: Tensor | None = None) -> Tensor:
        """The answer, whatever was asked."""
        return self.answer

"""What every weighting of the loss keeps, and what each of ours is defined by."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from unstir.denoisers.noise_levels import UniformLevels
from unstir.denoisers.parameterisations import edm, noise, v
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.linear_vp import LinearVPSchedule
from unstir.verification.base import Curve, Effort, Measured, Plot, claim
from unstir.verification.statistics import at_most

__all__ = ["weighting_elbo", "weighting_error", "weighting_finite", "weighting_formula"]

Weighting = Callable[[Tensor, Tensor], Tensor]


def _log_snr(effort: Effort) -> Tensor:
    return torch.linspace(-20, 20, effort.of(81, 801), dtype=torch.float64)


@claim("weightings")
def weighting_finite(weighting: Weighting, effort: Effort) -> Iterator[Measured]:
    """It is positive and finite at every noise level, one weight for each."""
    log_snr = _log_snr(effort)
    weights = weighting(log_snr, torch.ones_like(log_snr))
    curve = Plot(
        "weight of the loss", "log-SNR", "weight", (Curve("w", log_snr.tolist(), weights.tolist()),), y_log=True
    )
    wrong = ~(weights.isfinite() & (weights > 0))
    yield at_most("weights that are not positive and finite", wrong.sum(), 0.0, plot=curve)
    shape = weights.shape != log_snr.shape or weights.dtype != torch.float64
    yield at_most("weights of another shape or precision", int(shape), 0.0)


@claim("weightings", "clean", "noise", "v", "edm", "min-snr", "p2", "sigmoid", "likelihood")
def weighting_formula(weighting: Weighting, effort: Effort) -> Iterator[Measured]:
    """It is the formula of its paper, evaluated in NumPy; those per unit of log-SNR are divided by the density."""
    log_snr = _log_snr(effort)
    density = (-log_snr.square() / 50).exp() / 10
    snr, drawn = np.exp(log_snr.numpy()), density.numpy()
    told = vars(weighting)
    formulas: dict[str, Callable[[], np.ndarray]] = {
        "CleanWeighting": lambda: np.ones_like(snr),
        "NoiseWeighting": lambda: snr,
        "VWeighting": lambda: 1 + snr,
        "EDMWeighting": lambda: snr + 1 / told["sigma_data"] ** 2,
        "MinSNRWeighting": lambda: np.minimum(snr, told["gamma"]),
        "P2Weighting": lambda: snr * (told["k"] + snr) ** -told["gamma"],
        "SigmoidWeighting": lambda: snr / (1 + snr * np.exp(-told["bias"])) / drawn,
        "LikelihoodWeighting": lambda: snr / 2 / drawn,
    }
    wanted = formulas[type(weighting).__name__]()
    error = np.abs(weighting(log_snr, density).numpy() / wanted - 1)
    yield at_most("relative error", error.max(), 1e-12)


@claim("weightings", "noise", "v", "edm")
def weighting_error(weighting: Weighting, effort: Effort) -> Iterator[Measured]:
    """It turns the squared error of the clean data into that of what its network predicts.

    An error e of the prediction is one of b e in the clean data, so that w b^2 is one; on the variance-preserving
    scale, where v is defined, and for EDM's on its own.
    """
    log_snr = torch.linspace(-15, 15, effort.of(61, 601), dtype=torch.float64)
    coefficients = {"NoiseWeighting": noise, "VWeighting": v, "EDMWeighting": edm}[type(weighting).__name__]
    alpha, sigma = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()
    _, b = coefficients(alpha, sigma, getattr(weighting, "sigma_data", 1.0))
    weight = weighting(log_snr, torch.ones_like(log_snr)) * b.square()
    yield at_most("relative error of w b^2", (weight - 1).abs().max(), 1e-12)


@claim("weightings", "likelihood")
def weighting_elbo(weighting: Weighting, effort: Effort) -> Iterator[Measured]:
    r"""Summed over noise levels, the loss is the diffusion term of the ELBO, whatever the schedule.

    For normal data the exact denoiser's error is known at every level, v(lambda) = s^2/(1 + s^2 e^lambda), and
    so is the integral of e^lambda v/2 between two levels: log((1 + s^2 e^high)/(1 + s^2 e^low))/2 nats, the
    mutual information gained. The loss is measured as in training: levels drawn from a schedule's even times.
    """
    deviation, first, last = 0.8, 0.02, 0.98
    nodes = torch.linspace(0, 1, 4001, dtype=torch.float64)
    for name, schedule in {"cosine": CosineSchedule(), "linear-vp": LinearVPSchedule()}.items():
        levels = UniformLevels(schedule, first, last)(nodes)
        error = deviation**2 / (1 + deviation**2 * levels.log_snr.exp())
        # Simpson's rule over the uniform numbers that levels are drawn by
        simpson = torch.ones(4001, dtype=torch.float64)
        simpson[1:-1:2], simpson[2:-1:2] = 4, 2
        loss = (weighting(levels.log_snr, levels.density) * error * simpson).sum().item() / 12000
        ends = [schedule.log_snr(time).item() for time in (first, last)]
        low, high = sorted(1 + deviation**2 * np.exp(level) for level in ends)
        yield at_most(f"error in nats, {name}", abs(loss - np.log(high / low) / 2), 1e-6)

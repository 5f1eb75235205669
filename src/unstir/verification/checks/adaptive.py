"""What adaptive solving keeps: the tolerance at the data, over decades, and each sample's own pace."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.samplers.adaptive import AdaptiveSampler
from unstir.verification.base import Curve, Effort, Measured, NotMeasured, Plot, claim
from unstir.verification.references import IN_THE_PLANE, Mixture, PointDenoiser, arrive
from unstir.verification.statistics import at_most

__all__ = ["adaptive_company", "adaptive_tolerance"]

START = 80.0


def _ring() -> Mixture:
    """Eight unequal modes on a ring and a tight one inside: a border between any two, and a sixfold range of widths."""
    angles = np.arange(8) * (np.pi / 4)
    means = [*np.stack((0.72 * np.cos(angles), 0.72 * np.sin(angles)), 1).tolist(), [0.15, 0.10]]
    return Mixture(tuple(np.array([4, 1, 6, 2, 8, 3, 5, 7, 4]) / 40), means, [0.06] * 8 + [0.01])


def _long_modes(process: GaussianProcess) -> MixtureDenoiser:
    """Sixty-four dimensions: four Gaussians, each wide in some directions and narrow in the rest."""
    seeds = Seeds.range(5, 4)
    means = 0.4 * seeds.at("means").normal((64,), torch.float64)
    deviations = 0.05 * (1 + 20 * seeds.at("widths").uniform((64,)) ** 4)
    return MixtureDenoiser([0.1, 0.2, 0.3, 0.4], means, deviations.square(), process)


def _solved(sampler: AdaptiveSampler, denoiser: Denoiser, y: Tensor, count: int = 1) -> Tensor:
    schedule = denoiser.process.schedule
    first = schedule.time_at_sigma(START)
    times = torch.linspace(1, 0, count + 1, dtype=torch.float64) * first
    return arrive(sampler, denoiser, schedule.alpha(first) * y, times)


@claim("samplers", "adaptive")
def adaptive_tolerance(sampler: AdaptiveSampler, effort: Effort) -> Iterator[Measured]:
    """Its error at the data is at most three times the tolerance, over six decades, and from 1e-5 on at least a tenth.

    The root-mean-square over samples and elements, against the flow in NumPy by SciPy to 1e-11, or in 64
    dimensions against itself at a fine tolerance on another clock. At loose tolerances a step or two may do for
    all, and the error be as small as it happens to be.
    """
    if sampler.control != "global":
        raise NotMeasured("under local control errors grow on the way", silent=True)
    decades = effort.of([1e-2, 1e-4, 1e-6], [1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7])
    for name, schedule in {"ring": EDMSchedule(sigma_max=START), "plane": CosineSchedule(), "long": None}.items():
        if effort.quick and name == "long":
            continue
        process = GaussianProcess(schedule or RectifiedFlowSchedule())
        width = 64 if name == "long" else 2
        y = START * effort.seeds(effort.of(32, 64), name).normal((width,), torch.float64)
        if name == "long":
            denoiser: Denoiser = _long_modes(process)
            expected = _solved(AdaptiveSampler(1e-10, "local", scale=0.2), denoiser, y)
        else:
            law = _ring() if name == "ring" else IN_THE_PLANE
            denoiser = law.denoiser(process)
            expected = torch.as_tensor(law.flow(y.numpy(), START, 1e-6))
        ratios = []
        for tolerance in decades:
            found = _solved(AdaptiveSampler(tolerance, method=sampler.method), denoiser, y)
            ratios.append((found - expected).square().mean().sqrt().item() / tolerance)
        plot = Plot(name, "tolerance", "error / tolerance", (Curve(name, decades, ratios),), x_log=True, y_log=True)
        yield at_most(f"largest error in tolerances, {name}", max(ratios), 3.0, plot=plot)
        fine = min(ratio for ratio, tolerance in zip(ratios, decades, strict=True) if tolerance <= 1e-5)
        yield Measured(f"smallest error in tolerances, {name}", fine, low=0.1)


@claim("samplers", "adaptive")
def adaptive_company(sampler: AdaptiveSampler, effort: Effort) -> Iterator[Measured]:
    """Neither companions nor stops on the way change where a sample arrives by more than the tolerance.

    With harder samples in the other rows its bits stay as they are; in a grid of several steps the error at the data
    is still within the tolerance.
    """
    denoiser = PointDenoiser(_ring().denoiser(GaussianProcess()))
    y = START * effort.seeds(8, "company").normal((2,), torch.float64)
    other = y.clone()
    other[4:] = torch.tensor([1e-3, 40.0], dtype=torch.float64)
    found, beside = (_solved(sampler, denoiser, rows) for rows in (y, other))
    yield at_most("numbers changed by companions", (found[:4] != beside[:4]).sum(), 0.0)
    if sampler.control == "global":
        stopping = _solved(sampler, denoiser, y, 5)
        away = (stopping - found).square().mean().sqrt() / sampler.tolerance
        yield at_most("difference that stops on the way make, in tolerances", away, 3.0)

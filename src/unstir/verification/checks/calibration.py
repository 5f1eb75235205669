"""A sampler made for its model: how near it comes to the flow, beside all that were not, and what it says of itself."""

import functools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.samplers.base import SamplerState, follow, sample
from unstir.samplers.calibrated import CalibratedSampler
from unstir.samplers.calibration import calibrate
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.references import Mixture, PointDenoiser, small_network
from unstir.verification.statistics import at_most

__all__ = ["calibrated_accuracy", "calibrated_estimate", "calibrated_own_times"]

START = 80.0
RIVALS = ("ddim", "deis", "dpm-solver-pp-2m", "dpm-solver-pp-3m", "exponential-ab", "plms", "unipc", "velocity-ab")
# eight modes of unequal weight on a ring, and a tight one within
_ANGLES = np.arange(8) * math.pi / 4
RING = Mixture(
    (4.0, 1.0, 6.0, 2.0, 8.0, 3.0, 5.0, 7.0, 4.0),
    [*zip(1.5 * np.cos(_ANGLES), 1.5 * np.sin(_ANGLES), strict=True), (0.3, 0.2)],
    (0.12,) * 8 + (0.03,),
)


@claim("samplers", "calibrated")
def calibrated_accuracy(sampler: CalibratedSampler, effort: Effort) -> Iterator[Measured]:
    """With few calls it ends at most half as far from the flow's end as any method whose coefficients are fixed."""
    denoiser = _ring()
    for calls in effort.of((6, 12), (5, 6, 8, 10, 15, 20, 30)):
        made = _made(calls, effort.of((256, 80), (512, 200)))
        own = _distances(made, denoiser, made.own_times(denoiser.process.schedule))
        grid = karras(denoiser.process.schedule, calls)
        others = [_distances(build("samplers", name), denoiser, grid) for name in RIVALS]
        least = min(_size(distances) for distances in others)
        yield at_most(f"root mean square by that of the best other, {calls} calls", _size(own) / least, 0.5)
        middle = min(float(distances.median()) for distances in others)
        yield at_most(f"median by that of the best other, {calls} calls", float(own.median()) / middle, 0.5)


@claim("samplers", "calibrated")
def calibrated_estimate(sampler: CalibratedSampler, effort: Effort) -> Iterator[Measured]:
    """Its error is at most three times what it says of itself, for trajectories that it has not met."""
    denoiser = _ring()
    for calls in effort.of((12,), (8, 15, 30)):
        made = _made(calls, effort.of((256, 80), (512, 200)))
        found = _distances(made, denoiser, made.own_times(denoiser.process.schedule))
        for name, value in (("median", float(found.median())), ("expected_root_mean_square", _size(found))):
            yield at_most(f"{name.replace('_', ' ')} met by that told, {calls} calls", value / made.told[name], 3.0)


@claim("samplers", "calibrated")
def calibrated_own_times(sampler: CalibratedSampler, effort: Effort) -> Iterator[Measured]:
    """It takes as many calls as it was made for, and a sample is the same to the bit in any company."""
    network = small_network({"label": {"classes": 4}})
    made = calibrate(network, (5,), 6, samples=32, search=12, batch=32)
    calls: list[float] = []
    hook = network.register_forward_hook(lambda module, arguments, output: calls.append(float(arguments[1])))
    labels = torch.arange(70) % 4
    whole = sample(network, made, (5,), 70, seed=effort.seed + 5, condition={"label": labels}, batch=32)
    hook.remove()
    yield Measured("calls of a batch", len(calls) / 3, 6.0, 6.0)
    differing = 0
    for chosen in ([17], [69, 3, 17, 40], list(range(69, -1, -1))):
        rows = torch.tensor(chosen)
        told = {"label": labels[rows]}
        some = sample(network, made, (5,), seeds=Seeds(effort.seed + 5, rows), condition=told, batch=32)
        differing += int((some != whole[rows]).any(1).sum())
    yield at_most("samples with other bits in other company", differing, 0.0)
    for schedule in (CosineSchedule(), EDMSchedule()):
        levels = (-schedule.log_snr(made.own_times(schedule)[:-1]) / 2).exp()
        away = (levels / torch.tensor(made.levels[:-1], dtype=torch.float64) - 1).abs().max()
        yield at_most(f"relative error of its noise levels, {type(schedule).__name__}", away, 1e-9)


def _ring() -> Denoiser:
    return PointDenoiser(RING.denoiser(GaussianProcess(EDMSchedule(sigma_max=START))))


@functools.cache
def _made(calls: int, effort: tuple[int, int]) -> CalibratedSampler:
    samples, search = effort
    return calibrate(_ring(), (2,), calls, samples=samples, search=search, batch=samples, dtype=torch.float64)


@functools.cache
def _flow() -> tuple[Tensor, Tensor]:
    """Noise, and where the flow takes it: solved apart from all samplers."""
    y = START * Seeds.range(41, 256).normal((2,), torch.float64)
    return y, torch.from_numpy(RING.flow(y.numpy(), START, 0.0))


def _distances(sampler: object, denoiser: Denoiser, times: Tensor) -> Tensor:
    """Per element, from the flow's ends, (trajectories,)."""
    y, ends = _flow()
    reached = follow(denoiser, sampler, SamplerState(y, Seeds.range(0, len(y))), times).tensor  # type: ignore[arg-type]
    return (reached - ends).square().mean(1).sqrt()


def _size(distances: Tensor) -> float:
    return float(distances.square().mean().sqrt())

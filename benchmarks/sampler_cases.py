"""What is compared: a sampler on a grid, and those of unstir. Those of the peers are in ``peers_samplers.py``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.sampler_targets import MixtureTarget
from unstir.core.catalogue import build, entries
from unstir.core.errors import UnstirError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.denoisers.variances import measure_variances
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras
from unstir.processes.schedules.edm import EDMSchedule
from unstir.samplers.base import Sampler, SamplerState, follow, time_grid

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0
PROCESS = GaussianProcess(EDMSchedule(sigma_max=SIGMA_MAX, rho=RHO))


class Run(NamedTuple):
    """Samples (n, d); their trajectories began at ``start_scale`` times the noise, at the level ``start_sigma``."""

    samples: Tensor
    start_sigma: float
    start_scale: float


class CountedDenoiser:
    """The exact E[x_0 | y] that every library is given, with a count of the rows that it was asked for."""

    def __init__(self, target: MixtureTarget) -> None:
        self.dimension = target.dimension
        self._target = target
        self.rows = 0

    def __call__(self, y: Tensor, sigma: Tensor | float) -> Tensor:
        self.rows += len(y)
        return self._target.denoise(y, sigma)

    def data(self, count: int = 1024) -> Tensor:
        """Clean samples, which whoever trains a network has as well."""
        return self._target.draw(count, seed=5001)


Denoise = Callable[[Tensor, Tensor | float], Tensor]
Draw = Callable[[Tensor, int], Run]


@dataclass(frozen=True)
class Case:
    """One sampler on one grid.

    ``prepare(denoise, calls)`` returns ``draw(noise, seed)``, which makes at most so many calls from unit ``noise``
    (n, d). What ``prepare`` learns it may keep, as it is learned once for a model and not once for a sample; its own
    calls are counted apart. ``grid`` is "common" for Karras noise levels of 80 to 0.002, "own" for what the library
    recommends or takes by default. ``budgets``, if given, are tolerances in the place of calls.
    """

    library: str
    sampler: str
    grid: str
    prepare: Callable[[CountedDenoiser, float], Draw]
    deterministic: bool = True
    budgets: tuple[float, ...] | None = None


def common_sigmas(levels: int) -> Tensor:
    """The common noise levels, then 0."""
    return PROCESS.schedule.sigma(karras(PROCESS.schedule, levels, SIGMA_MIN, SIGMA_MAX, RHO))


class PointDenoiser(Denoiser):
    """An exact mean as a trained network would give it: without the rest of the belief."""

    def __init__(self, denoise: Denoise, process: GaussianProcess = PROCESS) -> None:
        super().__init__()
        self.process = process
        self.denoise = denoise

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> PointPosterior:
        """The belief at (a tensor of) time t."""
        alpha, sigma = self.process.coefficients(t, xt)
        return PointPosterior(self.denoise(xt / alpha, sigma / alpha))


def _from_noise(denoiser: Denoiser, sampler: Sampler, times: Tensor, noise: Tensor, seed: int) -> Run:
    """The loop beneath ``sample``, from given noise."""
    schedule = denoiser.process.schedule
    alpha, sigma = schedule.alpha(times[0]).item(), schedule.sigma(times[0]).item()
    start = SamplerState(sigma * noise, Seeds.range(seed, len(noise)))
    samples = follow(denoiser, sampler, start, times).tensor
    return Run(samples, sigma / alpha, sigma / alpha)


def _on_common_grid(sampler: Sampler, denoise: CountedDenoiser, calls: float) -> Draw:
    times = time_grid(PROCESS, "karras", sampler.steps_within(int(calls)))
    return partial(_from_noise, PointDenoiser(denoise), sampler, times)


def _calibrated(denoiser: Denoiser, dimension: int, calls: int) -> tuple[Sampler, Tensor]:
    from unstir.samplers.calibration import calibrate

    samples = 1024 if calls <= 20 else 256  # the root mean square of few calls is ruled by rare trajectories
    sampler = calibrate(denoiser, (dimension,), calls, samples=samples, batch=samples, dtype=torch.float64)
    return sampler, sampler.own_times(denoiser.process.schedule)


# The samplers of unstir on grids of their own, the default one first:
# name -> (denoiser, dimension, calls) -> (sampler, falling times). A pilot run belongs in here.
OURS: dict[str, Callable[[Denoiser, int, int], tuple[Sampler, Tensor]]] = {"calibrated": _calibrated}


# The stochastic ones: name -> specification; on the grid of a straight flow of half the data's deviation.
OURS_STOCHASTIC = {
    "sa-solver, stochasticity 0.5": {"name": "sa-solver", "order": 2, "corrector": 2, "stochasticity": 0.5},
    "multistep, order 2, stochasticity 1": {"name": "multistep", "order": 2, "stochasticity": 1.0},
}


def _on_flow_grid(name: str, denoise: CountedDenoiser, calls: float) -> Draw:
    deviation = denoise.data().std(0).square().mean().sqrt().item()
    sampler = build("samplers", OURS_STOCHASTIC[name])
    grid = {"name": "straight-flow", "scale": deviation / 2}
    return partial(_from_noise, PointDenoiser(denoise), sampler, time_grid(PROCESS, grid, int(calls)))


def _on_own_grid(name: str, denoise: CountedDenoiser, calls: float) -> Draw:
    denoiser = PointDenoiser(denoise)
    sampler, times = OURS[name](denoiser, denoise.dimension, int(calls))
    return partial(_from_noise, denoiser, sampler, times)


def _with_measured_variance(denoise: CountedDenoiser, calls: float) -> Draw:
    table = measure_variances(PointDenoiser(denoise), denoise.data())
    return _on_common_grid(build("samplers", {"name": "analytic-dpm", "table": table}), denoise, calls)


_MEASURED = ("analytic-dpm",)  # its members carry what was measured on another law
_NORMAL = PointDenoiser(lambda y, sigma: y / (1 + sigma**2))


def our_cases() -> list[Case]:
    """The samplers with grids of their own, and every sampler of the catalogue that counts its calls."""
    own = [Case("unstir", name, "own", partial(_on_own_grid, name)) for name in OURS]
    common = [
        Case("unstir", name, "common", partial(_on_common_grid, sampler), deterministic)
        for name, sampler, deterministic in _catalogue()
    ]
    measured = Case("unstir", "analytic-dpm", "common", _with_measured_variance, deterministic=False)
    stochastic = [
        Case("unstir", name, "own", partial(_on_flow_grid, name), deterministic=False) for name in OURS_STOCHASTIC
    ]
    return [*own, *stochastic, *common, measured]


def _catalogue() -> Iterator[tuple[str, Sampler, bool]]:
    """The members of every family that can follow a point belief on the Gaussian process in a known number of calls.

    With their names, and whether they are deterministic: whether two seeds lead from the same noise to the same end.
    """
    noise = torch.ones(2, 1, dtype=torch.float64)
    times = time_grid(PROCESS, "karras", 4)
    for name, entry in entries("samplers").items():
        if name in _MEASURED:
            continue
        factory = entry.load()
        members = getattr(factory, "examples", lambda made=factory: {"": made()})()
        for member, sampler in members.items():
            if sampler.calls_per_step is None:
                continue
            try:
                sampler.check(_NORMAL)
                ends = [_from_noise(_NORMAL, sampler, times, noise, seed).samples for seed in (0, 1)]
            except UnstirError:  # another space, or a belief with a variance is needed
                continue
            yield f"{name} ({member})" if member else name, sampler, torch.equal(*ends)

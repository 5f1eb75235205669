r"""Rare events of a generator: samples of them, and their probability with its standard error.

Two ways, each unbiased for the law that it draws from:

``split`` (splitting): the generator is a map :math:`F` of normal numbers z by a deterministic sampler, and levels lead
up to the event, :math:`P(S(F(z))\ge c)=\prod_jP(S\ge c_j\mid S\ge c_{j-1})`. Between them the particles move by
:math:`z'=\sqrt{1-b^2}\,z+b\,\epsilon`, which leaves the normal law as it is; a move that falls below the level is not
made. Nothing is guided and no density is needed: the law is that of plain samples by the same sampler.

``steer`` (guidance with importance weights): particles are pulled towards the event on their way from noise to data,
and weighed by the ratio of the model's transition to the pulled one; the mean weight estimates the probability under
the ancestral sampler. Its error of discretisation is that of the sampler, which weighs the more the rarer the event.

Reference: Au, Beck, Estimation of small failure probabilities in high dimensions by subset simulation (2001); Cérou,
Del Moral, Furon, Guyader, Sequential Monte Carlo for rare event estimation (2012), section 3, for the moves and the
unbiased estimate; Wu et al., Practical and asymptotically exact conditional sampling in diffusion models (2023).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.domains.climate.tasks.generating.event_twist import EventTwist, potential_of, probability
from unstir.domains.climate.tasks.generating.events import BoundEvent
from unstir.inverse.methods.twisted import TwistedSampler
from unstir.inverse.solving import drawn
from unstir.processes import student_clock
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.heavy_tailed import HeavyTailedProcess
from unstir.samplers.base import EUCLIDEAN, Sampler, sample, time_grid

_MOST_LEVELS = 60
_WANTED = 0.3  # of the moves, made: about where such a walk goes furthest


@dataclass(frozen=True)
class Estimate:
    """A probability, the mean of independent ``runs`` (r,), with its standard error; and samples of the event.

    ``samples`` (n, *shape) are states, all of one weight, of which those of one run hang together. ``calls`` counts the
    denoiser's, of single states.
    """

    runs: Tensor
    samples: Tensor
    calls: int
    levels: tuple[float, ...] = ()

    @property
    def probability(self) -> float:
        """The mean over the runs."""
        return float(self.runs.mean())

    @property
    def error(self) -> float:
        """The standard error of the mean over the runs."""
        return float(self.runs.std() / math.sqrt(len(self.runs)))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """By Student's t on the logarithm, which is nearer to normal; from zero where no run met the event."""
        from scipy import stats

        if self.probability == 0:
            return 0.0, 1.0
        wide = float(stats.t(len(self.runs) - 1).ppf((1 + level) / 2)) * self.error / self.probability
        return self.probability * math.exp(-wide), min(self.probability * math.exp(wide), 1.0)

    @property
    def efficiency(self) -> float:
        """How many calls plain Monte Carlo needs for the same variance, over those made; of one call a sample."""
        if not 0 < self.probability < 1 or self.error == 0:
            return math.nan
        return self.probability * (1 - self.probability) / self.error**2 / self.calls


def split(
    denoiser: Denoiser,
    event: BoundEvent,
    shape: tuple[int, ...],
    *,
    particles: int = 256,
    runs: int = 8,
    moves: int = 5,
    share: float = 0.2,
    count: int = 64,
    sampler: str | Mapping[str, Any] | Sampler = "heun",
    grid: Any = None,
    steps: int = 20,
    seed: int = 0,
    condition: Mapping[str, Tensor] | None = None,
    batch: int = 1024,
) -> Estimate:
    """The event's probability by splitting, and ``count`` samples of it.

    A pilot of ``particles`` chooses levels that a ``share`` of them passes, and the size of the moves; then so many
    independent ``runs`` keep to both, each with an unbiased estimate. After each level all particles make ``moves``.
    ``sampler`` must be deterministic; ``condition`` holds one row for all.

    Raises InputError for options out of range, a process that is not on numbers, or an event that the pilot does not
    come near within 60 levels.
    """
    if particles < 8 or runs < 2 or moves < 1 or not 0 < share < 1 or count < 0:
        raise InputError(
            "splitting needs particles >= 8, runs >= 2, moves >= 1, a share between 0 and 1 and count >= 0; seen "
            f"particles={particles}, runs={runs}, moves={moves}, share={share}, count={count}"
        )
    made: Sampler = sampler if isinstance(sampler, Sampler) else build("samplers", sampler)
    generator = _Generator(denoiser, made, shape, grid, steps, condition or {}, batch, seed)
    pilot = _Run(generator, event, Seeds.range(seed, particles).at("splitting", "pilot"), 1, moves)
    levels: list[float] = []
    sizes: list[float] = []
    size = 0.7
    while True:
        level = float(pilot.severities.sort().values[int((1 - share) * particles)])
        last = level >= event.level
        levels.append(event.level if last else level)
        if (levels[1:] and levels[-1] <= levels[-2]) or len(levels) > _MOST_LEVELS:
            raise InputError(
                f"the generator does not come near this event ({event.event.told}): after {len(levels)} levels it is "
                f"at {abs(level):.4g}, of {abs(event.level):.4g}; choose a threshold that it can reach, or more moves"
            )
        if last:
            break
        pilot.keep(levels[-1])
        size = pilot.walk(levels[-1], size, adapt=True)
        sizes.append(size)
    full = _Run(generator, event, Seeds.range(seed, runs * particles).at("splitting", "runs"), runs, moves)
    for level, size in zip(levels[:-1], sizes, strict=True):
        full.keep(level)
        full.walk(level, size)
    full.keep(event.level)
    chosen = full.choose(count)
    return Estimate(full.estimates, chosen, generator.calls, tuple(levels))


def steer(
    denoiser: Denoiser,
    event: BoundEvent,
    shape: tuple[int, ...],
    *,
    particles: int = 256,
    runs: int = 8,
    steps: int = 100,
    threshold: float = 0.5,
    deviation: float = 1.0,
    variance: str = "auto",
    count: int = 64,
    grid: Any = None,
    seed: int = 0,
    condition: Mapping[str, Tensor] | None = None,
) -> Estimate:
    """The event's probability by twisted sequential Monte Carlo: as many populations of ``particles`` as ``runs``.

    ``threshold`` is the share of effective particles below which they are resampled; ``variance`` and ``deviation`` as
    in ``TwistedMethod``. The event must be differentiable. Gaussian processes only: InputError for others.
    """
    process = denoiser.process
    if not isinstance(process, GaussianProcess) or process.space not in EUCLIDEAN:
        raise InputError(
            f"steering pulls on Gaussian noise; seen the process {type(process).__name__}: take method 'splitting'"
        )
    twist = EventTwist(potential_of(event), deviation, variance, event=event)
    sampler = TwistedSampler(twist, particles, threshold)
    total = particles * runs
    told = {name: values[:1].expand(total, *values.shape[1:]) for name, values in (condition or {}).items()}
    found = drawn(
        denoiser, sampler, shape, total, sampler.told, steps=steps, grid=grid, batch=total, seed=seed, condition=told
    )
    estimates = probability(found.diagnostics["log_evidence"])
    seeds = Seeds.range(seed, max(count, 1)).at("chosen")
    samples = _chosen(found.samples, event.severity(found.samples) >= event.level, estimates, count, seeds)
    return Estimate(estimates, samples, 3 * steps * total)  # a backward pass counts as a call


class _Generator:
    """Normal numbers to states by a deterministic sampler; counts the denoiser's calls."""

    def __init__(
        self,
        denoiser: Denoiser,
        sampler: Sampler,
        shape: tuple[int, ...],
        grid: Any,
        steps: int,
        condition: Mapping[str, Tensor],
        batch: int,
        seed: int,
    ) -> None:
        process = denoiser.process
        heavy = isinstance(process, HeavyTailedProcess)
        if not heavy and not isinstance(process, GaussianProcess):
            raise InputError(
                f"splitting walks among normal numbers; the process {type(process).__name__} does not start from such"
            )
        self.denoiser, self.sampler, self.shape, self.condition = denoiser, sampler, shape, condition
        self.process, self.batch, self.steps, self.calls = process, batch, steps, 0
        own = sampler.own_times(process.schedule) if grid is None else None
        self.times = time_grid(process, process.grid if grid is None else grid, steps) if own is None else own
        self.latent = (2, *shape) if heavy else tuple(shape)
        first = self(Seeds.range(seed, 2).at("deterministic").normal(self.latent), Seeds.range(0, 2))
        again = self(Seeds.range(seed, 2).at("deterministic").normal(self.latent), Seeds.range(7, 2))
        if not torch.equal(first, again):
            raise InputError(
                f"splitting needs a sampler without noise of its own, such as heun, ddim or dpm-solver++; "
                f"{type(sampler).__name__} draws some"
            )
        self.calls = 0

    def __call__(self, latent: Tensor, seeds: Seeds) -> Tensor:
        found = []
        for rows in torch.arange(len(latent)).split(self.batch):
            told = {name: values[:1].expand(len(rows), *values.shape[1:]) for name, values in self.condition.items()}
            addresses = Seeds(seeds.seed, torch.arange(len(rows)))
            found.append(
                sample(
                    self.denoiser,
                    self.sampler,
                    self.shape,
                    seeds=addresses,
                    grid=self.times,
                    steps=self.steps,
                    start=self.start(latent[rows]),
                    condition=told,
                    batch=len(rows),
                )
            )
        self.calls += len(latent) * (self.sampler.calls(len(self.times) - 1) or self.steps)
        return torch.cat(found)

    def start(self, latent: Tensor) -> Tensor:
        """The process's prior, made of normal numbers."""
        sigma = self.process.schedule.sigma(self.times[0]).to(latent)
        if isinstance(self.process, HeavyTailedProcess):
            noise, clocks = latent.unbind(1)
            ranks = torch.special.ndtr(clocks.double()).flatten(1)
            if self.process.shared:
                ranks = ranks[:, :1].expand_as(ranks)
            scale = torch.from_numpy(student_clock.quantile(ranks.numpy(), float(self.process.degrees))).sqrt()
            return sigma * (scale.reshape(noise.shape) * noise).to(latent.dtype)
        return sigma * self.process.project(latent, None)


class _Run:
    """Populations side by side: normal numbers, their states and severities; each population goes its own way."""

    def __init__(self, generator: _Generator, event: BoundEvent, seeds: Seeds, populations: int, moves: int) -> None:
        self.generator, self.event, self.seeds, self.moves = generator, event, seeds, moves
        self.latent = seeds.at("start").normal(generator.latent)
        self.states = generator(self.latent, seeds)
        self.severities = event.severity(self.states)
        self.estimates = torch.ones(populations, dtype=torch.float64)
        self.level = 0

    def keep(self, level: float) -> None:
        """Those at the level go on, drawn anew to the full number; what share they are is an estimate's factor."""
        self.level += 1
        populations = len(self.estimates)
        passed = (self.severities >= level).reshape(populations, -1)
        size = passed.shape[1]
        self.estimates = self.estimates * passed.double().mean(1)
        # survivors stay where they are, and each that did not is replaced by one of them
        drawn = self.seeds.at("parents", self.level).uniform().reshape(populations, size)
        alive = passed.double().cumsum(1)
        wanted = (drawn * alive[:, -1:]).floor() + 1
        parents = torch.searchsorted(alive, wanted.clamp(max=alive[:, -1:].clamp(min=1)))
        own = torch.arange(size).expand(populations, -1)
        # a population without survivors counts as nothing from now on; it walks on as it is
        parents = torch.where(passed | (alive[:, -1:] == 0), own, parents.clamp(max=size - 1))
        rows = (parents + size * torch.arange(populations)[:, None]).flatten()
        self.latent, self.states, self.severities = self.latent[rows], self.states[rows], self.severities[rows]

    def walk(self, level: float, size: float, adapt: bool = False) -> float:
        """Moves that stay at or above the level; returns their size, fitted to how many were made if ``adapt``."""
        for move in range(self.moves):
            noise = self.seeds.at("move", self.level, move).normal(self.generator.latent)
            moved = math.sqrt(1 - size**2) * self.latent + size * noise
            states = self.generator(moved, self.seeds)
            severities = self.event.severity(states)
            made = severities >= level
            rows = made.reshape(-1, *(1,) * (self.latent.ndim - 1))
            self.latent = torch.where(rows, moved, self.latent)
            rows = made.reshape(-1, *(1,) * (self.states.ndim - 1))
            self.states = torch.where(rows, states, self.states)
            self.severities = torch.where(made, severities, self.severities)
            if adapt:
                size = min(max(size * math.exp(float(made.double().mean()) - _WANTED), 0.02), 0.98)
        return size

    def choose(self, count: int) -> Tensor:
        """``count`` states of the event, each population met in proportion to its estimate."""
        return _chosen(
            self.states,
            self.severities >= self.event.level,
            self.estimates,
            count,
            Seeds.range(self.seeds.seed, max(count, 1)).at("chosen"),
        )


def _chosen(states: Tensor, met: Tensor, estimates: Tensor, count: int, seeds: Seeds) -> Tensor:
    inside = met.reshape(len(estimates), -1).double()
    weights = (inside * (estimates / inside.sum(1).clamp(min=1))[:, None]).flatten()
    if float(weights.sum()) == 0 or not count:
        return states[:0]
    edges = weights.cumsum(0)
    places = (torch.arange(count, dtype=torch.float64) + seeds.uniform()[0]) / count * edges[-1]
    return states[torch.searchsorted(edges, places, right=True).clamp(max=len(states) - 1)]


ESTIMATORS: Mapping[str, Callable[..., Estimate]] = {"splitting": split, "steering": steer}

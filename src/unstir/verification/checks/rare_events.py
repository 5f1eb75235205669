"""Rare events of laws known in closed form: estimated probabilities down to one in a million against the true ones."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy import integrate, stats
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.domains.base import Domain
from unstir.domains.climate.tasks.generating.events import BoundEvent, Event
from unstir.domains.climate.tasks.generating.rare_events import Estimate, split, steer
from unstir.exact.base import EuclideanDenoiser
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import mean_is

__all__ = ["rare_event_levels", "rare_event_splitting", "rare_event_steering"]

_SIZE, _TIED = 3, 0.5  # numbers of a window, and their correlation
_DEVIATION = math.sqrt((1 + (_SIZE - 1) * _TIED) / _SIZE)  # of the window's mean


@claim("domains", "climate")
def rare_event_splitting(domain: Domain, effort: Effort) -> Iterator[Measured]:
    """By splitting, probabilities of means and maxima come out as they are, to one in a million; of mixtures too."""
    # many runs of few particles each: the error is known by how the runs differ
    settings = {"particles": effort.of(32, 128), "moves": effort.of(1, 5), "runs": effort.of(16, 40)}
    steps = effort.of(12, 40)
    for name, law, event, truth in list(_laws(effort.of(1e-2, 1e-6)))[: effort.of(2, 3)]:
        found = split(law, event, (_SIZE,), sampler="deis", steps=steps, seed=effort.seed, count=0, **settings)
        yield _agrees(f"{name}, {truth:.1e}: estimate over truth", found, truth)


@claim("domains", "climate", slow=True)
def rare_event_steering(domain: Domain, effort: Effort) -> Iterator[Measured]:
    """By steering, the estimates tend to the true probability as the steps grow finer, of an independent window."""
    law = GaussianDenoiser(torch.zeros(_SIZE), torch.tensor(1.0), _process())
    event = _event(_mean, 4.0 / math.sqrt(_SIZE))
    truth = float(stats.norm.sf(4.0))
    found = steer(law, event, (_SIZE,), particles=256, runs=24, steps=400, seed=effort.seed, count=0)
    yield _agrees(f"mean, {truth:.1e}: estimate over truth", found, truth)


@claim("domains", "climate")
def rare_event_levels(domain: Domain, effort: Effort) -> Iterator[Measured]:
    """What is not rare is estimated as plain draws have it, and samples of the event are the event."""
    law, count = _law(), effort.of(2000, 20000)
    event = _event(_mean, 0.5 * _DEVIATION)
    found = split(
        law, event, (_SIZE,), particles=effort.of(32, 256), runs=16, sampler="deis", steps=effort.of(12, 40), count=32
    )
    plain = event.severity(law.draw(Seeds.range(effort.seed, count).at("verify", "rare events"))) >= event.level
    yield mean_is("plain draws against the normal tail", plain.double().numpy(), float(stats.norm.sf(0.5)))
    yield _agrees("not rare: estimate over truth", found, float(stats.norm.sf(0.5)))
    yield Measured("samples that are not the event", int((event.severity(found.samples) < event.level).sum()), 0, 0)


def _agrees(quantity: str, found: Estimate, truth: float) -> Measured:
    ratios = (found.runs / truth).numpy()
    return mean_is(quantity, ratios, 1.0)


def _laws(probability: float) -> Iterator[tuple[str, EuclideanDenoiser, BoundEvent, float]]:
    """Laws of ``_SIZE`` numbers, with an event of this probability, or near it, and the very one."""
    far = float(stats.norm.isf(probability))
    yield "Gaussian mean", _law(), _event(_mean, far * _DEVIATION), probability
    yield "Gaussian maximum", _law(), _event(_each, far), _maximum(far)
    centres, deviation = torch.tensor([[-1.0] * _SIZE, [1.5] * _SIZE]), 0.5
    mixture = MixtureDenoiser(torch.tensor([0.7, 0.3]), centres, torch.full((2,), deviation**2), _process())
    level = 1.5 + float(stats.norm.isf(probability / 0.3)) * deviation / math.sqrt(_SIZE)
    spread = deviation / math.sqrt(_SIZE)
    truth = 0.7 * stats.norm.sf((level + 1) / spread) + 0.3 * stats.norm.sf((level - 1.5) / spread)
    yield "mixture's mean", mixture, _event(_mean, level), float(truth)


def _maximum(level: float) -> float:
    """That the largest of equally correlated normals passes the level: an integral over what they share."""

    def given(shared: float) -> float:
        own = (level - math.sqrt(_TIED) * shared) / math.sqrt(1 - _TIED)
        return float(stats.norm.pdf(shared) * -np.expm1(_SIZE * stats.norm.logcdf(own)))

    return float(integrate.quad(given, -12, 12, epsabs=1e-14, limit=500)[0])


def _process() -> GaussianProcess:
    return GaussianProcess(EDMSchedule(sigma_max=80.0))


def _law() -> GaussianDenoiser:
    covariance = (1 - _TIED) * torch.eye(_SIZE) + _TIED * torch.ones(_SIZE, _SIZE)
    return GaussianDenoiser(torch.zeros(_SIZE), covariance, _process())


def _event(parts: Callable[[Tensor], Tensor], level: float) -> BoundEvent:
    return BoundEvent(Event("x", above=level), parts, level, False, lambda values: parts(values).amax(1))


def _mean(state: Tensor) -> Tensor:
    return state.double().mean(1, keepdim=True)


def _each(state: Tensor) -> Tensor:
    return state.double()

"""Claims of points about their centre: the process, its exact law, and what every sampler makes of them."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import linalg, stats
from torch import Tensor

from unstir.core.state import apply_mask
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import Posterior
from unstir.exact.centred import CentredMixtureDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.samplers.base import ANY_SPACE, Sampler, sample
from unstir.samplers.calibrated import CalibratedSampler
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.statistics import at_most, mean_is, same_law

__all__ = [
    "centred_law_is_that_of_the_subspace",
    "centred_noise_has_its_degrees_of_freedom",
    "centred_noise_knows_no_place_and_no_direction",
    "sampler_keeps_the_centre",
]


def _time(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _rotations(count: int, axes: int, seed: int) -> Tensor:
    drawn = stats.special_ortho_group(axes, seed=np.random.default_rng(seed)).rvs(count)
    return torch.from_numpy(np.asarray(drawn)).reshape(count, axes, axes)


@claim("processes", "centred")
def centred_noise_knows_no_place_and_no_direction(process: Any, effort: Effort) -> Iterator[Measured]:
    """Its density does not change when all points move together or turn, and rotated noise is noise of the rotated."""
    count = effort.of(4_000, 20_000)
    x0 = process.example_data(count)
    seeds, t = effort.seeds(count, "turned"), _time(0.6)
    rotation = _rotations(count, 2, 1)
    turned = x0 @ rotation
    drawn, after = process.noise(x0, t, seeds.at("noise")), process.noise(turned, t, seeds.at("other"))
    moved = drawn + seeds.at("moved").normal((1, 2), torch.float64)
    wanted = process.log_density(drawn, x0, t)
    gap = (process.log_density(moved, x0, t) - wanted).abs().max()
    yield at_most("log-density after a common move", gap, 1e-10)
    gap = (process.log_density(drawn @ rotation, turned, t) - wanted).abs().max()
    yield at_most("log-density after a rotation", gap, 1e-10)
    yield at_most("centre of the noise", drawn.mean(1).abs().max(), 1e-13)
    yield same_law("noise turned, and noise of what was turned", (drawn @ rotation).numpy(), after.numpy())


@claim("processes", "centred")
def centred_noise_has_its_degrees_of_freedom(process: Any, effort: Effort) -> Iterator[Measured]:
    """With padding, each sample's noise is normal in (points - 1) d dimensions, and its density sums to one there."""
    count, places, axes = effort.of(5_000, 30_000), 5, 3
    mask = torch.arange(places) < (1 + torch.arange(count) % places)[:, None]
    seeds, t = effort.seeds(count, "freedom"), _time(0.5)
    clean = process.project(seeds.at("data").normal((places, axes), torch.float64), mask)
    noisy = process.noise(clean, t, seeds.at("noise"), mask)
    away = (noisy - process.schedule.alpha(t) * clean) / process.schedule.sigma(t)
    freedom = axes * (mask.sum(1).numpy() - 1)
    yield at_most("what lies in padded places", apply_mask(noisy, ~mask).abs().max(), 0.0)
    yield at_most("centre of the points that are there", noisy.sum(1).abs().max(), 1e-12)
    squares = away.flatten(1).square().sum(1).numpy()
    for points in range(1, places + 1):
        chosen = freedom == axes * (points - 1)
        if points == 1:
            yield at_most("noise of a single point", squares[chosen].max(), 0.0)
            continue
        yield mean_is(
            f"squared length of the noise of {points} points",
            squares[chosen],
            axes * (points - 1),
            math.sqrt(2 * axes * (points - 1)),
        )
    # E[-log q] of a normal law in k dimensions is k/2 (1 + log 2 pi sigma^2)
    sigma = float(process.schedule.sigma(t))
    entropy = freedom / 2 * (1 + math.log(2 * math.pi * sigma**2))
    told = process.log_density(noisy, clean, t, mask).numpy()
    expected = -squares / 2 - entropy + freedom / 2
    yield at_most("log-density, largest error", np.abs(told - expected).max(), 1e-9)


@claim("exact", "centred-mixture")
def centred_law_is_that_of_the_subspace(law: Any, effort: Effort) -> Iterator[Measured]:
    """Density, belief, score and draws are those of normal laws in coordinates of the subspace, by SciPy."""
    points, axes = law.shape
    basis = np.kron(linalg.null_space(np.ones((1, points))), np.eye(axes))
    means = law.within.means.flatten(1).numpy() @ basis
    covariances = basis.T @ law.within.covariances().numpy() @ basis
    weights = law.within.weights.numpy()
    count = effort.of(200, 2_000)
    for t in (0.0, 0.3, 0.8):
        schedule = law.process.schedule
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        xt = law.draw(effort.seeds(count, "subspace", str(t)), t)
        yield at_most(f"centre of the draws, t = {t:g}", xt.mean(1).abs().max() / xt.abs().max(), 1e-13)
        places = xt.flatten(1).numpy() @ basis
        logs, believed, slopes = [], [], []
        for weight, mean, covariance in zip(weights, means, covariances, strict=True):
            whole = alpha**2 * covariance + sigma**2 * np.eye(len(mean))
            logs.append(np.log(weight) + stats.multivariate_normal.logpdf(places, alpha * mean, whole))
            slope = np.linalg.solve(whole, (alpha * mean - places).T).T
            slopes.append(slope)
            believed.append(mean - alpha * slope @ covariance)
        shares = np.exp(np.stack(logs) - np.logaddexp.reduce(logs))[..., None]
        gap = np.abs(law.log_density(xt, t).numpy() - np.logaddexp.reduce(logs)).max()
        yield at_most(f"log-density, t = {t:g}", gap, 1e-8)
        wanted = (shares * np.stack(slopes)).sum(0) @ basis.T
        gap = np.abs(law.score(xt, t).flatten(1).numpy() - wanted).max() / np.abs(wanted).max()
        yield at_most(f"score, t = {t:g}", gap, 1e-9)
        moved = xt + effort.seeds(count, "moved").normal((1, axes), torch.float64)
        told = law(moved, _time(t)).mean.flatten(1).numpy()
        gap = np.abs(told - (shares * np.stack(believed)).sum(0) @ basis.T).max()
        yield at_most(f"mean of the belief after a common move, t = {t:g}", gap, 1e-9)
        if t:
            drawn = law(xt, _time(t)).sample(effort.seeds(count, "belief"))
            yield at_most(f"centre of the belief's draws, t = {t:g}", drawn.mean(1).abs().max(), 1e-7)


class _OnThePlain(Denoiser):
    """A law of centred points as seen under noise in all directions."""

    def __init__(self, law: CentredMixtureDenoiser) -> None:
        super().__init__()
        self.law, self.process = law, GaussianProcess(law.process.schedule)

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The centred law's belief; it looks at no centre."""
        return self.law(xt, t)


@claim("samplers")
def sampler_keeps_the_centre(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """Sets of points keep their centre at zero on the whole way, which is that of plain noise without its centre."""
    if sampler.spaces != ANY_SPACE and "centred" not in sampler.spaces:
        raise NotMeasured("it does not serve the space", silent=True)
    if sampler.needs_variance or isinstance(sampler, CalibratedSampler):
        raise NotMeasured("it refuses this law: made for samples of another shape, or it needs variances", silent=True)
    law = CentredMixtureDenoiser.examples()["chain"]
    count, astray, sizes = effort.of(16, 64), [0.0], [1.0]

    def look(state: Any, t: Tensor, s: Tensor) -> None:
        astray.append(state.x.mean(1).abs().max().item())
        sizes.append(state.x.abs().max().item())

    def drawn(denoiser: Denoiser, **more: Any) -> Tensor:
        return sample(denoiser, sampler, law.shape, count, steps=6, batch=count, dtype=torch.float64, **more)

    centred = drawn(law, callback=look)
    yield at_most("largest centre on the way, of the largest coordinate", max(astray) / max(sizes), 1e-12)
    if sampler.calls_per_step is None or sampler.own_times(law.process.schedule) is not None:
        return  # the steps are chosen by an error or a pilot in which plain noise counts with its centre
    plain = law.process.project(drawn(_OnThePlain(law)))
    yield at_most(
        "distance from samples under plain noise, their centre taken away", (centred - plain).abs().max(), 1e-8
    )

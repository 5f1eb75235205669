"""Claims of laws on compositions that are known exactly, and of the noise there."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most, same_law

__all__ = [
    "composition_belief_follows_bayes",
    "composition_density_sums_to_one",
    "composition_noise_favours_no_part",
]


def _time(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _helmert(parts: int) -> np.ndarray:
    """Orthonormal contrasts by another way than in ``core.transforms``: QR of differences from the last part."""
    spread = np.vstack((np.eye(parts - 1), -np.ones(parts - 1)))
    return np.linalg.qr(spread)[0]


def _log_normal(x: Tensor, mean: np.ndarray, deviation: float) -> np.ndarray:
    """Log-density of a logistic-normal law, the same along all log-ratios, about the log-ratios of ``mean``, by SciPy.

    Centred log-ratios are multivariate normal on their subspace; the Jacobian is that of the first parts - 1 parts.
    """
    logs = np.log(x.numpy())
    parts = logs.shape[-1]
    basis = _helmert(parts)
    away = (logs - np.log(mean)) @ basis
    volume = -logs.sum(-1) - np.log(parts) / 2
    return stats.norm.logpdf(away, scale=deviation).sum(-1) + volume


@claim("processes", "simplex")
def composition_noise_favours_no_part(process: Any, effort: Effort) -> Iterator[Measured]:
    """Its density is SciPy's logistic-normal one, and noise with its parts exchanged is noise of the exchanged."""
    count = effort.of(4_000, 20_000)
    x0, seeds, t = process.example_data(count), effort.seeds(count, "parts"), _time(0.6)
    xt = process.noise(x0, t, seeds.at("noise"))
    alpha, sigma = float(process.schedule.alpha(t)), float(process.schedule.sigma(t))
    gap = np.abs(process.log_density(xt, x0, t).numpy() - _log_normal(xt, x0.numpy() ** alpha, sigma)).max()
    yield at_most("log-density, largest error", gap, 1e-10)
    turned = process.noise(x0.roll(1, -1), t, seeds.at("other"))
    yield same_law("parts exchanged after, and before", xt.roll(1, -1).log().numpy(), turned.log().numpy())


@claim("exact", "logistic-normal-mixture")
def composition_density_sums_to_one(law: Any, effort: Effort) -> Iterator[Measured]:
    """The density of every noisy marginal sums to one over all compositions."""
    x, volume = _compositions(law, effort.of(400, 800))
    for t in (0.0, 0.4, 0.9):
        total = (law.log_density(x, t) + volume).logsumexp(0).exp().item()
        yield at_most(f"difference from one, t = {t:g}", abs(total - 1), 1e-10)


def _compositions(law: Any, fineness: int) -> tuple[Tensor, Tensor]:
    """Compositions whose additive log-ratios lie on an even grid, and the logarithm of the volume of each."""
    ratios = int(np.prod(law.shape[:-1])) * (law.shape[-1] - 1)
    axis = torch.linspace(-16, 16, fineness, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * ratios).reshape(-1, *law.shape[:-1], law.shape[-1] - 1)
    x = torch.nn.functional.pad(grid, (0, 1)).softmax(-1)
    step = float(axis[1] - axis[0])
    return x, x.log().flatten(1).sum(1) + ratios * np.log(step)


@claim("exact", "logistic-normal-mixture")
def composition_belief_follows_bayes(law: Any, effort: Effort) -> Iterator[Measured]:
    """Evidence, centre, density and draws of the belief are those that Bayes' rule gives over all compositions."""
    clean, volume = _compositions(law, effort.of(300, 500))
    prior, count = law.log_density(clean, 0.0), effort.of(4, 16)
    basis = torch.from_numpy(_helmert(law.shape[-1]))
    x0 = law.draw(effort.seeds(count, "elsewhere"))
    for t in effort.of((0.5,), (0.4, 0.6, 0.8)):
        xt = law.draw(effort.seeds(count, "bayes"), t)
        belief = law(xt, _time(t))
        evidence, centres = [], []
        for row in range(count):
            seen = xt[row : row + 1].expand_as(clean)
            logs = prior + volume + law.process.log_density(seen, clean, _time(t))
            evidence.append(logs.logsumexp(0))
            centres.append(torch.einsum("n,n...->...", logs.softmax(0), clean.log() @ basis))
        wanted = torch.stack(evidence)
        yield at_most(f"log p_t(x_t), t = {t:g}", (wanted - law.log_density(xt, t)).abs().max(), 1e-9)
        gap = (torch.stack(centres) - belief.mean.log() @ basis).abs().max()
        yield at_most(f"centre of the belief, in log-ratios, t = {t:g}", gap, 1e-9)
        logs = law.log_density(x0, 0.0) + law.process.log_density(xt, x0, _time(t)) - wanted
        yield at_most(f"log-density of the belief, t = {t:g}", (belief.log_prob(x0) - logs).abs().max(), 1e-8)
    draws = effort.of(6_000, 20_000)
    xt = law.draw(effort.seeds(draws, "stands"), 0.5)
    believed = law(xt, _time(0.5)).sample(effort.seeds(draws, "belief"))
    seeds = effort.seeds(draws, "data")
    x0 = law.draw(seeds)
    noisy = law.process.noise(x0, _time(0.5), seeds.at("noisy"))
    first, second = (torch.cat((a.flatten(1), b.flatten(1)), 1).log().numpy() for a, b in ((believed, xt), (x0, noisy)))
    yield same_law("x_t with draws from the belief, and with clean data", first, second)
    yield at_most("distance of the belief at time 0 from the state", (law(x0, _time(0.0)).mean - x0).abs().max(), 1e-12)

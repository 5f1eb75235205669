"""A process that another package might bring, whole in this one file: counts that lose one after the other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, mean_per_sample
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.denoisers.posteriors import Posterior
from unstir.processes.base import Process, even_pairs
from unstir.processes.schedules.base import Schedule, float64
from unstir.processes.schedules.cosine import CosineSchedule


@dataclass(frozen=True)
class ThinningProcess(Process):
    r"""Binomial thinning of counts: every one of x_0 things is still there at time t with the chance sigmoid(log-SNR).

    States are int64 (batch, n), not negative; at the end nothing is left.

    Reference: Santos, Fox, Lubbers, Lin, Blackout diffusion: generative diffusion models in discrete-state spaces
    (2023).
    """

    schedule: Schedule = field(default_factory=CosineSchedule)
    space = "counts"
    learned = "thinned"

    @classmethod
    def examples(cls) -> Mapping[str, "ThinningProcess"]:
        return {"cosine": cls()}

    def example_data(self, count: int) -> Tensor:
        return (7 * even_pairs(count)).long()

    def features(self, x: Tensor) -> Tensor:
        return x.float()[..., None]

    def contains(self, x: Tensor) -> Tensor:
        return (x >= 0).flatten(1).all(1) & torch.tensor(x.dtype == torch.int64)

    def kept(self, s: Tensor | float, t: Tensor | float) -> Tensor:
        """The chance of what is there at s to be there at t."""
        here, there = (self.schedule.log_snr(float64(time)).sigmoid() for time in (s, t))
        return torch.where(here == there, 1.0, there / here)

    def transition(self, xs: Tensor, s: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Tensor:
        if not bool(self.contains(xs).all()):
            raise InputError(f"counts are whole numbers (int64), not negative; seen {xs.dtype} from {xs.min().item()}")
        return apply_mask(_binomial(xs, self.kept(s, t), seeds), mask)

    def prior(
        self,
        shape: Any,
        seeds: Seeds,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.float32,
        mask: Tensor | None = None,
    ) -> Tensor:
        return torch.zeros(len(seeds), *shape, dtype=torch.int64)

    def bridge(
        self, xt: Tensor, posterior: Any, t: Tensor, s: Tensor, seeds: Seeds, mask: Tensor | None = None
    ) -> Tensor:
        x0 = posterior.sample(seeds.at("clean"))
        start, end = self.kept(0.0, s), self.kept(0.0, t)
        back = torch.where(start == end, 0.0, (start - end) / (1 - end))
        return apply_mask(xt + _binomial(x0 - xt, back, seeds.at("bridge")), mask)

    def log_density(self, xt: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        kept = _beside(self.kept(0.0, t), x0).expand(x0.shape)
        logs = stats.binom.logpmf(xt.numpy(), x0.numpy(), kept.numpy())
        return torch.from_numpy(logs).flatten(1).sum(1)


@dataclass(frozen=True)
class ThinnedPosterior(Posterior):
    """What is lost is Poisson of the given ``rate``, beside what is still there."""

    there: Tensor
    rate: Tensor

    def sample(self, seeds: Seeds) -> Tensor:
        u = seeds.uniform(tuple(self.rate.shape[1:]))
        return self.there + torch.from_numpy(stats.poisson.ppf(u.numpy(), self.rate.detach().numpy())).long()

    def log_prob(self, x0: Tensor) -> Tensor:
        return self._each(x0).flatten(1).sum(1)

    def loss(self, x0: Tensor, mask: Tensor | None = None) -> Tensor:
        return mean_per_sample(-self._each(x0), mask)

    def _each(self, x0: Tensor) -> Tensor:
        return torch.distributions.Poisson(self.rate).log_prob((x0 - self.there).double())


class ThinnedDenoiser(LearnedDenoiser):
    """The rate at which things were lost, as a network tells it."""

    numbers = 1

    def read(self, numbers: Tensor, xt: Tensor, t: Tensor, mask: Tensor | None) -> ThinnedPosterior:
        rate = torch.nn.functional.softplus(numbers[..., 0].double()) + 1e-6
        return ThinnedPosterior(xt + rate, xt, rate)


def _binomial(count: Tensor, chance: Tensor, seeds: Seeds) -> Tensor:
    u = seeds.uniform(tuple(count.shape[1:]))
    drawn = stats.binom.ppf(u.numpy(), count.numpy(), _beside(chance, count).expand(count.shape).numpy())
    return torch.from_numpy(drawn).long()


def _beside(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim)) if values.ndim else values

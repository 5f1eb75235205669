r"""A network that draws in one pass: noise and conditions in, a sample out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, batch_size, mean_per_sample
from unstir.denoisers.learned.network import NetworkDenoiser, centre_of
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes.base import Process
from unstir.processes.bridge import BridgeProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.heavy_tailed import HeavyTailedProcess

__all__ = ["OnePassDenoiser"]

SCORES = ("crps", "energy", "both")
_AT_NOISE = 1e-9  # of time: as near to 1 as a grid's rounding leaves it


@dataclass(frozen=True)
class EnsemblePosterior(PointPosterior):
    r"""Draws of a generator, ``members`` of each sample one after the other, and the score that teaches it.

    With the members :math:`x_1, \ldots, x_M` and the truth y, the fair score of a distance d is
    :math:`\frac1M\sum_m d(x_m, y) - \frac{1}{2M(M-1)}\sum_{m\ne m'} d(x_m, x_{m'})`: its mean is least where the
    members' law is that of y, whatever their number. For ``crps`` d is the distance of one element, and the score is
    averaged over the elements; for ``energy`` it is the root mean square over all of them. ``both`` takes the share
    ``mixed`` of the second, and the rest of the first. A single member is a forecast without spread: d(x, y) alone.

    Reference: Gneiting, Raftery, Strictly proper scoring rules, prediction, and estimation (2007), sections 4.2 and
    4.3; Ferro, Fair scores for ensemble forecasts (2014), for M(M-1).
    """

    score: str = "both"
    mixed: float = 0.5

    def loss(self, x0: Tensor, mask: Tensor | None = None) -> Tensor:
        """The fair score of the members against ``x0`` (batch, ...), in the data's units, shape (batch,)."""
        members = self.mean.unflatten(0, (len(x0), -1))
        away = members - x0[:, None]
        share = {"crps": 0.0, "energy": 1.0, "both": self.mixed}[self.score]
        total = self.mean.new_zeros(len(x0))
        if share < 1:
            total = total + (1 - share) * mean_per_sample(away.abs().mean(1) - _apart(members, Tensor.abs) / 2, mask)
        if share > 0:

            def length(vectors: Tensor) -> Tensor:
                return _length(vectors, mask)

            total = total + share * (length(away).mean(1) - _apart(members, length) / 2)
        return total


class OnePassDenoiser(NetworkDenoiser):
    r"""A generator: one call of the network takes noise and conditions to a draw, :math:`x = c + \sigma_d F(z, \cdot)`.

    z is the process's prior, brought to unit deviation (of Student's noise: to its unit scale), and c the condition
    named by ``around``, zero where there is none. As a belief about the clean data it is one draw, at time 1 and only
    there: one ancestral step returns it as it is, and any other time is an InputError. So is a process with other than
    Gaussian or Student noise.

    It is taught by proper scores instead of a squared error: training shows ``members`` noises of each sample beside
    each other, and the fair CRPS of their draws, the fair energy score, or a mixture of ``both`` is least where they
    have the law of the data given the conditions (``share`` is that of the energy score in it). The CRPS is one of each
    element's own law: it sees marginals, and elements that it leaves independent, or hang together as the network
    pleases, are the same to it. The energy score sees how they hang together, though faintly in many dimensions. Every
    sample weighs alike: the recipe's weighting and noise levels do not matter here.

    Reference: Lang et al., AIFS-CRPS: ensemble forecasting using a model trained with a loss function based on the
    continuous ranked probability score (2024); Alet et al., Skillful joint probabilistic weather forecasting from
    marginals (2025); Pacchiardi, Adewoyin, Dueben, Dutta, Probabilistic forecasting with generative networks via
    scoring rule minimization (2024); Gneiting, Raftery, Strictly proper scoring rules (2007).
    """

    instead_of = ("network",)
    at_noise_only = True

    def __init__(
        self,
        network: nn.Module | None,
        process: Process,
        sigma_data: float = 1.0,
        score: str = "both",
        members: int = 4,
        share: float = 0.5,
        around: str | None = None,
    ) -> None:
        if isinstance(process, BridgeProcess) or process.learned != "network":
            raise InputError(
                f"a one-pass generator starts from Gaussian or Student noise; {type(process).__name__} has none: take "
                "the process gaussian or heavy-tailed, or the process's own denoiser"
            )
        super().__init__(network, process, "edm", sigma_data, around=around)
        if score not in SCORES:
            raise unknown("score that teaches a one-pass generator", score, SCORES)
        if isinstance(members, bool) or not isinstance(members, int) or members < 2:
            raise InputError(f"a fair score compares at least 2 members; seen members: {members!r}")
        if not 0 < share < 1:
            raise InputError(f"share, of the energy score in `both`, lies between 0 and 1; seen {share!r}")
        self.score, self.members, self.share = score, members, float(share)

    @classmethod
    def examples(cls) -> Mapping[str, "OnePassDenoiser"]:
        """Members whose claims are measured: each score, and both kinds of noise."""
        return {
            "crps": cls(None, GaussianProcess(), 1.5, "crps"),
            "energy": cls(None, GaussianProcess(), 1.5, "energy", members=2),
            "both, Student noise": cls(None, HeavyTailedProcess(), 1.5, members=5),
        }

    def loss_weight(self, t: Tensor) -> Tensor:
        """1/sigma_data, in which units the scores are about one."""
        return torch.full_like(t, 1 / self.sigma_data)

    def training_times(self, t: Tensor, seeds: Seeds) -> Tensor:
        """Time 1, for all."""
        return torch.ones_like(t)

    def training_state(self, x0: Tensor, t: Any, seeds: Seeds, mask: Tensor | None = None, **told: Tensor) -> Tensor:
        """The prior, as sampling has it: nothing of ``x0`` is left in it, whatever the schedule's end."""
        seeds = seeds.to(x0.device)
        return self.process.prior(tuple(x0.shape[1:]), seeds, 1.0, x0.dtype, mask)

    def inputs(self, xt: Tensor, t: Tensor) -> Tensor:
        """The prior's noise, of unit scale."""
        return xt / self.process.schedule.sigma(1.0).to(xt)

    def beginning(self, noise: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """The noise as it is: the network was shown no other."""
        return noise

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> EnsemblePosterior:
        """The draw that the network makes of this noise."""
        if self.network is None:
            raise InputError("this OnePassDenoiser has no network yet")
        times = torch.as_tensor(t, dtype=torch.float64, device=xt.device).expand(batch_size(xt))
        if bool(((times - 1).abs() > _AT_NOISE).any()):
            raise InputError(
                "a one-pass generator goes from noise, at time 1, to data in one step, and is asked at no other time; "
                f"seen {float(times.min()):.4g}: sample with the sampler ancestral, the grid uniform and 1 step"
            )
        centre = condition.pop(self.around, None) if self.around else None
        mask = condition.get("mask")
        told, level, times = self.told(xt, times)
        belief = self.believe(self.network(told, level, drop, **condition), xt, times, mask)
        assert isinstance(belief, EnsemblePosterior)
        if centre is None:
            return belief
        return replace(belief, mean=belief.mean + apply_mask(centre_of(centre, xt, str(self.around)), mask))

    def _belief(
        self, output: Tensor, told: Tensor | None, xt: Tensor, t: Tensor, mask: Tensor | None
    ) -> EnsemblePosterior:
        return EnsemblePosterior(apply_mask(self.sigma_data * output, mask), self.score, self.share)


def _apart(members: Tensor, distance: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean distance between two different members of each sample, (batch, ...); zero for a single one."""
    count, total = members.shape[1], members.new_zeros(())
    for shift in range(1, count // 2 + 1):
        # going round, every pair is met twice but for those just opposite, which stand there twice already
        once = 1 if 2 * shift == count else 2
        total = total + once * distance(members - members.roll(shift, 1)).sum(1)
    return total / max(1, count * (count - 1))


def _length(vectors: Tensor, mask: Tensor | None) -> Tensor:
    """The root mean square over the elements of vectors (batch, members, ...), of those where ``mask`` is True."""
    batch, count = vectors.shape[:2]
    every = None if mask is None else mask.repeat_interleave(count, 0)
    squares = mean_per_sample(vectors.flatten(0, 1).square(), every).unflatten(0, (batch, count))
    # of equal vectors the root has no slope, and its gradient would be no number
    return torch.where(squares > 0, torch.where(squares > 0, squares, 1.0).sqrt(), 0.0)

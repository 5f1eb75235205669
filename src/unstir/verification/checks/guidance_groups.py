"""Claims of guides that work on several samples at once: diversity and fairness."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from unstir.denoisers.variances import linear_variance
from unstir.exact.mixture import MixtureDenoiser
from unstir.metrics.base import SampleSet
from unstir.metrics.fairness import demographic_parity_gap, equalised_odds_gap
from unstir.metrics.sliced_wasserstein import SlicedWasserstein
from unstir.processes.gaussian import GaussianProcess
from unstir.samplers.base import sample
from unstir.samplers.exponential import ddim
from unstir.verification.base import Curve, Effort, Measured, Plot, claim
from unstir.verification.statistics import at_most, probable

__all__ = [
    "fairness_closes_the_gap",
    "groups_spread_over_the_modes",
    "shifts_are_the_energies_slopes",
]

_HALF = torch.tensor(0.5, dtype=torch.float64)
_STEP = 1e-5


def two_blobs() -> MixtureDenoiser:
    """Two modes of the same weight, far apart."""
    return MixtureDenoiser([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [0.04, 0.04], GaussianProcess())


def biased(weights: Sequence[float] = (0.35, 0.15, 0.2, 0.3)) -> MixtureDenoiser:
    """Merit to the right, group above or below; of the group above more have merit, and get a yes."""
    corners = [[0.8, 0.9], [-0.8, 0.9], [0.8, -0.9], [-0.8, -0.9]]
    return MixtureDenoiser(weights, corners, [0.09] * 4, GaussianProcess())


def accepted(x0: Tensor, favour: float = 0.0) -> Tensor:
    """The chance of a yes: by merit, and as the case may be more for the group above."""
    return (4 * x0[:, 0] + favour * x0[:, 1]).sigmoid()


def favoured(x0: Tensor) -> Tensor:
    """Two with the same merit are not judged alike."""
    return accepted(x0, 1.5)


def group(x0: Tensor) -> Tensor:
    """0 below, 1 above."""
    return (x0[:, 1] > 0).long()


def merit(x0: Tensor) -> Tensor:
    """Whether a yes is deserved."""
    return (x0[:, 0] > 0).to(x0.dtype)


def _kernel(x0: Tensor, rows: int) -> Tensor:
    apart = torch.cdist(x0.reshape(-1, rows, 2), x0.reshape(-1, rows, 2)).square()
    return torch.exp(-apart / 4)  # a bandwidth of the root of two


def _repulsion(x0: Tensor, rows: int) -> Tensor:
    kernel = _kernel(x0, rows)
    return torch.stack([kernel[:, i, j] for i in range(rows) for j in range(i)]).sum(0)


def _determinant(x0: Tensor, rows: int) -> Tensor:
    return -torch.linalg.det(_kernel(x0, rows) + 1e-3 * torch.eye(rows, dtype=x0.dtype)).log()


def _parity(x0: Tensor, rows: int) -> Tensor:
    gaps = [demographic_parity_gap(accepted(part), group(part)) for part in x0.split(rows)]
    return rows * torch.stack(gaps).square()


ENERGIES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "ParticleRepulsion": _repulsion,
    "DeterminantalGuidance": _determinant,
    "FairnessGuidance": _parity,
}


def _name(guide: type) -> str:
    return next(kind.__name__ for kind in guide.__mro__ if kind.__name__ in ENERGIES)


@claim("guidance", "particle-repulsion", "determinantal", "fairness")
def shifts_are_the_energies_slopes(guide: type, effort: Effort) -> Iterator[Measured]:
    """The means move down the slope of the group's energy, as finite differences of an independent formula tell it."""
    rows, w, law = 4, 0.7, biased()
    made: Any = (
        guide(law, accepted, group, strength=w, rows=rows, through=False, deviation=0.9)
        if _name(guide) == "FairnessGuidance"
        else guide(law, w, rows=rows, bandwidth=math.sqrt(2), deviation=0.9)
    )
    above = torch.tensor([1, 0, 1, 0, 0, 1, 1, 0], dtype=torch.float64)
    xt = law.draw(effort.seeds(8, "slopes"), 0.5)
    xt[:, 1] = (2 * above - 1) * (xt[:, 1].abs() + 0.3)  # two of each group in each four
    plain, energy = law(xt, _HALF).mean, ENERGIES[_name(guide)]
    slopes = torch.zeros_like(plain)
    for place in np.ndindex(*plain.shape):
        moved = torch.zeros_like(plain)
        moved[place] = _STEP
        slopes[place] = (energy(plain + moved, rows).sum() - energy(plain - moved, rows).sum()) / (2 * _STEP)
    wanted = plain - w * linear_variance(law.process.schedule.log_snr(_HALF), 0.9) * slopes
    yield Measured("size of the shift", float((wanted - plain).abs().max()), low=1e-3)
    yield at_most("largest error of a mean", (made(xt, _HALF).mean - wanted).abs().max(), 1e-8)


@claim("guidance", "particle-repulsion", "determinantal")
def groups_spread_over_the_modes(guide: type, effort: Effort) -> Iterator[Measured]:
    """Of two samples from two even modes, both are in one mode more rarely than by chance, and each mode as frequent.

    A group's first sample is in either mode with equal chances, by symmetry; both in the same with 1/2 if they know
    nothing of one another.
    """
    pairs, shares = effort.of(300, 3_000), []
    strengths = (0.0, 2.0, 6.0)
    for strength in strengths:
        made = guide(two_blobs(), strength, rows=2)
        drawn = sample(
            made,
            ddim(),
            (2,),
            2 * pairs,
            steps=effort.of(15, 40),
            seed=effort.seed,
            batch=2 * pairs,
            dtype=torch.float64,
        )
        right = (drawn[:, 0] > 0).reshape(pairs, 2)
        together = int((right[:, 0] == right[:, 1]).sum())
        shares.append(together / pairs)
        first = int(right[:, 0].sum())
        yield probable(
            f"strength {strength:g}: the first of a pair on the right",
            stats.binomtest(first, pairs).pvalue,
            f"{first} of {pairs}",
        )
        if strength == 0:
            yield probable("strength 0: both in one mode", stats.binomtest(together, pairs).pvalue, f"{shares[0]:.3f}")
    chance = float(stats.binom(pairs, 0.5).ppf(1e-7)) / pairs
    plot = Plot("Pairs of samples in one mode", "strength", "share", (Curve("guided", strengths, shares),))
    yield at_most("share of pairs in one mode at the largest strength", shares[-1], chance, plot=plot)


@claim("guidance", "fairness")
def fairness_closes_the_gap(guide: type, effort: Effort) -> Iterator[Measured]:
    """The gap between two groups' decisions falls with the strength, by four fifths and more, for both kinds of gap.

    At parity the samples come nearer to the reference, the law whose cells of group and merit are weighted to be fair.
    """
    count, rows = effort.of(1_024, 4_096), 128
    law, distance = biased(), SlicedWasserstein(32)
    fair = SampleSet(biased([0.275, 0.225, 0.275, 0.225]).draw(effort.seeds(count, "fair")))
    for gap, decision, strengths, options in (
        ("demographic-parity", accepted, (0.0, 0.5, 1.0, 2.5), {}),
        ("equalised-odds", favoured, (0.0, 1.0, 4.0, 8.0), {"outcome": merit}),
    ):
        gaps, sizes, away = [], [], []
        for strength in strengths:
            made = guide(law, decision, group, gap, strength, rows=rows, deviation=0.85, **options)
            drawn = sample(
                made, ddim(), (2,), count, steps=effort.of(15, 30), seed=effort.seed, batch=count, dtype=torch.float64
            )
            told, parted = decision(drawn), group(drawn)
            left = equalised_odds_gap(told, parted, merit(drawn)) if options else demographic_parity_gap(told, parted)
            gaps.append(float(left))
            sizes.append(float(parted.double().mean()))
            away.append(distance.measure(SampleSet(drawn), fair, effort.seeds(1, "fair")).value)
        plot = Plot(
            f"{gap}: gap, and distance to the fair reference",
            "strength",
            "gap; sliced Wasserstein distance",
            (Curve("gap", strengths, gaps), Curve("distance", strengths, away)),
        )
        yield Measured(f"{gap}: gap at strength 0", gaps[0], low=0.1)
        yield at_most(f"{gap}: gap at the largest strength, of what it was", gaps[-1] / gaps[0], 0.2, plot=plot)
        yield at_most(f"{gap}: shift of the groups' sizes", abs(sizes[-1] - sizes[0]), 0.06)
        if not options:
            yield at_most(f"{gap}: distance to the fair reference, of what it was", away[-1] / away[0], 0.85)

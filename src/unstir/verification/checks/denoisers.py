r"""What a learned denoiser should share with the exact one, measured on data that it was not told of.

All of it is asked in y = x/alpha at the noise-to-signal ratio r = sigma/alpha, where no schedule appears:
:math:`y = x_0 + r\epsilon`, the score is :math:`s = (D - y)/r^2`, and the density follows the heat equation.
A network meets these claims only as well as it has learned, and the figures are there to be compared between runs:
the bounds are wide conventions, told with each, and widened by five standard errors.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from unstir.core.seeds import Seeds
from unstir.core.state import take
from unstir.denoisers.base import Denoiser
from unstir.verification.base import Curve, Effort, Measured, NotMeasured, Plot, claim
from unstir.verification.statistics import at_most

__all__ = [
    "conservative_score",
    "error_as_foretold",
    "heat_equation_of_the_score",
    "same_in_any_batch",
    "sampled_alone_and_together",
    "unbiased_denoising",
]

LEVELS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # noise in units of the data's deviation
_ELEMENTS = 2**15  # of a batch, at least 32 rows of which are taken at once
_SIGMAS = 5.0
_FALSE_ALARM = 6e-7  # of five standard errors, for each level


Known: TypeAlias = Mapping[str, Tensor]
Measure: TypeAlias = Callable[[Tensor, Tensor, float, Known, Seeds], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Trained:
    """A denoiser on Euclidean states, and clean data with its conditions that it is to be measured on.

    ``draw(seeds)`` gives samples of the numbers asked for, if the denoiser is to be asked for any.
    """

    denoiser: Denoiser
    clean: Tensor
    condition: Mapping[str, Tensor] = field(default_factory=dict)
    draw: Callable[[Seeds], Any] | None = None

    @property
    def deviation(self) -> float:
        """The standard deviation over all elements of the data."""
        return float(self.clean.double().std())

    def levels(self) -> list[float]:
        """The noise-to-signal ratios that are measured, as far as the schedule reaches them."""
        schedule = self.denoiser.process.schedule
        ratios = [level * self.deviation for level in LEVELS]
        return [ratio for ratio in ratios if 0 < float(schedule.time_at_sigma(ratio * 1.05)) < 1]

    def affordable(self, effort: Effort, least: int) -> int:
        """``least`` rows in full effort, a quarter in quick; more of small states, whose single rows tell less."""
        return max(effort.of(least // 4, least), min(2048, effort.of(2**12, 2**14) // self.clean[0].numel()))

    def rows(self, count: int, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """So many rows of the data, drawn without replacement, with their conditions, in float64."""
        order = np.random.default_rng(seed).permutation(len(self.clean))[:count]
        chosen = torch.as_tensor(np.sort(order), device=self.clean.device)
        return self.clean[chosen].double(), {name: take(values, chosen) for name, values in self.condition.items()}

    def exactly(self) -> "Field":
        """The denoiser in float64, free of dropout, as a function of y and r."""
        return Field(copy.deepcopy(self.denoiser).double().eval().requires_grad_(False))


class Field:
    """E[x_0 | y] and the score as functions of y = x/alpha and r = sigma/alpha, twice differentiable."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser

    def mean(self, y: Tensor, ratio: float, condition: Mapping[str, Tensor]) -> Tensor:
        """The belief's mean."""
        schedule = self.denoiser.process.schedule
        t = schedule.time_at_sigma(ratio).to(y.device)
        return self.denoiser(schedule.alpha(t) * y, t, **condition).mean

    def score(self, y: Tensor, ratio: float, condition: Mapping[str, Tensor]) -> Tensor:
        """grad log p_r(y)."""
        return (self.mean(y, ratio, condition) - y) / ratio**2


@contextmanager
def _twice_differentiable() -> Iterator[None]:
    """Attention's fast kernels know no second derivative."""
    with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        yield


@claim("denoisers")
def unbiased_denoising(trained: Trained, effort: Effort) -> Iterator[Measured]:
    """At every noise level the data lies on average where the denoiser puts it: slope 1 of truth on estimate.

    Tweedie's formula makes E[x_0 | x_t] the regression of the data, so the residual x_0 - D is uncorrelated with D.
    Allowed is a bias of 5 %.
    """
    function, centre = trained.exactly(), trained.clean.double().mean(0)

    def products(clean: Tensor, noisy: Tensor, ratio: float, condition: Known, seeds: Seeds) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            told = function.mean(noisy, ratio, condition) - centre
        return told * (clean - centre), told.square()

    yield _by_level("slope of truth on estimate", trained, effort, 1024, products, 1.0, 0.05)


@claim("denoisers")
def error_as_foretold(trained: Trained, effort: Effort) -> Iterator[Measured]:
    """The error of denoising is the one that the denoiser's own slope foretells, at every noise level.

    The trace of Cov[x_0 | y] is r^2 tr dD/dy (Tweedie's second formula); its mean is the mean squared error.
    Allowed is a difference of 25 %. A model that has learned its training data by heart errs more than it foretells
    on data that was held out.
    """
    function = trained.exactly()

    def squares(clean: Tensor, noisy: Tensor, ratio: float, condition: Known, seeds: Seeds) -> tuple[Tensor, Tensor]:
        probe = seeds.at("probe").normal_like(clean).sign()
        with _twice_differentiable():
            noisy.requires_grad_(True)
            told = function.mean(noisy, ratio, condition)
            (slope,) = torch.autograd.grad((told * probe).sum(), noisy)
        return (told.detach() - clean).square(), ratio**2 * slope * probe

    yield _by_level("squared error, seen by foretold", trained, effort, 512, squares, 1.0, 0.25)


@claim("denoisers")
def conservative_score(trained: Trained, effort: Effort) -> Iterator[Measured]:
    """The score is nearer to a gradient than to just any field: its Jacobian is nearly symmetric.

    The squared Frobenius norm of J - J^T by that of J + J^T, J the Jacobian of the denoised state, at every noise
    level; 0 for a gradient, about 1 for any field, allowed one half. What the state itself contributes to J (the
    identity's share) is taken away first.
    """
    function = trained.exactly()

    def parts(clean: Tensor, noisy: Tensor, ratio: float, condition: Known, seeds: Seeds) -> tuple[Tensor, Tensor]:
        probe = seeds.at("probe").normal_like(clean)
        forth, back = _jacobian_products(function, noisy, ratio, condition, probe)
        identity = (forth * probe).sum() / probe.square().sum()
        return (forth - back).square(), (forth + back - 2 * identity * probe).square()

    yield _by_level("antisymmetric by symmetric part", trained, effort, 128, parts, 0.0, 0.5)


@claim("denoisers")
def heat_equation_of_the_score(trained: Trained, effort: Effort) -> Iterator[Measured]:
    """The heat equation ds/dr = r grad(div s + |s|^2) foretells how the score changes with the noise level.

    Squared residual by the squared change of the denoised state, r dD/dr: 0 where it holds, 1 where it foretells
    no more than no change at all would; networks that sample well are often near 1, since nothing in their
    training asks for the third derivatives that this contains. The divergence is estimated with two independent
    probes, whose product leaves no bias.

    Reference: Lai et al., FP-Diffusion: improving score-based diffusion models by enforcing the underlying
    score Fokker-Planck equation (2023), eq. 10, in y and r.
    """
    function, step = trained.exactly(), 1e-3

    def residuals(clean: Tensor, noisy: Tensor, ratio: float, condition: Known, seeds: Seeds) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            above, below = ratio * math.exp(step), ratio * math.exp(-step)
            upper, lower = function.mean(noisy, above, condition), function.mean(noisy, below, condition)
        change = (upper - lower) / (2 * step)  # r dD/dr
        of_score = ((upper - noisy) / above**2 - (lower - noisy) / below**2) / (2 * step)
        first, second = (
            ratio**2 * (of_score - _heating(function, noisy, ratio, condition, seeds.at(name)))
            for name in ("first", "second")
        )
        return first * second, change.square()

    yield _by_level("unexplained by explained change", trained, effort, 128, residuals, 0.0, 1.0)


@claim("denoisers")
def same_in_any_batch(trained: Trained, effort: Effort) -> Iterator[Measured]:
    """What the denoiser says of a state does not depend on the others in the batch, but for rounding."""
    clean, condition = trained.rows(effort.of(16, 64), effort.seed)
    dtype = next((parameter.dtype for parameter in trained.denoiser.parameters()), torch.float64)
    seeds = effort.seeds(len(clean), "batch").to(clean.device)
    schedule = trained.denoiser.process.schedule
    worst, denoiser = 0.0, copy.deepcopy(trained.denoiser).eval()
    for ratio in trained.levels():
        t = schedule.time_at_sigma(ratio).to(clean.device)
        noisy = (schedule.alpha(t) * (clean + ratio * seeds.normal_like(clean))).to(dtype)
        with torch.no_grad():
            together = denoiser(noisy, t, **condition).mean
            for row in range(len(clean)):
                alone = denoiser(
                    noisy[row : row + 1], t, **{name: values[row : row + 1] for name, values in condition.items()}
                ).mean
                scale = float(together[row].abs().max()) or 1.0
                worst = max(worst, float((alone[0] - together[row]).abs().max()) / scale)
    # sums of some thousand terms in another order, through some dozen layers
    yield at_most("largest difference alone or together", worst, 1e4 * torch.finfo(dtype).eps)


@claim("denoisers")
def sampled_alone_and_together(trained: Trained, effort: Effort) -> Iterator[Measured]:
    """A sample is the same to the bit alone and among others."""
    if trained.draw is None:
        raise NotMeasured("nothing was given to draw samples with", silent=True)
    numbers = torch.arange(8)
    together = trained.draw(Seeds(effort.seed, numbers))
    alone = trained.draw(Seeds(effort.seed, numbers[5:6]))
    yield at_most("largest difference", float((alone[0] - together[5]).abs().max()), 0.0)


def _jacobian_products(
    function: Field, noisy: Tensor, ratio: float, condition: Mapping[str, Tensor], probe: Tensor
) -> tuple[Tensor, Tensor]:
    """J v and J^T v of the denoised state's Jacobian; the first by differentiating the second in its own probe."""
    with _twice_differentiable():
        noisy = noisy.detach().requires_grad_(True)
        dummy = torch.zeros_like(noisy, requires_grad=True)
        told = function.mean(noisy, ratio, condition)
        (back,) = torch.autograd.grad(told, noisy, probe, retain_graph=True)
        (pulled,) = torch.autograd.grad(told, noisy, dummy, create_graph=True)
        (forth,) = torch.autograd.grad(pulled, dummy, probe)
    return forth.detach(), back.detach()


def _heating(function: Field, noisy: Tensor, ratio: float, condition: Mapping[str, Tensor], seeds: Seeds) -> Tensor:
    """r^2 grad(div s + |s|^2), the divergence by one random probe."""
    probe = seeds.normal_like(noisy).sign()
    with _twice_differentiable():
        noisy = noisy.detach().requires_grad_(True)
        score = function.score(noisy, ratio, condition)
        (pulled,) = torch.autograd.grad((score * probe).sum(), noisy, create_graph=True)
        (gradient,) = torch.autograd.grad((pulled * probe).sum() + score.square().sum(), noisy)
    return ratio**2 * gradient.detach()


def _ratio(above: Tensor, below: Tensor) -> tuple[float, float]:
    """The ratio of two means over the rows, and its standard error by linearisation."""
    ratio = above.mean() / below.mean()
    residual = above - ratio * below
    return float(ratio), float(residual.std() / math.sqrt(len(above)) / below.mean().abs())


def _by_level(
    quantity: str, trained: Trained, effort: Effort, least: int, measure: Measure, ideal: float, tolerance: float
) -> Measured:
    """A ratio of two means at every noise level: the one farthest from the ideal beyond chance, and all as a plot.

    ``measure(clean, noisy, ratio, condition, seeds)`` gives both quantities for a batch, of the state's shape;
    ``least`` is the number of rows for large states.
    """
    ratios = trained.levels()
    if not ratios:
        raise NotMeasured("the schedule reaches none of the noise levels that are measured")
    clean, condition = trained.rows(trained.affordable(effort, least), effort.seed)
    seeds = effort.seeds(len(clean), quantity).to(clean.device)
    batch = max(32, _ELEMENTS // clean[0].numel())
    values, errors = [], []
    for place, ratio in enumerate(ratios):
        pairs = []
        for start in range(0, len(clean), batch):
            rows = slice(start, start + batch)
            own = seeds[rows].at(place)
            noisy = clean[rows] + ratio * own.at("noise").normal_like(clean[rows])
            known = {name: part[rows] for name, part in condition.items()}
            pairs.append([part.flatten(1).sum(1) for part in measure(clean[rows], noisy, ratio, known, own)])
        value, error = _ratio(*(torch.cat(parts) for parts in zip(*pairs, strict=True)))
        values.append(value)
        errors.append(error)
    worst = int(np.argmax([abs(value - ideal) - _SIGMAS * error for value, error in zip(values, errors, strict=True)]))
    slack = tolerance + _SIGMAS * errors[worst]
    relative = [ratio / trained.deviation for ratio in ratios]
    curve = Curve("measured", relative, values, errors)
    exact = Curve("exact", [relative[0], relative[-1]], [ideal, ideal], dashed=True)
    plot = Plot(quantity, "noise in units of the data's deviation", quantity, (curve, exact), x_log=True)
    note = f"at noise {relative[worst]:.2g} times the data's deviation; within {tolerance:g} and chance"
    return Measured(
        quantity, values[worst], ideal - slack, ideal + slack, errors[worst], len(ratios) * _FALSE_ALARM, plot, note
    )

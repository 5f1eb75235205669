"""What bounds on the log-density and probabilities of whole numbers keep: they hold, they are tight where told, and
their standard errors are honest. Against laws in closed form and quadrature written anew in NumPy."""

import functools
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import GaussianPosterior
from unstir.likelihood.dequantisation import Cells, TruncatedNormalDequantiser, UniformDequantiser
from unstir.likelihood.flow_dequantiser import fit_dequantiser
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.linear_vp import LinearVPSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.processes.schedules.sub_vp import SubVPSchedule
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.references import IN_THE_PLANE, ON_THE_LINE, PointDenoiser
from unstir.verification.statistics import FALSE_ALARM, at_most, mean_is, order_of

__all__ = [
    "bound_converges_to_log_density",
    "bound_is_log_density",
    "bound_is_tight_for_whole_beliefs",
    "bound_tells_its_error",
    "bound_term_by_term",
    "dequantisation_bits",
    "dequantisation_of_known_law",
    "schedule_leaves_bound",
    "variational_dequantisation_is_between",
]

SCHEDULES = {
    "cosine": CosineSchedule(),
    "edm": EDMSchedule(),
    "flow": RectifiedFlowSchedule(),
    "linear-vp": LinearVPSchedule(),
    "sub-vp": SubVPSchedule(),
}
MEASURES = ("uniform-dequantisation", "truncated-normal-dequantisation", "variational-dequantisation")


@claim("likelihood", "discrete-bound")
def bound_converges_to_log_density(bound: Any, effort: Effort) -> Iterator[Measured]:
    """With a belief's mean alone it lies above -log p for any number of steps, by an excess that falls as 1/steps.

    Means over the data of an exact denoiser; what the two ends leave out is below 1e-3 nat.
    """
    count = effort.of(300, 4000)
    counts = effort.of([40, 60, 90], [64, 128, 256, 512])
    denoiser: Any = IN_THE_PLANE.denoiser(GaussianProcess())
    data = denoiser.draw(effort.seeds(count, "data"))
    exact = -denoiser.log_density(data, 0.0)
    excess = []
    for steps in [1, 4, 16, *counts]:
        seeds = effort.seeds(count, "noise", steps)
        told = bound(denoiser, data, seeds, steps, mean_only=True, log_snr=(-8, 8))
        away = (told.total - exact).numpy()
        error = float(away.std()) / math.sqrt(count)
        excess.append(float(away.mean()))
        yield Measured(f"mean excess in {steps} steps, nats", excess[-1], 0.0, uncertainty=error)
    steps_wide = [1 / steps for steps in counts]
    yield order_of("order of the excess", steps_wide, excess[3:], 1.0, effort.of(0.15, 0.1), step_name="1/steps")


@claim("likelihood", "discrete-bound")
def bound_is_tight_for_whole_beliefs(bound: Any, effort: Effort) -> Iterator[Measured]:
    """With the whole belief of an exact denoiser, or Gaussian beliefs of normal data, it is -log p in any steps."""
    count = effort.of(400, 4000)
    for name in effort.of(("cosine", "flow"), SCHEDULES):
        denoiser: Any = IN_THE_PLANE.denoiser(GaussianProcess(SCHEDULES[name]))
        data = denoiser.draw(effort.seeds(count, "data"))
        exact = -denoiser.log_density(data, 0.0)
        start = float(SCHEDULES[name].log_snr(1 - 1e-9))
        for steps in effort.of((1, 7), (1, 2, 7, 40)):
            told = bound(denoiser, data, effort.seeds(count, "noise"), steps, log_snr=(-20, 10))
            # what the noisiest level still tells: its SNR's root, times the data and the noise, within six deviations
            allowed = 40 * math.exp(max(start, -20.0) / 2)
            yield at_most(f"distance in {steps} steps, nats, {name}", (told.total - exact).abs(), allowed)
    normal = NormalBelief(0.6, 0.8, GaussianProcess())
    data = 0.6 + 0.8 * effort.seeds(count, "normal").normal((3,), torch.float64)
    exact = -torch.as_tensor(stats.norm.logpdf(data.numpy(), 0.6, 0.8)).sum(1)
    for steps in (1, 7):
        told = bound(normal, data, effort.seeds(count, "noise"), steps, draws=4, log_snr=(-20, 6))
        yield mean_is(f"normal data in {steps} steps, nats", (told.total - exact).numpy(), 0.0)


@claim("likelihood", "discrete-bound", "continuous-bound")
def bound_term_by_term(bound: Any, effort: Effort) -> Iterator[Measured]:
    """Prior, every transition and the reconstruction are those of quadrature over the noise, for given data.

    The discrete steps by Gauss and Hermite over the noise, the shares of the continuous integral by Gauss and Legendre
    over log-SNR as well.
    """
    count, ends = effort.of(2000, 20_000), (-2.0, 4.0)
    denoiser = PointDenoiser(ON_THE_LINE.denoiser(GaussianProcess()))
    for point in effort.of((-0.4,), (-1.1, -0.4, 1.7)):
        data = torch.full((count, 1), point, dtype=torch.float64)
        told = bound(denoiser, data, effort.seeds(count, "noise", str(point)), 4, draws=2, log_snr=ends)
        levels = told.log_snr.numpy()
        continuous = bound.__name__ == "continuous_bound"
        gained = [(_share if continuous else _step)(point, *pair) for pair in pairwise(levels)]
        precision = math.exp(levels[-1])
        last = math.log(2 * math.pi / precision) / 2 + precision / 2 * _error(point, levels[-1])
        yield at_most(f"first log-SNR, x_0 = {point}", abs(levels[0] - ends[0]) + abs(levels[-1] - ends[1]), 1e-9)
        prior = math.exp(ends[0]) * point**2 / 2
        yield at_most(f"error of the prior's term, x_0 = {point}", (told.prior - prior).abs(), 1e-9)
        yield mean_is(f"transitions, x_0 = {point}", told.transitions.numpy(), np.array(gained))
        yield mean_is(f"reconstruction, x_0 = {point}", told.reconstruction.numpy(), last)
        total = prior + sum(gained) + last
        yield mean_is(f"total, x_0 = {point}", told.total.numpy(), total)


@claim("likelihood", "discrete-bound", "continuous-bound")
def bound_tells_its_error(bound: Any, effort: Effort) -> Iterator[Measured]:
    """Its squared standard error is, in the mean, the variance of the bound that it tells."""
    count = effort.of(2000, 20_000)
    denoiser: Any = IN_THE_PLANE.denoiser(GaussianProcess())
    data = torch.tensor([[0.3, -0.2]], dtype=torch.float64).expand(count, 2)
    for draws in (2, 5):
        told = bound(denoiser, data, effort.seeds(count, "noise", draws), 6, draws=draws, mean_only=True)
        total = told.total.numpy()
        squares = (total - total.mean()) ** 2 * count / (count - 1)
        ratio = (told.standard_error.square().numpy() - squares) / squares.mean()
        yield mean_is(f"excess of the squared standard error, relative, {draws} draws", ratio, 0.0)


@claim("likelihood", "continuous-bound")
def bound_is_log_density(bound: Any, effort: Effort) -> Iterator[Measured]:
    """With an exact denoiser it is -log p, for given data, by any spacing of its levels."""
    count = effort.of(500, 8000)
    for name, law in {"line": ON_THE_LINE, "plane": IN_THE_PLANE}.items():
        denoiser: Any = law.denoiser(GaussianProcess())
        data = denoiser.draw(effort.seeds(count, "data"))
        exact = -denoiser.log_density(data, 0.0)
        for spacing in effort.of(("logistic",), ("logistic", "log-snr", "time")):
            seeds = effort.seeds(count, "noise", spacing)
            told = bound(denoiser, data, seeds, effort.of(16, 32), draws=2, log_snr=(-18, 13), spacing=spacing)
            yield mean_is(f"total less -log p, nats, {name}, {spacing}", (told.total - exact).numpy(), 0.0)


@claim("likelihood", "continuous-bound")
def schedule_leaves_bound(bound: Any, effort: Effort) -> Iterator[Measured]:
    """It is the same for every schedule: of the same levels to rounding, and of levels even in time in the mean."""
    count, ends = effort.of(100, 2000), (-7.0, 9.0)
    names = effort.of(["cosine", "edm", "flow"], list(SCHEDULES))
    told = {}
    for name in names:
        schedule = SCHEDULES[name]
        denoiser: Any = IN_THE_PLANE.denoiser(GaussianProcess(schedule))
        data = denoiser.draw(effort.seeds(count, "data"))
        options: dict[str, Any] = {"draws": 2, "log_snr": ends}
        same = bound(denoiser, data, effort.seeds(count, "noise"), 8, **options).total
        own = bound(denoiser, data, effort.seeds(count, "of", name), 16, spacing="time", **options).total
        told[name] = same, own
    for name in names[1:]:
        apart = (told[name][0] - told["cosine"][0]).abs()
        yield at_most(f"distance from cosine's, same levels, nats, {name}", apart, 1e-6)
        apart = (told[name][1] - told["cosine"][1]).numpy()
        yield mean_is(f"less cosine's, levels even in time, nats, {name}", apart, 0.0)


@claim("likelihood", *MEASURES)
def dequantisation_bits(estimate: Any, effort: Effort) -> Iterator[Measured]:
    """Levels that are all alike take log2 of their number in bits, wherever the denoiser sees them.

    The density is even over all cells. The truncated normal law bounds from above; its excess is its divergence from
    the even law, known in closed form.
    """
    for levels, low, high in ((256, -1.0, 1.0), (256, 0.0, 1.0), (2, -0.5, 3.0), (12, -1.7, 2.1)):
        cells = Cells(levels, low, high)
        integers = effort.seeds(effort.of(500, 4000), "levels", levels).integers(0, levels, (2, 3))
        height = -math.log(levels * cells.step)
        told, excess = _told(
            estimate, lambda x, height=height: x.new_full((len(x),), 6 * height), integers, cells, effort
        )
        away = told.bits_per_dimension.numpy() - math.log2(levels) - excess
        quantity = f"bits per dimension beyond log2 of {levels} levels in [{low:g}, {high:g}]"
        # a law that varies within the cell is known in the mean; the even one for each sample
        yield mean_is(quantity, away, 0.0) if excess > 0 else at_most(quantity, np.abs(away), 1e-9)


@claim("likelihood", *MEASURES)
def dequantisation_of_known_law(estimate: Any, effort: Effort) -> Iterator[Measured]:
    """Its exponential has the mean P(v), exact by distribution functions; its logarithm stays below, many draws near.

    P of each level of a mixture on the line is a difference of the mixture's distribution function.
    """
    count = effort.of(4000, 40_000)
    cells, integers, exact, log_density = _levels_on_the_line(count, effort)
    told, _ = _told(estimate, log_density, integers, cells, effort)
    yield mean_is("P estimated over P", np.exp(told.nats.numpy() - exact), 1.0)
    excess = told.nats.numpy() - exact
    error = float(excess.std()) / math.sqrt(count)
    yield Measured("mean log P estimated less log P, nats", float(excess.mean()), high=0.0, uncertainty=error)
    for draws in effort.of((32,), (64, 256)):
        rows = effort.of(1000, 4000)
        many, _ = _told(estimate, log_density, integers[:rows], cells, effort, draws)
        # the logarithm of a mean is too small by half its relative variance, which the single draws tell
        bias = float(np.exp(excess).var()) / (2 * draws)
        away = many.nats.numpy() - exact[:rows] + bias
        yield mean_is(f"weighted, {draws} draws: log P estimated less log P, but for its bias, nats", away, 0.0)


@claim("likelihood", "variational-dequantisation")
def variational_dequantisation_is_between(estimate: Any, effort: Effort) -> Iterator[Measured]:
    """Fitted, it raises the uniform bound towards log P and does not pass it."""
    count = effort.of(2000, 20_000)
    cells, integers, exact, log_density = _levels_on_the_line(count, effort)
    flow = fit_dequantiser(log_density, integers, cells, effort.seeds(1, "fit"), steps=effort.of(40, 400))
    seeds = effort.seeds(count, "draws")
    plain = estimate(log_density, integers, UniformDequantiser(cells), seeds).nats.numpy()
    learned = estimate(log_density, integers, flow, seeds).nats.numpy()
    for quantity, gained in (
        ("variational less uniform", learned - plain),
        ("log P less variational", exact - learned),
    ):
        error = float(gained.std()) / math.sqrt(count)
        # what is positive in the mean may fall below zero by chance: by so much once in ten million times
        low = float(stats.norm.ppf(FALSE_ALARM)) * error
        yield Measured(f"{quantity}, nats", float(gained.mean()), low, uncertainty=error, false_alarm=FALSE_ALARM)
    share = float(np.mean(exact - learned) / np.mean(exact - plain))
    yield Measured("share of the uniform bound's gap that is left", share, high=0.5)
    yield mean_is("P estimated over P", np.exp(learned - exact), 1.0)


class NormalBelief(Denoiser):
    """Normal data of this mean and deviation, element by element: the belief is Gaussian, and said to be."""

    def __init__(self, mean: float, deviation: float, process: GaussianProcess) -> None:
        super().__init__()
        self.mean, self.variance, self.process = mean, deviation**2, process

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> GaussianPosterior:
        """Mean and variance of x_0 given x_t."""
        alpha, sigma = self.process.coefficients(t, xt)
        noisy = alpha.square() * self.variance + sigma.square()
        mean = self.mean + alpha * self.variance / noisy * (xt - alpha * self.mean)
        return GaussianPosterior(mean, (self.variance * sigma.square() / noisy).expand(xt.shape))


@functools.cache
def _hermite(places: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.hermite_e.hermegauss(places)


def _error(point: float, log_snr: float, places: int = 200) -> float:
    """E|x_0 - E[x_0|x_t]|^2 over the noise, for a given x_0, of the mixture on the line; in y = x_0 + r eps."""
    nodes, weights = _hermite(places)
    r = math.exp(-log_snr / 2)
    y = point + r * nodes
    mean = y + r**2 * ON_THE_LINE.score(y[:, None], r)[:, 0]
    return float(weights @ (point - mean) ** 2 / math.sqrt(2 * math.pi))


def _step(point: float, here: float, there: float) -> float:
    return (math.exp(there) - math.exp(here)) / 2 * _error(point, here)


def _share(point: float, here: float, there: float) -> float:
    nodes, weights = np.polynomial.legendre.leggauss(40)
    levels = here + (there - here) * (nodes + 1) / 2
    return float(
        (there - here) / 4 * sum(w * math.exp(v) * _error(point, v) for w, v in zip(weights, levels, strict=True))
    )


def _levels_on_the_line(count: int, effort: Effort) -> tuple[Cells, Tensor, np.ndarray, Callable[[Tensor], Tensor]]:
    """Draws of the mixture on the line in cells about as wide as its narrower part, and their exact log P."""
    cells = Cells(24, -2.4, 3.5)
    denoiser: Any = ON_THE_LINE.denoiser(GaussianProcess())
    integers = cells.decode(denoiser.draw(effort.seeds(count, "data")))
    edges = cells.low + cells.step * (np.arange(cells.levels + 1) - 0.5)
    chances = np.diff(ON_THE_LINE.cdf(edges))
    return cells, integers, np.log(chances[integers[:, 0].numpy()]), lambda x: denoiser.log_density(x, 0.0)


def _told(
    estimate: Any, log_density: Any, integers: Tensor, cells: Cells, effort: Effort, draws: int = 1
) -> tuple[Any, float]:
    """The estimate, each in its own way of being called, and its excess over log2 of the levels if all are alike."""
    seeds: Seeds = effort.seeds(len(integers), "draws", draws)
    options: dict[str, Any] = {"draws": draws, "weighted": draws > 1}
    if estimate.__name__ == "variational_dequantisation":
        return estimate(
            log_density, integers, TruncatedNormalDequantiser(cells, cells.step / 2), seeds, **options
        ), _excess()
    if estimate.__name__ == "truncated_normal_dequantisation":
        return estimate(log_density, integers, cells, cells.step / 2, seeds, **options), _excess()
    return estimate(log_density, integers, cells, seeds, **options), 0.0


def _excess() -> float:
    """The divergence in bits of a normal law cut off at one deviation from the even law on the same cell."""
    law = stats.truncnorm(-1, 1)
    return float(math.log(2) - law.entropy()) / math.log(2)

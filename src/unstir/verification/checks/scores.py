"""Proper scores: closed forms, the same mean for any number of members, and the best mean for the true law."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most, mean_is

__all__ = [
    "scores_brier",
    "scores_brier_fair",
    "scores_brier_parts",
    "scores_fair_crps",
    "scores_fair_energy",
    "scores_fair_variogram",
    "scores_missing",
    "scores_proper",
    "scores_quantiles",
    "scores_roc",
    "scores_spread",
    "scores_step_function",
]

MEMBERS = (2, 5, 50)
_SURE = 5.0  # standard errors by which the true law must win: it does so by many more


def _normal(effort: Effort, purpose: str, count: int, *shape: int) -> Tensor:
    return effort.seeds(count, "scores", purpose).normal(shape, torch.float64)


def crps_of_normal(observed: Any, mean: float, deviation: float) -> np.ndarray:
    """Gneiting, Raftery, Westveld, Goldman (2005), eq. 5."""
    z = (np.asarray(observed) - mean) / deviation
    return np.asarray(deviation * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi)))


@claim("scores", "crps")
def scores_fair_crps(score: Callable[..., Tensor], effort: Effort) -> Iterator[Measured]:
    """The mean over ensembles of a normal law is the closed form of that law, however few members there are."""
    count = effort.of(2000, 20_000)
    for members in MEMBERS:
        ensemble = 1.0 + 2.0 * _normal(effort, f"crps {members}", count, members, 2)
        observed = torch.tensor([0.3, 4.0], dtype=torch.float64).expand(count, 2)
        expected = crps_of_normal(observed[0], 1.0, 2.0)
        yield mean_is(f"mean of {members} members' scores", score(ensemble, observed).numpy(), expected)


@claim("scores", "crps", "threshold-weighted-crps")
def scores_step_function(score: Callable[..., Tensor], effort: Effort) -> Iterator[Measured]:
    """Of an ensemble as a step function it is the integral over the thresholds, ties among the members or not."""
    weighted = score.__name__ == "threshold_weighted_crps"
    bounds = [(-math.inf, math.inf), (0.5, math.inf), (-1.0, 0.7)] if weighted else [(-math.inf, math.inf)]
    for low, high in bounds:
        for name, digits in (("distinct", 12), ("with ties", 0)):
            ensemble = _normal(effort, f"step {name}", 40, 7).mul(2).round(decimals=digits)
            observed = _normal(effort, f"observed {name}", 40).mul(2).round(decimals=digits)
            told = (
                score(ensemble, observed, low, high, fair=False) if weighted else score(ensemble, observed, fair=False)
            )
            integrals = [_integral(*each, low, high) for each in zip(ensemble.numpy(), observed.numpy(), strict=True)]
            yield at_most(f"error from {low:g} to {high:g}, {name}", np.abs(told.numpy() - integrals), 1e-12)


def _integral(members: np.ndarray, observed: float, low: float, high: float) -> float:
    places = np.unique(np.concatenate((members, [observed])))
    places = np.concatenate(([max(low, places[0])], places[(places > low) & (places < high)], [min(high, places[-1])]))
    middles, widths = (places[1:] + places[:-1]) / 2, np.diff(places).clip(min=0)
    steps = (members[:, None] <= middles).mean(0) - (observed <= middles)
    return float((steps**2 * widths).sum())


@claim("scores", "energy-score")
def scores_fair_energy(score: Callable[..., Tensor], effort: Effort) -> Iterator[Measured]:
    r"""Of the true normal law its mean is Gamma((d+1)/2)/Gamma(d/2), however few members; of one number it is CRPS."""
    count, width = effort.of(2000, 20_000), 3
    expected = math.gamma((width + 1) / 2) / math.gamma(width / 2)
    for members in MEMBERS:
        ensemble = _normal(effort, f"energy {members}", count, members, width)
        observed = _normal(effort, f"energy observed {members}", count, width)
        yield mean_is(f"mean of {members} members' scores", score(ensemble, observed).numpy(), expected)
    ensemble, observed = _normal(effort, "one number", 20, 9, 1), _normal(effort, "one observed", 20, 1)
    steps = [
        _integral(*each, -math.inf, math.inf)
        for each in zip(ensemble[..., 0].numpy(), observed[:, 0].numpy(), strict=True)
    ]
    yield at_most("error of one number", np.abs(score(ensemble, observed, fair=False).numpy() - steps), 1e-12)
    weights = torch.tensor([2.0, 0.0, 1.0], dtype=torch.float64)
    ensemble, observed = _normal(effort, "weighted", 20, 6, 3), _normal(effort, "weighted observed", 20, 3)
    twice = torch.tensor([0, 0, 2])  # a weight of two is the number told twice
    difference = score(ensemble, observed, weights=weights) - score(ensemble[..., twice], observed[..., twice])
    yield at_most("a weight of two, against the number twice", difference.abs(), 1e-12)


@claim("scores", "variogram-score")
def scores_fair_variogram(score: Callable[..., Tensor], effort: Effort) -> Iterator[Measured]:
    r"""The mean over ensembles of a normal law is that of its own variogram, whatever the members.

    Of d independent normals of deviation s: :math:`E|X_i-X_j|^p=(2s)^p\Gamma(\frac{p+1}2)/\sqrt\pi`.
    """
    count, width, deviation = effort.of(2000, 20_000), 3, 1.5
    observed = torch.tensor([0.2, -1.0, 2.5], dtype=torch.float64)
    gaps = (observed[:, None] - observed).abs()
    for order in (0.5, 1.0):
        own = (2 * deviation) ** order * math.gamma((order + 1) / 2) / math.sqrt(math.pi)
        off = 1 - torch.eye(width, dtype=torch.float64)
        expected = float(((gaps**order - own).square() * off).sum())
        for members in MEMBERS:
            ensemble = deviation * _normal(effort, f"variogram {order} {members}", count, members, width)
            values = score(ensemble, observed.expand(count, width), order).numpy()
            yield mean_is(f"mean of {members} members' scores, order {order:g}", values, expected)


@claim("scores", "crps", "threshold-weighted-crps", "energy-score", "variogram-score", "brier-fair", "quantile-score")
def scores_proper(score: Callable[..., Tensor], effort: Effort) -> Iterator[Measured]:
    """The true law has a better mean than one that is sharper, wider or shifted, or (variogram) tied otherwise."""
    count, members = effort.of(4000, 20_000), 10
    name = score.__name__
    tie = math.sqrt(0.7) if name == "variogram_score" else 0.0
    width = 3 if name in ("variogram_score", "energy_score") else 1

    def drawn(purpose: str, rows: tuple[int, ...], shared: float) -> Tensor:
        own, common = (
            _normal(effort, purpose, count, *rows, width),
            _normal(effort, f"{purpose} shared", count, *rows, 1),
        )
        return math.sqrt(1 - shared**2) * own + shared * common

    observed, ensemble = drawn("truth", (), tie), drawn("members", (members,), tie)
    rivals = {"sharper": 0.4 * ensemble, "wider": 2.5 * ensemble}
    if name == "variogram_score":
        rivals["not tied"] = drawn("members", (members,), 0.0)
    else:
        rivals["shifted"] = ensemble + 0.8

    def scored(each: Tensor) -> Tensor:
        if name in ("energy_score", "variogram_score"):
            return score(each, observed)
        if name == "brier_fair":
            return score((each[..., 0] > 0.7).double(), (observed[:, 0] > 0.7).double())
        if name == "threshold_weighted_crps":
            return score(each[..., 0], observed[:, 0], low=0.7)
        if name == "quantile_score":
            shift, scale = float(each.mean().round(decimals=1)), float(each.std().round(decimals=1))
            return score(torch.full((count,), shift + scale * float(stats.norm.ppf(0.8))).double(), observed[:, 0], 0.8)
        return score(each[..., 0], observed[:, 0])

    best = scored(ensemble)
    for rival, values in rivals.items():
        loss = scored(values) - best
        away = float(loss.mean() / loss.std()) * math.sqrt(count)
        yield Measured(f"how much worse {rival}, in standard errors", away, _SURE)


@claim("scores", "quantile-score")
def scores_quantiles(score: Callable[..., Tensor], effort: Effort) -> Iterator[Measured]:
    """Over all levels its mean for a normal law's quantiles is the closed form of the law's CRPS."""
    levels = (np.arange(20_000) + 0.5) / 20_000
    quantiles = torch.from_numpy(stats.norm.ppf(levels))
    for observed in (-2.0, 0.1, 1.4):
        values = [
            float(score(quantile[None], torch.tensor([observed]), float(level))[0])
            for quantile, level in zip(quantiles[::20], levels[::20], strict=True)
        ]
        yield at_most(f"error at {observed:g}", abs(np.mean(values) - float(crps_of_normal(observed, 0.0, 1.0))), 0.01)


@claim("scores", "crps", "threshold-weighted-crps", "energy-score", "variogram-score", "brier-fair")
def scores_missing(score: Callable[..., Tensor], effort: Effort) -> Iterator[Measured]:
    """Where the observation is missing the score is missing, and no other score is touched."""
    joint = score.__name__ in ("energy_score", "variogram_score")
    ensemble, observed = _normal(effort, "missing", 6, 4, 3), _normal(effort, "missing observed", 6, 3)
    if score.__name__ == "brier_fair":
        ensemble, observed = (ensemble > 0).double(), (observed > 0).double()
    whole = score(ensemble, observed)
    observed[2, 1] = torch.nan
    holed = score(ensemble, observed)
    wanted = torch.zeros_like(holed, dtype=torch.bool)
    wanted[2 if joint else (2, 1)] = True
    yield at_most("scores that are missing and should not be, or the other way", (holed.isnan() != wanted).sum(), 0)
    yield at_most("change of the others", (holed - whole)[~wanted].abs(), 0.0)


@claim("scores", "brier")
def scores_brier(score: Callable[..., Tensor], effort: Effort) -> Iterator[Measured]:
    """Its mean for an event of probability q is q (1 - q) + (p - q)^2, least for p = q."""
    p, q = torch.meshgrid(*(torch.linspace(0, 1, 41, dtype=torch.float64),) * 2, indexing="ij")
    mean = q * score(p, torch.ones_like(p)) + (1 - q) * score(p, torch.zeros_like(p))
    yield at_most("error", (mean - q * (1 - q) - (p - q).square()).abs(), 1e-14)


@claim("scores", "brier-fair")
def scores_brier_fair(score: Callable[..., Tensor], effort: Effort) -> Iterator[Measured]:
    """Over binomial ensembles its mean is the Brier score of their probability, however few members there are."""
    for members in MEMBERS:
        hits = torch.ones(members + 1, members, dtype=torch.float64).tril(-1)  # k members of M have it
        for event in (0.0, 1.0):
            values = score(hits, torch.full((members + 1,), event).double()).numpy()
            for p in (0.1, 0.5, 0.93):
                mean = float(stats.binom.pmf(np.arange(members + 1), members, p) @ values)
                yield at_most(
                    f"error, {members} members, p = {p:g}, event {event:g}", abs(mean - (p - event) ** 2), 1e-12
                )


@claim("scores", "brier-decomposition")
def scores_brier_parts(score: Callable[..., Any], effort: Effort) -> Iterator[Measured]:
    """The parts add up to the score, and the corrected reliability of right probabilities is zero in the mean."""
    count, repeats = 60, effort.of(300, 3000)
    for bins in (1, 3, 10):
        for corrected in (True, False):
            p = effort.seeds(count, "parts", bins).uniform()
            event = (effort.seeds(count, "parts events").uniform() < p**2).double()
            found = score(p, event, bins, corrected)
            total = found.reliability - found.resolution + found.uncertainty + found.within
            wanted = float((p - event).square().mean())
            told = f"{bins} bins, {'corrected' if corrected else 'plain'}"
            yield at_most(f"error of score and sum, {told}", max(abs(found.score - wanted), abs(total - wanted)), 1e-14)
    p = torch.tensor([0.1, 0.3, 0.5, 0.9], dtype=torch.float64).repeat_interleave(15)
    toss = effort.seeds(repeats, "calibrated").uniform((len(p),))
    values = [score(p, event).reliability for event in (toss < p).double()]
    yield mean_is(f"corrected reliability, {len(p)} forecasts", values, 0.0)


@claim("scores", "roc")
def scores_roc(score: Callable[..., Any], effort: Effort) -> Iterator[Measured]:
    """Its area is the share of pairs told rightly, ties half; its points are the warnings' own rates."""
    for name, digits in (("distinct", 12), ("with ties", 1)):
        forecast = effort.seeds(80, "roc", name).uniform().round(decimals=digits)
        event = (effort.seeds(80, "roc events", name).uniform() < forecast).double()
        curve = score(forecast, event)
        yes, no = forecast[event == 1], forecast[event == 0]
        pairs = (yes[:, None] > no).double() + 0.5 * (yes[:, None] == no).double()
        yield at_most(f"error of the area, {name}", abs(curve.area - float(pairs.mean())), 1e-13)
        warned = forecast >= curve.thresholds[:, None]
        hits, alarms = (warned[:, event == which].double().mean(1) for which in (1, 0))
        wrong = torch.maximum((hits - curve.hits).abs(), (alarms - curve.false_alarms).abs())
        yield at_most(f"error of the points, {name}", wrong, 1e-13)


@claim("scores", "spread-skill")
def scores_spread(score: Callable[..., Any], effort: Effort) -> Iterator[Measured]:
    """An ensemble that the observation could be of has as much spread as error, however few members there are."""
    count = effort.of(4000, 40_000)
    for members in MEMBERS:
        ensemble, observed = (
            _normal(effort, f"spread {members}", count, members),
            _normal(effort, "spread truth", count),
        )
        right, sharp = score(ensemble, observed), score(0.5 * ensemble, observed)
        difference = (right.variance - right.squared_error).numpy()
        yield mean_is(f"variance less squared error, {members} members", difference, 0.0)
        inflated = (0.25 * (members + 1) / members, 1 + 0.25 / members)
        parts = torch.stack((sharp.variance, sharp.squared_error), 1).numpy()
        yield mean_is(f"both parts of a sharper one, {members} members", parts, inflated)
        ratio = math.sqrt(float(right.variance.mean() / right.squared_error.mean()))
        yield at_most(f"error of the ratio, {members} members", abs(right.ratio - ratio), 1e-12)

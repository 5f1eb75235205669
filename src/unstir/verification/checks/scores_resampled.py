"""Ranks, intervals, resampling, spectra and laws of extremes: what is known of each exactly, or of its chances."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most, counts_are, mean_is, probable

__all__ = [
    "scores_blocks",
    "scores_clusters",
    "scores_consistency_bars",
    "scores_coverage",
    "scores_extreme_laws",
    "scores_maxima",
    "scores_rank_test",
    "scores_ranks",
    "scores_skill",
    "scores_spectrum",
]


def _normal(effort: Effort, purpose: str, count: int, *shape: int) -> Tensor:
    return effort.seeds(count, "scores", purpose).normal(shape, torch.float64)


def _within(quantity: str, values: Any, low: float, high: float) -> Measured:
    """A mean that theory knows only to lie between two numbers."""
    return mean_is(quantity, values, float(np.clip(np.mean(values), low, high)))


@claim("scores", "ranks")
def scores_ranks(score: Callable[..., Tensor], effort: Effort) -> Iterator[Measured]:
    """An observation that could be a member has a uniform rank, where values are tied too, and within its ties."""
    count, members = effort.of(6000, 60_000), 9
    seeds = effort.seeds(count, "ranks")
    for name, change in {"distinct": lambda x: x, "dry days": lambda x: x.clamp(min=0), "signs": torch.sign}.items():
        both = change(_normal(effort, f"ranks {name}", count, members + 1))
        found = score(both[:, 1:], both[:, 0], seeds)
        counts = torch.bincount(found, minlength=members + 1)
        yield counts_are(f"ranks, {name}", counts, np.full(members + 1, 1 / (members + 1)))
        near = 1.01e-6 * both.abs().amax(1, keepdim=True)  # so near are equal
        below = (both[:, 1:] < both[:, :1] - near).sum(1)
        upto = (both[:, 1:] <= both[:, :1] + near).sum(1)
        outside = (found < below) | (found > upto)
        yield at_most(f"ranks beyond their ties, {name}", outside.sum(), 0)


@claim("scores", "rank-test")
def scores_rank_test(score: Callable[..., Any], effort: Effort) -> Iterator[Measured]:
    """Of uniform ranks it rejects as often as it says, and finds an ensemble that is too sure."""
    repeats, count, members = effort.of(200, 2000), 400, 11
    values = []
    for repeat in range(repeats):
        seeds = effort.seeds(count, "rank test", repeat)
        values.append(score(seeds.integers(0, members + 1), members, seeds).p_value)
    for level in (0.01, 0.1):
        seen = int(np.sum(np.array(values) <= level))
        yield probable(f"rejected at {level:g}: {seen} of {repeats}", float(stats.binom.sf(seen - 1, repeats, level)))
    truth, ensemble = _normal(effort, "sure truth", count), 0.5 * _normal(effort, "sure", count, members)
    yield at_most(
        "p-value of a sharp ensemble",
        score((ensemble < truth[:, None]).sum(1), members, effort.seeds(count, "sure")).p_value,
        1e-6,
    )


@claim("scores", "interval-coverage")
def scores_coverage(score: Callable[..., Any], effort: Effort) -> Iterator[Measured]:
    """Of all ranks once it is the nominal share exactly; of drawn ones it is within its standard error."""
    for members in (9, 39, 119):
        for level in (0.5, 0.8):
            found = score(np.arange(members + 1), members, level)
            yield at_most(f"error, {members} members, {level:g}", abs(found.measured - found.nominal), 1e-12)
            yield at_most(
                f"nominal beside asked, {members} members, {level:g}", abs(found.nominal - level), 1 / members
            )
    ranks = effort.seeds(effort.of(2000, 20_000), "coverage").integers(0, 40)
    away = score(ranks, 39, 0.8).away
    yield probable("coverage of drawn ranks", float(2 * stats.norm.sf(abs(away))), f"{away:.1f} standard errors")


@claim("scores", "reliability-curve")
def scores_consistency_bars(score: Callable[..., Any], effort: Effort) -> Iterator[Measured]:
    """Right probabilities fall within the bars at nine bins in ten (counts are whole), too sure ones do not."""
    repeats, count = effort.of(60, 400), 4000
    p = (effort.seeds(count, "forecasts").integers(0, 10).double() + 0.5) / 10
    inside, beyond, wrong = [], [], []
    for repeat in range(repeats):
        toss, seeds = effort.seeds(count, "bars", repeat).uniform(), effort.seeds(1, "resampled", repeat)
        curve = score(p, (toss < p).double(), seeds, replicates=400)
        inside.append(float(((curve.frequency >= curve.low) & (curve.frequency <= curve.high)).double().mean()))
        sure = score(p, (toss < 0.5 + 0.6 * (p - 0.5)).double(), seeds, replicates=400)
        beyond.append(float(((sure.frequency < sure.low) | (sure.frequency > sure.high)).double().mean()))
        events = [float((toss < p).double()[p == value].mean()) for value in p.unique()]
        wrong.append(float(np.abs(curve.frequency.numpy() - events).max()))
    yield at_most("error of the frequencies", np.array(wrong), 1e-12)
    yield _within("share of bins within the bars", inside, 0.87, 0.95)
    yield Measured("share of bins beyond them, of too sure forecasts", float(np.mean(beyond)), 0.6)


def _persistent(effort: Effort, purpose: str, count: int, length: int, memory: float = 0.6) -> Tensor:
    """Stationary first-order autoregressions of unit variance, (count, length)."""
    noise = _normal(effort, purpose, count, length)
    rows = [noise[:, 0]]
    for step in range(1, length):
        rows.append(memory * rows[-1] + math.sqrt(1 - memory**2) * noise[:, step])
    return torch.stack(rows, 1)


@claim("scores", "block-bootstrap")
def scores_blocks(score: Callable[..., Tensor], effort: Effort) -> Iterator[Measured]:
    r"""Its replicates have the variance of means of circular blocks, and cover the mean of a series with memory.

    With b dividing n the variance is :math:`(b/n)` times that of the n circular block means. Blocks of one are too
    sure.
    """
    length, block, replicates = 120, 10, effort.of(4000, 40_000)
    series = _persistent(effort, "blocks", 1, length)[0]
    weights = score(length, block, replicates, effort.seeds(1, "blocks"))
    yield at_most("cases too many or too few", (weights.sum(1) - length).abs(), 0.0)
    again = score(length, block, 7, effort.seeds(1, "blocks"))
    yield at_most("change of a replicate where there are fewer", (weights[:7] - again).abs(), 0.0)
    means = torch.stack([series.roll(-start)[:block].mean() for start in range(length)])
    variance = float((means - means.mean()).square().mean()) * block / length
    squares = ((weights @ series) / length - series.mean()).square().numpy()
    yield mean_is("squared deviation of replicates, over the exact one", squares / variance, 1.0)
    repeats, long = effort.of(400, 3000), 400
    paths = _persistent(effort, "covered", repeats, long)
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    shares = {}
    for size in (25, 1):
        drawn = score(long, size, 400, effort.seeds(1, "covered", size)) / long
        low, high = torch.quantile(paths @ drawn.T, ends, dim=1)
        shares[size] = ((low <= 0) & (high >= 0)).double().numpy()
    yield _within("coverage of 95 % intervals, blocks of 25", shares[25], 0.89, 0.97)
    yield Measured("coverage with blocks of one, which it lacks", float(shares[1].mean()), 0.0, 0.8)


@claim("scores", "skill-score")
def scores_skill(score: Callable[..., Any], effort: Effort) -> Iterator[Measured]:
    """Half the reference's score is a skill of a half, surely; equal forecasts differ about one time in twenty."""
    count, repeats = 200, effort.of(300, 3000)
    reference = _normal(effort, "reference", count).abs()
    draws = effort.seeds(400, "weights").integers(0, count, (count,))
    weights = torch.zeros(400, count, dtype=torch.float64).scatter_add_(1, draws, torch.ones(400, count).double())
    half = score(reference / 2, reference, weights)
    yield at_most("error of a half", max(abs(each - 0.5) for each in (half.value, half.low, half.high)), 1e-12)
    yield at_most("error of the difference", abs(half.difference - float(reference.mean()) / 2), 1e-12)
    both = _normal(effort, "equal", repeats, 3, count)
    first, second = ((both[:, 2] + both[:, place]).square() for place in (0, 1))
    found = [score(*each, weights).significant for each in zip(first, second, strict=True)]
    yield _within("equal forecasts called different", np.array(found, dtype=float), 0.03, 0.08)
    better = score(0.7 * first[0], first[0], weights)
    yield Measured("a better one called so", float(better.significant and better.low > 0), 1.0, 1.0)


@claim("scores", "power-spectrum")
def scores_spectrum(score: Callable[..., Any], effort: Effort) -> Iterator[Measured]:
    """Its sum is the mean square, a wave's power half its squared amplitude in its own place, and noise is level."""
    for shape in ((16,), (15,), (12, 18), (9, 7)):
        field = 3 + _normal(effort, f"parseval {shape}", 4, *shape)
        found = score(field, len(shape), 2.5)
        gap = found.power.sum(-1) - field.square().flatten(1).mean(1)
        yield at_most(f"error of the sum, {shape}", gap.abs(), 1e-12)
    places = torch.arange(24, dtype=torch.float64)
    wave = 3 * torch.cos(2 * math.pi * 5 * places / 24 + 0.4)
    found = score(wave, 1, 0.5)
    wanted = torch.zeros_like(found.power)
    wanted[5] = 4.5
    yield at_most("error of a wave", (found.power - wanted).abs(), 1e-12)
    yield at_most("error of its wave number", abs(float(found.wave_numbers[5]) - 5 / 12), 1e-12)
    slanted = wave[:, None] * torch.cos(2 * math.pi * 12 * places / 24)  # |k| = 13, so of the shell 13
    found = score(slanted, 2)
    yield at_most("power of a slanted wave beyond its shell", found.power.sum() - found.power[13], 1e-12)
    noise = score(_normal(effort, "noise", effort.of(2000, 20_000), 8)).power.numpy()
    yield mean_is("power of white noise", noise, [1 / 8, 2 / 8, 2 / 8, 2 / 8, 1 / 8])


@claim("scores", "return-levels", "peaks-over-threshold")
def scores_extreme_laws(score: Callable[..., Any], effort: Effort) -> Iterator[Measured]:
    """Nothing near it is likelier; it finds the law's levels again, and its intervals cover them.

    Densities and quantiles are SciPy's. The estimate's mean is off by about 1/n of itself, which is allowed for.
    """
    peaks = score.__name__ == "peaks_over_threshold"
    law = stats.genpareto if peaks else stats.genextreme
    sign, place, scale, count = 1 if peaks else -1, 20.0, 4.0, 500
    for shape in (-0.2, 0.0, 0.2):
        generator = effort.seeds(1, "extremes", score.__name__, str(shape)).generator()
        true = law(sign * shape, loc=place, scale=scale)

        def fitted(values: np.ndarray) -> Any:
            return score(values, place, len(values) / 5) if peaks else score(values)

        values = true.rvs(count, random_state=generator)
        fit = fitted(values)
        best = law.logpdf(values, sign * fit.shape, fit.location, fit.scale).sum()
        gains = []
        for step in generator.normal(size=(200, 3)) * generator.choice([1e-3, 1e-2, 0.1], size=(200, 1)):
            near = (fit.location + (0 if peaks else step[0] * scale), fit.scale * math.exp(step[1]))
            gains.append(law.logpdf(values, sign * (fit.shape + step[2]), *near).sum() - best)
        yield at_most(f"gain in log-likelihood nearby, shape {shape:g}", max(gains), 1e-6)
        periods = np.array([2.0, 10.0, 100.0])
        chances = 1 / (periods * 5) if peaks else 1 / periods
        levels = law.isf(chances, sign * fit.shape, fit.location, fit.scale)
        yield at_most(f"error of levels, shape {shape:g}", np.abs(fit.level(periods) / levels - 1), 1e-9)
        yield at_most(f"error of periods, shape {shape:g}", np.abs(fit.period(levels) / periods - 1), 1e-9)
        repeats = effort.of(12, 60)
        samples = [true.rvs(count, random_state=generator) for _ in range(repeats)]
        errors = np.array([fitted(each).level(periods) for each in samples]) / true.isf(chances) - 1
        allowed = 6 / count
        yield mean_is(f"relative error of levels, shape {shape:g}", errors, np.clip(errors.mean(0), -allowed, allowed))
    if not effort.quick:
        covered = 0
        for repeat, each in enumerate(samples[:30]):
            low, high = fitted(each).interval(100.0, Seeds.range(repeat, 1), 40)
            covered += int(low <= true.isf(chances[-1]) <= high)
        chance = float(stats.binom.cdf(covered, 30, 0.85))  # such intervals are a little short
        yield probable(f"95 % intervals that cover, {covered} of 30", chance)


@claim("scores", "block-maxima")
def scores_maxima(score: Callable[..., np.ndarray], effort: Effort) -> Iterator[Measured]:
    """It is the largest of each block, by number or by name, whatever is missing."""
    values = _normal(effort, "maxima", 1, 103)[0].numpy()
    values[[3, 50, 51, 52, 53, 54, 55]] = np.nan
    rows = values[:102].reshape(17, 6)
    largest = [max(row[~np.isnan(row)]) for row in rows if not np.isnan(row).all()]
    yield at_most("error by number", np.abs(score(values, 6) - largest), 0.0)
    names = effort.seeds(103, "names").integers(1990, 1998).numpy()
    by_name = [np.nanmax(values[names == name]) for name in range(1990, 1998)]
    yield at_most("error by name", np.abs(score(values, names) - by_name), 0.0)


@claim("scores", "decluster")
def scores_clusters(score: Callable[..., np.ndarray], effort: Effort) -> Iterator[Measured]:
    """It is what a walk along the series finds that ends a cluster after so many values in a row below."""
    values = _persistent(effort, "clusters", 1, 400)[0].numpy()
    values[10:14] = np.nan
    for run in (1, 2, 5):
        peaks: list[float] = []
        quiet = run
        for value in values:
            if value > 0.8:
                peaks = [*peaks, value] if quiet >= run else [*peaks[:-1], max(peaks[-1], value)]
                quiet = 0
            else:
                quiet += 1
        found = score(values, 0.8, run)
        yield at_most(f"clusters too many or too few, run {run}", abs(len(found) - len(peaks)), 0)
        yield at_most(f"error of the peaks, run {run}", np.abs(found - peaks), 0.0)

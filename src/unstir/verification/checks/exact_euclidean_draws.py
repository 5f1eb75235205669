"""Claims of exact denoisers on vectors about what is drawn from them."""

from collections.abc import Iterator
from typing import Any

import torch

from unstir.verification.base import Curve, Effort, Measured, Plot, claim
from unstir.verification.checks.exact_euclidean import flat, times, vectors
from unstir.verification.statistics import at_most, counts_are, mean_is, same_law

__all__ = [
    "belief_follows_pairs",
    "belief_is_calibrated",
    "conditioning_is_calibrated",
    "draws_follow_density",
    "draws_follow_process",
]


@claim("exact")
def draws_follow_density(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Draws of x_t are of the law whose score is told: Stein's identity E[f score + grad f] = 0 holds for waves f."""
    law = vectors(subject)
    for t in times(law, -2.0, 2.0):
        xt = law.draw(effort.seeds(effort.of(4000, 40_000), "stein"), t)
        points, score = flat(xt), flat(law.score(xt, t))
        waves = effort.seeds(6, "waves").normal((points.shape[1],), torch.float64).to(points.device) / points.std(0)
        angle = points @ waves.T + torch.arange(6, device=points.device)
        zero = angle.sin()[..., None] * score[:, None] + angle.cos()[..., None] * waves
        yield mean_is(f"Stein's identity for six waves, t = {float(t):.3g}", zero.cpu(), 0)


@claim("exact")
def draws_follow_process(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Draws of x_t are clean draws with the process's noise, and one sample's draw is the same alone."""
    law = vectors(subject)
    count = effort.of(2000, 20_000)
    for t in times(law, -2.0, 3.0):
        seeds = effort.seeds(count, "noised")
        noised = law.process.noise(law.draw(seeds.at("clean")), t, seeds.at("added"))
        drawn = law.draw(effort.seeds(count, "drawn"), t)
        yield same_law(f"noised and drawn, t = {float(t):.3g}", flat(noised).cpu(), flat(drawn).cpu(), effort.seed)
    seeds = effort.seeds(6, "alone")
    difference = (law.draw(seeds, 0.5)[4:] - law.draw(seeds[4:], 0.5)).abs().max()
    yield at_most("largest difference of a draw alone and in a batch", difference, 1e-12)


@claim("exact")
def belief_follows_pairs(subject: Any, effort: Effort) -> Iterator[Measured]:
    """A draw from the belief stands to x_t as the clean sample does: pairs (x_0, x_t) have one law."""
    law = vectors(subject)
    count = effort.of(2000, 20_000)
    for t in times(law, -2.0, 1.0, 5.0):
        seeds = effort.seeds(count, "pairs")
        x0 = law.draw(seeds.at("clean"))
        xt = law.process.noise(x0, t, seeds.at("added"))
        true = torch.cat((flat(x0), flat(xt), flat(x0 - law(xt, t).mean)), 1)
        xt = law.draw(effort.seeds(count, "again"), t)
        posterior = law(xt, t)
        drawn = posterior.sample(effort.seeds(count, "belief"))
        told = torch.cat((flat(drawn), flat(xt), flat(drawn - posterior.mean)), 1)
        # in units of their own, so that no part hides another in the projections
        scale = true.std(0).clamp(min=1e-300)
        yield same_law(
            f"pairs and their difference to the mean, t = {float(t):.3g}",
            (true / scale).cpu(),
            (told / scale).cpu(),
            effort.seed,
        )


@claim("exact")
def belief_is_calibrated(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Errors of the belief's mean are zero on average, uncorrelated with x_t, and as large as the variance says."""
    law = vectors(subject)
    for t in times(law, -3.0, 1.0, 5.0):
        seeds = effort.seeds(effort.of(4000, 40_000), "calibration")
        x0 = law.draw(seeds.at("clean"))
        xt = law.process.noise(x0, t, seeds.at("added"))
        posterior = law(xt, t)
        error, state = flat(x0 - posterior.mean), flat(xt)
        yield mean_is(f"errors, t = {float(t):.3g}", error.cpu(), 0)
        yield mean_is(f"errors times x_t, t = {float(t):.3g}", (error[:, :, None] * state[:, None]).flatten(1).cpu(), 0)
        if hasattr(posterior, "variance"):
            variance = flat(posterior.variance)
            excess = error.square() - variance
            yield mean_is(f"squared errors less the variance, t = {float(t):.3g}", excess.cpu(), 0)


@claim("exact")
def conditioning_is_calibrated(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Among draws given a measurement of it, the truth has every rank equally often; exact measurements are kept."""
    law = vectors(subject)
    count, draws = effort.of(40, 300), 19
    truths = law.draw(effort.seeds(count, "truth"))
    size = flat(truths).shape[1]
    operator = effort.seeds(1, "operator").normal((size,), torch.float64).to(truths.device)
    direction = effort.seeds(1, "direction").normal((size,), torch.float64)[0].to(truths.device)
    noise = effort.seeds(count, "noise").normal((1,), torch.float64).to(truths.device)
    spread = float((flat(truths) @ operator[0]).std()) / 2 + 1e-3
    ties = effort.seeds(count, "ties").uniform()
    ranks = []
    for number, truth in enumerate(flat(truths)):
        given = law.given_observation(operator, operator @ truth + spread * noise[number], spread)
        drawn = flat(given.draw(effort.seeds(draws, "given", number))) @ direction
        value = truth @ direction
        # points can be drawn twice: among equals the truth takes any place
        equal = int(((drawn - value).abs() < 1e-12).sum())
        ranks.append(int((drawn < value - 1e-12).sum()) + int(ties[number] * (equal + 1)))
    counts = torch.bincount(torch.tensor(ranks), minlength=draws + 1)
    told = [rank / (draws + 1) for rank in range(1, draws + 2)]
    seen = (counts.cumsum(0) / count).tolist()
    yield counts_are("ranks of the truth in 20 cells", counts, [1 / (draws + 1)] * (draws + 1))
    ends = counts[: (draws + 1) // 4].sum() + counts[-((draws + 1) // 4) :].sum()
    plot = Plot(
        "how often the truth has at most this rank",
        "share of ranks",
        "share of truths",
        (Curve("seen", told, seen), Curve("calibrated", [0.0, 1.0], [0.0, 1.0], dashed=True)),
    )
    first = counts_are("ranks in the outer half", [int(ends), count - int(ends)], [0.5, 0.5])
    yield Measured(first.quantity, first.value, first.low, first.high, None, first.false_alarm, plot, first.note)
    exact = law.given_observation(operator, operator @ flat(truths)[0], 0.0)
    kept = flat(exact.draw(effort.seeds(50, "exact"))) @ operator[0] - operator[0] @ flat(truths)[0]
    yield at_most("error of an exact measurement in draws", kept.abs().max() / (1 + spread), 1e-10)

"""Claims of exact laws on the torus, on tokens and on several parts at once."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.state import map_state, tensors_of
from unstir.exact.atoms import AtomsDenoiser
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.spaces import cells, log_transition, mean_numbers, numbers, points, rows, same_moments
from unstir.verification.statistics import at_most, counts_are, same_law

__all__ = [
    "belief_follows_bayes",
    "belief_stands_for_the_clean_data",
    "belief_survives_the_ends_of_time",
    "density_sums_to_one",
    "draws_follow_the_density",
    "label_chooses_among_components",
    "observed_tokens_condition_the_law",
    "torus_score_is_the_gradient",
]

SPACES = ("torus", "tokens", "joint")


def _concerns(law: Any, *spaces: str, points: bool = False) -> None:
    if law.process.space not in (spaces or SPACES):
        raise NotMeasured("laws on vectors have claims of their own", silent=True)
    if isinstance(law, AtomsDenoiser) and not points:
        raise NotMeasured("points have no density; they are compared with laws that have", silent=True)


def _time(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@claim("exact")
def density_sums_to_one(law: Any, effort: Effort) -> Iterator[Measured]:
    """The density of every noisy marginal sums to one over the whole space."""
    _concerns(law)
    for t in effort.of((0.0, 0.4), (0.0, 1e-3, 0.4, 1.0)):
        state, volume = points(law, noisy=t > 0)
        total = (law.log_density(state, t) + volume).logsumexp(0).exp().item()
        yield at_most(f"difference from one, t = {t:g}", abs(total - 1), 1e-9)


@claim("exact")
def belief_follows_bayes(law: Any, effort: Effort) -> Iterator[Measured]:
    """Evidence, mean and density of the belief are those that Bayes' rule gives over all of the space."""
    _concerns(law)
    count = effort.of(6, 40)
    clean, volume = points(law, noisy=False)
    prior = law.log_density(clean, 0.0)
    features = numbers(law.process, clean)
    x0 = law.draw(effort.seeds(count, "elsewhere"))
    for t in effort.of((0.4,), (0.4, 0.55, 0.7)):
        xt = law.draw(effort.seeds(count, "bayes"), t)
        belief = law(xt, _time(t))
        evidence, means = [], []
        for row in range(count):
            logs = prior + volume + log_transition(law.process, rows(xt, slice(row, row + 1)), clean, t)
            evidence.append(logs.logsumexp(0))
            means.append(logs.softmax(0).numpy() @ features)
        wanted = torch.stack(evidence)
        yield at_most(f"log p_t(x_t), t = {t:g}", (wanted - law.log_density(xt, t)).abs().max(), 1e-8)
        told = mean_numbers(law.process, belief.mean, np.stack(means))
        yield at_most(f"mean of the belief, t = {t:g}", np.abs(told - np.stack(means)).max(), 1e-8)
        logs = law.log_density(x0, 0.0) + log_transition(law.process, xt, x0, t) - wanted
        said = belief.log_prob(x0)
        possible = logs > -torch.inf
        differences = (said - logs)[possible].abs()
        yield at_most(f"log-density of the belief, t = {t:g}", differences.max() if len(differences) else 0.0, 1e-7)
        yield at_most(f"what cannot be has no probability, t = {t:g}", int((said[~possible] > -100).sum()), 0.0)


@claim("exact")
def draws_follow_the_density(law: Any, effort: Effort) -> Iterator[Measured]:
    """Draws fall into the cells of the space as often as the density says, clean and noisy."""
    _concerns(law)
    count = effort.of(4_000, 40_000)
    for t in (0.0, 0.4):
        state, volume = points(law, noisy=t > 0, fineness=effort.of(64, 128))
        chances = (law.log_density(state, t) + volume).exp().numpy()
        places = cells(law.process, state)
        drawn = cells(law.process, law.draw(effort.seeds(count, "draws", str(t)), t))
        names = np.unique(np.concatenate((places, drawn)))
        wanted = np.bincount(np.searchsorted(names, places), chances, len(names))
        counted = np.bincount(np.searchsorted(names, drawn), minlength=len(names))
        yield counts_are(f"counts in {len(names)} cells, t = {t:g}", counted, wanted)


@claim("exact")
def belief_stands_for_the_clean_data(law: Any, effort: Effort) -> Iterator[Measured]:
    """Clean data with its noisy version, and draws from the belief with it, have one joint law."""
    _concerns(law, points=True)
    count = effort.of(6_000, 20_000)
    process = law.process
    for t in effort.of((0.7,), (0.3, 0.5, 0.7)):
        seeds = effort.seeds(count, "stands", str(t))
        x0 = law.draw(seeds.at("data"))
        xt = process.noise(x0, _time(t), seeds.at("noise"))
        seen = process.noise(law.draw(seeds.at("other")), _time(t), seeds.at("seen"))
        drawn = law(seen, _time(t)).sample(seeds.at("belief"))
        data = np.concatenate((numbers(process, x0), numbers(process, xt)), 1)
        believed = np.concatenate((numbers(process, drawn), numbers(process, seen)), 1)
        yield same_law(f"x_0 and x_t, t = {t:g}", data, believed)
        yield same_moments(f"x_0 and x_t, t = {t:g}: moments", data, believed)


@claim("exact")
def torus_score_is_the_gradient(law: Any, effort: Effort) -> Iterator[Measured]:
    """The score on the torus is the gradient of the log-density, at all noise levels."""
    _concerns(law, "torus")
    for t in (0.0, 1e-3, 0.3, 0.6, 1.0):
        xt = law.draw(effort.seeds(effort.of(100, 1_000), "score", str(t)), t).requires_grad_()
        (gradient,) = torch.autograd.grad(law.log_density(xt, t).sum(), xt)
        told = law.score(xt.detach(), t)
        scale = gradient.abs().max().clamp(min=1e-300)
        yield at_most(
            f"largest error over the largest score, t = {t:g}", ((told - gradient).abs() / scale).max(), 1e-10
        )


@claim("exact")
def label_chooses_among_components(law: Any, effort: Effort) -> Iterator[Measured]:
    """Laws given a label add up to the law of which the label is unknown, and dropping it forgets it."""
    _concerns(law, points=True)
    if getattr(law, "labels", None) is None:
        raise NotMeasured("this law has no labels", silent=True)
    count, t = effort.of(50, 500), 0.4
    xt = law.draw(effort.seeds(count, "labels"), t)
    terms = []
    for label in law.labels.unique():
        weight = law.log_weights[law.labels == label].logsumexp(0)
        terms.append(weight + law.log_density(xt, t, label=label.expand(count)))
    summed = torch.stack(terms).logsumexp(0)
    yield at_most("sum over labels, error of log p_t", (summed - law.log_density(xt, t)).abs().max(), 1e-10)
    bound = law.labels[:1].expand(count)
    dropped = law(xt, _time(t), torch.ones(count, dtype=torch.bool), label=bound)
    plain = law(xt, _time(t))
    gaps = [
        (a.double() - b.double()).abs().max()
        for a, b in zip(tensors_of(dropped.mean), tensors_of(plain.mean), strict=True)
    ]
    yield at_most("mean with the label dropped, against none", max(gaps), 0.0)


@claim("exact", "token-chain", "token-product")
def observed_tokens_condition_the_law(law: Any, effort: Effort) -> Iterator[Measured]:
    """Told a clean token, density, belief and draws are those of the sequences that have it."""
    clean, _ = points(law, noisy=False)
    prior, t = law.log_density(clean, 0.0), 0.4
    count = effort.of(8, 60)
    told = torch.full((count, *law.shape), -1)
    last = law.draw(effort.seeds(count, "told"))[:, -1]
    told[:, -1] = last
    xt = law.process.noise(
        law.draw(effort.seeds(count, "given"), observed=told), _time(t), effort.seeds(count, "noise")
    )
    belief, density = law(xt, _time(t), observed=told), law.log_density(xt, t, observed=told)
    errors, misses = [], []
    for row in range(count):
        logs = prior.where(clean[:, -1] == last[row], -torch.inf)
        joint = logs + log_transition(law.process, xt[row : row + 1], clean, t)
        errors.append((joint.logsumexp(0) - logs.logsumexp(0) - density[row]).abs())
        one_hot = torch.nn.functional.one_hot(clean, law.process.classes).double()
        misses.append(((joint.softmax(0)[:, None, None] * one_hot).sum(0) - belief.mean[row]).abs().max())
    yield at_most("log p_t given the token", torch.stack(errors).max(), 1e-9)
    yield at_most("probabilities of the belief", torch.stack(misses).max(), 1e-9)
    kept = law.draw(effort.seeds(count, "drawn"), observed=told)[:, -1]
    yield at_most("draws that lost the token", int((kept != last).sum()), 0.0)


@claim("exact")
def belief_survives_the_ends_of_time(law: Any, effort: Effort) -> Iterator[Measured]:
    """At the ends of time the belief is finite: the state itself at 0; and it has the state's dtype."""
    _concerns(law, points=True)
    x0 = law.draw(effort.seeds(200, "ends"))
    clean = law(x0, _time(0.0)).sample(effort.seeds(200, "belief"))
    gap = np.abs(numbers(law.process, clean) - numbers(law.process, x0)).max()
    yield at_most("distance of the belief at time 0 from the state", gap, 1e-12)
    lost = 0
    for t in (0.0, 1e-9, 1e-3, 1.0):
        xt = map_state(
            lambda part: part.float() if part.is_floating_point() else part, law.draw(effort.seeds(200, str(t)), t)
        )
        belief = law(xt, _time(t))
        for drawn, seen in zip(tensors_of(belief.sample(effort.seeds(200, "drawn"))), tensors_of(xt), strict=True):
            lost += int(drawn.dtype != seen.dtype) + int((~drawn.isfinite()).sum())
        lost += sum(int((~mean.isfinite()).sum()) for mean in tensors_of(belief.mean))
    yield at_most("values that are not finite, or of another dtype", lost, 0.0)

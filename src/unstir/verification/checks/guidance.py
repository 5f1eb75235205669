"""Claims of guides: around laws known in closed form they lead to others known in closed form."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import log_marginals
from unstir.exact.categorical import TokenChainDenoiser, TokenProductDenoiser
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.joint import JointMixtureDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most, counts_are

__all__ = [
    "classifier_gives_the_conditional_belief",
    "classifier_of_one_gradient_is_exact_for_linear_logits",
    "guidance_leaves_alone_what_it_should",
    "guidance_serves_joint_states_part_by_part",
    "pushed_gaussians_are_a_gaussian",
    "pushed_tokens_have_the_pushed_law",
]

TIMES = (1e-3, 0.1, 0.4, 0.7, 0.9)


def _time(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _chains(rates: Any) -> TokenChainDenoiser:
    """Two chains by label, in which anything can follow anything."""
    first = [[0.9, 0.08, 0.02], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]]
    second = [[0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]]
    process = CategoricalProcess(3, rates=rates)
    return TokenChainDenoiser([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]], [first, second], process, 4, [0.4, 0.6], [1, 2])


def _points(process: GaussianProcess) -> MixtureDenoiser:
    means, variances = torch.tensor([[0.0, 1.0], [2.0, -1.0], [1.0, 1.0]]), torch.tensor([0.2, 0.3, 0.1])
    return MixtureDenoiser(torch.tensor([0.3, 0.3, 0.4]), means, variances, process, labels=torch.tensor([1, 2, 2]))


def _told(law: Any) -> Callable[..., Tensor]:
    """log p(label | x_t), up to a constant, by the law's own densities."""
    return lambda xt, t, label: law.log_density(xt, t, label=label) - law.log_density(xt, t)


def _labels(count: int) -> Tensor:
    return torch.arange(count) % 2 + 1


@claim("guidance", "classifier")
def classifier_gives_the_conditional_belief(guide: type, effort: Effort) -> Iterator[Measured]:
    """With the exact likelihood of a label and strength one, the belief is the exact one given that label.

    For Gaussian noise its mean, for tokens the probabilities of each: masked, uniform noise, along a ring.
    """
    count = effort.of(20, 100)
    labels = _labels(count)
    for name, law in {
        "variance preserving": _points(GaussianProcess()),
        "variance exploding": _points(GaussianProcess(EDMSchedule())),
        **{rates: _chains(rates) for rates in ("absorbing", "uniform", "ring")},
    }.items():
        guided = guide(law, _told(law), told=("label",))
        errors = []
        for t in TIMES:
            xt = law.draw(effort.seeds(count, "conditional", name, str(t)), t)
            means = [
                belief.mean if name.startswith("variance") else log_marginals(belief, 3).exp()
                for belief in (guided(xt, _time(t), label=labels), law(xt, _time(t), label=labels))
            ]
            errors.append((means[0] - means[1]).abs().max())
        yield at_most(f"largest error over five noise levels, {name}", torch.stack(errors).max(), 1e-8)


@claim("guidance", "classifier")
def classifier_of_one_gradient_is_exact_for_linear_logits(guide: type, effort: Effort) -> Iterator[Measured]:
    """A likelihood that is log-linear in the tokens is told by one gradient as by every change."""
    count = effort.of(20, 100)
    for rates in ("absorbing", "uniform"):
        law = _chains(rates)
        slopes = Seeds.range(3, 1).normal((4, law.process.states), torch.float64)

        def relaxed(code: Tensor, t: Tensor, slopes: Tensor = slopes) -> Tensor:
            return (code * slopes).sum((1, 2))

        def whole(xt: Tensor, t: Tensor, slopes: Tensor = slopes, law: Any = law) -> Tensor:
            return (torch.nn.functional.one_hot(xt, law.process.states) * slopes).sum((1, 2))

        xt = law.draw(effort.seeds(count, "linear", rates), 0.5)
        first = guide(law, relaxed, 0.7, first_order=True)(xt, _time(0.5)).log_probabilities.exp()
        every = guide(law, whole, 0.7, chunk=7)(xt, _time(0.5)).log_probabilities.exp()
        yield at_most(f"largest difference, {rates}", (first - every).abs().max(), 1e-9)


@claim("guidance", "classifier-free")
def pushed_gaussians_are_a_gaussian(guide: type, effort: Effort) -> Iterator[Measured]:
    """Between two Gaussians of one covariance the push leads to the exact belief for their power law.

    :math:`N(m_c, C)^{1+w}/N(m_u, C)^w` is N((1 + w) m_c - w m_u, C) up to a factor, at every noise level.
    """
    process, covariance = GaussianProcess(), torch.tensor([[0.5, 0.2], [0.2, 0.3]], dtype=torch.float64)
    means = torch.tensor([[1.0, -0.5], [0.2, 0.4]], dtype=torch.float64)
    for w in (-1.0, -0.4, 0.8, 5.0):
        either = _Either(*(GaussianDenoiser(mean, covariance, process) for mean in means))
        wanted = GaussianDenoiser((1 + w) * means[0] - w * means[1], covariance, process)
        errors = []
        for t in (*TIMES, 1.0):
            xt = wanted.draw(effort.seeds(20, "pushed", str(w), str(t)), t)
            away = guide(either, w)(xt, _time(t)).mean - wanted(xt, _time(t)).mean
            errors.append(away.abs().max())
        yield at_most(f"largest error of the mean, strength {w:g}", torch.stack(errors).max(), 1e-9)


@claim("guidance", "classifier-free")
def pushed_tokens_have_the_pushed_law(guide: type, effort: Effort) -> Iterator[Measured]:
    """Independent masked tokens are pushed to p_c^(1+w)/p_u^w: the belief exactly, and the samples drawn by it."""
    chances = torch.tensor(
        [[[0.7, 0.2, 0.1], [0.3, 0.4, 0.3]], [[0.2, 0.3, 0.5], [0.6, 0.2, 0.2]]], dtype=torch.float64
    )
    process, w, count = CategoricalProcess(3, rates="absorbing"), 1.5, effort.of(4_000, 40_000)
    either = _Either(*(TokenProductDenoiser(rows, process) for rows in chances))
    wanted = chances[0] ** (1 + w) / chances[1] ** w
    wanted = wanted / wanted.sum(-1, keepdim=True)
    hidden = torch.full((1, 2), process.mask_class)
    errors = [(guide(either, w)(hidden, _time(t)).log_probabilities.exp() - wanted).abs().max() for t in (*TIMES, 1.0)]
    yield at_most("largest error of a probability", torch.stack(errors).max(), 1e-12)
    drawn = sample(
        guide(either, w), AncestralSampler(), (2,), count, steps=3, grid="uniform", seed=effort.seed + 2, batch=count
    )
    counted = np.bincount((drawn * torch.tensor([3, 1])).sum(1), minlength=9)
    yield counts_are("samples of three steps", counted, (wanted[0][:, None] * wanted[1]).flatten().numpy())


@claim("guidance", "classifier", "classifier-free")
def guidance_leaves_alone_what_it_should(guide: type, effort: Effort) -> Iterator[Measured]:
    """At strength zero, outside of its interval and for dropped conditions the belief is the denoiser's own."""
    for name, law in {"points": _points(GaussianProcess()), "tokens": _chains("uniform")}.items():
        xt, t, labels = law.draw(effort.seeds(6, "alone", name), 0.5), _time(0.5), _labels(6)
        classifier = guide.__name__.startswith("ClassifierG")
        rest = ((_told(law),), {"told": ("label",)}) if classifier else ((), {})
        own = {} if classifier else {"label": labels}

        def made(law: Any = law, rest: Any = rest, **options: Any) -> Denoiser:
            return guide(law, *rest[0], **rest[1], **options)

        plain = law(xt, t, **own).mean
        level = math.exp(-law.process.schedule.log_snr(0.5).item() / 2)
        for what, guided in {
            "strength 0": made(strength=0.0),
            "less noise than the interval": made(strength=2.0, sigma_min=level * 1.01),
            "more noise than the interval": made(strength=2.0, sigma_max=level * 0.99),
            "a strength that vanishes here": made(strength=lambda level: torch.zeros_like(level)),
        }.items():
            away = (guided(xt, t, label=labels).mean - plain).abs().max()
            yield at_most(f"{name}, {what}", away, 0.0)
        inside = made(strength=2.0, sigma_min=level * 0.99, sigma_max=level * 1.01)(xt, t, label=labels).mean
        yield Measured(f"{name}, within the interval: moved by", (inside - plain).abs().max().item(), low=1e-3)
        drop = torch.tensor([True, False] * 3)
        some = made(strength=2.0)(xt, t, drop, label=labels).mean
        unconditional = log_marginals(law(xt, t), 3).exp() if name == "tokens" else law(xt, t).mean
        yield at_most(f"{name}, dropped conditions", (some - unconditional)[drop].abs().max(), 1e-12)
        alone = torch.cat([made(strength=2.0)(xt[i : i + 1], t, label=labels[i : i + 1]).mean for i in range(6)])
        together = made(strength=2.0)(xt, t.expand(6), label=labels).mean
        yield at_most(f"{name}, one by one and with a time each", (alone - together).abs().max(), 1e-12)


@claim("guidance", "classifier", "classifier-free")
def guidance_serves_joint_states_part_by_part(guide: type, effort: Effort) -> Iterator[Measured]:
    """On a joint state each part is steered as its kind is, and a part of strength zero keeps its belief."""
    line, masked = GaussianProcess(), CategoricalProcess(2, rates="absorbing")
    parts: dict[str, Any] = {
        "place": [
            MixtureDenoiser(torch.ones(1), torch.tensor([[mean]]), torch.tensor([0.25]), line) for mean in (-0.6, 0.5)
        ],
        "kind": [
            TokenChainDenoiser([0.7, 0.3], [[0.6, 0.4], [0.4, 0.6]], masked, 2),
            TokenChainDenoiser([0.3, 0.7], [[0.3, 0.7], [0.5, 0.5]], masked, 2),
        ],
    }
    law = JointMixtureDenoiser([0.4, 0.6], parts, labels=[1, 2])
    labels, t = _labels(30), _time(0.5)
    xt = law.draw(effort.seeds(30, "joint"), 0.5)
    given = law(xt, t, label=labels).mean
    if guide.__name__.startswith("ClassifierG"):
        guided = guide(law, _told(law), told=("label",))(xt, t, label=labels).mean
        for name in parts:
            yield at_most(f"error of the conditional belief, {name}", (guided[name] - given[name]).abs().max(), 1e-8)
        one = guide(law, _told(law), {"kind": 1.0}, told=("label",))(xt, t, label=labels).mean
        kept = law(xt, t).mean["place"]
    else:
        plain = law(xt, t).mean
        guided = guide(law, 2.0)(xt, t, label=labels).mean
        wanted = 3 * given["place"] - 2 * plain["place"]
        yield at_most("error of the pushed mean, place", (guided["place"] - wanted).abs().max(), 1e-12)
        possible = given["kind"] > 0  # a shown token is sure of itself either way
        ratios = torch.where(possible, given["kind"] ** 3 / plain["kind"].where(possible, 1.0) ** 2, 0.0)
        wanted = ratios / ratios.sum(-1, keepdim=True)
        yield at_most("error of the pushed chances, kind", (guided["kind"] - wanted).abs().max(), 1e-12)
        one, kept = guide(law, {"kind": 2.0})(xt, t, label=labels).mean, given["place"]
    yield at_most("movement of a part of strength zero", (one["place"] - kept).abs().max(), 1e-12)
    yield at_most("difference of a part steered alone", (one["kind"] - guided["kind"]).abs().max(), 1e-12)


class _Either(Denoiser):
    """One law where conditions count, another where they are dropped."""

    def __init__(self, conditional: Denoiser, unconditional: Denoiser) -> None:
        super().__init__()
        self.laws, self.process = torch.nn.ModuleList((conditional, unconditional)), conditional.process

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Any:
        """The second law's belief where all conditions are dropped."""
        return self.laws[int(drop is not None and bool(drop.all()))](xt, t)

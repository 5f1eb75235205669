"""Several conditions or models at once, and conditions to keep away from."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import normalised
from unstir.core.errors import InputError
from unstir.core.state import batch_size, beside
from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import CategoricalPosterior, log_marginals
from unstir.denoisers.joint import JointPosterior
from unstir.denoisers.posteriors import GaussianPosterior, PointPosterior, Posterior
from unstir.guidance.auto import same_noise
from unstir.guidance.base import Guide, Strength, bound, idle, names_in, times, with_mean
from unstir.guidance.classifier_free import pushed
from unstir.guidance.tilted import TiltedPosterior
from unstir.processes.gaussian import GaussianProcess

__all__ = ["ComposedConditions", "NegativeGuidance", "ProductOfExperts"]

_LEAST = -745.0  # the logarithm of the smallest float64


class NegativeGuidance(Guide):
    r"""The belief, pushed away from the belief under a condition that is not wanted: :math:`p_c^{1+w}/p_n^w`.

    ``negative`` names conditions of the denoiser and their unwanted values, batch first: one row for all, a row a
    sample, or the name of a condition that is given with the others (``{"label": "unwanted"}``). They take the place
    of the wanted ones of the same name; all others stay. ``strength`` w is 0 for the wanted condition as it is. It is
    ``ClassifierFreeGuidance`` with another condition in the place of none, and serves the same spaces in the same way.

    Raises InputError for no condition, one that is not given, and rows that are not those of the batch.

    Reference: Ho, Salimans, Classifier-free diffusion guidance (2022), eq. 6; Du, Li, Mordatch, Compositional visual
    generation with energy-based models (2020), section 3.1, for negation.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        negative: Mapping[str, Any],
        strength: Strength = 1.0,
        sigma_min: float | int = 0.0,
        sigma_max: float | int | None = None,
    ) -> None:
        super().__init__(denoiser, strength, sigma_min, sigma_max)
        self.negative = _checked(negative, "negative")

    @classmethod
    def examples(cls) -> Mapping[str, type["NegativeGuidance"]]:
        """The class itself: the claims build guides around laws of theirs."""
        return {"around exact laws": cls}

    def forward(self, xt: Any, t: Any, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The pushed belief; a sample that drops its conditions has no unwanted ones either."""
        own = {name: value for name, value in condition.items() if name not in names_in(self.negative)}
        wanted, strengths = self.denoiser(xt, t, drop, **own), self.strengths(t)
        if idle(strengths):
            return wanted
        unwanted = own | bound(self.negative, condition, batch_size(xt))
        return pushed(self.process, wanted, self.denoiser(xt, t, drop, **unwanted), strengths)


class ComposedConditions(Guide):
    r"""Several conditions at once, each with a weight: :math:`p_u\prod_i(p_i/p_u)^{w_i}`.

    ``conditions`` maps any name to a pair: conditions of the denoiser and their values (given as for
    ``NegativeGuidance``), and a weight, negative for what is not wanted. Means move by :math:`\sum_i w_i(\hat x_i-\hat
    x_u)`, log-probabilities of tokens likewise and are normalised; on other spaces draws from the plain belief are
    resampled. The plain belief u is the denoiser's own with the conditions that are given beside. ``strength``
    multiplies all weights. Conditions that do not know of one another given the data make the law of all of them, with
    weights of one, where noise and product commute: at the belief's mean for Gaussians of one covariance, for
    independent tokens under masking; else it is what the sum of the scores leads to.

    Raises InputError for no conditions, and weights that are not finite.

    Reference: Liu et al., Compositional visual generation with composable diffusion models (2022), section 4.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        conditions: Mapping[str, Any],
        strength: Strength = 1.0,
        sigma_min: float | int = 0.0,
        sigma_max: float | int | None = None,
    ) -> None:
        super().__init__(denoiser, strength, sigma_min, sigma_max)
        weights = _weights(conditions, "a mapping of conditions and a weight")
        self.conditions = {name: (_checked(pair[0], name), weights[name]) for name, pair in conditions.items()}

    @classmethod
    def examples(cls) -> Mapping[str, type["ComposedConditions"]]:
        """The class itself: the claims build guides around laws of theirs."""
        return {"around exact laws": cls}

    def forward(self, xt: Any, t: Any, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The composed belief; plain for samples that drop their conditions."""
        told = set().union(*(names_in(values) for values, _ in self.conditions.values()))
        own = {name: value for name, value in condition.items() if name not in told}
        plain, strengths = self.denoiser(xt, t, drop, **own), self.strengths(t, drop)
        if idle(strengths):
            return plain
        experts = []
        for values, weight in self.conditions.values():
            rows = bound(values, condition, batch_size(xt))
            if twice := sorted(set(rows) & set(own)):
                raise InputError(f"the condition {twice[0]!r} is one of those composed; do not give it beside")
            experts.append((self.denoiser(xt, t, drop, **own, **rows), weight))
        return composed(self.process, plain, experts, strengths)


class ProductOfExperts(Guide):
    r"""Several denoisers at once, each with a weight: :math:`p_0\prod_i(p_i/p_0)^{w_i}`.

    ``experts`` maps any name to a pair: a denoiser of the same process, and its weight; ``denoiser`` is what each is
    compared with, an unconditional one as a rule. With weights that sum to one it drops out, and what is left is the
    weighted geometric mean of the experts. Each is called with all conditions that are given; bind those that are its
    own (``denoiser.given``). All else is as for ``ComposedConditions``.

    Raises InputError for no experts, experts of another process, and weights that are not finite.

    Reference: Hinton, Training products of experts by minimizing contrastive divergence (2002), section 1; Du et al.,
    Reduce, reuse, recycle: compositional generation with energy-based diffusion models and MCMC (2023), section 4.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        experts: Mapping[str, Any],
        strength: Strength = 1.0,
        sigma_min: float | int = 0.0,
        sigma_max: float | int | None = None,
    ) -> None:
        super().__init__(denoiser, strength, sigma_min, sigma_max)
        self.weights = _weights(experts, "a denoiser and a weight")
        for name, (expert, _) in experts.items():
            same_noise(self.process, expert.process, f"the expert {name!r}")
        self.experts = torch.nn.ModuleList([expert for expert, _ in experts.values()])

    @classmethod
    def examples(cls) -> Mapping[str, type["ProductOfExperts"]]:
        """The class itself: the claims build guides around laws of theirs."""
        return {"around exact laws": cls}

    def forward(self, xt: Any, t: Any, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The belief of all experts together."""
        plain, strengths = self.denoiser(xt, t, drop, **condition), self.strengths(t)
        if idle(strengths):
            return plain
        told = [expert(xt, t, drop, **condition) for expert in self.experts]
        return composed(self.process, plain, list(zip(told, self.weights.values(), strict=True)), strengths)


def composed(process: Any, plain: Any, experts: Sequence[tuple[Any, float]], strength: Any) -> Posterior:
    """The belief in proportion to p_u prod (p_i/p_u)^(s w_i), by the kind of space; see ``ComposedConditions``."""
    if idle(strength):
        return plain
    if hasattr(process, "parts"):
        return JointPosterior(
            {
                name: composed(
                    part, plain.part(name), [(told.part(name), weight) for told, weight in experts], strength[name]
                )
                for name, part in process.parts.items()
            }
        )
    if process.space == "tokens":
        logs = log_marginals(plain, process.classes)
        # what has no chance by rounding must not win, whatever an expert says of it
        gains = [
            weight * (log_marginals(told, process.classes).clamp(min=_LEAST) - logs.clamp(min=_LEAST))
            for told, weight in experts
        ]
        return CategoricalPosterior(normalised(logs + beside(strength, logs) * torch.stack(gains).sum(0)))
    if isinstance(process, GaussianProcess) or isinstance(plain, PointPosterior | GaussianPosterior):
        mean = plain.mean
        push = torch.stack([weight * (told.mean - mean) for told, weight in experts]).sum(0)
        return with_mean(plain, mean + times(strength, push))

    def against(x0: Any) -> Tensor:
        here = plain.log_prob(x0).double()
        ratios = [weight * (told.log_prob(x0).double() - here) for told, weight in experts]
        return -torch.stack(ratios).sum(0)

    return TiltedPosterior(plain, against, strength)


def _checked(conditions: Any, name: str) -> dict[str, Any]:
    if not isinstance(conditions, Mapping) or not conditions:
        raise InputError(f"{name!r} needs conditions of the denoiser and their values, by name; seen {conditions!r}")
    return dict(conditions)


def _weights(given: Mapping[str, Any], what: str) -> dict[str, float]:
    if not isinstance(given, Mapping) or not given:
        raise InputError(f"a composition needs one thing to compose at least: names, each with {what}; seen {given!r}")
    weights = {}
    for name, pair in given.items():
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InputError(f"{name!r} needs a pair: {what}; seen {pair!r}")
        if not isinstance(pair[1], int | float) or not math.isfinite(pair[1]):
            raise InputError(f"the weight of {name!r} is a finite number; seen {pair[1]!r}")
        weights[name] = float(pair[1])
    return weights

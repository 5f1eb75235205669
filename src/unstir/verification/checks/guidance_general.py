"""Claims of every guide alike: what it leaves alone, that nobody depends on others, and that numbers stay numbers."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import log_marginals
from unstir.exact.categorical import TokenChainDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.guidance.constraints import RangeConstraint, TotalConstraint
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most

__all__ = ["guides_keep_to_themselves", "guides_stay_finite"]

_ROWS = 3  # of a group, where a guide works on groups
_MEANS = [[0.3, 1.0], [2.0, -1.0], [1.0, 1.2]]
_HALF = torch.tensor(0.5, dtype=torch.float64)


def points(process: GaussianProcess, widening: float = 0.0) -> MixtureDenoiser:
    """Three blobs of two labels in the plane."""
    variances = torch.tensor([0.2, 0.3, 0.1], dtype=torch.float64) + widening
    return MixtureDenoiser([0.3, 0.3, 0.4], _MEANS, variances, process, labels=[1, 2, 2])


def tokens(sharper: float = 0.0) -> TokenChainDenoiser:
    """Two chains of four tokens by label."""
    first = [[0.7 + sharper, 0.2 - sharper, 0.1], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]]
    second = [[0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]]
    process = CategoricalProcess(3, rates="uniform")
    return TokenChainDenoiser([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]], [first, second], process, 4, [0.4, 0.6], [1, 2])


def judged(x0: Tensor) -> Tensor:
    """A decision: more probable to the right."""
    return (2 * x0[:, 0] - 1).sigmoid()


def parted(x0: Tensor) -> Tensor:
    """Two soft groups: above and below."""
    above = (2 * x0[:, 1]).sigmoid()
    return torch.stack((above, 1 - above), 1)


def _squares(x0: Tensor) -> Tensor:
    return (x0 - 0.4).square().flatten(1).sum(1)


def _turn(x: Tensor) -> Tensor:
    return x.flip(1)


@dataclass(frozen=True)
class Case:
    """How a guide is made around a law, and what it promises."""

    make: Callable[..., Denoiser]
    told: bool = True  # whether the caller gives labels
    dropped: bool = True  # whether a sample that drops its conditions has nothing that steers it
    tokens: bool = False
    rows: int = 1


def _label(value: int) -> dict[str, Tensor]:
    return {"label": torch.tensor([value])}


CASES = {
    "AutoGuidance": Case(
        lambda guide, law, **how: guide(law, tokens(-0.2) if _is_tokens(law) else points(law.process, 0.4), **how),
        dropped=False,
        tokens=True,
    ),
    "NegativeGuidance": Case(lambda guide, law, **how: guide(law, _label(2), **how), tokens=True),
    "ComposedConditions": Case(
        lambda guide, law, **how: guide(law, {"one": (_label(1), 0.8), "two": (_label(2), -0.5)}, **how),
        told=False,
        tokens=True,
    ),
    "ProductOfExperts": Case(
        lambda guide, law, **how: guide(
            law, {"other": (tokens(-0.2) if _is_tokens(law) else points(law.process, 0.4), 0.7)}, **how
        ),
        dropped=False,
        tokens=True,
    ),
    "EnergyGuidance": Case(lambda guide, law, **how: guide(law, _squares, **how), tokens=True),
    "RegressorGuidance": Case(
        lambda guide, law, **how: guide(law, lambda x0: x0.flatten(1)[:, 0], 0.9, 0.7, **how), tokens=True
    ),
    "ConstraintGuidance": Case(lambda guide, law, **how: guide(law, TotalConstraint(1.0), 0.8, **how), dropped=False),
    "ProjectionGuidance": Case(lambda guide, law, **how: guide(law, RangeConstraint(-0.1, 0.4), **how), dropped=False),
    "SymmetryGuidance": Case(
        lambda guide, law, **how: guide(law, [(lambda x: x, lambda x: x), (_turn, _turn)], **how), dropped=False
    ),
    "ParticleRepulsion": Case(
        lambda guide, law, **how: guide(law, rows=_ROWS, **how), dropped=False, tokens=True, rows=_ROWS
    ),
    "DeterminantalGuidance": Case(
        lambda guide, law, **how: guide(law, rows=_ROWS, **how), dropped=False, tokens=True, rows=_ROWS
    ),
    "FairnessGuidance": Case(
        lambda guide, law, **how: guide(law, judged, parted, rows=_ROWS, **how), dropped=False, rows=_ROWS
    ),
}
NAMES = (
    "auto",
    "composed-conditions",
    "constraint",
    "determinantal",
    "energy",
    "fairness",
    "negative",
    "particle-repulsion",
    "product-of-experts",
    "projection",
    "regressor",
    "symmetry",
)


def _is_tokens(law: Any) -> bool:
    return isinstance(law, TokenChainDenoiser)


def _case(guide: type) -> Case:
    """Of the class, or of the one that a broken copy is derived from."""
    return next(CASES[kind.__name__] for kind in guide.__mro__ if kind.__name__ in CASES)


def _told_by(belief: Any) -> Tensor:
    return belief.mean if belief.mean.ndim == 2 else log_marginals(belief, 3).exp()


@claim("guidance", *NAMES)
def guides_keep_to_themselves(guide: type, effort: Effort) -> Iterator[Measured]:
    """At strength zero and outside of its interval a guide changes nothing; no sample feels those apart from it."""
    case = _case(guide)
    laws: dict[str, Any] = {"points": points(GaussianProcess())} | ({"tokens": tokens()} if case.tokens else {})
    for name, law in laws.items():
        xt, labels = law.draw(effort.seeds(6, "alone", name), 0.5), torch.arange(6) % 2 + 1
        own = {"label": labels} if case.told else {}
        plain = _told_by(law(xt, _HALF, **own))
        level = math.exp(-law.process.schedule.log_snr(_HALF).item() / 2)

        def made(law: Any = law, **how: Any) -> Denoiser:
            return case.make(guide, law, **how)

        for what, guided in {
            "strength 0": made(strength=0.0),
            "less noise than the interval": made(strength=2.0, sigma_min=level * 1.01),
            "more noise than the interval": made(strength=2.0, sigma_max=level * 0.99),
            "a strength that vanishes here": made(strength=lambda level: torch.zeros_like(level)),
        }.items():
            yield at_most(f"{name}, {what}", (_told_by(guided(xt, _HALF, **own)) - plain).abs().max(), 0.0)
        inside = made(strength=0.9, sigma_min=level * 0.99, sigma_max=level * 1.01)
        steered = _told_by(inside(xt, _HALF, **own))
        yield Measured(f"{name}, within the interval: moved by", (steered - plain).abs().max().item(), low=1e-3)
        whole = made(strength=0.9)
        drop = torch.arange(6) < _ROWS
        some = _told_by(whole(xt, _HALF, drop, **own))
        wanted = law(xt, _HALF) if case.dropped else whole(xt, _HALF)
        away = (some - _told_by(wanted)).abs()[drop].max()
        yield at_most(f"{name}, samples that drop their conditions", away, 1e-12)
        apart = torch.cat(
            [
                _told_by(whole(xt[rows], _HALF, **{key: value[rows] for key, value in own.items()}))
                for rows in torch.arange(6).split(case.rows)
            ]
        )
        together = _told_by(whole(xt, _HALF.expand(6), **own))
        yield at_most(f"{name}, apart and together, with a time each", (apart - together).abs().max(), 1e-12)


@claim("guidance", *NAMES)
def guides_stay_finite(guide: type, effort: Effort) -> Iterator[Measured]:
    """In float32 a guide's belief is finite from no noise to nothing but noise, and has the state's type."""
    case, bad, foreign = _case(guide), 0, 0
    for name, process in GaussianProcess.examples().items():
        law = points(process)
        guided = case.make(guide, law, strength=0.9)
        own = {"label": torch.arange(6) % 2 + 1} if case.told else {}
        for t in (0.0, 1e-6, 1e-3, 0.5, 0.999, 1 - 1e-6, 1.0):
            time = torch.tensor(t, dtype=torch.float64)
            xt = process.noise(torch.zeros(6, 2), time, effort.seeds(6, "ends", name, str(t)))
            mean = guided(xt, time, **own).mean
            bad += int((~mean.isfinite()).sum())
            foreign += mean.dtype != torch.float32
    yield at_most("numbers that are none", bad, 0)
    yield at_most("beliefs of another type", foreign, 0)

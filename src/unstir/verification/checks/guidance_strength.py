"""How strong a guidance: the error against the exact conditional law by strength, where that law is known."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.guidance.classifier import ClassifierGuidance
from unstir.metrics.base import SampleSet
from unstir.metrics.sliced_wasserstein import SlicedWasserstein
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import Sampler, SamplerState, follow, sample, time_grid
from unstir.samplers.presets import dpm_solver_pp_2m
from unstir.verification.base import Curve, Effort, Measured, Plot, claim
from unstir.verification.statistics import at_most

__all__ = ["over_guidance_is_not_the_power_of_a_likelihood", "strength_is_right_where_theory_has_it"]

_WANTED = 1  # the label


def labelled(process: GaussianProcess, widening: float = 0.0) -> MixtureDenoiser:
    """Four blobs, two of each label, near enough to be mistaken."""
    means = [[1.0, 0.6], [0.4, -0.8], [-0.8, 0.2], [0.0, 1.6]]
    variances = torch.tensor([0.12, 0.2, 0.2, 0.15], dtype=torch.float64) + widening
    return MixtureDenoiser([0.3, 0.2, 0.3, 0.2], means, variances, process, labels=[1, 1, 2, 2])


class _Wanted(Denoiser):
    """A labelled law, of which one label is asked for."""

    def __init__(self, law: Any) -> None:
        super().__init__()
        self.law, self.process = law, law.process

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Any:
        """The belief given the label, whatever else is told."""
        return self.law(xt, t, drop, label=_ones(xt))


def _ones(xt: Tensor) -> Tensor:
    return torch.full((len(xt),), _WANTED, dtype=torch.int64)


def _told(law: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """log p(label | x_t)."""
    return lambda xt, t: law.log_density(xt, t, label=_ones(xt)) - law.log_density(xt, t)


def _missing(law: Any) -> Callable[[Tensor], Tensor]:
    """-log p(label | x_0)."""
    return lambda x0: law.log_density(x0, 0.0) - law.log_density(x0, 0.0, label=_ones(x0))


def _label(value: int) -> dict[str, Tensor]:
    return {"label": torch.tensor([value])}


# how a guide is made around the law, with which strength (if any) it is exact, and the sampler that this takes
Setting = tuple[Callable[[type, Any, float], Denoiser], float | None, Sampler]
SETTINGS: dict[str, Setting] = {
    "ClassifierFreeGuidance": (lambda guide, law, w: guide(law, w), 0.0, dpm_solver_pp_2m()),
    "ClassifierGuidance": (lambda guide, law, w: guide(law, _told(law), w), 1.0, dpm_solver_pp_2m()),
    "NegativeGuidance": (lambda guide, law, w: guide(law, _label(2), w), 0.0, dpm_solver_pp_2m()),
    "AutoGuidance": (
        lambda guide, law, w: guide(_Wanted(labelled(law.process, 0.25)), _Wanted(labelled(law.process, 0.5)), w),
        None,
        dpm_solver_pp_2m(),
    ),
    "ComposedConditions": (lambda guide, law, w: guide(law, {"one": (_label(1), 1.0)}, w), 1.0, dpm_solver_pp_2m()),
    "ProductOfExperts": (lambda guide, law, w: guide(law, {"one": (_Wanted(law), 1.0)}, w), 1.0, dpm_solver_pp_2m()),
    "EnergyGuidance": (
        lambda guide, law, w: guide(law, _missing(law), w, on="draws", candidates=32),
        1.0,
        AncestralSampler(),
    ),
}


def errors_by_strength(
    made: Callable[[float], Denoiser],
    sampler: Sampler,
    reference: Tensor,
    strengths: Sequence[float],
    steps: int,
    seed: int,
) -> list[float]:
    """Sliced Wasserstein distance of guided draws to draws (count, d) of the wanted law, one a strength.

    The floor, what two sets of the wanted law itself differ by, is that of two halves of a reference twice as large.
    """
    count, distance = len(reference), SlicedWasserstein(32)
    wanted, found = SampleSet(reference), []
    for strength in strengths:
        drawn = sample(
            made(strength),
            sampler,
            reference.shape[1:],
            count,
            steps=steps,
            seed=seed,
            batch=count,
            dtype=torch.float64,
        )
        found.append(distance.measure(SampleSet(drawn), wanted, Seeds.range(seed, 1).at("strength")).value)
    return found


@claim(
    "guidance",
    "auto",
    "classifier",
    "classifier-free",
    "composed-conditions",
    "energy",
    "negative",
    "product-of-experts",
)
def strength_is_right_where_theory_has_it(guide: type, effort: Effort) -> Iterator[Measured]:
    """Against the exact conditional law the error is at its floor at the strength that theory tells, and grows beyond.

    A condition's own strength is 0 beyond it, a likelihood's 1; a weak model sharpens a wide one at some strength.
    """
    name = next(kind.__name__ for kind in guide.__mro__ if kind.__name__ in SETTINGS)
    make, right, sampler = SETTINGS[name]
    law, count = labelled(GaussianProcess()), effort.of(400, 2_000)
    drawing = isinstance(sampler, AncestralSampler)  # exact in any number of steps, and slow
    strengths = [0.0, 1.0, 2.0] if drawing else [0.0, 0.5, 1.0, 2.0, 4.0, 8.0]
    steps = effort.of(4, 8) if drawing else effort.of(15, 40)
    exact = law.draw(effort.seeds(2 * count, "exact"), label=torch.ones(2 * count, dtype=torch.int64))
    reference, other = exact[:count], exact[count:]
    floor = (
        SlicedWasserstein(32)
        .measure(SampleSet(other), SampleSet(reference), Seeds.range(effort.seed, 1).at("strength"))
        .value
    )

    def made(w: float) -> Denoiser:
        guided = make(guide, law, w)
        wanted = {"label": torch.full((count,), _WANTED)}
        return guided.given(wanted) if name in ("ClassifierFreeGuidance", "NegativeGuidance") else guided

    errors = errors_by_strength(made, sampler, reference, strengths, steps, effort.seed)
    plot = Plot(
        "Distance to the exact conditional law",
        "strength",
        "sliced Wasserstein distance",
        (
            Curve("guided", strengths, errors),
            Curve("two exact sets", [strengths[0], strengths[-1]], [floor, floor], dashed=True),
        ),
    )
    best = strengths[int(np.argmin(errors))]
    if right is None:
        yield Measured("strength of least error", best, low=0.5, high=2.0, plot=plot)
        yield at_most("least error, of that without guidance", min(errors) / errors[0], 0.7)
        yield Measured("error at strength 8, of the least", errors[-1] / min(errors), low=2.0)
        return
    # three times the floor: the chance of that for two sets of one law is far below one in ten million
    yield at_most(
        f"error at strength {right:g}, of two exact sets'", errors[strengths.index(right)] / floor, 3.0, plot=plot
    )
    if not drawing:  # whose candidates run out where the energies are large
        yield Measured(
            "error at strength 8, of that at the right one", errors[-1] / errors[strengths.index(right)], low=2.0
        )
    if right > 0:
        yield Measured(
            "error at strength 0, of that at the right one", errors[0] / errors[strengths.index(right)], low=2.0
        )


@claim("guidance", "classifier")
def over_guidance_is_not_the_power_of_a_likelihood(
    guide: type[ClassifierGuidance], effort: Effort
) -> Iterator[Measured]:
    """Guided by p(y|x)^s the flow has the law p(x)p(y|x)^s at s = 1 only: beyond, it overshoots and is too narrow.

    Two unit Gaussians at -1 and 1, and s = 16: mean 4.46 and deviation 0.45 where the tilted law has 2.00 and 0.65.
    The flow maps normal noise, of which quadrature (Gauss and Hermite) takes the mean over; it does not depend on the
    schedule. It starts from much noise: what is pushed at the level sigma is a share of 1/sigma of the way.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    line = np.linspace(-12, 14, 20_001)
    for s, (mean, deviation) in {1.0: (1.0, 1.0), 16.0: (4.46, 0.45)}.items():
        law = MixtureDenoiser(
            [0.5, 0.5], [[-1.0], [1.0]], [1.0, 1.0], GaussianProcess(EDMSchedule(sigma_max=4000.0)), labels=[0, _WANTED]
        )
        times = time_grid(law.process, {"name": "karras", "sigma_max": 4000.0}, effort.of(80, 400))
        start = law.process.schedule.sigma(times[0]) * torch.from_numpy(nodes)[:, None]
        state = SamplerState(start, Seeds.range(0, len(nodes)))
        ends = follow(guide(law, _told(law), s), dpm_solver_pp_2m(), state, times).tensor[:, 0].numpy()
        centre = float(weights @ ends)
        spread = float(np.sqrt(weights @ (ends - centre) ** 2))
        tilted = np.exp(-((line + 1) ** 2) / 2) + np.exp(-((line - 1) ** 2) / 2)
        tilted = tilted * (1 + np.exp(-2 * line)) ** -s
        middle = float((line * tilted).sum() / tilted.sum())
        width = float(np.sqrt(((line - middle) ** 2 * tilted).sum() / tilted.sum()))
        off = effort.of(0.06, 0.01)
        yield Measured(
            f"strength {s:g}: mean of the flow", centre, mean - off, mean + off, note=f"tilted law {middle:.3f}"
        )
        yield Measured(
            f"strength {s:g}: deviation of the flow",
            spread,
            deviation - off,
            deviation + off,
            note=f"tilted law {width:.3f}",
        )
        exact = (1.0, 1.0) if s == 1 else (2.0, 0.65)
        yield at_most(
            f"strength {s:g}: tilted law's mean and deviation", max(abs(middle - exact[0]), abs(width - exact[1])), 5e-3
        )

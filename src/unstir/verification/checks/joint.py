"""Claims about joint states: parts with samplers, clocks and knowledge of their own."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from unstir.exact.joint import JointMixtureDenoiser
from unstir.guidance.given_parts import GivenParts
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import SamplerState, follow, sample, time_grid
from unstir.samplers.exponential import multistep
from unstir.samplers.joint import JointSampler
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.spaces import numbers, same_moments
from unstir.verification.statistics import at_most, same_law

__all__ = ["given_parts_condition_the_law", "independent_parts_go_as_alone", "parts_with_their_own_samplers"]


def _end(state: SamplerState) -> Any:
    return state.x


def _law() -> Any:
    return JointMixtureDenoiser.examples()["number, angle and token"]


@claim("samplers", "joint")
def parts_with_their_own_samplers(sampler: Any, effort: Effort) -> Iterator[Measured]:
    """Numbers by a multistep method of order 2, beside ancestral angles and tokens, have the joint law of the data."""
    count, steps = effort.of((1_500, 30), (20_000, 200))
    law = _law()
    seeds = effort.seeds(count, "joint sampler")
    for name, made in {
        "ancestral in all parts": JointSampler(),
        "multistep with noise for the numbers": JointSampler({"place": multistep(2, 1.0)}),
    }.items():
        drawn = sample(law, made, law.shape, seeds=seeds, steps=steps, batch=count, dtype=torch.float64)
        data = law.draw(seeds.at("data"))
        first, second = numbers(law.process, drawn), numbers(law.process, data)
        yield same_law(f"{name}, {steps} steps", first, second)
        yield same_moments(f"{name}, {steps} steps: moments", first, second)


@claim("samplers", "joint")
def independent_parts_go_as_alone(sampler: Any, effort: Effort) -> Iterator[Measured]:
    """Parts that do not hang together take the very steps that they take alone, to rounding."""
    law = _law()
    alone, own, count = law.laws["place"][0], multistep(2), 50
    joint: Any = JointMixtureDenoiser([1.0], {name: [laws[0]] for name, laws in law.laws.items()}, clock="place")
    seeds, times = effort.seeds(count, "alone"), time_grid(joint.process, "karras", 12)
    start = joint.process.prior(joint.shape, seeds.at("prior"), times[0], torch.float64)
    together = _end(follow(joint, JointSampler({"place": own}), SamplerState(start, seeds), times))["place"]
    apart = _end(follow(alone, own, SamplerState(start["place"], seeds.at("place")), times))
    yield at_most("largest difference", (together - apart).abs().max(), 1e-12)


@claim("guidance", "given-parts")
def given_parts_condition_the_law(guide: Any, effort: Effort) -> Iterator[Measured]:
    """With some parts known the others are drawn from the exact conditional law, of the components' new weights."""
    count = effort.of(3_000, 20_000)
    law = _law()
    seeds = effort.seeds(count, "given")
    known = {"kind": torch.tensor([0]), "angle": torch.tensor([0.15], dtype=torch.float64)}
    drawn = sample(
        GivenParts(law, known), AncestralSampler(), {"place": law.shape["place"]}, seeds=seeds, steps=8, batch=count,
        dtype=torch.float64,
    )  # fmt: skip
    logs = law.log_weights + torch.stack(
        [
            sum((law.laws[name][k].log_density(value[None], 0.0) for name, value in known.items()), torch.zeros(1))[0]
            for k in range(len(law.log_weights))
        ]
    )
    conditional = JointMixtureDenoiser(logs.softmax(0), {"place": list(law.laws["place"])})
    truth = conditional.draw(seeds.at("truth"))
    first, second = (np.asarray(part["place"].flatten(1)) for part in (drawn, truth))
    yield same_law("the number, given angle and token", first, second)
    far = law.draw(seeds.at("anything"))["place"].flatten(1).numpy()
    yield at_most("power: chance of the unconditional law to pass the same test", same_law("", far, second).value, 1e-6)

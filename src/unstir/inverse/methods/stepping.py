"""What stepping methods share: a sampler of their own that holds the measurement, and the times it goes along."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.denoisers.base import Denoiser
from unstir.denoisers.variances import linear_variance
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods.guided import deviation_of
from unstir.processes.grids import straight_flow
from unstir.samplers.base import Sampler, SamplerState


@dataclass(frozen=True, eq=False)
class MeasuredSampler(Sampler):
    """A sampler that knows a measurement, for Gaussian noise on all elements; ``options`` is the method.

    Where the caller names no grid it goes along a straight flow's times: these methods draw much of their noise anew at
    each level, and need most steps where the noise is as large as the data's structure.
    """

    measurement: Measurement
    options: Any
    count: int = 0
    deviation: float = 1.0
    order = 1
    spaces = frozenset({"euclidean"})

    def prepared(self, denoiser: Denoiser, shape: Any, steps: int, **how: Any) -> "MeasuredSampler":
        """Told the number of steps and the data's deviation, which its own times are made for."""
        return replace(self, count=steps, deviation=deviation_of(denoiser, self.options.deviation))

    def own_times(self, schedule: Any) -> Tensor | None:
        """Even steps of sigma/(sigma + half the data's deviation)."""
        return straight_flow(schedule, self.count, self.deviation / 2) if self.count else None


def width_at(log_snr: Tensor, deviation: float) -> Tensor:
    """How far clean data may be from a guess of it: what the best linear estimate leaves, float64."""
    return linear_variance(log_snr, deviation).sqrt()


def refuse_padding(state: SamplerState, name: str) -> None:
    """For methods that mix the elements of a sample, whose operator knows nothing of padded places."""
    if state.mask is not None:
        raise InputError(f"{name} mixes the elements of a sample, and does not know padded sets; take twisted")


def level_of(schedule: Any, t: Tensor) -> Tensor:
    """sigma/alpha at a time, float64."""
    return torch.exp(-schedule.log_snr(t) / 2)

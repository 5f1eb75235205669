r"""A sampler whose times and coefficients were found on the model itself.

In the variables :math:`y = x/\alpha`, :math:`r = \sigma/\alpha` the probability-flow ODE is the same for every
schedule, and each step of any explicit multistep method is

.. math:: y_{i+1} = \mu + k_i (y_i - \mu) + \sum_j b_{ij} (\hat x_0^{(i-j)} - \mu)

with the beliefs :math:`\hat x_0` met so far and a fixed centre :math:`\mu`. What distinguishes the methods are the
numbers k and b, which theory chooses for polynomials, and ``calibration.calibrate`` for the model at hand.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.files import write_whole
from unstir.denoisers.base import Denoiser
from unstir.samplers.base import EUCLIDEAN, Sampler, SamplerState

_FORMAT = "unstir calibrated sampler 1"


@dataclass(frozen=True)
class CalibratedSampler(Sampler):
    """A multistep method made for one denoiser and one number of calls, along its own times.

    ``levels`` are the noise levels sigma/alpha: the first, where the noise is drawn; those at which the denoiser is
    called; and 0. The step from the first to the second takes no call: so high up the flow is a straight contraction
    towards the ``centre``, the mean of the data, of a sample's shape. ``rows`` holds for each step the factor k of
    the state and the factors b of the beliefs, newest first. ``told`` is what the calibration has to say of itself.

    ``calibration.calibrate`` makes one. Given to ``sample``, it brings its own times.

    Reference: Shaul et al., Bespoke non-stationary solvers (2024), for the form; Watson et al., Learning fast samplers
    by differentiating through sample quality (2022). Here the factors are regressions, one step after the other.
    """

    levels: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...]
    centre: Tensor = field(repr=False, compare=False)
    told: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    order = 1
    spaces = EUCLIDEAN

    def __post_init__(self) -> None:
        falling = all(later < earlier for earlier, later in pairwise(self.levels))
        if len(self.levels) < 3 or not falling or self.levels[-1] != 0 or len(self.rows) != len(self.levels) - 1:
            raise InputError(
                "a calibrated sampler has at least three falling noise levels, the last of them 0, and a row of "
                f"coefficients for each step; seen the levels {self.levels} and {len(self.rows)} rows"
            )

    def calls(self, steps: int | None = None) -> int:
        """The denoiser's calls, one less than the steps."""
        return len(self.levels) - 2

    def own_times(self, schedule: Any) -> Tensor:
        """Its falling times on a schedule, float64."""
        last = math.exp(-float(schedule.log_snr(1.0)) / 2)
        if self.levels[0] > last * (1 + 1e-9):
            raise InputError(
                f"this sampler starts from the noise level {self.levels[0]:g}, but {type(schedule).__name__} ends at "
                f"{last:g}; calibrate one for this process"
            )
        times = schedule.time_at_sigma(torch.tensor(self.levels[:-1], dtype=torch.float64))
        return torch.cat((times, times.new_zeros(1)))

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        if state.step >= len(self.rows):
            raise InputError(f"this sampler has {len(self.rows)} steps along its own times; seen step {state.step + 1}")
        schedule = denoiser.process.schedule
        before, after = schedule.alpha(t).item(), schedule.alpha(s).item()
        level = schedule.sigma(t).item() / before
        if abs(level - self.levels[state.step]) > 1e-6 * level:
            raise InputError(
                f"step {state.step + 1} of this sampler starts from the noise level {self.levels[state.step]:.6g}, not "
                f"{level:.6g}: it goes along its own times (own_times) only"
            )
        if state.tensor.shape[1:] != self.centre.shape:
            raise InputError(
                f"this sampler was made for samples of shape {tuple(self.centre.shape)}; seen "
                f"{tuple(state.tensor.shape[1:])}"
            )
        keep, *weights = self.rows[state.step]
        centre = self.centre.to(state.tensor)
        if state.step == 0:
            means: tuple[Tensor, ...] = ()
            mean = centre.expand_as(state.tensor)
        else:
            mean = denoiser(state.tensor, t).mean
            means = (mean, *state.history)[: len(weights)]
        x = torch.add(state.tensor * (keep * after / before), centre, alpha=after * (1 - keep - math.fsum(weights)))
        for weight, past in zip(weights, means, strict=True):
            x = torch.add(x, past, alpha=after * weight)
        return state.advance(x, mean, means)

    def save(self, path: Path) -> None:
        """Writes the sampler to a safetensors file, whole or not at all."""
        from safetensors.torch import save

        told = {"format": _FORMAT, "levels": self.levels, "rows": self.rows, "told": dict(self.told)}
        content = save({"centre": self.centre.contiguous()}, metadata={"unstir": json.dumps(told)})
        write_whole(path, content)

    @classmethod
    def load(cls, path: Path) -> "CalibratedSampler":
        """Reads what ``save`` wrote; InputError for a file that is something else."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                told = json.loads((file.metadata() or {})["unstir"])
                if told["format"] != _FORMAT:
                    raise KeyError(told["format"])
                return cls(
                    _numbers(told["levels"]),
                    tuple(map(_numbers, told["rows"])),
                    file.get_tensor("centre"),
                    told["told"],
                )
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise InputError(f"{path}: not a calibrated sampler ({error}); remove it, and it is made anew") from error


def _numbers(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)

"""Running a method: posterior draws and what is told beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import map_state
from unstir.denoisers.base import Denoiser
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods.base import Method
from unstir.samplers.base import Sampler, SamplerState, sample


@dataclass(frozen=True)
class Solution:
    """Draws from p(x_0 | y), all of one weight, and what the method told of itself.

    ``samples`` (count, *shape). ``diagnostics`` by name, a row for each population of particles: of ``twisted``,
    ``log_evidence`` (log p(y) in nats) and ``effective_sample_size`` by step.
    """

    samples: Any
    diagnostics: Mapping[str, Tensor]

    @property
    def mean(self) -> Any:
        """The mean of the draws, of the shape of one sample, float64."""
        return map_state(lambda part: part.double().mean(0), self.samples)

    @property
    def deviation(self) -> Any:
        """The standard deviation of the draws, element by element."""
        return map_state(lambda part: part.double().std(0), self.samples)

    def interval(self, level: float = 0.95) -> tuple[Any, Any]:
        """The central interval of each element that holds the share ``level`` of the draws."""
        if not 0 < level < 1:
            raise InputError(f"an interval holds a share between 0 and 1; seen {level}")
        tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
        ends = map_state(lambda part: torch.quantile(part.double(), tails.to(part.device), dim=0), self.samples)
        return map_state(lambda part: part[0], ends), map_state(lambda part: part[1], ends)


def solve(
    denoiser: Denoiser,
    measurement: Measurement,
    method: str | Mapping[str, Any] | Method = "twisted",
    count: int = 64,
    *,
    steps: int | None = None,
    grid: str | Mapping[str, Any] | Tensor | None = None,
    seed: int = 0,
    seeds: Seeds | None = None,
    condition: Mapping[str, Tensor] | None = None,
    batch: int = 64,
    dtype: torch.dtype = torch.float32,
    callback: Callable[[SamplerState, Tensor, Tensor], None] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Solution:
    """Draws ``count`` samples from the law of the clean data given a measurement.

    ``method`` is a name of the catalogue (`unstir list methods`), with options, or a ``Method``; ``steps`` its own by
    default. All else is as in ``samplers.sample``, with the same promise: a draw is the same whichever others are asked
    for beside it.

    Raises InputError for a method that does not serve the process or the measurement, and names those that do.
    """
    made: Method = method if isinstance(method, Method) else build("methods", method)
    made.check(denoiser, measurement)
    guided, sampler = made.pair(denoiser, measurement)
    return drawn(
        guided,
        sampler,
        measurement.operator.shape,
        count,
        made.diagnostics,
        steps=made.steps if steps is None else steps,
        grid=grid,
        seed=seed,
        seeds=seeds,
        condition=condition,
        batch=made.batch(batch),
        dtype=dtype,
        callback=callback,
        progress=progress,
    )


def drawn(
    denoiser: Denoiser,
    sampler: Sampler,
    shape: Any,
    count: int,
    diagnostics: Callable[[SamplerState], Mapping[str, Tensor]],
    callback: Callable[[SamplerState, Tensor, Tensor], None] | None = None,
    **options: Any,
) -> Solution:
    """Samples with what ``diagnostics`` finds in every batch's last state; ``options`` are ``samplers.sample``'s."""
    told: list[Mapping[str, Tensor]] = []

    def watch(state: SamplerState, t: Tensor, s: Tensor) -> None:
        if s == 0:
            told.append(diagnostics(state))
        if callback is not None:
            callback(state, t, s)

    samples = sample(denoiser, sampler, shape, count, callback=watch, **options)
    names = told[0] if told else {}
    return Solution(samples, {name: torch.cat([batch[name] for batch in told]) for name in names})

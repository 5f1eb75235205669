r"""Encoding and decoding: from data to the noise that it comes from along the probability flow, and back.

The flow is a one-to-one map between the data at a smallest noise level and the noise at the largest. Three ways go
along it (see ``inversion_ways.py``): ``InverseSteps`` undoes the steps of a given sampler exactly, ``ReversedSteps``
takes DDIM's steps the other way round (cheap, of first order), ``AlongFlow`` solves the equation itself to a tolerance.
What a way is worth is measured, never promised: ``encode`` decodes again and tells each sample's error.

The last step of a sampler, into no noise at all, lands on the belief's mean, which many states share; it has no
inverse. Encoding therefore takes the data for a state at the grid's smallest noise level, and decoding ends there;
``Encoded.landing`` tells how far the belief's mean at that level is from the data, which is what ``land`` would change.

Reference: Song, Meng, Ermon, Denoising diffusion implicit models (2021), section 5.4; Song et al., Score-based
generative modeling through SDEs (2021), section D.3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError, NonFiniteError
from unstir.core.state import apply_mask, mean_per_sample
from unstir.denoisers.base import Denoiser, evaluating
from unstir.denoisers.posteriors import Posterior
from unstir.samplers.base import EUCLIDEAN, time_grid
from unstir.samplers.inversion_ways import InverseSteps, Way


@dataclass(frozen=True)
class Encoded:
    """What encoding found, one row a sample.

    ``noise`` is the state at the grid's first time. ``round_trip`` is the root-mean-square distance, in the data's
    unit and per element, between the data and what decoding that noise gave; ``landing`` the same for the belief's
    mean at the smallest noise level. ``calls`` is the number of the denoiser's calls that encoding took, (batch,),
    the same for all that were encoded together.
    """

    noise: Tensor
    round_trip: Tensor
    landing: Tensor
    calls: Tensor


@torch.no_grad()
def encode(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    way: Way | None = None,
    steps: int = 20,
    grid: str | Mapping[str, Any] | Tensor = "log-snr-uniform",
    condition: Mapping[str, Tensor] | None = None,
    batch: int = 64,
) -> Encoded:
    """The noise that the data ``x0``, (batch, ...), comes from, and how well it leads back.

    ``way`` is ``InverseSteps()`` by default. ``grid`` and ``steps`` are those of ``sample``; its last noisy time is
    where encoding starts (``sigma_min``), its first where it ends. ``condition`` has a row a sample. ``batch`` samples
    are encoded at a time.

    Raises InputError for data or options that do not fit, NonFiniteError where the noise is not finite.
    """
    way = way or InverseSteps()
    times = _noisy_times(denoiser, grid, steps)
    if not isinstance(x0, Tensor) or x0.ndim < 2 or not x0.is_floating_point():
        raise InputError(f"data to encode is one tensor of real numbers, batch first; seen {_shown(x0)}")
    if not bool(x0.isfinite().all()):
        raise InputError("data to encode must be finite; it holds NaN or infinity")
    alpha = denoiser.process.schedule.alpha(times[-1]).item()
    parts: list[Encoded] = []
    with evaluating(denoiser):
        for rows, bound, mask in _chunks(denoiser, x0, condition, batch):
            counted = _Counted(bound)
            clean = apply_mask(rows, mask)
            noise = way.up(counted, alpha * clean, times)
            if not bool(noise.isfinite().all()):
                wrong = (~noise.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
                raise NonFiniteError(f"the noise of rows {wrong[:5]} is not finite: start from more noise (sigma_min)")
            calls = torch.full((len(rows),), counted.calls)
            again = way.down(bound, noise, times) / alpha
            landed = bound(alpha * clean, times[-1]).mean
            back, landing = (mean_per_sample((end - clean).double().square(), mask).sqrt() for end in (again, landed))
            parts.append(Encoded(noise, back, landing, calls))
    if not parts:
        none = x0.new_zeros(0, dtype=torch.float64)
        return Encoded(x0.clone(), none, none.clone(), torch.zeros(0, dtype=torch.int64))
    columns = zip(*((part.noise, part.round_trip, part.landing, part.calls) for part in parts), strict=True)
    return Encoded(*(torch.cat(column) for column in columns))


@torch.no_grad()
def decode(
    denoiser: Denoiser,
    noise: Tensor,
    *,
    way: Way | None = None,
    steps: int = 20,
    grid: str | Mapping[str, Any] | Tensor = "log-snr-uniform",
    condition: Mapping[str, Tensor] | None = None,
    batch: int = 64,
    land: bool = False,
) -> Tensor:
    """The data that ``noise``, (batch, ...) at the grid's first time, leads to.

    Options are those of ``encode`` and must be the same for the way back to be the way there; ``condition`` may be
    another one, which edits the data. The result is at the smallest noise level, in the data's scale; ``land`` replaces
    it by the belief's mean there, as a sampler's last step does.
    """
    way = way or InverseSteps()
    times = _noisy_times(denoiser, grid, steps)
    parts: list[Tensor] = []
    with evaluating(denoiser):
        for rows, bound, mask in _chunks(denoiser, noise, condition, batch):
            x = way.down(bound, apply_mask(rows, mask), times)
            schedule = denoiser.process.schedule
            clean = bound(x, times[-1]).mean if land else x / schedule.alpha(times[-1]).item()
            parts.append(apply_mask(clean, mask))
    return torch.cat(parts) if parts else noise.clone()


class _Counted(Denoiser):
    """A denoiser that counts its calls."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser, self.process, self.calls = denoiser, denoiser.process, 0

    def forward(self, xt: Any, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The other's belief."""
        self.calls += 1
        return self.denoiser(xt, t, drop, **condition)


def _noisy_times(denoiser: Denoiser, grid: str | Mapping[str, Any] | Tensor, steps: int) -> Tensor:
    space = getattr(denoiser.process, "space", None)
    if space not in EUCLIDEAN:
        raise InputError(
            f"data is encoded along the probability flow, which belongs to Gaussian noise on a Euclidean space; "
            f"seen {type(denoiser.process).__name__} on the space {space!r}"
        )
    times = time_grid(denoiser.process, grid, steps)[:-1]
    if len(times) < 2:
        raise InputError("a way between data and noise needs two noise levels: take a grid of 2 or more steps")
    return times


def _chunks(
    denoiser: Denoiser, rows: Tensor, condition: Mapping[str, Tensor] | None, batch: int
) -> list[tuple[Tensor, Denoiser, Tensor | None]]:
    """The rows by the batch, each with the denoiser told their conditions, and their mask."""
    if batch < 1:
        raise InputError(f"the batch must hold at least 1 sample; seen {batch}")
    condition = dict(condition or {})
    for name, values in condition.items():
        if not values.ndim or len(values) != len(rows):
            raise InputError(f"the condition {name!r} must have one row for each of the {len(rows)} samples")
    found = []
    for start in range(0, len(rows), batch):
        part = {name: values[start : start + batch] for name, values in condition.items()}
        found.append((rows[start : start + batch], denoiser.given(part), part.get("mask")))
    return found


def _shown(value: object) -> str:
    return f"{tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__

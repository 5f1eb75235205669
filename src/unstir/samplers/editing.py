r"""Editing: from data part of the way into the noise, and back by any sampler.

Three ways share a time grid. ``edit`` noises the data to the level at the share ``strength`` of the grid's steps before
its end and samples back (SDEdit): strength 1 is plain sampling, strength 0 leaves everything as it is, and between
them it is chosen how much of the data outlives the noise. With a mask ``keep`` the places to be kept are noised anew
after every step and come out as they went in. ``edit_by_inversion`` goes up along the probability flow under one
condition and down under another. ``variations`` are edits of one sample with different noise.

What an edit is in law is known: with the exact belief and a sampler without error, ``edit`` draws from
:math:`\int p(x_0|x_t)\,q(x_t|\text{data})\,dx_t`, the belief about clean data averaged over the noise.

Reference: Meng et al., SDEdit: guided image synthesis and editing with stochastic differential equations (2022),
section 3; Song, Meng, Ermon, Denoising diffusion implicit models (2021), section 5.4, for inversion; Lugmayr et al.,
RePaint (2022), section 4.1, for known places that are noised along.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import State, batch_size, map_state, take
from unstir.denoisers.base import Denoiser
from unstir.processes.bridge import BridgeProcess
from unstir.samplers.base import Callback, Sampler, SamplerState, sample, time_grid
from unstir.samplers.exponential import multistep
from unstir.samplers.inversion import decode, encode
from unstir.samplers.inversion_ways import Way

_SMALLEST = 0.002  # noise level of the last step's start, where a grid does not say


def edit(
    denoiser: Denoiser,
    x0: State,
    strength: float | int = 0.5,
    *,
    sampler: Sampler | None = None,
    steps: int = 20,
    grid: str | Mapping[str, Any] | Tensor | None = None,
    start_at: float | Tensor | None = None,
    keep: Any = None,
    seed: int = 0,
    seeds: Seeds | None = None,
    condition: Mapping[str, Tensor] | None = None,
    batch: int = 64,
    dtype: torch.dtype = torch.float32,
    callback: Callback | None = None,
    progress: Callable[[int], object] | None = None,
) -> Any:
    """Edits of the data ``x0`` (batch, ...), one a row: noised to the level ``strength`` and sampled back.

    ``strength`` from 0 to 1 is the share of the grid's steps that are gone, rounded to whole ones, and at least one of
    them unless it is 0. ``start_at`` names the time itself in its place, and the grid's times below it are gone along.
    ``keep`` is boolean, of one sample's shape or its last axes (of a joint state by the names of its parts): where it
    is true, the data is kept. ``condition`` has one row a sample; the sampler is DPM-Solver++'s stochastic second-order
    one by default. All else is as in ``sample``, whose promise holds: an edit is the same whichever others are made
    beside it.

    Raises InputError for a strength out of range, a mask that does not fit, a bridge (whose data is not noised), data
    outside the space.
    """
    process = _checked_process(denoiser)
    if seeds is None:
        seeds = Seeds.range(seed, batch_size(x0))
    if batch_size(x0) != len(seeds):
        raise InputError(f"{len(seeds)} seeds for {batch_size(x0)} samples of data; give one a sample")
    _check_data(process, x0)
    x0 = map_state(lambda part: part.to(dtype) if part.is_floating_point() else part, x0)
    kept = None if keep is None else _kept_places(keep, x0)
    times = time_grid(process, process.grid if grid is None else grid, steps)
    times = times_from(times, strength) if start_at is None else times_below(times, start_at)
    if times is None or not batch_size(x0):
        return map_state(torch.clone, x0)
    sampler = sampler or multistep(2, stochasticity=1.0)
    mask = (condition or {}).get("mask")
    start: Any = None
    if start_at is not None or strength < 1:
        start = process.noise(x0, times[0], seeds.at("prior"), mask)
    if kept is not None:
        sampler = KeepingSampler(sampler, x0, kept, seeds.samples)
    return sample(
        denoiser,
        sampler,
        map_state(lambda part: tuple(part.shape[1:]), x0),
        seeds=seeds,
        condition=condition,
        start=start,
        steps=steps,
        grid=times,
        batch=batch,
        dtype=dtype,
        callback=callback,
        progress=progress,
    )


def variations(denoiser: Denoiser, x0: State, count: int, strength: float | int = 0.5, **how: Any) -> Any:
    """``count`` edits of one sample, a batch of one, that differ by their noise alone; options as for ``edit``."""
    if batch_size(x0) != 1:
        raise InputError(f"variations are made of one sample; seen a batch of {batch_size(x0)}")
    if count < 1:
        raise InputError(f"at least 1 variation must be asked for; seen {count}")
    return edit(denoiser, map_state(lambda part: part.expand(count, *part.shape[1:]), x0), strength, **how)


def denoise_from(
    denoiser: Denoiser,
    y: Tensor,
    sigma: float | int,
    *,
    sampler: Sampler | None = None,
    steps: int = 20,
    grid: str | Mapping[str, Any] | Tensor = "karras",
    seed: int = 0,
    seeds: Seeds | None = None,
    dtype: torch.dtype = torch.float32,
    **how: Any,
) -> Tensor:
    r"""Draws of the clean data behind y = x_0 + noise of the deviation ``sigma``, (batch, ...): the exact start.

    :math:`\alpha_t y` with :math:`\sigma_t/\alpha_t` = sigma has the law of the process at the time t, so that sampling
    back from there draws from the posterior p(x_0|y) itself, whatever the data's law; no approximation but the
    sampler's. ``grid`` by name is laid between that level and no noise, in ``steps`` steps; of given times those below
    it are taken. All else is as in ``sample``.

    Raises InputError for a process without such a time (noise larger than the process ever has), and other data.
    """
    process = _checked_process(denoiser)
    if not isinstance(y, Tensor) or not process.space == "euclidean":
        raise InputError(f"noise of one deviation belongs to Euclidean data; seen the space {process.space!r}")
    t = time_of_level(process, sigma)
    _check_data(process, y)
    if not isinstance(grid, Tensor):
        named = {"name": grid} if isinstance(grid, str) else dict(grid)
        smallest = min(float(named.get("sigma_min", _SMALLEST)), float(sigma) / 4)
        grid = time_grid(process, {**named, "sigma_min": smallest, "sigma_max": float(sigma)}, steps)
    return sample(
        denoiser,
        sampler or multistep(2, stochasticity=1.0),
        tuple(y.shape[1:]),
        seeds=Seeds.range(seed, len(y)) if seeds is None else seeds,
        start=(process.schedule.alpha(t).item() * y.double()).to(dtype),
        grid=times_below(grid, t),
        dtype=dtype,
        **how,
    )


def edit_by_inversion(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    source: Mapping[str, Tensor] | None = None,
    target: Mapping[str, Tensor] | None = None,
    strength: float | int = 1.0,
    way: Way | None = None,
    steps: int = 20,
    grid: str | Mapping[str, Any] | Tensor = "log-snr-uniform",
    keep: Any = None,
    batch: int = 64,
) -> Tensor:
    """The data that the noise behind ``x0`` under the conditions ``source`` leads to under ``target``; no draw is made.

    With the same conditions on both ways it is ``x0`` again, to the ``round_trip`` of ``encode``. ``strength``
    below 1 turns back where ``edit`` would start. Conditions have one row a sample.

    Raises InputError as ``encode`` does, and for a strength out of range or that leaves fewer than two noise levels.
    """
    process = _checked_process(denoiser)
    kept = None if keep is None else _kept_places(keep, x0)
    times = times_from(time_grid(process, grid, steps), strength)
    if times is None:
        return x0.clone()
    found = encode(denoiser, x0, way=way, grid=times, condition=source, batch=batch)
    made = decode(denoiser, found.noise, way=way, grid=times, condition=target, batch=batch)
    return made if kept is None else torch.where(kept, x0, made)


def times_from(times: Tensor, strength: float | int) -> Tensor | None:
    """The last part of falling times that an edit of this strength goes along; None where it goes nowhere."""
    if not isinstance(strength, float | int) or not 0 <= strength <= 1:
        raise InputError(f"the strength of an edit is a number from 0 (nothing) to 1 (all anew); seen {strength}")
    if strength == 0:
        return None
    taken = max(1, round(strength * (len(times) - 1)))
    return times[len(times) - 1 - taken :]


def times_below(times: Tensor, t: float | Tensor) -> Tensor:
    """The time ``t`` and those of the falling times that lie below it."""
    start = torch.as_tensor(t, dtype=torch.float64).reshape(())
    if not 0 < start <= 1:
        raise InputError(f"an edit starts at a time above 0 and of at most 1; seen {start.item():g}")
    # a first step of almost no length would cost a call and change nothing
    return torch.cat((start[None], times[times < start * (1 - 1e-6)]))


def time_of_level(process: Any, sigma: float | int) -> Tensor:
    """The time at which the process has noise of the deviation ``sigma`` relative to the data, float64 ()."""
    ends = [(-process.schedule.log_snr(torch.tensor(t, dtype=torch.float64)) / 2).exp().item() for t in (0.0, 1.0)]
    if not ends[0] < sigma <= ends[1]:
        raise InputError(
            f"the noise of this process has deviations above {ends[0]:.4g} and up to {ends[1]:.4g}, in the unit of the "
            f"encoded data; seen {sigma}"
        )
    low, high = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    for _ in range(80):  # bisection to the last bit, for any schedule
        middle = (low + high) / 2
        above = bool((-process.schedule.log_snr(middle) / 2).exp() >= sigma)
        low, high = (low, middle) if above else (middle, high)
    return high


@dataclass(frozen=True, eq=False)
class KeepingSampler(Sampler):
    """Another sampler, after each of whose steps the kept places are noised anew from the data; the last lands on it.

    ``x0`` has a row for each of the sample ``numbers``; other samples of a batch are kept at the first row's.
    """

    sampler: Sampler
    x0: Any
    kept: Any
    numbers: Tensor
    order = 1

    @property
    def spaces(self) -> frozenset[str]:  # type: ignore[override]
        """The other's."""
        return self.sampler.spaces

    @property
    def needs_variance(self) -> str | None:  # type: ignore[override]
        """The other's."""
        return self.sampler.needs_variance

    @property
    def calls_per_step(self) -> int | None:  # type: ignore[override]
        """The other's."""
        return self.sampler.calls_per_step

    def prepared(self, denoiser: Denoiser, shape: Any, steps: int, **how: Any) -> "KeepingSampler":
        return replace(self, sampler=self.sampler.prepared(denoiser, shape, steps, **how))

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        seeds = state.step_seeds().at("kept")
        known = self._rows(state.seeds.samples)
        if state.step == 0:  # what is kept is known from the first moment on
            noisy = denoiser.process.noise(known, t, seeds.at("first"), state.mask)
            state = replace(state, x=self._put(noisy, state.x))
        after = self.sampler.step(denoiser, state, t, s)
        noisy = known if s == 0 else denoiser.process.noise(known, s, seeds, state.mask)
        return replace(after, x=self._put(noisy, after.x))

    def _rows(self, samples: Tensor) -> Any:
        """The data of these sample numbers."""
        order = self.numbers.argsort()
        sorted_numbers = self.numbers[order].to(samples.device)
        place = torch.searchsorted(sorted_numbers, samples).clamp(max=len(order) - 1)
        rows = torch.where(sorted_numbers[place] == samples, order.to(samples.device)[place], 0)
        return take(map_state(lambda part: part.to(samples.device), self.x0), rows)

    def _put(self, known: Any, x: Any) -> Any:
        return map_state(lambda a, b, where: torch.where(where.to(b.device), a.to(b), b), known, x, self.kept)


def _checked_process(denoiser: Denoiser) -> Any:
    process = denoiser.process
    if isinstance(process, BridgeProcess):
        raise InputError("a bridge carries data to its source, not into noise: edit by another source instead")
    return process


def _check_data(process: Any, x0: Any) -> None:
    if not batch_size(x0):
        return
    inside = process.contains(x0)
    if not bool(inside.all()):
        rows = (~inside).nonzero().flatten().tolist()[:5]
        raise InputError(f"data to edit must lie in the space of {type(process).__name__}, and be finite; rows {rows}")


def _kept_places(keep: Any, x0: Any) -> Any:
    """The mask with a batch axis, as wide as the data, for each part."""
    if isinstance(x0, Mapping) != isinstance(keep, Mapping):
        raise InputError("`keep` has the parts of the data: a mask, or a mapping of the parts' names to masks")

    def fitted(part: Tensor, mask: Any) -> Tensor:
        mask = torch.as_tensor(mask)
        shape = tuple(part.shape[1:])
        if mask.dtype != torch.bool or tuple(mask.shape) != shape[len(shape) - mask.ndim :]:
            raise InputError(
                f"`keep` is boolean, of one sample's shape {shape} or of its last axes; "
                f"seen {mask.dtype} of shape {tuple(mask.shape)}"
            )
        return mask.expand(shape)[None]

    return map_state(fitted, x0, keep)

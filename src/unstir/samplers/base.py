"""What a sampler is, and the driver that runs one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from unstir.core.catalogue import build, entries
from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds
from unstir.core.state import State, apply_mask, concatenate, map_state, take, tensors_of
from unstir.denoisers.base import Denoiser, evaluating
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes.bridge import BridgeProcess

ANY_SPACE = frozenset({"any"})
EUCLIDEAN = frozenset({"euclidean", "centred"})  # and a linear subspace of it: every step is a sum within it
HEAVY_TAILED = frozenset({"heavy-tailed"})  # noise of another law, whose probability flow is the same equation
SPECTRAL = frozenset({"spectral"})  # Gaussian noise, by a schedule for each band of frequencies


@runtime_checkable
class NoisePath(Protocol):
    """Noise that belongs to stretches of log-SNR and not to steps: see ``brownian.BrownianPath``."""

    def normal_like(self, like: Tensor, seeds: Seeds, here: float, there: float) -> Tensor:
        """Standard normal numbers for the stretch between two values of log(alpha/sigma), ``here`` < ``there``."""
        ...


Projection: TypeAlias = Callable[[Tensor, Tensor | None], Tensor]


def projection(denoiser: Denoiser) -> Projection:
    """What this denoiser's process makes of standard normal noise and a mask, before it is added."""
    return getattr(denoiser.process, "project", apply_mask)


@dataclass(frozen=True)
class SamplerState:
    """Where a batch of trajectories stands; everything that a sampler may remember is in here.

    ``x`` is the state, ``seeds`` the addresses of its samples, ``step`` the number of steps taken,
    ``mean`` the last belief's mean, ``history`` whatever past predictions a multistep method keeps,
    ``path`` where its noise comes from if not from the step's own address, ``mask``, if sets are padded, where
    there are elements: elsewhere it has no noise; and ``project(noise, mask)`` what its process makes of noise (on a
    subspace, the part within it).
    """

    x: State
    seeds: Seeds
    step: int = 0
    mean: State | None = None
    history: tuple[Any, ...] = ()
    path: NoisePath | None = None
    mask: Tensor | None = None
    project: Projection = apply_mask

    def advance(self, x: State, mean: State | None, history: tuple[Any, ...] = ()) -> "SamplerState":
        """The state after one more step."""
        after = object.__new__(SamplerState)  # past the frozen constructor, which takes as long as a small tensor's sum
        after.__dict__.update(self.__dict__, x=x, mean=mean, history=history, step=self.step + 1)
        return after

    @property
    def tensor(self) -> Tensor:
        """The state of a process on one tensor."""
        if not isinstance(self.x, Tensor):
            raise InputError(f"this sampler steps one tensor; the state has the parts {sorted(self.x)}")
        return self.x

    def step_seeds(self) -> Seeds:
        """The addresses of this step's draws."""
        return self.seeds.at("step", self.step)

    def noise_like(self, like: Tensor, here: float, there: float) -> Tensor:
        """This step's standard normal noise; ``here`` < ``there`` are log(alpha/sigma) at its two ends."""
        if self.path is None:
            return self.project(self.step_seeds().normal_like(like), self.mask)
        return self.project(self.path.normal_like(like, self.seeds, here, there), self.mask)


class Sampler(ABC):
    """A rule for one step. It declares its ``order`` of convergence (weak order if stochastic) and ``spaces``."""

    order: ClassVar[float]
    spaces: ClassVar[frozenset[str]]
    needs_variance: ClassVar[str | None] = None  # of the belief: "any", or "learned" beside the mean
    calls_per_step: ClassVar[int | None] = 1  # the last step, into time 0, always takes one; None: as many as it needs

    @abstractmethod
    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        """One step from time t to the earlier time s (both scalar float64 tensors); s = 0 is the clean end."""

    def calls(self, steps: int) -> int | None:
        """The denoiser's calls in so many steps; None where the sampler decides that on its way."""
        return None if self.calls_per_step is None else (steps - 1) * self.calls_per_step + 1

    def steps_within(self, calls: int) -> int:
        """The most steps that so many calls are enough for."""
        return 1 if self.calls_per_step is None else max(1, (calls - 1) // self.calls_per_step + 1)

    def own_times(self, schedule: Any) -> Tensor | None:
        """The only times that it can go along, for a sampler that was made for some; None for all others."""
        return None

    def prepared(self, denoiser: Denoiser, shape: Any, steps: int, **how: Any) -> "Sampler":
        """The sampler as it goes to work: itself, but for one that has yet to be made for the denoiser."""
        return self

    def check(self, denoiser: Denoiser) -> None:
        """Refuses a process on a space that this sampler cannot serve, naming those that can."""
        space = denoiser.process.space
        if self.spaces != ANY_SPACE and space not in self.spaces:
            raise InputError(
                f"{type(self).__name__} serves {sorted(self.spaces)}, not the space {space!r} of "
                f"{type(denoiser.process).__name__}; samplers that do: {', '.join(samplers_for(space))}"
            )


def samplers_for(space: str) -> list[str]:
    """The names of the samplers that serve a space."""
    made = {name: build("samplers", name) for name in entries("samplers")}
    return [name for name, sampler in made.items() if sampler.spaces == ANY_SPACE or space in sampler.spaces]


Callback = Callable[[SamplerState, Tensor, Tensor], None]


def sample(
    denoiser: Denoiser,
    sampler: Sampler,
    shape: Sequence[int] | Mapping[str, Sequence[int]],
    count: int | None = None,
    *,
    steps: int = 20,
    grid: str | Mapping[str, Any] | Tensor | None = None,
    seed: int = 0,
    seeds: Seeds | None = None,
    condition: Mapping[str, Tensor] | None = None,
    start: Any = None,
    batch: int = 64,
    dtype: torch.dtype = torch.float32,
    path: NoisePath | None = None,
    callback: Callback | None = None,
    progress: Callable[[int], object] | None = None,
) -> Any:
    """Draws samples, from noise to data.

    ``shape`` is that of one sample. The samples are the numbers 0 to ``count - 1`` of ``seed``, or those
    of ``seeds``; each is the same to the bit whichever others are asked for beside it. For that the
    network always sees whole batches of the sample numbers ``k*batch`` to ``(k+1)*batch - 1`` (rounding
    in matrix products depends on the size of the batch), so ``batch`` is part of what a sample is, and
    a few samples cost as much as a batch; ``batch`` = 1 is the cheapest for a single one.

    ``grid`` is a grid's name with its options, or falling times that end at 0; by default the sampler's own times
    (``steps`` is then theirs) or the process's. ``condition`` has one row a sample. ``start``,
    one row a sample too, is the state at the first time, in place of the prior's noise: a bridge's source. ``path`` is
    where a stochastic sampler's noise comes from, if not from each step's own address. ``callback(state, t, s)`` sees
    every batch after every step, ``progress(n)`` is told of every n samples that are done. Memory stays that of a batch
    beside the results, which lie on the device of the denoiser's parameters.

    Raises InputError for a sampler that does not serve the process, NonFiniteError if a sample diverges.
    """
    sampler.check(denoiser)
    if seeds is None:
        if count is None:
            raise InputError("say how many samples: count=..., or which: seeds=...")
        seeds = Seeds.range(seed, count)
    if batch < 1:
        raise InputError(f"the batch must hold at least 1 sample; seen {batch}")
    condition = dict(condition or {})
    for name, values in condition.items():
        if not values.ndim or len(values) != len(seeds):
            rows = f"{len(values)} rows" if values.ndim else "no rows"
            raise InputError(f"the condition {name!r} has {rows} for {len(seeds)} samples; give one row a sample")
    if start is not None:
        _check_start(denoiser, start, shape, len(seeds))
    if (condition or start is not None) and len(seeds.samples.unique()) < len(seeds):
        raise InputError("with a condition or start, each sample number may be asked for once a call; seen one twice")
    sampler = sampler.prepared(denoiser, shape, steps, seed=seeds.seed, batch=batch, dtype=dtype)
    own = sampler.own_times(denoiser.process.schedule) if grid is None else None
    process = denoiser.process
    bridge = process if isinstance(process, BridgeProcess) else None
    times = time_grid(process, process.grid if grid is None else grid, steps) if own is None else own
    if bridge is not None:
        _check_bridge(bridge, sampler, shape, times, start is not None)
    device = next((tensor.device for tensor in denoiser.parameters()), seeds.samples.device)

    results: list[Any] = []
    places: list[Tensor] = []
    blocks = seeds.samples // batch
    for block in blocks.unique().tolist():
        chosen = (blocks == block).nonzero().flatten()
        rows = seeds.samples[chosen] - block * batch
        whole = replace(seeds, samples=torch.arange(block * batch, (block + 1) * batch, device=device))
        filled = {name: _spread(values[chosen].to(device), rows, batch) for name, values in condition.items()}
        told = denoiser.given(filled)
        if start is None:
            noise = denoiser.process.prior(shape, whole.at("prior"), times[0], dtype, filled.get("mask"))
            first = told.beginning(noise, times[0])
        else:
            first = _started(start, chosen, rows, batch, device, dtype)
        final = follow(told, sampler, SamplerState(first, whole, path=path), times, callback)
        results.append(take(final.x, rows.to(device)))
        places.append(chosen)
        if progress:
            progress(len(chosen))
    if not results:
        if start is not None:
            return start
        return map_state(lambda part: part[:0], denoiser.process.prior(shape, Seeds.range(0, 1), dtype=dtype))
    order = torch.cat(places).argsort()
    drawn = take(concatenate(results), order.to(device))
    _check_finite(drawn, seeds)
    return drawn


# an entry holds its schedule, so that no other can come by its id
_grids: dict[tuple[int, str, int], tuple[Tensor, Any]] = {}
_MOST_GRIDS = 512


def time_grid(process: Any, grid: str | Mapping[str, Any] | Tensor, steps: int) -> Tensor:
    """The falling times of a grid given by name, with options, or by its times."""
    if not isinstance(grid, Tensor):
        # remembered for the next batch: looking a grid up takes as long as a dozen steps
        key = (id(process.schedule), repr(grid), steps)
        if key not in _grids:
            if len(_grids) >= _MOST_GRIDS:
                _grids.clear()
            _grids[key] = (build("grids", grid, schedule=process.schedule, steps=steps), process.schedule)
        return _grids[key][0].clone()
    times = grid.double()
    if times.ndim != 1 or len(times) < 2 or not bool((times.diff() < 0).all()) or times[-1] != 0 or times[0] > 1:
        raise InputError(f"a time grid falls from at most 1 to exactly 0 in at least one step; seen {grid.tolist()}")
    return times


@torch.no_grad()
def follow(
    denoiser: Denoiser, sampler: Sampler, state: SamplerState, times: Tensor, callback: Callback | None = None
) -> SamplerState:
    """Takes one batch through those of the falling ``times`` that lie before it: the loop beneath ``sample``.

    A state that has taken k steps goes on from ``times[k]``, so that a trajectory may be left in its middle and
    taken up later, with the same result to the bit. A bound condition ``mask`` keeps padded places at zero.
    """
    mask = denoiser.mask
    state = replace(state, mask=state.mask if mask is None else mask, project=projection(denoiser))
    ends = times.unbind()
    with evaluating(denoiser):
        for t, s in zip(ends[state.step : -1], ends[state.step + 1 :], strict=True):
            state = sampler.step(denoiser, state, t, s)
            if mask is not None:
                state = replace(state, x=denoiser.process.masked(state.x, mask))
            if callback:
                callback(state, t, s)
    return state


def _spread(values: Tensor, rows: Tensor, batch: int) -> Tensor:
    """The rows of a condition at their places in a whole batch; the other places repeat the first row."""
    whole = values[:1].expand(batch, *values.shape[1:]).clone()
    whole[rows.to(values.device)] = values
    return whole


def _started(start: Any, chosen: Tensor, rows: Tensor, batch: int, device: Any, dtype: torch.dtype) -> Any:
    """The chosen rows of the first states at their places in a whole batch."""

    def placed(part: Tensor) -> Tensor:
        whole = _spread(part[chosen.to(part.device)].to(device), rows, batch)
        return whole.to(dtype) if whole.is_floating_point() else whole

    return map_state(placed, start)


def _check_start(denoiser: Denoiser, start: Any, shape: Any, count: int) -> None:
    """Refuses first states that are not those of so many samples of the shape."""
    named = isinstance(start, Mapping)
    if named != isinstance(shape, Mapping) or (named and set(start) != set(shape)):
        raise InputError("start has the parts of the process's state, and shape names the same")
    wanted = [(count, *(shape[name] if named else shape)) for name in (sorted(start) if named else [""])]
    seen = [tuple(part.shape) for part in tensors_of(start)]
    if seen != wanted:
        raise InputError(f"start has one state a sample, of shape {wanted}; seen {seen}")
    if not bool(denoiser.process.contains(start).all()):
        raise InputError(f"start must lie in the space of {type(denoiser.process).__name__}, and be finite")


class _Still(Denoiser):
    """Believes in zero."""

    def __init__(self, process: Any) -> None:
        super().__init__()
        self.process = process

    def forward(self, xt: Any, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> PointPosterior:
        return PointPosterior(torch.zeros_like(xt))


def _check_bridge(process: BridgeProcess, sampler: Sampler, shape: Any, times: Tensor, started: bool) -> None:
    """Refuses to begin elsewhere than at the source, and a sampler that adds noise to a flow.

    Such a sampler takes the belief for a score, which it is only where the source is noise that knows nothing of the
    data. Found out by trying: two walks of one sample along the times, from one state, with different addresses.
    """
    if started and times[0] < 1:
        raise InputError(
            f"a bridge starts at its source, at time 1; this grid starts at {times[0]:.4g}: take the grid 'uniform', "
            "or another without sigma_max"
        )
    if process.sigma > 0:
        return
    still, ends = _Still(process), []
    for seed in (0, 1):
        state = SamplerState(torch.ones(1, *shape, dtype=torch.float64), Seeds.range(seed, 1))
        if sampler.needs_variance is None:
            state = follow(still, sampler, state, times[:-1])
        ends.append(state.tensor)
    if sampler.needs_variance is not None or not torch.equal(*ends):
        raise InputError(
            f"{type(sampler).__name__} adds noise by a score, which the belief of a flow between data does not tell: "
            "take a deterministic sampler (heun, ddim, dpm-solver++), or 'ancestral' and a bridge with sigma > 0"
        )


def _check_finite(drawn: State, seeds: Seeds) -> None:
    bad = torch.zeros(len(seeds), dtype=torch.bool)
    for part in tensors_of(drawn):
        if part.is_floating_point():
            bad |= ~part.flatten(1).isfinite().all(1).cpu()
    if bad.any():
        numbers = seeds.samples.cpu()[bad].tolist()
        raise NonFiniteError(
            f"{len(numbers)} of {len(seeds)} samples are not finite, the first number {numbers[0]} of seed "
            f"{seeds.seed}; "
            "start from less noise (the grid's sigma_max), take more steps, or check the denoiser at both ends of time"
        )

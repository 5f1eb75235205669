r"""Finding the times and coefficients of a ``CalibratedSampler`` on the model.

1. A pilot run: some trajectories from noise to data along the probability flow, by many small steps.
2. For given noise levels, the coefficients, step after step: those that bring the states nearest to the pilot's, by
   least squares. The states are the ones that the sampler itself has reached, so that a step also mends what those
   before it left.
3. The noise levels: the ones with the least expected squared distance from where the trajectories should end. A
   family of four parameters is searched first, then, for few calls, each level by itself.

A root mean square is ruled by the few trajectories that end in another mode, too few in a pilot run to count. Their
share is therefore estimated. A companion of each trajectory, started a little beside it, tells how many times a
deviation grows on the way, :math:`A`; near a border between modes that grows without bound, like the inverse of the
distance to it, so that :math:`P(A > a) \approx c/a`. A deviation :math:`\delta`, in units of the first one, then sends
about :math:`c\,\delta/D` of all trajectories astray, by the data's own spread D.

Neither derivatives of the denoiser nor data are needed, and it costs as much as drawing some batches.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask
from unstir.denoisers.base import Denoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import log_snr_uniform
from unstir.samplers.base import EUCLIDEAN, Sampler, SamplerState, follow, projection
from unstir.samplers.calibrated import CalibratedSampler
from unstir.samplers.runge_kutta import rk4

__all__ = ["calibrated"]

Progress = Callable[[str, int, int], object]
_RIDGE = 1e-9  # of the mean square of a feature: what rounding in float64 asks for, and no more
_DEPTH = 6  # past beliefs used where there are many steps; more would be alike to rounding
_GUESSES = [(middle, first) for middle in (-1.2, -0.5, 0.2, 0.9) for first in (2.3, 3.4)]  # logs, by the data's scale
_FEW = 12  # calls up to which each level is moved by itself, and all past beliefs are used up to twice as many


def calibrate(
    denoiser: Denoiser,
    shape: Sequence[int],
    calls: int,
    *,
    samples: int = 256,
    seed: int = 0,
    condition: Mapping[str, Tensor] | None = None,
    sigma_min: float | int = 1e-4,
    sigma_max: float | int | None = None,
    search: int | None = None,
    steps_per_unit: float | int | None = None,
    batch: int = 64,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> CalibratedSampler:
    """A sampler made for this denoiser and so many ``calls``, by a pilot run of ``samples`` trajectories.

    ``shape`` is that of one sample, ``condition`` has a row for each of the ``samples``. The trajectories run from
    ``sigma_max`` (noise levels sigma/alpha; 80 by default, or the schedule's end if that comes first) to
    ``sigma_min``, where the belief's mean is taken, in ``steps_per_unit`` Runge-Kutta steps for each unit of log-sigma.
    ``search`` is how many sets of noise levels are tried, by default 300 for few calls and 80 for many, where the
    first guesses do nearly as well; 0 takes the best of these guesses.
    ``progress(what, done, all)`` is told of both parts of the work.

    What comes back says in ``told``: the root-mean-square and median distance per element to the flow's end, on a
    quarter of the trajectories with coefficients made on the others; the one expected, with those that go astray; the
    denoiser's calls for each trajectory; and the settings.

    Raises InputError for a process that is not Gaussian noise, NonFiniteError where the pilot run diverges.
    """
    if calls < 1 or samples < 8:
        raise InputError(f"at least 1 call and 8 samples are needed; seen calls {calls} and samples {samples}")
    if condition and any(len(values) != samples for values in condition.values()):
        raise InputError(f"a condition has one row for each of the {samples} samples of the pilot run")
    search = (300 if calls <= _FEW else 80) if search is None else search
    density = float(steps_per_unit or (4 if calls <= 20 else 8))
    pilot = _Pilot.run(
        denoiser, shape, samples, seed, condition, (sigma_min, sigma_max), density, batch, dtype, progress
    )
    fitting = torch.arange(samples) % 4 != 3
    everything = torch.ones_like(fitting)
    tried = 0

    def error(levels: Sequence[float] | None) -> float:
        """Log of the expected root-mean-square distance from the flow's ends."""
        nonlocal tried
        if tried >= max(search, len(_GUESSES)):  # the searches are soft on their own limits
            return math.inf
        tried += 1
        if progress:
            progress("levels", tried, max(search, 1))
        if levels is None:
            return math.inf
        fitted = _fitted(pilot, levels, calls, everything)
        return math.log(fitted.expected + 1e-300) if math.isfinite(fitted.expected) else math.inf

    levels = _searched(error, pilot, calls, search)
    held_out = pilot.distances(_fitted(pilot, levels, calls, fitting).ends)[~fitting]
    fitted = _fitted(pilot, levels, calls, everything)
    told = {
        "calls": calls,
        "samples": samples,
        "seed": seed,
        "root_mean_square": held_out.square().mean().sqrt().item(),
        "median": held_out.median().item(),
        "expected_root_mean_square": fitted.expected,
        "calls_of_calibration": pilot.spent(),
        "sigma_min": float(sigma_min),
    }
    return CalibratedSampler((pilot.start, *levels, 0.0), fitted.rows, pilot.centre.cpu(), told)


@dataclass
class _Pilot:
    """Trajectories of the flow in y = x/alpha, known at a ladder of noise levels and between them."""

    denoiser: Denoiser
    logs: Tensor  # log sigma, falling, even
    states: Tensor  # (levels, samples, *shape)
    slopes: Tensor  # dy / d log sigma
    ends: Tensor
    growth: Tensor  # (levels, samples): how many times a deviation at the level is larger at the end
    batch: int
    condition: Mapping[str, Tensor]
    calls: int = 0

    def __post_init__(self) -> None:
        # so far up the belief is the data's mean but for a share of (data / noise)^2, alike for all and averaged out
        self.centre = (self.states[0] - self.slopes[0]).mean(0)
        self.first_growth = self.growth[0] * self.start
        tops = torch.tensor([0.9, 0.95, 0.98], dtype=torch.float64)
        quantiles = torch.quantile(self.first_growth.cpu(), tops)
        middle = self.first_growth.median().item()
        self.tail = ((quantiles - middle) * (1 - tops)).mean().item()  # zero where all grow alike
        weights = self.first_growth.clamp(max=quantiles[-1].item())
        self.weights = weights / weights.sum()
        self.spread = math.sqrt(2 * self.ends.double().var(0).mean().item())

    @classmethod
    def run(
        cls,
        denoiser: Denoiser,
        shape: Sequence[int],
        samples: int,
        seed: int,
        condition: Mapping[str, Tensor] | None,
        limits: tuple[float | int, float | int | None],
        density: float,
        batch: int,
        dtype: torch.dtype,
        progress: Progress | None,
    ) -> "_Pilot":
        rk4().check(denoiser)
        schedule = denoiser.process.schedule
        low, high = limits
        last = math.exp(-float(schedule.log_snr(1.0)) / 2)
        high = min(80.0, last) if high is None else float(high)
        steps = max(8, math.ceil(density * math.log(max(high / low, 1.001)))) + 1
        times = log_snr_uniform(schedule, steps, float(low), high)
        device = next((tensor.device for tensor in denoiser.parameters()), torch.device("cpu"))
        seeds = Seeds.range(seed, samples, device=device).at("calibration")
        told = {name: values.to(device) for name, values in (condition or {}).items()}
        alphas = schedule.alpha(times).tolist()
        parts = []
        for rows in torch.arange(samples, device=device).split(batch):
            bound = denoiser.given({name: values[rows] for name, values in told.items()})
            start = denoiser.process.prior(shape, seeds[rows].at("prior"), times[0], dtype, bound.mask)
            aside = torch.finfo(dtype).eps ** (1 / 3) * denoiser.process.schedule.sigma(times[0]).item()
            beside = start + aside * projection(bound)(seeds[rows].at("beside").normal_like(start), bound.mask)
            followed = [_followed(bound, first, times, alphas, seeds[rows]) for first in (start, beside)]
            (states, means), (others, _) = followed
            apart = (others - states).double().flatten(2).norm(dim=2).clamp(min=1e-300)
            parts.append((states[:-1], means, states[-1:], apart[-1] / apart[:-1]))
            if progress:
                progress("pilot", int(rows[-1]) + 1, samples)
        states, means, ends, growth = (torch.cat(kind, 1) for kind in zip(*parts, strict=True))
        if not (ends.isfinite().all() and growth.isfinite().all()):
            raise NonFiniteError("the pilot run of the calibration diverges; check the denoiser at both ends of time")
        logs = -schedule.log_snr(times[:-1]) / 2
        return cls(denoiser, logs, states, states - means, ends[0], growth, batch, told)

    @property
    def start(self) -> float:
        """The noise level where trajectories begin."""
        return self.logs[0].exp().item()

    def _place(self, level: float) -> tuple[int, float, float]:
        """The ladder's rung before a noise level, the share of the way to the next, and the way in log sigma."""
        width = ((self.logs[-1] - self.logs[0]) / (len(self.logs) - 1)).item()
        place = (math.log(level) - self.logs[0].item()) / width
        index = min(max(int(place), 0), len(self.logs) - 2)
        return index, place - index, width

    def at(self, level: float) -> Tensor:
        """The exact states at a noise level, by cubic Hermite interpolation in log sigma."""
        if level == 0:
            return self.ends
        index, w, width = self._place(level)
        y, dy = self.states[index : index + 2], width * self.slopes[index : index + 2]
        value = (2 * w**3 - 3 * w**2 + 1) * y[0] + (3 * w**2 - 2 * w**3) * y[1]
        return value + (w**3 - 2 * w**2 + w) * dy[0] + (w**3 - w**2) * dy[1]

    @torch.no_grad()
    def beliefs(self, y: Tensor, level: float) -> Tensor:
        """The denoiser's means for all trajectories at one noise level."""
        schedule = self.denoiser.process.schedule
        t = schedule.time_at_sigma(level).to(y.device)
        alpha = schedule.alpha(t).item()
        found = []
        for rows in torch.arange(len(y), device=y.device).split(self.batch):
            bound = self.denoiser.given({name: values[rows] for name, values in self.condition.items()})
            found.append(bound(alpha * y[rows], t).mean)
        self.calls += 1
        return torch.cat(found)

    def distances(self, ends: Tensor) -> Tensor:
        """Root-mean-square distance per element to the flow's ends, sample by sample, float64."""
        return (ends - self.ends).double().flatten(1).square().mean(1).sqrt()

    def astray(self, y: Tensor, level: float) -> float:
        """The share of all trajectories that end elsewhere for the deviation of the states y at a noise level."""
        index, w, _ = self._place(level)
        growth = torch.lerp(self.growth[index], self.growth[index + 1], w)
        deviations = (y - self.at(level)).double().flatten(1).norm(dim=1) * growth / self.first_growth
        return self.tail * float((self.weights * deviations).sum()) / (self.spread * math.sqrt(y[0].numel()))

    def spent(self) -> int:
        """Calls of the denoiser for every trajectory, those of the pilot run and its companions among them."""
        return self.calls + 8 * (len(self.logs) - 1) + 2


def _followed(
    denoiser: Denoiser, start: Tensor, times: Tensor, alphas: Sequence[float], seeds: Seeds
) -> tuple[Tensor, Tensor]:
    """The states y at all times and the beliefs at all but the last, (times, batch, *shape)."""
    states, means = [start / alphas[0]], []

    def keep(state: SamplerState, t: Tensor, s: Tensor) -> None:
        means.append(state.mean)
        states.append(state.tensor / alphas[state.step])

    follow(denoiser, rk4(), SamplerState(start, seeds), times, keep)
    return torch.stack(states), torch.stack(means)


class _Fitted(NamedTuple):
    """Coefficients, where the trajectories end with them, and the root-mean-square distance that is expected."""

    rows: tuple[tuple[float, ...], ...]
    ends: Tensor
    expected: float


def _fitted(pilot: _Pilot, levels: Sequence[float], calls: int, fitting: Tensor) -> _Fitted:
    """The coefficients along these noise levels, fitted to the rows ``fitting``, and what all rows make of them."""
    depth = calls if calls <= 2 * _FEW else _DEPTH
    y = pilot.states[0]
    means: list[Tensor] = []
    rows, astray = [], 0.0
    for number, target in enumerate((*levels, 0.0)):
        if number:
            means = [pilot.beliefs(y, levels[number - 1]) - pilot.centre, *means][:depth]
        features = torch.stack([y - pilot.centre, *means])
        told = features[:, fitting].flatten(1).double()
        wanted = (pilot.at(target) - pilot.centre)[fitting].flatten().double()
        scale = told.norm(dim=1).clamp(min=1e-300)
        told = told / scale[:, None]
        gram = told @ told.T + _RIDGE * torch.eye(len(told), dtype=told.dtype, device=told.device)
        row = torch.linalg.solve(gram, told @ wanted) / scale
        rows.append(tuple(row.tolist()))
        moved = pilot.centre + torch.einsum("k,k...->...", row.to(features.dtype), features)
        y = apply_mask(moved, pilot.condition.get("mask"))
        astray = max(astray, pilot.astray(y, target)) if target else astray
    distances = pilot.distances(y)
    # those that went astray count by what is expected of them, unless they are more
    usual = distances.clamp(max=torch.quantile(distances, 0.98)).square().mean().item()
    found = distances.square().mean().item()
    return _Fitted(tuple(rows), y, math.sqrt(max(found, usual + astray * pilot.spread**2)))


def _searched(error: Callable[[Sequence[float] | None], float], pilot: _Pilot, calls: int, search: int) -> list[float]:
    """The noise levels of least error."""
    from scipy.optimize import minimize

    top, bottom = math.log(pilot.start) - 1e-3, pilot.logs[-1].item() - 1e-9

    def family(parameters: Sequence[float]) -> list[float] | None:
        middle, spread, first, last = parameters
        if not (first <= top and bottom <= last < first - 0.3 * (calls > 1) and -2 < spread < 2):
            return None
        return _logistic(middle, spread, first, last, calls)

    ends = pilot.ends.double()
    scale = math.log(max((ends - ends.mean(0)).square().mean().sqrt().item(), 1e-12))
    guesses = [
        (middle + scale, 0.0, min(first + scale, top), max(middle + scale - math.log(calls + 1), bottom))
        for middle, first in _GUESSES
    ]
    measured = [(error(family(guess)), guess) for guess in guesses]
    best, guess = min(measured)
    if not math.isfinite(best):
        raise NonFiniteError("no spacing of the noise levels brings the pilot's trajectories home; check the denoiser")
    levels = family(guess)
    budget = search - len(guesses)
    if budget > 0 and levels is not None:
        share = budget if calls > _FEW else budget // 3
        corners = [
            list(guess),
            *([v + 0.4 * (k == j) * (-1 if k == 2 else 1) for j, v in enumerate(guess)] for k in range(4)),
        ]
        options = {"maxfev": share, "initial_simplex": corners, "xatol": 0.02, "fatol": 0.01}
        found = minimize(lambda p: error(family(p.tolist())), guess, method="Nelder-Mead", options=options)
        levels = family(found.x.tolist()) if found.fun < best else levels
        best = min(found.fun, best)
        if 1 < calls <= _FEW and levels is not None:
            start = [
                math.log(levels[0]),
                *(math.log(math.log(a / b)) for a, b in pairwise(levels)),
            ]

            def free(parameters: Sequence[float]) -> list[float] | None:
                logs = [parameters[0]]
                for gap in parameters[1:]:
                    logs.append(logs[-1] - math.exp(min(gap, 5.0)))
                return [math.exp(value) for value in logs] if logs[0] <= top and logs[-1] >= bottom else None

            options = {"maxfev": budget - share, "xtol": 0.02, "ftol": 1e-3}
            moved = minimize(lambda p: error(free(p.tolist())), start, method="Powell", options=options)
            if moved.fun < best:
                levels = free(moved.x.tolist())
    assert levels is not None
    return levels


def _logistic(middle: float, spread: float, first: float, last: float, calls: int) -> list[float]:
    """Noise levels between two whose logarithms lie as the quantiles of a logistic distribution.

    With a spread of 0 (its logarithm) they are even in sigma / (sigma + e^middle), the clock of straight flow for data
    of that scale; a larger one makes them more even in log sigma.
    """
    width = math.exp(spread)
    shares = [1 / (1 + math.exp(-(value - middle) / width)) for value in (first, last)]
    logs = []
    for number in range(calls):
        u = shares[0] + (shares[1] - shares[0]) * number / max(calls - 1, 1)
        logs.append(middle + width * (math.log(u) - math.log1p(-u)))
    return [math.exp(value) for value in logs]


@dataclass(frozen=True)
class CalibratingSampler(Sampler):
    """What has yet to become a ``CalibratedSampler``, for whatever denoiser it is given to."""

    samples: int = 256
    search: int | None = None
    order = 1
    spaces = EUCLIDEAN

    def prepared(self, denoiser: Denoiser, shape: Sequence[int], steps: int, **how: Any) -> CalibratedSampler:
        """Calibrates for the denoiser and so many calls, without conditions: samples know nothing of their company."""
        return calibrate(denoiser, shape, steps, samples=self.samples, search=self.search, **how)

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        """Refuses: there are no coefficients yet."""
        raise InputError("a calibrated sampler is made for its denoiser first: `sample` does so, or `calibrate(...)`")


def calibrated(samples: int = 256, search: int | None = None) -> CalibratingSampler:
    """Multistep with times and coefficients found on the model itself, for a given number of calls.

    ``sample`` first makes a pilot run of so many ``samples`` and tries ``search`` sets of noise levels (as many as
    ``calibrate`` finds fit by default), without conditions; to keep what was found, or to make it under conditions,
    use ``calibrate``. A trained run keeps it in its folder. Of all samplers here it errs least in few calls.

    Reference: Shaul et al., Bespoke non-stationary solvers for fast sampling of diffusion and flow models (2024), for
    the form; the coefficients are regressions, one step after the other.
    """
    return CalibratingSampler(samples, search)


def _examples() -> Mapping[str, CalibratedSampler]:
    """Made for a mixture in the plane, as others are measured on it."""
    means = torch.tensor([[1.0, 0.5], [-1.0, 0.8], [0.2, -1.2]], dtype=torch.float64)
    variances = torch.tensor([0.25, 0.16, 0.36], dtype=torch.float64)
    denoiser = MixtureDenoiser(torch.tensor([0.5, 0.3, 0.2]).double(), means, variances, GaussianProcess())
    return {"8 calls, for a mixture": calibrate(denoiser, (2,), 8, search=40, dtype=torch.float64)}


calibrated.examples = _examples  # type: ignore[attr-defined]

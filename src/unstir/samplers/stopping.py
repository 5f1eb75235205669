r"""Early stopping: a sample whose belief no longer moves is not asked about again.

Noise levels are divided into classes (coarse, middle, fine). Within a class, how far a sample's belief will still
move until the class's end is foretold from its last movements; once that is below a tolerance twice in a row, the
sample goes through the rest of the class with the belief that it has. A belief that stays as it is makes straight
lines, which samplers of a Gaussian process take exactly in any number of steps, noise and all; in the last class they
end on the belief's mean. A step at which all samples of a batch have stopped costs no call.

The forecast: per unit of log noise level r the belief moves at a pace :math:`v`, which goes with a power p of r, found
from two successive steps. What is left from r to the class's end e is :math:`v\,(1-(e/r)^q)/q` with
:math:`q=\min(p,1)`. Below the data's finest scale p is 2 and the pace dies away; far above the data's spread it is -1,
and grows; while it grows nothing stops in the last class, whose end is 0.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.state import expand, mean_per_sample
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior, Posterior
from unstir.samplers.base import EUCLIDEAN, Sampler, SamplerState


@dataclass(frozen=True)
class EarlyStopping(Sampler):
    """A sampler around a ``sampler``, on the Gaussian process, that spares the calls which would tell nothing new.

    ``edges`` are the noise levels sigma/alpha, falling, that divide the classes; none makes one class of all.
    ``tolerance`` is the movement of the belief's mean that may be missed in a class, root-mean-square over the
    elements, in the data's unit: one number, or one for each class. The error of the samples stays near it, as far as
    movements go on as they were; data with structure much finer than it shows at a level is found out too late.

    For samplers that draw noise no bound is claimed: the noise to come moves the belief on, which no forecast knows (a
    few times the tolerance is missed where the data is predicted, more where past noise is extrapolated).

    A sample's stopping depends on nothing but itself. The network sees whole batches until all have stopped, so the
    savings are greatest in small batches. ``calls_taken`` counts.
    """

    sampler: Sampler
    tolerance: float | tuple[float, ...] = 1e-3
    edges: tuple[float, ...] = (1.0, 0.1)
    spaces = EUCLIDEAN
    calls_per_step = None

    def __post_init__(self) -> None:
        levels = [math.inf, *self.edges, 0.0]
        if any(not high > low for high, low in pairwise(levels)):
            raise InputError(f"the edges of the classes are positive noise levels that fall; seen {self.edges}")
        tolerances = self.tolerance if isinstance(self.tolerance, tuple) else (self.tolerance,)
        if any(not tolerance >= 0 for tolerance in tolerances) or len(tolerances) not in (1, len(levels) - 1):
            wanted = f"one number, or one for each of the {len(levels) - 1} classes, none negative"
            raise InputError(f"the tolerance is {wanted}; seen {self.tolerance}")

    @property
    def order(self) -> float:  # type: ignore[override]
        """The other's, down to an error of the tolerance."""
        return self.sampler.order

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        schedule = denoiser.process.schedule
        level = (-schedule.log_snr(t) / 2).exp().item()
        inner, seen = state.history if state.history else ((), _nothing_seen(state.tensor))
        stopped, calls, left_before, number = seen[0], seen[1], seen[4], self._class(level)
        if seen[3] and self._class(seen[3][0][0]) != number:  # a new class: all are asked again
            left_before = torch.where(stopped, math.inf, left_before)
            stopped = torch.zeros_like(stopped)
        asking = _Asking(denoiser, stopped, state.mean)
        after = self.sampler.step(asking, replace(state, history=inner), t, s)
        assert isinstance(after.mean, Tensor)
        calls = calls + (asking.calls * (~stopped)).long()
        beliefs = ((level, after.mean), *seen[3])[:3]
        left = self._left(beliefs, number)
        tolerance = self.tolerance[number] if isinstance(self.tolerance, tuple) else self.tolerance
        # twice in a row: a belief on a curve may seem to rest for a moment
        stopped = stopped | (torch.maximum(left, left_before) <= tolerance)
        return replace(after, history=(after.history, (stopped, calls, seen[2] + asking.calls, beliefs, left)))

    def _class(self, level: float) -> int:
        return sum(level < edge for edge in self.edges)

    def _left(self, beliefs: tuple[tuple[float, Tensor], ...], number: int) -> Tensor:
        """How far each belief is going to move until the end of its class, (batch,)."""
        if len(beliefs) < 3 or not math.isfinite(beliefs[2][0]):
            return torch.full((len(beliefs[0][1]),), math.inf, dtype=torch.float64, device=beliefs[0][1].device)
        (here, now), (before, last), (earlier, first) = beliefs
        widths = math.log(before / here), math.log(earlier / before)
        paces = [
            mean_per_sample((one - other).double().square()).sqrt() / width
            for one, other, width in ((now, last, widths[0]), (last, first, widths[1]))
        ]
        # paces belong to the middles of their steps; a pace of nothing is over, whatever it was before
        power = (paces[1] / paces[0]).log() / ((widths[0] + widths[1]) / 2)
        power = torch.where(paces[0] > 0, power, 1.0).clamp(-50.0, 1.0)
        power = torch.where(power.abs() < 1e-6, 1e-6, power)
        pace = paces[0] * torch.exp(-power * widths[0] / 2)  # from the middle of the step to its end
        end = self.edges[number] if number < len(self.edges) else 0.0
        share = torch.full_like(power, math.log(end / here) if end else -math.inf)
        return torch.where(paces[0] > 0, pace * -torch.expm1(power * share) / power, 0.0)


def calls_taken(state: SamplerState) -> tuple[Tensor, int]:
    """The calls that each sample needed, int64 (batch,), and those that were made of the whole batch, so far.

    For a state that ``EarlyStopping`` has stepped, as a callback sees it.
    """
    if len(state.history) != 2 or not isinstance(state.history[1], tuple) or len(state.history[1]) != 5:
        raise InputError("calls are counted by EarlyStopping; this state was stepped by another sampler")
    return state.history[1][1], state.history[1][2]


def _nothing_seen(x: Tensor) -> tuple[Tensor, Tensor, int, tuple[Any, ...], Tensor]:
    """Stopped; calls of each; of all; the last three beliefs, newest first, with their noise levels; what was left."""
    none = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    return none.bool(), none, 0, (), torch.full((len(x),), math.inf, dtype=torch.float64, device=x.device)


class _Asking(Denoiser):
    """The denoiser for those under way; who has stopped keeps the belief that it had."""

    def __init__(self, denoiser: Denoiser, stopped: Tensor, kept: Any) -> None:
        super().__init__()
        self.denoiser, self.process = denoiser, denoiser.process
        self.stopped, self.kept, self.calls = stopped, kept, 0

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """A belief on one point where some have stopped, else the denoiser's own."""
        if bool(self.stopped.all()) and self.kept is not None:
            return PointPosterior(self.kept)
        self.calls += 1
        told = self.denoiser(xt, t, drop, **condition)
        if not bool(self.stopped.any()):
            return told
        return PointPosterior(torch.where(expand(self.stopped, told.mean).bool(), self.kept, told.mean))

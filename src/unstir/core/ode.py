r"""Ordinary differential equations for a batch, each sample at its own pace.

:func:`solve` follows :math:`dy/du = f(u, y)` by an embedded Runge-Kutta pair. Every sample has its own step, which
is taken or tried again by its own error estimate, so that neither its path nor its accuracy depends on what lies
beside it in the batch; the field is always called with the whole batch, in which the samples that have arrived rest.

Reference: Hairer, Nørsett, Wanner, Solving ordinary differential equations I (1993), sections II.4 and II.7.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unstir.core.errors import InputError, NonFiniteError, unknown
from unstir.core.state import expand
from unstir.core.tableaus import BOGACKI_SHAMPINE, DORMAND_PRINCE, Tableau

Field = Callable[[Tensor, Tensor], Tensor]
METHODS = {"bogacki-shampine": BOGACKI_SHAMPINE, "dormand-prince": DORMAND_PRINCE}
CONTROLS = ("global", "local")
_CAUTION, _SHRINK, _GROW = 0.9, 0.2, 6.0  # of a step: aim below the bound, and change by no more than this
_PILOTS = (12.0, 3.0)  # bounds of the first two passes under global control, in units of the tolerance
_AIM, _DOUBT = 0.9, 0.3  # of the later ones: the error aimed at, and the share of the last finding that still counts


@dataclass(frozen=True)
class Solution:
    """Where each sample arrived, and what that took.

    ``y`` is (batch, ...). ``calls`` (of the field, while the sample was under way), ``accepted`` and ``rejected``
    (steps) are int64 (batch,). ``error`` (batch,) is an estimate in units of the tolerance: under global control of
    the result's own error, under local control the sum of the steps' errors, as if none grew on the way. ``share``
    (batch,) is the bound on each step's error in the same units, 1 under local control, and ``step`` (batch,) the
    size that the next step would have had: with both one may go on from here.
    """

    y: Tensor
    calls: Tensor
    accepted: Tensor
    rejected: Tensor
    error: Tensor
    step: Tensor
    share: Tensor


def solve(
    field: Field,
    y: Tensor,
    start: Tensor | float,
    end: Tensor | float,
    *,
    relative: Tensor | float,
    absolute: Tensor | float,
    method: str = "dormand-prince",
    control: str = "local",
    max_calls: int = 10_000,
    first_step: Tensor | None = None,
) -> Solution:
    r"""Follows dy/du = ``field(u, y)`` from ``start`` to ``end``, in either direction.

    ``field`` takes u, float64 (batch,), and y, (batch, ...) of any floating dtype, and returns the slope, like y; no
    row of it may depend on other rows. ``start`` and ``end`` are numbers or (batch,). An error e is measured as the
    root-mean-square over a sample's elements of :math:`e / (\text{absolute} + \text{relative}\cdot|y|)`, and is to be
    at most 1; ``absolute`` and ``relative`` are numbers, (batch,), or as many-dimensional as y (so that elements
    may differ). ``first_step`` (batch,) spares the search for one.

    ``method`` is "dormand-prince" (order 5) or "bogacki-shampine" (order 3). Under ``control`` "local" the bound holds
    for each step's estimated error, and errors may grow on the way. Under "global" it holds for the estimated error of
    the result: each sample is solved again, usually two or three times, with the bound on its steps that its own
    path asks for, found by comparing the passes.

    The first call of the field is at ``start``. Differentiable in y and in whatever the field depends on, with the
    steps' sizes held fixed (under global control at the price of one more pass).

    Raises InputError for options that make no sense or if a pass needs more than ``max_calls``, NonFiniteError where
    a sample cannot be followed.
    """
    if method not in METHODS:
        raise unknown("method of solution", method, METHODS)
    if control not in CONTROLS:
        raise unknown("error control", control, CONTROLS)
    if not isinstance(y, Tensor) or not y.is_floating_point() or not y.ndim:
        seen = f"{tuple(y.shape)} of {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        raise InputError(f"y must be a tensor of real numbers, batch first; seen {seen}")
    begin, finish = (_row_times(time, y, name) for time, name in ((start, "start"), (end, "end")))
    share, least = _bound(relative, y, "relative"), _bound(absolute, y, "absolute")
    if not bool((share + least > 0).all()):
        raise InputError("the relative or the absolute tolerance must be positive; seen both zero")
    if first_step is not None:
        first_step = _row_times(first_step, y, "first_step").abs()
    open_ended = torch.full_like(begin, torch.inf)
    pair, whole = METHODS[method], torch.ones_like(begin)
    task = _Task(field, y, begin, finish, share, least, pair, max_calls, first_step, whole, open_ended)
    if control == "local":
        return _march(task)
    with torch.no_grad():
        found, longest = _pursue(task)
    if not torch.is_grad_enabled() or not field(begin, y).requires_grad:
        return found
    again = _march(replace(task, share=found.share, longest=longest, first_step=_paced(task, found.share)))
    return replace(
        again,
        calls=found.calls + again.calls,
        accepted=found.accepted + again.accepted,
        rejected=found.rejected + again.rejected,
        error=found.error,
        share=found.share,
    )


@dataclass(frozen=True)
class _Task:
    """What is to be solved, with all options looked at."""

    field: Field
    y: Tensor
    start: Tensor
    end: Tensor
    relative: Tensor
    absolute: Tensor
    pair: Tableau
    max_calls: int
    first_step: Tensor | None
    share: Tensor  # of the tolerance that a step's error may take
    longest: Tensor  # that a step may be

    def slope(self, u: Tensor, y: Tensor) -> Tensor:
        """The field, in the state's precision."""
        return self.field(u, y).to(y.dtype)

    def ratio(self, error: Tensor, *states: Tensor) -> Tensor:
        """The size of an error in units of the tolerance, float64 (batch,)."""
        size = states[0].detach().abs()
        for state in states[1:]:
            size = torch.maximum(size, state.detach().abs())
        scaled = error.detach().double() / (self.absolute + self.relative * size)
        return scaled.reshape(len(scaled), -1).square().mean(1).sqrt()


def _pursue(task: _Task) -> tuple[Solution, Tensor]:
    """Passes with ever smaller bounds on the steps' errors, until the error at the end is within the tolerance.

    Passes with the bounds f > g end a distance apart that is (f - g) times the growth of errors on this sample's way,
    and so tell the error of the second. That one is kept from walking in the first one's steps, where both would miss
    the same turn: the limit on its steps comes back beside the solution.
    """
    share, bound = (torch.full_like(task.start, pilot) for pilot in _PILOTS)
    last = result = _march(replace(task, share=share, first_step=_paced(task, share)))
    limit = longest = (task.end - task.start).abs() / last.accepted.clamp(min=1)
    growth, active = torch.zeros_like(share), task.start != task.end
    while bool(active.any()):
        end = torch.where(active, task.end, task.start)
        found = _march(replace(task, end=end, share=bound, longest=limit, first_step=_paced(task, bound)))
        distance = task.ratio(found.y - last.y, found.y) / (share - bound)
        growth = torch.maximum(distance, _DOUBT * growth)  # two passes may agree by chance
        longest = torch.where(active, limit, longest)
        result = Solution(
            _where(active, found.y, result.y),
            result.calls + found.calls,
            result.accepted + found.accepted,
            result.rejected + found.rejected,
            torch.where(active, bound * growth, result.error),
            torch.where(active, found.step, result.step),
            torch.where(active, bound, result.share),
        )
        active = active & ~(bound * growth <= 1)
        aim = torch.minimum(torch.maximum(_AIM / growth, bound / 30), bound / 2)
        last, share, bound = found, bound, torch.where(active, aim, bound)
        limit = torch.full_like(limit, torch.inf)
    return result, longest


def _paced(task: _Task, share: Tensor) -> Tensor | None:
    """The first step that was asked for, as a pass with these bounds takes it."""
    return None if task.first_step is None else task.first_step * share ** (1 / task.pair.order)


def _march(task: _Task) -> Solution:
    """All samples from start to end under local control."""
    pair, y, u, end = task.pair, task.y, task.start, task.end
    span, direction = (end - u).abs(), torch.sign(end - u)
    active = span > 0
    calls, accepted, rejected = (torch.zeros_like(active, dtype=torch.int64) for _ in range(3))
    total = torch.zeros_like(u)
    if not bool(active.any()):
        return Solution(y, calls, accepted, rejected, total, total, task.share)
    slope = task.slope(u, y)
    _refuse(active & ~_finite(slope), u, "its slope there is not finite")
    step = _first_step(task, slope, direction, span) if task.first_step is None else task.first_step
    calls = calls + (1 if task.first_step is not None else 2) * active
    stages = len(pair.nodes) - int(pair.first_same_as_last)
    before, refused = torch.ones_like(u), torch.zeros_like(active)
    while bool(active.any()):
        if int(calls.max()) + stages > task.max_calls:
            raise InputError(
                f"{int(active.sum())} samples, row {int(active.nonzero()[0])} among them, are not at their end after "
                f"{int(calls.max())} calls: allow more (max_calls, now {task.max_calls}), or a looser tolerance"
            )
        left, step = (end - u).abs(), torch.minimum(step, task.longest)
        last = step >= left * (1 - 1e-9)
        # two even steps rather than a long and a tiny one
        wide = torch.where(last, left, torch.where(step > left / 2, left / 2, step))
        width = torch.where(active, direction * wide, 0.0)
        ahead = torch.where(last, end, u + width)
        new, error, final = _trial(task, y, u, slope, width, ahead)
        ratio = task.ratio(error, y, new) / task.share
        fine = ratio.isfinite() & _finite(final)
        if torch.is_grad_enabled() and not bool((fine | ~active).all()):
            # a refused trial has no part in the result, but zero times its infinities would have one in the gradient
            new, _, final = _trial(task, y, u, slope, torch.where(fine, width, 0.0), torch.where(fine, ahead, u))
        taken = active & fine & (ratio <= 1)
        calls = calls + stages * active
        accepted, rejected = accepted + taken, rejected + (active & ~taken)
        total = total + torch.where(taken, ratio * task.share, 0.0)
        y, slope, u = _where(taken, new, y), _where(taken, final, slope), torch.where(taken, ahead, u)
        size = ratio.nan_to_num(1e10).clamp(1e-10, 1e10)
        change = _CAUTION * size ** (-0.85 / pair.order) * before ** (0.2 / pair.order)
        change = change.clamp(_SHRINK, _GROW).minimum(torch.where(refused, 1.0, _GROW))
        proposed = wide * torch.where(taken, change, change.clamp(max=_CAUTION))
        # that a step was cut short to meet the end is no reason for the next to be short
        proposed = torch.where(taken & (wide < step), torch.maximum(step, proposed), proposed)
        step = torch.where(active, proposed, step)
        before, refused = torch.where(taken, size.clamp(min=1e-4), before), active & ~taken
        active = active & ~(taken & last)
        _refuse(refused & (step <= 1e-15 * torch.maximum(u.abs(), span)), u, "the step has shrunk to nothing")
    return Solution(y, calls, accepted, rejected, total, step, task.share)


def _trial(
    task: _Task, y: Tensor, u: Tensor, slope: Tensor, width: Tensor, ahead: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """A step of each sample's own width: the new state, its estimated error, and the slope there."""
    pair, h = task.pair, expand(width, y)
    slopes = [slope]
    for node, row in zip(pair.nodes[1:], pair.matrix[1:], strict=True):
        point = ahead if node == 1 else u + node * width
        slopes.append(task.slope(point, y + h * weighted(row, slopes)))
    new = y + h * weighted(pair.weights, slopes)
    if not pair.first_same_as_last:
        slopes.append(task.slope(ahead, new))
    return new, h * weighted(pair.error, slopes), slopes[-1]


def weighted(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    """The sum of the slopes with these weights, those that are zero left out."""
    chosen = [(weight, slope) for weight, slope in zip(weights, slopes, strict=False) if weight]
    total = chosen[0][0] * chosen[0][1]
    for weight, slope in chosen[1:]:
        total = torch.add(total, slope, alpha=weight)
    return total


@torch.no_grad()
def _first_step(task: _Task, slope: Tensor, direction: Tensor, span: Tensor) -> Tensor:
    """A first size from the state, its slope, and the slope's change over a small step; one call."""
    size, speed = (task.ratio(part, task.y) / task.share for part in (task.y, slope))
    small = torch.where((size < 1e-5) | (speed < 1e-5), 1e-6 * span, 0.01 * size / speed).minimum(span)
    there = task.start + direction * small
    beyond = task.slope(there, task.y + expand(direction * small, task.y) * slope)
    bend = task.ratio(beyond - slope, task.y) / (task.share * small)
    largest = torch.maximum(speed, bend).nan_to_num(torch.inf)
    well = torch.where(largest <= 1e-15, torch.maximum(1e-3 * span, 1e-3 * small), 0.01 / largest)
    chosen = torch.where(largest <= 1e-15, well, well ** (1 / task.pair.order))
    return torch.where(span > 0, torch.minimum(100 * small, chosen).clamp(min=1e-9 * span), 0.0).minimum(span)


def _where(rows: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(rows.reshape(-1, *[1] * (old.ndim - 1)), new, old)


def _finite(values: Tensor) -> Tensor:
    return values.detach().isfinite().reshape(len(values), -1).all(1)


def _refuse(rows: Tensor, u: Tensor, reason: str) -> None:
    """The error for samples that cannot be followed, if there are any."""
    if bool(rows.any()):
        found = rows.nonzero().flatten().tolist()
        named = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")
        raise NonFiniteError(
            f"{len(found)} of {len(rows)} samples cannot be followed, rows {named}; the first one stands at "
            f"{u[found[0]].item():.6g} and {reason}: check the slope's own domain, or start and end inside it"
        )


def _row_times(time: Tensor | float, y: Tensor, name: str) -> Tensor:
    """A time for each sample, float64 (batch,)."""
    times = torch.as_tensor(time, dtype=torch.float64, device=y.device)
    if times.shape not in ((), (len(y),)) or not bool(times.isfinite().all()):
        raise InputError(
            f"the {name} must be one finite number or one for each of the {len(y)} samples; seen "
            f"{times.tolist() if times.numel() < 8 else tuple(times.shape)}"
        )
    return times.expand(len(y)).contiguous()


def _bound(value: Tensor | float, y: Tensor, name: str) -> Tensor:
    """A tolerance in float64, of a shape that goes with the state."""
    bound = torch.as_tensor(value, dtype=torch.float64, device=y.device)
    if bound.ndim == 1 and len(bound) == len(y):
        bound = bound.reshape(-1, *[1] * (y.ndim - 1))
    fits = not bound.ndim or (
        bound.ndim == y.ndim and all(own in (1, wide) for own, wide in zip(bound.shape, y.shape, strict=True))
    )
    if not fits or not bool((bound.isfinite() & (bound >= 0)).all()):
        raise InputError(
            f"the {name} tolerance must be a number not below zero, one for each sample, or as many-dimensional as y "
            f"{tuple(y.shape)}; seen {bound.tolist() if bound.numel() < 8 else tuple(bound.shape)}"
        )
    return bound

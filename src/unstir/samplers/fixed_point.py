r"""Equations f(x) = b solved for a batch by fixed-point iteration, each sample to its own end.

For a map that is nearly a multiple :math:`\kappa` of the identity the iteration
:math:`x\leftarrow x+(b-f(x))/\kappa` closes in; Anderson's mixing of the last few iterates takes it, in the linear
case, to the solution in as many steps as the map has different slopes. A sample whose residual grows is put back to
its best place and goes on from there with half the step, so that a map with bounded, positive slopes (that of one
step of the probability flow, whose Jacobian is a covariance and a multiple of the identity) is always solved.

Reference: Anderson, Iterative procedures for nonlinear integral equations (1965); Walker, Ni, Anderson acceleration
for fixed-point iterations (2011).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.state import expand

_PATIENCE = 12  # iterations without a better residual after which rounding is taken to be reached
_GROWTH = 2.0  # a residual so many times the best one sends a sample back


@dataclass(frozen=True)
class Solved:
    """``x`` (batch, ...), its ``residual`` (batch,) as a root-mean-square, and the ``iterations`` (batch,) it took.

    ``converged`` (batch,) is True where the residual is below the tolerance, or where it has not fallen for a dozen
    iterations and is below the tolerance's ``slack``-fold, i.e. where rounding allows no more.
    """

    x: Tensor
    residual: Tensor
    iterations: Tensor
    converged: Tensor


def solve_fixed_point(
    function: Callable[[Tensor], Tensor],
    target: Tensor,
    guess: Tensor,
    scale: float,
    tolerance: Tensor,
    limit: int,
    memory: int = 5,
    slack: float = 1e3,
) -> Solved:
    """Solves ``function(x) = target``, the function's slope being about ``scale``; ``tolerance`` is (batch,).

    The function is always called with the whole batch, and no row of it may depend on others: a sample's result does
    not depend on its company. ``memory`` is the number of iterates that are mixed, 0 for none.
    """
    count, rows = len(target), (len(target), -1)
    x = best = guess
    residual = (target - function(x)).reshape(rows).double()
    lowest = _rms(residual)
    damping = torch.ones(count, dtype=torch.float64, device=x.device)
    iterations = torch.ones(count, dtype=torch.int64, device=x.device)
    since, mixed = torch.zeros_like(iterations), torch.zeros_like(iterations)
    moves: list[Tensor] = []  # differences of successive iterates and of their residuals, newest last
    gains: list[Tensor] = []
    done = lowest <= tolerance
    for _ in range(limit - 1):
        if bool(done.all()):
            break
        proposed = _mixed(residual * (damping / scale)[:, None], residual, moves, gains)
        following = torch.where(expand(done, x).bool(), x, x + proposed.to(x.dtype).reshape(x.shape))
        after = (target - function(following)).reshape(rows).double()
        after_size = _rms(after)
        iterations = iterations + (~done).long()
        # a mixed step may do worse for once, a plain one not; what is no number fails as well
        failed = ~(after_size <= torch.where(mixed > 0, _GROWTH, 1.0) * lowest) & ~done
        better = (after_size < lowest) & ~done
        best = torch.where(expand(better, x).bool(), following, best)
        lowest = torch.where(better, after_size, lowest)
        since = torch.where(better, 0, since + 1)
        moves.append((following - x).reshape(rows).double())
        gains.append(after - residual)
        moves, gains = moves[-memory:] if memory else [], gains[-memory:] if memory else []
        x, residual = following, after
        if bool(failed.any()):
            back = expand(failed, x).bool()
            x = torch.where(back, best, x)
            residual = torch.where(failed[:, None], (target - function(x)).reshape(rows).double(), residual)
            # a step that was mixed is tried again plain; a plain one was too long
            damping = torch.where(failed & (mixed == 0), damping / 2, damping)
            moves, gains = ([torch.where(failed[:, None], 0.0, part) for part in kept] for kept in (moves, gains))
        mixed = torch.where(failed, 0, mixed + 1) if memory else mixed
        damping = torch.where(better, damping * 1.5, damping).clamp(max=1.0)
        done = done | (lowest <= tolerance) | ((since >= _PATIENCE) & (lowest <= slack * tolerance))
    return Solved(best, lowest, iterations, done)


def _mixed(step: Tensor, residual: Tensor, moves: list[Tensor], gains: list[Tensor]) -> Tensor:
    """Anderson's step, (batch, d): the plain one, made for what is left when past moves have done what they can."""
    if not moves:
        return step
    past, change = torch.stack(moves, 2), torch.stack(gains, 2)  # (batch, d, memory)
    lengths = change.square().sum(1).sqrt()
    lengths = torch.where(lengths > 0, lengths, 1.0)
    past, change = past / lengths[:, None], change / lengths[:, None]
    gram = change.transpose(1, 2) @ change + 1e-12 * torch.eye(len(moves), dtype=change.dtype, device=change.device)
    weights = torch.linalg.solve(gram, change.transpose(1, 2) @ residual[..., None])
    left = residual - (change @ weights)[..., 0]
    ratio = step.norm(dim=1, keepdim=True) / residual.norm(dim=1, keepdim=True).clamp(min=math.ulp(0.0))
    return ratio * left - (past @ weights)[..., 0]


def _rms(values: Tensor) -> Tensor:
    return values.square().mean(1).sqrt()

r"""Itô processes :math:`dX = a(X, t)\,dt + b(X, t)\,dW`, and the ways to step them.

Every path is driven by its own Brownian motion, drawn from addressed seeds. The motion can be looked at
more closely: halving the steps of a grid adds what happened between, and leaves the rest as it was. So one
and the same path is solved with finer and finer steps, and the strong order of a method can be measured.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds

__all__ = ["ItoProcess"]

Coefficient: TypeAlias = Callable[[Tensor, Tensor], Any]
METHODS = ("euler-maruyama", "milstein", "exact")
_DRAWN_AT_ONCE = 2**17  # numbers: the generator is some times faster while its work fits into the cache


class StochasticProcess(ABC):
    """What can be simulated: a drift, a diffusion and, where it is known, the exact step."""

    @abstractmethod
    def drift_at(self, x: Tensor, t: Tensor) -> Tensor:
        """a(x, t), of the shape of x: (paths, *shape)."""

    @abstractmethod
    def diffusion_at(self, x: Tensor, t: Tensor) -> Tensor:
        """b(x, t): as wide as x (each component has a noise of its own), or (paths, d, m) for m shared noises."""

    def diffusion_derivative_at(self, x: Tensor, t: Tensor) -> Tensor:
        """What Milstein's method needs, in the shape of x: b b' of independent noises, (grad b) b of a shared one."""
        return _derivative_along_noise(self.diffusion_at, x, t)

    def exact_step(self, x: Tensor, t: Tensor, duration: float, noise: Tensor) -> Tensor:
        """X(t + duration) given X(t) = x, from standard normal ``noise``; only where the law is known."""
        raise InputError(
            f"the transition law of {type(self).__name__} is not known in closed form; "
            "method must be 'euler-maruyama' or 'milstein'"
        )

    @torch.no_grad()
    def simulate(
        self, x0: Any, times: Any, seeds: Seeds, method: str = "euler-maruyama", refinements: int = 0
    ) -> Tensor:
        """Draws paths at the given times; one per address in ``seeds``.

        ``x0`` is a number, from which all paths start, or a tensor (paths, *shape). ``times`` has at least two
        members and rises or falls strictly. The result is float64, (paths, len(times), *shape), and lies on
        the device of ``x0``; it keeps no gradients.

        Falling times run the equation as it is written, dX = a dt + b dW with negative dt and a Brownian motion that
        runs backwards. They do not reverse a forward process: whoever wants Anderson's reverse-time equation
        gives its drift, a - b^2 grad log p.

        ``method`` is ``euler-maruyama`` (strong order 1/2, weak order 1), ``milstein`` (strong order 1; for
        independent noises where each component of b depends on its own component of x, or for one shared noise) or
        ``exact`` (without error, where the transition law is known). ``refinements`` halves each step that often,
        along the same Brownian motion: with the same seeds, a refined solution belongs to the same event.

        Raises InputError for bad input, NonFiniteError if a path diverges.
        """
        if method not in METHODS:
            raise InputError(f"the method must be one of {', '.join(METHODS)}; seen {method!r}")
        grid = check_times(times)
        if method == "exact" and grid[-1] < grid[0]:
            raise InputError("the exact step goes forward: times must rise with method='exact'")
        x = as_start(x0, seeds)
        seeds = seeds.to(x.device)
        noise_shape = self._noise_shape(x, torch.tensor(grid[0], dtype=torch.float64, device=x.device), method)
        increments = brownian_increments(grid, seeds, noise_shape)
        path = [x]
        for index, (start, end) in enumerate(pairwise(grid)):
            inner = _refine(increments[:, index], abs(end - start), seeds.at("brownian", index), refinements)
            moments = np.linspace(start, end, inner.shape[1] + 1)
            for k in range(inner.shape[1]):
                t = torch.tensor(moments[k], dtype=torch.float64, device=x.device)
                x = self._step(method, x, t, (end - start) / inner.shape[1], inner[:, k])
            if not bool(x.isfinite().all()):
                raise NonFiniteError(
                    f"paths of {type(self).__name__} left the finite numbers between the times {start:g} and {end:g}; "
                    f"take shorter steps (refinements={refinements + 2}), or look at the drift there"
                )
            path.append(x)
        return torch.stack(path, dim=1)

    def _step(self, method: str, x: Tensor, t: Tensor, dt: float, increment: Tensor) -> Tensor:
        if method == "exact":
            return self.exact_step(x, t, dt, increment / math.sqrt(abs(dt)))
        diffusion = self.diffusion_at(x, t)
        shared = diffusion.ndim > x.ndim
        kick = (diffusion @ increment[..., None])[..., 0] if shared else diffusion * increment
        moved = x + self.drift_at(x, t) * dt + kick
        if method == "milstein":
            # with one shared noise the increment is (paths, 1), and the same for all components
            moved = moved + self.diffusion_derivative_at(x, t) * (increment.square() - abs(dt)) / 2
        return moved

    def _noise_shape(self, x: Tensor, t: Tensor, method: str) -> tuple[int, ...]:
        """The shape of one path's noise: that of x, or (m,) of m shared ones; looks at the coefficients once."""
        if method == "exact":
            self.exact_step(x, t, 0.0, torch.zeros_like(x))
            return tuple(x.shape[1:])
        diffusion = self.diffusion_at(x, t)
        if diffusion.ndim <= x.ndim:
            return tuple(x.shape[1:])
        if method == "milstein" and diffusion.shape[-1] > 1:
            raise InputError(
                f"Milstein's method serves independent noises or one shared noise, since several shared ones need "
                f"iterated integrals that are not drawn; seen {diffusion.shape[-1]} noises: use 'euler-maruyama'"
            )
        return (diffusion.shape[-1],)


class NormalProcess(StochasticProcess):
    """A process whose transition law is normal, each component by itself: what its two moments give."""

    @abstractmethod
    def moments(self, x0: Tensor, t: Tensor, duration: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of X(t + duration) given X(t) = x0, plain numbers in base units."""

    def exact_step(self, x: Tensor, t: Tensor, duration: float, noise: Tensor) -> Tensor:
        """Mean + deviation * noise."""
        mean, variance = self.moments(x, t, torch.as_tensor(duration, dtype=x.dtype, device=x.device))
        return mean + variance.sqrt() * noise

    def normal_cdf(self, x: Any, x0: Any, duration: Any) -> Tensor:
        """P(X(duration) <= x | X(0) = x0) of one component, plain numbers in base units."""
        x, x0, duration = tensors_of(x, x0, duration)
        mean, variance = self.moments(x0, torch.zeros_like(duration), duration)
        return torch.special.ndtr((x - mean) / variance.sqrt())

    def normal_log_density(self, x: Any, x0: Any, duration: Any) -> Tensor:
        """log p(x, duration | x0) of one component, plain numbers in base units."""
        x, x0, duration = tensors_of(x, x0, duration)
        mean, variance = self.moments(x0, torch.zeros_like(duration), duration)
        return -((x - mean).square() / variance + (2 * math.pi * variance).log()) / 2


class ItoProcess(StochasticProcess):
    r"""Any Itô process dX = a(X, t) dt + b(X, t) dW: Euler–Maruyama and Milstein steps along one Brownian path.

    ``drift(x, t)`` and ``diffusion(x, t)`` are functions of a float64 tensor x (paths, *shape) and a float64 scalar
    tensor t; numbers and tensors that broadcast to the shape of x are welcome as results. A diffusion of that kind
    gives each component a noise of its own; one of shape (paths, d, m) for x of shape (paths, d) mixes m noises,
    and m = 1 is one noise that all components share.

    ``diffusion_derivative(x, t)`` is what Milstein's method needs: :math:`\partial b_i/\partial x_i`, as wide as x,
    or for one shared noise the Jacobian (paths, d, d) of b; found by automatic differentiation if not given.

    Units: x and t in any consistent ones; the functions get and give plain numbers.

    Reference: Kloeden, Platen, Numerical solution of stochastic differential equations (1992), chapters 10.2, 10.3.
    """

    def __init__(
        self, drift: Coefficient, diffusion: Coefficient, diffusion_derivative: Coefficient | None = None
    ) -> None:
        self.drift = drift
        self.diffusion = diffusion
        self.diffusion_derivative = diffusion_derivative

    def drift_at(self, x: Tensor, t: Tensor) -> Tensor:
        """a(x, t), checked and in the shape of x."""
        return _widened(self.drift(x, t), x, "drift")

    def diffusion_at(self, x: Tensor, t: Tensor) -> Tensor:
        """b(x, t), checked; in the shape of x, or (paths, d, m)."""
        values = self.diffusion(x, t)
        if isinstance(values, Tensor) and values.ndim == 3 and x.ndim == 2:
            if values.shape[:2] != x.shape:
                raise InputError(
                    f"the diffusion of {tuple(x.shape)} states with shared noises is {(*x.shape, 'm')}; "
                    f"seen {tuple(values.shape)}"
                )
            return values.to(x)
        return _widened(values, x, "diffusion")

    def diffusion_derivative_at(self, x: Tensor, t: Tensor) -> Tensor:
        """b b', or (grad b) b of a shared noise: from the derivative given, or by automatic differentiation."""
        if self.diffusion_derivative is None:
            return super().diffusion_derivative_at(x, t)
        diffusion = self.diffusion_at(x, t)
        derivative = self.diffusion_derivative(x, t)
        if diffusion.ndim == x.ndim:
            return diffusion * _widened(derivative, x, "derivative of the diffusion")
        if not isinstance(derivative, Tensor) or derivative.shape != (*x.shape, x.shape[1]):
            raise InputError(f"with one shared noise the derivative of the diffusion is {(*x.shape, x.shape[1])}")
        return (derivative.to(x) @ diffusion)[..., 0]


def brownian_increments(times: Any, seeds: Seeds, shape: Sequence[int] = (), refinements: int = 0) -> Tensor:
    """Increments of standard Brownian motions between the times, with each interval halved ``refinements`` times.

    Float64, (paths, steps * 2**refinements, *shape). With the same seeds and times, two neighbours of a finer
    result add up to the one of the coarser (Lévy's construction), to rounding. ``simulate`` is driven by these.
    """
    grid = check_times(times)
    durations = np.abs(np.diff(grid))
    drawn = _normals(seeds.at("brownian"), (len(durations), *shape))
    scale = torch.as_tensor(np.sqrt(durations), device=drawn.device).reshape(-1, *(1,) * len(tuple(shape)))
    drawn = drawn * scale
    if refinements == 0:
        return drawn
    parts = [
        _refine(drawn[:, index], float(duration), seeds.at("brownian", index), refinements)
        for index, duration in enumerate(durations)
    ]
    return torch.cat(parts, dim=1)


def tensors_of(*values: Any) -> tuple[Tensor, ...]:
    """Numbers, arrays and tensors as float64 tensors on one device: that of the first tensor among them."""
    device = next((value.device for value in values if isinstance(value, Tensor)), None)
    return tuple(torch.as_tensor(value, dtype=torch.float64, device=device) for value in values)


def check_number(value: Any, name: str, low: float | int = -math.inf, strict: bool = False) -> None:
    """Refuses what is no finite number of at least ``low`` (above it, if ``strict``)."""
    allowed = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not allowed or value < low or (strict and value == low):
        bound = "" if low == -math.inf else f" {'above' if strict else 'of at least'} {low:g}"
        raise InputError(f"{name} must be a finite number{bound}; seen {value!r}")


def check_times(times: Any) -> np.ndarray:
    """Times as a float64 array that rises or falls strictly; an InputError otherwise."""
    values = times.detach().cpu().numpy() if isinstance(times, Tensor) else times
    try:
        grid = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as problem:
        raise InputError(f"times must be numbers; seen {values!r}") from problem
    steps = np.diff(grid) if grid.ndim == 1 else np.zeros(0)
    if not len(steps) or not np.isfinite(grid).all() or not ((steps > 0).all() or (steps < 0).all()):
        raise InputError(f"times must be at least two finite numbers that rise or fall strictly; seen {values!r}")
    return grid


def as_start(x0: Any, seeds: Seeds) -> Tensor:
    """Where paths start: float64 (paths, *shape), from a tensor or array, or from one number for all."""
    device = x0.device if isinstance(x0, Tensor) else seeds.samples.device
    start = torch.as_tensor(x0, dtype=torch.float64, device=device).detach()
    if start.ndim == 0:
        start = start.expand(len(seeds))
    if len(start) != len(seeds):
        raise InputError(
            f"x0 is one number or a tensor with a row for each of the {len(seeds)} paths (the length of seeds); "
            f"seen the shape {tuple(start.shape)}"
        )
    if not bool(start.isfinite().all()):
        raise InputError("x0 must be finite; seen NaN or infinity")
    return start


def _refine(increment: Tensor, duration: float, seeds: Seeds, refinements: int) -> Tensor:
    """The increments (paths, *shape) of one interval in 2**refinements parts, (paths, parts, *shape)."""
    if not 0 <= refinements <= 24:
        raise InputError(f"refinements, the number of halvings of each step, must be 0 to 24; seen {refinements}")
    parts = increment[:, None]
    for level in range(refinements):
        # given its two ends, the middle of a Brownian path is normal with variance duration/4
        apart = _normals(seeds.at("halving", level), parts.shape[1:]) * math.sqrt(duration / 2**level / 4)
        parts = torch.stack((parts / 2 + apart, parts / 2 - apart), dim=2).flatten(1, 2)
    return parts


def drawn_in_blocks(draw: Callable[[Seeds], Tensor], seeds: Seeds, count: int) -> Tensor:
    """``draw(seeds)`` of ``count`` numbers a path, some paths at a time: each has its own address, nothing changes."""
    some = max(1, _DRAWN_AT_ONCE // max(1, count))
    if len(seeds) <= some:
        return draw(seeds)
    return torch.cat([draw(seeds[first : first + some]) for first in range(0, len(seeds), some)])


def _normals(seeds: Seeds, shape: Sequence[int]) -> Tensor:
    """Standard normals, (paths, *shape)."""
    return drawn_in_blocks(lambda some: some.normal(shape, torch.float64), seeds, math.prod(shape))


def _derivative_along_noise(diffusion: Coefficient, x: Tensor, t: Tensor) -> Tensor:
    """b b' of independent noises, or (grad b) b of a shared one, by automatic differentiation."""
    values = diffusion(x, t)
    if values.ndim > x.ndim:
        return torch.autograd.functional.jvp(lambda y: diffusion(y, t)[..., 0], x, values[..., 0])[1]
    with torch.enable_grad():
        y = x.detach().requires_grad_()
        values = diffusion(y, t)
        if not values.requires_grad:
            return torch.zeros_like(x)
        # a diagonal Jacobian returns the weights times the diagonal; any two weightings tell whether it is one
        weights = torch.linspace(1, 2, y[0].numel(), dtype=y.dtype, device=y.device).reshape(y.shape[1:])
        derivative = torch.autograd.grad(values.sum(), y, retain_graph=True, materialize_grads=True)[0]
        weighted = torch.autograd.grad((weights * values).sum(), y, materialize_grads=True)[0]
    if not torch.allclose(weighted, weights * derivative, rtol=1e-9, atol=1e-12):
        raise InputError(
            "Milstein's method needs each component of the diffusion to depend on its own component of x alone; "
            "here one depends on others: use 'euler-maruyama'"
        )
    return values.detach() * derivative


def _widened(values: Any, x: Tensor, name: str) -> Tensor:
    if not isinstance(values, Tensor):
        values = torch.as_tensor(values)
    try:
        return values.to(device=x.device, dtype=x.dtype).expand(x.shape)
    except RuntimeError as problem:
        raise InputError(
            f"the {name} must be a number or a tensor that broadcasts to the shape {tuple(x.shape)} of the states; "
            f"seen {tuple(values.shape)}"
        ) from problem

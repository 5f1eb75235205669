r"""Lorenz's models of the atmosphere: three, forty or some hundred numbers whose weather cannot be foretold for long.

Paths are stepped by the classical Runge–Kutta method of fourth order with steps of one size; a white noise, where
there is one, is added after each step, so that it has the right variance for any size. The state is a vector
(paths, size); everything is without units, as in the papers.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds
from unstir.physics.stochastic_process import as_start, check_number, check_times

__all__ = ["Lorenz63", "Lorenz96", "TwoScaleLorenz96"]


class Flow(ABC):
    """A system dx = f(x) dt, with white noise where ``noise`` (its deviation after one unit of time) is not zero."""

    if TYPE_CHECKING:  # a field of all

        @property
        def noise(self) -> float | int:
            """The white forcing's deviation."""
            ...

    @property
    @abstractmethod
    def size(self) -> int:
        """How many numbers a state has."""

    @abstractmethod
    def tendency(self, x: Any) -> Any:
        """f(x), of the shape of x, (..., size): NumPy arrays and tensors alike, differentiable."""

    @abstractmethod
    def start(self, seeds: Seeds) -> Tensor:
        """States (paths, size) near which a path may begin; let it run for a while before it is looked at."""

    @property
    def shaken(self) -> int:
        """How many numbers of a state, from the first, the noise acts on."""
        return self.size

    def step(self, x: Any, dt: float) -> Any:
        """One step of the classical Runge–Kutta method, without noise; local error O(dt^5)."""
        first = self.tendency(x)
        second = self.tendency(x + dt / 2 * first)
        third = self.tendency(x + dt / 2 * second)
        fourth = self.tendency(x + dt * third)
        return x + dt / 6 * (first + 2 * (second + third) + fourth)

    @torch.no_grad()
    def simulate(self, x0: Any, times: Any, seeds: Seeds | None = None, step: float = 0.01) -> Tensor:
        """Paths at the given rising times, float64 (paths, len(times), size); the first is ``x0`` (paths, size).

        Every interval is cut into equal steps of at most ``step``. ``seeds``, one address a path, are needed for noise
        only. A path is the same to the bit alone and beside others. It keeps no gradients: for those, use ``step``.

        Raises InputError for bad input, NonFiniteError if a path diverges.
        """
        grid, x = self._checked(x0, times, seeds, step)
        place = x.device
        walking = x.cpu().numpy()
        path = [walking]
        with np.errstate(over="ignore", invalid="ignore"):
            for number, (begin, end) in enumerate(pairwise(grid)):
                count = max(1, int(np.ceil((end - begin) / step - 1e-9)))
                walking = self._walk(walking, (end - begin) / count, self._kicks(seeds, number, count, end - begin))
                if not np.isfinite(walking).all():
                    raise NonFiniteError(
                        f"paths of {type(self).__name__} left the finite numbers between the times {begin:g} and "
                        f"{end:g}; take a shorter step than {step:g}, or look at the start and the noise"
                    )
                path.append(walking)
        return torch.from_numpy(np.stack(path, axis=1)).to(place)

    def _walk(self, x: np.ndarray, dt: float, kicks: Any) -> np.ndarray:
        for kick in kicks:
            x = self.step(x, dt)
            if kick is not None:
                x = np.concatenate((x[:, : self.shaken] + kick, x[:, self.shaken :]), axis=1)
        return x

    def _kicks(self, seeds: Seeds | None, number: int, count: int, duration: float) -> Any:
        """What the noise adds after each of ``count`` steps: (paths, shaken) each, or None."""
        if not self.noise or seeds is None:
            return [None] * count
        drawn = seeds.at("forcing", number).normal((count, self.shaken), torch.float64).cpu().numpy()
        return np.moveaxis(drawn * (self.noise * np.sqrt(duration / count)), 1, 0)

    def _checked(self, x0: Any, times: Any, seeds: Seeds | None, step: float) -> tuple[np.ndarray, Tensor]:
        check_number(step, "step", 0, strict=True)
        grid = check_times(times)
        if grid[-1] < grid[0]:
            raise InputError("a model that forgets cannot be run backwards: the times must rise")
        if self.noise and seeds is None:
            raise InputError(f"{type(self).__name__} has noise {self.noise:g}: give seeds, one address a path")
        x = torch.as_tensor(x0, dtype=torch.float64) if seeds is None else as_start(x0, seeds)
        if x.ndim != 2 or x.shape[1] != self.size or not bool(x.isfinite().all()):
            raise InputError(
                f"x0 of {type(self).__name__} is finite, of shape (paths, {self.size}); seen {tuple(x.shape)}"
            )
        return grid, x


@dataclass(frozen=True)
class Lorenz63(Flow):
    r"""Lorenz's three equations of 1963, convection between two plates: the butterfly.

    :math:`\dot x=\sigma(y-x),\ \dot y=x(\rho-z)-y,\ \dot z=xy-\beta z`, and white noise of deviation ``noise`` per
    square root of time on each. Volumes shrink at the rate sigma + 1 + beta; the leading Lyapunov exponent of the
    default is 0.906.

    Reference: Lorenz, Deterministic nonperiodic flow, Journal of the Atmospheric Sciences 20 (1963) 130, eq. 25 to 27.
    """

    sigma: float | int = 10.0
    rho: float | int = 28.0
    beta: float | int = 8.0 / 3.0
    noise: float | int = 0.0

    def __post_init__(self) -> None:
        for name in ("sigma", "rho", "beta"):
            check_number(getattr(self, name), name, 0, strict=True)
        check_number(self.noise, "noise", 0)

    @property
    def size(self) -> int:
        """Three."""
        return 3

    def tendency(self, x: Any) -> Any:
        """The three right-hand sides."""
        rates = self._rates(x[..., 0], x[..., 1], x[..., 2])
        return torch.stack(rates, -1) if isinstance(x, Tensor) else np.stack(rates, -1)

    def start(self, seeds: Seeds) -> Tensor:
        """Normal of deviation 2 about (0, 1, rho - 1), within the butterfly."""
        near = torch.tensor([0.0, 1.0, self.rho - 1.0], dtype=torch.float64)
        return near + 2 * seeds.at("start").normal((3,), torch.float64)

    def _rates(self, x: Any, y: Any, z: Any) -> tuple[Any, Any, Any]:
        return self.sigma * (y - x), x * (self.rho - z) - y, x * y - self.beta * z

    def _walk(self, x: np.ndarray, dt: float, kicks: Any) -> np.ndarray:
        if len(x) > 1 or self.noise:
            return super()._walk(x, dt, kicks)
        state, half, rates = tuple(x[0].tolist()), dt / 2, self._rates  # plain numbers: ten times faster for one path
        for _ in kicks:
            first = rates(*state)
            second = rates(*[a + half * b for a, b in zip(state, first, strict=True)])
            third = rates(*[a + half * b for a, b in zip(state, second, strict=True)])
            fourth = rates(*[a + dt * b for a, b in zip(state, third, strict=True)])
            slopes = zip(state, first, second, third, fourth, strict=True)
            state = tuple([a + dt / 6 * (k + 2 * (m + n) + p) for a, k, m, n, p in slopes])
        return np.array([state])


@dataclass(frozen=True)
class Lorenz96(Flow):
    r"""Lorenz's ring of 1996: a quantity around a circle of latitude, blown along, damped and forced.

    :math:`\dot x_k=(x_{k+1}-x_{k-2})x_{k-1}-d\,x_k+F`, k around a ring of ``variables``, with ``damping`` d (1 in the
    paper) and ``forcing`` F; white noise of deviation ``noise`` per square root of time. One unit of time is about five
    days. Without forcing and damping the energy, half the sum of squares, is kept.

    Reference: Lorenz, Predictability: a problem partly solved, ECMWF Seminar on predictability (1996), eq. 1; Lorenz,
    Emanuel, Optimal sites for supplementary weather observations (1998).
    """

    variables: int = 40
    forcing: float | int = 8.0
    damping: float | int = 1.0
    noise: float | int = 0.0

    def __post_init__(self) -> None:
        _check_ring(self.variables, "variables", 4)
        check_number(self.forcing, "forcing")
        check_number(self.damping, "damping", 0)
        check_number(self.noise, "noise", 0)

    @property
    def size(self) -> int:
        """The number of variables."""
        return self.variables

    def tendency(self, x: Any) -> Any:
        """Advection, damping and forcing."""
        after, before, second = _neighbours(x)
        return (after - second) * before - self.damping * x + self.forcing

    def start(self, seeds: Seeds) -> Tensor:
        """The state of rest, F everywhere, and standard normal numbers."""
        return self.forcing + seeds.at("start").normal((self.variables,), torch.float64)


@dataclass(frozen=True)
class TwoScaleLorenz96(Flow):
    r"""Lorenz's ring of 1996 with a fast ring within: large-scale weather and the convection that no model resolves.

    :math:`\dot X_k=(X_{k+1}-X_{k-2})X_{k-1}-X_k+F-\frac{hc}{b}\sum_jY_{j,k}` and
    :math:`\dot Y_{j,k}=-cb\,Y_{j+1,k}(Y_{j+2,k}-Y_{j-1,k})-c\,Y_{j,k}+\frac{hc}{b}X_k`, with ``variables`` X and
    ``fast`` Y to each of them, which form one ring through all sectors. A state holds X, then Y sector by sector.
    ``coupling`` h, ``speed`` c and ``amplitude`` b: Y is c times faster and b times smaller. ``noise`` acts on X;
    ``damping`` multiplies both damping terms. Steps: at most 0.005 where c = b = 10.

    Reference: Lorenz, Predictability: a problem partly solved (1996), eq. 2 and 3; Wilks, Effects of stochastic
    parametrizations in the Lorenz '96 system, QJRMS 131 (2005) 389.
    """

    variables: int = 8
    fast: int = 32
    forcing: float | int = 20.0
    coupling: float | int = 1.0
    speed: float | int = 10.0
    amplitude: float | int = 10.0
    damping: float | int = 1.0
    noise: float | int = 0.0

    def __post_init__(self) -> None:
        _check_ring(self.variables, "variables", 4)
        _check_ring(self.fast, "fast", 1)
        check_number(self.forcing, "forcing")
        check_number(self.coupling, "coupling")
        for name in ("speed", "amplitude"):
            check_number(getattr(self, name), name, 0, strict=True)
        for name in ("damping", "noise"):
            check_number(getattr(self, name), name, 0)

    @property
    def size(self) -> int:
        """X and Y together."""
        return self.variables * (1 + self.fast)

    @property
    def shaken(self) -> int:
        """X alone."""
        return self.variables

    def tendency(self, x: Any) -> Any:
        """Of X, then of Y."""
        slow, fast = x[..., : self.variables], x[..., self.variables :]
        exchange = self.coupling * self.speed / self.amplitude
        sectors = fast.reshape(*fast.shape[:-1], self.variables, self.fast)
        after, before, second = _neighbours(slow)
        slower = (after - second) * before - self.damping * slow + self.forcing - exchange * sectors.sum(-1)
        mirrored, ahead, further = _neighbours(fast, ahead=True)
        rate = self.speed * self.amplitude
        alone = rate * ahead * (mirrored - further) - self.speed * self.damping * fast
        faster = (alone.reshape(sectors.shape) + (exchange * slow)[..., None]).reshape(fast.shape)
        parts = (slower, faster)
        return torch.cat(parts, -1) if isinstance(x, Tensor) else np.concatenate(parts, -1)

    def start(self, seeds: Seeds) -> Tensor:
        """X at rest and standard normal numbers; Y small."""
        drawn = seeds.at("start").normal((self.size,), torch.float64)
        return torch.cat((self.forcing / 4 + drawn[:, : self.variables], 0.1 * drawn[:, self.variables :]), 1)


def _neighbours(x: Any, ahead: bool = False) -> tuple[Any, Any, Any]:
    """Around a ring: the values at k + 1, k - 1 and k - 2; ``ahead`` gives those at k - 1, k + 1 and k + 2."""
    join = torch.cat if isinstance(x, Tensor) else np.concatenate
    if ahead:
        around = join((x[..., -1:], x, x[..., :2]), -1)
        return around[..., :-3], around[..., 2:-1], around[..., 3:]
    around = join((x[..., -2:], x, x[..., :1]), -1)
    return around[..., 3:], around[..., 1:-2], around[..., :-3]


def _check_ring(count: Any, name: str, least: int) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or count < least:
        raise InputError(f"{name} must be a whole number, at least {least}; seen {count!r}")

r"""The probability-flow ODE solved to a tolerance, each sample at its own pace.

With :math:`A = \alpha/\rho`, :math:`S = \sigma/\rho`, :math:`\rho = \sqrt{\alpha^2 + \sigma^2}` and the state
:math:`z = x/\rho`, every schedule takes the same road,

.. math:: \frac{dz}{d\varphi} = \frac{A z - \hat x_0}{S}, \qquad \varphi = \arctan(\sigma/\alpha).

The clock is :math:`u = \arctan(\sigma/(c\,\alpha))` with the data's scale c. Both are smooth at either end, so that a
start from pure noise needs no special case, and steps even in u are near what error control asks for.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.ode import CONTROLS, METHODS, Field, Solution, solve
from unstir.core.state import expand
from unstir.denoisers.base import Denoiser
from unstir.processes.schedules.base import Schedule
from unstir.samplers.base import EUCLIDEAN, Sampler, SamplerState

__all__ = ["adaptive"]


@dataclass(frozen=True)
class AdaptiveSampler(Sampler):
    """Embedded Runge-Kutta steps within each step of the grid; see ``adaptive`` for the options.

    The first step looks ahead to the data, and keeps for the later ones the bound on a step's error that honours the
    tolerance there (in ``SamplerState.history``, with the size of the next step).
    """

    tolerance: float = 1e-3
    control: str = "global"
    method: str = "dormand-prince"
    scale: float = 0.5
    max_calls: int = 10_000
    spaces = EUCLIDEAN
    calls_per_step = None

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1 or not 0 < self.scale < torch.inf:
            raise InputError(
                f"the tolerance lies between 0 and 1 and the scale is positive; seen {self.tolerance} and {self.scale}"
            )
        if self.control not in CONTROLS:
            raise unknown("error control", self.control, CONTROLS)
        if self.method not in METHODS:
            raise unknown("method of solution", self.method, METHODS)

    @property
    def order(self) -> float:  # type: ignore[override]
        """Of the method; no grid shows it, since steps are chosen within."""
        return float(METHODS[self.method].order)

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        x, schedule = state.tensor, denoiser.process.schedule
        finest = torch.finfo(x.dtype).eps
        if self.tolerance < 100 * finest:
            raise InputError(
                f"a tolerance of {self.tolerance:g} is finer than numbers of {x.dtype} can tell; take at least "
                f"{100 * finest:.1g}, or float64 states (dtype=torch.float64)"
            )
        # what lies nearer to the data than this is left to the belief's mean, which errs by less than a third of it
        nearest = torch.tensor(max(self.tolerance, finest**0.5), dtype=torch.float64, device=t.device)
        last = min(schedule.time_at_sigma(nearest), t)
        share, size = state.history or (None, None)
        means: list[Tensor] = []
        field = self._field(denoiser, x.dtype, (t, s, last), means)
        z = x.double() / _size(schedule, t)
        end = s if s > 0 else last
        if share is None:
            found = self._solve(field, schedule, z, t, last, self.control)
            share = found.share
            if s > 0:
                found = self._solve(field, schedule, z, t, end, "local", share, None)
        else:
            found = self._solve(field, schedule, z, t, end, "local", share, size)
        x = (found.y * _size(schedule, end)).to(x.dtype)
        if s > 0:
            return state.advance(x, means[0], (share, found.step))
        mean = denoiser(x, end).mean
        return state.advance(mean, means[0] if means else mean)

    def _solve(
        self,
        field: Field,
        schedule: Schedule,
        z: Tensor,
        t: Tensor,
        s: Tensor,
        control: str,
        share: Tensor | float = 1.0,
        size: Tensor | None = None,
    ) -> Solution:
        return solve(
            field,
            z,
            self._clock(schedule, t),
            self._clock(schedule, s),
            relative=0.0,
            absolute=self.tolerance * share,
            method=self.method,
            control=control,
            max_calls=self.max_calls,
            first_step=size,
        )

    def _clock(self, schedule: Schedule, t: Tensor) -> Tensor:
        return torch.atan2(schedule.sigma(t), self.scale * schedule.alpha(t))

    def _field(self, denoiser: Denoiser, dtype: torch.dtype, stops: tuple[Tensor, ...], means: list[Tensor]) -> Field:
        """dz/du; the belief's mean of its first call is kept in ``means``."""
        schedule = denoiser.process.schedule
        known = [(self._clock(schedule, stop), stop) for stop in stops]

        def slope(u: Tensor, z: Tensor) -> Tensor:
            times = schedule.time_at_sigma(self.scale * u.tan())
            for clock, stop in known:  # without the rounding of an inverted schedule
                times = torch.where(u == clock, stop, times)
            size = _size(schedule, times)
            mean = denoiser((expand(size, z) * z).to(dtype), times).mean
            means.append(mean) if not means else None
            signal, noise = schedule.alpha(times) / size, schedule.sigma(times) / size
            rate = (noise.square() + (self.scale * signal).square()) / (self.scale * noise)
            return expand(rate * signal, z) * z - expand(rate, z) * mean

        return slope


def _size(schedule: Schedule, t: Tensor) -> Tensor:
    return torch.hypot(schedule.alpha(t), schedule.sigma(t))


def adaptive(
    tolerance: float = 1e-3,
    control: str = "global",
    method: str = "dormand-prince",
    scale: float = 0.5,
    max_calls: int = 10_000,
) -> AdaptiveSampler:
    """The probability-flow ODE to a tolerance that is honoured, by steps of each sample's own size and number.

    ``tolerance`` bounds the error of the result, the root-mean-square over a sample's elements in the units of the
    data, whatever the grid: one step is enough, and more only say where to stop on the way. ``control`` "local"
    bounds the error of each of its steps instead, which costs half as much and says less: errors grow on the way,
    most between modes. ``method`` is "dormand-prince" (order 5) or "bogacki-shampine" (order 3), ``scale`` the
    data's standard deviation, roughly; ``max_calls`` guards against a belief that cannot be followed.

    Reference: Dormand, Prince, A family of embedded Runge-Kutta formulae (1980); Jolicoeur-Martineau et al., Gotta
    go fast when generating data with score-based models (2021), for steps of each sample's own.
    """
    return AdaptiveSampler(tolerance, control, method, scale, max_calls)


adaptive.examples = lambda: {  # type: ignore[attr-defined]
    "tolerance 0.05": adaptive(0.05),  # the claims on random networks need no finer one; others are measured apart
    "local, tolerance 0.01": adaptive(0.01, control="local"),
}

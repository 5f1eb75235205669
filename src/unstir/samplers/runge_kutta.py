r"""The Runge-Kutta family on Gaussian processes, from Butcher tableaux.

The ODE is solved in the variables :math:`y = x/\alpha` and :math:`r = \sigma/\alpha`, where it is
:math:`dy/dr = (y - \hat x_0)/r` for every schedule. The last step, into r = 0, is an Euler step,
which lands on the belief's mean.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.state import expand
from unstir.denoisers.base import Denoiser
from unstir.samplers.base import EUCLIDEAN, Sampler, SamplerState

__all__ = ["euler", "heun"]


@dataclass(frozen=True)
class Tableau:
    """The coefficients of an explicit method: ``nodes`` c, the lower triangle ``matrix`` a, ``weights`` b."""

    order: int
    nodes: tuple[float, ...]
    matrix: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


EULER = Tableau(1, (0.0,), ((),), (1.0,))
HEUN = Tableau(2, (0.0, 1.0), ((), (1.0,)), (0.5, 0.5))


@dataclass(frozen=True)
class RungeKuttaSampler(Sampler):
    """An explicit Runge-Kutta method on the probability-flow ODE, deterministic."""

    tableau: Tableau
    spaces = EUCLIDEAN

    @property
    def order(self) -> float:  # type: ignore[override]
        """Of the method."""
        return float(self.tableau.order)

    @property
    def calls_per_step(self) -> int:  # type: ignore[override]
        """One for each of the method's stages."""
        return len(self.tableau.nodes)

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        schedule = denoiser.process.schedule
        if schedule.alpha(t) == 0:
            raise InputError(
                "Runge-Kutta steps cannot start where nothing of the data is left (alpha = 0): start from a finite "
                "noise level (the grid's sigma_max), or take an exponential sampler such as ddim"
            )
        start, end = (schedule.sigma(time) / schedule.alpha(time) for time in (t, s))
        tableau = EULER if s == 0 else self.tableau
        y = state.tensor / expand(schedule.alpha(t), state.tensor)
        means: list[Tensor] = []
        slopes: list[Tensor] = []
        for node, row in zip(tableau.nodes, tableau.matrix, strict=True):
            level = start + node * (end - start)
            stage = _moved(y, slopes, row, end - start)
            time = schedule.time_at_sigma(level) if slopes else t
            means.append(denoiser(expand(schedule.alpha(time), stage) * stage, time).mean)
            slopes.append((stage - means[-1]) / expand(level, stage))
        moved = _moved(y, slopes, tableau.weights, end - start)
        return state.advance(expand(schedule.alpha(s), moved) * moved, means[0])


def _moved(y: Tensor, slopes: list[Tensor], weights: tuple[float, ...], width: Tensor) -> Tensor:
    for slope, weight in zip(slopes, weights, strict=False):
        y = torch.add(y, slope, alpha=(weight * width).item())
    return y


def euler() -> RungeKuttaSampler:
    """Euler's method in sigma, which is DDIM.

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), eq. 4.
    """
    return RungeKuttaSampler(EULER)


def heun() -> RungeKuttaSampler:
    """Heun's method of second order: EDM's deterministic sampler, two calls a step but for the last.

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), algorithm 1.
    """
    return RungeKuttaSampler(HEUN)

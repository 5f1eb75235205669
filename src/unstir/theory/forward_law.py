r"""One forward law by three routes: from the stochastic equation, from Fokker–Planck, and in closed form.

The noisy marginals p_t of a Gaussian process are the law of dx = f x dt + g dW, and the solution of
:math:`\partial_t p = -\partial_x(f x\,p) + \tfrac12 g^2\,\partial_x^2 p`. Where the data's law is known exactly, so
are they; the three are computed here independently, each up to its own error.

Reference: Song et al., Score-based generative modeling through SDEs (2021), section 3; Särkkä, Solin, Applied
stochastic differential equations (2019), chapter 5.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.exact.base import EuclideanDenoiser
from unstir.physics.fokker_planck import FokkerPlanck
from unstir.physics.stochastic_process import ItoProcess, check_times
from unstir.processes.schedules.base import Schedule
from unstir.theory.reverse_time import schedule_of, times_between

_DRAWS = 4096
_DEVIATIONS = 7.0  # the box reaches so far that a normal law leaves 3e-12 outside


@dataclass(frozen=True)
class ForwardLaw:
    """The law of x_t on the line at ``times`` (n,), by three routes.

    ``closed_form`` and ``fokker_planck`` are the probabilities (n, cells) of the cells between ``edges`` (cells + 1,);
    ``states`` the simulated x_t, (paths, n). What is simulated and solved starts from p_t at the first of the times.
    """

    times: np.ndarray
    edges: np.ndarray
    closed_form: np.ndarray
    fokker_planck: np.ndarray
    states: np.ndarray

    @property
    def centres(self) -> np.ndarray:
        """The middles of the cells, (cells,)."""
        return (self.edges[1:] + self.edges[:-1]) / 2

    @property
    def counts(self) -> np.ndarray:
        """How many paths are in each cell, (n, cells); those outside count to the cells at the ends."""
        inside = np.clip(self.states, self.edges[0], self.edges[-1])
        return np.stack([np.histogram(column, self.edges)[0] for column in inside.T])

    @property
    def total_variation(self) -> np.ndarray:
        """Half the L1 distance of the Fokker–Planck solution from the closed form at each time, (n,)."""
        return np.abs(self.fokker_planck - self.closed_form).sum(1) / 2


def forward_sde(schedule: Schedule) -> ItoProcess:
    """dx = f x dt + g dW, the equation that stirs; states of any shape, times within (0, 1)."""
    return ItoProcess(lambda x, t: schedule.drift(t) * x, lambda x, t: schedule.diffusion(t))


def forward_law(
    denoiser: EuclideanDenoiser,
    times: Sequence[float | int] | np.ndarray,
    seeds: Seeds,
    cells: int = 400,
    bounds: tuple[float | int, float | int] | None = None,
    steps: int = 100,
) -> ForwardLaw:
    """The three routes to p_t of a law on the line, one path a seed, at rising ``times`` between 0 and 1.

    Between two times both equations take ``steps`` steps, even in log-SNR. Fokker–Planck: finite volumes on ``cells``
    equal cells between ``bounds`` (seven deviations about the mean at the first and last time if not given) and
    TR-BDF2, second order in cell and step. Paths: Euler–Maruyama, of first order in law.

    Raises InputError if the law is not on the line or the times do not rise within (0, 1).
    """
    schedule, shape = schedule_of(denoiser), line_shape(denoiser)
    clock = check_times(times)
    if not 0 < clock[0] < clock[-1] < 1:
        raise InputError(f"times rise between 0 and 1, both excluded; seen {list(times)}")
    low, high = _bounds(denoiser, clock) if bounds is None else bounds
    equation = FokkerPlanck(
        low,
        high,
        cells,
        drift=lambda x, t: float(schedule.drift(t)) * x,
        diffusion=lambda x, t: np.full_like(x, float(schedule.diffusion(t)) ** 2 / 2),
    )
    width = (high - low) / cells

    def density(t: float) -> np.ndarray:
        def at(places: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return denoiser.log_density(torch.as_tensor(places).reshape(-1, *shape), t).exp().numpy()

        return equation.averages(at)

    closed_form = np.stack([density(t) for t in clock.tolist()])
    levels = schedule.log_snr(torch.as_tensor(clock)).tolist()
    between = [times_between(schedule, begin, end, steps)[1:].numpy() for begin, end in pairwise(levels)]
    fine = np.concatenate((clock[:1], *between))
    solved = equation.solve(closed_form[0], fine, steps=1)[::steps]
    start = denoiser.draw(seeds.at("start"), float(clock[0])).double()
    paths = forward_sde(schedule).simulate(start, fine, seeds.at("path"))
    states = paths[:, ::steps].reshape(len(start), -1)
    return ForwardLaw(clock, np.linspace(low, high, cells + 1), closed_form * width, solved * width, states.numpy())


def line_shape(denoiser: EuclideanDenoiser) -> tuple[int, ...]:
    """The shape of a sample of a law on the line, () or (1,) and the like; an InputError for more elements."""
    shape = tuple(denoiser.draw(Seeds.range(0, 1)).shape[1:])
    if math.prod(shape) != 1:
        raise InputError(f"this is about laws on the line; the samples of this one have the shape {shape}")
    return shape


def _bounds(denoiser: EuclideanDenoiser, clock: np.ndarray) -> tuple[float, float]:
    seeds = Seeds.range(0, _DRAWS).at("bounds")
    ends: list[Tensor] = [denoiser.draw(seeds, float(t)).double() for t in (clock[0], clock[-1])]
    reach = [(float(draws.mean()), _DEVIATIONS * float(draws.std())) for draws in ends]
    return min(mean - far for mean, far in reach), max(mean + far for mean, far in reach)

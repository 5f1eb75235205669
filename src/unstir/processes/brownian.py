"""Brownian motion on a compact space whose heat kernel is known: what rotations and the sphere share."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask
from unstir.processes.base import Process
from unstir.processes.schedules.base import float64
from unstir.processes.spreading import check_spreading, gained_deviation


class BrownianProcess(Process):
    """Brownian motion in the clock of a variance-exploding schedule, sigma in radians.

    Subclasses, frozen dataclasses with the field ``schedule``, say what an element is: its last axes, its heat kernel,
    and how the product of two kernels is drawn. The law of x_t given x_0 is the kernel of deviation sigma_t about x_0;
    the bridge is the product of the kernels about x_0 and x_t. Draws are made in float64.
    """

    element: tuple[int, ...]
    """The last axes of a state, which make up one element."""

    def check_schedule(self) -> None:
        """Refuses noise that shrinks the data, or ends too early."""
        check_spreading(self, f"{type(self).__name__} cannot shrink data", "5 radians")

    @abstractmethod
    def prior_error(self, t: Tensor | float = 1.0) -> float:
        """The largest relative deviation of the density of x_t given x_0 from the uniform one, over all x_t."""

    @abstractmethod
    def log_kernel(self, x: Tensor, y: Tensor, deviation: Tensor) -> Tensor:
        """The log-density of every element x about y, float64 (batch, ...), differentiable; uniform has zero."""

    @abstractmethod
    def draw_product(
        self, first: Tensor, first_deviation: Tensor, second: Tensor, second_deviation: Tensor, seeds: Seeds
    ) -> Tensor:
        """Float64 draws in proportion to the product of two kernels, with deviations that broadcast to (batch, ...).

        The first centre where its deviation is zero, else the second where that is; a deviation may be infinite.
        """

    def transition(self, xs: Tensor, s: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Tensor:
        self.check_state(xs)
        rest = self._rest(s, t, xs)
        drawn = self.draw_product(xs, rest, xs, torch.full_like(rest, torch.inf), seeds).to(xs.dtype)
        return apply_mask(torch.where(self._beside(rest == 0), xs, drawn), mask)

    def prior(
        self,
        shape: Sequence[int],
        seeds: Seeds,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.float32,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Uniform draws, of which sampling starts at any time ``t``; ``shape`` is that of one sample."""
        self._check_shape(tuple(shape))
        return apply_mask(self.uniform(tuple(shape), seeds).to(dtype), mask)

    @abstractmethod
    def uniform(self, shape: Sequence[int], seeds: Seeds) -> Tensor:
        """Uniform draws (batch, *shape), float64."""

    def bridge(
        self, xt: Tensor, posterior: Any, t: Tensor, s: Tensor, seeds: Seeds, mask: Tensor | None = None
    ) -> Tensor:
        """A draw of x_s given x_t and the belief about x_0, for s <= t.

        With x_0 drawn from the belief, x_s is drawn exactly from the product of the kernels about x_0 and x_t,
        which knows all ways round. Exact for any s < t if the belief is the true posterior.
        """
        self.check_state(xt)
        rest = self._rest(s, t, xt)
        x0 = posterior.sample(seeds.at("clean")).to(xt.device)
        sigma = self.deviation(s, xt)
        # in no time nothing moves, even where no noise has been added yet
        start = torch.where(rest == 0, 1.0, sigma.expand(rest.shape))
        drawn = self.draw_product(x0, start, xt, rest, seeds.at("bridge")).to(xt.dtype)
        drawn = torch.where(self._beside(sigma > 0), drawn, x0.to(xt.dtype))
        return apply_mask(torch.where(self._beside(rest == 0), xt, drawn), mask)

    def log_density(self, xt: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        logs = self.log_kernel(xt, x0, self.deviation(t, xt))
        return logs.reshape(len(logs), -1).sum(1)

    def deviation(self, t: Tensor | float, like: Tensor) -> Tensor:
        """sigma_t, float64, that broadcasts to the elements of ``like``: of as many axes, or none."""
        return self._shaped(self.schedule.sigma(float64(t)), like)

    def check_state(self, x: Tensor) -> None:
        """Refuses a state whose last axes are no element, or whose numbers are whole ones."""
        self._check_shape(tuple(x.shape[1:]))
        if not x.is_floating_point():
            raise InputError(f"a state of {type(self).__name__} has a floating dtype; seen {x.dtype}")

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if shape[len(shape) - len(self.element) :] != self.element:
            raise InputError(f"states of {type(self).__name__} end in the axes {self.element}; seen {shape} a sample")

    def _rest(self, s: Tensor | float, t: Tensor | float, like: Tensor) -> Tensor:
        """The deviation that the noise gains from s to t."""
        return self._shaped(gained_deviation(self.schedule, s, t, like.device), like)

    def _shaped(self, values: Tensor, like: Tensor) -> Tensor:
        axes = like.ndim - len(self.element)
        values = values.to(like.device)
        return values.reshape(values.shape + (1,) * (axes - values.ndim))

    def _beside(self, flags: Tensor) -> Tensor:
        return flags.reshape(flags.shape + (1,) * len(self.element))

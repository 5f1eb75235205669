r"""Noise on the sites of a periodic cell, whose origin does not count."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.processes.base import even_pairs
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess

__all__ = ["SitesProcess"]


@dataclass(frozen=True)
class SitesProcess(WrappedProcess):
    r"""Brownian motion of the sites of a crystal, in fractional coordinates: x_t = (x_0 + sigma_t eps) modulo one.

    States are (batch, n, d) in [0, 1). The law is that of the torus, ``WrappedProcess``; what differs is what is asked:
    data may lie anywhere in its cell, so that a belief is about the crystal and not about its origin, which noise
    forgets and nobody can know (``denoisers.learned.sites``). Half of a cell is far: from sigma = 0.3 on, noise has
    left nothing of a crystal, so that a schedule up to 0.5 or so is enough; its ``prior_error`` is 1.4 % there, and
    5e-9 at one.

    Reference: Jiao et al., Crystal structure prediction by joint equivariant diffusion (2023), section 4.2.
    """

    learned = "sites"

    def __post_init__(self) -> None:
        if self.period != 1:
            raise InputError(f"fractional coordinates have the period 1; seen {self.period}: leave `period` out")
        super().__post_init__()

    @classmethod
    def examples(cls) -> Mapping[str, "SitesProcess"]:
        """Members whose claims are measured."""
        return {"sites in a plane": cls(ExponentialVESchedule(0.01, 2.0))}

    def example_data(self, count: int) -> Tensor:
        """Two sites in the plane, the second beside or across the first."""
        first, second = even_pairs(count).unbind(1)
        return torch.stack((first, second, (first + second) % 1, (first + 0.5) % 1), 1).reshape(count, 2, 2)

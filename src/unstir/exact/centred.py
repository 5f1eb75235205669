"""Gaussian laws of sets of points whose centre is zero."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import Posterior
from unstir.exact.base import ExactDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.centred import CentredProcess
from unstir.processes.schedules.edm import EDMSchedule

__all__ = ["CentredMixtureDenoiser"]


class CentredMixtureDenoiser(ExactDenoiser):
    r"""The exact belief for shapes that shake: a mixture of Gaussians of points about their centre.

    ``weights`` (k,); ``means`` (k, n, d), of which the centre is taken away; ``covariances`` (k, n, n), each between
    points and the same along every axis, so that the law of a component with mean zero is that of any rotation of it.
    They are projected: :math:`PCP`. ``labels`` (k,), whole numbers, allow the condition ``label`` (batch,).

    In the subspace the belief is that of the mixture with these singular covariances under noise in all directions;
    the density is that one over the density of the centre's noise, which is a factor of its own.

    Reference: Bishop, Pattern Recognition and Machine Learning (2006), section 2.3.3; Hoogeboom et al., Equivariant
    diffusion for molecule generation in 3D (2022), appendix A, for the density in the subspace; Doi and Edwards, The
    theory of polymer dynamics (1986), section 4.1, for the chain in ``examples``.
    """

    def __init__(self, weights: Any, means: Any, covariances: Any, process: CentredProcess, labels: Any = None) -> None:
        super().__init__()
        means, between = (torch.as_tensor(given, dtype=torch.float64) for given in (means, covariances))
        if means.ndim != 3:
            raise InputError(f"means are points, (components, n, d); seen {tuple(means.shape)}")
        count, points, axes = means.shape
        if between.shape != (count, points, points):
            raise InputError(
                f"covariances between {points} points have the shape {(count, points, points)}; seen "
                f"{tuple(between.shape)}"
            )
        away = torch.eye(points, dtype=torch.float64) - 1 / points
        whole = torch.stack([torch.kron(away @ one @ away, torch.eye(axes, dtype=torch.float64)) for one in between])
        self.process = process
        self.within = MixtureDenoiser(weights, process.project(means), whole, process, labels)

    @classmethod
    def examples(cls) -> Mapping[str, "CentredMixtureDenoiser"]:
        """A chain of beads and springs in space, and two shapes in the plane with labels."""
        springs = 2 * torch.eye(4, dtype=torch.float64)
        springs[0, 0] = springs[3, 3] = 1
        springs -= torch.diag(torch.ones(3, dtype=torch.float64), 1) + torch.diag(
            torch.ones(3, dtype=torch.float64), -1
        )
        chain = torch.linalg.pinv(springs)[None]
        shapes = [[[0.0, 1.0], [1.0, -0.5], [-1.0, -0.5]], [[1.5, 0.0], [0.0, 0.2], [-1.5, 0.1]]]
        shaking = torch.stack((0.04 * torch.eye(3), torch.diag(torch.tensor([0.1, 0.02, 0.2])))).double()
        return {
            "chain": cls([1.0], torch.zeros(1, 4, 3), chain, CentredProcess()),
            "two shapes, labelled": cls([0.4, 0.6], shapes, shaking, CentredProcess(EDMSchedule()), labels=[0, 1]),
        }

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample, (n, d)."""
        return tuple(self.within.shape)

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The belief about x_0; where the points lie as a whole tells nothing."""
        return self.within(self.process.project(xt), t, drop, **condition)

    def score(self, xt: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """grad log p_t(x_t), which has no centre."""
        return self.process.project(self.within.score(self.process.project(xt), t, None, **condition))

    def log_density(self, xt: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """log p_t(x_t) in nats in the (n - 1) d dimensions of the subspace, float64 (batch,)."""
        whole = self.within.log_density(self.process.project(xt.double()), t, None, **condition)
        sigma = self.process.schedule.sigma(torch.as_tensor(t, dtype=torch.float64))
        # at time 0 the mixture is on its support already
        centre = self.shape[-1] * (sigma.log() + math.log(2 * math.pi) / 2)
        return whole + torch.where(sigma > 0, centre, 0.0)

    def draw(self, seeds: Seeds, t: Tensor | float = 0.0, **condition: Tensor) -> Tensor:
        """Exact draws of x_t, float64."""
        x0 = self.process.project(self.within.draw(seeds.at("clean"), 0.0, **condition))
        return self.process.noise(x0, torch.as_tensor(t, dtype=torch.float64), seeds.at("noise"))

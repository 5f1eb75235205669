r"""Gaussian noise on sets of points whose centre of mass stays at zero."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.state import apply_mask, expand
from unstir.processes.base import even_pairs
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.base import float64
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule

__all__ = ["CentredProcess"]

_ROUNDING = 64.0  # machine epsilons of the largest coordinate: how far the centre of a set may lie from zero


@dataclass(frozen=True)
class CentredProcess(GaussianProcess):
    r"""Gaussian noise without its centre: sets of points of which only the shape counts, not the place.

    States are (batch, n, d), the mean of a sample's points zero; of padded sets that of the points that ``mask`` says
    are there, and padded places hold zero. :math:`x_t = \alpha_t x_0 + \sigma_t P\epsilon`, P the projection that takes
    the centre away: n points have :math:`(n-1)d` degrees of freedom, and ``log_density`` is a density in as many
    dimensions, against the Lebesgue measure of that subspace. It commutes with rotations, and moving all points
    together is no noise. Every sampler of Gaussian processes serves it.

    ``centred(points)`` makes data ready for it.

    Reference: Hoogeboom, Satorras, Vignac, Welling, Equivariant diffusion for molecule generation in 3D (2022),
    section 3.1 and appendix A; Köhler, Klein, Noé, Equivariant flows (2020), section 5.
    """

    space = "centred"
    learned = "centred"

    @classmethod
    def examples(cls) -> Mapping[str, "CentredProcess"]:
        """Members whose claims are measured."""
        return {"variance preserving": cls(CosineSchedule()), "variance exploding": cls(EDMSchedule())}

    def example_data(self, count: int) -> Tensor:
        """Three points in the plane."""
        first, second = even_pairs(count).unbind(1)
        points = torch.stack((first, second, second - first, first * second, 1 - first, 0.5 - second), 1)
        return self.project(2 * points.reshape(count, 3, 2))

    def contains(self, x: Tensor) -> Tensor:
        """Whether points are finite and their centre is zero to rounding; without a mask: padded places are points."""
        finite = x.flatten(1).isfinite().all(1)
        largest = x.flatten(1).abs().amax(1)
        return finite & (x.sum(1).abs().amax(1) <= _ROUNDING * torch.finfo(x.dtype).eps * x.shape[1] * largest)

    def centred(self, points: Tensor, mask: Tensor | None = None) -> Tensor:
        """Points (batch, n, d) about their centre; padded places hold zero."""
        return self.project(points, mask)

    def project(self, noise: Tensor, mask: Tensor | None = None) -> Tensor:
        """The part without a centre: every sample's own points less their mean; zero in padded places."""
        if noise.ndim != 3:
            raise InputError(f"sets of points have the shape (batch, n, d); seen {tuple(noise.shape)}")
        if mask is None:
            return noise - noise.mean(1, keepdim=True)
        present = apply_mask(noise, mask)
        count = mask.sum(1).clamp(min=1).to(noise.dtype)[:, None, None]
        return apply_mask(present - present.sum(1, keepdim=True) / count, mask)

    def dimensions(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The degrees of freedom of each sample, (points - 1) d, float64 (batch,)."""
        points = torch.full((len(x),), float(x.shape[1])) if mask is None else mask.sum(1)
        return (points.to(x.device, torch.float64) - 1).clamp(min=0) * x.shape[2]

    def log_density(self, xt: Tensor, x0: Tensor, t: Tensor | float, mask: Tensor | None = None) -> Tensor:
        """log q(x_t | x_0) in nats in the subspace, float64 (batch,); what a state has of a centre does not count."""
        t = float64(t).to(xt.device)
        alpha, sigma = expand(self.schedule.alpha(t), xt.double()), self.schedule.sigma(t)
        away = self.project(xt.double() - alpha * x0.double(), mask).flatten(1).square().sum(1)
        nats = self.dimensions(xt, mask) * (sigma.log() + math.log(2 * math.pi) / 2)
        return -away / (2 * sigma.square()) - nats

"""Laws whose denoiser is known exactly, on which samplers are compared: three mixtures of Gaussians.

All is stated for y = x_0 + sigma z. A library with another convention, x_t = alpha x_0 + s z, is reached through
y = x_t/alpha and sigma = s/alpha, which leaves the curves of the probability-flow ODE as they are.

``MixtureTarget.denoise`` is the one implementation that every library is given. It is written for speed on these
three laws and is tested against ``unstir.exact.mixture``, which serves any.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.gaussian import GaussianProcess


@dataclass(frozen=True)
class MixtureTarget:
    r"""Components with covariances :math:`f_k^2 I + U_k \mathrm{diag}(s_k^2) U_k^T`, float64.

    ``weights`` (k,) sum to one; ``means`` (k, d); ``floors`` f (k,); ``axes`` U (k, d, r), orthonormal, r may be 0;
    ``spreads`` s (k, r). ``count`` is how many samples are drawn from each sampler.
    """

    name: str
    count: int
    weights: Tensor
    means: Tensor
    floors: Tensor
    axes: Tensor
    spreads: Tensor

    @property
    def dimension(self) -> int:
        """How many numbers a sample has."""
        return self.means.shape[1]

    @cached_property
    def _side_by_side(self) -> Tensor:
        """All axes of all components in one matrix, (d, k r)."""
        return self.axes.movedim(1, 0).flatten(1).contiguous()

    @cached_property
    def _means_along(self) -> Tensor:
        """The means in their components' axes, (k, r)."""
        return torch.linalg.vecdot(self.axes.mT, self.means[:, None])

    def draw(self, count: int, seed: int) -> Tensor:
        """Fresh samples, (count, d)."""
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        everywhere, along = (
            torch.randn(count, size, generator=generator, dtype=torch.float64)
            for size in (self.dimension, self.axes.shape[2])
        )
        drawn = self.means[chosen] + self.floors[chosen, None] * everywhere
        for component in range(len(self.weights)):
            here = chosen == component
            drawn[here] += (self.spreads[component] * along[here]) @ self.axes[component].T
        return drawn

    def denoise(self, y: Tensor, sigma: Tensor | float) -> Tensor:
        """E[x_0 | y], (n, d); ``sigma`` is a number or one a row."""
        noise = torch.as_tensor(sigma, dtype=torch.float64).square().reshape(-1, 1)
        shares, along, flat, wide = self._seen(y, noise)
        kept_flat = self.floors.square() / flat
        kept_wide = 1 - noise[..., None] / wide
        turned = shares[..., None] * (kept_wide - kept_flat[..., None]) * along
        pulled = shares * kept_flat
        mean = (shares - pulled) @ self.means + pulled.sum(1, keepdim=True) * y
        return mean + turned.flatten(1) @ self._side_by_side.T

    def occupancy(self, samples: Tensor) -> Tensor:
        """The share of samples that belong to each component more than to any other, (k,)."""
        shares = self._seen(samples, torch.zeros(1, 1, dtype=torch.float64))[0]
        return torch.bincount(shares.argmax(1), minlength=len(self.weights)) / len(samples)

    def exact(self, process: GaussianProcess) -> MixtureDenoiser:
        """The same law as an exact denoiser with density, by whole covariance matrices."""
        wide = self.axes * self.spreads[:, None]
        flat = torch.diag_embed(self.floors.square()[:, None].expand_as(self.means))
        return MixtureDenoiser(self.weights, self.means, flat + wide @ wide.mT, process)

    def _seen(self, y: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """At y, (n, d), with noise variance (1 or n, 1): what each component thinks.

        Its share (n, k), the distance to its mean along its axes (n, k, r), and its variances off the axes
        (1 or n, k) and along them (1 or n, k, r).
        """
        flat = self.floors.square() + noise
        wide = flat[..., None] + self.spreads.square()
        along = (y @ self._side_by_side).unflatten(1, self._means_along.shape) - self._means_along
        squares = y.square().sum(1, keepdim=True) - 2 * y @ self.means.T + self.means.square().sum(1)
        logs = (squares - along.square().sum(2)) / flat + (along.square() / wide).sum(2)
        logs = logs + (self.dimension - along.shape[2]) * flat.log() + wide.log().sum(2)
        return (self.weights.log() - logs / 2).softmax(1), along, flat, wide


def ring() -> MixtureTarget:
    """Two dimensions: eight unequal modes on a ring, and a tight one inside it; deviation about 0.5."""
    angles = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    outer = 0.72 * torch.stack((angles.cos(), angles.sin()), dim=1)
    weights = torch.tensor([4, 1, 6, 2, 8, 3, 5, 7, 4], dtype=torch.float64)
    return MixtureTarget(
        "ring-2d",
        8192,
        weights / weights.sum(),
        torch.cat((outer, torch.tensor([[0.15, 0.10]], dtype=torch.float64))),
        torch.tensor([0.06] * 8 + [0.01], dtype=torch.float64),
        torch.zeros(9, 2, 0, dtype=torch.float64),
        torch.zeros(9, 0, dtype=torch.float64),
    )


def anisotropic() -> MixtureTarget:
    """Sixty-four dimensions: ten Gaussians, each long along eight axes and thin across; deviation about 0.5."""
    generator = torch.Generator().manual_seed(20261121)
    means = 0.38 * torch.randn(10, 64, generator=generator, dtype=torch.float64)
    axes = torch.linalg.qr(torch.randn(10, 64, 8, generator=generator, dtype=torch.float64)).Q
    weights = torch.arange(1, 11, dtype=torch.float64)
    return MixtureTarget(
        "anisotropic-64d",
        2048,
        weights / weights.sum(),
        means,
        torch.full((10,), 0.05, dtype=torch.float64),
        axes,
        torch.logspace(math.log10(1.6), math.log10(0.3), 8, dtype=torch.float64).repeat(10, 1),
    )


def held_out() -> MixtureTarget:
    """A law that no sampler was tuned on: its figures are not to be looked at while one is.

    Sixteen dimensions, four far groups of three near components each, unequal in weight, covariances without any
    preferred axis and over three decades of variance; the mean is off the origin and the deviation is not 0.5.
    """
    generator = torch.Generator().manual_seed(4171)
    size = 16

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    groups = 1.9 * normal(4, 1, size)
    means = (1.1 + groups + 0.35 * normal(4, 3, size)).flatten(0, 1)
    count = len(means)
    weights = torch.rand(count, generator=generator, dtype=torch.float64) + 0.15
    variances = 10 ** (-3 + 3 * torch.rand(count, size, generator=generator, dtype=torch.float64))
    basis = torch.linalg.qr(normal(count, size, size)).Q
    variances = variances.sort(1).values
    floor, rest = variances[:, :1], variances[:, 1:]
    return MixtureTarget(
        "held-out",
        4096,
        weights / weights.sum(),
        means,
        floor[:, 0].sqrt(),
        basis[:, :, 1:].contiguous(),
        (rest - floor).sqrt(),
    )


TARGETS = {"ring-2d": ring, "anisotropic-64d": anisotropic, "held-out": held_out}
REFERENCE_STEP = 0.06
REFERENCE_END = 1e-5


def solve_flow(
    target: MixtureTarget, start: Tensor, sigma: float, step: float = REFERENCE_STEP, end: float = REFERENCE_END
) -> Tensor:
    r"""The probability-flow ODE from ``start`` (n, d) at noise level ``sigma`` down to the data.

    In u = log sigma it is :math:`dy/du = y - E[x_0|y]`; classical Runge-Kutta with steps of at most ``step`` in u
    down to ``end``, then the belief's mean there.
    """
    first, last = math.log(sigma), math.log(end)
    steps = math.ceil((first - last) / step)
    width = (last - first) / steps
    y = start
    for k in range(steps):
        u = first + k * width
        slope = y - target.denoise(y, math.exp(u))
        total = slope
        for share, weight in ((0.5, 2), (0.5, 2), (1.0, 1)):
            moved = y + share * width * slope
            slope = moved - target.denoise(moved, math.exp(u + share * width))
            total = total + weight * slope
        y = y + width / 6 * total
    return target.denoise(y, end)

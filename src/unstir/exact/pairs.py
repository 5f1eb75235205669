"""Data and source that hang together, as a mixture of Gaussians of both, under a bridge."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import Posterior
from unstir.exact.base import ExactDenoiser
from unstir.exact.labels import checked_weights
from unstir.exact.transport import schrodinger_coupling
from unstir.processes.bridge import BridgeProcess

__all__ = ["PairMixtureDenoiser"]

_FLOOR = 1e-200


@dataclass(frozen=True)
class PairPosterior(Posterior):
    """Gaussians for each sample: ``log_weights`` (batch, k), ``means`` (batch, k, d), ``covariances`` (·, k, d, d)."""

    mean: Tensor
    log_weights: Tensor
    means: Tensor
    covariances: Tensor

    @property
    def variance(self) -> Tensor:
        """Of each element, of the state's shape."""
        away = self.means - (self.log_weights.exp()[..., None] * self.means).sum(1, keepdim=True)
        each = self.covariances.diagonal(dim1=-2, dim2=-1) + away.square()
        return (self.log_weights.exp()[..., None] * each).sum(1).reshape(self.mean.shape).to(self.mean.dtype)

    def sample(self, seeds: Seeds) -> Tensor:
        """One draw a sample: a component, and a point of it."""
        chosen, rows = choose(self.log_weights, seeds.at("component")), torch.arange(len(self.means))
        values, basis = torch.linalg.eigh(self.covariances.expand(len(rows), -1, -1, -1)[rows, chosen])
        along = values.clamp(min=0).sqrt() * seeds.at("within").normal((values.shape[1],), torch.float64)
        drawn = self.means[rows, chosen] + (basis @ along[..., None])[..., 0]
        return drawn.reshape(self.mean.shape).to(self.mean.dtype)

    def log_prob(self, x0: Tensor) -> Tensor:
        away = x0.flatten(1).double()[:, None] - self.means
        return (self.log_weights + _Normal(self.covariances).log_density(away)).logsumexp(1).to(x0.dtype)


class PairMixtureDenoiser(ExactDenoiser):
    r"""Pairs of data and source with a joint law that is a mixture of Gaussians: exact beliefs under any bridge.

    Of a component with the means :math:`m_0, m_1` and the covariances :math:`C_{00}, C_{01}, C_{11}` the state
    :math:`x_t=\alpha x_0+\sigma x_1+cz` is Gaussian with the covariance
    :math:`V=\alpha^2C_{00}+\alpha\sigma(C_{01}+C_{01}^T)+\sigma^2C_{11}+c^2I`, and the belief about x_0 has the mean
    :math:`m_0+GV^{-1}(x_t-\alpha m_0-\sigma m_1)` and the covariance :math:`C_{00}-GV^{-1}G^T`,
    :math:`G=\alpha C_{00}+\sigma C_{01}`.

    ``weights`` (k,); ``means`` (k, 2, d): of data and source; ``covariances`` (k, 2d, 2d): of both, data first.
    Samples have the shape (d,). The condition ``source`` (batch, d) tells the source, for paired translation.
    ``independent``, ``gaussian`` and ``schrodinger`` make couplings of given laws. All in float64.

    Raises InputError for shapes that do not agree or a covariance that is none.

    Reference: Bishop, Pattern Recognition and Machine Learning (2006), eq. 2.113 to 2.117; Bunne et al., The
    Schrödinger bridge between Gaussian measures has a closed form (2023), theorem 3.
    """

    def __init__(self, weights: Any, means: Any, covariances: Any, process: BridgeProcess) -> None:
        super().__init__()
        means, covariances = (torch.as_tensor(given, dtype=torch.float64) for given in (means, covariances))
        if means.ndim != 3 or means.shape[1] != 2 or covariances.shape != (len(means), *2 * [2 * means.shape[2]]):
            raise InputError(
                "means are (k, 2, d), of data and source, and covariances (k, 2d, 2d); seen "
                f"{tuple(means.shape)} and {tuple(covariances.shape)}"
            )
        largest = covariances.abs().amax()
        finite = bool(means.isfinite().all() and covariances.isfinite().all())
        if not finite or bool((covariances - covariances.mT).abs().amax() > 1e-8 * largest):
            raise InputError("means are finite, and covariances finite and symmetric")
        if (smallest := torch.linalg.eigvalsh(covariances).amin()) < -1e-8 * largest:
            raise InputError(f"a covariance matrix has no negative eigenvalues; seen {smallest.item():.3g}")
        self.process = process
        size = means.shape[2]
        self.shape = (size,)
        self.log_weights = checked_weights(weights, len(means), "component")
        self.means, self.covariances = means, (covariances + covariances.mT) / 2
        self.blocks = tuple(
            self.covariances[:, row : row + size, column : column + size]
            for row, column in ((0, 0), (0, size), (size, size))
        )

    @classmethod
    def independent(cls, data: Any, source: Any, process: BridgeProcess) -> "PairMixtureDenoiser":
        """Two mixtures that know nothing of each other, each (weights (k,), means (k, d), covariances (k, d, d))."""
        first, second = ([torch.as_tensor(part, dtype=torch.float64) for part in law] for law in (data, source))
        rows, columns = torch.cartesian_prod(torch.arange(len(first[0])), torch.arange(len(second[0]))).T
        size = first[1].shape[1]
        joint = torch.zeros(len(rows), 2 * size, 2 * size, dtype=torch.float64)
        joint[:, :size, :size], joint[:, size:, size:] = first[2][rows], second[2][columns]
        means = torch.stack((first[1][rows], second[1][columns]), 1)
        return cls(first[0][rows] * second[0][columns], means, joint, process)

    @classmethod
    def gaussian(cls, data: Any, source: Any, cross: Any, process: BridgeProcess) -> "PairMixtureDenoiser":
        """Two Gaussians, each (mean (d,), covariance (d, d)), with the cross-covariance E[dx_0 dx_1^T] (d, d)."""
        first, second = ([torch.as_tensor(part, dtype=torch.float64) for part in law] for law in (data, source))
        cross = torch.as_tensor(cross, dtype=torch.float64)
        joint = torch.cat((torch.cat((first[1], cross), 1), torch.cat((cross.mT, second[1]), 1)), 0)
        return cls([1.0], torch.stack((first[0], second[0]))[None], joint[None], process)

    @classmethod
    def schrodinger(cls, data: Any, source: Any, process: BridgeProcess) -> "PairMixtureDenoiser":
        """Two Gaussians coupled by Schrödinger's bridge of the process's motion; by optimal transport without motion.

        With the straight schedule the law of the whole path is Schrödinger's bridge.
        """
        return cls.gaussian(data, source, schrodinger_coupling(data[1], source[1], process.sigma), process)

    @classmethod
    def examples(cls) -> Mapping[str, "PairMixtureDenoiser"]:
        """Independent mixtures under a flow, a correlated pair under a bridge, and Schrödinger's bridge."""
        from unstir.processes.schedules.cosine import CosineSchedule

        narrow, wide = 0.1 * torch.eye(2), torch.tensor([[0.8, 0.3], [0.3, 0.5]])
        data = ([0.6, 0.4], [[1.0, 0.5], [-1.0, 0.3]], torch.stack((narrow, wide)))
        source = ([0.5, 0.5], [[0.0, -1.5], [0.5, 1.5]], torch.stack((narrow, narrow)))
        cross = torch.tensor([[0.15, -0.1], [0.1, 0.05]])
        first, second = ([0.5, -0.5], wide), ([1.0, 0.0], torch.tensor([[0.4, -0.2], [-0.2, 0.9]]))
        return {
            "independent mixtures, flow": cls.independent(data, source, BridgeProcess()),
            "pairs, trigonometric bridge": cls.gaussian(first, second, cross, BridgeProcess(CosineSchedule(), 0.7)),
            "schrodinger bridge": cls.schrodinger(first, second, BridgeProcess(sigma=0.8)),
        }

    def forward(self, xt: Tensor, t: Tensor | float, drop: Tensor | None = None, **condition: Tensor) -> PairPosterior:
        """The belief about x_0 given the state, and given the source where the condition ``source`` tells it."""
        seen = self._seen(xt, t, drop, condition)
        logs = seen.log_joint.log_softmax(1)
        means = seen.clean + seen.solved(seen.gain)
        covariances = seen.covariance - seen.gain @ seen.normal.inverse() @ seen.gain.mT
        mean = (logs.exp()[..., None] * means).sum(1)
        return PairPosterior(mean.reshape(xt.shape).to(xt.dtype), logs, means, covariances)

    def source_mean(self, xt: Tensor, t: Tensor | float) -> Tensor:
        """E[x_1 | x_t], (batch, d)."""
        seen = self._seen(xt, t, None, {})
        alpha, sigma = (seen.alpha[..., None], seen.sigma[..., None])
        means = self.means[:, 1] + seen.solved(alpha * self.blocks[1].mT + sigma * self.blocks[2])
        return (seen.log_joint.softmax(1)[..., None] * means).sum(1).to(xt.dtype)

    def velocity(self, xt: Tensor, t: Tensor | float) -> Tensor:
        """The probability flow's dx/dt = E[alpha' x_0 + sigma' x_1 + c' z | x_t], (batch, d), which keeps all p_t."""
        path, motion = self.process.path, self.process.sigma**2
        time = torch.as_tensor(t, dtype=torch.float64)
        alpha, sigma, rising, growing = (
            values.reshape(-1, 1)
            for values in (path.alpha(time), path.sigma(time), path.alpha_derivative(time), path.sigma_derivative(time))
        )
        seen = self._seen(xt, t, None, {})
        # c' E[z] = c' c V^-1 (x_t - E x_t), whose first factor has a limit where c' has none
        noise = (seen.log_joint.softmax(1)[..., None] * seen.solved(torch.eye(xt.shape[1], dtype=torch.float64))).sum(1)
        pushed = motion * (rising * sigma + alpha * growing) / 2 * noise
        return (rising * self(xt.double(), t).mean + growing * self.source_mean(xt.double(), t) + pushed).to(xt.dtype)

    def log_density(self, xt: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """log p_t(x_t) in nats, float64 (batch,); with the condition ``source`` log p_t(x_t | x_1)."""
        seen = self._seen(xt, t, None, condition)
        return seen.log_joint.logsumexp(1) - (seen.log_weights.logsumexp(1) if condition else 0.0)

    def draw(self, seeds: Seeds, t: Tensor | float = 0.0, **condition: Tensor) -> Tensor:
        """Exact draws of x_t, float64."""
        if condition:
            raise InputError("this law draws pairs: see draw_pairs; a condition is for its belief")
        x0, source = self.draw_pairs(seeds)
        return self.process.noise(x0, torch.as_tensor(t, dtype=torch.float64), seeds.at("noise"), source=source)

    def draw_pairs(self, seeds: Seeds) -> tuple[Tensor, Tensor]:
        """Data and sources that belong together, float64 (batch, d) each."""
        size = self.means.shape[2]
        chosen = choose(self.log_weights.expand(len(seeds), -1), seeds.at("data", "component"))
        values, basis = torch.linalg.eigh(self.covariances)
        roots = basis * values.clamp(min=0).sqrt()[:, None]
        normal = seeds.at("data", "within").normal((2 * size,), torch.float64)
        drawn = self.means.flatten(1)[chosen] + (roots[chosen] @ normal[..., None])[..., 0]
        return drawn[:, :size], drawn[:, size:]

    def _seen(self, xt: Tensor, t: Any, drop: Tensor | None, condition: Mapping[str, Tensor]) -> "_Seen":
        x, time = xt.flatten(1).double(), torch.as_tensor(t, dtype=torch.float64)
        if x.shape[1:] != self.shape:
            raise InputError(f"this law has samples of shape {self.shape}; seen {tuple(xt.shape[1:])}")
        alpha, sigma = (
            values.reshape(-1, 1, 1) for values in (self.process.path.alpha(time), self.process.path.sigma(time))
        )
        motion = self.process.sigma**2 * (alpha * sigma)[..., None] * torch.eye(x.shape[1], dtype=torch.float64)
        first, cross, last = self.blocks
        wide, tall = alpha[..., None], sigma[..., None]
        if not condition:
            both = cross + cross.mT
            normal = _Normal(wide.square() * first + wide * tall * both + tall.square() * last + motion)
            away = x[:, None] - alpha * self.means[:, 0] - sigma * self.means[:, 1]
            weights = self.log_weights.expand(len(x), -1)
            return _Seen(alpha, sigma, weights, self.means[:, 0], first, normal, wide * first + tall * cross, away)
        if set(condition) != {"source"} or (drop is not None and bool(drop.any())):
            raise InputError(f"this law knows the condition 'source', which is not dropped; seen {sorted(condition)}")
        source = condition["source"].flatten(1).double()
        told, off = _Normal(last), source[:, None] - self.means[:, 1]
        slope = cross @ told.inverse()
        clean = self.means[:, 0] + (slope @ off[..., None])[..., 0]
        rest = first - slope @ cross.mT
        away = x[:, None] - alpha * clean - sigma * source[:, None]
        weights = self.log_weights + told.log_density(off)
        return _Seen(alpha, sigma, weights, clean, rest, _Normal(wide.square() * rest + motion), wide * rest, away)


class _Normal:
    """Centred Gaussians of covariances (..., d, d), by their eigenvectors; no variance is taken for zero."""

    def __init__(self, covariances: Tensor) -> None:
        values, self.basis = torch.linalg.eigh(covariances)
        largest = values.abs().amax(-1, keepdim=True)
        tiny = largest * 4 * torch.finfo(torch.float64).eps
        self.values = torch.where(values > tiny, values, torch.zeros_like(values)).clamp(min=_FLOOR)
        self.null = self.values <= _FLOOR

    def inverse(self) -> Tensor:
        """The inverse within the support, (..., d, d)."""
        weights = torch.where(self.null, torch.zeros_like(self.values), self.values.reciprocal())
        return (self.basis * weights[..., None, :]) @ self.basis.mT

    def log_density(self, away: Tensor) -> Tensor:
        """At ``away`` (..., d) from the centre; rounding off the support is forgiven."""
        along = (self.basis.mT @ away[..., None])[..., 0]
        along = torch.where(self.null & (along.abs() < 1e-11), torch.zeros_like(along), along)
        squares = (along.square() / self.values).sum(-1)
        return -(squares + self.values.log().sum(-1) + away.shape[-1] * math.log(2 * math.pi)) / 2


@dataclass(frozen=True)
class _Seen:
    """The components at states: weights, what each says of x_0 before the state, and of the state."""

    alpha: Tensor
    sigma: Tensor
    log_weights: Tensor
    clean: Tensor
    covariance: Tensor
    normal: _Normal
    gain: Tensor
    away: Tensor

    @property
    def log_joint(self) -> Tensor:
        """log of weight times density of the state, (batch, k)."""
        return self.log_weights + self.normal.log_density(self.away)

    def solved(self, gain: Tensor) -> Tensor:
        """``gain`` V^-1 (x_t - E x_t), (batch, k, d)."""
        return (gain @ (self.normal.inverse() @ self.away[..., None]))[..., 0]

"""The linear-Gaussian chain, and what is known of its states from readings: Kalman's filter and the smoother."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds


@dataclass(frozen=True, eq=False)
class LinearChain:
    """x_{k+1} = A x_k + b + w_k with w_k ~ N(0, Q), and x_0 ~ N(mean, covariance); all float64.

    ``transition`` A, ``noise`` Q and ``covariance`` are (n, n), ``offset`` b and ``mean`` (n,).
    Raises InputError for shapes that do not agree and covariances that are none.
    """

    transition: Any
    offset: Any
    noise: Any
    mean: Any
    covariance: Any

    def __post_init__(self) -> None:
        for name in ("transition", "offset", "noise", "mean", "covariance"):
            object.__setattr__(self, name, torch.as_tensor(getattr(self, name), dtype=torch.float64))
        size = len(self.transition) if self.transition.ndim else 0
        shapes = [tuple(each.shape) for each in (self.transition, self.offset, self.noise, self.mean, self.covariance)]
        if not size or shapes != [(size, size), (size,), (size, size), (size,), (size, size)]:
            raise InputError(f"a chain of n numbers has (n, n), (n,), (n, n), (n,) and (n, n); seen {shapes}")
        for name in ("noise", "covariance"):
            matrix = getattr(self, name)
            if not torch.allclose(matrix, matrix.T) or float(torch.linalg.eigvalsh(matrix)[0]) < -1e-10:
                raise InputError(f"the {name} of a chain is a covariance, symmetric and not negative")

    @classmethod
    def stationary(cls, transition: Any, offset: Any, noise: Any) -> "LinearChain":
        """The chain that has run for ever: its mean and covariance are those that a step keeps.

        Raises InputError where there are none: an eigenvalue of the transition is not within the unit circle.
        """
        turn, push, shake = (torch.as_tensor(each, dtype=torch.float64) for each in (transition, offset, noise))
        largest = float(torch.linalg.eigvals(turn).abs().max())
        if largest >= 1:
            raise InputError(f"a chain settles if its transition's eigenvalues are below 1 in size; seen {largest:.4g}")
        size = len(turn)
        mean = torch.linalg.solve(torch.eye(size, dtype=torch.float64) - turn, push)
        whole = torch.eye(size * size, dtype=torch.float64) - torch.kron(turn, turn)
        covariance = torch.linalg.solve(whole, shake.flatten()).reshape(size, size)
        return cls(turn, push, shake, mean, (covariance + covariance.T) / 2)

    def draw(self, length: int, seeds: Seeds) -> Tensor:
        """Trajectories (paths, length, n)."""
        normal = seeds.at("chain").normal((length, len(self.mean)), torch.float64)
        first, kick = (_root(each) for each in (self.covariance, self.noise))
        path = [self.mean + normal[:, 0] @ first.T]
        for step in range(1, length):
            path.append(path[-1] @ self.transition.T + self.offset + normal[:, step] @ kick.T)
        return torch.stack(path, 1)


@dataclass(frozen=True)
class Smoothed:
    """What readings tell of each state: means (times, n) and covariances (times, n, n).

    ``filtered_*`` from the readings up to each time, ``means`` and ``covariances`` from all. ``log_evidence``: log p of
    all readings, nats.
    """

    filtered_means: Tensor
    filtered_covariances: Tensor
    means: Tensor
    covariances: Tensor
    log_evidence: Tensor


def smooth(chain: LinearChain, operator: Tensor, values: Tensor, deviation: Tensor | float) -> Smoothed:
    """Kalman's filter forward and the Rauch–Tung–Striebel smoother backward.

    ``operator`` H (m, n), ``values`` (times, m), NaN where nothing was read, ``deviation`` of their noise, () or (m,).

    Reference: Kalman, A new approach to linear filtering and prediction problems (1960); Rauch, Tung, Striebel,
    Maximum likelihood estimates of linear dynamic systems (1965), eq. 3.28 to 3.31.
    """
    operator, values = operator.double(), values.double()
    noise = torch.as_tensor(deviation, dtype=torch.float64).expand(len(operator)).square()
    mean, covariance = chain.mean, chain.covariance
    foretold, filtered = [], []
    evidence = torch.zeros((), dtype=torch.float64)
    for number in range(len(values)):
        if number:
            mean = chain.transition @ mean + chain.offset
            covariance = chain.transition @ covariance @ chain.transition.T + chain.noise
        foretold.append((mean, covariance))
        there = ~values[number].isnan()
        if bool(there.any()):
            seen = operator[there]
            total = seen @ covariance @ seen.T + torch.diag(noise[there])
            away = values[number][there] - seen @ mean
            gain = torch.linalg.solve(total, seen @ covariance).T
            law = torch.distributions.MultivariateNormal(torch.zeros_like(away), total)
            evidence = evidence + law.log_prob(away)
            mean = mean + gain @ away
            left = torch.eye(len(mean), dtype=torch.float64) - gain @ seen
            covariance = left @ covariance @ left.T + (gain * noise[there]) @ gain.T
        filtered.append((mean, covariance))
    smoothed = [filtered[-1]]
    for number in range(len(values) - 2, -1, -1):
        (mean, covariance), (ahead_mean, ahead) = filtered[number], foretold[number + 1]
        gain = (torch.linalg.pinv(ahead, hermitian=True) @ chain.transition @ covariance).T
        later_mean, later = smoothed[0]
        smoothed.insert(0, (mean + gain @ (later_mean - ahead_mean), covariance + gain @ (later - ahead) @ gain.T))
    columns = [torch.stack(each) for pairs in (filtered, smoothed) for each in zip(*pairs, strict=True)]
    return Smoothed(columns[0], columns[1], columns[2], columns[3], evidence)


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()

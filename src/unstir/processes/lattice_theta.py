r"""The normal distribution wrapped round a lattice cell: the same in every direction of space, periodic in the cell.

With the cell's rows as lattice vectors, :math:`L` all their sums, :math:`k` all vectors of the dual lattice (whole
scalar products with all :math:`L`) and the volume V, its density at the distance x, relative to the uniform one, is

.. math::
    V\sum_L \frac{e^{-|x+L|^2/2\sigma^2}}{(2\pi\sigma^2)^{d/2}} = \sum_k e^{-2\pi^2\sigma^2|k|^2}\cos 2\pi k\cdot x .

The first sum serves where the normal is narrow, the second where it is wide; at :math:`\sigma^2 = V^{2/d}/2\pi` both
need as many terms. Which terms count is decided once a cell, in a basis of short vectors, to e^-40 of the largest.

Reference: Riemann's theta function and Poisson's summation formula: Deconinck et al., Computing Riemann theta functions
(2004); short bases: Nguyen and Stehlé, Low-dimensional lattice basis reduction revisited (2009), section 3.
"""

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from unstir.processes import wrapped_normal

_DIGITS = 40.0  # nats below the largest term that a sum goes down to
_MOST_TERMS = 200_000
Sum: TypeAlias = "Callable[[Lattice, Tensor, Tensor], Tensor]"


@dataclass(frozen=True)
class Lattice:
    """A cell and the terms that sums over its lattice need; see ``lattice_of``.

    ``cell`` and ``reduced`` have the lattice vectors as rows (d, d), ``whole`` is the matrix of whole numbers with
    ``cell = whole @ reduced``: fractional coordinates f of the one are f @ whole of the other. ``near`` (n, d) are the
    lattice vectors (in whole coordinates of the reduced basis) of the first sum at ``self_dual``, ``far`` those at
    sqrt(2) times that, ``dual`` (m, d) one of each pair of dual vectors of the second, ``dual_squares`` (m,) their
    squared lengths. From the deviation ``uniform`` on the density is uniform to 1e-19.
    """

    cell: Tensor
    reduced: Tensor
    whole: Tensor
    near: Tensor
    far: Tensor
    dual: Tensor
    dual_squares: Tensor
    volume: float
    self_dual: float
    uniform: float

    def to(self, device: torch.device) -> "Lattice":
        """The same, its tensors on another device."""
        if self.cell.device == device:
            return self
        moved: dict[str, Any] = {
            name: part.to(device) if isinstance(part, Tensor) else part for name, part in vars(self).items()
        }
        return Lattice(**moved)

    def shortest(self, fractional: Tensor) -> Tensor:
        """Differences (..., d) of fractional coordinates in those of the reduced basis, each in [-1/2, 1/2]."""
        return wrapped_normal.shortest(fractional.double() @ self.whole, 1.0)

    def cartesian(self, fractional: Tensor) -> Tensor:
        """Fractional coordinates (..., d) in space."""
        return fractional @ self.cell.to(fractional.dtype)

    def fractional(self, cartesian: Tensor) -> Tensor:
        """Places or steps in space (..., d) as fractional coordinates."""
        return torch.linalg.solve(self.cell.T, cartesian[..., None].to(torch.float64))[..., 0].to(cartesian.dtype)


@functools.lru_cache(maxsize=256)
def lattice_of(cell: tuple[tuple[float, ...], ...]) -> Lattice:
    """The lattice of a cell; ValueError for one so elongated that the sums would have too many terms."""
    given = np.array(cell)
    size = len(given)
    reduced = _short_basis(given)
    whole = np.rint(given @ np.linalg.inv(reduced))
    volume = abs(np.linalg.det(reduced))
    self_dual = volume ** (1 / size) / math.sqrt(2 * math.pi)
    reciprocal = np.linalg.inv(reduced).T
    shortest = min(np.square(k @ reciprocal).sum() for k in _box((1,) * size) if k.any())
    reach = math.sqrt(shortest + _DIGITS / (2 * math.pi**2 * self_dual**2))
    dual = _box(np.floor(reach * np.linalg.norm(reduced, axis=1) + 1e-9).astype(int))
    squares = np.square(dual @ reciprocal).sum(1)
    first = np.array([tuple(k) > (0,) * size for k in dual.tolist()]) & (squares <= reach**2)
    order = np.argsort(squares[first], kind="stable")
    return Lattice(
        cell=torch.from_numpy(given),
        reduced=torch.from_numpy(reduced),
        whole=torch.from_numpy(whole),
        near=torch.from_numpy(_near(reduced, self_dual)),
        far=torch.from_numpy(_near(reduced, math.sqrt(2) * self_dual)),
        dual=torch.from_numpy(dual[first][order]),
        dual_squares=torch.from_numpy(squares[first][order]),
        volume=float(volume),
        self_dual=float(self_dual),
        uniform=math.sqrt(45 / (2 * math.pi**2 * shortest)),
    )


def log_density(lattice: Lattice, fractional: Tensor, deviation: Tensor) -> Tensor:
    """The log-density at differences ``fractional`` (..., d) from the centre, relative to the uniform one; (...).

    ``deviation`` (...) in the cell's unit broadcasts and may be infinite. Differentiable; float64.
    """
    x, sigma = lattice.shortest(fractional), deviation.to(fractional.device, torch.float64)
    return _chosen(_log_narrow, _log_wide, lattice, x, sigma)


def score(lattice: Lattice, fractional: Tensor, deviation: Tensor) -> Tensor:
    """The gradient of ``log_density`` in space (one over the cell's unit), (..., d), with full relative precision."""
    x, sigma = lattice.shortest(fractional), deviation.to(fractional.device, torch.float64)
    return _chosen(_score_narrow, _score_wide, lattice, x, sigma)


def largest_deviation_from_uniform(lattice: Lattice, deviation: Tensor | float) -> float:
    """sup over x of abs(density relative to the uniform one - 1), which is met at the centre."""
    sigma = torch.as_tensor(deviation, dtype=torch.float64)
    if sigma >= lattice.self_dual:
        return _factors(lattice, sigma).sum().item()
    return torch.expm1(log_density(lattice, torch.zeros(len(lattice.cell), dtype=torch.float64), sigma)).item()


def windings(lattice: Lattice, fractional: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """By which ways a difference (..., d) may have been gone by noise of a ``variance`` (...), which is in space.

    Returns the log-shares (..., k) of the vectors ``lattice.far`` (k, d), and to which place (..., d) they are added,
    both in the reduced basis. For variances up to twice the square of ``self_dual``.
    """
    x = lattice.shortest(fractional)
    return (-_squares(lattice, x, lattice.far) / (2 * variance.clamp(min=1e-300)[..., None])).log_softmax(-1), x


def _chosen(narrow: Sum, wide: Sum, lattice: Lattice, x: Tensor, sigma: Tensor) -> Tensor:
    """The first sum where the normal is narrow, the second elsewhere; each only if it is needed somewhere."""
    is_narrow = sigma < lattice.self_dual
    if bool(is_narrow.all()):
        return narrow(lattice, x, sigma)
    if not bool(is_narrow.any()):
        return wide(lattice, x, sigma)
    first, second = narrow(lattice, x, sigma), wide(lattice, x, sigma)
    return torch.where(is_narrow.reshape(is_narrow.shape + (1,) * (first.ndim - x.ndim + 1)), first, second)


def _log_narrow(lattice: Lattice, x: Tensor, sigma: Tensor) -> Tensor:
    sigma = sigma.clamp(1e-150, lattice.self_dual)
    logs = -_squares(lattice, x, lattice.near) / (2 * sigma.square()[..., None])
    constant = x.shape[-1] * (sigma.log() + math.log(2 * math.pi) / 2) - math.log(lattice.volume)
    return torch.logsumexp(logs, -1) - constant


def _log_wide(lattice: Lattice, x: Tensor, sigma: Tensor) -> Tensor:
    return torch.log1p((_factors(lattice, sigma) * _phases(lattice, x).cos()).sum(-1))


def _score_narrow(lattice: Lattice, x: Tensor, sigma: Tensor) -> Tensor:
    variance = sigma.clamp(1e-150, lattice.self_dual).square()[..., None]
    shares = (-_squares(lattice, x, lattice.near) / (2 * variance)).softmax(-1)
    return -((x + shares @ lattice.near) @ lattice.reduced) / variance


def _score_wide(lattice: Lattice, x: Tensor, sigma: Tensor) -> Tensor:
    phases, factors = _phases(lattice, x), _factors(lattice, sigma)
    waves = 2 * math.pi * torch.linalg.solve(lattice.reduced, lattice.dual.T).T
    return -((factors * phases.sin()) @ waves) / (1 + (factors * phases.cos()).sum(-1))[..., None]


def _squares(lattice: Lattice, x: Tensor, vectors: Tensor) -> Tensor:
    """The squared lengths in space of every copy of x (..., d), moved by the vectors (k, d): (..., k).

    By the cell's metric, so that no vector is ever held: a third of the memory. The copy not moved is exact.
    """
    places = x @ lattice.reduced
    moves = vectors @ lattice.reduced
    return places.square().sum(-1)[..., None] + (2 * places) @ moves.T + moves.square().sum(-1)


def _phases(lattice: Lattice, x: Tensor) -> Tensor:
    return 2 * math.pi * x @ lattice.dual.T


def _factors(lattice: Lattice, sigma: Tensor) -> Tensor:
    """Of the pairs of dual vectors, (..., m)."""
    wide = sigma.clamp(min=lattice.self_dual).square()[..., None]
    return 2 * (-2 * math.pi**2 * wide * lattice.dual_squares).exp()


def _near(reduced: np.ndarray, sigma: float) -> np.ndarray:
    """The lattice vectors whose term in the first sum is above e^-40 of that of zero, for some x within [-1/2, 1/2]^d.

    For such x the two exponents differ by at least (|L|^2 - sum_i |a_i L|) / 2 sigma^2.
    """
    width = np.linalg.norm(reduced, axis=1).sum()
    reach = width / 2 + math.sqrt(width**2 / 4 + 2 * _DIGITS * sigma**2)
    vectors = _box(np.floor(reach * np.linalg.norm(np.linalg.inv(reduced), axis=0) + 1e-9).astype(int))
    places = vectors @ reduced
    kept = np.square(places).sum(1) - np.abs(places @ reduced.T).sum(1) <= 2 * _DIGITS * sigma**2
    order = np.argsort(np.square(places[kept]).sum(1), kind="stable")
    return vectors[kept][order]


def _box(reach: "np.ndarray | tuple[int, ...]") -> np.ndarray:
    """All whole vectors with coordinates from -reach to reach, float64 (n, d)."""
    if np.prod([2.0 * count + 1 for count in reach]) > _MOST_TERMS:
        raise ValueError("its sums would have too many terms")
    axes = [np.arange(-count, count + 1.0) for count in reach]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


def _short_basis(cell: np.ndarray) -> np.ndarray:
    """A basis of the same lattice in which every vector is as short as the others allow (greedy reduction)."""
    basis = cell.copy()
    size = len(basis)
    steps = np.array(list(itertools.product((-1, 0, 1), repeat=size - 1)), dtype=float)
    for _ in range(1000):
        basis = basis[np.argsort(np.square(basis).sum(1), kind="stable")]
        before = basis[-1] @ basis[-1]
        for index in range(1, size):  # in each vector, the nearest whole combination of the shorter ones is taken away
            shorter = basis[:index]
            nearest = np.rint(np.linalg.lstsq(shorter.T, basis[index], rcond=None)[0])
            tried = [basis[index] - (nearest + step[:index]) @ shorter for step in steps]
            best = min(tried, key=lambda vector: vector @ vector)
            if best @ best < (1 - 1e-12) * (basis[index] @ basis[index]):
                basis[index] = best
        ordered = basis[np.argsort(np.square(basis).sum(1), kind="stable")]
        if np.array_equal(ordered, basis) and basis[-1] @ basis[-1] >= (1 - 1e-12) * before:
            return basis
    return basis

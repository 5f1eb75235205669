"""Random walks, on lattices and on graphs: how they are drawn, their exact law, and what they converge to."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy import sparse, stats
from scipy.sparse.linalg import expm_multiply
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.physics.stochastic_process import check_number, check_times, drawn_in_blocks
from unstir.physics.units import dimensions

__all__ = ["GraphWalk", "LatticeWalk"]

BOUNDARIES = ("none", "periodic", "reflecting", "absorbing")
_BLOCK = 32  # steps whose draws share an address
_SITES_AT_MOST = 2**26


@dimensions(spacing="length", time_step="time")
@dataclass(frozen=True, eq=False)
class LatticeWalk:
    r"""Random walk on a square lattice, in any dimension: paths, the exact law after n steps, the diffusion it becomes.

    At each ``time_step`` (time) a walker moves by ``spacing`` (length) along one axis, or rests.
    ``probabilities`` has the shape (dimension, 2): for each axis that of a step down and of one up; the rest is
    that of resting. Without it all 2 * dimension neighbours are equally likely.

    ``boundary`` is ``none``, or ``periodic``, ``reflecting`` (a step out is not taken: no flux) or ``absorbing`` (a
    walker that steps out stays just outside for ever) on ``sites`` lattice sites along each axis, numbered from 0.

    With the mean m_i and the second moment p_i of an axis's step it converges to Brownian motion of drift
    :math:`m_i h/\tau` and diffusivity :math:`D_{ij} = (p_i\delta_{ij} - m_i m_j) h^2 / 2\tau`.

    Reference: Pólya, Mathematische Annalen 84 (1921) 149; Lawler, Limic, Random walk: a modern introduction (2010).
    """

    spacing: float | int = 1.0
    time_step: float | int = 1.0
    dimension: int = 1
    probabilities: Any = None
    boundary: str = "none"
    sites: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_number(self.spacing, "spacing", 0, strict=True)
        check_number(self.time_step, "time_step", 0, strict=True)
        if self.dimension < 1:
            raise InputError(f"the dimension must be at least 1; seen {self.dimension}")
        if self.boundary not in BOUNDARIES:
            raise unknown("boundary", self.boundary, BOUNDARIES)
        moves = self.moves
        if moves.shape != (self.dimension, 2) or not (moves >= 0).all() or moves.sum() > 1 + 1e-12:
            raise InputError(
                f"probabilities are ({self.dimension}, 2) numbers from 0, down and up along each axis, of a sum of at "
                f"most 1; seen {self.probabilities!r}"
            )
        if (self.boundary == "none") != (self.sites is None):
            raise InputError(f"the boundary {self.boundary!r} with sites={self.sites}: give both of them, or neither")
        if self.sites is not None and (len(self.size) != self.dimension or min(self.size) < 2):
            raise InputError(f"sites are one number, or {self.dimension}, of at least 2 each; seen {self.sites}")

    @property
    def moves(self) -> np.ndarray:
        """The probabilities of a step down and up along each axis, (dimension, 2)."""
        if self.probabilities is None:
            return np.full((self.dimension, 2), 1 / (2 * self.dimension))
        return np.asarray(self.probabilities, dtype=np.float64)

    @property
    def size(self) -> tuple[int, ...]:
        """The number of sites along each axis, () of a lattice without bounds."""
        if self.sites is None:
            return ()
        return (self.sites,) * self.dimension if isinstance(self.sites, int) else tuple(self.sites)

    @property
    @dimensions("length/time")
    def drift(self) -> np.ndarray:
        """Mean velocity, (dimension,), length/time."""
        return (self.moves[:, 1] - self.moves[:, 0]) * self.spacing / self.time_step

    @property
    @dimensions("length**2/time")
    def diffusivity(self) -> np.ndarray:
        """The diffusivity tensor of the Brownian motion in the limit, (dimension, dimension), length^2/time."""
        mean = self.moves[:, 1] - self.moves[:, 0]
        covariance = np.diag(self.moves.sum(1)) - np.outer(mean, mean)
        return covariance * self.spacing**2 / (2 * self.time_step)

    @dimensions("length")
    def simulate(self, steps: int, seeds: Seeds, start: Any = 0, every: int = 1) -> Tensor:
        """Positions (length) of one walker per address: float64 (walkers, steps // every + 1, dimension).

        All start at the site ``start``: a whole number, or one per axis. Every ``every``-th position is kept.
        """
        if steps < 1 or every < 1:
            raise InputError(f"steps and every must be at least 1; seen {steps} and {every}")
        device = seeds.samples.device
        site = torch.as_tensor(self._start(start), device=device).expand(len(seeds), self.dimension)
        # whole random words decide: probabilities are kept to 2^-33, at a ninth of the cost of float64 draws
        edges = torch.as_tensor(np.round(np.cumsum(self.moves) * 2.0**32).astype(np.int64), device=device)
        shifts = torch.zeros(2 * self.dimension + 1, self.dimension, dtype=torch.int64, device=device)
        for axis in range(self.dimension):
            shifts[2 * axis, axis], shifts[2 * axis + 1, axis] = -1, 1
        size = torch.as_tensor(self.size, device=device)
        path, chosen = [site], site
        for step in range(steps):
            if step % _BLOCK == 0:
                words = drawn_in_blocks(lambda some: some.words(_BLOCK), seeds.at("walk", step // _BLOCK), _BLOCK)
                chosen = torch.searchsorted(edges, words, right=True)
            site = self._moved(site, shifts[chosen[:, step % _BLOCK]], size)
            if (step + 1) % every == 0:
                path.append(site)
        return torch.stack(path, dim=1).double() * self.spacing

    def _moved(self, site: Tensor, shift: Tensor, size: Tensor) -> Tensor:
        moved = site + shift
        if self.boundary == "periodic":
            return moved % size
        if self.boundary == "reflecting":
            return torch.minimum(moved.clamp(min=0), size - 1)
        if self.boundary == "absorbing":
            inside = ((site >= 0) & (site < size)).all(1, keepdim=True)
            return torch.where(inside, moved, site)
        return moved

    def law(self, steps: int, start: Any = 0) -> np.ndarray:
        """The exact probabilities of the sites after ``steps`` steps from the site ``start``.

        Of the shape of the lattice; without bounds, of the sites -steps to steps around the start along each axis.
        The sum of an absorbing lattice is the share that is still walking. Without bounds and on a periodic
        lattice by Fourier transform, to some 1e-16 in absolute terms; else step by step.
        """
        if steps < 0:
            raise InputError(f"the number of steps must be at least 0; seen {steps}")
        size = self.size or (2 * steps + 1,) * self.dimension
        if np.prod(size, dtype=float) > _SITES_AT_MOST:
            raise InputError(f"the law after {steps} steps lives on {'x'.join(map(str, size))} sites: too many to hold")
        place = self._start(start) if self.sites is not None else np.full(self.dimension, steps)
        if self.boundary in ("none", "periodic"):
            return self._law_by_fourier(steps, size, place)
        law = np.zeros(size)
        law[tuple(place)] = 1.0
        for _ in range(steps):
            law = self._stepped(law)
        return law

    def _law_by_fourier(self, steps: int, size: tuple[int, ...], place: np.ndarray) -> np.ndarray:
        transfer: Any = 1 - self.moves.sum()
        shift: Any = 0.0
        for axis, ((down, up), count) in enumerate(zip(self.moves, size, strict=True)):
            angle = 2 * np.pi * np.fft.fftfreq(count).reshape(-1, *(1,) * (self.dimension - axis - 1))
            transfer = transfer + down * np.exp(1j * angle) + up * np.exp(-1j * angle)
            shift = shift + angle * place[axis]
        return np.maximum(np.fft.ifftn(transfer**steps * np.exp(-1j * shift)).real, 0.0)

    def _stepped(self, law: np.ndarray) -> np.ndarray:
        """One step of the master equation on a lattice that ends."""
        after = law * max(0.0, 1 - self.moves.sum())
        for axis, (down, up) in enumerate(self.moves):
            source, target = np.moveaxis(law, axis, 0), np.moveaxis(after, axis, 0)
            target[:-1] += down * source[1:]
            target[1:] += up * source[:-1]
            if self.boundary == "reflecting":
                target[0] += down * source[0]
                target[-1] += up * source[-1]
        return after

    def _start(self, start: Any) -> np.ndarray:
        place = np.asarray(start)
        if place.dtype.kind not in "iu" or place.shape not in ((), (self.dimension,)):
            raise InputError(f"the start is a whole number, or {self.dimension} of them; seen {start!r}")
        place = np.broadcast_to(place, self.dimension).astype(np.int64)
        if self.sites is not None and not all(0 <= at < count for at, count in zip(place, self.size, strict=True)):
            raise InputError(f"the start lies on the lattice of {self.size} sites, numbered from 0; seen {start!r}")
        return place


@dataclass(frozen=True, eq=False)
class GraphWalk:
    r"""Random walk on a graph, in steps or in continuous time: paths, exact laws and the stationary law.

    ``weights`` is the symmetric matrix (n, n) of non-negative edge weights (0 and 1 of a plain graph), as an array
    or a SciPy sparse matrix. A walker goes to a neighbour with a chance in proportion to the edge's weight; with
    the probability ``lazy`` it rests instead, which takes away the to and fro of graphs with two sides.

    The transition matrix is :math:`P = \ell I + (1 - \ell) K^{-1} A` with degrees K; its stationary law is
    :math:`k_i/\sum_j k_j`, the only one if the graph hangs together. Steps are pure numbers; a directed chain
    is a Markov chain without that law, and is refused.

    Reference: Lovász, Random walks on graphs: a survey (1993).
    """

    weights: Any
    lazy: float | int = 0.0

    def __post_init__(self) -> None:
        check_number(self.lazy, "lazy", 0)
        matrix = self._matrix
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or self.lazy >= 1:
            raise InputError(
                f"a square matrix of weights and lazy below 1 are needed; seen {matrix.shape} and {self.lazy}"
            )
        if not np.isfinite(matrix.data).all() or (matrix.data < 0).any() or abs(matrix - matrix.T).max() != 0:
            raise InputError("the weights must be finite, not negative and symmetric: the edge from i to j is j to i's")
        if len(alone := np.flatnonzero(self.degrees == 0)):
            raise InputError(f"node {alone[0]} has no neighbour; take it out, or give it an edge to itself")

    @cached_property
    def _matrix(self) -> Any:
        try:
            matrix = sparse.csr_array(self.weights, dtype=np.float64)
        except (TypeError, ValueError) as problem:
            raise InputError(f"the weights must be a matrix of numbers: {problem}") from problem
        matrix.eliminate_zeros()
        return matrix

    @cached_property
    def degrees(self) -> np.ndarray:
        """The sum of each node's weights, (n,)."""
        return np.asarray(self._matrix.sum(1)).ravel()

    def transition_matrix(self) -> sparse.csr_array:
        """P, the chance of going from i to j in one step: sparse, rows that sum to 1."""
        steps = sparse.diags_array((1 - self.lazy) / self.degrees) @ self._matrix
        return sparse.csr_array(steps + self.lazy * sparse.eye_array(len(self.degrees)))

    def stationary(self) -> np.ndarray:
        """The law that a step does not change: degrees over their sum, (n,)."""
        return self.degrees / self.degrees.sum()

    def law(self, start: Any, steps: int) -> np.ndarray:
        """The exact law (n,) after ``steps`` steps from a node, or from a law (n,)."""
        if steps < 0:
            raise InputError(f"the number of steps must be at least 0; seen {steps}")
        law, backwards = self._law(start), self.transition_matrix().T.tocsr()
        for _ in range(steps):
            law = backwards @ law
        return law

    @dimensions(time="time", rate="1/time")
    def law_at(self, start: Any, time: float | int, rate: float | int = 1.0) -> np.ndarray:
        r"""The exact law at ``time`` of the walk that steps at random moments, ``rate`` of them per time.

        :math:`p(t) = e^{rt(P^T - I)} p(0)`: diffusion on the graph.
        """
        check_number(time, "time", 0)
        check_number(rate, "rate", 0, strict=True)
        generator = (self.transition_matrix().T - sparse.eye_array(len(self.degrees))) * (rate * time)
        return np.maximum(expm_multiply(sparse.csr_array(generator), self._law(start)), 0.0)

    def simulate(self, start: Any, steps: int, seeds: Seeds) -> Tensor:
        """The nodes that walkers are at, int64 (walkers, steps + 1); ``start`` is a node, or one per walker."""
        if steps < 1:
            raise InputError(f"at least 1 step; seen {steps}")
        step = self._stepper(seeds.samples.device)
        node = self._nodes(start, seeds)
        path = [node]
        for index in range(steps):
            node = step(node, drawn_in_blocks(lambda some: some.uniform((2,)), seeds.at("step", index), 4))
            path.append(node)
        return torch.stack(path, dim=1)

    @dimensions(times="time", rate="1/time")
    def simulate_at(self, start: Any, times: Any, seeds: Seeds, rate: float | int = 1.0) -> Tensor:
        """The nodes at rising times from 0 on, int64 (walkers, len(times)), of the walk in continuous time.

        Steps come at random moments, ``rate`` of them per time (a Poisson process).
        """
        check_number(rate, "rate", 0, strict=True)
        grid = check_times(times)
        if grid[0] < 0 or grid[1] < grid[0]:
            raise InputError(f"times must rise from 0 on; seen {grid[0]:g} to {grid[-1]:g}")
        gaps = np.diff(grid, prepend=0.0)
        chances = seeds.at("moments").uniform((len(gaps),)).cpu().numpy()
        counts = np.cumsum(stats.poisson.ppf(chances, rate * gaps), axis=1).astype(np.int64)
        jumps = self.simulate(start, max(int(counts.max(initial=0)), 1), seeds)
        return jumps.gather(1, torch.as_tensor(counts, device=jumps.device))

    def _stepper(self, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
        matrix = self._matrix
        # one running sum of all weights, row after row: a walker looks its step up within its own row
        running = torch.as_tensor(np.cumsum(matrix.data), device=device)
        first, last = (
            torch.as_tensor(matrix.indptr[part], device=device).long() for part in (slice(-1), slice(1, None))
        )
        before = torch.cat((running.new_zeros(1), running))[first]
        neighbours = torch.as_tensor(matrix.indices, device=device).long()
        degrees = torch.as_tensor(self.degrees, device=device)

        def step(node: Tensor, drawn: Tensor) -> Tensor:
            place = torch.searchsorted(running, before[node] + drawn[:, 0] * degrees[node], right=True)
            place = torch.minimum(torch.maximum(place, first[node]), last[node] - 1)  # rounding stays in the row
            return torch.where(drawn[:, 1] < self.lazy, node, neighbours[place])

        return step

    def _nodes(self, start: Any, seeds: Seeds) -> Tensor:
        nodes = torch.as_tensor(start, device=seeds.samples.device)
        count = len(self.degrees)
        whole = not nodes.is_floating_point() and nodes.dtype != torch.bool
        if not whole or nodes.shape not in ((), (len(seeds),)) or bool(((nodes < 0) | (nodes >= count)).any()):
            raise InputError(f"start is a node from 0 to {count - 1}, or one for each of the {len(seeds)} walkers")
        return nodes.long().expand(len(seeds))

    def _law(self, start: Any) -> np.ndarray:
        values, count = np.asarray(start), len(self.degrees)
        if values.ndim == 0 and values.dtype.kind in "iu" and 0 <= values < count:
            return np.eye(1, count, int(values))[0]
        if values.shape != (count,) or not (values >= 0).all() or abs(values.sum() - 1) > 1e-9:
            raise InputError(f"start is a node from 0 to {count - 1}, or {count} probabilities that sum to 1")
        return values.astype(np.float64)

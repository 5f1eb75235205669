r"""Noise in a periodic cell of any form: the same in every direction of space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, expand
from unstir.processes import lattice_theta
from unstir.processes.base import Process, even_pairs
from unstir.processes.lattice_theta import Lattice, lattice_of
from unstir.processes.schedules.base import Schedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.spreading import check_spreading, gained_deviation
from unstir.processes.wrapped_normal import wrap

__all__ = ["LatticeProcess"]


@dataclass(frozen=True)
class LatticeProcess(Process):
    r"""Brownian motion of sites in a periodic cell: crystals, simulation boxes, periodic maps.

    States are fractional coordinates (batch, n, d) in [0, 1)^d, d = 1 to 3; ``cell`` (d, d) has the lattice vectors
    as rows, in any unit of length, which is that of the schedule's sigmas (a variance-exploding one). In space the
    noise is the same in every direction, :math:`x_t = x_0 + \sigma_t\epsilon` modulo the lattice, whatever the cell's
    angles. ``log_density`` is relative to the uniform law. At time 1 the law is uniform up to ``prior_error``, which is
    5e-9 to 2e-8 where sigma_max is one edge of a cubic cell.

    Raises InputError for a cell without a volume, or one so elongated (about 100 to 1) that its sums grow too long.

    Reference: Jiao et al., Crystal structure prediction by joint equivariant diffusion (2023), section 4.2 (wrapped
    normal noise of fractional coordinates); Zeni et al., A generative model for inorganic materials design (2025),
    supplement (noise in space).
    """

    schedule: Schedule = field(default_factory=lambda: ExponentialVESchedule(0.005, 5.0))
    cell: Any = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    space = "lattice"
    learned = "lattice"

    def __post_init__(self) -> None:
        try:
            cell = torch.as_tensor(self.cell, dtype=torch.float64)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"a cell is a square table of numbers, a lattice vector a row; seen {self.cell}"
            ) from error
        if cell.ndim != 2 or cell.shape[0] != cell.shape[1] or not 1 <= len(cell) <= 3:
            raise InputError(
                f"a cell has 1 to 3 lattice vectors of as many numbers; seen the shape {tuple(cell.shape)}"
            )
        lengths = cell.norm(dim=1)
        if not bool(cell.isfinite().all()) or not abs(torch.linalg.det(cell)) > 1e-9 * lengths.prod():
            raise InputError(
                f"a cell needs a volume: lattice vectors that are finite and independent; seen {self.cell}"
            )
        object.__setattr__(self, "cell", tuple(tuple(row) for row in cell.tolist()))
        try:
            lattice = self.lattice
        except ValueError as error:
            raise InputError(f"this cell is too elongated, {error}; take a shorter one. Seen {self.cell}") from error
        check_spreading(self, "in a periodic cell nothing can be shrunk", f"{lattice.uniform / 1.5:.3g}")

    @property
    def lattice(self) -> Lattice:
        """The cell, with what sums over its lattice need; remembered."""
        return lattice_of(self.cell)

    @classmethod
    def examples(cls) -> Mapping[str, "LatticeProcess"]:
        """Members whose claims are measured."""
        return {
            "hexagonal plane": cls(ExponentialVESchedule(0.01, 2.0), ((1.0, 0.0), (-0.5, 0.75**0.5))),
            "triclinic": cls(ExponentialVESchedule(0.02, 8.0), ((3.0, 0.0, 0.0), (1.1, 3.4, 0.0), (-0.8, 1.5, 4.2))),
        }

    def prior_error(self, t: Tensor | float = 1.0) -> float:
        """The largest relative deviation of the density of x_t given x_0 from the uniform one, over all x_t."""
        return lattice_theta.largest_deviation_from_uniform(self.lattice, self.schedule.sigma(t))

    def example_data(self, count: int) -> Tensor:
        """Two sites."""
        first, second = even_pairs(count).unbind(1)
        columns = torch.stack((first, second, (first + 0.5) % 1, second, (second + 0.25) % 1, first), 1)
        return columns.reshape(count, 2, 3)[..., : len(self.cell)].contiguous()

    def features(self, x: Tensor) -> Tensor:
        """Cosine and sine of every fractional coordinate of a site, (..., n, 2d)."""
        turns = 2 * torch.pi * self._checked(x)
        return torch.cat((turns.cos(), turns.sin()), -1)

    def contains(self, x: Tensor) -> Tensor:
        return ((x >= 0) & (x < 1)).flatten(1).all(1)

    def transition(self, xs: Tensor, s: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Tensor:
        spread = self._spread(s, t, self._checked(xs))
        noise = seeds.to(xs.device).normal(tuple(xs.shape[1:]), torch.float64)
        # the law is uniform there to 1e-19; more noise would only cost digits
        step = spread.clamp(max=self.lattice.uniform)[..., None] * noise
        drawn = self._wrapped(xs.double() + self.lattice.to(xs.device).fractional(step), xs)
        return apply_mask(torch.where(spread[..., None] == 0, xs, drawn), mask)

    def prior(
        self,
        shape: Sequence[int],
        seeds: Seeds,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.float32,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Uniform draws, of which sampling starts at any time ``t``; ``shape`` is that of one sample."""
        drawn = self._checked(seeds.uniform(shape))
        return apply_mask(self._wrapped(drawn, drawn.to(dtype)), mask)

    def bridge(
        self, xt: Tensor, posterior: Any, t: Tensor, s: Tensor, seeds: Seeds, mask: Tensor | None = None
    ) -> Tensor:
        """A draw of x_s given x_t and the belief about x_0, for s <= t.

        With x_0 drawn from the belief: where noise is narrow, by which lattice vector the way to x_t went is drawn with
        its weight, and between the ends lies a Brownian bridge. Where it is wide, the narrower of the two noises is
        drawn and accepted with the other's density. Exact for any s < t if the belief is the true posterior.
        """
        rest = self._spread(s, t, self._checked(xt))
        x0 = posterior.sample(seeds.at("clean")).to(xt.device)
        lattice = self.lattice.to(xt.device)
        first = expand(self.schedule.sigma(s).to(xt.device), rest).expand_as(rest)
        v, w = (deviation.clamp(max=lattice.uniform).square() for deviation in (first, rest))
        narrow = (v + w <= 2 * lattice.self_dual**2).flatten(1).all(1)
        drawn = torch.empty_like(xt, dtype=torch.float64)
        for rows, draw in ((narrow, self._by_windings), (~narrow, self._by_rejection)):
            if bool(rows.any()):
                ends = x0[rows].double(), xt[rows].double(), v[rows], w[rows]
                drawn[rows] = draw(lattice, *ends, seeds.to(rows.device)[rows])
        drawn = torch.where((v > 0)[..., None], self._wrapped(drawn, xt), x0.to(xt.dtype))
        return apply_mask(torch.where(rest[..., None] == 0, xt, drawn), mask)

    def log_density(self, xt: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        return self._log_densities(xt, x0, t).flatten(1).sum(1)

    def conditional_score(self, xt: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        """The gradient of log q(x_t | x_0) in space, (batch, n, d), in one over the cell's unit of length."""
        away = self._checked(xt).double() - x0.double()
        sigma = expand(self.schedule.sigma(t).to(xt.device), away[..., 0])
        return lattice_theta.score(self.lattice.to(xt.device), away, sigma).to(xt.dtype)

    def _log_densities(self, xt: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        away = self._checked(xt).double() - x0.double()
        sigma = expand(self.schedule.sigma(t).to(xt.device), away[..., 0])
        return lattice_theta.log_density(self.lattice.to(xt.device), away, sigma)

    @staticmethod
    def _by_windings(lattice: Lattice, x0: Tensor, xt: Tensor, v: Tensor, w: Tensor, seeds: Seeds) -> Tensor:
        shares, place = lattice_theta.windings(lattice, xt - x0, v + w)
        way = (place + lattice.far[choose(shares, seeds.at("winding"))]) @ lattice.reduced
        total = (v + w).clamp(min=1e-300)
        fresh = seeds.at("bridge").normal(tuple(x0.shape[1:]), torch.float64)
        step = (v / total)[..., None] * way + (v * w / total).sqrt()[..., None] * fresh
        return x0 + lattice.fractional(step)

    @staticmethod
    def _by_rejection(lattice: Lattice, x0: Tensor, xt: Tensor, v: Tensor, w: Tensor, seeds: Seeds) -> Tensor:
        start, other = torch.where((v <= w)[..., None], x0, xt), torch.where((v <= w)[..., None], xt, x0)
        narrower, wider = torch.minimum(v, w).sqrt(), torch.maximum(v, w).sqrt()
        highest = lattice_theta.log_density(lattice, torch.zeros_like(x0), wider)
        drawn, waiting = x0.clone(), torch.ones_like(v, dtype=torch.bool)
        attempt = 0
        while bool(waiting.any()):
            rows = waiting.flatten(1).any(1)
            own = seeds[rows].at("try", attempt)
            fresh = own.at("place").normal(tuple(x0.shape[1:]), torch.float64)
            tried = start[rows] + lattice.fractional(narrower[rows][..., None] * fresh)
            logs = lattice_theta.log_density(lattice, other[rows] - tried, wider[rows]) - highest[rows]
            refused = own.at("accept").uniform(tuple(v.shape[1:])).log() > logs  # never where it is not a number
            taken = waiting[rows] & ~refused
            drawn[rows] = torch.where(taken[..., None], tried, drawn[rows])
            waiting[rows] = waiting[rows] & refused
            attempt += 1
        return drawn

    def _spread(self, s: Tensor | float, t: Tensor | float, like: Tensor) -> Tensor:
        """The deviation that the noise gains from s to t, float64, of the shape of the sites of ``like``."""
        spread = gained_deviation(self.schedule, s, t, like.device)
        sites = like[..., 0].double()
        return expand(spread, sites).expand_as(sites)

    def _checked(self, x: Tensor) -> Tensor:
        if x.ndim < 2 or x.shape[-1] != len(self.cell):
            raise InputError(
                f"this cell has {len(self.cell)} lattice vectors: states are (batch, n, {len(self.cell)}); "
                f"seen {tuple(x.shape)}"
            )
        return x

    @staticmethod
    def _wrapped(x: Tensor, like: Tensor) -> Tensor:
        return wrap(wrap(x, 1.0).to(like.dtype), 1.0)

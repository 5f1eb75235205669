r"""Noise that belongs to stretches of log-SNR: one fixed Brownian path a sample, asked for anywhere and in any order.

With the half log-SNR :math:`\ell = \log(\alpha/\sigma)` and the stochasticity :math:`\tau`, the noise that the reverse
equation adds between two levels is :math:`\sigma_s e^{-\tau^2 \ell_s}\,[M(v_s) - M(v_t)]`, where M is a standard
Brownian motion in the clock :math:`v = e^{2\tau^2\ell}`. What a step needs is that increment, standardised.

The axis of :math:`\ell` is cut into cells, whose increments are drawn independently. Inside a cell the path is refined
by halving, each middle drawn given the two ends (Lévy's construction), and a point between the finest middles is drawn
given its neighbours. Each of these draws has an address of its own, so that every value of the path is a function of
the seed, the sample and the place alone.

Reference: Lévy, Processus stochastiques et mouvement brownien (1948), chapter 1; Li, Wong, Chen, Duvenaud, Scalable
gradients for stochastic differential equations (2020), section 4 (trees of virtual Brownian motion).
"""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds, philox, philox_on_cpu

PLACES = 2**31  # a cell's lattice: points of log-SNR nearer than its width by this are one and the same
WIDTH = 0.5  # of a cell, in log(alpha/sigma)
LOWEST = -40  # the cell that reaches down to minus infinity, where nothing of the data is left
_WHOLE = 0  # the number of the draw that is a cell's whole increment; middles are 1 to PLACES - 1
_OWN = PLACES  # a point's own draw is numbered by this plus its place
_PIECE = 32768  # blocks of the generator at a time
_WORD, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


class Point(NamedTuple):
    """A place on the axis: the cell's number and the place on its lattice, 0 to PLACES - 1."""

    cell: int
    place: int


Address: TypeAlias = tuple[int, int]  # of a draw: the cell, and the number of the draw in it


class Row(NamedTuple):
    """One draw: the generator's key, the number in its counter, the weight, and which sum it belongs to."""

    key: tuple[int, int]
    number: int
    weight: float
    group: int


@dataclass(frozen=True)
class BrownianPath:
    r"""One path of noise for each sample, whatever the time grid, the batch and the order of asking.

    Increments over stretches without overlap are independent and exactly standard normal; the increment over a stretch
    is the combination of those over its parts, with the weights that make a step of two half steps, at the given
    ``stochasticity`` tau > 0. (At another tau the same path still serves: its steps converge as the grid is refined.)

    ``depth`` says how often a cell of half a unit of log(alpha/sigma) is halved, from 1 to 31. Each level costs one
    normal draw a step and element. Two neighbouring points of a grid must not lie within one finest interval, of
    0.002 by default, and are refused where they do.

    A path remembers the last point that each thread asked for, which spares the next step half of its draws; what it
    answers does not depend on that.
    """

    stochasticity: float = 1.0
    depth: int = 8
    _memory: threading.local = field(default_factory=threading.local, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.stochasticity < math.inf:
            raise InputError(f"a path of noise needs a positive, finite stochasticity; seen {self.stochasticity}")
        if not 1 <= self.depth <= 31:
            raise InputError(f"the depth lies between 1 and 31; seen {self.depth}")

    def __reduce__(self) -> tuple[type, tuple[float, int]]:
        return type(self), (self.stochasticity, self.depth)  # what is remembered stays with its thread

    def normal_like(self, like: Tensor, seeds: Seeds, here: float, there: float) -> Tensor:
        """The standardised increments between two values of log(alpha/sigma), ``here`` < ``there``.

        Of the shape, dtype and device of ``like``; ``here`` may be minus infinity. Computed in float64 for a state of
        float64, else in float32. Raises InputError for stretches that are empty or too short for the depth.
        """
        if len(like) != len(seeds):
            raise InputError(f"{len(seeds)} seeds for a batch of {len(like)} samples")
        start, end = self._stretch(here, there)
        first_value, first_whole = self._ends(like, seeds, start)
        parts = self._parts(start, end)
        between = {(cell, _WHOLE): parts[cell] for cell in range(start.cell + 1, end.cell)}
        last_value, last_whole, drawn = self._drawn(like, seeds, end, between)
        if start.cell == end.cell:
            drawn = (last_value - first_value) * parts[end.cell]
        else:
            drawn = drawn + (first_whole - first_value) * parts[start.cell] + last_value * parts[end.cell]
        self._memory.last = (_asked(like, seeds, end), seeds.samples, (last_value, last_whole))
        return drawn.to(like.dtype)

    def weights(self, here: float, there: float) -> dict[Address, float]:
        """The same increments as a combination of independent draws: the weight of each address (cell, number)."""
        start, end = self._stretch(here, there)
        parts = self._parts(start, end)
        total = {(cell, _WHOLE): part for cell, part in parts.items() if cell < end.cell}
        for point, sign in ((end, 1.0), (start, -1.0)):
            for number, weight in self._inside(point).items():
                address = point.cell, number
                total[address] = total.get(address, 0.0) + sign * parts[point.cell] * weight
        return total

    def _stretch(self, here: float, there: float) -> tuple[Point, Point]:
        """The two ends, which must differ by enough to be told apart."""
        if not (here < there < math.inf):
            raise InputError(
                f"a stretch of noise goes from one log(alpha/sigma) to a larger, finite one; seen {here} and {there}"
            )
        start, end = self._point(here), self._point(there)
        finest = PLACES >> self.depth
        unresolved = start.place % finest and end.place % finest and start.place // finest == end.place // finest
        if start == end or (start.cell == end.cell and unresolved):
            raise InputError(
                f"the step of log(alpha/sigma) from {here} to {there} lies within one finest interval of the path, "
                f"whose depth is {self.depth}: take longer steps, or a greater depth, at most 31"
            )
        return start, end

    def _point(self, level: float) -> Point:
        if level <= LOWEST * WIDTH:  # the lowest cell is cut evenly by the clock itself
            place = round(math.exp(2 * self.stochasticity**2 * (level - LOWEST * WIDTH)) * PLACES)
            return Point(LOWEST - 1, place) if place < PLACES else Point(LOWEST, 0)
        cell, share = divmod(level / WIDTH, 1.0)
        place = round(share * PLACES)
        return Point(int(cell), place) if place < PLACES else Point(int(cell) + 1, 0)

    def _share(self, cell: int, place: int) -> float:
        """How much of the cell's clock has gone at a place, from 0 to 1."""
        if cell < LOWEST:
            return place / PLACES
        rate = 2 * self.stochasticity**2 * WIDTH
        return math.expm1(rate * place / PLACES) / math.expm1(rate)

    def _parts(self, start: Point, end: Point) -> dict[int, float]:
        """The deviations of the cells' whole increments, by cell, if that of the stretch between two points is 1."""
        rate = 2 * self.stochasticity**2 * WIDTH
        squares = {
            cell: math.exp(rate * (max(cell, LOWEST) - end.cell)) * (math.expm1(rate) if cell >= LOWEST else 1.0)
            for cell in range(start.cell, end.cell + 1)
        }
        first, last = self._share(*start), self._share(*end)
        if start.cell == end.cell:
            whole = squares[end.cell] * (last - first)
        else:
            between = sum(squares[cell] for cell in range(start.cell + 1, end.cell))
            whole = squares[start.cell] * (1 - first) + between + squares[end.cell] * last
        return {cell: math.sqrt(square / whole) for cell, square in squares.items()}

    def _inside(self, point: Point) -> dict[int, float]:
        """The path at a point, from its cell's beginning and in units of the cell's size: weights by draw."""
        left, right = 0, PLACES
        at_left: dict[int, float] = {}
        at_right = {_WHOLE: 1.0}
        for _ in range(self.depth):
            if point.place == left:
                return at_left
            middle = (left + right) // 2
            between = self._between(point.cell, left, middle, right, at_left, at_right, middle)
            if point.place < middle:
                right, at_right = middle, between
            else:
                left, at_left = middle, between
        if point.place == left:
            return at_left
        return self._between(point.cell, left, point.place, right, at_left, at_right, _OWN + point.place)

    def _between(
        self,
        cell: int,
        left: int,
        middle: int,
        right: int,
        at_left: dict[int, float],
        at_right: dict[int, float],
        number: int,
    ) -> dict[int, float]:
        """A draw of the path at a place, given two values around it."""
        low, here, high = (self._share(cell, place) for place in (left, middle, right))
        share = (here - low) / (high - low)
        mixed = {key: share * weight for key, weight in at_right.items()}
        for key, weight in at_left.items():
            mixed[key] = mixed.get(key, 0.0) + (1 - share) * weight
        mixed[number] = math.sqrt((here - low) * (high - here) / (high - low))
        return mixed

    def _ends(self, like: Tensor, seeds: Seeds, point: Point) -> tuple[Tensor, Tensor]:
        """The path at a point, counted from its cell's beginning, and the increment of the whole cell."""
        remembered = getattr(self._memory, "last", None)
        if remembered and remembered[0] == _asked(like, seeds, point) and remembered[1] is seeds.samples:
            return remembered[2]
        value, whole, _ = self._drawn(like, seeds, point, {})
        return value, whole

    def _drawn(
        self, like: Tensor, seeds: Seeds, point: Point, beside: Mapping[Address, float]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same, and another combination of draws, all of them in one call of the generator."""
        inside = {(point.cell, number): weight for number, weight in self._inside(point).items()}
        share = inside.pop((point.cell, _WHOLE), 0.0)
        whole, value, other = combinations([{(point.cell, _WHOLE): 1.0}, inside, beside], seeds, like)
        return share * whole + value, whole, other


def _asked(like: Tensor, seeds: Seeds, point: Point) -> tuple[object, ...]:
    """All that a value of the path depends on, but for the numbers of the samples."""
    return seeds.seed, seeds.purpose, point, like.shape, like.dtype, like.device


def combinations(groups: Sequence[Mapping[Address, float]], seeds: Seeds, like: Tensor) -> list[Tensor]:
    """Weighted sums of standard normal draws that are addressed by (cell, number), each of the shape of ``like``.

    In float64 if that is the state's precision, else in float32. The draws are Box and Muller's, from the words that
    Philox makes of the address; these are the same on every device.
    """
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    elements = math.prod(like.shape[1:])
    cells = {cell for group in groups for cell, _ in group}
    keys = {cell: seeds.at("brownian path", cell).key for cell in cells}
    rows = [
        Row(keys[cell], number, weight, place)
        for place, group in enumerate(groups)
        for (cell, number), weight in group.items()
    ]
    total = _sums_on_cpu if like.device.type == "cpu" else _sums_elsewhere
    drawn = total(rows, len(groups), seeds.samples.to(like.device), -(-elements // 4), dtype)
    return [part[:, :elements].reshape(like.shape) for part in drawn.flatten(2)]


def _sums_on_cpu(rows: Sequence[Row], groups: int, samples: Tensor, blocks: int, dtype: torch.dtype) -> Tensor:
    """NumPy's unsigned words take a third of the time of torch's; a piece at a time spares memory."""
    real = np.float64 if dtype == torch.float64 else np.float32
    keys = np.array([row.key for row in rows], dtype=np.uint64).T[..., None]
    numbers = np.array([row.number for row in rows], dtype=np.uint64)[:, None]
    weights = np.array([row.weight for row in rows], dtype=real)[:, None]
    members = [row.group for row in rows]
    slices = {group: slice(members.index(group), members.index(group) + members.count(group)) for group in set(members)}
    sample = samples.numpy().astype(np.uint64).repeat(blocks)
    block = np.tile(np.arange(blocks, dtype=np.uint64), len(samples))
    sums = np.zeros((groups, len(block), 4), dtype=real)
    piece = max(1, _PIECE // len(rows))
    for first in range(0, len(block), piece):
        here = slice(first, first + piece)
        counter = block[here], numbers, sample[here] & _WORD, sample[here] >> _HALF
        words = philox_on_cpu(counter, keys, (len(rows), len(block[here])))
        for pair in (0, 2):
            shares = (words[:, pair // 2].astype(real) + real(0.5)) * real(2.0**-32)
            radius = np.sqrt(np.log(shares[0]) * real(-2)) * weights
            angle = shares[1] * real(2 * math.pi)
            for place, drawn in ((pair, radius * np.cos(angle)), (pair + 1, radius * np.sin(angle))):
                for group, chosen in slices.items():
                    # row by row, so that it does not depend on what stands beside
                    np.sum(drawn[chosen], axis=0, out=sums[group, here, place])
    return torch.from_numpy(sums.reshape(groups, len(samples), blocks, 4))


def _sums_elsewhere(rows: Sequence[Row], groups: int, samples: Tensor, blocks: int, dtype: torch.dtype) -> Tensor:
    """The same by torch, on any device."""
    block = torch.arange(blocks, device=samples.device).expand(len(samples), -1)
    sample = samples[:, None].expand(-1, blocks)
    sums = torch.zeros(groups, len(samples), blocks, 4, dtype=dtype, device=samples.device)
    for row in rows:
        counter = (block, torch.full_like(block, row.number), sample & 0xFFFFFFFF, sample >> 32)
        shares = [(words.to(dtype) + 0.5) * 2.0**-32 for words in philox(counter, row.key)]
        for pair in (0, 2):
            radius = (shares[pair].log() * -2).sqrt() * row.weight
            angle = shares[pair + 1] * (2 * math.pi)
            sums[row.group, ..., pair] += radius * angle.cos()
            sums[row.group, ..., pair + 1] += radius * angle.sin()
    return sums

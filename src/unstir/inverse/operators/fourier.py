"""Chosen waves of a sample: magnetic resonance, interferometry."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError, suggest
from unstir.core.seeds import Seeds
from unstir.inverse.operators.base import Decomposition, LinearOperator
from unstir.inverse.operators.shapes import channels_of, sample_shape, space_of

__all__ = ["FourierOperator"]

_PATTERNS = ("lines", "points")


@dataclass(frozen=True, eq=False)
class FourierOperator(LinearOperator):
    r"""Real and imaginary parts of the orthonormal Fourier transform at chosen frequencies, (channels, count, 2).

    ``pattern`` "lines" chooses whole lines of frequencies (the last axis is skipped through, as a scanner of magnetic
    resonance does), "points" single ones: at random by ``seed``, the share ``share`` of them, among these the slowest
    ones, the share ``centre`` of all. ``seen``, boolean and of the sides in space in the order of ``torch.fft.fftn``,
    says them one by one instead.

    Real samples have :math:`X_{-k} = \bar X_k`, so a wave is read twice where k and -k are both chosen (singular value
    1 instead of :math:`1/\sqrt2`), and at the frequencies that are their own opposite the imaginary part reads zero.
    Raises InputError for shares outside of (0, 1] and a mask of another shape, or of nothing.

    Reference: Lustig, Donoho, Pauly, Sparse MRI (2007), section on Cartesian sampling.
    """

    shape: tuple[int, ...]
    share: float | int = 0.5
    centre: float | int = 0.1
    pattern: str = "lines"
    seed: int = 0
    seen: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", sample_shape(self.shape, "what is sampled"))
        sides = space_of(self.shape)
        if self.seen is None:
            object.__setattr__(self, "seen", self._chosen(sides))
        seen = torch.as_tensor(self.seen)
        if seen.dtype != torch.bool or tuple(seen.shape) != sides or not bool(seen.any()):
            raise InputError(
                f"chosen frequencies are a boolean mask of the sides {sides}, some of it true; "
                f"seen {seen.dtype} of shape {tuple(seen.shape)}, {int(seen.sum())} true"
            )
        object.__setattr__(self, "seen", seen)

    def _chosen(self, sides: tuple[int, ...]) -> Tensor:
        if self.pattern not in _PATTERNS:
            raise InputError(f"unknown pattern {self.pattern!r}; {suggest(str(self.pattern), _PATTERNS)}")
        if not 0 < self.share <= 1 or not 0 <= self.centre <= self.share:
            raise InputError(
                "a share of the frequencies is above 0 and at most 1, and that of the centre at most as large; "
                f"seen {self.share} and {self.centre}"
            )
        speeds = [torch.fft.fftfreq(side, dtype=torch.float64) for side in sides]
        grid = speeds[-1].abs() if self.pattern == "lines" else _norm(speeds)
        # the slowest first, then by lot
        order = Seeds.range(self.seed, 1).at("frequencies").uniform((grid.numel(),))[0]
        slowest = grid.flatten().argsort(stable=True)[: round(self.centre * grid.numel())]
        order[slowest] = torch.arange(len(slowest), dtype=torch.float64) - len(slowest)
        chosen = torch.zeros(grid.numel(), dtype=torch.bool)
        chosen[order.argsort()[: max(1, round(self.share * grid.numel()))]] = True
        return chosen.reshape(grid.shape).expand(sides)

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return (*channels_of(self.shape), len(self.places), 2)

    @cached_property
    def places(self) -> Tensor:
        """The numbers of the chosen frequencies in the flattened grid."""
        return self.seen.flatten().nonzero()[:, 0]

    def waves(self, x: Tensor) -> Tensor:
        """The whole spectrum as real numbers, (batch, channels, frequencies, 2)."""
        sides = space_of(self.shape)
        spectrum = torch.fft.fftn(x, dim=tuple(range(-len(sides), 0)), norm="ortho")
        return torch.view_as_real(spectrum.reshape(len(x), -1, math.prod(sides)))

    def unwaved(self, waves: Tensor) -> Tensor:
        """The transpose of ``waves``: the real part of the inverse transform."""
        sides = space_of(self.shape)
        spectrum = torch.view_as_complex(waves.contiguous()).reshape(len(waves), *self.shape)
        return torch.fft.ifftn(spectrum, dim=tuple(range(-len(sides), 0)), norm="ortho").real

    def __call__(self, x0: Tensor) -> Tensor:
        return self.waves(x0).index_select(2, self.places.to(x0.device)).reshape(-1, *self.measured_shape)

    def adjoint(self, measured: Tensor) -> Tensor:
        told = measured.reshape(len(measured), -1, len(self.places), 2)
        whole = told.new_zeros(*told.shape[:2], self.seen.numel(), 2)
        return self.unwaved(whole.index_add(2, self.places.to(told.device), told))

    @cached_property
    def decomposition(self) -> Decomposition:
        """By real waves, each seen once, twice or not."""
        return _Waves.of(self)

    @classmethod
    def examples(cls) -> Mapping[str, "FourierOperator"]:
        """Lines, points, and masks in which waves are read once, twice and not at all."""
        full = torch.ones(4, 3, dtype=torch.bool)
        return {
            "lines": cls((2, 6, 8)),
            "points": cls((1, 5, 6), 0.4, 0.05, "points", seed=2),
            "all of a picture": cls((1, 4, 3), seen=full),
            "a series": cls((9,), 0.5, 0.3, "points"),
            "one wave": cls((6,), seen=torch.arange(6) == 2),
        }


@dataclass(frozen=True, eq=False)
class _Waves(Decomposition):
    """Both sides are signed sums of at most two parts of the spectrum: their places, (modes, 2), and factors."""

    operator: FourierOperator
    values: Tensor
    parts: Tensor  # of the spectrum's (frequencies * 2) numbers, one for each mode of a sample
    scales: Tensor
    pairs: Tensor  # of the measured numbers of a channel, two for each mode of what is measured
    factors: Tensor
    known: int  # modes of a channel with a value above zero

    @classmethod
    def of(cls, operator: FourierOperator) -> "_Waves":
        sides, count = space_of(operator.shape), operator.seen.numel()
        opposite = torch.arange(count).reshape(sides)
        for axis in range(len(sides)):
            opposite = opposite.flip(axis).roll(1, axis)
        position = {place: number for number, place in enumerate(operator.places.tolist())}
        known: list[tuple[float, int, float, tuple[int, int], tuple[float, float]]] = []
        unseen: list[tuple[int, float]] = []
        nulls: list[tuple[tuple[int, int], tuple[float, float]]] = []
        half = math.sqrt(0.5)
        for k, other in enumerate(opposite.flatten().tolist()):
            if other < k:
                continue
            here, there = position.get(k), position.get(other)
            if k == other:
                if here is None:
                    unseen.append((2 * k, 1.0))
                else:
                    known.append((1.0, 2 * k, 1.0, (2 * here, 2 * here), (1.0, 0.0)))
                    nulls.append(((2 * here + 1, 2 * here + 1), (1.0, 0.0)))
                continue
            for part, sign in ((0, 1.0), (1, -1.0)):
                if here is not None and there is not None:
                    places = (2 * here + part, 2 * there + part)
                    known.append((1.0, 2 * k + part, math.sqrt(2), places, (half, sign * half)))
                    nulls.append((places, (half, -sign * half)))
                elif here is not None or there is not None:
                    single = 2 * (here if there is None else there) + part  # type: ignore[operator]
                    weight = 1.0 if there is None else sign
                    known.append((half, 2 * k + part, math.sqrt(2), (single, single), (weight, 0.0)))
                else:
                    unseen.append((2 * k + part, math.sqrt(2)))
        channels = math.prod(channels_of(operator.shape))
        rank = min(math.prod(operator.shape), math.prod(operator.measured_shape))
        values = torch.tensor([row[0] for row in known], dtype=torch.float64).repeat(channels)
        return cls(
            operator,
            torch.nn.functional.pad(values, (0, rank - len(values))),
            torch.tensor([row[1] for row in known] + [row[0] for row in unseen]),
            torch.tensor([row[2] for row in known] + [row[1] for row in unseen], dtype=torch.float64),
            torch.tensor([row[3] for row in known] + [row[0] for row in nulls]),
            torch.tensor([row[4] for row in known] + [row[1] for row in nulls], dtype=torch.float64),
            len(known),
        )

    def samples_to_modes(self, x: Tensor) -> Tensor:
        waves = self.operator.waves(x).flatten(2)[:, :, self.parts.to(x.device)] * self.scales.to(x)
        return self._joined(waves)

    def modes_to_samples(self, modes: Tensor) -> Tensor:
        channels, known = math.prod(channels_of(self.operator.shape)), self.known
        first = modes[:, : channels * known].reshape(len(modes), channels, known)
        rest = modes[:, channels * known :].reshape(len(modes), channels, -1)
        told = torch.cat((first, rest), 2) * self.scales.to(modes)
        whole = told.new_zeros(len(told), channels, 2 * self.operator.seen.numel())
        whole = whole.index_copy(2, self.parts.to(told.device), told)
        return self.operator.unwaved(whole.reshape(len(told), channels, -1, 2))

    def measured_to_modes(self, measured: Tensor) -> Tensor:
        told = measured.reshape(len(measured), math.prod(channels_of(self.operator.shape)), -1)
        found = (told[:, :, self.pairs.to(told.device)] * self.factors.to(told)).sum(-1)
        return self._joined(found)

    def _joined(self, modes: Tensor) -> Tensor:
        """The modes of all channels that have a value, and then the others."""
        return torch.cat((modes[:, :, : self.known].flatten(1), modes[:, :, self.known :].flatten(1)), 1)


def _norm(speeds: list[Tensor]) -> Tensor:
    return torch.stack(torch.meshgrid(*speeds, indexing="ij")).norm(dim=0)

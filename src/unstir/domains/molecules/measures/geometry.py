"""Lengths of bonds, angles and torsions by their kinds, and how far those of two sets of molecules are apart."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.domains.matter.elements import symbol_of
from unstir.domains.matter.structures import Molecule
from unstir.domains.measuring import Statistic
from unstir.metrics.base import SampleSet

EDGES = {
    "bond lengths": np.linspace(0.6, 3.0, 481),
    "angles": np.linspace(0.0, 180.0, 181),
    "torsions": np.linspace(0.0, 180.0, 37),
}
"""Edges of the bins in which each is counted: angstrom, degrees, degrees without a sign."""
UNITS = {"bond lengths": "Å", "angles": "°", "torsions": "°"}
_SIGNS = ("", "-", "=", "≡", ":")
_MOST = 12  # kinds of each, the most frequent ones
_STRAIGHT = 175.0  # degrees


def measures(molecule: Molecule) -> dict[str, tuple[list[str], np.ndarray]]:
    """All bond lengths, angles and torsions of a molecule with bonds and positions: the kind of each, and its value.

    Kinds of bonds are elements and order, ``C=O``; of angles the middle atom, its element and how many neighbours it
    has, ``C4``; of torsions the bond in the middle. Torsions are without a sign, 0 to 180 degrees; those about a bond
    with an end in line with it (an angle beyond 175 degrees) are left out, for they mean nothing.
    """
    bonds, places = molecule.bonds, molecule.positions
    assert bonds is not None and places is not None
    names = [symbol_of(number) for number in molecule.numbers.tolist()]
    near = [np.flatnonzero(row).tolist() for row in bonds]
    pairs = np.argwhere(np.triu(bonds, 1)).tolist()
    ends = [_SIGNS[bonds[a, b]].join(sorted((names[a], names[b]))) for a, b in pairs]
    bends = [(a, b, c) for b, around in enumerate(near) for place, a in enumerate(around) for c in around[:place]]
    turns = [
        (a, b, c, d, kind)
        for (b, c), kind in zip(pairs, ends, strict=True)
        for a in near[b]
        if a != c
        for d in near[c]
        if d not in (a, b)
    ]
    lengths = _ways(places, [(a, b) for a, b in pairs])[:, 0]
    angles = _angles(*_ways(places, [(b, a) for a, b, _ in bends], [(b, c) for _, b, c in bends]).swapaxes(0, 1))
    steps = _ways(places, [turn[:2] for turn in turns], [turn[1:3] for turn in turns], [turn[2:4] for turn in turns])
    first, middle, last = steps.swapaxes(0, 1)
    bent = (_angles(-first, middle) <= _STRAIGHT) & (_angles(-middle, last) <= _STRAIGHT)
    across, along = np.cross(first, middle), np.cross(middle, last)
    bent &= np.minimum(np.linalg.norm(across, axis=1), np.linalg.norm(along, axis=1)) > 1e-9
    return {
        "bond lengths": (ends, np.linalg.norm(lengths, axis=1)),
        "angles": ([f"{names[b]}{len(near[b])}" for _, b, _ in bends], angles),
        "torsions": (
            [turn[4] for turn, good in zip(turns, bent.tolist(), strict=True) if good],
            _angles(across[bent], along[bent]),
        ),
    }


@dataclass(frozen=True, eq=False)
class Binned:
    """Counts of one measure: ``kinds``, and ``counts`` float64 (molecules, kinds, bins), what is beyond at the ends."""

    name: str
    kinds: tuple[str, ...]
    counts: np.ndarray

    def sample_set(self) -> SampleSet:
        """As metrics see them: a row a molecule."""
        return SampleSet(torch.from_numpy(self.counts.reshape(len(self.counts), -1)), source="the molecules themselves")


def frequent(molecules: Sequence[Molecule]) -> dict[str, tuple[str, ...]]:
    """The most frequent kinds of each measure among these molecules."""
    counted: dict[str, Counter[str]] = {name: Counter() for name in EDGES}
    for molecule in molecules:
        for name, (kinds, _) in measures(molecule).items():
            counted[name].update(kinds)
    return {
        name: tuple(kind for kind, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_MOST])
        for name, counts in counted.items()
    }


def binned(molecules: Sequence[Molecule], kinds: Mapping[str, Sequence[str]]) -> dict[str, Binned]:
    """The counts of those kinds in each molecule; others are not counted."""
    found = {
        name: np.zeros((len(molecules), len(kinds[name]), len(edges) - 1), dtype=np.float64)
        for name, edges in EDGES.items()
    }
    places = {name: {kind: place for place, kind in enumerate(listed)} for name, listed in kinds.items()}
    for row, molecule in enumerate(molecules):
        for name, (listed, values) in measures(molecule).items():
            which = np.array([places[name].get(kind, -1) for kind in listed], dtype=np.int64)
            columns = np.clip(np.searchsorted(EDGES[name], values, side="right") - 1, 0, len(EDGES[name]) - 2)
            np.add.at(found[name][row], (which[which >= 0], columns[which >= 0]), 1)
    return {name: Binned(name, tuple(kinds[name]), counts) for name, counts in found.items()}


@dataclass(frozen=True)
class Shapes(Statistic):
    """Wasserstein-1 between two sets' values of a measure, kind by kind, weighted as the reference has the kinds.

    In the measure's own unit, to the width of a bin. A kind that no sample has is left out, and the share of what is
    left out told.

    Reference: Vallender, Calculation of the Wasserstein distance between probability distributions on the line (1974);
    Vignac et al., MiDi: mixed graph and 3D denoising diffusion for molecule generation (2023), section 5.1, for the
    distances of bond lengths and angles.
    """

    name: str
    kinds: tuple[str, ...]

    @property
    def unit(self) -> str:  # type: ignore[override]
        """The measure's."""
        return UNITS[self.name]

    def distance(self, samples: SampleSet, weights: Tensor, reference: SampleSet, others: Tensor) -> Tensor:
        own, real = (
            (weight @ rows.space("values")).unflatten(1, (len(self.kinds), -1))
            for rows, weight in ((samples, weights), (reference, others))
        )
        many, share = own.sum(-1), real.sum(-1)
        share = share * (many > 0)
        width = float(np.diff(EDGES[self.name])[0])
        gap = (own / many.clamp(min=1e-300)[..., None] - real / real.sum(-1, keepdim=True).clamp(min=1e-300)).cumsum(-1)
        apart = gap.abs().sum(-1) * width
        return (apart * share).sum(-1) / share.sum(-1).clamp(min=1e-300)

    def details(self, samples: SampleSet, reference: SampleSet) -> Mapping[str, Any]:
        own, real = (
            rows.space("values").unflatten(1, (len(self.kinds), -1)).sum((0, 2)) for rows in (samples, reference)
        )
        lost = float(real[own == 0].sum() / real.sum())
        return {"kinds": list(self.kinds), "share of kinds that no sample has": lost}


def _ways(places: np.ndarray, *listed: Sequence[Sequence[int]]) -> np.ndarray:
    """The vectors between pairs of atoms, float64 (pairs, lists, 3)."""
    found = []
    for pairs in listed:
        ends = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        found.append(places[ends[:, 1]] - places[ends[:, 0]])
    return np.stack(found, 1)


def _angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Between vectors (n, 3), in degrees."""
    scale = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.asarray(np.degrees(np.arccos(np.clip((first * second).sum(1) / np.maximum(scale, 1e-12), -1, 1))))

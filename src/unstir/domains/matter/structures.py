"""One molecule or crystal as plain arrays, in the units that its field speaks: angstrom, elementary charges."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

BOND_ORDERS = (0.0, 1.0, 2.0, 3.0, 1.5)
"""The bond order that each class of a bond stands for: none, single, double, triple, aromatic."""


@dataclass(frozen=True, eq=False)
class Molecule:
    """Atoms in space, in the order that their file has them.

    ``numbers`` int64 (n,): atomic numbers. ``positions`` float64 (n, 3) in angstrom, or None for a bare graph.
    ``charges`` int64 (n,): formal charges, or None where the file tells none. ``bonds`` int64 (n, n), symmetric: the
    class of each bond (``BOND_ORDERS``), or None. ``properties``: numbers by their names. ``source`` says where it was
    read: "my.sdf, entry 17".
    """

    numbers: np.ndarray
    positions: np.ndarray | None = None
    charges: np.ndarray | None = None
    bonds: np.ndarray | None = None
    properties: Mapping[str, float] = field(default_factory=dict)
    name: str = ""
    source: str = ""

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True, eq=False)
class Crystal:
    """Atoms in a periodic cell.

    ``numbers`` int64 (n,): atomic numbers. ``fractional`` float64 (n, 3) in [0, 1). ``cell`` float64 (3, 3): lattice
    vectors as rows, in angstrom, right-handed. ``properties``: numbers by their names. ``source`` says where it was
    read: "my.csv, row 17".
    """

    numbers: np.ndarray
    fractional: np.ndarray
    cell: np.ndarray
    properties: Mapping[str, float] = field(default_factory=dict)
    name: str = ""
    source: str = ""

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def positions(self) -> np.ndarray:
        """In space, float64 (n, 3), in angstrom."""
        return np.asarray(self.fractional @ self.cell)

    @property
    def volume(self) -> float:
        """Of the cell, in cubic angstrom."""
        return float(abs(np.linalg.det(self.cell)))


@dataclass(frozen=True)
class Unread:
    """A structure that could not be read or used: where it stands, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Collection:
    """What was read: the structures that can be used, and those that cannot, each with its reason."""

    name: str
    structures: tuple[Any, ...]
    unread: tuple[Unread, ...] = ()

"""Which atoms are near which, images in the next cells included."""

from typing import NamedTuple

import numpy as np

from unstir.core.errors import InputError
from unstir.domains.matter.elements import radius
from unstir.domains.matter.structures import Crystal

_AT_ONCE = 2_000_000  # pairs that are looked at in one piece
_ROUNDS = 100


class Near(NamedTuple):
    """Pairs of atoms: ``first`` and ``second``, int64 (pairs,), and the way from one to the other, float64 (pairs, 3).

    Every pair stands there twice, once from either side.
    """

    first: np.ndarray
    second: np.ndarray
    ways: np.ndarray

    @property
    def distances(self) -> np.ndarray:
        """In angstrom, (pairs,)."""
        return np.asarray(np.sqrt((self.ways**2).sum(-1)))


def near(crystal: Crystal, reach: float) -> Near:
    """All pairs of atoms at most ``reach`` angstrom apart, an atom and its own images among them.

    Raises InputError for a cell without volume.
    """
    if not np.isfinite(crystal.cell).all() or not crystal.volume > 1e-9:
        raise InputError(f"{crystal.source or 'a crystal'}: its cell has no volume, so that no distances are defined")
    cell, fractional = shortened(crystal.cell, crystal.fractional)
    # between its faces; a way along a lattice vector crosses as many of them
    spacing = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    most = np.floor(reach / spacing + 0.5).astype(int)
    steps = np.stack(np.meshgrid(*[np.arange(-each, each + 1) for each in most], indexing="ij"), -1).reshape(-1, 3)
    count = len(fractional)
    rows = max(1, _AT_ONCE // max(1, count * len(steps)))
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for start in range(0, count, rows):
        apart = fractional[None] - fractional[start : start + rows, None]
        ways = ((apart - np.round(apart))[:, :, None] + steps) @ cell
        squares = (ways**2).sum(-1)
        own = np.arange(start, min(start + rows, count))
        squares[own - start, own, len(steps) // 2] = np.inf  # an atom and itself
        first, second, image = np.nonzero(squares <= reach**2)
        found.append((first + start, second, ways[first, second, image]))
    parts = [np.concatenate(part) for part in zip(*found, strict=True)]
    return Near(parts[0], parts[1], parts[2])


def shortened(cell: np.ndarray, fractional: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same crystal with lattice vectors of which none becomes shorter by another's being taken from it."""
    cell = np.array(cell, dtype=np.float64)
    change = np.eye(3)
    for _ in range(_ROUNDS):
        before = change.copy()
        for one in np.argsort(-(cell**2).sum(1)):
            for other in range(3):
                if one != other:
                    times = np.round(cell[one] @ cell[other] / (cell[other] @ cell[other]))
                    # on the very edge rounding would go to and fro
                    if abs(cell[one] @ cell[other]) > (0.5 + 1e-9) * (cell[other] @ cell[other]):
                        cell[one] -= times * cell[other]
                        change[one] -= times * change[other]
        if (change == before).all():
            break
    return cell, np.asarray(fractional @ np.linalg.inv(change))


def closest(crystal: Crystal, reach: float) -> float:
    """The shortest distance between atoms in angstrom; ``reach`` where none is as near."""
    return float(min(near(crystal, reach).distances, default=reach))


def closest_by_radii(crystal: Crystal, reach: float) -> float:
    """The shortest distance in units of the sum of the two covalent radii; ``reach`` where none is as near."""
    numbers = crystal.numbers.tolist()
    radii = np.array([radius(max(number, 1)) for number in numbers])
    found = near(crystal, 2 * reach * float(radii.max()))
    ratios = found.distances / (radii[found.first] + radii[found.second])
    return float(min(ratios.min(initial=reach), reach))

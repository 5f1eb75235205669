"""What is wrong with a crystal before it is trained on."""

from collections.abc import Collection

import numpy as np

from unstir.domains.crystals.lattices import LARGEST, SMALLEST, sane
from unstir.domains.matter.elements import symbol_of
from unstir.domains.matter.structures import Crystal

CLOSEST = 0.5
"""Angstrom: atoms nearer to each other than this are a mistake of the file, whatever they are."""
_HEAVIEST = 118


def fault(crystal: Crystal, allowed: Collection[int] | None = None) -> str | None:
    """The reason why a crystal cannot be used, in words that say what to do; None for one that can.

    ``allowed``: the atomic numbers that it may hold, any element if None.
    """
    if not len(crystal):
        return "it has a cell, but no atoms"
    if not (np.isfinite(crystal.cell).all() and np.isfinite(crystal.fractional).all()):
        return "its cell or its coordinates are not finite numbers"
    if ((crystal.numbers < 1) | (crystal.numbers > _HEAVIEST)).any():
        wrong = sorted(set(crystal.numbers[(crystal.numbers < 1) | (crystal.numbers > _HEAVIEST)].tolist()))
        return f"there is no element of the atomic number {wrong[0]}"
    stretches = np.linalg.svd(crystal.cell, compute_uv=False)
    if crystal.volume < SMALLEST**3:
        return f"its cell has no volume to speak of: {crystal.volume:.3g} cubic angstrom"
    if crystal.volume > LARGEST**3:
        return f"its cell has a volume of {crystal.volume:.3g} cubic angstrom; are the lengths in another unit?"
    if not sane(stretches):
        return (
            f"its cell is {stretches[0]:.3g} angstrom across at its widest and {stretches[-1]:.3g} at its narrowest; "
            "choose shorter lattice vectors for it, as a Niggli reduction does"
        )
    if allowed is not None and (others := sorted(set(crystal.numbers.tolist()) - set(allowed))):
        return f"it holds {', '.join(map(symbol_of, others))}, which `data.elements` does not name"
    first, second, distance = closest(crystal.fractional, crystal.cell)
    if distance < CLOSEST:
        names = [f"{symbol_of(int(crystal.numbers[place]))} (site {place + 1})" for place in (first, second)]
        pair = f"{names[0]} and its own image" if first == second else " and ".join(names)
        return f"{pair} are {distance:.3g} angstrom apart; at least {CLOSEST:g} are needed"
    return None


def closest(fractional: np.ndarray, cell: np.ndarray, reach: float = CLOSEST) -> tuple[int, int, float]:
    """Two sites, or a site and an image of its own, that are nearer than ``reach`` (angstrom): which, and how near.

    The nearest two of all such, or (0, 0, inf). Exact in any cell, however oblique: along an axis whose planes are d
    apart only images within reach/d of a difference of coordinates can be that near.
    """
    away = fractional[:, None] - fractional[None]
    away = away - np.round(away)
    planes = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    images = [np.arange(-most, most + 1) for most in np.floor(reach / planes + 0.5).astype(int)]
    found = (0, 0, np.inf)
    for shift in np.stack(np.meshgrid(*images, indexing="ij"), -1).reshape(-1, 3):
        squares = (((away + shift) @ cell) ** 2).sum(-1)
        if not shift.any():
            np.fill_diagonal(squares, np.inf)
        place = int(squares.argmin())
        distance = float(np.sqrt(squares.flat[place]))
        if distance < min(reach, found[2]):
            found = (*divmod(place, len(fractional)), distance)
    return found

"""Atoms as balls and sticks, seen in perspective: what every picture of a structure is painted from, far to near."""

import colorsys
import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from unstir.core.errors import InputError
from unstir.domains.matter.elements import element, radius

BALL, STICK = 0.42, 0.12
"""Radius of a ball, of the covalent radius and 0.25 angstrom; radius of a stick in angstrom."""
_NEAR = 1.25  # of the sum of the covalent radii, for atoms that are told no bonds
_AWAY = 5.0  # how far the eye is, in extents of the scene
_FADE = 0.4  # how much of the ground's white the farthest has
_CUTS = 8  # pieces of an edge of the cell, so that it passes before and behind atoms
_COLOURS = {
    "H": "#f2f0ec",
    "B": "#e8a39a",
    "C": "#4f4b47",
    "N": "#2f5fd0",
    "O": "#d7301f",
    "F": "#74b84a",
    "Si": "#c9a36b",
    "P": "#ee7f1a",
    "S": "#e3bd13",
    "Cl": "#1f9e3a",
    "Se": "#d98c00",
    "Br": "#8f2a24",
    "I": "#7a1f8a",
}
EDGE = (0.55, 0.52, 0.48)
"""The colour of a cell's edges."""


class Piece(NamedTuple):
    """A ball about ``start``, or a stick or an edge from ``start`` to ``end``; on the screen, y upwards, in angstrom.

    ``width`` is a ball's radius, a stick's or an edge's half width; ``depth`` grows towards the eye; ``colour`` red,
    green and blue from 0 to 1, paler with the distance; ``atom`` whose it is, -1 for an edge.
    """

    kind: Literal["ball", "stick", "edge"]
    depth: float
    start: tuple[float, float]
    end: tuple[float, float]
    width: float
    colour: tuple[float, float, float]
    atom: int


@functools.cache
def colour(number: int) -> tuple[float, float, float]:
    """The colour of an element, red, green and blue from 0 to 1: the usual ones, for the others hues that part well.

    Grey for 0, an atom whose element is not known yet.
    """
    if number == 0:
        return (0.8, 0.78, 0.75)
    told = _COLOURS.get(element(number).symbol)
    if told is not None:
        return (int(told[1:3], 16) / 255, int(told[3:5], 16) / 255, int(told[5:7], 16) / 255)
    return colorsys.hls_to_rgb((number * 0.618034) % 1.0, 0.56, 0.48)


def ball(number: int) -> float:
    """The radius that an atom is drawn with, in angstrom."""
    return BALL * (radius(number or 6) + 0.25)


def sticks_of(positions: np.ndarray, numbers: np.ndarray, bonds: np.ndarray | Sequence | None) -> np.ndarray:
    """Bonds as rows (first, second, class of ``BOND_ORDERS``), int64 (m, 3).

    ``bonds`` is a table (n, n) of classes, a list of pairs (m, 2) or of pairs and classes (m, 3), or None: then atoms
    are joined that are nearer than 1.25 times the sum of their covalent radii. Raises InputError for other things.
    """
    count = len(numbers)
    if bonds is None:
        radii = np.array([radius(number) if number else 0.0 for number in numbers.tolist()])
        apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
        table = np.triu((apart < _NEAR * (radii[:, None] + radii[None])) & (apart > 0.1), 1)
        found = np.argwhere(table)
        return np.concatenate([found, np.ones((len(found), 1), dtype=np.int64)], 1)
    told = np.asarray(bonds, dtype=np.int64).reshape(-1, 2) if not len(bonds) else np.asarray(bonds, dtype=np.int64)
    if told.shape == (count, count) and (told == told.T).all() and not told.diagonal().any():
        found = np.argwhere(np.triu(told, 1))
        return np.concatenate([found, told[found[:, 0], found[:, 1]][:, None]], 1)
    if told.ndim != 2 or told.shape[1] not in (2, 3):
        raise InputError(f"bonds are a table ({count}, {count}) or pairs (m, 2) or (m, 3); seen {told.shape}")
    if told.size and (told[:, :2].min() < 0 or told[:, :2].max() >= count):
        raise InputError(f"a bond between atoms that are not there; atoms count from 0 to {count - 1}")
    return told if told.shape[1] == 3 else np.concatenate([told, np.ones((len(told), 1), dtype=np.int64)], 1)


def checked(positions: np.ndarray, numbers: np.ndarray, cell: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Positions as float64 (n, 3) and numbers as int64 (n,); InputError where they do not fit or are not finite."""
    places, known = np.asarray(positions, dtype=np.float64), np.asarray(numbers, dtype=np.int64)
    if not len(known) or places.shape != (len(known), 3):
        raise InputError(f"positions (n, 3) and numbers (n,) of one atom at least; seen {places.shape}, {known.shape}")
    if not np.isfinite(places).all():
        raise InputError("positions that are not finite cannot be drawn")
    if cell is not None and (np.shape(cell) != (3, 3) or not np.isfinite(cell).all()):
        raise InputError(f"a cell is three finite vectors, (3, 3); seen {np.shape(cell)}")
    return places, known


def oriented(positions: np.ndarray, cell: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions and cell about the middle, turned to be seen well, the third axis towards the eye.

    A molecule lies with its longest way across and its flattest away; a cell has its first vector to the right and its
    third upwards, and is seen a little from above and aside. Turned only, never mirrored.
    """
    if cell is not None:
        right = cell[0] / np.linalg.norm(cell[0])
        up = cell[2] - (cell[2] @ right) * right
        up = up / max(float(np.linalg.norm(up)), 1e-9)
        basis = np.stack([right, up, np.cross(right, up)], 1)
        turned = turn(0.45, 0.28)
        middle = cell.sum(0) / 2
        return (positions - middle) @ basis @ turned, cell @ basis @ turned
    centred = positions - positions.mean(0)
    _, _, axes = np.linalg.svd(np.concatenate([centred, np.zeros((3, 3))]), full_matrices=False)
    # signs by the third moments, so that the same molecule is always seen from the same side
    signs = np.where(((centred @ axes.T) ** 3).sum(0) < 0, -1.0, 1.0)
    axes = axes * signs[:, None]
    if np.linalg.det(axes) < 0:
        axes[2] *= -1
    return np.asarray(centred @ axes.T @ turn(0.0, 0.3)), None


def turn(about_up: float, about_right: float) -> np.ndarray:
    """A rotation to multiply rows with: about the upward axis, then about the one to the right; in radians."""
    c, s = np.cos(about_up), np.sin(about_up)
    d, r = np.cos(about_right), np.sin(about_right)
    first = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    return np.asarray(first @ np.array([[1, 0, 0], [0, d, r], [0, -r, d]]))


def pieces(
    positions: np.ndarray,
    numbers: np.ndarray,
    bonds: np.ndarray | Sequence | None = None,
    cell: np.ndarray | None = None,
    view: tuple[float, float] | None = (0.0, 0.0),
    extent: float | None = None,
) -> list[Piece]:
    """Balls and half sticks, each half in the colour of its atom, and the cell's edges; far to near, in perspective.

    ``view`` turns the scene further about the upward axis and the one to the right, in radians; None leaves the
    positions as they are, about their middle. ``extent`` in angstrom is what the eye takes the scene for, else its own.
    """
    positions, numbers = checked(positions, numbers, cell)
    sticks = sticks_of(positions, numbers, bonds)
    if view is None:
        placed, frame = positions, cell
    else:
        placed, frame = oriented(positions, cell)
        placed = placed @ turn(*view)
        frame = frame @ turn(*view) if frame is not None else None
    edges = _edges(frame) if frame is not None else np.zeros((0, 2, 3))
    every = np.concatenate([placed, edges.reshape(-1, 3)])
    size = extent or max(1.0, float(np.linalg.norm(every, axis=1).max()))
    low, high = float(every[:, 2].min()), float(every[:, 2].max())
    eye = _AWAY * size

    def seen(point: np.ndarray) -> tuple[tuple[float, float], float]:
        factor = eye / max(eye - point[2], 0.2 * eye)
        return (float(point[0] * factor), float(point[1] * factor)), factor

    def pale(rgb: tuple[float, float, float], depth: float) -> tuple[float, float, float]:
        share = _FADE * (high - depth) / (high - low) if high - low > 0.5 else 0.0
        return (rgb[0] + share * (1 - rgb[0]), rgb[1] + share * (1 - rgb[1]), rgb[2] + share * (1 - rgb[2]))

    found = []
    for place, (point, number) in enumerate(zip(placed, numbers.tolist(), strict=True)):
        at, factor = seen(point)
        found.append(
            Piece("ball", point[2], at, at, ball(number) * factor, pale(colour(number), float(point[2])), place)
        )
    for first, second, kind in sticks.tolist():
        for start, end, width in _lines(placed[first], placed[second], kind):
            middle = (start + end) / 2
            for atom, tip in ((first, start), (second, end)):
                way = middle - tip
                length = max(float(np.linalg.norm(way)), 1e-9)
                begin = tip + way * min(1.0, 0.8 * ball(int(numbers[atom])) / length)
                depth = float((begin[2] + middle[2]) / 2)
                (one, factor), (other, _) = seen(begin), seen(middle)
                tint = pale(colour(int(numbers[atom])), depth)
                found.append(Piece("stick", depth, one, other, width * factor, tint, atom))
    for start, end in edges:
        (one, factor), (other, _), depth = seen(start), seen(end), float((start[2] + end[2]) / 2)
        found.append(Piece("edge", depth, one, other, 0.03 * factor, pale(EDGE, depth), -1))
    return sorted(found, key=lambda piece: piece.depth)


def legend(numbers: np.ndarray) -> list[tuple[str, tuple[float, float, float]]]:
    """The elements that are there, by rising number, each with its colour."""
    present = sorted(set(np.asarray(numbers).tolist()))
    return [(element(number).symbol if number else "?", colour(number)) for number in present]


def _lines(start: np.ndarray, end: np.ndarray, kind: int) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """A bond as one to three parallel lines beside each other on the screen; an aromatic one as a thick and a thin."""
    if kind <= 1:
        return [(start, end, STICK)]
    way = end - start
    aside = np.array([-way[1], way[0], 0.0])
    length = float(np.linalg.norm(aside))
    aside = aside / length if length > 1e-6 else np.array([1.0, 0.0, 0.0])
    told = {2: ((-0.12, 0.085), (0.12, 0.085)), 3: ((-0.19, 0.07), (0.0, 0.07), (0.19, 0.07))}
    both = told.get(kind, ((-0.09, STICK), (0.17, 0.045)))
    return [(start + shift * aside, end + shift * aside, width) for shift, width in both]


def _edges(cell: np.ndarray) -> np.ndarray:
    """The twelve edges of a cell about its middle, in pieces, (12 cuts, 2, 3)."""
    found = []
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        for first in (0, 1):
            for second in (0, 1):
                begin = first * cell[others[0]] + second * cell[others[1]] - cell.sum(0) / 2
                marks = begin + np.linspace(0, 1, _CUTS + 1)[:, None] * cell[axis]
                found.append(np.stack([marks[:-1], marks[1:]], 1))
    return np.concatenate(found)

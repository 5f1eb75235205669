r"""Cells as six free numbers that know of no rotation, and back.

A cell L has its lattice vectors as rows. Turning the crystal, L to :math:`L R^\top`, leaves
:math:`S = (L L^\top)^{1/2}` as it is, and every symmetric matrix is the logarithm of one such S. So the six numbers of
:math:`\log S` may take any values, noise and a network's mistakes included, and always stand for a right-handed cell of
positive volume.
:math:`\frac13\log n` is taken from the diagonal, whose sum is then the logarithm of the volume per atom.

Reference: Jiao et al., Space group constrained crystal generation (2024), section 4.1, for the matrix logarithm.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from unstir.core.errors import InputError

SMALLEST, LARGEST = 1.0, 100.0
"""The least and the largest cube root of a cell's volume that is told, in angstrom."""
OBLIQUE = 30.0
"""The factor by which a stretch of the cell (a singular value of L) may differ from that."""
_SLACK = 1e-9  # of logarithms, so that what has been brought to the bounds counts as within them
_FIRST = np.array([0, 1, 2, 1, 0, 0])  # xx, yy, zz, yz, xz, xy
_SECOND = np.array([0, 1, 2, 2, 2, 1])


def log_cells(cells: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The six numbers of log S, less log(n)/3 on the diagonal, in the order xx, yy, zz, yz, xz, xy.

    ``cells`` float64 (rows, 3, 3) in angstrom, ``sizes`` (rows,): the numbers n of their atoms. Returns float64 (rows,
    6). Raises InputError for a cell that is flatter or wider than can be told.
    """
    cells = np.asarray(cells, dtype=np.float64)
    squares, axes = np.linalg.eigh(cells @ cells.swapaxes(-1, -2))
    stretches = np.sqrt(np.clip(squares, 0, None))
    if (wrong := ~sane(stretches)).any():
        raise InputError(
            f"the cube root of a cell's volume must be {SMALLEST:g} to {LARGEST:g} angstrom, and no direction "
            f"{OBLIQUE:g} times narrower or wider than that; cell {int(np.argmax(wrong))} measures "
            f"{stretches[np.argmax(wrong)].round(4).tolist()}"
        )
    logs = (axes * np.log(stretches)[..., None, :]) @ axes.swapaxes(-1, -2)
    found = logs[..., _FIRST, _SECOND]
    found[..., :3] -= np.log(np.asarray(sizes, dtype=np.float64))[..., None] / 3
    return np.asarray(found)


def sane(stretches: np.ndarray) -> np.ndarray:
    """Which cells of these stretches (singular values), (..., 3), can be told; boolean (...)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(stretches)
        middle = logs.mean(-1)
        apart = np.abs(logs - middle[..., None]).max(-1) - np.log(OBLIQUE)
        beyond = np.maximum(np.log(SMALLEST) - middle, middle - np.log(LARGEST))
    return np.asarray(np.maximum(apart, beyond) < _SLACK)


def cells_of(numbers: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The cells that six such numbers (rows, 6) stand for, float64 (rows, 3, 3) in angstrom.

    In the standard orientation: the first vector along x, the second in the plane of x and y, right-handed. Any finite
    numbers give a cell: a volume beyond what ``log_cells`` takes is brought to its bounds, and stretches that lie too
    far apart are drawn together at the same volume.
    """
    numbers = np.asarray(numbers, dtype=np.float64)
    logs = np.empty((*numbers.shape[:-1], 3, 3))
    logs[..., _FIRST, _SECOND] = logs[..., _SECOND, _FIRST] = np.clip(numbers, -1e6, 1e6)
    stretches, axes = np.linalg.eigh(logs)
    stretches += np.log(np.asarray(sizes, dtype=np.float64))[..., None] / 3
    middle = stretches.mean(-1, keepdims=True)
    apart = stretches - middle
    widest = np.maximum(np.abs(apart).max(-1, keepdims=True), np.log(OBLIQUE))
    stretches = np.exp(np.clip(middle, np.log(SMALLEST), np.log(LARGEST)) + apart * (np.log(OBLIQUE) / widest))
    return lower((axes * stretches[..., None, :]) @ axes.swapaxes(-1, -2))


def lower(cells: np.ndarray) -> np.ndarray:
    """Right-handed cells (..., 3, 3) turned to the standard orientation: lower triangular with a positive diagonal."""
    _, upper = np.linalg.qr(np.asarray(cells, dtype=np.float64).swapaxes(-1, -2))
    triangle = upper.swapaxes(-1, -2)
    signs = np.where(np.diagonal(triangle, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return np.asarray(np.tril(triangle * signs[..., None, :]))


def right_handed(cell: np.ndarray, fractional: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same crystal in a right-handed cell; where the cell is not, all of its vectors are turned round."""
    return (-cell, -fractional) if np.linalg.det(cell) < 0 else (cell, fractional)


def wrapped(fractional: np.ndarray) -> np.ndarray:
    """Fractional coordinates in [0, 1), float64; what lies within rounding below one counts as zero."""
    found = np.asarray(fractional, dtype=np.float64) % 1.0
    return np.asarray(np.where(found >= 1.0 - 1e-9, 0.0, found))


def answer_of(question: Callable[[], Any]) -> Any:
    """The answer of spglib to a question, or None where it has none, whichever way its version says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return question()
        except Exception as error:
            if "spglib" in type(error).__module__.lower():
                return None
            raise

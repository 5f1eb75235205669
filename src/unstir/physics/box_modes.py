r"""Eigenfunctions of the Laplacian on a box, and the fast transforms to and from them.

A grid of shape (n_1, ..., n_d) on the box [0, L_1] x ... x [0, L_d] has its values at the cell centres
x_i = (i + 1/2) L/n. There the eigenfunctions of every wall are an orthonormal basis, real and of the grid's own
shape: sines (DST-II) between walls held at zero, cosines (DCT-II) between insulated ones, the half-integer ones
(DST-IV, DCT-IV) between unlike walls, and sines and cosines in pairs where the axis is periodic.

Reference: Strang, The discrete cosine transform, SIAM Review 41 (1999).
"""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy import fft

from unstir.core.errors import InputError
from unstir.physics.heat_boundaries import wall_kinds
from unstir.physics.units import dimensions

__all__ = ["laplacian_eigenvalues"]

_TRANSFORMS = {
    "dirichlet": (fft.dst, fft.idst, 2),
    "neumann": (fft.dct, fft.idct, 2),
    "dirichlet-neumann": (fft.dst, fft.idst, 4),
    "neumann-dirichlet": (fft.dct, fft.idct, 4),
}


@dimensions(returns="1/length**2", lengths="length")
def laplacian_eigenvalues(
    shape: int | Sequence[int], lengths: Any = 1.0, boundary: Any = "neumann", discrete: bool = False
) -> Float64[np.ndarray, "..."]:
    r"""Eigenvalues of the negative Laplacian on a box, in the order of ``to_modes``.

    -∇²φ = λφ with λ = sum_a k_a²: k = πm/L for walls of one kind (m from 1 if held at zero, from 0 if insulated),
    (m + 1/2)π/L for unlike walls, and 2πm/L, each twice, for a periodic axis. ``discrete`` gives those of the
    second difference on the cell-centred grid instead, (2/h)² sin²(kh/2).

    ``lengths``: of the box, one number or one an axis [length]. Returns an array of ``shape`` [1/length²].

    Reference: Strang, The discrete cosine transform, SIAM Review 41 (1999).
    """
    shape, lengths = box(shape, lengths)
    return decay_rates(shape, lengths, wall_kinds(boundary, len(shape)), np.ones(len(shape)), discrete)


def decay_rates(
    shape: tuple[int, ...], lengths: np.ndarray, kinds: Sequence[str], diffusivity: np.ndarray, discrete: bool = False
) -> np.ndarray:
    """sum_a D_a k_a² for every mode, an array of ``shape``."""
    rates = np.zeros(shape)
    for axis, (count, length, kind) in enumerate(zip(shape, lengths, kinds, strict=True)):
        numbers = wavenumbers(count, length, kind)
        if discrete:
            spacing = length / count
            numbers = 2 / spacing * np.sin(numbers * spacing / 2)
        place = [1] * len(shape)
        place[axis] = count
        rates += diffusivity[axis] * (numbers**2).reshape(place)
    return rates


def wavenumbers(count: int, length: float, kind: str) -> np.ndarray:
    """The wavenumbers k of an axis's modes, shape (count,)."""
    index = np.arange(count)
    if kind == "periodic":
        return 2 * math.pi / length * ((index + 1) // 2)
    return math.pi / length * (index + {"dirichlet": 1.0, "neumann": 0.0}.get(kind, 0.5))


def to_modes(values: np.ndarray, kinds: Sequence[str]) -> np.ndarray:
    """Coefficients of the orthonormal modes, over the last axes; the shape stays, and so does the sum of squares."""
    coefficients = np.asarray(values, dtype=np.float64)
    for axis, kind in enumerate(kinds, start=-len(kinds)):
        if kind == "periodic":
            coefficients = _to_periodic(coefficients, axis)
        else:
            forward, _, number = _TRANSFORMS[kind]
            coefficients = forward(coefficients, type=number, axis=axis, norm="ortho")
    return coefficients


def from_modes(coefficients: np.ndarray, kinds: Sequence[str]) -> np.ndarray:
    """Values at the cell centres from coefficients of the modes: the inverse of ``to_modes``, and its transpose."""
    values = np.asarray(coefficients, dtype=np.float64)
    for axis, kind in enumerate(kinds, start=-len(kinds)):
        if kind == "periodic":
            values = _from_periodic(values, axis)
        else:
            _, backward, number = _TRANSFORMS[kind]
            values = backward(values, type=number, axis=axis, norm="ortho")
    return values


def mode_functions(x: np.ndarray, count: int, length: float, kind: str, derivative: bool = False) -> np.ndarray:
    """The modes of an axis, or their first derivatives, at any places x (m,); shape (m, count)."""
    numbers = wavenumbers(count, length, kind)
    sines = np.full(count, kind.startswith("dirichlet"))
    norms = np.full(count, math.sqrt(2 / count))
    if kind == "periodic":
        sines = np.arange(count) % 2 == 0
        sines[-1] |= count % 2 == 0  # at cell centres only the sine of the highest frequency is seen
        norms[-1] = math.sqrt(1 / count) if count % 2 == 0 else norms[-1]
    norms[numbers == 0] = math.sqrt(1 / count)
    if kind == "dirichlet":
        norms[-1] = math.sqrt(1 / count)
    sines &= numbers > 0
    angle = np.asarray(x)[:, None] * numbers
    if derivative:
        return norms * numbers * np.where(sines, np.cos(angle), -np.sin(angle))
    return norms * np.where(sines, np.sin(angle), np.cos(angle))


def box(shape: Any, lengths: Any) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and lengths of a box's grid, looked at."""
    try:
        shape = (shape,) if isinstance(shape, int) else tuple(operator.index(count) for count in shape)
    except TypeError:
        raise InputError(f"a grid's shape is a sequence of whole numbers, such as (64, 64); seen {shape!r}") from None
    if not shape or min(shape) < 1:
        raise InputError(f"a grid needs at least one cell along each of its axes; seen the shape {shape}")
    return shape, box_lengths(lengths, len(shape))


def box_lengths(lengths: Any, dimension: int) -> np.ndarray:
    """The lengths of a box, one number an axis (dimension,)."""
    given = np.asarray(lengths, dtype=np.float64)
    if given.shape not in ((), (dimension,)) or not np.all((given > 0) & np.isfinite(given)):
        raise InputError(f"a box has one positive length, or one for each of its {dimension} axes; seen {lengths!r}")
    return np.broadcast_to(given, (dimension,)).copy()


def axis_diffusivity(diffusivity: Any, dimension: int) -> np.ndarray:
    """Constant diffusivities along the axes (dimension,)."""
    given = np.asarray(diffusivity, dtype=np.float64)
    if given.shape not in ((), (dimension,)) or not np.all((given > 0) & np.isfinite(given)):
        raise InputError(
            f"one positive diffusivity, or one for each of the {dimension} axes, is needed here; seen {diffusivity!r}; "
            "finite differences and finite elements take tensors and functions of place"
        )
    return np.broadcast_to(given, (dimension,)).copy()


def cell_centres(shape: int | Sequence[int], lengths: Any) -> np.ndarray:
    """The points of a grid, (*shape, d)."""
    shape, lengths = box(shape, lengths)
    axes = [(np.arange(count) + 0.5) * length / count for count, length in zip(shape, lengths, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def on_cells(given: Any, shape: tuple[int, ...], lengths: np.ndarray, what: str) -> np.ndarray:
    """Values at the cell centres, from an array of the grid's shape, a number, or a function of the points."""
    values = np.asarray(given(cell_centres(shape, lengths)) if callable(given) else given, dtype=np.float64)
    if values.shape not in ((), shape):
        raise InputError(f"{what}: values of the grid's shape {shape} are needed; seen the shape {values.shape}")
    if not np.isfinite(values).all():
        raise InputError(f"{what}: every value must be finite")
    return np.broadcast_to(values, shape)


def _to_periodic(values: np.ndarray, axis: int) -> np.ndarray:
    count = values.shape[axis]
    waves = np.moveaxis(fft.rfft(values, axis=axis, norm="ortho"), axis, -1)
    # the transform counts from the first cell's centre, the modes from the wall
    waves = waves * np.exp(-1j * math.pi / count * np.arange(waves.shape[-1]))
    packed = np.empty((*waves.shape[:-1], count))
    packed[..., 0] = waves[..., 0].real
    packed[..., 1::2] = math.sqrt(2) * waves[..., 1:].real[..., : count // 2]
    packed[..., 2::2] = -math.sqrt(2) * waves[..., 1 : (count + 1) // 2].imag
    if count % 2 == 0:
        packed[..., -1] = -waves[..., -1].imag
    return np.moveaxis(packed, -1, axis)


def _from_periodic(packed: np.ndarray, axis: int) -> np.ndarray:
    packed = np.moveaxis(packed, axis, -1)
    count = packed.shape[-1]
    waves = np.zeros((*packed.shape[:-1], count // 2 + 1), dtype=np.complex128)
    pairs = (count - 1) // 2
    waves[..., 0] = packed[..., 0]
    waves[..., 1 : pairs + 1] = packed[..., 1 : 2 * pairs : 2] / math.sqrt(2)
    waves[..., 1 : pairs + 1] -= 1j * packed[..., 2 : 2 * pairs + 1 : 2] / math.sqrt(2)
    if count % 2 == 0:
        waves[..., -1] = -1j * packed[..., -1]
    waves = waves * np.exp(1j * math.pi / count * np.arange(waves.shape[-1]))
    return np.moveaxis(fft.irfft(waves, n=count, axis=-1, norm="ortho"), -1, axis)

"""Triangle meshes to begin with; any mesh of scikit-fem serves ``FiniteElementHeat``, so any that meshio reads."""

from typing import Any

import numpy as np

from unstir.core.errors import InputError, NotInstalledError


def fem() -> Any:
    """The module ``skfem``."""
    try:
        import skfem
    except ImportError as error:
        raise NotInstalledError("scikit-fem", "physics", "the finite element solver of the heat equation") from error
    return skfem


def rectangle_mesh(lengths: tuple[float | int, float | int], cells: tuple[int, int]) -> Any:
    """[0, L_1] x [0, L_2] in cells of two triangles; the boundaries ``left``, ``right``, ``bottom`` and ``top``."""
    if min(lengths) <= 0 or min(cells) < 1:
        raise InputError(f"a rectangle has positive lengths and at least one cell a side; seen {lengths} and {cells}")
    sides = (np.linspace(0.0, length, count + 1) for length, count in zip(lengths, cells, strict=True))
    return fem().MeshTri.init_tensor(*sides).with_defaults()


def disc_mesh(radius: float | int = 1.0, refinements: int = 4) -> Any:
    """A disc about the origin, its rim a polygon of 4·2^refinements corners on the circle."""
    if radius <= 0 or refinements < 0:
        raise InputError(f"a disc has a positive radius and refinements from 0 up; seen {radius} and {refinements}")
    return fem().MeshTri.init_circle(refinements).scaled(float(radius))


def l_shape_mesh(size: float | int = 1.0, refinements: int = 4) -> Any:
    """A square of side 2·size about the origin less one quadrant; its inner corner is where gradients are unbounded."""
    if size <= 0 or refinements < 0:
        raise InputError(f"an L-shape has a positive size and refinements from 0 up; seen {size} and {refinements}")
    return fem().MeshTri.init_lshaped().refined(refinements).scaled(float(size))

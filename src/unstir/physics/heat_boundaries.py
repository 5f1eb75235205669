"""What happens at the walls of a box or at the rim of a mesh, as the heat solvers of this room take it.

A boundary is a ``Dirichlet``, ``Neumann`` or ``Robin`` object, or one of the words ``"dirichlet"`` (held at zero),
``"neumann"`` (insulated) and ``"periodic"``. A box takes one for all of its walls, or one for each axis, or for an
axis a pair (low wall, high wall); in one dimension a plain pair is its two ends.

What is given to a wall may be a number, or a function ``(points (..., d), t) -> (...)``. Functions compute in
base units and see plain numbers, also where the other arguments carry units.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from unstir.core.errors import InputError, unknown
from unstir.physics.units import dimensions


@dimensions(value="value")
@dataclass(frozen=True)
class Dirichlet:
    """The field has this value at the wall."""

    value: Any = 0.0


@dimensions(flux="value*length/time")
@dataclass(frozen=True)
class Neumann:
    """This flux leaves through the wall: n·J = -n·D∇u; zero insulates."""

    flux: Any = 0.0


@dimensions(transfer="length/time", ambient="value")
@dataclass(frozen=True)
class Robin:
    """The wall leaks in proportion to its difference from outside: n·J = transfer (u - ambient)."""

    transfer: Any
    ambient: Any = 0.0

    def __post_init__(self) -> None:
        if not (np.isscalar(self.transfer) or np.ndim(self.transfer) == 0) or not 0 <= float(self.transfer) < np.inf:
            raise InputError(f"a wall's transfer coefficient is a number from 0 up; seen {self.transfer!r}")


Wall: TypeAlias = Dirichlet | Neumann | Robin | None  # None: periodic
Ends: TypeAlias = tuple[Wall, Wall]
_WORDS: dict[str, Callable[[], Wall]] = {"dirichlet": Dirichlet, "neumann": Neumann, "periodic": lambda: None}


def walls_of(boundary: Any, dimension: int) -> tuple[Ends, ...]:
    """The walls (low, high) of each axis; None stands for both ends of a periodic one."""
    if dimension == 1 and isinstance(boundary, Sequence) and not isinstance(boundary, str) and len(boundary) == 2:
        boundary = (tuple(boundary),)
    if isinstance(boundary, str) or not isinstance(boundary, Sequence):
        boundary = (boundary,) * dimension
    if len(boundary) != dimension:
        raise InputError(f"one boundary, or one for each of the {dimension} axes, is needed; seen {boundary!r}")
    return tuple(_ends(given) for given in boundary)


def wall_kinds(boundary: Any, dimension: int) -> tuple[str, ...]:
    """The name of each axis's modes: ``dirichlet``, ``neumann``, ``periodic``, ``dirichlet-neumann``, or the reverse.

    Raises InputError for walls that have no eigenfunctions of this form (leaking, or held at something but zero).
    """
    return tuple(
        "-".join(dict.fromkeys(map(_homogeneous, ends))) if ends[0] is not None else "periodic"
        for ends in walls_of(boundary, dimension)
    )


def wall_of(given: Any) -> Wall:
    """One wall from an object or a word."""
    if isinstance(given, str):
        if given not in _WORDS:
            raise unknown("boundary", given, _WORDS)
        return _WORDS[given]()
    if not isinstance(given, Dirichlet | Neumann | Robin):
        raise InputError(
            f"a boundary is Dirichlet(value), Neumann(flux), Robin(transfer, ambient) or one of the words "
            f"{', '.join(_WORDS)}; seen {given!r}"
        )
    return given


def _ends(given: Any) -> Ends:
    if isinstance(given, str) or not isinstance(given, Sequence):
        return wall_of(given), wall_of(given)
    if len(given) != 2:
        raise InputError(f"an axis has two walls (low, high); seen {given!r}")
    low, high = wall_of(given[0]), wall_of(given[1])
    if (low is None) != (high is None):
        raise InputError(f"an axis is periodic at both of its ends or at neither; seen {given!r}")
    return low, high


def _homogeneous(wall: Wall) -> str:
    given = wall.value if isinstance(wall, Dirichlet) else wall.flux if isinstance(wall, Neumann) else None
    if given is None or callable(given) or np.any(np.asarray(given) != 0):
        raise InputError(
            f"modes of a box need walls held at zero, insulated or periodic; seen {wall!r}; "
            "finite differences take every wall"
        )
    return "dirichlet" if isinstance(wall, Dirichlet) else "neumann"

r"""The orbits of a space group: which places follow from which, and what of them is free.

An operation (W, w) of the group takes the fractional coordinates x to :math:`Wx+w`. A site's own symmetries leave it in
an affine subspace :math:`x = b + Au` modulo one, with as many free numbers u as it has freedom (none at a special
point, three in a general position); A is a matrix of whole numbers among whose rows are those of the unit matrix, so
that u are some of the site's own coordinates. The site's orbit is
:math:`x_i = W_i(b+Au)+w_i`, one place for each coset of its symmetries.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from unstir.core.errors import InputError
from unstir.domains.crystals.lattices import cells_of, log_cells, wrapped
from unstir.domains.crystals.tasks.conditions import SYMPREC, dataset_of, group_symbols, spglib_says
from unstir.domains.matter.elements import number_of
from unstir.domains.matter.structures import Crystal

_SAME = 1e-4  # of the cell: nearer places are one


@dataclass(frozen=True, eq=False)
class Orbit:
    """One orbit of m sites with f free numbers, occupied by one element.

    ``origins`` float64 (m, 3) and ``directions`` whole (m, 3, f): site i lies at ``origins[i] + directions[i] @ u``.
    Each operation g of the group takes the first site to the one numbered ``sites[g]``, whole (g,), and back from that
    one's place x it tells u as ``backward[g] @ x + offsets[g]`` modulo one, whole (g, f, 3) and (g, f). Of a symmetric
    place all say the same; of another one they are as many opinions, which an operation exchanges among each other.
    ``number`` is the atomic number, 0 where it is yet to be found; ``letter`` Wyckoff's.
    """

    letter: str
    number: int
    origins: np.ndarray
    directions: np.ndarray
    sites: np.ndarray
    backward: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def free(self) -> int:
        """How many numbers are free."""
        return self.directions.shape[2]


@dataclass(frozen=True, eq=False)
class Template:
    """A space group in its conventional cell, and which of its orbits are occupied.

    ``rotations`` whole (g, 3, 3) and ``translations`` (g, 3): the operations, those of centring among them.
    """

    group: int
    rotations: np.ndarray
    translations: np.ndarray
    orbits: tuple[Orbit, ...]
    name: str = ""

    def __len__(self) -> int:
        return sum(len(orbit) for orbit in self.orbits)

    @property
    def free(self) -> int:
        """How many numbers of the sites are free."""
        return sum(orbit.free for orbit in self.orbits)

    @property
    def owners(self) -> np.ndarray:
        """The orbit of each site, int64 (n,)."""
        return np.repeat(np.arange(len(self.orbits)), [len(orbit) for orbit in self.orbits])

    @property
    def numbers(self) -> np.ndarray:
        """The atomic number of each site, int64 (n,)."""
        return np.array([orbit.number for orbit in self.orbits], dtype=np.int64)[self.owners]

    @property
    def letters(self) -> str:
        """Multiplicities and letters of the orbits, "1a 1b 3c"."""
        return " ".join(f"{len(orbit)}{orbit.letter}" for orbit in self.orbits)

    def with_elements(self, symbols: Sequence[str]) -> "Template":
        """The same with an element for each orbit."""
        if len(symbols) != len(self.orbits):
            raise InputError(f"{len(self.orbits)} orbits ({self.letters}) need as many elements; seen {list(symbols)}")
        return replace(
            self,
            orbits=tuple(
                replace(orbit, number=number_of(symbol)) for orbit, symbol in zip(self.orbits, symbols, strict=True)
            ),
        )

    def places(self, free: np.ndarray) -> np.ndarray:
        """Free numbers (rows, f) to fractional coordinates of all sites, float64 (rows, n, 3) in [0, 1)."""
        found, start = [], 0
        for orbit in self.orbits:
            own = free[:, start : start + orbit.free]
            found.append(orbit.origins + np.einsum("mcf,rf->rmc", orbit.directions, own))
            start += orbit.free
        return np.asarray(wrapped(np.concatenate(found, 1)))

    def project(self, fractional: np.ndarray) -> np.ndarray:
        """The nearest symmetric places of sites (rows, n, 3) in the template's order, float64 (rows, n, 3).

        Each orbit's free numbers are the circular means of what the operations say of them. Symmetric places stay as
        they are, and an operation of the group applied before is one applied after.
        """
        found, start = [], 0
        for orbit in self.orbits:
            own = fractional[:, start : start + len(orbit)]
            told = np.einsum("gfc,rgc->rgf", orbit.backward, own[:, orbit.sites]) + orbit.offsets
            found.append(np.angle(np.exp(2j * np.pi * told).mean(1)) / (2 * np.pi))
            start += len(orbit)
        return self.places(np.concatenate(found, 1))

    def lattice_space(self) -> tuple[np.ndarray, np.ndarray]:
        """The affine space of the six numbers of a cell (``lattices``) that the group leaves as it is.

        Returns a point of it, float64 (6,), and orthonormal directions, (6, k): triclinic cells have six, cubic one.
        Raises InputError for a cell in which these numbers lie in no affine space: other than the conventional one.
        """
        return lattice_space_of(self.rotations)

    def keeps(self, crystal: Crystal, symprec: float = 1e-3) -> bool:
        """Whether all operations of the group are among those that spglib finds, within ``symprec`` angstrom."""
        found = dataset_of(crystal, symprec)
        shifts = np.asarray(found.translations)
        for rotation, translation in zip(self.rotations, self.translations, strict=True):
            alike = (np.asarray(found.rotations) == rotation).all((1, 2))
            away = shifts[alike] - translation
            distances = np.linalg.norm((away - np.round(away)) @ crystal.cell, axis=1)
            if not (distances < 10 * symprec).any():  # spglib allows itself as much between two atoms
                return False
        return True


def template_of(crystal: Crystal, symprec: float = SYMPREC) -> Template:
    """The template of a crystal: its space group by spglib and its occupied orbits, in the conventional cell.

    Raises InputError where spglib finds no symmetry within ``symprec`` angstrom.
    """
    found = dataset_of(crystal, symprec)
    rotations, translations = operations(int(found.hall_number))
    places, numbers = np.asarray(found.std_positions), np.asarray(found.std_types)
    letters = _standard_letters(found)
    left = list(range(len(places)))
    orbits = []
    while left:
        # spglib's precision is that of the file; the orbit is exact
        orbit = orbit_of(
            places[left[0]], rotations, translations, letters[left[0]], int(numbers[left[0]]), 10 * symprec
        )
        images = orbit.origins + orbit.directions @ _free(orbit, places[left[0]])
        inside = [site for site in left if nearest(places[site], images) < 0.02 and numbers[site] == orbit.number]
        if len(inside) != len(orbit):
            raise InputError(
                f"{crystal.source or 'a crystal'}: its sites do not fill the orbits of space group {found.number} that "
                f"spglib finds within {symprec:g} angstrom; take another precision"
            )
        orbits.append(orbit)
        left = [site for site in left if site not in inside]
    return Template(int(found.number), rotations, translations, tuple(orbits), crystal.name or crystal.source)


def cell_freedom(template: Template, crystal: Crystal) -> np.ndarray:
    """The conventional cell of a crystal as free numbers of its template's lattice, float64 (k,)."""
    origin, directions = template.lattice_space()
    cell = np.asarray(dataset_of(crystal).std_lattice)
    return np.asarray((log_cells(cell[None], np.ones(1))[0] - origin) @ directions)


@functools.cache
def operations(hall: int) -> tuple[np.ndarray, np.ndarray]:
    """The operations of a space group's setting by spglib: whole (g, 3, 3), and float64 (g, 3)."""
    found = spglib_says(lambda spglib: spglib.get_symmetry_from_database(hall))
    return np.asarray(found["rotations"], dtype=np.int64), np.asarray(found["translations"], dtype=np.float64)


@functools.cache
def standard_hall(group: int) -> int:
    """The number of the setting that spglib takes for a space group's standard one."""
    for hall in range(1, 531):
        if spglib_says(lambda spglib, hall=hall: spglib.get_spacegroup_type(hall)).number == group:
            return hall
    raise InputError(f"space groups have the numbers 1 to {len(group_symbols())}; seen {group}")


def orbit_of(
    place: np.ndarray,
    rotations: np.ndarray,
    translations: np.ndarray,
    letter: str = "",
    number: int = 0,
    tolerance: float = _SAME,
) -> Orbit:
    """The orbit of a place (3,); what leaves it within ``tolerance`` (of the cell) is taken for its own symmetry."""
    images = np.einsum("gij,j->gi", rotations, place) + translations
    away = images - place
    own = np.abs(away - np.round(away)).max(1) < tolerance
    # the rows of (W - 1) b = n - w hold for all of the site's own symmetries at once
    equations = (rotations[own] - np.eye(3)).reshape(-1, 3)
    sides = (np.round(away[own]) - translations[own]).reshape(-1)
    directions, rows = _directions(equations)
    fixed = [axis for axis in range(3) if axis not in rows]
    origin = np.zeros(3)
    if fixed:
        origin[fixed] = np.linalg.lstsq(equations[:, fixed], sides, rcond=None)[0]
    if np.abs(equations @ origin - sides).max(initial=0) > 1e-6:
        raise InputError(f"the place {place.round(4).tolist()} has no site symmetry within {tolerance:g} of the cell")
    exact = origin + directions @ place[rows]
    chosen: list[int] = []
    sites = np.zeros(len(rotations), dtype=np.int64)
    images = rotations @ exact + translations
    for operation, image in enumerate(images):
        away = images[chosen] - image
        alike = np.flatnonzero(np.abs(away - np.round(away)).max(1) < _SAME)
        sites[operation] = alike[0] if len(alike) else len(chosen)
        if not len(alike):
            chosen.append(operation)
    turned, moved = rotations[chosen], translations[chosen]
    inverse = np.round(np.linalg.inv(rotations)).astype(np.int64)
    return Orbit(
        letter,
        number,
        turned @ origin + moved,
        turned @ directions,
        sites,
        inverse[:, rows],
        -np.einsum("gij,gj->gi", inverse, translations)[:, rows],
    )


def _directions(equations: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Whole directions (3, f) of what the equations (k, 3) leave free, and their rows that are the unit matrix."""
    _, sizes, axes = np.linalg.svd(np.concatenate((equations, np.zeros((3, 3)))))
    free = axes[sizes < 1e-6].T
    count = free.shape[1]
    for rows in combinations(range(3), count):
        square = free[list(rows)]
        if count and abs(np.linalg.det(square)) < 1e-6:
            continue
        told = free @ np.linalg.inv(square) if count else free
        if np.abs(told - np.round(told)).max(initial=0) < 1e-6:
            return np.round(told).astype(np.int64), list(rows)
    raise InputError("these operations are not those of a lattice")


def _free(orbit: Orbit, place: np.ndarray) -> np.ndarray:
    return orbit.backward[0] @ place + orbit.offsets[0]


def nearest(place: np.ndarray, others: np.ndarray) -> float:
    """How far the nearest of other places (m, 3) is, along the axis where it is farthest, in parts of the cell."""
    away = others - place
    return float(np.abs(away - np.round(away)).max(1).min())


def _standard_letters(found: Any) -> list[str]:
    """Wyckoff's letters of the conventional cell's sites, by the sites of the primitive one that both map to."""
    primitive = dict(zip(np.asarray(found.mapping_to_primitive).tolist(), found.wyckoffs, strict=True))
    return [primitive[site] for site in np.asarray(found.std_mapping_to_primitive).tolist()]


def lattice_space_of(rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``Template.lattice_space`` of operations without a template."""
    # the mean over the group of any metric is one that the group leaves as it is: W^T G W = G
    draws = np.random.Generator(np.random.Philox(0)).standard_normal((16, 3, 3))
    metrics = draws @ draws.swapaxes(1, 2) + 3 * np.eye(3)
    metrics = np.einsum("gji,rjk,gkl->ril", rotations, metrics, rotations) / len(rotations)
    numbers = log_cells(np.linalg.cholesky(metrics), np.ones(len(metrics)))
    centre = numbers.mean(0)
    _, sizes, axes = np.linalg.svd(numbers - centre)
    directions = axes[: (sizes > 1e-8).sum()].T
    flat = np.einsum("rij->rij", metrics).reshape(len(metrics), 9)
    if directions.shape[1] != np.linalg.matrix_rank(flat, tol=1e-8):
        raise InputError("cells of a given symmetry lie in no affine space here; take the group's conventional cell")
    return centre - directions @ (directions.T @ centre), directions


def symmetric_cells(template: Template, free: np.ndarray) -> np.ndarray:
    """The cells, float64 (rows, 3, 3) in angstrom, of free numbers (rows, k) of the template's lattice."""
    origin, directions = template.lattice_space()
    return cells_of(origin + free @ directions.T, np.ones(len(free)))


def crystal_of(template: Template, free: np.ndarray, cell: np.ndarray) -> Crystal:
    """The crystal of free numbers (f,) and a cell (3, 3)."""
    return Crystal(template.numbers, template.places(free[None])[0], cell, {}, template.name)

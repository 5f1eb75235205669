"""Wyckoff's positions of a space group, found from its operations, and templates made of their letters."""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from unstir.core.errors import InputError, suggest, unknown
from unstir.domains.crystals.lattices import cells_of
from unstir.domains.crystals.tasks.conditions import dataset_of, group_number, group_symbols
from unstir.domains.crystals.tasks.wyckoff import (
    Orbit,
    Template,
    lattice_space_of,
    nearest,
    operations,
    orbit_of,
    standard_hall,
)
from unstir.domains.matter.structures import Crystal

_GENERIC = np.array([0.1370929, 0.0591413, 0.2317731])  # coordinates of no symmetry
_PRECISION = 1e-5  # angstrom, for structures that are exact


def template(group: int | str, letters: str | Sequence[str], elements: Sequence[str] = ()) -> Template:
    """The template of a space group, ``221`` or ``Pm-3m``, and its occupied positions, ``"1a 1b 3c"`` or ``"a b c"``.

    A position with free coordinates may be occupied several times. ``elements`` are the symbols on the positions, in
    their order; without them the elements are yet to be found. The setting is the one that spglib takes for the
    standard one: of the first origin, in hexagonal axes, the monoclinic axis along b.

    Raises InputError for positions that the group has not, or that are taken twice though there is room for one.
    """
    number = group_number(group)
    known = positions(number)
    orbits = []
    for asked in letters.split() if isinstance(letters, str) else letters:
        found = re.fullmatch(r"(\d*)([a-zA-Z])", asked)
        letter = found[2] if found else asked
        if letter not in known:
            raise unknown(f"Wyckoff position of space group {number}", asked, [_named(each) for each in known.values()])
        orbit = known[letter]
        if found and found[1] and int(found[1]) != len(orbit):
            raise InputError(f"position {letter} of space group {number} is {_named(orbit)}; seen {asked!r}")
        if not orbit.free and any(other.letter == letter for other in orbits):
            raise InputError(
                f"position {_named(orbit)} of space group {number} has no freedom: it is occupied once at most"
            )
        orbits.append(orbit)
    if not orbits:
        raise InputError(
            f"name the occupied positions of space group {number}; {suggest('', map(_named, known.values()))}"
        )
    symbol = {place: name for name, place in group_symbols().items()}[number]
    made = Template(number, *operations(standard_hall(number)), tuple(orbits), symbol)
    return made.with_elements(elements) if elements else made


@functools.cache
def positions(group: int) -> Mapping[str, Orbit]:
    """All Wyckoff positions of a space group by their letters, the most special first.

    Sites of symmetry are where operations leave something in its place: each one's own fixed spaces, and the points in
    which two axes meet. Spglib names the letters, from a crystal that occupies the position and a general one.

    Reference: International tables for crystallography, volume A (2016), section 1.4.4.
    """
    rotations, translations = operations(standard_hall(group))
    found: list[Orbit] = []
    for place in _special_places(rotations, translations):
        if not any(_on(orbit, place, rotations, translations) for orbit in found):
            found.append(orbit_of(place, rotations, translations))
    letters: dict[str, Orbit] = {}
    for orbit in found:
        letter, home = _letter(group, orbit, found, rotations, translations)
        letters[letter] = replace(home, letter=letter)
    if len(letters) != len(found):
        raise InputError(
            f"the letters of space group {group} are not told apart; make the template of a crystal instead"
        )
    return dict(sorted(letters.items(), key=lambda each: (each[0] == "A", each[0])))


def _special_places(rotations: np.ndarray, translations: np.ndarray) -> list[np.ndarray]:
    """A generic place of every fixed space of single operations, of the points where axes meet, and of nothing."""
    steps = np.array(list(product(range(-2, 3), repeat=3)), dtype=np.float64)
    places, axes = [_GENERIC], {}
    for rotation, translation in zip(rotations, translations, strict=True):
        turned = rotation - np.eye(3)
        if not turned.any():
            continue
        sides = steps - translation
        solved = sides @ np.linalg.pinv(turned).T
        solved = solved[np.abs(solved @ turned.T - sides).max(1) < 1e-8]
        free = np.eye(3) - np.linalg.pinv(turned) @ turned
        places.extend(solved + free @ _GENERIC)
        if round(np.trace(free)) == 1:
            direction = np.linalg.svd(free)[2][0]
            direction *= np.sign(direction[np.abs(direction).argmax()])
            for point in solved:
                axes[*point.round(6).tolist(), *direction.round(6).tolist()] = (point, direction)
    places.extend(_meeting(list(axes.values())))
    inside = np.array(places) % 1.0
    inside[inside > 1 - 1e-9] = 0.0
    return list(np.unique(_subspaces(inside, rotations, translations), axis=0))


def _meeting(axes: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The points in which axes meet, (k, 3)."""
    if not axes:
        return np.zeros((0, 3))
    points, directions = (np.stack(each) for each in zip(*axes, strict=True))
    found = []
    for point, direction in axes:
        # from the line x = point + s direction to the others: the squares are least where both derivatives vanish
        away, cosine = points - point, directions @ direction
        sine = 1 - cosine**2
        crossing = sine > 1e-9
        along = np.einsum("ki,i->k", away, direction)
        own = np.einsum("ki,ki->k", away, directions)
        s = (along - cosine * own)[crossing] / sine[crossing]
        r = (cosine * along - own)[crossing] / sine[crossing]
        mine, theirs = point + s[:, None] * direction, points[crossing] + r[:, None] * directions[crossing]
        found.append(mine[np.abs(mine - theirs).max(1) < 1e-8])
    return np.unique(np.concatenate(found).round(9) % 1.0, axis=0)


def _subspaces(places: np.ndarray, rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """One of the places for each set of operations, and lattice vectors, that leave it."""
    found: dict[bytes, np.ndarray] = {}
    for place in np.unique(places.round(9), axis=0):
        away = rotations @ place + translations - place
        steps = np.round(away)
        own = np.abs(away - steps).max(1) < 1e-6
        found.setdefault(own.tobytes() + np.where(own[:, None], steps, 9).astype(np.int8).tobytes(), place)
    return np.stack(list(found.values()))


def _on(orbit: Orbit, place: np.ndarray, rotations: np.ndarray, translations: np.ndarray) -> bool:
    """Whether a place is one of the position's, of neither more nor less symmetry."""
    away = rotations @ place + translations - place
    own = (np.abs(away - np.round(away)).max(1) < 1e-6).sum()
    if own * len(orbit) != len(rotations):
        return False
    free = orbit.backward @ place + orbit.offsets
    images = orbit.origins[orbit.sites] + np.einsum("gcf,gf->gc", orbit.directions[orbit.sites], free)
    return nearest(place, images) < 1e-6


def _letter(
    group: int, orbit: Orbit, known: Sequence[Orbit], rotations: np.ndarray, translations: np.ndarray
) -> tuple[str, Orbit]:
    """A letter, and the position that it names: not always this one, as spglib may move the origin."""
    point, directions = lattice_space_of(rotations)
    spread = 0.11 * np.arange(1, directions.shape[1] + 1)
    cell = cells_of((point + directions @ spread)[None], np.array([30.0 * len(rotations)]))[0]
    general = orbit_of(np.array([0.0831, 0.3517, 0.1893]), rotations, translations)
    own = orbit.origins + orbit.directions @ _GENERIC[: orbit.free]
    others = general.origins + general.directions @ np.array([0.0831, 0.3517, 0.1893])
    numbers = np.repeat([1, 2], [len(others), len(own)])
    found = dataset_of(Crystal(numbers, np.concatenate((others, own)), cell), _PRECISION)
    if int(found.number) != group:
        raise InputError(f"spglib takes space group {group} for {found.number}; make the template of a crystal instead")
    # the place in spglib's own axes and origin, which are those of its standard setting
    moved = np.asarray(found.transformation_matrix) @ own[0] + np.asarray(found.origin_shift)
    home = next((each for each in known if _on(each, moved % 1.0, rotations, translations)), None)
    if home is None or int(found.hall_number) != standard_hall(group):
        raise InputError(
            f"spglib names no position of space group {group} here; make the template of a crystal instead"
        )
    return str(found.wyckoffs[len(others)]), home


def _named(orbit: Orbit) -> str:
    return f"{len(orbit)}{orbit.letter}"

"""Made crystals that need no download: known prototypes, their elements exchanged for like ones.

They have the look of crystals, no more: nobody has relaxed them, and most of these compounds are not known to exist.
"""

import functools
import gzip
import json
from importlib.util import find_spec
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np

from unstir.core.errors import InputError, NotInstalledError
from unstir.core.seeds import Seeds
from unstir.domains.crystals.convert import from_ase, made
from unstir.domains.crystals.reducing import reduced
from unstir.domains.matter.elements import element, number_of, radius, symbol_of
from unstir.domains.matter.structures import Collection, Crystal

NAME = "prototypes"
LARGEST = 20
"""Sites of a primitive cell that a prototype may have."""
_HEAVIEST = 83  # bismuth; what is heavier decays
_DECAYING = (43, 61)  # technetium and promethium
_LIKE = 1.4  # the most that radii of exchanged elements may differ by, as a factor
_PLACES = ("prototypes/aflow_prototypes.json.gz", "aflow_prototypes.json.gz", "aflow_prototypes.json")
_ROUNDS = 60  # rounds of exchanging, each of which tries every prototype once


@functools.lru_cache(maxsize=2)
def prototypes(count: int = 4000, seed: int = 0) -> Collection:
    """``count`` crystals: the prototypes themselves, then the same with their elements exchanged, drawn by ``seed``.

    The prototypes are those of AFLOW's encyclopedia that come with pymatgen and the elemental crystals of ASE's set
    ``dcdft``, reduced to Niggli cells, with up to 20 sites. Each element is exchanged for one that has a common
    oxidation state with it and a covalent radius that differs by a factor of 1.4 at most, different elements for
    different ones. The cell is then scaled so that the closest atoms are as close as before, in units of the sum of
    their radii. Raises InputError where ``count`` is more than can be made.

    Reference: Mehl et al., The AFLOW library of crystallographic prototypes (2017); Lejaeghere et al., Reproducibility
    in density functional theory calculations of solids (2016), for dcdft; Hautier et al., Data mined ionic
    substitutions for the discovery of new compounds (2011), for the idea.
    """
    parents = _parents()
    if count > _ROUNDS * len(parents):
        raise InputError(f"`data.count: {count}`: no more than {_ROUNDS * len(parents)} crystals are made")
    contacts = [_contacts(parent) for parent in parents]
    likes = _likes()
    found = list(parents[:count])
    seen = {(place, tuple(np.unique(parent.numbers))) for place, parent in enumerate(parents)}
    generator = Seeds.range(seed, 1).at("crystals", NAME).generator()
    for _ in range(_ROUNDS):
        for place, (parent, nearest) in enumerate(zip(parents, contacts, strict=True)):
            if len(found) == count:
                return Collection(f"{NAME} with exchanged elements (made, not relaxed)", tuple(found))
            old = np.unique(parent.numbers)
            new = [int(generator.choice(likes.get(int(number), [int(number)]))) for number in old]
            if len(set(new)) < len(new) or (place, tuple(new)) in seen:
                continue
            seen.add((place, tuple(new)))
            found.append(_exchanged(parent, dict(zip(old.tolist(), new, strict=True)), nearest))
    if len(found) < count:
        raise InputError(f"`data.count: {count}`: no more than {len(found)} crystals can be made of the prototypes")
    return Collection(f"{NAME} with exchanged elements (made, not relaxed)", tuple(found))


def _exchanged(parent: Crystal, table: dict[int, int], nearest: dict[tuple[int, int], float]) -> Crystal:
    before = min(distance / (radius(one) + radius(other)) for (one, other), distance in nearest.items())
    after = min(distance / (radius(table[one]) + radius(table[other])) for (one, other), distance in nearest.items())
    numbers = np.array([table[number] for number in parent.numbers.tolist()])
    symbols = "".join(symbol_of(number) for number in dict.fromkeys(numbers.tolist()))
    source = f"{parent.source}, elements {symbols}"
    return Crystal(numbers, parent.fractional, parent.cell * (before / after), {}, parent.name, source)


def _contacts(crystal: Crystal) -> dict[tuple[int, int], float]:
    """The shortest distance in angstrom between atoms of each two elements, images of the next cells included."""
    steps = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    away = crystal.fractional[:, None, None] - crystal.fractional[None, :, None] + steps
    distances = np.sqrt(((away @ crystal.cell) ** 2).sum(-1))
    distances[distances < 1e-6] = np.inf  # an atom and itself
    shortest = distances.min(-1)
    found = {}
    for one, other in combinations_with_replacement(np.unique(crystal.numbers).tolist(), 2):
        found[one, other] = float(shortest[np.ix_(crystal.numbers == one, crystal.numbers == other)].min())
    return found


@functools.cache
def _likes() -> dict[int, list[int]]:
    """For each element those that it may be exchanged for, itself among them."""
    states = {number: set(element(number).oxidation_states) for number in range(1, _HEAVIEST + 1)}
    for number in _DECAYING:
        del states[number]
    return {
        one: [
            other
            for other, theirs in states.items()
            if (own & theirs or not (own or theirs)) and 1 / _LIKE <= radius(one) / radius(other) <= _LIKE
        ]
        for one, own in states.items()
    }


@functools.cache
def _parents() -> tuple[Crystal, ...]:
    # beside the package that reads it, whose import makes objects of everything and takes seconds
    home = find_spec("pymatgen.analysis") if find_spec("pymatgen") else None
    if home is None or not find_spec("ase"):
        missing = "pymatgen" if home is None else "ase"
        raise NotInstalledError(missing, "crystals", "the embedded set of crystals")
    from ase.collections import dcdft

    places = [Path(folder, place) for folder in home.submodule_search_locations or () for place in _PLACES]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise InputError("this version of pymatgen has no AFLOW prototypes where they are looked for; take another one")
    text = file.read_bytes()
    found = [_aflow(entry) for entry in json.loads(gzip.decompress(text) if text[:2] == b"\x1f\x8b" else text)]
    found += [
        from_ase(dcdft[name], source=f"dcdft {name}")
        for name in dcdft.names
        if number_of(name) <= _HEAVIEST and number_of(name) not in _DECAYING
    ]
    smallest = [reduced(crystal, "niggli") for crystal in found if crystal is not None and len(crystal) <= LARGEST]
    return tuple(Crystal(each.numbers, each.fractional, each.cell, {}, each.name, each.source) for each in smallest)


def _aflow(entry: dict[str, Any]) -> Crystal | None:
    """One of AFLOW's prototypes; None for one that is disordered or holds elements that decay."""
    structure, tags = entry["snl"], entry["tags"]
    species = [site["species"] for site in structure["sites"]]
    if any(len(each) != 1 or each[0]["occu"] != 1 for each in species):
        return None
    numbers = [number_of(each[0]["element"]) for each in species]
    if max(numbers) > _HEAVIEST or set(numbers) & set(_DECAYING):
        return None
    fractional = [site["abc"] for site in structure["sites"]]
    name = str(tags.get("mineral") or tags["aflow"])
    return made(numbers, fractional, structure["lattice"]["matrix"], {}, name, f"AFLOW {tags['aflow']}")

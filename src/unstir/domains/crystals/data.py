"""Crystals, ready for training: files of one's own, structures in memory, or the embedded made set."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unstir.core.errors import InputError, suggest, unknown
from unstir.core.seeds import Seeds
from unstir.domains.crystals import embedded
from unstir.domains.crystals.convert import from_ase, from_pymatgen, made
from unstir.domains.crystals.encoding import TASKS, CrystalEncoding, Scaling, lattice_scale
from unstir.domains.crystals.files.reading import read_files
from unstir.domains.crystals.files.soundness import fault
from unstir.domains.crystals.reducing import REDUCTIONS, reduced
from unstir.domains.crystals.tasks.conditions import conditions_of
from unstir.domains.matter.elements import number_of, symbol_of
from unstir.domains.matter.sets import SetData
from unstir.domains.matter.structures import Collection, Crystal, Unread
from unstir.domains.rows import checked_options, kept_apart
from unstir.training.data import Data

_OPTIONS = {
    "path": None,
    "kind": None,
    "name": None,
    "column": None,
    "task": "generate",
    "elements": None,
    "properties": (),
    "conditions": (),
    "cell": "as-it-is",
    "largest": None,
    "unreadable": "error",
    "held_out": 0.1,
    "split": "random",
    "seed": 0,
    "limit": None,
    "count": 4000,
}
SPLITS = ("random", "composition")
_RESERVED = frozenset({"x", "noise", "drop", "mask", "elements", "fractional", "lattice", "augment", "seed"})
_SHOWN = 5


def read_crystals(options: Mapping[str, Any]) -> SetData:
    """Crystals from the options of a recipe's ``data``.

    - ``path``: a CIF, POSCAR or extended XYZ file, an ASE database, a CSV or Parquet table with CIF or pymatgen's JSON
      in a ``column``, or a folder of such files. ``kind`` where the suffix does not tell it. Without a path the
      embedded set ``name: prototypes``, ``count`` structures made by ``seed`` (see ``embedded``).
    - ``task``: generate, elements and all; or predict, the structure for elements that are told.
    - ``elements``: the symbols that may occur, else those met. ``largest``: more sites than this leave a crystal out.
      ``cell``: as-it-is, primitive or niggli (``reducing.reduced``).
    - ``properties``: names of numbers that come with the crystals and become conditions, each by itself, standardised.
      ``conditions``: further ones that are computed (``tasks.conditions``).
    - ``unreadable``: error, or drop to leave out what cannot be read or used.
    - ``held_out``: the share that is kept apart to judge by, drawn by ``seed``; with ``split: composition`` no formula
      is on both sides. ``limit``: at most so many crystals, drawn by ``seed``.
    """
    given = _checked(options)
    if given["path"] is not None:
        found = read_files(Path(str(given["path"])).expanduser(), given["kind"], given["column"])
        return _made(found, given)
    if given["name"] not in (None, embedded.NAME):
        raise unknown("embedded data of crystals", str(given["name"]), [embedded.NAME])
    for option in ("kind", "column"):
        if given[option] is not None:
            raise InputError(f"`data.{option}` says how a file is read; say which with `data.path`")
    return _made(embedded.prototypes(given["count"], given["seed"]), given)


def crystal_data(structures: Sequence[Any], **options: Any) -> SetData:
    """The same of structures in memory: pymatgen's Structure, ASE's Atoms or Crystal objects.

    ``options`` are those of ``read_crystals`` but for path, kind and column; ``name`` is what reports call the data.
    """
    found: list[Crystal] = []
    unread: list[Unread] = []
    for place, each in enumerate(structures, 1):
        source = f"structure {place}"
        try:
            found.append(_crystal(each, source))
        except InputError as error:
            unread.append(Unread(source, str(error)))
    if not structures:
        raise InputError("no structures are given")
    given = _checked(options)
    return _made(Collection(str(given["name"] or "structures"), tuple(found), tuple(unread)), given)


def _crystal(each: Any, source: str) -> Crystal:
    if isinstance(each, Crystal):
        told = (each.properties, each.name, each.source or source)
        return made(each.numbers, each.fractional, each.cell, *told)
    if hasattr(each, "frac_coords"):
        return from_pymatgen(each, source=source)
    if hasattr(each, "get_chemical_symbols"):
        return from_ase(each, source=source)
    raise InputError(f"a pymatgen Structure, an ASE Atoms or a Crystal is needed; seen {type(each).__name__}")


def _made(found: Collection, given: Mapping[str, Any]) -> SetData:
    """The data of what was read: looked over, reduced, divided and encoded."""
    crystals, unread = _usable(found, given)
    remarks = _remarks(unread, len(crystals))
    if given["largest"] is not None:
        fitting = [crystal for crystal in crystals if len(crystal) <= given["largest"]]
        if len(fitting) < len(crystals):
            remarks.append(
                f"{len(crystals) - len(fitting)} crystals have more than {given['largest']} sites and were left out "
                "(`data.largest`)."
            )
        crystals = fitting
    if given["limit"] is not None and given["limit"] < len(crystals):
        order = Seeds.range(given["seed"], 1).at("limit").generator().permutation(len(crystals))
        crystals = [crystals[place] for place in np.sort(order[: given["limit"]])]
    if len(crystals) < 2:
        raise InputError(f"{found.name}: {len(crystals)} crystals are left to train on; at least two are needed")
    train, apart = _divided(crystals, given)
    first, second = [crystals[place] for place in train], [crystals[place] for place in apart]
    encoding, told, kinds = _encoding(crystals, first, given)
    name = str(given["name"] or found.name)
    held_out = None
    if second:
        held_out = _set(f"{name}, held out", encoding, second, _conditions(second, given, encoding.told)[0], kinds)
    return _set(name, encoding, first, told, kinds, held_out, remarks)


def _set(
    name: str,
    encoding: CrystalEncoding,
    crystals: list[Crystal],
    told: Mapping[str, Tensor],
    kinds: Mapping[str, Mapping[str, Any]],
    held_out: SetData | None = None,
    remarks: Sequence[str] = (),
) -> SetData:
    state, mask, own = encoding.encode(crystals)
    if set(own) & set(told):
        raise InputError(f"{sorted(set(own) & set(told))[0]!r} is named twice, by `data.properties` and otherwise")
    return SetData(name, encoding, state, mask, tuple(crystals), {**own, **told}, kinds, held_out, tuple(remarks))


def _encoding(
    crystals: list[Crystal], train: list[Crystal], given: Mapping[str, Any]
) -> tuple[CrystalEncoding, Mapping[str, Tensor], dict[str, Mapping[str, Any]]]:
    """The encoding, scaled by the crystals to train on; their computed conditions; the kinds of all conditions."""
    if given["elements"] is None:
        numbers = sorted({number for crystal in crystals for number in crystal.numbers.tolist()})
    else:
        numbers = [number_of(symbol) for symbol in given["elements"]]
    sizes = np.bincount([len(crystal) for crystal in train], minlength=max(map(len, crystals)) + 1)[1:]
    symbols = tuple(symbol_of(number) for number in numbers)
    told, kinds, record = _conditions(train, given, None, symbols)
    scalings = tuple(_scaling(name, train) for name in given["properties"])
    encoding = CrystalEncoding(
        symbols, *lattice_scale(train), given["task"], scalings, record, tuple(int(size) for size in sizes)
    )
    own = {"elements": {"channels": len(symbols)}} if given["task"] == "predict" else {}
    return encoding, told, {**own, **{scaling.name: {"size": 1} for scaling in scalings}, **kinds}


def _conditions(
    crystals: list[Crystal],
    given: Mapping[str, Any],
    record: Mapping[str, Any] | None,
    elements: Sequence[str] | None = None,
) -> tuple[Mapping[str, Tensor], Mapping[str, Mapping[str, Any]], Mapping[str, Any]]:
    if not given["conditions"]:
        return {}, {}, {}
    return conditions_of(crystals, tuple(given["conditions"]), record, elements)


def _scaling(name: str, crystals: list[Crystal]) -> Scaling:
    values = np.array([crystal.properties[name] for crystal in crystals])
    deviation = float(values.std())
    if not deviation > 1e-12 * max(1.0, float(np.abs(values).max())):
        raise InputError(
            f"`data.properties`: {name!r} is {values[0]:g} for every crystal, so that nothing can be learned"
        )
    return Scaling(name, float(values.mean()), deviation)


def _usable(found: Collection, given: Mapping[str, Any]) -> tuple[list[Crystal], list[Unread]]:
    """The crystals that can be trained on, in the cell that is asked for; the others with their reasons."""
    crystals: list[Crystal] = []
    unread = list(found.unread)
    if found.structures:
        known = {name for crystal in found.structures for name in crystal.properties}
        for name in given["properties"]:
            if name not in known:
                raise InputError(f"{found.name}: no crystal has a number called {name!r}; {suggest(name, known)}")
    allowed = None if given["elements"] is None else {number_of(symbol) for symbol in given["elements"]}
    for crystal in found.structures:
        reason = fault(crystal, allowed)
        missing = [name for name in given["properties"] if name not in crystal.properties]
        if reason is None and missing:
            reason = f"it has no number for the property {missing[0]!r}"
        if reason is None:
            try:
                crystals.append(reduced(crystal, given["cell"]))
            except InputError as error:
                reason = str(error).removeprefix(f"{crystal.source}: ")
        if reason is not None:
            unread.append(Unread(crystal.source, reason))
    if unread and (given["unreadable"] == "error" or not crystals):
        shown = "\n".join(f"  {each.source}: {each.reason}" for each in unread[:_SHOWN])
        more = f"\n  and {len(unread) - _SHOWN} more" if len(unread) > _SHOWN else ""
        whole = len(unread) + len(crystals)
        hint = "mend them, or leave them out with `data.unreadable=drop`" if crystals else "none is left to train on"
        raise InputError(f"{found.name}: {len(unread)} of {whole} structures cannot be used:\n{shown}{more}\n{hint}")
    return crystals, unread


def _remarks(unread: Sequence[Unread], kept: int) -> list[str]:
    if not unread:
        return []
    shown = "; ".join(f"{each.source}: {each.reason}" for each in unread[:_SHOWN])
    return [
        f"{len(unread)} of {len(unread) + kept} structures could not be used and were left out, as asked "
        f"(`data.unreadable`): {shown}{'; …' if len(unread) > _SHOWN else '.'}"
    ]


def _divided(crystals: Sequence[Crystal], given: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The places of the crystals to train on and of those kept apart."""
    if given["split"] == "random":
        return kept_apart(len(crystals), given["held_out"], given["seed"])
    kept_apart(len(crystals), given["held_out"], given["seed"])  # refuses what is out of range
    formulas: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for place, crystal in enumerate(crystals):
        formulas.setdefault(formula_of(crystal), []).append(place)
    groups = list(formulas.values())
    wanted, apart = round(len(crystals) * given["held_out"]), list[int]()
    for group in Seeds.range(given["seed"], 1).at("held out").generator().permutation(len(groups)):
        if len(apart) + len(groups[group]) <= wanted:
            apart += groups[group]
    if wanted and not apart:
        raise InputError(
            f"`data.split=composition`: no formula is rare enough for a share of {given['held_out']:g}; the "
            f"{len(crystals)} crystals have {len(groups)} formulas. Take `data.split=random` or a larger share"
        )
    return np.setdiff1d(np.arange(len(crystals)), apart), np.sort(np.array(apart, dtype=np.int64))


def formula_of(crystal: Crystal) -> tuple[tuple[int, int], ...]:
    """The reduced formula: atomic numbers with their counts, without a common divisor; equal for polymorphs."""
    numbers, counts = np.unique(crystal.numbers, return_counts=True)
    divisor = math.gcd(*counts.tolist())
    return tuple((int(number), int(count) // divisor) for number, count in zip(numbers, counts, strict=True))


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    given = checked_options(options, _OPTIONS, "option of the field 'crystals'")
    for option, allowed in (
        ("task", TASKS),
        ("cell", REDUCTIONS),
        ("split", SPLITS),
        ("unreadable", ("error", "drop")),
    ):
        if given[option] not in allowed:
            raise unknown(f"`data.{option}` of crystals:", str(given[option]), allowed)
    for option in ("properties", "conditions", "elements"):
        if isinstance(given[option], str):
            given[option] = (given[option],)
        if option == "elements" and given[option] is None:
            continue
        if not isinstance(given[option], list | tuple) or not all(isinstance(name, str) for name in given[option]):
            raise InputError(f"`data.{option}: {given[option]!r}`: a list of names is needed, [{_example(option)}]")
        if len(set(given[option])) < len(given[option]):
            raise InputError(f"`data.{option}: {list(given[option])}`: a name is given twice")
    if given["elements"] is not None:
        if not given["elements"]:
            raise InputError("`data.elements`: the list is empty; leave it out to take the elements that are met")
        for symbol in given["elements"]:
            number_of(symbol)
    for name in given["properties"]:
        if name in _RESERVED:
            raise InputError(f"`data.properties`: {name!r} means something else here; give the column another name")
    for option, least in (("largest", 1), ("limit", 2), ("count", 2)):
        value = given[option]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise InputError(f"`data.{option}: {value!r}`: a whole number from {least} is needed")
    return given


def _example(option: str) -> str:
    return {"properties": "formation_energy", "conditions": "space_group", "elements": "Ca, Ti, O"}[option]


def default_process(data: Data) -> dict[str, Any]:
    """Noise on the torus for the sites, Gaussian noise for the lattice, masking for the elements."""
    encoding: CrystalEncoding = data.encoding  # type: ignore[attr-defined]
    parts: dict[str, Any] = {
        "fractional": {"name": "sites", "schedule": {"name": "exponential-ve", "sigma_min": 0.01, "sigma_max": 0.5}},
        "lattice": {"name": "gaussian", "schedule": {"name": "edm"}},
    }
    if encoding.task == "generate":
        parts["elements"] = {
            "name": "categorical",
            "classes": len(encoding.elements),
            "rates": "absorbing",
            "schedule": {"name": "cosine"},
        }
    return {"name": "joint", "parts": parts, "whole": ["lattice"]}


def default_network(data: Data) -> dict[str, Any]:
    """A transformer over the sites of the periodic cell."""
    return {"name": "periodic-transformer"}

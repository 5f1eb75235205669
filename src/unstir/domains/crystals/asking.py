"""What a user asks of crystals in words of their own, as the conditions that a network is told."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.domains.crystals.encoding import CrystalEncoding
from unstir.domains.crystals.tasks.conditions import (
    NUMBERS,
    SYSTEMS,
    compositions,
    crystal_systems,
    group_number,
    standardised,
)
from unstir.domains.matter.elements import counts_of, number_of, symbol_of

_WORDS = ("formula", "atoms", "elements", "system", "space_group", "crystal_system")


def ask(encoding: CrystalEncoding, wanted: Mapping[str, Any], seeds: Seeds) -> dict[str, Tensor]:
    """The conditions that are meant, a row for each of the seeds.

    - ``formula``: ``CaTiO3``, or ``"CaTiO3 x2"`` for two units in the cell. It says how many sites there are, and is
      told as the sites' elements where the run predicts structures, as the composition where it was trained on that.
    - ``atoms``: sites of the cell, ``10`` or ``4-12``, of which each sample draws one as often as the data has it; with
      a formula, the sites that its units fill.
    - ``system`` or ``elements``: the chemical system, ``Ca-Ti-O``. ``space_group``: its number or symbol, ``221`` or
      ``Pm-3m``. ``crystal_system``: ``cubic``.
    - any number that the run was trained to be told, by its name and in its own unit: ``formation_energy=-1.5``.

    Raises InputError for what this run cannot be told, saying how to train one that can.
    """
    formula = _formula(encoding, wanted)
    trained = set(encoding.told.get("names", ()))
    if encoding.task == "predict" and formula is None:
        _check_words(encoding, wanted)
        raise InputError("this run finds structures for elements that are told: say which with formula=CaTiO3")
    if encoding.task != "predict" and formula is not None and "composition" not in trained:
        raise InputError(
            "this run was not trained to be told a composition: train with `data.conditions=[composition]`, or with "
            "`data.task=predict` for structures of a given formula"
        )
    return told_of(encoding, wanted, seeds, formula)


def told_of(
    encoding: CrystalEncoding, wanted: Mapping[str, Any], seeds: Seeds, formula: np.ndarray | None
) -> dict[str, Tensor]:
    """The same where the atomic numbers of all sites, int64 (n,), are known or None; whatever else is asked for."""
    _check_words(encoding, wanted)
    record = encoding.told
    trained, rows = set(record.get("names", ())), len(seeds)
    scalings = {scaling.name: scaling for scaling in encoding.properties}
    told = {} if formula is None else _of_formula(encoding, formula, trained, rows)
    if formula is None and "atoms" in wanted:
        told["mask"] = _sized(encoding, wanted["atoms"], seeds)
    for name in ("system", "elements"):
        if name in wanted:
            told["system"] = _system(encoding, wanted[name], formula, trained, rows)
    if "space_group" in wanted:
        _told(trained, "space_group", "crystal_system")
        group = np.full(rows, group_number(wanted["space_group"]), dtype=np.int64)
        if "space_group" in trained:
            told["space_group"] = torch.from_numpy(group - 1)
        if "crystal_system" in trained:
            told["crystal_system"] = crystal_systems(group)
    if "crystal_system" in wanted:
        _told(trained, "crystal_system")
        asked = str(wanted["crystal_system"]).lower()
        if asked not in SYSTEMS:
            raise unknown("crystal system", asked, SYSTEMS)
        own = torch.full((rows,), SYSTEMS.index(asked))
        if "crystal_system" in told and not torch.equal(own, told["crystal_system"]):
            raise InputError(f"space group {wanted['space_group']} is not {asked}; leave the crystal system out")
        told["crystal_system"] = own
    for name in (*scalings, *_numbers(encoding)):
        if name in wanted:
            value = np.full(rows, _number(name, wanted[name]))
            told[name] = (
                scalings[name].encode(value) if name in scalings else standardised(value, *record["scalings"][name])
            )
    return told


def _numbers(encoding: CrystalEncoding) -> list[str]:
    """The computed numbers that the run was told in training."""
    return [name for name in encoding.told.get("names", ()) if name in NUMBERS]


def _check_words(encoding: CrystalEncoding, wanted: Mapping[str, Any]) -> None:
    allowed = (*_WORDS, *(scaling.name for scaling in encoding.properties), *_numbers(encoding))
    for name in wanted:
        if name not in allowed and name in NUMBERS:
            raise _untold(name, set(encoding.told.get("names", ())))
        if name not in allowed:
            raise unknown("word for crystals", name, allowed)


def formula_mask(encoding: CrystalEncoding, count: int, rows: int) -> Tensor:
    """The mask of cells with ``count`` sites, boolean (rows, largest)."""
    if not 1 <= count <= encoding.largest:
        raise InputError(
            f"cells of this run have 1 to {encoding.largest} sites; seen {count}. Ask for fewer, or train on larger "
            "cells"
        )
    return (torch.arange(encoding.largest) < count).expand(rows, -1).clone()


def told_elements(encoding: CrystalEncoding, numbers: np.ndarray, rows: int) -> Tensor:
    """Atomic numbers (n,) as the condition ``elements`` of every row, float32 (rows, largest, classes)."""
    table = {int(number): place for place, number in enumerate(encoding.numbers)}
    classes = torch.zeros(rows, encoding.largest, dtype=torch.int64)
    classes[:, : len(numbers)] = torch.tensor([table[int(number)] for number in numbers])
    return encoding.one_hot(classes, formula_mask(encoding, len(numbers), rows))


def _formula(encoding: CrystalEncoding, wanted: Mapping[str, Any]) -> np.ndarray | None:
    """The atomic numbers of all sites that a formula asks for, int64 (n,)."""
    if "formula" not in wanted:
        return None
    counts = counts_of(wanted["formula"])
    known = set(encoding.numbers.tolist())
    for number in counts:
        if number not in known:
            raise unknown("element for this run", symbol_of(number), encoding.elements)
    units, size = 1, sum(counts.values())
    if "atoms" in wanted:
        atoms = _whole(wanted["atoms"])
        units, rest = divmod(atoms, size)
        if rest or not units:
            raise InputError(f"{wanted['formula']} has {size} atoms a unit, which do not fill {atoms} sites")
    return np.repeat(np.array([*counts], dtype=np.int64), [count * units for count in counts.values()])


def _of_formula(encoding: CrystalEncoding, numbers: np.ndarray, trained: set[str], rows: int) -> dict[str, Tensor]:
    told = {"mask": formula_mask(encoding, len(numbers), rows)}
    if encoding.task == "predict":
        told["elements"] = told_elements(encoding, numbers, rows)
    if "composition" in trained or "system" in trained:
        shares = compositions([numbers], encoding.told["elements"]).expand(rows, -1)
        told |= {
            name: values
            for name, values in (("composition", shares), ("system", (shares > 0).float()))
            if name in trained
        }
    return told


def _system(encoding: CrystalEncoding, asked: Any, formula: np.ndarray | None, trained: set[str], rows: int) -> Tensor:
    _told(trained, "system")
    symbols = list(asked) if isinstance(asked, list | tuple) else str(asked).replace(",", "-").split("-")
    numbers = np.array([number_of(str(symbol).strip()) for symbol in symbols], dtype=np.int64)
    if formula is not None and set(numbers.tolist()) != set(formula.tolist()):
        raise InputError(f"the formula is not of the system {asked}; leave the system out, the formula says it")
    return (compositions([numbers], encoding.told["elements"]) > 0).float().expand(rows, -1)


def _sized(encoding: CrystalEncoding, asked: Any, seeds: Seeds) -> Tensor:
    """The mask of cells of so many sites, or of sizes in a range, drawn as often as the data has them."""
    least, most = _range(asked)
    formula_mask(encoding, most, 1)
    counts = torch.tensor(encoding.sizes, dtype=torch.float64)[least - 1 : most]
    if not counts.sum():
        known = ", ".join(str(size) for size, count in enumerate(encoding.sizes, 1) if count)
        raise InputError(f"no crystal of the data has {asked} sites; it has cells of {known}")
    drawn = choose(counts.log().expand(len(seeds), -1), seeds.at("atoms")) + least
    return torch.arange(encoding.largest) < drawn[:, None]


def _range(asked: Any) -> tuple[int, int]:
    ends = str(asked).split("-") if isinstance(asked, str) else [asked]
    least, most = _whole(ends[0]), _whole(ends[-1])
    if len(ends) > 2 or not 1 <= least <= most:
        raise InputError(f"atoms is a whole number or a range, 10 or 4-12; seen {asked!r}")
    return least, most


def _whole(asked: Any) -> int:
    try:
        found = int(str(asked).strip())
    except ValueError:
        raise InputError(f"atoms is a whole number or a range, 10 or 4-12; seen {asked!r}") from None
    return found


def _number(name: str, asked: Any) -> float:
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not math.isfinite(asked):
        raise InputError(f"{name} is asked for as one finite number in the data's unit; seen {asked!r}")
    return float(asked)


def _told(trained: set[str], *names: str) -> None:
    if not trained & set(names):
        raise _untold(names[0], trained)


def _untold(name: str, trained: set[str]) -> InputError:
    known = (
        f"of computed conditions it knows {', '.join(sorted(trained))}" if trained else "it was told none of its kind"
    )
    return InputError(f"this run cannot be told {name!r}, {known}; train with `data.conditions=[{name}]`")

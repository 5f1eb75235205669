"""Molecules, ready for training: files of one's own, or the ligands of the Protein Data Bank."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.domains.matter.sets import SetData
from unstir.domains.matter.structures import Collection, Molecule
from unstir.domains.molecules.encoding import COMPOSITION, MoleculeEncoding, restore
from unstir.domains.molecules.files.reading import from_objects
from unstir.domains.molecules.loading import OPTIONS, checked, element_numbers, load, prepared
from unstir.domains.molecules.properties import fitted_property, wanted
from unstir.domains.rows import checked_options, kept_apart
from unstir.processes.pairs import triangle
from unstir.training.data import Data

FORMS = ("geometry", "string")
TASKS = ("generate", "conformers")
_RAREST = 1e-3  # the least share of a class among the jumps


def read_molecules(options: Mapping[str, Any]) -> Any:
    """Molecules from the options of a recipe's ``data``.

    - ``path``: .xyz and .extxyz, .sdf and .mol, .csv, .tsv, .parquet and .smi with SMILES (or a column of XYZ blocks,
      ``column``), an ASE database .db, or a folder of them; ``kind`` says what the suffix does not. Without a path
      ``name: ligands``, about 6,000 neutral molecules of the Protein Data Bank's ligand dictionary.
    - ``elements``: those to take, [H, C, N, O], else as met; ``largest``: the most atoms; ``limit``: how many molecules
      at most, drawn by ``seed``. What these leave out is told.
    - ``hydrogens``: keep, drop, or add (to bonds). ``positions``: read, or embed: a conformer
      where only bonds are told (SMILES, drawings).
    - ``bonds``: auto (a part where the file has them), true, false, or perceive (from positions): Kekulé's single,
      double and triple ones; ``aromatic: true`` keeps aromatic ones. ``charges``: auto (a part where some differ), true
      or false.
    - ``properties``: numbers to be asked for: columns, fields, keys of the file, or RDKit's: [gap, rdkit:logp], or by
      names of one's own, {gap: homo_lumo_gap}. ``composition: true``: the number of atoms of each element too.
    - ``unreadable``: error, or drop for molecules that cannot be read or used.
    - ``held_out``: the share of molecules, drawn by ``seed``, that is kept apart to judge by.
    - ``task``: generate, or conformers of given molecules; ``form``: geometry or string.
    """
    form, task = options.get("form", "geometry"), options.get("task", "generate")
    if form not in FORMS:
        raise unknown("form of molecules", str(form), FORMS)
    if task not in TASKS:
        raise unknown("task of molecules", str(task), TASKS)
    if form == "string":
        from unstir.domains.molecules.strings.data import STRING_OPTIONS, read_strings

        return read_strings(_given(options, STRING_OPTIONS, "option of molecules as strings"))
    if task != "generate":
        from unstir.domains.molecules.tasks.data import TASK_OPTIONS, read_task

        return read_task(_given(options, TASK_OPTIONS[task], f"option of the task {task!r} of molecules"))
    given = _given(options, {}, "option of the field 'molecules'")
    collection, remarks = load(given)
    return molecule_data(collection, given, remarks)


def molecules_of(objects: Iterable[Any], options: Mapping[str, Any] | None = None) -> SetData:
    """RDKit's ``Mol`` or ASE's ``Atoms`` in memory as data, as ``read_molecules`` makes it of files.

    ``options`` are those of a recipe's ``data``, without those of files.
    """
    given = _given(options or {}, {}, "option of the field 'molecules'")
    checked(given)
    for name in ("path", "kind", "column"):
        if given[name] is not None:
            raise InputError(f"`{name}` is an option of files; these molecules are in memory")
    read = from_objects(objects, str(given["name"] or "molecules"), bool(given["aromatic"]))
    collection, remarks = prepared(read, given)
    return molecule_data(collection, given, remarks)


def _given(options: Mapping[str, Any], more: Mapping[str, Any], what: str) -> dict[str, Any]:
    return checked_options(options, {**OPTIONS, **more}, what)


def molecule_data(
    collection: Collection, given: Mapping[str, Any], remarks: Sequence[str] = (), known: Sequence[str] = ()
) -> SetData:
    """Molecules with positions as encoded data; the kinds named in ``known`` are conditions and no parts."""
    train, apart = kept_apart(len(collection.structures), given["held_out"], given["seed"])
    encoding = fitted_encoding(collection.structures, given, train, known)
    name, remarks = collection.name, [*remarks, *_remarks(encoding)]
    second = encoded_rows(f"{name}, held out", encoding, collection.structures, apart) if len(apart) else None
    return replace(encoded_rows(name, encoding, collection.structures, train), held_out=second, remarks=tuple(remarks))


def fitted_encoding(
    molecules: Sequence[Molecule], given: Mapping[str, Any], train: np.ndarray, known: Sequence[str] = ()
) -> MoleculeEncoding:
    """The encoding that knows all of the molecules; scalings and sizes are those of the rows ``train``."""
    elements = element_numbers(given["elements"]) if given["elements"] else ()
    met = tuple(sorted({number for molecule in molecules for number in molecule.numbers.tolist()} | set(elements)))
    if given["hydrogens"] == "drop":
        met = tuple(number for number in met if number != 1)
    charges: tuple[int, ...] = ()
    if given["charges"] is not False:
        told = [molecule.charges for molecule in molecules if molecule.charges is not None]
        found = {charge for of_one in told for charge in of_one.tolist()}
        if found and len(told) < len(molecules):
            found.add(0)
        if given["charges"] is True and len(found) < 2:
            raise InputError(
                f"`data.charges: true`: the charges of all atoms are {sorted(found) or 'unknown'}, of which there is "
                "nothing to learn; leave `charges` at auto"
            )
        charges = tuple(sorted(found))
    orders = 0
    if all(molecule.bonds is not None for molecule in molecules):
        orders = 1 + max(int(molecule.bonds.max()) for molecule in molecules)  # type: ignore[union-attr]
    sizes = Counter({max(len(molecule) for molecule in molecules): 0})  # so many have place, seen in training or not
    sizes.update(len(molecules[row]) for row in train.tolist())
    rows = [molecules[row] for row in train.tolist()]
    properties = tuple(fitted_property(name, key, rows) for name, key in wanted(given["properties"]).items())
    composition: tuple[tuple[float, float], ...] = ()
    if given["composition"]:
        counts = counts_of(rows, met).double()
        composition = tuple(zip(counts.mean(0).tolist(), _positive(counts.std(0, correction=0)).tolist(), strict=True))
    return MoleculeEncoding(
        met, charges, orders, properties, composition, dict(sizes), tuple(known), str(given["hydrogens"])
    )


def counts_of(molecules: Sequence[Molecule], elements: Sequence[int]) -> Tensor:
    """How many atoms of each element each molecule has, int64 (rows, elements)."""
    table = [[int((molecule.numbers == number).sum()) for number in elements] for molecule in molecules]
    return torch.tensor(table, dtype=torch.int64).reshape(len(molecules), len(elements))


def _positive(deviation: Tensor) -> Tensor:
    return torch.where(deviation > 1e-12, deviation, 1.0)


def encoded_rows(name: str, encoding: MoleculeEncoding, molecules: Sequence[Molecule], rows: np.ndarray) -> SetData:
    """Those rows of the molecules as states, padded to the largest of all, with what is told of them."""
    chosen = [molecules[row] for row in rows.tolist()]
    size = max(len(molecule) for molecule in molecules)
    state, mask = encoding.encode(chosen, size)
    told, kinds = told_of(encoding, chosen)
    if encoding.given:
        given, about = encoding.conditions_of(encoding.kinds(chosen, size)[0], mask)
        told, kinds = {**told, **given}, {**kinds, **about}
    # as a state of the model would be read: centred, in single precision, so that both are compared like with like
    placed = [
        replace(molecule, positions=state["positions"][row, : len(molecule)].double().numpy())
        for row, molecule in enumerate(chosen)
    ]
    return SetData(name, encoding, state, mask, placed, told, kinds)


def told_of(encoding: MoleculeEncoding, molecules: Sequence[Molecule]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The conditions that molecules answer themselves, properties and composition, and what a network sees of them."""
    told: dict[str, Tensor] = {}
    for known in encoding.properties:
        values = np.array([molecule.properties[known.name] for molecule in molecules])
        told[known.name] = torch.from_numpy(known.standard(values)).float()[:, None]
    if encoding.composition:
        told[COMPOSITION] = encoding.counted(counts_of(molecules, encoding.elements))
    return told, {name: {"size": values.shape[1]} for name, values in told.items()}


def _remarks(encoding: MoleculeEncoding) -> list[str]:
    if len(encoding.elements) > 1 or encoding.given:
        return []
    return ["All atoms are of one element, which is not drawn."]


def default_process(data: Data) -> dict[str, Any]:
    """Centred noise for positions; kinds jump among classes as often as the data has them, and are decided earlier."""
    encoding: MoleculeEncoding = data.encoding  # type: ignore[attr-defined]
    if hasattr(encoding, "alphabet"):
        from unstir.domains.molecules.strings.data import string_process

        return string_process(data)
    schedule = {"name": "edm", "sigma_max": 10.0, "rho": 3.0}
    parts: dict[str, Any] = {"positions": {"name": "centred", "schedule": schedule}}
    mask = data.mask  # type: ignore[attr-defined]
    there = {"bonds": triangle(mask[:, :, None] & mask[:, None, :])}
    for name in encoding.parts[1:]:
        met = data.state[name][there.get(name, mask)]  # type: ignore[attr-defined]
        rates = _rates(met, encoding.classes[name])
        kind = "pairs" if name == "bonds" else "categorical"
        schedule = {"name": "cosine", "shift": 2.0}
        parts[name] = {"name": kind, "classes": encoding.classes[name], "rates": rates, "schedule": schedule}
    return {"name": "joint", "parts": parts}


def _rates(met: Tensor, classes: int) -> list[list[float]]:
    """Rates of jumps to each class in proportion to how often it is met, as MiDi has them (2023, section 4)."""
    share = torch.bincount(met, minlength=classes).double() / max(len(met), 1)
    share = (share + _RAREST).round(decimals=4)
    return (share / share.sum() - torch.eye(classes, dtype=torch.float64)).tolist()


def default_network(data: Data) -> dict[str, Any]:
    """The transformer among points in space, which turns with them; for strings the one among tokens."""
    if hasattr(data.encoding, "alphabet"):  # type: ignore[attr-defined]
        from unstir.domains.molecules.strings.data import string_network

        return string_network(data)
    return {"name": "equivariant-transformer"}


def restore_molecules(record: Mapping[str, Any]) -> Any:
    """The encoding that a run has kept, of molecules in space or as strings."""
    if "alphabet" in record:
        from unstir.domains.molecules.strings.data import restore_strings

        return restore_strings(record)
    return restore(record)

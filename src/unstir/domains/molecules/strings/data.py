"""Molecules as strings, ready for training."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.files.convert import rdkit_chem
from unstir.domains.molecules.files.tables import Row, smiles_rows, table_rows
from unstir.domains.molecules.files.writing import smiles_of
from unstir.domains.molecules.loading import load
from unstir.domains.molecules.properties import fitted_property, wanted
from unstir.domains.molecules.strings.alphabets import ALPHABETS, silent, tokens_of
from unstir.domains.molecules.strings.encoding import StringEncoding, restore
from unstir.domains.molecules.strings.writing import write_strings as write_strings
from unstir.domains.rows import kept_apart
from unstir.training.data import Data

STRING_OPTIONS: dict[str, Any] = {"alphabet": "selfies", "length": None}
"""What molecules as strings may be told beside the options of all molecules."""
_SMILES_LISTS = (".smi", ".smiles", ".ism")
_TABLES = (".csv", ".tsv", ".txt", ".parquet", ".pq")
restore_strings = restore


@dataclass(frozen=True, eq=False)
class StringData:
    """Strings as classes, a row a molecule: ``state`` int64 (rows, length).

    ``smiles`` are the molecules, canonical; ``told`` the properties, a row each, and ``values`` the same in their own
    units. ``held_out`` are further molecules that the model does not see, ``remarks`` what a reader of the report must
    know of the reading.
    """

    name: str
    encoding: StringEncoding
    state: Tensor
    smiles: Sequence[str]
    told: Mapping[str, Tensor] = field(default_factory=dict)
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    held_out: "StringData | None" = None
    remarks: Sequence[str] = ()

    @property
    def shape(self) -> tuple[int]:
        """(length,)."""
        return (self.encoding.length,)

    @property
    def conditions(self) -> Mapping[str, Mapping[str, Any]]:
        """The properties, a number each."""
        return {name: {"size": 1} for name in self.told}

    @property
    def digest(self) -> str:
        """SHA-256 of the classes, the conditions and the encoding."""
        found = hashlib.sha256(json.dumps(self.encoding.record(), sort_keys=True).encode())
        for part in (self.state, *(self.told[name] for name in sorted(self.told))):
            found.update(part.contiguous().numpy().tobytes())
        return found.hexdigest()

    def __len__(self) -> int:
        return len(self.state)

    def batch(self, rows: np.ndarray, seeds: Seeds | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The rows of those numbers, with their properties; nothing is augmented."""
        chosen = torch.from_numpy(np.asarray(rows))
        return self.state[chosen], {name: values[chosen] for name, values in self.told.items()}


def read_strings(given: Mapping[str, Any]) -> StringData:
    """Molecules as strings from the (complete) options of a recipe's ``data``: of one molecule one string.

    - ``alphabet``: selfies, or smiles (canonical ones, with handedness).
    - ``length``: the most tokens; molecules with more are left out. By default none is.

    Handedness is that of the SMILES, or of the positions.
    """
    if given["alphabet"] not in ALPHABETS:
        raise unknown("alphabet of molecules' strings", str(given["alphabet"]), ALPHABETS)
    most = given["length"]
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 2):
        raise InputError(f"`data.length: {most!r}`: a whole number of tokens from 2 on is needed")
    if given["task"] != "generate" or given["composition"]:
        raise InputError(
            "strings are generated from nothing or from properties (`data.properties`): leave task and composition out"
        )
    collection, remarks = load(given, needs=("bonds",))
    written = _as_written(given, collection.structures)
    kept: dict[str, tuple[Molecule, list[str]]] = {}
    long, faults = 0, []
    for molecule in collection.structures:
        smiles = written.get(molecule.source) or smiles_of(molecule)
        try:
            tokens = tokens_of(smiles, given["alphabet"]) if smiles else []
        except InputError as error:
            faults.append(f"{molecule.source or molecule.name}: {error}")
            continue
        if not tokens:
            faults.append(f"{molecule.source or molecule.name}: its valences cannot be, so that it has no SMILES")
        elif most is not None and len(tokens) > most:
            long += 1
        else:
            kept.setdefault(smiles, (molecule, tokens))
    if faults and given["unreadable"] == "error":
        raise InputError(
            f"{collection.name}: {len(faults)} of {len(collection.structures)} molecules cannot be written as "
            f"{given['alphabet']}, the first: {faults[0]}. Leave them out with `data.unreadable=drop`"
        )
    if faults:
        remarks = [*remarks, f"{len(faults)} molecules have no string and are left out, the first: {faults[0]}."]
    if long:
        remarks = [*remarks, f"{long} molecules of more than {most} tokens are left out."]
    if (same := len(collection.structures) - len(faults) - long - len(kept)) > 0:
        remarks = [*remarks, f"{same} molecules are written as another one is, and left out."]
    return _data(collection.name, given, kept, remarks)


def _data(
    name: str, given: Mapping[str, Any], kept: Mapping[str, tuple[Molecule, list[str]]], remarks: Sequence[str]
) -> StringData:
    if len(kept) < 2:
        raise InputError(f"{name}: {len(kept)} molecules are left; at least two are needed")
    smiles, molecules, strings = list(kept), [one for one, _ in kept.values()], [listed for _, listed in kept.values()]
    tokens = tuple(sorted({token for listed in strings for token in listed}))
    length = given["length"] or max(len(listed) for listed in strings)
    train, apart = kept_apart(len(smiles), given["held_out"], given["seed"])
    rows = [molecules[row] for row in train.tolist()]
    known = tuple(fitted_property(asked, key, rows) for asked, key in wanted(given["properties"]).items())
    encoding = StringEncoding(given["alphabet"], tokens, length, known)

    def part(title: str, chosen: np.ndarray, **more: Any) -> StringData:
        own = [smiles[row] for row in chosen.tolist()]
        values = {one.name: np.array([molecules[row].properties[one.name] for row in chosen.tolist()]) for one in known}
        told = {one.name: torch.from_numpy(one.standard(values[one.name])).float()[:, None] for one in known}
        state = encoding.numbered([strings[row] for row in chosen.tolist()])
        return StringData(title, encoding, state, own, told, values, **more)

    second = part(f"{name}, held out", apart) if len(apart) else None
    return part(name, train, held_out=second, remarks=tuple(remarks))


def _as_written(given: Mapping[str, Any], molecules: Sequence[Molecule]) -> dict[str, str]:
    """The canonical SMILES of a table's rows by their place: arrays of atoms and bonds know no handedness."""
    if given["path"] is None or given["hydrogens"] not in ("keep", "drop"):
        return {}
    path = Path(str(given["path"])).expanduser()
    suffix = path.suffix.lower()
    rows: Sequence[Any] = []
    if given["kind"] == "smiles" or (given["kind"] is None and suffix in _SMILES_LISTS):
        rows = smiles_rows(path)
    elif given["kind"] == "table" or (given["kind"] is None and suffix in _TABLES):
        found, kind = table_rows(path, given["column"])
        rows = found if kind == "smiles" else []
    Chem = rdkit_chem("reading SMILES")
    wanted_rows = {molecule.source for molecule in molecules}
    written = {}
    with silent():
        for row in rows:
            if isinstance(row, Row) and row.source in wanted_rows and (mol := Chem.MolFromSmiles(row.text)):
                written[row.source] = str(Chem.MolToSmiles(mol))
    return written


def string_process(data: Data) -> dict[str, Any]:
    """Masking, with as many tokens masked in one part of the time as in any other of the same length."""
    encoding: StringEncoding = data.encoding  # type: ignore[attr-defined]
    return {
        "name": "categorical",
        "classes": encoding.classes,
        "rates": "absorbing",
        "schedule": {"name": "log-linear"},
    }


def string_network(data: Data) -> dict[str, Any]:
    """A small transformer over the tokens, which knows its neighbours at once."""
    encoding: StringEncoding = data.encoding  # type: ignore[attr-defined]
    return {
        "name": "diffusion-transformer",
        "tokens": "sequence",
        "width": 128,
        "depth": 4,
        "head_width": 32,
        "embedding": 64,
        "neighbours": 5,
        "stem_scale": round(encoding.classes**0.5, 3),  # one-hot codes are nearly all zeros
    }

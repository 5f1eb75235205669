"""Molecules as files: SDF, XYZ, tables of SMILES, ASE's databases; and a summary of what was drawn."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from unstir.core.errors import InputError, suggest, unknown
from unstir.domains.delimited import csv_text, write_whole
from unstir.domains.matter.elements import symbol_of
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.encoding import COMPOSITION, MoleculeEncoding
from unstir.domains.molecules.files.convert import ase_package, quiet, rdkit_chem, to_ase, to_rdkit
from unstir.domains.molecules.perceiving import with_bonds

SUFFIXES = (".sdf", ".xyz", ".extxyz", ".csv", ".smi", ".db")


def write_molecules(
    encoding: Any,
    state: Any,
    folder: str | Path,
    labels: Any = None,
    first: int = 0,
    overwrite: bool = False,
    condition: Mapping[str, Any] | None = None,
    kind: str | None = None,
) -> list[Path]:
    """Writes the samples ``first``, ``first + 1``, ... into a folder, and a table of them beside; returns the files.

    ``kind`` is one of .sdf, .xyz, .extxyz, .csv, .smi, .db; without it SDF where the model tells bonds. Where it does
    not, .extxyz holds all samples, and SDF those whose bonds can be found from their positions. A file of other content
    is never replaced unless ``overwrite``: InputError.
    """
    if hasattr(encoding, "alphabet"):
        from unstir.domains.molecules.strings.data import write_strings

        return write_strings(encoding, state, folder, first=first, overwrite=overwrite)
    if kind is not None and kind not in SUFFIXES:
        raise unknown("kind of file for molecules", kind, SUFFIXES)
    folder = Path(folder)
    molecules = [
        replace(one, name=f"sample {first + row}") for row, one in enumerate(encoding.decode(state, condition))
    ]
    stem = f"samples-{first:06d}"
    graphs = [molecule if molecule.bonds is not None else _perceived(molecule) for molecule in molecules]
    if kind is not None:
        files = {folder / f"{stem}{kind}": contents(molecules, kind)}
    elif all(molecule.bonds is not None for molecule in molecules):
        files = {folder / f"{stem}.sdf": contents(molecules, ".sdf")}
    else:
        found = [graph for graph in graphs if graph is not None]
        files = {folder / f"{stem}.extxyz": contents(molecules, ".extxyz")}
        if found:
            files[folder / f"{stem}.sdf"] = contents(found, ".sdf")
    summary = folder / f"{stem}.csv"
    if summary not in files:
        files[summary] = csv_text(_summary(encoding, molecules, graphs, first, condition or {})).encode()
    return [write_whole(path, content, overwrite) for path, content in files.items()]


def write_file(molecules: Sequence[Molecule], path: str | Path, overwrite: bool = False) -> Path:
    """Writes molecules into one file, whose suffix says how: .sdf, .xyz, .extxyz, .csv, .smi or .db."""
    path = Path(path).expanduser()
    return write_whole(path, contents(molecules, path.suffix.lower()), overwrite)


def contents(molecules: Sequence[Molecule], suffix: str) -> bytes:
    """What a file with these molecules holds; InputError for an unknown suffix, and for what it cannot hold."""
    if suffix not in SUFFIXES:
        raise InputError(f"{suffix!r} is no suffix of a file for molecules; {suggest(suffix, SUFFIXES)}")
    if suffix == ".sdf":
        return _sdf(molecules).encode()
    if suffix in (".xyz", ".extxyz"):
        return "".join(_xyz(molecule, suffix == ".extxyz") for molecule in molecules).encode()
    if suffix == ".db":
        return _database(molecules)
    rows = [(smiles_of(molecule), molecule) for molecule in molecules]
    if suffix == ".smi":
        return "".join(f"{smiles} {molecule.name}\n" for smiles, molecule in rows if smiles).encode()
    names = list(dict.fromkeys(name for molecule in molecules for name in molecule.properties))
    return csv_text(
        {
            "name": [molecule.name for molecule in molecules],
            "smiles": [smiles for smiles, _ in rows],
            **{name: [_number(one.properties.get(name)) for one in molecules] for name in names},
        }
    ).encode()


def smiles_of(molecule: Molecule) -> str:
    """The canonical SMILES with handedness; empty for a molecule without bonds, or whose valences cannot be."""
    Chem = rdkit_chem()
    if molecule.bonds is None:
        return ""
    try:
        mol = to_rdkit(molecule)
        with quiet():
            return str(Chem.MolToSmiles(Chem.RemoveHs(mol)))
    except (InputError, ValueError):
        return ""


def formula_of(numbers: np.ndarray) -> str:
    """The formula as Hill writes it: carbon, hydrogen, then the others by the alphabet."""
    counts: dict[str, int] = {}
    for number in numbers.tolist():
        counts[symbol_of(number)] = counts.get(symbol_of(number), 0) + 1
    lead = ["C", "H"] if "C" in counts else []
    order = [one for one in lead if one in counts] + sorted(set(counts) - set(lead))
    return "".join(f"{symbol}{counts[symbol] if counts[symbol] > 1 else ''}" for symbol in order)


def _perceived(molecule: Molecule) -> Molecule | None:
    try:
        return with_bonds(molecule)
    except InputError:
        return None


def _sdf(molecules: Sequence[Molecule]) -> str:
    Chem = rdkit_chem("writing SDF files")
    text = io.StringIO()
    writer = Chem.SDWriter(text)
    writer.SetKekulize(False)
    for molecule in molecules:
        with quiet():
            # a sample may have valences that cannot be: it is written as it is, for the reader to judge
            mol = to_rdkit(molecule, sanitise=False)
            mol.UpdatePropertyCache(strict=False)
            for name, value in molecule.properties.items():
                mol.SetProp(name, _number(value))
            writer.write(mol)
    writer.close()
    return text.getvalue()


def _xyz(molecule: Molecule, extended: bool) -> str:
    if molecule.positions is None:
        raise InputError(f"{molecule.name or 'a molecule'} has no positions, which XYZ needs; take .sdf or .smi")
    charged = extended and molecule.charges is not None
    comment = molecule.name.replace("\n", " ")
    if extended:
        layout = "species:S:1:pos:R:3" + (":formal_charges:I:1" if charged else "")
        told = [f"Properties={layout}", *([f'name="{comment}"'] if comment else [])]
        told += [f"{name.replace(' ', '_')}={_number(value)}" for name, value in molecule.properties.items()]
        if molecule.bonds is not None:
            pairs = np.argwhere(np.triu(molecule.bonds, 1)).tolist()
            told.append(f'bonds="_JSON {[[i, j, int(molecule.bonds[i, j])] for i, j in pairs]}"')
        comment = " ".join([*told, 'pbc="F F F"'])
    lines = [str(len(molecule)), comment]
    single = np.array_equal(molecule.positions.astype(np.float32), molecule.positions)
    places = molecule.positions.astype(np.float32) if single else molecule.positions
    for atom, number in enumerate(molecule.numbers.tolist()):
        # the fewest digits that give the same number back
        point = [np.format_float_positional(value, unique=True, trim="0") for value in places[atom]]
        end = [f"{int(molecule.charges[atom]):3d}"] if charged else []  # type: ignore[index]
        lines.append(" ".join([f"{symbol_of(number):<2}", *(f"{value:>14}" for value in point), *end]))
    return "\n".join(lines) + "\n"


def _database(molecules: Sequence[Molecule]) -> bytes:
    ase_package("writing ASE's databases")
    from ase.db import connect

    with TemporaryDirectory() as folder:
        path = Path(folder) / "molecules.db"
        with connect(str(path)) as database:
            for molecule in molecules:
                atoms = to_ase(molecule)
                data = {"bonds": atoms.info.pop("bonds")} if "bonds" in atoms.info else {}
                pairs = {name: value for name, value in atoms.info.items() if str(name).isidentifier()}
                database.write(atoms, key_value_pairs=pairs, data=data)
        return path.read_bytes()


def _summary(
    encoding: MoleculeEncoding,
    molecules: Sequence[Molecule],
    graphs: Sequence[Molecule | None],
    first: int,
    condition: Mapping[str, Any],
) -> dict[str, list[str]]:
    """A row for each sample: its number, formula, atoms, SMILES where it has one, and what was asked for."""
    table = {
        "sample": [str(first + row) for row in range(len(molecules))],
        "formula": [formula_of(molecule.numbers) for molecule in molecules],
        "atoms": [str(len(molecule)) for molecule in molecules],
        "smiles": [smiles_of(graph) if graph is not None else "" for graph in graphs],
    }
    for known in encoding.properties:
        if known.name in condition:
            values = known.own(np.asarray(condition[known.name], dtype=np.float64)[:, 0])
            digits = 4 - math.floor(math.log10(known.deviation))  # what single precision has of it
            table[f"asked {known.name}"] = [_number(round(value, digits) + 0.0) for value in values.tolist()]
    if COMPOSITION in condition and encoding.composition:
        asked = encoding.counts(condition[COMPOSITION]).numpy()
        table["asked formula"] = [formula_of(np.repeat(encoding.elements, counts)) for counts in asked]
    return table


def _number(value: float | None) -> str:
    return "" if value is None else np.format_float_positional(value, trim="-")

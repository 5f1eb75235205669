"""Generated crystals as files: CIF, POSCAR, extended XYZ, tables, ASE databases."""

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unstir.core.errors import InputError, NotInstalledError, unknown
from unstir.domains.crystals.convert import to_ase
from unstir.domains.crystals.encoding import CrystalEncoding, Scaling
from unstir.domains.crystals.lattices import answer_of
from unstir.domains.delimited import csv_text, write_whole
from unstir.domains.matter.elements import symbol_of
from unstir.domains.matter.structures import Crystal

_FLATTEST = 60.0
_MANY = 1000  # files in a folder
TOLERANCE = 0.1
"""Angstrom within which atoms of a sample are taken for symmetric, in the summary's column ``space_group``."""


def write_crystals(
    encoding: CrystalEncoding,
    state: Mapping[str, Tensor],
    folder: str | Path,
    labels: Any = None,
    first: int = 0,
    kind: str | None = None,
    overwrite: bool = False,
    condition: Mapping[str, Tensor] | None = None,
) -> list[Path]:
    """Writes the samples numbered ``first``, ``first + 1``, ...; returns the files, the summary last.

    kind: ``cif`` or ``poscar``, a file for each, ``000017.cif``; or one file for all, ``extxyz``, ``csv`` or
        ``parquet`` with the structures as CIF in a column, ``ase-db``. Each can be read again as ``data.path``. Else
        ``cif``, and ``csv`` for more than a thousand samples.
    condition: what the samples were drawn under; asked properties stand in the summary.

    The summary, ``samples-000000.summary.csv``, has a line for each sample: formula, space group by spglib within 0.1
    angstrom (empty where spglib is not installed), sites, volume and the cell. A file of other content is never
    replaced unless ``overwrite``: InputError.
    """
    kind = kind or ("cif" if len(state["lattice"]) <= _MANY else "csv")
    if kind not in _KINDS:
        raise unknown("kind of file of crystals", kind, _KINDS)
    if labels is not None:
        raise InputError("crystals have no labels; leave them out")
    crystals = encoding.decode(state, condition)
    computed = [Scaling(name, *scale) for name, scale in encoding.told.get("scalings", {}).items()]
    asked = {
        f"asked_{scaling.name}": scaling.decode(condition[scaling.name])
        for scaling in (*encoding.properties, *computed)
        if condition and scaling.name in condition
    }
    written = write_structures(crystals, folder, kind, first, overwrite)
    path = Path(folder) / f"samples-{first:06d}.summary.csv"
    return [*written, write_whole(path, csv_text(summary(crystals, first, asked)).encode(), overwrite)]


def write_structures(
    crystals: Sequence[Crystal], folder: str | Path, kind: str = "cif", first: int = 0, overwrite: bool = False
) -> list[Path]:
    """Crystals that are decoded already, as files of that kind; see ``write_crystals``."""
    if kind not in _KINDS:
        raise unknown("kind of file of crystals", kind, _KINDS)
    folder = Path(folder)
    suffix, make = _KINDS[kind]
    if kind in _SINGLE:
        contents = {folder / f"{first + row:06d}{suffix}": make([each], first) for row, each in enumerate(crystals)}
    else:
        contents = {folder / f"samples-{first:06d}{suffix}": make(crystals, first)}
    if kind == "ase-db" and not overwrite:  # which keeps the time of writing, so that no two are the same
        for path in contents:
            if path.exists():
                raise InputError(f"{path}: there is a database here already; choose another folder, or overwrite it")
    return [write_whole(path, content, overwrite or kind == "ase-db") for path, content in contents.items()]


def summary(crystals: Sequence[Crystal], first: int, more: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
    """The columns of the summary, as text."""
    lengths = [np.linalg.norm(crystal.cell, axis=1) for crystal in crystals]
    angles = [_angles(crystal.cell) for crystal in crystals]
    groups = [space_group(crystal, TOLERANCE) for crystal in crystals]
    found = {
        "sample": [str(first + row) for row in range(len(crystals))],
        "formula": [formula(crystal) for crystal in crystals],
        "space_group": [symbol for symbol, _ in groups],
        "space_group_number": [str(number or "") for _, number in groups],
        "sites": [str(len(crystal)) for crystal in crystals],
        "volume_per_atom": [f"{crystal.volume / max(len(crystal), 1):.4f}" for crystal in crystals],
    }
    for place, name in enumerate("abc"):
        found[name] = [f"{each[place]:.4f}" for each in lengths]
    for place, name in enumerate(("alpha", "beta", "gamma")):
        found[name] = [f"{each[place]:.3f}" for each in angles]
    return {**found, **{name: [f"{value:.6g}" for value in values] for name, values in more.items()}}


def space_group(crystal: Crystal, tolerance: float) -> tuple[str, int]:
    """The international symbol and number of the space group by spglib; ("", 0) where it finds none or is missing.

    Cells so flat that looking for their symmetry would take seconds, which an untrained model draws, count as none.
    """
    stretches = np.linalg.svd(crystal.cell, compute_uv=False)
    if stretches[0] > _FLATTEST * stretches[-1]:
        return "", 0
    try:
        import spglib
    except ImportError:
        return "", 0
    cell: Any = (crystal.cell, crystal.fractional, crystal.numbers)
    found = answer_of(lambda: spglib.get_symmetry_dataset(cell, symprec=tolerance))
    return ("", 0) if found is None else (str(found.international), int(found.number))


def formula(crystal: Crystal) -> str:
    """The formula of the cell, ``CaTiO3``: elements in the order in which they first occur."""
    counts: dict[int, int] = {}
    for number in crystal.numbers.tolist():
        counts[number] = counts.get(number, 0) + 1
    return "".join(f"{_symbol(number)}{count if count > 1 else ''}" for number, count in counts.items())


def cif_text(crystal: Crystal, name: str = "") -> str:
    """A crystal as CIF without symmetry, every site written out; eight decimals."""
    numbers = [*np.linalg.norm(crystal.cell, axis=1), *_angles(crystal.cell)]
    items = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = [f"data_{name or formula(crystal)}", "_symmetry_space_group_name_H-M   'P 1'"]
    lines += ["_symmetry_Int_Tables_number   1"]
    lines += [f"_cell_{item}   {number:.10f}" for item, number in zip(items, numbers, strict=True)]
    lines += [f"_cell_volume   {crystal.volume:.8f}", f"_chemical_formula_sum   '{_spaced(crystal)}'"]
    lines += ["loop_", " _symmetry_equiv_pos_site_id", " _symmetry_equiv_pos_as_xyz", "  1  'x, y, z'", "loop_"]
    sites = ("type_symbol", "label", "symmetry_multiplicity", "fract_x", "fract_y", "fract_z", "occupancy")
    lines += [f" _atom_site_{item}" for item in sites]
    for place, (number, point) in enumerate(zip(crystal.numbers.tolist(), crystal.fractional, strict=True)):
        symbol = _symbol(number)
        lines.append(f"  {symbol}  {symbol}{place}  1  {point[0]:.8f}  {point[1]:.8f}  {point[2]:.8f}  1")
    return "\n".join(lines) + "\n"


def poscar_text(crystal: Crystal) -> str:
    """A crystal as POSCAR of VASP 5, in direct coordinates; sites of one element stand together."""
    order = np.argsort(crystal.numbers, kind="stable")
    numbers, counts = np.unique(crystal.numbers, return_counts=True)
    lines = [formula(crystal), "1.0"]
    lines += ["  ".join(f"{value:.10f}" for value in vector) for vector in crystal.cell]
    lines += [" ".join(_symbol(number) for number in numbers.tolist()), " ".join(map(str, counts.tolist())), "Direct"]
    lines += ["  ".join(f"{value:.10f}" for value in crystal.fractional[place]) for place in order]
    return "\n".join(lines) + "\n"


def _extxyz(crystals: Sequence[Crystal], first: int) -> bytes:
    try:
        import ase.io
    except ImportError:
        raise NotInstalledError("ase", "crystals", "writing extended XYZ") from None
    text = io.StringIO()
    ase.io.write(text, [_known(crystal) for crystal in crystals], format="extxyz")
    return text.getvalue().encode()


def _database(crystals: Sequence[Crystal], first: int) -> bytes:
    try:
        import ase.db
    except ImportError:
        raise NotInstalledError("ase", "crystals", "writing an ASE database") from None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.db"
        with ase.db.connect(str(path), use_lock_file=False) as database:
            for row, crystal in enumerate(crystals):
                database.write(_known(crystal), sample=first + row)
        return path.read_bytes()


def _csv(crystals: Sequence[Crystal], first: int) -> bytes:
    return csv_text({name: [str(cell) for cell in cells] for name, cells in _columns(crystals, first).items()}).encode()


def _parquet(crystals: Sequence[Crystal], first: int) -> bytes:
    try:
        from pyarrow import BufferOutputStream, parquet, table
    except ImportError:
        raise NotInstalledError("pyarrow", "crystals", "writing Parquet") from None
    sink = BufferOutputStream()
    parquet.write_table(table(_columns(crystals, first)), sink)
    return sink.getvalue().to_pybytes()


def _columns(crystals: Sequence[Crystal], first: int) -> dict[str, list[Any]]:
    return {
        "sample": [first + row for row in range(len(crystals))],
        "formula": [formula(crystal) for crystal in crystals],
        "cif": [cif_text(crystal) for crystal in crystals],
    }


def _known(crystal: Crystal) -> Any:
    formula(crystal)  # refuses elements that are not known
    return to_ase(crystal)


_KINDS: dict[str, tuple[str, Callable[[Sequence[Crystal], int], bytes]]] = {
    "cif": (".cif", lambda crystals, first: cif_text(crystals[0]).encode()),
    "poscar": (".vasp", lambda crystals, first: poscar_text(crystals[0]).encode()),
    "extxyz": (".extxyz", _extxyz),
    "csv": (".csv", _csv),
    "parquet": (".parquet", _parquet),
    "ase-db": (".db", _database),
}
_SINGLE = ("cif", "poscar")


def _symbol(number: int) -> str:
    if number < 1:
        raise InputError("this crystal has sites whose element is not known yet; draw it to the end before writing it")
    return symbol_of(number)


def _spaced(crystal: Crystal) -> str:
    numbers, counts = np.unique(crystal.numbers, return_counts=True)
    return " ".join(
        f"{_symbol(number)}{count}" for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
    )


def _angles(cell: np.ndarray) -> np.ndarray:
    """alpha, beta, gamma in degrees."""
    unit = cell / np.linalg.norm(cell, axis=1, keepdims=True)
    cosines = np.array([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]])
    return np.asarray(np.degrees(np.arccos(np.clip(cosines, -1, 1))))

"""POSCAR and CONTCAR, VASP's files of structures."""

import warnings
from collections.abc import Iterator
from pathlib import Path

from unstir.core.errors import InputError, NotInstalledError
from unstir.domains.crystals.convert import from_pymatgen
from unstir.domains.matter.structures import Crystal, Unread


def read_poscar(path: Path) -> Iterator[Crystal | Unread]:
    """The one structure of a POSCAR, whose sixth line must name the elements (VASP 5 and later)."""
    try:
        from pymatgen.io.vasp import Poscar
    except ImportError:
        raise NotInstalledError("pymatgen", "crystals", "reading a POSCAR") from None
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    if len(lines) > 5 and lines[5].split() and all(word.isdigit() for word in lines[5].split()):
        yield Unread(path.name, "its sixth line names no elements (a file of VASP 4); write them above the counts")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield from_pymatgen(Poscar.from_str(text, read_velocities=False).structure, source=path.name)
        except InputError as error:
            yield Unread(path.name, str(error))
        except Exception as error:  # a parser of other people's files fails in many ways, and all mean the same
            told = " ".join(str(error).split())[:200]
            yield Unread(path.name, f"it cannot be read as POSCAR ({told or type(error).__name__})")

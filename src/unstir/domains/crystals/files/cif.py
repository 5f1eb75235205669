"""CIF: the plain kind, every site written out, read here; whatever has symmetry or peculiarities, by pymatgen."""

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from unstir.core.errors import InputError, NotInstalledError
from unstir.domains.crystals.convert import from_pymatgen, made
from unstir.domains.matter.elements import number_of
from unstir.domains.matter.structures import Crystal, Unread

_TOKEN = re.compile(
    r"""(?P<text>^;(?:.|\n)*?^;)|'(?P<single>(?:[^'\n]|'(?=\S))*)'|"(?P<double>(?:[^"\n]|"(?=\S))*)"|"""
    r"""(?P<comment>\#.*)|(?P<plain>\S+)""",
    re.MULTILINE,
)
_CELL = tuple(
    f"_cell_{part}" for part in ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
)
_SITES = tuple(f"_atom_site_fract_{axis}" for axis in "xyz")
_OPERATIONS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
_GROUPS = {
    "_symmetry_int_tables_number": "1",
    "_space_group_it_number": "1",
    "_symmetry_space_group_name_h-m": "p1",
    "_space_group_name_h-m_alt": "p1",
}
_SYMBOL = re.compile(r"([A-Z][a-z]?)(?:\d*[+-]?\d*)$")


def read_cif_file(path: Path) -> Iterator[Crystal | Unread]:
    """Every structure of a CIF file, one for each of its data blocks that has atoms."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        text = path.read_text(encoding="latin-1")
    yield from read_cif(text, path.name)


def read_cif(text: str, source: str) -> Iterator[Crystal | Unread]:
    """Every structure of a CIF's text; ``source`` says where it is from.

    A block without cell and atoms beside others that have them (a publication's heading) is passed over. Reference:
    Hall, Allen, Brown, The crystallographic information file (1991).
    """
    blocks = [block for block in _blocks(text) if any(name.startswith(("_cell_", "_atom_site")) for name in block[2])]
    if not blocks:
        yield Unread(source, "no CIF with a cell and atoms")
    for place, (name, piece, values) in enumerate(blocks, 1):
        where = source if len(blocks) == 1 else f"{source}, block {place} ({name})"
        try:
            yield _plain(values, name, where) or _by_pymatgen(piece, where)
        except InputError as error:
            yield Unread(where, str(error))


def _plain(values: Mapping[str, list[str]], name: str, source: str) -> Crystal | None:
    """The structure of a block that writes out every site; None for one with anything else about it."""
    columns = [values.get(column, []) for column in _SITES]
    symbols = values.get("_atom_site_type_symbol") or values.get("_atom_site_label") or []
    if any(len(column) != len(symbols) for column in columns) or not symbols:
        return None
    operations = [operation for each in _OPERATIONS for operation in values.get(each, [])]
    groups = [values[each][0].replace(" ", "").lower() == plain for each, plain in _GROUPS.items() if each in values]
    alone = [operation.replace(" ", "").lower() for operation in operations] == ["x,y,z"]
    if not alone and (operations or not all(groups)):
        return None
    matched = [_SYMBOL.match(symbol) for symbol in symbols]
    try:
        shares = [_number(share) for share in values.get("_atom_site_occupancy", [])]
        hydrogens = [_number(count) for count in values.get("_atom_site_attached_hydrogens", [])]
        lengths, angles = np.split(np.array([_number(values[each][0]) for each in _CELL]), 2)
        fractional = np.array([[_number(cell) for cell in column] for column in columns]).T
    except (KeyError, ValueError):
        return None
    if any(share != 1 for share in shares) or any(hydrogens) or not all(matched):
        return None
    numbers = [number_of(match.group(1)) for match in matched if match]
    return made(numbers, fractional, cell_of(lengths, angles), {}, name, source)


def cell_of(lengths: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """The cell of lengths (3,) in angstrom and angles (3,) in degrees, in standard orientation.

    Raises InputError where no three vectors have such lengths and angles.
    """
    alpha, beta, gamma = np.cos(np.radians(angles))
    # right angles are right to the last digit
    alpha, beta, gamma = (0.0 if abs(cosine) < 1e-15 else float(cosine) for cosine in (alpha, beta, gamma))
    sine = math.sqrt(max(1 - gamma**2, 0.0))
    rest = 1 - alpha**2 - beta**2 - gamma**2 + 2 * alpha * beta * gamma
    if not (lengths > 0).all() or sine < 1e-9 or rest <= 1e-12:
        raise InputError(
            f"lengths {lengths.tolist()} and angles {angles.tolist()} make a cell without volume; correct them"
        )
    across = (alpha - beta * gamma) / sine
    return np.asarray(
        lengths[:, None] * np.array([[1, 0, 0], [gamma, sine, 0], [beta, across, math.sqrt(rest) / sine]])
    )


def _by_pymatgen(text: str, source: str) -> Crystal:
    try:
        from pymatgen.io.cif import CifParser
    except ImportError:
        raise NotInstalledError("pymatgen", "crystals", "a CIF with symmetry operations") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            structures = CifParser.from_str(text).parse_structures(primitive=False, on_error="raise")
        except Exception as error:  # a parser of other people's files fails in many ways, and all mean the same
            told = " ".join(str(error).split())[:200]
            raise InputError(f"it cannot be read as CIF ({told or type(error).__name__})") from None
    if not structures:
        raise InputError("no CIF with a cell and atoms")
    return from_pymatgen(structures[0], source=source)


def _blocks(text: str) -> Iterator[tuple[str, str, dict[str, list[str]]]]:
    """Each data block: its name, its text, and the values of its items, in lower case, as lists."""
    name, start, values = "", 0, dict[str, list[str]]()
    loop: list[str] | None = None  # the items of the loop that is being read
    item, count = "", 0
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "comment":
            continue
        word = token.group(kind or 0)
        plain = kind == "plain"
        if plain and word.lower().startswith("data_"):
            if values:
                yield name, text[start : token.start()], values
            name, start, values, loop, item = word[5:], token.start(), {}, None, ""
        elif plain and word.lower() == "loop_":
            loop, item, count = [], "", 0
        elif plain and word.startswith("_"):
            if loop is not None and count == 0:
                loop.append(word.lower())
            else:
                loop, item = None, word.lower()
            values[word.lower()] = []
        elif loop:
            values[loop[count % len(loop)]].append(word)
            count += 1
        elif item:
            values[item].append(word)
            item = ""
    if values:
        yield name, text[start:], values


def _number(text: str) -> float:
    """A number, its standard uncertainty in brackets left out."""
    return float(text.partition("(")[0])

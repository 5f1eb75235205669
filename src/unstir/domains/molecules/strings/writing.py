"""Drawn strings as a table."""

from pathlib import Path
from typing import Any

from torch import Tensor

from unstir.core.errors import InputError
from unstir.domains.delimited import csv_text, write_whole
from unstir.domains.molecules.strings.encoding import StringEncoding
from unstir.domains.molecules.strings.measures import DESCRIPTORS, described


def write_strings(
    encoding: StringEncoding,
    state: Tensor,
    folder: str | Path,
    labels: Any = None,
    first: int = 0,
    overwrite: bool = False,
) -> list[Path]:
    """Writes the samples ``first``, ``first + 1``, ... as one table, and a list of SMILES beside; returns both files.

    The table has the number of each sample, its string as drawn, the canonical SMILES (empty where it is no molecule)
    and what RDKit computes of it. The list has the molecules alone, with the samples' numbers as names. A file of other
    content is never replaced unless ``overwrite``: InputError. Molecules have no ``labels``: InputError if there are
    some.
    """
    if labels is not None:
        raise InputError("molecules have no labels; leave them out")
    drawn, smiles = encoding.shown(state), encoding.decode(state)
    values = described(smiles)
    columns: dict[str, list[str]] = {
        "sample": [str(first + row) for row in range(len(smiles))],
        encoding.alphabet if encoding.alphabet != "smiles" else "drawn": ["".join(tokens) for tokens in drawn],
        "smiles": list(smiles),
    }
    for name in DESCRIPTORS:
        told = iter(values[name].tolist())
        columns[name] = [f"{next(told):.6g}" if one else "" for one in smiles]
    listed = "".join(f"{one} sample-{first + row}\n" for row, one in enumerate(smiles) if one)
    stem = Path(folder) / f"samples-{first:06d}"
    return [
        write_whole(stem.with_suffix(".csv"), csv_text(columns).encode(), overwrite),
        write_whole(stem.with_suffix(".smi"), listed.encode(), overwrite),
    ]

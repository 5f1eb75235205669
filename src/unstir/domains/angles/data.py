"""Angles, ready for training: a file of one's own, or backbone torsions drawn from an exact law."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.domains.angles.backbone import backbone_law, backbone_names
from unstir.domains.angles.encoding import AngleEncoding, encoding_for
from unstir.domains.delimited import as_numbers, read_columns
from unstir.domains.rows import RowData, checked_options, divided, kept_apart
from unstir.formats.base import find_format
from unstir.training.data import Data

_OPTIONS = {
    "path": None,
    "name": None,
    "unit": None,
    "period": None,
    "columns": None,
    "missing": "error",
    "values": None,
    "residues": 4,
    "count": 20000,
    "held_out": 0.1,
    "seed": 0,
}
_EMBEDDED = "backbone"


def read_angles(options: Mapping[str, Any]) -> RowData:
    """Rows of angles from the options of a recipe's ``data``.

    - ``path``: .csv with the names of the columns in its first line (of which ``columns`` names those to take), .npy or
      .npz of shape (rows, angles) (``columns`` then names all angles; ``values`` the array in an .npz). ``unit``:
      degrees, radians, turns, gon or hours; or ``period``, the number at which the angles begin anew. ``missing``:
      error, or drop for rows with empty cells.
    - without a path ``name: backbone``, torsions of ``residues`` (up to 5) residues, ``count`` rows, drawn by ``seed``.
    - ``held_out``: the share of rows, drawn by ``seed``, that is kept apart to judge by.
    """
    given = checked_options(options, _OPTIONS, "option of the field 'angles'")
    if given["path"] is None:
        return _embedded(given)
    path = Path(str(given["path"])).expanduser()
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        texts = read_columns(path, given["columns"], given["missing"])
        names = tuple(texts)
        values = np.stack([as_numbers(column, name, str(path)) for name, column in texts.items()], 1)
    else:
        values, names = _array(path, given)
    encoding = encoding_for(values, names, given["unit"], given["period"], str(path))
    return _divided(str(given["name"] or path.name), encoding, values, given)


def _embedded(given: Mapping[str, Any]) -> RowData:
    if given["name"] not in (None, _EMBEDDED):
        raise unknown("embedded data of angles", str(given["name"]), [_EMBEDDED])
    count = given["count"]
    if isinstance(count, bool) or not isinstance(count, int) or count < 4:
        raise InputError(f"`data.count: {count!r}`: at least 4 rows are needed")
    law = backbone_law(given["residues"])
    drawn = law.draw(Seeds.range(given["seed"], count).at(_EMBEDDED))
    encoding = AngleEncoding(backbone_names(given["residues"]), "degrees", 360.0, -180.0)
    values = encoding.decode(drawn)
    return _divided(f"{_EMBEDDED} torsions of {given['residues']} residues", encoding, values, given, law)


def _divided(
    name: str, encoding: AngleEncoding, values: np.ndarray, given: Mapping[str, Any], law: Any = None
) -> RowData:
    first, second = divided(encoding.encode(values), *kept_apart(len(values), given["held_out"], given["seed"]))
    apart = RowData(f"{name}, held out", encoding, second, law=law) if len(second) else None
    return RowData(name, encoding, first, apart, law)


def _array(path: Path, given: Mapping[str, Any]) -> tuple[np.ndarray, tuple[str, ...]]:
    found, chosen = find_format(path)
    options = {} if given["values"] is None else {"values": given["values"]}
    chosen.check(options, path)
    samples = chosen.read(found, **options)
    values = np.asarray(samples.values[np.arange(len(samples))], dtype=np.float64)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2:
        raise InputError(f"{path}: rows of angles are needed, (rows, angles); seen an array of shape {values.shape}")
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
        raise InputError(f"{path}, row {row}: an angle is not finite; leave such rows out")
    names = given["columns"] or [f"angle{number}" for number in range(1, values.shape[1] + 1)]
    if len(names) != values.shape[1]:
        raise InputError(f"{path}: {values.shape[1]} angles a row, but `data.columns` names {len(names)}")
    return values, tuple(map(str, names))


def default_process(data: Data) -> dict[str, Any]:
    """Brownian motion on the torus of period one, from a thousandth of a turn to uniform."""
    return {
        "name": "wrapped",
        "period": 1.0,
        "schedule": {"name": "exponential-ve", "sigma_min": 0.003, "sigma_max": 1.0},
    }


def default_network(data: Data) -> dict[str, Any]:
    """A perceptron whose width grows with the number of angles, up to 512."""
    width = 128 * int(np.clip(np.ceil(np.log2(max(data.shape[0], 2))) - 1, 1, 4))
    return {"name": "mlp", "width": width, "depth": 4, "embedding": 64}

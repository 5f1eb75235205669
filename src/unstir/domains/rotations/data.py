"""Rotations, ready for training: a file of one's own, or orientations drawn from an exact law."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.domains.delimited import as_numbers, read_columns
from unstir.domains.rotations.encoding import RotationEncoding
from unstir.domains.rotations.texture import texture_law
from unstir.domains.rows import RowData, checked_options, divided, kept_apart
from unstir.formats.base import find_format
from unstir.training.data import Data

_OPTIONS = {
    "path": None,
    "name": None,
    "scalar": "last",
    "columns": None,
    "missing": "error",
    "values": None,
    "count": 20000,
    "held_out": 0.1,
    "seed": 0,
}
_EMBEDDED = "texture"


def read_rotations(options: Mapping[str, Any]) -> RowData:
    """Rows of rotations from the options of a recipe's ``data``.

    - ``path``: .npy or .npz of quaternions (rows, 4) or (rows, rotations, 4), or of matrices (rows, 3, 3) or (rows,
      rotations, 3, 3) (``values`` names the array in an .npz); or .csv with a line of names above four columns a
      quaternion, or nine a matrix, row by row (``columns`` names them in that order, else all are taken).
      ``scalar``: last (x, y, z, w; SciPy's way) or first. ``missing``: error, or drop for rows with empty cells.
    - without a path ``name: texture``, orientations of grains in a rolled metal, ``count`` rows, drawn by ``seed``.
    - ``held_out``: the share of rows, drawn by ``seed``, that is kept apart to judge by.
    """
    given = checked_options(options, _OPTIONS, "option of the field 'rotations'")
    if given["path"] is None:
        return _embedded(given)
    path = Path(str(given["path"])).expanduser()
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        texts = read_columns(path, given["columns"], given["missing"])
        values = np.stack([as_numbers(column, name, str(path)) for name, column in texts.items()], 1)
        values = values.reshape(len(values), 3, 3) if values.shape[1] == 9 else values
    else:
        found, chosen = find_format(path)
        named = {} if given["values"] is None else {"values": given["values"]}
        chosen.check(named, path)
        samples = chosen.read(found, **named)
        values = np.asarray(samples.values[np.arange(len(samples))], dtype=np.float64)
    shape = values.shape[1:]
    if shape not in ((4,), (3, 3)) and (len(shape) < 2 or shape[1:] not in ((4,), (3, 3))):
        raise InputError(
            f"{path}: rows of shape {shape}; quaternions (4,), matrices (3, 3) or several of one kind are needed"
        )
    single = shape in ((4,), (3, 3))
    encoding = RotationEncoding(
        "quaternion" if shape[-1] == 4 else "matrix", 1 if single else shape[0], given["scalar"], single
    )
    try:
        return _divided(str(given["name"] or path.name), encoding, values, given)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _embedded(given: Mapping[str, Any]) -> RowData:
    if given["name"] not in (None, _EMBEDDED):
        raise unknown("embedded data of rotations", str(given["name"]), [_EMBEDDED])
    count = given["count"]
    if isinstance(count, bool) or not isinstance(count, int) or count < 4:
        raise InputError(f"`data.count: {count!r}`: at least 4 rows are needed")
    law = texture_law()
    drawn = law.draw(Seeds.range(given["seed"], count).at(_EMBEDDED))
    encoding = RotationEncoding("quaternion", 1, given["scalar"])
    return _divided("texture of a rolled metal", encoding, encoding.decode(drawn), given, law)


def _divided(
    name: str, encoding: RotationEncoding, values: np.ndarray, given: Mapping[str, Any], law: Any = None
) -> RowData:
    first, second = divided(encoding.encode(values), *kept_apart(len(values), given["held_out"], given["seed"]))
    apart = RowData(f"{name}, held out", encoding, second, law=law) if len(second) else None
    return RowData(name, encoding, first, apart, law)


def default_process(data: Data) -> dict[str, Any]:
    """Brownian motion on SO(3), from two degrees to uniform."""
    return {"name": "rotation", "schedule": {"name": "exponential-ve", "sigma_min": 0.03, "sigma_max": 5.0}}


def default_network(data: Data) -> dict[str, Any]:
    """A perceptron whose width grows with the number of rotations, up to 512."""
    return {"name": "mlp", "width": 128 * min(4, data.shape[0]), "depth": 3, "embedding": 64}

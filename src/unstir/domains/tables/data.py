"""Tables, ready for training: a CSV file of one's own, or one of scikit-learn's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unstir.core.errors import InputError, unknown
from unstir.domains.delimited import read_columns
from unstir.domains.rows import RowData, checked_options, divided, kept_apart
from unstir.domains.tables.columns import TRANSFORMS, fit_column
from unstir.domains.tables.credit import credit_table
from unstir.domains.tables.encoding import TableEncoding
from unstir.training.data import Data

_OPTIONS = {
    "path": None,
    "name": None,
    "columns": None,
    "types": None,
    "missing": "error",
    "transform": "quantile",
    "target": None,
    "held_out": 0.25,
    "seed": 0,
}
SHIPPED = {
    "diabetes": "progression",
    "wine": "class",
    "iris": "species",
    "breast-cancer": "diagnosis",
    "credit": "decision",
}
"""Tables that come with scikit-learn, and one made here (``credit.py``); what their last column is called here."""


def read_tables(options: Mapping[str, Any]) -> RowData:
    """Rows of a table from the options of a recipe's ``data``.

    - ``path``: a CSV file with the columns' names in its first line; without one ``name`` says which table of
      scikit-learn's: diabetes, wine, iris or breast-cancer; or credit. ``columns``: those to take, else all.
    - ``types``: of single columns, ``{age: continuous, grade: ordinal}``: categorical, ordinal, continuous or positive;
      the others' are told by their values (see ``columns.fit_column``).
    - ``missing``: error, or drop for rows with empty cells.
    - ``transform``: quantile brings every column of numbers to normal scores, and numbers that repeat come back as
      values of the data; standard brings them to mean 0 and deviation 1.
    - ``target``: the column that the others are to predict when samples are judged; else the last one.
    - ``held_out``: the share of rows, drawn by ``seed``, that is kept apart to judge by.
    """
    given = checked_options(options, _OPTIONS, "option of the field 'tables'")
    if given["transform"] not in TRANSFORMS:
        raise unknown("transform of a table's numbers", str(given["transform"]), TRANSFORMS)
    if given["columns"] is not None and not isinstance(given["columns"], list | tuple):
        raise InputError(f"`data.columns: {given['columns']!r}`: a list of names is needed")
    if given["path"] is not None:
        table = read_columns(Path(str(given["path"])), given["columns"], given["missing"])
        name = str(given["name"] or Path(str(given["path"])).name)
    else:
        name = str(given["name"] or "diabetes")
        table = shipped(name)
        if given["columns"] is not None:
            for column in given["columns"]:
                if column not in table:
                    raise unknown(f"column of {name}", str(column), table)
            table = {column: table[column] for column in given["columns"]}
    types = given["types"] or {}
    if not isinstance(types, Mapping):
        raise InputError(f"`data.types: {types!r}`: a type for each of some columns is needed, {{age: continuous}}")
    for column in [*types, *([given["target"]] if given["target"] else [])]:
        if column not in table:
            raise unknown(f"column of {name}", str(column), table)
    train, apart = kept_apart(len(next(iter(table.values()))), given["held_out"], given["seed"])
    columns = tuple(
        fit_column(column, texts, train, types.get(column), given["transform"]) for column, texts in table.items()
    )
    encoding = TableEncoding(columns, given["target"] or columns[-1].name)
    first, second = divided(encoding.encode(table), train, apart)
    return RowData(name, encoding, first, RowData(f"{name}, held out", encoding, second) if len(apart) else None)


def shipped(name: str) -> dict[str, list[str]]:
    """A table that comes with scikit-learn, or the credit table, as columns of text; its target is the last one."""
    if name not in SHIPPED:
        raise unknown("table of scikit-learn's", name, SHIPPED)
    if name == "credit":
        return credit_table()
    from sklearn import datasets

    # unscaled, so that the numbers have their units and sex is a category
    options = {"scaled": False} if name == "diabetes" else {}
    found = getattr(datasets, f"load_{name.replace('-', '_')}")(**options)
    columns = {
        str(column).replace(" ", "_"): [_plain(number) for number in values]
        for column, values in zip(found.feature_names, np.asarray(found.data).T, strict=True)
    }
    names = getattr(found, "target_names", None)
    target = [_plain(number) if names is None else str(names[number]) for number in found.target]
    return {**columns, SHIPPED[name]: target}


def _plain(number: float) -> str:
    return np.format_float_positional(number, trim="-")


def default_process(data: Data) -> dict[str, Any]:
    """A Gaussian process for the numbers and masking for every category, all by the cosine schedule."""
    encoding = data.encoding  # type: ignore[attr-defined]
    parts: dict[str, Any] = {}
    if encoding.numeric:
        parts["continuous"] = {"name": "gaussian", "schedule": {"name": "cosine"}}
    for name, column in encoding.parts.items():
        parts[name] = {
            "name": "categorical",
            "classes": len(column.levels),
            "rates": "absorbing",
            "schedule": {"name": "cosine"},
        }
    return {"name": "joint", "parts": parts}


def default_network(data: Data) -> dict[str, Any]:
    """A perceptron; tables have few rows, so that it is not large and drops some of what it learns."""
    return {"name": "mlp", "width": 96, "depth": 2, "embedding": 64, "dropout": 0.2}

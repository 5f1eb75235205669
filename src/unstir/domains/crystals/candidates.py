"""The best samples as files: CIF, a page that turns, and a table of what they are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unstir.domains.crystals.drawing import bonds_of, shown
from unstir.domains.crystals.measures import statistics
from unstir.domains.crystals.writing import cif_text, formula, space_group
from unstir.domains.delimited import csv_text, write_whole
from unstir.domains.matter.structures import Crystal
from unstir.domains.matter.viewer import view

TOLERANCE = 0.1


def write_candidates(chosen: Sequence[tuple[int, Crystal, float]], folder: Path) -> list[Path]:
    """Samples (number, crystal, how far from the data) into a folder; returns the files, the table first.

    ``candidates.csv`` has a row for each, the nearest to the data first: sample, formula, space group, density, volume
    per atom, and the distance to the nearest crystal of the data in radii of what counts as near.
    """
    _emptied(folder)
    rows = {"file": [], "sample": [], **_described([crystal for _, crystal, _ in chosen]), "distance to data": []}
    files = []
    for place, (number, crystal, far) in enumerate(chosen, 1):
        name = f"{place:03d}-{formula(crystal)}"
        rows["file"].append(f"{name}.cif")
        rows["sample"].append(str(number))
        rows["distance to data"].append(f"{far:.3f}")
        files += _pair(crystal, folder, name, f"{formula(crystal)}, sample {number}")
    return [write_whole(folder / "candidates.csv", csv_text(rows).encode(), overwrite=True), *files]


def write_predictions(pairs: Sequence[tuple[Crystal, Crystal, float]], folder: Path) -> list[Path]:
    """Predictions (crystal, truth, r or nan) into a folder, each beside the true structure.

    ``candidates.csv`` has a row for each, the best match first: formula, whether it matches, r, both space groups.
    """
    _emptied(folder)
    order = sorted(pairs, key=lambda pair: (not np.isfinite(pair[2]), pair[2] if np.isfinite(pair[2]) else 0.0))
    rows: dict[str, list[str]] = {"file": [], **_described([crystal for crystal, _, _ in order])}
    rows |= {"true space group": [space_group(truth, TOLERANCE)[0] for _, truth, _ in order]}
    rows |= {"matches": [], "displacement": []}
    files = []
    for place, (crystal, truth, far) in enumerate(order, 1):
        name, found = f"{place:03d}-{formula(crystal)}", bool(np.isfinite(far))
        rows["file"].append(f"{name}.cif")
        rows["matches"].append("yes" if found else "no")
        rows["displacement"].append(f"{far:.4f}" if found else "")
        files += _pair(crystal, folder, name, f"{formula(crystal)}, predicted")
        files += _pair(truth, folder, f"{name}-true", f"{formula(crystal)}, true")
    return [write_whole(folder / "candidates.csv", csv_text(rows).encode(), overwrite=True), *files]


def _described(crystals: Sequence[Crystal]) -> dict[str, list[str]]:
    table = statistics.table(crystals)
    return {
        "formula": [formula(crystal) for crystal in crystals],
        "space group": [space_group(crystal, TOLERANCE)[0] for crystal in crystals],
        "density (g/cm³)": [f"{row[0]:.4g}" for row in table],
        "volume per atom (Å³)": [f"{row[1]:.4g}" for row in table],
    }


def _pair(crystal: Crystal, folder: Path, name: str, title: str) -> list[Path]:
    numbers, positions = shown(crystal)
    page = view(positions, numbers, bonds_of(crystal, numbers, positions), crystal.cell, title)
    return [
        write_whole(folder / f"{name}.cif", cif_text(crystal).encode(), overwrite=True),
        write_whole(folder / f"{name}.html", page.encode(), overwrite=True),
    ]


def _emptied(folder: Path) -> None:
    """What an earlier evaluation left there is not of these findings; files of other names stay."""
    for path in folder.glob("[0-9][0-9][0-9]-*"):
        if path.suffix in (".cif", ".html"):
            path.unlink()

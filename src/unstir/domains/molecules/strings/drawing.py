"""Strings of molecules as a picture: their structures, or the tokens where there is no structure yet."""

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from unstir.domains.molecules.files.convert import rdkit_chem
from unstir.domains.molecules.strings.alphabets import silent
from unstir.domains.molecules.strings.encoding import StringEncoding

_PANEL = 200  # pixels across and down
_SHOWN = 60


def draw_strings(
    encoding: StringEncoding, state: Tensor, columns: int | None = None, condition: Mapping[str, Any] | None = None
) -> np.ndarray:
    """Samples, clean or noisy, as structural formulas in panels; uint8 (height, width, 3), on white.

    A string that is no molecule, or not yet, is an empty panel with its first tokens beneath.
    """
    from PIL import Image

    smiles = encoding.decode(state)
    notes = [
        "" if one else "".join(tokens)[:_SHOWN] for one, tokens in zip(smiles, encoding.shown(state, "·"), strict=True)
    ]
    picture = Image.open(io.BytesIO(_grid(smiles, notes, columns, svg=False)))
    return np.asarray(picture.convert("RGB"))


def structures_svg(smiles: list[str], notes: list[str], columns: int | None = None) -> str:
    """The structural formulas as an SVG document, ``notes`` beneath; an empty panel for an empty SMILES."""
    return str(_grid(smiles, notes, columns, svg=True))


def _grid(smiles: list[str], notes: list[str], columns: int | None, svg: bool) -> Any:
    Chem = rdkit_chem("drawing molecules")
    from rdkit.Chem.Draw import rdMolDraw2D

    columns = columns or max(1, math.isqrt(len(smiles)))
    size = (_PANEL * columns, _PANEL * max(1, -(-len(smiles) // columns)))
    canvas = (rdMolDraw2D.MolDraw2DSVG if svg else rdMolDraw2D.MolDraw2DCairo)(*size, _PANEL, _PANEL)
    canvas.drawOptions().legendFontSize = 13
    with silent():
        mols = [Chem.MolFromSmiles(one) if one else Chem.Mol() for one in smiles]
        canvas.DrawMolecules(mols, legends=notes)
        canvas.FinishDrawing()
    return canvas.GetDrawingText()

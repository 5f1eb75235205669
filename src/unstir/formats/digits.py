"""Handwritten digits, 1,797 of 8×8 pixels, shipped with scikit-learn.

Grey values are whole numbers from 0 to 16 (how many of the 4×4 dots beneath a pixel are ink).

Reference: Alpaydin, Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (1998),
doi:10.24432/C50P49; the test half, as in scikit-learn's ``load_digits``.
"""

from pathlib import Path

import numpy as np

from unstir.formats.base import Format, Samples

__all__ = ["digits"]


def _read(path: Path | None = None) -> Samples:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return Samples(
        values=np.asarray(pixels, np.uint8).reshape(-1, 8, 8),
        source="scikit-learn's digits",
        labels=np.asarray(labels),
        attributes={"range": (0, 16), "layout": "hw"},
    )


digits = Format(
    looks_for="nothing: shipped with scikit-learn", matches=lambda path: False, read=_read, needs_path=False
)

"""CIFAR-10: 60,000 colour pictures of animals and vehicles, 32×32 pixels, in ten classes; fetched once.

Reference: Krizhevsky, Learning multiple layers of features from tiny images (technical report, Toronto 2009).
"""

from pathlib import Path

from unstir.core.errors import unknown
from unstir.formats.base import Format, Samples
from unstir.formats.cifar import SPLITS, cifar
from unstir.formats.public import PublicFiles

__all__ = ["cifar_10"]

_ARCHIVE = "cifar-10-binary.tar.gz"
_FILES = PublicFiles(
    name="cifar-10",
    hashes={_ARCHIVE: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    mirrors=("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/"),
)


def _read(path: Path | None = None, *, split: str = "train") -> Samples:
    """path: a folder that holds the archive, or shall. split: train (50,000), test (10,000), or all."""
    if split not in SPLITS:  # before anything is fetched
        raise unknown("split", split, SPLITS)
    return cifar.read(_FILES.fetch(path, (_ARCHIVE,))[0], split=split)


cifar_10 = Format(looks_for="nothing: fetched by name", matches=lambda path: False, read=_read, needs_path=False)

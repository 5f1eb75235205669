"""MNIST: 70,000 handwritten digits of 28×28 pixels in ten classes; fetched once.

Reference: LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document recognition (Proc. IEEE 1998).
"""

from pathlib import Path

from unstir.formats.base import Format, Samples
from unstir.formats.idx import read_public
from unstir.formats.public import PublicFiles

__all__ = ["mnist"]

_FILES = PublicFiles(
    name="mnist",
    hashes={
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
)


def _read(path: Path | None = None, *, split: str = "train") -> Samples:
    """path: a folder that holds the files, or shall. split: train (60,000), test (10,000), or all."""
    return read_public(_FILES, path, split)


mnist = Format(looks_for="nothing: fetched by name", matches=lambda path: False, read=_read, needs_path=False)

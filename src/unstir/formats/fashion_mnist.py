"""Fashion-MNIST: 70,000 grey pictures of clothes, 28×28 pixels, in ten classes; fetched once.

Reference: Xiao, Rasul, Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms (2017).
"""

from pathlib import Path

from unstir.formats.base import Format, Samples
from unstir.formats.idx import read_public
from unstir.formats.public import PublicFiles

__all__ = ["fashion_mnist"]

_FILES = PublicFiles(
    name="fashion-mnist",
    hashes={
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    mirrors=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
)
_NAMES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def _read(path: Path | None = None, *, split: str = "train") -> Samples:
    """path: a folder that holds the files, or shall. split: train (60,000), test (10,000), or all."""
    return read_public(_FILES, path, split, _NAMES)


fashion_mnist = Format(looks_for="nothing: fetched by name", matches=lambda path: False, read=_read, needs_path=False)

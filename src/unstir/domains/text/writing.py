"""Generated text as files."""

from pathlib import Path

import numpy as np
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.files import write_whole
from unstir.domains.text.encoding import TextEncoding

_KINDS = ("files", "one")
_RULE = "-----"


def write_text(
    encoding: TextEncoding,
    state: Tensor,
    folder: str | Path,
    labels: Tensor | np.ndarray | None = None,
    first: int = 0,
    kind: str = "files",
    overwrite: bool = False,
) -> list[Path]:
    """Writes the samples numbered ``first``, ``first + 1``, ... into ``folder`` as UTF-8; returns the files.

    kind: ``"files"``: a file for each, ``000017.txt``, with its characters and nothing else; ``"one"``: one
        ``samples-000000.txt`` to read, each sample under a line ``----- sample 17``.

    Each file comes into being whole or not at all. A file of other content is never replaced unless ``overwrite``:
    InputError. Text has no ``labels``: InputError if some are given.
    """
    if kind not in _KINDS:
        raise unknown("kind of text file", kind, _KINDS)
    if labels is not None:
        raise InputError("text samples have no labels; leave them out")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    texts = encoding.decode(state)
    if kind == "files":
        files = {folder / f"{first + row:06d}.txt": text.encode() for row, text in enumerate(texts)}
    else:
        told = "".join(f"{_RULE} sample {first + row}\n{text}\n" for row, text in enumerate(texts))
        files = {folder / f"samples-{first:06d}.txt": told.encode()}
    for path, content in files.items():
        if not overwrite and path.exists() and path.read_bytes() != content:
            raise InputError(
                f"{path}: there are other samples here already; choose another folder, other sample numbers, or say "
                "that they may be overwritten"
            )
    for path, content in files.items():
        write_whole(path, content)
    return list(files)

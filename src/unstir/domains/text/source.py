"""Where text comes from: a file, or the English text that Python itself brings."""

import re
from pathlib import Path
from typing import Any

from unstir.core.errors import InputError

BUILT_IN = "the help pages of Python"
_REPEATED = 40  # characters from which on a paragraph met a second time is left out


def read_source(path: Any) -> tuple[str, str]:
    """The name of a text and the text itself: of a UTF-8 file, or the built-in one where there is no path."""
    return (BUILT_IN, built_in_text()) if path is None else read_file(path)


def read_file(path: Any) -> tuple[str, str]:
    r"""A file's name and its text, from UTF-8; line ends of all systems become ``\n``, a byte-order mark is dropped.

    Raises InputError for what is not there, not UTF-8 (with the byte's place), or no text at all.
    """
    if not isinstance(path, str | Path):
        raise InputError(f"`data.path: {path!r}`: the name of a text file is needed")
    place = Path(path)
    if place.is_dir():
        raise InputError(f"{place}: a folder; give one text file (`cat {place}/*.txt > all.txt` makes one of many)")
    try:
        content = place.read_bytes()
    except OSError as error:
        raise InputError(f"{place}: cannot be read: {error.strerror}; give a text file as `data.path=FILE`") from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{place}: not UTF-8: byte {error.start} (counted from 0) is 0x{content[error.start]:02x}, {error.reason}; "
            "convert the file, for instance with `iconv -f LATIN1 -t UTF-8`"
        ) from error
    if (zero := content.find(b"\0")) >= 0:
        raise InputError(f"{place}: byte {zero} is zero, which text has nowhere; is it UTF-16, or no text? Give UTF-8")
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise InputError(f"{place}: holds no text")
    return place.name, text


def built_in_text() -> str:
    """Python's help on its language (``pydoc_data.topics``), in the order of the topics; a third of a million letters.

    The pages share whole sections. A paragraph of 40 characters or more that came before is left out (about a fifth of
    the text), so that what is held out has not been seen in training word for word. The text differs a little between
    versions of Python; a run keeps its SHA-256.
    """
    from pydoc_data.topics import topics

    seen: set[str] = set()
    pages = []
    for name in sorted(topics):
        kept = []
        for paragraph in re.split(r"\n\n+", topics[name].strip("\n")):
            words = " ".join(paragraph.split())
            if len(words) >= _REPEATED and words in seen:
                continue
            seen.add(words)
            kept.append(paragraph)
        if kept:
            pages.append("\n\n".join(kept))
    return "\n\n".join(pages) + "\n"

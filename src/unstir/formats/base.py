"""What every format gives, ``Samples``, and ``read``, which picks the format."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from unstir.core.catalogue import entries, find
from unstir.core.errors import InputError, suggest

_SHOWN = 5


@runtime_checkable
class Rows(Protocol):
    """Rows of one shape and dtype: an array, a memory map, or anything that reads rows when asked.

    ``rows[numbers]`` takes an integer array (k,), in any order, and gives an array (k, \\*shape[1:]).
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all rows together: (n, *sample)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values, as they are stored."""
        ...

    def __len__(self) -> int: ...
    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Samples:
    """What was read from a file, as it lies there: values in their own dtype and range.

    values: rows of shape (n, \\*shape).
    source: the file or folder, for messages and reports.
    labels: class numbers, int64 of shape (n,), or None.
    label_names: the name of each class; ``("0", "1", ...)`` where none are given.
    row_names: the name of each row (a picture's path), where rows have names.
    attributes: whatever else the file says: ``range`` (low, high), ``layout`` ("hwc"), units, coordinates.

    Raises InputError for no samples, values that are not numbers, and labels that do not fit.
    """

    values: Rows
    source: str
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    row_names: Sequence[str] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape, dtype = tuple(self.values.shape), np.dtype(self.values.dtype)
        if not shape:
            raise InputError(f"{self.source}: a single number, where a row for each sample is needed")
        if dtype.kind not in "buif":
            raise InputError(
                f"{self.source}: values are of type {dtype}; allowed are booleans, integers and real numbers"
            )
        if 0 in shape:
            raise InputError(f"{self.source}: holds no samples (an array of shape {shape})")
        if self.labels is not None:
            object.__setattr__(self, "labels", self._checked(np.asarray(self.labels)))
            if not self.label_names:
                count = int(self.labels.max()) + 1
                object.__setattr__(self, "label_names", tuple(str(number) for number in range(count)))

    def _checked(self, labels: np.ndarray) -> np.ndarray:
        if labels.shape != (len(self),):
            raise InputError(
                f"{self.source}: {len(self)} samples, but labels of shape {labels.shape}; one label a sample is needed"
            )
        if labels.dtype.kind not in "bui":
            raise InputError(f"{self.source}: labels are of type {labels.dtype}; class numbers must be integers")
        wrong = labels < 0
        if self.label_names:
            wrong |= labels >= len(self.label_names)
        if wrong.any():
            allowed = f"0 to {len(self.label_names) - 1}" if self.label_names else "0 and up"
            raise InputError(
                f"{self.source}: {self.rows_text(np.flatnonzero(wrong))}: label {labels[wrong][0]}, but class numbers "
                f"are {allowed}; leave out the samples of unknown class, or give them a class of their own"
            )
        return labels.astype(np.int64)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.values.shape[1:])

    def rows_text(self, rows: Sequence[int] | np.ndarray) -> str:
        """The first few of ``rows`` by name, and how many there are, for an error message."""
        names = [self.row_names[row] if self.row_names is not None else str(row) for row in rows[:_SHOWN]]
        noun = "" if self.row_names is not None else "row " if len(rows) == 1 else "rows "
        return noun + some_of(names, len(rows))


class UnreadableError(InputError):
    """Some of the rows asked for cannot be read: ``rows`` says which, ``reason`` why the first cannot."""

    def __init__(self, rows: Sequence[int], reason: str, text: str) -> None:
        super().__init__(f"{text}: cannot be read ({reason})")
        self.rows, self.reason = list(rows), reason


def some_of(names: Sequence[str], count: int) -> str:
    """``a, b, c (3 in all)``; or ``a, b, c, d, e and 12 more (17 in all)``."""
    shown = names[:_SHOWN]
    more = f" and {count - len(shown)} more" if count > len(shown) else ""
    return ", ".join(shown) + more + (f" ({count} in all)" if count > 1 else "")


@dataclass(frozen=True)
class Format:
    """One way of keeping samples on disk.

    looks_for: what the format recognises, in a few words, for the message when nothing fits.
    matches: whether a path, which exists, is of this format; by name or by the first bytes, never by reading it all.
    read: ``read(path, **options) -> Samples``; its keyword parameters are the options that a recipe may give.
    needs_path: False for a named set that is fetched or shipped; its ``read`` takes None for the path.
    """

    looks_for: str
    matches: Callable[[Path], bool]
    read: Callable[..., Samples]
    needs_path: bool = True

    def check(self, options: Mapping[str, Any], source: object, also: Sequence[str] = ()) -> None:
        """Raises InputError for an option that ``read`` does not take, or that must be text and is not.

        also: options that somebody else takes, for the message's list of what is allowed.
        """
        parameters = dict(list(inspect.signature(self.read).parameters.items())[1:])
        for option, value in options.items():
            if option not in parameters:
                allowed = [*parameters, *also]
                raise InputError(f"unknown option {option!r} for data read from {source}; {suggest(option, allowed)}")
            kind = parameters[option].annotation
            if kind in (str, str | None) and not isinstance(value, kind):
                raise InputError(f"option {option!r} for data read from {source}: {value!r} is not text")


def read(path: str | Path | None = None, format: str | None = None, **options: Any) -> Samples:
    """Reads samples from ``path``, in the format of that name, or else in the one that recognises it.

    A bare name of a public set (``"digits"``, ``"mnist"``) serves as path too.

    Raises InputError if there is nothing at the path, no format fits, or an option is unknown.
    """
    found, chosen = find_format(path, format)
    chosen.check(options, path or format)
    return chosen.read(found, **options)


def find_format(path: Any = None, format: Any = None) -> tuple[Path | None, Format]:
    """The format that ``read`` takes, and the path that it gives to it (None for a public set in the user's cache)."""
    for name, given in (("path", path), ("format", format)):
        if not isinstance(given, str | Path | None):
            raise InputError(f"`{name}: {given!r}`: text is needed")
    if format is None and path is not None and _is_set(str(path)):
        if Path(path).exists():
            raise InputError(
                f"{path!r} is a path here and the name of a public set too; "
                f"give the path in full ('{Path(path).absolute()}') or the set by `format: {path}`"
            )
        format, path = str(path), None
    if path is not None:
        path = Path(path).expanduser()
        if not path.exists():
            raise InputError(_missing(path))
    chosen: Format = find("formats", format or _recognise(path)).load()
    if path is None and chosen.needs_path:
        raise InputError(f"the format {format!r} needs a path: where does the data lie?")
    return path, chosen


def _is_set(name: str) -> bool:
    return name in entries("formats") and not find("formats", name).load().needs_path


def _recognise(path: Path | None) -> str:
    if path is None:
        raise InputError("no data given: name a `path`, or a public set by `format`, such as `format: digits`")
    formats = {name: entry.load() for name, entry in entries("formats").items()}
    for name, candidate in formats.items():
        if candidate.needs_path and candidate.matches(path):
            return name
    sought = "; ".join(f"{name}: {candidate.looks_for}" for name, candidate in formats.items() if candidate.needs_path)
    raise InputError(
        f"{path}: no format recognises it. Looked for: {sought}. Name one with `format: ...` if you know better"
    )


def _missing(path: Path) -> str:
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    if beside and path.parent.is_dir():
        near = suggest(path.name, beside).split("Allowed:")[0].strip()
        return f"{path}: there is no such file or folder" + (f"; {near}" if near else "")
    sets = [name for name, entry in entries("formats").items() if not entry.load().needs_path]
    return f"{path}: there is no such file or folder, nor is it a public set ({', '.join(sets)})"

"""Lines of JSON that outlast an interruption: a header of settings, then a line for each piece of work done."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unstir.core.errors import InputError


def kept_lines(path: Path | None, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What an earlier call with the same settings has kept; nothing where there is no file.

    A last line that was torn by a kill is cut off. Raises InputError for a file of other settings.
    """
    if path is None or not path.exists():
        return []
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    try:
        header, *lines = [json.loads(line) for line in whole.splitlines()] or [None]
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not lines of JSON ({error}); name another file, or remove this one") from error
    if header is None:
        path.unlink()
        return []
    wanted = json.loads(json.dumps(settings))
    if header != wanted:
        keys = [key for key in wanted if not isinstance(header, dict) or header.get(key) != wanted[key]]
        raise InputError(
            f"{path} holds work of other settings ({', '.join(keys) or 'more of them'}); name another file, "
            "or remove this one"
        )
    if len(whole) < len(text):
        os.truncate(path, len(whole))
    return lines


@contextmanager
def open_lines(path: Path | None, settings: Mapping[str, Any]) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that adds a line, at once and to stay; with no path it keeps nothing."""
    if path is None:
        yield lambda line: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    with path.open("ab") as file:

        def add(line: Mapping[str, Any]) -> None:
            file.write(json.dumps(line, allow_nan=False, ensure_ascii=False).encode() + b"\n")
            file.flush()

        if fresh:
            add(settings)
        yield add

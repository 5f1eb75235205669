"""What the verbs of the command line share."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

RunPath = Annotated[Path, typer.Argument(help="A run folder.")]


def console() -> Any:
    """The terminal at its width; a file or a pipe at a width that tables are at ease with."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=140)


def conditions(pairs: list[str]) -> dict[str, Any]:
    """Pairs written name=value, the values as YAML has them."""
    import yaml

    from unstir.core.errors import InputError

    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"a condition is written name=value, e.g. label=3; seen {pair!r}")
        found[name] = yaml.safe_load(value)
    return found

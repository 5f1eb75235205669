"""Errors that say what was seen, what is allowed, and what to do."""

import difflib
from collections.abc import Iterable


class UnstirError(Exception):
    """Base of all errors that are the caller's to mend; the command line turns them into exit code 2."""


class InputError(UnstirError, ValueError):
    """Data, an option or a recipe that cannot be used as it is."""


class NotInstalledError(UnstirError, ImportError):
    """An optional package is missing."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"install it with `pip install 'unstir[{extra}]'`"
        )
        self._told = (package, extra, purpose)

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), self._told  # so that it can come back from a worker process


class NonFiniteError(UnstirError, ArithmeticError):
    """A computation left the finite numbers; the message names where."""


def suggest(name: str, allowed: Iterable[str]) -> str:
    """The end of an error message about an unknown ``name``: the nearest allowed one, and all of them."""
    names = sorted(allowed)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}Allowed: {', '.join(names) or 'none'}."


def unknown(what: str, name: str, allowed: Iterable[str]) -> InputError:
    """The error for an unknown name, e.g. ``unknown("sampler", "dimm", samplers)``."""
    return InputError(f"unknown {what} {name!r}; {suggest(name, allowed)}")

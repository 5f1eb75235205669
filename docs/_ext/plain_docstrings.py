"""Docstrings are written to be read in a terminal; here they become reStructuredText.

Lone stars and bars, as in ``(batch, *shape)`` and ``|v|``, are what they look like, and lines of the form
``name: what it is``, continued with an indent, are a list.
"""

import re
from itertools import groupby

from sphinx.application import Sphinx

_LITERAL = re.compile(  # literal text, roles, strong and emphasised words
    r"(``.+?``|:[a-z:]+:`[^`]*`|`[^`]*`_{0,2}|\*\*\w[^*]*\*\*|(?<![\w*\\])\*\w(?:[^*]*\w)?\*(?![\w*]))", re.DOTALL
)
_ITEM = re.compile(r"((?:[a-z_]\w*(?:, )?)+): (\S.*)")


def _paragraph(lines: list[str]) -> list[str]:
    if lines[0].startswith((" ", "..", "=", "+", "|")):
        return lines  # a table, or the body of a directive
    lines = _listed(lines)
    parts = _LITERAL.split("\n".join(lines))
    parts[::2] = [re.sub(r"(?<!\\)([*|])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts).split("\n")


def _listed(lines: list[str]) -> list[str]:
    heads = [line for line in lines if not line.startswith(" ")]
    if not all(_ITEM.fullmatch(line) for line in heads):
        return lines
    listed = []
    for line in lines:
        item = _ITEM.fullmatch(line)
        names = ", ".join(f"``{name}``" for name in item[1].split(", ")) if item else ""
        listed.append(f"- {names}: {item[2]}" if item else f"  {line.strip()}")
    return listed


def _mend(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    paragraphs = groupby(list(lines), key=lambda line: bool(line.strip()))
    lines[:] = [line for filled, group in paragraphs for line in (_paragraph(list(group)) if filled else group)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Listens to autodoc."""
    app.connect("autodoc-process-docstring", _mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

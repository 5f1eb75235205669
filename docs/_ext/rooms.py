"""The directive ``room``: the docstrings of every module of a folder of unstir, found as the files lie there."""

from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import unstir

_ROOT = Path(unstir.__file__).parent


class Room(SphinxDirective):
    """A section for each module; a new file needs no line here or in the pages."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        room = self.arguments[0]
        lines = [f".. automodule:: unstir.{room}", "   :no-members:", ""]
        for module in _modules(room):
            self.env.note_dependency(str(_ROOT / f"{module.replace('.', '/')}.py"))
            title = module.removeprefix(f"{room}.")
            lines += [title, "-" * len(title), "", f".. automodule:: unstir.{module}", ""]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def _modules(room: str) -> Iterator[str]:
    for path in sorted((_ROOT / room).rglob("*.py")):
        parts = path.relative_to(_ROOT).with_suffix("").parts
        if parts[-1] == "__main__" or parts == (room, "__init__"):
            continue
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directive."""
    app.add_directive("room", Room)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

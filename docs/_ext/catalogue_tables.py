"""The directive ``catalogue``: a table for every kind of the catalogue, read from the catalogue itself."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from unstir.core.catalogue import KINDS, Entry, entries


class Catalogue(SphinxDirective):
    """Sections with name, summary and source of every entry, each name linked to its description."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(_lines()), allow_section_headings=True)


def _lines() -> list[str]:
    lines: list[str] = []
    for kind, meaning in KINDS.items():
        title = kind.replace("_", " ").capitalize()
        lines += [f".. _catalogue-{kind.replace('_', '-')}:", "", title, "-" * len(title), ""]
        lines += [f"{meaning[0].upper()}{meaning[1:]}; in a terminal: ``unstir list {kind}``.", ""]
        lines += [".. list-table::", "   :header-rows: 1", "   :widths: 20 45 35", ""]
        for row in [("name", "what", "source"), *map(_row, entries(kind).values())]:
            lines += [f"   {'* -' if place == 0 else '  -'} {cell}" for place, cell in enumerate(row)]
        lines.append("")
    return lines


def _row(entry: Entry) -> tuple[str, str, str]:
    module, _, attribute = entry.target.partition(":")
    # summaries are plain text, where a bar is an absolute value
    summary, source = (text.replace("|", r"\|") for text in (entry.summary, entry.source))
    if not module.startswith("unstir."):  # a recipe, or a package outside
        return f"``{entry.name}``", summary, source
    if callable(entry.load()):
        return f":py:obj:`{entry.name} <{module}.{attribute}>`", summary, source
    # formats and domains are objects, which their module's text describes
    return f":py:mod:`{entry.name} <{module}>`", summary, source


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directive."""
    app.add_directive("catalogue", Catalogue)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Charts as inline SVG that follows the page: its colours in light, dark and print, and its type."""

import io
import re

import matplotlib
from matplotlib.figure import Figure

from unstir.report.figures import COLOURS
from unstir.report.markup import Html, element


def inline_svg(figure: Figure, identifier: str, description: str) -> Html:
    """The figure as an ``<svg>`` element with text as text.

    The palette's colours become the style sheet's variables, every ``id`` starts with ``identifier`` so that many
    charts can share a page, and ``description`` says in words what a reader would see.
    """
    buffer = io.StringIO()
    # the salt keeps the names of clip paths the same in every run
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": identifier}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    for name, colour in COLOURS.items():
        text = re.sub(re.escape(colour), f"var(--{name})", text, flags=re.IGNORECASE)
    text = re.sub(r'\bid="', f'id="{identifier}-', text)
    text = re.sub(r'((?:xlink:)?href="#|url\(#)', rf"\g<1>{identifier}-", text).replace("xlink:href", "href")
    text = re.sub(r"(font(?:-family)?:[^;\"]*?)'?DejaVu Sans'?[^;\"]*", r"\1var(--sans)", text)
    text = re.sub(r"\n\s*", "\n", text)
    view = re.search(r'viewBox="([^"]*)"', text)
    assert view is not None, "matplotlib writes a viewBox"
    start = text.index(">") + 1
    # a chart that has the page to itself is not blown up: its letters stay the size of the others'
    width = f"max-width: {figure.get_figwidth() * 7:.1f}rem"
    title = element("title", description, id=f"{identifier}-title")
    return Html(
        f'<svg class="chart" style="{width}" viewBox="{view[1]}" role="img" aria-labelledby="{identifier}-title">'
        f"{title}{text[start:]}"
    )

"""Charts that fields draw for the report: one style, whole SVG documents on a white ground.

The hues are told apart by readers of every kind of colour vision (Okabe and Ito, 2008).
"""

import io
from typing import Any

import numpy as np

INK, MUTED, RULE = "#211e1b", "#716a62", "#ded8ce"
DATA, SAMPLES, THIRD, FOURTH = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
_TYPE = {"font.size": 8, "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "axes.unicode_minus": True}


def panels(rows: int, columns: int, width: float = 2.3, height: float = 2.1) -> tuple[Any, Any]:
    """A matplotlib figure with rows and columns of axes, ``width`` by ``height`` inches each; axes (rows, columns)."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_TYPE):
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained", facecolor="white")
        axes = figure.subplots(rows, columns, squeeze=False)
    for each in axes.flat:
        for side, spine in each.spines.items():
            spine.set_visible(side in ("bottom", "left"))
            spine.set_color(MUTED)
            spine.set_linewidth(0.6)
        each.tick_params(which="both", color=MUTED, labelcolor=INK, width=0.6, length=3, labelsize=7)
        each.set_axisbelow(True)
    return figure, axes


def label(axes: Any, title: str = "", x: str = "", y: str = "") -> None:
    """Title and names of the axes in the report's type."""
    axes.set_title(title, fontsize=8.5, color=INK)
    axes.set_xlabel(x, fontsize=7.5, color=MUTED)
    axes.set_ylabel(y, fontsize=7.5, color=MUTED)


def array(values: Any) -> np.ndarray:
    """Values as they are drawn: float64, an axis at least."""
    return np.atleast_1d(np.asarray(values, dtype=np.float64))


def cloud(axes: Any, x: Any, y: Any, colour: str, size: float = 1.5) -> None:
    """A scatter of many points, kept as pixels."""
    axes.scatter(x, y, s=size, color=colour, alpha=0.4, linewidths=0, rasterized=True)


def legend(axes: Any, **options: Any) -> None:
    """The names of the lines, without a frame."""
    axes.legend(frameon=False, fontsize=7, labelcolor=INK, handlelength=1.4, **options)


def svg(figure: Any, name: str) -> str:
    """The figure as an SVG document; the same figure and ``name`` give the same text."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", facecolor="white", dpi=150, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()

"""What a report shows of tables: every column, how columns hang together, and the pairs that do so most."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unstir.domains import charts
from unstir.domains.base import Figure
from unstir.domains.tables.columns import Column
from unstir.domains.tables.encoding import TableEncoding

Table = Mapping[str, Sequence[str]]
_MOST = 16  # columns shown
_POINTS = 600


def column_figure(encoding: TableEncoding, data: Table, samples: Table) -> Figure:
    """Every column, data and samples over each other."""
    shown = encoding.columns[:_MOST]
    columns = min(4, len(shown))
    figure, axes = charts.panels(-(-len(shown) // columns), columns, 2.1, 1.5)
    for place, each in enumerate(axes.flat):
        if place >= len(shown):
            each.set_visible(False)
            continue
        column = shown[place]
        if column.levels:
            _bars(each, column, data, samples)
        else:
            _steps(each, column, data, samples)
        charts.label(each, column.name, "", "% of rows" if place % columns == 0 else "")
        if place == 0:
            charts.legend(each)
    return Figure(
        "columns",
        "Column by column",
        "Shares of the rows in percent, by equal steps of numbers or by level.",
        "Samples and data should agree up to the noise of the counts; a level without a bar has been forgotten.",
        charts.svg(figure, "columns"),
    )


def association_figure(encoding: TableEncoding, data: np.ndarray, samples: np.ndarray) -> Figure:
    """The matrices of how columns hang together: data, samples, difference."""
    names = [column.name for column in encoding.columns]
    figure, axes = charts.panels(1, 3, 2.9, 2.9)
    for each, matrix, title in zip(
        axes.flat, (data, samples, samples - data), ("data", "samples", "samples less data"), strict=True
    ):
        image = each.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
        charts.label(each, title)
        each.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
        each.set_yticks(range(len(names)), names if each is axes.flat[0] else [""] * len(names), fontsize=6)
    bar = figure.colorbar(image, ax=list(axes.flat), shrink=0.7, pad=0.01)
    bar.ax.tick_params(labelsize=6.5)
    return Figure(
        "associations",
        "How the columns hang together",
        "Correlations of normal scores; Cramér's V between two columns of categories, the correlation ratio between "
        "one of each.",
        "The third panel should be pale: colour in it is dependence that the model has missed or made up.",
        charts.svg(figure, "associations"),
    )


def pair_figure(encoding: TableEncoding, data: Table, samples: Table, matrix: np.ndarray) -> Figure | None:
    """The pairs of number columns that hang together most, data beside samples; None where there are no pairs."""
    numeric = [place for place, column in enumerate(encoding.columns) if not column.categorical]
    strength = [(abs(matrix[one, two]), one, two) for row, one in enumerate(numeric) for two in numeric[:row]]
    if not strength:
        return None
    shown = sorted(strength, reverse=True)[:4]
    figure, axes = charts.panels(2, len(shown), 2.1, 1.9)
    for number, (_, one, two) in enumerate(shown):
        first, second = encoding.columns[two], encoding.columns[one]
        limits = None
        for row, (table, colour, name) in enumerate(
            ((data, charts.DATA, "data"), (samples, charts.SAMPLES, "samples"))
        ):
            each = axes[row, number]
            x, y = (_numbers(column, table)[:_POINTS] for column in (first, second))
            charts.cloud(each, x, y, colour, 3.0)
            limits = limits or (each.get_xlim(), each.get_ylim())
            each.set_xlim(*limits[0])
            each.set_ylim(*limits[1])
            charts.label(each, name, first.name, second.name)
    return Figure(
        "pairs",
        "The pairs that hang together most",
        f"At most {_POINTS} rows each: data above, samples below, on the same axes.",
        "The clouds should have the same shape, edges and steps.",
        charts.svg(figure, "pairs"),
    )


def _bars(axes: Any, column: Column, data: Table, samples: Table) -> None:
    places = np.arange(len(column.levels))
    for table, colour, name, shift in ((data, charts.DATA, "data", -0.2), (samples, charts.SAMPLES, "samples", 0.2)):
        counts = np.bincount(column.codes(table[column.name]), minlength=len(places))
        axes.bar(places + shift, 100 * counts / counts.sum(), 0.38, color=colour, label=name)
    if len(places) <= 8:
        axes.set_xticks(places, [level[:10] for level in column.levels])


def _steps(axes: Any, column: Column, data: Table, samples: Table) -> None:
    own = _numbers(column, data)
    edges = np.linspace(own.min(), own.max(), 25)
    for table, colour, name in ((data, charts.DATA, "data"), (samples, charts.SAMPLES, "samples")):
        values = _numbers(column, table)
        axes.stairs(100 * np.histogram(values, edges)[0] / len(values), edges, color=colour, linewidth=1.2, label=name)


def _numbers(column: Column, table: Table) -> np.ndarray:
    return np.array([float(text) for text in table[column.name]])

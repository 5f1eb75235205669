"""What the report shows of molecules as strings."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from unstir.domains import charts
from unstir.domains.base import Figure
from unstir.domains.molecules.strings.drawing import structures_svg
from unstir.domains.molecules.strings.encoding import StringEncoding
from unstir.domains.molecules.strings.measures import UNITS

_SHOWN = 16
_LINES = 12


def structures(smiles: Sequence[str]) -> Figure:
    """The first samples as structural formulas."""
    shown = list(smiles[:_SHOWN])
    notes = [f"{row}" if one else f"{row}: no molecule" for row, one in enumerate(shown)]
    return Figure(
        "structures",
        "Samples",
        f"The first {len(shown)} of {len(smiles)} samples, none picked by hand, with their numbers.",
        "Rings, groups and sizes should be such as the data has, and no two the same.",
        structures_svg(shown, notes, 4),
    )


def properties(data: Mapping[str, np.ndarray], samples: Mapping[str, np.ndarray]) -> Figure:
    """What RDKit computes of data and samples, over each other."""
    figure, axes = charts.panels(-(-len(data) // 3), 3, 2.2, 1.6)
    for place, each in enumerate(axes.flat):
        if place >= len(data):
            each.set_visible(False)
            continue
        name = list(data)[place]
        whole = np.concatenate((data[name], samples[name]))
        numbers = bool((whole == whole.round()).all()) and np.ptp(whole) < 40
        edges = (
            np.arange(whole.min() - 0.5, whole.max() + 1.5) if numbers else np.linspace(whole.min(), whole.max(), 25)
        )
        for values, colour, title in ((data[name], charts.DATA, "data"), (samples[name], charts.SAMPLES, "samples")):
            counts = 100 * np.histogram(values, edges)[0] / len(values)
            each.stairs(counts, edges, color=colour, linewidth=1.2, label=title)
        charts.label(each, name, UNITS.get(name, ""), "% of molecules" if place % 3 == 0 else "")
        if place == 0:
            charts.legend(each)
    return Figure(
        "properties",
        "Properties",
        "Shares of molecules in percent, as RDKit computes the properties; of samples the valid ones.",
        "Both lines should agree up to the noise of the counts.",
        charts.svg(figure, "string-properties"),
    )


def strings(encoding: StringEncoding, drawn: Tensor) -> Figure:
    """The first samples as they were drawn, and the SMILES that they are."""
    told = []
    for tokens, smiles in zip(encoding.shown(drawn[:_LINES]), encoding.decode(drawn[:_LINES]), strict=True):
        told += ["".join(tokens) or "(nothing)", f"    {smiles or 'no molecule'}"]
    return Figure(
        "strings",
        "As strings",
        f"The first {min(_LINES, len(drawn))} samples as drawn, and below each the canonical SMILES.",
        "Every string should be a molecule.",
        text="\n".join(told),
    )

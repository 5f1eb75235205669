"""What a report shows of molecules: formulas, balls and sticks, lengths and angles, what they are made of, the film."""

from collections.abc import Mapping, Sequence

import numpy as np

from unstir.domains import charts
from unstir.domains.base import Figure
from unstir.domains.matter.elements import symbol_of
from unstir.domains.matter.structures import Molecule
from unstir.domains.matter.viewer import drawn, sheet
from unstir.domains.molecules.candidates import Candidate
from unstir.domains.molecules.files.writing import formula_of
from unstir.domains.molecules.measures.geometry import EDGES, UNITS, Binned
from unstir.domains.molecules.strings.drawing import structures_svg
from unstir.domains.rows import evenly

_SIZE = (150, 150)
_ACROSS = 6
_COARSER = {"bond lengths": 2, "angles": 3, "torsions": 2}  # bins drawn as one


def formula_figure(samples: Sequence[str], data: Sequence[str]) -> Figure:
    """Structural formulas: data above, the first samples below."""
    real = [data[row] for row in evenly(len(data), 5)]
    shown = list(samples[:15])
    gap = [""] * (5 - len(real))
    notes = [f"{row}" if one else f"{row}: no molecule" for row, one in enumerate(shown)]
    return Figure(
        "formulas",
        "Samples as formulas",
        f"Above molecules of the data, evenly spread; below the first {len(shown)} samples by number, none picked by "
        "hand. What is not valid has no formula.",
        "Rings, groups and sizes should be such as the data has, and no two the same.",
        structures_svg([*real, *gap, *shown], [*["data"] * len(real), *gap, *notes], 5),
    )


def space_figure(samples: Sequence[Molecule], data: Sequence[Molecule], fine: np.ndarray) -> Figure:
    """Molecules in space: data above, the first samples below, with what is wrong."""
    real = [picture(data[row], formula_of(data[row].numbers)) for row in evenly(len(data), _ACROSS)]
    made = [
        picture(one, formula_of(one.numbers) + ("" if good else ", not valid"))
        for one, good in zip(samples[: 2 * _ACROSS], fine.tolist(), strict=False)
    ]
    blank = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SIZE[0]}" height="{_SIZE[1]}"></svg>'
    return Figure(
        "samples",
        "Samples in space",
        f"Above molecules of the data, evenly spread; below the first {len(made)} samples, none picked by hand. Carbon "
        "dark, oxygen red, nitrogen blue, hydrogen white.",
        "Rings should be flat or puckered as they are above, neighbours at even distances, no atom alone.",
        sheet([*real, *[blank] * (-len(real) % _ACROSS), *made], _ACROSS, _SIZE, ("data", "samples")),
    )


def geometry_figure(samples: Mapping[str, Binned], data: Mapping[str, Binned]) -> Figure:
    """Lengths, angles and torsions of the most frequent kinds, over each other."""
    figure, axes = charts.panels(3, 4, 1.9, 1.5)
    for row, name in enumerate(EDGES):
        for column in range(4):
            each = axes[row, column]
            if column >= len(data[name].kinds):
                each.set_visible(False)
                continue
            real, own = (found[name].counts[:, column].sum(0) for found in (data, samples))
            step = _COARSER[name]
            edges = EDGES[name][::step]
            counts = [np.add.reduceat(one, np.arange(0, len(one), step)) for one in (real, own)]
            seen = np.flatnonzero((counts[0] > 2e-3 * counts[0].sum()) | (counts[1] > 1e-2 * max(counts[1].sum(), 1)))
            low, high = max(int(seen.min()) - 3, 0), min(int(seen.max()) + 4, len(edges) - 1)
            for values, colour, title in zip(counts, (charts.DATA, charts.SAMPLES), ("data", "samples"), strict=True):
                shares = 100 * values / max(values.sum(), 1)
                each.stairs(shares[low:high], edges[low : high + 1], color=colour, linewidth=1.1, label=title)
            told = f"torsions about {data[name].kinds[column]}" if name == "torsions" else data[name].kinds[column]
            charts.label(each, told, UNITS[name], "%" if column == 0 else "")
    charts.legend(axes[0, 0])
    return Figure(
        "geometry",
        "Lengths, angles and torsions",
        "Bond lengths by elements and order, angles by the atom in the middle and how many neighbours it has, torsions "
        "without a sign by the bond in the middle: the four most frequent kinds of each, in percent.",
        "Peaks should stand where the data's do, as narrow and as high. Wide ones mean atoms a little off; peaks that "
        "the data has not, chemistry that it has not.",
        charts.svg(figure, "geometry"),
    )


def content_figure(samples: Sequence[Molecule], data: Sequence[Molecule]) -> Figure:
    """Sizes, and shares of elements."""
    figure, axes = charts.panels(1, 2, 3.1, 2.0)
    sizes = [np.array([len(one) for one in rows]) for rows in (data, samples)]
    edges = np.arange(min(each.min() for each in sizes) - 0.5, max(each.max() for each in sizes) + 1.5)
    for values, colour, title in zip(sizes, (charts.DATA, charts.SAMPLES), ("data", "samples"), strict=True):
        shares = 100 * np.histogram(values, edges)[0] / len(values)
        axes[0, 0].stairs(shares, edges, color=colour, linewidth=1.2, label=title)
    charts.label(axes[0, 0], "atoms", "", "% of molecules")
    charts.legend(axes[0, 0])
    numbers = [np.concatenate([one.numbers for one in rows]) for rows in (data, samples)]
    kinds = np.unique(np.concatenate(numbers))
    places = np.arange(len(kinds))
    for shift, values, colour in ((-0.2, numbers[0], charts.DATA), (0.2, numbers[1], charts.SAMPLES)):
        axes[0, 1].bar(places + shift, [100 * (values == kind).mean() for kind in kinds], 0.4, color=colour)
    axes[0, 1].set_xticks(places, [symbol_of(int(kind)) for kind in kinds])
    charts.label(axes[0, 1], "elements", "", "% of atoms")
    return Figure(
        "content",
        "Sizes and elements",
        "How many atoms the molecules have, and which.",
        "Sizes are drawn as the data has them, unless others are asked for; elements should be as frequent as in the "
        "data.",
        charts.svg(figure, "content"),
    )


def candidate_figure(chosen: Sequence[Candidate]) -> Figure:
    """The candidates in space, each with its number and strain."""
    pictures = []
    for place, one in enumerate(chosen, 1):
        strain = "" if np.isnan(one.strain) else f", {one.strain:.0f} kcal/mol"
        pictures.append(picture(one.molecule, f"{place}: {formula_of(one.molecule.numbers)}{strain}"))
    return Figure(
        "candidates",
        "The best new molecules",
        "Valid, of one piece, sound in shape, unlike all that were trained on, and least strained for their size; with "
        "the strain by MMFF94. Their files stand in the folder `candidates`, each as SDF and as a page that turns.",
        "Little strain is what a shape needs to last. Whether they can be made, and what they are good for, nobody has "
        "asked yet.",
        sheet(pictures, min(_ACROSS, len(pictures)), _SIZE),
    )


def film_figure(states: Sequence[Molecule], times: Sequence[float]) -> Figure:
    """One molecule on its way from noise."""
    pictures = [
        picture(state, f"t = {time:.2f}" if time > 0 else f"{formula_of(state.numbers)}, drawn")
        for state, time in zip(states, times, strict=True)
    ]
    return Figure(
        "film",
        "Unstirring a molecule",
        "One molecule at evenly spaced steps of its drawing, from time one, noise, to zero; each as large as its panel "
        "allows, with the bonds that it has at that time.",
        "First atoms find their neighbours, then the bonds settle, and the last steps mend lengths and angles.",
        sheet(pictures, -(-len(pictures) // 2), _SIZE),
    )


def picture(molecule: Molecule, caption: str) -> str:
    """A molecule in perspective as SVG, with a line beneath."""
    assert molecule.positions is not None
    return drawn(molecule.positions, molecule.numbers, molecule.bonds, size=_SIZE, caption=caption)

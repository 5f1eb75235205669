"""How drawn conformers are judged: whether those of molecules that the model has not seen are found, and how near."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains import charts
from unstir.domains.base import Figure, Judged, Judgement
from unstir.domains.matter.sets import SetData
from unstir.domains.matter.structures import Molecule
from unstir.domains.matter.viewer import drawn, sheet
from unstir.domains.molecules.asking import told_graph
from unstir.domains.molecules.files.writing import formula_of, smiles_of
from unstir.domains.molecules.measures.strain import strains
from unstir.domains.molecules.tasks.conformers import Coverage, coverage, distances, etkdg
from unstir.domains.molecules.tasks.graphs import as_asked, stereo_of
from unstir.domains.rows import checked_options, evenly
from unstir.metrics.evaluate import Result
from unstir.metrics.resampling import bootstrap_counts, centred_interval

_Seen = tuple[Molecule, tuple[Molecule, float], tuple[Molecule, float]]
_RIVALS = {"etkdg": False, "etkdg-relaxed": True}  # whether MMFF94 relaxes them
_SIZE, _SHOWN = (150, 150), 6
_OPTIONS: dict[str, Any] = {"molecules": 20, "members": 10, "threshold": 0.5, "replicates": 200}
_NOTES = {
    "recall": ("higher", "1", "reference conformers that some drawn one comes near to, within {}"),
    "matching_recall": ("lower", "angstrom", "of every reference conformer to the nearest drawn one"),
    "precision": ("higher", "1", "drawn conformers that come near to some reference, within {}"),
    "matching_precision": ("lower", "angstrom", "of every drawn conformer to the nearest reference one"),
}


def judge_conformers(judged: Judged) -> Judgement:
    """Coverage and matching of molecules kept apart, beside those of distance geometry.

    The rivals are as many conformers of RDKit's ETKDG, as they are and relaxed by MMFF94. Strain has the references'
    own beside it.
    """
    options = checked_options(judged.options, _OPTIONS, "key of the recipe's section 'evaluation.options'")
    data: Any = judged.data
    rest: Any = judged.held_out or data.held_out or data
    if not isinstance(rest, SetData):
        raise InputError(f"conformers are judged on the field's own data; seen {type(rest).__name__}")
    began = time.perf_counter()
    groups = _groups(rest, options["molecules"])
    members = int(options["members"])
    found: dict[str, list[Coverage]] = {"samples": [], **{who: [] for who in _RIVALS}}
    strained: dict[str, list[float]] = {"samples": [], "reference": [], **{who: [] for who in _RIVALS}}
    seen: list[_Seen] = []
    usable, drawn_all = 0, 0
    for number, (row, references) in enumerate(groups):
        graph = references[0]
        made = _drawn(judged, data, rest, row, members, number)
        drawn_all += len(made)
        handed = [one for one in (as_asked(each, stereo_of(graph)) for each in made) if one is not None]
        usable += len(handed)
        seeds = Seeds.range(judged.seed, 1, start=number)
        sets = {
            "samples": handed,
            **{who: etkdg(graph, members, seeds, optimise=relaxed) for who, relaxed in _RIVALS.items()},
        }
        if not all(sets.values()):
            continue
        near = {}
        for who, conformers in sets.items():
            apart = distances(conformers, references)
            found[who].append(coverage(apart, options["threshold"]))
            nearest = int(apart[:, 0].argmin())
            near[who] = (conformers[nearest], float(apart[nearest, 0]))
        seen.append((references[0], near["samples"], near["etkdg"]))
        for who, conformers in {**sets, "reference": references}.items():
            strained[who] += strains(conformers[:3]).tolist()
    if len(found["samples"]) < 2:
        raise InputError(
            "fewer than two molecules kept apart have a conformer of their own handedness among the samples; train "
            "longer, or judge more (`evaluation.options.molecules`)"
        )
    results = _results(found, options, began, judged, members)
    results.append(_strain(strained, len(found["samples"]), judged.seed, began))
    share = usable / max(drawn_all, 1)
    remarks = [
        *getattr(data, "remarks", ()),
        f"Judged on {len(found['samples'])} of {len(groups)} molecules that were kept apart, {members} conformers "
        f"each; {100 * share:.0f} % of the drawn ones have the handedness and the sides of double bonds that the graph "
        "asks for, or are the mirror image of one that has.",
    ]
    if all(len(references) == 1 for _, references in groups):
        remarks.append(
            "The data has one conformer of each molecule: a drawn one far from it may still be a good one, so that "
            "precision is low for everyone; strain tells."
        )
    return Judgement(results, [_pictures(seen), _figure(found, options["threshold"])], remarks)


def _groups(data: SetData, most: int) -> list[tuple[int, list[Molecule]]]:
    """Molecules with all their conformers, and the row of the first; at most so many, evenly spread."""
    listed: dict[str, tuple[int, list[Molecule]]] = {}
    for row, molecule in enumerate(data.structures):
        listed.setdefault(smiles_of(molecule), (row, []))[1].append(molecule)
    groups = [group for smiles, group in listed.items() if smiles]
    if len(groups) < 2:
        raise InputError("conformers are judged on two molecules at least; keep more apart (`data.held_out`)")
    return [groups[place] for place in evenly(len(groups), int(most)).tolist()]


def _drawn(judged: Judged, data: Any, rest: SetData, row: int, members: int, number: int) -> list[Molecule]:
    graph = rest.structures[row]
    condition = told_graph(data.encoding, graph, stereo_of(graph), members)
    state = judged.draw(members, seed=judged.seed + 1 + number, condition=condition)
    return [replace(one, name=graph.name) for one in data.encoding.decode(state, condition)]


def _results(
    found: Mapping[str, Sequence[Coverage]], options: Mapping[str, Any], began: float, judged: Judged, members: int
) -> list[Result]:
    results = []
    for name, (better, unit, note) in _NOTES.items():
        values = {who: np.array([getattr(one, name) for one in told]) for who, told in found.items()}
        own = values["samples"]
        results.append(
            Result(
                metric=f"conformer-{name.replace('_', '-')}",
                value=float(own.mean()),
                interval=_interval(
                    own, judged.seed, options["replicates"], (0.0, 1.0 if unit == "1" else float("inf"))
                ),
                floor={},
                baselines={who: float(values[who].mean()) for who in _RIVALS},
                ideal=1.0 if better == "higher" else 0.0,
                better=better,
                unit=unit,
                n_samples=len(own) * members,
                n_reference=len(own),
                seconds=round(time.perf_counter() - began, 3),
                features="heavy atoms, symmetric",
                note=f"{note.format(str(options['threshold']) + ' angstrom')}; mean over molecules",
            )
        )
    return results


def _strain(strained: Mapping[str, Sequence[float]], molecules: int, seed: int, began: float) -> Result:
    own, real = (np.array(strained[who]) for who in ("samples", "reference"))
    own, real = own[np.isfinite(own)], real[np.isfinite(real)]
    rng = Seeds.range(seed, 1).at("strain").generator()
    resampled = [_middle(rng.choice(own, len(own))) for _ in range(200)] if len(own) else [float("nan")]
    low, high = np.quantile(resampled, [0.025, 0.975]).tolist()
    return Result(
        metric="strain",
        value=_middle(own),
        interval=(low, high),
        floor={"value": _middle(real), "interval": (_middle(real), _middle(real))},
        baselines={who: _middle(np.array(strained[who])) for who in _RIVALS},
        ideal=0.0,
        better="lower",
        unit="kcal/mol",
        n_samples=len(own),
        n_reference=len(real),
        seconds=round(time.perf_counter() - began, 3),
        features="MMFF94",
        note=f"median energy above the conformer relaxed, of {molecules} molecules; beside it the reference's",
    )


def _interval(
    values: np.ndarray, seed: int, replicates: int = 200, limits: tuple[float, float] = (0.0, float("inf"))
) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean over molecules."""
    counts = bootstrap_counts(len(values), replicates, Seeds.range(seed, len(values)))
    means = counts @ torch.from_numpy(values) / counts.sum(1)
    return centred_interval(float(values.mean()), means, limits)


def _middle(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else float("nan")


def _pictures(seen: Sequence[_Seen]) -> Figure:
    """Some molecules: the reference, and what comes nearest to it of the model and of distance geometry."""
    shown = [seen[place] for place in evenly(len(seen), _SHOWN).tolist()]
    rows: list[list[str]] = [[], [], []]
    for reference, *nearest in shown:
        rows[0].append(_picture(reference, formula_of(reference.numbers)))
        for row, (one, apart) in zip(rows[1:], nearest, strict=True):
            row.append(_picture(one, f"{apart:.2f} angstrom"))
    return Figure(
        "nearest",
        "The nearest conformers",
        "Molecules kept apart, evenly spread: above the reference, below it what comes nearest of the model's "
        "conformers, then of ETKDG's, with the distance of heavy atoms.",
        "Rings should be as flat or puckered as above, bonds as long, chains bent the same way.",
        sheet([one for row in rows for one in row], len(shown), _SIZE, ("reference", "model", "ETKDG")),
    )


def _picture(molecule: Molecule, caption: str) -> str:
    assert molecule.positions is not None
    return drawn(molecule.positions, molecule.numbers, molecule.bonds, size=_SIZE, caption=caption)


def _figure(found: Mapping[str, Sequence[Coverage]], threshold: float) -> Figure:
    figure, axes = charts.panels(1, 2, 2.9, 2.4)
    names = (("matching_recall", "reference to drawn"), ("matching_precision", "drawn to reference"))
    for each, (name, title) in zip(axes.flat, names, strict=True):
        for who, colour, word in (
            ("samples", charts.SAMPLES, "model"),
            ("etkdg", charts.DATA, "ETKDG"),
            ("etkdg-relaxed", charts.THIRD, "ETKDG, relaxed"),
        ):
            values = np.sort([getattr(one, name) for one in found[who]])
            each.step(values, np.arange(1, len(values) + 1) / len(values), color=colour, label=word, linewidth=1.2)
        each.axvline(threshold, color=charts.MUTED, linewidth=0.6)
        charts.label(each, title, "distance in angstrom", "share of molecules")
    charts.legend(axes[0, 0])
    return Figure(
        "conformers",
        "How near the conformers are",
        "For each molecule kept apart the mean distance to the nearest conformer of the other set, heavy atoms, as a "
        "cumulative share; the thin line is the threshold of coverage.",
        "Curves should rise early; the model's should lie left of distance geometry's, or on it.",
        charts.svg(figure, "conformers"),
    )

"""How crystals made from nothing are judged: sound, new, and like the data as a whole?"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np

from unstir.core.seeds import Seeds
from unstir.core.state import take
from unstir.domains.base import Figure, Judged, Judgement
from unstir.domains.crystals import figures
from unstir.domains.crystals.candidates import write_candidates
from unstir.domains.crystals.encoding import CrystalEncoding
from unstir.domains.crystals.measures import statistics
from unstir.domains.crystals.measures.coverage import Landscape
from unstir.domains.crystals.measures.novelty import New, newness
from unstir.domains.crystals.measures.rivals import jittered, random_elements
from unstir.domains.crystals.measures.stability import above_hull, energies
from unstir.domains.crystals.measures.validity import Validity, validity
from unstir.domains.crystals.tasks.steering import property_errors
from unstir.domains.matter import findings
from unstir.domains.matter.columns import Shares
from unstir.domains.matter.sets import SetData
from unstir.domains.matter.structures import Crystal
from unstir.domains.measuring import measured
from unstir.domains.rows import evenly, film
from unstir.metrics.evaluate import Result

_NOTES = {
    "valid-unique-novel": "Share that is sound in all three ways, unlike every earlier sample and unlike every crystal "
    "trained on",
    "valid-structure": "Share with all atoms 0.5 angstrom apart and more than 0.1 cubic angstrom: what is published as "
    "structural validity",
    "valid-radii": "Share with all atoms 0.7 of the sum of their covalent radii apart: harder to meet, more telling",
    "valid-composition": "Share whose charges can balance by SMACT's oxidation states of 2014, alloys and elements "
    "counting as valid",
    "unique": "Share unlike every earlier sample, by StructureMatcher(stol=0.3, angle_tol=5, ltol=0.2)",
    "novel": "Share unlike every crystal trained on, by the same",
    "coverage-recall": "Share of the data's crystals with a sample near them in structure and composition",
    "coverage-precision": "Share of samples near a crystal of the data in structure and composition",
    "density": "Wasserstein-1 distance of the densities",
    "volume": "Wasserstein-1 distance of the volumes per atom",
    "element-count": "Wasserstein-1 distance of the numbers of different elements",
    "elements": "Total variation between the shares of sites that the elements have",
    "space-groups": "Total variation between the shares of the space groups, found within 0.1 angstrom",
    "energy-above-hull": "Mean energy above the hull of known crystals by the same calculator, nothing relaxed",
    "force": "Mean of the largest force on an atom, nothing relaxed",
}
_DISTANCES = {
    "density": statistics.wasserstein("density"),
    "volume": statistics.wasserstein("volume per atom"),
    "element-count": statistics.wasserstein("elements"),
    "elements": Shares(),
    "space-groups": statistics.SpaceGroups(),
}


@dataclass(frozen=True, eq=False)
class Asked:
    """One set of crystals in the samples' place, and what is found of it, asked once."""

    crystals: Sequence[Crystal]
    known: Sequence[Crystal]
    landscape: Landscape

    @cached_property
    def validity(self) -> Validity:
        """Of each crystal."""
        return validity(self.crystals)

    @cached_property
    def new(self) -> New:
        """Of each crystal, against those trained on."""
        return newness(self.crystals, self.known)

    @cached_property
    def useful(self) -> np.ndarray:
        """Valid, unique and novel, boolean (n,)."""
        return np.asarray(self.validity.all & self.new.unique & self.new.novel)

    @cached_property
    def distances(self) -> np.ndarray:
        """To each crystal of the data, in units of the radius of what is near, (n, data); inf for what is no crystal.

        Atoms on each other, or a cell without volume, have no fingerprint.
        """
        found = np.full((len(self.crystals), len(self.landscape.points)), np.inf)
        sound = np.flatnonzero(self.validity.structural)
        if len(sound):
            found[sound] = self.landscape.distances([self.crystals[int(row)] for row in sound])
        return found


def judge_generated(judged: Judged, data: SetData, options: Mapping[str, Any]) -> Judgement:
    """Validity, novelty, coverage and distances of the samples, each beside held-out data and beside rules."""
    encoding = cast(CrystalEncoding, data.encoding)
    every = encoding.decode(judged.drawn, judged.condition)
    samples = [every[row] for row in evenly(len(every), options["limit"])]
    reference = [data.structures[row] for row in evenly(len(data), options["reference_limit"])]
    landscape = Landscape.of(reference)
    sets = {"samples": samples, **_stand_ins(judged, data, len(samples))}
    asked = {name: Asked(crystals, data.structures, landscape) for name, crystals in sets.items()}
    results = [*_shares(asked, reference), *_distances(asked, reference, judged.seed, options["replicates"])]
    remarks = _remarks(asked)
    if options["calculator"] is not None:
        found, told = _energies(asked, reference, options)
        results, remarks = [*results, *found], [*remarks, *told]
    drawn: list[Figure] = [
        figures.sample_figure(samples, reference),
        figures.histogram_figure(_sound(asked["samples"]), reference),
        figures.element_figure(samples, reference),
        figures.shell_figure(_sound(asked["samples"]), reference),
        _film(judged, encoding),
    ]
    if options["steer"] is not None:
        result, chart = property_errors(judged, str(options["steer"]))
        results, drawn = [result, *results], [*drawn, chart]
    if judged.folder is not None and options["candidates"]:
        remarks.append(_written(asked["samples"], judged, options["candidates"]))
    return Judgement(results, drawn, remarks)


def _stand_ins(judged: Judged, data: SetData, count: int) -> dict[str, list[Crystal]]:
    """Real crystals that the model has not seen, where there are any, and what needs no model."""
    seeds = Seeds.range(judged.seed, count).at("crystals", "rivals")
    unseen = judged.held_out or data.held_out
    rows = seeds.at("copies").integers(0, len(data)).tolist()
    found = {
        "random-elements": random_elements(data.structures, seeds),
        "jittered": jittered(data.structures, seeds),
        "copies": [data.structures[row] for row in rows],
    }
    if unseen is not None:
        real = cast(SetData, unseen).structures
        found = {"held-out": [real[row] for row in evenly(len(real), count)], **found}
    return found


def _shares(asked: Mapping[str, Asked], reference: Sequence[Crystal]) -> list[Result]:
    """The results that are shares of yes-or-no values; the floor is held-out data, else copies of those trained on."""
    questions: dict[str, Callable[[Asked], np.ndarray]] = {
        "valid-unique-novel": lambda each: each.useful,
        "valid-structure": lambda each: each.validity.structural,
        "valid-radii": lambda each: each.validity.by_radii,
        "valid-composition": lambda each: each.validity.compositional,
        "unique": lambda each: each.new.unique,
        "novel": lambda each: each.new.novel,
        "coverage-precision": lambda each: np.asarray((each.distances <= 1).any(1)),
        "coverage-recall": lambda each: np.asarray((each.distances <= 1).any(0)),
    }
    real = asked.get("held-out", asked["copies"])
    results = []
    for metric, question in questions.items():
        began = time.perf_counter()
        told = {}
        if metric == "valid-composition":
            told = {"without known oxidation states": asked["samples"].validity.undecided}
        results.append(
            findings.share(
                metric,
                question(asked["samples"]),
                question(real),
                {name: question(each) for name, each in asked.items() if name != "samples"},
                reference=len(reference),
                began=began,
                note=_NOTES[metric],
                details=told,
            )
        )
    return results


def _distances(asked: Mapping[str, Asked], reference: Sequence[Crystal], seed: int, replicates: int) -> list[Result]:
    """Distances of densities, volumes, elements and symmetries, of the crystals that have any; [] for too few."""
    sets = {name: statistics.sample_set(sound) for name, each in asked.items() if len(sound := _sound(each)) >= 2}
    if "samples" not in sets:
        return []
    samples = sets.pop("samples")
    return measured(
        _DISTANCES,
        samples,
        statistics.sample_set(reference),
        sets,
        seed=seed,
        replicates=replicates,
        notes={name: f"{_NOTES[name]}, of {len(samples)} samples with a sound structure" for name in _DISTANCES},
    )


def _energies(
    asked: Mapping[str, Asked], reference: Sequence[Crystal], options: Mapping[str, Any]
) -> tuple[list[Result], list[str]]:
    """Energies above the hull and forces of some samples, beside real crystals by the same calculator."""
    began, most = time.perf_counter(), options["energies"]
    real = "held-out" if "held-out" in asked else "copies"
    chosen = {}
    for name in ("samples", real, "jittered"):
        rows = np.flatnonzero(asked[name].validity.structural)
        chosen[name] = [asked[name].crystals[rows[row]] for row in evenly(len(rows), most)] if len(rows) else []
    elements = {number for each in chosen.values() for crystal in each for number in crystal.numbers.tolist()}
    near = [crystal for crystal in reference if set(crystal.numbers.tolist()) <= elements]
    known = [near[row] for row in evenly(len(near), 5 * most)] if near else []
    calculator = options["calculator"]
    base = energies(known, calculator)
    found = {name: energies(each, calculator) for name, each in chosen.items()}
    above = {name: above_hull(chosen[name], each.per_atom, known, base.per_atom) for name, each in found.items()}
    told: dict[str, Any] = {"reference": len(known), "features": str(calculator), "ideal": None}
    results = [
        findings.mean(
            metric,
            values["samples"],
            values[real],
            {"jittered": values["jittered"]},
            began=began,
            note=_NOTES[metric],
            unit=unit,
            **told,
        )
        for metric, values, unit in (
            ("energy-above-hull", above, "eV/atom"),
            ("force", {name: each.force for name, each in found.items()}, "eV/Å"),
        )
    ]
    lost = [failure for each in (base, *found.values()) for failure in each.failures]
    remarks = [
        f"Energies are those of the calculator {calculator}, for samples and {len(known)} known crystals alike; a hull "
        "of so few crystals lies high, and figures of other calculators cannot be set beside these."
    ]
    if lost:
        remarks.append(f"The calculator gave no energy for {len(lost)} crystals; the first: {lost[0]}.")
    if missing := [
        name for name, result in zip(("energy above the hull", "force"), results, strict=True) if not result
    ]:
        remarks.append(
            f"No {' and no '.join(missing)} is told: fewer than two samples have one. Known crystals of the same "
            "elements are needed for a hull; raise `evaluation.options.energies`."
        )
    return [result for result in results if result is not None], remarks


def _film(judged: Judged, encoding: CrystalEncoding) -> Any:
    one = take(dict(judged.condition), slice(1))

    def draw(count: int, **how: Any) -> Any:
        return judged.draw(count, condition=one, **how)

    states, times = film(draw, 1, judged.seed)
    return figures.film_figure([encoding.decode(state, one)[0] for state in states], times)


def _written(asked: Asked, judged: Judged, most: int) -> str:
    """Writes the candidates, those first that lie nearest to the data; says so."""
    assert judged.folder is not None
    rows = np.flatnonzero(asked.useful)
    order = rows[np.argsort(asked.distances[rows].min(1), kind="stable")][:most]
    write_candidates(
        [(int(row), asked.crystals[row], float(asked.distances[row].min())) for row in order], judged.folder
    )
    return (
        f"{len(rows)} of {len(asked.crystals)} samples are valid, unique and novel; the {len(order)} nearest to the "
        "data stand in the folder `candidates`, each as CIF and as a page that turns."
    )


def _sound(asked: Asked) -> list[Crystal]:
    return [crystal for crystal, good in zip(asked.crystals, asked.validity.structural, strict=True) if good]


def _remarks(asked: Mapping[str, Asked]) -> list[str]:
    real = asked.get("held-out")
    if real is None:
        return [
            "No crystals were kept apart (`data.held_out`): the row of real data are crystals trained on, of which "
            "none is novel."
        ]
    shares = [
        100 * float(flags.mean()) for flags in (real.validity.by_radii, real.validity.compositional, real.new.novel)
    ]
    return [
        f"What is possible: of {len(real.crystals)} real crystals that the model has not seen {shares[0]:.0f} % keep "
        f"their radii apart, {shares[1]:.0f} % balance their charges, and {shares[2]:.0f} % are unlike all trained on."
    ]

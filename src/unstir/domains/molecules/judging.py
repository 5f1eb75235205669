"""How new molecules are judged: are they molecules at all, new ones, and shaped and made up as the data's are?"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.core.state import take
from unstir.domains.base import Figure, Judged, Judgement
from unstir.domains.matter import findings
from unstir.domains.matter.columns import Shares, Wasserstein, element_shares
from unstir.domains.matter.sets import SetData
from unstir.domains.matter.structures import Molecule
from unstir.domains.measuring import measured
from unstir.domains.molecules import figures
from unstir.domains.molecules.candidates import Candidate, nearest, write_candidates
from unstir.domains.molecules.encoding import MoleculeEncoding
from unstir.domains.molecules.measures import geometry, rivals
from unstir.domains.molecules.measures.soundness import Soundness, soundness
from unstir.domains.molecules.measures.stability import Stability, stability
from unstir.domains.molecules.measures.strain import strains
from unstir.domains.molecules.measures.validity import ROUTES, Validity, flat_smiles_of, validity
from unstir.domains.molecules.strings.figures import properties
from unstir.domains.molecules.strings.measures import UNITS, described, property_set
from unstir.domains.molecules.tasks.steering import property_errors
from unstir.domains.rows import checked_options, evenly, film
from unstir.metrics.base import SampleSet
from unstir.metrics.evaluate import Result

OPTIONS: dict[str, Any] = {
    "limit": 1000,
    "reference_limit": 1000,
    "rivals": 200,
    "replicates": 200,
    "strain": "mmff94",
    "strained": 100,
    "candidates": 12,
    "steer": None,
}
_DESCRIPTORS = ("logp", "tpsa", "qed", "rings", "rotatable")
_NOTES = {
    "valid-unique-novel": "Share that is valid and of one piece, unlike every earlier sample and unlike every molecule "
    "trained on",
    "valid-connected": "Share that is valid and of one piece",
    "valid": "Share whose valences all can be, without an unpaired electron",
    "unique": "Share of the valid ones of one piece that is unlike every earlier one",
    "novel": "Share of the valid ones of one piece that is not among those trained on",
    "atom-stability": "Share of atoms whose bonds sum up to a valence of their element and charge",
    "molecule-stability": "Share of molecules all of whose atoms are so",
    "sound": "Share that is valid and of one piece, with bond lengths, angles, contacts, rings and double bonds as "
    "PoseBusters asks for",
    "strain": "Mean energy above the nearest minimum, of valid ones of one piece",
    "bond-lengths": "Wasserstein-1 distance of bond lengths, kind by kind",
    "angles": "The same of angles",
    "torsions": "The same of torsions without a sign",
    "atoms": "Wasserstein-1 distance of the numbers of atoms",
    "elements": "Total variation between the shares of atoms that the elements have",
}


@dataclass(frozen=True, eq=False)
class Asked:
    """One set of molecules in the samples' place, and what is found of it, asked once.

    ``route`` is the first of ``routes``, by which most is told; ``known`` the SMILES of those trained on by it.
    """

    molecules: Sequence[Molecule]
    routes: tuple[str, ...]
    known: set[str]
    implicit: bool

    @cached_property
    def ways(self) -> dict[str, Validity]:
        """By each of the routes."""
        return {route: validity(self.molecules, route, self.implicit) for route in self.routes}

    @property
    def main(self) -> Validity:
        """By the first of the routes."""
        return self.ways[self.routes[0]]

    @cached_property
    def novel(self) -> np.ndarray:
        """Boolean (n,)."""
        return self.main.novel(self.known)

    @cached_property
    def useful(self) -> np.ndarray:
        """Valid, connected, unique and novel, boolean (n,)."""
        return np.asarray(self.main.unique & self.novel)

    @cached_property
    def stable(self) -> dict[str, Stability]:
        """By a table of lengths, and by the molecules' own bonds if they have any."""
        ways = ("bonds", "lengths") if self.routes[0] == "bonds" else ("lengths",)
        return {way: stability(self.molecules, way, self.implicit) for way in ways}  # type: ignore[arg-type]

    @cached_property
    def shapes(self) -> Soundness:
        """Of each molecule; nothing holds of what is not valid and of one piece."""
        good = self.main.connected
        return soundness([mol if good[row] else None for row, mol in enumerate(self.main.mols)])

    @cached_property
    def graphs(self) -> list[Molecule]:
        """Those that the route finds bonds for."""
        return [graph for graph in self.main.graphs if graph is not None]

    @cached_property
    def smiles(self) -> list[str]:
        """Of the valid ones of one piece."""
        return [smiles for smiles, good in zip(self.main.smiles, self.main.connected.tolist(), strict=True) if good]


def judge_molecules(judged: Judged) -> Judgement:
    """Validity by several routes, stability, novelty, shapes and properties, each beside held-out data and rivals.

    ``evaluation.options``: ``limit``, how many samples are looked at; ``reference_limit``, how many molecules of the
    data they are compared with; ``rivals``, how many each stand-in has; ``replicates`` of the bootstrap; ``strain``,
    by ``mmff94`` or ``gfn2``, of ``strained`` molecules; ``candidates``, how many are written into the run's folder;
    ``steer``, a property whose error is measured.

    Raises InputError for other options, and for data that are not the field's own.
    """
    options = _checked(judged.options)
    if not isinstance(judged.data, SetData):
        raise InputError(f"molecules are judged on the field's own data; seen {type(judged.data).__name__}")
    data, encoding = judged.data, cast(MoleculeEncoding, judged.data.encoding)
    every = encoding.decode(judged.drawn, judged.condition)
    samples = [every[row] for row in evenly(len(every), options["limit"])]
    if len(samples) < 2:
        raise InputError("samples are judged from 2 on; raise `sampling.count`")
    reference = [data.structures[row] for row in evenly(len(data), options["reference_limit"])]
    implicit = encoding.hydrogens == "drop"
    if options["steer"] is not None:
        encoding.property_of(str(options["steer"]))  # before anything is measured
    routes = routes_of(encoding)
    known = flat_smiles_of(data.structures, routes[0], implicit)
    asked = {
        name: Asked(molecules, routes, known, implicit)
        for name, molecules in {"samples": samples, **_stand_ins(judged, data, options["rivals"])}.items()
    }
    results = [*_shares(asked, len(reference)), *_strain(asked, len(reference), options)]
    remarks = [*data.remarks, *_remarks(asked)]
    real = Asked(reference, routes, known, implicit)
    found, shown = _distances(asked, real, judged.seed, options["replicates"])
    drawn: list[Figure] = [
        figures.formula_figure(asked["samples"].main.smiles, real.main.smiles),
        figures.space_figure(samples, reference, asked["samples"].main.connected),
        *shown,
        figures.content_figure(samples, reference),
        _film(judged, encoding),
    ]
    if not found:
        remarks.append("Fewer than two samples have bonds: nothing can be said of lengths and angles.")
    if options["steer"] is not None:
        result, chart = property_errors(judged, str(options["steer"]))
        results, drawn = [result, *results], [*drawn, chart]
    if options["candidates"]:
        chosen = _candidates(asked["samples"], options["candidates"])
        if chosen:
            drawn.append(figures.candidate_figure(chosen))
        if judged.folder is not None:
            write_candidates(chosen, judged.folder)
    return Judgement([*results, *found], drawn, remarks)


def routes_of(encoding: MoleculeEncoding) -> tuple[str, ...]:
    """The ways in which bonds can be told of these molecules, the most trusted first.

    Without hydrogens positions do not tell orders of bonds, and perceiving them is left out.
    """
    own = ("bonds",) if encoding.orders else ()
    return (*own, "lengths") if encoding.hydrogens == "drop" else (*own, "perceived", "lengths")


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    options = checked_options(given, OPTIONS, "key of the recipe's section 'evaluation.options'")
    least = {"limit": 2, "reference_limit": 2, "rivals": 2, "replicates": 2, "strained": 2, "candidates": 0}
    for name, low in least.items():
        value = options[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise InputError(f"`evaluation.options.{name}: {value!r}`: a whole number from {low} is needed")
    if options["strain"] not in (methods := ("mmff94", "gfn2")):
        raise unknown("method for strain (`evaluation.options.strain`)", str(options["strain"]), methods)
    return options


def _stand_ins(judged: Judged, data: SetData, most: int) -> dict[str, list[Molecule]]:
    """Real molecules that the model has not seen, where there are any, and what needs no model."""
    seeds = Seeds.range(judged.seed, most).at("molecules", "rivals")
    known = data.structures
    found = {
        "scattered": rivals.scattered(known, seeds),
        "jittered": rivals.jittered(known, seeds),
        "exchanged": rivals.exchanged(known, seeds),
        "copies": rivals.copies(known, seeds),
    }
    unseen = judged.held_out or data.held_out
    if unseen is not None:
        real = cast(SetData, unseen).structures
        found = {"held-out": [real[row] for row in evenly(len(real), 5 * most)], **found}
    return found


def _shares(asked: Mapping[str, Asked], reference: int) -> list[Result]:
    """The results that are shares; the floor is held-out data, else copies of those trained on."""
    route = asked["samples"].routes[0]
    whole: dict[str, tuple[str, str, Callable[[Asked], np.ndarray]]] = {
        "valid-unique-novel": ("valid-unique-novel", route, lambda each: each.useful),
        "valid-connected": ("valid-connected", route, lambda each: each.main.connected),
        "unique": ("unique", route, lambda each: each.main.unique[each.main.connected]),
        "novel": ("novel", route, lambda each: each.novel[each.main.connected]),
        "sound": ("sound", route, lambda each: each.shapes.all),
    }
    for other in asked["samples"].routes:
        whole[f"valid-{other}"] = ("valid", other, lambda each, other=other: each.ways[other].valid)
    for way in asked["samples"].stable:
        whole[f"molecule-stability-{way}"] = (
            "molecule-stability",
            way,
            lambda each, way=way: each.stable[way].each,
        )
    results = []
    for metric, (note, way, question) in whole.items():
        began = time.perf_counter()
        own = question(asked["samples"])
        if not len(own):
            continue
        others = {name: question(each) for name, each in asked.items() if name != "samples"}
        told: dict[str, Any] = {}
        if metric == "sound":
            told = {"of the valid": asked["samples"].shapes.shares()}
        if metric.startswith("valid-") and metric.removeprefix("valid-") in ROUTES:
            told = {"of one piece": float(np.mean(asked["samples"].ways[way].connected))}
        results.append(
            findings.share(
                metric,
                own,
                others.get("held-out", others["copies"]),
                others,
                reference=reference,
                began=began,
                note=f"{_NOTES[note]}; {ROUTES[way]}",
                details=told,
            )
        )
        if note == "molecule-stability":
            counts = {name: (each.stable[way].stable, each.stable[way].atoms) for name, each in asked.items()}
            parts = counts.pop("samples")
            results.append(
                findings.ratio(
                    f"atom-stability-{way}",
                    parts,
                    counts.get("held-out", counts["copies"]),
                    counts,
                    reference=reference,
                    began=began,
                    note=f"{_NOTES['atom-stability']}; {ROUTES[way]}",
                )
            )
    return results


def _strain(asked: Mapping[str, Asked], reference: int, options: Mapping[str, Any]) -> list[Result]:
    began = time.perf_counter()
    found = {}
    for name, each in asked.items():
        rows = np.flatnonzero(each.main.connected)
        chosen = (
            [each.main.graphs[rows[place]] for place in evenly(len(rows), options["strained"])] if len(rows) else []
        )
        found[name] = strains([one for one in chosen if one is not None], options["strain"])
    own = found.pop("samples")
    result = findings.mean(
        "strain",
        own,
        found.get("held-out", found["copies"]),
        found,
        reference=reference,
        began=began,
        note=f"{_NOTES['strain']}, by {options['strain']}",
        unit="kcal/mol",
        ideal=None,
    )
    return [] if result is None else [result]


def _distances(
    asked: Mapping[str, Asked], real: Asked, seed: int, replicates: int
) -> tuple[list[Result], list[Figure]]:
    """Distances of shapes, sizes, elements and properties to the data's, and their figures."""
    everything = {"atoms": Wasserstein(0), "elements": Shares()}
    results = measured(
        everything,
        _content(asked["samples"].molecules),
        _content(real.molecules),
        {name: _content(each.molecules) for name, each in asked.items() if name != "samples"},
        seed=seed,
        replicates=replicates,
        notes=_NOTES,
    )
    if len(asked["samples"].graphs) < 2:
        return results, []
    kinds = geometry.frequent(real.graphs)
    binned = {name: geometry.binned(each.graphs, kinds) for name, each in asked.items() if len(each.graphs) > 1}
    data = geometry.binned(real.graphs, kinds)
    shown = [figures.geometry_figure(binned["samples"], data)]
    for name in geometry.EDGES:
        if not kinds[name] or not binned["samples"][name].counts.any():
            continue
        metric = name.replace(" ", "-")
        sets = {who: each[name].sample_set() for who, each in binned.items() if each[name].counts.any()}
        results += measured(
            {metric: geometry.Shapes(name, kinds[name])},
            sets.pop("samples"),
            data[name].sample_set(),
            sets,
            seed=seed,
            replicates=replicates,
            notes=_NOTES,
        )
    if len(asked["samples"].smiles) > 1:
        values = {name: described(each.smiles, _DESCRIPTORS) for name, each in asked.items()}
        whole = described(real.smiles, _DESCRIPTORS)
        rows = {name: property_set(each) for name, each in values.items() if len(each["qed"]) > 1}
        results += measured(
            {name: Wasserstein(place, UNITS.get(name, "1")) for place, name in enumerate(_DESCRIPTORS)},
            rows.pop("samples"),
            property_set(whole),
            rows,
            seed=seed,
            replicates=replicates,
            notes={name: f"Wasserstein-1 distance of RDKit's {name}, of the valid ones" for name in _DESCRIPTORS},
        )
        shown.append(properties(whole, values["samples"]))
    return results, shown


def _content(molecules: Sequence[Molecule]) -> SampleSet:
    sizes = torch.tensor([[float(len(one))] for one in molecules], dtype=torch.float64)
    return SampleSet(
        sizes, torch.from_numpy(element_shares([one.numbers for one in molecules])), source="the molecules themselves"
    )


def _film(judged: Judged, encoding: MoleculeEncoding) -> Figure:
    one = take(dict(judged.condition), slice(1))

    def draw(count: int, **how: Any) -> Any:
        return judged.draw(count, condition=one, **how)

    states, times = film(draw, 1, judged.seed)
    return figures.film_figure([encoding.decode(state, one)[0] for state in states], times)


def _candidates(asked: Asked, most: int) -> list[Candidate]:
    """Useful samples of sound shape, the least strained for their size first."""
    rows = np.flatnonzero(asked.useful & asked.shapes.all)[: 10 * most]
    chosen = [cast(Molecule, asked.main.graphs[row]) for row in rows]
    found = strains(chosen)
    order = np.argsort(np.nan_to_num(found / np.array([len(one) for one in chosen]), nan=np.inf), kind="stable")[:most]
    smiles = [asked.main.smiles[rows[place]] for place in order]
    likeness = nearest(smiles, sorted(asked.known))
    return [
        Candidate(int(rows[place]), chosen[place], one, float(found[place]), float(like))
        for place, one, like in zip(order.tolist(), smiles, likeness.tolist(), strict=True)
    ]


def _remarks(asked: Mapping[str, Asked]) -> list[str]:
    own = asked["samples"]
    found = []
    if (real := asked.get("held-out")) is None:
        found.append(
            "No molecules were kept apart (`data.held_out`): the row of real data are molecules trained on, of which "
            "none is novel."
        )
    else:
        stable = 100 * real.stable["lengths"].molecule
        found.append(
            f"What is possible: of {len(real.molecules)} real molecules that the model has not seen "
            f"{100 * float(real.main.connected.mean()):.0f} % are valid and of one piece, {stable:.0f} % are stable by "
            f"the table of bond lengths, and {100 * float(real.novel.mean()):.0f} % are not among those trained on. "
            "Figures of other data, or of other ways to compute geometries, cannot be set beside these."
        )
    found.append(
        f"{int(own.useful.sum())} of {len(own.molecules)} samples are valid, of one piece, unique and novel, of which "
        f"{int((own.useful & own.shapes.all).sum())} are sound in shape."
    )
    return found

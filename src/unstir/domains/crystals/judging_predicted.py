"""How predicted structures are judged: for each held-out composition, is the true structure found?"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.core.state import take
from unstir.domains.base import Figure, Judged, Judgement
from unstir.domains.crystals import figures
from unstir.domains.crystals.candidates import write_predictions
from unstir.domains.crystals.data import formula_of
from unstir.domains.crystals.encoding import CrystalEncoding
from unstir.domains.crystals.measures import statistics
from unstir.domains.crystals.measures.matching import LITERATURE, Matches, distinct, match, match_everyone
from unstir.domains.crystals.measures.rivals import Library, moved
from unstir.domains.crystals.measures.validity import keeps_apart, keeps_radii
from unstir.domains.crystals.tasks.steering import property_errors
from unstir.domains.matter import findings
from unstir.domains.matter.sets import SetData
from unstir.domains.matter.structures import Crystal
from unstir.domains.rows import evenly, film
from unstir.metrics.evaluate import Result

SHIFT, STRAIN = 0.05, 0.01
"""How far off a prediction is that could not be better: angstrom a coordinate, and a share of the cell."""
_MATCHER = "StructureMatcher(stol=0.5, angle_tol=10, ltol=0.3)"
_NOTES = {
    "match-rate": f"Share of held-out compositions whose one prediction matches the true structure by {_MATCHER}, both "
    "brought to one volume; the floor are the true structures, each coordinate 0.05 angstrom and the cell 1 % off",
    "match-rate-new": "The same of compositions of which training has no polymorph",
    "rmse": "Mean displacement of the atoms where there is a match, in cube roots of the volume per atom; it falls "
    "when hard cases are lost, so read it beside the match rate",
    "metre": "METRe: share of the different held-out structures matched by the best prediction for their composition",
    "crmse": "cRMSE: the mean displacement of these, structures without a match counting 0.5, the tolerance",
    "volume-error": "Mean of |V/V0 - 1|, which matching does not see",
    "space-group": "Share of predictions with the true space group, both within 0.1 angstrom; the floor are the true "
    "structures",
    "valid-structure": "Share with all atoms 0.5 angstrom apart and more than 0.1 cubic angstrom",
    "valid-radii": "Share with all atoms 0.7 of the sum of their covalent radii apart",
}


@dataclass(frozen=True)
class Prediction:
    """What is compared: predictions (one list a draw), their truths, and the rivals' predictions for the same.

    Rivals have None where they know of nothing to say; that counts as no match.
    """

    truths: Sequence[Crystal]
    draws: Sequence[Sequence[Crystal]]
    rivals: Mapping[str, Sequence[Crystal | None]]
    floor: Sequence[Crystal]
    new: np.ndarray
    trained: int


def judge_predicted(judged: Judged, data: SetData, options: Mapping[str, Any]) -> Judgement:
    """Match rate, RMSE, METRe and cRMSE on held-out compositions; with the curve of sampling, and figures."""
    unseen = cast(SetData, judged.held_out or data.held_out or data)
    rows = evenly(len(unseen), options["limit"])
    condition = unseen.batch(rows)[1]
    compared = compare(judged, data, unseen, rows, condition, options["draws"])
    results = measures(compared)
    matches = match(compared.draws[0], compared.truths)
    points = _curve(judged, unseen, options)
    drawn: list[Figure] = [
        figures.prediction_figure(compared.truths, compared.draws[0], matches),
        figures.tolerance_figure(matches, {name: _match(rival, compared) for name, rival in compared.rivals.items()}),
        *([figures.curve_figure(points)] if points else []),
        figures.volume_figure(compared.truths, compared.draws[0]),
        _film(judged, data, compared.truths, condition),
    ]
    if options["steer"] is not None:
        result, chart = property_errors(judged, str(options["steer"]))
        results, drawn = [*results, result], [*drawn, chart]
    if judged.folder is not None and options["candidates"]:
        chosen = evenly(len(compared.truths), options["candidates"])
        pairs = [(compared.draws[0][row], compared.truths[row], float(matches.each[row])) for row in chosen]
        write_predictions(pairs, judged.folder)
    return Judgement(results, drawn, _remarks(unseen is data, compared))


def compare(
    judged: Judged,
    data: SetData,
    unseen: SetData,
    rows: np.ndarray,
    condition: Mapping[str, Tensor],
    draws: int,
) -> Prediction:
    """Draws for the held-out rows, and what rules would have said of the same compositions."""
    truths = [unseen.structures[row] for row in rows]
    seeds = Seeds.range(judged.seed, len(rows)).at("crystals", "rivals")
    library = Library(data.structures)
    known = {formula_of(crystal) for crystal in data.structures}
    return Prediction(
        truths,
        [_predicted(judged, condition, len(rows), judged.seed + draw) for draw in range(draws)],
        {
            "nearest-composition": [library.nearest(truth) for truth in truths],
            "typical": [library.typical(truth) for truth in truths],
            "scattered": [library.scattered(truth, seeds[row : row + 1]) for row, truth in enumerate(truths)],
        },
        [moved(truth, seeds[row : row + 1], SHIFT, STRAIN) for row, truth in enumerate(truths)],
        np.array([formula_of(truth) not in known for truth in truths]),
        len(data),
    )


def measures(compared: Prediction) -> list[Result]:
    """All results of a comparison, the most telling first."""
    began = time.perf_counter()
    truths, first = compared.truths, compared.draws[0]
    found = match(first, truths)
    floor = match(compared.floor, truths)
    rivals = {name: _match(rival, compared) for name, rival in compared.rivals.items()}
    told: dict[str, Any] = {"reference": compared.trained, "features": _MATCHER}
    rates = {name: other.found for name, other in rivals.items()}
    results: list[Result | None] = [
        findings.share("match-rate", found.found, floor.found, rates, began=began, note=_NOTES["match-rate"], **told),
        findings.mean(
            "rmse",
            found.each,
            floor.each,
            {name: other.each for name, other in rivals.items()},
            began=began,
            note=_NOTES["rmse"],
            unit="(V/n)^(1/3)",
            **told,
        ),
    ]
    began = time.perf_counter()
    kept = [truths[place] for place in np.unique(distinct(truths))]
    every = [crystal for draw in compared.draws for crystal in draw]
    best, real = match_everyone(every, kept), match_everyone(compared.floor, kept)
    others = {name: _everyone(rival, kept) for name, rival in compared.rivals.items()}
    results += [
        findings.share(
            "metre",
            best.found,
            real.found,
            {name: other.found for name, other in others.items()},
            began=began,
            note=_NOTES["metre"],
            **told,
        ),
        findings.mean(
            "crmse",
            best.corrected,
            real.corrected,
            {name: other.corrected for name, other in others.items()},
            began=began,
            note=_NOTES["crmse"],
            unit="(V/n)^(1/3)",
            **told,
        ),
    ]
    if 2 <= compared.new.sum() < len(truths):
        new = compared.new
        results.append(
            findings.share(
                "match-rate-new",
                found.found[new],
                floor.found[new],
                {name: flags[new] for name, flags in rates.items()},
                began=time.perf_counter(),
                note=_NOTES["match-rate-new"],
                **told,
            )
        )
    if len(compared.draws) > 1:
        results.append(_of_several(compared, floor, rates, told))
    return [result for result in [*results, *_other(compared)] if result is not None]


def _other(compared: Prediction) -> list[Result | None]:
    """What matching does not see: volume, symmetry, atoms on each other."""
    truths, first, told = compared.truths, compared.draws[0], {"reference": compared.trained}
    began = time.perf_counter()
    results: list[Result | None] = [
        findings.mean(
            "volume-error",
            _volume_errors(first, truths),
            _volume_errors(compared.floor, truths),
            {name: _volume_errors(rival, truths) for name, rival in compared.rivals.items()},
            began=began,
            note=_NOTES["volume-error"],
            unit="1",
            **told,
        )
    ]
    began = time.perf_counter()
    groups = _groups(truths)
    results.append(
        findings.share(
            "space-group",
            _groups(first) == groups,
            np.ones(len(truths), bool),
            {name: _groups(rival) == groups for name, rival in compared.rivals.items()},
            began=began,
            note=_NOTES["space-group"],
            **told,
        )
    )
    for metric, test in (("valid-structure", keeps_apart), ("valid-radii", keeps_radii)):
        began = time.perf_counter()
        results.append(
            findings.share(
                metric,
                np.array([test(crystal) for crystal in first]),
                np.array([test(crystal) for crystal in truths]),
                {
                    name: np.array([crystal is not None and test(crystal) for crystal in rival])
                    for name, rival in compared.rivals.items()
                },
                began=began,
                note=_NOTES[metric] + "; the floor are the true structures",
                **told,
            )
        )
    return results


def _of_several(compared: Prediction, floor: Matches, rates: Mapping[str, np.ndarray], told: Any) -> Result:
    began, count = time.perf_counter(), len(compared.draws)
    any_of = np.any([match(draw, compared.truths).found for draw in compared.draws], 0)
    note = f"Share of held-out compositions of which one of {count} predictions matches, whichever it is"
    return findings.share(f"match-rate-of-{count}", any_of, floor.found, rates, began=began, note=note, **told)


def _predicted(judged: Judged, condition: Mapping[str, Tensor], count: int, seed: int, **how: Any) -> list[Crystal]:
    encoding = cast(CrystalEncoding, judged.data.encoding)
    return encoding.decode(judged.draw(count, seed=seed, condition=condition, **how), condition)


def _match(rival: Sequence[Crystal | None], compared: Prediction) -> Matches:
    """Pair by pair, where there is something to compare."""
    each = np.full(len(rival), np.nan)
    there = [row for row, crystal in enumerate(rival) if crystal is not None]
    if there:
        each[there] = match([cast(Crystal, rival[row]) for row in there], [compared.truths[row] for row in there]).each
    return Matches(each)


def _everyone(rival: Sequence[Crystal | None], truths: Sequence[Crystal]) -> Matches:
    there = [crystal for crystal in rival if crystal is not None]
    return match_everyone(there, truths) if there else Matches(np.full(len(truths), np.nan))


def _volume_errors(crystals: Sequence[Crystal | None], truths: Sequence[Crystal]) -> np.ndarray:
    return np.array(
        [
            np.nan if crystal is None else abs(crystal.volume / truth.volume - 1)
            for crystal, truth in zip(crystals, truths, strict=True)
        ]
    )


def _groups(crystals: Sequence[Crystal | None]) -> np.ndarray:
    """Space groups' numbers; -1 where there is no crystal."""
    place = statistics.COLUMNS.index("space group")
    return np.array([-1 if each is None else statistics.table([each])[0, place] for each in crystals])


def _curve(judged: Judged, unseen: SetData, options: Mapping[str, Any]) -> list[figures.Point]:
    """Match rate against RMSE for other ways to sample, on the same compositions."""
    rows = evenly(len(unseen), options["curve_limit"])
    condition = unseen.batch(rows)[1]
    truths = [unseen.structures[row] for row in rows]
    points = []
    for way in ({"name": "as the recipe says"}, *options["curve"]) if options["curve"] else ():
        how = {knob: value for knob, value in way.items() if knob != "name"}
        found = match(_predicted(judged, condition, len(rows), judged.seed, **how), truths)
        name = str(way.get("name") or ", ".join(f"{_plain(value)} {knob}" for knob, value in how.items()))
        points.append(figures.Point(name, found))
    return points


def _plain(value: Any) -> str:
    return str(value.get("name", value)) if isinstance(value, Mapping) else str(value)


def _film(judged: Judged, data: SetData, truths: Sequence[Crystal], condition: Mapping[str, Tensor]) -> Any:
    encoding, one = cast(CrystalEncoding, data.encoding), take(dict(condition), slice(1))

    def draw(count: int, **how: Any) -> Any:
        return judged.draw(count, condition=one, **how)

    states, times = film(draw, 1, judged.seed)
    return figures.film_figure([encoding.decode(state, one)[0] for state in states], times, truths[0])


def _remarks(seen: bool, compared: Prediction) -> list[str]:
    count, known = len(compared.truths), int((~compared.new).sum())
    found = [
        f"{LITERATURE.sites:g} of the cube root of the volume per atom is a loose tolerance: atoms scattered at random "
        "in cells of the data match by themselves as often as the row `scattered` says."
    ]
    if seen:
        found.insert(
            0,
            "No crystals were kept apart (`data.held_out`): the structures predicted are those trained on, which "
            "flatters the model.",
        )
    elif known:
        found.insert(
            0,
            f"Of the {count} held-out crystals {known} have a polymorph in training, a crystal of the same "
            "composition; for a split without such take `data.split=composition`.",
        )
    return found

"""The calibrated ensemble beside what it must beat: raw, climatology, persistence, EMOS, a one-pass generator."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.base import Judged
from unstir.domains.climate.baselines import climatology_ensemble, persistence
from unstir.domains.climate.cases import ClimateData
from unstir.domains.climate.emos import fit_emos
from unstir.domains.climate.encoding import ClimateEncoding
from unstir.domains.climate.ensembles import ensemble_for
from unstir.domains.climate.forecasts import MODEL, Forecasts
from unstir.domains.climate.layout import Layout
from unstir.domains.climate.tasks.post_processing.cases import BY, PostCases
from unstir.domains.climate.tasks.post_processing.predictors import bounds_of, told_of

JUDGING: dict[str, Any] = {
    "members": 50,
    "part": "test",
    "most": None,
    "climatology_days": None,
    "one_pass": None,
}
"""What ``evaluation.options`` may say, with defaults; see ``postprocessing.judge_post_process``."""


def forecasts_of(judged: Judged, options: Mapping[str, Any]) -> Forecasts:
    """The ensembles of the judged part; ``options`` as ``judge_post_process`` says, with all of them there."""
    data: ClimateData = judged.data  # type: ignore[assignment]
    part = {"test": data.test, "validation": data.validation}.get(options["part"])
    if part is None:
        raise InputError(
            f"`evaluation.options.part: {options['part']}`: allowed are test and validation, where not empty"
        )
    cases: PostCases = part.cases  # type: ignore[assignment]
    learnt: PostCases = data.cases  # type: ignore[assignment]
    count = len(cases) if options["most"] is None else min(len(cases), int(options["most"]))
    rows = np.unique(np.linspace(0, len(cases) - 1, count).astype(np.int64))
    members, layout, seeds = int(options["members"]), data.encoding.layout, Seeds(judged.seed, torch.from_numpy(rows))
    made: dict[str, Tensor] = {MODEL: ensemble_for(judged.draw, part, rows, members, judged.seed)}
    if options["one_pass"]:
        from unstir.domains.climate.rivals import one_pass_draw

        made["one-pass"] = ensemble_for(one_pass_draw(judged, options["one_pass"]), part, rows, members, judged.seed)
    own = cases.rows[rows]
    made["raw ensemble"] = torch.from_numpy(cases.pairs.members(own))
    past = np.concatenate([learnt.pairs.target(learnt.rows[at : at + BY]) for at in range(0, len(learnt.rows), BY)])
    first, valid = learnt.pairs.valid(learnt.rows)[:, 0], cases.pairs.valid(own)[:, 0]
    made["climatology"] = climatology_ensemble(past, first, valid, members, seeds, options["climatology_days"])
    notes = {
        MODEL: "the diffusion model",
        "one-pass": "a generator of one call, trained on the score",
        "raw ensemble": "as it came",
        "climatology": "what was observed before, in the training part",
        "EMOS": "least CRPS, by the mean and spread of the ensemble",
        "EMOS, all predictors": "least CRPS, by all that the model is told but the single members",
        "last value": "regression on the last value, lead by lead",
    }
    told = told_of(cases.pairs, own, cases.scaling, cases.calibration.season)
    for name, plain in (("EMOS", True), ("EMOS, all predictors", False)):
        law = cases.calibration.law(told, plain)
        made[name] = _drawn(law, data.encoding, members, seeds.at(name))
    if cases.pairs.observed_before is not None and layout.shape == (1, len(cases.pairs.leads)):
        made |= _by_last_value(learnt, cases, own, data.encoding, members, seeds)
    exact = ""
    if cases.pairs.layout.axes == () and data.encoding.options["name"] == "station-rain":
        from unstir.domains.climate.made.station_rain import exact_ensemble

        raw = made["raw ensemble"][:, :, 0]
        exact = "exact law"
        made[exact] = exact_ensemble(raw, cases.pairs.times[own], members, seeds)[:, :, None]
        notes[exact] = "the law that the data was drawn from"
    return Forecasts(
        ensembles={name: _by_lead(each, layout, 2) for name, each in made.items()},
        observed=_by_lead(torch.from_numpy(cases.observed(rows)), layout, 1),
        starts=cases.starts[rows],
        leads=np.asarray(cases.pairs.leads),
        lead_unit=lead.unit if (lead := layout.axis("lead")) is not None else "",
        layout=Layout(layout.quantities, tuple(axis for axis in layout.axes if axis.name != "lead"), layout.calendar),
        climatology=torch.from_numpy(_without_lead(past, layout)),
        block=_block(cases, rows),
        exact=exact,
        notes={name: note for name, note in notes.items() if name in made},
    )


def _by_last_value(
    learnt: PostCases, cases: PostCases, own: np.ndarray, encoding: ClimateEncoding, members: int, seeds: Seeds
) -> dict[str, Tensor]:
    """Persistence, and the regression of each lead on the last value."""
    history = cases.pairs.observed_before
    assert history is not None
    leads = len(cases.pairs.leads)
    last = [torch.from_numpy(each.pairs.before(rows)[:, :1]) for each, rows in ((learnt, learnt.rows), (cases, own))]
    kept = persistence(
        np.asarray(history.values(np.arange(len(history)))), history.times, cases.pairs.times[own], leads, True
    )
    target = cases.scaling.encode(torch.from_numpy(learnt.pairs.target(learnt.rows))).flatten(1)
    design = [each[:, None].expand(-1, target.shape[1], 1).double() for each in last]
    nothing = [each[..., :0] for each in design]
    bounds = bounds_of(cases.scaling).expand(target.shape[1])
    law = fit_emos(design[0], nothing[0], torch.maximum(target, bounds), bounds)
    foretold = tuple(part[:, None] for part in law.law(design[1], nothing[1]))
    # red noise forgets its last value lead by lead: the regression tells how fast, also where it swings back
    return {
        "persistence": kept[:, :, :, :1].movedim(3, 2),
        "last value": _drawn(foretold, encoding, members, seeds.at("last value")),
    }


def _drawn(law: tuple[Tensor, ...], encoding: ClimateEncoding, members: int, seeds: Seeds) -> Tensor:
    """Independent draws of laws (cases, channels, *axes), in the units: (cases, members, channels, *axes)."""
    location, scale = law
    levels = seeds.at("emos").uniform((members, *location.shape[1:]))
    drawn = location[:, None] + scale[:, None] * torch.special.ndtri(levels)
    return torch.from_numpy(encoding.decode(drawn.flatten(0, 1))).unflatten(0, levels.shape[:2])


def _by_lead(values: Tensor, layout: Layout, channel: int) -> Tensor:
    """(..., channels, *axes) with the leads before the channels: ``lead`` moved there, or one of them."""
    names = [axis.name for axis in layout.axes]
    return values.movedim(channel + 1 + names.index("lead"), channel) if "lead" in names else values.unsqueeze(channel)


def _without_lead(values: np.ndarray, layout: Layout) -> np.ndarray:
    """All leads as further values, (n, channels, *axes without lead)."""
    names = [axis.name for axis in layout.axes]
    if "lead" not in names:
        return values
    moved = np.moveaxis(values, 2 + names.index("lead"), 1)
    return moved.reshape(-1, *moved.shape[2:])


def _block(cases: PostCases, rows: np.ndarray) -> int:
    """How many cases in a row hang together: as long as the leads overlap, and ten at least where there are so many."""
    leads, starts = cases.pairs.leads, cases.pairs.valid(cases.rows[rows])[:, 0]
    overlap = 1
    if len(leads) > 1 and len(starts) > 1:
        long = cases.pairs.valid(cases.rows[rows[:1]])[0]
        overlap = int((starts <= starts[0] + (long[-1] - long[0])).sum())
    return max(1, min(len(rows) // 4, max(overlap, 10)))

"""How samples of rotations are judged."""

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains import measuring
from unstir.domains.base import Figure, Judged, Judgement
from unstir.domains.measuring import measured
from unstir.domains.rotations import figures, statistics
from unstir.domains.rotations.texture import COMPONENTS
from unstir.domains.rows import RowData, checked_options, film, matched
from unstir.metrics.evaluate import Result

_OPTIONS = {"replicates": 200, "reference_limit": 3000, "gap_rows": 256, "film": 500}
_LEVELS = 8
NOTES = {
    "belief-gap": "What the belief loses against the exact one in nats per rotation, mean over the noise levels",
    "turn-distances": "Kolmogorov and Smirnov's distance of the angles from rows of the data, mean over 32 of these",
}


def judge_rotations(judged: Judged) -> Judgement:
    """The belief beside the exact one where the law is known, angles, and two-sample tests."""
    options = checked_options(judged.options, _OPTIONS, "key of the recipe's section 'evaluation.options'")
    data = judged.data
    if not isinstance(data, RowData):
        raise InputError(f"rotations are judged on the field's own data; seen {type(data).__name__}")
    unseen = judged.held_out if isinstance(judged.held_out, RowData) else data.held_out
    reference = matched(data.state, options["reference_limit"])
    results: list[Result] = []
    drawn: list[Figure] = [figures.pole_figure(reference, judged.drawn)]
    states, times = film(judged.draw, min(options["film"], len(judged.drawn)), judged.seed)
    levels = judged.denoiser.process.schedule.sigma(torch.tensor(times, dtype=torch.float64)).tolist()
    drawn.append(figures.strip_figure(states, levels))
    remarks = []
    if data.law is not None:
        result, chart = _gap(judged, data, unseen or data, options)
        results.append(result)
        modes = {
            name: centre
            for (name, (*_, spread, _)), centre in zip(COMPONENTS.items(), data.law.centres[:, 0], strict=True)
            if math.isfinite(spread)
        }
        drawn += [figures.angle_figure(reference, judged.drawn, modes), chart]
        remarks.append("These data were drawn from a law that is known exactly, and so is the belief to hold against.")
    results += measured(
        {
            "turn-distances": statistics.TurnDistances(),
            **{
                name: build("metrics", {"name": name, "space": "features", **how})
                for name, how in {"sliced-wasserstein": {}, "two-sample": {"most": 1000}, "memorisation": {}}.items()
            },
        },
        statistics.sample_set(judged.drawn),
        statistics.sample_set(reference),
        _stand_ins(judged, reference, unseen),
        seed=judged.seed,
        replicates=options["replicates"],
        notes=NOTES,
    )
    return Judgement(results, drawn, remarks)


def _stand_ins(judged: Judged, reference: Tensor, unseen: RowData | None) -> Mapping[str, Any]:
    count = len(judged.drawn)
    seeds = Seeds.range(judged.seed, count).at("baseline")
    rows = seeds.at("rows").integers(0, len(reference))
    found = {
        "uniform": statistics.uniform(reference, seeds),
        "one-isotropic-gaussian": statistics.one_gaussian(reference, judged.denoiser.process, seeds),
        "copies": reference[rows],
    }
    if unseen is not None:
        found["held-out"] = matched(unseen.state, count)
    return {name: statistics.sample_set(matrices) for name, matrices in found.items()}


def _gap(judged: Judged, data: RowData, unseen: RowData, options: Mapping[str, Any]) -> tuple[Result, Figure]:
    began = time.perf_counter()
    rows = matched(unseen.state, options["gap_rows"])
    seeds = Seeds.range(judged.seed, len(rows)).at("gap")
    sigma = torch.logspace(math.log10(0.05), math.log10(2.0), _LEVELS, dtype=torch.float64)
    process = judged.denoiser.process
    gaps = []
    for number, t in enumerate(process.schedule.time_at_sigma(sigma)):
        xt = process.noise(rows, t, seeds.at(number))
        with torch.no_grad():
            mine = judged.denoiser(xt, t.expand(len(xt))).log_prob(rows)
            gaps.append(data.law(xt, t).log_prob(rows) - mine)
    table = torch.stack(gaps)
    gap, error = table.mean(1), table.std(1) / math.sqrt(len(rows))
    result = measuring.belief_gap(sigma, gap, error, "rotation", len(rows), len(data), began, NOTES["belief-gap"])
    return result, figures.gap_figure(sigma, gap, error)

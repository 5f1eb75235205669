"""The verb `evaluate`: samples drawn, written and judged, and what the report shows of them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.domains.base import Judged
from unstir.run.folder import write_arrays
from unstir.run.parts import domain_of, training_conditions
from unstir.run.picture_evaluation import judge_pictures
from unstir.run.sampling import TrainedRun


def evaluate_run(run: TrainedRun, again: bool = True, progress: bool = True) -> dict[str, Any]:
    """Draws the recipe's samples, writes them, judges them, and keeps ``metrics.json`` and ``evaluation.npz``.

    Unless ``again``, figures that belong to the present weights are only read.
    """
    denoiser = run.denoiser()
    identity = {"weights": run.weights_digest(denoiser), "recipe": run.recipe.to_dict()}
    if not again and (run.folder.path / "metrics.json").exists():
        known = run.folder.read_json("metrics.json")
        if known["identity"] == identity:
            return known
    from tqdm import tqdm

    recipe = run.recipe
    count = recipe.sampling.count
    seeds = Seeds.range(recipe.seed, count)
    condition = training_conditions(run.data, seeds) if run.conditional else {}
    with tqdm(total=count, desc="sampling", unit="samples", disable=not progress) as bar:
        drawn = run.draw(denoiser, seeds, condition, progress=bar.update)
    run.domain.save(run.encoding, drawn, run.folder.samples, condition, overwrite=True)
    metrics: dict[str, Any] = {
        "samples": {
            "count": count,
            "seed": recipe.seed,
            "sampler": recipe.sampling.sampler,
            "grid": recipe.sampling.grid,
            "steps": recipe.sampling.steps,
            "calls": build("samplers", recipe.sampling.sampler).calls(recipe.sampling.steps),
            "conditional": run.conditional,
        }
    }
    arrays: dict[str, np.ndarray] = {}
    if run.domain.judge is None:
        if not isinstance(denoiser, NetworkDenoiser) or not isinstance(drawn, Tensor):
            raise InputError(f"the field {run.domain.name!r} does not say how such samples are judged")
        told, arrays = judge_pictures(run, denoiser, drawn, condition, progress)
        metrics |= told
    else:
        metrics |= _judged(run, denoiser, drawn, condition)
    metrics["identity"] = identity
    write_arrays(run.folder.path / "evaluation.npz", arrays)
    run.folder.write_json("metrics.json", metrics)
    return metrics


def _judged(run: TrainedRun, denoiser: LearnedDenoiser, drawn: Any, condition: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a field says of its samples."""
    recipe = run.recipe
    held_out = domain_of(recipe).read(recipe.evaluation.held_out) if recipe.evaluation.held_out else None

    def draw(count: int, seed: int | None = None, condition: Mapping[str, Tensor] | None = None, **how: Any) -> Any:
        seeds = Seeds.range(recipe.seed if seed is None else seed, count)
        return run.draw(denoiser, seeds, condition, **how)

    assert run.domain.judge is not None
    judgement = run.domain.judge(
        Judged(
            denoiser=denoiser,
            data=run.data,
            held_out=held_out,
            drawn=drawn,
            condition=condition,
            draw=draw,
            seed=recipe.seed,
            options=recipe.evaluation.options,
            folder=run.folder.path / "candidates",
        )
    )
    return {
        "results": [result.to_json() for result in judgement.results],
        "figures": [asdict(figure) for figure in judgement.figures],
        "remarks": list(judgement.remarks),
    }

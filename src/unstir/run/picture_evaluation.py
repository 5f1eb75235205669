"""How pictures are judged: features, metrics beside floors and baselines, quality by calls, and what is shown."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import State
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.metrics.base import SampleSet
from unstir.metrics.evaluate import evaluate
from unstir.metrics.features import FeatureNetwork, random_features, train_classifier
from unstir.run.parts import domain_of, training_conditions
from unstir.run.sampling import TrainedRun
from unstir.samplers.base import SamplerState, time_grid

_SHOWN = 64  # samples in the report's grid
_PER_CLASS = 8
_STRIP_LEVELS = 10
_NEIGHBOURS = 3
_CURVE_METRICS = ("frechet", "kernel", "coverage")


def judge_pictures(
    run: TrainedRun, denoiser: NetworkDenoiser, drawn: Tensor, condition: Mapping[str, Tensor], progress: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What ``metrics.json`` says of drawn pictures, and the arrays that the report shows."""
    options, recipe = run.recipe.evaluation, run.recipe
    reference, network, told = _reference(run)
    samples = network.describe(drawn, condition.get("label"))
    results = evaluate(
        samples,
        reference,
        held_out=_held_out(run, network),
        metrics=options.metrics or run.domain.evaluation.get("metrics"),
        seed=recipe.seed,
        extractor=network.describe,
        replicates=options.replicates,
    )
    metrics = {
        "results": [result.to_json() for result in results],
        "quality_by_calls": _quality_by_calls(run, denoiser, reference, network, progress),
        "classes": list(told["classes"]) if told["classes"] else None,
        "features": told,
    }
    return metrics, _pictures(run, denoiser, drawn, reference)


def _tensor(state: State) -> Tensor:
    if not isinstance(state, Tensor):
        raise InputError(f"only states of one tensor can be judged as yet; seen the parts {sorted(state)}")
    return state


def _reference(run: TrainedRun) -> tuple[SampleSet, FeatureNetwork, dict[str, Any]]:
    """The training data in features: a classifier's where there are labels, a random network's where not."""
    data, limit = run.labelled_data, run.recipe.evaluation.reference_limit
    rows = np.arange(len(data))
    if len(rows) > limit:
        rows = np.sort(Seeds.range(run.recipe.seed, 1).at("reference").generator().permutation(len(data))[:limit])
    state, condition = data.batch(rows)
    values = _tensor(state)
    labels = condition.get("label")
    seed, classes = run.recipe.seed, None
    if labels is None:
        network = random_features(values, seed, bounds=(-1.0, 1.0))
        kind = "random network"
    else:
        network = train_classifier(values, labels, seed, bounds=(-1.0, 1.0))
        kind = "classifier trained on the same data"
        names = getattr(run.encoding, "label_names", ())
        classes = list(names) or [str(number) for number in range(data.conditions["label"]["classes"])]
    told = {"kind": kind, "seed": seed, "sha256": network.digest, "accuracy": getattr(network, "accuracy", None)}
    return network.describe(values, labels), network, {**told, "classes": classes, "rows": len(rows)}


def _held_out(run: TrainedRun, network: FeatureNetwork) -> SampleSet | None:
    """Data of the same kind that the model has not seen, where the recipe names some."""
    wanted = run.recipe.evaluation.held_out
    if not wanted:
        return None
    data = domain_of(run.recipe).read(wanted)
    if tuple(data.shape) != run.shape:
        raise InputError(f"evaluation.held_out: samples of shape {data.shape}, but the run was trained on {run.shape}")
    rows = np.arange(min(len(data), run.recipe.evaluation.reference_limit))
    state, condition = data.batch(rows)
    return network.describe(_tensor(state), condition.get("label"))


def _quality_by_calls(
    run: TrainedRun, denoiser: NetworkDenoiser, reference: SampleSet, network: FeatureNetwork, progress: bool
) -> list[dict[str, Any]]:
    from tqdm import tqdm

    options, recipe = run.recipe.evaluation, run.recipe
    count = min(recipe.sampling.count, options.curve_limit)
    seeds = Seeds.range(recipe.seed, count)
    condition = training_conditions(run.data, seeds) if run.conditional else {}
    chosen = [recipe.sampling.sampler]
    if recipe.sampling.sampler["name"] != "ddim":
        chosen.append({"name": "ddim"})
    curve = []
    for calls in tqdm(sorted(options.calls), desc="quality by calls", disable=not progress):
        for specification in chosen:
            sampler = build("samplers", specification)
            steps = sampler.steps_within(calls)
            drawn = run.draw(denoiser, seeds, condition, sampler=specification, steps=steps)
            samples = network.describe(drawn, condition.get("label"))
            values = {name: build("metrics", name).measure(samples, reference, seeds).value for name in _CURVE_METRICS}
            point = {"sampler": specification["name"], "steps": steps, "calls": sampler.calls(steps), "count": count}
            curve.append({**point, **values})
    return curve


def _pictures(run: TrainedRun, denoiser: NetworkDenoiser, drawn: Tensor, reference: SampleSet) -> dict[str, np.ndarray]:
    arrays = {"samples": drawn[:_SHOWN]}
    if "label" in run.conditions:
        classes = run.conditions["label"]["classes"]
        labels = torch.arange(classes).repeat_interleave(_PER_CLASS)
        seeds = Seeds.range(run.recipe.seed, len(labels)).at("by class")
        by_class = run.draw(denoiser, seeds, {"label": labels})
        arrays["by_class"] = by_class.reshape(classes, _PER_CLASS, *by_class.shape[1:])
    arrays |= _forward_strip(run, denoiser, reference.values)
    arrays |= _reverse_strip(run, denoiser)
    arrays |= _neighbours(drawn, reference.values)
    return {name: values.numpy().astype(np.float32) for name, values in arrays.items()}


def _strip_times(denoiser: NetworkDenoiser, grid: Mapping[str, Any]) -> Tensor:
    return time_grid(denoiser.process, grid, _STRIP_LEVELS - 1)


def _visible(denoiser: NetworkDenoiser, xt: Tensor, t: Tensor) -> Tensor:
    """A noisy state scaled to the data's own spread, so that it can be drawn."""
    schedule = denoiser.process.schedule
    spread = ((schedule.alpha(t) * denoiser.sigma_data) ** 2 + schedule.sigma(t) ** 2).sqrt()
    return xt * (denoiser.sigma_data / spread).item()


def _ratio(denoiser: NetworkDenoiser, t: Tensor) -> float:
    return (-denoiser.process.schedule.log_snr(t) / 2).exp().item() if t > 0 else 0.0


def _forward_strip(run: TrainedRun, denoiser: NetworkDenoiser, values: Tensor) -> dict[str, Tensor]:
    rows = torch.linspace(0, len(values) - 1, _PER_CLASS).long()
    times = _strip_times(denoiser, run.recipe.sampling.grid).flip(0)
    seeds = Seeds.range(run.recipe.seed, len(rows)).at("forward strip")  # one noise, growing
    noisy = [_visible(denoiser, denoiser.process.noise(values[rows], t, seeds), t) for t in times]
    return {"forward": torch.stack(noisy), "forward_sigma": torch.tensor([_ratio(denoiser, t) for t in times])}


def _reverse_strip(run: TrainedRun, denoiser: NetworkDenoiser) -> dict[str, Tensor]:
    kept: list[tuple[Tensor, Tensor, float]] = []

    def keep(state: SamplerState, t: Tensor, s: Tensor) -> None:
        assert isinstance(state.x, Tensor) and isinstance(state.mean, Tensor)
        kept.append((_visible(denoiser, state.x, s)[:_PER_CLASS], state.mean[:_PER_CLASS], _ratio(denoiser, s)))

    seeds = Seeds.range(run.recipe.seed, _PER_CLASS)
    condition = training_conditions(run.data, seeds) if run.conditional else {}
    run.draw(denoiser, seeds, condition, callback=keep)
    places = [round(place) for place in np.linspace(0, len(kept) - 1, min(_STRIP_LEVELS, len(kept)))]
    states, means, sigmas = zip(*(kept[place] for place in places), strict=True)
    return {
        "reverse": torch.stack(states),
        "reverse_mean": torch.stack(means),
        "reverse_sigma": torch.tensor(sigmas),
    }


def _neighbours(drawn: Tensor, values: Tensor) -> dict[str, Tensor]:
    chosen = drawn[:_PER_CLASS]
    distances = torch.cdist(chosen.flatten(1).double(), values.flatten(1).double())
    nearest = distances.topk(min(_NEIGHBOURS, len(values)), largest=False)
    per_element = nearest.values / math.sqrt(values[0].numel())
    return {
        "neighbour_samples": chosen,
        "neighbour_training": values[nearest.indices],
        "neighbour_distance": per_element,
    }

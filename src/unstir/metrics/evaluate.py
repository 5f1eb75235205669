"""Many metrics of one set of samples, each beside its noise floor, interval and baselines."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from unstir.core import catalogue
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.base import Measurement, Metric, SampleSet
from unstir.metrics.baselines import baseline_sets
from unstir.metrics.resampling import bootstrap_counts, centred_interval

DEFAULT = (
    "frechet",
    "kernel",
    "precision",
    "recall",
    "density",
    "coverage",
    "two-sample",
    "nearest-neighbour",
    "sliced-wasserstein",
    "class-histogram",
    "missing-classes",
    "class-agreement",
    "memorisation",
    "copied",
)
_FRECHET = {"frechet", "frechet-infinity"}


@dataclass(frozen=True)
class Result:
    """One metric, measured; plain values throughout.

    ``interval`` is the 95 % interval over the samples, by bootstrap (proportions: Wilson's). ``floor`` is
    real data in the samples' place: ``{"value": mean, "interval": (low, high)}`` over its replicates.
    ``baselines`` maps the stand-ins' names to the metric's value for as many of their samples; "held-out"
    is real data that the model has not seen. ``better`` is "lower", "higher" or "nearest" (to the ideal).
    ``features`` says what made the features, with the hash of its weights.
    """

    metric: str
    value: float
    interval: tuple[float, float]
    floor: dict[str, Any]
    baselines: dict[str, float]
    ideal: float | None
    better: str
    unit: str
    n_samples: int
    n_reference: int
    seconds: float
    features: str
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As ``json.dumps`` takes it."""
        return asdict(self)


def evaluate(
    samples: SampleSet,
    reference: SampleSet,
    *,
    held_out: SampleSet | None = None,
    metrics: Sequence[str | Mapping[str, Any]] | None = None,
    seed: int,
    baselines: bool = True,
    extractor: Callable[..., SampleSet] | None = None,
    replicates: int = 200,
    floor_replicates: int = 20,
) -> list[Result]:
    """Measures the samples against the reference, which is the training set, metric by metric.

    ``metrics``: names of the catalogue, or ``{"name": ..., option: value}``; left out, all that the sets
    have the parts for. Whenever a Fréchet distance is asked for, memorisation is measured too: a copy of
    the training set wins the one and loses the other.

    ``held_out``: data of the same law that the model has not seen, measured in the samples' place as the
    baseline "held-out". ``extractor(values, labels) -> SampleSet``: what made the features (for instance
    ``FeatureNetwork.describe``); the baselines need it, unless the features are the flattened values.
    ``replicates`` are the bootstrap's, ``floor_replicates`` those of real against real.

    The same sets, seed and options give the same figures to the bit; ``seconds`` apart.

    Raises InputError for unknown metrics, sets that lack what a metric needs, too few samples.
    """
    for name, rows in (("samples", samples), ("held_out", held_out)):
        if rows is not None and rows.source != reference.source:
            raise InputError(
                f"the features of {name} are of {rows.source!r}, the reference's of {reference.source!r}: "
                "describe all sets by one extractor"
            )
    chosen = _choose(metrics, samples, reference)
    seeds = Seeds.range(seed, len(samples))
    counts = bootstrap_counts(len(samples), replicates, seeds)
    stand_ins = baseline_sets(reference, seeds, extractor) if baselines else {}
    if held_out is not None:
        stand_ins["held-out"] = held_out
    if floor_replicates < 1:
        raise InputError(f"floor_replicates must be at least 1, seen {floor_replicates}")
    results = []
    for name, metric in chosen:
        began = time.perf_counter()
        measured = metric.measure(samples, reference, seeds)
        interval = measured.interval or centred_interval(measured.value, _replicates(measured, counts), metric.limits)
        floor = _floor(metric.floor(reference, len(samples), seeds, floor_replicates))
        values = {
            other: metric.measure(rows, reference, seeds).value
            for other, rows in stand_ins.items()
            if _has(rows, metric.needs)
        }
        notes = (note for note in (measured.note, metric.floor_note) if note)
        results.append(
            Result(
                metric=name,
                value=measured.value,
                interval=interval,
                floor=floor,
                baselines=values,
                ideal=metric.ideal,
                better=metric.better,
                unit=metric.unit,
                n_samples=len(samples),
                n_reference=len(reference),
                seconds=round(time.perf_counter() - began, 3),
                features=reference.source,
                note="; ".join(notes),
                details=dict(measured.details),
            )
        )
    return results


def _replicates(measured: Measurement, counts: torch.Tensor) -> torch.Tensor:
    """The metric's bootstrap replicates, with an error where one of them is not finite."""
    values = measured.resampled(counts)
    if not torch.isfinite(values).all():
        raise InputError("a bootstrap replicate is not finite: too few samples for this metric; draw more")
    return values


def _choose(
    metrics: Sequence[str | Mapping[str, Any]] | None, samples: SampleSet, reference: SampleSet
) -> list[tuple[str, Metric]]:
    if metrics is None:
        built = [(name, catalogue.build("metrics", name)) for name in DEFAULT]
        return [
            (name, metric) for name, metric in built if _has(samples, metric.needs) and _has(reference, metric.needs)
        ]
    if isinstance(metrics, str):
        raise InputError(f"metrics must be a list of names, seen the text {metrics!r}")
    asked = list(metrics)
    names = [item if isinstance(item, str) else str(item.get("name")) for item in asked]
    if not names:
        raise InputError("no metrics were asked for; leave `metrics` out to have all that apply")
    if _FRECHET & set(names) and "memorisation" not in names:
        asked.append("memorisation")
        names.append("memorisation")
    return [(name, catalogue.build("metrics", item)) for name, item in zip(names, asked, strict=True)]


def _has(rows: SampleSet, needs: Sequence[str]) -> bool:
    return all(getattr(rows, part) is not None for part in needs)


def _floor(values: Sequence[float]) -> dict[str, Any]:
    low, high = np.quantile(values, [0.025, 0.975]).tolist()
    return {"value": math.fsum(values) / len(values), "interval": (low, high)}

"""Measures of rows against rows, each beside real data in the samples' place and beside stand-ins for a model."""

import math
import time
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.metrics.base import Measurement, Metric, SampleSet
from unstir.metrics.evaluate import Result
from unstir.metrics.resampling import bootstrap_counts, centred_interval


class Statistic(Metric):
    """A distance of two sets of rows that weights of the rows tell: bootstrap and floor follow by themselves.

    The floor is the two-sample bootstrap: as many rows as there are samples, and as many as the reference has, both
    drawn from the reference with replacement, so that either side's noise is in it.
    """

    @abstractmethod
    def distance(self, samples: SampleSet, weights: Tensor, reference: SampleSet, others: Tensor) -> Tensor:
        """The distances (r,) under weights of the samples (r, n) and of the reference (r, m), whose rows sum to one."""

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        plain = torch.full((1, len(reference)), 1 / len(reference), dtype=torch.float64)

        def resampled(counts: Tensor) -> Tensor:
            weights = counts.double() / counts.sum(1, keepdim=True)
            return self.distance(samples, weights, reference, plain.expand(len(counts), -1))

        value = resampled(torch.ones(1, len(samples))).item()
        return Measurement(value, resampled, details=self.details(samples, reference))

    def details(self, samples: SampleSet, reference: SampleSet) -> Mapping[str, Any]:
        """What there is to tell beside the value."""
        return {}

    def floor(self, reference: SampleSet, count: int, seeds: Seeds, replicates: int) -> list[float]:
        generator = seeds.at("floor").generator()
        even = np.full(len(reference), 1 / len(reference))
        first, second = (
            torch.from_numpy(generator.multinomial(size, even, size=replicates)).double() / size
            for size in (count, len(reference))
        )
        return self.distance(reference, first, reference, second).tolist()


def measured(
    metrics: Mapping[str, Metric],
    samples: SampleSet,
    reference: SampleSet,
    stand_ins: Mapping[str, SampleSet],
    *,
    seed: int,
    replicates: int = 200,
    floor_replicates: int = 20,
    notes: Mapping[str, str] | None = None,
) -> list[Result]:
    """Every metric of the samples against the reference, with a bootstrap interval, a floor and the stand-ins' values.

    ``notes`` say what a metric is, by its name. The same sets and seed give the same figures.
    """
    seeds = Seeds.range(seed, len(samples))
    counts = bootstrap_counts(len(samples), replicates, seeds)
    results = []
    for name, metric in metrics.items():
        began = time.perf_counter()
        found = metric.measure(samples, reference, seeds)
        interval = found.interval or centred_interval(found.value, found.resampled(counts), metric.limits)
        told = [text for text in ((notes or {}).get(name), found.note, metric.floor_note) if text]
        results.append(
            Result(
                metric=name,
                value=found.value,
                interval=interval,
                floor=floor_of(metric.floor(reference, len(samples), seeds, floor_replicates)),
                baselines={other: metric.measure(rows, reference, seeds).value for other, rows in stand_ins.items()},
                ideal=metric.ideal,
                better=metric.better,
                unit=metric.unit,
                n_samples=len(samples),
                n_reference=len(reference),
                seconds=round(time.perf_counter() - began, 3),
                features=reference.source,
                note="; ".join(told),
                details=dict(found.details),
            )
        )
    return results


def floor_of(values: list[float]) -> dict[str, Any]:
    """Real data in the samples' place, as a result keeps it: the mean over replicates, and where 95 % of them lie."""
    low, high = np.quantile(values, [0.025, 0.975]).tolist()
    return {"value": math.fsum(values) / len(values), "interval": (low, high)}


def mean_interval(values: np.ndarray) -> tuple[float, tuple[float, float]]:
    """A mean and its 95 % interval by the normal law, of independent values (n,)."""
    mean, error = float(np.mean(values)), 1.96 * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return mean, (mean - error, mean + error)


def belief_gap(
    sigma: Tensor, gap: Tensor, error: Tensor, of: str, rows: int, reference: int, began: float, note: str
) -> Result:
    """What the belief loses against the exact one: the mean over noise levels ``sigma`` of ``gap``, all (levels,).

    ``error`` are the standard errors of ``gap``, in nats per ``of``; ``began`` is when the measurement did, by
    ``time.perf_counter``.
    """
    value, spread = gap.mean().item(), 1.96 * error.square().sum().sqrt().item() / len(gap)
    return Result(
        metric="belief-gap",
        value=value,
        interval=(value - spread, value + spread),
        floor={"value": 0.0, "interval": (0.0, 0.0)},
        baselines={},
        ideal=0.0,
        better="lower",
        unit=f"nats per {of}",
        n_samples=rows,
        n_reference=reference,
        seconds=round(time.perf_counter() - began, 3),
        features=f"the {of}s themselves",
        note=note,
        details={"sigma": sigma.tolist(), "gap": gap.tolist(), "error": error.tolist()},
    )

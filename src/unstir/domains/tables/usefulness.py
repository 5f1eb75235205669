"""Whether samples serve in the data's place: train on them, test on real rows."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unstir.core.seeds import Seeds
from unstir.domains.tables.encoding import TableEncoding
from unstir.metrics.base import SampleSet
from unstir.metrics.evaluate import Result


def usefulness(
    encoding: TableEncoding,
    samples: SampleSet,
    reference: SampleSet,
    test: SampleSet,
    stand_ins: Mapping[str, SampleSet],
    seed: int,
    replicates: int = 200,
    floor_replicates: int = 8,
) -> Result:
    """How well boosted trees predict the target of held-out rows, trained on samples; the floor: on real rows.

    For a target of numbers the share of its variance that is told (R^2, of its normal scores), for categories the
    share of right answers. The interval resamples the test rows; the floor's goes from the lowest to the highest of
    some resamplings of the rows of data.

    Reference: Esteban, Hyland, Rätsch, Real-valued (medical) time series generation with recurrent conditional GANs
    (2017), section 4.2 (train on synthetic, test on real).
    """
    began = time.perf_counter()
    place = [column.name for column in encoding.columns].index(encoding.target)
    categories = encoding.columns[place].categorical
    seeds = Seeds.range(seed, 1).at("usefulness")
    truth = test.values[:, place].numpy()
    told = {name: _predicted(rows, test, place, categories) for name, rows in {"": samples, **stand_ins}.items()}
    generator = seeds.at("floor").generator()
    floors = []
    for _ in range(floor_replicates):
        rows = generator.integers(0, len(reference), len(reference))
        drawn = reference.take(torch.from_numpy(rows))
        floors.append(_score(truth, _predicted(drawn, test, place, categories), categories))
    whole = _score(truth, _predicted(reference, test, place, categories), categories)
    draws = seeds.at("bootstrap").generator().integers(0, len(truth), (replicates, len(truth)))
    value = _score(truth, told[""], categories)
    spread = np.array([_score(truth[rows], told[""][rows], categories) for rows in draws])
    low, high = (value + np.quantile(spread, [0.025, 0.975]) - spread.mean()).tolist()
    return Result(
        metric="usefulness",
        value=value,
        interval=(min(low, value), max(high, value)),
        floor={"value": whole, "interval": (min(whole, *floors), max(whole, *floors))},
        baselines={
            name: _score(truth, answers, categories) for name, answers in told.items() if name and name != "held-out"
        },
        ideal=1.0,
        better="higher",
        unit="share right" if categories else "R²",
        n_samples=len(samples),
        n_reference=len(test),
        seconds=round(time.perf_counter() - began, 3),
        features=samples.source,
        note=f"Boosted trees that predict {encoding.target!r} from the other columns, trained on samples and tested on "
        f"{len(test)} held-out rows; the floor is trained on the {len(reference)} rows of data",
    )


def _predicted(rows: SampleSet, test: SampleSet, place: int, categories: bool) -> NDArray[Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    tables = [np.delete(each.values.numpy(), place, 1) for each in (rows, test)]
    answers = rows.values[:, place].numpy()
    if categories and len(np.unique(answers)) < 2:
        return np.full(len(test), answers[0])
    kind = HistGradientBoostingClassifier if categories else HistGradientBoostingRegressor
    trees = kind(max_iter=60, max_leaf_nodes=15, learning_rate=0.08, early_stopping=False, random_state=0)
    return trees.fit(tables[0], answers).predict(tables[1])


def _score(truth: NDArray[Any], told: NDArray[Any], categories: bool) -> float:
    if categories:
        return float((truth == told).mean())
    total = float(np.square(truth - truth.mean()).sum())
    return 1 - float(np.square(truth - told).sum()) / max(total, 1e-12)

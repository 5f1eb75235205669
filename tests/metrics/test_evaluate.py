import json

import pytest
import torch

from unstir.core import catalogue
from unstir.core.errors import InputError
from unstir.metrics.base import SampleSet
from unstir.metrics.evaluate import DEFAULT, Result, evaluate


def rows(count, seed, shift=0.0):
    values = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift
    return values


def describe(values, labels=None):
    """Probabilities and features of a fixed map, as an extractor makes them."""
    values = values.double()
    return SampleSet(values, torch.cat([values, values.square()], 1), labels, torch.softmax(3 * values, dim=1))


@pytest.fixture(scope="module")
def sets():
    reference = rows(150, 0)
    return describe(rows(80, 1), torch.arange(80) % 3), describe(reference, reference.argmax(1))


def short(samples, reference, **options):
    options = {"seed": 0, "extractor": describe, "replicates": 20, "floor_replicates": 4, **options}
    return {result.metric: result for result in evaluate(samples, reference, **options)}


def test_everything_that_applies_is_measured_and_json(sets):
    found = short(*sets, held_out=describe(rows(90, 2)))
    assert set(found) == set(DEFAULT)
    for result in found.values():
        low, high = result.interval
        assert low <= result.value <= high
        assert result.floor["interval"][0] <= result.floor["value"] <= result.floor["interval"][1]
        assert (result.n_samples, result.n_reference) == (80, 150)
        assert result.better in ("lower", "higher")
        copy = json.loads(json.dumps(result.to_json(), allow_nan=False))
        assert copy["value"] == result.value
    names = {"gaussian", "gaussian-per-class", "jitter-0.1", "jitter-0.3", "copies", "held-out"}
    assert set(found["frechet"].baselines) == names
    assert "held-out" not in found["class-agreement"].baselines


def test_defaults_are_the_catalogue_but_for_the_extrapolation():
    assert set(catalogue.entries("metrics")) - set(DEFAULT) == {"frechet-infinity"}
    for entry in catalogue.entries("metrics").values():
        assert entry.source, f"{entry.name} names no reference"
        assert entry.load()().better in ("lower", "higher")


def test_same_seed_same_figures_to_the_bit(sets):
    def figures(seed):
        return [{**result.to_json(), "seconds": 0} for result in short(*sets, seed=seed).values()]

    first = figures(3)
    fresh = [part.take(torch.arange(len(part))) for part in sets]
    second = [{**result.to_json(), "seconds": 0} for result in short(*fresh, seed=3).values()]
    assert first == second
    assert first != figures(4)


def test_copies_win_the_frechet_distance_and_lose_the_memorisation():
    reference = describe(rows(300, 5))
    found = short(
        reference.take(torch.arange(0, 300, 2)), reference, metrics=["frechet"], held_out=describe(rows(150, 6))
    )
    assert list(found) == ["frechet", "memorisation"]
    assert found["frechet"].value < found["frechet"].baselines["held-out"]
    assert found["memorisation"].value == 0
    assert found["memorisation"].baselines["copies"] == 0
    assert found["memorisation"].baselines["held-out"] > 0.5


def test_floor_is_between_copies_and_a_wrong_law():
    reference = describe(rows(400, 7))
    for name, result in short(describe(rows(200, 8, shift=1.0)), reference, floor_replicates=10).items():
        if name in ("frechet", "kernel", "sliced-wasserstein", "two-sample"):
            assert result.value > result.floor["interval"][1], name
        if name in ("density", "coverage", "recall"):
            assert result.value < result.floor["interval"][0], name


def test_options_and_plain_values_without_extractor():
    found = short(
        SampleSet(rows(60, 9)), SampleSet(rows(70, 10)), extractor=None, metrics=[{"name": "density", "neighbours": 3}]
    )
    assert list(found) == ["density"]
    assert isinstance(found["density"], Result)
    assert set(found["density"].baselines) == {"gaussian", "jitter-0.1", "jitter-0.3", "copies"}
    assert short(*(describe(rows(60, seed)) for seed in (11, 12)), extractor=None, baselines=False, metrics=["kernel"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["freshet"]}, "did you mean 'frechet'"),
        ({"metrics": "frechet"}, "a list of names"),
        ({"metrics": []}, "leave `metrics` out"),
        ({"metrics": [{"name": "density", "neighbors": 3}]}, "did you mean 'neighbours'"),
        ({"metrics": ["kernel"], "extractor": None}, "extractor"),
        ({"metrics": ["kernel"], "replicates": 1}, "at least 2 replicates"),
        ({"metrics": ["kernel"], "floor_replicates": 0}, "floor_replicates"),
    ],
)
def test_unusable_options(sets, options, message):
    with pytest.raises(InputError, match=message):
        short(*sets, **options)


def test_features_of_different_makers_are_not_compared(sets):
    other = SampleSet(sets[0].values, sets[0].features, source="another network")
    for options in ({"samples": other}, {"samples": sets[0], "held_out": other}):
        with pytest.raises(InputError, match="one extractor"):
            short(options.pop("samples"), sets[1], **options)
    assert short(sets[0], sets[1], metrics=["density"])["density"].features == sets[1].source


def test_too_few_samples(sets):
    with pytest.raises(InputError, match="at least 6"):
        short(sets[0].take(torch.arange(4)), sets[1], metrics=["precision"], baselines=False)

"""The intervals hold what they say: simulated with a known law, judged by the binomial law of the hits."""

import math

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.base import SampleSet
from unstir.metrics.classes import ClassHistogram
from unstir.metrics.frechet import Frechet, FrechetInfinity
from unstir.metrics.kernel import Kernel
from unstir.metrics.memorisation import Copied, Memorisation
from unstir.metrics.neighbourhood import Coverage, Density, Precision, Recall
from unstir.metrics.resampling import bootstrap_counts, centred_interval, proportion_interval
from unstir.metrics.sliced_wasserstein import SlicedWasserstein
from unstir.metrics.two_sample import NearestNeighbour, TwoSample

METRICS = [
    Frechet(),
    FrechetInfinity(),
    Kernel(),
    Precision(),
    Recall(),
    Density(),
    Coverage(),
    SlicedWasserstein(directions=5),
    Memorisation(),
    Copied(),
    ClassHistogram(),
    TwoSample(),
    NearestNeighbour(),
]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_interval_holds_the_expectation(metric):
    """The metric's expectation at this number of samples, the reference being given."""
    generator = torch.Generator().manual_seed(0)
    count, simulations = 120, 100

    def draw(number, shift=0.0):
        rows = torch.randn(number, 3, generator=generator, dtype=torch.float64)
        rows[:, 0] += shift
        return SampleSet(rows, probabilities=torch.softmax(2 * rows, dim=1))

    reference = draw(180)
    values, intervals = [], []
    for simulation in range(simulations):
        seeds = Seeds.range(simulation, count)
        # one set of directions for all: the interval is over the samples
        measured = metric.measure(draw(count, 0.5), reference, Seeds.range(0, count))
        replicates = measured.resampled(bootstrap_counts(count, 100, seeds))
        values.append(measured.value)
        intervals.append(measured.interval or centred_interval(measured.value, replicates, metric.limits))
    expectation = math.fsum(values) / simulations
    hits = sum(low <= expectation <= high for low, high in intervals)
    # 95 % stated; percentile intervals of 120 rows are allowed 90 %, and five standard errors of the simulation
    assert hits > simulations * 0.90 - 5 * math.sqrt(simulations * 0.90 * 0.10)
    # and they are no wider than they must be: a normal interval is 3.92 standard deviations wide
    width = torch.tensor([high - low for low, high in intervals]).double().median().item()
    assert width < 2 * 3.92 * torch.tensor(values).double().std().item()


def test_counts_are_a_resample_with_replacement():
    counts = bootstrap_counts(30, 400, Seeds.range(1, 30))
    assert counts.shape == (400, 30)
    assert set(counts.sum(1).tolist()) == {30.0}
    assert torch.equal(counts, bootstrap_counts(30, 400, Seeds.range(1, 30)))
    # each row is drawn Binomial(30, 1/30) times
    assert abs((counts == 0).double().mean() - (29 / 30) ** 30) < 5 * 0.5 / math.sqrt(400 * 30)


def test_mean_has_the_interval_of_the_normal_law():
    count = 2000
    rows = torch.randn(count, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    replicates = bootstrap_counts(count, 2000, Seeds.range(3, count)) @ rows / count
    low, high = centred_interval(rows.mean().item(), replicates, (-math.inf, math.inf))
    error = rows.std().item() / math.sqrt(count)
    # a 2.5 % quantile of 2,000 replicates has a standard error of 0.06 standard deviations
    assert low == pytest.approx(rows.mean().item() - 1.96 * error, abs=5 * 0.06 * error)
    assert high == pytest.approx(rows.mean().item() + 1.96 * error, abs=5 * 0.06 * error)


def test_limits_hold_and_the_value_is_inside():
    low, high = centred_interval(0.01, torch.tensor([0.0, 0.5, 1.0]).double(), (0.0, 1.0))
    assert low == 0.0
    assert low <= 0.01 <= high <= 1


def test_proportion_of_nothing_has_a_width():
    low, high = proportion_interval(torch.zeros(100))
    # Wilson: z^2 / (n + z^2)
    assert low == 0
    assert high == pytest.approx(1.959964**2 / (100 + 1.959964**2), rel=1e-4)


def test_one_replicate_is_refused():
    with pytest.raises(InputError, match="at least 2"):
        bootstrap_counts(10, 1, Seeds.range(0, 10))

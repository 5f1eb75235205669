import math

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.base import SampleSet
from unstir.metrics.classes import ClassAgreement, ClassHistogram, MissingClasses

SEEDS = Seeds.range(0, 4)


def of_classes(predicted, labels=None, classes=4):
    probabilities = torch.nn.functional.one_hot(torch.tensor(predicted), classes) * 0.9 + 0.1 / classes
    return SampleSet(
        torch.zeros(len(predicted), 1),
        labels=None if labels is None else torch.tensor(labels),
        probabilities=probabilities,
    )


def test_total_variation_by_hand():
    reference = of_classes([0, 1, 2, 3] * 5)
    samples = of_classes([0] * 10 + [1] * 10)
    measured = ClassHistogram().measure(samples, reference, SEEDS)
    assert measured.value == pytest.approx(0.5)
    assert measured.details["shares"] == pytest.approx([0.5, 0.5, 0, 0])
    counts = torch.zeros(1, 20, dtype=torch.float64)
    counts[0, 0] = 20
    assert measured.resampled(counts).item() == pytest.approx(0.75)


def test_known_labels_of_the_data_go_before_the_classifiers():
    reference = of_classes([0] * 8, labels=[0, 1, 2, 3] * 2)
    assert ClassHistogram().measure(of_classes([0, 1, 2, 3]), reference, SEEDS).value == pytest.approx(0)


def test_expectation_for_equal_laws_is_that_of_the_docstring():
    generator = torch.Generator().manual_seed(0)
    reference = of_classes(list(range(10)) * 10, classes=10)
    values = torch.tensor(
        [
            ClassHistogram()
            .measure(
                of_classes(torch.randint(0, 10, (400,), generator=generator).tolist(), classes=10), reference, SEEDS
            )
            .value
            for _ in range(100)
        ]
    )
    expected = 10 / 2 * math.sqrt(2 / math.pi * 0.1 * 0.9 / 400)
    assert abs(values.mean() - expected) < 5 * values.std() / 10 + 0.02 * expected


def test_missing_classes_are_named():
    reference = of_classes([0, 1, 2, 3] * 25)
    samples = of_classes([0] * 50 + [1] * 48 + [2] * 2)
    measured = MissingClasses().measure(samples, reference, SEEDS)
    assert measured.value == 2
    assert measured.details["missing"] == [2, 3]
    assert MissingClasses(threshold=0.0).measure(samples, reference, SEEDS).details["missing"] == [3]


def test_agreement_with_the_asked_class():
    samples = of_classes([0, 1, 2, 3], labels=[0, 1, 2, 0])
    measured = ClassAgreement().measure(samples, samples, SEEDS)
    assert measured.value == 0.75
    assert measured.interval[0] < 0.75 < measured.interval[1] < 1


def test_refusals():
    plain = SampleSet(torch.randn(4, 2))
    known = of_classes([0, 1, 2, 3])
    with pytest.raises(InputError, match="probabilities"):
        ClassHistogram().measure(plain, known, SEEDS)
    with pytest.raises(InputError, match="labels"):
        ClassAgreement().measure(known, known, SEEDS)
    with pytest.raises(InputError, match="0 to 3"):
        ClassHistogram().measure(known, of_classes([0, 1, 2, 3], labels=[0, 1, 2, 9]), SEEDS)

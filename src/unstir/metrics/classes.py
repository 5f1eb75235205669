"""Which classes the samples are of: histogram, missing classes, agreement with the class asked for."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.base import Measurement, Metric, SampleSet
from unstir.metrics.resampling import proportion_interval, weighted_mean

__all__ = ["ClassAgreement", "ClassHistogram", "MissingClasses"]


@dataclass(frozen=True)
class ClassHistogram(Metric):
    r"""Total variation between the samples' classes and the data's.

    .. math:: \tfrac12 \sum_c |p_c - q_c|

    p_c is the fraction of samples that the classifier takes for class c; q_c the fraction of the data that is
    labelled c (or, without labels, taken for it). 0 to 1. For finite samples about sqrt(classes / n) / 2.5.

    Reference: Levin and Peres, Markov chains and mixing times (2017), proposition 4.2.
    """

    limits: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[str, ...]] = ("probabilities",)

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        """Raises InputError without probabilities."""
        predicted, actual = _shares(samples, reference)

        def resampled(counts: Tensor) -> Tensor:
            shares = counts @ predicted / counts.sum(1, keepdim=True)
            return (shares - actual).abs().sum(1) / 2

        shares = predicted.mean(0)
        details = {"shares": shares.tolist(), "reference_shares": actual.tolist()}
        return Measurement(((shares - actual).abs().sum() / 2).item(), resampled, details=details)


@dataclass(frozen=True)
class MissingClasses(Metric):
    """Number of the data's classes that the samples (nearly) lack: mode coverage.

    A class is missing when its share of the samples is below ``threshold`` of its share of the data, so
    that a single sample that the classifier mistakes does not hide the loss of a mode.

    Reference: Srivastava et al., VEEGAN: reducing mode collapse in GANs using implicit variational
    learning (2017).
    """

    threshold: float = 0.1
    unit: ClassVar[str] = "classes"
    needs: ClassVar[tuple[str, ...]] = ("probabilities",)

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        """Raises InputError without probabilities."""
        predicted, actual = _shares(samples, reference)

        def resampled(counts: Tensor) -> Tensor:
            shares = counts @ predicted / counts.sum(1, keepdim=True)
            return ((shares < self.threshold * actual) | ((shares == 0) & (actual > 0))).double().sum(1)

        everyone = torch.ones(1, len(samples), dtype=torch.float64)
        gone = predicted.mean(0) < self.threshold * actual
        missing = (gone | ((predicted.sum(0) == 0) & (actual > 0))).nonzero().flatten().tolist()
        return Measurement(resampled(everyone).item(), resampled, details={"missing": missing})


@dataclass(frozen=True)
class ClassAgreement(Metric):
    """Fraction of samples that the classifier takes for the class that was asked for.

    At most the classifier's own accuracy in expectation; the floor is the data's own agreement.

    Reference: Ravuri and Vinyals, Classification accuracy score for conditional generative models (2019).
    """

    better: ClassVar[Literal["lower", "higher"]] = "higher"
    ideal: ClassVar[float] = 1.0
    limits: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[str, ...]] = ("probabilities", "labels")

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        """Raises InputError without probabilities or labels."""
        probabilities = _probabilities(samples)
        if samples.labels is None:
            raise InputError(
                "class-agreement needs the labels that the samples were asked for; give SampleSet(labels=...)"
            )
        right = (probabilities.argmax(1) == samples.labels).double()
        return Measurement(right.mean().item(), lambda counts: weighted_mean(right, counts), proportion_interval(right))


def _probabilities(samples: SampleSet) -> Tensor:
    if samples.probabilities is None:
        raise InputError("this metric needs a classifier's probabilities; give SampleSet(probabilities=...)")
    return samples.probabilities


def _shares(samples: SampleSet, reference: SampleSet) -> tuple[Tensor, Tensor]:
    """One-hot predicted classes of the samples, (n, classes), and the data's share of each class, (classes,)."""
    probabilities = _probabilities(samples)
    classes = probabilities.shape[1]
    labels = _probabilities(reference).argmax(1) if reference.labels is None else reference.labels
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"the reference's labels are {labels.min()} to {labels.max()}, "
            f"but the probabilities are of {classes} classes, 0 to {classes - 1}"
        )
    predicted = torch.nn.functional.one_hot(probabilities.argmax(1), classes).double()
    return predicted, torch.bincount(labels, minlength=classes).double() / len(labels)

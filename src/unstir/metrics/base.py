"""What a metric is given and what it returns."""

import abc
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds

Space = Literal["features", "values"]


@dataclass(frozen=True, eq=False)
class SampleSet:
    """Samples of any kind, as metrics see them.

    ``values``: the samples as the model works with them, (n, *shape). ``features``: (n, d) vectors in
    which distances mean something; left out, they are the flattened values. ``labels``: int64 (n,), the
    classes asked for or known; ``probabilities``: (n, classes), a classifier's opinion. All are finite
    and kept in float64 on the CPU (``values`` stay as they are). ``source`` says what made the features.

    Raises InputError for fewer than two rows, parts of different length, or numbers that are not finite.
    """

    values: Tensor
    features: Tensor | None = None
    labels: Tensor | None = None
    probabilities: Tensor | None = None
    source: str = "the values themselves"
    _memory: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        values = self.values.detach().cpu()
        features = values.reshape(len(values), -1) if self.features is None else self.features.detach().cpu()
        self._check_shapes(values, features)
        for name, tensor in (("values", values), ("features", features), ("probabilities", self.probabilities)):
            if tensor is not None:
                _check_finite(name, tensor)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "features", features.double())
        if self.labels is not None:
            object.__setattr__(self, "labels", self.labels.detach().cpu().long())
        if self.probabilities is not None:
            object.__setattr__(self, "probabilities", self.probabilities.detach().cpu().double())

    def _check_shapes(self, values: Tensor, features: Tensor) -> None:
        if values.ndim < 2:
            raise InputError(f"values must be of shape (n, ...), seen {tuple(values.shape)}")
        if features.ndim != 2:
            raise InputError(f"features must be of shape (n, d), seen {tuple(features.shape)}; flatten them first")
        if self.probabilities is not None and self.probabilities.ndim != 2:
            raise InputError(f"probabilities must be of shape (n, classes), seen {tuple(self.probabilities.shape)}")
        if self.labels is not None and (self.labels.ndim != 1 or self.labels.is_floating_point()):
            raise InputError(
                f"labels must be integers of shape (n,), seen {self.labels.dtype} {tuple(self.labels.shape)}"
            )
        parts = {"features": features, "labels": self.labels, "probabilities": self.probabilities}
        for name, tensor in parts.items():
            if tensor is not None and len(tensor) != len(values):
                raise InputError(
                    f"{len(values)} values but {len(tensor)} {name}; there must be one row of each a sample"
                )
        if len(values) < 2:
            raise InputError(f"a metric needs at least 2 samples, seen {len(values)}")

    def __len__(self) -> int:
        return len(self.values)

    def space(self, name: Space) -> Tensor:
        """The rows in which distances are taken, float64 (n, d)."""
        if name == "features":
            assert self.features is not None
            return self.features
        if name == "values":
            return self.remember("flat values", lambda: self.values.flatten(1).double())
        raise InputError(f"unknown space {name!r}; allowed: features, values")

    def take(self, rows: Tensor) -> "SampleSet":
        """The samples at ``rows`` (integers), as a set of its own."""
        parts = {"features": self.features, "labels": self.labels, "probabilities": self.probabilities}
        chosen = {name: part[rows] for name, part in parts.items() if part is not None}
        return SampleSet(self.values[rows], source=self.source, **chosen)

    def remember(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """What ``compute`` returned the first time: metrics of one family share their distances through it."""
        if key not in self._memory:
            self._memory[key] = compute()
        return self._memory[key]


@dataclass(frozen=True)
class Measurement:
    """A metric's value, and its values for resampled rows.

    ``resampled`` maps how often each sample occurs in each replicate, float64 (replicates, n), to the
    replicates' values, (replicates,). ``interval`` is the 95 % interval where a better one than the bootstrap's is
    known. ``details`` are plain values for the report.
    """

    value: float
    resampled: Callable[[Tensor], Tensor]
    interval: tuple[float, float] | None = None
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


class Metric(abc.ABC):
    """A measure of samples against a reference; subclasses are frozen dataclasses of its options.

    Class attributes: ``better`` says whether lower or higher values are better, ``ideal`` is the value
    of two equal laws with no end of samples, ``unit`` what it is counted in, ``limits`` the smallest and
    largest value possible, ``needs`` the optional parts of the samples that it reads.
    """

    better: ClassVar[Literal["lower", "higher"]] = "lower"
    ideal: ClassVar[float] = 0.0
    unit: ClassVar[str] = "1"
    limits: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    needs: ClassVar[tuple[str, ...]] = ()
    floor_note: ClassVar[str] = ""

    @abc.abstractmethod
    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        """The metric of ``samples`` against ``reference``; equal seeds give equal draws of its own."""

    def floor(self, reference: SampleSet, count: int, seeds: Seeds, replicates: int) -> list[float]:
        """Real against real: ``count`` rows drawn with replacement, measured against the whole reference."""
        generator = seeds.at("floor").generator()
        drawn = [torch.from_numpy(generator.integers(0, len(reference), count)) for _ in range(replicates)]
        return [self.measure(reference.take(rows), reference, seeds).value for rows in drawn]


def check_pair(samples: Tensor, reference: Tensor, minimum: int = 2) -> None:
    """InputError unless both have rows of one length, and at least ``minimum`` of them."""
    if samples.shape[1] != reference.shape[1]:
        raise InputError(
            f"samples of {samples.shape[1]} numbers a row against a reference of {reference.shape[1]}; "
            "both must come from one feature extractor"
        )
    fewest = min(len(samples), len(reference))
    if fewest < minimum:
        raise InputError(f"this metric needs at least {minimum} samples and reference rows, seen {fewest}; draw more")


def _check_finite(name: str, tensor: Tensor) -> None:
    bad = (~torch.isfinite(tensor.flatten(1))).any(1).nonzero().flatten()
    if len(bad):
        shown = ", ".join(map(str, bad[:5].tolist()))
        raise InputError(
            f"{name}: {len(bad)} of {len(tensor)} samples hold NaN or infinity (rows {shown}); "
            "no metric is defined for them: look for a diverged model or sampler, or drop the rows"
        )

"""What the noise of a measurement is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from unstir.core.seeds import Seeds


class MeasurementNoise(ABC):
    """The law of what is read, given the operator's clean values; subclasses are frozen dataclasses."""

    @abstractmethod
    def draw(self, clean: Tensor, seeds: Seeds) -> Tensor:
        """Readings (batch, *measured_shape) of clean values of the same shape."""

    @abstractmethod
    def log_likelihood(self, reading: Tensor, clean: Tensor) -> Tensor:
        """log p(reading | clean) in nats, float64 (batch,), normalised; differentiable in ``clean``.

        ``reading`` may have a batch of one.
        """

    @classmethod
    @abstractmethod
    def examples(cls) -> Mapping[str, "MeasurementNoise"]:
        """Members whose claims are measured, by a name that says what is special."""

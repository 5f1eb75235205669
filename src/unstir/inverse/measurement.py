"""A measurement: what was read, through which operator, with which noise."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import batch_size
from unstir.exact.base import EuclideanDenoiser
from unstir.inverse.noises.base import MeasurementNoise
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.base import LinearOperator, Operator


@dataclass(frozen=True, eq=False)
class Measurement:
    """One reading y = A(x_0) with noise; all posterior draws of one call are given the same.

    ``reading`` has the operator's ``measured_shape``. Raises InputError if it has not, or is not finite.
    """

    operator: Operator
    reading: Tensor
    noise: MeasurementNoise

    def __post_init__(self) -> None:
        wanted = tuple(self.operator.measured_shape)
        if tuple(self.reading.shape) != wanted:
            raise InputError(
                f"{type(self.operator).__name__} measures values of shape {wanted}; "
                f"the reading has {tuple(self.reading.shape)}"
            )
        if not bool(self.reading.isfinite().all()):
            raise InputError("a reading must be finite; leave out what was not measured, with a mask")

    @classmethod
    def simulated(cls, operator: Operator, x0: Any, noise: MeasurementNoise, seeds: Seeds) -> "Measurement":
        """The reading of one clean sample (a batch of one)."""
        if batch_size(x0) != 1:
            raise InputError(f"one sample is measured at a time; seen a batch of {batch_size(x0)}")
        return cls(operator, noise.draw(operator(x0), seeds)[0], noise)

    def log_likelihood(self, x0: Any) -> Tensor:
        """log p(y | x_0) in nats, float64 (batch,); differentiable where operator and noise are."""
        clean = self.operator(x0)
        return self.noise.log_likelihood(self.reading.to(clean.device)[None], clean)

    @property
    def linear_gaussian(self) -> bool:
        """Whether y = A x_0 + e with a linear A and normal e of known deviation."""
        return isinstance(self.operator, LinearOperator) and isinstance(self.noise, GaussianNoise)

    def residual(self, x0: Tensor) -> Tensor:
        """y - A(x_0), (batch, *measured_shape), of the dtype of what is measured."""
        clean = self.operator(x0)
        return self.reading.to(clean) - clean


def exact_posterior(law: EuclideanDenoiser, measurement: Measurement) -> EuclideanDenoiser:
    """The exact law of x_0 given a linear measurement with normal noise, itself a denoiser with draws and density.

    Raises InputError for other measurements: no closed form is known.
    """
    operator, noise = measurement.operator, measurement.noise
    if not isinstance(operator, LinearOperator) or not isinstance(noise, GaussianNoise):
        raise InputError(
            "an exact posterior is known for linear operators and normal noise; seen "
            f"{type(operator).__name__} and {type(noise).__name__}"
        )
    return law.given_observation(operator.matrix, measurement.reading.flatten().double(), noise.deviation)

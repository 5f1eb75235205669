"""Normal noise whose deviation nobody knows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy import special
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.inverse.noises.base import MeasurementNoise

__all__ = ["GaussianUnknownNoise"]


@dataclass(frozen=True)
class GaussianUnknownNoise(MeasurementNoise):
    r"""Independent normal noise of one unknown deviation a reading, summed over by its prior.

    The variance has an inverse gamma law with shape a = ``prior_shape`` and scale b = ``prior_scale`` (in the square of
    the measured values' unit; its mode is b/(a + 1)). Over it n values with residuals r have Student's density,
    :math:`\frac{b^a\,\Gamma(a+n/2)}{\Gamma(a)(2\pi)^{n/2}}\left(b+\tfrac12\lVert r\rVert^2\right)^{-a-n/2}`: not
    independent, as each tells of the noise of the others.
    Raises InputError for a shape or scale that is not positive and finite.

    Reference: Gelman et al., Bayesian data analysis (third edition, 2013), sections 2.6 and 3.2.
    """

    prior_shape: float | int = 2.0
    prior_scale: float | int = 0.01

    def __post_init__(self) -> None:
        for value in (self.prior_shape, self.prior_scale):
            if not isinstance(value, float | int) or not 0 < value < math.inf:
                raise InputError(f"the prior's shape and scale are positive and finite; seen {value}")

    def draw(self, clean: Tensor, seeds: Seeds) -> Tensor:
        """A deviation from the prior for each reading, and normal noise of it."""
        chances = seeds.at("deviation").uniform().cpu().numpy()
        variance = torch.from_numpy(self.prior_scale / special.gammainccinv(self.prior_shape, chances))
        deviation = variance.sqrt().to(clean).reshape(-1, *(1,) * (clean.ndim - 1))
        return clean + deviation * seeds.normal_like(clean)

    def log_likelihood(self, reading: Tensor, clean: Tensor) -> Tensor:
        count, shape, scale = clean[0].numel(), self.prior_shape, self.prior_scale
        half = shape + count / 2
        constant = shape * math.log(scale) + math.lgamma(half) - math.lgamma(shape) - count / 2 * math.log(2 * math.pi)
        return constant - half * (scale + self._half_squares(reading, clean)).log()

    def estimate(self, reading: Tensor, clean: Tensor) -> Tensor:
        """The posterior mean of the deviation if these were the clean values, float64 (batch,)."""
        half = self.prior_shape + clean[0].numel() / 2
        if half <= 0.5:
            raise InputError("a deviation has no mean under this prior and so few values; take a larger prior_shape")
        ratio = math.exp(math.lgamma(half - 0.5) - math.lgamma(half))
        return (self.prior_scale + self._half_squares(reading, clean)).sqrt() * ratio

    def _half_squares(self, reading: Tensor, clean: Tensor) -> Tensor:
        return (reading.double() - clean.double()).square().flatten(1).sum(1) / 2

    @classmethod
    def examples(cls) -> Mapping[str, "GaussianUnknownNoise"]:
        """A vague prior, and one that is nearly sure."""
        return {"vague": cls(1.0, 0.1), "nearly sure": cls(50.0, 2.0)}

"""What guiding methods share: a belief with its slope, and a denoiser around a denoiser that moves it."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import Posterior
from unstir.inverse.measurement import Measurement
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.base import LinearOperator
from unstir.processes.gaussian import GaussianProcess

LINEAR_SPACES = frozenset({"euclidean", "centred"})


class Slope:
    r"""The belief at a state, and what the slope of its mean tells of its covariance.

    By Tweedie's formula of second order :math:`Cov[x_0|x_t]=\frac{\sigma^2}{\alpha}\frac{\partial E[x_0|x_t]}{\partial
    x_t}`, a symmetric matrix; on a linear subspace it is that within it. Its products with vectors are taken by the
    transposed slope, one pass backwards through the denoiser each, and sample by sample, since no sample's mean depends
    on another's state. ``outer``: whether who asks wants gradients of what comes out; else the graph ends at the state.

    Reference: Meng, Song, Li, Ermon, Estimating high order gradients of the data distribution by denoising (2021),
    theorem 1; Efron, Tweedie's formula and selection bias (2011).
    """

    def __init__(
        self, denoiser: Denoiser, xt: Tensor, t: Tensor, drop: Tensor | None, condition: Mapping[str, Tensor]
    ) -> None:
        self.process: GaussianProcess = denoiser.process
        self.padding = condition.get("mask", denoiser.mask)
        self.log_snr = self.process.schedule.log_snr(t)
        self._alpha, self._sigma = self.process.coefficients(t, xt)
        self.outer = torch.is_grad_enabled() and xt.requires_grad
        with torch.enable_grad():
            self._given = xt if self.outer else xt.detach().requires_grad_()
            mean = denoiser(self._given, t, drop, **condition).mean
            # a belief that does not look at the state has a mean without a graph
            self.attached_mean: Tensor = mean if mean.requires_grad else mean + 0 * self._given
        self.mean = self.attached_mean if self.outer else self.attached_mean.detach()

    def in_mean(self, value: Tensor) -> Tensor:
        """The gradient of one number in the belief's mean, sample by sample; float64."""
        (gradient,) = torch.autograd.grad(value, self.attached_mean, retain_graph=True, create_graph=self.outer)
        return gradient.double()

    def covariance_times(self, vectors: Tensor) -> Tensor:
        """Cov[x_0|x_t] v, of the state's shape, float64 as ``vectors`` are; zero where nothing is left of the data."""
        within = self.process.project(vectors, self.padding).to(self.attached_mean.dtype)
        (gradient,) = torch.autograd.grad(
            self.attached_mean, self._given, within, retain_graph=True, create_graph=self.outer
        )
        factor = torch.where(self._alpha > 0, self._sigma.square() / self._alpha, 0.0)
        return self.process.project(factor * gradient, self.padding).double()

    def moved(self, by: Tensor) -> Tensor:
        """The belief's mean, moved; of the state's dtype."""
        return self.mean + by.to(self.mean.dtype)


class MeasuredDenoiser(Denoiser):
    """A denoiser that is told a measurement: its belief is another's, moved towards what was read.

    Conditions, masks and ``drop`` go to the other denoiser; the measurement is no condition, and is never dropped. What
    comes back can be differentiated in the state where the other's belief can be, twice.
    """

    def __init__(self, denoiser: Denoiser, measurement: Measurement) -> None:
        super().__init__()
        self.denoiser, self.process, self.measurement = denoiser, denoiser.process, measurement

    @property
    def mask(self) -> Tensor | None:
        """The other's bound mask."""
        return self.denoiser.mask

    def beginning(self, noise: Any, t: Tensor, **condition: Tensor) -> Any:
        return self.denoiser.beginning(noise, t, **condition)

    @property
    def operator(self) -> LinearOperator:
        """The measurement's, for methods that need a linear one."""
        operator = self.measurement.operator
        if not isinstance(operator, LinearOperator):
            raise InputError(f"{type(self).__name__} needs a linear operator; seen {type(operator).__name__}")
        return operator

    @property
    def noise_variance(self) -> float:
        """The square of the deviation of normal noise; zero for noise of another law."""
        noise = self.measurement.noise
        return float(noise.deviation) ** 2 if isinstance(noise, GaussianNoise) else 0.0

    def forward(self, xt: Any, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The moved belief."""
        times = torch.as_tensor(t, dtype=torch.float64, device=xt.device)
        return self.told(Slope(self.denoiser, xt, times, drop, condition))

    @abstractmethod
    def told(self, slope: Slope) -> Posterior:
        """What the belief becomes."""


def deviation_of(denoiser: Denoiser, deviation: float | int | None) -> float:
    """The data's standard deviation: the one given, else the one that a network was made for, else 1."""
    if deviation is not None:
        return float(deviation)
    known = (getattr(module, "sigma_data", None) for module in denoiser.modules())
    return next((float(value) for value in known if isinstance(value, float | int)), 1.0)


def check_deviation(deviation: Any) -> None:
    """Refuses a data's deviation that is not positive; None is for what the denoiser knows."""
    if deviation is not None and not _between(deviation, 0.0, math.inf, closed=False):
        raise InputError(f"the data's standard deviation is a finite positive number; seen {deviation!r}")


def check_strength(strength: Any) -> None:
    """Refuses a strength that is not a finite number of zero (the measurement is ignored) or more."""
    if not _between(strength, 0.0, math.inf):
        raise InputError(f"the strength of a method is a finite number, 0 at least; seen {strength!r}")


def check_share(what: str, share: Any) -> None:
    """Refuses what is no number from 0 to 1."""
    if not _between(share, 0.0, 1.0):
        raise InputError(f"{what} is a number from 0 to 1; seen {share!r}")


def check_whole(what: str, value: Any) -> None:
    """Refuses what is no whole number of one or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{what} is a whole number, 1 at least; seen {value!r}")


def _between(value: Any, low: float, high: float, closed: bool = True) -> bool:
    number = isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)
    return number and (low <= value <= high if closed else low < value < high)

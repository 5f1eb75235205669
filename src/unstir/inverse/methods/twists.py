r"""Twists: what a noisy state tells of the measurement, and proposals that go where it fits.

A particle's path is weighed, at time t, by a guess :math:`\psi_t` of :math:`p(y|x_t)`, and in the end by the true
:math:`p(y|x_0)`. Any positive function of the path so far will do for a guess: with the ratio of the model's transition
to the proposal's in the weights, the final law is right whatever was guessed, and the guess only decides how many
particles are needed.

Reference: Wu, Trippe, Naesseth, Blei, Cunningham, Practical and asymptotically exact conditional sampling in diffusion
models (2023), section 3.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import batch_size
from unstir.denoisers.base import Denoiser
from unstir.denoisers.variances import linear_variance
from unstir.inverse.measurement import Measurement


@dataclass(frozen=True, eq=False)
class Potential:
    """log G(x_0), float64 (batch,): what the data's law is to be multiplied by; of a measurement, log p(y|x_0)."""

    log: Callable[[Any], Tensor]
    differentiable: bool = True
    measurement: Measurement | None = None

    @classmethod
    def of(cls, measurement: Measurement) -> "Potential":
        """The likelihood of a measurement."""
        return cls(measurement.log_likelihood, measurement.operator.differentiable, measurement)

    def __call__(self, x0: Any) -> Tensor:
        values = self.log(x0)
        if not isinstance(values, Tensor) or values.shape != (batch_size(x0),):
            seen = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise InputError(f"a log-potential tells one number a sample, ({batch_size(x0)},); seen {seen}")
        return values.double()


@dataclass(frozen=True)
class Seen(ABC):
    """What was found out at a state: the belief's ``mean`` and ``log_twist``, float64 (batch,)."""

    mean: Any
    log_twist: Tensor

    @abstractmethod
    def take(self, rows: Tensor) -> "Seen":
        """The same of the particles at these rows."""


@dataclass(frozen=True)
class Twist(ABC):
    r"""A guess of p(y|x_t) and the proposal that goes with it: ``gradient_twist.py`` and ``candidate_twist.py``.

    ``deviation`` is the data's standard deviation in its own unit: where less than that is known of the clean data,
    a log-potential of which nothing but values is known counts for a share
    :math:`\beta_t = \alpha^2s^2/(\alpha^2s^2+\sigma^2)`.
    """

    potential: Potential
    deviation: float

    @abstractmethod
    def look(self, denoiser: Denoiser, x: Any, t: Tensor, seeds: Seeds, mask: Tensor | None) -> Any:
        """One call of the denoiser: what there is to see at the states."""

    @abstractmethod
    def propose(
        self, process: Any, x: Any, seen: Any, t: Tensor, s: Tensor, seeds: Seeds, mask: Tensor | None
    ) -> tuple[Any, Tensor]:
        """States at s < t, and the log-ratio (batch,) of the model's transition there to the proposal's."""

    def share(self, process: Any, t: Tensor) -> float:
        """beta_t."""
        return 1 - float(linear_variance(process.schedule.log_snr(t), self.deviation)) / self.deviation**2


def tempered(share: float, logs: Tensor) -> Tensor:
    """share times logs, zero at a share of zero: what is impossible stays so otherwise."""
    return share * logs if share > 0 else torch.zeros_like(logs)

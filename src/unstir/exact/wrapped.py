"""Mixtures of wrapped normals on the torus."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose, normalised
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import expand
from unstir.denoisers.circular import CircularPosterior
from unstir.exact.base import ExactDenoiser
from unstir.exact.labels import checked_labels, checked_weights, label_log_weights
from unstir.processes import wrapped_normal
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess

__all__ = ["WrappedMixtureDenoiser"]


class WrappedMixtureDenoiser(ExactDenoiser):
    r"""The exact belief for a mixture of wrapped normals on a torus of any dimension.

    ``weights`` (k,), ``means`` (k, \*shape) in the unit of the period, ``deviations`` a number, (k,) or (k, \*shape):
    an infinite one makes the element uniform. Within a component the elements are independent. Noise only widens
    each normal; the belief is again such a mixture, over components and over windings round the circle.

    ``labels`` (k,), whole numbers, allow the condition ``label`` (batch,), which leaves the components that bear it.

    Reference: Mardia and Jupp, Directional statistics (2000), section 3.5.7 (the wrapped normal and its convolution).
    """

    def __init__(self, weights: Any, means: Any, deviations: Any, process: WrappedProcess, labels: Any = None) -> None:
        super().__init__()
        means = torch.as_tensor(means, dtype=torch.float64)
        if means.ndim < 2 or not bool(means.isfinite().all()):
            raise InputError(f"means are finite and of shape (components, ...); seen {tuple(means.shape)}")
        log_weights = checked_weights(weights, len(means), "component")
        spread = torch.as_tensor(deviations, dtype=torch.float64)
        if spread.ndim == 1:
            spread = spread.reshape(-1, *(1,) * (means.ndim - 1))
        if spread.ndim and spread.shape != means.shape and spread.shape[1:] != (1,) * (means.ndim - 1):
            raise InputError(f"deviations are a number, one a component, or one a mean; seen {tuple(spread.shape)}")
        if (spread.ndim and len(spread) != len(means)) or bool((spread < 0).any()) or bool(spread.isnan().any()):
            raise InputError(f"every component needs a deviation, not negative; seen {spread.flatten().tolist()}")
        self.process = process
        self.register_buffer("log_weights", log_weights)
        self.register_buffer("means", wrapped_normal.wrap(means, process.periods(means)))
        self.register_buffer("deviations", spread.expand_as(means).clone())
        self.register_buffer("labels", checked_labels(labels, len(means), "component"))

    @classmethod
    def examples(cls) -> Mapping[str, "WrappedMixtureDenoiser"]:
        """One angle with a narrow and a wide component; an angle and a phase, with labels and a uniform part."""
        unit = WrappedProcess(ExponentialVESchedule(0.01, 2.0))
        mixed = WrappedProcess(ExponentialVESchedule(0.01, 10.0), (2 * math.pi, 1.0))
        uniform = float("inf")
        return {
            "one angle": cls([0.5, 0.3, 0.2], [[0.02], [0.4], [0.7]], [0.04, 0.1, 0.3], unit),
            "angle and phase, labelled": cls(
                [0.4, 0.4, 0.2],
                [[6.2, 0.3], [2.1, 0.9], [3.5, 0.0]],
                [[0.35, 0.05], [0.5, 0.2], [0.7, uniform]],
                mixed,
                labels=[0, 1, 1],
            ),
        }

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(self.means.shape[1:])

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> CircularPosterior:
        """The belief about x_0, a mixture of wrapped normals."""
        sigma, logs = self._joint(xt, t, drop, condition)
        periods = self.process.periods(xt)
        shares, centres, deviations = wrapped_normal.product(
            self.means[None], self.deviations[None], xt.double()[:, None], sigma, periods
        )
        return CircularPosterior(normalised(logs), shares, centres, deviations[..., None], periods, xt.dtype)

    def log_density(self, xt: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """log p_t(x_t) in nats, float64 (batch,)."""
        return torch.logsumexp(self._joint(xt, t, None, condition)[1], 1)

    def score(self, xt: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """grad log p_t(x_t), of the state's shape and dtype."""
        sigma, logs = self._joint(xt, t, None, condition)
        total = (self.deviations.square() + sigma.square()).sqrt()
        slopes = wrapped_normal.score(xt.double()[:, None] - self.means, total, self.process.periods(xt))
        shares = logs.softmax(1).reshape(logs.shape + (1,) * (xt.ndim - 1))
        return (shares * slopes).sum(1).to(xt.dtype)

    def draw(self, seeds: Seeds, t: Tensor | float = 0.0, **condition: Tensor) -> Tensor:
        """Exact draws of x_t, float64 (batch, *shape)."""
        logs = self._weights(len(seeds), None, condition)
        component = choose(logs, seeds.at("component"))
        periods = self.process.periods(self.means)
        spread = torch.minimum(self.deviations, wrapped_normal.UNIFORM * periods)[component]
        fresh = seeds.at("within").to(self.means.device).normal(self.shape, torch.float64)
        x0 = wrapped_normal.wrap(self.means[component] + spread * fresh, periods)
        return self.process.noise(x0, torch.as_tensor(t, dtype=torch.float64), seeds.at("noise"))

    def _weights(self, batch: int, drop: Tensor | None, condition: Mapping[str, Tensor]) -> Tensor:
        weights = label_log_weights(type(self).__name__, self.log_weights, self.labels, batch, drop, condition)
        return weights.expand(batch, -1)

    def _joint(
        self, xt: Tensor, t: Tensor | float, drop: Tensor | None, condition: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """sigma_t beside the components, and log of weight times density of each component, (batch, k)."""
        if xt.shape[1:] != self.shape:
            raise InputError(f"this law's samples have the shape {self.shape}; seen {tuple(xt.shape[1:])}")
        sigma = expand(self.process.schedule.sigma(t), xt.double()[:, None])
        total = (self.deviations.square() + sigma.square()).sqrt()
        logs = wrapped_normal.log_density(xt.double()[:, None] - self.means, total, self.process.periods(xt))
        weights = self._weights(len(xt), drop, condition)
        return sigma, weights + logs.flatten(2).sum(-1)

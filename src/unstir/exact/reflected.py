"""Mixtures of reflected normals in an interval."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose, normalised
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import expand
from unstir.denoisers.interval import ReflectedPosterior
from unstir.exact.base import ExactDenoiser
from unstir.exact.labels import checked_labels, checked_weights, label_log_weights
from unstir.processes import reflected_normal
from unstir.processes.reflected import ReflectedProcess
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule

__all__ = ["ReflectedMixtureDenoiser"]


class ReflectedMixtureDenoiser(ExactDenoiser):
    r"""The exact belief for a mixture of normals reflected at the ends of an interval.

    ``weights`` (k,), ``means`` (k, \*shape) within the interval, ``deviations`` a number, (k,) or (k, \*shape): of the
    normals before they are folded; an infinite one makes the element uniform. Within a component the elements are
    independent. Noise only widens each normal; the belief is again such a mixture, over components and mirror images.

    ``labels`` (k,), whole numbers, allow the condition ``label`` (batch,), which leaves the components that bear it.

    Reference: Lou and Ermon, Reflected diffusion models (2023), section 4.2 (the method of images); Bishop, Pattern
    recognition and machine learning (2006), section 9.2 (mixtures).
    """

    def __init__(
        self, weights: Any, means: Any, deviations: Any, process: ReflectedProcess, labels: Any = None
    ) -> None:
        super().__init__()
        means = torch.as_tensor(means, dtype=torch.float64)
        if means.ndim < 2 or not bool(process.contains(means).all()):
            raise InputError(
                f"means have the shape (components, ...) and lie between {process.low} and {process.high}; seen "
                f"{tuple(means.shape)}, from {means.min().item():g} to {means.max().item():g}"
            )
        log_weights = checked_weights(weights, len(means), "component")
        spread = torch.as_tensor(deviations, dtype=torch.float64)
        if spread.ndim == 1 and len(spread) == len(means):
            spread = spread.reshape(-1, *(1,) * (means.ndim - 1))
        if spread.shape not in ((), means.shape, (len(means), *(1,) * (means.ndim - 1))) or not bool(
            (spread >= 0).all()
        ):
            raise InputError(
                "deviations are a number, one a component, or one a mean, and not negative; seen "
                f"{tuple(spread.shape)} {spread.flatten().tolist()[:8]}"
            )
        self.process = process
        self.register_buffer("log_weights", log_weights)
        self.register_buffer("means", means)
        self.register_buffer("deviations", spread.expand_as(means).clone())
        self.register_buffer("labels", checked_labels(labels, len(means), "component"))

    @classmethod
    def examples(cls) -> Mapping[str, "ReflectedMixtureDenoiser"]:
        """One fraction with a component against its end; two ranges, with labels and a uniform part."""
        unit = ReflectedProcess(ExponentialVESchedule(0.01, 2.0))
        ranges = ReflectedProcess(ExponentialVESchedule(0.05, 30.0), (-1.0, 10.0), (1.0, 25.0))
        return {
            "one fraction": cls([0.5, 0.3, 0.2], [[0.02], [0.4], [0.97]], [0.04, 0.1, 0.3], unit),
            "two ranges, labelled": cls(
                [0.4, 0.4, 0.2],
                [[-0.9, 12.0], [0.5, 24.5], [0.1, 15.0]],
                [[0.3, 1.0], [0.5, 3.0], [0.7, float("inf")]],
                ranges,
                labels=[0, 1, 1],
            ),
        }

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(self.means.shape[1:])

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> ReflectedPosterior:
        """The belief about x_0, a mixture of reflected normals."""
        sigma, logs = self._joint(xt, t, drop, condition)
        low, width = self.process.ends(xt)
        shares, centres, deviations = reflected_normal.product(
            self.means[None] - low, self.deviations[None], xt.double()[:, None] - low, sigma, width
        )
        return ReflectedPosterior(normalised(logs), shares, centres, deviations[..., None], self.process, xt)

    def log_density(self, xt: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """log p_t(x_t) in nats, float64 (batch,)."""
        return torch.logsumexp(self._joint(xt, t, None, condition)[1], 1)

    def score(self, xt: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """grad log p_t(x_t), of the state's shape and dtype."""
        sigma, logs = self._joint(xt, t, None, condition)
        low, width = self.process.ends(xt)
        slopes = reflected_normal.score(
            xt.double()[:, None] - low, self.means - low, torch.hypot(self.deviations, sigma), width
        )
        shares = logs.softmax(1)
        return (shares.reshape(shares.shape + (1,) * (slopes.ndim - 2)) * slopes).sum(1).to(xt.dtype)

    def draw(self, seeds: Seeds, t: Tensor | float = 0.0, **condition: Tensor) -> Tensor:
        """Exact draws of x_t, float64."""
        chosen = choose(self._weights(len(seeds), None, condition).expand(len(seeds), -1), seeds.at("component"))
        means = self.means[chosen]
        _, width = self.process.ends(means)
        spread = torch.minimum(self.deviations[chosen], 3 * width)
        fresh = seeds.at("within").to(means.device).normal(self.shape, torch.float64)
        x0 = self.process.folded(means + spread * fresh, means)
        return self.process.noise(x0, torch.as_tensor(t, dtype=torch.float64), seeds.at("noise"))

    def _weights(self, batch: int, drop: Tensor | None, condition: Mapping[str, Tensor]) -> Tensor:
        return label_log_weights(type(self).__name__, self.log_weights, self.labels, batch, drop, condition)

    def _joint(
        self, xt: Tensor, t: Tensor | float, drop: Tensor | None, condition: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The noise's deviation, to broadcast beside a component axis, and log of weight times density, (batch, k)."""
        if xt.shape[1:] != self.shape:
            raise InputError(f"this law's samples have the shape {self.shape}; seen {tuple(xt.shape[1:])}")
        sigma = expand(self.process.schedule.sigma(t).to(xt.device), xt.double()[:, None])
        low, width = self.process.ends(xt)
        logs = reflected_normal.log_density(
            xt.double()[:, None] - low, self.means - low, torch.hypot(self.deviations, sigma), width
        )
        return sigma, self._weights(len(xt), drop, condition) + logs.flatten(2).sum(-1)

"""Mixtures of logistic-normal laws of compositions."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose, normalised
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import expand
from unstir.denoisers.simplex import LogisticNormalPosterior
from unstir.exact.base import ExactDenoiser
from unstir.exact.labels import checked_labels, checked_weights, label_log_weights
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.processes.simplex import SimplexProcess

__all__ = ["LogisticNormalMixtureDenoiser"]


class LogisticNormalMixtureDenoiser(ExactDenoiser):
    r"""The exact belief for a mixture of logistic-normal laws of compositions.

    ``weights`` (k,), ``centres`` (k, ..., parts), compositions; ``deviations`` of the isometric log-ratios: a number,
    (k,), or (k, ..., parts - 1), positive. Within a component log-ratios are independent normal variables, and so they
    are given the noisy state. ``labels`` (k,), whole numbers, allow the condition ``label`` (batch,), which leaves the
    components that bear it.

    Reference: Aitchison and Shen, Logistic-normal distributions (1980); Bishop, Pattern recognition and machine
    learning (2006), sections 2.3.3 and 9.2.
    """

    def __init__(
        self, weights: Any, centres: Any, deviations: Any, process: SimplexProcess, labels: Any = None
    ) -> None:
        super().__init__()
        means = process.coordinates(torch.as_tensor(centres, dtype=torch.float64))
        count = len(means)
        spread = torch.as_tensor(deviations, dtype=torch.float64)
        if spread.ndim == 1 and len(spread) == count:
            spread = spread.reshape(-1, *(1,) * (means.ndim - 1))
        if spread.shape not in ((), means.shape, (count, *(1,) * (means.ndim - 1))) or not bool((spread > 0).all()):
            raise InputError(
                f"deviations are a number, one a component, or of the shape {tuple(means.shape)}, and positive; seen "
                f"{tuple(spread.shape)} {spread.flatten().tolist()[:8]}"
            )
        self.process = process
        self.register_buffer("log_weights", checked_weights(weights, count, "component"))
        self.register_buffer("means", means)
        self.register_buffer("deviations", spread.expand_as(means).clone())
        self.register_buffer("labels", checked_labels(labels, count, "component"))

    @classmethod
    def examples(cls) -> Mapping[str, "LogisticNormalMixtureDenoiser"]:
        """Three parts, and two compositions of two parts each with labels."""
        wide = [[[0.5], [0.3]], [[0.2], [0.8]]]
        return {
            "three parts": cls([0.7, 0.3], [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], [0.5, 0.3], SimplexProcess()),
            "two compositions, labelled": cls(
                [0.4, 0.6],
                [[[0.9, 0.1], [0.3, 0.7]], [[0.2, 0.8], [0.5, 0.5]]],
                wide,
                SimplexProcess(RectifiedFlowSchedule(), 2),
                labels=[0, 1],
            ),
        }

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return (*self.means.shape[1:-1], self.process.parts)

    def forward(
        self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor
    ) -> LogisticNormalPosterior:
        """The belief about x_0, again such a mixture."""
        zt, alpha, sigma, logs = self._joint(xt, t, drop, condition)
        variance = self.deviations.square()
        total = alpha.square() * variance + sigma.square()
        gain = alpha * variance / total
        centres = self.means + gain * (zt - alpha * self.means)
        # at no noise the deviation is zero, whose logarithm a density would need
        deviations = (variance.sqrt() * sigma / total.sqrt()).clamp(min=1e-150)
        return LogisticNormalPosterior(
            normalised(logs),
            torch.zeros(*centres.shape[:-1], 1, dtype=torch.float64, device=centres.device),
            centres[..., None, :],
            deviations.expand_as(centres)[..., None, :],
            self.process,
            xt.dtype,
        )

    def log_density(self, xt: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """log p_t(x_t) in nats against the volume of all parts but the last, float64 (batch,)."""
        return torch.logsumexp(self._joint(xt, t, None, condition)[3], 1) + self.process.log_volume(xt)

    def draw(self, seeds: Seeds, t: Tensor | float = 0.0, **condition: Tensor) -> Tensor:
        """Exact draws of x_t, float64."""
        chosen = choose(self._weights(len(seeds), None, condition).expand(len(seeds), -1), seeds.at("component"))
        fresh = seeds.at("within").to(self.means.device).normal(tuple(self.means.shape[1:]), torch.float64)
        x0 = self.process.composition(self.means[chosen] + self.deviations[chosen] * fresh)
        return self.process.noise(x0, torch.as_tensor(t, dtype=torch.float64), seeds.at("noise"))

    def _weights(self, batch: int, drop: Tensor | None, condition: Mapping[str, Tensor]) -> Tensor:
        return label_log_weights(type(self).__name__, self.log_weights, self.labels, batch, drop, condition)

    def _joint(
        self, xt: Tensor, t: Tensor | float, drop: Tensor | None, condition: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-ratios, alpha and sigma beside a component axis, and log of weight times their density, (batch, k)."""
        if xt.shape[1:] != self.shape:
            raise InputError(f"this law's samples have the shape {self.shape}; seen {tuple(xt.shape[1:])}")
        zt = self.process.coordinates(xt)[:, None]
        t = torch.as_tensor(t, dtype=torch.float64, device=xt.device)
        alpha, sigma = (expand(value, zt) for value in (self.process.schedule.alpha(t), self.process.schedule.sigma(t)))
        total = alpha.square() * self.deviations.square() + sigma.square()
        logs = -(zt - alpha * self.means).square() / (2 * total) - total.log() / 2 - math.log(2 * math.pi) / 2
        return zt, alpha, sigma, self._weights(len(xt), drop, condition) + logs.flatten(2).sum(-1)

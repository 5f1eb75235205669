"""Mixtures of heat kernels on a compact space: what the exact laws of rotations and of directions share."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from unstir.core.choices import choose, normalised
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.kernel_posterior import KernelPosterior
from unstir.exact.base import ExactDenoiser
from unstir.exact.labels import checked_labels, checked_weights, label_log_weights
from unstir.processes.brownian import BrownianProcess


class KernelMixtureDenoiser(ExactDenoiser):
    """Components are products of heat kernels, which noise only widens; see the laws that derive from this.

    ``centres`` (k, ..., *element) lie in the space; ``deviations`` in radians are a number, (k,) or (k, ...), zero for
    a point and infinite for uniform. ``labels`` (k,), whole numbers, allow the condition ``label`` (batch,).
    """

    posterior: ClassVar[type[KernelPosterior]]
    process: BrownianProcess

    def __init__(self, weights: Any, centres: Any, deviations: Any, process: Any, labels: Any = None) -> None:
        super().__init__()
        centres = torch.as_tensor(centres, dtype=torch.float64)
        axes = len(process.element)
        if centres.shape[1:][-axes:] != process.element or not len(centres):
            raise InputError(
                f"centres have the shape (components, ..., {process.element}); seen {tuple(centres.shape)}"
            )
        if not bool(process.contains(centres).all()):
            raise InputError(f"centres must lie in the space of {type(process).__name__}; some do not")
        elements = centres.shape[: centres.ndim - axes]
        spread = torch.as_tensor(deviations, dtype=torch.float64)
        if spread.ndim == 1:
            spread = spread.reshape(-1, *(1,) * (len(elements) - 1))
        fits = (
            not spread.ndim or spread.shape == elements or spread.shape == (len(centres), *(1,) * (len(elements) - 1))
        )
        if not fits or bool((spread < 0).any()) or bool(spread.isnan().any()):
            raise InputError(
                f"deviations are a number, one a component or one a centre, none negative; seen {spread.tolist()}"
            )
        self.process = process
        self.register_buffer("log_weights", checked_weights(weights, len(centres), "component"))
        self.register_buffer("centres", centres)
        self.register_buffer("deviations", spread.expand(elements).clone())
        self.register_buffer("labels", checked_labels(labels, len(centres), "component"))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(self.centres.shape[1:])

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> KernelPosterior:
        """The belief about x_0: of each component, the product of its kernel with that of the noise about x_t."""
        sigma, logs, _ = self._joint(xt, t, drop, condition)
        weights = normalised(logs)
        shares = torch.zeros(*weights.shape, *self.deviations.shape[1:], 1, dtype=torch.float64, device=xt.device)
        return self.posterior(
            self.process,
            weights,
            shares,
            self.centres.expand(len(xt), *self.centres.shape).unsqueeze(-1 - len(self.process.element)),
            self.deviations[None, ..., None],
            xt.dtype,
            xt.double(),
            sigma,
        )

    def log_density(self, xt: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """log p_t(x_t) in nats against the uniform law, float64 (batch,)."""
        return torch.logsumexp(self._joint(xt, t, None, condition)[1], 1)

    def score(self, xt: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """The gradient of the log-density at x_t, as a tangent vector of every element, (batch, ..., 3)."""
        _, logs, total = self._joint(xt, t, None, condition)
        slopes = self.slopes(xt.double()[:, None], self.centres, total)
        shares = logs.softmax(1).reshape(logs.shape + (1,) * (slopes.ndim - 2))
        return (shares * slopes).sum(1).to(xt.dtype)

    @abstractmethod
    def slopes(self, x: Tensor, centres: Tensor, deviations: Tensor) -> Tensor:
        """The gradient of every log-kernel about the centres at x."""

    def draw(self, seeds: Seeds, t: Tensor | float = 0.0, **condition: Tensor) -> Tensor:
        """Exact draws of x_t, float64 (batch, *shape)."""
        component = choose(self._weights(len(seeds), None, condition), seeds.at("component"))
        centres, spread = self.centres[component], self.deviations[component]
        anywhere = torch.full_like(spread, torch.inf)
        x0 = self.process.draw_product(centres, spread, centres, anywhere, seeds.at("within"))
        return self.process.noise(x0, torch.as_tensor(t, dtype=torch.float64), seeds.at("noise"))

    def _weights(self, batch: int, drop: Tensor | None, condition: Mapping[str, Tensor]) -> Tensor:
        weights = label_log_weights(type(self).__name__, self.log_weights, self.labels, batch, drop, condition)
        return weights.expand(batch, -1)

    def _joint(
        self, xt: Tensor, t: Tensor | float, drop: Tensor | None, condition: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """sigma_t, log of weight times density of each component (batch, k), and the components' deviations at t."""
        if xt.shape[1:] != self.shape:
            raise InputError(f"this law's samples have the shape {self.shape}; seen {tuple(xt.shape[1:])}")
        sigma = self.process.deviation(t, xt)
        total = (self.deviations.square() + (sigma[:, None] if sigma.ndim else sigma).square()).sqrt()
        logs = self.process.log_kernel(xt.double()[:, None], self.centres, total)
        return (
            sigma,
            self._weights(len(xt), drop, condition) + logs.reshape(len(xt), len(self.centres), -1).sum(-1),
            total,
        )

"""Mixtures of products of exact laws on several parts."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unstir.core.choices import choose, normalised
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import batch_size, map_state
from unstir.denoisers.joint import JointPosterior, MixedPosterior
from unstir.exact.base import ExactDenoiser
from unstir.exact.labels import checked_labels, checked_weights, label_log_weights
from unstir.processes.joint import JointProcess, Times, time_of

__all__ = ["JointMixtureDenoiser"]


class JointMixtureDenoiser(ExactDenoiser):
    """The exact belief for parts that depend on one another through a hidden component.

    ``weights`` (k,); ``parts`` names, for each part of the state, k exact denoisers of one process: given the
    component the parts are independent. The belief is again such a mixture, so that what is seen of one
    part tells of the others. ``labels`` (k,), whole numbers, allow the condition ``label`` (batch,).
    ``clock`` names the part whose schedule spaces a sampler's steps (see ``JointProcess``).

    Reference: Bishop, Pattern recognition and machine learning (2006), section 9.2 (hidden-component mixtures).
    """

    def __init__(
        self,
        weights: Any,
        parts: Mapping[str, Sequence[ExactDenoiser]],
        labels: Any = None,
        clock: str | None = None,
    ) -> None:
        super().__init__()
        log_weights = checked_weights(weights, len(torch.as_tensor(weights)), "component")
        for name, laws in parts.items():
            if len(laws) != len(log_weights):
                raise InputError(f"{len(log_weights)} components need as many laws of each part; {name!r}: {len(laws)}")
            if any(law.process != laws[0].process for law in laws):
                raise InputError(f"the laws of one part share one process; those of {name!r} do not")
        self.process = JointProcess({name: laws[0].process for name, laws in parts.items()}, clock)
        self.laws = nn.ModuleDict({name: nn.ModuleList(laws) for name, laws in parts.items()})
        self.register_buffer("log_weights", log_weights)
        self.register_buffer("labels", checked_labels(labels, len(log_weights), "component"))

    @classmethod
    def examples(cls) -> Mapping[str, "JointMixtureDenoiser"]:
        """An angle with two masked tokens, and both with a number on the line."""
        from unstir.exact.categorical import TokenChainDenoiser, TokenProductDenoiser
        from unstir.exact.mixture import MixtureDenoiser
        from unstir.exact.wrapped import WrappedMixtureDenoiser
        from unstir.processes.categorical import CategoricalProcess
        from unstir.processes.gaussian import GaussianProcess
        from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
        from unstir.processes.wrapped import WrappedProcess

        torus = WrappedProcess(ExponentialVESchedule(0.01, 2.0))
        masked, uniform, line = CategoricalProcess(2, rates="absorbing"), CategoricalProcess(3), GaussianProcess()
        angles = [WrappedMixtureDenoiser([1.0], [[mean]], 0.08, torus) for mean in (0.1, 0.55)]
        return {
            "angle and tokens, labelled": cls(
                [0.6, 0.4],
                {
                    "angle": angles,
                    "kinds": [
                        TokenChainDenoiser([0.9, 0.1], [[0.8, 0.2], [0.5, 0.5]], masked, 2),
                        TokenChainDenoiser([0.2, 0.8], [[0.3, 0.7], [0.1, 0.9]], masked, 2),
                    ],
                },
                labels=[3, 5],
            ),
            "number, angle and token": cls(
                [0.3, 0.7],
                {
                    "place": [
                        MixtureDenoiser([0.5, 0.5], [[mean], [mean + 1.5]], [0.25, 0.5], line) for mean in (-1.5, 0.5)
                    ],
                    "angle": angles,
                    "kind": [TokenProductDenoiser([shares], uniform) for shares in ([0.7, 0.2, 0.1], [0.1, 0.3, 0.6])],
                },
                clock="angle",
            ),
        }

    @property
    def shape(self) -> dict[str, Any]:
        """The shapes of one sample's parts."""
        return {name: laws[0].shape for name, laws in self.laws.items()}  # type: ignore[index]

    def forward(self, xt: Any, t: Times, drop: Tensor | None = None, **condition: Tensor) -> MixedPosterior:
        """The belief about x_0: a mixture, over the hidden component, of independent beliefs."""
        weights = normalised(self._joint(xt, t, drop, condition))
        members = [
            JointPosterior({name: laws[component](xt[name], time_of(t, name)) for name, laws in self._parts()})
            for component in range(len(self.log_weights))
        ]
        return MixedPosterior(weights, members)

    def log_density(self, xt: Any, t: Times, **condition: Tensor) -> Tensor:
        """log p_t(x_t) of all parts together in nats (counting measure on tokens), float64 (batch,)."""
        return torch.logsumexp(self._joint(xt, t, None, condition), 1)

    def draw(self, seeds: Seeds, t: Times = 0.0, **condition: Tensor) -> Any:
        """Exact draws of x_t, a dict."""
        logs = self._weights(len(seeds), None, condition)
        component = choose(logs, seeds.at("component"))
        rows = torch.arange(len(component), device=component.device)
        drawn = [
            {name: laws[index].draw(seeds.at("within", name), time_of(t, name)) for name, laws in self._parts()}
            for index in range(len(self.log_weights))
        ]
        return map_state(lambda *parts: torch.stack(parts)[component, rows], *drawn)

    def _parts(self) -> list[tuple[str, Any]]:
        return list(self.laws.items())

    def _weights(self, batch: int, drop: Tensor | None, condition: Mapping[str, Tensor]) -> Tensor:
        weights = label_log_weights(type(self).__name__, self.log_weights, self.labels, batch, drop, condition)
        return weights.expand(batch, -1)

    def _joint(self, xt: Any, t: Times, drop: Tensor | None, condition: Mapping[str, Tensor]) -> Tensor:
        """log of weight times density of each component, (batch, k)."""
        if not isinstance(xt, Mapping) or sorted(xt) != sorted(self.laws):
            seen = sorted(xt) if isinstance(xt, Mapping) else type(xt).__name__
            raise InputError(f"this law's state has the parts {sorted(self.laws)}; seen {seen}")
        logs = self._weights(batch_size(xt), drop, condition)
        for name, laws in self._parts():
            logs = logs + torch.stack([law.log_density(xt[name], time_of(t, name)) for law in laws], 1)
        return logs

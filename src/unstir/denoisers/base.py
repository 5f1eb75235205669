"""The interface of all denoisers."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from unstir.core.errors import InputError
from unstir.denoisers.posteriors import Posterior


class Denoiser(nn.Module, ABC):
    """From a noisy state and its time to the belief about the clean state.

    ``process`` is the forward law that the belief refers to. Conditions are named tensors with the
    batch first; one that is not given counts as unknown. ``drop`` is boolean, shape (batch,): samples
    whose conditions are all to be forgotten, which is how training teaches the unconditional belief
    that classifier-free guidance needs.
    """

    process: Any

    @abstractmethod
    def forward(self, xt: Any, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The posterior of x_0 given the state x_t; ``t`` is float64 of shape () or (batch,)."""

    @property
    def mask(self) -> Tensor | None:
        """The bound condition ``mask``, (batch, n): where padded sets have elements; None where nothing is padded."""
        return None

    def beginning(self, noise: Any, t: Tensor, **condition: Tensor) -> Any:
        """Where sampling begins at the time ``t``, given a draw of the prior: there, unless it is known better.

        What is told of a sample may say where the noisy law lies (see ``NetworkDenoiser``, ``around``).
        """
        return noise

    def given(self, condition: Mapping[str, Tensor]) -> "Denoiser":
        """This denoiser with the conditions bound, so that samplers need not know of them."""
        return ConditionedDenoiser(self, condition) if condition else self


class ConditionedDenoiser(Denoiser):
    """A denoiser whose conditions are fixed; one tensor row per sample of the batch."""

    def __init__(self, denoiser: Denoiser, condition: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.process = denoiser.process
        self.condition = dict(condition)

    @property
    def mask(self) -> Tensor | None:
        """The bound mask, if one is."""
        return self.condition.get("mask")

    def beginning(self, noise: Any, t: Tensor, **condition: Tensor) -> Any:
        return self.denoiser.beginning(noise, t, **self.condition, **condition)

    def forward(self, xt: Any, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The posterior given the bound conditions; naming one of them again is an error."""
        if twice := sorted(set(condition) & set(self.condition)):
            raise InputError(f"the condition {twice[0]!r} is already bound")
        return self.denoiser(xt, t, drop, **self.condition, **condition)


@contextmanager
def evaluating(denoiser: Denoiser) -> Iterator[None]:
    """Switches dropout and its likes off, whose draws have no address; what was training goes on training after."""
    training = [module for module in denoiser.modules() if module.training]
    denoiser.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True

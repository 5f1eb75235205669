"""Belief made of heat kernels, on any space of which a Brownian process knows them."""

from abc import abstractmethod
from functools import cached_property

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, beside, mean_per_sample
from unstir.denoisers.posteriors import Posterior
from unstir.processes.brownian import BrownianProcess


class KernelPosterior(Posterior):
    """A mixture of products of mixtures of heat kernels, or of what is left of them when a noisy state has been seen.

    ``log_weights`` (batch, c) are the components'; within one the elements of a sample are independent, each a mixture
    with ``log_shares`` (batch, c, ..., k) of the kernels about ``centres`` (batch, c, ..., k, *element) with
    ``deviations`` that broadcast to the shares. With ``noisy`` (batch, ..., *element), each kernel is multiplied with
    the one of deviation ``noise`` about it, and weights and shares are those of the product. Everything is float64;
    draws and the mean have the dtype ``dtype``.

    ``mean`` is the state nearest to ``moment``, the mean of the features (batch, ..., *element); it is computed when it
    is asked for.
    """

    def __init__(
        self,
        process: BrownianProcess,
        log_weights: Tensor,
        log_shares: Tensor,
        centres: Tensor,
        deviations: Tensor,
        dtype: torch.dtype,
        noisy: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> None:
        told = {"process": process, "log_weights": log_weights, "log_shares": log_shares, "centres": centres}
        told |= {"deviations": deviations.expand(log_shares.shape), "dtype": dtype, "noisy": noisy, "noise": noise}
        self.__dict__.update(told)  # past the frozen base, whose one field is computed here when it is asked for

    process: BrownianProcess
    log_weights: Tensor
    log_shares: Tensor
    centres: Tensor
    deviations: Tensor
    dtype: torch.dtype
    noisy: Tensor | None
    noise: Tensor | None

    @cached_property
    def mean(self) -> Tensor:  # type: ignore[override]
        """The state nearest to the moment."""
        return self.direction(self.moment)

    @cached_property
    def moment(self) -> Tensor:
        """The mean of the features, float64 (batch, ..., *element)."""
        if self.noisy is None:
            # of the heat kernel, functions of the first degree keep the share exp(-sigma^2)
            moments = (-self.deviations.square()).exp().reshape(*self.log_shares.shape, *self._ones) * self.centres
        else:
            moments = self.product_moments(self.centres, self.deviations, *self._seen())
        shares = self.log_shares.exp().reshape(*self.log_shares.shape, *self._ones)
        within = (shares * moments).sum(-1 - len(self._ones))
        weights = beside(self.log_weights.exp(), within)
        return (weights * within).sum(1)

    @abstractmethod
    def direction(self, moment: Tensor) -> Tensor:
        """The state that lies nearest to a mean of features, of the dtype of the belief."""

    @abstractmethod
    def product_moments(self, centres: Tensor, deviations: Tensor, noisy: Tensor, noise: Tensor) -> Tensor:
        """The mean features of products of two kernels; all arguments broadcast, and deviations have no element."""

    def sample(self, seeds: Seeds) -> Tensor:
        component = choose(self.log_weights, seeds.at("component"))
        rows = torch.arange(len(component), device=component.device)
        shares, centres, deviations = (
            part[rows, component] for part in (self.log_shares, self.centres, self.deviations)
        )
        chosen = choose(shares, seeds.at("share"))[..., None]
        deviation = deviations.gather(-1, chosen)[..., 0]
        place = chosen.reshape(*chosen.shape, *self._ones).expand(*chosen.shape, *self.process.element)
        centre = centres.gather(-1 - len(self._ones), place).squeeze(-1 - len(self._ones))
        noisy, noise = centre, torch.full_like(deviation, torch.inf)
        if self.noisy is not None and self.noise is not None:
            noisy, noise = self.noisy, self.noise.expand(deviation.shape)
        return self.process.draw_product(noisy, noise, centre, deviation, seeds.at("within")).to(self.dtype)

    def log_prob(self, x0: Tensor) -> Tensor:
        return torch.logsumexp(self.log_weights + self._elements(x0).reshape(*self.log_weights.shape, -1).sum(-1), -1)

    def loss(self, x0: Tensor, mask: Tensor | None = None) -> Tensor:
        """Negative log-density in nats per element, against the space's uniform law."""
        if self.log_weights.shape[1] > 1:
            if mask is not None:
                raise InputError(
                    "a belief whose elements hang together does not know padded sets: train without a mask"
                )
            return -self.log_prob(x0) / max(1, self.log_shares[0, 0, ..., 0].numel())
        logs = self._elements(x0)[:, 0]
        return mean_per_sample(-apply_mask(logs, mask), mask) if logs.ndim > 1 else -logs

    def _elements(self, x0: Tensor) -> Tensor:
        """The log-density of every element under every component, (batch, c, ...)."""
        beside = self._beside(x0.double())
        logs = self.log_shares + self.process.log_kernel(beside, self.centres, self.deviations)
        if self.noisy is not None:
            seen, noise = self._seen()
            total = (self.deviations.square() + noise.square()).sqrt()
            logs = logs + self.process.log_kernel(beside, seen, noise)
            logs = logs - self.process.log_kernel(seen, self.centres, total)
        return torch.logsumexp(logs, -1)

    def _seen(self) -> tuple[Tensor, Tensor]:
        """The noisy state and its noise, to broadcast against the centres and the deviations."""
        assert self.noisy is not None
        assert self.noise is not None
        # a noise of one number for all, or of as many axes as the state has elements'
        noise = self.noise if self.noise.ndim == 0 else self.noise[:, None, ..., None]
        return self._beside(self.noisy), noise

    def _beside(self, state: Tensor) -> Tensor:
        return state.unsqueeze(1).unsqueeze(-1 - len(self._ones))

    @property
    def _ones(self) -> tuple[int, ...]:
        return (1,) * len(self.process.element)

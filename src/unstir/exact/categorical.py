"""Laws of tokens: independent ones, and Markov chains."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import normalised
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.discrete import CategoricalPosterior
from unstir.denoisers.joint import MixedPosterior
from unstir.denoisers.posteriors import Posterior
from unstir.exact.base import ExactDenoiser
from unstir.exact.chain_posterior import ChainPosterior
from unstir.exact.labels import checked_labels, checked_weights, label_log_weights
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.schedules.linear_vp import LinearVPSchedule

__all__ = ["TokenChainDenoiser", "TokenProductDenoiser"]

UNSEEN = -1


class _TokenDenoiser(ExactDenoiser):
    """What the laws of tokens share: evidence in, belief out. ``shape`` is that of one sample."""

    shape: tuple[int, ...]
    log_weights: Tensor

    def __init__(self, weights: Any, count: int, labels: Any, process: CategoricalProcess) -> None:
        super().__init__()
        self.process = process
        weights = torch.ones(count) if weights is None else weights
        self.register_buffer("log_weights", checked_weights(weights, count, "law"))
        self.register_buffer("labels", checked_labels(labels, count, "law"))

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The belief about x_0; ``mean`` holds the probabilities (batch, *shape, classes)."""
        weights, seen = self._given(len(xt), drop, condition)
        belief, total = self._belief(weights, seen + self._evidence(xt, t))
        if bool((total == -torch.inf).any()):
            row = int((total == -torch.inf).nonzero()[0])
            raise InputError(f"this law cannot have led to the tokens of row {row}: {xt[row].tolist()}")
        return belief

    def log_density(self, xt: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """log p_t(x_t) in nats, a probability, float64 (batch,); minus infinity for what cannot be."""
        weights, seen = self._given(len(xt), None, condition)
        return self._belief(weights, seen + self._evidence(xt, t))[1] - self._belief(weights, seen)[1]

    def draw(self, seeds: Seeds, t: Tensor | float = 0.0, **condition: Tensor) -> Tensor:
        """Exact draws of x_t, int64 (batch, *shape)."""
        belief, _ = self._belief(*self._given(len(seeds), None, condition))
        time = torch.as_tensor(t, dtype=torch.float64)
        return self.process.noise(belief.sample(seeds.at("data")), time, seeds.at("noise"))

    @abstractmethod
    def _belief(self, log_weights: Tensor, evidence: Tensor) -> tuple[Posterior, Tensor]:
        """The belief given weights (batch, l) and log-likelihoods (batch, *shape, classes), and their log total."""

    def _evidence(self, xt: Tensor, t: Tensor | float) -> Tensor:
        if tuple(xt.shape[1:]) != self.shape:
            raise InputError(f"this law's samples have the shape {self.shape}; seen {tuple(xt.shape[1:])}")
        self.process.check_state(xt)
        start = torch.zeros_like(torch.as_tensor(t, dtype=torch.float64))
        return self.process.log_backward(xt, start, t)[..., : self.process.classes]

    def _given(self, batch: int, drop: Tensor | None, condition: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The weights of the laws, and the evidence of the clean tokens that are told."""
        observed = condition.get("observed")
        others = {name: values for name, values in condition.items() if name != "observed"}
        weights = label_log_weights(type(self).__name__, self.log_weights, self.labels, batch, drop, others)
        weights = weights.expand(batch, -1)
        classes = self.process.classes
        if observed is None:
            return weights, weights.new_zeros(batch, *self.shape, classes)
        if observed.shape != (batch, *self.shape) or observed.dtype != torch.int64:
            raise InputError(
                f"'observed' is int64 of shape {(batch, *self.shape)}, a class or {UNSEEN} where unknown; "
                f"seen {observed.dtype} {tuple(observed.shape)}"
            )
        if not UNSEEN <= observed.min().item() <= observed.max().item() < classes:
            raise InputError(f"observed tokens are the classes 0 to {classes - 1}, or {UNSEEN} where unknown")
        told = observed if drop is None else torch.where(drop.reshape(-1, *(1,) * len(self.shape)), UNSEEN, observed)
        fits = (told == UNSEEN)[..., None] | (told[..., None] == torch.arange(classes, device=told.device))
        seen = torch.where(fits, 0.0, -torch.inf).double()
        if bool((self._belief(weights, seen)[1] == -torch.inf).any()):
            raise InputError("this law cannot have led to the observed tokens of some samples")
        return weights, seen


class TokenProductDenoiser(_TokenDenoiser):
    r"""The exact belief for tokens that are independent, or a mixture of such laws.

    ``probabilities`` (\*shape, classes), each row summing to one; or, with ``weights`` (l,), (l, \*shape, classes):
    l laws, one of which each sample has. ``labels`` (l,), whole numbers, allow the condition ``label`` (batch,); the
    condition ``observed``, int64 (batch, \*shape), tells clean tokens, and is -1 where they are unknown.

    Reference: Austin et al., Structured denoising diffusion models in discrete state-spaces (2021), eq. 3.
    """

    def __init__(
        self, probabilities: Any, process: CategoricalProcess, weights: Any = None, labels: Any = None
    ) -> None:
        rows = torch.as_tensor(probabilities, dtype=torch.float64)
        rows = rows[None] if weights is None else rows
        _check_rows(rows, process.classes, "probabilities")
        if rows.ndim < 3:
            raise InputError("probabilities have the shape (*shape, classes), or (laws, *shape, classes) with weights")
        super().__init__(weights, len(rows), labels, process)
        self.shape = tuple(rows.shape[1:-1])
        self.register_buffer("log_probabilities", rows.log())

    @classmethod
    def examples(cls) -> Mapping[str, "TokenProductDenoiser"]:
        """Two independent tokens; three that hang together by a hidden label."""
        return {
            "independent, uniform noise": cls([[0.7, 0.2, 0.1], [0.05, 0.0, 0.95]], CategoricalProcess(3)),
            "labelled, masked": cls(
                [[[0.9, 0.1], [0.7, 0.3], [0.5, 0.5]], [[0.2, 0.8], [0.1, 0.9], [0.3, 0.7]]],
                CategoricalProcess(2, LinearVPSchedule(), "absorbing"),
                weights=[0.35, 0.65],
                labels=[0, 4],
            ),
        }

    def _belief(self, log_weights: Tensor, evidence: Tensor) -> tuple[Posterior, Tensor]:
        logs = self.log_probabilities + evidence[:, None]
        each = torch.logsumexp(logs, -1).flatten(2).sum(-1)
        members = [CategoricalPosterior(normalised(law)) for law in logs.unbind(1)]
        total = torch.logsumexp(log_weights + each, 1)
        belief = members[0] if len(members) == 1 else MixedPosterior(normalised(log_weights + each), members)
        return belief, total


class TokenChainDenoiser(_TokenDenoiser):
    """The exact belief for sequences of tokens that are a Markov chain, or a mixture of chains.

    ``initial`` (classes,) and ``transition`` (classes, classes), rows that sum to one; or, with ``weights`` (l,), (l,
    classes) and (l, classes, classes). ``length`` tokens. Conditions as for ``TokenProductDenoiser``. Marginals and
    densities come from the forward-backward algorithm in logarithms, joint draws from the same messages.

    Reference: Rabiner, A tutorial on hidden Markov models (1989), section III.
    """

    def __init__(
        self,
        initial: Any,
        transition: Any,
        process: CategoricalProcess,
        length: int,
        weights: Any = None,
        labels: Any = None,
    ) -> None:
        first, steps = (torch.as_tensor(rows, dtype=torch.float64) for rows in (initial, transition))
        if weights is None:
            first, steps = first[None], steps[None]
        _check_rows(first, process.classes, "initial")
        _check_rows(steps, process.classes, "transition")
        if first.ndim != 2 or steps.shape != (len(first), process.classes, process.classes):
            raise InputError(
                "a chain has an initial law (classes,) and a transition matrix (classes, classes), with weights one of "
                f"each for every law; seen {tuple(first.shape)} and {tuple(steps.shape)}"
            )
        if length < 1:
            raise InputError(f"a sequence has at least one token; seen the length {length}")
        super().__init__(weights, len(first), labels, process)
        self.shape = (length,)
        self.register_buffer("log_initial", first.log())
        self.register_buffer("log_transition", steps.log())

    @classmethod
    def examples(cls) -> Mapping[str, "TokenChainDenoiser"]:
        """Chains under masking, uniform noise and noise among neighbours; two chains with labels."""
        steps = [[0.8, 0.2, 0.0], [0.1, 0.6, 0.3], [0.5, 0.0, 0.5]]
        two = [[[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.9], [0.7, 0.3]]]
        neighbours = [[-1.0, 1.0, 0.0], [0.5, -1.0, 0.5], [0.0, 1.0, -1.0]]
        return {
            "masked": cls([0.5, 0.3, 0.2], steps, CategoricalProcess(3, rates="absorbing"), 4),
            "uniform noise, two chains": cls(
                [[0.5, 0.5], [0.1, 0.9]], two, CategoricalProcess(2), 5, weights=[0.4, 0.6], labels=[1, 2]
            ),
            "noise among neighbours": cls([1.0, 0.0, 0.0], steps, CategoricalProcess(3, rates=neighbours), 3),
        }

    def _belief(self, log_weights: Tensor, evidence: Tensor) -> tuple[Posterior, Tensor]:
        belief = ChainPosterior(log_weights, self.log_initial, self.log_transition, evidence)
        return belief, torch.logsumexp(log_weights + belief.log_evidence, 1)


def _check_rows(rows: Tensor, classes: int, name: str) -> None:
    if not rows.ndim or rows.shape[-1] != classes:
        raise InputError(f"{name}: the last axis holds the {classes} classes; seen the shape {tuple(rows.shape)}")
    if not bool((rows >= 0).all()) or bool(((rows.sum(-1) - 1).abs() > 1e-6).any()):
        raise InputError(f"{name}: probabilities are not negative and sum to one over the last axis")

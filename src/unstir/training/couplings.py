r"""Couplings: which source of a part of a batch goes with which data.

A bridge is trained on pairs of data and source. Sources drawn independently make paths that cross, which a flow must
bend round; paired by optimal transport within the part of the batch they hardly cross, and the flow is straighter.
A coupling only turns round what was drawn, so that data and sources both keep their laws.

A coupling is called with data (batch, ...), as many sources, the data's conditions and addresses, and returns for each
row of the data the row of its source, int64 (batch,). Parts of a batch (gradient accumulation, processes) are paired
by themselves: the larger they are, the nearer the pairing is to the transport of the whole laws.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds

__all__ = ["ConditionalTransportCoupling", "IndependentCoupling", "SinkhornCoupling", "TransportCoupling"]

_NOT_COMPARED = ("mask", "augment", "source")


class Coupling(ABC):
    """Base of the couplings."""

    @abstractmethod
    def __call__(self, x0: Tensor, source: Tensor, condition: Mapping[str, Tensor], seeds: Seeds) -> Tensor:
        """The row of ``source`` for each row of ``x0``, int64 (batch,)."""


@dataclass(frozen=True)
class IndependentCoupling(Coupling):
    """As they were drawn: sources know nothing of the data, or come with it as true pairs.

    Reference: Lipman et al., Flow matching for generative modeling (2023); Liu, Gong, Liu, Flow straight and fast
    (2022), section 2.1.
    """

    def __call__(self, x0: Tensor, source: Tensor, condition: Mapping[str, Tensor], seeds: Seeds) -> Tensor:
        return torch.arange(len(x0))


@dataclass(frozen=True)
class TransportCoupling(Coupling):
    """The permutation of the sources that has the least sum of squared distances: exact optimal transport.

    Blind to conditions: for a conditional model, what is paired with a label is no longer the whole source, and
    sampling from the whole source is then biased. Take ``conditional-transport`` for those. Cost grows with the cube
    of the part of the batch: about 10 ms for 256.

    Reference: Pooladian et al., Multisample flow matching (2023); Tong et al., Improving and generalizing flow-based
    generative models with minibatch optimal transport (2024), section 3.2.
    """

    def __call__(self, x0: Tensor, source: Tensor, condition: Mapping[str, Tensor], seeds: Seeds) -> Tensor:
        return _assigned(squared_distances(x0, source))


@dataclass(frozen=True)
class SinkhornCoupling(Coupling):
    r"""Entropic optimal transport: sources are drawn from the plan of a Schrödinger bridge with the motion ``sigma``.

    The plan :math:`\propto e^{f_i+g_j-|x_i-y_j|^2/(2\sigma^2)}` has even sums over rows and columns; each row draws its
    source from it. With a bridge of the same ``sigma`` the path measure tends to Schrödinger's bridge as the part of
    the batch grows. In a training ``sigma`` is the process's own unless it is told. Sinkhorn's iterations run in
    logarithms until the rows' sums err by ``tolerance``, or ``iterations`` times.

    Reference: Cuturi, Sinkhorn distances (2013); Tong et al., Improving and generalizing flow-based generative models
    with minibatch optimal transport (2024), section 3.3.
    """

    sigma: float
    iterations: int = 1000
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise InputError(f"sigma, the deviation of the Schrödinger bridge's motion, is positive; seen {self.sigma}")
        if self.iterations < 1 or not self.tolerance > 0:
            raise InputError(
                f"iterations >= 1 and tolerance > 0 are needed; seen {self.iterations} and {self.tolerance}"
            )

    def __call__(self, x0: Tensor, source: Tensor, condition: Mapping[str, Tensor], seeds: Seeds) -> Tensor:
        return choose(self.log_plan(x0, source), seeds.at("pair"))

    @classmethod
    def examples(cls) -> Mapping[str, "SinkhornCoupling"]:
        """For the motion of unit deviation."""
        return {"unit motion": cls(1.0)}

    def log_plan(self, x0: Tensor, source: Tensor) -> Tensor:
        """The logarithm of the plan, (batch, batch), whose rows each sum to one."""
        logs = -squared_distances(x0, source) / (2 * self.sigma**2)
        columns = torch.zeros(len(source), dtype=torch.float64)
        for _ in range(self.iterations):
            rows = -(logs + columns).logsumexp(1)
            sums = (logs + rows[:, None]).logsumexp(0)
            if bool(((sums + columns).expm1().abs() < self.tolerance).all()):
                break
            columns = -sums
        return logs + columns - (logs + columns).logsumexp(1, keepdim=True)


@dataclass(frozen=True)
class ConditionalTransportCoupling(Coupling):
    """Optimal transport that leaves every condition the whole source: each source stays with conditions like its own.

    Sources carry the condition of the row that they were drawn for. Those with whole-number conditions (labels) are
    exchanged among equals only, so that the law of the source is the same for every label. For other conditions
    (vectors, pictures) the cost has w times the squared distance of the two conditions beside that of data and source,
    w the smallest number with which at most ``ratio`` of all exchanges cost no more than what a row came with: the
    smaller, the nearer to independent. Without conditions it is optimal transport.

    Reference: Cheng, Schwing, The curse of conditions: analyzing and improving optimal transport for conditional
    flow-based generation (2025), section 4.
    """

    ratio: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise InputError(f"ratio, the share of exchanges that may pay, lies in (0, 1]; seen {self.ratio}")

    def __call__(self, x0: Tensor, source: Tensor, condition: Mapping[str, Tensor], seeds: Seeds) -> Tensor:
        compared = {name: values for name, values in condition.items() if name not in _NOT_COMPARED}
        known = [values.reshape(len(values), -1) for values in compared.values() if values.is_floating_point()]
        labels = [values.reshape(len(values), -1) for values in compared.values() if not values.is_floating_point()]
        groups = torch.zeros(len(x0), dtype=torch.int64)
        if labels:
            groups = torch.cat([values.long() for values in labels], 1).unique(dim=0, return_inverse=True)[1]
        chosen = torch.arange(len(x0))
        for group in range(int(groups.max()) + 1 if len(x0) else 0):
            rows = (groups == group).nonzero().flatten()
            cost = squared_distances(x0[rows], source[rows])
            if known and len(rows) > 1:
                told = torch.cat([values[rows].double() for values in known], 1)
                apart = squared_distances(told, told)
                cost = cost + _weight(cost, apart, self.ratio) * apart
            chosen[rows] = rows[_assigned(cost)]
        return chosen


def squared_distances(x0: Tensor, source: Tensor) -> Tensor:
    """Of all pairs, float64 (batch, batch)."""
    first, second = (part.reshape(len(part), -1).double() for part in (x0, source))
    return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist").square()


def _assigned(cost: Tensor) -> Tensor:
    """The permutation of least cost."""
    from scipy.optimize import linear_sum_assignment

    return torch.from_numpy(linear_sum_assignment(cost.numpy())[1])


def _weight(cost: Tensor, apart: Tensor, ratio: float) -> float:
    """The least w >= 0 with at most ``ratio`` of all (i, j) at cost_ij + w apart_ij <= cost_ii."""
    saved = cost.diagonal()[:, None] - cost
    # a pair pays while w is at most this; equal conditions pay at every w, or at none
    limits = torch.where(apart > 0, saved / apart, torch.where(saved >= 0, torch.inf, -torch.inf)).flatten()
    allowed = int(ratio * len(limits))
    beyond = limits.sort(descending=True).values[allowed:]
    finite = beyond[beyond.isfinite()]
    return max(0.0, float(finite[0]) * (1 + 1e-9)) if len(finite) else 0.0

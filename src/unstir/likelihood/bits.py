"""What is told of how probable data is: the terms of a bound, probabilities of whole numbers, and their units."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.state import apply_mask

_ROWS = 10  # of transitions in a printed table


def bits_per_dimension(log_density: Tensor, elements: Tensor | int, log_step: float | int = 0.0) -> Tensor:
    r"""Bits that one element of a sample takes, :math:`-(\log p + n\log\Delta)/(n\log 2)`; shape (batch,).

    ``log_density`` is in nats, (batch,); ``elements`` n, () or (batch,). A density says how probable a cell is only
    together with the cell's width: ``log_step`` is the log of the distance between neighbouring levels, in the units
    that the density refers to (``Cells.log_step``); zero where ``log_density`` is a probability already.
    """
    count = torch.as_tensor(elements, dtype=torch.float64, device=log_density.device)
    if not bool((count > 0).all()):
        raise InputError(f"bits per dimension need one element at least in each sample; seen {elements}")
    return -(log_density.double() / count + log_step) / math.log(2)


def sum_per_sample(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """The sum over everything but the batch, of the places where ``mask`` (batch, n) is True; float64 (batch,)."""
    kept = apply_mask(values.double(), mask)
    return kept.flatten(1).sum(1) if kept.ndim > 1 else kept


@dataclass(frozen=True)
class Bound:
    """An upper bound on -log p(x_0), term by term, in nats.

    ``prior`` (batch,) is the divergence of the noisiest state from the noise that sampling starts with;
    ``transitions`` (batch, steps) those of the steps from there to the data, or the shares of the integral between
    neighbouring ``log_snr`` (steps + 1,), rising; ``reconstruction`` (batch,) the mean of -log p(x_0|x_1) at the last
    noisy level. ``standard_error`` (batch,) is of the total, from ``draws`` independent estimates; NaN of a single
    one. ``elements`` (batch,) are those that the mask leaves. The terms are unbiased estimates of what is not
    negative, so a small one may come out below zero.
    """

    prior: Tensor
    transitions: Tensor
    reconstruction: Tensor
    standard_error: Tensor
    log_snr: Tensor
    elements: Tensor
    draws: int

    unit = "nats"

    @property
    def total(self) -> Tensor:
        """The bound on -log p(x_0) in nats, (batch,)."""
        return self.prior + self.transitions.sum(1) + self.reconstruction

    @property
    def bits_per_dimension(self) -> Tensor:
        """The bound in bits per element, (batch,): of discrete data, or of the density in the units that x_0 has."""
        return bits_per_dimension(-self.total, self.elements)

    @property
    def mean_standard_error(self) -> float:
        """Of the mean of ``total`` over the batch: what the noise drawn adds, not what the choice of samples does."""
        return float(self.standard_error.square().sum().sqrt()) / max(len(self.standard_error), 1)

    def __str__(self) -> str:
        """A table of the terms, means over the batch; neighbouring transitions are put together."""
        rows = [("prior", self.prior.mean())]
        edges = torch.linspace(0, self.transitions.shape[1], min(_ROWS, self.transitions.shape[1]) + 1).round().int()
        for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            place = f"log-SNR {self.log_snr[first]:+.1f} to {self.log_snr[last]:+.1f}"
            rows.append((place, self.transitions[:, first:last].sum(1).mean()))
        rows += [("reconstruction", self.reconstruction.mean()), ("total", self.total.mean())]
        lines = [f"{name:<26}{float(value):>14.5f} nats" for name, value in rows]
        bits = float(self.bits_per_dimension.mean())
        told = f"standard error {self.mean_standard_error:.2g} nats, {len(self.prior)} samples, {self.draws} draws"
        return "\n".join([*lines, f"{bits:.5f} bits per dimension; {told}"])


@dataclass(frozen=True)
class LogProbability:
    """Estimates of log P of whole numbers, in nats: ``nats`` and ``standard_error`` (batch,), NaN of a single draw.

    Each is a lower bound in the mean. ``elements`` (batch,) is what bits per dimension are counted by, ``draws`` the
    number of places in the cell that were looked at.
    """

    nats: Tensor
    standard_error: Tensor
    elements: Tensor
    draws: int

    unit = "nats"

    @property
    def bits_per_dimension(self) -> Tensor:
        """-log2 P per element, (batch,)."""
        return bits_per_dimension(self.nats, self.elements)

    def __str__(self) -> str:
        """The mean over the batch, in both units."""
        return (
            f"log-probability {float(self.nats.mean()):.5f} nats, {float(self.bits_per_dimension.mean()):.5f} bits per "
            f"dimension; {len(self.nats)} samples, {self.draws} draws"
        )

"""Kernel distance: maximum mean discrepancy with the cubic kernel."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.metrics.base import Measurement, Metric, SampleSet, check_pair

__all__ = ["Kernel"]

_BLOCK = 16_000_000


def kernel_distance(samples: Float[Tensor, "n d"], reference: Float[Tensor, "m e"]) -> float:
    """Unbiased squared MMD with the cubic kernel; see :class:`Kernel`."""
    return Kernel().measure(SampleSet(samples), SampleSet(reference), Seeds.range(0, 0)).value


@dataclass(frozen=True)
class Kernel(Metric):
    r"""Squared maximum mean discrepancy with the kernel :math:`(x \cdot y / d + 1)^3`, unbiased (KID).

    .. math:: \frac{1}{n(n-1)} \sum_{i \neq j} k(x_i, x_j) + \frac{1}{m(m-1)} \sum_{i \neq j} k(y_i, y_j)
              - \frac{2}{nm} \sum_{ij} k(x_i, y_j)

    Sees the first three moments; its expectation is the same for any number of samples, and zero for equal laws,
    so that negative values are noise. A replicate of the bootstrap leaves out pairs of a sample with
    itself, else it would be biased.

    Reference: Bińkowski et al., Demystifying MMD GANs (2018); Gretton et al., A kernel
    two-sample test (2012), equation 3.
    """

    limits: ClassVar[tuple[float, float]] = (-float("inf"), float("inf"))
    floor_note: ClassVar[str] = "the floor's rows are in the reference too"

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        """Raises InputError where the feature lengths differ."""
        rows, real = samples.space("features"), reference.space("features")
        check_pair(rows, real)
        everyone = torch.ones(1, len(real), dtype=torch.float64)
        within_real = reference.remember("kernel within", lambda: _pairs(real, everyone).item())
        across = _across(rows, real)

        def resampled(counts: Tensor) -> Tensor:
            return _pairs(rows, counts) + within_real - 2 * counts @ across / counts.sum(1)

        value = resampled(torch.ones(1, len(rows), dtype=torch.float64)).item()
        return Measurement(value, resampled)


def _gram(first: Tensor, second: Tensor) -> Tensor:
    return (first @ second.T / first.shape[1] + 1) ** 3


def _across(rows: Tensor, real: Tensor) -> Tensor:
    """Each sample's mean kernel with the reference, (n,)."""
    return torch.cat([_gram(part, real).mean(1) for part in rows.split(max(1, _BLOCK // len(real)))])


def _pairs(rows: Tensor, counts: Tensor) -> Tensor:
    """The mean kernel over pairs of different rows, for each of the ``counts`` (replicates, n)."""
    size = max(1, _BLOCK // len(rows))
    total = torch.zeros(len(counts), dtype=torch.float64)
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        gram = _gram(rows[part], rows)
        here = torch.arange(len(gram))
        gram[here, here + start] = 0
        total += ((counts @ gram.T) * counts[:, part]).sum(1)
    return total / (counts.sum(1).square() - counts.square().sum(1))

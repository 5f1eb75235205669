"""Tokens on the pairs of a set: bonds between atoms, edges of a graph."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.processes.base import even_pairs
from unstir.processes.categorical import CategoricalProcess

__all__ = ["PairsProcess"]


@dataclass(frozen=True)
class PairsProcess(CategoricalProcess):
    """A chain on the class of every two elements of a set, the same whichever is named first.

    States are int64 (batch, n (n - 1) / 2): the classes of the pairs (0, 1), (0, 2), ..., (1, 2), ... of n elements,
    each pair once, so that nothing has to be kept symmetric. ``square`` shows them as a table of all against all,
    ``triangle`` goes back. Class 0 usually says that there is no bond. Of a padded set the pairs with a place that is
    not there are padded (``mask_of``).

    Reference: Vignac et al., DiGress: discrete denoising diffusion for graph generation (2023), section 3.1; Vignac et
    al., MiDi: mixed graph and 3D denoising diffusion for molecule generation (2023), section 4.
    """

    learned = "pairs"

    @classmethod
    def examples(cls) -> Mapping[str, "PairsProcess"]:
        """Members whose claims are measured."""
        return {"uniform": cls(3), "absorbing": cls(3, rates="absorbing")}

    def example_data(self, count: int) -> Tensor:
        """Three elements, hence three pairs."""
        first, second = (even_pairs(count) * self.classes).long().unbind(1)
        return torch.stack((first, second, (first + second) % self.classes), 1)

    def mask_of(self, mask: Tensor | None) -> Tensor | None:
        """Which pairs there are, boolean (batch, n (n - 1) / 2), where ``mask`` (batch, n) says which elements."""
        return None if mask is None else triangle(mask[:, :, None] & mask[:, None, :])


def elements_of(pairs: int) -> int:
    """Of how many elements there are so many pairs; InputError where it is no such number."""
    elements = round((1 + (1 + 8 * pairs) ** 0.5) / 2)
    if elements * (elements - 1) // 2 != pairs:
        raise InputError(f"a set of n elements has n (n - 1) / 2 pairs: 1, 3, 6, 10, ...; seen {pairs}")
    return elements


def triangle(table: Tensor) -> Tensor:
    """Each pair once, (batch, n (n - 1) / 2, ...), of a symmetric table (batch, n, n, ...)."""
    rows, columns = torch.triu_indices(table.shape[1], table.shape[1], 1, device=table.device)
    return table[:, rows, columns]


def square(pairs: Tensor) -> Tensor:
    """The symmetric table (batch, n, n, ...) of pairs (batch, n (n - 1) / 2, ...); zero on its diagonal."""
    elements = elements_of(pairs.shape[1])
    rows, columns = torch.triu_indices(elements, elements, 1, device=pairs.device)
    table = pairs.new_zeros(len(pairs), elements, elements, *pairs.shape[2:])
    table[:, rows, columns] = pairs
    table[:, columns, rows] = pairs
    return table

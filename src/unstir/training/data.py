"""What training asks of data: to be counted, named, hashed, and read in batches."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.core.state import State


@runtime_checkable
class Data(Protocol):
    """Samples that are ready for a network: encoded, of one shape, with their conditions.

    Any object with these members will do; no class needs to be derived from this one. Data on disk may have a further
    member ``locality``, (rows that are read together, rows that may be held at once), as in ``Addresses``.
    """

    @property
    def name(self) -> str:
        """What reports call this data."""
        ...

    @property
    def shape(self) -> Any:
        """Shape of one encoded sample, without the batch: ``(1, 8, 8)``; a mapping of them for a joint state."""
        ...

    @property
    def conditions(self) -> Mapping[str, Mapping[str, Any]]:
        """The conditions that ``batch`` gives, as networks take them.

        ``classes`` marks an integer label, ``size`` a vector, ``channels`` a map of the sample's size:
        ``{"label": {"classes": 10}, "augment": {"size": 9}}``.
        """
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of the content, in hexadecimal: equal for equal data, wherever it lies."""
        ...

    def __len__(self) -> int:
        """The number of samples."""
        ...

    def batch(self, rows: np.ndarray, seeds: Seeds | None = None) -> tuple[State, dict[str, Tensor]]:
        """The samples at ``rows`` and their conditions.

        rows: integers, shape (batch,), each from 0 to ``len(self) - 1``, in any order, repeats allowed.
        seeds: the addresses of the draws for augmentation, one a row; without them nothing is augmented
            (and a condition that tells of the augmentation is left out, which means "none").
        """
        ...

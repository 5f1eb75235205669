"""The cases of post-processing: forecasts with what came true, encoded as a network meets them."""

import hashlib
import json

import numpy as np
import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.domains.climate.scaling import Scaling
from unstir.domains.climate.tasks.post_processing.pairing import Pairs
from unstir.domains.climate.tasks.post_processing.predictors import Calibration, bounds_of, told_of, unbounded

COPIES = 8
"""Draws of what lies below a bound, for each case to train on."""
BY = 512
"""Cases that are read at a time."""
_KEPT = 1 << 20  # numbers of the targets up to which all that is told is computed once


class PostCases:
    """Forecasts of some rows with what came true, on their way to a network; rows of ``pairs``, several times over.

    Case k is row ``rows[k % len(rows)]`` with the draw number ``k // len(rows)`` of what is censored; there are
    ``copies`` of each.
    """

    def __init__(
        self, pairs: Pairs, rows: np.ndarray, calibration: Calibration, scaling: Scaling, copies: int, seed: int
    ) -> None:
        self.pairs, self.rows, self.calibration, self.scaling = pairs, rows, calibration, scaling
        self.copies, self.seed = copies, seed
        self.low = bounds_of(scaling)
        self._kept: tuple[Tensor, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.rows) * self.copies

    @property
    def times(self) -> np.ndarray:
        """When each case is valid, at its first lead."""
        return np.tile(self.pairs.valid(self.rows)[:, 0], self.copies)

    @property
    def starts(self) -> np.ndarray:
        """When each row was forecast."""
        return self.pairs.times[self.rows]

    @property
    def digest(self) -> str:
        """SHA-256 of the rows' values, of their ensembles and of what else is told."""
        told = hashlib.sha256(json.dumps([self.copies, self.seed, self.pairs.lags]).encode())
        told.update(self.rows.tobytes() + " ".join(map(str, self.starts)).encode())
        for first in range(0, len(self.rows), BY):
            rows = self.rows[first : first + BY]
            for part in (self.pairs.members, self.pairs.target, self.pairs.further, self.pairs.before):
                told.update(np.ascontiguousarray(part(rows)).tobytes())
        return told.hexdigest()

    def observed(self, rows: np.ndarray) -> np.ndarray:
        """What came true, as the file has it, (n, channels, *axes)."""
        return self.pairs.target(self.rows[np.asarray(rows) % len(self.rows)])

    def target(self, rows: np.ndarray) -> np.ndarray:
        """The same with draws of the latent law in place of what lies at a bound."""
        rows = np.asarray(rows, dtype=np.int64)
        values = self.observed(rows)
        if bool((self.low == -torch.inf).all()):
            return values
        encoded = self.scaling.encode(torch.from_numpy(values))
        numbers = torch.from_numpy(self.rows[rows % len(self.rows)] + (rows // len(self.rows)) * len(self.pairs.times))
        levels = Seeds(self.seed, numbers).at("climate", "latent").uniform(encoded.shape[1:])
        _, location, scale = self._law(rows)
        latent = self.calibration.full.latent(
            (location.flatten(1), scale.flatten(1)), encoded.flatten(1), levels.flatten(1)
        )
        return unbounded(self.scaling).decode(latent.reshape(encoded.shape)).numpy()

    def given(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What the network sees, and the centre of the belief."""
        given, location, _ = self._law(np.asarray(rows, dtype=np.int64))
        return {"given": given.numpy(), "centre": location.float().numpy()}

    def _law(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Given, location and scale of the cases; kept where they are few numbers."""
        own = rows % len(self.rows)
        if self._kept is None and len(self.rows) * int(np.prod(self.pairs.layout.shape)) <= _KEPT:
            pieces = [self._read(self.rows[first : first + BY]) for first in range(0, len(self.rows), BY)]
            given, location, scale = (torch.cat(parts) for parts in zip(*pieces, strict=True))
            self._kept = given, location, scale
        if self._kept is not None:
            given, location, scale = self._kept
            return given[own], location[own], scale[own]
        return self._read(self.rows[own])

    def _read(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        told = told_of(self.pairs, rows, self.scaling, self.calibration.season)
        return self.calibration.given(told, self.pairs.layout), *self.calibration.law(told)

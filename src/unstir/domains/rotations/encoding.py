"""Rotations as they are written, quaternions or matrices, to matrices and back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.processes import quaternions

FORMS = ("quaternion", "matrix")
SCALARS = ("last", "first")
_OFF = 1e-3  # that rounding may have left a rotation off


@dataclass(frozen=True)
class RotationEncoding:
    """How the rotations of a row are written.

    form: ``quaternion``, four numbers, the scalar ``last`` (x, y, z, w: SciPy's way) or ``first``; or ``matrix``, three
    by three, whose columns are the turned axes. count: rotations a row. single: whether the file had no axis for them.
    Quaternions come back with a scalar that is not negative, since q and -q are the same rotation.
    """

    form: str
    count: int
    scalar: str = "last"
    single: bool = True

    def __post_init__(self) -> None:
        for what, value, allowed in (("form of rotations", self.form, FORMS), ("scalar", self.scalar, SCALARS)):
            if value not in allowed:
                raise unknown(what, str(value), allowed)

    def encode(self, values: np.ndarray) -> Tensor:
        """Rotations (batch, ...) as they are written to float32 matrices (batch, count, 3, 3).

        Raises InputError, with the row, for what is no rotation to within a thousandth.
        """
        element = (4,) if self.form == "quaternion" else (3, 3)
        found = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
        found = found.reshape(len(values), self.count, *element)
        if self.form == "matrix":
            unit = torch.eye(3, dtype=torch.float64)
            off = (found.mT @ found - unit).abs().amax((-2, -1))
            off = torch.where(torch.linalg.det(found) > 0, off, torch.inf)
            what = "no rotation: its columns must be orthonormal and right-handed"
        else:
            off = (found.norm(dim=-1) - 1).abs()
            what = "no unit quaternion: its length must be 1"
        bad = (~(off <= _OFF)).any(1).nonzero()[:, 0]
        if len(bad):
            raise InputError(f"row {int(bad[0])} (of {len(bad)} such rows): {what}; mend it or leave it out")
        if self.form == "matrix":
            return quaternions.to_matrix(quaternions.from_matrix(found)).float()
        q = found if self.scalar == "first" else found.roll(1, -1)
        return quaternions.to_matrix(quaternions.normalised(q)).float()

    def decode(self, state: Tensor) -> np.ndarray:
        """Matrices (batch, count, 3, 3) to rotations as they are written, float64."""
        if tuple(state.shape[1:]) != (self.count, 3, 3):
            raise InputError(f"rotations of shape {tuple(state.shape[1:])}, but this data has {(self.count, 3, 3)}")
        q = quaternions.from_matrix(state.detach().cpu())
        written = q if self.scalar == "first" else q.roll(-1, -1)
        found = quaternions.to_matrix(q) if self.form == "matrix" else written
        return (found[:, 0] if self.single else found).numpy()

    def record(self) -> dict[str, Any]:
        """The encoding as plain values."""
        return asdict(self)


def restore(record: Mapping[str, Any]) -> RotationEncoding:
    """The encoding that ``record()`` came from."""
    return RotationEncoding(**record)

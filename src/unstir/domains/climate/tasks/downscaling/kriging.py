r"""A Gaussian field given linear readings of it: what no downscaling can beat."""

from functools import cached_property

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.climate.made.gaussian_field import FieldLaw

_ROUNDING = 1e-12  # of the largest eigenvalue: what is less is none


class Kriging:
    r"""The law of a field x given y = A x + e, with e normal of one ``noise`` deviation.

    With the covariance C and the gain :math:`K = CA^T(ACA^T + \sigma^2I)^{-1}`, x is normal with the mean
    :math:`m + K(y - Am)` and the covariance :math:`C - KAC`, which does not depend on y. ``operator`` A is (m, d).
    Raises InputError for one that does not fit the field.

    Reference: Cressie, Statistics for spatial data (1993), section 3.2; for the draws Journel, Huijbregts, Mining
    geostatistics (1978), chapter VII.
    """

    def __init__(self, law: FieldLaw, operator: Tensor, noise: float | int = 0.0) -> None:
        covariance = law.covariance()
        self.law, self.operator, self.noise = law, operator.double(), float(noise)
        if operator.ndim != 2 or operator.shape[1] != len(covariance):
            raise InputError(
                f"readings of a field of {len(covariance)} places need a matrix (m, {len(covariance)}); seen "
                f"{tuple(operator.shape)}"
            )
        seen = self.operator @ covariance
        told = seen @ self.operator.T + self.noise**2 * torch.eye(len(seen), dtype=torch.float64)
        self.gain = seen.T @ torch.linalg.pinv(told, rtol=_ROUNDING, hermitian=True)
        self._prior, self._seen = covariance, seen

    @cached_property
    def covariance(self) -> Tensor:
        """Of the places given a reading, (d, d)."""
        found = self._prior - self.gain @ self._seen
        return (found + found.T) / 2

    def mean(self, readings: Tensor) -> Tensor:
        """Given readings (n, m), the means (n, rows, columns)."""
        away = readings.double() - self.law.mean * self.operator.sum(1)
        return self.law.mean + (away @ self.gain.T).reshape(-1, *self.law.size)

    def draw(self, readings: Tensor, members: int, seed: int) -> Tensor:
        """Exact ensembles (n, members, rows, columns): free fields, each corrected by what it would have read.

        Member m of case i has the address i * members + m.
        """
        seeds = Seeds.range(seed, len(readings) * members).at("kriging")
        free = self.law.draw(seeds.at("field"))
        would = free.flatten(1) @ self.operator.T
        if self.noise:
            would = would + self.noise * seeds.at("noise").normal((len(self.operator),), torch.float64)
        missed = readings.double().repeat_interleave(members, 0) - would
        drawn = free + (missed @ self.gain.T).reshape(free.shape)
        return drawn.unflatten(0, (len(readings), members))

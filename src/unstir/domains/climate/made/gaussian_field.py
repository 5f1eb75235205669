r"""Gaussian random fields whose law is known: stationary on a periodic grid, isotropic on the sphere."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, NotInstalledError, unknown
from unstir.core.seeds import Seeds
from unstir.exact.gaussian import GaussianDenoiser
from unstir.processes.gaussian import GaussianProcess

SURFACES = ("torus", "sphere")
_LARGEST = 4096  # places; above, a covariance matrix of all of them is too much
_AT_ONCE = 256  # fields drawn at a time


@dataclass(frozen=True, eq=False)
class FieldLaw(ABC):
    """A Gaussian field on a grid of ``size`` = (rows, columns), of one ``mean`` and one ``deviation`` everywhere.

    Its correlations fall over the distance ``reach`` (to about 0.1 there) and are the smoother the larger
    ``smoothness`` is, as Matérn's. Raises InputError for numbers out of range.

    Reference: Lindgren, Rue, Lindström, An explicit link between Gaussian fields and Gaussian Markov random fields
    (2011), section 2.1.
    """

    size: tuple[int, int]
    reach: float | int
    smoothness: float | int = 1.0
    mean: float | int = 0.0
    deviation: float | int = 1.0

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 2:
            raise InputError(f"a field has at least 2 rows and 2 columns; seen the size {list(self.size)}")
        for name in ("reach", "smoothness", "deviation"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise InputError(f"a Gaussian field's {name} is positive and finite; seen {value}")

    @abstractmethod
    def draw(self, seeds: Seeds) -> Tensor:
        """Independent fields, float64 (batch, rows, columns)."""

    @abstractmethod
    def covariance(self) -> Tensor:
        """Between all places, row by row: float64 (rows * columns, rows * columns)."""

    def denoiser(
        self, process: GaussianProcess, shift: float | int = 0.0, scale: float | int = 1.0
    ) -> GaussianDenoiser:
        """The exact denoiser of (field - shift) / scale, as states (batch, 1, rows, columns)."""
        mean = torch.full((1, *self.size), (self.mean - shift) / scale, dtype=torch.float64)
        return GaussianDenoiser(mean, self.covariance() / scale**2, process)

    def _check_dense(self) -> None:
        if math.prod(self.size) > _LARGEST:
            raise InputError(
                f"the exact law of a field is for at most {_LARGEST} places; seen {self.size[0]} x {self.size[1]}"
            )


@dataclass(frozen=True, eq=False)
class TorusField(FieldLaw):
    r"""A stationary field on a grid whose edges meet; ``reach`` in cells.

    The Fourier modes k are independent, with variances :math:`S_k \propto (\kappa^2 + |k|^2)^{-(\nu+1)}`, where
    :math:`\kappa = \sqrt{8\nu}/\mathrm{reach}`; so the covariance is :math:`C(h) = \frac1n\sum_k S_k \cos(k\cdot h)`.

    Reference: Dietrich, Newsam, Fast and exact simulation of stationary Gaussian processes through circulant embedding
    of the covariance matrix (1997), section 2.
    """

    @cached_property
    def spectrum(self) -> Tensor:
        """S_k, float64 (rows, columns), in the order of the discrete Fourier transform; its mean is the variance."""
        rows, columns = (2 * math.pi * torch.fft.fftfreq(count, dtype=torch.float64) for count in self.size)
        squared = rows[:, None].square() + columns.square()
        power = (8 * self.smoothness / self.reach**2 + squared).pow(-(self.smoothness + 1))
        return self.deviation**2 * power / power.mean()

    def draw(self, seeds: Seeds) -> Tensor:
        parts = [
            torch.fft.ifft2(self.spectrum.sqrt() * torch.fft.fft2(part.normal(self.size).double())).real
            for part in _pieces(seeds)
        ]
        return self.mean + torch.cat(parts)

    def covariance(self) -> Tensor:
        self._check_dense()
        by_distance = torch.fft.ifft2(self.spectrum).real
        rows, columns = (torch.arange(count) for count in self.size)
        down = (rows[:, None] - rows) % self.size[0]
        along = (columns[:, None] - columns) % self.size[1]
        places = math.prod(self.size)
        return by_distance[down[:, None, :, None], along[None, :, None, :]].reshape(places, places)


@dataclass(frozen=True, eq=False)
class SphereField(FieldLaw):
    r"""An isotropic field on the sphere, at the centres of cells of latitude and longitude; ``reach`` in radians.

    It is band-limited: spherical harmonics up to ``degree`` L with independent normal coefficients of variances
    :math:`C_l \propto (\kappa^2 + l(l+1))^{-(\nu+1)}`, so that at an angle :math:`\gamma` the covariance is
    :math:`\sum_l \frac{2l+1}{4\pi} C_l P_l(\cos\gamma)`.

    Reference: Lang, Schwab, Isotropic Gaussian random fields on the sphere (2015), section 2; for the addition theorem
    Abramowitz, Stegun, Handbook of mathematical functions (1964), 8.7.3 and chapter 22.
    """

    degree: Any = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.degree, int) or not 0 <= self.degree <= 128:
            raise InputError(f"the degree of the harmonics is a whole number from 0 to 128; seen {self.degree}")

    @property
    def latitudes(self) -> np.ndarray:
        """Of the rows, from south to north, in degrees."""
        return (np.arange(self.size[0]) + 0.5) * 180 / self.size[0] - 90

    @property
    def longitudes(self) -> np.ndarray:
        """Of the columns, eastwards, in degrees from 0 to 360."""
        return (np.arange(self.size[1]) + 0.5) * 360 / self.size[1]

    @cached_property
    def power(self) -> np.ndarray:
        """C_l, float64 (L + 1,)."""
        degrees = np.arange(self.degree + 1)
        found = (8 * self.smoothness / self.reach**2 + degrees * (degrees + 1.0)) ** -(self.smoothness + 1)
        return self.deviation**2 * found / (found * (2 * degrees + 1) / (4 * math.pi)).sum()

    @cached_property
    def root(self) -> Tensor:
        """R with covariance R R^T: a column for each real harmonic, float64 (rows * columns, (L + 1)^2)."""
        from scipy.special import sph_harm_y

        turned, around = np.deg2rad(90 - self.latitudes)[:, None], np.deg2rad(self.longitudes)
        columns = []
        for degree in range(self.degree + 1):
            for order in range(degree + 1):
                harmonic = math.sqrt(self.power[degree]) * sph_harm_y(degree, order, turned, around)
                parts = (harmonic.real,) if order == 0 else (harmonic.real, harmonic.imag)
                columns += [part.ravel() * math.sqrt(len(parts)) for part in parts]
        return torch.from_numpy(np.stack(columns, axis=1))

    def draw(self, seeds: Seeds) -> Tensor:
        parts = []
        for part in _pieces(seeds):
            white = part.normal((1, self.root.shape[1])).double()
            # a product for every field: in one of all, rounding would depend on how many they are
            parts.append(torch.bmm(white, self.root.T.expand(len(white), -1, -1)))
        return self.mean + torch.cat(parts).reshape(-1, *self.size)

    def covariance(self) -> Tensor:
        self._check_dense()
        return self.root @ self.root.T


def _pieces(seeds: Seeds) -> list[Seeds]:
    return [seeds[start : start + _AT_ONCE] for start in range(0, max(len(seeds), 1), _AT_ONCE)]


def field_law(
    size: int | Sequence[Any] = (32, 32),
    surface: str = "torus",
    reach: float | int | None = None,
    smoothness: float | int = 1.0,
    mean: float | int = 283.0,
    deviation: float | int = 5.0,
    degree: Any = 12,
) -> FieldLaw:
    """The law of these options; ``reach`` by default 10 cells of a torus, 1 radian of a sphere."""
    if surface not in SURFACES:
        raise unknown("surface of a Gaussian field", str(surface), SURFACES)
    whole = (size, size) if isinstance(size, int) else tuple(size)
    if not all(isinstance(count, int) for count in whole):
        raise InputError(f"the size of a field is two whole numbers, rows and columns; seen {size}")
    own = (float(smoothness), float(mean), float(deviation))
    if surface == "sphere":
        return SphereField(whole, float(1.0 if reach is None else reach), *own, degree)  # type: ignore[arg-type]
    return TorusField(whole, float(10.0 if reach is None else reach), *own)  # type: ignore[arg-type]


def gaussian_field_dataset(count: int = 4000, seed: int = 0, variable: str = "temperature", **options: Any) -> Any:
    """``count`` independent days of a Gaussian field as an xarray Dataset: ``variable`` (time, y, x) in K.

    On a sphere the axes are latitude and longitude. ``options`` as in ``field_law``; ``law_of`` makes the law again
    from what is written in the dataset's attributes.
    """
    try:
        import xarray
    except ImportError as error:
        raise NotInstalledError("xarray", "climate", "a dataset of Gaussian fields") from error
    if not isinstance(count, int) or count < 1:
        raise InputError(f"a Gaussian field is drawn for at least 1 day; seen count: {count}")
    law = field_law(**options)
    values = law.draw(Seeds.range(seed, count).at("gaussian field")).numpy()
    if isinstance(law, SphereField):
        places = {
            "latitude": ("latitude", law.latitudes, {"units": "degrees_north", "standard_name": "latitude"}),
            "longitude": ("longitude", law.longitudes, {"units": "degrees_east", "standard_name": "longitude"}),
        }
    else:
        # cells of 25 km, as wide as a regional reanalysis has them
        places = {
            name: (name, 25.0 * np.arange(length), {"units": "km", "periodic": "true"})
            for name, length in zip(("y", "x"), law.size, strict=True)
        }
    times = np.datetime64("2000-01-01", "ns") + np.arange(count) * np.timedelta64(86_400_000_000_000, "ns")
    attributes = {"units": "K", "long_name": "Gaussian random field"}
    return xarray.Dataset(
        {variable: (("time", *places), values.astype(np.float32), attributes)},
        coords={"time": times, **places},
        attrs={"title": "A Gaussian random field, made by unstir", "gaussian_field": json.dumps(dict(options))},
    )


def law_of(attributes: Mapping[str, Any]) -> FieldLaw | None:
    """The law of a dataset with these attributes; None for one that was not made here."""
    told = attributes.get("gaussian_field")
    return None if told is None else field_law(**json.loads(told))

r"""The first stage of a downscaling: the mean of the fine field, by ridge regression on the coarse one."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unstir.core.errors import InputError
from unstir.domains.climate.tasks.downscaling.coarsening import Grids

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Tried on the validation part, in parts of the predictors' mean square."""

_LARGEST_LOCAL = 400_000  # coefficients that a run keeps in its record; above, they are shared
_AT_ONCE = 20_000_000  # numbers in memory at a time


@dataclass(frozen=True, eq=False)
class LocalRegression:
    r"""What an interpolation of the coarse field misses, as a linear map of the coarse values around each fine place.

    .. math:: \hat r_p = b_p + w_p^T (u_{c(p)+o})_o + v_p^T s

    with the coarse field u, the cell c(p) of the place p, offsets o up to ``radius`` along each axis, and phases s of
    the season and the hour. All at about unit scale; the weights shrink towards zero, and the mean with them towards
    the interpolation. ``shared``: places that lie alike within their cells have the same weights, as a stationary law
    asks for; else every place has its own, as mountains do. ``weights``: float64 (channels, kinds or places,
    features), the last feature the constant one.

    The residual is left to the diffusion model. A network in this stage's place would double the training, and what a
    linear mean misses the second stage may still learn, since it sees the coarse field too.

    Reference: Mardani et al., Residual corrective diffusion modeling for km-scale atmospheric downscaling (2023),
    section 3; Hoerl, Kennard, Ridge regression (1970).
    """

    grids: Grids
    weights: np.ndarray
    radius: int
    shared: bool
    penalty: float | int

    def __call__(self, coarse: np.ndarray, season: np.ndarray) -> np.ndarray:
        """Of coarse values (n, channels, *coarse) and seasons (n, s), the correction (n, channels, *fine)."""
        features = _features(self.grids, coarse, season, self.radius)
        found = np.empty((len(coarse), len(self.weights), self.grids.cells.size))
        if self.shared:
            told = np.einsum("ncf,vkf->nvkc", features, self.weights, optimize=True)
            found[:, :, _alike(self.grids)] = told
        else:
            for cells, places in _by_places(self.grids, features):
                found[:, :, places] = np.einsum("npf,vpf->nvp", features[:, cells], self.weights[:, places])
        return found.reshape(*found.shape[:2], *self.grids.fine_shape)

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "weights": self.weights.tolist(),
            "radius": self.radius,
            "shared": self.shared,
            "penalty": self.penalty,
        }

    @staticmethod
    def restored(grids: Grids, record: Mapping[str, Any]) -> "LocalRegression":
        """The regression that ``record()`` came from, between the same grids."""
        told = {key: value for key, value in record.items() if key != "weights"}
        return LocalRegression(grids, np.asarray(record["weights"], dtype=np.float64), **told)


Chunks = Callable[[], Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]]
"""Goes through a part once: what the interpolation misses (n, channels, *fine), coarse values and seasons, scaled."""


def fit_regression(
    grids: Grids,
    train: Chunks,
    validation: Chunks | None,
    *,
    radius: int = 2,
    shared: bool | None = None,
    penalty: float | int | None = None,
) -> LocalRegression:
    """Least squares over the training part; the penalty is that of ``PENALTIES`` which does best on the validation.

    ``shared`` is by default true where all axes are periodic, and where weights for each place would be too many to
    keep. Without validation and ``penalty`` the penalty is 1e-3. Missing targets are left out, on the assumption that
    what is missing does not depend on the coarse field. Raises InputError for options out of range.
    """
    if isinstance(radius, bool) or not isinstance(radius, int) or not 0 <= radius <= 4:
        raise InputError(f"`data.regression.radius: {radius!r}`: a whole number from 0 to 4 is needed, of coarse cells")
    if shared and grids.factor is None:
        raise InputError("`data.regression.shared` needs blocks: two grids without a whole factor have no like places")
    if penalty is not None and not penalty >= 0:
        raise InputError(f"`data.regression.penalty: {penalty}`: at least 0 is needed")
    _, first, season = next(iter(train()))
    features = first.shape[1] * (2 * radius + 1) ** len(grids.fine) + season.shape[1] + 1
    if shared is None:
        many = grids.cells.size * features > _LARGEST_LOCAL
        shared = grids.factor is not None and (many or all(axis.periodic for axis in grids.fine))
    if not shared and grids.cells.size * features > _LARGEST_LOCAL:
        raise InputError(
            f"weights of its own for each of {grids.cells.size} places are too many to keep; take a smaller "
            "`data.regression.radius`, or data of a smaller region"
        )
    options = (radius, shared)
    sums = _Sums.of(grids, train, *options)
    tried = (penalty,) if penalty is not None else PENALTIES if validation is not None else (1e-3,)
    fitted = [sums.solved(each) for each in tried]
    best = 0
    if len(tried) > 1 and validation is not None:
        apart = _Sums.of(grids, validation, *options)
        best = int(np.argmin([apart.loss(weights) for weights in fitted]))
    return LocalRegression(grids, fitted[best], *options, float(tried[best]))


@dataclass(eq=False)
class _Sums:
    """What least squares needs to know of a part: products of features, (groups, f, f), and with targets, (v, k, f)."""

    among: np.ndarray
    across: np.ndarray
    group: np.ndarray

    @classmethod
    def of(cls, grids: Grids, chunks: Chunks, radius: int, shared: bool) -> "_Sums":
        among = across = present = seen = 0.0
        order = _alike(grids) if shared else None
        for missed, coarse, season in _small(chunks(), grids, radius):
            features = _features(grids, coarse, season, radius)
            away = missed.reshape(*missed.shape[:2], -1)
            known = np.isfinite(away)
            away = np.where(known, away, 0.0)
            if order is not None:
                among = among + np.einsum("ncf,ncg->fg", features, features, optimize=True)[None]
                across = across + np.einsum("ncf,nvkc->vkf", features, away[:, :, order], optimize=True)
                present = present + known[:, :, order].sum(axis=(0, 3))
                seen += len(missed) * order.shape[1]
            else:
                among = among + np.einsum("ncf,ncg->cfg", features, features, optimize=True)
                across = across + np.einsum("npf,nvp->vpf", features[:, grids.cells], away, optimize=True)
                present = present + known.sum(axis=0)
                seen += len(missed)
        # as many equations as there are cases: the sums over those that are there stand for all
        across = np.asarray(across) * (seen / np.maximum(present, 1.0))[..., None]
        group = np.zeros(across.shape[1], dtype=np.int64) if shared else grids.cells
        return cls(np.asarray(among), across, group)

    def solved(self, penalty: float | int) -> np.ndarray:
        """The weights (v, k, f); the constant is free of the penalty."""
        size = self.among.shape[1]
        ridge = penalty * np.trace(self.among[:, :-1, :-1], axis1=1, axis2=2) / max(size - 1, 1)
        free = np.ones(size)
        free[-1] = 0.0
        # what the training part does not tell at all stays zero, whatever the penalty
        floor = 1e-12 * np.trace(self.among, axis1=1, axis2=2) / size
        matrices = self.among + (ridge[:, None] * free + floor[:, None])[:, None] * np.eye(size)
        inverse = np.linalg.inv(matrices)
        return np.einsum("kfg,vkg->vkf", inverse[self.group], self.across, optimize=True)

    def loss(self, weights: np.ndarray) -> float:
        """The sum of squared errors, less that of the targets."""
        quadratic = np.einsum("vkf,kfg,vkg->", weights, self.among[self.group], weights, optimize=True)
        return float(quadratic - 2 * (weights * self.across).sum())


def _features(grids: Grids, coarse: np.ndarray, season: np.ndarray, radius: int) -> np.ndarray:
    """For each cell the coarse values around it, the season and one: float64 (n, cells, features)."""
    around = coarse
    for place, axis in enumerate(grids.coarse):
        width = [(0, 0)] * around.ndim
        width[place + 2] = (radius, radius)
        around = np.pad(around, width, mode="wrap" if axis.periodic else "edge")
    axes = tuple(range(2, coarse.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(around, (2 * radius + 1,) * len(axes), axis=axes)
    # (n, channels, *coarse, *offsets)
    told = np.moveaxis(windows, 1, 1 + len(axes)).reshape(len(coarse), int(np.prod(grids.coarse_shape)), -1)
    rest = np.concatenate((season, np.ones((len(coarse), 1))), axis=1)
    return np.concatenate((told, np.broadcast_to(rest[:, None], (*told.shape[:2], rest.shape[1]))), axis=2)


def _alike(grids: Grids) -> np.ndarray:
    """The fine place of each kind (place within a block) in each cell, int64 (kinds, cells)."""
    return np.argsort(grids.cells, kind="stable").reshape(int(np.prod(grids.coarse_shape)), -1).T


def _by_places(grids: Grids, features: np.ndarray) -> Iterable[tuple[np.ndarray, slice]]:
    """Fine places in order, with their cells, so many at a time that the features of all fit in memory."""
    step = max(1, _AT_ONCE // (features.shape[0] * features.shape[2]))
    for first in range(0, grids.cells.size, step):
        part = slice(first, first + step)
        yield grids.cells[part], part


def _small(
    chunks: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], grids: Grids, radius: int
) -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The same cases, so few at a time that their features fit in memory."""
    for missed, coarse, season in chunks:
        features = coarse.shape[1] * (2 * radius + 1) ** len(grids.fine) + season.shape[1] + 1
        step = max(1, _AT_ONCE // (grids.cells.size * features))
        for first in range(0, len(missed), step):
            part = slice(first, first + step)
            yield missed[part], coarse[part], season[part]

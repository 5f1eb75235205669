"""Regressions of the next state on the last ones, by the same weights at every place."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError

RIDGE = 1e-6  # of the number of equations: shrinks towards the last state
_MOST = 3000  # weights for each channel
_DEGREES = (1, 2, 3)


@dataclass(frozen=True)
class StencilForecast:
    r"""The last state, and a polynomial of the past around each place; of degree 1 a vector autoregression.

    :math:`\hat x_{c,p} = x_{c,p}(t) + b_c + \sum_k w_{c,k} \prod_{i \in k} z_i`, where the z are
    :math:`x_{d,p+o}(t-h)/s_d` for every earlier state h, channel d and offset o up to ``radii`` along each axis; beyond
    an end that does not meet the beginning (``periodic``) the last value goes on. k are the monomials up to ``degree``.
    ``weights`` (channels, monomials), ``intercept`` and ``scale`` s (channels,): float64. Above degree 1 the z are kept
    within ``bound`` (channels,), what the training part has shown: powers of what was never seen would run away.

    Reference: Gauthier, Bollt, Griffith, Barbosa, Next generation reservoir computing (2021), eq. 5 to 7, for
    polynomials of lagged states; ridge regression by Hoerl, Kennard (1970).
    """

    weights: np.ndarray
    intercept: np.ndarray
    scale: np.ndarray
    bound: np.ndarray
    radii: tuple[int, ...]
    periodic: tuple[bool, ...]
    degree: int = 1

    def __call__(self, past: Tensor) -> Tensor:
        """Forecasts (n, channels, *axes) from past states (n, history, channels, *axes), the last one last.

        Sums are taken number by number: a forecast is the same to the bit, whichever others stand beside it.
        """
        weights, intercept = (torch.as_tensor(each, dtype=past.dtype) for each in (self.weights, self.intercept))
        column = (slice(None), *(None,) * (past.ndim - 3))
        found = past[:, -1] + intercept[column]
        for place, values in enumerate(self.monomials(past)):
            found += weights[:, place][column] * values[:, None]
        return found

    def monomials(self, past: Tensor) -> Iterator[Tensor]:
        """One after the other, each (n, *axes)."""
        column = (slice(None), *(None,) * (past.ndim - 3))
        scale, bound = (torch.as_tensor(each, dtype=past.dtype)[column] for each in (self.scale, self.bound))
        scaled = past / scale
        if self.degree > 1:
            scaled = torch.maximum(torch.minimum(scaled, bound), -bound)
        single = list(shifted(scaled, self.radii, self.periodic))
        yield from single
        for degree in range(2, self.degree + 1):
            for chosen in itertools.combinations_with_replacement(range(len(single)), degree):
                product = single[chosen[0]]
                for place in chosen[1:]:
                    product = product * single[place]
                yield product

    def multiplied(self, factors: np.ndarray) -> "StencilForecast":
        """The same forecast of states whose channels are multiplied by these factors, (channels,)."""
        return replace(
            self,
            weights=self.weights * factors[:, None],
            intercept=self.intercept * factors,
            scale=self.scale * factors,
        )

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else list(value) if name != "degree" else value
            for name, value in vars(self).items()
        }

    @staticmethod
    def restored(record: Mapping[str, Any]) -> "StencilForecast":
        """The forecast that ``record()`` came from."""
        weights, intercept, scale, bound = (
            np.asarray(record[name], dtype=np.float64) for name in ("weights", "intercept", "scale", "bound")
        )
        radii, periodic = tuple(record["radii"]), tuple(record["periodic"])
        return StencilForecast(weights, intercept, scale, bound, radii, periodic, record["degree"])


def shifted(past: Tensor, radii: Sequence[int], periodic: Sequence[bool]) -> Iterator[Tensor]:
    """The past's states, channels and neighbours one after the other, each (n, *axes)."""
    if past.ndim - 3 != len(radii):
        raise InputError(f"past states (n, history, channels, {len(radii)} axes) are needed; seen {tuple(past.shape)}")
    wide, sizes = past, past.shape[3:]
    for place, (radius, ring) in enumerate(zip(radii, periodic, strict=True)):
        index = torch.arange(-radius, sizes[place] + radius, device=past.device)
        index = index % sizes[place] if ring else index.clamp(0, sizes[place] - 1)
        wide = wide.index_select(3 + place, index)
    offsets = list(itertools.product(*(range(2 * radius + 1) for radius in radii)))
    for earlier, channel in itertools.product(range(past.shape[1]), range(past.shape[2])):
        for offset in offsets:
            values = wide[:, earlier, channel]
            for place, start in enumerate(offset):
                values = values.narrow(1 + place, start, sizes[place])
            yield values


def count_monomials(history: int, channels: int, radii: Sequence[int], degree: int) -> int:
    """How many weights each channel has; InputError where they are too many, or the degree is none."""
    from math import comb

    if degree not in _DEGREES:
        raise InputError(f"data.degree, of the regression, is one of {', '.join(map(str, _DEGREES))}; seen {degree!r}")
    single = history * channels * int(np.prod([2 * radius + 1 for radius in radii]))
    count = comb(single + degree, degree) - 1
    if count > _MOST:
        raise InputError(
            f"the regression would have {count} weights for each channel, more than {_MOST}: lower data.degree "
            f"({degree}), data.radius or data.history ({history})"
        )
    return count


def fit_stencil(
    pairs: Iterable[tuple[Tensor, Tensor]],
    scale: np.ndarray,
    bound: np.ndarray,
    radii: Sequence[int],
    periodic: Sequence[bool],
    degree: int = 1,
    ridge: float = RIDGE,
) -> StencilForecast:
    """Ridge regression of (target - last state) on the past, places and times alike as equations, read once each.

    pairs: past (n, history, channels, *axes) and target (n, channels, *axes); equations with a missing value are left
    out. ``scale`` and ``bound`` as the forecast has them. Raises InputError where no equation is whole.
    """
    bare = StencilForecast(np.zeros((0, 0)), np.zeros(0), scale, bound, tuple(radii), tuple(periodic), degree)
    square, right, count = None, None, 0
    for past, target in pairs:
        features = torch.stack([each.flatten() for each in bare.monomials(past.double())], 1)
        features = torch.cat((features, torch.ones_like(features[:, :1])), 1)
        change = (target - past[:, -1]).double().movedim(1, -1).flatten(0, -2)
        whole = features.isfinite().all(1) & change.isfinite().all(1)
        features, change = features[whole], change[whole]
        square = features.T @ features + (0 if square is None else square)
        right = features.T @ change + (0 if right is None else right)
        count += len(features)
    if square is None or right is None or not count:
        raise InputError("no states in a row without missing values: there is nothing to fit a regression to")
    penalty = torch.full((len(square),), ridge * count, dtype=torch.float64)
    penalty[-1] = 1e-12 * count  # the intercept is free, as far as a solver lets it be
    solved = torch.linalg.solve(square + torch.diag(penalty), right)
    return replace(bare, weights=solved[:-1].T.contiguous().numpy(), intercept=solved[-1].numpy())

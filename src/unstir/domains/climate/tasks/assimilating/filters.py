r"""Classical filters to measure by: ensemble Kalman, bootstrap particle filter, optimal interpolation.

All estimate states x_k (n,) of a known or learned model from readings y_k = H x_k + e_k, e_k normal with covariance R;
``forecast(ensemble, number, seeds)`` moves members (m, n) from analysis ``number - 1`` to the time of reading
``number``. Everything is float64, and drawn from addressed seeds, one address a member.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds

Forecast: TypeAlias = Callable[[Tensor, int, Seeds], Tensor]


@dataclass(frozen=True)
class Readings:
    """What was read at times 0, 1, ...: ``values`` (times, m), NaN where nothing was; ``operator`` (m, n).

    ``deviation``: of the readings' normal noise, () or (m,), in the readings' unit.
    Raises InputError for shapes that do not agree or a deviation that is not positive.
    """

    values: Tensor
    operator: Tensor
    deviation: Tensor

    def __post_init__(self) -> None:
        values, operator = (torch.as_tensor(part, dtype=torch.float64) for part in (self.values, self.operator))
        deviation = torch.as_tensor(self.deviation, dtype=torch.float64)
        if values.ndim != 2 or operator.ndim != 2 or values.shape[1] != len(operator):
            raise InputError(
                f"readings are (times, m) and their operator (m, n); seen {tuple(values.shape)} and "
                f"{tuple(operator.shape)}"
            )
        if bool(values.isinf().any()) or not bool(operator.isfinite().all()):
            raise InputError("readings are finite, or NaN where nothing was read, and their operator is finite")
        if deviation.shape not in ((), (len(operator),)) or not bool(
            (deviation > 0).all() & deviation.isfinite().all()
        ):
            raise InputError(
                f"the deviation of readings is a positive number, or one for each of the {len(operator)}; seen "
                f"{deviation.tolist()}"
            )
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "operator", operator)
        object.__setattr__(self, "deviation", deviation.expand(len(operator)))

    def __len__(self) -> int:
        return len(self.values)

    def at(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """What was read at one time: rows of the operator (r, n), values and deviations (r,)."""
        there = ~self.values[number].isnan()
        return self.operator[there], self.values[number][there], self.deviation[there]


@dataclass(frozen=True)
class Analyses:
    """Ensembles after each reading, (times, members, n), of one weight each, and their means (times, n)."""

    ensembles: Tensor
    means: Tensor


def cycled(
    start: Tensor,
    forecast: Forecast,
    readings: Readings,
    analyse: Callable[[Tensor, int, Seeds], tuple[Tensor, Tensor]],
    seeds: Seeds,
    kept: int | None = None,
) -> Analyses:
    """Analysis, forecast, analysis, ...: ``start`` (members, n) is the ensemble before the first reading.

    ``analyse(ensemble, number, seeds)`` gives the ensemble after a reading, and its mean. ``kept`` members of each are
    kept, the first ones, all by default.
    """
    if start.ndim != 2 or len(start) != len(seeds) or start.shape[1] != readings.operator.shape[1]:
        raise InputError(
            f"an ensemble (members, {readings.operator.shape[1]}) is needed, with one address for each member; seen "
            f"{tuple(start.shape)} and {len(seeds)} addresses"
        )
    ensemble, found, means = start.double(), [], []
    for number in range(len(readings)):
        if number:
            ensemble = forecast(ensemble, number, seeds.at("forecast", number))
        ensemble, mean = analyse(ensemble, number, seeds.at("analysis", number))
        if not bool(ensemble.isfinite().all()):
            raise NonFiniteError(f"the ensemble left the finite numbers at reading {number}: take more members")
        found.append(ensemble[:kept])
        means.append(mean)
    return Analyses(torch.stack(found), torch.stack(means))


def ensemble_kalman(
    start: Tensor,
    forecast: Forecast,
    readings: Readings,
    seeds: Seeds,
    inflation: float = 1.0,
    taper: Tensor | None = None,
    kept: int | None = None,
) -> Analyses:
    r"""The ensemble Kalman filter with perturbed readings: x + K (y + e - H x), K = P H^T (H P H^T + R)^-1.

    ``inflation`` multiplies the members' distances from their mean before the analysis. ``taper`` (n, n), correlations
    that fall to zero with the distance (``gaspari_cohn``), multiply the sample covariance P.

    Reference: Burgers, van Leeuwen, Evensen, Analysis scheme in the ensemble Kalman filter (1998); Houtekamer,
    Mitchell, A sequential ensemble Kalman filter for atmospheric data assimilation (2001) for the taper.
    """

    def analyse(ensemble: Tensor, number: int, each: Seeds) -> tuple[Tensor, Tensor]:
        operator, values, deviation = readings.at(number)
        mean = ensemble.mean(0)
        ensemble = mean + inflation * (ensemble - mean)
        if not len(values):
            return ensemble, mean
        covariance = sample_covariance(ensemble, taper)
        noise = deviation * each.normal((len(values),), torch.float64)
        noise = noise - noise.mean(0)  # the mean is moved by the readings, and not by what they are perturbed with
        gain = _gain(covariance, operator, deviation)
        moved = ensemble + (values + noise - ensemble @ operator.T) @ gain.T
        return moved, moved.mean(0)

    return cycled(start, forecast, readings, analyse, seeds, kept)


def particle_filter(
    start: Tensor,
    forecast: Forecast,
    readings: Readings,
    seeds: Seeds,
    threshold: float = 0.2,
    jitter: float = 0.9,
    kept: int | None = None,
) -> Analyses:
    """The bootstrap particle filter: members weighed by the likelihood of each reading, and resampled.

    They are drawn anew (systematically) where the effective sample size falls below ``threshold`` of them, and then
    moved by normal numbers with ``jitter`` times the width of a kernel estimate, m^(-1/(n + 4)) deviations of the
    ensemble. The means are weighted; the ensembles are draws of one weight each.

    Reference: Gordon, Salmond, Smith, Novel approach to nonlinear/non-Gaussian Bayesian state estimation (1993);
    Musso, Oudjane, Le Gland, Improving regularised particle filters (2001).
    """
    weights = torch.full((len(start),), -math.log(len(start)), dtype=torch.float64)

    def analyse(ensemble: Tensor, number: int, each: Seeds) -> tuple[Tensor, Tensor]:
        nonlocal weights
        operator, values, deviation = readings.at(number)
        away = (values - ensemble @ operator.T) / deviation
        weights = (weights - away.square().sum(1) / 2).log_softmax(0)
        shares = weights.exp()
        mean = shares @ ensemble
        if float(shares.square().sum()) * len(ensemble) * threshold <= 1:
            return ensemble, mean
        spread = ensemble - mean
        root = _root((shares[:, None] * spread).T @ spread)
        ensemble = ensemble[systematic(shares, replace(each, samples=each.samples[:1]))]
        width = jitter * len(ensemble) ** (-1 / (ensemble.shape[1] + 4))
        weights = torch.full_like(weights, -math.log(len(ensemble)))
        return ensemble + width * each.normal((ensemble.shape[1],), torch.float64) @ root.T, mean

    unequal: list[Tensor] = []

    def settled(ensemble: Tensor, number: int, each: Seeds) -> tuple[Tensor, Tensor]:
        moved, mean = analyse(ensemble, number, each)
        first = replace(each, samples=each.samples[:1]).at("settled")
        # what is kept are draws of one weight, in an order that says nothing: the first of them are any of them
        rows = systematic(weights.exp(), first)[first.at("order").generator().permutation(len(moved))]
        unequal.append(moved[rows][:kept])
        return moved, mean

    found = cycled(start, forecast, readings, settled, seeds, 1)
    return Analyses(torch.stack(unequal), found.means)


def optimal_interpolation(mean: Tensor, covariance: Tensor, readings: Readings, members: int, seeds: Seeds) -> Analyses:
    """Each reading by itself with the climate's ``mean`` (n,) and ``covariance`` (n, n): what knows no dynamics.

    Draws from the normal law given each reading, ``members`` a time; the means are exact.

    Reference: Gandin, Objective analysis of meteorological fields (1963).
    """
    means, found = [], []
    for number in range(len(readings)):
        operator, values, deviation = readings.at(number)
        gain = _gain(covariance, operator, deviation)
        left = torch.eye(len(mean), dtype=torch.float64) - gain @ operator
        after = left @ covariance @ left.T + (gain * deviation.square()) @ gain.T  # Joseph's form stays positive
        means.append(mean + gain @ (values - operator @ mean))
        drawn = seeds.at("interpolation", number).normal((len(mean),), torch.float64)[:members]
        found.append(means[-1] + drawn @ _root(after).T)
    return Analyses(torch.stack(found), torch.stack(means))


def systematic(shares: Tensor, seeds: Seeds) -> Tensor:
    """As many numbers of members as there are ``shares``, each about as often as its share says; (m,), rising."""
    count = len(shares)
    places = (torch.arange(count, dtype=torch.float64) + seeds.at("systematic").uniform()) / count
    ends = shares.cumsum(0)
    return torch.searchsorted(ends / ends[-1], places).clamp(max=count - 1)


def gaspari_cohn(distances: Tensor, radius: float) -> Tensor:
    """Correlations that fall from 1 to exactly 0 at twice the ``radius``; nearly normal with deviation 0.55 radius.

    Reference: Gaspari, Cohn, Construction of correlation functions in two and three dimensions (1999), eq. 4.10.
    """
    z = (distances.double() / radius).abs()
    near = -(z**5) / 4 + z**4 / 2 + 5 * z**3 / 8 - 5 * z**2 / 3 + 1
    safe = z.clamp(min=1e-9)
    far = z**5 / 12 - z**4 / 2 + 5 * z**3 / 8 + 5 * z**2 / 3 - 5 * z + 4 - 2 / (3 * safe)
    return torch.where(z <= 1, near, torch.where(z < 2, far, 0.0)).clamp(min=0)


def ring_taper(size: int, radius: float) -> Tensor:
    """Gaspari and Cohn's correlations between the places of a ring, (size, size); no covariance unless 4 r < size."""
    away = (torch.arange(size)[:, None] - torch.arange(size)).abs()
    return gaspari_cohn(away.minimum(size - away), radius)


def sample_covariance(ensemble: Tensor, taper: Tensor | None = None) -> Tensor:
    """Of members (m, n), with the divisor m - 1; times the ``taper`` where one is given."""
    away = ensemble - ensemble.mean(0)
    covariance = away.T @ away / (len(ensemble) - 1)
    return covariance if taper is None else covariance * taper


def _gain(covariance: Tensor, operator: Tensor, deviation: Tensor) -> Tensor:
    seen = operator @ covariance
    total = seen @ operator.T + torch.diag(deviation.square())
    return torch.linalg.solve(total, seen).T


def _root(covariance: Tensor) -> Tensor:
    """R with R R^T the covariance."""
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    return vectors * values.clamp(min=0).sqrt()

r"""What a raw ensemble tells: the classical post-processing of it, and all that a network is shown beside that.

Everything is on the scale of the encoding (of rain: square roots, centred), where laws are about normal. EMOS by the
ensemble's mean and spread, the season and the last values gives the ``centre`` of the belief; the network sees the
sorted members (quantiles of a large ensemble), the same predictors, and EMOS's own location and scale, and learns what
EMOS misses: shape, dependence between places, and interplay of predictors.

Where values heap at a bound (rain: at zero), the state is EMOS's latent variable: a value at the bound becomes a draw
of the latent law below it, so that what is learnt has a smooth law and no heap; decoding gives all below the bound back
as the bound. The law above the bound, and the mass at it, are unchanged whatever is drawn below.

Reference: Gneiting et al. (2005), see ``emos``; Tobin, Estimation of relationships for limited dependent variables
(1958), and Wei, Tanner, A Monte Carlo implementation of the EM algorithm (1990), for imputing what is censored.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.domains.climate.emos import Emos, fit_emos
from unstir.domains.climate.scaling import Scaling
from unstir.domains.climate.tasks.post_processing.pairing import Pairs
from unstir.domains.climate.windows import harmonics

_MOST_SORTED = 16  # members; of more, quantiles are shown
_QUANTILES = 11
PENALTIES = (0.0, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Told:
    """What is known of n cases, on the encoding's scale: all float64 (n, k, *axes), or (n, channels, *axes)."""

    mean: Tensor
    spread: Tensor
    quantiles: Tensor
    shared: Tensor
    """Season, last values and further predictors, spread over the axes."""


@dataclass(frozen=True)
class Calibration:
    """EMOS by the mean and spread alone (``plain``), and by all predictors (``full``); the norms of what is shown."""

    plain: Emos
    full: Emos
    shared_norm: Tensor
    season: int

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "plain": self.plain.record(),
            "full": self.full.record(),
            "shared_norm": self.shared_norm.tolist(),
            "season": self.season,
        }

    @staticmethod
    def restored(record: Mapping[str, Any]) -> "Calibration":
        """What ``record()`` came from."""
        norm = torch.tensor(record["shared_norm"], dtype=torch.float64).reshape(2, -1)
        return Calibration(Emos.restored(record["plain"]), Emos.restored(record["full"]), norm, record["season"])

    def law(self, told: Told, plain: bool = False) -> tuple[Tensor, Tensor]:
        """Location and scale of the latent law, each (n, channels, *axes)."""
        chosen = self.plain if plain else self.full
        location, scale = chosen.law(*_design(told, self.shared_norm, plain))
        return location.reshape(told.mean.shape), scale.reshape(told.mean.shape)

    def given(self, told: Told, layout: Any) -> Tensor:
        """What the network sees, float32 (n, k, *axes): about unit scale."""
        location, scale = self.law(told)
        shared = _normed(told.shared, self.shared_norm)
        parts = [location, scale.log(), told.mean, told.spread.clamp(max=10.0), told.quantiles, shared]
        if (lead := layout.axis("lead")) is not None:
            values = np.asarray(lead.values, dtype=np.float64)
            along = torch.from_numpy((values - values.mean()) / max(values.std(), 1e-9))
            place = [axis.name for axis in layout.axes].index("lead")
            shape = [1] * (told.mean.ndim)
            shape[place + 2] = len(values)
            parts.append(along.reshape(shape).expand(len(location), 1, *told.mean.shape[2:]))
        return torch.cat(parts, 1).float()


def told_of(pairs: Pairs, rows: np.ndarray, scaling: Scaling, season: int) -> Told:
    """What is known of the cases ``rows``."""
    members = torch.from_numpy(pairs.members(rows))
    count, size = members.shape[:2]
    encoded = scaling.encode(members.flatten(0, 1)).unflatten(0, (count, size))
    mean = encoded.mean(1)
    spread = encoded.std(1) if size > 1 else torch.zeros_like(mean)
    if size <= _MOST_SORTED:
        quantiles = encoded.sort(1).values
    else:
        levels = torch.linspace(0, 1, _QUANTILES, dtype=torch.float64)
        quantiles = torch.quantile(encoded, levels, dim=1).transpose(0, 1)
    shared = [torch.from_numpy(pairs.further(rows))]
    before = torch.from_numpy(pairs.before(rows))
    axes = pairs.layout.shape[1:]
    if before.shape[1]:
        lead = [axis.name for axis in pairs.layout.axes].index("lead") if pairs.layout.axis("lead") else None
        if before.ndim - 2 < len(axes) and lead is not None and before.ndim - 2 == len(axes) - 1:
            before = before.unsqueeze(lead + 2)
        shared.append(before.expand(*before.shape[:2], *axes))
    if season:
        waves = torch.from_numpy(harmonics(pairs.times[np.asarray(rows)], season)).double()
        shared.append(waves.reshape(*waves.shape, *(1,) * len(axes)).expand(*waves.shape, *axes))
    return Told(mean, spread, quantiles.flatten(1, 2), torch.cat(shared, 1))


def calibration_of(
    pairs: Pairs, train: np.ndarray, choose: np.ndarray, scaling: Scaling, low: Tensor, season: int
) -> Calibration:
    """EMOS fitted to the rows ``train``; the penalty of its many predictors is chosen by the CRPS of ``choose``.

    low: of each channel, on the encoding's scale.
    """
    told, target = told_of(pairs, train, scaling, season), _encoded(pairs, train, scaling)
    shared = told.shared
    lasting = (0, *range(2, shared.ndim))
    if shared.shape[1]:
        deviation = shared.std(lasting, correction=0)
        norm = torch.stack((shared.mean(lasting), torch.where(deviation > 1e-9, deviation, torch.ones_like(deviation))))
    else:
        norm = torch.zeros(2, 0, dtype=torch.float64)
    bounds = low.reshape(-1, *(1,) * (target.ndim - 2)).expand(target.shape[1:]).flatten()
    flat = torch.maximum(target.flatten(1), bounds)
    plain = fit_emos(*_design(told, norm, True), flat, bounds)
    penalties = PENALTIES if len(choose) else PENALTIES[1:2]
    laws = [fit_emos(*_design(told, norm, False), flat, bounds, penalty) for penalty in penalties]
    best = 0
    if len(choose):
        later, outcome = told_of(pairs, choose, scaling, season), _encoded(pairs, choose, scaling).flatten(1)
        scores = [_mean_crps(law, _design(later, norm, False), outcome, bounds) for law in laws]
        best = int(np.argmin(scores))
    return Calibration(plain, laws[best], norm, season)


def _encoded(pairs: Pairs, rows: np.ndarray, scaling: Scaling) -> Tensor:
    return scaling.encode(torch.from_numpy(pairs.target(rows)))


def _mean_crps(law: Emos, design: tuple[Tensor, Tensor], outcome: Tensor, bounds: Tensor) -> float:
    from unstir.domains.climate.emos import normal_crps

    score = normal_crps(*law.law(*design), torch.maximum(outcome, bounds), bounds)
    return float(score.nanmean())


def _normed(shared: Tensor, norm: Tensor) -> Tensor:
    shape = (1, -1, *(1,) * (shared.ndim - 2))
    return (shared - norm[0].reshape(shape)) / norm[1].reshape(shape)


def _design(told: Told, norm: Tensor, plain: bool) -> tuple[Tensor, Tensor]:
    """Predictors of location and of scale, (n, places, p) and (n, places, q)."""
    location, scale = [told.mean[..., None]], [told.spread[..., None]]
    if not plain:
        shared = _normed(told.shared, norm)
        every = shared.movedim(1, -1)[:, None].expand(*told.mean.shape, shared.shape[1])
        location.append(every)
        scale += [told.mean[..., None], every]
    return tuple(torch.cat(parts, -1).flatten(1, -2) for parts in (location, scale))  # type: ignore[return-value]


def unbounded(scaling: Scaling) -> Scaling:
    """The same maps, decoding below the bounds as well: where latent values live."""
    return Scaling(tuple({key: value for key, value in each.items() if key != "censored"} for each in scaling.channels))


def bounds_of(scaling: Scaling) -> Tensor:
    """Of each channel, its bound on the encoding's scale; -inf for none."""
    found = []
    for place, each in enumerate(scaling.channels):
        if each.get("censored") is None:
            found.append(-math.inf)
            continue
        one = torch.full((1, len(scaling.channels)), float(each["censored"]), dtype=torch.float64)
        found.append(float(scaling.encode(one)[0, place]))
    return torch.tensor(found, dtype=torch.float64)

"""Every case's scores, from which measures, their intervals and the scorecard follow."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.domains.climate.forecasts import Forecasts

_JOINT = 100  # numbers of a case at one lead of which the joint scores are taken, spread evenly
_AT_ONCE = 2**24  # numbers of an ensemble scored together


@dataclass(frozen=True)
class Scored:
    """The scores of one ensemble: float64 (cases, leads, channels), means over places by area; NaN where none is seen.

    ``squared_error`` is of the ensemble's mean, ``variance`` the members' times (M + 1)/M, as the error of a mean of M
    has it. ``energy`` and ``variogram`` are of all channels and places of a lead together, (cases, leads, 1). Several
    channels are in units of their climatological deviation. ``probability`` and ``event``: what was foretold of the
    climatological quantile being passed and whether it was, (cases, leads, channels * places). ``ranks``: of the
    observations among the members, (cases, leads, channels, places), -1 where none was made.
    """

    members: int
    crps: Tensor
    squared_error: Tensor
    variance: Tensor
    brier: Tensor
    energy: Tensor
    variogram: Tensor
    probability: Tensor
    event: Tensor
    ranks: Tensor

    @property
    def leads(self) -> int:
        """How many leads there are."""
        return self.crps.shape[1]

    def at_lead(self, lead: int) -> "Scored":
        """The scores of one lead alone."""
        return replace(self, **{name: getattr(self, name)[:, lead : lead + 1] for name in _TENSORS})


_TENSORS = [each.name for each in fields(Scored) if each.name != "members"]


def scored(forecasts: Forecasts, name: str, quantile: float, seeds: Seeds) -> Scored:
    """The scores of the ensemble of that name; ``quantile`` of the climatology bounds the event."""
    scale = deviations(forecasts)
    bound = thresholds(forecasts, quantile)
    weights = torch.from_numpy(forecasts.layout.weights()).reshape(-1)
    ensemble, observed = forecasts.ensembles[name], forecasts.observed
    ensemble = ensemble.reshape(*ensemble.shape[:4], -1)
    observed = observed.reshape(*observed.shape[:3], -1)
    cases = max(1, _AT_ONCE // max(1, ensemble[0].numel()))
    parts = [
        _scored(ensemble[first : first + cases], observed[first : first + cases], bound, scale, weights, seeds, first)
        for first in range(0, len(ensemble), cases)
    ]
    return Scored(ensemble.shape[1], **{each: torch.cat([part[each] for part in parts]) for each in _TENSORS})


def _scored(
    ensemble: Tensor, observed: Tensor, bound: Tensor, scale: Tensor, weights: Tensor, seeds: Seeds, first: int
) -> dict[str, Tensor]:
    """Of some cases: ensemble (cases, members, leads, channels, places), observed (cases, leads, channels, places)."""
    from unstir.scores.brier import brier_fair
    from unstir.scores.crps import crps
    from unstir.scores.energy import energy_score
    from unstir.scores.ranks import ranks
    from unstir.scores.variogram import variogram_score

    members = ensemble.shape[1]
    by_place = scale[:, None]
    shares = weights / weights.sum()

    def mean(values: Tensor) -> Tensor:
        seen = ~values.isnan()
        total = (torch.where(seen, values, 0.0) * shares).sum(-1)
        return total / (seen * shares).sum(-1)  # NaN where nothing is seen

    error = ensemble.mean(1) - observed
    factor = (members + 1) / members if members > 1 else torch.nan  # one member has no spread
    spread = factor * ensemble.var(1, correction=min(1, members - 1))
    event = torch.where(observed.isnan(), torch.nan, (observed > bound).double())
    hits = (ensemble > bound).double()
    scaled, truth = ensemble / by_place, observed / by_place
    places = torch.arange(observed[0, 0].numel())[:: max(1, observed[0, 0].numel() // _JOINT)]
    flat, flat_truth = scaled.flatten(3)[..., places], truth.flatten(2)[..., places]
    even = (shares.expand(scale.shape[0], -1).flatten()[places]).clamp(min=1e-12)
    energy, variogram = [], []
    for lead in range(ensemble.shape[2]):
        energy.append(energy_score(flat[:, :, lead], flat_truth[:, lead], weights=even / even.sum()))
        variogram.append(variogram_score(flat[:, :, lead], flat_truth[:, lead]) / len(places) ** 2)
    own = Seeds.range(seeds.seed, len(ensemble), first).at("ranks", members)
    return {
        "crps": mean(crps(ensemble, observed) / by_place),
        "squared_error": mean((error / by_place).square()),
        "variance": mean(torch.where(observed.isnan(), torch.nan, spread) / by_place.square()),
        "brier": mean(brier_fair(hits, event)),
        "energy": torch.stack(energy, 1)[..., None],
        "variogram": torch.stack(variogram, 1)[..., None],
        "probability": hits.mean(1).flatten(2),
        "event": event.flatten(2),
        "ranks": ranks(ensemble, observed, own),
    }


def deviations(forecasts: Forecasts) -> Tensor:
    """What each channel's scores are divided by, (channels,): its climate's deviation where there are several."""
    values = forecasts.climatology
    if values.shape[1] == 1:
        return torch.ones(1, dtype=torch.float64)
    flat = values.transpose(0, 1).flatten(1).double()
    return torch.stack([part[~part.isnan()].std() for part in flat])


def thresholds(forecasts: Forecasts, quantile: float) -> Tensor:
    """The climatological quantile of every channel and place, (channels, places or 1)."""
    values = forecasts.climatology.double()
    values = values.flatten(2) if values.ndim > 2 else values[..., None]
    return torch.nanquantile(values, quantile, dim=0)

"""Claims of post-processing's ground: EMOS's score and fit, and the imputing of what is censored; domain `climate`."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from unstir.domains.climate.emos import fit_emos, normal_crps
from unstir.domains.climate.made.station_rain import exact_ensemble, station_rain_dataset
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most, mean_is

__all__ = ["climate_calibration", "climate_rain_law"]

_DEVIATIONS = 6.0  # of a quadratic form's noise: rarer than one in ten million for the few coefficients here


@claim("domains", "climate")
def climate_calibration(domain: Any, effort: Effort) -> Iterator[Measured]:
    """EMOS's CRPS is E|X - y| - E|X - X'| / 2 of draws, its fit finds a censored law, and imputing keeps that law."""
    count = effort.of(4000, 40000)
    seeds = effort.seeds(count, "emos")
    location, scale, y = 0.3, 1.4, 0.8
    first, second = (
        (location + scale * seeds.at(name).normal((), torch.float64)).clamp(min=0) for name in ("first", "second")
    )
    told = [torch.tensor(each, dtype=torch.float64) for each in (location, scale, y)]
    draws = (first - y).abs() - (first - second).abs() / 2
    yield mean_is("censored CRPS of draws", draws.numpy(), normal_crps(told[0], told[1], told[2], 0.0).item())

    a, b, observed, latent, law = _censored(seeds)
    found = fit_emos(a, b, observed, torch.zeros(1, dtype=torch.float64))
    own_location, own_scale = found.law(a, b)
    # regret of a least-CRPS fit is about (coefficients / n) of the score: five coefficients, six deviations
    exact = normal_crps(*law, observed, 0.0)
    regret = exact.mean() - normal_crps(own_location, own_scale, observed, found.low).mean()
    yield at_most("score of the truth above the fit's, beyond what five coefficients buy", -float(regret), 1e-9)
    yield at_most("score of the truth below the fit's", float(regret), _bought(exact, 5))
    levels = seeds.at("levels").uniform((1,))
    imputed = found.latent(law, observed, levels)
    dry = (observed <= 0)[:, 0]
    yield mean_is("imputed less latent, dry cases", (imputed - latent)[dry].numpy(), 0.0)
    yield mean_is("their squares", (imputed.square() - latent.square())[dry].numpy(), 0.0)
    yield at_most("what is not censored, changed", (imputed - observed)[~dry].abs().max(), 0.0)


@claim("domains", "climate")
def climate_rain_law(domain: Any, effort: Effort) -> Iterator[Measured]:
    """The law that the station's rain is made by is the one that is drawn from as exact: its ranks are uniform."""
    data = station_rain_dataset(count=effort.of(1000, 5000), seed=3)
    raw, rain = torch.from_numpy(data["rainfc"].values), torch.from_numpy(data["rain"].values)
    seeds = effort.seeds(len(rain), "rain")
    ensemble = exact_ensemble(raw, data["time"].values, 200, seeds)
    below = (ensemble < rain[:, None]).double().mean(1)
    tied = (ensemble == rain[:, None]).double().mean(1)
    place = below + seeds.at("ties").uniform() * tied
    yield mean_is("place of the observation among exact draws", place.numpy(), 0.5)
    yield mean_is("its square", place.square().numpy(), 1 / 3 + _among(200))
    dry = (rain == 0).double() - (ensemble == 0).double().mean(1)
    yield mean_is("dry days less their probability", dry.numpy(), 0.0)


def _among(members: int) -> float:
    """What counting among finitely many draws adds to the mean square of a uniform place: 1 / (6 members)."""
    return 1 / (6 * members)


def _bought(score: Tensor, coefficients: int) -> float:
    """The most by which so many fitted coefficients lower a mean score, in the rarest of cases."""
    return float(score.std()) * (coefficients + _DEVIATIONS * math.sqrt(2 * coefficients)) / len(score)


def _censored(seeds: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
    a = seeds.at("a").normal((1, 2), torch.float64)
    b = seeds.at("b").uniform((1, 1))
    law = 0.4 + 0.9 * a[..., 0] - 0.5 * a[..., 1], (-0.6 + 0.8 * b[..., 0]).exp()
    latent = law[0] + law[1] * seeds.at("noise").normal((1,), torch.float64)
    return a, b, latent.clamp(min=0), latent, law

r"""Rain at a station that is made here: raw ensembles, and observations of a law given them that is known exactly.

Members are square roots of a moist flow that swings from day to day and with the season, too wet and too sure of
itself. Given the roots' mean m and deviation s over the members, and w = cos(2 pi (season - 0.04)), the rain is
:math:`\max(0, z)^2` millimetres with

.. math:: z \sim (1-p)\,N(\mu, \sigma^2) + p\,N(\mu - 1.6, 0.49\,\sigma^2), \quad \mu = -0.5 + 0.85\,m - 0.35\,w,
          \quad \sigma = \exp(0.2 + 0.3\,s - 0.15\,w), \quad p = 1/(1 + \exp(1.2 - 0.5\,s)):

with probability p the front misses the station. This is no law that EMOS holds, so a network has something to gain,
and none can be better than the law itself.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.climate.baselines import season_of

FIRST = "2000-01-01"


def station_rain_dataset(count: int = 5000, members: int = 11, seed: int = 0) -> Any:
    """Daily rain in mm from 2000 on: ``rainfc`` (time, member) and ``rain`` (time), an xarray Dataset.

    Raises InputError for fewer than 400 days or 2 members.
    """
    import xarray

    if count < 400 or members < 2:
        raise InputError(f"the station's record has 400 days and 2 members at least; seen {count} and {members}")
    times = np.datetime64(FIRST, "ns") + np.arange(count) * np.timedelta64(1, "D")
    wave = np.cos(2 * np.pi * (season_of(times) - 0.04))
    one = Seeds.range(seed, 1).at("station-rain")
    flow = _swing(one.at("flow").normal((count,), torch.float64)[0].numpy(), 0.7)
    doubt = 0.7 * np.exp(0.4 * _swing(one.at("doubt").normal((count,), torch.float64)[0].numpy(), 0.5))
    scatter = one.at("members").normal((count, members), torch.float64)[0].numpy()
    roots = 2.6 - 0.7 * wave[:, None] + 1.7 * flow[:, None] + doubt[:, None] * scatter
    forecast = np.square(np.clip(roots, 0, None))
    observed = exact_ensemble(torch.from_numpy(forecast), times, 1, Seeds.range(seed, count).at("station-rain"))[:, 0]
    attributes = {"units": "mm"}
    return xarray.Dataset(
        {
            "rain": ("time", observed.numpy(), {**attributes, "long_name": "rain"}),
            "rainfc": (("time", "member"), forecast, {**attributes, "long_name": "rain of the raw ensemble"}),
        },
        {"time": times, "member": np.arange(1, members + 1)},
    )


def exact_ensemble(raw: Tensor, times: np.ndarray, members: int, seeds: Seeds) -> Tensor:
    """Draws of the law given raw ensembles (cases, raw members) in mm: float64 (cases, members); one seed a case."""
    roots = raw.double().sqrt()
    mean, spread = roots.mean(1, keepdim=True), roots.std(1, keepdim=True)
    wave = torch.from_numpy(np.cos(2 * np.pi * (season_of(times) - 0.04)))[:, None]
    location = -0.5 + 0.85 * mean - 0.35 * wave
    scale = (0.2 + 0.3 * spread - 0.15 * wave).exp()
    misses = seeds.at("misses").uniform((members,)) < torch.sigmoid(0.5 * spread - 1.2)
    noise = seeds.at("rain").normal((members,), torch.float64)
    latent = location + torch.where(misses, -1.6 + 0.7 * scale * noise, scale * noise)
    return latent.clamp(min=0).square()


def _swing(noise: np.ndarray, kept: float) -> np.ndarray:
    """A first-order autoregression of variance one."""
    found = np.empty_like(noise)
    found[0] = noise[0]
    for day in range(1, len(noise)):
        found[day] = kept * found[day - 1] + np.sqrt(1 - kept**2) * noise[day]
    return found

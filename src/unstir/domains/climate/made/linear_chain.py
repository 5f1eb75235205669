"""A linear-Gaussian chain as data: the weather whose every forecast and analysis is known exactly."""

from typing import Any

import numpy as np
import torch

from unstir.core.errors import InputError, NotInstalledError
from unstir.core.seeds import Seeds
from unstir.domains.climate.encoding import ClimateEncoding
from unstir.exact.kalman import LinearChain
from unstir.exact.linear_chain import LinearChainDenoiser
from unstir.processes.gaussian import GaussianProcess

_NAME = "linear-chain"


def linear_chain_dataset(
    count: int = 20000,
    memory: float = 0.9,
    turn: float = 0.5,
    noise: float = 1.0,
    mean: float = 10.0,
    seed: int = 0,
) -> Any:
    """A damped, noisy swing: a Dataset of ``u`` and ``v`` (time,), ``count`` states of one path that has settled.

    Each step turns (u, v) about (mean, 0) by the angle ``turn`` (radians), shrinks it by ``memory`` and adds normal
    noise of deviation ``noise``. ``ds.attrs`` keeps the parameters, from which ``chain_of`` makes the exact law.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 2:
        raise InputError(f"count, of states, is a whole number and at least 2; seen {count!r}")
    told = {"memory": memory, "turn": turn, "noise": noise, "mean": mean}
    attributes = {"model": _NAME, **{name: float(value) for name, value in told.items()}, "seed": int(seed)}
    path = chain_of(attributes).draw(count, Seeds.range(seed, 1).at(_NAME))[0].numpy()
    try:
        import xarray
    except ImportError as error:
        raise NotInstalledError("xarray", "climate", "a dataset of a linear chain") from error
    made = xarray.Dataset(
        {
            name: (("time",), path[:, place], {"units": "1", "long_name": f"{name} of a noisy swing"})
            for place, name in enumerate("uv")
        },
        coords={"time": ("time", np.arange(count, dtype=np.float64), {"units": "1", "long_name": "step"})},
    )
    made.attrs = attributes
    return made


def chain_of(attributes: Any) -> LinearChain:
    """The chain that a dataset of this module was drawn from, by its ``attrs``; InputError for another dataset."""
    if attributes.get("model") != _NAME:
        raise InputError(f"the dataset is no linear chain (attribute 'model'); seen {attributes.get('model')!r}")
    memory, turn, noise, mean = (float(attributes[name]) for name in ("memory", "turn", "noise", "mean"))
    if not 0 <= memory < 1 or not noise > 0:
        raise InputError(f"a chain's memory is at least 0 and below 1 and its noise positive; seen {memory}, {noise}")
    angle = torch.tensor(turn, dtype=torch.float64)
    rotation = torch.stack((torch.stack((angle.cos(), -angle.sin())), torch.stack((angle.sin(), angle.cos()))))
    about = torch.tensor([mean, 0.0], dtype=torch.float64)
    shake = torch.eye(2, dtype=torch.float64) * noise**2
    return LinearChain.stationary(memory * rotation, about - memory * rotation @ about, shake)


def trajectory_law(
    chain: LinearChain, encoding: ClimateEncoding, length: int, process: GaussianProcess
) -> LinearChainDenoiser:
    """The exact law of encoded trajectories (2, length): what a network trained on them can reach at best.

    Raises InputError for a scaling that is not a straight line.
    """
    channels = encoding.scaling.channels
    if bent := [each.get("method") for each in channels if each.get("method") not in ("standard", "none")]:
        raise InputError(f"a chain is Gaussian in a scaling that is a straight line; seen {bent[0]!r}")
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64).reshape(2, 1).expand(2, len(channels))
    low, high = encoding.scaling.encode(ends)
    return LinearChainDenoiser(chain, length, process, -low / (high - low), 1 / (high - low))

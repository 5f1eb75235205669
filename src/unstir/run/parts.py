"""From a recipe to the objects it names."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.catalogue import build, find, resolve
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import tensors_of
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.domains.base import Domain, EncodedData
from unstir.run.recipe import NETWORK_GIVEN, Recipe

_MEASURED_ROWS = 4096
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # the golden ratio's fraction of 2^64


def domain_of(recipe: Recipe) -> Domain:
    """The recipe's field."""
    return find("domains", recipe.domain).load()


def read_data(recipe: Recipe) -> EncodedData:
    """The recipe's data, checked and encoded."""
    data = domain_of(recipe).read(recipe.data)
    return data if recipe.conditional else _Unconditional(data)


class _Unconditional:
    """Data whose labels and other conditions are kept from the network; the augmentation is still told."""

    def __init__(self, data: EncodedData) -> None:
        self._data = data
        self.conditions = {name: kind for name, kind in data.conditions.items() if name == "augment"}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def __len__(self) -> int:
        return len(self._data)

    def batch(self, rows: np.ndarray, seeds: Seeds | None = None) -> tuple[Any, dict[str, Tensor]]:
        state, condition = self._data.batch(rows, seeds)
        return state, {name: values for name, values in condition.items() if name in self.conditions}


def completed(recipe: Recipe, data: EncodedData) -> Recipe:
    """The recipe with what only the data can tell: the network's defaults and the data's spread."""
    network = resolve("networks", recipe.network or domain_of(recipe).network(data), NETWORK_GIVEN)
    denoiser = {"parameterisation": "edm", **recipe.denoiser}
    denoiser["sigma_data"] = denoiser.get("sigma_data") or measured_deviation(data)
    return dataclasses.replace(recipe, network=network, denoiser=denoiser)


def measured_deviation(data: EncodedData) -> float:
    """The standard deviation over all elements, of at most 4096 rows spread evenly; four digits."""
    rows = np.unique(np.linspace(0, len(data) - 1, min(len(data), _MEASURED_ROWS)).astype(int))
    state, _ = data.batch(rows)
    deviation = torch.cat([part.flatten().double() for part in tensors_of(state)]).std(correction=0).item()
    if deviation == 0:
        raise InputError(f"all values of {data.name} are the same; there is nothing to learn")
    return float(f"{deviation:.4g}")


def make_denoiser(
    recipe: Recipe, shape: tuple[int, ...], conditions: Mapping[str, Mapping[str, Any]]
) -> NetworkDenoiser:
    """The denoiser of a completed recipe, its network's weights drawn from the recipe's seed."""
    process_options = dict(recipe.process)
    schedule = build("schedules", process_options.pop("schedule"))
    process = build("processes", process_options, schedule=schedule)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        outputs = 2 if recipe.denoiser.get("variance") == "learned" else 1
        network = build("networks", recipe.network or {}, shape=shape, conditions=conditions, outputs=outputs)
    return NetworkDenoiser(network, process, **recipe.denoiser)


def training_conditions(data: EncodedData, seeds: Seeds, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Conditions for samples as the data has them, spread evenly over the data.

    Sample number n takes the condition of the row at the share frac(u + n * golden ratio) of the data, sorted
    by label where there are labels. So any run of samples meets the classes in the data's proportions, to
    within a few samples, and a sample's condition is the same whichever others are drawn beside it.
    """
    if not set(data.conditions) - {"augment"}:
        return {}
    labels = getattr(data, "labels", None)
    order = np.arange(len(data)) if labels is None else np.argsort(labels, kind="stable")
    shift = Seeds.range(seeds.seed, 1).at("condition").words(2)[0].tolist()
    # fractions of one as 64-bit integers, which wrap around by themselves
    place = seeds.samples.cpu().numpy().astype(np.uint64) * _GOLDEN + np.uint64(shift[0] << 32 | shift[1])
    rows = order[((place >> np.uint64(11)).astype(np.float64) * 2.0**-53 * len(data)).astype(np.int64)]
    _, condition = data.batch(rows)
    return {name: values.to(device) for name, values in condition.items() if name != "augment"}

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
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.domains.base import Domain, EncodedData
from unstir.processes.base import Process
from unstir.run.recipe import (
    NETWORK_GIVEN,
    PROCESS,
    Recipe,
    SamplingOptions,
    denoiser_kind,
    proposed_or,
    resolved_process,
)

_MEASURED_ROWS = 4096
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # the golden ratio's fraction of 2^64


def domain_of(recipe: Recipe) -> Domain:
    """The recipe's field."""
    return find("domains", recipe.domain).load()


def read_data(recipe: Recipe) -> EncodedData:
    """The recipe's data, checked and encoded."""
    data = domain_of(recipe).read(recipe.data)
    return data if recipe.conditional else _Unconditional(data, recipe.denoiser.get("around"))


class _Unconditional:
    """Data whose labels and other conditions are kept from the network; what says how to read a sample is still told.

    That is the augmentation, a mask, and the condition ``around`` on which the belief is centred.
    """

    def __init__(self, data: EncodedData, around: str | None = None) -> None:
        self._data = data
        known = ("augment", "mask", around)
        self.conditions = {name: kind for name, kind in data.conditions.items() if name in known}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def __len__(self) -> int:
        return len(self._data)

    def batch(self, rows: np.ndarray, seeds: Seeds | None = None) -> tuple[Any, dict[str, Tensor]]:
        state, condition = self._data.batch(rows, seeds)
        return state, {name: values for name, values in condition.items() if name in (*self.conditions, "mask")}


def completed(recipe: Recipe, data: EncodedData) -> Recipe:
    """The recipe with what the field proposes and what only the data can tell: process, network, the data's spread."""
    domain = domain_of(recipe)
    proposed = domain.process(data) if domain.process else PROCESS
    process = resolved_process(proposed_or(proposed, recipe.process))
    rows = np.unique(np.linspace(0, len(data) - 1, min(len(data), _MEASURED_ROWS)).astype(int))
    made = make_process(process)
    learned, given = denoiser_kind(recipe.denoiser, made.learned)
    try:
        denoiser = learned.options_for(made, given, *data.batch(rows))
        learned(None, made, **denoiser)  # refuses what is out of range, before anything is trained
    except InputError as error:
        raise InputError(f"{data.name}, denoiser: {error}") from error
    if name := recipe.denoiser.get("name"):
        denoiser = {"name": name, **denoiser}
    network = resolve("networks", recipe.network or domain.network(data), NETWORK_GIVEN)
    sampling = _one_pass(recipe) if learned.at_noise_only else recipe.sampling
    return dataclasses.replace(recipe, process=process, network=network, denoiser=denoiser, sampling=sampling)


def _one_pass(recipe: Recipe) -> SamplingOptions:
    """The one way in which a denoiser is sampled from that knows the noise alone, whatever the recipe says of steps."""
    if domain_of(recipe).judge is None:
        raise InputError(
            f"the field {recipe.domain!r} judges a belief at all noise levels, and the denoiser "
            f"{recipe.denoiser.get('name')!r} has one at time 1 only: take the process's own denoiser"
        )
    return dataclasses.replace(recipe.sampling, sampler={"name": "ancestral"}, grid={"name": "uniform"}, steps=1)


def make_process(specification: Mapping[str, Any]) -> Process:
    """The process of a resolved specification."""
    options = dict(specification)
    given: dict[str, Any] = {}
    if (schedule := options.pop("schedule", None)) is not None:
        given["schedule"] = build("schedules", schedule)
    if (parts := options.pop("parts", None)) is not None:
        given["parts"] = {name: make_process(part) for name, part in parts.items()}
    return build("processes", options, **given)


def make_denoiser(recipe: Recipe, shape: Any, conditions: Mapping[str, Mapping[str, Any]]) -> LearnedDenoiser:
    """The denoiser of a completed recipe, its network's weights drawn from the recipe's seed."""
    assert recipe.process is not None
    process = make_process(recipe.process)
    learned, options = denoiser_kind(recipe.denoiser, process.learned)
    denoiser = learned(None, process, **options)
    size, outputs = denoiser.network_size(shape)
    conditions = denoiser.shown(conditions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        denoiser.network = build("networks", recipe.network or {}, shape=size, conditions=conditions, outputs=outputs)
    denoiser.specification = recipe.network
    return denoiser


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


def shape_of(told: Any) -> Any:
    """The shape of one sample as a run keeps it, a list or a mapping of them, as tuples."""
    return {name: shape_of(part) for name, part in told.items()} if isinstance(told, Mapping) else tuple(told)


def plain_shape(shape: Any) -> Any:
    """The shape of one sample as JSON takes it."""
    return {name: plain_shape(part) for name, part in shape.items()} if isinstance(shape, Mapping) else list(shape)

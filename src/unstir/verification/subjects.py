"""The entries of the catalogue, made ready to be measured."""

from collections.abc import Mapping
from typing import Any

import torch

from unstir.core.catalogue import Entry, build, entries
from unstir.core.errors import InputError, NotInstalledError
from unstir.verification.base import NotMeasured

SHAPES = {"pictures": (1, 8, 8), "sequences": (2, 17)}
CONDITIONS = {"label": {"classes": 10}, "vector": {"size": 3}, "augment": {"size": 9}, "image": {"channels": 2}}
_AS_THEY_ARE = ("physics", "likelihood", "checks", "grids", "parameterisations", "formats", "domains", "scores")
_SHIPPED = ("digits",)


def subjects(kind: str, entry: Entry) -> Mapping[str, Any]:
    """What the checks of a kind are called with, by name: several members of a family, or the entry alone.

    An entry that says ``examples()`` gives its members itself. Physics, likelihood, checks, grids and parameterisations
    (functions that are called with what a check supplies), formats and domains are handed over as they are,
    a recipe as the mapping in its file. A network is built for each of ``SHAPES`` that it takes, with all
    ``CONDITIONS``. Everything else is built without options.

    Raises NotMeasured for what cannot be made here: a service that needs an account, data that must be
    fetched, a missing package, an entry that needs options and has no ``examples``.
    """
    if kind == "recipes":
        return {entry.name: _recipe(entry)}
    if kind == "trackers":
        raise NotMeasured("what it shows, it shows in another program, or with an account of its own")
    try:
        loaded = entry.load()
        if hasattr(loaded, "examples"):
            return loaded.examples()
        if kind == "formats" and not loaded.needs_path and entry.name not in _SHIPPED:
            raise NotMeasured("its files are fetched from the network, and checked against their SHA-256 then")
        if kind in _AS_THEY_ARE:
            return {entry.name: loaded}
        if kind == "networks":
            return _networks(entry.name)
        if kind == "learned":
            return _learned(entry)
        return {entry.name: build(kind, entry.name, **_given(kind))}
    except (NotInstalledError, InputError) as error:
        raise NotMeasured(f"cannot be made: {error}") from error


def _learned(entry: Entry) -> dict[str, Any]:
    """A denoiser, as yet without a network, for every example of the processes that ask for such beliefs."""
    loaded, made = entry.load(), {}
    for name, process in entries("processes").items():
        factory = process.load()
        if factory.learned == entry.name:
            made |= {f"{name}: {what}": loaded(None, example) for what, example in factory.examples().items()}
    return made


def _given(kind: str) -> dict[str, Any]:
    """What a recipe's caller hands over beside the options."""
    if kind != "noise_levels":
        return {}
    from unstir.processes.schedules.cosine import CosineSchedule

    return {"schedule": CosineSchedule()}


def _networks(name: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    refused: list[InputError] = []
    for what, shape in SHAPES.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                made[what] = build("networks", name, shape=shape, conditions=CONDITIONS)
            except InputError as error:  # an architecture may serve some shapes only
                refused.append(error)
    if not made:
        raise refused[0]
    return made


def _recipe(entry: Entry) -> dict[str, Any]:
    from pathlib import Path

    import yaml

    values = yaml.safe_load(Path(entry.target).read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise NotMeasured(f"{entry.target} is not a mapping")
    return {"name": entry.name, **values}

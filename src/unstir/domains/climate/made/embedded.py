"""Data that is made here, for trials and exact answers: by name, as an xarray Dataset like a file's."""

import functools
import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from unstir.core.errors import unknown

EMBEDDED = {
    "lorenz-63": "lorenz:lorenz_63_dataset",
    "lorenz-96": "lorenz:lorenz_96_dataset",
    "linear-chain": "linear_chain:linear_chain_dataset",
    "gaussian-field": "gaussian_field:gaussian_field_dataset",
    "moving-field": "moving_field:moving_field_dataset",
    "station-rain": "station_rain:station_rain_dataset",
}


def embedded(name: str, options: Mapping[str, Any]) -> Any:
    """The dataset of that name; ``options`` are its own (``seed``, ``count``, ...)."""
    if name not in EMBEDDED:
        raise unknown("embedded data (data.name):", name, EMBEDDED)
    return _made(name, json.dumps(dict(options), sort_keys=True)).copy(deep=True)


@functools.lru_cache(maxsize=2)
def _made(name: str, options: str) -> Any:
    """Kept for the next reading: a run reads its data several times, and some take half a minute to simulate."""
    module, _, function = EMBEDDED[name].partition(":")
    return getattr(import_module(f"unstir.domains.climate.made.{module}"), function)(**json.loads(options))

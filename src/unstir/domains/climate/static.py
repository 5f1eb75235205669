"""What never changes in a dataset, and is told to every case: latitude, orography, land and sea."""

from typing import Any

import numpy as np

from unstir.domains.climate.layout import Layout


def static_maps(dataset: Any, variables: list[str], layout: Layout) -> tuple[np.ndarray, list[str]]:
    """What never changes, float64 (k, *axes) of about unit scale: the latitude's sine, and variables without time."""
    shape, names = layout.shape[1:], list(layout.names)
    found: list[np.ndarray] = []
    told: list[str] = []
    if "latitude" in names:
        place = names.index("latitude")
        sine = np.sin(np.deg2rad(np.asarray(layout.axes[place].values, dtype=np.float64)))
        found.append(np.broadcast_to(sine.reshape([-1 if each == place else 1 for each in range(len(shape))]), shape))
        told.append("latitude")
    for name in map(str, dataset.data_vars):
        array = dataset[name]
        if name in variables or not array.dims or not set(map(str, array.dims)) <= set(names):
            continue
        full = array.expand_dims({each: dataset.sizes[each] for each in names if each not in array.dims})
        values = np.nan_to_num(full.transpose(*names).values.astype(np.float64))
        found.append((values - values.mean()) / (values.std() or 1.0))
        told.append(name)
    return np.stack(found) if found else np.zeros((0, *shape)), told

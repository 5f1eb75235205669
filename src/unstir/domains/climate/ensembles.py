"""Ensembles drawn for cases of a task."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.domains.climate.cases import ClimateData


def ensemble_for(draw: Callable[..., Any], data: ClimateData, rows: np.ndarray, members: int, seed: int) -> Tensor:
    """Ensembles for the cases ``rows`` of the data, in its units: float64 (cases, members, channels, *axes).

    ``draw`` as in ``Judged``; member m of case i is sample number i * members + m of the seed.
    """
    _, condition = data.batch(rows)
    told = {name: values.repeat_interleave(members, 0) for name, values in condition.items() if name != "mask"}
    drawn = draw(len(rows) * members, seed=seed, condition=told)
    return torch.from_numpy(data.encoding.decode(drawn)).unflatten(0, (len(rows), members))

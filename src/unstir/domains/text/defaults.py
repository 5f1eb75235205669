"""The process and the network that suit a text."""

import math
from typing import Any

from unstir.training.data import Data


def default_process(data: Data) -> dict[str, Any]:
    """Masking, with as many characters masked in one part of the time as in any other of the same length."""
    return {
        "name": "categorical",
        "classes": data.encoding.classes,  # type: ignore[attr-defined]
        "rates": "absorbing",
        "schedule": {"name": "log-linear"},
    }


def default_network(data: Data) -> dict[str, Any]:
    """A small transformer over the characters, which knows its neighbours at once; a million weights, for minutes."""
    return {
        "name": "diffusion-transformer",
        "tokens": "sequence",
        "width": 128,
        "depth": 4,
        "head_width": 32,
        "embedding": 64,
        "neighbours": 5,
        # a window of a hundred classes is nearly all zeros: without this, 300 steps of training learn next to nothing
        "stem_scale": round(math.sqrt(data.encoding.classes), 3),  # type: ignore[attr-defined]
    }

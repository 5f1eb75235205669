"""unstir: diffusion models for scientists and artists, checked against exact answers.

Every piece can be used alone, with plain tensors; names are loaded on first use, so that
``import unstir`` costs nothing::

    from unstir import CosineSchedule, GaussianProcess
"""

import importlib
import importlib.util

__version__ = "0.1.0"

_HOMES = {
    "GaussianProcess": "processes.gaussian",
    "CosineSchedule": "processes.schedules.cosine",
    "Denoiser": "denoisers.base",
    "NetworkDenoiser": "denoisers.learned.network",
    "Seeds": "core.seeds",
    "sample": "samplers.base",
    "train": "training.loop",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f"unstir.{_HOMES[name]}"), name)
    if importlib.util.find_spec(f"unstir.{name}"):
        return importlib.import_module(f"unstir.{name}")
    raise AttributeError(f"module 'unstir' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

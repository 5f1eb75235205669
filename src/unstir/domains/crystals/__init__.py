"""Crystals: elements on sites of a periodic cell; made from nothing, or found for a given composition.

Data of this field: float32 ``fractional`` (batch, n, 3) in [0, 1), float32 ``lattice`` (batch, 6), the cell's symmetric
logarithm, and int64 ``elements`` (batch, n), which is a condition instead where structures are predicted. ``files``
reads, ``embedded`` makes a set without a download, ``data`` and ``encoding`` bring crystals to the network and back,
``lattices`` knows cells, ``convert`` other libraries' objects, ``writing`` files; ``tasks`` and ``asking`` know what a
model may be told, ``measures``, ``judging``, ``figures`` and ``drawing`` judge and show. May import what ``domains``
may.
"""

from unstir.domains.base import Domain
from unstir.domains.crystals.asking import ask
from unstir.domains.crystals.data import default_network, default_process, read_crystals
from unstir.domains.crystals.drawing import draw_crystals
from unstir.domains.crystals.encoding import restore
from unstir.domains.crystals.judging import judge_crystals
from unstir.domains.crystals.tasks.completion import predict_crystals
from unstir.domains.crystals.writing import write_crystals

__all__ = ["crystals"]

crystals = Domain(
    name="crystals",
    summary="crystals: elements on sites of a periodic cell, generated or predicted for a composition",
    read=read_crystals,
    restore=restore,
    network=default_network,
    draw=draw_crystals,
    write=write_crystals,
    process=default_process,
    predict=predict_crystals,
    predicted="",  # a folder
    judge=judge_crystals,
    ask=ask,
    told=True,
    references=(
        "Xie et al., Crystal diffusion variational autoencoder for periodic material generation (ICLR 2022).",
        "Jiao et al., Crystal structure prediction by joint equivariant diffusion (NeurIPS 2023).",
    ),
)

"""Orientations: rotation matrices or quaternions of crystals, bodies and molecules; one or several a row.

Data of this field: float32 (batch, rotations, 3, 3), rotation matrices. ``encoding`` knows how they are written,
``texture`` is the exact law that the embedded data are drawn from, ``data`` reads, ``statistics`` and ``judging``
measure, ``figures`` and ``drawing`` show and write. May import what ``domains`` may.
"""

from unstir.domains.base import Domain
from unstir.domains.rotations.data import default_network, default_process, read_rotations
from unstir.domains.rotations.drawing import draw_rotations, write_rotations
from unstir.domains.rotations.encoding import restore
from unstir.domains.rotations.judging import judge_rotations

__all__ = ["rotations"]

rotations = Domain(
    name="rotations",
    summary="orientations, as rotation matrices or quaternions: crystals, bodies, molecules",
    read=read_rotations,
    restore=restore,
    network=default_network,
    draw=draw_rotations,
    write=write_rotations,
    process=default_process,
    judge=judge_rotations,
    references=("Leach et al., Denoising diffusion probabilistic models on SO(3) for rotational alignment (2022).",),
)

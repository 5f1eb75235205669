"""Angles and other periodic numbers: torsions, directions, phases, times of day; any number of them a row.

Data of this field: float32 (batch, angles) in turns, [0, 1), on the torus. ``encoding`` knows the unit, ``data`` reads,
``backbone`` is the exact law that the embedded data are drawn from, ``bound`` measures the likelihood, ``statistics``
and ``judging`` the samples, ``drawing`` draws and writes. May import what ``domains`` may.
"""

from unstir.domains.angles.data import default_network, default_process, read_angles
from unstir.domains.angles.drawing import draw_angles, write_angles
from unstir.domains.angles.encoding import restore
from unstir.domains.angles.judging import judge_angles
from unstir.domains.base import Domain

__all__ = ["angles"]

angles = Domain(
    name="angles",
    summary="angles and other periodic numbers: torsions, directions, phases, times of day",
    read=read_angles,
    restore=restore,
    network=default_network,
    draw=draw_angles,
    write=write_angles,
    process=default_process,
    judge=judge_angles,
    references=("Jing et al., Torsional diffusion for molecular conformer generation (NeurIPS 2022).",),
)

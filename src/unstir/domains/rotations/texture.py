"""Orientations of crystals in a rolled metal, as an exact law."""

import math

import torch
from torch import Tensor

from unstir.exact.rotations import RotationMixtureDenoiser
from unstir.processes.rotations import RotationProcess
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule

# Bunge's Euler angles in degrees, the deviation in degrees, the share
COMPONENTS = {
    "cube": (0.0, 0.0, 0.0, 8.0, 0.30),
    "Goss": (0.0, 45.0, 0.0, 10.0, 0.15),
    "brass": (35.0, 45.0, 0.0, 12.0, 0.20),
    "copper": (90.0, 35.0, 45.0, 10.0, 0.20),
    "untextured": (0.0, 0.0, 0.0, math.inf, 0.15),
}


def texture_law(process: RotationProcess | None = None) -> RotationMixtureDenoiser:
    """The exact law of the orientation of a grain: isotropic Gaussians about ideal textures, over a uniform ground.

    The ideal orientations are those of rolled metals with a face-centred cubic lattice; shares and deviations are round
    numbers, not fitted to any metal, and the symmetry of the crystal is not taken out: of the 24 orientations
    that look alike each component has one.

    Reference: Bunge, Texture analysis in materials science (1982), section 2 (Euler angles) and appendix 1 (ideal
    orientations); Nikolayev, Savyolov, Normal distribution on the rotation group SO(3) (1997).
    """
    table = torch.tensor(list(COMPONENTS.values()), dtype=torch.float64)
    if process is None:
        process = RotationProcess(ExponentialVESchedule(0.03, 5.0))
    centres = from_euler(table[:, :3])[:, None]
    return RotationMixtureDenoiser(table[:, 4], centres, torch.deg2rad(table[:, 3]), process)


def from_euler(degrees: Tensor) -> Tensor:
    """Rotation matrices of Bunge's angles (n, 3): about z, about the new x, about the new z, (n, 3, 3)."""
    first, second, third = torch.deg2rad(degrees).unbind(-1)
    return _about_z(first) @ _about_x(second) @ _about_z(third)


def _about_z(angle: Tensor) -> Tensor:
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    rows = ((angle.cos(), -angle.sin(), zero), (angle.sin(), angle.cos(), zero), (zero, zero, one))
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _about_x(angle: Tensor) -> Tensor:
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    rows = ((one, zero, zero), (zero, angle.cos(), -angle.sin()), (zero, angle.sin(), angle.cos()))
    return torch.stack([torch.stack(row, -1) for row in rows], -2)

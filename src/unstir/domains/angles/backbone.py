"""Torsion angles of a protein's backbone as an exact law: a Markov chain of Ramachandran's regions."""

import math
from itertools import product

import torch

from unstir.core.errors import InputError
from unstir.exact.wrapped import WrappedMixtureDenoiser
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess

# phi, psi and their deviations in degrees; share among all residues
REGIONS = {
    "right-handed helix": (-63.0, -43.0, 8.0, 9.0, 0.42),
    "strand": (-118.0, 134.0, 18.0, 16.0, 0.26),
    "polyproline": (-68.0, 146.0, 10.0, 13.0, 0.24),
    "left-handed helix": (57.0, 42.0, 9.0, 11.0, 0.08),
}
STAYING = 0.6
"""The chance of a residue to be in the region of the one before; else its region is drawn by the shares."""
_MOST = 5  # residues: the law has four components for each region of each


def backbone_law(residues: int = 4, process: WrappedProcess | None = None) -> WrappedMixtureDenoiser:
    r"""The exact law of phi and psi of neighbouring residues, in turns, with its exact belief and density.

    Each residue sits in one of four regions, wrapped normals about the places where Ramachandran's plot is dense; along
    the chain the region stays with a chance of 0.6, else it is drawn anew. Written out over the 4^n ways of n residues
    it is a mixture of products of wrapped normals. The numbers are round ones that look like proteins; they are not
    fitted to any.

    Reference: Ramachandran, Ramakrishnan, Sasisekharan, Stereochemistry of polypeptide chain configurations (1963),
    for the regions; Mardia and Jupp, Directional statistics (2000), section 3.5.7, for the wrapped normal.
    """
    if isinstance(residues, bool) or not isinstance(residues, int) or not 1 <= residues <= _MOST:
        raise InputError(f"`data.residues: {residues!r}`: 1 to {_MOST} residues, of two angles each")
    table = torch.tensor(list(REGIONS.values()), dtype=torch.float64)
    shares, places, spread = table[:, 4], table[:, :2] / 360, table[:, 2:4] / 360
    ways = torch.tensor(list(product(range(len(table)), repeat=residues)))
    weights = shares[ways[:, 0]]
    for before, after in zip(ways.T, ways.T[1:], strict=False):
        weights = weights * (STAYING * (before == after).double() + (1 - STAYING) * shares[after])
    if process is None:
        process = WrappedProcess(ExponentialVESchedule(0.003, 1.0))
    return WrappedMixtureDenoiser(weights, places[ways].flatten(1), spread[ways].flatten(1), process)


def backbone_names(residues: int) -> tuple[str, ...]:
    """``phi1, psi1, phi2, ...``."""
    return tuple(f"{angle}{residue}" for residue in range(1, residues + 1) for angle in ("phi", "psi"))


assert math.isclose(sum(region[4] for region in REGIONS.values()), 1.0)

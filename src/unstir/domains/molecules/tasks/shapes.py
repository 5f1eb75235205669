"""Shapes as energies: how little of another molecule's volume is filled, and which of its groups are missed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unstir.core.errors import InputError, unknown
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.encoding import MoleculeEncoding
from unstir.domains.molecules.files.convert import quiet, rdkit_chem, to_rdkit

_HEIGHT = 2.7  # of each atom's Gaussian, whose volume is then that of its sphere
_RADII = {1: 1.2, 6: 1.7, 7: 1.55, 8: 1.52, 9: 1.47, 15: 1.8, 16: 1.8, 17: 1.75, 35: 1.85, 53: 1.98}
_COMMON = 1.7  # angstrom, of all other elements


class ShapeEnergy(nn.Module):
    r"""Minus the overlap of a molecule's volume with a reference's, for ``guidance.energy`` on clean data.

    Atoms are Gaussians :math:`p\,e^{-\kappa|r|^2}` of the volume of their van der Waals spheres; the overlap of two
    molecules is the sum over their pairs, the energy

    .. math:: E = \frac{w}{2}\Big(1 - \frac{2 V_{AB}}{V_{AA}+V_{BB}}\Big) N,

    in nats, N the number of the reference's atoms: zero for the reference itself and ``weight`` w / 2 for each atom
    where there is no overlap. It is asked of the belief: a state's positions (batch, n, 3) in angstrom, or a mapping
    with them and the elements' probabilities (batch, n, elements), by which volumes are weighted. The reference stands
    still about its centre, and the sample is drawn in its frame, so that nothing has to be turned.

    ``numbers`` are the elements' atomic numbers in the order of their classes. Samples have as many atoms as the state
    has places; ``sizes`` (batch,), a condition that the guide is told, says how many of the first are there.

    Raises InputError for a reference without positions.

    Reference: Grant, Gallardo, Pickup, A fast method of molecular shape comparison (1996); Chen et al., Shape-guided
    diffusion for molecules, SQUID and ShapeMol (2023), for guidance by shape.
    """

    def __init__(
        self, reference: Molecule, numbers: Sequence[int], weight: float = 5.0, hydrogens: bool = False
    ) -> None:
        super().__init__()
        if reference.positions is None:
            raise InputError(f"{reference.source or 'the reference'} has no positions, hence no shape")
        kept = np.ones(len(reference), dtype=bool) if hydrogens else reference.numbers != 1
        if not kept.any():
            raise InputError("a shape of heavy atoms needs one at least; take hydrogens too")
        places = reference.positions - reference.positions.mean(0)
        self.weight = float(weight)
        self.register_buffer("places", torch.from_numpy(places[kept]))
        self.register_buffer("widths", _widths(reference.numbers[kept].tolist()))
        own = [0.0 if number == 1 and not hydrogens else 1.0 for number in numbers]
        self.register_buffer("counted", torch.tensor(own, dtype=torch.float64))
        self.register_buffer("class_widths", _widths(list(numbers)))
        ones = torch.ones(1, int(kept.sum()), dtype=torch.float64)
        self.register_buffer("own", _overlap(self.places[None], self.widths[None], ones, *self._still(1)))

    @classmethod
    def of(cls, encoding: MoleculeEncoding, reference: Molecule, **options: Any) -> "ShapeEnergy":
        """For a run of that encoding."""
        return cls(reference, encoding.elements, **options)

    def forward(self, x0: Tensor | Mapping[str, Tensor], sizes: Tensor | None = None) -> Tensor:
        """The energy of each sample in nats, (batch,)."""
        share = self.similarity(x0, sizes)
        return self.weight / 2 * (1 - share) * len(self.places)

    def similarity(self, x0: Tensor | Mapping[str, Tensor], sizes: Tensor | None = None) -> Tensor:
        """The overlap as a share of the mean of both volumes, Hodgkin's index, (batch,), from 0 to 1."""
        positions, weights, widths = self._sample(x0, sizes)
        other = _overlap(positions, widths, weights, *self._still(len(positions)))
        self_overlap = _overlap(positions, widths, weights, positions, widths, weights)
        return 2 * other / (self_overlap + self.own.to(other))

    def _sample(self, x0: Any, sizes: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        parts = x0 if isinstance(x0, Mapping) else {"positions": x0}
        positions = parts["positions"].double()
        rows, count = positions.shape[:2]
        if "elements" in parts:
            shares = parts["elements"].double()
            if shares.shape[-1] != len(self.counted):
                raise InputError(f"{len(self.counted)} elements are known here; seen {shares.shape[-1]} classes")
            weights, widths = shares @ self.counted.to(shares), shares @ self.class_widths.to(shares)
        else:
            weights = positions.new_ones(rows, count)
            widths = _widths([6]).to(positions).expand(rows, count)
        if sizes is not None:
            there = torch.arange(count, device=positions.device) < sizes.reshape(-1, 1).to(positions.device)
            weights = weights * there
        return positions, weights, widths

    def _still(self, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        widths = self.widths.expand(rows, -1)
        return self.places.expand(rows, -1, -1), widths, torch.ones_like(widths)


class PharmacophoreEnergy(nn.Module):
    r"""How far points of a pharmacophore are from atoms that can fill them, for ``guidance.energy`` on clean data.

    ``points`` (k, 3) in angstrom, in the frame in which samples are drawn about their centre; ``allowed`` (k, elements)
    says which elements, in the order of their classes, can fill each. The energy of a sample is

    .. math:: E = -w\sum_k \log\Big(\epsilon + \sum_i q_{ki}\,e^{-|x_i-p_k|^2/2s^2}\Big),

    with :math:`q_{ki}` the probability that atom i is of an allowed element: the chance of an atom there, in nats, low
    when every point has one. ``width`` s in angstrom; :math:`\epsilon` keeps it finite.

    Raises InputError for shapes that do not fit.

    Reference: Wermuth et al., Glossary of terms used in medicinal chemistry (1998), for pharmacophores; Adams, Coley,
    Equivariant shape-conditioned generation of 3D molecules for ligand-based drug design (2023).
    """

    def __init__(self, points: Any, allowed: Any, width: float = 1.0, weight: float = 2.0) -> None:
        super().__init__()
        self.register_buffer("points", torch.as_tensor(points, dtype=torch.float64))
        self.register_buffer("allowed", torch.as_tensor(allowed, dtype=torch.float64))
        if self.points.ndim != 2 or self.points.shape[1] != 3 or len(self.allowed) != len(self.points):
            raise InputError(
                f"points (k, 3) and the allowed elements of each, (k, elements); seen {tuple(self.points.shape)} and "
                f"{tuple(self.allowed.shape)}"
            )
        if not width > 0:
            raise InputError(f"the width of a point in angstrom is positive; seen {width}")
        self.width, self.weight = float(width), float(weight)

    def forward(self, x0: Mapping[str, Tensor], sizes: Tensor | None = None) -> Tensor:
        """The energy of each sample in nats, (batch,)."""
        fits, apart = self._fits(x0, sizes)
        filled = (fits * (-apart / (2 * self.width**2)).exp()).sum(1)
        # wide tails, so that an atom far away is drawn in too
        far = 1e-2 * (fits / (1 + apart / self.width**2)).sum(1)
        return -self.weight * (filled + far + 1e-6).log().sum(1)

    def distances(self, x0: Mapping[str, Tensor], sizes: Tensor | None = None) -> Tensor:
        """From each point to the nearest atom that can fill it, in angstrom, (batch, k); infinite without one."""
        fits, apart = self._fits(x0, sizes)
        return torch.where(fits > 0.5, apart, math.inf).amin(1).sqrt()

    def _fits(self, x0: Mapping[str, Tensor], sizes: Tensor | None) -> tuple[Tensor, Tensor]:
        """The chance that each atom can fill each point, and the squares of their distances, (batch, n, k)."""
        positions, shares = x0["positions"].double(), x0["elements"].double()
        fits = shares @ self.allowed.to(shares).T
        if sizes is not None:
            there = torch.arange(positions.shape[1], device=positions.device) < sizes.reshape(-1, 1)
            fits = fits * there[..., None]
        return fits, (positions[:, :, None] - self.points.to(positions)).square().sum(-1)


KINDS = {"donor": "[$([N;!H0]),$([O;!H0])]", "acceptor": "[$([O;H0]),$([N;H0;X1,X2])]", "halogen": "[F,Cl,Br,I]"}
"""Groups that a pharmacophore is made of, as SMARTS."""


def pharmacophore(
    reference: Molecule, kinds: Sequence[str] = ("donor", "acceptor")
) -> tuple[np.ndarray, list[set[int]]]:
    """Where a molecule has groups of those kinds, float64 (k, 3) about its centre, and the elements that fill each."""
    if reference.positions is None:
        raise InputError(f"{reference.source or 'the reference'} has no positions, hence no pharmacophore")
    Chem = rdkit_chem("finding a pharmacophore")
    places = reference.positions - reference.positions.mean(0)
    points, allowed = [], []
    with quiet():
        mol = Chem.AddHs(to_rdkit(reference))
        for kind in kinds:
            if kind not in KINDS:
                raise unknown("kind of group", kind, KINDS)
            for (atom,) in mol.GetSubstructMatches(Chem.MolFromSmarts(KINDS[kind])):
                points.append(places[atom])
                allowed.append({9, 17, 35, 53} if kind == "halogen" else {7, 8})
    if not points:
        raise InputError(f"the reference has no group of the kinds {list(kinds)}")
    return np.array(points, dtype=np.float64), allowed


def _widths(numbers: Sequence[int]) -> Tensor:
    """The exponents of elements' Gaussians in 1/angstrom^2, whose volume is that of the van der Waals sphere."""
    volumes = [4 / 3 * math.pi * _RADII.get(int(number), _COMMON) ** 3 for number in numbers]
    return torch.tensor([math.pi * (_HEIGHT / volume) ** (2 / 3) for volume in volumes], dtype=torch.float64)


def _overlap(x: Tensor, first: Tensor, p: Tensor, y: Tensor, second: Tensor, q: Tensor) -> Tensor:
    """The volume shared by two sets of Gaussians, in cubic angstrom, (batch,); first order, pair by pair."""
    total = first[:, :, None] + second[:, None]
    apart = (x[:, :, None] - y[:, None]).square().sum(-1)
    shared = _HEIGHT**2 * (math.pi / total) ** 1.5 * (-first[:, :, None] * second[:, None] / total * apart).exp()
    return (p[:, :, None] * q[:, None] * shared).sum((1, 2))

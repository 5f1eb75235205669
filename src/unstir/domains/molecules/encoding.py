"""Between molecules and the states that a network sees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unstir.core.errors import InputError, unknown
from unstir.core.state import tensors_of
from unstir.domains.matter.elements import symbol_of
from unstir.domains.matter.sets import mask_of, padded
from unstir.domains.matter.structures import Molecule
from unstir.processes.pairs import square, triangle

PARTS = ("positions", "elements", "charges", "bonds")
COMPOSITION = "composition"


@dataclass(frozen=True)
class Property:
    """A number that a molecule is drawn under: how it is called and found, and how it is brought to unit scale.

    ``key`` is the column, or ``rdkit:logp``; ``low`` and ``high`` are the least and most of the data.
    """

    name: str
    key: str
    mean: float
    deviation: float
    low: float
    high: float

    def standard(self, values: Any) -> Any:
        """Values in their own unit as what the network is told."""
        return (values - self.mean) / self.deviation

    def own(self, values: Any) -> Any:
        """And back."""
        return values * self.deviation + self.mean


@dataclass(frozen=True)
class MoleculeEncoding:
    """Which atoms, charges and bonds there are, and what a molecule may be asked for.

    A state has the parts ``positions`` float32 (rows, n, 3), about their centre, in angstrom; ``elements`` int64
    (rows, n), places in ``elements``; ``charges`` int64 (rows, n), places in ``charges``; ``bonds`` int64
    (rows, n (n - 1) / 2), classes of ``BOND_ORDERS``, each pair once (``processes.pairs``). A part of which there is
    one class only is left out, and so is one that is ``given``: that is a condition of the same name, one-hot, for each
    atom (rows, n, classes) or pair (rows, n, n, classes). Where ``charges`` is empty none are known, and where
    ``orders`` is 0, no bonds.

    ``sizes`` counts the molecules of each number of atoms. ``composition`` are the mean and the deviation of the number
    of atoms of each element, if a molecule may be asked for by it.
    """

    elements: tuple[int, ...]
    charges: tuple[int, ...] = ()
    orders: int = 0
    properties: tuple[Property, ...] = ()
    composition: tuple[tuple[float, float], ...] = ()
    sizes: Mapping[int, int] = field(default_factory=dict)
    given: tuple[str, ...] = ()
    hydrogens: str = "keep"

    @property
    def classes(self) -> dict[str, int]:
        """How many classes each part of kinds has; parts that are not known are not there."""
        found = {"elements": len(self.elements), "charges": len(self.charges), "bonds": self.orders}
        return {name: classes for name, classes in found.items() if classes}

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of a state: positions, and kinds of which there are two at least and that are not given."""
        kinds = [name for name, classes in self.classes.items() if classes > 1 and name not in self.given]
        return ("positions", *kinds)

    @property
    def largest(self) -> int:
        """The number of atoms of the largest molecule of the data."""
        return max(self.sizes)

    def property_of(self, name: str) -> Property:
        """The property of that name; InputError with the nearest one."""
        for known in self.properties:
            if name in (known.name, known.key):
                return known
        raise unknown("property of these molecules", name, [known.name for known in self.properties])

    def encode(self, molecules: Sequence[Molecule], size: int | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """The state of molecules, padded to ``size`` atoms (the largest of them), and its mask (rows, size).

        Raises InputError for no molecules, and for atoms, charges or bonds that the encoding does not know.
        """
        kinds, mask = self.kinds(molecules, size)
        for molecule in molecules:
            if molecule.positions is None:
                raise InputError(f"{_place(molecule)}: it has no positions")
        centred = [molecule.positions - molecule.positions.mean(0) for molecule in molecules]  # type: ignore[union-attr]
        state = {"positions": padded(centred, mask.shape[1], torch.float32)}
        return state | {name: kinds[name] for name in self.parts[1:]}, mask

    def kinds(self, molecules: Sequence[Molecule], size: int | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """The parts of kinds that are known, given ones too, and the mask; positions are not looked at."""
        if not molecules:
            raise InputError("no molecules to encode; at least one is needed")
        lengths = [len(molecule) for molecule in molecules]
        size = max(lengths) if size is None else size
        if max(lengths) > size:
            largest = molecules[int(np.argmax(lengths))]
            raise InputError(f"{_place(largest)}: it has {len(largest)} atoms, and {size} have place")
        mask, found = mask_of(lengths, size), {}
        rows = [_places(molecule.numbers, self.elements, "the element", molecule) for molecule in molecules]
        found["elements"] = padded(rows, size, torch.int64)
        if self.charges:
            told = [0 * one.numbers if one.charges is None else one.charges for one in molecules]
            rows = [_places(one, self.charges, "the charge", mol) for one, mol in zip(told, molecules, strict=True)]
            found["charges"] = padded(rows, size, torch.int64)
        if self.orders:
            table = torch.zeros(len(molecules), size, size, dtype=torch.int64)
            for row, molecule in enumerate(molecules):
                if molecule.bonds is None:
                    raise InputError(f"{_place(molecule)}: it has no bonds, and this model's molecules have some")
                if molecule.bonds.max(initial=0) >= self.orders:
                    raise InputError(f"{_place(molecule)}: a bond of the class {molecule.bonds.max()} is not known")
                table[row, : len(molecule), : len(molecule)] = torch.from_numpy(molecule.bonds)
            found["bonds"] = triangle(table)
        return found, mask

    def conditions_of(self, kinds: Mapping[str, Tensor], mask: Tensor) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The given kinds as conditions, one-hot and zero where nothing is, and what a network is told of them."""
        told: dict[str, Tensor] = {}
        about: dict[str, Any] = {}
        for name in self.given:
            if name not in self.classes:
                continue  # not known of these molecules, or what a task tells by itself
            classes = self.classes[name]
            if name == "bonds":
                present = mask[:, :, None] & mask[:, None, :]
                told[name] = F.one_hot(square(kinds[name]), classes).float() * present[..., None]
                about[name] = {"pairs": classes}
            else:
                told[name] = F.one_hot(kinds[name], classes).float() * mask[..., None]
                about[name] = {"channels": classes}
        return told, about

    def counted(self, counts: Tensor) -> Tensor:
        """Numbers of atoms of each element, (rows, elements), as the condition ``composition``; float32."""
        table = torch.tensor(self.composition, dtype=torch.float64)
        return ((counts.double() - table[:, 0]) / table[:, 1]).float()

    def counts(self, told: Any) -> Tensor:
        """And back: the condition ``composition`` as numbers of atoms, int64 (rows, elements)."""
        table = torch.tensor(self.composition, dtype=torch.float64)
        values = torch.as_tensor(told).cpu().double() * table[:, 1] + table[:, 0]
        return values.round().long().clamp(min=0)

    def decode(self, state: Any, condition: Mapping[str, Any] | None = None) -> list[Molecule]:
        """Molecules in angstrom; ``condition`` holds the ``mask`` of the state and the kinds that are given.

        Without a mask all places are atoms.
        """
        parts = state if isinstance(state, Mapping) else {"positions": state}
        positions = parts["positions"].detach().cpu().double()
        told = condition or {}
        rows, size = positions.shape[:2]
        mask = torch.as_tensor(told.get("mask", torch.ones(rows, size, dtype=torch.bool))).cpu()
        kinds = {name: self._kind(name, parts, told, rows, size) for name in self.classes}
        found = []
        for row in range(rows):
            here = mask[row].numpy()
            numbers = np.array(self.elements, dtype=np.int64)[kinds["elements"][row][here]]
            charges, bonds = None, None
            if "charges" in kinds:
                charges = np.array(self.charges, dtype=np.int64)[kinds["charges"][row][here]]
            if "bonds" in kinds:
                bonds = kinds["bonds"][row][here][:, here]
            found.append(Molecule(numbers, positions[row].numpy()[here], charges, bonds))
        return found

    def _kind(
        self, name: str, parts: Mapping[str, Tensor], told: Mapping[str, Any], rows: int, size: int
    ) -> np.ndarray:
        classes = self.classes[name]
        if name in parts:
            values = parts[name].detach().cpu().long()
            values = square(values) if name == "bonds" else values
        elif name in told:
            values = torch.as_tensor(told[name]).cpu().argmax(-1)
        elif classes == 1:
            values = torch.zeros((rows, size, size) if name == "bonds" else (rows, size), dtype=torch.int64)
        else:
            raise InputError(f"the {name} of these molecules are given: tell them as the condition {name!r}")
        return np.asarray(values.clamp(0, classes - 1).numpy())

    def record(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "elements": list(self.elements),
            "charges": list(self.charges),
            "orders": self.orders,
            "properties": [vars(known) for known in self.properties],
            "composition": [list(pair) for pair in self.composition],
            "sizes": {str(size): count for size, count in sorted(self.sizes.items())},
            "given": list(self.given),
            "hydrogens": self.hydrogens,
        }


def restore(record: Mapping[str, Any]) -> MoleculeEncoding:
    """The encoding that ``record`` was made of."""
    return MoleculeEncoding(
        tuple(record["elements"]),
        tuple(record["charges"]),
        record["orders"],
        tuple(Property(**known) for known in record["properties"]),
        tuple((mean, deviation) for mean, deviation in record["composition"]),
        {int(size): count for size, count in record["sizes"].items()},
        tuple(record["given"]),
        record["hydrogens"],
    )


def rows_of(state: Any) -> int:
    """How many molecules a state holds."""
    return len(tensors_of(state)[0])


def _places(values: np.ndarray, known: tuple[int, ...], what: str, molecule: Molecule) -> np.ndarray:
    table = {value: place for place, value in enumerate(known)}
    for value in values.tolist():
        if value not in table:
            told = [symbol_of(one) if what == "the element" else str(one) for one in (value, *known)]
            raise InputError(f"{_place(molecule)}: {what} {told[0]} is not among those known, {', '.join(told[1:])}")
    return np.array([table[value] for value in values.tolist()], dtype=np.int64)


def _place(molecule: Molecule) -> str:
    return molecule.source or molecule.name or "a molecule"

"""Crystals in angstrom to what a network sees, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.domains.crystals.lattices import cells_of, log_cells, wrapped
from unstir.domains.matter.elements import number_of
from unstir.domains.matter.sets import mask_of, padded
from unstir.domains.matter.structures import Crystal

TASKS = ("generate", "predict")
LEAST_SPREAD = 0.01
"""What numbers of the lattice are divided by at least: one per cent of a length, where all crystals have them alike."""


@dataclass(frozen=True)
class Scaling:
    """A property as a condition: (value - mean) / deviation."""

    name: str
    mean: float
    deviation: float

    def encode(self, values: np.ndarray) -> Tensor:
        """Values (rows,) in the property's own unit to float32 (rows, 1)."""
        return torch.from_numpy((np.asarray(values, dtype=np.float64) - self.mean) / self.deviation).float()[:, None]

    def decode(self, values: Tensor) -> np.ndarray:
        """Back to the property's own unit, float64 (rows,)."""
        return np.asarray(values.detach().cpu().double().numpy().reshape(len(values)) * self.deviation + self.mean)


@dataclass(frozen=True)
class CrystalEncoding:
    """The map of crystals to the parts ``fractional``, ``lattice`` and, where they are to be found, ``elements``.

    - ``elements``: the symbols that sites may have, in the order of their classes. ``task`` says whether they are a
      part of the state (``generate``) or told beforehand (``predict``), one-hot, as the condition ``elements``.
    - ``centre``, ``spreads``: the lattice's six numbers (``lattices``) less the mean of their diagonal, divided by one
      deviation for the diagonal and one for the others, so that axes may change names.
    - ``properties``: the scaling of each property that is told. ``told``: what ``tasks`` keeps of further conditions.
    - ``largest``: places for sites; ``sizes``: how many crystals of the data have 1, 2, ... of them.
    """

    elements: tuple[str, ...]
    centre: float
    spreads: tuple[float, float]
    task: str = "generate"
    properties: tuple[Scaling, ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict)
    sizes: tuple[int, ...] = ()

    @property
    def largest(self) -> int:
        """Places for sites in a state."""
        return len(self.sizes)

    @property
    def numbers(self) -> np.ndarray:
        """The atomic number of each class of elements, int64 (classes,)."""
        return np.array([number_of(symbol) for symbol in self.elements], dtype=np.int64)

    def encode(self, crystals: Sequence[Crystal]) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
        """The state, the mask, and the conditions elements and properties, a row for each crystal.

        fractional: float32 (rows, n, 3) in [0, 1); lattice: float32 (rows, 6); elements: int64 (rows, n), or float32
        (rows, n, classes) among the conditions; each property: float32 (rows, 1).
        """
        lengths = [len(crystal) for crystal in crystals]
        size = max(self.largest, *lengths)
        numbers = log_cells(np.stack([crystal.cell for crystal in crystals]), np.array(lengths))
        fractional = padded([crystal.fractional for crystal in crystals], size, torch.float32)
        state = {
            # the nearest float32 of what is just below one is one
            "fractional": torch.where(fractional >= 1, 0.0, fractional),
            "lattice": torch.from_numpy((numbers - self._centre) / self._spread).float(),
        }
        classes = padded([self.classes(crystal) for crystal in crystals], size, torch.int64)
        mask = mask_of(lengths, size)
        told: dict[str, Tensor] = {}
        if self.task == "predict":
            told["elements"] = self.one_hot(classes, mask)
        else:
            state["elements"] = classes
        for scaling in self.properties:
            told[scaling.name] = scaling.encode(np.array([crystal.properties[scaling.name] for crystal in crystals]))
        return state, mask, told

    def decode(self, state: Mapping[str, Tensor], condition: Mapping[str, Tensor] | None = None) -> list[Crystal]:
        """The crystals of a state, in standard orientation; float64, in angstrom.

        ``condition`` is what they were drawn under: the mask, without which every place has an atom, and the elements
        where these were told. A place whose element is still unknown (a masked token) has the atomic number 0.
        """
        told = condition or {}
        fractional = state["fractional"].detach().cpu().double().numpy()
        rows, size = fractional.shape[:2]
        mask = told.get("mask", torch.ones(rows, size, dtype=torch.bool)).cpu().numpy()
        numbers = state["lattice"].detach().cpu().double().numpy() * self._spread + self._centre
        if not (np.isfinite(fractional[mask]).all() and np.isfinite(numbers).all()):
            raise InputError("these samples hold numbers that are not finite; train longer or at a lower learning rate")
        cells = cells_of(numbers, np.maximum(mask.sum(1), 1))
        atomic = np.append(self.numbers, 0)[self._classes(state, told, mask)]
        return [Crystal(atomic[row][mask[row]], wrapped(fractional[row][mask[row]]), cells[row]) for row in range(rows)]

    def classes(self, crystal: Crystal) -> np.ndarray:
        """The class of each site's element, int64 (n,); InputError for an element that this encoding has not."""
        table = {int(number): place for place, number in enumerate(self.numbers)}
        if missing := sorted(set(crystal.numbers.tolist()) - set(table)):
            raise InputError(
                f"{crystal.source or 'a crystal'}: atomic numbers {missing} are not among the elements known here: "
                f"{', '.join(self.elements)}"
            )
        return np.array([table[number] for number in crystal.numbers.tolist()], dtype=np.int64)

    def one_hot(self, classes: Tensor, mask: Tensor) -> Tensor:
        """Classes (rows, n) as the condition ``elements``, float32 (rows, n, classes), zero at padded places."""
        return torch.nn.functional.one_hot(classes, len(self.elements)).float() * mask[..., None]

    def record(self) -> dict[str, Any]:
        """The encoding as plain values."""
        plain = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    @property
    def _centre(self) -> np.ndarray:
        return np.array([self.centre] * 3 + [0.0] * 3)

    @property
    def _spread(self) -> np.ndarray:
        return np.repeat(self.spreads, 3)

    def _classes(self, state: Mapping[str, Tensor], told: Mapping[str, Tensor], mask: np.ndarray) -> np.ndarray:
        if self.task == "predict":
            if "elements" not in told:
                raise InputError(
                    "crystals of this run have their elements from the condition `elements`, which is not given"
                )
            classes = told["elements"].argmax(-1)
        else:
            classes = state["elements"]
        found = np.where(mask, classes.detach().cpu().numpy(), 0)
        if found.min() < 0 or found.max() > len(self.elements):
            raise InputError(f"classes of elements from {found.min()} to {found.max()}, but there are {self.elements}")
        return np.asarray(found)


def restore(record: Mapping[str, Any]) -> CrystalEncoding:
    """The encoding that ``record()`` came from."""
    return CrystalEncoding(
        elements=tuple(record["elements"]),
        centre=float(record["centre"]),
        spreads=(float(record["spreads"][0]), float(record["spreads"][1])),
        task=str(record["task"]),
        properties=tuple(Scaling(**each) for each in record["properties"]),
        told=dict(record["told"]),
        sizes=tuple(int(size) for size in record["sizes"]),
    )


def lattice_scale(crystals: Sequence[Crystal]) -> tuple[float, tuple[float, float]]:
    """The centre and the spreads of the lattices of these crystals, as ``CrystalEncoding`` takes them."""
    cells, lengths = np.stack([crystal.cell for crystal in crystals]), np.array([len(each) for each in crystals])
    numbers = log_cells(cells, lengths)
    centre = float(numbers[:, :3].mean())
    diagonal, others = float((numbers[:, :3] - centre).std()), float(np.sqrt(np.mean(numbers[:, 3:] ** 2)))
    return centre, (max(diagonal, LEAST_SPREAD), max(others, LEAST_SPREAD))

"""New molecules in the likeness of one that is told: of its shape, or with groups where it has them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from unstir.core.catalogue import build
from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.domains.base import Asked
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.asking import ask
from unstir.domains.molecules.encoding import MoleculeEncoding
from unstir.domains.molecules.tasks.shapes import KINDS, PharmacophoreEnergy, ShapeEnergy, pharmacophore
from unstir.guidance.energy import EnergyGuidance
from unstir.samplers.base import sample

LIKENESSES = ("shape", "pharmacophore")
_SIZES = "sizes"
_COUNTED = {"atoms", "formula"}
_OPTIONS: dict[str, Any] = {"strength": 1.0, "kinds": "donor,acceptor"}


def alike(asked: Asked, encoding: MoleculeEncoding, reference: Molecule, by: str) -> list[Molecule]:
    """Molecules drawn by a run, guided by an energy towards the likeness of a reference, in whose frame they lie.

    ``asked.options`` are ``strength``, how much is made of the energy; ``kinds`` of a pharmacophore's groups,
    ``donor,acceptor``; and the words of ``asking``: without any for the size, molecules have as many atoms as the
    reference. Each member has the share of the reference's volume that it fills, or the distance of its nearest fitting
    atom to the pharmacophore's points, as a property.

    Raises InputError for a likeness that is not known and options that do not fit.
    """
    if encoding.given:
        raise InputError("this run draws conformers; molecules in the likeness of one are drawn by one that makes them")
    if reference.positions is None:
        raise InputError(f"{reference.source or 'the reference'} has no positions, hence no shape")
    options = {name: asked.options.get(name, value) for name, value in _OPTIONS.items()}
    words = {name: value for name, value in asked.options.items() if name not in (*_OPTIONS, "by")}
    strength = options["strength"]
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not strength >= 0:
        raise InputError(f"the strength of a likeness is a number from 0 on; seen {strength!r}")
    energy, measure = _energy(encoding, reference, by, options)
    seeds = Seeds.range(asked.seed, asked.members)
    told = ask(encoding, words if _COUNTED & set(words) else {**words, "atoms": len(reference)}, seeds)
    told[_SIZES] = told["mask"].sum(1)
    size = encoding.largest
    shapes = {"positions": (size, 3), "bonds": (size * (size - 1) // 2,)}
    shape = {name: shapes.get(name, (size,)) for name in encoding.parts}
    guide = EnergyGuidance(asked.denoiser, energy, strength, told=(_SIZES,))
    state = sample(
        guide,
        build("samplers", asked.sampling.get("sampler") or "ancestral"),
        shape,
        seeds=seeds,
        condition=told,
        **{name: asked.sampling[name] for name in ("steps", "grid", "batch") if name in asked.sampling},
    )
    found = measure(encoding, state, told[_SIZES])
    named = {"shape": "shape_overlap", "pharmacophore": "pharmacophore_distance"}[by]
    return [
        replace(
            one,
            name=f"{reference.name or asked.path.stem}, like {row}",
            properties={**one.properties, named: round(float(found[row]), 4)},
        )
        for row, one in enumerate(encoding.decode(state, told))
    ]


def _energy(
    encoding: MoleculeEncoding, reference: Molecule, by: str, options: dict[str, Any]
) -> tuple[nn.Module, Callable[[MoleculeEncoding, Any, Tensor], Tensor]]:
    """The energy, and the measure (samples,) of how alike samples are."""
    if by == "shape":
        shape = ShapeEnergy.of(encoding, reference)

        def filled(encoding: MoleculeEncoding, state: Any, sizes: Tensor) -> Tensor:
            return shape.similarity(_clean(encoding, state), sizes)

        return shape, filled
    if by != "pharmacophore":
        raise unknown("likeness", by, LIKENESSES)
    if "elements" not in encoding.parts:
        raise InputError("a pharmacophore's points are filled by fitting elements, and this run knows one alone")
    kinds = [kind.strip() for kind in str(options["kinds"]).split(",")]
    points, fitting = pharmacophore(reference, kinds)
    allowed = [[float(number in one) for number in encoding.elements] for one in fitting]
    if empty := [place for place, row in enumerate(allowed) if not any(row)]:
        raise InputError(
            f"no element of this run fills the groups {', '.join(kinds)} of the reference (point {empty[0]}); ask for "
            f"others of {', '.join(KINDS)}"
        )
    energy = PharmacophoreEnergy(points, allowed)

    def apart(encoding: MoleculeEncoding, state: Any, sizes: Tensor) -> Tensor:
        return energy.distances(_clean(encoding, state), sizes).mean(1)

    return energy, apart


def _clean(encoding: MoleculeEncoding, state: Any) -> dict[str, Tensor]:
    """Samples as an energy sees them: elements as probabilities, of which one is one."""
    found = {"positions": state["positions"]}
    if "elements" in state:
        found["elements"] = nn.functional.one_hot(state["elements"], len(encoding.elements)).double()
    return found

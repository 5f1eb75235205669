r"""Energies and forces, by any of ASE's calculators; how far a crystal lies above the hull of known ones.

The *hull* at a composition is the least energy per atom that any mixture of known crystals of this composition has,

.. math::  E_\text{hull}(x) = \min_{\lambda \ge 0} \sum_k \lambda_k e_k
           \quad\text{with}\quad \sum_k \lambda_k x_k = x ,

a linear programme; the *energy above the hull* is e minus that, negative for a crystal that would be a new corner.
Samples and the known must have their energies from one calculator: those of a force field and of density functional
theory do not belong in one table.

Reference: Ong et al., Li-Fe-P-O2 phase diagram from first principles calculations (2008), for the hull; Larsen et al.,
The atomic simulation environment (2017), for calculators.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from unstir.core.errors import InputError, NotInstalledError, unknown
from unstir.domains.crystals.convert import from_ase, to_ase
from unstir.domains.crystals.measures.validity import keeps_apart
from unstir.domains.matter.structures import Crystal


@dataclass(frozen=True, eq=False)
class Energies:
    """Of each crystal: energy in eV per atom and the largest force on an atom in eV/angstrom, float64 (n,).

    nan where the calculator failed or was not asked, atoms being nearer than half an angstrom; ``failures`` says why.
    """

    per_atom: np.ndarray
    force: np.ndarray
    relaxed: tuple[Crystal, ...]
    failures: tuple[str, ...] = ()


def energies(crystals: Sequence[Crystal], calculator: Any, steps: int = 0) -> Energies:
    """Energies of crystals by a calculator of ASE's, an object or a name of ``CALCULATORS``.

    ``steps``: at most so many of relaxation (FIRE; atoms and cell) before. Raises InputError for what is no calculator.

    Reference: Bitzek et al., Structural relaxation made simple (2006), FIRE.
    """
    engine = named(calculator) if isinstance(calculator, str) else calculator
    if not callable(getattr(engine, "get_potential_energy", None)):
        raise InputError(
            f"an ASE calculator is needed, seen {type(engine).__name__}; give an object, or a name: "
            f"{', '.join(CALCULATORS)}"
        )
    energy, force = np.full((2, len(crystals)), np.nan)
    relaxed, failures = list(crystals), []
    for row, crystal in enumerate(crystals):
        if not keeps_apart(crystal):
            failures.append(f"{row}: atoms nearer than half an angstrom")
            continue
        atoms = to_ase(crystal)
        atoms.calc = engine
        try:
            if steps:
                _relax(atoms, steps)
            energy[row] = float(atoms.get_potential_energy()) / len(crystal)
            force[row] = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
            relaxed[row] = from_ase(atoms, source=crystal.source) if steps else crystal
        except Exception as error:  # calculators raise whatever they like; one crystal must not stop the others
            failures.append(f"{row}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            energy[row] = force[row] = np.nan
    return Energies(energy, force, tuple(relaxed), tuple(failures))


def above_hull(
    crystals: Sequence[Crystal], per_atom: np.ndarray, known: Sequence[Crystal], known_per_atom: np.ndarray
) -> np.ndarray:
    """Energy above the hull of the known crystals in eV per atom, float64 (n,).

    nan where the energy is, or where the known crystals hold no mixture of this composition.
    """
    if len(crystals) != len(per_atom) or len(known) != len(known_per_atom):
        raise InputError("one energy for each crystal is needed")
    useful = np.flatnonzero(np.isfinite(known_per_atom))
    compositions = [_shares(known[int(place)]) for place in useful]
    corners = np.asarray(known_per_atom, dtype=np.float64)[useful]
    return np.array(
        [
            energy - _hull(_shares(crystal), compositions, corners) if np.isfinite(energy) else np.nan
            for crystal, energy in zip(crystals, per_atom, strict=True)
        ]
    )


def named(name: str) -> Any:
    """A calculator of an installed package with its own default model; an error names what is missing.

    For another model or package make the calculator in Python and give the object.
    """
    if name not in CALCULATORS:
        raise unknown("calculator", name, CALCULATORS)
    return CALCULATORS[name]()


def _hull(wanted: dict[int, float], compositions: list[dict[int, float]], corners: np.ndarray) -> float:
    """The least energy of a mixture of this composition; nan if there is none."""
    from scipy.optimize import linprog

    inside = [place for place, shares in enumerate(compositions) if set(shares) <= set(wanted)]
    if not inside:
        return float("nan")
    elements = sorted(wanted)
    mixture = np.array([[compositions[place].get(element, 0.0) for place in inside] for element in elements])
    found = linprog(corners[inside], A_eq=mixture, b_eq=[wanted[element] for element in elements], method="highs")
    return float(found.fun) if found.status == 0 else float("nan")


def _shares(crystal: Crystal) -> dict[int, float]:
    numbers, many = np.unique(crystal.numbers, return_counts=True)
    return dict(zip(numbers.tolist(), (many / len(crystal)).tolist(), strict=True))


def _relax(atoms: Any, steps: int) -> None:
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE

    FIRE(cast(Any, FrechetCellFilter(atoms)), logfile=cast(Any, None)).run(fmax=0.05, steps=steps)


def _tblite() -> Any:
    try:
        from tblite.ase import TBLite
    except ImportError:
        raise NotInstalledError("tblite", "energies", "the calculator tblite (GFN1-xTB)") from None
    # the second parametrisation is made for molecules
    return TBLite(method="GFN1-xTB", verbosity=0)


def _chgnet() -> Any:
    return _module("chgnet", "chgnet.model.dynamics").CHGNetCalculator()


def _mace() -> Any:
    return _module("mace-torch", "mace.calculators").mace_mp(model="small", default_dtype="float64")


def _module(package: str, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"this calculator needs the package {package!r}, which cannot be imported ({error}); install it with `pip "
            f"install {package}`, or take another one: {', '.join(CALCULATORS)}"
        ) from None


def _emt() -> Any:
    try:
        from ase.calculators.emt import EMT
    except ImportError:
        raise NotInstalledError(
            "ase", "crystals", "the calculator emt (metals of ASE's effective medium theory)"
        ) from None
    return EMT()


CALCULATORS: dict[str, Callable[[], Any]] = {"emt": _emt, "tblite": _tblite, "chgnet": _chgnet, "mace": _mace}
"""By name: emt for a few metals, tblite for GFN1-xTB, chgnet and mace for networks; mace fetches its own weights."""

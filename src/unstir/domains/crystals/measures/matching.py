r"""Whether predicted crystals are the true ones, and how far off their atoms are.

Two crystals *match* if one maps onto the other, however each was told: by another cell, origin, orientation or order of
its sites. What remains is the root mean square displacement of the atoms,

.. math::  r = \sqrt{\tfrac1n \sum_i |\delta_i|^2} \Big/ \sqrt[3]{V/n},

in units of the cube root of the volume per atom: 0.05 is about an eighth of an angstrom in oxides. Both are brought to
one volume first, so that a wrong volume costs nothing here.

Reference: Ong et al., Python materials genomics (2013), for StructureMatcher; Xie et al., Crystal diffusion variational
autoencoder for periodic material generation (ICLR 2022), section 5.1, for match rate and RMSE with these tolerances;
Martirossyan et al., All that structure matches does not glitter (2025), for METRe and cRMSE.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from unstir.core.errors import InputError, NotInstalledError
from unstir.domains.crystals.convert import from_pymatgen, to_pymatgen
from unstir.domains.crystals.data import formula_of
from unstir.domains.crystals.lattices import lower
from unstir.domains.matter.structures import Crystal

FLATTEST = 60.0
"""A cell more than so many times as long as it is wide is told to match nothing; reducing it may never end."""


class Tolerances(NamedTuple):
    """What still counts as the same: sites (in cube roots of the volume per atom), lengths (a share), angles (degrees).

    A match needs an r below ``sites``, so that no matched pair has a larger one.
    """

    sites: float = 0.5
    lengths: float = 0.3
    angles: float = 10.0


LITERATURE = Tolerances()
"""Those of published match rates: loose. A third of the distance to the neighbours may be off."""
STRICT = Tolerances(0.3, 0.2, 5.0)
"""StructureMatcher's own, by which two crystals count as duplicates."""


@dataclass(frozen=True, eq=False)
class Matches:
    """Crystals held against true ones.

    ``each`` float64 (n,): r of every pair that matches, nan for those that do not. ``worst``: the tolerance, the r that
    a pair without a match is charged with.
    """

    each: np.ndarray
    worst: float = LITERATURE.sites

    @property
    def found(self) -> np.ndarray:
        """Which matched, boolean (n,)."""
        return np.asarray(np.isfinite(self.each))

    @property
    def rate(self) -> float:
        """The share that matched."""
        return float(self.found.mean())

    @property
    def rmse(self) -> float:
        """The mean r of those that matched, as published tables have it; nan if none did.

        It falls when hard cases are lost: read it beside the rate only.
        """
        return float(self.each[self.found].mean()) if self.found.any() else float("nan")

    @property
    def corrected(self) -> np.ndarray:
        """r with the tolerance in the place of those that did not match, float64 (n,)."""
        return np.asarray(np.where(self.found, self.each, self.worst))

    @property
    def crmse(self) -> float:
        """The mean of ``corrected``: the cRMSE, one number that neither a lost nor a loose match makes better."""
        return float(self.corrected.mean())


def match(samples: Sequence[Crystal], truths: Sequence[Crystal], tolerances: Tolerances = LITERATURE) -> Matches:
    """Each sample against the truth of the same place, pair by pair: ``rate``, ``rmse`` and ``each`` (n,).

    Published rates often leave out samples of a composition that SMACT refuses before they match; here none is left
    out. Some 50 ms a pair. Raises InputError for different numbers of samples and truths, or none.
    """
    if len(samples) != len(truths) or not truths:
        raise InputError(
            f"{len(samples)} samples for {len(truths)} true crystals: one each, and at least one, are needed; to hold "
            "several samples against one crystal take match_everyone"
        )
    pairs = zip(samples, truths, strict=True)
    return Matches(np.array([distance(sample, truth, tolerances) for sample, truth in pairs]), tolerances.sites)


def match_everyone(
    samples: Sequence[Crystal], truths: Sequence[Crystal], tolerances: Tolerances = LITERATURE
) -> Matches:
    """Each truth against all samples of its composition, the best of which counts: ``each`` has a place for each truth.

    ``rate`` is then the METRe ("match everyone to the reference") and ``crmse`` the cRMSE. Polymorphs, different
    crystals of one composition, cannot be told apart beforehand: a sample that is another one's crystal is right here,
    and one crystal drawn again and again finds but one of them. Give ``truths`` without duplicates (``distinct``).
    """
    if not truths or not samples:
        raise InputError(f"{len(samples)} samples, {len(truths)} true crystals: at least one of each is needed")
    by_formula: dict[Any, list[Crystal]] = {}
    for sample in samples:
        by_formula.setdefault(formula_of(sample), []).append(sample)
    best = [
        _least(distance(sample, truth, tolerances) for sample in by_formula.get(formula_of(truth), []))
        for truth in truths
    ]
    return Matches(np.array(best), tolerances.sites)


def distinct(crystals: Sequence[Crystal], tolerances: Tolerances = STRICT) -> np.ndarray:
    """For each crystal the place of the first that it is the same as, itself if it is new; int64 (n,)."""
    found = np.arange(len(crystals))
    firsts: dict[Any, list[int]] = {}
    for place, crystal in enumerate(crystals):
        rivals = firsts.setdefault(formula_of(crystal), [])
        same = next((other for other in rivals if alike(crystal, crystals[other], tolerances)), None)
        if same is None:
            rivals.append(place)
        else:
            found[place] = same
    return found


def among(crystals: Sequence[Crystal], known: Sequence[Crystal], tolerances: Tolerances = STRICT) -> np.ndarray:
    """For each crystal the place of the first of the ``known`` that it is the same as, -1 for none; int64 (n,)."""
    by_formula: dict[Any, list[int]] = {}
    for place, crystal in enumerate(known):
        by_formula.setdefault(formula_of(crystal), []).append(place)
    found = [
        next((at for at in by_formula.get(formula_of(each), []) if alike(each, known[at], tolerances)), -1)
        for each in crystals
    ]
    return np.array(found, dtype=np.int64)


@functools.lru_cache(maxsize=65536)
def distance(sample: Crystal, truth: Crystal, tolerances: Tolerances = LITERATURE) -> float:
    """r of two crystals, nan where they do not match; asked once for the same two objects."""
    if not comparable(sample, truth):
        return float("nan")
    found = _asked(lambda: _matcher(tolerances).get_rms_dist(_structure(sample), _structure(truth)))
    return float("nan") if found is None else float(found[0])


def aligned(sample: Crystal, truth: Crystal, tolerances: Tolerances = LITERATURE) -> Crystal:
    """The sample told in the truth's cell, origin and orientation, to be looked at beside it; as it is if unmatched.

    Both have as many sites. What is left of the difference is the displacement of the atoms and the strain of the cell.
    """
    if not comparable(sample, truth):
        return sample
    found = _asked(lambda: _matcher(tolerances, primitive=False).get_s2_like_s1(_structure(truth), _structure(sample)))
    if found is None:
        return sample
    turned = from_pymatgen(found)
    return Crystal(turned.numbers, turned.fractional, lower(turned.cell), {}, sample.name, sample.source)


def alike(one: Crystal, other: Crystal, tolerances: Tolerances = STRICT) -> bool:
    """Whether two crystals are the same: the largest displacement of an atom is within the tolerance."""
    if not comparable(one, other):
        return False
    return bool(_asked(lambda: _matcher(tolerances).fit(_structure(one), _structure(other))))


def comparable(one: Crystal, other: Crystal) -> bool:
    """Whether it makes sense to ask: one formula, known elements, and cells that are no needles or sheets."""
    return formula_of(one) == formula_of(other) and all(
        len(crystal) > 0 and crystal.numbers.min() > 0 and _stout(crystal) for crystal in (one, other)
    )


def _stout(crystal: Crystal) -> bool:
    if not np.isfinite(crystal.cell).all():
        return False
    stretches = np.linalg.svd(crystal.cell, compute_uv=False)
    return bool(stretches[-1] > 0 and stretches[0] <= FLATTEST * stretches[-1])


def _least(distances: Iterable[float]) -> float:
    return min((each for each in distances if np.isfinite(each)), default=float("nan"))


def _asked(question: Any) -> Any:
    """StructureMatcher's answer; None where a cell cannot be reduced, so that nothing can match it."""
    try:
        return question()
    except (ValueError, RuntimeError, ArithmeticError, np.linalg.LinAlgError):
        return None


@functools.cache
def _matcher(tolerances: Tolerances, primitive: bool = True) -> Any:
    try:
        from pymatgen.analysis.structure_matcher import StructureMatcher
    except ImportError:
        raise NotInstalledError("pymatgen", "crystals", "matching crystals") from None
    return StructureMatcher(
        stol=tolerances.sites, ltol=tolerances.lengths, angle_tol=tolerances.angles, primitive_cell=primitive
    )


@functools.lru_cache(maxsize=4096)
def _structure(crystal: Crystal) -> Any:
    """pymatgen's, made once: crystals are frozen and told apart by their identity."""
    return to_pymatgen(crystal)

r"""What a crystal looks like, as numbers that do not depend on how it is told.

Distances are in units of the cube root of the volume per atom, so that a structure has one fingerprint at all sizes.
Each atom sees *shells*, the density of the others at distance r over their mean density,

.. math::  g_i(r) = \frac{1}{4 \pi r^2} \sum_j \frac{1}{\sqrt{2\pi}\,w} e^{-(r_{ij} - r)^2 / 2 w^2},

and *angles*, Steinhardt's bond-orientational order of its first shell, whose weights fall smoothly to zero,

.. math::  q_{l,i}^2 = \sum_{jk} w_{ij} w_{ik} P_l(\cos \gamma_{jik}) \Big/ \Big(\sum_j w_{ij}\Big)^2 .

A crystal's fingerprint is their mean and their deviation over its atoms, and how much of the first shell is of the
atom's own element. It is the same for every cell, orientation, origin and order of the sites, and changes smoothly as
atoms move.

Reference: Steinhardt, Nelson, Ronchetti, Bond-orientational order in liquids and glasses (1983), equation 1.3, summed
by the addition theorem; Oganov, Valle, How to quantify energy landscapes of solids (2009), for the shells.
"""

import functools
from collections.abc import Sequence

import numpy as np
from scipy.special import eval_legendre

from unstir.domains.crystals.measures.neighbours import near
from unstir.domains.matter.elements import features
from unstir.domains.matter.structures import Crystal

REACH, WIDTH, STEP = 2.5, 0.12, 0.1
"""How far shells go, how wide a Gaussian and how far apart their centres are, in cube roots of the volume per atom."""
ORDERS = (2, 3, 4, 6, 8)
"""The orders l of the angles."""
SHELL = (1.0, 1.6)
"""Up to where a neighbour counts whole, and from where not at all: 12 neighbours in closest packing, 4 in diamond."""
_CENTRES = np.arange(0.5, REACH - 2 * WIDTH, STEP)


def structures(crystals: Sequence[Crystal]) -> np.ndarray:
    """The fingerprints of structure, float64 (n, features). Raises InputError for a cell without volume."""
    return np.stack([structure(crystal) for crystal in crystals])


@functools.lru_cache(maxsize=16384)
def structure(crystal: Crystal) -> np.ndarray:
    """The fingerprint of structure of one crystal, float64 (features,): shells, angles, own elements."""
    count = len(crystal)
    unit = float(np.cbrt(crystal.volume / count))
    found = near(crystal, REACH * unit)
    away = found.distances / unit
    told = np.zeros((count, len(_CENTRES) + len(ORDERS) + 1))
    heights = np.exp(-(((away[:, None] - _CENTRES) / WIDTH) ** 2) / 2)
    np.add.at(told[:, : len(_CENTRES)], found.first, heights / (np.sqrt(2 * np.pi) * WIDTH * 4 * np.pi * _CENTRES**2))
    weights = _weights(away)
    for atom in range(count):
        chosen = np.flatnonzero((found.first == atom) & (weights > 0))
        if not len(chosen):
            continue
        total = weights[chosen].sum()
        unit_ways = found.ways[chosen] / np.maximum(found.distances[chosen, None], 1e-9)
        cosines = np.clip(unit_ways @ unit_ways.T, -1, 1)
        pairs = np.outer(weights[chosen], weights[chosen])
        for place, order in enumerate(ORDERS, len(_CENTRES)):
            told[atom, place] = np.sqrt(max((pairs * eval_legendre(order, cosines)).sum(), 0.0)) / total
        own = crystal.numbers[found.second[chosen]] == crystal.numbers[atom]
        told[atom, -1] = weights[chosen][own].sum() / total
    return np.concatenate((told.mean(0), told.std(0)))


def shells(crystals: Sequence[Crystal]) -> tuple[np.ndarray, np.ndarray]:
    """Distances r in cube roots of the volume per atom, and the mean over crystals and their atoms of g(r) there."""
    return _CENTRES.copy(), np.asarray(structures(crystals)[:, : len(_CENTRES)].mean(0))


def compositions(crystals: Sequence[Crystal]) -> np.ndarray:
    """What the elements are like: mean, deviation, least and largest of each of their features, float64 (n, 40).

    Sites count alike, so that polymorphs have one composition.

    Reference: Ward et al., A general-purpose machine learning framework for predicting properties of inorganic
    materials (2016), for statistics of the elements' properties.
    """
    found = []
    for crystal in crystals:
        told = features(crystal.numbers).astype(np.float64)
        found.append(np.concatenate((told.mean(0), told.std(0), told.min(0), told.max(0))))
    return np.stack(found)


def _weights(away: np.ndarray) -> np.ndarray:
    inner, outer = SHELL
    share = np.clip((away - inner) / (outer - inner), 0, 1)
    return np.asarray((1 + np.cos(np.pi * share)) / 2)

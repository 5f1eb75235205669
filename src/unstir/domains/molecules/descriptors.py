"""Numbers that RDKit computes of a molecule's graph, by name."""

from collections.abc import Callable
from typing import Any

from unstir.core.errors import unknown
from unstir.domains.molecules.files.convert import rdkit_chem

PREFIX = "rdkit:"
SHORT = {
    "logp": "MolLogP",
    "tpsa": "TPSA",
    "weight": "MolWt",
    "qed": "qed",
    "rings": "RingCount",
    "rotatable": "NumRotatableBonds",
    "donors": "NumHDonors",
    "acceptors": "NumHAcceptors",
    "sp3": "FractionCSP3",
    "refractivity": "MolMR",
    "heavy": "HeavyAtomCount",
}
"""Short names of RDKit's descriptors; its own names serve too, ``rdkit:BertzCT``."""


def descriptor(key: str) -> Callable[[Any], float]:
    """The function of RDKit's ``Mol`` that ``rdkit:logp`` names; hydrogens that are written out do not change it.

    Raises InputError with the nearest name for one that is not known.

    Reference: Wildman, Crippen, Prediction of physicochemical parameters by atomic contributions (1999), for logp and
    refractivity; Ertl, Rohde, Selzer, Fast calculation of molecular polar surface area (2000), for tpsa; Bickerton et
    al., Quantifying the chemical beauty of drugs (2012), for qed.
    """
    Chem = rdkit_chem("computing properties")
    from rdkit.Chem import Descriptors

    known = dict(Descriptors.descList)
    name = key.removeprefix(PREFIX)
    if SHORT.get(name.lower(), name) not in known:
        raise unknown("property that RDKit computes", name, [*SHORT, *known])
    compute = known[SHORT.get(name.lower(), name)]
    return lambda mol: float(compute(Chem.RemoveHs(mol)))

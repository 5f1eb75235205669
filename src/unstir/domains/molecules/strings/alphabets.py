"""Molecules written as strings: SMILES, or SELFIES, of which every string is a molecule."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from unstir.core.errors import InputError, NotInstalledError
from unstir.domains.molecules.files.convert import EXTRA, rdkit_chem

ALPHABETS = ("selfies", "smiles")
_SMILES = re.compile(r"\[[^\]]*\]|Br|Cl|%\d\d|.")
_SELFIES = re.compile(r"\[[^\]]*\]|\.")


def tokens_of(smiles: str, alphabet: str) -> list[str]:
    """The tokens of a SMILES in an alphabet: atoms, bonds, branches and rings.

    Raises InputError for a molecule that SELFIES has no string for, one with a valence beyond those that it allows.

    Reference: Weininger, SMILES, a chemical language and information system (1988); Krenn et al., Self-referencing
    embedded strings (SELFIES): a 100% robust molecular string representation (2020).
    """
    if alphabet == "smiles":
        return _SMILES.findall(smiles)
    selfies = _selfies()
    try:
        return _SELFIES.findall(selfies.encoder(smiles))
    except selfies.EncoderError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise InputError(f"SELFIES has no string for it ({lines[0] if lines else 'no reason given'})") from None


def smiles_of_tokens(tokens: Sequence[str], alphabet: str) -> str:
    """The canonical SMILES of a string of tokens; empty where it is no molecule.

    RDKit judges what is one: brackets and rings must close, and no atom may have more bonds than it can. The empty
    string is none.
    """
    Chem = rdkit_chem("reading SMILES")
    text = "".join(tokens)
    if alphabet == "selfies":
        selfies = _selfies()
        try:
            text = selfies.decoder(text)
        except selfies.DecoderError:
            return ""
    with silent():
        mol = Chem.MolFromSmiles(text) if text else None
        return "" if mol is None or not mol.GetNumAtoms() else str(Chem.MolToSmiles(mol))


def _selfies() -> Any:
    try:
        import selfies
    except ImportError:
        raise NotInstalledError(
            "selfies", EXTRA, "molecules as SELFIES (`data.alphabet=smiles` does without)"
        ) from None
    return selfies


@contextmanager
def silent() -> Iterator[None]:
    """Keeps RDKit's messages off the screen, warnings too."""
    rdkit_chem("reading SMILES")
    from rdkit import rdBase

    with rdBase.BlockLogs():
        yield

"""SDF and MOL: atoms, bonds, charges and fields of data, entry by entry."""

from collections.abc import Iterator
from pathlib import Path

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.matter.structures import Molecule, Unread
from unstir.domains.molecules.files.convert import from_rdkit, numbers_among, quiet, rdkit_chem
from unstir.domains.molecules.perceiving import conformer


def read_sdf(path: Path, aromatic: bool = False, embed: int | None = None) -> Iterator[Molecule | Unread]:
    """The entries of a file, in their order; those that cannot be read as ``Unread``, with RDKit's reason.

    Valences are checked as RDKit does. An entry that is a drawing in the plane has no positions; or, if ``embed`` gives
    a seed, all hydrogens and a conformer.
    """
    Chem = rdkit_chem("reading SDF files")
    text = path.read_text(encoding="utf-8", errors="replace")
    supplier = Chem.SDMolSupplier()
    supplier.SetData(text, sanitize=False, removeHs=False)
    for place in range(len(supplier)):
        source = f"{path.name}, entry {place + 1}"
        if not supplier.GetItemText(place).strip("$ \r\n"):
            continue  # blank lines behind the last entry
        with quiet() as reasons:
            mol = supplier[place]
        if mol is None:
            yield Unread(source, reasons[0] if reasons else "RDKit cannot read its table of atoms and bonds")
            continue
        try:
            with quiet():
                Chem.SanitizeMol(mol)
                told = numbers_among(mol.GetPropsAsDict())
                if embed is not None and not mol.GetConformer().Is3D():
                    mol = conformer(mol, Seeds.range(embed, 1, start=place))
            yield from_rdkit(mol, source, properties=told, aromatic=aromatic)
        except (InputError, ValueError) as error:
            yield Unread(source, str(error).strip())

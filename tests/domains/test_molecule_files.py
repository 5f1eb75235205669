import sys

import numpy as np
import pytest

from unstir.core.errors import InputError, NotInstalledError
from unstir.core.seeds import Seeds
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.files.convert import bond_table, from_ase, from_rdkit, to_ase, to_rdkit
from unstir.domains.molecules.files.reading import KINDS, read_file
from unstir.domains.molecules.files.tables import Row, molecule_of, table_rows
from unstir.domains.molecules.files.writing import SUFFIXES, contents, formula_of, smiles_of, write_file
from unstir.domains.molecules.perceiving import with_bonds, with_hydrogens, with_positions, without_hydrogens

Chem = pytest.importorskip("rdkit.Chem")
embedding = pytest.importorskip("rdkit.Chem.rdDistGeom")
ase = pytest.importorskip("ase")

SMILES = ("CCO", "c1ccncc1", "C[N+](=O)[O-]", "CC#N", "N[C@@H](C)C(=O)O", "FC(F)F")
WATER = "3\n\nO 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477\n"


@pytest.fixture(scope="module")
def molecules():
    """A conformer of each, by RDKit alone, with a number and a name."""
    found = []
    for number, smiles in enumerate(SMILES):
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        embedding.EmbedMolecule(mol, randomSeed=number + 1)
        found.append(from_rdkit(mol, properties={"gap": 0.1 * number - 0.25}, name=f"mol {number}"))
    return found


def same(first, second, places=0.0):
    assert np.array_equal(first.numbers, second.numbers)
    assert np.array_equal(first.charges, second.charges)
    assert np.array_equal(first.bonds, second.bonds)
    assert np.abs(first.positions - second.positions).max() <= places
    assert dict(first.properties) == pytest.approx(dict(second.properties), abs=1e-12)
    assert first.name == second.name


@pytest.mark.parametrize(
    ("suffix", "places"), [(".sdf", 5.1e-5), (".extxyz", 0.0), (".db", 1e-12)], ids=["sdf", "extxyz", "ase-db"]
)
def test_what_is_written_is_read_back(molecules, tmp_path, suffix, places):
    path = write_file(molecules, tmp_path / f"all{suffix}")
    read = read_file(path)
    assert not read.unread and len(read.structures) == len(molecules)
    for before, after in zip(molecules, read.structures, strict=True):
        same(before, after, places)
        assert after.source.startswith(path.name)


def test_plain_xyz_keeps_elements_and_places(molecules, tmp_path):
    read = read_file(write_file(molecules, tmp_path / "all.xyz")).structures
    for before, after in zip(molecules, read, strict=True):
        assert np.array_equal(before.numbers, after.numbers) and np.array_equal(before.positions, after.positions)
        assert after.bonds is None and after.charges is None and after.name == before.name


def test_single_precision_comes_back_to_the_bit(molecules, tmp_path):
    one = molecules[0]
    single = Molecule(one.numbers, one.positions.astype(np.float32).astype(np.float64))
    text = contents([single], ".extxyz").decode()
    assert max(len(cell) for cell in text.splitlines()[2].split()) <= 14  # no digits that only double precision has
    (tmp_path / "one.xyz").write_text(text)
    (read,) = read_file(tmp_path / "one.xyz").structures
    assert read.name == "" and np.array_equal(read.positions.astype(np.float32), single.positions)


@pytest.mark.parametrize("suffix", [".csv", ".smi"])
def test_smiles_are_those_of_rdkit(molecules, tmp_path, suffix):
    read = read_file(write_file(molecules, tmp_path / f"all{suffix}")).structures
    for smiles, molecule, name in zip(SMILES, read, [one.name for one in molecules], strict=True):
        assert smiles_of(molecule) == Chem.CanonSmiles(smiles) or "@" in smiles
        assert molecule.positions is None and molecule.name == name
        assert not (molecule.numbers == 1).any()
    assert suffix != ".csv" or read[2].properties["gap"] == pytest.approx(-0.05)


def test_handedness_is_that_of_the_positions(molecules):
    alanine = molecules[4]
    mirrored = Molecule(alanine.numbers, alanine.positions * [1, 1, -1], alanine.charges, alanine.bonds)
    assert {smiles_of(alanine), smiles_of(mirrored)} == {
        Chem.CanonSmiles(s) for s in ("N[C@@H](C)C(=O)O", "N[C@H](C)C(=O)O")
    }
    assert smiles_of(alanine) == Chem.CanonSmiles(SMILES[4])


@pytest.mark.parametrize("format", ["csv", "tsv", "parquet"])
def test_tables_of_smiles(tmp_path, format):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": ["a", "b"], "Smiles": ["CCO", "c1ccccc1"], "gap": [1.5, 2], "note": ["x", "y"]})
    path = tmp_path / f"t.{format}"
    if format == "parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if format == "tsv" else ",")
    first, second = read_file(path).structures
    assert (first.name, dict(first.properties)) == ("a", {"gap": 1.5}) and smiles_of(second) == "c1ccccc1"


def test_a_column_of_xyz_blocks(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('gap,xyz\n1.5,"' + WATER + '"\n2.5,"2\n\nO 0 0 0\n"\n')
    read = read_file(path)
    assert read.structures[0].numbers.tolist() == [8, 1, 1] and dict(read.structures[0].properties) == {"gap": 1.5}
    assert "row 2" in read.unread[0].source and "said to have 2 atoms, and 1 lines" in read.unread[0].reason


def test_aromatic_bonds_are_kept_when_asked(tmp_path):
    (tmp_path / "b.smi").write_text("c1ccncc1 pyridine\n")
    kekule, kept = (read_file(tmp_path / "b.smi", aromatic=aromatic).structures[0] for aromatic in (False, True))
    assert sorted(kekule.bonds[np.triu_indices(6, 1)].tolist())[-6:] == [1, 1, 1, 2, 2, 2]
    assert sorted(kept.bonds[np.triu_indices(6, 1)].tolist())[-6:] == [4] * 6
    assert smiles_of(kept) == smiles_of(kekule) == "c1ccncc1"


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.xyz").write_text(WATER.replace("\n\n", f"\n{name}\n"))
    (tmp_path / "notes.md").write_text("not a molecule")
    assert [molecule.name for molecule in read_file(tmp_path).structures] == ["a", "b"]


XYZ = {
    "too few": ("3\n\nO 0 0 0\nH 0 0 1\n", "said to have 3 atoms, and 2 lines"),
    "too many": ("1\n\nO 0 0 0\nH 0 0 1\n", "said to have 1 atoms, and 2 lines"),
    "unknown element": ("2\n\nO 0 0 0\nXy 0 0 1\n", "unknown element 'Xy'"),
    "unknown number": ("2\n\nO 0 0 0\n190 0 0 1\n", "atomic numbers go from 1 to 118; seen 190"),
    "no number": ("2\n\nO 0 0 0\nH 0 zero 1\n", "zero"),
    "too few columns": ("2\n\nO 0 0 0\nH 0 1\n", "atom 2 has 3 columns"),
    "periodic": ('1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3\nO 0 0 0\n', "domain: crystals"),
    "no positions": ("1\nProperties=species:S:1\nO\n", "a column 'pos' is needed"),
    "bad layout": ("1\nProperties=species:S\nO 0 0 0\n", "name:type:columns"),
    "not a count": ("\nhello\n" + WATER, "a number of atoms is needed"),
}


@pytest.mark.parametrize("name", XYZ)
def test_blocks_of_xyz_that_cannot_be_read(tmp_path, name):
    bad, reason = XYZ[name]
    path = tmp_path / "some.xyz"
    path.write_text(WATER + bad + WATER)
    read = read_file(path)
    assert len(read.unread) == 1 and reason in read.unread[0].reason
    assert f"entry 2 (line {7 if name == 'not a count' else 6})" in read.unread[0].source
    assert all(one.numbers.tolist() == [8, 1, 1] for one in read.structures)  # those before and behind it are read
    assert len(read.structures) == (3 if name == "not a count" else 2)


def test_extended_xyz_tells_numbers_charges_and_a_name(tmp_path):
    (tmp_path / "x.xyz").write_text(
        '2\nProperties=Z:I:1:forces:R:3:pos:R:3:initial_charges:R:1 name=0007 gap=-1.25 title="a b" ok=T\n'
        "8 9 9 9 0 0 0 -1.0\n1 9 9 9 0 0 0.97 0.0\n"
    )
    (one,) = read_file(tmp_path / "x.xyz").structures
    assert one.numbers.tolist() == [8, 1] and one.charges.tolist() == [-1, 0]
    assert one.positions.tolist() == [[0, 0, 0], [0, 0, 0.97]]
    assert one.name == "0007" and dict(one.properties) == {"gap": -1.25}


def test_entries_of_sdf_that_cannot_be_read(molecules, tmp_path):
    entries = contents(molecules, ".sdf").decode().split("$$$$\n")[:-1]
    five = Chem.MolToMolBlock(Chem.MolFromSmiles("CC(C)(C)(C)C", sanitize=False), kekulize=False)
    drawing = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    unknown = entries[0].replace(" C   0", " Qq  0", 1)
    path = tmp_path / "some.sdf"
    path.write_text("$$$$\n".join([entries[0], five, unknown, drawing, entries[1]]) + "$$$$\n")
    read = read_file(path)
    assert [one.source for one in read.unread] == ["some.sdf, entry 2", "some.sdf, entry 3"]
    assert "valence" in read.unread[0].reason and "Qq" in read.unread[1].reason
    same(read.structures[0], molecules[0], 5.1e-5)
    assert read.structures[1].positions is None  # a drawing in the plane is no place in space
    built = read_file(path, embed=0).structures
    assert built[1].positions.shape == (9, 3) and smiles_of(built[1]) == "CCO"
    assert np.array_equal(built[0].positions, read.structures[0].positions)
    same(read.structures[2], molecules[1], 5.1e-5)


TABLES = {
    "smiles,gap\nCCO,1\nC(,2\n,3\nC(C)(C)(C)(C)C,4\nCC*,5\nCC\n": {
        "row 2": "Parse Error", "row 3": "empty", "row 4": "valence", "row 5": "dummy", "row 6": "1 cells, but 2",
    },
}  # fmt: skip


@pytest.mark.parametrize("text", TABLES)
def test_rows_of_tables_that_cannot_be_read(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text)
    read = read_file(path)
    assert len(read.structures) == 1 and len(read.unread) == len(TABLES[text])
    for one, (row, reason) in zip(read.unread, TABLES[text].items(), strict=True):
        assert f"t.csv, {row} " in one.source and reason in one.reason


@pytest.mark.parametrize(
    ("name", "text", "options", "says"),
    [
        ("gone.xyz", None, {}, "no such file"),
        ("a.xyz", "", {}, "holds no molecules"),
        ("a.sdf", "", {}, "holds no molecules"),
        ("a.csv", "", {}, "is empty"),
        ("a.csv", "smiles,smiles\nC,C\n", {}, "name of its own"),
        ("a.csv", "smile s,gap\nC,1\n", {}, "data.column"),
        ("a.csv", "smiles,gap\nC,1\n", {"column": "smils"}, "did you mean 'smiles'"),
        ("a.xyz", WATER, {"column": "smiles"}, "tables have columns"),
        ("a.cif", "data_x", {}, "domain: crystals"),
        ("a.what", WATER, {}, "data.kind=sdf"),
        ("a.xyz", WATER, {"kind": "xzy"}, "did you mean 'xyz'"),
        ("a.db", "no database", {}, "no database of ASE's"),
        ("a.parquet", "no table", {}, "no Parquet file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, text, options, says):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        read_file(tmp_path / name, **options)
    assert says in str(error.value)


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(InputError, match="no file with molecules"):
        read_file(tmp_path)


def test_the_kind_may_be_said(tmp_path):
    (tmp_path / "water.dat").write_text(WATER)
    assert read_file(tmp_path / "water.dat", kind="xyz").structures[0].numbers.tolist() == [8, 1, 1]
    (tmp_path / "list.txt").write_text("CCO ethanol\n")
    assert read_file(tmp_path / "list.txt", kind="smiles").structures[0].name == "ethanol"
    assert set(KINDS) == {"xyz", "sdf", "table", "smiles", "ase-db"}


def test_objects_of_rdkit_and_ase(molecules):
    for molecule in molecules:
        same(molecule, from_rdkit(to_rdkit(molecule)))
        same(molecule, from_ase(to_ase(molecule)))
    atoms = ase.Atoms("CO", [[0, 0, 0], [0, 0, 1.1]], charges=[0.3, -0.3])
    found = from_ase(atoms)
    assert found.charges is None and found.bonds is None  # partial charges are no formal ones


def test_objects_that_are_no_molecules():
    with pytest.raises(InputError, match="domain: crystals"):
        from_ase(ase.Atoms("Na", cell=[3, 3, 3], pbc=True))
    with pytest.raises(InputError, match="no atoms"):
        from_rdkit(Chem.MolFromSmiles(""))
    with pytest.raises(InputError, match="dative"):
        from_rdkit(Chem.MolFromSmiles("N->[Cu]"))
    with pytest.raises(InputError, match="positions"):
        to_ase(Molecule(np.array([6])))
    with pytest.raises(InputError, match="valence"):
        to_rdkit(Molecule(np.array([8, 1, 1, 1]), bonds=bond_table([[0, 1, 1], [0, 2, 1], [0, 3, 1]], 4)))
    for triples, says in (([[0, 3, 1]], "not there"), ([[0, 1, 7]], "class 7"), ([[0, 1]], "first atom")):
        with pytest.raises(InputError, match=says):
            bond_table(triples, 2)


def test_bonds_from_positions_are_those_of_the_graph(molecules):
    for molecule in molecules:
        bare = Molecule(molecule.numbers, molecule.positions)
        assert smiles_of(with_bonds(bare)) == smiles_of(molecule)
    ion = Molecule(np.array([8, 1]), np.array([[0, 0, 0], [0, 0, 0.97]]))
    assert with_bonds(ion, -1).charges.tolist() == [-1, 0]
    apart = Molecule(np.array([6, 1]), np.array([[0, 0, 0], [0, 0, 5.0]]))
    with pytest.raises(InputError, match="no bonds fit"):
        with_bonds(apart)


def test_a_narrow_ring_is_perceived_too():
    mol = Chem.AddHs(Chem.MolFromSmiles("C1CC2CC1O2"))
    embedding.EmbedMolecule(mol, randomSeed=1)
    one = from_rdkit(mol)
    across = one.positions.copy()
    # the two bridgeheads nearer than RDKit's first way of joining allows: 1.93 angstrom, as in DFT geometries
    bridge = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() == 6 and atom.GetDegree() == 4]
    heads = [i for i in bridge if sum(one.bonds[i, j] > 0 for j in np.flatnonzero(one.numbers > 1)) == 3]
    away = across[heads[1]] - across[heads[0]]
    short = (np.linalg.norm(away) - 1.93) / 2 * away / np.linalg.norm(away)
    across[heads[0]] += short
    across[heads[1]] -= short
    found = to_rdkit(with_bonds(Molecule(one.numbers, across)))
    assert Chem.MolToSmiles(Chem.RemoveHs(found), isomericSmiles=False) == "C1CC2CC1O2"


def test_hydrogens_come_and_go(molecules):
    for molecule in molecules:
        bare = without_hydrogens(molecule)
        assert not (bare.numbers == 1).any() and smiles_of(bare) == smiles_of(molecule)
        filled = with_hydrogens(bare)
        assert formula_of(filled.numbers) == formula_of(molecule.numbers)
        lengths = np.linalg.norm(filled.positions[:, None] - filled.positions, axis=-1)[filled.bonds > 0]
        assert lengths.min() > 0.8 and lengths.max() < 2.0
    with pytest.raises(InputError, match="nothing but hydrogen"):
        without_hydrogens(Molecule(np.array([1, 1]), np.zeros((2, 3))))


def test_a_conformer_depends_on_its_seed_alone():
    row = molecule_of(Row("CCCCO", "here"))
    first, again, other = (with_positions(row, Seeds.range(seed, 1)) for seed in (1, 1, 2))
    assert np.array_equal(first.positions, again.positions) and not np.allclose(first.positions, other.positions)
    assert smiles_of(first) == "CCCCO" and (first.numbers == 1).sum() == 10


def test_what_files_cannot_hold_is_refused(molecules, tmp_path):
    with pytest.raises(InputError, match=r"did you mean '\.sdf'"):
        write_file(molecules, tmp_path / "a.sdx")
    with pytest.raises(InputError, match="positions"):
        contents([Molecule(np.array([6]))], ".xyz")
    write_file(molecules[:1], tmp_path / "a.sdf")
    with pytest.raises(InputError, match="other samples"):
        write_file(molecules[:2], tmp_path / "a.sdf")
    assert len(SUFFIXES) == 6
    rows, kind = table_rows(write_file(molecules, tmp_path / "t.csv"))
    assert kind == "smiles" and len(rows) == len(molecules)


def test_a_sample_without_sense_is_written_as_it_is(tmp_path, capfd):
    bonds = bond_table([[0, place, 1] for place in range(1, 7)], 7)
    positions = np.arange(21, dtype=float).reshape(7, 3)
    crowded = Molecule(np.array([6, 1, 1, 1, 1, 1, 1]), positions, np.zeros(7, dtype=np.int64), bonds, name="sample 3")
    text = contents([crowded], ".sdf").decode()
    assert text.startswith("sample 3\n") and text.count("\n  1  ") == 6
    assert smiles_of(crowded) == ""
    (tmp_path / "crowded.sdf").write_text(text)
    (unread,) = read_file(tmp_path / "crowded.sdf").unread
    assert "valence" in unread.reason
    assert capfd.readouterr() == ("", "")  # RDKit's own messages are ours to tell


@pytest.mark.parametrize(
    ("package", "name", "text"),
    [("rdkit", "a.sdf", "x"), ("rdkit", "a.smi", "C"), ("pyarrow", "a.parquet", "x"), ("ase", "a.db", "x")],
)
def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch, package, name, text):
    (tmp_path / name).write_text(text)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NotInstalledError, match=package):
        read_file(tmp_path / name)


def test_formulas_are_hills():
    assert formula_of(np.array([8, 1, 6, 6, 35, 1])) == "C2H2BrO" and formula_of(np.array([8, 1, 1])) == "H2O"

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.data import (
    default_process,
    molecule_data,
    molecules_of,
    read_molecules,
    restore_molecules,
)
from unstir.domains.molecules.embedded import ELEMENTS, ligands
from unstir.domains.molecules.files.convert import bond_table, from_rdkit, to_ase, to_rdkit
from unstir.domains.molecules.files.reading import read_file
from unstir.domains.molecules.files.writing import smiles_of, write_file, write_molecules
from unstir.domains.molecules.loading import OPTIONS, load
from unstir.processes.pairs import square
from unstir.run.parts import make_process

Chem = pytest.importorskip("rdkit.Chem")
embedding = pytest.importorskip("rdkit.Chem.rdDistGeom")
descriptors = pytest.importorskip("rdkit.Chem.Descriptors")

SMILES = ("CCO", "c1ccncc1", "C[N+](=O)[O-]", "CC#N", "OCC=O", "CF", "CCC", "CC(=O)[O-]", "OC", "NCC", "C=C", "CNC")


@pytest.fixture(scope="module")
def molecules():
    found = []
    for number, smiles in enumerate(SMILES):
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        embedding.EmbedMolecule(mol, randomSeed=number + 1)
        found.append(from_rdkit(mol, properties={"gap": 0.5 * number, "same": 1.0}, name=f"mol {number}"))
    return found


@pytest.fixture
def sdf(molecules, tmp_path):
    return write_file(molecules, tmp_path / "all.sdf")


def test_a_state_says_what_the_molecules_are(molecules, sdf):
    data = read_molecules({"path": str(sdf), "held_out": 0.0})
    assert data.name == "all.sdf" and len(data) == 12 and data.held_out is None and data.remarks == ()
    assert data.shape == {"positions": (11, 3), "elements": (11,), "charges": (11,), "bonds": (55,)}
    assert (
        data.encoding.elements == (1, 6, 7, 8, 9) and data.encoding.charges == (-1, 0, 1) and data.encoding.orders == 4
    )
    state, condition = data.batch(np.arange(12))
    assert state["positions"].dtype == torch.float32 and condition.keys() == data.conditions.keys() == {"mask"}
    for row, molecule in enumerate(molecules):
        size = len(molecule)
        assert condition["mask"][row].tolist() == [True] * size + [False] * (11 - size)
        assert state["elements"][row, :size].tolist() == [(1, 6, 7, 8, 9).index(n) for n in molecule.numbers]
        assert (state["charges"][row, :size] - 1).tolist() == molecule.charges.tolist()
        assert torch.equal(square(state["bonds"])[row, :size, :size], torch.from_numpy(molecule.bonds))
        away = molecule.positions - molecule.positions.mean(0)
        assert np.abs(state["positions"][row, :size].numpy() - away).max() < 2e-4  # SDF has four digits
        padded = [state["positions"][row, size:], state["elements"][row, size:], state["charges"][row, size:]]
        assert not any(part.any() for part in padded) and not square(state["bonds"])[row, size:].any()
    assert state["positions"].sum(1).abs().max() < 1e-5


def test_decoding_gives_the_structures_back_to_the_bit(sdf):
    data = read_molecules({"path": str(sdf), "held_out": 0.0})
    again = restore_molecules(data.encoding.record())
    assert again == data.encoding
    rows = np.array([7, 0, 3, 3])
    state, condition = data.batch(rows)
    for row, found in zip(rows, again.decode(state, condition), strict=True):
        wanted = data.structures[row]
        assert np.array_equal(found.numbers, wanted.numbers) and np.array_equal(found.positions, wanted.positions)
        assert np.array_equal(found.charges, wanted.charges) and np.array_equal(found.bonds, wanted.bonds)
        assert smiles_of(found) == smiles_of(wanted)
    back, mask = again.encode(again.decode(state, condition), 11)
    assert torch.equal(mask, condition["mask"]) and all(
        torch.equal(back[name], state[name]) for name in again.parts[1:]
    )
    assert (back["positions"] - state["positions"]).abs().max() < 1e-6


def test_bonds_are_as_asked(molecules, sdf, tmp_path):
    bare = write_file(molecules, tmp_path / "all.xyz")
    parts = {
        (sdf, "auto"): True, (sdf, False): False, (bare, "auto"): False, (bare, False): False, (sdf, "perceive"): True,
    }  # fmt: skip
    for (path, bonds), there in parts.items():
        assert ("bonds" in read_molecules({"path": str(path), "bonds": bonds, "held_out": 0.0}).shape) == there
    # the acetate ion has a charge, of which a plain XYZ file knows nothing
    with pytest.raises(InputError, match="1 of 12 molecules") as error:
        read_molecules({"path": str(bare), "bonds": "perceive"})
    assert "entry 8" in str(error.value) and "the charge 0" in str(error.value)
    data = read_molecules({"path": str(bare), "bonds": "perceive", "unreadable": "drop", "held_out": 0.0})
    assert len(data) == 11 and data.encoding.charges == (-1, 0, 1)  # the nitro group's
    assert "1 of 12" in data.remarks[0] and "entry 8" in data.remarks[0]
    with pytest.raises(InputError, match=r"12 of 12 .*\n(.*\n){5}.* and 7 more\n"):
        read_molecules({"path": str(bare), "bonds": True})


def test_a_charge_of_the_whole_is_told_in_extended_xyz(molecules, tmp_path):
    told = [Molecule(one.numbers, one.positions, properties={"charge": float(one.charges.sum())}) for one in molecules]
    path = write_file(told, tmp_path / "all.extxyz")
    data = read_molecules({"path": str(path), "bonds": "perceive", "held_out": 0.0})
    for found, wanted in zip(data.structures, molecules, strict=True):
        assert smiles_of(found) == smiles_of(wanted)


def test_properties_are_standardised_and_keep_their_names(molecules, sdf):
    options = {"path": str(sdf), "properties": ["gap", "rdkit:tpsa"], "composition": True, "held_out": 0.25}
    data = read_molecules(options)
    assert data.conditions["gap"] == {"size": 1} and data.conditions["composition"] == {"size": 5}
    _, condition = data.batch(np.arange(len(data)))
    for name in ("gap", "tpsa"):
        assert condition[name].shape == (9, 1) and abs(condition[name].mean()) < 1e-6
        known = data.encoding.property_of(name)
        own = known.own(condition[name].double().numpy()[:, 0])
        graphs = [Chem.MolFromSmiles(SMILES[int(one.name[4:])]) for one in data.structures]
        wanted = [0.5 * int(one.name[4:]) for one in data.structures]
        if name == "tpsa":
            wanted = [descriptors.TPSA(graph) for graph in graphs]
        assert own == pytest.approx(wanted, abs=1e-4) and (known.low, known.high) == (min(wanted), max(wanted))
    assert data.encoding.property_of("rdkit:tpsa").name == "tpsa"
    counts = data.encoding.counts(condition["composition"])
    for row, one in enumerate(data.structures):
        assert counts[row].tolist() == [(one.numbers == number).sum() for number in data.encoding.elements]
    # those kept apart are scaled alike, and are none of those learned from
    _, apart = data.held_out.batch(np.arange(3))
    assert apart["gap"].shape == (3, 1) and data.encoding is data.held_out.encoding
    assert not {one.name for one in data.structures} & {one.name for one in data.held_out.structures}
    named = read_molecules({**options, "properties": {"energy": "gap", "polar": "rdkit:TPSA"}})
    assert {"energy", "polar"} <= named.conditions.keys()


def test_hydrogens_elements_and_sizes_are_as_asked(molecules, sdf, tmp_path):
    data = read_molecules({"path": str(sdf), "hydrogens": "drop", "held_out": 0.0})
    assert 1 not in data.encoding.elements and data.shape["positions"] == (6, 3)
    assert [smiles_of(one) for one in data.structures] == [Chem.CanonSmiles(smiles) for smiles in SMILES]
    bare = write_file(data.structures, tmp_path / "bare.sdf")
    filled = read_molecules({"path": str(bare), "hydrogens": "add", "held_out": 0.0})
    assert [len(one) for one in filled.structures] == [len(one) for one in molecules]
    chosen = read_molecules(
        {"path": str(sdf), "elements": ["H", "C", "O"], "largest": 9, "held_out": 0.0, "charges": False}
    )
    assert {one.name for one in chosen.structures} == {"mol 0", "mol 4", "mol 7", "mol 8", "mol 10"}
    assert "6 of 12" in chosen.remarks[0] and "1 of 6" in chosen.remarks[1] and "charges" not in chosen.shape
    some = [read_molecules({"path": str(sdf), "limit": 4, "seed": seed, "held_out": 0.0}) for seed in (0, 0, 1)]
    names = [[one.name for one in data.structures] for data in some]
    assert names[0] == names[1] != names[2] and len(names[0]) == 4
    assert some[0].digest == some[1].digest != some[2].digest


def test_conformers_are_built_when_asked(tmp_path):
    (tmp_path / "list.smi").write_text("CCO\nC[C@H](N)F\nC[C@@H](N)F\nF/C=C\\Cl\n")
    data_path = str(tmp_path / "list.smi")
    with pytest.raises(InputError, match=r"data\.positions=embed"):
        read_molecules({"path": data_path})
    data = read_molecules({"path": data_path, "positions": "embed", "held_out": 0.0})
    assert [smiles_of(one) for one in data.structures] == ["CCO", "C[C@H](N)F", "C[C@@H](N)F", "F/C=C\\Cl"]
    assert data.digest == read_molecules({"path": data_path, "positions": "embed", "held_out": 0.0}).digest


BAD = {
    "overlap": (Molecule(np.array([6, 8]), np.array([[0, 0, 0], [0, 0, 0.4]])), "atoms 1 and 2 overlap"),
    "infinite": (Molecule(np.array([6, 8]), np.array([[0, 0, 0], [0, 0, np.nan]])), "atom 2 stands at"),
    "single": (Molecule(np.array([6]), np.zeros((1, 3))), "single atom"),
}


@pytest.mark.parametrize("name", BAD)
def test_molecules_that_cannot_be_used(molecules, tmp_path, name):
    bad, reason = BAD[name]
    good = [Molecule(one.numbers, one.positions) for one in molecules[:4]]
    path = write_file([*good[:2], bad, *good[2:]], tmp_path / "some.xyz")
    with pytest.raises(InputError) as error:
        read_molecules({"path": str(path)})
    text = str(error.value)
    assert "1 of 5 molecules" in text and "entry 3" in text and reason in text and "data.unreadable=drop" in text
    data = read_molecules({"path": str(path), "unreadable": "drop", "held_out": 0.0})
    assert len(data) == 4 and "1 of 5" in data.remarks[0] and reason in data.remarks[0]
    alone = write_file([bad], tmp_path / "alone.xyz")
    with pytest.raises(InputError, match="none is left"):
        read_molecules({"path": str(alone), "unreadable": "drop"})


def test_mixed_sets_are_told(molecules, tmp_path):
    # some with bonds, some without; then some with a number that others lack
    write_file(molecules[:2], tmp_path / "a.sdf")
    write_file([Molecule(one.numbers, one.positions) for one in molecules[2:4]], tmp_path / "b.xyz")
    with pytest.raises(InputError, match=r"2 of 4 .*\n.*b\.xyz, entry 1.* has no bonds; `data.bonds=perceive`"):
        read_molecules({"path": str(tmp_path)})
    assert len(read_molecules({"path": str(tmp_path), "bonds": False, "held_out": 0.0})) == 4
    assert "bonds" in read_molecules({"path": str(tmp_path), "bonds": "perceive", "held_out": 0.0}).shape
    with pytest.raises(InputError, match=r"2 of 4 .*\n.*no number 'gap', which others have"):
        read_molecules({"path": str(tmp_path), "bonds": False, "properties": ["gap"]})
    (tmp_path / "c.smi").write_text("CCO\n")
    with pytest.raises(InputError, match=r"1 of 5 .*\n.*c\.smi.*no positions"):
        read_molecules({"path": str(tmp_path), "bonds": False})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hydrogen": "keep"}, "did you mean 'hydrogens'"),
        ({"hydrogens": "remove"}, "drop, keep"),
        ({"bonds": "percieve"}, "did you mean 'perceive'"),
        ({"charges": "yes"}, "auto"),
        ({"unreadable": "skip"}, "drop, error"),
        ({"positions": 3}, "embed"),
        ({"largest": 1}, "a whole number from 2 on"),
        ({"limit": True}, "a whole number from 2 on"),
        ({"seed": "a"}, "a whole number"),
        ({"held_out": 1.0}, "from 0 to below 1"),
        ({"elements": "CHNO"}, "a list of elements"),
        ({"elements": ["C", False]}, "YAML"),
        ({"elements": ["C", "Hx"]}, "unknown element 'Hx'"),
        ({"elements": ["Fe"]}, "no molecule is left"),
        ({"properties": "gap"}, "a list of columns"),
        ({"properties": ["gpa"]}, "did you mean 'gap'"),
        ({"properties": ["rdkit:logq"]}, "did you mean 'logp'"),
        ({"properties": ["same"], "held_out": 0.0}, "nothing to ask for"),
        ({"properties": {"mask": "gap"}}, "means something else"),
        ({"properties": {"a.b": "gap"}}, "point"),
        ({"properties": ["tpsa", "rdkit:tpsa"]}, "two are called"),
        ({"form": "graph"}, "form of molecules"),
        ({"task": "generat"}, "did you mean 'generate'"),
    ],
)
def test_options_that_cannot_be(sdf, options, says):
    with pytest.raises(InputError) as error:
        read_molecules({"path": str(sdf), **options})
    assert says in str(error.value)


def test_objects_in_memory_are_data_too(molecules):
    objects = [to_rdkit(molecules[0]), to_ase(molecules[1]), molecules[2], to_rdkit(molecules[4])]
    data = molecules_of(objects, {"properties": ["gap"], "held_out": 0.0, "name": "mine"})
    assert data.name == "mine" and [one.name for one in data.structures] == ["mol 0", "mol 1", "mol 2", "mol 4"]
    assert [smiles_of(one) for one in data.structures] == [smiles_of(molecules[place]) for place in (0, 1, 2, 4)]
    with pytest.raises(InputError, match=r"mine, number 1: .*seen builtins\.str"):
        molecules_of([objects[0], "CCO"], {"name": "mine"})
    with pytest.raises(InputError, match="2 of 2 molecules"):
        molecules_of([Chem.MolFromSmiles("CCO"), Chem.MolFromSmiles("")])
    with pytest.raises(InputError, match="no molecules"):
        molecules_of([])
    with pytest.raises(InputError, match="option of files"):
        molecules_of(objects, {"path": "a.sdf"})


def test_options_of_files_need_one():
    with pytest.raises(InputError, match="did you mean 'ligands'"):
        read_molecules({"name": "ligand"})
    with pytest.raises(InputError, match=r"data\.path"):
        read_molecules({"kind": "sdf"})


def test_charges_of_neutral_molecules_are_no_part(molecules, tmp_path):
    path = write_file([molecules[0], molecules[5], molecules[6]], tmp_path / "some.sdf")
    data = read_molecules({"path": str(path), "held_out": 0.0})
    assert "charges" not in data.shape and data.structures[0].charges.tolist() == [0] * 9
    state, condition = data.batch(np.arange(3))
    assert data.encoding.decode(state, condition)[1].charges.tolist() == [0] * 5
    with pytest.raises(InputError, match="nothing to learn"):
        read_molecules({"path": str(path), "held_out": 0.0, "charges": True})


def test_given_kinds_are_conditions(sdf):
    given = {**OPTIONS, "path": str(sdf), "held_out": 0.0}
    collection, _ = load(given)
    data = molecule_data(collection, given, known=("elements", "charges", "bonds"))
    assert data.shape == {"positions": (11, 3)}
    assert data.conditions["elements"] == {"channels": 5} and data.conditions["bonds"] == {"pairs": 4}
    state, condition = data.batch(np.arange(12))
    assert condition["bonds"].shape == (12, 11, 11, 4) and not condition["bonds"][~condition["mask"]].any()
    again = restore_molecules(data.encoding.record())
    for told in (state, state["positions"]):
        for found, wanted in zip(again.decode(told, condition), data.structures, strict=True):
            assert smiles_of(found) == smiles_of(wanted) and np.array_equal(found.charges, wanted.charges)
    with pytest.raises(InputError, match="the elements of these molecules are given"):
        again.decode(state, {"mask": condition["mask"]})


def test_what_the_encoding_does_not_know_is_refused(sdf):
    encoding = read_molecules({"path": str(sdf), "held_out": 0.0}).encoding
    places = np.array([[0, 0, 0], [0, 0, 1.5]])
    bonds = bond_table([[0, 1, 1]], 2)
    for molecule, says in (
        (Molecule(np.array([6, 17]), places, bonds=bonds), "the element Cl"),
        (Molecule(np.array([6, 8]), places, np.array([0, 2]), bonds), "the charge 2"),
        (Molecule(np.array([6, 8]), places), "no bonds"),
        (Molecule(np.array([6, 8]), places, bonds=4 * bonds), "class 4"),
        (Molecule(np.array([6, 8]), None, bonds=bonds), "no positions"),
    ):
        with pytest.raises(InputError, match=says):
            encoding.encode([molecule])
    with pytest.raises(InputError, match="1 have place"):
        encoding.encode([Molecule(np.array([6, 8]), places, bonds=bonds)], 1)
    with pytest.raises(InputError, match="at least one"):
        encoding.encode([])
    with pytest.raises(InputError, match="unknown property"):
        encoding.property_of("gap")


def test_samples_are_written_with_bonds_or_found_ones(molecules, sdf, tmp_path):
    data = read_molecules({"path": str(sdf), "held_out": 0.0, "properties": ["gap"], "composition": True})
    state, condition = data.batch(np.arange(12))
    files = write_molecules(data.encoding, state, tmp_path / "told", first=3, condition=condition)
    assert [file.name for file in files] == ["samples-000003.sdf", "samples-000003.csv"]
    for found, wanted in zip(read_file(files[0]).structures, molecules, strict=True):
        assert smiles_of(found) == smiles_of(wanted)
    lines = files[1].read_text().splitlines()
    assert lines[0] == "sample,formula,atoms,smiles,asked gap,asked formula"
    assert lines[1] == "3,C2H6O,9,CCO,0,C2H6O" and len(lines) == 13
    other = state | {"elements": 0 * state["elements"]}
    with pytest.raises(InputError, match="other samples"):
        write_molecules(data.encoding, other, tmp_path / "told", first=3, condition=condition)
    bare = read_molecules({"path": str(sdf), "held_out": 0.0, "bonds": False, "charges": False})
    state, condition = bare.batch(np.arange(12))
    files = write_molecules(bare.encoding, state, tmp_path / "found", condition=condition)
    assert [file.suffix for file in files] == [".extxyz", ".sdf", ".csv"]
    everything, perceived = (read_file(file).structures for file in files[:2])
    for found, wanted in zip(everything, bare.structures, strict=True):
        assert np.array_equal(found.positions.astype(np.float32), wanted.positions)
    assert {one.name for one in everything} - {one.name for one in perceived} == {"sample 7"}  # the ion
    only = write_molecules(bare.encoding, state, tmp_path / "asked", condition=condition, kind=".csv")
    assert [file.name for file in only] == ["samples-000000.csv"]
    with pytest.raises(InputError, match="kind of file"):
        write_molecules(bare.encoding, state, tmp_path, condition=condition, kind=".sdg")


def test_the_proposed_process_is_of_the_datas_parts(sdf):
    data = read_molecules({"path": str(sdf), "held_out": 0.0})
    process = make_process(default_process(data))
    state, condition = data.batch(np.arange(12))
    assert process.contains(state).all()
    masked = process.masked(state, condition["mask"])
    assert all(torch.equal(masked[name], state[name]) for name in state)


def test_embedded_molecules_are_what_they_are_said_to_be():
    pytest.importorskip("biotite")
    found = ligands(0)
    assert found.structures[0] is ligands(0).structures[0] and len(found.structures) > 5500
    assert sorted(one.name for one in found.structures) == sorted(one.name for one in ligands(1).structures)
    assert [one.name for one in found.structures[:5]] != [one.name for one in ligands(1).structures[:5]]
    for one in found.structures[:300]:
        assert set(one.numbers.tolist()) <= set(ELEMENTS.values()) and 5 <= len(one) <= 29
        assert not one.charges.any() and np.array_equal(one.bonds, one.bonds.T)
        assert "." not in smiles_of(one) != ""  # RDKit takes its valences, and it is one piece
    data = read_molecules({"limit": 50})
    assert len(data) == 45 and len(data.held_out) == 5 and "charges" not in data.shape

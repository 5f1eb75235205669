"""Files of crystals: every kind read and written, and what is wrong with one said by its row."""

import json

import numpy as np
import pytest

from unstir.core.errors import InputError
from unstir.domains.crystals.convert import from_ase, from_pymatgen, made, to_ase, to_pymatgen
from unstir.domains.crystals.files.cif import read_cif
from unstir.domains.crystals.files.reading import KINDS, read_files
from unstir.domains.crystals.files.soundness import closest, fault
from unstir.domains.crystals.writing import cif_text, poscar_text, write_structures
from unstir.domains.matter.structures import Crystal, Unread

pytest.importorskip("pymatgen.core")
ase = pytest.importorskip("ase")

PEROVSKITE = made(
    [20, 22, 8, 8, 8],
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    np.eye(3) * 3.89,
    {"gap": 2.5},
)
OBLIQUE = made([14, 8], [[0.1, 0.2, 0.3], [0.61, 0.7, 0.95]], [[4, 0, 0], [1.5, 5, 0], [-1, 0.5, 6]], {"gap": -1.25})


def same(one: Crystal, other: Crystal, tolerance: float = 1e-6) -> bool:
    """The same up to a rotation and the order of sites."""
    if sorted(one.numbers) != sorted(other.numbers):
        return False
    away = one.fractional[:, None] - other.fractional[None]
    near = np.abs(away - np.round(away)).max(-1) + (one.numbers[:, None] != other.numbers[None])
    metric = np.abs(one.cell @ one.cell.T - other.cell @ other.cell.T).max()
    return bool(metric < 100 * tolerance and (near.min(0) < tolerance).all() and (near.min(1) < tolerance).all())


def reasons(path, **options) -> list[str]:
    return [f"{each.source}: {each.reason}" for each in read_files(path, **options).unread]


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_of_file_comes_back(tmp_path, kind):
    files = write_structures([PEROVSKITE, OBLIQUE], tmp_path, kind, first=3)
    found = read_files(tmp_path)
    assert not found.unread
    assert len(found.structures) == 2
    assert all(same(one, other) for one, other in zip(found.structures, (PEROVSKITE, OBLIQUE), strict=True))
    assert all(file.name in found.structures[row % 2].source or len(files) == 1 for row, file in enumerate(files))
    assert len(read_files(files[0], kind=kind).structures) == (1 if len(files) == 2 else 2)


def test_a_left_handed_cell_keeps_its_crystal_not_its_mirror_image():
    mirrored = made(OBLIQUE.numbers, OBLIQUE.fractional, OBLIQUE.cell * np.array([1, 1, -1]), {})
    assert np.linalg.det(mirrored.cell) > 0
    positions = (OBLIQUE.fractional @ OBLIQUE.cell) * np.array([1, 1, -1])
    away = np.linalg.solve(mirrored.cell.T, (mirrored.positions - positions).T)
    assert np.abs(away - np.round(away)).max() < 1e-12


def test_plain_cif_is_read_as_pymatgen_reads_it():
    from pymatgen.core import Structure

    text = cif_text(OBLIQUE)
    (mine,) = read_cif(text, "a.cif")
    assert same(mine, from_pymatgen(Structure.from_str(text, fmt="cif")))
    assert np.array_equal(mine.numbers, OBLIQUE.numbers)


SALT = """data_salt
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
_symmetry_Int_Tables_number 225
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1 Na1+ 0 0 0
Cl1 Cl1- 0.5 0.5 0.5
"""


def test_symmetry_of_a_cif_is_carried_out():
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    wanted = made([11] * 4 + [17] * 4, np.concatenate((corners, corners + 0.5)), np.eye(3) * 5.64, {})
    (found,) = read_cif(SALT, "salt.cif")
    assert isinstance(found, Crystal)
    assert same(found, wanted)
    assert len(found) == 8


def test_cif_peculiarities():
    text = cif_text(OBLIQUE).replace("  Si  Si0  1", "  Si4+  Si0  1").replace("4.0000000000", "4.000(3)")
    text = "# a remark with 'quotes\n" + text.replace("data_SiO", ";\ntext over\n_cell_length_a 7\n;\ndata_SiO")
    (found,) = read_cif(text, "a.cif")
    assert same(found, OBLIQUE)
    two = cif_text(OBLIQUE, "first") + cif_text(PEROVSKITE, "second")
    assert [each.source for each in read_cif(two, "b.cif")] == ["b.cif, block 1 (first)", "b.cif, block 2 (second)"]
    heading = "data_global\n_publ_author 'A. Nobody'\n" + cif_text(OBLIQUE)
    assert [each.source for each in read_cif(heading, "c.cif")] == ["c.cif"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("  O  O1  1", "  Qq  O1  1", "Qq"),
        ("0.95000000  1", "0.95000000  0.5", "site 2 is disordered"),
        ("_cell_length_a   4.0000000000", "_cell_length_a   none", "cannot be read as CIF"),
        ("_cell_length_a   4.0000000000", "_cell_length_a   0.0", "without volume"),
        ("_cell_length_a   4.0000000000\n", "", "cannot be read as CIF"),
    ],
)
def test_faults_of_a_cif(old, new, reason):
    text = cif_text(OBLIQUE)
    assert old in text
    (found,) = read_cif(text.replace(old, new), "a.cif")
    assert isinstance(found, Unread)
    assert reason in found.reason


def test_cif_without_atoms_or_anything():
    assert "no CIF" in next(iter(read_cif("", "a.cif"))).reason
    assert "no CIF" in next(iter(read_cif("data_x\n_note 'nothing'\n", "a.cif"))).reason
    (found,) = read_cif(cif_text(OBLIQUE).partition("loop_\n _atom_site")[0], "a.cif")
    assert isinstance(found, Unread)


def test_poscar(tmp_path):
    path = tmp_path / "POSCAR"
    path.write_text(poscar_text(OBLIQUE))
    assert same(read_files(path).structures[0], OBLIQUE)
    path.write_text(poscar_text(OBLIQUE).replace("O Si\n", ""))
    assert "names no elements" in reasons(path)[0]
    path.write_text("a\nb\n")
    assert "cannot be read as POSCAR" in reasons(path)[0]


def test_tables(tmp_path):
    path = tmp_path / "table.csv"
    text = cif_text(OBLIQUE)
    path.write_text(f',id,cif,gap,note\n0,7,"{text}",1.5,a\n1,8,"{text}",,b\n2,9,"",3,c\n3,10,"{text}"\n')
    found = read_files(path)
    assert [each.properties.get("gap") for each in found.structures] == [1.5, None]
    assert [each.source for each in found.structures] == ["table.csv, row 1", "table.csv, row 2"]
    assert reasons(path) == [
        "table.csv, row 3: its cell for the structure is empty",
        "table.csv, row 4: 3 cells, but 5 columns are named",
    ]


def test_columns_of_tables(tmp_path):
    path = tmp_path / "table.csv"
    text = cif_text(OBLIQUE)
    path.write_text(f'cif,relaxed,gap\n"{text}","{text}",1\n')
    with pytest.raises(InputError, match="several columns hold structures"):
        read_files(path)
    assert len(read_files(path, column="relaxed").structures) == 1
    with pytest.raises(InputError, match=r"no column 'cfi'.*'cif'"):
        read_files(path, column="cfi")
    with pytest.raises(InputError, match=r"'gap' holds no structures.*relaxed"):
        read_files(path, column="gap")
    path.write_text("formula,gap\nCaO,1\n")
    with pytest.raises(InputError, match=r"no column holds CIF or JSON.*formula, gap"):
        read_files(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_files(path)


def test_json_column_and_parquet(tmp_path):
    from pyarrow import parquet, table

    told = [json.dumps(to_pymatgen(each).as_dict()) for each in (PEROVSKITE, OBLIQUE)]
    parquet.write_table(table({"structure": [*told, "{", None], "gap": [1.0, 2.0, 3.0, 4.0]}), tmp_path / "a.parquet")
    found = read_files(tmp_path / "a.parquet")
    assert [each.properties["gap"] for each in found.structures] == [1.0, 2.0]
    assert same(found.structures[1], OBLIQUE)
    assert [each.source for each in found.unread] == ["a.parquet, row 3", "a.parquet, row 4"]
    (tmp_path / "b.parquet").write_text("no")
    with pytest.raises(InputError, match="not a Parquet file"):
        read_files(tmp_path / "b.parquet")


def test_extended_xyz_and_databases_carry_properties(tmp_path):
    from ase.db import connect
    from ase.io import write

    atoms = to_ase(PEROVSKITE)
    write(tmp_path / "a.extxyz", [atoms, ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])], format="extxyz")
    found = read_files(tmp_path / "a.extxyz")
    assert found.structures[0].properties == {"gap": 2.5}
    assert "a.extxyz, frame 2: periodic in 0 of three" in reasons(tmp_path / "a.extxyz")[0]
    assert "field molecules" in reasons(tmp_path / "a.extxyz")[0]
    with (tmp_path / "a.extxyz").open("a") as file:
        file.write("2\nLattice=broken\nH 0 0 0\n")
    assert "frame 3: from here on" in reasons(tmp_path / "a.extxyz")[1]
    with connect(str(tmp_path / "b.db"), use_lock_file=False) as database:
        database.write(atoms, hull=0.25)
        database.write(ase.Atoms("H", pbc=True))
    found = read_files(tmp_path / "b.db")
    assert found.structures[0].properties["hull"] == 0.25
    assert "no cell" in found.unread[0].reason
    (tmp_path / "c.db").write_text("not a database at all, but long enough to be looked at" * 20)
    with pytest.raises(InputError, match="not an ASE database"):
        read_files(tmp_path / "c.db")


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_files(tmp_path / "nothing.cif")
    with pytest.raises(InputError, match="no files of crystals"):
        read_files(tmp_path)
    (tmp_path / "a.sdf").write_text("x")
    with pytest.raises(InputError, match="domain: molecules"):
        read_files(tmp_path / "a.sdf")
    (tmp_path / "a.dat").write_text("x")
    with pytest.raises(InputError, match=r"suffix '.dat'.*data.kind"):
        read_files(tmp_path / "a.dat")
    with pytest.raises(InputError, match=r"unknown kind.*'cif'"):
        read_files(tmp_path / "a.dat", kind="ciff")
    (tmp_path / "a.cif").write_text("")
    assert reasons(tmp_path / "a.cif") == ["a.cif: the file is empty"]
    with pytest.raises(InputError, match="is for tables"):
        (tmp_path / "b.cif").write_text(cif_text(OBLIQUE))
        read_files(tmp_path / "b.cif", column="cif")


def test_objects_of_other_libraries_come_back():
    for crystal in (PEROVSKITE, OBLIQUE):
        back = from_pymatgen(to_pymatgen(crystal))
        assert same(back, crystal)
        assert back.properties == crystal.properties
        back = from_ase(to_ase(crystal))
        assert same(back, crystal)
        assert back.properties == crystal.properties


def test_objects_that_are_no_ordered_crystal():
    from pymatgen.core import DummySpecies, Lattice, Structure

    with pytest.raises(InputError, match="site 1 is disordered"):
        from_pymatgen(Structure(Lattice.cubic(3), [{"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0]]))
    with pytest.raises(InputError, match="is no element"):
        from_pymatgen(Structure(Lattice.cubic(3), [DummySpecies("X")], [[0, 0, 0]]))
    with pytest.raises(InputError, match="2 of three directions"):
        from_ase(ase.Atoms("C", cell=np.eye(3) * 3, pbc=(True, True, False)))
    with pytest.raises(InputError, match="seen the shapes"):
        made([1, 2], [[0, 0, 0]], np.eye(3), {})
    unknown = Crystal(np.array([0]), np.zeros((1, 3)), np.eye(3) * 4)
    with pytest.raises(InputError, match="not known yet"):
        to_pymatgen(unknown)


def test_faults_of_crystals():
    assert fault(PEROVSKITE) is None
    assert "no atoms" in (fault(made([], [], np.eye(3), {})) or "")
    assert "not finite" in (fault(made([1], [[np.nan, 0, 0]], np.eye(3), {})) or "")
    assert "atomic number 0" in (fault(made([0], [[0, 0, 0]], np.eye(3), {})) or "")
    assert "no volume" in (fault(made([1], [[0, 0, 0]], np.diag([3, 3, 1e-3]), {})) or "")
    assert "another unit" in (fault(made([1], [[0, 0, 0]], np.eye(3) * 2000, {})) or "")
    assert "Niggli" in (fault(made([1], [[0, 0, 0]], np.diag([0.5, 100, 100]), {})) or "")
    assert "holds O" in (fault(PEROVSKITE, {20, 22}) or "")
    near = made([1, 8], [[0.99, 0, 0], [0.01, 0, 0]], np.eye(3) * 4, {})
    assert fault(near) == "H (site 1) and O (site 2) are 0.08 angstrom apart; at least 0.5 are needed"
    assert "its own image" in (fault(made([1], [[0, 0, 0]], np.diag([0.4, 3, 3]), {})) or "")


def test_closest_is_exact_in_oblique_cells():
    generator = np.random.default_rng(3)
    seen = 0
    steps = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    for _ in range(120):
        cell = np.eye(3) * 2 + generator.normal(size=(3, 3)) * 1.5
        if np.linalg.svd(cell, compute_uv=False)[-1] < 0.5:
            continue  # three images to each side are not enough to count them all
        fractional = generator.random((4, 3))
        all_of_them = np.linalg.norm((fractional[:, None, None] - fractional[None, :, None] + steps) @ cell, axis=-1)
        all_of_them[all_of_them < 1e-9] = np.inf
        one, other, distance = closest(fractional, cell, reach=1.0)
        if all_of_them.min() < 1.0:
            seen += 1
            assert distance == pytest.approx(all_of_them.min(), abs=1e-9)
            assert all_of_them[one, other].min() == pytest.approx(distance, abs=1e-9)
        else:
            assert distance == np.inf
    assert 10 < seen < 100

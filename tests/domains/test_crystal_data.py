"""Crystals made ready for training: cells as numbers, the encoding, the recipe's options, the embedded set."""

import csv

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.crystals import crystals, embedded, writing
from unstir.domains.crystals.convert import made, to_ase, to_pymatgen
from unstir.domains.crystals.data import crystal_data, default_network, default_process, formula_of, read_crystals
from unstir.domains.crystals.encoding import CrystalEncoding
from unstir.domains.crystals.files.reading import read_files
from unstir.domains.crystals.files.soundness import fault
from unstir.domains.crystals.lattices import LARGEST, OBLIQUE, SMALLEST, answer_of, cells_of, log_cells, lower
from unstir.domains.crystals.reducing import reduced, translations
from unstir.domains.crystals.writing import cif_text, space_group, write_structures
from unstir.domains.matter.structures import Crystal

pytest.importorskip("pymatgen.core")
pytest.importorskip("ase")

CORNERS = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
OPTIONS = {"held_out": 0.0}


def perovskites(count: int = 12) -> list[Crystal]:
    """Made by a rule; every second one has a formula of its own, the others share three."""
    found = []
    for row in range(count):
        numbers = [20 + row if row % 2 else 20, 22 + row % 3, 8, 8, 8]
        found.append(made(numbers, CORNERS, np.eye(3) * (3.7 + 0.05 * row), {"gap": 0.5 * row}, source=f"row {row}"))
    return found


def rotation(seed: int) -> np.ndarray:
    turned, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return turned * np.sign(np.linalg.det(turned))


@given(st.integers(0, 10**6), st.integers(1, 40))
def test_a_cell_comes_back_but_for_a_rotation(seed, size):
    generator = np.random.default_rng(seed)
    cell = np.eye(3) * 5 + generator.normal(size=(3, 3)) * 1.5
    cell = cell if np.linalg.det(cell) > 0 else -cell
    if np.linalg.svd(cell, compute_uv=False)[-1] < 0.5:
        return
    numbers = log_cells(cell[None], np.array([size]))
    assert np.abs(log_cells((cell @ rotation(seed))[None], np.array([size])) - numbers).max() < 1e-9
    assert numbers[0, :3].sum() == pytest.approx(np.log(np.linalg.det(cell) / size), abs=1e-9)
    back = cells_of(numbers, np.array([size]))[0]
    assert np.abs(back @ back.T - cell @ cell.T).max() < 1e-8
    assert np.abs(back - lower(cell)).max() < 1e-8
    assert np.array_equal(np.triu(back, 1), np.zeros((3, 3)))


@given(st.integers(0, 10**6), st.sampled_from([0.3, 3.0, 50.0, 1e8]))
def test_any_numbers_are_a_sane_cell(seed, scale):
    numbers = np.random.default_rng(seed).normal(size=(8, 6)) * scale
    numbers[:, :3] += 1  # about what a crystal has
    cells = cells_of(numbers, np.arange(1, 9))
    stretches = np.linalg.svd(cells, compute_uv=False)
    assert (np.linalg.det(cells) > 0).all()
    roots = np.cbrt(stretches.prod(-1))
    assert roots.min() > SMALLEST * (1 - 1e-6)
    assert roots.max() < LARGEST * (1 + 1e-6)
    assert (stretches / roots[:, None]).max() < OBLIQUE * (1 + 1e-6)
    assert (stretches / roots[:, None]).min() > (1 - 1e-6) / OBLIQUE
    again = log_cells(cells, np.arange(1, 9))
    assert np.abs(cells_of(again, np.arange(1, 9)) - cells).max() < 1e-6 * stretches.max()
    if scale < 1:
        assert np.abs(again - numbers).max() < 1e-9


def test_closed_forms_of_cells():
    assert np.allclose(log_cells(np.diag([2.0, 3, 4])[None], np.array([1]))[0], [*np.log([2, 3, 4]), 0, 0, 0])
    # a hexagonal cell's metric has the eigenvalues 1/2 and 3/2 of a squared in its plane
    hexagonal = np.array([[1, 0, 0], [-0.5, np.sqrt(0.75), 0], [0, 0, 2]])
    wanted = [np.log(0.75) / 4, np.log(0.75) / 4, np.log(2), 0, 0, -np.log(3) / 4]
    assert np.allclose(log_cells(hexagonal[None], np.array([1]))[0], wanted)
    with pytest.raises(InputError, match="narrower or wider"):
        log_cells(np.diag([1, 1, 0.01])[None], np.array([1]))


def test_reduced_cells():
    fcc = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    copper = made([29] * 4, fcc, np.eye(3) * 3.6, {"gap": 1.0}, "copper", "here")
    small = reduced(copper, "primitive")
    assert len(small) == 1
    assert small.volume == pytest.approx(copper.volume / 4)
    assert (small.properties, small.name, small.source) == ({"gap": 1.0}, "copper", "here")
    sheared = Crystal(small.numbers, small.fractional, np.array([[1, 0, 0], [3, 1, 0], [-2, 5, 1]]) @ small.cell)
    shortest = reduced(sheared, "niggli")
    assert np.allclose(np.linalg.norm(shortest.cell, axis=1), 3.6 / np.sqrt(2))
    assert space_group(shortest, 1e-3) == ("Fm-3m", 225)
    assert reduced(copper, "as-it-is") is copper
    assert sorted(map(tuple, translations(copper))) == sorted(map(tuple, fcc))
    assert len(translations(small)) == 1
    salt = made(
        [11, 17] * 4,
        np.concatenate((fcc, fcc + 0.5)).reshape(2, 4, 3).swapaxes(0, 1).reshape(8, 3),
        np.eye(3) * 5.64 @ rotation(3),
        {},
    )
    assert space_group(reduced(salt, "niggli"), 1e-3) == space_group(salt, 1e-3) == ("Fm-3m", 225)


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_a_supercell_is_reduced_to_the_cell_that_it_was_made_of(seed, size):
    generator = np.random.default_rng(seed)
    cell = np.eye(3) * 4 + generator.normal(size=(3, 3)) * 0.8
    cell = cell if np.linalg.det(cell) > 0 else -cell
    parent = made(generator.integers(1, 4, size), generator.random((size, 3)), cell, {})
    matrix = generator.integers(-2, 3, (3, 3))
    count = round(abs(np.linalg.det(matrix)))
    if not 1 <= count <= 12 or fault(parent) is not None:
        return
    steps = np.stack(np.meshgrid(*[np.arange(-7, 8)] * 3, indexing="ij"), -1).reshape(-1, 3)
    inside = (steps @ np.linalg.inv(matrix) + 1e-9) % 1 - 1e-9
    corners = np.unique(np.round(inside, 6), axis=0)
    places = (parent.fractional @ np.linalg.inv(matrix))[:, None] + corners
    large = made(np.repeat(parent.numbers, len(corners)), places.reshape(-1, 3), matrix @ cell, {})
    assert len(large) == count * size
    small, wanted = reduced(large, "niggli"), reduced(parent, "niggli")
    assert len(small) == len(wanted) <= size
    assert small.volume == pytest.approx(wanted.volume)
    assert np.allclose(np.linalg.norm(small.cell, axis=1), np.linalg.norm(wanted.cell, axis=1), atol=1e-4)
    assert len(reduced(large, "primitive")) == len(wanted)


def test_primitive_cells_are_those_that_spglib_finds():
    import spglib

    for parent in conventional_cells():
        found = answer_of(
            lambda parent=parent: spglib.standardize_cell(
                (parent.cell, parent.fractional, parent.numbers), to_primitive=True, symprec=1e-3
            )
        )
        assert len(reduced(parent, "primitive")) == len(found[2])


def conventional_cells() -> list[Crystal]:
    """Conventional cells of a spread of prototypes."""
    import spglib

    found = []
    for parent in embedded._parents()[::9]:
        cell = (parent.cell, parent.fractional, parent.numbers)
        told = answer_of(lambda cell=cell: spglib.standardize_cell(cell, to_primitive=False, symprec=1e-3))
        found.append(made(told[2], told[1], told[0], {}))
    assert any(len(one) > len(other) for one, other in zip(found, embedded._parents()[::9], strict=True))
    return found


def test_encoded_and_decoded_again():
    data = crystal_data(perovskites(), held_out=0.0, properties=["gap"])
    found = data.encoding.decode(data.state, {"mask": data.mask})
    for one, other in zip(found, perovskites(), strict=True):
        assert np.array_equal(one.numbers, other.numbers)
        assert np.abs(one.fractional - other.fractional).max() < 1e-6
        assert np.abs(one.cell - other.cell).max() < 1e-5
    assert data.conditions == {"mask": {"places": 5}, "gap": {"size": 1}}
    assert data.told["gap"].mean().item() == pytest.approx(0, abs=1e-6)
    assert np.allclose(data.encoding.properties[0].decode(data.told["gap"]), 0.5 * np.arange(12), atol=1e-6)
    assert data.state["fractional"].dtype == torch.float32
    assert data.state["elements"].dtype == torch.int64
    restored = crystals.restore(data.encoding.record())
    assert restored == data.encoding
    assert data.digest == crystal_data(perovskites(), held_out=0.0, properties=["gap"]).digest
    assert data.digest != crystal_data(perovskites(11), held_out=0.0, properties=["gap"]).digest


def test_sets_are_padded():
    few = made([14], [[0.25, 0.5, 0.75]], np.eye(3) * 3, {})
    data = crystal_data([*perovskites(3), few], **OPTIONS)
    assert data.mask.sum(1).tolist() == [5, 5, 5, 1]
    assert not data.state["fractional"][3, 1:].any()
    assert data.encoding.sizes == (1, 0, 0, 0, 3)
    (back,) = data.encoding.decode({name: part[3:] for name, part in data.state.items()}, {"mask": data.mask[3:]})
    assert back.numbers.tolist() == [14]
    assert back.volume == pytest.approx(27, rel=1e-5)


def test_prediction_is_told_the_elements():
    data = crystal_data(perovskites(), held_out=0.0, task="predict")
    assert set(data.state) == {"fractional", "lattice"}
    assert data.conditions["elements"] == {"channels": len(data.encoding.elements)}
    assert torch.equal(data.told["elements"].sum(-1), data.mask.float())
    assert data.encoding.decode(data.state, {"mask": data.mask, **data.told})[1].numbers.tolist() == [21, 23, 8, 8, 8]
    with pytest.raises(InputError, match="condition `elements`"):
        data.encoding.decode(data.state, {"mask": data.mask})
    assert set(default_process(data)["parts"]) == {"fractional", "lattice"}
    assert set(default_process(crystal_data(perovskites(), **OPTIONS))["parts"]) == {
        "fractional",
        "lattice",
        "elements",
    }
    assert default_network(data)["name"]


def test_states_that_cannot_be_decoded():
    data = crystal_data(perovskites(), **OPTIONS)
    state = {name: part.clone() for name, part in data.state.items()}
    state["lattice"][0, 0] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        data.encoding.decode(state)
    unknown = {**data.state, "elements": torch.full_like(data.state["elements"], len(data.encoding.elements))}
    assert data.encoding.decode(unknown)[0].numbers.tolist() == [0] * 5
    with pytest.raises(InputError, match="classes of elements"):
        data.encoding.decode({**data.state, "elements": unknown["elements"] + 1})
    with pytest.raises(InputError, match="not among the elements"):
        data.encoding.encode([made([79], [[0, 0, 0]], np.eye(3) * 3, {})])


def test_computed_conditions_and_words_for_them():
    data = crystal_data(perovskites(12), held_out=0.25, conditions=["space_group", "composition", "density"])
    assert data.told["space_group"].tolist() == [220] * 9
    assert data.conditions["composition"] == {"size": len(data.encoding.elements)}
    assert data.held_out.told["density"].shape == (3, 1)
    assert abs(data.told["density"].mean().item()) < 1e-6
    assert crystals.restore(data.encoding.record()) == data.encoding
    told = crystals.ask(data.encoding, {"density": 4.0}, Seeds.range(0, 2))
    mean, deviation = data.encoding.told["scalings"]["density"]
    assert told["density"].flatten().tolist() == pytest.approx([(4 - mean) / deviation] * 2)
    with pytest.raises(InputError, match="'space_group'"):
        crystal_data(perovskites(), conditions="space_grup", **OPTIONS)


def test_splits():
    data = crystal_data(perovskites(12), held_out=0.25, seed=3)
    assert (len(data), len(data.held_out)) == (9, 3)
    assert len({each.source for part in (data, data.held_out) for each in part.structures}) == 12
    apart = crystal_data(perovskites(12), held_out=0.5, split="composition")
    sides = [{formula_of(each) for each in part.structures} for part in (apart, apart.held_out)]
    assert not sides[0] & sides[1]
    assert len(apart.held_out) == 6
    twice = made([20] * 2 + [8] * 2, np.arange(12).reshape(4, 3) / 12, np.eye(3) * 6, {})
    assert formula_of(twice) == ((8, 1), (20, 1))
    same = [made([20, 8], [[0, 0, 0], [0.5, 0.5, 0.5]], np.eye(3) * (4 + row), {}) for row in range(6)]
    with pytest.raises(InputError, match=r"1 formulas.*data.split=random"):
        crystal_data(same, held_out=0.5, split="composition")
    assert data.encoding == data.held_out.encoding
    assert [each.source for each in crystal_data(perovskites(12), held_out=0.25, seed=3).structures] == [
        each.source for each in data.structures
    ]


def test_limits_are_kept_and_told():
    large = made([14] * 8, np.stack(np.meshgrid(*[[0, 0.5]] * 3), -1).reshape(8, 3), np.eye(3) * 6, {})
    data = crystal_data([*perovskites(4), large], largest=5, **OPTIONS)
    assert len(data) == 4
    assert "1 crystals have more than 5 sites" in data.remarks[0]
    assert len(crystal_data(perovskites(12), limit=5, **OPTIONS)) == 5
    elements = crystal_data(perovskites(1) * 2, elements=["O", "Ti", "Ca", "Pb"], **OPTIONS).encoding.elements
    assert elements == ("O", "Ti", "Ca", "Pb")


def test_bad_structures_are_told_counted_and_left_out_when_asked():
    near = made([1, 1], [[0, 0, 0], [0.01, 0, 0]], np.eye(3) * 4, {"gap": 1.0}, source="row 90")
    bare = made([1], [[0, 0, 0]], np.eye(3) * 4, {}, source="row 91")
    bad = [near] * 6 + [bare]
    with pytest.raises(InputError) as error:
        crystal_data([*perovskites(4), *bad, "not a crystal"], properties=["gap"], **OPTIONS)
    told = str(error.value)
    assert "8 of 12 structures cannot be used" in told
    assert told.count("0.04 angstrom apart") == 4
    assert "structure 12: a pymatgen Structure, an ASE Atoms or a Crystal is needed; seen str" in told
    assert "and 3 more" in told
    assert "data.unreadable=drop" in told
    data = crystal_data([*perovskites(4), *bad], properties=["gap"], unreadable="drop", **OPTIONS)
    assert len(data) == 4
    assert data.remarks[0].startswith("7 of 11 structures could not be used")
    with pytest.raises(InputError, match="none is left"):
        crystal_data(bad, unreadable="drop", properties=["gap"], **OPTIONS)
    with pytest.raises(InputError, match=r"row 1: it holds Sc, which `data.elements`"):
        crystal_data(perovskites(2), elements=["Ca", "Ti", "V", "O"], **OPTIONS)


def test_objects_of_other_libraries():
    data = crystal_data(
        [to_pymatgen(each) for each in perovskites(3)] + [to_ase(each) for each in perovskites(3)],
        properties=["gap"],
        **OPTIONS,
    )
    for part in data.state.values():
        assert torch.allclose(part[:3].double(), part[3:].double(), atol=1e-6)
    with pytest.raises(InputError, match="no structures are given"):
        crystal_data([])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pth": "x"}, "'path'"),
        ({"task": "predikt"}, "'predict'"),
        ({"cell": "conventional"}, "as-it-is, niggli, primitive"),
        ({"split": "formula"}, "composition, random"),
        ({"unreadable": "ignore"}, "drop, error"),
        ({"properties": "mask"}, "means something else"),
        ({"properties": ["gap", "gap"]}, "given twice"),
        ({"properties": {"gap": 1}}, "a list of names"),
        ({"properties": ["gapp"]}, "'gap'"),
        ({"elements": []}, "the list is empty"),
        ({"elements": ["Ca", "Tl", "Xx"]}, "unknown element 'Xx'"),
        ({"largest": 0}, "whole number from 1"),
        ({"limit": True}, "whole number from 2"),
        ({"held_out": 1.5}, "from 0 to below 1"),
        ({"seed": "a"}, "whole number"),
        ({"largest": 2}, "0 crystals are left"),
    ],
)
def test_options_that_are_refused(options, told):
    with pytest.raises(InputError) as error:
        crystal_data(perovskites(6), **{**OPTIONS, **options})
    assert told in str(error.value)


def test_options_of_the_embedded_set_that_are_refused():
    for options, told in (
        ({"name": "perovskites"}, "prototypes"),
        ({"column": "cif"}, "data.path"),
        ({"count": 10**7}, "no more than"),
    ):
        with pytest.raises(InputError) as error:
            read_crystals(options)
        assert told in str(error.value)


def test_a_property_that_never_changes():
    alike = [made(each.numbers, each.fractional, each.cell, {"gap": 1.0}) for each in perovskites(3)]
    with pytest.raises(InputError, match="for every crystal"):
        crystal_data(alike, properties=["gap"], **OPTIONS)


def test_a_table_through_the_recipes_options(tmp_path):
    path = tmp_path / "all.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["", "cif", "gap"])
        rows.writerows([row, cif_text(each), each.properties["gap"]] for row, each in enumerate(perovskites()))
    data = read_crystals({"path": str(path), "properties": ["gap"], "held_out": 0.25, "task": "predict"})
    assert data.name == "all.csv"
    assert (len(data), len(data.held_out)) == (9, 3)
    assert data.held_out.told["elements"].shape == (3, 5, len(data.encoding.elements))


def test_many_samples_are_written_as_one_table(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_MANY", 3)
    data = crystal_data(perovskites(4), **OPTIONS)
    files = crystals.save(data.encoding, data.state, tmp_path, {"mask": data.mask})
    assert [file.name for file in files] == ["samples-000000.csv", "samples-000000.summary.csv"]
    assert len(read_crystals({"path": str(files[0]), **OPTIONS})) == 4


def test_samples_are_written_and_read_again(tmp_path):
    data = crystal_data(perovskites(), held_out=0.0, properties=["gap"])
    condition = {"mask": data.mask, **data.told}
    files = crystals.save(data.encoding, data.state, tmp_path / "a", condition, first=7)
    assert [file.name for file in files[:1] + files[-1:]] == ["000007.cif", "samples-000007.summary.csv"]
    back = crystal_data(read_files(tmp_path / "a", kind="cif").structures, **OPTIONS)
    assert torch.allclose(back.state["lattice"], data.state["lattice"], atol=1e-4)
    rows = list(csv.DictReader(files[-1].read_text().splitlines()))
    assert rows[0]["formula"] == "CaTiO3"
    assert (rows[0]["space_group"], rows[0]["space_group_number"]) == ("Pm-3m", "221")
    assert [float(row["asked_gap"]) for row in rows] == pytest.approx([0.5 * row for row in range(12)], abs=1e-5)
    assert crystals.save(data.encoding, data.state, tmp_path / "a", condition, first=7) == files
    other = {**data.state, "lattice": data.state["lattice"] + 1}
    with pytest.raises(InputError, match="other samples"):
        crystals.save(data.encoding, other, tmp_path / "a", condition, first=7)
    crystals.save(data.encoding, other, tmp_path / "a", condition, first=7, overwrite=True)
    with pytest.raises(InputError, match=r"unknown kind.*'poscar'"):
        crystals.write(data.encoding, data.state, tmp_path, kind="posca", condition=condition)
    with pytest.raises(InputError, match="no labels"):
        crystals.write(data.encoding, data.state, tmp_path, labels=[1], condition=condition)
    write_structures(perovskites(2), tmp_path / "b", "ase-db")
    with pytest.raises(InputError, match="a database here already"):
        write_structures(perovskites(3), tmp_path / "b", "ase-db")
    write_structures(perovskites(3), tmp_path / "b", "ase-db", overwrite=True)
    assert len(read_files(tmp_path / "b").structures) == 3


def test_the_embedded_set():
    found = embedded.prototypes(900, 0)
    assert len(found.structures) == 900
    assert not found.unread
    assert max(map(len, found.structures)) <= embedded.LARGEST
    again = embedded.prototypes.__wrapped__(900, 0)
    assert all(np.array_equal(one.cell, two.cell) for one, two in zip(found.structures, again.structures, strict=True))
    other = embedded.prototypes.__wrapped__(900, 1)
    assert any(one.source != two.source for one, two in zip(found.structures, other.structures, strict=True))
    assert len({each.source for each in found.structures}) > 880
    data = read_crystals({"count": 900, "held_out": 0.1})
    assert not data.remarks  # none of them is too dense, or else out of order
    assert isinstance(data.encoding, CrystalEncoding)
    assert "not relaxed" in data.name
    volumes = np.array([each.volume / len(each) for each in data.structures])
    assert 8 < np.median(volumes) < 40


def test_exchanging_an_element_keeps_the_closest_contact_in_units_of_the_radii():
    from unstir.domains.matter.elements import radius

    parent = embedded._parents()[3]
    table = {int(number): {8: 16}.get(int(number), int(number) + 1) for number in np.unique(parent.numbers)}
    child = embedded._exchanged(parent, table, embedded._contacts(parent))

    def closest(crystal: Crystal) -> float:
        return min(d / (radius(one) + radius(two)) for (one, two), d in embedded._contacts(crystal).items())

    assert closest(child) == pytest.approx(closest(parent))

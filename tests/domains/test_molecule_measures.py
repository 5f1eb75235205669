"""Measures of molecules, each against another route, another program or a case that is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from rdkit import Chem
from scipy.stats import wasserstein_distance

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.matter import columns, findings
from unstir.domains.matter.structures import BOND_ORDERS, Molecule
from unstir.domains.molecules.candidates import nearest
from unstir.domains.molecules.data import read_molecules
from unstir.domains.molecules.files.convert import from_rdkit, to_rdkit
from unstir.domains.molecules.measures import geometry, lengths, rivals
from unstir.domains.molecules.measures.soundness import soundness
from unstir.domains.molecules.measures.stability import kekulised, stability, stable_atoms, valences
from unstir.domains.molecules.measures.strain import strains
from unstir.domains.molecules.measures.validity import flat_smiles_of, validity
from unstir.domains.molecules.perceiving import conformer, without_hydrogens
from unstir.metrics.base import SampleSet


def built(smiles: str, aromatic: bool = False) -> Molecule:
    mol = conformer(Chem.MolFromSmiles(smiles), Seeds.range(3, 1))
    return from_rdkit(mol, aromatic=aromatic)


@pytest.fixture(scope="module")
def ligands() -> list[Molecule]:
    return list(read_molecules({"limit": 60, "held_out": 0}).structures)


# stability


def test_own_bonds_of_sound_molecules_are_stable_and_one_bond_less_is_not(ligands: list[Molecule]) -> None:
    assert stability(ligands, "bonds").molecule == 1.0
    broken = []
    for one in ligands:
        first, second = np.argwhere(np.triu(one.bonds, 1))[0]
        bonds = one.bonds.copy()
        bonds[first, second] = bonds[second, first] = 0
        broken.append(replace(one, bonds=bonds))
    found = stability(broken, "bonds")
    assert found.molecule == 0.0
    assert (found.atoms - found.stable == 2).all()
    assert found.atom == pytest.approx(1 - 2 * len(broken) / sum(map(len, broken)))


def test_aromatic_valences_are_not_truncated_to_whole_numbers() -> None:
    benzene = built("c1ccccc1", aromatic=True)
    assert (benzene.bonds == BOND_ORDERS.index(1.5)).any()
    assert stability([benzene], "bonds").molecule == 1.0
    assert valences(benzene, "bonds")[benzene.numbers == 6].tolist() == [4.0] * 6
    # with 1.5 cut to 1 these carbons lack a bond; and a ring that has no Kekulé form is no sound ring
    lost = replace(benzene, numbers=np.where(np.arange(12) == 0, 7, benzene.numbers))
    assert kekulised(lost) is None
    assert stability([lost], "bonds").molecule == 0.0


@pytest.mark.parametrize(
    ("smiles", "stable"),
    [("C[N+](C)(C)C", True), ("CS(=O)(=O)C", True), ("OP(=O)(O)O", True), ("[O-]C=O", True), ("[CH3]", False)],
)
def test_charges_and_higher_valences_count(smiles: str, stable: bool) -> None:
    one = from_rdkit(Chem.AddHs(Chem.MolFromSmiles(smiles)))
    assert stability([one], "bonds").molecule == float(stable)
    if one.charges is not None and one.charges.any():
        assert stability([replace(one, charges=None)], "bonds").molecule == 0.0


def test_lengths_tell_the_orders_of_simple_molecules() -> None:
    for smiles, order in (("CC", 1), ("C=C", 2), ("C#C", 3), ("C=O", 2), ("C#N", 3)):
        one = built(smiles)
        heavy = np.flatnonzero(one.numbers > 1)
        found = lengths.orders(one.numbers, one.positions)
        assert found[heavy[0], heavy[1]] == order
        assert np.array_equal(found, found.T)
        assert stability([one]).molecule == 1.0
    edge = lengths.typical("C", "C") / 100 + 0.1
    for apart, order in ((edge - 1e-4, 1), (edge + 1e-4, 0)):
        assert lengths.orders(np.array([6, 6]), np.array([[0.0, 0, 0], [0, 0, apart]]))[0, 1] == order
    assert math.isnan(lengths.typical("H", "H", 2))


def test_an_atom_may_lack_hydrogens_that_were_left_out() -> None:
    bare = without_hydrogens(built("CCO"))
    assert stable_atoms(bare, "bonds", implicit=True).all()
    assert not stable_atoms(bare, "bonds").any()


def test_stability_needs_what_it_looks_at() -> None:
    water = built("O")
    with pytest.raises(InputError, match="no bonds of its own"):
        stability([replace(water, bonds=None)], "bonds")
    with pytest.raises(InputError, match="no positions"):
        stability([replace(water, positions=None)])
    with pytest.raises(InputError, match="at least one"):
        stability([])


# validity


def test_real_molecules_are_valid_by_bonds_and_perceived_and_all_different(ligands: list[Molecule]) -> None:
    for route in ("bonds", "perceived"):
        found = validity(ligands, route)
        assert found.connected.all(), route
        assert found.unique.mean() > 0.9
    own, seen = validity(ligands, "bonds"), validity(ligands, "perceived")
    same = [first == second for first, second in zip(own.smiles, seen.smiles, strict=True)]
    assert np.mean(same) > 0.9  # tautomers and charges apart, positions tell the same molecule
    again = validity([*ligands, ligands[0]], "bonds")
    assert not again.unique[-1] and again.unique[0]
    assert not own.novel(flat_smiles_of(ligands, "bonds")).any()
    assert own.novel(set()).all()


def test_radicals_pieces_and_too_many_bonds_are_told_apart() -> None:
    ethane, water = built("CC"), built("O")
    radical = Molecule(ethane.numbers[:-1], ethane.positions[:-1], ethane.charges[:-1], ethane.bonds[:-1, :-1])
    both = Molecule(
        np.concatenate([ethane.numbers, water.numbers]),
        np.concatenate([ethane.positions, water.positions + 20]),
        None,
        np.block([[ethane.bonds, np.zeros((8, 3), dtype=int)], [np.zeros((3, 8), dtype=int), water.bonds]]),
    )
    crowded = replace(ethane, bonds=np.where(ethane.bonds > 0, 3, 0))
    found = validity([ethane, radical, both, crowded], "bonds")
    assert found.valid.tolist() == [True, False, True, False]
    assert found.connected.tolist() == [True, False, False, False]
    assert found.pieces.tolist() == [1, 0, 2, 0]
    assert found.smiles[:2] == ("CC", "")
    # a chain of bare carbons is no molecule, unless its hydrogens were left out
    bare = without_hydrogens(ethane)
    assert not validity([bare], "bonds").valid[0]
    assert validity([bare], "bonds", implicit=True).smiles == ("CC",)


def test_mirror_images_are_one_molecule_and_charges_are_seen() -> None:
    left = built("C[C@H](O)F")
    right = replace(left, positions=left.positions * np.array([-1.0, 1, 1]))
    assert validity([left, right], "bonds").unique.tolist() == [True, False]
    glycine = built("[NH3+]CC(=O)[O-]")
    assert validity([glycine], "perceived").connected[0]
    assert not validity([replace(glycine, charges=None)], "bonds").valid[0]


def test_routes_ask_for_what_they_need() -> None:
    water = built("O")
    with pytest.raises(InputError, match="take another route"):
        validity([replace(water, bonds=None)], "bonds")
    with pytest.raises(InputError, match="no positions"):
        validity([replace(water, positions=None)], "lengths")
    with pytest.raises(InputError, match="bonds"):
        validity([water], "bond")
    with pytest.raises(InputError, match="at least one"):
        validity([], "bonds")
    onto = replace(water, positions=np.zeros((3, 3)))
    assert not validity([onto], "perceived").valid.any()


# shapes


def test_soundness_agrees_with_posebusters(ligands: list[Molecule]) -> None:
    posebusters = pytest.importorskip("posebusters")
    seeds = Seeds.range(5, 24)
    tested = [*ligands[:12], *rivals.jittered(ligands, seeds[:12], 0.1), *rivals.jittered(ligands, seeds[12:], 0.25)]
    mols = [to_rdkit(one) for one in tested]
    found = soundness(mols)
    theirs = posebusters.PoseBusters(config="mol_fast").bust(mols, full_report=False)
    for name, ours in (
        ("bond_lengths", found.lengths),
        ("bond_angles", found.angles),
        ("internal_steric_clash", found.contacts),
        ("aromatic_ring_flatness", found.rings),
        ("double_bond_flatness", found.planes),
    ):
        assert ours.tolist() == theirs[name].astype(bool).tolist(), name
    assert found.all[:12].all()
    assert not found.all[24:].all()
    assert set(found.shares()) == {"lengths", "angles", "contacts", "rings", "planes"}


def test_what_is_no_molecule_is_not_sound() -> None:
    water = to_rdkit(built("O"))
    flat = Chem.MolFromSmiles("CC")
    assert soundness([None, flat, water]).all.tolist() == [False, False, True]
    gone = to_rdkit(replace(built("CC"), positions=np.full((8, 3), np.nan)))
    assert not soundness([gone]).all.any()


def test_a_bent_ring_and_a_stretched_bond_are_found() -> None:
    benzene = built("c1ccccc1")
    bent = benzene.positions.copy()
    normal = np.linalg.svd(bent[:6] - bent[:6].mean(0))[2][2]
    bent[0] += 0.6 * normal
    found = soundness([to_rdkit(replace(benzene, positions=bent))])
    assert not found.rings[0]
    ethane = built("CC")
    axis = ethane.positions[1] - ethane.positions[0]
    half = (ethane.positions - ethane.positions[:2].mean(0)) @ axis > 0
    longer = ethane.positions + 0.5 * axis * half[:, None]
    found = soundness([to_rdkit(replace(ethane, positions=longer))])
    assert not found.lengths[0] and found.rings[0]


def test_strain_is_nothing_at_the_minimum_and_grows_with_shaking() -> None:
    relaxed = built("CC(=O)NCc1ccccc1")
    shaken = rivals.jittered([relaxed], Seeds.range(0, 1))[0]
    low, high = strains([relaxed, shaken])
    assert 0 <= low < 1
    assert high > 20
    assert np.isnan(strains([replace(built("C"), numbers=np.array([32, 9, 9, 9, 9]))])[0])  # no germanium in MMFF94
    with pytest.raises(InputError, match="mmff94"):
        strains([relaxed], "mmff")


def test_strain_by_tight_binding() -> None:
    pytest.importorskip("tblite")
    water = built("O")
    stretched = replace(water, positions=water.positions * 1.15)
    low, high = strains([water, stretched], "gfn2")
    assert 0 <= low < 2
    assert high > low + 5


# geometry


def test_measures_of_known_shapes() -> None:
    numbers = np.array([1, 8, 8, 1])
    places = np.array([[0.0, 1.0, 0], [0, 0, 0], [1.45, 0, 0], [1.45, 0, 1.0]])  # a right angle each, torsion 90
    bonds = np.zeros((4, 4), dtype=np.int64)
    for first, second in ((0, 1), (1, 2), (2, 3)):
        bonds[first, second] = bonds[second, first] = 1
    found = geometry.measures(Molecule(numbers, places, None, bonds))
    kinds, values = found["bond lengths"]
    assert kinds == ["H-O", "O-O", "H-O"] and values.tolist() == [1.0, 1.45, 1.0]
    kinds, values = found["angles"]
    assert kinds == ["O2", "O2"] and values == pytest.approx([90.0, 90.0])
    kinds, values = found["torsions"]
    assert kinds == ["O-O"] and values == pytest.approx([90.0])
    trans = places.copy()
    trans[3] = [1.45, -1.0, 0]
    assert geometry.measures(Molecule(numbers, trans, None, bonds))["torsions"][1] == pytest.approx([180.0])
    straight = places.copy()
    straight[0] = [-1.0, 0, 0]
    assert geometry.measures(Molecule(numbers, straight, None, bonds))["torsions"][0] == []
    alone = geometry.measures(Molecule(numbers[:1], places[:1], None, bonds[:1, :1]))
    assert all(not kinds and not len(values) for kinds, values in alone.values())


def test_measures_are_those_of_rdkit() -> None:
    from rdkit.Chem import rdMolTransforms

    one = built("CC(=O)N")
    place = to_rdkit(one).GetConformer()
    expected = sorted(
        rdMolTransforms.GetBondLength(place, int(a), int(b)) for a, b in np.argwhere(np.triu(one.bonds, 1))
    )
    found = geometry.measures(one)
    assert sorted(found["bond lengths"][1]) == pytest.approx(expected)
    torsions = []
    for b, c in np.argwhere(np.triu(one.bonds, 1)).tolist():
        for a in np.flatnonzero(one.bonds[b]).tolist():
            for d in np.flatnonzero(one.bonds[c]).tolist():
                if a != c and d != b:
                    torsions.append(abs(rdMolTransforms.GetDihedralDeg(place, a, b, c, d)))
    assert sorted(found["torsions"][1]) == pytest.approx(sorted(torsions), abs=1e-4)


def test_the_distance_of_shapes_is_wassersteins_by_kinds(ligands: list[Molecule]) -> None:
    shaken = rivals.jittered(ligands, Seeds.range(1, 60), 0.05)
    kinds = geometry.frequent(ligands)
    name = "bond lengths"
    own, real = (geometry.binned(rows, kinds)[name] for rows in (shaken, ligands))
    metric = geometry.Shapes(name, kinds[name])
    value = metric.measure(own.sample_set(), real.sample_set(), Seeds.range(0, 1)).value
    values = [
        [pair for one in rows for pair in zip(*geometry.measures(one)[name], strict=True)] for rows in (shaken, ligands)
    ]
    weights = [sum(kind == each for each, _ in values[1]) for kind in kinds[name]]
    apart = [
        wasserstein_distance(*([number for each, number in rows if each == kind] for rows in values))
        for kind in kinds[name]
    ]
    assert value == pytest.approx(np.average(apart, weights=weights), abs=0.005)  # a bin's width
    assert metric.unit == "Å"
    assert metric.measure(real.sample_set(), real.sample_set(), Seeds.range(0, 1)).value == 0.0
    assert metric.details(own.sample_set(), real.sample_set())["share of kinds that no sample has"] == 0.0


def test_columns_and_shares_against_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(40, 2)), rng.normal(0.3, 1.2, size=(55, 2))
    sets = [SampleSet(torch.from_numpy(rows)) for rows in (first, second)]
    for column in (0, 1):
        found = columns.Wasserstein(column, "x").measure(*sets, Seeds.range(0, 1)).value
        assert found == pytest.approx(wasserstein_distance(first[:, column], second[:, column]))
    shares = columns.element_shares([np.array([1, 1, 8]), np.array([6, 6])])
    assert shares[0, 1] == pytest.approx(2 / 3) and shares[1, 6] == 1.0 and shares.sum() == pytest.approx(2)
    alike = SampleSet(torch.zeros(2, 1), torch.from_numpy(shares))
    other = SampleSet(torch.zeros(2, 1), torch.from_numpy(shares[[1, 1]]))
    assert columns.Shares().measure(alike, other, Seeds.range(0, 1)).value == pytest.approx(0.5)


def test_a_ratio_has_the_interval_of_its_estimator() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(5, 30, 400)
    chance = rng.beta(6, 2, 400)  # atoms of one molecule are alike
    held = rng.binomial(sizes, chance)
    found = findings.ratio("x", (held, sizes), None, {"rival": (held // 2, sizes)}, reference=3, began=0.0, note="")
    again = [(held[rows].sum() / sizes[rows].sum()) for rows in rng.integers(0, 400, (2000, 400))]
    low, high = np.quantile(again, [0.025, 0.975])
    assert found.value == held.sum() / sizes.sum()
    assert found.interval[0] == pytest.approx(low, abs=0.003)
    assert found.interval[1] == pytest.approx(high, abs=0.003)
    assert found.baselines["rival"] < found.value and found.floor == {}


# what needs no model


def test_rivals_are_what_they_say(ligands: list[Molecule]) -> None:
    seeds = Seeds.range(2, 40)
    taken = rivals.copies(ligands, seeds)
    shaken = rivals.jittered(ligands, seeds)
    steps = np.concatenate([(a.positions - b.positions).ravel() for a, b in zip(shaken, taken, strict=True)])
    assert abs(steps.std() / rivals.SHAKEN - 1) < 5 / math.sqrt(2 * len(steps))
    assert all(np.array_equal(a.bonds, b.bonds) for a, b in zip(shaken, taken, strict=True))
    other = rivals.exchanged(ligands, seeds)
    for one, real in zip(other, taken, strict=True):
        assert sorted(one.numbers) == sorted(real.numbers)
        assert np.array_equal(one.numbers == 1, real.numbers == 1)
        assert np.array_equal(one.positions, real.positions)
    assert any(not np.array_equal(a.numbers, b.numbers) for a, b in zip(other, taken, strict=True))
    gas = rivals.scattered(ligands, seeds)
    assert validity(gas, "bonds").connected.mean() < 0.1
    alone = rivals.scattered(ligands, Seeds.range(2, 1))[0]
    assert np.array_equal(alone.positions, gas[0].positions)  # a draw is the same alone and among others


def test_likeness_is_one_to_itself() -> None:
    found = nearest(["CCO", "c1ccccc1", "C"], ["CCO", "CCCCN"])
    assert found[0] == 1.0
    assert (found[1:] < 0.5).all()
    assert nearest(["C"], []).tolist() == [0.0]

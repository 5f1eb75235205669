"""Measures of crystals, each against pymatgen or SMACT asked directly, or against a case that is known."""

import itertools

import numpy as np
import pytest

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.crystals.convert import to_pymatgen
from unstir.domains.crystals.measures import fingerprints, rivals, stability, statistics
from unstir.domains.crystals.measures.coverage import Landscape
from unstir.domains.crystals.measures.matching import (
    LITERATURE,
    STRICT,
    aligned,
    alike,
    among,
    distance,
    distinct,
    match,
    match_everyone,
)
from unstir.domains.crystals.measures.neighbours import closest, closest_by_radii, near
from unstir.domains.crystals.measures.novelty import newness
from unstir.domains.crystals.measures.validity import balances, keeps_apart, keeps_radii, validity
from unstir.domains.matter.elements import number_of, radius
from unstir.domains.matter.structures import Crystal

SITES = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])


def crystal(symbols, places, cell):
    cell = np.asarray(cell, dtype=np.float64)
    cell = cell * np.eye(3) if cell.ndim == 0 else cell
    return Crystal(np.array([number_of(one) for one in symbols]), np.asarray(places, dtype=np.float64) % 1, cell)


def perovskite(a="Ca", b="Ti", x="O", edge=3.9, shift=0.0):
    places = SITES + shift * np.random.default_rng(0).normal(size=(5, 3))
    return crystal((a, b, x, x, x), places, edge)


def rocksalt(a="Na", x="Cl", edge=5.64):
    face = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    return crystal([a] * 4 + [x] * 4, np.concatenate([face, face + 0.5]), edge)


def caesium_chloride(a="Na", x="Cl", edge=3.5):
    return crystal([a, x], [[0, 0, 0], [0.5, 0.5, 0.5]], edge)


def told_otherwise(one, seed=0):
    """The same crystal with another origin, order of sites, axes and cell."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(one))
    skew = np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]])
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    places = (one.fractional[order] + rng.uniform(size=3)) @ np.linalg.inv(skew)
    return Crystal(one.numbers[order], places % 1, skew @ one.cell @ turn)


# neighbours


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_are_all_images_however_skewed_the_cell(seed):
    rng = np.random.default_rng(seed)
    cell = 3 * np.eye(3) + rng.normal(size=(3, 3))
    one = crystal(("Ca", "Ti", "O"), rng.uniform(size=(3, 3)), cell)
    found = near(one, 6.0)
    steps = np.array(list(itertools.product(range(-9, 10), repeat=3)))
    apart = one.positions[None, :, None] - one.positions[:, None, None] + (steps @ cell)[None, None]
    every = np.sqrt((apart**2).sum(-1)).ravel()
    wanted = np.sort(every[(every <= 6.0) & (every > 1e-9)])
    assert np.sort(found.distances) == pytest.approx(wanted)
    turned = near(told_otherwise(one), 6.0)
    assert np.sort(turned.distances) == pytest.approx(wanted)


def test_shortest_distances_are_known_ones():
    assert closest(rocksalt(), 9.0) == pytest.approx(2.82)
    assert closest(rocksalt(), 2.0) == 2.0
    bond = 2.82 / (radius(11) + radius(17))
    assert closest_by_radii(rocksalt(), 3.0) == pytest.approx(bond)
    flat = crystal(["Na"], [[0, 0, 0]], np.diag([1.0, 1.0, 0.0]))
    with pytest.raises(InputError, match="no volume"):
        near(flat, 3.0)


# matching


def test_a_crystal_is_itself_however_it_is_told():
    for one in (perovskite(shift=0.02), rocksalt(), caesium_chloride()):
        assert distance(told_otherwise(one), one) == pytest.approx(0, abs=1e-4)
        assert alike(told_otherwise(one, 1), one)
    assert distance(perovskite(edge=4.4), perovskite()) == pytest.approx(0, abs=1e-6)  # volume is not looked at


def test_the_distance_is_pymatgens():
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(stol=0.5, ltol=0.3, angle_tol=10)
    rng = np.random.default_rng(3)
    truth = perovskite()
    for scale in (0.01, 0.05, 0.1, 0.25):
        sample = crystal(("Ca", "Ti", "O", "O", "O"), SITES + scale * rng.normal(size=(5, 3)), 3.9)
        wanted = matcher.get_rms_dist(to_pymatgen(sample), to_pymatgen(truth))
        found = distance(sample, truth)
        assert np.isnan(found) if wanted is None else found == pytest.approx(wanted[0], abs=1e-9)


def test_one_site_moved_has_the_displacement_of_the_formula():
    truth = perovskite(edge=4.0)
    moved = SITES.copy()
    moved[1] += [0.05, 0, 0]  # 0.2 angstrom of one atom; the rest of the cell follows by the mean
    sample = crystal(("Ca", "Ti", "O", "O", "O"), moved, 4.0)
    steps = np.zeros((5, 3))
    steps[1, 0] = 0.2
    steps -= steps.mean(0)
    wanted = np.sqrt((steps**2).sum(1).mean()) / (4.0**3 / 5) ** (1 / 3)
    assert distance(sample, truth) == pytest.approx(wanted, rel=1e-3)


def test_rates_count_what_matches_and_charge_what_does_not():
    truth = perovskite()
    other = crystal(("Ca", "Ti", "O", "O", "O"), [[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.1], [0.1, 0.1, 0]], 3.9)
    found = match([perovskite(shift=0.02), other], [truth, truth])
    assert found.rate == 0.5
    assert found.rmse == found.each[0]
    assert found.crmse == pytest.approx((found.each[0] + LITERATURE.sites) / 2)
    assert np.isnan(match([other], [truth]).rmse)
    with pytest.raises(InputError, match="one each"):
        match([truth], [])


def test_everyone_against_the_reference_knows_polymorphs():
    salt, caesium = rocksalt(), caesium_chloride()
    assert not alike(salt, caesium)
    # two draws of one polymorph find one of two truths; drawn in the other's place each finds its own
    assert match_everyone([salt, salt], [salt, caesium]).rate == 0.5
    assert match([caesium, salt], [salt, caesium]).rate == 0.0
    crossed = match_everyone([caesium, salt], [salt, caesium])
    assert crossed.rate == 1.0 and crossed.crmse == pytest.approx(0, abs=1e-6)
    assert match_everyone([rocksalt("K")], [salt]).rate == 0.0
    with pytest.raises(InputError, match="at least one"):
        match_everyone([], [salt])


def test_duplicates_and_known_ones_are_found():
    salt, caesium = rocksalt(), caesium_chloride()
    rows = [salt, caesium, told_otherwise(salt), rocksalt("K"), told_otherwise(caesium)]
    assert distinct(rows).tolist() == [0, 1, 0, 3, 1]
    assert among(rows, [caesium]).tolist() == [-1, 0, -1, -1, 0]
    found = newness([*rows, crystal(["Na", "Na"], np.zeros((2, 3)), 4.0)], [caesium])
    assert found.unique.tolist() == [True, True, False, True, False, False]
    assert found.novel.tolist() == [True, False, True, True, False, False]


def test_what_matches_is_told_in_the_truths_cell():
    truth = perovskite(shift=0.01)
    shown = aligned(told_otherwise(truth), truth)
    assert np.linalg.norm(shown.cell, axis=1) == pytest.approx(np.linalg.norm(truth.cell, axis=1), rel=1e-6)
    assert np.sort(near(shown, 4.0).distances) == pytest.approx(np.sort(near(truth, 4.0).distances), abs=1e-6)
    other = rocksalt()
    assert aligned(other, truth) is other


def test_cells_that_cannot_be_reduced_match_nothing():
    needle = crystal(("Na", "Cl"), [[0, 0, 0], [0.5, 0.5, 0.5]], np.diag([300.0, 1, 1]))
    gone = Crystal(needle.numbers, needle.fractional, np.full((3, 3), np.nan))
    for bad in (needle, gone):
        assert np.isnan(distance(bad, caesium_chloride())) and not alike(bad, bad)


# validity


def test_atoms_need_room():
    assert keeps_apart(rocksalt()) and keeps_radii(rocksalt())
    tight = caesium_chloride(edge=2.0)  # 1.7 angstrom between sodium and chlorine
    assert keeps_apart(tight) and not keeps_radii(tight)
    onto = crystal(["Na", "Cl"], [[0, 0, 0], [0.1, 0, 0]], 4.0)
    assert not keeps_apart(onto) and not keeps_radii(onto)
    across = crystal(["Na", "Cl"], [[0.02, 0, 0], [0.98, 0, 0]], 4.0)  # through the face of the cell
    assert not keeps_apart(across)
    assert keeps_apart(crystal(["Na"], [[0, 0, 0]], 0.6)) and not keeps_apart(crystal(["Na"], [[0, 0, 0]], 0.45))
    with pytest.raises(InputError, match="without atoms"):
        keeps_apart(Crystal(np.zeros(0, dtype=np.int64), np.zeros((0, 3)), np.eye(3)))


def test_charges_balance_as_smact_says():
    from smact.screening import smact_validity

    formulas = (
        ("Na", "Cl"), ("Ca", "Ti", "O", "O", "O"), ("Na", "Na", "Cl"), ("Fe", "Fe", "O", "O", "O"), ("Na", "O"),
        ("Cu", "Zn"), ("Si",), ("Ba", "Sn", "S", "S", "S"), ("Al", "P"), ("C", "H", "H", "H", "H"),
        ("Ag", "F", "F", "F"),
        ("Li", "Fe", "P", "O", "O", "O", "O"), ("K", "K", "O", "F"), ("Mg", "Cl"), ("Ti", "O", "O"), ("Rb", "Mn", "F"),
    )  # fmt: skip
    answers = []
    for symbols in formulas:
        one = crystal(symbols, np.zeros((len(symbols), 3)), 5.0)
        wanted = smact_validity("".join(symbols), oxidation_states_set="smact14")
        assert balances(one) == wanted, symbols
        answers.append(wanted)
    assert len(set(answers)) == 2
    assert balances(crystal(["He", "O"], [[0, 0, 0], [0.5, 0, 0]], 4.0)) is None
    found = validity([rocksalt(), crystal(["He", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]], 4.0)])
    assert found.compositional.tolist() == [True, False] and found.undecided == 1
    with pytest.raises(InputError, match="smact14"):
        validity([rocksalt()], "smact")


# fingerprints and coverage


def test_a_fingerprint_does_not_depend_on_how_a_crystal_is_told():
    for one in (perovskite(shift=0.03), rocksalt()):
        wanted = fingerprints.structure(one)
        for seed in range(3):
            assert fingerprints.structure(told_otherwise(one, seed)) == pytest.approx(wanted, abs=1e-7)
        twice = Crystal(
            np.tile(one.numbers, 2),
            np.concatenate([one.fractional / [2, 1, 1], one.fractional / [2, 1, 1] + [0.5, 0, 0]]),
            one.cell * np.array([[2.0], [1], [1]]),
        )
        assert fingerprints.structure(twice) == pytest.approx(wanted, abs=1e-7)
        larger = Crystal(one.numbers, one.fractional, 1.3 * one.cell)
        assert fingerprints.structure(larger) == pytest.approx(wanted, abs=1e-7)
    far = np.linalg.norm(fingerprints.structure(rocksalt()) - fingerprints.structure(caesium_chloride()))
    nearby = np.linalg.norm(fingerprints.structure(perovskite()) - fingerprints.structure(perovskite(shift=0.01)))
    assert far > 5 * nearby > 0


def test_coverage_of_the_data_by_itself_and_by_half_of_it():
    rows = [perovskite(a, b, shift=0.01 * n) for n, (a, b) in enumerate(itertools.product(("Ca", "Sr"), ("Ti", "Zr")))]
    rows += [rocksalt(a, x) for a in ("Na", "K", "Rb") for x in ("F", "Cl")]
    land = Landscape.of(rows)
    own = land.held_against(rows)
    assert own.recall.all() and own.precision.all()
    assert np.diag(land.distances(rows)) == pytest.approx(np.zeros(len(rows)), abs=1e-6)
    half = land.held_against(rows[:4])
    assert half.recall[:4].all() and not half.recall[4:].any()
    gas = rivals.jittered(rows, Seeds.range(0, 12), shift=1.5)
    assert not land.held_against(gas).precision.any()
    with pytest.raises(InputError, match="two crystals"):
        Landscape.of(rows[:1])


# statistics and rivals


def test_the_table_has_density_volume_and_symmetry():
    row = statistics.table([rocksalt()])[0]
    assert row[0] == pytest.approx(2.16, abs=0.02)  # halite, g/cm³
    assert row[1:] == pytest.approx([5.64**3 / 8, 2, 8, 225])
    assert (
        statistics.system(225) == "cubic"
        and statistics.system(2) == "triclinic"
        and statistics.system(194) == "hexagonal"
    )
    groups = statistics.SpaceGroups()
    first, second = (statistics.sample_set(rows) for rows in ([rocksalt()] * 4, [rocksalt(), perovskite()] * 2))
    assert groups.measure(first, second, Seeds.range(0, 1)).value == pytest.approx(0.5)


def test_exchanged_elements_fill_the_same_share_of_the_cell():
    library = rivals.Library([perovskite("Ca", "Ti"), perovskite("Ba", "Sn", "S", 4.9), rocksalt()])
    found = library.nearest(perovskite("Sr", "Ti"))
    assert alike(found, perovskite("Sr", "Ti"))
    share = (radius(38) ** 3 + radius(22) ** 3 + 3 * radius(8) ** 3) / found.volume
    assert share == pytest.approx((radius(20) ** 3 + radius(22) ** 3 + 3 * radius(8) ** 3) / 3.9**3)
    assert library.nearest(crystal(["Na", "Na", "O"], np.zeros((3, 3)), 5.0)) is None
    assert library.typical(rocksalt("K", "Br")) is not None
    gas = library.scattered(perovskite(), Seeds.range(0, 1))
    assert sorted(gas.numbers) == sorted(perovskite().numbers)
    assert not np.allclose(gas.fractional, perovskite().fractional)


def test_random_and_shaken_crystals_are_drawn_by_address():
    rows = [perovskite(), rocksalt()]
    seeds = Seeds.range(4, 30)
    shaken = rivals.jittered(rows, seeds)
    alone = rivals.jittered(rows, seeds[7:8])[0]
    assert np.array_equal(alone.fractional, shaken[7].fractional)
    swapped = rivals.random_elements(rows, seeds)
    known = {number for row in rows for number in row.numbers.tolist()}
    assert all(set(one.numbers.tolist()) <= known for one in swapped)
    assert len({tuple(one.numbers) for one in swapped}) > 5


# energies


def test_energies_and_the_hull_of_metals():
    def copper_gold(symbols):
        return crystal(symbols, [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], 3.9)

    corners = [copper_gold(["Cu"] * 4), copper_gold(["Au"] * 4)]
    mixed = copper_gold(["Cu", "Cu", "Au", "Au"])
    found = stability.energies([*corners, mixed], "emt")
    from ase.calculators.emt import EMT

    atoms = to_pymatgen(mixed).to_ase_atoms()
    atoms.calc = EMT()
    assert found.per_atom[2] == pytest.approx(atoms.get_potential_energy() / 4)
    above = stability.above_hull([mixed, corners[0]], found.per_atom[[2, 0]], corners, found.per_atom[:2])
    assert above == pytest.approx([found.per_atom[2] - found.per_atom[:2].mean(), 0.0], abs=1e-9)
    assert np.isnan(stability.above_hull([rocksalt()], np.array([0.0]), corners, found.per_atom[:2])).all()
    bad = stability.energies([rocksalt(), crystal(["Cu", "Cu"], np.zeros((2, 3)), 4.0)], "emt")
    assert np.isnan(bad.per_atom).all() and len(bad.failures) == 2
    for calculator, told in (("emtt", "did you mean 'emt'"), (3, "ASE calculator")):
        with pytest.raises(InputError, match=told):
            stability.energies(corners, calculator)


def test_the_tolerances_of_duplicates_are_stricter():
    assert all(strict < loose for strict, loose in zip(STRICT, LITERATURE, strict=True))

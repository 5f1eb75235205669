"""The table of elements: held against ASE and pymatgen, which know it from elsewhere."""

import warnings

import numpy as np
import pytest

from unstir.core.errors import InputError
from unstir.domains.matter.elements import (
    FEATURES,
    counts_of,
    electrons,
    element,
    features,
    mass,
    number_of,
    radius,
    symbol_of,
    table,
)


def test_symbols_numbers_masses_and_radii_are_those_of_ase():
    data = pytest.importorskip("ase.data")
    assert len(table()) == 118
    for each in table():
        assert symbol_of(each.number) == data.chemical_symbols[each.number] == each.symbol
        assert number_of(each.symbol) == each.number
        assert mass(each.number) == pytest.approx(data.atomic_masses[each.number], rel=1e-4)
        if each.number <= 96:
            assert radius(each.number) == pytest.approx(data.covalent_radii[each.number])


def test_places_electronegativities_and_states_are_those_of_pymatgen():
    core = pytest.importorskip("pymatgen.core")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in table():
            other = core.Element.from_Z(each.number)
            assert (each.group, each.row) == (other.group, other.row), each.symbol
            assert each.electronegativity == pytest.approx(other.X, nan_ok=True)
            assert each.oxidation_states == tuple(other.common_oxidation_states)


def test_electrons_fill_the_shells():
    assert [electrons(number_of(symbol)) for symbol in ("H", "O", "Ti", "La", "U", "Pb")] == [
        (1, 0, 0, 0),
        (2, 4, 0, 0),
        (2, 0, 2, 0),
        (2, 0, 0, 1),
        (2, 0, 0, 4),
        (2, 2, 10, 14),
    ]
    noble = {0, 2, 10, 18, 36, 54, 86}
    for each in table():
        assert sum(electrons(each.number)) == each.number - max(last for last in noble if last < each.number)


def test_features_are_standardised_and_know_nothing_of_the_unknown():
    known = features(np.arange(1, 97))
    assert known.shape == (96, len(FEATURES)) and known.dtype == np.float32
    filled = [place for place, name in enumerate(FEATURES) if name != "electronegativity"]
    assert np.abs(known.mean(0)[filled]).max() < 1e-5
    assert np.abs(known.std(0)[filled] - 1).max() < 1e-5
    assert not features(np.zeros(3, dtype=np.int64)).any()
    assert features(np.array([2]))[0, FEATURES.index("electronegativity")] == 0  # helium's is not known
    assert np.isfinite(features(np.arange(119))).all()
    assert features(np.zeros(0, dtype=np.int64)).shape == (0, len(FEATURES))


def test_formulas_are_counted():
    assert counts_of("CaTiO3") == {20: 1, 22: 1, 8: 3}
    assert counts_of("Ca(OH)2") == {20: 1, 8: 2, 1: 2}
    assert counts_of("CaTiO3 x2") == {20: 2, 22: 2, 8: 6}
    assert counts_of("Al2[Si(O2)2]3") == {13: 2, 14: 3, 8: 12}
    assert list(counts_of("TiO2")) == [22, 8]


@pytest.mark.parametrize("wrong", ["", "ca", "Ca0", "Ca(OH", "Ca)2", "Ca(OH]2(", "CaO1.5", "CaO x0", "Ca-O"])
def test_what_is_no_formula_is_refused(wrong: str):
    with pytest.raises(InputError, match="is no formula"):
        counts_of(wrong)


def test_unknown_elements_get_the_nearest_symbol():
    with pytest.raises(InputError, match="did you mean 'Fe'"):
        number_of("FE")
    with pytest.raises(InputError, match="did you mean 'Ti'"):
        number_of("titanium")
    with pytest.raises(InputError, match="isotopes"):
        number_of("D")
    with pytest.raises(InputError, match="symbols go from H to Og"):
        number_of("Qq")
    for wrong in (0, 119, -3):
        with pytest.raises(InputError, match="1 to 118"):
            element(wrong)
    with pytest.raises(InputError, match="0, unknown, to 118"):
        features(np.array([1, 119]))

"""The elements: symbols, places in the periodic table, radii, electronegativities, masses, oxidation states."""

import functools
import re
from typing import NamedTuple

import numpy as np

from unstir.core.errors import InputError, suggest

# symbol, name, atomic mass in dalton, covalent radius in angstrom, Pauling's electronegativity, common oxidation states
_TABLE = """
H  Hydrogen      1.008    0.31 2.20 -1,+1
He Helium        4.0026   0.28 -    -
Li Lithium       6.94     1.28 0.98 +1
Be Beryllium     9.01218  0.96 1.57 +2
B  Boron         10.81    0.84 2.04 +3
C  Carbon        12.011   0.76 2.55 -4,-3,-2,-1,0,+1,+2,+3,+4
N  Nitrogen      14.007   0.71 3.04 -3,+3,+5
O  Oxygen        15.999   0.66 3.44 -2
F  Fluorine      18.9984  0.57 3.98 -1
Ne Neon          20.1797  0.58 -    -
Na Sodium        22.9898  1.66 0.93 +1
Mg Magnesium     24.305   1.41 1.31 +2
Al Aluminium     26.9815  1.21 1.61 +3
Si Silicon       28.085   1.11 1.90 -4,+4
P  Phosphorus    30.9738  1.07 2.19 -3,+3,+5
S  Sulfur        32.06    1.05 2.58 -2,+2,+4,+6
Cl Chlorine      35.45    1.02 3.16 -1,+1,+3,+5,+7
Ar Argon         39.948   1.06 -    -
K  Potassium     39.0983  2.03 0.82 +1
Ca Calcium       40.078   1.76 1.00 +2
Sc Scandium      44.9559  1.70 1.36 +3
Ti Titanium      47.867   1.60 1.54 +4
V  Vanadium      50.9415  1.53 1.63 +5
Cr Chromium      51.9961  1.39 1.66 +3,+6
Mn Manganese     54.938   1.39 1.55 +2,+4,+7
Fe Iron          55.845   1.32 1.83 +2,+3
Co Cobalt        58.9332  1.26 1.88 +2,+3
Ni Nickel        58.6934  1.24 1.91 +2
Cu Copper        63.546   1.32 1.90 +2
Zn Zinc          65.38    1.22 1.65 +2
Ga Gallium       69.723   1.22 1.81 +3
Ge Germanium     72.63    1.20 2.01 -4,+2,+4
As Arsenic       74.9216  1.19 2.18 -3,+3,+5
Se Selenium      78.971   1.20 2.55 -2,+2,+4,+6
Br Bromine       79.904   1.20 2.96 -1,+1,+3,+5
Kr Krypton       83.798   1.16 3.00 +2
Rb Rubidium      85.4678  2.20 0.82 +1
Sr Strontium     87.62    1.95 0.95 +2
Y  Yttrium       88.9058  1.90 1.22 +3
Zr Zirconium     91.224   1.75 1.33 +4
Nb Niobium       92.9064  1.64 1.60 +5
Mo Molybdenum    95.95    1.54 2.16 +4,+6
Tc Technetium    97.9072  1.47 1.90 +4,+7
Ru Ruthenium     101.07   1.46 2.20 +3,+4
Rh Rhodium       102.906  1.42 2.28 +3
Pd Palladium     106.42   1.39 2.20 +2,+4
Ag Silver        107.868  1.45 1.93 +1
Cd Cadmium       112.414  1.44 1.69 +2
In Indium        114.818  1.42 1.78 +3
Sn Tin           118.71   1.39 1.96 -4,+2,+4
Sb Antimony      121.76   1.39 2.05 -3,+3,+5
Te Tellurium     127.6    1.38 2.10 -2,+2,+4,+6
I  Iodine        126.904  1.39 2.66 -1,+1,+3,+5,+7
Xe Xenon         131.293  1.40 2.60 +2,+4,+6
Cs Caesium       132.905  2.44 0.79 +1
Ba Barium        137.327  2.15 0.89 +2
La Lanthanum     138.905  2.07 1.10 +3
Ce Cerium        140.116  2.04 1.12 +3,+4
Pr Praseodymium  140.908  2.03 1.13 +3
Nd Neodymium     144.242  2.01 1.14 +3
Pm Promethium    144.913  1.99 1.13 +3
Sm Samarium      150.36   1.98 1.17 +3
Eu Europium      151.964  1.98 1.20 +2,+3
Gd Gadolinium    157.25   1.96 1.20 +3
Tb Terbium       158.925  1.94 1.10 +3
Dy Dysprosium    162.5    1.92 1.22 +3
Ho Holmium       164.93   1.92 1.23 +3
Er Erbium        167.259  1.89 1.24 +3
Tm Thulium       168.934  1.90 1.25 +3
Yb Ytterbium     173.054  1.87 1.10 +3
Lu Lutetium      174.967  1.87 1.27 +3
Hf Hafnium       178.49   1.75 1.30 +4
Ta Tantalum      180.948  1.70 1.50 +5
W  Tungsten      183.84   1.62 2.36 +4,+6
Re Rhenium       186.207  1.51 1.90 +4,+7
Os Osmium        190.23   1.44 2.20 +4
Ir Iridium       192.217  1.41 2.20 +3,+4
Pt Platinum      195.084  1.36 2.28 +2,+4
Au Gold          196.967  1.36 2.54 +3
Hg Mercury       200.592  1.32 2.00 +1,+2
Tl Thallium      204.38   1.45 1.62 +1,+3
Pb Lead          207.2    1.46 2.33 +2,+4
Bi Bismuth       208.98   1.48 2.02 +3
Po Polonium      208.982  1.40 2.00 -2,+2,+4
At Astatine      209.987  1.50 2.20 -1,+1
Rn Radon         222.018  1.50 2.20 -
Fr Francium      223.02   2.60 0.70 +1
Ra Radium        226.025  2.21 0.90 +2
Ac Actinium      227.028  2.15 1.10 +3
Th Thorium       232.038  2.06 1.30 +4
Pa Protactinium  231.036  2.00 1.50 +5
U  Uranium       238.029  1.96 1.38 +6
Np Neptunium     237.048  1.90 1.36 +5
Pu Plutonium     244.064  1.87 1.28 +4
Am Americium     243.061  1.80 1.30 +3
Cm Curium        247.07   1.69 1.30 +3
Bk Berkelium     247.07   -    1.30 +3
Cf Californium   251.08   -    1.30 +3
Es Einsteinium   252.083  -    1.30 +3
Fm Fermium       257.095  -    1.30 +3
Md Mendelevium   258.098  -    1.30 +3
No Nobelium      259.101  -    1.30 +3
Lr Lawrencium    262.11   -    1.30 +3
Rf Rutherfordium 267.122  -    -    +4
Db Dubnium       268.126  -    -    -
Sg Seaborgium    271.134  -    -    -
Bh Bohrium       270.133  -    -    -
Hs Hassium       269.134  -    -    -
Mt Meitnerium    278.156  -    -    -
Ds Darmstadtium  281.165  -    -    -
Rg Roentgenium   281.166  -    -    -
Cn Copernicium   285.177  -    -    -
Nh Nihonium      286.182  -    -    -
Fl Flerovium     289.19   -    -    -
Mc Moscovium     289.194  -    -    -
Lv Livermorium   293.204  -    -    -
Ts Tennessine    293.208  -    -    -
Og Oganesson     294.214  -    -    -
"""
_NOBLE = (0, 2, 10, 18, 36, 54, 86, 118)  # where the rows of the periodic table end
_FILLING = (
    "1s",
    "2s",
    "2p",
    "3s",
    "3p",
    "4s",
    "3d",
    "4p",
    "5s",
    "4d",
    "5p",
    "6s",
    "4f",
    "5d",
    "6p",
    "7s",
    "5f",
    "6d",
    "7p",
)
_ROOM = {"s": 2, "p": 6, "d": 10, "f": 14}
FEATURES = (
    "group",
    "row",
    "covalent radius",
    "electronegativity",
    "lowest oxidation state",
    "highest oxidation state",
    "s electrons",
    "p electrons",
    "d electrons",
    "f electrons",
)
"""The columns of ``features``."""


class Element(NamedTuple):
    """One element; ``radius`` and ``electronegativity`` are NaN where none has been measured.

    ``group`` is 1 to 18, and 3 for all lanthanoids and actinoids; ``row`` the period, 1 to 7. ``mass`` in dalton, of
    the longest-lived isotope where none is stable; ``radius`` covalent, single bonds, in angstrom.
    """

    number: int
    symbol: str
    name: str
    group: int
    row: int
    mass: float
    radius: float
    electronegativity: float
    oxidation_states: tuple[int, ...]


@functools.cache
def table() -> tuple[Element, ...]:
    """All 118 elements in the order of their atomic numbers.

    Reference: Cordero et al., Covalent radii revisited (2008); Allred, Electronegativity values from thermochemical
    data (1961); Prohaska et al., Standard atomic weights of the elements 2021 (2022); Greenwood, Earnshaw, Chemistry of
    the elements (1997), for the oxidation states.
    """
    found = []
    for number, line in enumerate(_TABLE.strip().splitlines(), 1):
        symbol, name, *measured, states = line.split()
        mass, radius, electronegativity = (float("nan") if value == "-" else float(value) for value in measured)
        known = () if states == "-" else tuple(int(state) for state in states.split(","))
        row = sum(number > last for last in _NOBLE[1:]) + 1
        found.append(Element(number, symbol, name, _group(number, row), row, mass, radius, electronegativity, known))
    return tuple(found)


def number_of(symbol: str) -> int:
    """The atomic number of a symbol, "Ti" is 22; an InputError with the nearest one for what is none."""
    known = _numbers()
    if symbol not in known:
        named = {element.name.lower(): element.symbol for element in table()}
        if isinstance(symbol, str) and (other := named.get(symbol.lower(), symbol.capitalize())) in known:
            raise InputError(f"unknown element {symbol!r}; did you mean {other!r}? Symbols are written as in NaCl")
        if symbol in ("D", "T"):
            raise InputError(f"unknown element {symbol!r}; isotopes are not told apart here: write 'H'")
        near = suggest(str(symbol), known).split("Allowed:")[0].rstrip()
        raise InputError(f"unknown element {symbol!r}; {near + ' ' * bool(near)}symbols go from H to Og, as in NaCl")
    return known[symbol]


def element(number: int) -> Element:
    """The element of an atomic number; InputError for other than 1 to 118."""
    if not 1 <= number <= len(table()):
        raise InputError(f"atomic numbers go from 1 to {len(table())}; seen {number}")
    return table()[int(number) - 1]


def symbol_of(number: int) -> str:
    """The symbol of an atomic number, 22 is "Ti"."""
    return element(number).symbol


def radius(number: int) -> float:
    """The covalent radius in angstrom; that of the last one measured, curium, for what is heavier."""
    found = element(number).radius
    return 1.69 if found != found else found


def mass(number: int) -> float:
    """The atomic mass in dalton."""
    return element(number).mass


def counts_of(formula: str) -> dict[int, int]:
    """How many atoms of each atomic number a formula has, in its order: "Ca(OH)2" is {20: 1, 8: 2, 1: 2}.

    Whole numbers and round or square brackets; "CaTiO3 x2" is two formula units. Raises InputError for what is no
    formula, or names what is no element.
    """
    text, units = str(formula).strip(), 1
    if multiple := re.fullmatch(r"(.*\S)\s*[x*]\s*(\d+)", text):
        text, units = multiple[1], int(multiple[2])
    pieces = re.findall(r"([A-Z][a-z]?)(\d*)|([(\[])|([)\]])(\d*)", text)
    if not text or "".join("".join(piece) for piece in pieces) != text or not units:
        raise InputError(f"{formula!r} is no formula of whole numbers; write it like CaTiO3, Ca(OH)2 or 'CaTiO3 x2'")
    levels: list[dict[int, int]] = [{}]
    for symbol, count, opened, closed, times in pieces:
        if opened:
            levels.append({})
        elif closed and len(levels) > 1:
            inner = levels.pop()
            _add(levels[-1], inner, int(times or 1))
        elif symbol:
            _add(levels[-1], {number_of(symbol): 1}, int(count or 1))
        else:
            levels.clear()
            break
    if len(levels) != 1 or 0 in levels[0].values():
        raise InputError(f"{formula!r} is no formula: its brackets or counts do not fit; write it like Ca(OH)2")
    return {number: count * units for number, count in levels[0].items()}


def features(numbers: np.ndarray) -> np.ndarray:
    """What chemistry says of elements, as numbers for a network: float32 (n, 10), the columns ``FEATURES``.

    Each is standardised over the 96 elements whose radii are known; what is not known is their mean, zero. Electrons
    are those outside the noble gas's shells, filled in Madelung's order. The atomic number 0, an element that is not
    known or not there, is a row of zeros. Raises InputError for other numbers beyond the table.
    """
    numbers = np.asarray(numbers, dtype=np.int64)
    if numbers.size and (numbers.min() < 0 or numbers.max() > len(table())):
        raise InputError(
            f"atomic numbers go from 0, unknown, to {len(table())}; seen {numbers.min()} to {numbers.max()}"
        )
    return np.asarray(_standardised()[numbers])


def electrons(number: int) -> tuple[int, int, int, int]:
    """Electrons in s, p, d and f shells beyond the noble gas before, filled in Madelung's order."""
    counts = dict.fromkeys("spdf", 0)
    left = element(number).number
    for shell in _FILLING:
        taken = min(left, _ROOM[shell[1]])
        if element(number).number - left >= max(last for last in _NOBLE if last < number):
            counts[shell[1]] += taken
        left -= taken
    return counts["s"], counts["p"], counts["d"], counts["f"]


def _add(total: dict[int, int], more: dict[int, int], times: int) -> None:
    for number, count in more.items():
        total[number] = total.get(number, 0) + count * times


def _group(number: int, row: int) -> int:
    place, last = number - _NOBLE[row - 1], _NOBLE[row]
    if place <= 2 and number != 2:
        return place
    return max(18 - (last - number), 3)


@functools.cache
def _numbers() -> dict[str, int]:
    return {each.symbol: each.number for each in table()}


@functools.cache
def _standardised() -> np.ndarray:
    rows = []
    for each in table():
        states = each.oxidation_states or (0,)
        told = (each.group, each.row, each.radius, each.electronegativity, min(states), max(states))
        rows.append((*told, *electrons(each.number)))
    values = np.array(rows, dtype=np.float64)
    measured = values[[each.radius == each.radius for each in table()]]
    scaled = (values - np.nanmean(measured, 0)) / np.nanstd(measured, 0)
    return np.concatenate((np.zeros((1, len(FEATURES))), np.nan_to_num(scaled, nan=0.0))).astype(np.float32)

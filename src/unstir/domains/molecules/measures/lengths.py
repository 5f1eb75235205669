"""Bonds by their lengths: typical ones of each pair of elements, and the orders that distances stand for."""

import functools

import numpy as np

from unstir.domains.matter.elements import number_of, table

MARGINS = (10.0, 5.0, 3.0)
"""By how many pm a single, double or triple bond may be longer than the typical one."""
_SINGLE = """
H  H 74 C 109 N 101 O 96 F 92 B 119 Si 148 P 144 As 152 S 134 Se 146 Cl 127 Br 141 I 161
B  B 170 C 156 N 142 O 136 F 130 Cl 175 Br 189
C  C 154 N 147 O 143 F 135 Si 185 P 184 S 182 Se 194 Cl 177 Br 194 I 214 As 196
N  N 145 O 140 F 136 Si 172 P 177 S 168 Cl 175 Br 214 I 222
O  O 148 F 142 Si 163 P 163 S 157 Cl 164 Br 172 I 194
F  F 142 Si 160 P 156 S 158 Cl 166 Br 178 I 187
Si Si 233 S 200 Cl 202 Br 215 I 243
P  P 221 S 210 Cl 203 Br 222 I 246
S  S 204 Cl 207 Br 225 I 234
Se Se 232
Cl Cl 199 Br 214 I 232
Br Br 228 I 248
I  I 266
"""
_DOUBLE = """
C  C 134 N 129 O 120 S 160 Se 171
N  N 125 O 121 P 157 S 152
O  O 121 P 150 S 145
P  S 193
"""
_TRIPLE = """
C  C 120 N 116 O 113
N  N 110
"""


def typical(first: str, second: str, order: int = 1) -> float:
    """The typical length of a bond of that order between two elements in pm; NaN where there is none in the table.

    Reference: Allen et al., Tables of bond lengths determined by X-ray and neutron diffraction. Part 1: bond lengths in
    organic compounds (1987), and Huheey, Keiter, Keiter, Inorganic chemistry (1993), appendix E, for the lengths.
    """
    return float(_lengths()[order - 1, number_of(first), number_of(second)])


def orders(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The order of the bond, 0 to 3, that each distance stands for; int64 (n, n), symmetric, zero on the diagonal.

    ``numbers`` (n,), ``positions`` (n, 3) in angstrom. Two atoms are joined where they are nearer than the typical
    single bond and its margin; the order rises where they are nearer than the double and the triple one with theirs.
    Elements that the table lacks are joined by no bond.

    Reference: Hoogeboom et al., Equivariant diffusion for molecule generation in 3D (2022), appendix E, for the rule
    and the margins.
    """
    apart = 100.0 * np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    limits = _limits()[:, numbers[:, None], numbers[None]]
    found = (apart < limits[0]).astype(np.int64)
    for limit in limits[1:]:
        found += (found > 0) & (apart < limit) & (limit > 0)
    np.fill_diagonal(found, 0)
    return np.asarray(found)


@functools.cache
def _lengths() -> np.ndarray:
    found = np.full((3, len(table()) + 1, len(table()) + 1), np.nan)
    for place, text in enumerate((_SINGLE, _DOUBLE, _TRIPLE)):
        for line in text.strip().splitlines():
            symbol, *told = line.split()
            for other, length in zip(told[::2], told[1::2], strict=True):
                first, second = number_of(symbol), number_of(other)
                found[place, first, second] = found[place, second, first] = float(length)
    return found


@functools.cache
def _limits() -> np.ndarray:
    return np.asarray(np.nan_to_num(_lengths() + np.array(MARGINS)[:, None, None], nan=0.0))

"""The columns of a table: their types, and how each becomes numbers or class numbers and back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from unstir.core.errors import InputError, unknown
from unstir.domains.delimited import all_numbers, as_numbers

TYPES = ("categorical", "ordinal", "continuous", "positive")
TRANSFORMS = ("quantile", "standard")
_FEW = 10  # whole numbers of up to so many different values are ordered levels
_MOST_KNOTS = 256
_FINEST = 9  # digits behind the point that are kept


@dataclass(frozen=True)
class Column:
    """One column: its name, its type, and the map between its values and what a network sees.

    ``levels``: the text of each level of categories and ordered levels, the latter in their order. ``values`` and
    ``scores``: rising knots of the piecewise linear map between numbers (of ordered levels: their numbers 0, 1, ...;
    of positive numbers: their logarithms) and numbers of about unit scale; beyond the ends it goes on with the last
    slope. ``decimals``: digits behind the point that decoded numbers are rounded to; None for seven significant ones.
    ``grid``: the different values of a column of numbers that repeat (there are at most half as many as rows, as where
    most readings are whole): what is drawn is decoded to that of the nearest score. Empty for all other columns.
    """

    name: str
    kind: str
    levels: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    decimals: int | None = None
    grid: tuple[float, ...] = ()

    @property
    def categorical(self) -> bool:
        """Whether it becomes class numbers."""
        return self.kind == "categorical"

    def codes(self, texts: Sequence[str]) -> np.ndarray:
        """Numbers of levels, int64 (n,)."""
        known = {level: number for number, level in enumerate(self.levels)}
        for row, text in enumerate(texts, 1):
            if text not in known:
                raise unknown(f"level of the column {self.name!r}, row {row}:", text, self.levels)
        return np.array([known[text] for text in texts], dtype=np.int64)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """What a network sees: class numbers of categories, else numbers of about unit scale, (n,)."""
        if self.categorical:
            return self.codes(texts)
        return _along(self.numbers(texts), self.values, self.scores)

    def decode(self, encoded: np.ndarray) -> list[str]:
        """The text of each value."""
        if self.categorical:
            return [self.levels[code] for code in encoded]
        encoded = np.asarray(encoded, dtype=np.float64)
        if self.grid:
            places = _along(np.array(self.grid), self.values, self.scores)
            nearest = np.searchsorted((places[1:] + places[:-1]) / 2, encoded)
            encoded = places[nearest]
        found = _along(encoded, self.scores, self.values)
        if self.kind == "ordinal":
            return [self.levels[code] for code in np.rint(found).clip(0, len(self.levels) - 1).astype(int)]
        return [self._written(number) for number in (np.exp(found) if self.kind == "positive" else found)]

    def numbers(self, texts: Sequence[str]) -> np.ndarray:
        """Values as the map takes them, float64 (n,)."""
        if self.kind in ("categorical", "ordinal"):
            return self.codes(texts).astype(np.float64)
        found = as_numbers(texts, self.name, "the table")
        if self.kind != "positive":
            return found
        if (found <= 0).any():
            row = int(np.flatnonzero(found <= 0)[0])
            raise InputError(f"column {self.name!r}, row {row + 1}: {found[row]:g} is not positive; call it continuous")
        return np.log(found)

    def _written(self, number: float) -> str:
        if self.decimals is None:
            return f"{number:.7g}"
        text = f"{number:.{self.decimals}f}"
        if self.kind == "positive" and float(text) <= 0:
            return f"{number:.3g}"  # rounding must not make a positive number zero
        return text if float(text) or not text.startswith("-") else text[1:]

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def restored(record: Mapping[str, Any]) -> Column:
    """The column that ``record()`` came from."""
    told: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    return Column(**told)


def fit_column(name: str, texts: Sequence[str], train: np.ndarray, kind: str | None, transform: str) -> Column:
    """A column fitted to its values: levels from all rows, everything else from the rows ``train``.

    kind: else categorical for text and for two different values, ordinal for whole numbers of 3 to 10 different values,
        continuous for other numbers.
    """
    kind = kind or inferred(texts)
    if kind not in TYPES:
        raise unknown(f"type of the column {name!r}:", str(kind), TYPES)
    if len(set(texts)) < 2:
        raise InputError(f"column {name!r}: all values are {texts[0]!r}; leave it out with `data.columns`")
    if kind in ("categorical", "ordinal"):
        levels = _levels(name, texts, kind)
        if kind == "categorical":
            return Column(name, kind, levels)
        codes = Column(name, "categorical", levels).codes(texts)
        # every level keeps a place, also one that only rows apart from the training have
        counts = np.bincount(codes[train], minlength=len(levels)) + 0.5
        return Column(name, kind, levels, tuple(map(float, range(len(levels)))), _normal_scores(counts))
    plain = Column(name, kind)
    seen = plain.numbers(texts)[train]
    values, scores = _knots(seen, transform) if len(np.unique(seen)) > 1 else ((), ())
    if not values:
        raise InputError(f"column {name!r}: all values of the training part are the same; leave the column out")
    different = np.unique(plain.numbers(texts))
    grid = tuple(different.tolist()) if transform == "quantile" and len(different) <= len(texts) / 2 else ()
    return Column(name, kind, (), values, scores, _decimals(texts), grid)


def inferred(texts: Sequence[str]) -> str:
    """The type of a column by its values; see ``fit_column``."""
    different = set(texts)
    if not all_numbers(list(different)) or len(different) <= 2:
        return "categorical"
    whole = all(float(text).is_integer() for text in different)
    return "ordinal" if whole and len(different) <= _FEW else "continuous"


def _levels(name: str, texts: Sequence[str], kind: str) -> tuple[str, ...]:
    different = sorted(set(texts))
    if len(different) > max(2, len(texts) // 2):
        raise InputError(
            f"column {name!r}: {len(different)} different values in {len(texts)} rows are no categories (an "
            "identifier, a date?); leave it out with `data.columns`, or say what it is with `data.types`"
        )
    if all_numbers(different):
        return tuple(sorted(different, key=lambda text: (float(text), text)))
    if kind == "ordinal":
        raise InputError(f"column {name!r}: ordered levels must be numbers, whose order is known; seen {different[:5]}")
    return tuple(different)


def _knots(seen: np.ndarray, transform: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, deviation = float(seen.mean()), float(seen.std())
    if transform == "standard":
        return (mean - deviation, mean + deviation), (-1.0, 1.0)
    values, counts = np.unique(seen, return_counts=True)
    scores = np.array(_normal_scores(counts))
    if len(values) > _MOST_KNOTS:
        kept = np.searchsorted(scores, np.linspace(scores[0], scores[-1], _MOST_KNOTS)).clip(0, len(scores) - 1)
        kept = np.unique(np.concatenate(([0], kept, [len(scores) - 1])))
        values, scores = values[kept], scores[kept]
    # beyond the data the map goes on as for a normal law of the data's deviation
    values = np.concatenate(([values[0] - deviation], values, [values[-1] + deviation]))
    scores = np.concatenate(([scores[0] - 1], scores, [scores[-1] + 1]))
    return tuple(values.tolist()), tuple(scores.tolist())


def _normal_scores(counts: np.ndarray) -> tuple[float, ...]:
    """The normal quantiles at the middles of the steps of a distribution function."""
    middles = (np.cumsum(counts) - counts / 2) / counts.sum()
    return tuple(ndtri(middles).tolist())


def _along(x: np.ndarray, start: Sequence[float], end: Sequence[float]) -> np.ndarray:
    """The piecewise linear map through the knots, carried on beyond them."""
    first, last = np.array(start), np.array(end)
    found = np.interp(x, first, last)
    below, above = (last[1] - last[0]) / (first[1] - first[0]), (last[-1] - last[-2]) / (first[-1] - first[-2])
    found = np.where(x < first[0], last[0] + (x - first[0]) * below, found)
    return np.where(x > first[-1], last[-1] + (x - first[-1]) * above, found)


def _decimals(texts: Sequence[str]) -> int | None:
    most = 0
    for text in texts:
        if "e" in text.lower():
            return None
        most = max(most, len(text.partition(".")[2]))
    return most if most <= _FINEST and math.isfinite(most) else None

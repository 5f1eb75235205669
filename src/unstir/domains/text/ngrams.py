r"""A model of text by its last few characters: Kneser and Ney's, interpolated, with three discounts."""

from dataclasses import dataclass

import numpy as np

from unstir.core.errors import InputError

_LEAST_DISCOUNT = 0.1  # so that every context leaves something for what it has not been seen with


@dataclass(frozen=True)
class _Level:
    """The counts of all m characters in a row, m fixed, sorted by ``keys``: number of the first m - 1, then the last.

    By the number of the context: ``totals`` of the counts, and the ``left`` that the discounts take off them in all.
    """

    keys: np.ndarray
    discounted: np.ndarray
    totals: np.ndarray
    left: np.ndarray


class NGramModel:
    r"""The probability of a character given up to ``order`` - 1 before it.

    Counts of the longest context are lowered by a discount D, and what that sets free goes to the next shorter one:

    .. math:: p(c|h) = \frac{\max(n(hc) - D, 0)}{n(h)} + \gamma(h)\,p(c|h')

    where h' lacks the first character of h, and a shorter context counts in how many longer ones a character was seen
    instead of how often. The three discounts, for counts of one, two and more, follow from how many counts are so; the
    shortest model hands on to the uniform one over all ``classes``.

    ``codes`` are the training text's classes, int (n,). Raises InputError for an order below 1 or too short a text.

    Reference: Chen and Goodman, An empirical study of smoothing techniques for language modeling (1998), section 3
    (modified Kneser-Ney).
    """

    def __init__(self, codes: np.ndarray, classes: int, order: int = 5) -> None:
        codes = np.asarray(codes, np.int64)
        if order < 1 or len(codes) < order:
            raise InputError(
                f"{order} characters in a row cannot be counted in {len(codes)}; the order is at least 1 and at most "
                "the text's length"
            )
        self.classes, self.order = classes, order
        numbers = np.zeros(len(codes) + 1, np.int64)  # of the context that begins at each place: none, so far
        found = []
        for length in range(1, order + 1):
            keys, first, numbers, counts = np.unique(
                numbers[: len(codes) - length + 1] * classes + codes[length - 1 :],
                return_index=True,
                return_inverse=True,
                return_counts=True,
            )
            found.append((keys, first, numbers, counts))
        self._levels: list[_Level] = []
        contexts = 1
        for length, (keys, _, inner, counts) in enumerate(found, start=1):
            if length < order:
                # in how many longer ones it ends: each is met once, at its first place, and ends one place further
                counts = np.bincount(inner[found[length][1] + 1], minlength=len(keys))
            self._levels.append(_level(keys, counts, contexts, classes))
            contexts = len(keys)

    def log_probabilities(self, codes: np.ndarray, before: int | None = None) -> np.ndarray:
        """Natural logarithms of each character's probability given those before it, float64 of the shape of ``codes``.

        ``codes`` (n,) or (batch, n); with ``before`` only so many characters before each are looked at.
        """
        codes = np.asarray(codes, np.int64)
        rows = np.atleast_2d(codes)
        reach = self.order - 1 if before is None else min(before, self.order - 1)
        told = np.full(rows.shape, 1 / self.classes)
        for length, level in enumerate(self._levels[: reach + 1]):
            if rows.shape[1] > length:
                contexts = self._numbers(rows[:, :-1], length) if length else np.zeros(rows.shape, np.int64)
                told[:, length:] = self._mixed(level, contexts, rows[:, length:], told[:, length:])
        return np.log(told).reshape(codes.shape)

    def next_probabilities(self, contexts: np.ndarray) -> np.ndarray:
        """The law of the character after each context, float64 (batch, classes); contexts int (batch, n), any n."""
        contexts = np.asarray(contexts, np.int64)
        every = np.broadcast_to(np.arange(self.classes), (len(contexts), self.classes))
        told = np.full(every.shape, 1 / self.classes)
        for length, level in enumerate(self._levels[: contexts.shape[1] + 1]):
            last = contexts[:, contexts.shape[1] - length :]
            numbers = self._numbers(last, length) if length else np.zeros((len(contexts), 1), np.int64)
            told = self._mixed(level, np.broadcast_to(numbers, every.shape), every, told)
        return told

    def sample(self, count: int, length: int, generator: np.random.Generator) -> np.ndarray:
        """Texts drawn character by character, each begun without a context; int64 (count, length)."""
        drawn = np.zeros((count, 0), np.int64)
        for _ in range(length):
            edges = self.next_probabilities(drawn[:, max(drawn.shape[1] - self.order + 1, 0) :]).cumsum(1)
            fresh = (generator.random((count, 1)) * edges[:, -1:] > edges).sum(1)
            drawn = np.concatenate([drawn, fresh[:, None]], 1)
        return drawn

    def _numbers(self, rows: np.ndarray, length: int) -> np.ndarray:
        """The number of every ``length`` characters in a row, int64 (batch, n - length + 1); -1 where never met."""
        numbers = np.zeros((len(rows), rows.shape[1] + 1), np.int64)
        for taken in range(1, length + 1):
            keys = self._levels[taken - 1].keys
            before = numbers[:, : rows.shape[1] - taken + 1]
            numbers = np.where(before < 0, -1, _find(keys, before * self.classes + rows[:, taken - 1 :]))
        return numbers

    def _mixed(self, level: _Level, contexts: np.ndarray, codes: np.ndarray, shorter: np.ndarray) -> np.ndarray:
        """This level's probabilities, given those of the shorter contexts; where the context was never met, those."""
        known = contexts >= 0
        inside = np.where(known, contexts, 0)
        totals = np.where(known, level.totals[inside], 0.0)
        place = _find(level.keys, inside * self.classes + codes)
        own = np.where(place >= 0, level.discounted[place], 0.0)
        mixed = (own + level.left[inside] * shorter) / np.where(totals > 0, totals, 1.0)
        return np.where(totals > 0, mixed, shorter)


def _level(keys: np.ndarray, counts: np.ndarray, contexts: int, classes: int) -> _Level:
    off = _discounts(counts)[counts.clip(max=3)]
    of_context = keys // classes
    totals = np.bincount(of_context, counts, minlength=contexts)
    left = np.bincount(of_context, off, minlength=contexts)
    return _Level(keys, counts - off, totals, left)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """What is taken off a count of zero, one, two, and three or more; float64 (4,)."""
    once, twice, thrice, four = np.bincount(counts.clip(max=5), minlength=6)[1:5].astype(float)
    if not once or not twice:
        return np.array([0.0, 0.5, 0.5, 0.5])
    share = once / (once + 2 * twice)
    told = [1 - 2 * share * twice / once, 2 - 3 * share * thrice / twice]
    told.append(3 - 4 * share * four / thrice if thrice else told[1])
    return np.array([0.0, *(min(max(off, _LEAST_DISCOUNT), most) for off, most in zip(told, (1, 2, 3), strict=True))])


def _find(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The place of each wanted number among sorted ones; -1 where it is not there."""
    places = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[places] == wanted, places, -1)

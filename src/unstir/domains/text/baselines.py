"""What text costs by other means, in bits per character."""

import lzma
import math
from collections import Counter

import numpy as np

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


def xz_bits(text: str, before: str = "") -> float:
    """Bits per character of ``text`` by LZMA2 as xz packs it, without a file's head; after ``before`` has been packed.

    What comes before is the dictionary: its own cost is taken off.
    """
    return 8 * (_packed(before + text) - (_packed(before) if before else 0)) / len(text)


def unigram_bits(codes: np.ndarray, training: np.ndarray, classes: int) -> np.ndarray:
    """Bits of each character by the training text's frequencies, one added to each count; of the shape of ``codes``."""
    counts = np.bincount(training, minlength=classes) + 1.0
    return -np.log2(counts / counts.sum())[codes]


def character_entropy(codes: np.ndarray) -> np.ndarray:
    """The entropy of the characters that occur in each row, bits per character, float64 (batch,).

    A row that says the same over and over has little, whatever a model thinks of it.
    """
    told = np.zeros(len(codes))
    for place, row in enumerate(codes):
        shares = np.unique(row, return_counts=True)[1] / len(row)
        told[place] = -(shares * np.log2(shares)).sum()
    return told


def distinct_share(codes: np.ndarray, length: int = 5) -> float:
    """How many of all ``length`` characters in a row, within the rows, are different from each other: 0 to 1."""
    pieces = Counter(row[place : place + length].tobytes() for row in codes for place in range(len(row) - length + 1))
    return len(pieces) / max(sum(pieces.values()), 1)


def longest_copies(texts: list[str], training: str) -> np.ndarray:
    """The length of the longest piece of each text that stands word for word in the training text, int64 (batch,)."""
    found = []
    for text in texts:
        best = 0
        for place in range(len(text)):
            # a piece that is there has all of its own beginnings there
            while place + best < len(text) and text[place : place + best + 1] in training:
                best += 1
        found.append(best)
    return np.array(found, np.int64)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """The mean's 95 % interval, by its standard error over the values."""
    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean - 1.96 * error, mean + 1.96 * error


def _packed(text: str) -> int:
    return len(lzma.compress(text.encode(), format=lzma.FORMAT_RAW, filters=_FILTERS))

"""What is in the samples, beside held-out text, other models' text and copies."""

import time

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.base import Judged
from unstir.domains.text.baselines import character_entropy, distinct_share, longest_copies, mean_interval
from unstir.domains.text.costs import LOG_2, text_of
from unstir.domains.text.data import TextData
from unstir.domains.text.ngrams import NGramModel
from unstir.metrics.evaluate import Result

_GROUP = 8  # samples in which different pieces are counted


def measures_of_samples(
    judged: Judged, data: TextData, real: Tensor, grams: NGramModel
) -> tuple[list[Result], dict[str, np.ndarray]]:
    """The samples beside held-out windows, other models' text and copies; and the entropies of all of them."""
    encoding, seen = data.encoding, data.codes
    codes = judged.drawn.cpu().numpy()
    count, length = codes.shape
    if count < 2:
        raise InputError("samples of text are judged from 2 on, to tell an error; raise `sampling.count`")
    group = max(min(_GROUP, count // 2), 1)
    generator = Seeds.range(judged.seed, 1).at("rivals").generator()
    rows = generator.integers(0, len(data), count)
    shares = np.bincount(seen, minlength=encoding.classes) / len(seen)
    sets = {
        "samples": codes,
        "held-out": real.numpy(),
        "unigram": generator.choice(encoding.classes, (count, length), p=shares),
        f"{grams.order}-grams": grams.sample(count, length, generator),
        "copies": data.batch(rows)[0].numpy(),
    }
    training = text_of(encoding, seen)
    measures = {
        "bits-by-grams": lambda codes: -grams.log_probabilities(codes).mean(1) / LOG_2,
        "character-entropy": character_entropy,
        "distinct-pieces": lambda codes: _distinct(codes, group),
        "longest-copy": lambda codes: longest_copies(encoding.show(torch.from_numpy(codes)), training).astype(float),
    }
    told = {
        "bits-by-grams": ("lower", "bits", f"what the model of {grams.order} characters thinks of the samples"),
        "character-entropy": ("higher", "bits", "of the characters within a sample; low where it repeats itself"),
        "distinct-pieces": ("higher", "1", f"how many of all 5 characters in a row are different, in {group} samples"),
        "longest-copy": ("lower", "characters", "the longest piece that stands in the training text word for word"),
    }
    found: list[Result] = []
    entropies: dict[str, np.ndarray] = {}
    for name, measure in measures.items():
        began = time.perf_counter()
        values = {who: measure(rows) for who, rows in sets.items()}
        if name == "character-entropy":
            entropies = values
        better, unit, note = told[name]
        own, other = values["samples"], values["held-out"]
        found.append(
            Result(
                metric=name,
                value=float(own.mean()),
                interval=mean_interval(own),
                floor={"value": float(other.mean()), "interval": mean_interval(other)},
                baselines={who: float(values[who].mean()) for who in sets if who not in ("samples", "held-out")},
                ideal=float(other.mean()),
                better=better,
                unit=unit,
                n_samples=count,
                n_reference=len(real),
                seconds=round(time.perf_counter() - began, 3),
                features="characters",
                note=f"{note}; the ideal is held-out text's",
            )
        )
    return found, entropies


def _distinct(codes: np.ndarray, size: int) -> np.ndarray:
    """The share of different pieces in each group of samples; those of a group lie far apart in the text."""
    groups = max(len(codes) // size, 2)
    return np.array([distinct_share(codes[first::groups][:size]) for first in range(groups)])

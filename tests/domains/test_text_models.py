"""The means that a model of text is held against: each is a law, and the numbers are those of plain counting."""

import itertools
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.domains.text import ngrams
from unstir.domains.text.autoregressive import AutoregressiveTransformer, train_autoregressive
from unstir.domains.text.baselines import (
    character_entropy,
    distinct_share,
    longest_copies,
    mean_interval,
    unigram_bits,
    xz_bits,
)
from unstir.domains.text.data import TextData
from unstir.domains.text.ngrams import NGramModel


def rows_of_text(count, classes=4, seed=0):
    """Text with a memory of two characters, so that all contexts have something to tell."""
    generator = np.random.default_rng(seed)
    laws = generator.dirichlet(np.full(classes, 0.4), (classes, classes))
    codes = [0, 1]
    for _ in range(count - 2):
        codes.append(int(generator.choice(classes, p=laws[codes[-2], codes[-1]])))
    return np.array(codes)


def by_counting(codes, classes, order, discounts):
    """Interpolated Kneser-Ney with dictionaries and fractions, straight from its definition."""
    codes = codes.tolist()
    counts = [Counter(tuple(codes[i : i + m]) for i in range(len(codes) - m + 1)) for m in range(1, order + 1)]
    for m in range(1, order):
        longer = counts[m] if m == order - 1 else Counter(tuple(codes[i : i + m + 1]) for i in range(len(codes) - m))
        counts[m - 1] = Counter(gram[1:] for gram in longer)
    following = [defaultdict(dict) for _ in range(order)]
    for m in range(order):
        for gram, count in counts[m].items():
            following[m][gram[:-1]][gram[-1]] = count

    def law(context):
        told = [Fraction(1, classes)] * classes
        for m in range(min(len(context), order - 1) + 1):
            seen = following[m].get(tuple(context[len(context) - m :]))
            if not seen:
                continue
            total = sum(seen.values())
            off = {c: Fraction(float(discounts[m][min(count, 3)])) for c, count in seen.items()}
            told = [
                (max(seen.get(c, 0) - off.get(c, 0), 0) + sum(off.values()) * told[c]) / total for c in range(classes)
            ]
        return told

    return law


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_the_grams_are_those_of_plain_counting(order):
    codes = rows_of_text(150)
    model = NGramModel(codes, 5, order)
    # the discounts are read off the model: what was taken from each count
    discounts = []
    for m in range(order):
        grams = Counter(tuple(codes[i : i + m + 1].tolist()) for i in range(len(codes) - m))
        if m < order - 1:
            longer = {tuple(codes[i : i + m + 2].tolist()) for i in range(len(codes) - m - 1)}
            grams = Counter(gram[1:] for gram in longer)
        discounts.append(ngrams._discounts(np.array([*grams.values()])))
    law = by_counting(codes, 5, order, discounts)
    for context in ([], [1], [4, 4], [0, 1, 2], codes[20:24].tolist(), codes[77:81].tolist(), [3, 0, 3, 0]):
        wanted = np.array([float(p) for p in law(context)])
        told = model.next_probabilities(np.array([context], np.int64).reshape(1, -1))[0]
        np.testing.assert_allclose(told, wanted, rtol=1e-11)


def test_the_discounts_are_those_of_chen_and_goodman():
    counts = np.repeat([1, 2, 3, 4, 7], [40, 20, 10, 5, 3])
    share = 40 / 80
    wanted = [0, 1 - 2 * share * 20 / 40, 2 - 3 * share * 10 / 20, 3 - 4 * share * 5 / 10]
    np.testing.assert_allclose(ngrams._discounts(counts), wanted)


def test_after_every_context_the_probabilities_add_up_to_one():
    model = NGramModel(rows_of_text(3000), 6, 5)
    contexts = np.array(list(itertools.product(range(6), repeat=4)))
    told = model.next_probabilities(contexts)
    np.testing.assert_allclose(told.sum(1), 1, atol=1e-13)
    assert told.min() > 0


def test_a_text_costs_what_its_characters_cost_one_after_another():
    model = NGramModel(rows_of_text(2000), 4, 4)
    rows = rows_of_text(60, seed=3).reshape(4, 15)
    told = model.log_probabilities(rows)
    for place in range(15):
        law = model.next_probabilities(rows[:, max(place - 3, 0) : place])
        np.testing.assert_allclose(told[:, place], np.log(law[np.arange(4), rows[:, place]]), rtol=1e-12)
    assert np.array_equal(model.log_probabilities(rows[0]), told[0])


def test_drawn_text_has_the_law_of_the_model():
    model = NGramModel(rows_of_text(2000), 4, 3)
    drawn = model.sample(20_000, 2, np.random.default_rng(1))
    first = model.next_probabilities(np.zeros((1, 0), np.int64))[0]
    law = (first[:, None] * model.next_probabilities(np.arange(4)[:, None])).ravel()
    seen = np.bincount(drawn @ [4, 1], minlength=16) / len(drawn)
    assert (np.abs(seen - law) < 5 * np.sqrt(law * (1 - law) / len(drawn)) + 1e-12).all()


def test_a_text_too_short_to_count_is_refused():
    for order, codes in ((0, np.zeros(9)), (5, np.zeros(4))):
        with pytest.raises(InputError, match="characters in a row"):
            NGramModel(codes, 3, order)


def test_the_packer_knows_what_came_before_and_nothing_else():
    generator = np.random.default_rng(0)
    noise = "".join(generator.choice([*"abcdefgh"], 4000))
    assert 3 < xz_bits(noise) < 4  # eight letters at random are 3 bits each, a letter of a file 8
    assert xz_bits(noise, noise) < 0.1
    other = "".join(generator.choice([*"abcdefgh"], 4000))
    assert 2.9 < xz_bits(noise, other) < 4


def test_frequencies_cost_their_logarithms():
    codes = np.array([0] * 7 + [1] * 3)
    np.testing.assert_allclose(unigram_bits(np.array([[0, 1, 2]]), codes, 3), -np.log2([[8 / 13, 4 / 13, 1 / 13]]))


def test_entropy_variety_and_copies_are_counted_as_they_say():
    np.testing.assert_allclose(character_entropy(np.array([[0, 1, 2, 3], [5, 5, 5, 5], [0, 0, 1, 1]])), [2, 0, 1])
    assert distinct_share(np.array([[0, 1, 0, 1, 0, 1]]), 2) == 2 / 5
    assert distinct_share(np.array([[0, 1, 2], [0, 1, 3]]), 2) == 3 / 4
    training = "the quick brown fox"
    texts = ["a quick bow", "zzz", "", "fox the", training]
    assert longest_copies(texts, training).tolist() == [8, 0, 0, 3, len(training)]
    slow = [
        max((j - i for i in range(len(t)) for j in range(i, len(t) + 1) if t[i:j] in training), default=0)
        for t in texts
    ]
    assert longest_copies(texts, training).tolist() == slow
    low, high = mean_interval(np.array([1.0, 3.0]))
    assert (low + high) / 2 == 2 and high - low == pytest.approx(2 * 1.96)


def test_the_rival_reads_from_left_to_right_and_is_a_law():
    torch.manual_seed(0)
    model = AutoregressiveTransformer(3, 4, 32, 2).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    every = torch.tensor(list(itertools.product(range(3), repeat=4)))
    told = model.log_probabilities(every)
    assert torch.allclose(told.sum(1).exp().sum(), torch.ones((), dtype=torch.float64), atol=1e-12)
    for place in range(1, 4):  # what comes later changes nothing of what came before
        changed = every.clone()
        changed[:, place:] = (changed[:, place:] + 1) % 3
        assert torch.allclose(model.log_probabilities(changed)[:, :place], told[:, :place], atol=1e-13)
        assert not torch.allclose(model.log_probabilities(changed)[:, place:], told[:, place:], atol=1e-3)


@pytest.mark.parametrize("weights", [20_000, 220_000, 1_000_000])
def test_the_rival_has_about_the_weights_asked_for(weights):
    model = AutoregressiveTransformer.of_size(weights, 97, 128)
    count = sum(parameter.numel() for parameter in model.parameters())
    wider, narrower = (
        AutoregressiveTransformer(97, 128, width, 4)
        for width in (model.embedding.embedding_dim + 32, max(model.embedding.embedding_dim - 32, 32))
    )
    others = [sum(parameter.numel() for parameter in other.parameters()) for other in (wider, narrower)]
    assert all(abs(count - weights) <= abs(other - weights) for other in others)


def test_the_rival_learns_and_is_the_same_every_time():
    data = TextData("abcd" * 100, "four letters in a circle", length=8, rare=1)
    options = {"steps": 50, "batch": 8, "learning_rate": {"name": "constant", "peak": 0.01}, "depth": 1}
    first, second = (train_autoregressive(data, 20_000, options, seed=0) for _ in range(2))
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    told = first.log_probabilities(data.batch(np.arange(4))[0])
    assert told[:, 0].mean() == pytest.approx(-np.log(4), abs=0.2)  # any letter may be the first
    assert told[:, 1:].min() > np.log(0.8)  # and the others follow
    with pytest.raises(InputError, match="did you mean 'steps'"):
        train_autoregressive(data, 20_000, {"stpes": 1}, seed=0)

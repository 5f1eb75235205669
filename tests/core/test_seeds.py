"""Addressed draws: the published generator, the same draw in any company, and the laws of the draws."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy import stats
from thresholds import (
    assert_count,
    assert_distribution,
    assert_mean,
    assert_no_anderson_darling_alarm,
    assert_uncorrelated,
)

from unstir.core import seeds as module
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds, philox, philox_on_cpu

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
purposes = st.lists(st.one_of(st.text(max_size=5), st.integers(-5, 2**40)), max_size=3).map(tuple)
shapes = st.lists(st.integers(1, 7), max_size=3).map(tuple)


class Extreme(Seeds):
    """Every word at one end of its range."""

    word = 0

    def words(self, count):
        return torch.full((len(self), count), self.word, dtype=torch.int64)

    def _pieces(self, blocks):
        for rows, columns, words in super()._pieces(blocks):
            yield rows, columns, np.full_like(words, self.word)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_published_known_answers(counter, key, expected):
    """The vectors that Random123 publishes for Philox4x32 with ten rounds (its file kat_vectors)."""
    words = [torch.tensor([int(word, 16)]) for word in counter.split()]
    low, high = (int(word, 16) for word in key.split())
    assert [f"{word.item():08x}" for word in philox(words, (low, high))] == expected.split()
    unsigned = [np.uint64([int(word, 16)]) for word in counter.split()]
    drawn = philox_on_cpu(unsigned, np.uint64([low, high]), (1,))
    assert [f"{drawn[number % 2, number // 2].item():08x}" for number in range(4)] == expected.split()


def test_both_forms_of_philox_agree_with_a_key_for_each_row():
    counter = Seeds.range(9, 3).words(4 * 50).reshape(3, 50, 4).unbind(-1)
    keys = Seeds.range(10, 3).words(2)
    narrow = [part.numpy().astype(np.uint64) for part in counter]
    narrow[1] = narrow[1][:1]  # which broadcasts
    drawn = philox_on_cpu(narrow, keys.numpy().astype(np.uint64).T[..., None], (3, 50))
    for row, key in enumerate(keys.tolist()):
        expected = philox([counter[0][row], counter[1][0], counter[2][row], counter[3][row]], tuple(key))
        for number, words in enumerate(expected):
            assert (drawn[number % 2, number // 2, row].astype(np.int64) == words.numpy()).all()


def test_words_are_philox_of_the_documented_counter():
    """Block number in the lower half of the counter, sample number in the upper one, beyond 32 bits too."""
    samples = torch.tensor([0, 5, 2**32 + 7, 2**62])
    seeds = Seeds(11, samples, ("a",))
    words = seeds.words(10)
    assert words.shape == (4, 10)
    for row, sample in enumerate(samples.tolist()):
        for block in range(3):
            counter = [torch.tensor([part]) for part in (block, 0, sample & 0xFFFFFFFF, sample >> 32)]
            expected = torch.cat(philox(counter, seeds.key))
            assert torch.equal(words[row, 4 * block : 4 * block + 4], expected[: 10 - 4 * block])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normals_are_box_and_mullers_of_the_words(dtype):
    """sqrt(-2 ln u) (cos, sin)(2 pi u'); the statistics below would not see an angle of 1.99 pi."""
    seeds = Seeds.range(6, 50).at("pairs")
    if dtype == torch.float64:
        first, second = seeds.uniform((2, 4)).numpy().swapaxes(0, 1)
    else:
        first, second = np.moveaxis((seeds.words(8).numpy().reshape(50, 4, 2) + 0.5) / 2.0**32, 2, 0)
    radius, angle = np.sqrt(-2 * np.log(first)), 2 * np.pi * second
    expected = np.stack((radius * np.cos(angle), radius * np.sin(angle)), -1).reshape(50, 8)
    torch.testing.assert_close(seeds.normal((8,), dtype).double(), torch.from_numpy(expected), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", FLOATS[1:])
@pytest.mark.parametrize(("samples", "shape"), [(1, (3, 32, 32)), (7, (5,)), (500, ()), (64, (3, 16, 17))])
def test_normals_are_the_same_to_the_bit_as_by_the_way_of_other_devices(dtype, samples, shape):
    """Word by word in float64 on whole tensors, and rounded once; far sample numbers too."""
    seeds = Seeds(8, torch.arange(samples) * (2**40 + 3)).at("devices")
    pairs = -(-math.prod(shape) // 2)
    shares = seeds.words(2 * pairs).reshape(samples, pairs, 2).double().add(0.5).mul(2.0**-32)
    radius, angle = shares[..., 0].log().mul(-2).sqrt(), shares[..., 1] * (2 * math.pi)
    expected = torch.stack((radius * angle.cos(), radius * angle.sin()), -1).flatten(1)[:, : math.prod(shape)]
    assert torch.equal(seeds.normal(shape, dtype), expected.reshape(samples, *shape).to(dtype))


@pytest.mark.parametrize("piece", [1, 3, 40])
def test_draws_do_not_depend_on_the_size_of_the_pieces(piece, monkeypatch):
    """Pieces of a sample, of a few samples, and with a rest."""
    seeds = Seeds.range(8, 11, start=2**33)
    whole = [*draws(seeds, (5, 7))]
    monkeypatch.setattr(module, "_PIECE", piece)
    for expected, drawn in zip(whole, draws(seeds, (5, 7)), strict=True):
        assert torch.equal(drawn, expected)


def draws(seeds, shape):
    yield seeds.words(7)
    for dtype in FLOATS:
        yield seeds.normal(shape, dtype)
        yield seeds.uniform(shape, dtype)
    yield seeds.integers(-3, 1000, shape)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(0, 90), st.integers(1, 90), purposes, shapes)
def test_a_sample_is_the_same_to_the_bit_in_any_batch(seed, start, count, purpose, shape):
    """Alone, in a range, in reversed order, and among others of far numbers."""
    whole = Seeds.range(seed, count, start).at(*purpose)
    middle = count // 2
    others = torch.tensor([2**40, start + middle, 3])
    for batch, alone, mixed, backwards in zip(
        draws(whole, shape),
        draws(Seeds.range(seed, 1, start + middle).at(*purpose), shape),
        draws(Seeds(seed, others).at(*purpose), shape),
        draws(whole[torch.arange(count - 1, -1, -1)], shape),
        strict=True,
    ):
        assert torch.equal(batch[middle], alone[0])
        assert torch.equal(batch[middle], mixed[1])
        assert torch.equal(batch, backwards.flip(0))


@pytest.mark.parametrize("dtype", FLOATS)
def test_large_draws_agree_with_small_ones(dtype):
    """Vectorised loops treat the ends of long arrays apart; the draws must not show it."""
    seeds, shape = Seeds.range(1, 70), (3, 17, 19)
    whole = seeds.normal(shape, dtype)
    for sample in (0, 1, 33, 69):
        assert torch.equal(whole[sample], seeds[sample : sample + 1].normal(shape, dtype)[0])


def test_a_draw_does_not_depend_on_threads_or_the_global_generator():
    before = Seeds.range(0, 50).normal((4, 100))
    torch.manual_seed(99)
    state = torch.get_rng_state()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(Seeds.range(0, 50).normal((4, 100)), before)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)


@settings(max_examples=100)
@given(purposes, purposes)
def test_different_purposes_have_different_keys(first, second):
    keys_agree = Seeds.range(0, 1).at(*first).key == Seeds.range(0, 1).at(*second).key
    assert keys_agree == (first == second)


def test_number_and_text_differ_and_kinds_of_integer_do_not():
    base = Seeds.range(0, 3)
    assert base.at("a", 1).key != base.at("a", "1").key
    assert base.at("a").at(1).key == base.at("a", 1).key
    assert base.at("ab").key != base.at("a", "b").key
    # as from a loop over a NumPy array; object.__setattr__ since tests check the declared types
    numpy_purpose = base.at()
    object.__setattr__(numpy_purpose, "purpose", ("a", np.int64(1)))
    assert numpy_purpose.key == base.at("a", 1).key


def test_seeds_differ_by_seed_and_sample():
    drawn = torch.stack([Seeds.range(seed, 40).normal() for seed in (0, 1, -1, 2**63, 10**30)])
    assert len(drawn.unique()) == drawn.numel()


def test_selection_and_length():
    seeds = Seeds.range(5, 10, start=3).at("x")
    assert len(seeds) == 10
    chosen = seeds[torch.tensor([4, 0])]
    assert chosen.samples.tolist() == [7, 3]
    assert (chosen.seed, chosen.purpose) == (5, ("x",))
    assert seeds[2:4].samples.tolist() == [5, 6]
    assert torch.equal(seeds.to("cpu").normal(), seeds.normal())


def test_empty_draws_have_their_shape():
    for dtype in FLOATS:
        assert Seeds.range(0, 0).normal((3, 2), dtype).shape == (0, 3, 2)
        assert Seeds.range(0, 4).uniform((0,), dtype).shape == (4, 0)
        assert Seeds.range(0, 4).uniform((0,), dtype).dtype == dtype


def test_normal_like_takes_shape_and_dtype():
    like = torch.zeros(4, 3, 2, dtype=torch.float64)
    drawn = Seeds.range(0, 4).normal_like(like)
    assert drawn.dtype == torch.float64
    assert torch.equal(drawn, Seeds.range(0, 4).normal((3, 2), torch.float64))
    with pytest.raises(InputError, match="5 seeds for a batch of 4"):
        Seeds.range(0, 5).normal_like(like)


@pytest.mark.parametrize(("count", "start"), [(-1, 0), (3, -1)])
def test_negative_sample_numbers_are_refused(count, start):
    with pytest.raises(InputError, match=f"count from 0: seen count {count}, start {start}"):
        Seeds.range(0, count, start)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("word", [0, 0xFFFFFFFF])
def test_uniform_numbers_never_reach_the_ends(dtype, word, monkeypatch):
    """Where the words are all ones, half a unit added must not round up to one."""
    seeds = Extreme.range(0, 3)
    monkeypatch.setattr(Extreme, "word", word)
    drawn = seeds.uniform((5,), dtype)
    assert drawn.min() > 0
    assert drawn.max() < 1
    assert seeds.normal((5,), dtype).isfinite().all()
    assert set(seeds.integers(2, 9, (5,)).flatten().tolist()) == {8 if word else 2}


def test_uniform_numbers_use_all_of_their_bits():
    """Numbers k + 1/2 on a lattice of 2^52 and 2^23 places; every bit of k is fair."""
    for dtype, bits in ((torch.float64, 52), (torch.float32, 23)):
        lattice = Seeds.range(2, 20000).uniform((1,), dtype).double().flatten() * 2.0**bits - 0.5
        whole = lattice.long()
        assert torch.equal(whole.double(), lattice)
        for bit in range(bits):
            assert_count(int(((whole >> bit) & 1).sum()), 20000, 0.5)


N = 400_000


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=str)
def normals(request):
    """(samples, places)."""
    return Seeds.range(3, N // 8).at("statistics").normal((8,), request.param).double().numpy()


class TestNormals:
    """About 60 tests a dtype at one in a million each: a false alarm in one of ten thousand choices of seed."""

    def test_distribution(self, normals):
        assert_distribution(normals, stats.norm.cdf)
        assert_no_anderson_darling_alarm(stats.norm.cdf(normals))

    def test_each_place_has_the_distribution(self, normals):
        for place in range(8):
            assert_distribution(normals[:, place], stats.norm.cdf)

    def test_moments(self, normals):
        """E z^k is 0, 1, 0, 3, 0, 15, and the variance of z^k is E z^2k - (E z^k)^2."""
        flat = normals.ravel()
        for power, (expected, variance) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96), (0, 945), (15, 10170)], 1):
            assert_mean(flat**power, expected, variance**0.5)

    def test_tails(self, normals):
        for bound in (2.0, 3.0, 3.5, 4.0, 4.5):
            assert_count(int((normals > bound).sum()), normals.size, stats.norm.sf(bound))
            assert_count(int((normals < -bound).sum()), normals.size, stats.norm.sf(bound))

    def test_places_samples_and_lags_are_uncorrelated(self, normals):
        """Squares and magnitudes too, since the pairs of Box and Muller share a radius."""
        for values in (normals, normals**2, np.abs(normals)):
            for first in range(4):
                for second in range(first + 1, 4):
                    assert_uncorrelated(values[:, first], values[:, second])
            for lag in (1, 2, 64):
                assert_uncorrelated(values[lag:], values[:-lag])

    def test_pairs_fill_the_plane_evenly(self, normals):
        """Radius and angle of neighbouring places: exponential, uniform, and independent."""
        first, second = normals[:, 0], normals[:, 1]
        angle, squared = np.arctan2(second, first), first**2 + second**2
        assert_distribution(angle, lambda x: (x + np.pi) / (2 * np.pi))
        assert_distribution(squared, stats.chi2(2).cdf)
        assert_uncorrelated(np.cos(angle), squared)


def test_purposes_and_seeds_are_uncorrelated():
    base = Seeds.range(0, 100_000)
    reference = base.at("a", 0).normal((2,))
    for other in (base.at("a", 1), base.at("b", 0), base.at("a"), Seeds.range(1, 100_000).at("a", 0)):
        drawn = other.normal((2,))
        assert_uncorrelated(reference, drawn)
        assert_uncorrelated(reference**2, drawn**2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_uniform_numbers_are_uniform(dtype):
    drawn = Seeds.range(4, 50_000).uniform((4,), dtype).double().numpy()
    assert_distribution(drawn, lambda x: x)
    assert_no_anderson_darling_alarm(drawn)
    assert_uncorrelated(drawn[:, 0], drawn[:, 1])
    assert_uncorrelated(drawn[1:], drawn[:-1])


def test_integers_are_even_over_their_range():
    drawn = Seeds.range(5, 30_000).integers(-2, 5, (2,))
    assert drawn.dtype == torch.int64
    for value in range(-2, 5):
        assert_count(int((drawn == value).sum()), 60_000, 1 / 7)
    assert set(drawn.unique().tolist()) == set(range(-2, 5))
    assert (Seeds.range(5, 100).integers(3, 4) == 3).all()


@pytest.mark.parametrize(("low", "high"), [(5, 5), (5, 2)])
def test_an_empty_range_of_integers_is_refused(low, high):
    with pytest.raises(InputError, match=f"seen low {low} and high {high}"):
        Seeds.range(0, 3).integers(low, high)


def test_the_generator_belongs_to_the_run():
    """The same for any batch, another for another purpose or seed, and uniform."""
    first = Seeds.range(0, 10).at("bootstrap").generator().random(20_000)
    assert (Seeds.range(0, 3, 5).at("bootstrap").generator().random(20_000) == first).all()
    assert_distribution(first, lambda x: x)
    for other in (Seeds.range(0, 10).at("permutation"), Seeds.range(1, 10).at("bootstrap")):
        assert_uncorrelated(other.generator().random(20_000), first)

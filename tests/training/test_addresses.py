import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.training.addresses import Addresses, shares


@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 2**40))
def test_every_epoch_meets_every_row_once(count, batch, seed):
    addresses = Addresses(seed, count, batch)
    steps = -(-3 * count // batch)
    rows = np.concatenate([addresses.rows(step, range(batch)) for step in range(steps)])
    for epoch in range(3):
        assert sorted(rows[epoch * count : (epoch + 1) * count]) == list(range(count))


@given(st.integers(1, 120), st.integers(1, 20), st.integers(1, 60), st.integers(0, 2**40))
@settings(max_examples=30)
def test_data_on_disk_is_met_once_an_epoch_too_and_few_blocks_at_a_time(count, block, held, seed):
    addresses = Addresses(seed, count, 7, locality=(block, held))
    rows = np.concatenate([addresses.rows(step, range(7)) for step in range(-(-2 * count // 7))])
    for epoch in range(2):
        own = rows[epoch * count : (epoch + 1) * count]
        assert sorted(own) == list(range(count))
        blocks = own // block
        # what lies between the first and the last visit of a block is held: no more blocks than may be
        open_at = [
            sum(
                np.flatnonzero(blocks == each)[0] <= place <= np.flatnonzero(blocks == each)[-1] for each in set(blocks)
            )
            for place in range(0, count, 9)
        ]
        assert max(open_at) <= max(1, held // block - 1)


def test_without_locality_an_epoch_is_the_permutation_it_always_was():
    rows = Addresses(3, 50, 50).rows(0, range(50))
    order = Seeds.range(3, 1).at("training", "epoch", 0).generator().permutation(50)
    assert (rows == order).all()


def test_rows_near_each_other_are_mixed_and_so_are_the_blocks():
    order = Addresses(0, 4000, 4000, locality=(10, 1000)).rows(0, range(4000))
    steps = np.diff(order)
    assert (np.abs(steps) == 1).mean() < 0.02  # 1 in 500 within a group of 990
    assert len(np.unique(order[:990] // 10)) == 99  # a group is made of whole blocks,
    assert np.ptp(order[:990]) > 3000  # drawn from all the data


def test_epochs_and_seeds_have_their_own_order():
    first, second = Addresses(0, 1000, 1000), Addresses(1, 1000, 1000)
    orders = [first.rows(0, range(1000)), first.rows(1, range(1000)), second.rows(0, range(1000))]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        # two random orders agree in one place on average: more than 10 has a chance below 1e-7 (Poisson)
        assert (orders[a] == orders[b]).sum() <= 10


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 40))
def test_shares_cut_a_batch_without_gap_or_overlap(parts, size, more):
    batch = parts * size + more
    held = [shares(batch, parts, rank, size) for rank in range(size)]
    ordered = [held[rank][part] for part in range(parts) for rank in range(size)]
    assert [place for share in ordered for place in share] == list(range(batch))
    lengths = [len(share) for share in ordered]
    assert max(lengths) - min(lengths) <= 1


def test_a_share_draws_what_the_whole_batch_draws_there():
    addresses = Addresses(5, 77, 32)
    whole = addresses.seeds(3, range(32)).at("noise").normal((4,))
    part = addresses.seeds(3, range(10, 20)).at("noise").normal((4,))
    assert torch.equal(whole[10:20], part)
    assert np.array_equal(addresses.rows(3, range(32))[10:20], addresses.rows(3, range(10, 20)))


def test_stratified_numbers_cover_a_batch_evenly_and_move_between_steps():
    addresses = Addresses(0, 10, 64)
    first, second = addresses.uniform(0), addresses.uniform(1)
    for u in (first, second):
        assert (u.sort().values.diff() - 1 / 64).abs().max() < 1e-12
    assert (first.sort().values - second.sort().values).abs().min() > 1e-9
    free = Addresses(0, 10, 64, stratified=False).uniform(0)
    assert free.sort().values.diff().std() > 0.2 / 64  # exponential gaps have a deviation of 1/64


def test_a_batch_too_small_for_its_parts_is_refused():
    with pytest.raises(InputError, match=r"raise training\.batch to at least 8"):
        shares(7, 4, 0, 2)
    with pytest.raises(InputError, match="no samples"):
        Addresses(0, 0, 4)

"""States of one or several tensors, and the masks of padded sets."""

import math

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.state import apply_mask, batch_size, concatenate, expand, map_state, mean_per_sample, take, tensors_of

POSITIONS = torch.arange(24.0).reshape(4, 3, 2)
STATE = {"positions": POSITIONS, "kinds": torch.arange(4)}


def test_map_state_keeps_names_and_nesting():
    doubled = map_state(lambda x: 2 * x, {"outer": STATE, "x": torch.ones(4)})
    assert set(doubled) == {"outer", "x"}
    assert torch.equal(doubled["outer"]["positions"], 2 * POSITIONS)
    assert torch.equal(map_state(torch.add, POSITIONS, POSITIONS), 2 * POSITIONS)
    assert torch.equal(map_state(torch.sub, STATE, STATE)["kinds"], torch.zeros(4, dtype=torch.int64))


def test_map_state_refuses_states_of_different_parts():
    with pytest.raises(InputError, match=r"\['kinds', 'positions'\] and \['positions'\]"):
        map_state(torch.add, STATE, {"positions": POSITIONS})


def test_take_and_concatenate_undo_each_other():
    parts = [
        take(STATE, slice(0, 1)),
        take(STATE, torch.tensor([1, 2])),
        take(STATE, torch.tensor([False] * 3 + [True])),
    ]
    assert [batch_size(part) for part in parts] == [1, 2, 1]
    joined = concatenate(parts)
    assert all(torch.equal(joined[name], STATE[name]) for name in STATE)
    assert torch.equal(concatenate([POSITIONS[:1], POSITIONS[1:]]), POSITIONS)


def test_tensors_of_follows_the_names():
    assert [len(t.shape) for t in tensors_of(STATE)] == [1, 3]
    assert tensors_of(POSITIONS)[0] is POSITIONS


def test_batch_size_refuses_parts_that_disagree():
    assert batch_size(POSITIONS) == 4
    with pytest.raises(InputError, match=r"one batch size, seen: \[2, 4\]"):
        batch_size({"a": torch.zeros(4), "b": torch.zeros(2)})


@pytest.mark.parametrize(("values", "shape"), [(torch.tensor(2.0), ()), (torch.arange(4), (4, 1, 1))])
def test_expand_broadcasts_over_samples_in_the_dtype_of_the_other(values, shape):
    expanded = expand(values, POSITIONS.to(torch.bfloat16))
    assert expanded.shape == shape
    assert expanded.dtype == torch.bfloat16
    assert torch.equal(expanded * POSITIONS, values.reshape(shape).float() * POSITIONS)


MASK = torch.tensor([[True, True, False], [True, False, False], [False] * 3, [True] * 3])


def test_apply_mask_sets_padded_places_to_zero_and_leaves_the_others():
    masked = apply_mask(POSITIONS, MASK)
    assert torch.equal(masked[MASK], POSITIONS[MASK])
    assert (masked[~MASK] == 0).all()
    assert apply_mask(POSITIONS, None) is POSITIONS


@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf])
def test_apply_mask_does_not_let_garbage_through(garbage):
    """A network may leave anything in padded places; zero times infinity would be NaN."""
    spoilt = torch.where(MASK[..., None], POSITIONS, garbage)
    assert torch.equal(apply_mask(spoilt, MASK), apply_mask(POSITIONS, MASK))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_apply_mask_keeps_the_dtype(dtype):
    assert apply_mask(POSITIONS.to(dtype), MASK).dtype == dtype


def test_mean_per_sample_counts_elements_not_padding():
    expected = [POSITIONS[0, :2].mean(), POSITIONS[1, :1].mean(), torch.tensor(0.0), POSITIONS[3].mean()]
    spoilt = torch.where(MASK[..., None], POSITIONS, math.nan)
    torch.testing.assert_close(mean_per_sample(spoilt, MASK), torch.stack(expected))
    torch.testing.assert_close(mean_per_sample(POSITIONS), POSITIONS.mean((1, 2)))

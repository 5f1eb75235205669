"""Augmentation: what it does to pixels, what it tells, how often, and that a draw depends on its address alone."""

import math

import numpy as np
import pytest
import torch

from unstir.core.seeds import Seeds
from unstir.domains.images.augmentation import Augmentation, ToldAugmentation, _sampling_grid

SHAPE = (2, 6, 6)
EVERYTHING = {"flip": "both", "quarter_turns": True, "shift": 2, "told": {"p": 0.5}}


def pictures(count, shape=SHAPE, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (count, *shape)).astype(np.float32))


def told_row(**named):
    names = ["flip_x", "flip_y", "cosine", "sine", "scale", "along", "across", "right", "down"]
    return torch.tensor([[float(named.get(name, 0)) for name in names]])


def test_a_picture_is_changed_the_same_alone_and_in_any_batch():
    augmentation = Augmentation.of(EVERYTHING, SHAPE)
    batch = pictures(64)
    whole, told = augmentation(batch, Seeds.range(7, 64))
    assert (told != 0).any(1).float().mean() > 0.5 and not torch.equal(whole, batch)
    for rows in ([17], list(range(10, 31)), [63, 17, 0, 17]):
        part, part_told = augmentation(batch[rows], Seeds(7, torch.tensor(rows)))
        assert torch.equal(part, whole[rows]) and torch.equal(part_told, told[rows])
    other, _ = augmentation(batch, Seeds.range(8, 64))
    assert not torch.equal(other, whole)


def test_flips_turns_and_shifts_are_those_of_numpy_and_as_frequent_as_they_should_be():
    count = 4000
    batch = pictures(1).expand(count, -1, -1, -1)
    picture = batch[0].numpy()
    padded = np.pad(picture, ((0, 0), (2, 2), (2, 2)), "edge")
    expected = {
        "flip": [picture, picture[:, :, ::-1], picture[:, ::-1], picture[:, ::-1, ::-1]],
        "quarter_turns": [np.rot90(picture, turns, (1, 2)) for turns in range(4)],
        "shift": [padded[:, down : down + 6, right : right + 6] for down in range(5) for right in range(5)],
    }
    for name, outcomes in expected.items():
        changed, told = Augmentation.of({name: EVERYTHING[name]}, SHAPE)(batch, Seeds.range(0, count))
        counts = [int((changed == torch.from_numpy(outcome.copy())).flatten(1).all(1).sum()) for outcome in outcomes]
        assert told is None and sum(counts) == count
        share = 1 / len(outcomes)
        assert np.abs(np.array(counts) - count * share).max() < 5 * math.sqrt(count * share * (1 - share)), name
    for flip, outcome in (("horizontal", 1), ("vertical", 2)):
        changed, _ = Augmentation.of({"flip": flip}, SHAPE)(batch, Seeds.range(0, count))
        flipped = (changed == torch.from_numpy(expected["flip"][outcome].copy())).flatten(1).all(1)
        same = (changed == batch).flatten(1).all(1)
        assert (flipped | same).all() and abs(flipped.sum() - count / 2) < 5 * math.sqrt(count) / 2


def test_what_is_told_is_zero_exactly_for_the_unchanged():
    told_augmentation = ToldAugmentation(p=0.1)
    batch = pictures(500)
    changed, told = Augmentation(told=told_augmentation)(batch, Seeds.range(3, 500))
    silent = (told == 0).all(1)
    unchanged = (changed == batch).flatten(1).all(1)
    assert torch.equal(silent, unchanged) and 0 < silent.sum() < 500
    never, told = Augmentation(told=ToldAugmentation(p=0))(batch, Seeds.range(3, 500))
    assert torch.equal(never, batch) and not told.any()
    _, told = Augmentation(told=ToldAugmentation(p=1))(batch, Seeds.range(3, 500))
    assert (told[:, 2:] != 0).all()


def test_what_is_told_is_distributed_as_documented():
    count, p = 20_000, 0.3
    told = (
        ToldAugmentation(p=p, scale=0.2, stretch=0.3, shift=0.1, rotation=1.0)
        .parameters(Seeds.range(0, count))
        .double()
    )
    sigma = lambda share: 5 * math.sqrt(share * (1 - share) / count)  # noqa: E731
    changed = told != 0
    for column, share in enumerate([p / 2, p / 2, p, p, p, p, p, p, p]):
        assert abs(changed[:, column].double().mean() - share) < sigma(share), column
    assert torch.equal(changed[:, 2], changed[:, 3]) and torch.equal(changed[:, 7], changed[:, 8])
    together = (changed[:, 2] & changed[:, 4]).double().mean()  # independent of each other
    assert abs(together - p * p) < sigma(p * p)
    made = p * count
    for columns, deviation in (([4], 0.2), ([7], 0.1), ([8], 0.1)):
        values = told[:, columns][changed[:, columns]]
        # the variance of a normal sample has a relative deviation of sqrt(2 / n)
        assert abs(values.var() / deviation**2 - 1) < 5 * math.sqrt(2 / (made * 0.9))
        assert abs(values.mean()) < 5 * deviation / math.sqrt(made * 0.9)
    angles = torch.atan2(told[:, 3], told[:, 2] + 1)[changed[:, 3]]
    assert angles.abs().max() <= 1 and abs(angles.var() - 1 / 3) < 5 * math.sqrt((1 / 5 - 1 / 9) / (made * 0.9))
    stretch = told[changed[:, 5]][:, 5:7]
    assert abs(stretch.pow(2).sum(1).mean() / 0.3**2 - 1) < 5 * math.sqrt(2 / (made * 0.9))
    assert abs((stretch[:, 0] * stretch[:, 1]).mean()) < 5 * 0.3**2 * math.sqrt(3 / 8) / math.sqrt(made * 0.9)


def test_deviations_of_zero_leave_their_change_out():
    calm = ToldAugmentation(p=1, horizontal_flip=False, vertical_flip=False, rotation=0, scale=0, stretch=0, shift=0)
    assert not calm.parameters(Seeds.range(0, 100)).any()


def test_exact_cases_of_the_resampling():
    batch = pictures(1)
    apply = ToldAugmentation().apply
    turned = apply(batch, told_row(cosine=-1, sine=1))
    torch.testing.assert_close(turned, batch.rot90(-1, (-2, -1)), rtol=0, atol=2e-5)
    moved = apply(batch, told_row(right=2 / 6, down=-1 / 6))
    padded = np.pad(batch.numpy(), ((0, 0), (0, 0), (0, 1), (2, 0)), "edge")
    torch.testing.assert_close(moved, torch.from_numpy(padded[:, :, 1:, :6].copy()), rtol=0, atol=2e-5)
    both = apply(batch, told_row(flip_x=1, flip_y=1))
    assert torch.equal(both, batch.flip(-1, -2))
    mirrored = ToldAugmentation(edge="mirror").apply(batch, told_row(right=2 / 6))
    padded = np.pad(batch.numpy(), ((0, 0), (0, 0), (0, 0), (2, 0)), "symmetric")
    torch.testing.assert_close(mirrored, torch.from_numpy(padded[:, :, :, :6].copy()), rtol=0, atol=2e-5)


@pytest.mark.parametrize("seed", range(8))
def test_a_blob_has_the_moments_that_the_told_map_gives_it(seed):
    """A Gaussian blob of covariance C comes out as one of covariance M C M^T, its centre moved by the shift."""
    generator = np.random.default_rng(seed)
    angle, scale, stretch, direction = generator.uniform([-math.pi, -0.3, -0.4, -math.pi], [math.pi, 0.3, 0.4, math.pi])
    shift = generator.uniform(-0.1, 0.1, 2)
    side, covariance = 193, np.array([[96.0, 30.0], [30.0, 54.0]])  # wide: its tails must not overshoot
    places = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1) - (side - 1) / 2  # (x, y)
    blob = np.exp(-0.5 * np.einsum("hwi,ij,hwj->hw", places, np.linalg.inv(covariance), places))
    told = told_row(
        cosine=math.cos(angle) - 1,
        sine=math.sin(angle),
        scale=scale,
        along=stretch * math.cos(direction),
        across=stretch * math.sin(direction),
        right=shift[0],
        down=shift[1],
    )
    changed = ToldAugmentation().apply(torch.from_numpy(blob).float()[None, None], told)[0, 0].double().numpy()
    weights = changed / changed.sum()
    centre = np.einsum("hw,hwi->i", weights, places)
    spread = np.einsum("hw,hwi,hwj->ij", weights, places - centre, places - centre)
    axis = np.array([math.cos(direction / 2), math.sin(direction / 2)])
    across = np.array([-axis[1], axis[0]])
    stretching = 2**stretch * np.outer(axis, axis) + 2**-stretch * np.outer(across, across)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    whole = 2**scale * rotation @ stretching
    np.testing.assert_allclose(centre, shift * side, atol=0.02)
    expected = whole @ covariance @ whole.T
    # the cubic kernel (a = -3/4) misplaces a ramp by up to 0.05 of a pixel, here 1/150 of the blob's least deviation
    np.testing.assert_allclose(spread, expected, atol=0.02 * np.abs(expected).max())
    # and the grid itself is exact: each pixel p is read from M^-1 (p - shift)
    grid = _sampling_grid(told, side, side)[0].double().numpy() * side / 2
    np.testing.assert_allclose(grid, (places - shift * side) @ np.linalg.inv(whole).T, atol=1e-4)


def test_the_range_of_a_picture_is_kept():
    batch = pictures(200).sign()
    changed, _ = Augmentation(told=ToldAugmentation(p=1))(batch, Seeds.range(0, 200))
    assert changed.abs().max() == 1

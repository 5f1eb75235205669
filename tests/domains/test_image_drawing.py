"""Grids of pictures, and PNG bytes."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from unstir.core.errors import InputError
from unstir.domains.images import images
from unstir.domains.images.drawing import displayed, picture_grid, to_png_bytes
from unstir.domains.images.encoding import ImageEncoding


def encoding(channels=1):
    return ImageEncoding(0.0, 16.0, "uint8", "chw", (channels, 2, 3))


def test_each_picture_stands_enlarged_in_its_place():
    pictures = np.random.default_rng(0).integers(0, 250, (5, 2, 3)).astype(np.uint8)
    grid = picture_grid(pictures, columns=3, scale=4, padding=1)
    assert grid.shape == (1 + 2 * 9, 1 + 3 * 13, 3) and grid.dtype == np.uint8
    for number, picture in enumerate(pictures):
        top, left = 1 + number // 3 * 9, 1 + number % 3 * 13
        block = grid[top : top + 8, left : left + 12]
        np.testing.assert_array_equal(block, np.kron(picture, np.ones((4, 4), np.uint8))[..., None].repeat(3, -1))
        grid[top : top + 8, left : left + 12] = 255
    assert (grid == 255).all()  # white everywhere else, the sixth place too


def test_columns_and_scale_by_themselves():
    assert picture_grid(np.zeros((100, 8, 8), np.uint8)).shape == (2 + 10 * 66, 2 + 10 * 66, 3)
    assert picture_grid(np.zeros((2, 200, 100, 4), np.uint8), padding=0).shape == (200, 200, 4)
    assert picture_grid(np.zeros((2, 8, 8), np.uint8), columns=9, scale=1, padding=0).shape == (8, 16, 3)


@pytest.mark.parametrize(
    ("channels", "shape"), [(1, (2, 3, 3)), (3, (2, 3, 3)), (4, (2, 3, 4)), (2, (2, 6, 3)), (5, (2, 15, 3))]
)
def test_any_number_of_channels_can_be_shown(channels, shape):
    levels = np.random.default_rng(1).integers(0, 256, (4, channels, 2, 3))
    shown = displayed(encoding(channels), torch.from_numpy(levels).float() / 127.5 - 1)
    assert shown.shape == (4, *shape) and shown.dtype == np.uint8
    expected = (
        np.moveaxis(levels, 1, -1) if channels in (3, 4) else np.concatenate(list(levels.swapaxes(0, 1)), -1)[..., None]
    )
    np.testing.assert_array_equal(shown, np.broadcast_to(expected, shown.shape))


def test_values_beyond_the_range_are_shown_as_black_and_white():
    assert displayed(encoding(), torch.tensor([-9.0, -1, 0, 1, 9, 0]).reshape(1, 1, 2, 3))[0, ..., 0].tolist() == [
        [0, 0, 128],
        [255, 255, 128],
    ]


def test_png_bytes_hold_the_grid():
    grid = images.draw(encoding(), torch.rand(6, 1, 2, 3) * 2 - 1, columns=2)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(to_png_bytes(grid)))), grid)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((2, 3), np.uint8), np.zeros((0, 2, 3), np.uint8), np.zeros((1, 2, 3)), np.zeros((1, 2, 3, 2), np.uint8)],
)
def test_what_is_not_drawn(wrong):
    with pytest.raises(InputError, match="a grid is drawn from uint8"):
        picture_grid(wrong)


def test_other_refusals():
    with pytest.raises(InputError, match="are the least"):
        picture_grid(np.zeros((1, 2, 3), np.uint8), scale=-1)
    with pytest.raises(InputError, match=r"but this data has \(1, 2, 3\)"):
        images.draw(encoding(), torch.zeros(1, 1, 3, 3))

"""PNG of 16 bits: our reader and writer against each other, and against Pillow's 8 upper bits."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unstir.formats.png import _SIGNATURE, _chunk, deep_colour, png_bytes, read_deep_png

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([2, 3, 4]))


def filtered_png(picture: np.ndarray, kinds: list[int]) -> bytes:
    """The picture with the given filter on each line, byte by byte, straight from the specification."""
    height, width, channels = picture.shape
    size = 2 * channels
    lines = picture.astype(">u2").reshape(height, -1).view(np.uint8).astype(int)
    content = bytearray()
    for y in range(height):
        content.append(kinds[y])
        for x in range(width * size):
            a = lines[y, x - size] if x >= size else 0
            b = lines[y - 1, x] if y else 0
            c = lines[y - 1, x - size] if y and x >= size else 0
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            content.append((lines[y, x] - (0, a, b, (a + b) // 2, paeth)[kinds[y]]) % 256)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(content))) + _chunk(b"IEND", b"")


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1), kinds=st.lists(st.integers(0, 4), min_size=9, max_size=9))
def test_every_filter_is_undone(shape, seed, kinds):
    picture = np.random.default_rng(seed).integers(0, 2**16, shape).astype(np.uint16)
    content = filtered_png(picture, kinds)
    assert deep_colour(content[:26])
    np.testing.assert_array_equal(read_deep_png(content), picture)


@settings(max_examples=30, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1))
def test_what_is_written_is_read_here_and_by_pillow(shape, seed):
    picture = np.random.default_rng(seed).integers(0, 2**16, shape).astype(np.uint16)
    content = png_bytes(picture)
    np.testing.assert_array_equal(read_deep_png(content), picture)
    if shape[2] > 2:
        theirs = np.asarray(Image.open(io.BytesIO(content))).astype(int)  # they keep 8 bits
        assert theirs.shape == shape and np.abs(theirs - picture // 256).max() <= 1


def test_sixteen_bit_grey_and_eight_bits_are_pillows_business():
    for dtype, shape in (("uint16", (3, 4)), ("uint8", (3, 4)), ("uint8", (3, 4, 3)), ("uint8", (3, 4, 4))):
        picture = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
        content = png_bytes(picture)
        assert not deep_colour(content[:26])
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))).astype(dtype), picture)


@pytest.mark.parametrize("keep", [30, 60, -13, -5])
def test_a_file_cut_off_is_an_error(keep):
    content = png_bytes(np.full((6, 6, 3), 999, np.uint16))
    with pytest.raises(ValueError, match=r"ends within|damaged|bytes of pixels|incomplete"):
        read_deep_png(content[:keep])

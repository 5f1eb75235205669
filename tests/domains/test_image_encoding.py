"""From the data's range and layout to the network's, and back."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from unstir.core.errors import InputError
from unstir.domains.images.encoding import ImageEncoding, find_layout, find_range, restore

SHAPES = {"hw": (3, 4), "hwc": (3, 4, 2), "chw": (2, 3, 4)}
SMALL_INTEGERS = ["bool", "uint8", "int8", "uint16", "int16"]


def encoding_for(dtype, low, high, layout="hw", bounded=True):
    _, shape = find_layout(SHAPES[layout], layout, "here")
    return ImageEncoding(float(low), float(high), np.dtype(dtype).name, layout, shape, bounded)


@given(data=st.data(), dtype=st.sampled_from(SMALL_INTEGERS), layout=st.sampled_from(sorted(SHAPES)))
def test_every_level_of_up_to_sixteen_bits_comes_back_exactly(data, dtype, layout):
    values = data.draw(arrays.arrays(dtype, (2, *SHAPES[layout])))
    limits = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    encoding = encoding_for(dtype, *limits, layout)
    encoded = encoding.encode(values)
    assert encoded.dtype == torch.float32 and encoded.shape == (2, *encoding.shape) and encoded.is_contiguous()
    assert encoded.abs().max() <= 1
    decoded = encoding.decode(encoded)
    assert decoded.dtype == values.dtype
    np.testing.assert_array_equal(decoded, values)


@given(
    data=st.data(),
    dtype=st.sampled_from(["float32", "float64"]),
    offset=st.sampled_from([0.0, -3.0, 1e5]),
    width=st.floats(1e-3, 1e4),
)
def test_real_numbers_come_back_to_the_rounding_of_float32(data, dtype, offset, width):
    values = offset + width * data.draw(arrays.arrays("float64", (2, 3, 4), elements=st.floats(0, 1)))
    values = values.astype(dtype)
    low, high = np.float64(offset), np.float64(offset + width)
    decoded = encoding_for(dtype, low, high, bounded=False).decode(encoding_for(dtype, low, high).encode(values))
    # one rounding of a number of at most 1 to float32, scaled by half the range, and one to the data's own type
    bound = (high - low) / 2 * 2.0**-24 * 1.01 + np.spacing(np.abs(values).max().astype(dtype)).astype("float64")
    assert decoded.dtype == values.dtype and np.abs(decoded.astype("float64") - values).max() <= bound


def test_the_ends_of_the_range_go_to_the_ends():
    encoding = encoding_for("uint8", 0, 16)
    encoded = encoding.encode(np.array([[[0, 16, 8, 4]] * 3], np.uint8))
    assert encoded[0, 0, 0].tolist() == [-1, 1, 0, -0.5]


def test_what_lies_beyond_is_clipped_only_where_the_range_binds():
    state = torch.full((1, 1, 3, 4), 1.5)
    assert (encoding_for("uint8", 0, 255).decode(state) == 255).all()
    assert (encoding_for("float32", 0, 1, bounded=True).decode(state) == 1).all()
    assert (encoding_for("float32", 0, 1, bounded=False).decode(state) == 1.25).all()


@pytest.mark.parametrize("layout", SHAPES)
def test_the_record_is_json_and_restores(layout):
    encoding = ImageEncoding(0.1, 1 / 3, "float64", layout, (2, 3, 4), False, ("a", "b"))
    assert restore(json.loads(json.dumps(encoding.record()))) == encoding


@pytest.mark.parametrize(
    ("shape", "stated", "layout", "encoded"),
    [
        ((8, 9), None, "hw", (1, 8, 9)),
        ((8, 9, 3), None, "hwc", (3, 8, 9)),
        ((1, 8, 9), None, "chw", (1, 8, 9)),
        ((3, 4, 4), "chw", "chw", (3, 4, 4)),
        ((3, 4, 4), "hwc", "hwc", (4, 3, 4)),
        ((13, 64, 64), "chw", "chw", (13, 64, 64)),
    ],
)
def test_layouts(shape, stated, layout, encoded):
    assert find_layout(shape, stated, "here") == (layout, encoded)


@pytest.mark.parametrize(
    ("shape", "stated", "message"),
    [
        ((784,), None, "are not pictures"),
        ((2, 3, 4, 5), None, "are not pictures"),
        ((8, 8), "hwc", "with layout 'hwc' are not pictures"),
        ((3, 4, 4), None, "which axis holds the channels"),
        ((13, 64, 64), None, "which axis holds the channels"),
        ((8, 8), "whc", "layout 'whc': allowed are hw, hwc, chw"),
    ],
)
def test_layouts_that_are_refused(shape, stated, message):
    with pytest.raises(InputError, match=message):
        find_layout(shape, stated, "here")


@pytest.mark.parametrize(
    ("dtype", "low", "high", "expected"),
    [
        ("bool", 0, 1, (0, 1, True)),
        ("uint8", 3, 250, (0, 255, True)),
        ("uint8", 0, 16, (0, 16, True)),
        ("uint16", 0, 4095, (0, 4095, True)),
        ("uint16", 0, 40000, (0, 65535, True)),
        ("int32", -5, 9, (-5, 9, True)),
        ("float32", -0.5, 2.5, (-0.5, 2.5, False)),
    ],
)
def test_ranges(dtype, low, high, expected):
    assert find_range(np.dtype(dtype), low, high) == expected


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (float("nan"), 1), (0, float("inf"))])
def test_ranges_that_are_refused(low, high):
    with pytest.raises(InputError, match="a least and a greater value are needed"):
        ImageEncoding(low, high, "uint8", "hw", (1, 2, 2))


def test_decoding_another_shape_is_refused():
    with pytest.raises(InputError, match=r"shape \(1, 4, 4\), but this data has \(1, 3, 4\)"):
        encoding_for("uint8", 0, 255).decode(torch.zeros(2, 1, 4, 4))

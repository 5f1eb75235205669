"""Pictures as training data."""

import numpy as np
import pytest
import torch
from PIL import Image

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.base import EncodedData
from unstir.domains.images import images
from unstir.domains.images.data import ImageData
from unstir.formats.base import Samples
from unstir.training.data import Data

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3)).astype(np.uint8)
LABELS = np.arange(20) % 4


def data(**options):
    return ImageData(Samples(PIXELS, "here", LABELS), **options)


def test_it_is_data():
    found = data()
    assert isinstance(found, Data) and isinstance(found, EncodedData)
    assert (len(found), found.shape, found.name) == (20, (3, 6, 5), "here")
    assert found.conditions == {"label": {"classes": 4}}


def test_batches_hold_the_rows_asked_for_in_their_order():
    rows = np.array([7, 0, 7, 19])
    pictures, condition = data().batch(rows)
    expected = torch.from_numpy(PIXELS[rows]).movedim(-1, 1).float() / 127.5 - 1
    torch.testing.assert_close(pictures, expected, rtol=0, atol=2e-7)
    assert condition["label"].tolist() == [3, 0, 3, 3] and condition["label"].dtype == torch.int64
    again, _ = data(augment={"flip": "both", "shift": 2, "told": True}).batch(rows)
    assert torch.equal(again, pictures)  # nothing is augmented without seeds


def test_digits_end_to_end():
    found = images.read({"format": "digits", "augment": {"shift": 1, "told": 0.2}})
    assert found.conditions == {"label": {"classes": 10}, "augment": {"size": 9}}
    pictures, condition = found.batch(np.arange(1797), Seeds.range(0, 1797))
    assert pictures.shape == (1797, 1, 8, 8) and condition["augment"].shape == (1797, 9)
    assert pictures.min() == -1 and pictures.max() == 1
    plain, _ = found.batch(np.arange(1797))
    from sklearn.datasets import load_digits

    np.testing.assert_array_equal(found.encoding.decode(plain), load_digits().images)


def test_labels_can_be_left_out():
    found = images.read({"path": "digits", "labels": False})
    assert found.conditions == {} and found.label_names == ()
    assert found.batch(np.arange(3))[1] == {}


def test_the_digest_is_of_the_content():
    reference = data().digest
    assert len(bytes.fromhex(reference)) == 32
    assert (
        ImageData(Samples(PIXELS.copy(), "elsewhere", LABELS), name="other", augment={"flip": "both"}).digest
        == reference
    )
    assert ImageData(Samples(PIXELS, "here")).digest != reference
    assert ImageData(Samples(PIXELS, "here", LABELS, ("a", "b", "c", "d"))).digest != reference
    assert data(range=[0, 300]).digest != reference
    changed = PIXELS.copy()
    changed[19, 5, 4, 2] ^= 1
    assert ImageData(Samples(changed, "here", LABELS)).digest != reference


def test_beyond_its_memory_it_reads_from_disk(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS)
    small, large = (images.read({"path": str(tmp_path / "a.npy"), "memory": memory}) for memory in (10, 1e9))
    assert type(small.values) is np.memmap and type(large.values) is np.ndarray
    rows = np.array([4, 4, 1])
    assert torch.equal(small.batch(rows)[0], large.batch(rows)[0]) and small.digest == large.digest


def test_a_folder_of_pictures_end_to_end(tmp_path):
    for number, picture in enumerate(PIXELS):
        (tmp_path / f"class {number % 2}").mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / f"class {number % 2}" / f"{number:02d}.png")
    order = [*range(0, 20, 2), *range(1, 20, 2)]
    for memory in (0, 1e9):
        found = images.read({"path": str(tmp_path), "memory": memory})
        assert found.label_names == ("class 0", "class 1")
        np.testing.assert_array_equal(found.encoding.decode(found.batch(np.arange(20))[0]), PIXELS[order])
        assert isinstance(found.values, np.ndarray) == (memory > 0)


def test_ranges_stated_and_observed():
    floats = np.linspace(0.2, 0.7, 48).reshape(3, 4, 4)
    observed = ImageData(Samples(floats, "here"))
    assert (observed.encoding.low, observed.encoding.high, observed.encoding.bounded) == (0.2, 0.7, False)
    stated = ImageData(Samples(floats, "here"), range=[0, 1])
    assert (stated.encoding.low, stated.encoding.high, stated.encoding.bounded) == (0, 1, True)
    with pytest.raises(InputError, match=r"values from 0\.2 to 0\.7 lie outside the stated range 0 to 0\.5"):
        ImageData(Samples(floats, "here"), range=[0, 0.5])
    for wrong in (3, [1], ["a", "b"], [1, 2, 3]):
        with pytest.raises(InputError, match=r"two numbers are needed, `data\.range=\[low, high\]`"):
            ImageData(Samples(floats, "here"), range=wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "digits", "agument": {}}, "unknown option 'agument'.*did you mean 'augment'"),
        ({"format": "digits", "split": "train"}, "unknown option 'split'"),
        ({"format": "digits", "augment": {"flop": "both"}}, "unknown augmentation 'flop'; did you mean 'flip'"),
        ({"format": "digits", "augment": {"flip": "sideways"}}, "unknown flip 'sideways'"),
        ({"format": "digits", "augment": {"shift": 8}}, "shift = 8: 0 to 7 pixels"),
        ({"format": "digits", "augment": {"told": 1.5}}, r"told\.p = 1\.5: a probability"),
        ({"format": "digits", "augment": {"told": {"sale": 1}}}, "unknown option of the told augmentation 'sale'"),
        ({"format": "digits", "augment": {"told": {"edge": "wrap"}}}, "unknown filling at the edge 'wrap'"),
        ({"format": "digits", "augment": "flip"}, "`data.augment: 'flip'`: options are needed"),
        ({"format": "digits", "augment": {"shift": "1"}}, "augmentation 'shift': '1' is not of type int"),
        ({"format": "digits", "augment": {"told": "often"}}, r"'p': 'often' is not of type float \| int"),
        ({"format": "digits", "memory": "much"}, "`data.memory: 'much'`: a number of bytes is needed"),
        ({"format": "mnist", "split": 3}, "option 'split' for data read from mnist: 3 is not text"),
        ({"path": 5}, "`path: 5`: text is needed"),
        ({}, "no data given"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        images.read(options)


def test_data_that_cannot_be_trained_on():
    for values, message in (
        (np.full((4, 3, 3), 7.0), "are all pixels equal"),
        (np.zeros((4, 3, 3), np.uint8), "are all pixels equal"),
        (np.where(np.eye(4)[:, :, None] > 0, np.nan, np.ones((4, 4, 4))), "hold NaN or infinity"),
        (np.zeros((4, 9)), "are not pictures"),
    ):
        with pytest.raises(InputError, match=message):
            ImageData(Samples(values, "here"))
    with pytest.raises(InputError, match="quarter turns need square pictures; these have 6 by 5"):
        data(augment={"quarter_turns": True})
    with pytest.raises(InputError, match="3 seeds for 2 rows"):
        data().batch(np.arange(2), Seeds.range(0, 3))

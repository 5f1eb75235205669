"""Operators against other people's code: SciPy, NumPy, Pillow, scikit-image, torch's own resizing."""

import io

import numpy as np
import pytest
import torch
from scipy import ndimage

from unstir.core.seeds import Seeds
from unstir.inverse.operators.blur import BlurOperator
from unstir.inverse.operators.downsample import DownsampleOperator
from unstir.inverse.operators.fourier import FourierOperator
from unstir.inverse.operators.grey import GreyOperator
from unstir.inverse.operators.jpeg import JPEGOperator
from unstir.inverse.operators.phase import PhaseOperator
from unstir.inverse.operators.radon import RadonOperator
from unstir.inverse.operators.sensors import SensorsOperator

MODES = {"periodic": "wrap", "reflect": "reflect", "zero": "constant"}


def drawn(shape, seed=0):
    return Seeds.range(seed, 1).normal(shape, torch.float64)


def close(found, wanted, bound=1e-12):
    wanted = torch.as_tensor(np.ascontiguousarray(wanted))
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= bound * wanted.abs().max()


@pytest.mark.parametrize("boundary", MODES)
@pytest.mark.parametrize("shape", [(1, 9, 12), (1, 30), (1, 5, 6, 7), (11,)])
def test_gaussian_blur_is_scipys(shape, boundary):
    x = drawn(shape)
    own = BlurOperator(shape, deviation=1.3, boundary=boundary)
    wanted = ndimage.gaussian_filter(
        x[0].numpy(),
        1.3,
        mode=MODES[boundary],
        truncate=4.0,
        axes=tuple(range(-own.weights.ndim, 0)),
    )
    close(own(x)[0], wanted)


@pytest.mark.parametrize("boundary", MODES)
@pytest.mark.parametrize("size", [(3, 3), (2, 5), (4, 2), (1, 1)])
def test_any_kernel_is_scipys_convolution(size, boundary):
    x, kernel = drawn((1, 8, 7)), drawn(size, 1)[0]
    found = BlurOperator((1, 8, 7), kernel.tolist(), boundary=boundary)(x)
    close(found[0, 0], ndimage.convolve(x[0, 0].numpy(), kernel.numpy(), mode=MODES[boundary]))


@pytest.mark.parametrize("size", [3, 4])
def test_box_blur_is_scipys(size):
    x = drawn((1, 8, 7))
    # a box of even size has its middle on the other side in a filter than in a convolution
    origin = -1 if size % 2 == 0 else 0
    wanted = ndimage.uniform_filter(x[0, 0].numpy(), size, mode="reflect", origin=origin)
    close(BlurOperator((1, 8, 7), "box", size=size, boundary="reflect")(x)[0, 0], wanted)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 135.0])
def test_motion_spreads_a_point_along_a_line(angle):
    """The kernel sums to one, has its centre in the middle and its second moments along the way."""
    weights = BlurOperator((1, 31, 31), "motion", size=9, angle=angle).weights
    places = torch.arange(len(weights), dtype=torch.float64) - len(weights) // 2
    row, column = (weights.sum(1) * places).sum(), (weights.sum(0) * places).sum()
    assert weights.sum() == pytest.approx(1) and abs(row) < 1e-12 and abs(column) < 1e-12
    up, right = -places[:, None], places
    turn = np.deg2rad(angle)
    along = (weights * (right * np.cos(turn) + up * np.sin(turn)).square()).sum()
    across = (weights * (up * np.cos(turn) - right * np.sin(turn)).square()).sum()
    assert along == pytest.approx(8**2 / 12, rel=0.05)  # of a line of length 8 from centre to centre
    assert across < 0.3


@pytest.mark.parametrize("shape", [(2, 8, 12), (3, 9, 3)])
@pytest.mark.parametrize("name", ["bicubic", "lanczos"])
def test_filtered_downsampling_is_pillows(shape, name):
    from PIL import Image

    factor = 2 if shape[1] % 2 == 0 else 3
    x = drawn(shape).float()
    size = (shape[2] // factor, shape[1] // factor)
    method = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}[name]
    wanted = np.stack([np.asarray(Image.fromarray(channel.numpy(), "F").resize(size, method)) for channel in x[0]])
    close(DownsampleOperator(shape, factor, name)(x)[0], wanted, 2e-6)


def test_bicubic_downsampling_is_torchs():
    x = drawn((2, 12, 8))
    wanted = torch.nn.functional.interpolate(x, scale_factor=0.25, mode="bicubic", antialias=True)
    close(DownsampleOperator((2, 12, 8), 4, "bicubic")(x), wanted)


@pytest.mark.parametrize("shape", [(1, 6, 4), (2, 12), (1, 4, 6, 2)])
def test_block_average_is_scikit_images(shape):
    from skimage.measure import block_reduce

    x = drawn(shape)
    blocks = (1,) + (2,) * (len(shape) - 1)
    close(DownsampleOperator(shape, 2)(x)[0], block_reduce(x[0].numpy(), blocks, np.mean))


def test_grey_is_scikit_images_and_pillows():
    from PIL import Image
    from skimage.color import rgb2gray

    x = Seeds.range(0, 1).uniform((3, 5, 4))
    # scikit-image rounds the weights of Rec. 709 to 0.2125, 0.7154, 0.0721
    close(GreyOperator((3, 5, 4))(x)[0, 0], rgb2gray(x[0].movedim(0, -1).numpy()), 3e-4)
    picture = (x * 255).round()
    wanted = np.asarray(Image.fromarray(picture[0].movedim(0, -1).numpy().astype(np.uint8)).convert("L"), dtype=float)
    assert (GreyOperator((3, 5, 4), "rec601")(picture)[0, 0] - torch.as_tensor(wanted)).abs().max() <= 1


@pytest.mark.parametrize("shape", [(2, 6, 5), (7,), (1, 3, 4, 2)])
def test_fourier_readings_are_numpys(shape):
    x, own = drawn(shape), FourierOperator(shape, 0.5, 0.1, "points", seed=1)
    axes = tuple(range(-own.seen.ndim, 0))
    wanted = np.fft.fftn(x[0].numpy(), axes=axes, norm="ortho")[..., own.seen.numpy()]
    close(torch.view_as_complex(own(x)[0].contiguous()), wanted)


def test_fourier_lines_hold_the_slowest_and_the_share_asked_for():
    own = FourierOperator((1, 8, 20), 0.4, 0.25, "lines", seed=3)
    seen = own.seen
    assert (seen == seen[:1]).all() and int(seen[0].sum()) == 8
    assert seen[0][[0, 1, 2, -1, -2]].all()
    assert not torch.equal(seen, FourierOperator((1, 8, 20), 0.4, 0.25, "lines", seed=4).seen)


def test_phase_is_numpys():
    x = drawn((2, 4, 5))
    wanted = np.abs(np.fft.fftn(x[0].numpy(), s=(8, 10), axes=(1, 2), norm="ortho"))
    close(PhaseOperator((2, 4, 5))(x)[0], wanted)


def test_phase_is_blind_to_sign_place_and_mirror():
    picture = torch.zeros(1, 1, 6, 6, dtype=torch.float64)
    picture[..., 1:4, 1:4] = drawn((3, 3))
    own = PhaseOperator((1, 6, 6))
    for other in (-picture, picture.roll((1, 2), (2, 3)), picture.flip(2, 3)):
        close(own(other), own(picture))


@pytest.mark.parametrize("side", [7, 8])
def test_radon_is_scikit_images(side):
    from skimage.transform import radon

    angles = np.array([0.0, 10.0, 45.0, 90.0, 117.3])
    # an empty border, as scikit-image cuts off what lies within an element of the corners
    x = torch.nn.functional.pad(drawn((1, side - 2, side - 2)), (1, 1, 1, 1))
    whole = radon(x[0, 0].numpy(), angles, circle=False)
    close(RadonOperator((1, side, side), angles.tolist())(x)[0, 0], whole, 1e-10)
    grid = torch.arange(side) - side // 2
    round_ = x * ((grid[:, None].square() + grid.square()) <= (side // 2 - 2) ** 2)
    wanted = radon(round_[0, 0].numpy(), angles, circle=True)
    close(RadonOperator((1, side, side), angles.tolist(), side)(round_)[0, 0], wanted, 1e-10)


def test_sensors_read_what_scipy_interpolates():
    for shape in ((2, 6, 5), (9,), (1, 3, 4, 5)):
        x, own = drawn(shape), SensorsOperator(shape, 9, seed=2)
        channels = x[0].reshape(-1, *own.shape[len(own.shape) - own.positions.shape[1] :])
        wanted = [ndimage.map_coordinates(channel.numpy(), own.positions.T.numpy(), order=1) for channel in channels]
        close(own(x)[0].reshape(len(channels), -1), np.stack(wanted))


@pytest.mark.parametrize("quality", [5, 40, 50, 85, 100])
def test_jpeg_is_pillows_to_its_rounding(quality):
    from PIL import Image

    smooth = ndimage.gaussian_filter(drawn((48, 48))[0].numpy(), 2)
    picture = (255 * (smooth - smooth.min()) / np.ptp(smooth)).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    wanted = np.asarray(Image.open(file), dtype=float)
    own = JPEGOperator((1, 48, 48), quality, 0.0, 255.0)
    found = own(torch.as_tensor(picture, dtype=torch.float64)[None, None])[0, 0]
    away = (found - torch.as_tensor(wanted)).abs()
    assert own.steps.flatten().tolist() == list(Image.open(file).quantization[0])
    # bytes are rounded, and a coefficient between two steps may go the other way by whole-number cosines
    blocks = away.reshape(6, 8, 6, 8).mean((1, 3))
    assert (blocks < 0.4).double().mean() > 0.8


def test_jpeg_keeps_its_own_pictures():
    own = JPEGOperator((1, 16, 16), 30, 0.0, 1.0)
    once = own(0.5 + 0.05 * drawn((1, 16, 16)))
    assert (own(once) - once).abs().max() < 1e-12

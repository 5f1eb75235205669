import hashlib
import warnings

import pytest
import torch
from torch import nn

from unstir.core.errors import InputError
from unstir.metrics.inception import InceptionFeatures


class Detector(nn.Module):
    """Of the interface of the usual file: uint8 pictures in, features out on request."""

    def forward(self, img: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        assert img.dtype == torch.uint8 and img.size(1) == 3
        mean = img.float().mean(dim=[2, 3])
        features = torch.cat([mean, torch.full_like(mean, img.size(2))], dim=1)
        return features if return_features else features.softmax(1)


class Plain(nn.Module):
    """Without the argument."""

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        return img.float().mean(dim=[3])[:, :, :2]


@pytest.fixture
def file(tmp_path):
    return script(Detector(), tmp_path / "detector.pt")


def script(module, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))
    return path


def test_grey_pictures_become_299_by_299_in_three_channels(file):
    values = torch.tensor([-1.0, 0.0, 1.0, 5.0])[:, None, None, None].expand(4, 1, 8, 8)
    described = InceptionFeatures(file, batch=3).describe(values)
    assert described.features[:, 0].tolist() == pytest.approx([0, 128, 255, 255], rel=1e-5)
    assert described.features[:, 3].tolist() == [299] * 4
    assert described.values.max() == 1


def test_own_size_and_module_without_argument(file, tmp_path):
    values = torch.zeros(2, 3, 16, 16)
    assert InceptionFeatures(file, resize=False).describe(values).features[0, 3] == 16
    plain = InceptionFeatures(script(Plain(), tmp_path / "plain.pt"))
    assert plain.describe(values).features.shape == (2, 6)


def test_batches_do_not_change_the_features(file):
    values = torch.rand(7, 3, 20, 30, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole, parts = (InceptionFeatures(file, batch=size).describe(values).features for size in (7, 2))
    torch.testing.assert_close(whole, parts)


def test_resizing_keeps_a_smooth_picture():
    """A ramp stays a ramp: compared with its own values at the new pixels' centres."""
    ramp = torch.linspace(-0.8, 0.8, 64).expand(1, 1, 64, 64)
    network = InceptionFeatures.__new__(InceptionFeatures)
    network.bounds, network.resize = (-1.0, 1.0), True
    shown = network.pictures(ramp)[0, 0, 150].double()
    centres = (torch.arange(299) + 0.5) * 64 / 299 - 0.5
    expected = (-0.8 + 1.6 * centres / 63 + 1) * 127.5
    # one level for each of the two roundings, away from the edges
    assert (shown - expected)[10:-10].abs().max() < 1.5


def test_hash_is_published_and_checked(file):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    network = InceptionFeatures(file, sha256=digest.upper())
    assert network.digest == digest
    assert digest in network.describe(torch.zeros(2, 1, 8, 8)).source
    with pytest.raises(InputError, match="another file"):
        InceptionFeatures(file, sha256="0" * 64)


def test_refusals(file, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        InceptionFeatures(tmp_path / "missing.pt")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "state.pt")
    with pytest.raises(InputError, match="state dict"):
        InceptionFeatures(tmp_path / "state.pt")
    with pytest.raises(InputError, match="bounds"):
        InceptionFeatures(file, bounds=(1.0, -1.0))
    for shape in ((4, 2, 8, 8), (4, 8)):
        with pytest.raises(InputError, match="1 or 3"):
            InceptionFeatures(file).describe(torch.zeros(shape))

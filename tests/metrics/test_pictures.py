"""Measures of restored pictures, against scikit-image and what is exactly true of them."""

import math

import numpy as np
import pytest
import torch
from skimage import metrics

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.pictures import RandomFeatures, perceptual_distance, psnr, ssim


def pair(channels=3, size=(16, 20)):
    first = Seeds.range(0, 4).uniform((channels, *size)) * 2 - 1
    return first, (first + 0.3 * Seeds.range(1, 4).normal((channels, *size), torch.float64)).clamp(-1, 1)


def test_psnr_is_scikit_images():
    first, second = pair()
    expected = [
        metrics.peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=2) for a, b in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(psnr(first, second), expected, rtol=1e-12)
    assert psnr(first, first).eq(math.inf).all()
    assert psnr(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.2)).item() == pytest.approx(20.0, abs=1e-5)


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_scikit_images(gaussian, channels):
    first, second = pair(channels)
    own = ssim(first, second, window=11, deviation=1.5) if gaussian else ssim(first, second)
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False} if gaussian else {}
    expected = [
        metrics.structural_similarity(a.numpy(), b.numpy(), data_range=2, channel_axis=0, **how)
        for a, b in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(own, expected, rtol=1e-9)
    torch.testing.assert_close(ssim(first, first), torch.ones(4, dtype=torch.float64))


def test_features_are_the_same_every_time_and_of_several_scales():
    first, _ = pair()
    features = RandomFeatures(3)(first)
    assert [tuple(level.shape[1:]) for level in features] == [(32, 16, 20), (64, 8, 10), (96, 4, 5)]
    assert all(torch.equal(a, b) for a, b in zip(features, RandomFeatures(3)(first), strict=True))
    assert not torch.equal(features[0], RandomFeatures(3, seed=1)(first)[0])
    assert len(RandomFeatures(1)(torch.zeros(1, 1, 6, 6))) == 2


def test_the_distance_of_features_grows_with_damage_and_is_each_pictures_own():
    first, _ = pair()
    noise = Seeds.range(2, 4).normal((3, 16, 20), torch.float64)
    near, far = (perceptual_distance(first, first + amount * noise) for amount in (0.1, 0.4))
    assert near.min() > 0 and (near < far).all() and perceptual_distance(first, first).abs().max() < 1e-12
    alone = perceptual_distance(first[2:3], (first + 0.1 * noise)[2:3])
    torch.testing.assert_close(near[2:3], alone)


def test_what_cannot_be_compared_is_refused():
    first, second = pair()
    with pytest.raises(InputError, match="of one shape are compared"):
        psnr(first, second[:2])
    with pytest.raises(InputError, match="range must be positive"):
        psnr(first, second, range=0.0)
    for window in (4, 1, 17):
        with pytest.raises(InputError, match="SSIM takes an odd window"):
            ssim(first, second, window=window)
    with pytest.raises(InputError, match="features of 1 channels"):
        RandomFeatures(1)(first)

import math

import pytest
import torch

from unstir.core.errors import InputError
from unstir.metrics.features import FeatureNetwork, load_features, random_features, save_features, train_classifier
from unstir.metrics.kernel import kernel_distance


def stripes(count, shape, seed=0):
    """Three classes of smooth patterns with noise: of one sign, of the other, alternating."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    pattern = torch.ones(shape).flatten()
    patterns = torch.stack([pattern, -pattern, pattern * (torch.arange(len(pattern)) % 2 * 2 - 1)]).view(3, *shape)
    noise = 0.5 * torch.randn(count, *shape, generator=generator)
    return (0.5 * patterns[labels] + noise).clamp(-1, 1), labels


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 10, 6), (2, 24), (1, 4, 4, 5), (12,)], ids=str)
def test_classifier_learns_any_shape(shape):
    values, labels = stripes(240, shape)
    network = train_classifier(values, labels, seed=0, steps=60)
    described = network.describe(values, labels)
    assert described.features.shape == (240, 32)
    assert network.digest in described.source and f"{network.accuracy:.1%}" in described.source
    assert described.probabilities.shape == (240, 3)
    # far above guessing: five standard errors of a third of 48 held-out rows
    assert network.accuracy > 1 / 3 + 5 * math.sqrt(2 / 9 / 48)
    alive = described.features.std(0) > 0
    torch.testing.assert_close(described.features.mean(0), torch.zeros(32).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(described.features.std(0)[alive], torch.ones(32).double()[alive], atol=1e-3, rtol=0)


def test_same_seed_same_weights_whatever_the_threads_and_the_global_generator():
    values, labels = stripes(120, (1, 8, 8))
    digests = []
    before = torch.get_num_threads()
    for threads, seed in ((1, 0), (2, 1)):
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        digests.append(train_classifier(values, labels, seed=5, steps=20).digest)
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert digests[0] == digests[1]
    assert train_classifier(values, labels, seed=6, steps=20).digest != digests[0]


def test_global_generator_is_left_alone():
    values, labels = stripes(60, (6,))
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train_classifier(values, labels, seed=0, steps=3)
    random_features(values, seed=0)
    assert torch.equal(torch.rand(1), expected)


def test_bounds_clamp_values_and_features():
    values, _ = stripes(60, (1, 8, 8))
    network = random_features(values, seed=0, bounds=(-1.0, 1.0))
    wild, tame = network.describe(3 * values), network.describe((3 * values).clamp(-1, 1))
    assert torch.equal(wild.values, tame.values)
    assert torch.equal(wild.features, tame.features)


def test_random_features_see_beyond_two_moments():
    generator = torch.Generator().manual_seed(4)
    signs = torch.randn(600, 2, generator=generator).sign()
    gaussian = torch.randn(600, 2, generator=generator)
    network = random_features(signs, seed=0)
    assert "random" in network.description
    half = network.describe(signs[:300]).features, network.describe(signs[300:]).features
    apart = kernel_distance(network.describe(gaussian).features, half[0])
    floors = []
    for _ in range(20):
        order = torch.randperm(600, generator=generator)
        rows = torch.cat(half)[order]
        floors.append(kernel_distance(rows[:300], rows[300:]))
    floor = torch.tensor(floors)
    assert apart > floor.mean() + 5 * floor.std()


def test_saved_network_is_the_same(tmp_path):
    values, labels = stripes(60, (1, 8, 8))
    network = train_classifier(values, labels, seed=0, steps=5, bounds=(-1.0, 1.0))
    save_features(network, tmp_path / "features.safetensors")
    again = load_features(tmp_path / "features.safetensors")
    assert again.digest == network.digest
    assert (again.accuracy, again.description, again.bounds) == (network.accuracy, network.description, (-1, 1))
    assert torch.equal(again.describe(values).features, network.describe(values).features)
    assert [path.name for path in tmp_path.iterdir()] == ["features.safetensors"]


def test_constant_channels_do_no_harm():
    values = torch.cat([torch.ones(40, 1), torch.randn(40, 3, generator=torch.Generator().manual_seed(6))], dim=1)
    assert torch.isfinite(random_features(values, seed=0).describe(values + 1).features).all()


def test_refusals(tmp_path):
    values, labels = stripes(30, (1, 8, 8))
    with pytest.raises(InputError, match="at least 10 rows"):
        random_features(values[:5], seed=0)
    with pytest.raises(InputError, match="NaN"):
        random_features(torch.full((20, 3), torch.nan), seed=0)
    with pytest.raises(InputError, match="30 integers"):
        train_classifier(values, labels[:9], seed=0)
    with pytest.raises(InputError, match="random_features"):
        train_classifier(values, torch.zeros_like(labels), seed=0)
    with pytest.raises(InputError, match=r"shape \(1, 8, 8\)"):
        FeatureNetwork((1, 8, 8)).describe(torch.randn(4, 1, 9, 9))
    (tmp_path / "note.txt").write_text("hello")
    for name in ("note.txt", "missing"):
        with pytest.raises(InputError, match="no feature network"):
            load_features(tmp_path / name)

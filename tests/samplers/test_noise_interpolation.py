"""Between noises there is noise: lengths and laws."""

import math

import pytest
import torch
from scipy import stats
from thresholds import assert_distribution, assert_mean

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.samplers.noise_interpolation import METHODS, blend, interpolate, interpolation_grid

COUNT, WIDTH = 3000, 20


def ends(width=WIDTH, count=COUNT):
    return [Seeds.range(0, count).at(name).normal((width,), torch.float64) for name in ("first", "second")]


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.8])
def test_the_normalised_line_is_exactly_noise(weight):
    """Every element normal, the squared length chi-square, elements uncorrelated with one another."""
    between = interpolate(*ends(), weight, "normalised")
    assert_distribution(between[:, 0], stats.norm.cdf)
    assert_distribution(between.square().sum(1), stats.chi2(WIDTH).cdf)
    assert_mean(between[:, 0] * between[:, 1], 0.0, 1.0)


def test_the_plain_line_is_not():
    """So that the test above can fail."""
    first, second = ends()
    chance = stats.kstest(((first + second) / 2).square().sum(1), stats.chi2(WIDTH).cdf).pvalue
    assert chance < 1e-100


@pytest.mark.parametrize("weight", [0.25, 0.5])
def test_the_arc_keeps_directions_uniform_and_lengths_typical(weight):
    """The direction's elements follow the law on the sphere; the mean squared length is that of noise, less a little.

    E|z|^2 = d(s0^2 + s1^2) + 2 s0 s1 c E|z0|E|z1| for shares s of an arc with cosine c, for which the shares' own
    relation gives d - 2 s0 s1 c (d - (E|z0|)^2), where the last bracket is below 1/2: within 1/2 of d.
    """
    first, second = ends()
    arc = interpolate(first, second, weight)
    element = arc[:, 0] / arc.norm(dim=1)
    assert_distribution((1 + element) / 2, stats.beta((WIDTH - 1) / 2, (WIDTH - 1) / 2).cdf)
    squares = arc.square().sum(1)
    assert abs(squares.mean().item() - WIDTH) < 0.5 + 5 * squares.std().item() / COUNT**0.5
    lengths = torch.stack((first.norm(dim=1), second.norm(dim=1)))
    ratio = arc.norm(dim=1) / lengths.amax(0)
    assert ratio.max() <= 1 + 1e-9 or ratio.max() < 1.1


def test_the_arc_of_equal_lengths_is_a_circle():
    first, second = ((end / end.norm(dim=1, keepdim=True)) for end in ends(5, 40))
    for weight in (0.2, 0.7):
        arc = interpolate(first, second, weight)
        torch.testing.assert_close(arc.norm(dim=1), torch.ones(40, dtype=torch.float64))
        angle = torch.arccos((first * second).sum(1))
        torch.testing.assert_close(torch.arccos((first * arc).sum(1)), weight * angle)


@pytest.mark.parametrize("method", METHODS)
def test_ends_shapes_and_weights_of_each(method):
    first, second = (end.reshape(-1, 5, 4).float() for end in ends(count=6))
    torch.testing.assert_close(interpolate(first, second, 0.0, method), first)
    torch.testing.assert_close(interpolate(first, second, 1, method), second)
    weights = torch.linspace(0, 1, 6)
    each = interpolate(first, second, weights, method)
    assert each.dtype == torch.float32
    alone = torch.cat([interpolate(first[i : i + 1], second[i : i + 1], weights[i].item(), method) for i in range(6)])
    torch.testing.assert_close(each, alone)
    scaled = interpolate(80 * first, 80 * second, weights, method)
    torch.testing.assert_close(scaled, 80 * each)


def test_equal_and_nearly_equal_ends():
    end = ends(count=3)[0]
    assert torch.equal(interpolate(end, end, 0.3), 0.7 * end + 0.3 * end)
    near = end + 1e-9
    torch.testing.assert_close(interpolate(end, near, 0.5), end + 0.5e-9, rtol=0, atol=1e-14)
    with pytest.raises(InputError, match="opposite ends have no shortest arc"):
        interpolate(end, -2 * end, 0.5)


def test_blends_of_many_are_noise():
    anchors = torch.stack([Seeds.range(0, COUNT).at("anchor", place).normal((4,), torch.float64) for place in range(5)])
    weights = torch.tensor([[0.2, 0.3, 0.1, 0.2, 0.2], [1, 0, 0, 0, 0]])
    mixed = blend(anchors, weights)
    assert_distribution(mixed[0].square().sum(1), stats.chi2(4).cdf)
    torch.testing.assert_close(mixed[1], anchors[0])


@pytest.mark.parametrize("method", METHODS)
def test_a_sheet_has_its_corners(method):
    corners = Seeds.range(0, 4).normal((3, 2), torch.float64)
    sheet = interpolation_grid(corners, 3, 5, method)
    assert sheet.shape == (3, 5, 3, 2)
    found = torch.stack((sheet[0, 0], sheet[0, -1], sheet[-1, 0], sheet[-1, -1]))
    torch.testing.assert_close(found, corners)
    edge = interpolate(corners[:1], corners[1:2], 0.25, method)[0]
    torch.testing.assert_close(sheet[0, 1], edge)
    assert math.isfinite(sheet.sum().item())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: interpolate(z, z[:2], 0.5), r"one shape; seen \(3, 2\) and \(2, 2\)"),
        (lambda z: interpolate(z, z, torch.zeros(2)), r"one number, or 3, one a sample; seen shape \(2,\)"),
        (lambda z: interpolate(z, z, 0.5, "sperical"), "did you mean 'spherical'"),
        (lambda z: blend(z, torch.ones(2, 2)), r"shape \(n, 3\), a column an anchor; seen \(2, 2\)"),
        (lambda z: blend(z, torch.zeros(2, 3)), "needs one that is not zero"),
        (lambda z: interpolation_grid(z, 3, 3), "4 corners and at least 2 rows and columns; seen 3 corners"),
        (lambda z: interpolation_grid(z[[0, 1, 2, 0]], 3, 3, "line"), "unknown method of interpolation 'line'"),
    ],
)
def test_wrong_requests_are_answered(call, message):
    with pytest.raises(InputError, match=message):
        call(Seeds.range(0, 3).normal((2,)))

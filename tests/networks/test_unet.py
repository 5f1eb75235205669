"""What is the U-Net's own."""

import pytest
import torch

from unstir.core.errors import InputError
from unstir.networks.layers import groups_of
from unstir.networks.unet import UNet


def make(shape: tuple[int, ...], **options: object) -> UNet:
    torch.manual_seed(3)
    network = UNet(shape, **{"widths": [8, 16], "blocks": 1, "embedding": 16, **options})
    for parameter in network.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return network.double().eval()


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.mark.parametrize("normalisation", ["group", "rms", "layer", "none"])
@pytest.mark.parametrize("placement", ["pre", "post", "none"])
def test_normalisation_and_placement_are_options_that_act(normalisation: str, placement: str) -> None:
    x, noise = draw(2, 1, 8, 8), torch.zeros(2)
    output = make((1, 8, 8), normalisation=normalisation, placement=placement)(x, noise)
    assert output.isfinite().all()
    if "none" in (normalisation, placement) and placement != "post":
        assert torch.equal(output, make((1, 8, 8), normalisation="none", placement="pre")(x, noise))
    elif normalisation != "none":
        assert not torch.allclose(output, make((1, 8, 8), normalisation="none", placement=placement)(x, noise))
    other = "post" if placement == "pre" else "pre"
    assert not torch.allclose(output, make((1, 8, 8), normalisation="layer", placement=other)(x, noise))


@pytest.mark.parametrize("size", [(1,), (2,), (13,), (7, 9), (1, 8), (3, 5, 2)])
@pytest.mark.parametrize("patch", [1, 2, 3])
def test_any_size_is_served(size: tuple[int, ...], patch: int) -> None:
    x = draw(2, 2, *size)
    built_for = tuple(12 for _ in size)
    assert make((2, *built_for), patch=patch)(x, torch.zeros(2)).shape == x.shape


@pytest.mark.parametrize("patch", [1, 2])
def test_inside_a_large_picture_it_commutes_with_translations(patch: int) -> None:
    """By multiples of the coarsest cell, and away from the border by more than the reach of the convolutions."""
    network, stride = make((1, 96), patch=patch), 2 * patch
    # 2 cells of the stem and head, 2 blocks of 2 at the fine level, 1 of 2 at the coarse one
    reach = 6 * patch + 2 * stride + stride
    x = draw(1, 1, 96)
    moved = torch.roll(x, stride, dims=2)
    inside = slice(reach + stride, 96 - reach - stride)
    output, after = network(x, torch.zeros(1)), network(moved, torch.zeros(1))
    expected = torch.roll(output, stride, dims=2)
    torch.testing.assert_close(after[..., inside], expected[..., inside], rtol=0, atol=1e-12)
    assert not torch.allclose(after, output)


def test_one_code_path_a_constant_axis_reduces_two_dimensions_to_one() -> None:
    """Kernels that live on their middle row act on each row of a picture as in one dimension."""
    flat, tall = make((1, 16), widths=[8]), make((1, 4, 16), widths=[8])
    state = tall.state_dict()
    for key, value in flat.state_dict().items():
        if value.shape == state[key].shape:
            state[key] = value
        else:
            state[key] = torch.zeros_like(state[key])
            state[key][:, :, state[key].shape[2] // 2] = value
    tall.load_state_dict(state)
    x, noise = draw(2, 1, 4, 16), torch.zeros(2)
    rows = torch.stack([flat(x[:, :, row], noise) for row in range(4)], dim=2)
    torch.testing.assert_close(tall(x, noise), rows, rtol=1e-12, atol=1e-12)


def test_the_number_of_blocks_may_differ_by_level() -> None:
    network = make((1, 8, 8), blocks=[1, 3])
    assert [len(stage.layers) for stage in network.encoder] == [1, 3]
    assert [len(stage.layers) for stage in network.decoder] == [1]


@pytest.mark.parametrize("channels", [1, 3, 4, 30, 32, 36, 64, 96, 100, 192])
def test_groups_divide_the_channels(channels: int) -> None:
    groups = groups_of(channels)
    assert channels % groups == 0
    assert groups <= 32
    assert groups == 1 or channels // groups >= 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": []}, "at least one level"),
        ({"widths": [8, 0]}, "positive whole number"),
        ({"blocks": [1]}, "blocks has 1 entries for the 2 levels"),
        ({"blocks": 0}, "blocks"),
        ({"attention": [2]}, "attention names level 2; the levels are 0 to 1"),
        ({"attention": [1], "head_width": 5}, "multiple of head_width"),
        ({"kernel": 4}, "kernel must be odd"),
        ({"patch": 0}, "patch"),
        ({"placement": "before"}, "unknown placement"),
        ({"widths": [8, 8, 8, 8, 8]}, "shrink 16-fold"),
    ],
)
def test_wrong_options_are_answered(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        UNet((1, 8, 8), **{"widths": [8, 16], **options})


@pytest.mark.parametrize("shape", [(3,), (1, 2, 2, 2, 2)])
def test_dimensions_beyond_three_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="one to three sizes"):
        UNet(shape)


@pytest.mark.parametrize(
    ("size", "periodic"),
    [((16,), (0,)), ((8, 12), (1,)), ((8, 12), (0, 1)), ((7, 12), (1,)), ((4, 5, 8), (0, 2))],
    ids=str,
)
@pytest.mark.parametrize("patch", [1, 2])
def test_shifts_along_periodic_axes_are_kept(size: tuple[int, ...], periodic: tuple[int, ...], patch: int) -> None:
    """By multiples of the stride, with levels, attention, a wide kernel and a mapped condition; not so without it."""
    size = tuple(length * patch if axis in periodic else length for axis, length in enumerate(size))
    options = {"patch": patch, "kernel": 5, "attention": [1], "head_width": 4, "conditions": {"map": {"channels": 1}}}
    network, plain = make((2, *size), periodic=periodic, **options), make((2, *size), **options)
    assert network.stride == 2 * patch
    x, told, noise = draw(2, 2, *size), draw(2, 1, *size), torch.zeros(2)
    output = network(x, noise, map=told).detach()
    axes = [axis + 2 for axis in periodic]
    shifts = [network.stride * (number + 1) for number in range(len(axes))]

    def gap(tried: UNet) -> float:
        after = tried(torch.roll(x, shifts, axes), noise, map=torch.roll(told, shifts, axes))
        return float((after - torch.roll(tried(x, noise, map=told), shifts, axes)).detach().abs().max())

    assert gap(network) < 1e-10 * float(output.abs().max())
    assert gap(plain) > 1e-3 * float(output.abs().max())
    assert {key: value.shape for key, value in network.state_dict().items()} == {
        key: value.shape for key, value in plain.state_dict().items()
    }


def test_the_other_axes_see_zeros_beyond_their_ends_as_without_periodic_ones() -> None:
    """Far from the seam both networks are the same, where their reach is short of it."""
    network, plain = make((1, 4, 32), widths=[8], periodic=[1]), make((1, 4, 32), widths=[8])
    x, noise = draw(1, 1, 4, 32), torch.zeros(1)
    inside = slice(8, 24)
    output, expected = network(x, noise), plain(x, noise)
    torch.testing.assert_close(output[..., inside], expected[..., inside], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(output[..., :2], expected[..., :2])


def test_a_reach_of_more_than_one_turn_goes_round() -> None:
    """On a ring of 2 places a kernel of 7 sees what it sees on the same pattern, four times in a row."""
    small, large = (make((1, length), widths=[8], kernel=7, periodic=[0]) for length in (2, 8))
    x, noise = draw(1, 1, 2), torch.zeros(1)
    torch.testing.assert_close(small(x, noise).repeat(1, 1, 4), large(x.repeat(1, 1, 4), noise))


def test_periodic_axes_that_do_not_fit_are_answered() -> None:
    with pytest.raises(InputError, match="no multiple of 4"):
        make((1, 8, 10), patch=2, periodic=[1])
    with pytest.raises(InputError, match="axis 0 of space is periodic and has 7 places"):
        make((1, 8), periodic=[0])(draw(1, 1, 7), torch.zeros(1))
    for wrong in ([2], [-1], [0, 0], [True]):
        with pytest.raises(InputError, match="periodic names axes of space"):
            make((1, 8, 8), periodic=wrong)
    assert make((1, 7, 8), periodic=[1])(draw(1, 1, 9, 8), torch.zeros(1)).shape == (1, 1, 9, 8)


@pytest.mark.parametrize("outputs", [1, 2])
def test_places_without_a_value_come_in_and_go_out_as_zero(outputs: int) -> None:
    network, x = make((2, 6, 5), outputs=outputs), draw(3, 2, 6, 5)
    mask = draw(4, 2, 6, 5)[1:] > -0.5
    hidden = torch.where(mask, x, torch.nan)
    output = network(hidden, torch.zeros(3), mask=mask)
    assert torch.equal(output, network(torch.where(mask, x, 7.0), torch.zeros(3), mask=mask))
    for part in output.chunk(outputs, 1):
        assert not part[~mask].any() and bool(part[mask].all())
    assert not torch.equal(output, network(torch.where(mask, x, 7.0), torch.zeros(3)))
    whole = torch.ones_like(mask)
    assert torch.equal(network(x, torch.zeros(3), mask=whole), network(x, torch.zeros(3)))
    with pytest.raises(InputError, match=r"mask must be boolean of the state's shape \(3, 2, 6, 5\)"):
        network(x, torch.zeros(3), mask=mask[:, 0])
    with pytest.raises(InputError, match="mask must be boolean"):
        network(x, torch.zeros(3), mask=mask.double())

"""What is the transformer's own: sets, sequences, masks and patches."""

import pytest
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.networks.layers import depth_to_space, space_to_depth
from unstir.networks.transformer import DiffusionTransformer

BATCH, ELEMENTS, FEATURES = 3, 6, 4


def make(tokens: str, shape: tuple[int, ...] = (ELEMENTS, FEATURES), **options: object) -> DiffusionTransformer:
    torch.manual_seed(3)
    given = {"image": {"channels": 2}}
    network = DiffusionTransformer(
        shape, given, tokens=tokens, width=16, depth=2, head_width=8, embedding=16, **options
    )
    for parameter in network.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return network.double().eval()


@pytest.fixture
def elements() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(BATCH, ELEMENTS, FEATURES, generator=generator, dtype=torch.float64)
    told = torch.randn(BATCH, ELEMENTS, 2, generator=generator, dtype=torch.float64)
    mask = torch.arange(ELEMENTS) < torch.tensor([6, 4, 1])[:, None]
    return x, torch.linspace(-1, 1, BATCH), told, mask


def test_a_set_commutes_with_permutations_and_a_sequence_does_not(elements: tuple[Tensor, ...]) -> None:
    x, noise, told, mask = elements
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    for tokens in ("set", "sequence"):
        network = make(tokens)
        before = network(x, noise, mask=mask, image=told)[:, order]
        after = network(x[:, order], noise, mask=mask[:, order], image=told[:, order])
        assert torch.allclose(before, after, rtol=1e-10, atol=1e-12) == (tokens == "set")


@pytest.mark.parametrize("tokens", ["set", "sequence"])
def test_padded_places_influence_nothing_and_come_out_as_zero(tokens: str, elements: tuple[Tensor, ...]) -> None:
    x, noise, told, mask = elements
    network = make(tokens)
    output = network(x, noise, mask=mask, image=told)
    other = torch.where(mask[..., None], x, 100.0)
    assert torch.equal(output, network(other, noise, mask=mask, image=told))
    assert not output[~mask].any()
    for sample, count in enumerate([6, 4, 1]):  # and the shorter set gives the same alone
        one = slice(sample, sample + 1)
        alone = network(x[one, :count], noise[one], image=told[one, :count])
        torch.testing.assert_close(output[one, :count], alone, rtol=1e-10, atol=1e-12)


def test_an_empty_set_stays_finite(elements: tuple[Tensor, ...]) -> None:
    x, noise, _, mask = elements
    mask = mask.clone()
    mask[0] = False
    output = make("set")(x.requires_grad_(), noise, mask=mask)
    output.sum().backward()
    assert not output[0].any()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_a_set_may_have_more_elements_than_it_was_built_for_and_a_sequence_fewer(elements: tuple[Tensor, ...]) -> None:
    x, noise, _, _ = elements
    longer = torch.cat((x, x), dim=1)
    assert make("set")(longer, noise).shape == longer.shape
    assert make("sequence")(x[:, :3], noise).shape == (BATCH, 3, FEATURES)
    with pytest.raises(InputError, match="samples of shape"):
        make("sequence")(longer, noise)


@pytest.mark.parametrize("shape", [(2, 5), (1, 8, 6), (3, 4, 2, 6)])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_folding_space_into_channels_is_undone_exactly(shape: tuple[int, ...], factor: int) -> None:
    x = torch.randn(2, shape[0], *(size * factor for size in shape[1:]))
    folded = space_to_depth(x, factor)
    assert folded.shape == (2, shape[0] * factor ** (len(shape) - 1), *shape[1:])
    assert torch.equal(depth_to_space(folded, factor), x)


def test_folding_agrees_with_torch_in_two_dimensions() -> None:
    x = torch.randn(2, 3, 4, 6)
    theirs = torch.nn.functional.pixel_unshuffle(x, 2).unflatten(1, (3, 4))
    assert torch.equal(space_to_depth(x, 2).unflatten(1, (4, 3)), theirs.transpose(1, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": "sets"}, "did you mean 'set'"),
        ({"tokens": "set", "shape": (1, 8, 8)}, r"\(elements, features\)"),
        ({"head_width": 7}, "multiple of head_width"),
        ({"normalisation": "group"}, "would mix the tokens"),
        ({"patch": 0}, "patch"),
        ({"depth": 0}, "depth"),
    ],
)
def test_wrong_options_are_answered(options: dict, message: str) -> None:
    shape = options.pop("shape") if "shape" in options else (1, 8, 8)
    with pytest.raises(InputError, match=message):
        DiffusionTransformer(shape, **options)


def test_wrong_masks_are_answered(elements: tuple[Tensor, ...]) -> None:
    x, noise, _, mask = elements
    with pytest.raises(InputError, match="mask must be boolean"):
        make("set")(x, noise, mask=mask.double())
    with pytest.raises(InputError, match="mask must be boolean"):
        make("set")(x, noise, mask=mask[:, :5])
    pictures = make("patches", (1, 8, 8))
    with pytest.raises(InputError, match="a mask belongs to"):
        pictures(torch.zeros(3, 1, 8, 8), noise, mask=mask)

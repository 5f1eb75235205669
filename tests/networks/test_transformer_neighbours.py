"""A transformer's options for sequences of tokens: neighbours seen at once, and a stem for one-hot codes."""

import pytest
import torch

from unstir.core.errors import InputError
from unstir.networks.transformer import DiffusionTransformer
from unstir.verification.references import stirred


def network(**options):
    torch.manual_seed(0)
    return DiffusionTransformer(
        (12, 5), tokens="sequence", width=16, depth=1, head_width=8, embedding=8, **options
    ).double()


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_the_neighbourhood_reaches_as_far_as_it_says(neighbours):
    block = network(neighbours=neighbours).blocks[0]
    x = torch.randn(1, 12, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    changed = x.clone()
    changed[:, 6] += 1
    told = torch.zeros(1, 8, dtype=torch.float64)  # a fresh block's other branches are closed
    moved = (block(changed, told, None) - block(x, told, None)).abs().amax((0, 2)) > 1e-12
    assert moved.nonzero().flatten().tolist() == list(range(6 - neighbours // 2, 7 + neighbours // 2))


def test_padded_places_influence_no_other():
    own = stirred(network(neighbours=5))
    x = torch.randn(2, 12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mask = torch.arange(12) < torch.tensor([[7], [12]])
    noise = torch.zeros(2, dtype=torch.float64)
    other = torch.where(mask[..., None], x, 9.0)
    assert torch.equal(own(x, noise, mask=mask), own(other, noise, mask=mask))
    assert not own(x, noise, mask=mask)[0, 7:].any()


def test_without_the_options_the_weights_are_what_they_were():
    plain, same = network(), network(neighbours=0, stem_scale=1.0)
    assert all(torch.equal(one, other) for one, other in zip(plain.parameters(), same.parameters(), strict=True))
    assert torch.equal(network(stem_scale=2.0).stem.weight, 2 * plain.stem.weight)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"neighbours": 4}, "0, or odd"),
        ({"neighbours": -1}, "positive whole number"),
        ({"neighbours": 3, "tokens": "set"}, "with 'set'"),
        ({"stem_scale": 0.0}, "must be positive"),
    ],
)
def test_useless_options_are_answered(options, said):
    with pytest.raises(InputError, match=said):
        DiffusionTransformer((12, 5), **{"tokens": "sequence", "width": 32, "depth": 1, **options})

"""What is the perceptron's own."""

import pytest
import torch

from unstir.core.errors import InputError
from unstir.networks.mlp import MLP


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("shape", [(5,), (2, 4)])
def test_places_without_a_value_come_in_and_go_out_as_zero(shape: tuple[int, ...], outputs: int) -> None:
    torch.manual_seed(2)
    network = MLP(shape, width=16, depth=1, embedding=8, outputs=outputs).double()
    for parameter in network.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    mask, noise = torch.rand(3, *shape, generator=generator) > 0.4, torch.zeros(3)
    assert mask.any() and not mask.all()
    output = network(torch.where(mask, x, torch.nan), noise, mask=mask)
    assert torch.equal(output, network(torch.where(mask, x, 7.0), noise, mask=mask))
    for part in output.chunk(outputs, 1):
        assert not part[~mask].any() and bool(part[mask].all())
    assert torch.equal(network(x, noise, mask=torch.ones_like(mask)), network(x, noise))
    with pytest.raises(InputError, match="mask must be boolean of the state's shape"):
        network(x, noise, mask=mask[:, :1])

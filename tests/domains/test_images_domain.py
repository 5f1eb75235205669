"""The domain as the catalogue has it, and the network that it proposes."""

import json

import numpy as np
import pytest
import torch

from unstir.core.catalogue import build, entries, find
from unstir.domains.base import Domain
from unstir.domains.images import images
from unstir.domains.images.data import ImageData
from unstir.formats.base import Samples


def test_every_domain_is_found_under_its_own_name():
    assert "images" in entries("domains")
    for name, entry in entries("domains").items():
        domain = entry.load()
        assert isinstance(domain, Domain) and domain.name == name and domain.summary and entry.summary
    assert find("domains", "images").load() is images


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 13, 16), (3, 28, 28), (3, 32, 32), (1, 64, 48), (3, 128, 128)])
def test_the_proposed_network_is_made_and_takes_the_pictures(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (3, *shape)).astype(np.uint8)
    data = ImageData(Samples(pixels, "here", np.arange(3)), layout="chw")
    specification = images.network(data)
    assert json.loads(json.dumps(specification)) == specification
    network = build("networks", specification, shape=shape, conditions=data.conditions)
    with torch.no_grad():
        out = network(torch.zeros(1, *shape), torch.zeros(1), label=torch.zeros(1, dtype=torch.int64))
    assert out.shape == (1, *shape)
    # the work sits at 32 by 32 or below
    assert -(-max(shape[1:]) // specification["patch"]) <= 32

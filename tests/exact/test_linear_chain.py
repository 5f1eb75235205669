"""The linear chain: bad input, its draws, and the data set made of it."""

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.climate.made.linear_chain import chain_of, linear_chain_dataset
from unstir.exact.kalman import LinearChain
from unstir.exact.linear_chain import LinearChainDenoiser, trajectory_moments
from unstir.processes.gaussian import GaussianProcess
from unstir.verification.statistics import FALSE_ALARM, mean_is


def test_bad_chains_are_refused():
    with pytest.raises(InputError, match="settles"):
        LinearChain.stationary([[1.0]], [0.0], [[1.0]])
    with pytest.raises(InputError, match="covariance"):
        LinearChain([[0.5]], [0.0], [[-1.0]], [0.0], [[1.0]])
    with pytest.raises(InputError, match="seen"):
        LinearChain([[0.5]], [0.0, 1.0], [[1.0]], [0.0], [[1.0]])
    chain = LinearChain.stationary([[0.5]], [0.0], [[1.0]])
    with pytest.raises(InputError, match="1 time"):
        LinearChainDenoiser(chain, 0, GaussianProcess())
    with pytest.raises(InputError, match="scale"):
        LinearChainDenoiser(chain, 2, GaussianProcess(), scale=0.0)


def test_draws_have_the_moments_of_the_trajectory():
    chain = LinearChain([[0.9, -0.3], [0.2, 0.7]], [0.1, -0.2], [[0.3, 0.1], [0.1, 0.2]], [1.0, 0.0], torch.eye(2))
    means, joint = trajectory_moments(chain, 4)
    away = (chain.draw(4, Seeds.range(0, 4000)) - means).flatten(1)
    root = torch.linalg.cholesky(joint.reshape(8, 8))
    white = torch.linalg.solve_triangular(root, away.T, upper=False).T
    assert mean_is("white", white.numpy(), 0.0, 1.0).value > FALSE_ALARM
    pairs = torch.einsum("ni,nj->nij", white, white) - torch.eye(8)
    assert mean_is("products", pairs.numpy(), 0.0, (1 + torch.eye(8).numpy()) ** 0.5).value > FALSE_ALARM


def test_the_data_set_tells_its_chain():
    made = linear_chain_dataset(count=50, memory=0.8, mean=3.0, seed=4)
    chain = chain_of(made.attrs)
    assert float(torch.linalg.eigvals(chain.transition).abs().max()) == pytest.approx(0.8)
    assert chain.mean.tolist() == pytest.approx([3.0, 0.0])
    assert made["u"].identical(linear_chain_dataset(count=50, memory=0.8, mean=3.0, seed=4)["u"])
    with pytest.raises(InputError, match="no linear chain"):
        chain_of({})
    with pytest.raises(InputError, match="memory"):
        linear_chain_dataset(memory=1.0)
    with pytest.raises(InputError, match="count"):
        linear_chain_dataset(count=1)

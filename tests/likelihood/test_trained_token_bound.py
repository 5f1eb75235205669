"""A small transformer, trained on a law whose entropy is known: its bound comes near to it."""

import math

import pytest
import torch

from unstir.core.catalogue import build
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.tokens import TokensDenoiser
from unstir.exact.categorical import TokenChainDenoiser
from unstir.likelihood.token_bound import token_bound
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.schedules.log_linear import LogLinearSchedule
from unstir.training.loop import train

LENGTH = 16
STEPS = [[0.7, 0.2, 0.1, 0.0], [0.05, 0.05, 0.8, 0.1], [0.3, 0.1, 0.2, 0.4], [0.25, 0.25, 0.25, 0.25]]
CHAIN = TokenChainDenoiser([0.25] * 4, STEPS, CategoricalProcess(4, LogLinearSchedule(), rates="absorbing"), LENGTH)


class _Sequences:
    name, shape, conditions, digest = "sequences of a Markov chain", (LENGTH,), {}, "0" * 64

    def __len__(self):
        return 2**20

    def batch(self, rows, seeds=None):
        return CHAIN.draw(Seeds(11, torch.as_tensor(rows))), {}


def entropy():
    """Of a whole sequence in nats: that of the first token, and of each step at the law it is taken from."""
    steps = torch.tensor(STEPS, dtype=torch.float64)
    law, total = torch.full((4,), 0.25, dtype=torch.float64), math.log(4)
    for _ in range(LENGTH - 1):
        total += (law * torch.special.entr(steps).sum(1)).sum().item()
        law = law @ steps
    return total


@pytest.mark.slow
def test_a_trained_transformer_s_bound_is_within_two_per_cent_of_the_entropy(tmp_path):
    denoiser = TokensDenoiser(None, CHAIN.process)
    shape, outputs = denoiser.network_size((LENGTH,))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"name": "diffusion-transformer", "tokens": "sequence", "width": 64, "depth": 3, "head_width": 16}
        denoiser.network = build("networks", options, shape=shape, outputs=outputs)
    options = {
        "steps": 2500, "batch": 64, "learning_rate": {"name": "cosine", "peak": 3e-3, "warm_up": 100},
        "weighting": {"name": "masked-likelihood"}, "noise_levels": {"name": "uniform", "first": 0.001, "last": 1.0},
    }  # fmt: skip
    train(denoiser, _Sequences(), options, tmp_path, progress=False)
    text = CHAIN.draw(Seeds.range(12, 4096))
    bound = token_bound(denoiser, text, Seeds.range(13, 4096), levels=16)
    exact = -CHAIN.log_density(text, 0.0)  # of the same sequences, so that their own chance drops out
    excess = (bound.total - exact).mean().item() / entropy()
    error = bound.mean_standard_error / entropy()
    print(f"bound above the entropy by {100 * excess:.2f} ± {100 * error:.2f} %")
    assert -5 * error < excess < 0.02 + 5 * error
    assert error < 0.004

"""The benchmark of posterior samplers in miniature: its belief, its posterior, its distance, its tables."""

import math
import re

import pytest
import torch
from benchmarks.peers_posteriors import PEERS, peer_methods
from benchmarks.posterior_cases import PROBLEMS, distance, grid_of_modes, ring
from benchmarks.posterior_samplers import measure

from unstir.core.seeds import Seeds


@pytest.mark.parametrize("make", [ring, lambda: grid_of_modes(8, 2, 5, 64)], ids=["ring", "grid"])
def test_every_library_is_handed_the_exact_belief(make):
    problem = make()
    for sigma in (0.01, 0.3, 20.0):
        y = problem.law.draw(Seeds.range(3, 40)) + sigma * Seeds.range(4, 40).normal((problem.dimension,))
        exact = problem.law.belief(y.double(), 1.0, sigma).mean
        assert torch.allclose(problem.denoise(y.double(), sigma), exact, atol=1e-9)


def test_data_has_unit_deviation():
    for name in ("ring", "8", "80"):
        drawn = PROBLEMS[name]().law.draw(Seeds.range(0, 4000)).double()
        assert drawn.square().mean().sqrt().item() == pytest.approx(1.0, abs=0.06), name


def test_the_posterior_is_the_prior_weighted_by_the_likelihood():
    problem = ring()
    prior = problem.law.draw(Seeds.range(1, 200_000)).double()
    weights = problem.measurement.log_likelihood(prior).softmax(0)
    drawn = problem.posterior.draw(Seeds.range(2, 50_000)).double()
    effective = 1 / weights.square().sum().item()
    for function in (lambda x: x[:, 1], lambda x: x[:, 0] * x[:, 1], lambda x: x[:, 1] ** 2):
        spread = function(drawn).std().item() * math.sqrt(1 / len(drawn) + 1 / effective)
        assert abs((weights * function(prior)).sum().item() - function(drawn).mean().item()) < 5 * spread


def test_distance_of_a_shift():
    first = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    # along a direction at the angle a to a shift of one, all are |cos a| apart, on average 2/pi
    shifted = distance(first, first + torch.tensor([1.0, 0.0]))
    assert distance(first, first) == 0
    assert shifted == pytest.approx(2 / math.pi, abs=5 * 0.308 / math.sqrt(200))


def test_table_tells_the_exact_sampler_from_the_prior():
    problem = grid_of_modes(8, 1, 6, 4096)
    methods = {
        "exact": lambda problem, count, calls: problem.posterior.draw(Seeds.range(50, count)).double(),
        "prior, strength 2": lambda problem, count, calls: problem.law.draw(Seeds.range(51, count)).double(),
    }
    page = measure(problem, {"ours": methods}, quick=True)
    rows = [line for line in page if line.startswith("| ") and "ours" in line]
    exact, prior = (float(re.search(r"\*\*(.*)\*\*", row).group(1)) for row in rows)
    floor = float(re.search(r"are ([\d.]+) ±", page[2]).group(1))
    assert rows[0].startswith("| exact") and rows[1].startswith("| prior | ours")
    assert exact < 3 * floor < prior


@pytest.mark.parametrize("library", PEERS)
def test_peers_run_where_they_are_installed(library):
    try:
        methods = peer_methods(library)
    except ImportError:
        pytest.skip(f"{library} is not installed")
    problem = grid_of_modes(8, 1, 6, 32)
    for name, draw in methods.items():
        assert draw(problem, 32, 5).shape == (32, 8), name

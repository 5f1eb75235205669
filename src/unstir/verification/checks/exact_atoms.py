"""Claims of exact laws on finitely many points: they are the limits of laws that other files compute otherwise."""

import itertools
from collections.abc import Iterator
from typing import Any

import torch

from unstir.exact.atoms import AtomsDenoiser
from unstir.exact.categorical import TokenChainDenoiser
from unstir.exact.empirical import EmpiricalDenoiser
from unstir.exact.wrapped import WrappedMixtureDenoiser
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most

__all__ = ["atoms_agree_with_other_laws"]


@claim("exact", "atoms")
def atoms_agree_with_other_laws(law: Any, effort: Effort) -> Iterator[Measured]:
    """With all sequences for atoms it is a Markov chain's law; with vectors the empirical one; on the torus points."""
    for name, (atoms, other, mean) in _pairs().items():
        worst, means = 0.0, 0.0
        for t in (0.2, 0.5, 0.9):
            time = torch.tensor(t, dtype=torch.float64)
            xt = other.draw(effort.seeds(200, name, str(t)), time)
            away = (atoms.log_density(xt, time) - other.log_density(xt, time)).abs().max()
            worst = max(worst, away.item())
            means = max(means, (mean(atoms(xt, time).mean) - other(xt, time).mean).abs().max().item())
        yield at_most(f"{name}: log-density, largest difference in nats", worst, 1e-9)
        yield at_most(f"{name}: mean of the belief, largest difference", means, 1e-9)


def _pairs() -> dict[str, tuple[Any, Any, Any]]:
    tokens, steps = CategoricalProcess(3), [[0.8, 0.2, 0.0], [0.1, 0.6, 0.3], [0.5, 0.0, 0.5]]
    chain = TokenChainDenoiser([0.5, 0.3, 0.2], steps, tokens, 3)
    sequences = torch.tensor(list(itertools.product(range(3), repeat=3)))
    weights = chain.log_density(sequences, 0.0).exp()
    plane = GaussianProcess()
    places = plane.example_data(6)
    torus = WrappedProcess(ExponentialVESchedule(0.01, 2.0))
    angles = torus.example_data(5)
    points = WrappedMixtureDenoiser([0.2] * 5, angles, 0.0, torus)

    def turned(features: torch.Tensor) -> torch.Tensor:
        """The direction that mean cosines and sines point to, in periods."""
        return torch.remainder(torch.atan2(features[..., 1], features[..., 0]) / (2 * torch.pi), 1.0)

    return {
        "tokens": (AtomsDenoiser(tokens, sequences[weights > 0], weights[weights > 0]), chain, lambda mean: mean),
        "vectors": (AtomsDenoiser(plane, places), EmpiricalDenoiser(places, plane), lambda mean: mean[..., 0]),
        "angles": (AtomsDenoiser(torus, angles), points, turned),
    }

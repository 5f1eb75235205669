"""Lorenz's models: bad input, one path alone and among others, and checks that tell a broken model."""

import numpy as np
import pytest
import torch
from mutants import is_caught

from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds
from unstir.physics.lorenz import Lorenz63, Lorenz96, TwoScaleLorenz96
from unstir.verification.checks.lorenz import (
    lorenz_63_shrinks_and_mirrors,
    lorenz_order_four,
    lorenz_rings_keep_energy,
)

MODELS = [Lorenz63(), Lorenz63(noise=0.5), Lorenz96(), TwoScaleLorenz96(4, 3, noise=0.2)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_a_path_is_the_same_alone_and_beside_others(model):
    seeds = Seeds.range(3, 4)
    x0, times = model.start(seeds), [0.0, 0.1, 0.35]
    whole = model.simulate(x0, times, seeds, step=0.005)
    alone = model.simulate(x0[2:3], times, Seeds(3, seeds.samples[2:3]), step=0.005)
    assert torch.equal(whole[2:3], alone)
    assert whole.shape == (4, 3, model.size)


def test_steps_are_differentiable():
    model = Lorenz96(6)
    x = model.start(Seeds.range(0, 1)).requires_grad_()
    (slope,) = torch.autograd.grad(model.step(x, 0.01)[0, 0], x)
    away = torch.zeros_like(x)
    away[0, 1] = 1e-6
    with torch.no_grad():
        wanted = (model.step(x + away, 0.01) - model.step(x - away, 0.01))[0, 0] / 2e-6
    assert float(slope[0, 1] - wanted) == pytest.approx(0, abs=1e-8)


def test_bad_input_is_refused():
    for bad in (
        lambda: Lorenz63(sigma=0),
        lambda: Lorenz96(3),
        lambda: Lorenz96(noise=-1),
        lambda: TwoScaleLorenz96(fast=0),
    ):
        with pytest.raises(InputError):
            bad()
    model, x0 = Lorenz63(), torch.zeros(2, 3)
    with pytest.raises(InputError, match="rise"):
        model.simulate(x0, [1.0, 0.0])
    with pytest.raises(InputError, match="shape"):
        model.simulate(x0[:, :2], [0.0, 1.0])
    with pytest.raises(InputError, match="step"):
        model.simulate(x0, [0.0, 1.0], step=0.0)
    with pytest.raises(InputError, match="seeds"):
        Lorenz63(noise=1.0).simulate(x0, [0.0, 1.0])
    with pytest.raises(NonFiniteError, match="shorter step"):
        Lorenz96().simulate(np.full((1, 40), 1e4) * np.arange(40), [0.0, 5.0], step=0.5)


class FirstOrder(Lorenz96):
    def step(self, x, dt):
        return x + dt * self.tendency(x)


class Leaking(Lorenz96):
    def tendency(self, x):
        return super().tendency(x) + 1e-6 * x


class Askew(Lorenz63):
    def _rates(self, x, y, z):
        return self.sigma * (y - x), x * (self.rho - z) - y, x * y - self.beta * z + 1e-3 * x


def test_broken_models_are_caught():
    assert is_caught(lorenz_order_four, None, FirstOrder)
    assert is_caught(lorenz_rings_keep_energy, Lorenz96, Leaking)
    assert is_caught(lorenz_63_shrinks_and_mirrors, Lorenz63, Askew)

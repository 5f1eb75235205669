"""Coverage of the exact method on five hundred problems: some minutes, and so among the slow tests."""

import math

import pytest
import torch

from unstir.exact.mixture import MixtureDenoiser
from unstir.inverse.calibration import calibrate_posterior, densest
from unstir.inverse.methods.twisted import TwistedMethod
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.matrix import MatrixOperator
from unstir.processes.gaussian import GaussianProcess

LEVELS = (0.5, 0.8, 0.95)


@pytest.mark.slow
def test_twisted_covers_what_it_should_on_five_hundred_problems():
    places = [[math.cos(turn * math.pi / 4), math.sin(turn * math.pi / 4)] for turn in range(8)]
    law = MixtureDenoiser(torch.arange(1.0, 9.0), places, [0.02] * 8, GaussianProcess())
    found = calibrate_posterior(
        law,
        law.draw,
        MatrixOperator((2,), [[1.0, 0.0]]),
        GaussianNoise(0.1),
        TwistedMethod(particles=512),
        500,
        119,
        sets={"densest": densest(law)},
        steps=100,
        dtype=torch.float64,
    )
    print(f"\n{found.verdict}; spread over error {found.spread_to_error:.3f}")
    for name in ("elements", "element 0", "element 1", *found.sets):
        for level in LEVELS:
            covered = found.coverage(name, level)
            print(f"{name}: {covered.measured:.3f} ± {covered.error:.3f} of the {level:.0%} sets")
            # eighteen figures: five standard errors of each
            assert abs(covered.measured - covered.nominal) < 5 * math.sqrt(level * (1 - level) / 500)
    assert found.p_value > 1e-6

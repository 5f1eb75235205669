"""Laws of pairs in closed form: against other people's closed forms, and what a coupling does to a flow."""

import math
from dataclasses import replace

import numpy as np
import ot
import pytest
import torch
from mutants import is_caught

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.exact.pairs import PairMixtureDenoiser
from unstir.exact.transport import schrodinger_coupling, transport_cost
from unstir.processes.bridge import BridgeProcess
from unstir.samplers.base import sample
from unstir.verification.checks import bridges
from unstir.verification.references import PointDenoiser

FIRST = torch.tensor([[0.8, 0.3], [0.3, 0.5]], dtype=torch.float64)
SECOND = torch.tensor([[0.4, -0.2], [-0.2, 0.9]], dtype=torch.float64)
MEANS = torch.tensor([[0.5, -0.5], [1.0, 0.0]], dtype=torch.float64)
PROCESS = BridgeProcess(sigma=0.3)
PAIR = PairMixtureDenoiser.gaussian((MEANS[0], FIRST), (MEANS[1], SECOND), torch.zeros(2, 2), BridgeProcess())


def test_optimal_transport_of_gaussians_as_pot_knows_it():
    mapping = schrodinger_coupling(FIRST, SECOND, 0.0).mT @ torch.linalg.inv(FIRST)
    theirs, _ = ot.gaussian.bures_wasserstein_mapping(*(part.numpy() for part in (*MEANS, FIRST, SECOND)))
    np.testing.assert_allclose(mapping.numpy(), theirs, rtol=1e-10, atol=1e-12)
    distance = ot.gaussian.bures_wasserstein_distance(np.zeros(2), np.zeros(2), FIRST.numpy(), SECOND.numpy())
    assert transport_cost(FIRST, SECOND) == pytest.approx(float(distance) ** 2, rel=1e-10)


@pytest.mark.parametrize("sigma", [0.2, 1.0, 5.0])
def test_schrodingers_bridge_on_the_line(sigma):
    """c sigma^2 = a b - c^2 for the cross-covariance c of variances a and b; little of it is left for a wild motion."""
    cross = schrodinger_coupling([[0.64]], [[1.69]], sigma).item()
    assert cross * sigma**2 == pytest.approx(0.64 * 1.69 - cross**2, rel=1e-12)
    assert 0 < cross < 0.8 * 1.3


def test_schrodingers_coupling_by_sinkhorn_on_a_grid():
    """POT's entropic plan between two Gaussians on a fine grid, |x - y|^2 with the regularisation 2 sigma^2."""
    places = np.linspace(-10, 10, 401)
    first, second = (np.exp(-((places - m) ** 2) / (2 * v)) for m, v in ((0.3, 0.64), (-0.4, 1.69)))
    first, second = first / first.sum(), second / second.sum()
    cost = (places[:, None] - places[None]) ** 2
    for sigma in (0.7, 1.5):
        plan = ot.sinkhorn(first, second, cost, 2 * sigma**2, stopThr=1e-13, numItermax=5000)
        means = (places @ plan.sum(1), places @ plan.sum(0))
        cross = ((places - means[0])[:, None] * (places - means[1])[None] * plan).sum()
        assert schrodinger_coupling([[0.64]], [[1.69]], sigma).item() == pytest.approx(cross, rel=1e-5)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_the_field_of_independent_gaussians(t):
    """On the line: (t b - (1-t) a)/((1-t)^2 a + t^2 b) (x - m_t) + m_1 - m_0 for the variances a and b."""
    first, second = 0.64, 1.69
    law = PairMixtureDenoiser.gaussian(([0.3], [[first]]), ([-0.4], [[second]]), torch.zeros(1, 1), BridgeProcess())
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    middle = (1 - t) * 0.3 - t * 0.4
    slope = (t * second - (1 - t) * first) / ((1 - t) ** 2 * first + t**2 * second)
    torch.testing.assert_close(law.velocity(x, t), slope * (x - middle) - 0.7, rtol=1e-12, atol=1e-12)


def test_a_flow_of_transported_pairs_is_straight():
    """One step of Euler's is the transport map itself, to rounding; of independent pairs it misses by far."""
    euler, count = build("samplers", "euler"), 500
    laws = {
        "transport": PairMixtureDenoiser.schrodinger((MEANS[0], FIRST), (MEANS[1], SECOND), BridgeProcess()),
        "independent": PAIR,
    }
    cross = laws["transport"].blocks[1][0]
    mapping = cross @ torch.linalg.inv(SECOND)
    found = {}
    for name, law in laws.items():
        _, source = law.draw_pairs(Seeds.range(4, count))
        ways = [
            sample(PointDenoiser(law), euler, (2,), count, start=source, steps=steps, batch=count, dtype=torch.float64)
            for steps in (1, 40)
        ]
        found[name] = (ways[0] - ways[1]).square().sum(1).mean().sqrt().item()
        if name == "transport":
            torch.testing.assert_close(ways[0], MEANS[0] + (source - MEANS[1]) @ mapping.mT, rtol=1e-9, atol=1e-9)
    assert found["transport"] < 1e-9 and found["independent"] > 0.1


def test_told_the_source_of_a_flow_the_state_tells_the_data():
    x0, source = PAIR.draw_pairs(Seeds.range(1, 20))
    xt = 0.6 * x0 + 0.4 * source
    belief = PAIR(xt, 0.4, source=source)
    torch.testing.assert_close(belief.mean, x0, rtol=1e-9, atol=1e-9)
    assert belief.variance.max() < 1e-12
    at_the_end = PAIR(source, 1.0, source=source)
    torch.testing.assert_close(at_the_end.mean, MEANS[0].expand(20, 2), rtol=1e-9, atol=1e-9)


def test_the_belief_density_is_a_density():
    process = BridgeProcess(sigma=0.6)
    law = PairMixtureDenoiser(
        [0.3, 0.7], [[[0.0], [1.0]], [[-1.0], [0.5]]], [[[0.4, 0.1], [0.1, 0.3]], [[0.2, -0.1], [-0.1, 0.6]]], process
    )
    places = torch.linspace(-8, 8, 2001, dtype=torch.float64)[:, None]
    for condition in ({}, {"source": torch.full((2001, 1), 0.3, dtype=torch.float64)}):
        belief = law(torch.full((2001, 1), 0.2, dtype=torch.float64), 0.5, **condition)
        density = belief.log_prob(places).exp()
        assert torch.trapezoid(density, places[:, 0]).item() == pytest.approx(1, abs=1e-9)
        assert torch.trapezoid(density * places[:, 0], places[:, 0]).item() == pytest.approx(
            belief.mean[0].item(), abs=1e-9
        )
        marginal = law.log_density(places, 0.5, **condition).exp()
        assert torch.trapezoid(marginal, places[:, 0]).item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: PairMixtureDenoiser([1.0], [[0.0, 1.0]], [[[1.0]]], BridgeProcess()), r"means are \(k, 2, d\)"),
        (lambda: PairMixtureDenoiser([1.0], [[[0.0], [1.0]]], [[[1.0, 2.0], [2.0, 1.0]]], BridgeProcess()), "negative"),
        (
            lambda: PairMixtureDenoiser([1.0], [[[0.0], [1.0]]], [[[1.0, 0.5], [0.0, 1.0]]], BridgeProcess()),
            "symmetric",
        ),
        (
            lambda: PairMixtureDenoiser([1.0], [[[0.0], [math.nan]]], [[[1.0, 0.0], [0.0, 1.0]]], BridgeProcess()),
            "finite",
        ),
        (lambda: PAIR(torch.zeros(3, 1), 0.5), r"shape \(2,\); seen \(1,\)"),
        (lambda: PAIR(torch.zeros(3, 2), 0.5, label=torch.zeros(3)), "knows the condition 'source'"),
        (lambda: PAIR.draw(Seeds.range(0, 3), 0.5, source=torch.zeros(3, 2)), "draw_pairs"),
    ],
)
def test_bad_input_is_named(made, message):
    with pytest.raises(InputError, match=message):
        made()


class ForgetsHowTheyHangTogether(PairMixtureDenoiser):
    """A belief that takes data and source for independent."""

    def __init__(self, *given):
        super().__init__(*given)
        first, cross, last = self.blocks
        self.blocks = (first, 0 * cross, last)


class TooSure(PairMixtureDenoiser):
    """A belief with half of its variance."""

    def forward(self, xt, t, drop=None, **condition):
        belief = super().forward(xt, t, drop, **condition)
        return replace(belief, covariances=belief.covariances / 2)


class WrongMotion(PairMixtureDenoiser):
    """A field without the motion's share."""

    def velocity(self, xt, t):
        return self.process.path.alpha_derivative(t) * self(xt, t).mean + self.process.path.sigma_derivative(
            t
        ) * self.source_mean(xt, t)


def test_broken_laws_are_caught():
    ends = ((MEANS[0], FIRST), (MEANS[1], SECOND))
    broken = ForgetsHowTheyHangTogether.schrodinger(*ends, PROCESS)
    for check in (bridges.pair_belief_is_conditioning, bridges.pair_belief_stands_for_the_clean_data):
        assert is_caught(check, None, broken)
    assert is_caught(
        bridges.pair_steps_carry_the_source_to_the_data, None, TooSure.gaussian(*ends, torch.zeros(2, 2), PROCESS)
    )
    broken = WrongMotion.schrodinger(*ends, BridgeProcess(sigma=2.0))
    assert is_caught(bridges.pair_belief_is_conditioning, None, broken)
    assert is_caught(bridges.pair_flow_carries_the_source_to_the_data, None, broken)


def test_a_wrong_schrodinger_bridge_is_caught(monkeypatch):
    law = PairMixtureDenoiser.examples()["schrodinger bridge"]
    monkeypatch.setattr(
        "unstir.exact.pairs.schrodinger_coupling", lambda a, b, sigma: schrodinger_coupling(a, b, 1.4142 * sigma)
    )
    assert is_caught(bridges.schrodingers_bridge_is_markov, None, law)

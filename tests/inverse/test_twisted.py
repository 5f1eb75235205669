"""Twisted sequential Monte Carlo: its twist by hand, what it refuses, and that its claims can fail."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from mutants import is_caught

from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds
from unstir.denoisers.variances import VarianceTable
from unstir.exact.categorical import TokenProductDenoiser
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.inverse.measurement import Measurement, exact_posterior
from unstir.inverse.methods import candidate_twist, gradient_twist, particles, twisted
from unstir.inverse.methods.gradient_twist import GradientTwist
from unstir.inverse.methods.twisted import TwistedMethod
from unstir.inverse.methods.twists import Potential
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.base import Operator
from unstir.inverse.operators.mask import MaskOperator
from unstir.inverse.operators.matrix import MatrixOperator
from unstir.inverse.solving import solve
from unstir.inverse.steering import steer
from unstir.processes.bridge import BridgeProcess
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.centred import CentredProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.samplers.base import sample
from unstir.verification.checks import twisted as claims
from unstir.verification.references import NormalDenoiser, PointDenoiser

T = torch.tensor(0.5, dtype=torch.float64)
MATRIX = torch.tensor([[1.0, 0.4, -0.2], [0.4, 0.8, 0.1], [-0.2, 0.1, 0.6]])
ROWS = torch.tensor([[1.0, 0.5, -0.3], [0.0, 1.0, 0.6]])
READING = torch.tensor([0.9, -0.2])
TOKENS = TokenProductDenoiser([[0.7, 0.3], [0.4, 0.6]], CategoricalProcess(2))


@dataclass(frozen=True, eq=False)
class Bent(Operator):
    """A map that does not say that it is linear; or bent."""

    shape: tuple[int, ...] = (3,)
    bend: float = 0.0

    @property
    def measured_shape(self):
        return (2,)

    def __call__(self, x0):
        straight = x0 @ ROWS.to(x0).T
        return straight + self.bend * straight.square()

    @classmethod
    def examples(cls):
        return {"straight": cls()}


def measured(operator=None, noise=0.3):
    return Measurement(operator or MatrixOperator((3,), ROWS), READING, GaussianNoise(noise))


def looked(law, measurement, xt, t=T, deviation=1.0, **options):
    return GradientTwist(Potential.of(measurement), deviation, **options).look(
        law, xt, t, Seeds.range(0, len(xt)), None
    )


class TestGradientTwist:
    @pytest.mark.parametrize("schedule", [None, EDMSchedule()], ids=["vp", "ve"])
    def test_it_is_exact_where_data_is_gaussian(self, schedule):
        """The twist is p(y | x_t), to a power, and the mean moves to that of the exact posterior's denoiser."""
        process = GaussianProcess(schedule) if schedule else GaussianProcess()
        law = GaussianDenoiser([0.5, 0.0, -1.0], MATRIX, process)
        given = exact_posterior(law, measured())
        for t in (0.1, 0.5, 0.8):
            t = torch.tensor(t, dtype=torch.float64)
            xt = law.draw(Seeds.range(1, 6), t)
            seen = looked(law, measured(), xt, t, deviation=0.3)  # below the least of the law's own
            # Bayes: p(y | x_t) = p(y) p(x_t | y) / p(x_t)
            bayes = given.log_evidence + given.log_density(xt, t) - law.log_density(xt, t)
            level = float((-process.schedule.log_snr(t) / 2).exp())
            torch.testing.assert_close(seen.log_twist, bayes / (1 + (level / 1.5) ** 4), rtol=1e-8, atol=1e-8)
            torch.testing.assert_close(seen.mean + seen.pull, given(xt, t).mean, rtol=1e-7, atol=1e-7)

    def test_a_straight_map_that_says_nothing_is_linearised_to_itself(self):
        law = MixtureDenoiser([0.5, 0.5], [[1.0, 0, 0], [0, 1.0, 0]], [0.1, 0.2], GaussianProcess())
        xt = law.draw(Seeds.range(1, 5), T)
        one, other = looked(law, measured(), xt), looked(law, measured(Bent()), xt)
        torch.testing.assert_close(one.log_twist, other.log_twist, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(one.pull, other.pull, rtol=1e-10, atol=1e-10)

    def test_without_passes_a_row_it_is_exact_for_one_variance(self):
        law = GaussianDenoiser([0.5, 0.0, -1.0], 1.0, GaussianProcess())
        xt = law.draw(Seeds.range(1, 5), T)
        one, other = looked(law, measured(), xt), looked(law, measured(), xt, rows=0)
        trust = 1 / (1 + 5.0**-4)  # at the noise level of the data
        torch.testing.assert_close(one.log_twist, trust * other.log_twist, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(one.pull, other.pull, rtol=1e-10, atol=1e-10)

    def test_the_probe_is_unbiased_and_exact_where_elements_are_independent(self):
        law = NormalDenoiser(0.2, 0.8, GaussianProcess())
        exact = GaussianDenoiser(torch.full((3,), 0.2), 0.64, GaussianProcess())
        xt = exact.draw(Seeds.range(1, 5), T)
        variance = looked(law, measured(), xt).variance
        torch.testing.assert_close(variance.expand_as(xt), exact(xt, T).variance, rtol=1e-9, atol=1e-9)
        joined = GaussianDenoiser([0.5, 0.0, -1.0], MATRIX, GaussianProcess())
        xt = joined.draw(Seeds.range(1, 1), T).expand(4000, -1)
        probes = looked(PointDenoiser(joined), measured(), xt).variance.flatten()
        expected = joined(xt[:1], T).covariance()[0].diagonal().mean()
        assert abs(probes.mean() - expected) < 6 * probes.std() / math.sqrt(len(probes))
        assert probes.std() > 1e-3  # of one probe, they do vary

    def test_the_four_variances(self):
        law, table = GaussianDenoiser(torch.zeros(3), 1.0, GaussianProcess()), VarianceTable.of_normal()
        xt = law.draw(Seeds.range(1, 5), T)
        for kind, given in (("own", None), ("table", table), ("tweedie", None), ("linear", None)):
            seen = looked(law, measured(), xt, variance=kind, table=given)
            torch.testing.assert_close(seen.variance.expand_as(xt), law(xt, T).variance, rtol=1e-8, atol=1e-8)
            assert seen.wide == (kind in ("own", "table"))

    def test_where_nothing_is_left_of_the_data_it_knows_nothing(self):
        law = NormalDenoiser(0.2, 0.8, GaussianProcess())
        seen = looked(law, measured(), torch.ones(2, 3), torch.tensor(1.0, dtype=torch.float64))
        assert seen.log_twist.tolist() == [0, 0]
        assert seen.pull.abs().max() == 0
        assert seen.variance.item() == pytest.approx(1.0)


class TestDraws:
    def test_particles_of_normal_data_keep_their_weight(self):
        """With the exact twist little is left to weigh, and the evidence is told by one population."""
        law = GaussianDenoiser([0.5, 0.0, -1.0], [0.8, 0.3, 1.5], GaussianProcess())
        solution = solve(law, measured(), TwistedMethod(particles=128), 128, steps=40, dtype=torch.float64)
        sizes = solution.diagnostics["effective_sample_size"].flatten()
        assert sizes.min() > 0.5 * 128
        exact = exact_posterior(law, measured()).log_evidence
        assert abs(solution.diagnostics["log_evidence"].item() - exact) < 0.25
        assert solution.diagnostics["resampled"].flatten()[-1]

    def test_a_bent_measurement_against_weighed_draws(self):
        law = GaussianDenoiser([0.5, 0.0, -0.4], [0.2, 0.3, 0.2], GaussianProcess())
        problem = measured(Bent(bend=0.4), 0.4)
        prior = law.draw(Seeds.range(3, 200_000))
        weights = problem.log_likelihood(prior).exp()
        solution = solve(PointDenoiser(law), problem, TwistedMethod(particles=64), 4096, steps=40, batch=4096)
        evidence = solution.diagnostics["log_evidence"].flatten().exp()
        # the probe's steps err by some per cent; the bend moves the evidence by more
        assert evidence.mean() == pytest.approx(weights.mean().item(), rel=0.08)
        mean = (weights[:, None] * prior).sum(0) / weights.sum()
        assert (solution.samples.double().mean(0) - mean).abs().max() < 0.04

    def test_a_function_without_gradient_only_weighs(self):
        law = GaussianDenoiser(torch.zeros(2), 1.0, GaussianProcess())
        drawn = steer(
            law, lambda x: torch.where(x[:, 0].detach() > 0, 0.0, -4.0), (2,), 512, differentiable=False, steps=20,
            batch=512,
        )  # fmt: skip
        share = (drawn.samples[:, 0] > 0).double().mean()
        assert abs(share - 1 / (1 + math.exp(-4))) < 0.03
        assert drawn.diagnostics["log_evidence"].shape == (4,)
        told = drawn.diagnostics["log_evidence"].exp().mean()
        assert told == pytest.approx(0.5 + math.exp(-4) / 2, rel=0.15)

    def test_states_keep_their_dtype_and_centre(self):
        process = CentredProcess()
        law = NormalDenoiser(0.0, 1.0, process)
        drawn = steer(law, lambda x: -(x[:, 0, 0] - 0.5).square() / 0.02, (3, 2), 64, steps=20, batch=64)
        assert drawn.samples.dtype == torch.float32
        assert process.contains(drawn.samples).all()
        assert abs(drawn.samples[:, 0, 0].mean() - 0.5) < 0.1
        tokens = steer(TOKENS, lambda x: x.sum(1).double(), (2,), 256, steps=3, batch=256)
        assert tokens.samples.dtype == torch.int64
        ones = torch.tensor([0.3, 0.6]) * math.e
        expected = ones / (ones + torch.tensor([0.7, 0.4]))
        assert (tokens.samples.double().mean(0) - expected).abs().max() < 0.2

    def test_survivors_count_families(self):
        law = MixtureDenoiser([0.9, 0.1], [[-1.0], [1.0]], 0.01 * torch.ones(2), GaussianProcess())
        problem = Measurement(MatrixOperator((1,), [[1.0]]), torch.tensor([1.0]), GaussianNoise(0.1))
        told = solve(law, problem, TwistedMethod(particles=32, proposal="candidates"), 32, steps=10).diagnostics
        assert 1 <= told["survivors"].min() <= told["survivors"].max() < 32
        assert told["effective_sample_size"].reshape(-1, 11).shape == (2, 11)  # a batch of 64: two populations


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"particles": 1}, "2 particles"),
            ({"threshold": 1.5}, "share of the particles"),
            ({"resampling": "systemic"}, "'systematic'"),
            ({"proposal": "gradients"}, "'gradient'"),
            ({"variance": "owned"}, "'own'"),
            ({"variance": "table"}, "needs a table"),
            ({"candidates": 0}, "candidates are 1"),
            ({"rows": -1}, "rows 0"),
            ({"deviation": 0.0}, "must be positive"),
            ({"table": 3}, "VarianceTable"),
            ({"table": {"log_snr": [0.0]}}, "missing"),
        ],
    )
    def test_options(self, options, told):
        with pytest.raises(InputError, match=told):
            TwistedMethod(**options)

    def test_spaces_and_measurements(self):
        law = GaussianDenoiser(torch.zeros(3), 1.0, GaussianProcess())
        with pytest.raises(InputError, match=r"'gradient' serves .*'tokens'.*candidates"):
            steer(TOKENS, lambda x: x.sum(1), (2,), method=TwistedMethod(proposal="gradient"))
        with pytest.raises(InputError, match="bridge between data"):
            flow = NormalDenoiser(0.0, 1.0, GaussianProcess())
            flow.process = BridgeProcess()
            steer(flow, lambda x: x.sum(1), (3,))
        with pytest.raises(InputError, match="positive"):
            solve(law, measured(noise=0.0), TwistedMethod())
        with pytest.raises(InputError, match="one number a sample"):
            steer(law, lambda x: x, (3,))
        with pytest.raises(InputError, match="has no gradient"):
            steer(law, lambda x: x.detach().sum(1), (3,))

    def test_batches_that_split_a_population(self):
        law = GaussianDenoiser(torch.zeros(3), 1.0, GaussianProcess())
        sampler = TwistedMethod(particles=16).sampler(law, Potential.of(measured()))
        with pytest.raises(InputError, match="whole populations of 16 particles; seen a batch of 24: take 16"):
            sample(law, sampler, (3,), 24, batch=24, steps=2)
        assert TwistedMethod(particles=16).batch(40) == 32
        assert TwistedMethod(particles=16).batch(4) == 16

    def test_particles_told_different_things(self):
        law = MixtureDenoiser([0.5, 0.5], [[1.0, 0, 0], [0, 1.0, 0]], [0.1, 0.2], GaussianProcess(), labels=[0, 1])
        method = TwistedMethod(particles=4)
        with pytest.raises(InputError, match="same condition 'label'"):
            solve(law, measured(), method, 8, steps=2, condition={"label": torch.arange(8) % 2})
        solve(law, measured(), method, 8, steps=2, condition={"label": torch.arange(8) // 4})

    @pytest.mark.parametrize("value", [-math.inf, math.nan])
    def test_where_nothing_fits(self, value):
        with pytest.raises(NonFiniteError, match="nothing that was drawn fits"):
            steer(TOKENS, lambda x: torch.full((len(x),), value), (2,), steps=2)


def keeps_weights(self, seeds, threshold, scheme):
    """Resampling that forgets to set the weights back."""
    after, rows = SETTLED(self, seeds, threshold, scheme)
    return (after, None) if rows is None else (replace(after, log_weights=self.log_weights), rows)


def without_ratio(original):
    def propose(self, *told):
        x, ratio = original(self, *told)
        return x, torch.zeros_like(ratio)

    return propose


def trusts_twist(self, denoiser, state, t, s):
    """No weighing with the true likelihood at the end: the last twist stands for it."""
    if s > 0 or not state.history:
        return STEP(self, denoiser, state, t, s)
    known = state.history[0].seen.log_twist
    blind = replace(self.twist, potential=replace(self.twist.potential, log=lambda x: known))
    return STEP(replace(self, twist=blind), denoiser, state, t, s)


SETTLED, STEP = particles.Particles.settled, twisted.TwistedSampler.step
PULLS, CHOOSES = gradient_twist.GradientTwist, candidate_twist.CandidateTwist


@pytest.mark.parametrize(
    ("owner", "name", "broken", "proposal"),
    [
        (particles.Particles, "settled", keeps_weights, "gradient"),
        (particles.Particles, "settled", keeps_weights, "candidates"),
        (PULLS, "propose", without_ratio(PULLS.propose), "gradient"),
        (CHOOSES, "propose", without_ratio(CHOOSES.propose), "candidates"),
        (twisted.TwistedSampler, "step", trusts_twist, "candidates"),
    ],
)
def test_mutants_are_caught(monkeypatch, owner, name, broken, proposal):
    method = TwistedMethod(proposal=proposal)
    monkeypatch.setattr(owner, name, broken)
    check = (
        claims.twisted_tokens_are_unbiased if proposal == "candidates" else claims.twisted_normal_posterior_is_unbiased
    )
    assert is_caught(check, None, method)


def test_an_unfinished_mask_of_a_picture_runs_in_single_precision():
    """A network's belief is a point in float32; many measured values share one variance."""
    law = PointDenoiser(GaussianDenoiser(torch.zeros(1, 6, 6), 0.5, GaussianProcess(EDMSchedule())))
    seen = torch.zeros(6, 6, dtype=torch.bool)
    seen[:4] = True
    problem = Measurement.simulated(
        MaskOperator((1, 6, 6), seen), torch.ones(1, 1, 6, 6) * 0.5, GaussianNoise(0.2), Seeds.range(1, 1)
    )
    solution = solve(law, problem, TwistedMethod(particles=64, deviation=0.7), 64, steps=40)
    expected = problem.reading * 0.5 / (0.5 + 0.04)
    assert solution.samples.dtype == torch.float32
    assert (solution.mean[:, :4].flatten() - expected).abs().max() < 0.2
    assert abs(solution.deviation[:, 4:].mean() - math.sqrt(0.5)) < 0.12

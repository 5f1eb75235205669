"""Guiding methods: what they refuse, their linear algebra against NumPy and SciPy, and that their claims can fail."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from mutants import misses
from networks import small_unet
from scipy import stats

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.exact.categorical import TokenProductDenoiser
from unstir.exact.centred import CentredMixtureDenoiser
from unstir.exact.gaussian import GaussianDenoiser
from unstir.inverse.measurement import Measurement, exact_posterior
from unstir.inverse.methods import moment_matching, pigdm
from unstir.inverse.methods.conjugate_gradients import conjugate_gradients
from unstir.inverse.methods.ddrm import DDRMMethod, DDRMSampler
from unstir.inverse.methods.dps import DPSDenoiser, DPSMethod
from unstir.inverse.methods.guided import Slope, deviation_of
from unstir.inverse.methods.moment_matching import MMPSDenoiser, MMPSMethod, TMPDDenoiser, TMPDMethod
from unstir.inverse.methods.pigdm import PiGDMDenoiser, PiGDMMethod
from unstir.inverse.methods.told_gaussian import ToldGaussian
from unstir.inverse.noises.base import MeasurementNoise
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.mask import MaskOperator
from unstir.inverse.operators.matrix import MatrixOperator
from unstir.inverse.solving import solve
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.centred import CentredProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import SamplerState
from unstir.verification.checks import guiding_methods as claims

T = torch.tensor(0.5, dtype=torch.float64)
COVARIANCE = [[1.0, 0.6, -0.2], [0.6, 0.8, 0.1], [-0.2, 0.1, 0.3]]
LAW = GaussianDenoiser([0.5, 0.0, -1.0], COVARIANCE, GaussianProcess())
MATRIX = [[1.0, 0.5, -0.3], [0.0, 2.0, 0.4]]
READING = torch.tensor([0.4, -0.8], dtype=torch.float64)
METHODS = {
    "dps": DPSMethod(),
    "pi-gdm": PiGDMMethod(),
    "tmpd": TMPDMethod(),
    "mmps": MMPSMethod(),
    "ddrm": DDRMMethod(),
}


def measured(noise=0.1, operator=None, reading=READING):
    return Measurement(operator or MatrixOperator((3,), MATRIX), reading, GaussianNoise(noise))


class Absolute(MeasurementNoise):
    """Laplace's noise, of unit width."""

    def draw(self, clean, seeds):
        raise NotImplementedError

    def log_likelihood(self, reading, clean):
        return -(reading - clean).abs().flatten(1).sum(1) - math.log(2) * clean[0].numel()

    @classmethod
    def examples(cls):
        return {"one": cls()}


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "options", "told"),
        [
            ("dps", {"strength": -1.0}, "0 at least"),
            ("dps", {"strength": math.nan}, "finite"),
            ("dps", {"energy": "residuals"}, "did you mean 'residual'"),
            ("dps", {"deviation": 0.0}, "positive"),
            ("pi-gdm", {"strength": math.inf}, "finite"),
            ("pi-gdm", {"deviation": -2.0}, "positive"),
            ("mmps", {"iterations": 0}, "1 at least"),
            ("mmps", {"iterations": True}, "whole"),
            ("mmps", {"tolerance": 1.5}, "from 0 to 1"),
            ("tmpd", {"covariance": "row"}, "did you mean 'rows'"),
            ("ddrm", {"eta": 1.2}, "eta is a number from 0 to 1"),
            ("ddrm", {"eta_b": -0.1}, "eta_b"),
        ],
    )
    def test_options(self, name, options, told):
        with pytest.raises(InputError, match=told):
            build("methods", {"name": name, **options})

    @pytest.mark.parametrize("name", ["pi-gdm", "tmpd", "mmps", "ddrm"])
    def test_curved_operators_and_noise_of_other_laws(self, name):
        curved = Measurement(claims._Products(), READING, GaussianNoise(0.1))
        with pytest.raises(InputError, match=r"needs a measurement that is linear.*dps"):
            solve(LAW, curved, METHODS[name], 1)
        with pytest.raises(InputError, match="needs a measurement that is gaussian"):
            solve(LAW, replace(measured(), noise=Absolute()), METHODS[name], 1)

    def test_a_likelihood_needs_noise(self):
        with pytest.raises(InputError, match="positive"):
            solve(LAW, measured(0.0), DPSMethod(energy="likelihood"), 1)
        solve(LAW, measured(0.0), DPSMethod(), 1, steps=3)

    @pytest.mark.parametrize("name", list(METHODS))
    def test_tokens(self, name):
        law = TokenProductDenoiser([[[0.9, 0.1], [0.7, 0.3]]], CategoricalProcess(2))
        with pytest.raises(InputError, match="not the space 'tokens'"):
            solve(law, Measurement(MaskOperator((2,), [True, False]), READING[:1], GaussianNoise()), METHODS[name], 1)

    @pytest.mark.parametrize("name", ["pi-gdm", "ddrm"])
    def test_subspaces_where_one_width_is_none(self, name):
        law = CentredMixtureDenoiser.examples()["chain"]
        operator = MaskOperator(law.shape, [True, False, False])
        with pytest.raises(InputError, match=r"not the space 'centred'.*mmps"):
            solve(law, Measurement(operator, torch.zeros(4), GaussianNoise()), METHODS[name], 1)

    def test_padded_sets_by_ddrm(self):
        _, sampler = DDRMMethod().pair(LAW, measured())
        state = SamplerState(torch.zeros(1, 3), Seeds.range(0, 1), mask=torch.tensor([[True, True, False]]))
        with pytest.raises(InputError, match="padded sets"):
            sampler.step(LAW, state, T, T / 2)

    def test_matrices_too_large(self, monkeypatch):
        monkeypatch.setattr(moment_matching, "_LARGEST_DENSE", 2)
        guided, _ = TMPDMethod().pair(LAW, measured())
        belief = guided(torch.zeros(1, 3), T)
        with pytest.raises(InputError, match=r"at most 2 elements.*seen 3"):
            belief.sample(Seeds.range(0, 1))
        monkeypatch.setattr(moment_matching, "_LARGEST_DENSE", 1)
        with pytest.raises(InputError, match=r"at most 1 measured values.*mmps"):
            guided(torch.zeros(1, 3), T)


class TestConjugateGradients:
    def test_against_numpy_whatever_is_beside(self):
        """Of one sample M is the unit matrix, done at once; another starts at its answer; sizes differ by 1e6."""
        rng = np.random.default_rng(1)
        roots = rng.normal(size=(4, 6, 6))
        matrices = roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(6)
        matrices[1] = np.eye(6)
        matrices[3] *= 1e6
        right = rng.normal(size=(4, 6))
        right[2] = 0.0
        made = torch.from_numpy(matrices)
        found = conjugate_gradients(lambda v: (made @ v[..., None])[..., 0], torch.from_numpy(right), 20, 1e-13)
        np.testing.assert_allclose(found, np.linalg.solve(matrices, right[..., None])[..., 0], rtol=1e-9, atol=1e-18)

    def test_few_iterations_are_the_best_of_their_space(self):
        """After k of them the error is the least, by the norm of M, in the span of b, Mb, ..., M^(k-1)b."""
        rng = np.random.default_rng(2)
        root = rng.normal(size=(7, 7))
        matrix, right = root @ root.T + np.eye(7), rng.normal(size=7)
        made = torch.from_numpy(matrix)
        for k in (1, 2, 4):
            found = conjugate_gradients(lambda v: v @ made, torch.from_numpy(right)[None], k, 0.0)[0].numpy()
            span = np.stack([np.linalg.matrix_power(matrix, i) @ right for i in range(k)], 1)
            best = span @ np.linalg.solve(span.T @ matrix @ span, span.T @ right)
            np.testing.assert_allclose(found, best, rtol=1e-8)

    def test_what_is_not_positive_is_left_where_it_is(self):
        matrices = torch.stack((-torch.eye(2), torch.diag(torch.tensor([2.0, -1.0])), 4 * torch.eye(2))).double()
        right = torch.tensor([[1.0, 2.0], [1.0, 0.3], [1.0, 2.0]], dtype=torch.float64)
        found = conjugate_gradients(lambda v: (matrices @ v[..., None])[..., 0], right, 9, 1e-12)
        assert found[0].tolist() == [0.0, 0.0]
        assert found[2].tolist() == [0.25, 0.5]
        assert ((matrices[1] @ found[1] - right[1]).norm() <= 2 * right[1].norm()).item()

    def test_steps_astray_are_not_kept(self):
        """Nearly antisymmetric: the first step would be ten thousand long."""
        matrix = torch.tensor([[1e-4, 1.0], [-1.0, 1e-4]], dtype=torch.float64)
        found = conjugate_gradients(lambda v: v @ matrix.T, torch.ones(1, 2, dtype=torch.float64), 3, 1e-9)
        assert found.norm() < 3


class TestBeliefs:
    def test_gradients_go_through(self):
        """The slope of the guided mean is that of the exact conditional one: derivatives of derivatives are kept."""
        exact = exact_posterior(LAW, measured())
        xt = torch.tensor([[0.3, -0.4, 0.2]], dtype=torch.float64)
        wanted = torch.autograd.functional.jacobian(lambda x: exact(x, T).mean, xt)
        for method in (MMPSMethod(), TMPDMethod()):
            guided, _ = method.pair(LAW, measured())
            found = torch.autograd.functional.jacobian(lambda x, guided=guided: guided(x, T).mean, xt)
            torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)
        for method in (DPSMethod(), PiGDMMethod()):
            guided, _ = method.pair(LAW, measured())
            assert torch.autograd.gradcheck(lambda x, guided=guided: guided(x, T).mean, xt.clone().requires_grad_())

    @pytest.mark.parametrize("name", ["dps", "pi-gdm", "tmpd", "mmps"])
    def test_a_network_in_its_own_precision_and_each_sample_for_itself(self, name):
        network = small_unet()
        operator = MaskOperator((1, 8, 8), torch.arange(64).reshape(8, 8) % 5 == 0)
        measurement = Measurement(operator, torch.linspace(-1, 1, 13, dtype=torch.float64), GaussianNoise(0.1))
        guided, _ = METHODS[name].pair(network, measurement)
        xt = Seeds.range(3, 4).normal((1, 8, 8))
        with torch.no_grad():
            together = guided(xt, T).mean
            alone = torch.cat([guided(xt[i : i + 1], T).mean for i in range(4)])
        assert together.dtype == torch.float32
        assert not together.requires_grad
        torch.testing.assert_close(alone, together, rtol=1e-3, atol=1e-4)
        plain = network(xt, T).mean.detach()
        assert (together - plain).abs().max() > 0.01

    def test_the_deviation_is_the_networks_own_unless_it_is_told(self):
        network = small_unet()
        network.sigma_data = 0.37
        assert PiGDMMethod().pair(network, measured())[0].deviation == 0.37
        assert DPSMethod(deviation=2).pair(network, measured())[0].deviation == 2.0
        assert deviation_of(LAW, None) == 1.0

    def test_padded_places_stay_empty_and_do_not_matter(self):
        denoiser = _Shrinking()
        small = MaskOperator((3, 2), torch.tensor([[True, False], [False, True], [False, False]]))
        padded = MaskOperator((5, 2), torch.cat((small.seen, torch.zeros(2, 2, dtype=torch.bool))))
        reading = torch.tensor([0.5, -0.3], dtype=torch.float64)
        x = Seeds.range(0, 2).normal((3, 2), torch.float64)
        xt = torch.cat((x, torch.full((2, 2, 2), 7.0, dtype=torch.float64)), 1)
        mask = torch.tensor([[True] * 3 + [False] * 2] * 2)
        for method in (MMPSMethod(), TMPDMethod(), DPSMethod(), TMPDMethod("rows")):
            alone = method.pair(denoiser, Measurement(small, reading, GaussianNoise()))[0](x, T).mean
            guided = method.pair(denoiser, Measurement(padded, reading, GaussianNoise()))[0]
            bound = method.pair(denoiser.given({"mask": mask}), guided.measurement)[0]
            for found in (guided(xt, T, mask=mask).mean, guided.given({"mask": mask})(xt, T).mean, bound(xt, T).mean):
                torch.testing.assert_close(found[:, :3], alone)
                assert not found[:, 3:].any()
            assert bound.mask is mask

    def test_pseudo_inverse_guidance_without_a_matrix(self, monkeypatch):
        residual = torch.tensor([[0.3, -1.0], [2.0, 0.1]], dtype=torch.float64)
        operator = MatrixOperator((3,), MATRIX)
        for width, noise in ((torch.tensor(0.4), 0.01), (torch.tensor([0.4, 3.0]), 0.0)):
            dense = pigdm.weighed(operator, residual, width.double(), noise)
            with monkeypatch.context() as patched:
                patched.setattr(pigdm, "_LARGEST_DENSE", 2)
                free = pigdm.weighed(operator, residual, width.double(), noise)
            torch.testing.assert_close(free, dense, rtol=1e-9, atol=1e-12)

    def test_rows_that_cancel_do_not_run_away(self):
        """Two elements that go against each other: the sum of a row of their covariance is nearly zero."""
        law = GaussianDenoiser([0.0, 0.0], [[1.0, -0.99], [-0.99, 1.0]], GaussianProcess())
        eye = MatrixOperator((2,), [[1.0, 0.0], [0.0, 1.0]])
        measurement = measured(0.01, eye, torch.tensor([1.0, -1.0], dtype=torch.float64))
        xt, t = torch.zeros(1, 2, dtype=torch.float64), torch.tensor(0.9, dtype=torch.float64)
        move = TMPDMethod("rows").pair(law, measurement)[0](xt, t).mean
        wanted = exact_posterior(law, measurement)(xt, t).mean
        torch.testing.assert_close(move, wanted, rtol=1e-3, atol=0)

    def test_an_exact_measurement_is_kept_by_every_draw(self):
        guided, _ = TMPDMethod().pair(LAW, measured(0.0))
        drawn = guided(LAW.draw(Seeds.range(0, 50), 0.5), T).sample(Seeds.range(1, 50))
        torch.testing.assert_close(drawn @ torch.tensor(MATRIX, dtype=torch.float64).T, READING.expand(50, 2))
        assert drawn.std(0).min() > 0.01


class _Shrinking(Denoiser):
    """Half of the state about its centre."""

    process = CentredProcess()

    def forward(self, xt, t, drop=None, **condition):
        return PointPosterior(0.5 * self.process.project(xt, condition.get("mask")))


class TestToldGaussian:
    ROOT = torch.tensor([[[1.0, 0.2, 0.0], [0.3, 0.5, 0.1], [-0.4, 0.0, 0.7]]], dtype=torch.float64)

    def test_density_against_scipy(self):
        mean, x0 = torch.tensor([[0.1, 0.2, 0.3]]).double(), torch.tensor([[0.5, -0.2, 0.9]]).double()
        belief = ToldGaussian(mean, lambda: self.ROOT)
        law = stats.multivariate_normal(mean[0], (self.ROOT[0] @ self.ROOT[0].T).numpy())
        assert belief.log_prob(x0).item() == pytest.approx(law.logpdf(x0[0].numpy()), rel=1e-12)
        torch.testing.assert_close(belief.variance[0], belief.covariance()[0].diagonal())

    def test_on_a_plane_and_beside_it(self):
        root = self.ROOT[:, :, :1]
        belief = ToldGaussian(torch.zeros(1, 3).double(), lambda: root)
        on_it = belief.log_prob(0.5 * root[:, :, 0])
        assert on_it.item() == pytest.approx(stats.norm(0, root.norm().item()).logpdf(0.5 * root.norm().item()))
        assert belief.log_prob(torch.eye(3).double()[:1]).item() == -math.inf

    def test_draws(self):
        count = 40_000
        belief = ToldGaussian(torch.zeros(count, 3).double(), lambda: self.ROOT.expand(count, 3, 3))
        drawn = belief.sample(Seeds.range(5, count))
        white = torch.linalg.solve(self.ROOT[0], drawn.T)
        error = (white @ white.T / count - torch.eye(3)).abs().max()
        assert error < 6 * math.sqrt(2 / count)


class TestDDRM:
    def test_it_begins_about_the_reading(self):
        """At a finite noise the first state is normal about y/s where that is sharper; the rest stays as drawn."""
        operator = MatrixOperator((2,), [[2.0, 0.0]])
        law = GaussianDenoiser([0.0, 0.0], 1.0, GaussianProcess())
        seen = []

        class Watching(Denoiser):
            process = law.process

            def forward(self, xt, t, drop=None, **condition):
                seen.append(xt)
                return law(xt, t)

        measurement = Measurement(operator, torch.tensor([6.0]), GaussianNoise(0.5))
        _, sampler = DDRMMethod().pair(law, measurement)
        t = law.process.schedule.time_at_sigma(torch.tensor(1.0, dtype=torch.float64))
        count, alpha = 20_000, 0.5**0.5
        first = alpha * Seeds.range(0, count).normal((2,), torch.float64)
        sampler.step(Watching(), SamplerState(first, Seeds.range(1, count)), t, t / 2)
        told = seen[0] / alpha
        assert abs(told[:, 0].mean().item() - 3.0) < 6 / math.sqrt(count)
        assert abs(told[:, 0].var().item() - (1 - 0.25**2)) < 6 * math.sqrt(2 / count)
        torch.testing.assert_close(told[:, 1], first[:, 1] / alpha)


class _Broken:
    """Methods with one thing wrong; each must be caught by a claim."""

    class BatchNorm(DPSMethod):
        """The norm over the batch, as others have it."""

        def pair(self, denoiser, measurement):
            class Wrong(DPSDenoiser):
                def _steepest(self, slope):
                    gradient = super()._steepest(slope)
                    return gradient / gradient.norm()

            return Wrong(denoiser, measurement, self), AncestralSampler()

    class HalfSlope(DPSMethod):
        def pair(self, denoiser, measurement):
            class Wrong(DPSDenoiser):
                def _steepest(self, slope):
                    return super()._steepest(slope) / 2

            return Wrong(denoiser, measurement, self), AncestralSampler()

    class Forgetful(MMPSMethod):
        """Conditions are not passed on."""

        def pair(self, denoiser, measurement):
            class Wrong(MMPSDenoiser):
                def forward(self, xt, t, drop=None, **condition):
                    return super().forward(xt, t)

            return Wrong(denoiser, measurement, self), AncestralSampler()

    class DeafToDrop(PiGDMMethod):
        def pair(self, denoiser, measurement):
            class Wrong(PiGDMDenoiser):
                def forward(self, xt, t, drop=None, **condition):
                    return super().forward(xt, t, None, **condition)

            return Wrong(denoiser, measurement, self), AncestralSampler()

    class WrongWidth(PiGDMMethod):
        def pair(self, denoiser, measurement):
            guided, sampler = super().pair(denoiser, measurement)
            guided.deviation *= 1.05
            return guided, sampler

    class Unshrunken(TMPDMethod):
        """The belief keeps the width that it had before the measurement."""

        def pair(self, denoiser, measurement):
            class Wrong(TMPDDenoiser):
                def _root(self, slope):
                    loose = replace(self.measurement, noise=GaussianNoise(1e8))
                    return TMPDDenoiser(self.denoiser, loose, "full")._root(slope)

            return Wrong(denoiser, measurement, "full"), AncestralSampler()

    class Stubborn(MMPSMethod):
        """Moves even where the measurement tells nothing."""

        def pair(self, denoiser, measurement):
            return super().pair(denoiser, replace(measurement, noise=GaussianNoise(0.1)))


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        (claims.methods_treat_samples_one_by_one, _Broken.BatchNorm()),
        (claims.dps_goes_down_the_slope_of_the_residual, _Broken.HalfSlope()),
        (claims.methods_pass_conditions_on, _Broken.Forgetful()),
        (claims.methods_pass_conditions_on, _Broken.DeafToDrop()),
        (claims.pigdm_is_exact_for_independent_normal_data, _Broken.WrongWidth()),
        (claims.moments_of_normal_data_are_the_exact_conditional_ones, MMPSMethod(iterations=1)),
        (claims.moments_of_normal_data_are_the_exact_conditional_ones, _Broken.Unshrunken()),
        (claims.normal_data_are_drawn_from_their_exact_posterior, _Broken.Unshrunken()),
        (claims.measurements_that_tell_nothing_move_nothing, _Broken.Stubborn()),
    ],
)
def test_a_broken_method_is_caught(check, mutant):
    assert misses(check, mutant)


@pytest.mark.parametrize("wrong", ["eta", "eta_b", "deviation"])
def test_a_broken_step_is_caught(wrong):
    class Wrong(DDRMMethod):
        def pair(self, denoiser, measurement):
            if wrong == "deviation":
                measurement = replace(measurement, noise=GaussianNoise(1.1 * measurement.noise.deviation))
                return super().pair(denoiser, measurement)
            told = {"eta": self.eta, "eta_b": self.eta_b, wrong: 0.9 * getattr(self, wrong)}
            return denoiser, DDRMSampler(measurement, **told)

    assert misses(claims.ddrm_steps_as_published, Wrong())


def test_a_subspace_that_is_left_is_caught(monkeypatch):
    """A covariance that is not projected has a centre."""
    monkeypatch.setattr(Slope, "covariance_times", lambda self, vectors: 0.1 * vectors)
    assert misses(claims.points_about_their_centre_are_told_as_exactly, MMPSMethod())

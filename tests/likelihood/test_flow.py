import math

import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from unstir import CosineSchedule, GaussianProcess, Seeds
from unstir.core.errors import InputError, NonFiniteError
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.exact.empirical import EmpiricalDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.exact.wrapped import WrappedMixtureDenoiser
from unstir.likelihood import flow as module
from unstir.likelihood.divergence import TraceEstimator
from unstir.likelihood.flow import LogDensity, flow_log_density
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.processes.schedules.sub_vp import SubVPSchedule
from unstir.theory.reverse_time import log_density_by_flow
from unstir.verification.base import Effort
from unstir.verification.checks import likelihood_flow as checks
from unstir.verification.references import IN_THE_PLANE, PointDenoiser, small_network

SCHEDULES = [CosineSchedule(), EDMSchedule(), RectifiedFlowSchedule(), SubVPSchedule()]


def plane(schedule=None):
    return IN_THE_PLANE.denoiser(GaussianProcess(schedule or CosineSchedule()))


def grid(process=None):
    """A mixture on samples of two axes, with labels."""
    means = [[[1.0, -0.5], [0.3, 0.8]], [[-1.0, 0.2], [0.4, -0.6]]]
    return MixtureDenoiser([0.4, 0.6], means, [0.2, 0.1], process or GaussianProcess(), labels=[0, 1])


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_the_log_density_of_a_mixture_is_exact(schedule):
    denoiser = plane(schedule)
    x = denoiser.draw(Seeds.range(0, 200))
    found = flow_log_density(denoiser, x)
    error = found.nats - denoiser.log_density(x, 0.0)
    assert abs(error.mean()) < 1e-3
    assert error.abs().max() < 1e-2
    assert found.method == "exact"
    assert found.level == 0
    assert bool((found.standard_error == 0).all())


def test_the_tolerance_rules_the_error():
    denoiser = plane()
    x = denoiser.draw(Seeds.range(0, 50))
    exact = denoiser.log_density(x, 0.0)
    loose, tight = (flow_log_density(denoiser, x, tolerance=tolerance) for tolerance in (1e-3, 1e-8))
    errors = [(found.nats - exact).abs().max() for found in (loose, tight)]
    # the end at log-SNR -20 is the prior to about the mean's share of it, e^-10 times a deviation
    assert errors[1] < 5 * math.exp(-10) < errors[0] < 0.1
    assert bool((tight.calls > loose.calls).all())


def test_point_beliefs_start_at_a_noise_level():
    denoiser = plane()
    x = denoiser.draw(Seeds.range(0, 40))
    found = flow_log_density(PointDenoiser(denoiser), x)
    assert found.level == 0.002
    assert_close(found.nats, denoiser.log_density_at(x, 1.0, 0.002), atol=1e-3, rtol=0)
    wide = flow_log_density(PointDenoiser(denoiser), x, level=0.5)
    assert_close(wide.nats, denoiser.log_density_at(x, 1.0, 0.5), atol=1e-3, rtol=0)


def test_it_is_the_plain_equation_of_the_theory():
    """Solved by SciPy from the same time to the same end: for a network, whose density nobody knows."""
    network = small_network().double()
    process, level = network.process, 0.3
    t = float(process.schedule.time_at_sigma(level))
    x = torch.randn(2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = flow_log_density(network, x, level=level, tolerance=1e-6, end_density="prior")
    alpha = process.schedule.alpha(t)
    plain = log_density_by_flow(network, alpha * x, t, tolerance=1e-6) + 5 * alpha.log()
    assert_close(found.nats, plain, atol=1e-4, rtol=0)


def test_samples_of_any_shape_and_conditions():
    denoiser = grid()
    x = denoiser.draw(Seeds.range(0, 6))
    label = torch.arange(6) % 2
    for found, exact in (
        (flow_log_density(denoiser, x), denoiser.log_density(x, 0.0)),
        (flow_log_density(denoiser, x, condition={"label": label}), denoiser.log_density(x, 0.0, label=label)),
        (flow_log_density(denoiser.given({"label": label}), x, batch=5), denoiser.log_density(x, 0.0, label=label)),
    ):
        assert_close(found.nats, exact, atol=1e-3, rtol=1e-5)
        assert bool((found.elements == 4).all())


def test_a_sample_is_the_same_alone_and_in_any_batch():
    denoiser = grid()
    x, seeds = denoiser.draw(Seeds.range(0, 5)), Seeds.range(3, 5)
    for method in ("exact", "hutchinson", "hutch++"):
        options = {"divergence": method, "probes": 3, "level": 0.1, "tolerance": 1e-4}
        whole = flow_log_density(denoiser, x, seeds=seeds, **options)
        parts = flow_log_density(denoiser, x, seeds=seeds, batch=3, **options)
        alone = flow_log_density(denoiser, x[[4]], seeds=seeds[4:5], **options)
        assert_close(whole.nats, parts.nats, atol=1e-9, rtol=0)
        assert_close(whole.nats[[4]], alone.nats, atol=1e-9, rtol=0)
        assert torch.equal(whole.calls[[4]], alone.calls)


class PaddedDenoiser(Denoiser):
    """A set of independent numbers, each of one mixture; padded ones are as a network gives them, zero."""

    def __init__(self, exact):
        super().__init__()
        self.exact, self.process = exact, exact.process

    def forward(self, xt, t, drop=None, mask=None, **condition):
        each = self.exact(xt.reshape(-1, 1), t.repeat_interleave(xt.shape[1])).mean.reshape(xt.shape)
        return PointPosterior(torch.where(mask, each, 0.0))


@pytest.mark.parametrize("method", ["exact", "hutch++"])
def test_padded_places_do_not_count(method):
    exact = MixtureDenoiser([0.6, 0.4], [[-0.5], [0.8]], [0.04, 0.09], GaussianProcess())
    mask = torch.arange(4) < torch.tensor([[4], [2], [1]])
    x = exact.draw(Seeds.range(0, 12)).reshape(3, 4).masked_fill(~mask, math.nan)
    found = flow_log_density(PaddedDenoiser(exact), x, condition={"mask": mask}, divergence=method, probes=4)
    each = exact.log_density_at(x.nan_to_num().reshape(-1, 1), 1.0, 0.002).reshape(3, 4)
    assert found.elements.tolist() == [4, 2, 1]
    assert_close(found.nats, each.masked_fill(~mask, 0.0).sum(1), atol=2e-3, rtol=0)


@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
def test_standard_errors_cover(method):
    """Misses in units of the standard error have Student's law, so 90% lie within its middle 90%."""
    law = {"hutchinson": checks.long_and_thin, "hutch++": checks.all_widths}[method]
    denoiser, count, probes = law(GaussianProcess(), 32), 60, 8
    x = denoiser.draw(Seeds.range(0, count))
    found = flow_log_density(denoiser, x, level=0.1, divergence=method, probes=probes, tolerance=1e-3)
    miss = (found.nats - denoiser.log_density_at(x, 1.0, 0.1)) / found.standard_error
    assert found.probes == probes
    assert stats.kstest(miss.numpy(), stats.t(probes - 1).cdf).pvalue > 1e-5
    low, high = found.interval(0.9)
    exact = denoiser.log_density_at(x, 1.0, 0.1)
    inside = ((low < exact) & (exact < high)).sum()
    assert stats.binomtest(int(inside), count, 0.9).pvalue > 1e-5


def test_one_probe_taken_for_many_makes_the_standard_error_too_small(monkeypatch):
    """The mutant that the calibration is there for: all probes one and the same but for a thousandth."""
    plan = TraceEstimator.plan.__func__

    def shared(cls, x, *arguments):
        made = plan(cls, x, *arguments)
        same = made.probes[:1] + 1e-3 * (made.probes - made.probes[:1])
        return cls(made.method, same, made.sketches, made.there)

    monkeypatch.setattr(TraceEstimator, "plan", classmethod(shared))
    with pytest.raises(AssertionError):
        test_standard_errors_cover("hutchinson")


def test_the_gradient_is_the_score():
    denoiser = plane()
    x = denoiser.draw(Seeds.range(0, 20)).requires_grad_()
    found = flow_log_density(denoiser, x, tolerance=1e-7, differentiable=True)
    (gradient,) = torch.autograd.grad(found.nats.sum(), x)
    assert_close(gradient, denoiser.score(x.detach(), 0.0), atol=1e-4, rtol=1e-4)


class LearntVariance(Denoiser):
    """Normal data whose log-variance is a weight."""

    def __init__(self, value, mean=0.3):
        super().__init__()
        self.process, self.mean = GaussianProcess(), mean
        self.weight = torch.nn.Parameter(torch.tensor(value, dtype=torch.float64))

    def forward(self, xt, t, drop=None, **condition):
        alpha, sigma = self.process.coefficients(t, xt)
        variance = self.weight.exp()
        gain = alpha * variance / (alpha.square() * variance + sigma.square())
        return PointPosterior(self.mean + gain * (xt - alpha * self.mean))


@pytest.mark.parametrize("method", ["exact", "hutchinson"])
def test_the_gradient_reaches_the_weights(method):
    """Against the normal law's own derivative, and against a central difference of the whole computation."""
    x = torch.tensor([[0.4, 1.1], [-0.9, 0.2]], dtype=torch.float64)
    options = {"level": 0.1, "tolerance": 1e-7, "divergence": method, "probes": 2}
    denoiser = LearntVariance(-1.0)
    found = flow_log_density(denoiser, x, differentiable=True, **options)
    (gradient,) = torch.autograd.grad(found.nats.sum(), denoiser.weight)
    variance = math.exp(-1.0)
    total = variance + 0.01
    expected = (((x - 0.3).square() / total - 1) / 2).sum() * variance / total
    assert_close(gradient, expected, atol=1e-4, rtol=1e-4)
    up, down = (flow_log_density(LearntVariance(-1.0 + step), x, **options).nats.sum() for step in (1e-3, -1e-3))
    assert_close(gradient, (up - down) / 2e-3, atol=1e-4, rtol=1e-4)


def test_without_differentiation_no_graph_is_kept_and_no_gradient_left():
    network = small_network()
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = flow_log_density(network, x, tolerance=1e-4)
    assert not found.nats.requires_grad
    assert x.grad is None
    assert all(weight.grad is None for weight in network.parameters())
    assert found.nats.dtype == torch.float64


def test_the_end_may_be_the_prior_a_matched_gaussian_or_a_given_law():
    """A schedule that ends early: the prior misses mean and variance there, the matched Gaussian only the shape."""
    denoiser = plane(EDMSchedule(sigma_max=10.0))
    x = denoiser.draw(Seeds.range(0, 40))
    exact = denoiser.log_density(x, 0.0)
    ends = ("prior", "matched", denoiser.log_density)
    errors = [(flow_log_density(denoiser, x, end_density=end).nats - exact).abs().max() for end in ends]
    assert errors[0] > 1e-2
    assert errors[1] < errors[0] / 3
    assert errors[2] < 2e-4


def test_what_is_told_is_said():
    found = LogDensity(
        torch.tensor([-3.0, -5.0], dtype=torch.float64),
        torch.tensor([0.1, 0.3], dtype=torch.float64),
        torch.tensor([100, 120]),
        torch.tensor([4, 2]),
        "hutch++",
        8,
        0.002,
    )
    assert_close(found.bits_per_dimension, torch.tensor([0.75, 2.5], dtype=torch.float64) / math.log(2))
    assert_close(found.bits_standard_error, torch.tensor([0.025, 0.15], dtype=torch.float64) / math.log(2))
    low, high = found.interval()
    assert_close((high - low) / 2, found.standard_error * stats.t(7).ppf(0.975))
    for part in ("-4.0000 ± 1 nats over 2 samples", "noise 0.002 added", "hutch++, 8 probes", "120 calls"):
        assert part in str(found)
    with pytest.raises(InputError, match="coverage"):
        found.interval(1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(3, 2, dtype=torch.int64)}, "tensor of real numbers"),
        ({"x": torch.zeros(0, 2)}, "tensor of real numbers"),
        ({"x": torch.tensor([[0.0, 1.0], [math.inf, 0.0]])}, "row 1 is not"),
        ({"tolerance": 0.0}, "tolerance must lie"),
        ({"level": -1.0}, "noise level must be"),
        ({"level": 1e9}, "noise level must be"),
        ({"end_density": "priro"}, "did you mean 'prior'"),
        ({"divergence": "trace"}, "unknown method"),
        ({"divergence": "hutchinson", "probes": 1}, "at least 2 probes"),
        ({"seeds": Seeds.range(0, 2)}, "2 seeds for a batch of 3"),
        ({"condition": {"label": torch.zeros(2, dtype=torch.int64)}}, "a row for each of the 3"),
        ({"condition": {"mask": torch.ones(3, 3, dtype=torch.bool)}}, "a mask is boolean"),
        ({"batch": 0}, "at least 1 sample"),
        ({"max_calls": 10}, "max_calls"),
    ],
)
def test_bad_input_is_refused(change, message):
    x = change.pop("x", torch.zeros(3, 2, dtype=torch.float64))
    with pytest.raises(InputError, match=message):
        flow_log_density(plane(), x, **change)


def test_other_spaces_and_laws_without_density_are_told():
    torus = WrappedMixtureDenoiser.examples()["one angle"]
    with pytest.raises(InputError, match="Euclidean"):
        flow_log_density(torus, torch.zeros(2, 1))
    points = EmpiricalDenoiser(torch.tensor([[0.0, 0.0], [1.0, 0.5]], dtype=torch.float64), GaussianProcess())
    x = torch.tensor([[0.1, 0.2]], dtype=torch.float64)
    with pytest.raises((NonFiniteError, InputError), match="level"):
        flow_log_density(points, x, max_calls=2000)
    found = flow_log_density(points, x, level=0.2)
    assert_close(found.nats, points.log_density_at(x, 1.0, 0.2), atol=1e-3, rtol=0)


CHECKS = {"exact": checks.flow_density_is_exact, "one": checks.flow_density_integrates_to_one}


def without_jacobian(monkeypatch):
    call = TraceEstimator.__call__

    def zero(self, field, x, differentiable=False):
        values, traces = call(self, field, x, differentiable)
        return values, 0 * traces

    monkeypatch.setattr(TraceEstimator, "__call__", zero)


def with_the_wrong_sign(monkeypatch):
    told = module.mean_and_error
    monkeypatch.setattr(module, "mean_and_error", lambda estimates: told(-estimates))


def with_a_wrong_prior(monkeypatch):
    told = module._gaussian_at_end
    monkeypatch.setattr(
        module,
        "_gaussian_at_end",
        lambda flow, z, squared, elements, matched: told(flow, 1.05 * z, squared, elements, matched),
    )


@pytest.mark.parametrize("mutant", [without_jacobian, with_the_wrong_sign, with_a_wrong_prior])
@pytest.mark.parametrize("name", ["exact", "one"])
def test_mutants_are_caught(name, mutant, monkeypatch):
    mutant(monkeypatch)
    try:
        caught = any(not figure.passed for figure in CHECKS[name](flow_log_density, Effort(quick=True)))
    except InputError:  # refused, since the score at the end is no Gaussian's
        caught = True
    assert caught

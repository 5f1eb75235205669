"""Wrapped mixtures: the belief against quadrature, the ends of time, what is refused, and broken copies."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from thresholds import assert_distribution

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.exact.wrapped import WrappedMixtureDenoiser
from unstir.processes import wrapped_normal
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.verification.base import Effort
from unstir.verification.checks import exact_spaces as checks

UNIT = WrappedProcess(ExponentialVESchedule(0.01, 2.0))
LAW = WrappedMixtureDenoiser.examples()["one angle"]
LABELLED = WrappedMixtureDenoiser.examples()["angle and phase, labelled"]


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def fails(check, law):
    return not all(figure.passed for figure in check(law, Effort(quick=True)))


def wrapped_pdf(x, centre, deviation):
    return sum(stats.norm.pdf(x - centre + k, scale=deviation) for k in range(-30, 31))


@pytest.mark.parametrize("t", [0.2, 0.4, 0.75, 0.95])
@pytest.mark.parametrize("xt", [0.02, 0.51, 0.93])
def test_belief_by_quadrature(t, xt):
    """Density of the marginal, score, circular mean: by the rectangle rule, exact for what is smooth and periodic."""
    sigma = LAW.process.schedule.sigma(t).item()
    x = np.arange(2_000) / 2_000
    clean = sum(
        weight * wrapped_pdf(x, mean, deviation)
        for weight, mean, deviation in zip((0.5, 0.3, 0.2), (0.02, 0.4, 0.7), (0.04, 0.1, 0.3), strict=True)
    )
    joint = clean * wrapped_pdf(xt, x, sigma)
    marginal = joint.mean()
    moment = (joint * np.exp(2j * np.pi * x)).mean() / marginal
    windings = xt - x[:, None] + np.arange(-30, 31)
    slopes = (-windings / sigma**2 * stats.norm.pdf(windings, scale=sigma)).sum(1)
    seen = torch.tensor([[xt]], dtype=torch.float64)
    belief = LAW(seen, scalar(t))
    assert LAW.log_density(seen, t).item() == pytest.approx(math.log(marginal), rel=1e-9, abs=1e-10)
    assert belief.moment.item() == pytest.approx(moment, abs=1e-10)
    assert belief.mean.item() == pytest.approx(np.angle(moment) / (2 * np.pi) % 1, abs=1e-9)
    assert LAW.score(seen, t).item() == pytest.approx((clean * slopes).mean() / marginal, rel=1e-9, abs=1e-10)


def test_belief_is_differentiable():
    """The gradient of the mean against a central difference."""
    xt = torch.tensor([[0.3], [0.55]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(LAW(xt, scalar(0.5)).mean.sum(), xt)
    step = 1e-6
    plain = xt.detach()
    difference = (LAW(plain + step, scalar(0.5)).mean - LAW(plain - step, scalar(0.5)).mean) / (2 * step)
    torch.testing.assert_close(gradient, difference, rtol=1e-6, atol=1e-8)


def test_uniform_is_a_member():
    law = WrappedMixtureDenoiser([1.0], [[0.3]], math.inf, UNIT)
    drawn = law.draw(Seeds.range(0, 20_000))
    assert_distribution(drawn, stats.uniform.cdf)
    assert law.log_density(drawn, 0.0).abs().max() == 0
    assert law.score(drawn, 0.3).abs().max() == 0
    xt = torch.full((20_000, 1), 0.4, dtype=torch.float64)
    posterior = law(xt, scalar(0.5)).sample(Seeds.range(1, 20_000))
    assert_distribution(
        wrapped_normal.shortest(posterior - 0.4, 1.0), stats.norm(0, UNIT.schedule.sigma(0.5).item()).cdf
    )


def test_points_are_members():
    """Without deviation: at any noise the belief lies on the points, and at time 0 where the state is."""
    law = WrappedMixtureDenoiser([0.5, 0.5], [[0.25], [0.75]], 0.0, UNIT)
    belief = law(torch.tensor([[0.3], [0.7]], dtype=torch.float64), scalar(0.5))
    assert set(belief.sample(Seeds.range(0, 2)).flatten().tolist()) <= {0.25, 0.75}
    clean = torch.tensor([[0.25], [0.75]], dtype=torch.float64)
    torch.testing.assert_close(law(clean, scalar(0.0)).mean, clean, rtol=0, atol=1e-14)


def test_every_sample_may_have_its_own_time_and_label():
    xt = LABELLED.draw(Seeds.range(0, 4), 0.5)
    times = torch.tensor([0.1, 0.4, 0.7, 1.0], dtype=torch.float64)
    label = torch.tensor([0, 1, 1, 0])
    together = LABELLED(xt, times, label=label)
    density = LABELLED.log_density(xt, times, label=label)
    for row in range(4):
        one = slice(row, row + 1)
        torch.testing.assert_close(together.mean[one], LABELLED(xt[one], times[row], label=label[one]).mean)
        torch.testing.assert_close(density[one], LABELLED.log_density(xt[one], times[row], label=label[one]))


def test_label_draws_from_its_components():
    drawn = LABELLED.draw(Seeds.range(0, 500), label=torch.zeros(500, dtype=torch.int64))
    assert (wrapped_normal.shortest(drawn[:, 0] - 6.2, 2 * math.pi).abs() < 5 * 0.35).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, -0.5], [[0.1], [0.2]], 0.1), "none negative and not all zero"),
        (([1.0], [[0.1], [0.2]], 0.1), r"weights are one a component, .*; seen shape \(1,\) for 2"),
        (([1.0], [0.1], 0.1), r"of shape \(components, ...\); seen \(1,\)"),
        (([1.0], [[math.nan]], 0.1), "means are finite"),
        (([1.0], [[0.1]], -0.1), "not negative; seen"),
        (([1.0], [[0.1]], [0.1, 0.2]), "every component needs a deviation|deviations are a number"),
        (([1.0], [[0.1, 0.2]], [[0.1, 0.2, 0.3]]), "deviations are a number, one a component, or one a mean"),
        (([1.0], [[0.1]], 0.1, UNIT, [0, 1]), "labels are one whole number a component"),
    ],
)
def test_what_is_no_law_is_refused(arguments, message):
    process = () if len(arguments) > 3 else (UNIT,)
    with pytest.raises(InputError, match=message):
        WrappedMixtureDenoiser(*arguments, *process)


def test_what_is_no_state_or_condition_is_refused():
    x = torch.zeros(2, 1, dtype=torch.float64)
    with pytest.raises(InputError, match=r"samples have the shape \(1,\); seen \(3,\)"):
        LAW(torch.zeros(2, 3), scalar(0.5))
    with pytest.raises(InputError, match="give it labels to make it conditional"):
        LAW(x, scalar(0.5), label=torch.zeros(2, dtype=torch.int64))
    with pytest.raises(InputError, match="does not know the condition 'labl'; did you mean 'label'"):
        LABELLED.log_density(torch.zeros(2, 2), 0.5, labl=torch.zeros(2))
    with pytest.raises(InputError, match=r"no part of the law has the label 7; allowed: \[0, 1\]"):
        LABELLED(torch.zeros(2, 2), scalar(0.5), label=torch.tensor([7, 0]))
    with pytest.raises(InputError, match="a whole number a sample"):
        LABELLED(torch.zeros(2, 2), scalar(0.5), label=torch.tensor([0]))


@pytest.mark.parametrize("t", [0.0, 1e-12, 1e-6, 0.2, 1.0])
def test_nothing_overflows_in_single_precision(t):
    xt = LABELLED.draw(Seeds.range(0, 200), t).float()
    for value in (LABELLED(xt, scalar(t)).mean, LABELLED.score(xt, t), LABELLED.log_density(xt, t)):
        assert value.isfinite().all()
    assert LABELLED.score(xt, t).dtype == torch.float32


class TestBrokenCopies:
    """Each breaks one claim, and the check of that claim sees it."""

    def test_density_without_the_noise(self):
        class Mutant(WrappedMixtureDenoiser):
            def log_density(self, xt, t, **condition):
                return super().log_density(xt, 0.9 * t, **condition)

        mutant = Mutant.examples()["one angle"]
        assert fails(checks.belief_follows_bayes, mutant)

    def test_density_that_forgets_the_period(self):
        class Mutant(WrappedMixtureDenoiser):
            def log_density(self, xt, t, **condition):
                return super().log_density(xt, t, **condition) + math.log(2 * math.pi)

        assert fails(checks.density_sums_to_one, Mutant.examples()["angle and phase, labelled"])

    def test_belief_that_knows_of_no_windings(self, monkeypatch):
        monkeypatch.setattr(wrapped_normal, "_WINDINGS", 0)
        assert fails(checks.belief_follows_bayes, LAW)

    def test_belief_that_is_too_narrow(self):
        class Mutant(WrappedMixtureDenoiser):
            def forward(self, xt, t, drop=None, **condition):
                return super().forward(xt, 0.9 * t, drop, **condition)

        mutant = Mutant.examples()["one angle"]
        assert fails(checks.belief_stands_for_the_clean_data, mutant)
        assert fails(checks.belief_follows_bayes, mutant)

    def test_draws_of_other_weights(self):
        class Mutant(WrappedMixtureDenoiser):
            def draw(self, seeds, t=0.0, **condition):
                return WrappedMixtureDenoiser(np.ones(3), self.means, self.deviations, self.process).draw(seeds, t)

        assert fails(checks.draws_follow_the_density, Mutant.examples()["one angle"])

    def test_score_of_the_nearest_winding_alone(self, monkeypatch):
        broken = wrapped_normal.score

        class Mutant(WrappedMixtureDenoiser):
            def score(self, xt, t, **condition):
                with monkeypatch.context() as patched:
                    patched.setattr(wrapped_normal, "_DIRECT_TERMS", 0)
                    return super().score(xt, t, **condition)

        assert broken is wrapped_normal.score
        assert fails(checks.torus_score_is_the_gradient, Mutant.examples()["one angle"])

    def test_label_that_changes_the_weights_alone(self):
        class Mutant(WrappedMixtureDenoiser):
            def log_density(self, xt, t, **condition):
                return super().log_density(xt, t)

        law = Mutant.examples()["angle and phase, labelled"]
        assert not fails(checks.label_chooses_among_components, LABELLED)
        # without a label's effect the sum over labels is the same, so that the belief must tell: draws given a label
        seeds = Seeds.range(0, 100)
        zero = torch.zeros(100, dtype=torch.int64)
        drawn = law.draw(seeds, label=zero)
        assert not torch.allclose(LABELLED.log_density(drawn, 0.0, label=zero), law.log_density(drawn, 0.0, label=zero))

"""Heavy-tailed noise: what it refuses, its clock in high precision, times one by one, and broken copies."""

import math
from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
import torch
from mutants import is_caught
from scipy import stats

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes import student_clock
from unstir.processes.heavy_tailed import HeavyTailedProcess
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.verification.checks import heavy_tailed as checks
from unstir.verification.checks import processes as general


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("degrees", [0.1, 1000, math.nan])
def test_degrees_out_of_range_are_refused(degrees):
    with pytest.raises(InputError, match=r"within 0.5 and 100; seen .*; for more, take the process gaussian"):
        HeavyTailedProcess(degrees=degrees)


def test_time_is_not_turned_round():
    x, process = torch.zeros(2, 1), HeavyTailedProcess()
    with pytest.raises(InputError, match="s must not exceed t"):
        process.bridge(x, PointPosterior(x), scalar(0.3), scalar(0.4), Seeds.range(0, 2))
    with pytest.raises(InputError, match="s must not exceed t"):
        process.transition(x, scalar(0.4), scalar(0.3), Seeds.range(0, 2))


@pytest.mark.parametrize(("degrees", "c"), [(3.0, 0.5), (1.0, 0.9), (7.0, 0.2)])
def test_the_clocks_law_in_high_precision(degrees, c):
    """Density and rank by mpmath's own inversion, in forty digits."""
    law = student_clock.increment(degrees, c)

    def transform(p):
        z = mpmath.sqrt(2 * degrees * p)
        return mpmath.mpf(c) ** (-degrees / 2) * mpmath.besselk(degrees / 2, z) / mpmath.besselk(degrees / 2, c * z)

    ranks = np.array([0.05, 0.5, 0.95, 0.9999])
    places = law.quantile(ranks)
    told = law.log_density(places)
    with mpmath.workdps(40):
        for rank, place, log_density in zip(ranks, places, told, strict=True):
            density = mpmath.invertlaplace(transform, mpmath.mpf(place), method="talbot", degree=40)
            above = mpmath.invertlaplace(
                lambda p: (1 - transform(p)) / p, mpmath.mpf(place), method="talbot", degree=40
            )
            assert log_density == pytest.approx(float(mpmath.log(density)), abs=1e-5)
            assert float(above) == pytest.approx(1 - rank, rel=1e-6)


def test_the_far_tail_is_a_power():
    law = student_clock.increment(2.0, 0.6)
    ranks = 1 - np.array([1e-12, 1e-14])
    slope = np.diff(np.log(law.quantile(ranks)))[0] / math.log(100)
    assert slope == pytest.approx(1.0, rel=0.01)  # 2/degrees
    # Doob: the tail of the whole is that of its largest leap, so the gain has the share 1 - c^degrees of it
    far = law.quantile(np.array([1 - 1e-9]))[0]
    assert 1e-9 / stats.chi2(2).cdf(2 / far) == pytest.approx(1 - 0.6**2, rel=0.01)


def test_times_may_differ_from_sample_to_sample():
    process, count = HeavyTailedProcess(RectifiedFlowSchedule(), 3.0), 4
    x0, seeds = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(count, 2), Seeds.range(0, count)
    t = torch.tensor([0.2, 0.5, 0.5, 1.0], dtype=torch.float64)
    s = torch.tensor([0.1, 0.0, 0.5, 0.3], dtype=torch.float64)
    xt = process.noise(x0, t, seeds.at("noise"))
    together = process.bridge(xt, PointPosterior(x0), t, s, seeds)
    on = process.transition(xt * 0.5, s, t, seeds)
    for row in range(count):
        one = slice(row, row + 1)
        alone = process.bridge(xt[one], PointPosterior(x0[one]), t[row], s[row], seeds[one])
        assert torch.equal(alone, together[one])
        assert torch.equal(process.transition(xt[one] * 0.5, s[row], t[row], seeds[one]), on[one])
    assert torch.equal(together[1], x0[1])
    assert torch.equal(together[2], xt[2])


def test_padded_places_stay_zero_and_do_not_count():
    process, mask = HeavyTailedProcess(shared=True), torch.tensor([[True, True, False]])
    x0 = torch.tensor([[[0.3], [-0.4], [0.0]]], dtype=torch.float64)
    xt = process.noise(x0, scalar(0.5), Seeds.range(0, 1), mask)
    back = process.bridge(xt, PointPosterior(x0), scalar(0.5), scalar(0.2), Seeds.range(1, 1), mask)
    assert xt[0, 2].item() == 0
    assert back[0, 2].item() == 0
    _, count = process._squares(xt, mask)
    assert count.item() == 2


def test_shared_noise_comes_in_one_size():
    process = HeavyTailedProcess(degrees=2.0, shared=True)
    drawn = process.prior((50,), Seeds.range(0, 2000), 1.0, torch.float64)
    sizes = drawn.square().mean(1)
    # of normal numbers the mean square of fifty would vary by a fifth; here it is 2/chi^2_2 at large
    assert stats.kstest(1 / sizes.numpy(), lambda x: stats.f(2, 50).cdf(x)).pvalue > 1e-6


@dataclass(frozen=True)
class NormalSteps(HeavyTailedProcess):
    """Transitions gain the clock's mean, as normal noise would."""

    def _gained(self, c, u):
        return np.full_like(u, (1 - c**2) * self.degrees / (self.degrees - 2))


@dataclass(frozen=True)
class EvenShares(HeavyTailedProcess):
    """The bridge passes the clock evenly."""

    def _own(self, c, u, whole):
        return whole


@dataclass(frozen=True)
class OtherTails(HeavyTailedProcess):
    """Its noise has one degree of freedom more than it says."""

    def _student(self, seeds, shape, dtype):
        return HeavyTailedProcess(self.schedule, self.degrees + 1)._student(seeds, shape, dtype)


def test_broken_copies_are_caught():
    assert is_caught(general.noise_composes, None, NormalSteps(degrees=3.0))
    assert is_caught(
        checks.steps_of_the_bridge_are_independent, HeavyTailedProcess(degrees=3.0), EvenShares(degrees=3.0)
    )
    assert is_caught(checks.noise_is_students, HeavyTailedProcess(degrees=1.0), OtherTails(degrees=1.0))

import math

import numpy as np
import pytest
from scipy import stats
from scipy.signal import argrelextrema

from unstir import CosineSchedule, GaussianProcess
from unstir.core.errors import InputError
from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.linear_vp import LinearVPSchedule
from unstir.theory.modes import merging_log_snr, merging_times, modes_of
from unstir.verification.base import Effort
from unstir.verification.checks import theory


def line(weights, means, variances, process=None):
    return MixtureDenoiser(weights, [[mean] for mean in means], variances, process or GaussianProcess())


def stationary_points(weights, means, variances, schedule, t, count=400_001):
    """Peaks and troughs of the density on a fine grid, by NumPy alone."""
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    centres, widths = alpha * np.array(means), np.sqrt(alpha**2 * np.array(variances) + sigma**2)
    grid = np.linspace((centres - 4 * widths).min(), (centres + 4 * widths).max(), count)
    density = (np.array(weights) * stats.norm.pdf(grid[:, None], centres, widths)).sum(1)
    return (grid[argrelextrema(density, order)[0]] for order in (np.greater, np.less)), grid[1] - grid[0]


@pytest.mark.parametrize("number", range(12))
def test_peaks_and_troughs_of_random_mixtures(number):
    random = np.random.default_rng(number)
    count = int(random.integers(2, 7))
    weights, means = random.dirichlet(np.full(count, 2.0)).tolist(), random.normal(0, 1.5, count).tolist()
    variances = random.uniform(0.003, 0.2, count).tolist()
    schedule = EDMSchedule(sigma_max=10.0) if number % 2 else CosineSchedule()
    denoiser = line(weights, means, variances, GaussianProcess(schedule))
    for level in (8.0, 2.0, 0.5, -1.0):
        t = float(schedule.time(level))
        found = modes_of(denoiser, t)
        (peaks, troughs), step = stationary_points(weights, means, variances, schedule, t)
        assert len(found) == len(peaks)
        np.testing.assert_allclose(found.peaks, peaks, rtol=0, atol=step)
        np.testing.assert_allclose(found.troughs, troughs, rtol=0, atol=step)


def test_peaks_are_found_to_rounding():
    """Of a symmetric pair: x = tanh(x m/v) m with alpha = 1, solved by iteration."""
    denoiser = line([0.5, 0.5], [-1.0, 1.0], [0.3, 0.3])
    place = 1.0
    for _ in range(200):
        place = math.tanh(place / 0.3)
    found = modes_of(denoiser, 0.0)
    np.testing.assert_allclose(found.peaks, [-place, place], rtol=1e-13)
    np.testing.assert_allclose(found.troughs, [0.0], atol=1e-13)


def test_three_peaks_become_two_become_one():
    """At each merging time found, the peaks of the density itself are one fewer just after than just before."""
    weights, means, variances = [0.5, 0.3, 0.2], [-1.2, 0.2, 1.5], [0.01, 0.02, 0.015]
    schedule = LinearVPSchedule()
    merged = merging_times(line(weights, means, variances, GaussianProcess(schedule)))
    assert [(found.before, found.after) for found in merged] == [(3, 2), (2, 1)]
    assert merged[0].time < merged[1].time
    for found in merged:
        for shift, count in ((1e-3, found.before), (-1e-3, found.after)):
            t = float(schedule.time(found.log_snr + shift))
            (peaks, _), _ = stationary_points(weights, means, variances, schedule, t)
            assert len(peaks) == count


def test_a_shoulder_is_no_peak_but_becomes_none_either():
    """A pair so unequal that from the start the small one is a shoulder: one peak at all times, nothing merges."""
    denoiser = line([0.97, 0.03], [0.0, 1.0], [0.2, 0.2])
    assert len(modes_of(denoiser, 0.0)) == 1
    assert merging_times(denoiser) == []


def test_bounds_that_are_asked_for_are_kept():
    denoiser = line([0.5, 0.5], [-1.0, 1.0], [0.05, 0.05])
    assert len(modes_of(denoiser, 0.0, lower=0.2)) == 1
    assert len(modes_of(denoiser, 0.0, -3, 3, cells=40)) == 2


def test_bad_input_is_told():
    plane = MixtureDenoiser([1.0], [[0.0, 0.0]], [1.0], GaussianProcess())
    with pytest.raises(InputError, match="on the line"):
        modes_of(plane, 0.5)
    denoiser = line([0.5, 0.5], [-1.0, 1.0], [0.05, 0.05])
    with pytest.raises(InputError, match="lower < upper"):
        modes_of(denoiser, 0.5, 1.0, 0.0)
    with pytest.raises(InputError, match="positive tolerance"):
        merging_times(denoiser, tolerance=0.0)
    with pytest.raises(InputError, match="more than two deviations"):
        merging_log_snr(1.0, 0.5)


class Late(CosineSchedule):
    """Its noise is a percent stronger than the log-SNR that it tells."""

    def sigma(self, t):
        return 1.01 * super().sigma(t)


def test_a_schedule_with_wrong_noise_is_caught():
    assert any(not found.passed for found in theory.equal_peaks_merge_where_told(Late(), Effort(quick=True)))

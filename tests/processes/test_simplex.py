"""Noise on compositions: what it refuses, the same law by way of the transform, masks, beliefs, and broken copies."""

import pytest
import torch
from mutants import is_caught, misses
from scipy import stats
from thresholds import assert_distribution

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.transforms import LogRatio
from unstir.denoisers.learned.simplex import SimplexDenoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.exact.simplex import LogisticNormalMixtureDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.simplex import SimplexProcess
from unstir.verification.checks import simplex as own_checks

THREE = SimplexProcess()


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SimplexProcess(parts=1), "2 parts at least; seen 1"),
        (lambda: SimplexProcess(EDMSchedule()), "sigma 80 in log-ratios .* ends at 9 at most"),
        (lambda: THREE.noise(torch.zeros(2, 4), scalar(0.5), Seeds.range(0, 2)), r"\(batch, ..., 3\); seen \(2, 4\)"),
        (lambda: THREE.coordinates(torch.tensor([[0.5, 0.5, 0.0]])), "the least of these is 0"),
        (lambda: THREE.prior((4,), Seeds.range(0, 2)), r"has the shape \(..., 3\); seen \(4,\)"),
    ],
)
def test_what_is_no_composition_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_it_is_the_gaussian_process_seen_through_the_log_ratio():
    """The very draws of the Gaussian process in coordinates, and the density with the transform's Jacobian."""
    x0, time = THREE.example_data(50), scalar(0.6)
    ratios, plain = LogRatio(), GaussianProcess(THREE.schedule)
    z0 = ratios.forward(x0)
    xt = THREE.noise(x0, time, Seeds.range(0, 50))
    zt = plain.transition(z0, scalar(0.0), time, Seeds.range(0, 50))
    torch.testing.assert_close(ratios.forward(xt), zt, rtol=1e-10, atol=1e-10)
    wanted = plain.log_density(zt, z0, time) + ratios.log_abs_det(xt)
    torch.testing.assert_close(THREE.log_density(xt, x0, time), wanted, rtol=1e-11, atol=1e-11)


def test_two_parts_are_logit_normal():
    """Against SciPy: the log-ratio of two parts over the square root of two is normal."""
    process, count = SimplexProcess(parts=2), 20_000
    x0 = torch.tensor([[0.9, 0.1]], dtype=torch.float64).repeat(count, 1)
    xt = process.noise(x0, scalar(0.5), Seeds.range(0, count))
    alpha, sigma = process.schedule.alpha(0.5).item(), process.schedule.sigma(0.5).item()
    law = stats.norm(alpha * torch.tensor(9.0).log().item(), 2**0.5 * sigma)
    assert_distribution(torch.logit(xt[:, 0]), law.cdf)


def test_float32_never_loses_a_part():
    process = SimplexProcess(parts=50)
    drawn = process.prior((50,), Seeds.range(0, 500))
    assert drawn.dtype == torch.float32 and process.contains(drawn).all()
    tiny = torch.full((3, 50), 1e-30)
    tiny[:, 0] = 1
    back = process.noise(tiny, scalar(1e-4), Seeds.range(0, 3))
    assert process.contains(back).all() and back.isfinite().all()


def test_padded_places_stay_empty():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    x0 = THREE.example_data(6).reshape(2, 3, 3) * mask[..., None]
    seeds, times = Seeds.range(0, 2), (scalar(0.6), scalar(0.3))
    noisy = THREE.noise(x0, times[0], seeds, mask)
    back = THREE.bridge(noisy, PointPosterior(x0), *times, seeds.at("back"), mask)
    for state in (noisy, back):
        assert (state[~mask] == 0).all() and state.isfinite().all()
        assert THREE.contains(state[mask]).all()


def test_learned_belief_is_the_state_where_there_is_no_noise_and_heeds_the_mask():
    denoiser = SimplexDenoiser(None, THREE, "sequence")
    xt = THREE.example_data(8).reshape(4, 2, 3)
    numbers = Seeds.range(0, 4).normal((2, denoiser.numbers), torch.float64)
    times = torch.zeros(4, dtype=torch.float64)
    torch.testing.assert_close(denoiser.read(numbers, xt, times, None).mean, xt, rtol=1e-6, atol=1e-8)
    mask = torch.tensor([[True, False]] * 4)
    padded = xt * mask[..., None]
    belief = denoiser.read(numbers, padded, times + 0.4, mask)
    alone = denoiser.read(numbers[:, :1], xt[:, :1], times + 0.4, None)
    torch.testing.assert_close(belief.loss(padded, mask), alone.loss(xt[:, :1]))
    assert denoiser.network_size((2, 3)) == ((2, 2), 10)  # 2 log-ratios; 4 components of 5 numbers
    with pytest.raises(InputError, match="must be positive; seen 0"):
        SimplexDenoiser(None, THREE, sigma_data=0.0)
    with pytest.raises(InputError, match="at least 1 component"):
        SimplexDenoiser(None, THREE, components=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [[0.2, 0.3, 0.5]], 0.0), "and positive"),
        (([0.5, 0.5], [[0.2, 0.3, 0.5], [0.6, 0.2, 0.2]], [0.1, 0.1, 0.1]), "deviations are a number"),
        (([1.0], [[0.2, 0.8]], 0.1), "compositions of 3 parts"),
    ],
)
def test_laws_that_are_none_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        LogisticNormalMixtureDenoiser(*arguments, THREE)


def test_label_chooses_a_component():
    law = LogisticNormalMixtureDenoiser.examples()["two compositions, labelled"]
    state = law.draw(Seeds.range(0, 40), 0.4)
    label = torch.ones(40, dtype=torch.int64)
    parts = [
        law.log_density(state, 0.4, label=which) + scalar(w).log() for which, w in ((0 * label, 0.4), (label, 0.6))
    ]
    torch.testing.assert_close(torch.logaddexp(*parts), law.log_density(state, 0.4), rtol=1e-12, atol=1e-12)
    with pytest.raises(InputError, match=r"samples have the shape \(2, 2\); seen \(2,\)"):
        law(state[:, 0], scalar(0.4))


class LastPartApart(SimplexProcess):
    """Noise of the additive log-ratios: the last part is in all of them."""

    def composition(self, z, dtype=torch.float64):
        return LogRatio("additive").inverse(z.double()).to(dtype)

    def coordinates(self, x):
        return LogRatio("additive").forward(x.double())


def test_noise_that_favours_a_part_is_caught():
    assert is_caught(own_checks.composition_noise_favours_no_part, THREE, LastPartApart())


def test_a_belief_that_does_not_shrink_is_caught(monkeypatch):
    law = LogisticNormalMixtureDenoiser.examples()["three parts"]
    honest = LogisticNormalMixtureDenoiser._joint

    def louder(self, xt, t, drop, condition):
        zt, alpha, sigma, logs = honest(self, xt, t, drop, condition)
        return zt, alpha, 1.1 * sigma, logs

    assert not misses(own_checks.composition_belief_follows_bayes, law)
    monkeypatch.setattr(LogisticNormalMixtureDenoiser, "_joint", louder)
    assert misses(own_checks.composition_belief_follows_bayes, law)

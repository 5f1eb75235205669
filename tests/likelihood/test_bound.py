import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from mutants import is_caught, misses
from thresholds import assert_mean
from torch import nn
from torch.testing import assert_close

from unstir import CosineSchedule, GaussianProcess, Seeds
from unstir.core.errors import InputError, NonFiniteError
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import GaussianPosterior, PointPosterior, Posterior
from unstir.exact.mixture import MixtureDenoiser
from unstir.likelihood import bound as bounds
from unstir.likelihood.bits import bits_per_dimension
from unstir.likelihood.bound import continuous_bound, discrete_bound
from unstir.likelihood.reconstruction import (
    discretised_reconstruction,
    gaussian_reconstruction,
    level_reconstruction,
    log_interval,
)
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.verification.checks import likelihood_bound as checks
from unstir.verification.references import IN_THE_PLANE, NormalDenoiser, PointDenoiser

BOUNDS = [discrete_bound, continuous_bound]
PROCESS = GaussianProcess()


def plane(count, process=PROCESS):
    denoiser = IN_THE_PLANE.denoiser(process)
    return denoiser, denoiser.draw(Seeds.range(3, count).at("data"))


class Constant(Denoiser):
    """The same belief whatever it sees."""

    def __init__(self, belief, process=PROCESS):
        super().__init__()
        self.belief, self.process = belief, process

    def forward(self, xt, t, drop=None, **condition):
        return self.belief


class Counting(PointDenoiser):
    def __init__(self, denoiser):
        super().__init__(denoiser)
        self.times, self.modes = [], []

    def forward(self, xt, t, drop=None, **condition):
        self.times.append(t)
        self.modes.append(self.training)
        return super().forward(xt, t)


def test_a_belief_that_is_right_leaves_prior_and_reconstruction():
    """Nothing is paid for steps that are foretold; prior and reconstruction are closed forms."""
    x0 = Seeds.range(0, 5).normal((3,), torch.float64)
    told = discrete_bound(Constant(PointPosterior(x0)), x0, Seeds.range(1, 5), 40, log_snr=(-3, 7), draws=3)
    assert_close(told.prior, math.exp(-3) * x0.square().sum(1) / 2)
    # what is left is the control variate's chance, whose mean is zero
    assert (told.transitions.sum(1).abs() < 5 * told.standard_error + 1e-9).all()
    expected = 3 / 2 * math.log(2 * math.pi / math.exp(7))
    rest = told.total - told.prior - expected
    assert_mean(rest.numpy() / told.standard_error.numpy() / 10, 0.0)


def test_a_belief_that_is_wrong_by_a_constant_costs_the_snr_that_is_passed():
    """KL of Gaussians of one variance: half the gain of SNR times the squared error, exactly without the control."""
    x0 = torch.zeros(4000, 2, dtype=torch.float64)
    off = Constant(PointPosterior(x0 + 0.5))
    for bound in BOUNDS:
        told = bound(off, x0, Seeds.range(1, 4000), 4, log_snr=(-2, 2), draws=2)
        gained = told.log_snr.exp().diff()
        assert_mean(told.transitions.numpy(), (gained / 2 * 0.5).numpy())


def test_gaussian_beliefs_cost_the_divergence_of_gaussians():
    """Against torch's own KL of the bridge from x_0 to the bridge from the belief."""
    process, seeds = GaussianProcess(EDMSchedule(sigma_max=20.0)), Seeds.range(1, 6)
    x0 = Seeds.range(0, 6).normal((2, 3), torch.float64)
    mean, variance = x0 + 0.3 * x0.square(), 0.1 + x0.abs()
    times = torch.tensor([0.9, 0.6, 0.3], dtype=torch.float64)
    told = discrete_bound(Constant(GaussianPosterior(mean, variance), process), x0, seeds, times, draws=1)
    for number, (t, s) in enumerate([(0.9, 0.6), (0.6, 0.3)]):
        kept, pulled, deviation = process.bridge_coefficients(t, s)
        xt = torch.zeros_like(x0)  # both bridges move alike with the state
        true = torch.distributions.Normal(kept * xt + pulled * x0, deviation)
        model = torch.distributions.Normal(
            kept * xt + pulled * mean, (deviation**2 + pulled**2 * variance).sqrt(), validate_args=False
        )
        expected = torch.distributions.kl_divergence(true, model).flatten(1).sum(1)
        assert_close(told.transitions[:, number], expected)
    # the reconstruction is the belief's density; the control variate adds chance, with the mean zero
    assert told.standard_error.isnan().all()


@pytest.mark.parametrize("bound", BOUNDS)
def test_one_draw_has_no_standard_error_and_more_are_their_mean(bound):
    denoiser, x0 = plane(4)
    one = bound(denoiser, x0, Seeds.range(1, 4), 5, draws=1, mean_only=True)
    three = bound(denoiser, x0, Seeds.range(1, 4), 5, draws=3, mean_only=True)
    assert one.standard_error.isnan().all() and one.draws == 1
    assert three.standard_error.isfinite().all() and three.draws == 3
    assert one.transitions.shape == three.transitions.shape == (4, 5)
    assert not torch.equal(one.total, three.total)


@pytest.mark.parametrize("bound", BOUNDS)
def test_calls_are_those_told_and_without_dropout(bound):
    denoiser, x0 = plane(3)
    counting = Counting(denoiser).train()
    bound(counting, x0, Seeds.range(1, 3), 7, draws=2)
    assert len(counting.times) == 2 * 8
    assert not any(counting.modes) and counting.training


@pytest.mark.parametrize("bound", BOUNDS)
def test_rows_do_not_depend_on_their_company(bound):
    denoiser, x0 = plane(6)
    whole = bound(denoiser, x0, Seeds.range(1, 6), 5)
    rows = torch.tensor([4, 1])
    some = bound(denoiser, x0[rows], Seeds(1, rows), 5)
    assert_close(some.total, whole.total[rows], rtol=0, atol=1e-9)
    assert_close(some.transitions, whole.transitions[rows], rtol=0, atol=1e-9)


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_control_variate_leaves_the_mean(bound):
    denoiser, x0 = plane(1500)
    options = {"draws": 2, "mean_only": True, "log_snr": (-4, 4)}
    one, other = (bound(denoiser, x0, Seeds.range(1, 1500), 6, data_variance=v, **options) for v in (1.0, 0.1))
    assert not torch.equal(one.total, other.total)
    apart = bound(denoiser, x0, Seeds.range(2, 1500), 6, data_variance=0.1, **options)
    assert_mean((one.total - apart.total).numpy(), 0.0)


def test_the_control_variate_is_worth_its_lines():
    """Where the data is nearly clean the error is nearly the noise, whose square the control knows."""
    denoiser, x0 = plane(200)
    seen = []
    for variance in (1.0, 1e-9):  # with none, the control is the mean of the data, which knows nothing
        told = discrete_bound(
            denoiser, x0, Seeds.range(1, 200), 16, mean_only=True, data_variance=variance, log_snr=(4, 12)
        )
        seen.append(float(told.standard_error.square().mean()))
    assert seen[0] < seen[1] / 10


@pytest.mark.parametrize("bound", BOUNDS)
def test_shapes_and_precisions(bound):
    for shape in [(), (4,), (2, 3, 3)]:
        x0 = Seeds.range(0, 3).normal(shape)
        denoiser = NormalDenoiser(0.0, 1.0, PROCESS)
        single = bound(denoiser, x0, Seeds.range(1, 3), 6)
        double = bound(denoiser, x0.double(), Seeds.range(1, 3), 6)
        assert single.total.dtype == torch.float64
        assert single.elements.tolist() == [math.prod(shape)] * 3
        assert single.total.isfinite().all() and double.total.isfinite().all()


@pytest.mark.parametrize("bound", BOUNDS)
def test_padded_places_count_for_nothing(bound):
    """A set of two of five, padded with rubbish, costs what the same elements cost."""
    mask = torch.tensor([[True, True, False, False, False], [True] * 5])
    x0 = Seeds.range(0, 2).normal((5, 3), torch.float64)

    class Masked(NormalDenoiser):
        def forward(self, xt, t, drop=None, mask=None, **condition):
            assert (xt[0, 2:] == 0).all()
            return PointPosterior(super().forward(xt, t).mean)

    denoiser = Masked(0.2, 0.9, PROCESS)
    rubbish = torch.where(mask[..., None], x0, 1e6)
    clean, dirty = (bound(denoiser, x, Seeds.range(1, 2), 6, condition={"mask": mask}) for x in (x0, rubbish))
    assert_close(clean.total, dirty.total)
    assert clean.elements.tolist() == [6.0, 15.0]
    none = bound(NormalDenoiser(0.2, 0.9, PROCESS), x0, Seeds.range(1, 2), 6)
    assert_close(none.total[1], clean.total[1])


def test_conditions_reach_the_denoiser():
    process = GaussianProcess()
    mixture = MixtureDenoiser([0.5, 0.5], [[-1.0], [1.0]], [0.1, 0.1], process, labels=[0, 1])
    x0 = torch.full((2, 1), -1.0, dtype=torch.float64)
    labels = torch.tensor([0, 1])
    told = discrete_bound(mixture, x0, Seeds.range(1, 2), 5, condition={"label": labels}, log_snr=(-20, 8))
    exact = -mixture.log_density(x0, 0.0, label=labels)
    assert_close(told.total, exact, rtol=0, atol=1e-3)
    assert exact[1] > exact[0] + 10


@pytest.mark.parametrize("bound", BOUNDS)
def test_gradients_reach_data_and_weights_if_asked_for(bound):
    network = nn.Linear(2, 2).double()

    class Learned(Denoiser):
        def __init__(self):
            super().__init__()
            self.network, self.process = network, PROCESS

        def forward(self, xt, t, drop=None, **condition):
            return PointPosterior(self.network(xt))

    x0 = Seeds.range(0, 3).normal((2,), torch.float64).requires_grad_()
    assert not bound(Learned(), x0, Seeds.range(1, 3), 3, log_snr=(-3, 3)).total.requires_grad

    def total(x):
        return bound(Learned(), x, Seeds.range(1, 3), 3, log_snr=(-3, 3), differentiable=True).total

    assert torch.autograd.gradcheck(total, (x0,))
    total(x0).sum().backward()
    assert network.weight.grad.abs().sum() > 0


def test_times_may_be_a_grid_of_a_sampler():
    from unstir.processes.grids import karras

    denoiser, x0 = plane(300)
    times = karras(PROCESS.schedule, 8, 0.05, 20.0)
    told = discrete_bound(denoiser, x0, Seeds.range(1, 300), times, mean_only=True)
    assert told.transitions.shape == (300, 7)
    assert_close(told.log_snr, PROCESS.schedule.log_snr(times[:-1]))


@pytest.mark.parametrize("bound", BOUNDS)
def test_bad_input_is_told(bound):
    denoiser, x0 = plane(3)
    seeds = Seeds.range(1, 3)
    with pytest.raises(InputError, match="one seed a row"):
        bound(denoiser, x0, Seeds.range(1, 2), 4)
    with pytest.raises(InputError, match="0 draws"):
        bound(denoiser, x0, seeds, 4, draws=0)
    with pytest.raises(InputError, match="int64"):
        bound(denoiser, x0.long(), seeds, 4)
    with pytest.raises(InputError, match="Gaussian noise on one tensor; seen CategoricalProcess"):
        bound(Constant(None, CategoricalProcess(3)), x0, seeds, 4)
    with pytest.raises(InputError, match="one row for each"):
        bound(denoiser, x0, seeds, 4, condition={"label": torch.zeros(2).long()})
    with pytest.raises(InputError, match="variance must be positive"):
        bound(denoiser, x0, seeds, 4, data_variance=0.0)
    with pytest.raises(NonFiniteError, match="first in row 1"):
        bad = torch.where(torch.arange(3)[:, None] == 1, math.nan, x0)
        bound(Constant(PointPosterior(bad)), x0, seeds, 4)


def test_bad_times_and_beliefs_are_told():
    denoiser, x0 = plane(3)
    seeds = Seeds.range(1, 3)
    for times in ([0.5, 0.6], [1.2, 0.5], [0.5, -0.1]):
        with pytest.raises(InputError, match="times fall"):
            discrete_bound(denoiser, x0, seeds, torch.tensor(times))
    with pytest.raises(InputError, match="at least 1 step"):
        discrete_bound(denoiser, x0, seeds, 0)
    with pytest.raises(InputError, match="1 level at least"):
        continuous_bound(denoiser, x0, seeds, 0)

    class Other(Posterior):
        def sample(self, seeds):
            return self.mean

        def log_prob(self, x0):
            return x0.sum(1)

    with pytest.raises(InputError, match="mean_only=True"):
        discrete_bound(Constant(Other(x0)), x0, seeds, 4)
    assert discrete_bound(Constant(Other(x0)), x0, seeds, 4, mean_only=True).total.isfinite().all()


def test_the_table_has_every_term_and_adds_up():
    denoiser, x0 = plane(20)
    told = continuous_bound(denoiser, x0, Seeds.range(1, 20), 30)
    lines = str(told).splitlines()
    assert len(lines) == 1 + 10 + 1 + 1 + 1
    values = [float(line.split()[-2]) for line in lines[:-1]]
    assert abs(sum(values[:-1]) - values[-1]) < 1e-4
    assert "20 samples, 2 draws" in lines[-1] and "bits per dimension" in lines[-1]
    assert_close(told.bits_per_dimension, told.total / (2 * math.log(2)))


def test_bits_need_elements_and_know_the_width_of_a_cell():
    nats = torch.tensor([-3.0, 1.0])
    assert_close(
        bits_per_dimension(nats, 2, math.log(0.5)),
        (1.5 + math.log(2) * torch.tensor([1.0, 1.0]) - torch.tensor([0.0, 2.0])).double() / math.log(2),
    )
    with pytest.raises(InputError, match="one element"):
        bits_per_dimension(nats, 0)


# reconstructions of levels


def levels_and_states(count=2000, log_snr=3.0):
    """Data of three levels with unequal chances, in noise."""
    values = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    process = PROCESS
    denoiser = MixtureDenoiser([0.5, 0.3, 0.2], values[:, None], [0.0] * 3, process)
    return values, denoiser, denoiser.draw(Seeds.range(4, count))


def test_reconstructions_of_levels_are_probabilities():
    """Over all levels they sum to one, for any state and belief."""
    from unstir.likelihood.reconstruction import Seen

    values = torch.tensor([-1.0, -0.2, 0.1, 1.0], dtype=torch.float64)
    xt = Seeds.range(0, 6).normal((), torch.float64)
    alpha, sigma = torch.tensor(0.8).double(), torch.tensor(0.5).double()
    beliefs = [PointPosterior(0.9 * xt), GaussianPosterior(0.9 * xt, 0.1 + xt.square())]
    for make in (level_reconstruction, discretised_reconstruction):
        for belief in beliefs:
            told = [make(values)(Seen(value.expand(6), xt, belief, alpha, sigma)) for value in values]
            assert_close(torch.stack(told).neg().exp().sum(0), torch.ones(6).double())


def test_discrete_data_costs_its_entropy():
    """The bound of whole beliefs with many levels of SNR is the entropy of the levels, in the mean."""
    values, denoiser, x0 = levels_and_states()
    entropy = -sum(p * math.log(p) for p in (0.5, 0.3, 0.2))
    for make in (level_reconstruction, discretised_reconstruction):
        seeds = Seeds.range(1, len(x0))
        told = continuous_bound(
            PointDenoiser(denoiser), x0, seeds, 12, log_snr=(-12, 6), reconstruction=make(values), data_variance=0.6
        )
        assert_mean(told.total.numpy(), entropy)


def test_data_between_levels_is_refused():
    denoiser, x0 = plane(3)
    with pytest.raises(InputError, match="take gaussian_reconstruction"):
        discrete_bound(denoiser, x0, Seeds.range(1, 3), 3, reconstruction=level_reconstruction([-1.0, 0.0, 1.0]))
    for values in ([1.0], [0.0, 0.0], [[0.0, 1.0]]):
        with pytest.raises(InputError, match="two values at least that rise"):
            level_reconstruction(values)


def test_a_density_for_padded_sets_needs_a_point_belief():
    denoiser, x0 = plane(2)

    class Open(type(denoiser)):
        def forward(self, xt, t, drop=None, mask=None, **condition):
            return super().forward(xt, t, drop, **condition)

    denoiser.__class__ = Open
    mask = torch.ones(2, 2, dtype=torch.bool)
    with pytest.raises(InputError, match="padded sets"):
        continuous_bound(denoiser, x0, Seeds.range(1, 2), 3, condition={"mask": mask})


def test_an_interval_has_its_digits_in_both_tails():
    from mpmath import mp, mpf, ncdf

    for low, high in [(-40.0, -39.9), (39.9, 40.0), (-1.0, 2.0), (5.0, math.inf), (-math.inf, -9.0), (0.1, 0.1001)]:
        with mp.workdps(400):
            expected = float(mp.log(ncdf(mpf(high)) - ncdf(mpf(low))))
        told = log_interval(*torch.tensor([low, high], dtype=torch.float64))
        assert abs(float(told) - expected) < 1e-10


# checks and the copies that they must tell from the originals


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize(
    "check",
    [check for name in checks.__all__ if "bound" in (check := getattr(checks, name)).claim.only[0]],
    ids=lambda check: check.__name__,
)
def test_checks_hold(bound, check):
    if bound.__name__.replace("_", "-") not in check.claim.only:
        pytest.skip("not its claim")
    assert not misses(check, bound)


def altered(bound, change):
    @functools.wraps(bound)
    def mutant(*arguments, **options):
        return change(bound(*arguments, **options))

    return mutant


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_missing_prior_is_caught(bound):
    mutant = altered(bound, lambda told: replace(told, prior=torch.zeros_like(told.prior)))
    assert is_caught(checks.bound_term_by_term, None, mutant)


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_standard_error_of_one_draw_is_caught(bound):
    mutant = altered(bound, lambda told: replace(told, standard_error=told.standard_error * math.sqrt(told.draws)))
    assert is_caught(checks.bound_tells_its_error, None, mutant)


def test_a_gain_of_log_snr_in_place_of_snr_is_caught(monkeypatch):
    step = bounds._Sweep.step

    def wrong(self, seen, gained):
        return step(self, seen, torch.log1p(gained / seen.snr))

    monkeypatch.setattr(bounds._Sweep, "step", wrong)
    assert is_caught(checks.bound_term_by_term, None, discrete_bound)


def test_the_snr_of_the_other_end_is_caught(monkeypatch):
    """The belief of the step's clean end makes the sum a lower one, and no bound at all."""
    see = bounds._Sweep.see

    def earlier(self, t, seeds, mirrored=False):
        level = self.schedule.log_snr(t)
        return see(self, self.schedule.time(level + 1.0), seeds, mirrored)

    monkeypatch.setattr(bounds._Sweep, "see", earlier)
    assert is_caught(checks.bound_converges_to_log_density, None, discrete_bound)


def test_weights_of_another_spacing_are_caught(monkeypatch):
    placing = bounds._placing

    def wrong(schedule, spacing, ends, centre):
        place = placing(schedule, spacing, ends, centre)
        return lambda share: (place(share)[0], (ends[1] - ends[0]).expand(share.shape))

    monkeypatch.setattr(bounds, "_placing", wrong)
    assert is_caught(checks.bound_term_by_term, None, continuous_bound)


def test_a_reconstruction_without_its_normaliser_is_caught():
    def bare(seen):
        return gaussian_reconstruction(seen) - seen.elements * math.log(2 * math.pi) / 2

    @functools.wraps(discrete_bound)
    def mutant(*arguments, **options):
        return discrete_bound(*arguments, **{**options, "reconstruction": bare})

    assert is_caught(checks.bound_term_by_term, None, mutant)


def test_a_smaller_variance_of_gaussian_beliefs_is_caught(monkeypatch):
    step = bounds._Sweep.step

    def narrow(self, seen, gained):
        if isinstance(seen.belief, GaussianPosterior):
            seen = replace(seen, belief=GaussianPosterior(seen.belief.mean, seen.belief.variance / 2))
        return step(self, seen, gained)

    monkeypatch.setattr(bounds._Sweep, "step", narrow)
    assert is_caught(checks.bound_is_tight_for_whole_beliefs, None, discrete_bound)


def test_cosine_alone_would_not_show_a_schedule(monkeypatch):
    """A bound that weighs by the cosine schedule's SNR whatever the schedule is, is caught by the others."""

    @functools.wraps(continuous_bound)
    def mutant(denoiser, x0, seeds, *arguments, **options):
        told = continuous_bound(denoiser, x0, seeds, *arguments, **options)
        wrong = 0.0 if isinstance(denoiser.process.schedule, CosineSchedule) else 0.05
        return replace(told, prior=told.prior + wrong)

    assert is_caught(checks.schedule_leaves_bound, None, mutant)
    assert np.isfinite(float(continuous_bound(*plane(2), Seeds.range(0, 2), 2).total[0]))

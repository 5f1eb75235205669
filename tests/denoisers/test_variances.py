"""Variances of the belief: measured rightly, told apart by level and element, kept in JSON, and learned."""

import json
import math

import numpy as np
import pytest
import torch
from networks import of_tensors
from thresholds import assert_mean
from torch import nn

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.denoisers.posteriors import GaussianPosterior, LearnedGaussianPosterior, PointPosterior
from unstir.denoisers.variances import (
    VarianceTable,
    linear_variance,
    measure_variances,
    variance_of,
    with_variance,
)
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.verification.references import IN_THE_PLANE, ON_THE_LINE, NormalDenoiser, PointDenoiser

torch.set_num_threads(1)
LEVELS = torch.linspace(-4, 8, 7, dtype=torch.float64)
SCHEDULES = [CosineSchedule(), RectifiedFlowSchedule(), EDMSchedule()]
by_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
FIVE_SIGMA = 5.0
OF_TENSORS = of_tensors()


class Shifted(NormalDenoiser):
    """A mean that is wrong by a half everywhere."""

    def forward(self, xt, t, drop=None, **condition):
        return PointPosterior(super().forward(xt, t).mean + 0.5)


def assert_within_errors(table, exact):
    assert ((table.variances - exact).abs() / table.errors).max() < FIVE_SIGMA


@by_schedule
@pytest.mark.parametrize("method", ["error", "score"])
def test_on_normal_data_of_one_deviation(schedule, method):
    denoiser = NormalDenoiser(0.3, 0.8, GaussianProcess(schedule))
    clean = 0.3 + 0.8 * Seeds.range(1, 3000).normal((4,), torch.float64)
    table = measure_variances(denoiser, clean, LEVELS[1:], method=method)
    # the true deviation stands in the formula, so that the table's own cannot excuse it
    exact = linear_variance(LEVELS[1:], 0.8)
    if method == "score":  # the bound that it is cut off at is taken with the data's own deviation
        exact = torch.minimum(exact, linear_variance(LEVELS[1:], table.deviation))
    assert_within_errors(table, exact)
    assert (table.errors < 0.2 * exact).all() or method == "score"


@pytest.mark.parametrize("law", [IN_THE_PLANE, ON_THE_LINE], ids=["plane", "line"])
def test_on_a_mixture_it_is_the_average_of_the_exact_beliefs_variance(law):
    """Which the exact belief knows at the very same states: the rows' differences average to zero."""
    denoiser = law.denoiser(GaussianProcess())
    clean, seeds = denoiser.draw(Seeds.range(2, 4000)), Seeds.range(3, 4000)
    table = measure_variances(PointDenoiser(denoiser), clean, LEVELS, seeds)
    for place, level in enumerate(LEVELS):
        t = denoiser.process.schedule.time(level)
        belief = denoiser(denoiser.process.noise(clean, t, seeds.at("noise")), t)
        squared = (clean - belief.mean).square()
        assert table.variances[place] == pytest.approx(squared.mean().item(), rel=1e-9)
        assert table.errors[place] == pytest.approx(squared.mean(1).std().item() / 4000**0.5, rel=1e-9)
        assert_mean((squared - belief.variance).mean(1), 0.0)


def test_the_error_of_a_mean_counts_and_the_score_does_not_see_it():
    denoiser = Shifted(0.0, 1.0, GaussianProcess())
    clean = Seeds.range(4, 4000).normal((3,), torch.float64)
    levels = torch.tensor([-1.0, 1.0, 3.0], dtype=torch.float64)
    assert_within_errors(measure_variances(denoiser, clean, levels), linear_variance(levels, 1.0) + 0.25)
    # Bao's form takes the mean for the true one: the shift counts with the wrong sign
    table = measure_variances(denoiser, clean, levels[:2], method="score")
    assert_within_errors(table, linear_variance(levels[:2], 1.0) - 0.25)


def test_elements_are_told_apart():
    deviations = torch.tensor([[0.2, 1.0], [2.0, 0.5]], dtype=torch.float64)
    denoiser = GaussianDenoiser(torch.zeros(2, 2), deviations.square(), GaussianProcess())
    clean = denoiser.draw(Seeds.range(5, 4000))
    table = measure_variances(denoiser, clean, LEVELS, per_element=True)
    assert table.shape == (2, 2)
    assert_within_errors(table, linear_variance(LEVELS[:, None, None], deviations))
    told = with_variance(denoiser, table)(clean[:3], torch.tensor(0.4)).variance
    assert told.shape == (3, 2, 2)
    torch.testing.assert_close(told[0], table(denoiser.process.schedule.log_snr(0.4)))


def test_conditions_reach_the_denoiser_and_narrow_the_belief():
    denoiser = MixtureDenoiser([0.5, 0.5], [[-2.0], [2.0]], [0.04, 0.04], GaussianProcess(), labels=[0, 1])
    labels = torch.arange(4000) % 2
    clean = denoiser.draw(Seeds.range(6, 4000), label=labels)
    levels = torch.tensor([-6.0, -3.0], dtype=torch.float64)
    told = measure_variances(denoiser, clean, levels, condition={"label": labels})
    assert_within_errors(told, linear_variance(levels, 0.2))
    assert (measure_variances(denoiser, clean, levels).variances > 10 * told.variances).all()


def test_a_batch_changes_nothing_and_training_goes_on():
    network = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, x, noise, drop=None):
            return self.inner(x)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoiser = NetworkDenoiser(Net(), GaussianProcess()).train()
    clean = Seeds.range(7, 50).normal((3,))
    first, second = (measure_variances(denoiser, clean, LEVELS, batch=batch).variances for batch in (50, 7))
    torch.testing.assert_close(first, second, rtol=1e-5, atol=0)  # products of matrices round by their size
    assert network[1].training


def test_levels_by_default_reach_from_where_nothing_is_left_of_the_noise_to_where_nothing_is_of_the_data():
    denoiser = NormalDenoiser(0.0, 3.0, GaussianProcess(EDMSchedule(sigma_max=50.0)))
    table = measure_variances(denoiser, 3 * Seeds.range(8, 400).normal((2,), torch.float64))
    ratios = (-table.log_snr / 2).exp()
    assert ratios[0] == pytest.approx(50.0)  # the schedule's end comes before 100 deviations
    assert ratios[-1] == pytest.approx(1e-3 * table.deviation)


def test_a_table_is_exact_for_normal_data_everywhere():
    table = VarianceTable.of_normal(0.7)
    asked = torch.cat((torch.linspace(-40, 40, 81, dtype=torch.float64), torch.tensor([-math.inf, math.inf]).double()))
    torch.testing.assert_close(table(asked), linear_variance(asked, 0.7), rtol=1e-12, atol=0)
    assert table(-math.inf) == pytest.approx(0.49)
    assert table(math.inf) == 0


def test_the_linear_variance_and_its_limits():
    schedule, t = CosineSchedule(), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    expected = 0.49 * sigma**2 / (0.49 * alpha**2 + sigma**2)
    torch.testing.assert_close(linear_variance(schedule.log_snr(t), 0.7), expected, rtol=1e-12, atol=0)
    assert linear_variance(2.0, math.inf) == pytest.approx(math.exp(-2))
    assert linear_variance(2.0, 0.0) == 0


def test_a_table_survives_json():
    clean = Seeds.range(9, 100).normal((2,), torch.float64)
    table = measure_variances(NormalDenoiser(0.0, 1.0, GaussianProcess()), clean, LEVELS, per_element=True)
    again = VarianceTable.from_dict(json.loads(json.dumps(table.as_dict())))
    for name in ("log_snr", "variances", "errors"):
        assert torch.equal(getattr(again, name), getattr(table, name))
    assert torch.equal(again(1.234), table(1.234))
    assert (again.deviation, again.method) == (table.deviation, table.method)


def test_a_belief_of_the_tables_variance_at_times_of_each_sample():
    table = VarianceTable.of_normal(0.5)
    denoiser = with_variance(NormalDenoiser(0.0, 0.5, GaussianProcess()), table)
    x, times = Seeds.range(0, 4).normal((3,)), torch.tensor([0.0, 0.2, 0.5, 1.0], dtype=torch.float64)
    belief = denoiser(x, times)
    assert isinstance(belief, GaussianPosterior)
    assert belief.variance.dtype == x.dtype
    assert belief.variance.shape == x.shape
    expected = linear_variance(CosineSchedule().log_snr(times), 0.5)
    torch.testing.assert_close(belief.variance[:, 2].double(), expected, rtol=1e-6, atol=1e-12)
    assert torch.equal(belief.variance[1:2], denoiser(x[1:2], times[1]).variance)


def test_padded_places_have_no_width():
    class Cosine(nn.Module):
        def forward(self, x, noise, drop=None, mask=None):
            return x.cos()

    mask = torch.tensor([[True, False], [True, True]])
    denoiser = with_variance(NetworkDenoiser(Cosine(), GaussianProcess()), VarianceTable.of_normal())
    belief = denoiser(Seeds.range(0, 2).normal((2, 3)), torch.tensor(0.5), mask=mask)
    assert (belief.sample(Seeds.range(1, 2))[~mask] == 0).all()
    assert (belief.variance[mask] > 0).all()


class TestBadInput:
    DENOISER = NormalDenoiser(0.0, 1.0, GaussianProcess())
    CLEAN = Seeds.range(0, 10).normal((2,))

    def test_a_point_has_no_variance(self):
        with pytest.raises(InputError, match=r"PointPosterior, which is a point\. Measure .*variance=learned.*ddpm"):
            variance_of(PointPosterior(self.CLEAN))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"method": "guess"}, "unknown method of measuring variances 'guess'"),
            ({"data": CLEAN[:1]}, "at least 2 rows of data"),
            ({"seeds": Seeds.range(0, 3)}, "10 rows, 3 addresses"),
            ({"batch": 0}, "seen 10 rows, 10 addresses and batch 0"),
            ({"data": torch.ones(5, 2)}, "its rows differ; seen the deviation 0.0"),
            ({"levels": torch.tensor([-200.0, 0.0])}, "does not reach all of the log-SNR"),
            ({"condition": {"mask": torch.ones(10, 2).bool()}}, "the condition 'mask' cannot be given"),
        ],
    )
    def test_measuring(self, options, message):
        # a schedule that ends
        denoiser = NormalDenoiser(0.0, 1.0, GaussianProcess(EDMSchedule(sigma_max=80.0)))
        with pytest.raises(InputError, match=message):
            measure_variances(denoiser, **{"data": self.CLEAN, **options})

    def test_another_space(self):
        denoiser = NormalDenoiser(0.0, 1.0, GaussianProcess())
        denoiser.process = WrappedProcess()
        with pytest.raises(InputError, match="Euclidean space; seen the space"):
            with_variance(denoiser, VarianceTable.of_normal())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"log_snr": [1.0]}, "at least 2 rising, finite"),
            ({"log_snr": [1.0, 1.0]}, "at least 2 rising, finite"),
            ({"variances": [1.0, 1.0, 1.0]}, r"seen the shapes \(3,\) and \(2,\)"),
            ({"variances": [1.0, -1.0]}, "finite and at least 0"),
            ({"variances": [1.0, math.nan]}, "finite and at least 0"),
            ({"deviation": 0.0}, "deviation must be positive; seen 0.0"),
            ({"method": "guess"}, "unknown method"),
            ({"errors": "many"}, "this is no table of variances"),
        ],
    )
    def test_tables(self, changes, message):
        good = {"log_snr": [0.0, 1.0], "variances": [1.0, 0.5], "errors": [0.0, 0.0], "deviation": 1.0}
        with pytest.raises(InputError, match=message):
            VarianceTable.from_dict({**good, "method": "error", **changes})

    def test_a_table_that_lacks_something(self):
        with pytest.raises(InputError, match="'variances' is missing"):
            VarianceTable.from_dict({"log_snr": [0.0, 1.0]})

    def test_a_table_of_other_elements(self):
        table = VarianceTable(torch.tensor([0.0, 1.0]), torch.ones(2, 3), torch.zeros(2, 3), 1.0)
        with pytest.raises(InputError, match=r"of the shape \(3,\), a sample \(2,\)"):
            with_variance(self.DENOISER, table)(self.CLEAN, torch.tensor(0.5))


class Told(nn.Module):
    """Returns twice the channels of its input: zeros, and what it is told, in the axis given."""

    def __init__(self, value, axis=1):
        super().__init__()
        self.value, self.axis = nn.Parameter(torch.tensor(float(value))), axis

    def forward(self, x, noise, drop=None, **condition):
        return torch.cat((torch.zeros_like(x), self.value.to(x.dtype).expand_as(x)), self.axis)


class TestLearned:
    @by_schedule
    def test_a_fresh_network_tells_the_linear_variance(self, schedule):
        denoiser = NetworkDenoiser(Told(0.0), GaussianProcess(schedule), sigma_data=0.5, variance="learned")
        x, times = Seeds.range(0, 3).normal((4,), torch.float64), torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64)
        belief = denoiser(x, times)
        expected = linear_variance(schedule.log_snr(times), 0.5)
        torch.testing.assert_close(belief.variance[:, 0], expected, rtol=1e-12, atol=0)
        plain = NetworkDenoiser(nn.Identity(), GaussianProcess(schedule), sigma_data=0.5)
        plain.network.forward = lambda x, noise, drop=None: torch.zeros_like(x)
        assert torch.equal(belief.mean, plain(x, times).mean)

    @pytest.mark.parametrize("told", [-1e4, -3.0, 2.0, 1e4])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_finite_at_every_level_whatever_the_network_says(self, told, dtype):
        for schedule in SCHEDULES:
            denoiser = NetworkDenoiser(Told(told), GaussianProcess(schedule), sigma_data=0.5, variance="learned")
            last = 1.0 if schedule.sigma(1.0).isfinite() else 0.999
            times = torch.tensor([0.0, 1e-12, 1e-6, 0.5, last], dtype=torch.float64)
            x0 = 0.5 * Seeds.range(0, 5).normal((3,), dtype)
            belief = denoiser(denoiser.process.noise(x0, times, Seeds.range(1, 5)), times)
            loss = belief.loss(x0)
            (slope,) = torch.autograd.grad(loss.sum(), denoiser.network.value)
            for value in (belief.variance, loss, slope, belief.log_prob(x0)):
                assert value.isfinite().all(), (schedule, told)
            assert (belief.variance > 0).all()
            assert belief.variance.dtype == dtype
            bounds = linear_variance(schedule.log_snr(times[3:]), 0.5)[:, None]
            ratio = (belief.variance[3:].double() / bounds).log()
            torch.testing.assert_close(ratio, torch.full_like(ratio, 10 * math.tanh(told / 10)), rtol=1e-4, atol=1e-4)

    def test_the_channels_may_lie_in_any_axis(self):
        x = Seeds.range(0, 2).normal((3, 4))
        for axis in (1, 2):
            denoiser = NetworkDenoiser(Told(1.0, axis), GaussianProcess(), variance="learned")
            belief = denoiser(x, torch.tensor(0.5))
            assert belief.mean.shape == belief.variance.shape == x.shape

    def test_a_network_of_one_output_is_answered(self):
        class Once(nn.Module):
            def forward(self, x, noise, drop=None):
                return x

        denoiser = NetworkDenoiser(Once(), GaussianProcess(), variance="learned")
        with pytest.raises(InputError, match=r"twice the channels of its input \(2, 3\); seen \(2, 3\): .*outputs=2"):
            denoiser(torch.zeros(2, 3), torch.tensor(0.5))
        with pytest.raises(InputError, match="unknown variance of a network's belief 'guessed'"):
            NetworkDenoiser(Once(), GaussianProcess(), variance="guessed")

    @pytest.mark.parametrize("name", OF_TENSORS)
    @pytest.mark.parametrize("shape", [(2, 6, 6), (3, 8)])
    def test_every_network_of_the_catalogue_serves(self, name, shape):
        try:
            network = build("networks", name, shape=shape, conditions={"label": {"classes": 3}}, outputs=2)
        except InputError as error:
            assert "shape of one sample" in str(error)
            return
        denoiser = NetworkDenoiser(network, GaussianProcess(), variance="learned")
        x, t = Seeds.range(0, 2).normal(shape), torch.tensor(0.4, dtype=torch.float64)
        belief = denoiser(x, t, label=torch.tensor([0, 2]))
        assert belief.mean.shape == belief.variance.shape == (2, *shape)
        expected = linear_variance(CosineSchedule().log_snr(t), 1.0).float().expand_as(x)
        torch.testing.assert_close(belief.variance, expected)
        belief.loss(Seeds.range(1, 2).normal(shape)).sum().backward()
        head = network.head.weight.grad.flatten(1).abs().sum(1)
        assert (head > 0).sum() > len(head) / 2  # both halves are taught
        with pytest.raises(InputError, match="outputs must be a positive whole number"):
            build("networks", name, shape=shape, outputs=0)

    def test_the_loss_by_hand_and_with_padded_places(self):
        mean, variance = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[0.5, 4.0]]).double()
        scale, x0 = torch.tensor([[2.0]]).double(), torch.tensor([[1.5, 0.0]]).double()
        belief = LearnedGaussianPosterior(mean, variance, scale, balance=0.1)
        first = 0.25 + 0.1 * 2 * (0.25 / 0.5 + math.log(0.5 / 2)) / 2
        second = 4.0 + 0.1 * 2 * (4.0 / 4.0 + math.log(4.0 / 2)) / 2
        assert belief.loss(x0).tolist() == pytest.approx([(first + second) / 2])
        assert belief.loss(x0, torch.tensor([[True, False]])).tolist() == pytest.approx([first])

    def test_gradient_descent_finds_mean_and_variance(self):
        """One number of the network for each, on normal data of one level, where the answers are known."""
        process, t = GaussianProcess(), torch.tensor(0.5, dtype=torch.float64)
        x0 = 1.0 + 0.3 * Seeds.range(3, 4000).normal((1,), torch.float64)
        xt = process.noise(x0, t, Seeds.range(4, 4000))

        class Affine(nn.Module):
            def __init__(self):
                super().__init__()
                self.numbers = nn.Parameter(torch.zeros(3, dtype=torch.float64))

            def forward(self, x, noise, drop=None):
                slope, offset, width = self.numbers
                return torch.cat((slope * x + offset, width.expand_as(x)), 1)

        denoiser = NetworkDenoiser(Affine(), process, "clean", variance="learned")
        optimizer = torch.optim.LBFGS(
            denoiser.parameters(), max_iter=200, line_search_fn="strong_wolfe",
            tolerance_grad=1e-12, tolerance_change=1e-16,
        )  # fmt: skip

        def closure():
            optimizer.zero_grad()
            loss = denoiser(xt, t).loss(x0).mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        belief = denoiser(xt, t)
        # the best line by least squares, and the mean square of what it leaves
        design = np.stack((xt[:, 0].numpy(), np.ones(4000)), 1)
        solved, left, *_ = np.linalg.lstsq(design, x0[:, 0].numpy(), rcond=None)
        np.testing.assert_allclose(belief.mean[:, 0].detach().numpy(), design @ solved, atol=1e-5)
        assert belief.variance[0].item() == pytest.approx(left[0] / 4000, rel=1e-3)
        exact = linear_variance(process.schedule.log_snr(t), 0.3).item()
        assert abs(belief.variance[0].item() / exact - 1) < FIVE_SIGMA * math.sqrt(2 / 4000)

"""Rare events: what an event is, and what estimates refuse; their figures are claims of the field."""

import math
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from unstir.core.errors import InputError
from unstir.domains.climate.encoding import ClimateEncoding
from unstir.domains.climate.layout import Axis, Layout, Quantity
from unstir.domains.climate.scaling import fit_scaling
from unstir.domains.climate.tasks.generating import rare_events
from unstir.domains.climate.tasks.generating.event_twist import log_guess
from unstir.domains.climate.tasks.generating.events import BoundEvent, Event, bind
from unstir.domains.climate.tasks.generating.tails import probability_of, return_table, share_interval, tail_of
from unstir.exact.gaussian import GaussianDenoiser
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.heavy_tailed import HeavyTailedProcess
from unstir.processes.schedules.edm import EDMSchedule


def _encoding():
    values = np.random.default_rng(0).normal(280, 5, (200, 2, 3, 4))
    layout = Layout(
        (Quantity("t", "K"), Quantity("p", "hPa")),
        (Axis("lead", (0.0, 6.0, 12.0), "hours"), Axis("latitude", (0.0, 20.0, 40.0, 60.0))),
    )
    return ClimateEncoding("generate", layout, fit_scaling([values], "standard")), values


@pytest.mark.parametrize(
    ("options", "by_hand"),
    [
        ({"above": 290}, lambda t: t.max((1, 2))),
        ({"statistic": "minimum", "below": 270}, lambda t: t.min((1, 2))),
        ({"statistic": "maximum", "below": 283}, lambda t: t.max((1, 2))),
        ({"statistic": "minimum", "above": 276}, lambda t: t.min((1, 2))),
        ({"average": "lead", "above": 285}, lambda t: t.mean(1).max(1)),
        ({"average": ["latitude"], "above": 283}, lambda t: (t * _areas()).sum(2).max(1) / _areas().sum()),
        ({"statistic": "mean", "below": 279}, lambda t: (t * _areas()).sum((1, 2)) / _areas().sum() / 3),
        ({"within": {"latitude": [15, 45]}, "above": 285}, lambda t: t[:, :, 1:3].max((1, 2))),
        ({"statistic": "mean", "within": {"latitude": [60, 60]}, "above": 280}, lambda t: t[:, :, 3].mean(1)),
    ],
)
def test_an_event_is_its_statistic_beyond_the_threshold(options, by_hand):
    encoding, values = _encoding()
    event = Event.of({"variable": "t", **options})
    bound = bind(event, encoding)
    told = by_hand(values[:, 0])
    np.testing.assert_allclose(bound.statistic(torch.from_numpy(values)).numpy(), told, rtol=1e-12)
    met = told >= event.threshold if event.above is not None else told <= event.threshold
    assert 0 < met.sum() < len(met)
    found = bound.severity(encoding.encode(values).double()) >= bound.level
    # float32 states: what lies within rounding of the threshold may fall on either side
    clear = np.abs(told - event.threshold) > 1e-3
    np.testing.assert_array_equal(found.numpy()[clear], met[clear])


def _areas():
    return np.cos(np.deg2rad([0.0, 20.0, 40.0, 60.0]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"above": 3}, "names a variable"),
        ({"variable": "t"}, "one threshold"),
        ({"variable": "t", "above": 1, "below": 2}, "one threshold"),
        ({"variable": "t", "above": "hot"}, "one threshold"),
        ({"variable": "t", "above": math.nan}, "one threshold"),
        ({"variable": "t", "above": 1, "statistic": "median"}, "maximum, mean, minimum"),
        ({"variable": "t", "abve": 1}, "did you mean 'above'"),
        ({"variable": "t", "above": 1, "within": {"latitude": 3}}, "two numbers"),
    ],
)
def test_events_that_are_none_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        Event.of(options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"variable": "temp", "above": 1}, "variable of the event 'temp'"),
        ({"variable": "t", "above": 1, "average": "x"}, "axis of the event 'x'"),
        ({"variable": "t", "above": 1, "within": {"latitude": [70, 80]}}, "they go from 0 to 60"),
    ],
)
def test_events_that_the_layout_does_not_have_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        bind(Event.of(options), _encoding()[0])


def test_the_guess_is_the_probability_of_independent_normals():
    z = torch.tensor([[-0.5, 0.3, 1.2], [-3.0, -6.0, -2.0], [-30.0, -31.0, -40.0]], dtype=torch.float64)
    tails = stats.norm.sf(-z.numpy())
    np.testing.assert_allclose(log_guess(z, True).numpy(), stats.norm.logcdf(z.numpy()).sum(1), rtol=1e-12)
    np.testing.assert_allclose(log_guess(z, False)[:2].exp().numpy(), (1 - np.prod(1 - tails, 1))[:2], rtol=1e-2)
    assert log_guess(z, False)[0].exp().item() == pytest.approx(1 - np.prod(1 - tails[0]), rel=1e-12)
    assert log_guess(z, False)[2].item() == pytest.approx(float(stats.norm.logsf(30.0)), rel=1e-6)


def _law(process=None):
    return GaussianDenoiser(torch.zeros(2), torch.tensor(1.0), process or GaussianProcess(EDMSchedule(sigma_max=80.0)))


def _event(level, size=2):
    def parts(state):
        return state.double().sum(1, keepdim=True) / math.sqrt(size)

    return BoundEvent(Event("x", above=level), parts, level, False, lambda values: parts(values)[:, 0])


def _split(module=rare_events, level=2.0, **more):
    settings = {"particles": 32, "runs": 24, "moves": 2, "steps": 16, "sampler": "deis", "count": 8, **more}
    return module.split(_law(), _event(level), (2,), **settings)


def _broken(line, instead):
    source = Path(rare_events.__file__).read_text(encoding="utf-8")
    assert source.count(line) == 1
    module = types.ModuleType(rare_events.__name__)
    exec(compile(source.replace(line, instead), rare_events.__file__, "exec"), vars(module))
    return module


def _standard_errors(found, level):
    ratios = found.runs / float(stats.norm.sf(level))
    # where hardly a run meets the event, their spread says nothing: half of the estimate is allowed then
    return abs(float(ratios.mean()) - 1) / max(float(ratios.std()) / math.sqrt(len(ratios)), 0.1)


def test_an_estimate_comes_with_interval_samples_and_its_cost():
    found = _split()
    low, high = found.interval()
    assert _standard_errors(found, 2.0) < 6 and low < found.probability < high
    assert found.samples.shape == (8, 2) and bool((_event(2.0).severity(found.samples) >= 2.0).all())
    assert torch.equal(found.runs, _split().runs) and not torch.equal(found.runs, _split(seed=1).runs)
    batches = (32 + 24 * 32) * (1 + 2 * (len(found.levels) - 1))
    assert found.calls == batches * 16


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        ("moved = math.sqrt(1 - size**2) * self.latent + size * noise", "moved = self.latent + size * noise"),
        ("full.walk(level, size)", "full.walk(-math.inf, size)"),
        ("self.estimates = self.estimates * passed.double().mean(1)", "self.estimates = passed.double().mean(1)"),
    ],
)
def test_broken_splitting_is_caught(line, broken):
    assert _standard_errors(_split(_broken(line, broken), level=2.5), 2.5) > 6


def test_settings_and_processes_that_do_not_serve_are_refused():
    with pytest.raises(InputError, match="particles=4"):
        _split(particles=4)
    with pytest.raises(InputError, match=r"share=1\.0"):
        _split(share=1.0)
    with pytest.raises(InputError, match="without noise of its own"):
        _split(sampler="ancestral")
    bounded = _event(2.0)
    with pytest.raises(InputError, match="does not come near"):
        rare_events.split(
            _law(),
            BoundEvent(bounded.event, lambda x: bounded.parts(x).clamp(max=1.0), 2.0, False, bounded.statistic),
            (2,),
            particles=32,
            runs=2,
            steps=8,
            sampler="deis",
        )
    heavy = _law()
    heavy.process = HeavyTailedProcess()
    with pytest.raises(InputError, match="take method 'splitting'"):
        rare_events.steer(heavy, _event(2.0), (2,))
    heavy.process = CategoricalProcess(classes=3)
    with pytest.raises(InputError, match="does not start from such"):
        rare_events.split(heavy, _event(2.0), (2,))


def test_the_prior_of_heavy_tails_comes_of_normal_numbers():
    law = _law()
    law.process = HeavyTailedProcess(EDMSchedule(sigma_max=10.0), 3.0)
    generator = rare_events._Generator.__new__(rare_events._Generator)
    generator.process, generator.times = law.process, torch.tensor([1.0, 0.0], dtype=torch.float64)
    drawn = generator.start(torch.randn(20000, 2, 2, generator=torch.Generator().manual_seed(0))) / 10.0
    assert stats.kstest(drawn.flatten().double().numpy(), stats.t(3.0).cdf).pvalue > 1e-6


def test_steering_meets_the_event_and_its_probability():
    found = rare_events.steer(_law(), _event(3.0), (2,), particles=64, runs=16, steps=150, count=10)
    assert bool((_event(3.0).severity(found.samples) >= 3.0).all()) and found.samples.shape == (10, 2)
    # finite steps leave a bias of some percent beside the error of sixteen runs
    assert found.probability / stats.norm.sf(3.0) == pytest.approx(1.0, abs=0.1 + 6 * found.error / stats.norm.sf(3.0))
    assert found.error / found.probability < 0.15


def test_tails_are_those_of_the_law_drawn_from():
    values = np.random.default_rng(1).exponential(2.0, 40000)
    tail = tail_of(values)
    assert abs(tail.shape) < 0.12
    assert probability_of(tail, values, 16.0) == pytest.approx(math.exp(-8), rel=0.5)
    assert probability_of(tail, values, 1.0) == pytest.approx(math.exp(-0.5), rel=0.05)
    assert "Pareto" in return_table({"record": values[:2000]}, "mm", 0)
    with pytest.raises(InputError, match="20 excesses"):
        tail_of(values[:100])


def test_the_interval_of_a_share_is_cloppers_and_pearsons():
    assert share_interval(0, 100) == (0.0, pytest.approx(1 - 0.025 ** (1 / 100)))
    low, high = share_interval(7, 50)
    found = stats.binomtest(7, 50).proportion_ci(0.95, "exact")
    assert (low, high) == (pytest.approx(found.low), pytest.approx(found.high))

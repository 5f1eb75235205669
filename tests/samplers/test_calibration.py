"""Calibrated samplers: making, keeping and refusing them; what they reach is measured by their claims."""

import json
from dataclasses import replace

import pytest
import torch

from unstir.core.catalogue import build
from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.samplers.base import SamplerState, follow, sample
from unstir.samplers.calibrated import CalibratedSampler
from unstir.samplers.calibration import calibrate
from unstir.verification.base import Effort
from unstir.verification.checks import calibration
from unstir.verification.references import IN_THE_PLANE, NormalDenoiser, PointDenoiser, small_network


@pytest.fixture(scope="module")
def made():
    denoiser = IN_THE_PLANE.denoiser(GaussianProcess())
    return calibrate(denoiser, (2,), 5, samples=64, search=12, dtype=torch.float64)


def test_normal_data_is_carried_exactly_by_one_call_or_two():
    """Its flow is linear, so that coefficients exist with which every step is exact."""
    process = GaussianProcess(EDMSchedule())
    for calls in (1, 2, 5):
        own = calibrate(NormalDenoiser(0.4, 0.7, process), (1,), calls, samples=32, search=0, dtype=torch.float64)
        assert own.told["root_mean_square"] < 1e-7
        assert own.told["expected_root_mean_square"] < 1e-7  # and no trajectory is expected to go astray


def test_it_serves_any_schedule_of_the_same_levels(made):
    """The coefficients belong to y = x / alpha and sigma / alpha; the same noise ends at the same place."""
    y = 80 * Seeds.range(3, 40).normal((2,), torch.float64)
    ends = []
    for schedule in (CosineSchedule(), RectifiedFlowSchedule(), EDMSchedule()):
        denoiser = IN_THE_PLANE.denoiser(GaussianProcess(schedule))
        times = made.own_times(schedule)
        ends.append(
            follow(denoiser, made, SamplerState(schedule.alpha(times[0]) * y, Seeds.range(0, 40)), times).tensor
        )
    assert (ends[0] - ends[1]).abs().max() < 1e-9 and (ends[0] - ends[2]).abs().max() < 1e-9


def test_the_same_seed_makes_the_same_sampler_whatever_the_batch(made):
    denoiser = IN_THE_PLANE.denoiser(GaussianProcess())
    again = calibrate(denoiser, (2,), 5, samples=64, search=12, dtype=torch.float64)
    assert again == made and torch.equal(again.centre, made.centre)
    apart = calibrate(denoiser, (2,), 5, samples=64, search=12, dtype=torch.float64, batch=17)
    assert apart.levels == pytest.approx(made.levels, rel=1e-6)
    other = calibrate(denoiser, (2,), 5, samples=64, search=12, dtype=torch.float64, seed=1)
    assert other.levels != made.levels


def test_it_is_kept_and_read_again(made, tmp_path):
    path = tmp_path / "five.safetensors"
    made.save(path)
    read = CalibratedSampler.load(path)
    assert read == made and torch.equal(read.centre, made.centre) and read.told == json.loads(json.dumps(made.told))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match="not a calibrated sampler"):
        CalibratedSampler.load(path)
    with pytest.raises(InputError, match="not a calibrated sampler"):
        CalibratedSampler.load(tmp_path / "missing.safetensors")


def test_sample_makes_one_where_it_is_named():
    network = small_network({"label": {"classes": 4}})
    told = {"label": torch.arange(6) % 4}
    named = sample(
        network, build("samplers", {"name": "calibrated", "samples": 16, "search": 8}), (5,), 6, steps=3, condition=told
    )
    made = calibrate(network, (5,), 3, samples=16, search=8)
    assert torch.equal(named, sample(network, made, (5,), 6, condition=told))


def test_other_times_are_refused(made):
    denoiser = IN_THE_PLANE.denoiser(GaussianProcess())
    with pytest.raises(InputError, match="goes along its own times"):
        sample(denoiser, made, (2,), 4, grid="karras", steps=6)
    times = made.own_times(denoiser.process.schedule)
    done = follow(denoiser, made, SamplerState(torch.zeros(3, 2), Seeds.range(0, 3)), times)
    with pytest.raises(InputError, match="6 steps along its own times"):
        made.step(denoiser, done, times[-2], times[-1])
    with pytest.raises(InputError, match="made for samples of shape"):
        sample(denoiser, made, (3,), 4)
    with pytest.raises(InputError, match="ends at"):
        made.own_times(EDMSchedule(sigma_max=20.0))
    with pytest.raises(InputError, match="made for its denoiser first"):
        build("samplers", "calibrated").step(denoiser, SamplerState(torch.zeros(3, 2), Seeds.range(0, 3)), *times[:2])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"levels": (80.0, 0.0)}, "at least three"),
        ({"levels": (1.0, 2.0, 0.5, 0.3, 0.2, 0.1, 0.0)}, "falling"),
        ({"rows": ((1.0,),)}, "row of coefficients"),
    ],
)
def test_what_is_no_sampler_is_refused(made, changes, said):
    with pytest.raises(InputError, match=said):
        replace(made, **changes)


def test_bad_requests_are_refused():
    denoiser = IN_THE_PLANE.denoiser(GaussianProcess())
    with pytest.raises(InputError, match="at least 1 call and 8 samples"):
        calibrate(denoiser, (2,), 0)
    with pytest.raises(InputError, match="one row for each of the 16 samples"):
        calibrate(denoiser, (2,), 3, samples=16, condition={"label": torch.zeros(3, dtype=torch.int64)})
    with pytest.raises(InputError, match="sigma_min"):
        calibrate(denoiser, (2,), 3, sigma_min=90.0)


class Exploding(PointDenoiser):
    """A belief that runs away."""

    def forward(self, xt, t, drop=None, **condition):
        return PointPosterior(xt * 1e30)


def test_a_denoiser_that_diverges_is_named():
    with pytest.raises(NonFiniteError, match="pilot run"):
        calibrate(Exploding(IN_THE_PLANE.denoiser(GaussianProcess())), (2,), 4, samples=16)


def test_a_boaster_is_caught(monkeypatch, made):
    """Coefficients for other levels than those it goes along, and an error that it does not have."""
    true = calibration._made

    def wrong(calls, effort):
        made = true(calls, effort)
        return replace(made, rows=tuple((row[0] * 1.01, *row[1:]) for row in made.rows))

    monkeypatch.setattr(calibration, "_made", wrong)
    found = list(calibration.calibrated_estimate(made, Effort(quick=True)))
    assert not all(measured.passed for measured in found)
    assert not all(measured.passed for measured in calibration.calibrated_accuracy(made, Effort(quick=True)))

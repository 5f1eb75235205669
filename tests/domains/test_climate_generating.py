"""The task ``generate``: what is read, and how generated windows are told from the record's."""

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.domains.base import Judged
from unstir.domains.climate.layout import Axis, Layout, Quantity
from unstir.domains.climate.task import read_climate
from unstir.domains.climate.tasks.generating.generated import autocorrelation, distances_for, gaussian_windows, spectrum
from unstir.domains.climate.tasks.generating.judging import judge_windows
from unstir.exact.gaussian import GaussianDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule

_OPTIONS = {"name": "lorenz-96", "options": {"count": 900, "variables": 6, "step": 0.1, "integration_step": 0.05}}
_LAYOUT = Layout((Quantity("X"),), (Axis("lead", (0.0, 1.0, 2.0)), Axis("x", tuple(range(8)), periodic=True)))


def _waves(count, correlation=0.5, power=1.0, seed=0):
    """Windows (count, 1, 3, 8): an autoregression in time of a field whose second wave has ``power`` more."""
    generator = np.random.default_rng(seed)
    shape = np.sqrt(np.where(np.arange(5) == 2, power, 1.0))
    fields = np.fft.irfft(np.fft.rfft(generator.normal(size=(count, 3, 8))) * shape, n=8)
    for lead in (1, 2):
        fields[:, lead] = correlation * fields[:, lead - 1] + np.sqrt(1 - correlation**2) * fields[:, lead]
    return fields[:, None]


def test_curves_are_those_of_the_law():
    windows = _waves(20000, 0.6, 4.0)
    np.testing.assert_allclose(autocorrelation(windows, _LAYOUT)[0], [0.6, 0.36], atol=0.01)
    np.testing.assert_allclose(spectrum(windows, _LAYOUT)[0], [1, 4, 1, 1], rtol=0.05)


def test_each_distance_sees_what_it_is_for_and_not_the_draw():
    real, again = _waves(8000), _waves(8000, seed=1)
    changed = {
        "quantile-error": 1.2 * again,
        "tail-error": np.clip(again, -2.0, 2.0),
        "maximum-error": np.clip(again, -2.0, 2.0),
        "covariance-error": _waves(8000, 0.1, seed=1),
        "autocorrelation-error": _waves(8000, 0.1, seed=1),
        "spectrum-error": _waves(8000, 0.5, 2.0, seed=1),
    }
    found = {each.name: each for each in distances_for(_LAYOUT)}
    assert set(found) == set(changed)
    for name, distance in found.items():
        assert distance.of(changed[name], real, _LAYOUT) > 4 * distance.of(again, real, _LAYOUT), name
        assert distance.of(real, real, _LAYOUT) == pytest.approx(0, abs=2e-2)


def test_without_time_or_space_their_distances_are_left_out():
    station = Layout((Quantity("rain", "mm"),))
    assert [each.name for each in distances_for(station)] == ["quantile-error", "tail-error", "maximum-error"]


def test_the_gaussian_rival_has_mean_and_covariance():
    training = 3 + _waves(2000, 0.6)
    drawn = gaussian_windows(training.astype(np.float32), 20000, 0)
    np.testing.assert_allclose(drawn.mean(0), training.mean(0), atol=0.05)
    one, other = (np.cov(each.reshape(len(each), -1), rowvar=False) for each in (drawn, training))
    np.testing.assert_allclose(one, other, atol=0.06)


@pytest.mark.parametrize(
    ("more", "said"),
    [({"lenght": 3}, "did you mean 'length'"), ({"season": -1}, "season"), ({"season": 1}, "calendar")],
)
def test_options_that_are_none_are_refused(more, said):
    with pytest.raises(InputError, match=said):
        read_climate({"task": "generate", **_OPTIONS, **more}).batch(np.arange(2))


def _judged(options, told=None):
    """As if a generator had learnt the training windows' mean and covariance."""
    data = read_climate({"task": "generate", **_OPTIONS, "length": 2, **(told or {})})
    states, _ = data.batch(np.arange(len(data)))
    flat = states.flatten(1).double()
    law = GaussianDenoiser(flat.mean(0).reshape(data.shape), flat.T.cov(), GaussianProcess(EDMSchedule(sigma_max=40.0)))
    drawn = torch.from_numpy(gaussian_windows(states.numpy(), 600, 3))
    return Judged(law, data, None, drawn, {}, lambda *_, **__: None, 0, options)


def test_judging_tells_distances_return_levels_and_the_event():
    event = {"variable": "X", "above": 13.0, "particles": 64, "runs": 8, "moves": 2, "steps": 12, "sampler": "deis"}
    judgement = judge_windows(_judged({"event": event, "simulate": 500, "replicates": 4}))
    found = {each.metric: each for each in judgement.results}
    assert set(found) == {*(each.name for each in distances_for(_judged({}).data.encoding.layout)), "event-probability"}
    for each in judgement.results[:-1]:
        assert set(each.baselines) == {"blocks", "gaussian"} and each.floor["value"] > 0
        low, high = each.interval
        assert 0 <= low <= high
    rare = found["event-probability"]
    assert rare.interval[0] < rare.value < rare.interval[1]
    assert set(rare.baselines) == {"training", "plain", "simulation", "pareto"}
    # the same law by plain draws: 600 of them
    hits = round(rare.baselines["plain"] * 600)
    assert abs(hits - 600 * rare.value) < 6 * np.sqrt(max(600 * rare.value, 1)) + 6
    names = [figure.name for figure in judgement.figures]
    assert names[:4] == ["windows", "tails", "connections", "return-table"] and names[4] == "return-levels"
    assert all(figure.svg.lstrip().startswith("<?xml") or figure.text for figure in judgement.figures)
    assert any("return period" in remark for remark in judgement.remarks)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"evnt": {}}, "did you mean 'event'"),
        ({"event": {"variable": "X", "above": 9, "method": "luck"}}, "splitting, steering"),
        ({"event": {"variable": "X", "above": 9, "method": "steering", "moves": 3}}, "method steering"),
        ({"rival": {"netwrk": {}}}, "did you mean 'network'"),
        ({"rival": {"network": {"name": "mlp"}}}, "needs 'process'"),
    ],
)
def test_questions_that_are_none_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        judge_windows(_judged({"replicates": 2, **options}))


def test_another_generator_is_trained_beside_it():
    rival = {
        "process": {"name": "heavy-tailed", "degrees": 5, "schedule": {"name": "edm", "sigma_max": 20.0}},
        "network": {"name": "mlp", "width": 16, "depth": 1},
        "training": {"steps": 3, "batch": 8},
        "steps": 3,
        "count": 40,
    }
    judgement = judge_windows(_judged({"rival": rival, "replicates": 2}))
    assert all("rival" in each.baselines for each in judgement.results)

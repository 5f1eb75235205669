"""Angles: units there and back, files of one's own, the exact law, the bound on the likelihood, and the distances."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats
from thresholds import assert_mean

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.angles import angles, statistics
from unstir.domains.angles.backbone import REGIONS, STAYING, backbone_law
from unstir.domains.angles.bound import exact_marginal_log_prob, torus_bound
from unstir.exact.wrapped import WrappedMixtureDenoiser
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess

TORUS = WrappedProcess(ExponentialVESchedule(0.003, 1.0))
SIX_DIGITS = 1e-6  # float32 keeps a turn to 6e-8


@pytest.fixture
def wind(tmp_path):
    path = tmp_path / "wind.csv"
    rows = ["time;north;south", *(f"{hour};{hour * 15};{(hour * 40 + 5) % 360}" for hour in range(24))]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("unit", "period", "values"),
    [
        ("degrees", 360.0, [[-179.5, 0.0], [12.25, 179.75]]),
        ("degrees", 360.0, [[0.0, 359.5], [12.25, 179.75]]),
        ("radians", 2 * math.pi, [[-3.0, 0.0], [1.25, 3.1]]),
        ("hours", 24.0, [[0.0, 23.5], [6.25, 12.0]]),
    ],
)
def test_angles_come_back_in_their_own_unit_and_range(tmp_path, unit, period, values):
    np.save(tmp_path / "own.npy", np.array(values))
    data = angles.read({"path": str(tmp_path / "own.npy"), "unit": unit, "held_out": 0.0})
    state, condition = data.batch(np.arange(2))
    assert state.dtype == torch.float32 and bool(((state >= 0) & (state < 1)).all()) and condition == {}
    for encoding in (data.encoding, angles.restore(data.encoding.record())):
        assert np.allclose(encoding.decode(state), values, atol=SIX_DIGITS * period)


def test_angles_beyond_the_range_are_the_same_as_within(tmp_path):
    np.save(tmp_path / "own.npy", np.array([[370.0], [10.0], [-350.0]]))
    state = angles.read({"path": str(tmp_path / "own.npy"), "unit": "degrees", "held_out": 0.0}).state
    assert torch.allclose(state, torch.tensor([[10 / 360]]).expand(3, 1), atol=SIX_DIGITS)


def test_wind_directions_are_read_from_named_columns_and_written_with_them(wind, tmp_path):
    data = angles.read({"path": str(wind), "unit": "degrees", "columns": ["north", "south"], "held_out": 0.25})
    assert data.shape == (2,) and (len(data), len(data.held_out)) == (18, 6)
    assert data.encoding.names == ("north", "south") and data.encoding.low == 0
    rows = {tuple(row) for part in (data, data.held_out) for row in data.encoding.decode(part.state).round(3).tolist()}
    assert rows == {(hour * 15.0, (hour * 40 + 5) % 360) for hour in range(24)}
    (file,) = angles.write(data.encoding, data.state, tmp_path / "out")
    again = angles.read({"path": str(file), "unit": "degrees", "held_out": 0.0})
    assert again.encoding.names == data.encoding.names
    gap = (again.state.double() - data.state.double() + 0.5) % 1 - 0.5
    assert gap.abs().max() < SIX_DIGITS
    with pytest.raises(InputError, match="other samples here already"):
        angles.write(data.encoding, data.state.flip(0), tmp_path / "out")
    angles.write(data.encoding, data.state.flip(0), tmp_path / "out", overwrite=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "in which unit .* no unit, and values from 0"),
        ({"unit": "degree"}, "did you mean 'degrees'"),
        ({"unit": "turns"}, "more than two turns"),
        ({"period": -3}, "positive number"),
        ({"unit": "degrees", "columns": ["nroth"]}, "did you mean 'north'"),
        ({"unit": "degrees", "hold_out": 0.1}, "did you mean 'held_out'"),
        ({"unit": "degrees", "held_out": 1.0}, "from 0 to below 1"),
        ({"unit": "degrees", "held_out": 0.02}, "at least two on either side|of which 0|of which 1"),
        ({"unit": "degrees", "seed": "x"}, "whole number"),
        ({"unit": "degrees", "missing": "ignore"}, "error and drop"),
    ],
)
def test_options_that_cannot_be_used_are_answered(wind, options, said):
    options = {"columns": ["north", "south"], **options}
    if options.get("held_out") == 0.02:
        options["held_out"] = 0.04  # one of 24 rows
    with pytest.raises(InputError, match=said):
        angles.read({"path": str(wind), **options})


def test_cells_that_are_no_angles_are_named(wind, tmp_path):
    text = wind.read_text(encoding="utf-8")
    for changed, said in ((";45;", "line 5.*'north' is missing"), (";45;", "")):
        (tmp_path / "gap.csv").write_text(text.replace(changed, ";;"), encoding="utf-8")
        options = {"path": str(tmp_path / "gap.csv"), "unit": "degrees", "columns": ["north"]}
        if said:
            with pytest.raises(InputError, match=said):
                angles.read(options)
        assert len(angles.read({**options, "missing": "drop", "held_out": 0.0})) == 23
    (tmp_path / "word.csv").write_text(text.replace(";45;", ";N;"), encoding="utf-8")
    with pytest.raises(InputError, match="'north', row 4: 'N'"):
        angles.read({"path": str(tmp_path / "word.csv"), "unit": "degrees", "columns": ["north"]})
    np.save(tmp_path / "nan.npy", np.array([[1.0], [np.nan], [2.0]]))
    with pytest.raises(InputError, match="row 1"):
        angles.read({"path": str(tmp_path / "nan.npy"), "unit": "degrees"})
    np.save(tmp_path / "cube.npy", np.zeros((3, 2, 2)))
    with pytest.raises(InputError, match="rows of angles"):
        angles.read({"path": str(tmp_path / "cube.npy"), "unit": "degrees"})


def test_embedded_data_are_the_same_every_time_and_bad_options_are_refused():
    options = {"name": "backbone", "residues": 2, "count": 60}
    data, again = angles.read(options), angles.read(options)
    assert data.digest == again.digest and torch.equal(data.state, again.state)
    assert angles.read({**options, "seed": 1}).digest != data.digest
    assert data.encoding.names == ("phi1", "psi1", "phi2", "psi2") and data.shape == (4,)
    for wrong, said in (({"residues": 6}, "1 to 5"), ({"count": 2}, "at least 4"), ({"name": "bakbone"}, "backbone")):
        with pytest.raises(InputError, match=said):
            angles.read({**options, **wrong})


def test_backbone_density_is_that_of_the_chain_by_its_forward_recursion():
    law = backbone_law(2)
    x = torch.tensor([[0.82, 0.88, 0.67, 0.37], [0.16, 0.12, 0.81, 0.4], [0.5, 0.5, 0.5, 0.5]], dtype=torch.float64)
    table = np.array(list(REGIONS.values()))
    shares = table[:, 4]
    move = STAYING * np.eye(4) + (1 - STAYING) * shares[None]
    found = []
    for row in x.numpy():
        emission = [
            np.array(
                [
                    np.prod(
                        [
                            _wrapped(row[2 * residue + angle], region[angle] / 360, region[2 + angle] / 360)
                            for angle in (0, 1)
                        ]
                    )
                    for region in table
                ]
            )
            for residue in (0, 1)
        ]
        found.append(math.log(((shares * emission[0]) @ move * emission[1]).sum()))
    assert np.allclose(law.log_density(x, 0.0).numpy(), found, rtol=1e-10)


def _wrapped(x, mean, deviation):
    return sum(stats.norm.pdf(x + turn, mean, deviation) for turn in range(-6, 7))


def test_marginals_of_the_exact_belief_are_those_of_its_components_one_by_one():
    law, t = backbone_law(2), torch.tensor(0.6, dtype=torch.float64)
    x0 = law.draw(Seeds.range(0, 3))
    xt = law.process.noise(x0, t, Seeds.range(1, 3))
    belief = law(xt, t)
    total = np.zeros(3)
    for row, angle in product(range(3), range(4)):
        density = sum(
            math.exp(weight)
            * sum(
                math.exp(share) * _wrapped(x0[row, angle].item(), centre.item(), deviation)
                for share, centre in zip(shares.tolist(), centres, strict=True)
                if share > -40
            )
            for weight, shares, centres, deviation in zip(
                belief.log_weights[row].tolist(),
                belief.log_shares[row, :, angle],
                belief.centres[row, :, angle],
                belief.deviations[row, :, angle, 0].tolist(),
                strict=True,
            )
        )
        total[row] += math.log(density)
    assert np.allclose(exact_marginal_log_prob(law, xt, t, x0).numpy(), total, rtol=1e-8)


def test_bound_of_an_exact_belief_is_the_entropy_and_that_of_a_wrong_one_is_higher():
    """With independent angles nothing is lost on the way, whatever the number of steps."""
    law = WrappedMixtureDenoiser([1.0], [[0.2]], [[0.05]], TORUS)
    wrong = WrappedMixtureDenoiser([1.0], [[0.25]], [[0.05]], TORUS)
    x0 = law.draw(Seeds.range(3, 30))
    times = build("grids", {"name": "log-snr-uniform", "sigma_min": 0.02}, schedule=TORUS.schedule, steps=6)
    seeds = Seeds.range(4, 30)
    exact = torus_bound(law, x0, times, seeds, terms=1) + law.log_density(x0, 0.0)
    assert_mean(exact.numpy(), 0.0)
    # a belief of the same width about a centre that is one deviation off loses half a nat
    lost = torus_bound(wrong, x0, times, seeds, terms=1) + law.log_density(x0, 0.0)
    assert lost.mean().item() > 0.5 - 5 * lost.std().item() / math.sqrt(30)


def test_distances_of_angles_are_what_they_are_called():
    uniform = statistics.sample_set(Seeds.range(0, 500).uniform((2,)).float())
    half = statistics.sample_set(0.5 * Seeds.range(1, 500).uniform((2,)).float())
    other = statistics.sample_set(0.5 + 0.5 * Seeds.range(2, 500).uniform((2,)).float())
    seeds = Seeds.range(0, 500)
    for metric in (statistics.AngleHistograms(), statistics.PairHistograms(((0, 1),))):
        assert metric.measure(half, half, seeds).value == 0
        assert metric.measure(half, other, seeds).value == pytest.approx(1.0)
    found = statistics.AngleHistograms(bins=4).measure(uniform, half, seeds).value
    assert found == pytest.approx(0.5, abs=5 * 2 / math.sqrt(500))


@pytest.mark.parametrize(
    "metric",
    [statistics.AngleHistograms(), statistics.PairHistograms(((0, 1),), 6), statistics.CircularCorrelations()],
    ids=lambda metric: type(metric).__name__,
)
def test_a_resampling_by_weights_is_that_of_the_repeated_rows(metric):
    first, second = (Seeds.range(seed, 40).uniform((2,)).float() for seed in (0, 1))
    counts = torch.from_numpy(np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), 3)).double()
    seeds = Seeds.range(0, 40)
    reference = statistics.sample_set(second)
    by_weights = metric.measure(statistics.sample_set(first), reference, seeds).resampled(counts)
    for row, value in zip(counts.long(), by_weights.tolist(), strict=True):
        repeated = statistics.sample_set(first.repeat_interleave(row, 0))
        assert metric.measure(repeated, reference, seeds).value == pytest.approx(value, abs=1e-12)


def test_stand_ins_keep_what_they_should_and_lose_what_they_should():
    data = angles.read({"residues": 2, "count": 3000, "held_out": 0.0}).state
    seeds = Seeds.range(5, 3000)
    shuffled, normal = statistics.independent(data, seeds), statistics.one_wrapped_normal(data, seeds)
    sets = {name: statistics.sample_set(rows) for name, rows in {"data": data, "shuffled": shuffled}.items()}
    even = torch.full((1, 3000), 1 / 3000, dtype=torch.float64)
    tied, loose = (statistics.correlations(rows.space("features"), even)[0, 0, 4].item() for rows in sets.values())
    assert tied > 0.3 and abs(loose) < 5 / math.sqrt(3000)
    histograms = statistics.AngleHistograms()
    limit = max(histograms.floor(sets["data"], 3000, seeds, 40)) * 1.5
    assert histograms.measure(sets["shuffled"], sets["data"], seeds).value < limit
    away = (statistics.circular_mean(normal) - statistics.circular_mean(data) + 0.5) % 1 - 0.5
    assert away.abs().max() < 0.05
    assert histograms.measure(statistics.sample_set(normal), sets["data"], seeds).value > 2 * limit


def test_a_change_of_any_sample_shows_in_the_picture():
    data = angles.read({"residues": 2, "count": 20})
    picture = angles.draw(data.encoding, data.state[:6], columns=2)
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    for row in range(6):
        changed = data.state[:6].index_fill(0, torch.tensor([row]), 0.37)
        assert not np.array_equal(angles.draw(data.encoding, changed, columns=2), picture)
    with pytest.raises(InputError, match="shape"):
        angles.draw(data.encoding, data.state[:2, :3])

"""Downscaling: what the claims do not say. Bad input, other grids, missing values, consistency, new files."""

import json

import numpy as np
import pytest
import torch
from mutants import is_caught, misses

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.base import Asked
from unstir.domains.climate.encoding import restore
from unstir.domains.climate.layout import Axis
from unstir.domains.climate.made.gaussian_field import (
    SphereField,
    TorusField,
    field_law,
    gaussian_field_dataset,
    law_of,
)
from unstir.domains.climate.tasks.downscaling import coarsening, kriging
from unstir.domains.climate.tasks.downscaling.cases import Stage
from unstir.domains.climate.tasks.downscaling.coarsening import Grids, between, blocks
from unstir.domains.climate.tasks.downscaling.regression import LocalRegression, fit_regression
from unstir.domains.climate.tasks.downscaling.task import predict, read_downscale
from unstir.domains.climate.tasks.downscaling.wave_numbers import field_spectrum
from unstir.processes.gaussian import GaussianProcess
from unstir.verification.checks import downscaling as checks

xarray = pytest.importorskip("xarray")

MADE = {"name": "gaussian-field", "options": {"count": 300, "size": [8, 8], "reach": 4.0}, "factor": 2, "clock": []}

ANY = TorusField((4, 4), 2.0).denoiser(GaussianProcess())


def axis(name: str, values, periodic: bool = False) -> Axis:
    return Axis(name, tuple(np.asarray(values, dtype=float).tolist()), "1", periodic)


def noisy_about_the_centre(count, seed=0, condition=None, **how):
    white = Seeds.range(seed, count).at("test").normal(condition["centre"].shape[1:])
    return condition["centre"] + white


@pytest.fixture(scope="module")
def data():
    return read_downscale(MADE)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A fine file with an orography and a gap, and a coarse one of two variables and other units."""
    folder = tmp_path_factory.mktemp("downscaling")
    fine = gaussian_field_dataset(240, surface="sphere", size=(8, 16), degree=4)
    fine["orography"] = (("latitude", "longitude"), np.linspace(0, 1000, 128).reshape(8, 16), {"units": "m"})
    coarse = fine[["temperature"]].coarsen(latitude=2, longitude=2).mean().isel(time=slice(40, None))
    coarse["temperature"] = coarse["temperature"] - 273.15
    coarse["temperature"].attrs["units"] = "degC"
    coarse["wind"] = coarse["temperature"] * 0 + np.random.default_rng(0).normal(size=coarse["temperature"].shape)
    coarse["wind"].attrs["units"] = "m s-1"
    fine.to_netcdf(folder / "fine.nc", engine="h5netcdf")
    coarse.to_netcdf(folder / "coarse.nc", engine="h5netcdf")
    return folder, fine, coarse


# --- fields ---------------------------------------------------------------------------------------------------------


def test_a_field_is_the_same_alone_and_among_others():
    for law in (TorusField((4, 6), 3.0), SphereField((4, 6), 1.0, degree=3)):
        together = law.draw(Seeds.range(5, 600))
        assert torch.equal(law.draw(Seeds.range(5, 1, start=431))[0], together[431])


def test_the_law_comes_back_from_the_dataset(tmp_path):
    told = {"size": [4, 6], "surface": "sphere", "reach": 0.8, "degree": 3}
    gaussian_field_dataset(5, **told).to_netcdf(tmp_path / "field.nc", engine="h5netcdf")
    again = law_of(xarray.open_dataset(tmp_path / "field.nc", engine="h5netcdf").attrs)
    assert torch.equal(again.covariance(), field_law(**told).covariance())
    assert law_of({}) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"surface": "spere"}, "did you mean 'sphere'"),
        ({"size": 1}, "at least 2 rows"),
        ({"size": [4.5, 3]}, "two whole numbers"),
        ({"reach": 0.0}, "reach is positive"),
        ({"surface": "sphere", "degree": 2.5}, "degree of the harmonics"),
        ({"count": 0}, "at least 1 day"),
    ],
)
def test_wrong_options_of_a_field_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        gaussian_field_dataset(**{"count": 3, **options})


def test_the_exact_law_of_too_many_places_is_refused():
    with pytest.raises(InputError, match="at most 4096 places"):
        TorusField((80, 80), 4.0).covariance()


def test_kriging_refuses_a_matrix_of_another_field():
    with pytest.raises(InputError, match=r"a matrix \(m, 16\)"):
        kriging.Kriging(TorusField((4, 4), 2.0), torch.ones(3, 9))


def test_a_gain_that_forgets_the_mean_is_caught(monkeypatch):
    def wrong(self, readings):
        return self.law.mean + (readings.double() @ self.gain.T).reshape(-1, *self.law.size)

    assert not misses(checks.kriging_is_conditioning, None)
    monkeypatch.setattr(kriging.Kriging, "mean", wrong)
    assert misses(checks.kriging_is_conditioning, None)


def test_an_isotropic_field_of_another_variance_is_caught(monkeypatch):
    class Uneven(SphereField):
        root = property(lambda self: SphereField.root.func(self) * np.sqrt(1.1))

    monkeypatch.setattr(checks, "SphereField", Uneven)
    assert misses(checks.fields_have_their_covariance, None)


# --- grids ----------------------------------------------------------------------------------------------------------


def test_means_of_blocks_are_those_of_xarray_by_area():
    values = np.random.default_rng(0).normal(size=(2, 8, 6))
    values[0, 0, 0] = np.nan
    areas = np.cos(np.deg2rad(np.linspace(-80, 80, 8)))[:, None] * np.ones((8, 6))
    grids = blocks([axis("latitude", np.linspace(-80, 80, 8)), axis("longitude", range(6))], 2, areas)
    field = xarray.DataArray(values, dims=("n", "latitude", "longitude"))
    weights = xarray.DataArray(areas, dims=("latitude", "longitude")).where(field.notnull())
    wanted = (field * weights).coarsen(latitude=2, longitude=2).sum() / weights.coarsen(latitude=2, longitude=2).sum()
    np.testing.assert_allclose(grids.means(values), wanted.values, atol=1e-12)
    values[1, :2, :2] = np.nan
    assert np.isnan(grids.means(values)[1, 0, 0])


@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_interpolation_is_exact_for_straight_lines_and_goes_on_beyond_the_ends(kind):
    grids = blocks([axis("y", range(12)), axis("x", range(20))], 4, np.ones((12, 20)))
    line = np.arange(20.0) * 3 + 1
    fine = grids.interpolated(grids.means(np.broadcast_to(line, (1, 1, 12, 20)).copy()), kind)[0, 0, 0]
    inside = slice(2, -2) if kind == "linear" else slice(6, -6)
    np.testing.assert_allclose(fine[inside], line[inside], atol=1e-12)
    assert fine[0] <= grids.means(line[None] * np.ones((12, 1)))[0, 0] + 1e-12 or kind == "cubic"


def test_interpolation_around_the_globe_knows_no_edge():
    longitudes = np.arange(24) * 15.0
    grids = blocks([axis("longitude", longitudes, True)], 3, np.ones(24))
    wave = np.cos(np.deg2rad(longitudes))
    turned = np.roll(wave, 3)
    first, second = (grids.interpolated(grids.means(each[None, None]), "cubic")[0, 0] for each in (wave, turned))
    np.testing.assert_allclose(np.roll(first, 3), second, atol=1e-12)


def test_another_grid_is_interpolated_by_its_coordinates():
    fine, coarse = [axis("x", np.linspace(0, 10, 41))], [axis("x", [0.0, 1.0, 4.0, 10.0])]
    grids = between(fine, coarse, np.ones(41))
    told = grids.interpolated(np.array([[[0.0, 1.0, 4.0, 10.0]]]), "linear")[0, 0]
    np.testing.assert_allclose(told, np.linspace(0, 10, 41), atol=1e-12)
    assert grids.cells.max() == 3


def test_grids_that_do_not_fit_are_refused():
    fine = [axis("y", range(8)), axis("x", range(8))]
    with pytest.raises(InputError, match="does not divide the 8 places along 'y'"):
        blocks(fine, 3, np.ones((8, 8)))
    with pytest.raises(InputError, match="whole number of at least 2"):
        blocks(fine, 1, np.ones((8, 8)))
    with pytest.raises(InputError, match="numbers along 'station'"):
        blocks([Axis("station", ("a", "b"))], 2, np.ones(2))
    with pytest.raises(InputError, match="both need the same axes"):
        between(fine, [axis("y", range(4))], np.ones((8, 8)))
    with pytest.raises(InputError, match="reach over the fine data"):
        between(fine, [axis("y", [0, 2]), axis("x", [0, 4, 8])], np.ones((8, 8)))
    with pytest.raises(InputError, match="at least 2 places along 'x'"):
        between(fine, [axis("y", [0, 4, 8]), axis("x", [4])], np.ones((8, 8)))


def test_scaled_members_keep_means_and_stay_positive():
    grids = blocks([axis("x", range(8))], 4, np.ones(8))
    rain = np.array([[0.0, 1.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
    kept = grids.kept(rain, np.array([[3.0, 1.0]]), "scale")
    np.testing.assert_allclose(kept, [[0.0, 3.0, 6.0, 3.0, 0.0, 0.0, 0.0, 0.0]])
    missing = grids.kept(rain, np.array([[np.nan, 1.0]]), "shift")
    np.testing.assert_allclose(missing, [[0.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
    with pytest.raises(InputError, match="did you mean 'shift'"):
        grids.kept(rain, np.array([[3.0, 1.0]]), "shft")


def test_means_over_the_wrong_blocks_are_caught(monkeypatch):
    from unstir.inverse.operators.downsample import DownsampleOperator

    class Rolled(Grids):
        def means(self, values):
            return super().means(np.roll(values, 1, -1))

    operator = DownsampleOperator((2, 6, 4))
    assert not is_caught(checks.block_means_are_those_of_the_operator, operator, operator)
    made = coarsening.blocks
    monkeypatch.setattr(
        checks,
        "blocks",
        lambda *given: Rolled(**{name: getattr(made(*given), name) for name in ("fine", "coarse", "areas", "factor")}),
    )
    assert is_caught(checks.block_means_are_those_of_the_operator, None, operator)


# --- regression -----------------------------------------------------------------------------------------------------


def test_regression_finds_the_weights_that_made_the_data():
    """Places with weights of their own, and alike ones with shared weights; with a tenth of the targets missing."""
    for shared in (True, False):
        recovers_its_weights(shared)


def recovers_its_weights(shared: bool):
    draws = np.random.default_rng(1)
    grids = blocks([axis("y", range(6), True), axis("x", range(6), True)], 2, np.ones((6, 6)))
    coarse, season = draws.normal(size=(4000, 2, 3, 3)), draws.normal(size=(4000, 1))
    features = 2 * 9 + 1 + 1
    true = LocalRegression(grids, draws.normal(size=(1, 4 if shared else 36, features)), 1, shared, 0.0)
    missed = true(coarse, season)
    sure = fit_regression(grids, lambda: [(missed, coarse, season)], None, radius=1, shared=shared, penalty=0.0)
    np.testing.assert_allclose(sure.weights, true.weights, atol=1e-8)
    gaps = np.where(draws.random(missed.shape) < 0.1, np.nan, missed)
    found = fit_regression(grids, lambda: [(gaps, coarse, season)], None, radius=1, shared=shared, penalty=0.0)
    # of n equations a tenth is missing: sums over the others stand for all, to a share of sqrt(0.1 / n) of the signal
    equations = 4000 * (9 if shared else 1)
    signal = np.sqrt(np.square(true.weights).sum(-1).max())
    assert np.abs(found.weights - true.weights).max() < 6 * signal * np.sqrt(0.12 / equations)


def test_the_penalty_is_chosen_on_the_validation_part():
    draws = np.random.default_rng(2)
    grids = blocks([axis("x", range(12))], 3, np.ones(12))

    def part(count, size):
        coarse = draws.normal(size=(count, 1, 4))
        return [(size * draws.normal(size=(count, 1, 12)), coarse, np.zeros((count, 0)))]

    train, apart = part(12, 1.0), part(2000, 1.0)
    pure_noise = fit_regression(grids, lambda: train, lambda: apart, radius=1)
    assert pure_noise.penalty == 1.0  # nothing can be told: the largest
    told = [(grids.interpolated(c, "linear") * 3, c, s) for _, c, s in (train[0], apart[0])]
    sure = fit_regression(grids, lambda: told[:1], lambda: told[1:], radius=1)
    assert sure.penalty <= 1e-5


def test_regressions_come_back_from_their_record(data):
    encoding = restore(json.loads(json.dumps(data.encoding.record())))
    told = Stage.restored(encoding).told(data.test.cases.coarse(np.arange(7)), data.test.cases.times[:7])
    _, condition = data.test.batch(np.arange(7))
    for name, values in told.items():
        assert np.array_equal(values, condition[name].numpy())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regression": {"radius": 9}}, "from 0 to 4"),
        ({"regression": {"raduis": 1}}, "did you mean 'radius'"),
        ({"regression": 3}, "a mapping is needed"),
        ({"regression": {"penalty": -1.0}}, "at least 0"),
        ({"factr": 2}, "did you mean 'factor'"),
        ({"interpolation": "bicubic"}, "did you mean 'cubic'"),
        ({"consistent": "both"}, "keep the means of blocks"),
        ({"clock": ["month"]}, "season and hour"),
        ({"factor": 3}, "does not divide"),
        ({"coarse": {"variables": "t"}}, "a path is needed"),
        ({"coarse": {"path": "x.nc", "colour": 1}}, "option of the coarse data"),
        ({"coarse": "x.nc", "consistent": "shift"}, "take none"),
        ({"name": "lorenz-63", "options": {"count": 300}}, "axes of space"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        read_downscale({**MADE, **options})


# --- the task -------------------------------------------------------------------------------------------------------


def test_states_come_back_in_their_units_and_the_residual_has_deviation_one(data):
    rows = np.arange(len(data))
    state, condition = data.batch(rows)
    np.testing.assert_allclose(data.encoding.decode(state), data.cases.target(rows), atol=1e-4)
    assert (state - condition["centre"]).std().item() == pytest.approx(1, abs=1e-3)
    assert set(condition) == set(data.conditions) == {"given", "centre"}
    assert condition["given"].shape == (len(data), 1 + 2, 8, 8)
    late = data.test.batch(np.arange(len(data.test)))
    assert (late[0] - late[1]["centre"]).std().item() == pytest.approx(1, abs=0.15)
    assert data.test.cases.times[0] > data.validation.cases.times[-1] > data.cases.times[-1]


def test_missing_values_are_masked_and_do_not_spread():
    dataset = gaussian_field_dataset(200, size=(8, 8), reach=4.0)
    values = dataset["temperature"].values
    values[:, 0, 0] = np.nan  # a place that is never known
    values[:, 4:6, 4:6] = np.nan  # nor a whole block
    values[::7, 2, 3] = np.nan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unstir.domains.climate.files.datasets.embedded", lambda name, options: dataset)
        data = read_downscale({**MADE, "missing": "mask"})
    state, condition = data.batch(np.arange(20))
    assert not condition["mask"][:, 0, 0, 0].any() and not condition["mask"][:, 0, 4:6, 4:6].any()
    assert condition["mask"][:, 0, 1, 1].all()
    for values in (state, condition["given"], condition["centre"]):
        assert values.isfinite().all()
    away = (state - condition["centre"])[condition["mask"]]
    assert 0.8 < away.std() < 1.2


def test_a_coarse_file_of_other_variables_units_and_times(files):
    folder, _, coarse = files
    data = read_downscale(
        {"path": str(folder / "fine.nc"), "coarse": {"path": str(folder / "coarse.nc"), "units": {"temperature": "K"}}}
    )
    assert data.cases.times[0] == coarse["time"].values[0]  # the times that both have
    assert data.cases.stage.interpolation == "linear"
    assert data.encoding.memory["maps"] == ["latitude", "orography"]
    assert data.conditions["given"] == {"channels": 2 + 2 + 2}
    np.testing.assert_allclose(
        data.cases.coarse(np.arange(1))[0, 0], coarse["temperature"].values[0] + 273.15, rtol=1e-5
    )
    elsewhere = read_downscale({"path": str(folder / "fine.nc"), "coarse": str(folder / "coarse.nc")})
    assert elsewhere.cases.stage.interpolation is None  # in degrees Celsius it is another quantity


def test_a_coarse_file_without_a_common_time_is_refused(files, tmp_path):
    folder, _, coarse = files
    later = coarse.assign_coords(time=coarse["time"] + np.timedelta64(20_000, "D"))
    later.to_netcdf(tmp_path / "later.nc", engine="h5netcdf")
    with pytest.raises(InputError, match="no time is in both"):
        read_downscale({"path": str(folder / "fine.nc"), "coarse": str(tmp_path / "later.nc")})


def test_predictions_keep_coordinates_units_and_means(files, tmp_path):
    folder, _, coarse = files
    data = read_downscale({"path": str(folder / "fine.nc"), "factor": 2, "consistent": "shift"})
    encoding = restore(json.loads(json.dumps(data.encoding.record())))
    path = tmp_path / "new.nc"
    coarse.isel(time=slice(0, 9)).transpose("time", "longitude", "latitude").to_netcdf(path, engine="h5netcdf")
    asked = Asked(ANY, encoding, path, noisy_about_the_centre, 4, 0, {})
    found = predict(asked)
    assert dict(found.sizes) == {"time": 9, "member": 4, "latitude": 8, "longitude": 16}
    assert found["temperature"].attrs["units"] == "K"  # the file had degrees Celsius
    np.testing.assert_array_equal(found["time"].values, coarse["time"].values[:9])
    areas = np.cos(np.deg2rad(found["latitude"]))
    weighed = (found["temperature"] * areas).coarsen(latitude=2, longitude=2).sum()
    means = weighed / (areas * xarray.ones_like(found["longitude"])).coarsen(latitude=2, longitude=2).sum()
    wanted = coarse["temperature"].isel(time=slice(0, 9)).values + 273.15
    np.testing.assert_allclose(means.values, np.repeat(wanted[:, None], 4, 1), atol=2e-3)
    again = predict(asked)
    assert np.array_equal(found["temperature"].values, again["temperature"].values)


def test_files_that_do_not_fit_a_run_are_refused(files, tmp_path, data):
    folder, fine, coarse = files
    run = read_downscale({"path": str(folder / "fine.nc"), "factor": 2})

    def ask(dataset, **options):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.nc"
        dataset.to_netcdf(path, engine="h5netcdf")
        return predict(Asked(ANY, run.encoding, path, noisy_about_the_centre, 2, 0, options))

    with pytest.raises(InputError, match="coarse places"):
        ask(fine[["temperature"]])
    with pytest.raises(InputError, match="unknown variable"):
        ask(coarse[["temperature"]].rename(temperature="temprature"))
    with pytest.raises(InputError, match="cannot be converted"):
        ask(coarse[["temperature"]].assign(temperature=coarse["temperature"].assign_attrs(units="m s-1")))
    with pytest.raises(InputError, match="did you mean 'consistent'"):
        ask(coarse[["temperature"]], consistant="shift")
    with pytest.raises(InputError, match="lies along"):
        ask(coarse[["temperature"]].isel(longitude=0))


# --- spectra --------------------------------------------------------------------------------------------------------


def test_a_field_s_spectrum_is_that_of_its_law():
    law = TorusField((16, 16), 4.0, 1.0, 2.0, 3.0)
    axes = [axis("y", range(16), True), axis("x", range(16), True)]
    waves, power = field_spectrum(law.draw(Seeds.range(0, 4000)), axes)
    length = np.hypot(*np.meshgrid(np.fft.fftfreq(16), np.fft.fftfreq(16), indexing="ij"))
    for place, wave in enumerate(waves.tolist()):
        shell = np.round(length * 16) == round(wave * 16)
        expected = law.spectrum.numpy()[shell].sum() / 256
        error = power[:, place].std().item() / 4000**0.5
        assert abs(power[:, place].mean().item() - expected) < 6 * error


def test_a_slope_feigns_no_small_waves_where_edges_do_not_meet():
    slope = torch.arange(32, dtype=torch.float64)[None]
    _, mirrored = field_spectrum(slope, [axis("x", range(32))])
    _, jumping = field_spectrum(slope, [axis("x", range(32), True)])
    # continued by its mirror image the slope's coefficients fall by the square of the wave number, not by itself
    assert mirrored[0, -8:].sum() / mirrored.sum() < 0.05 * jumping[0, -4:].sum() / jumping.sum()

"""The verb `predict`: an ensemble for a user's file, the same again, and what it refuses."""

import numpy as np
import pytest

from unstir.core.errors import InputError
from unstir.domains.climate.made.embedded import embedded
from unstir.run.folder import RunFolder
from unstir.run.predicting import predict_run
from unstir.run.recipe import load
from unstir.run.sampling import TrainedRun
from unstir.run.training import train_run

xarray = pytest.importorskip("xarray")

SMALL = ["network={name: mlp, width: 8, depth: 1, embedding: 8}", "training.steps=4", "training.batch=16"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    recipe = load("rain", [*SMALL, "sampling.steps=2", "data.options={count: 400}"])
    folder, _ = train_run(recipe, tmp_path_factory.mktemp("rain") / "run", progress=False)
    return TrainedRun(RunFolder.open(folder.path))


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A raw ensemble of twelve days, without what came true."""
    path = tmp_path_factory.mktemp("raw") / "raw.nc"
    embedded("station-rain", {"count": 400})[["rainfc"]].isel(time=slice(-12, None)).to_netcdf(path, engine="h5netcdf")
    return path


def read(path):
    with xarray.open_dataset(path, engine="h5netcdf") as dataset:
        return dataset.load()


def test_an_ensemble_is_written_with_names_units_and_times(run, raw):
    path = predict_run(run, raw, members=7)
    found, given = read(path), read(raw)
    assert path == run.folder.path / "predictions" / "raw.nc"
    rain = found["rain"].squeeze()
    assert rain.sizes == {"time": 12, "member": 7} and rain.attrs["units"] == "mm"
    np.testing.assert_array_equal(found["time"], given["time"])
    assert float(rain.min()) >= 0 and float(rain.std("member").mean()) > 0


def test_seed_and_members_decide_what_is_drawn(run, raw, tmp_path):
    first, again, other = (
        read(predict_run(run, raw, members=4, seed=seed, out=tmp_path / f"{name}.nc"))["rain"].values
        for name, seed in (("first", 3), ("again", 3), ("other", 4))
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"members": 0}, "at least 1 member"),
        ({"options": {"lead": 3}}, "lead"),
        ({"options": {"members": 3}}, "--members"),
        ({"out": "there.grib"}, "grib"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_drawn(run, raw, tmp_path, told, said):
    if "out" in told:
        told = {"out": tmp_path / told["out"]}
    with pytest.raises(InputError, match=said):
        predict_run(run, raw, **told)


def test_a_file_that_is_not_there_or_not_alike_is_told(run, raw, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        predict_run(run, tmp_path / "nowhere.nc")
    fewer = read(raw).isel(member=slice(0, 5))
    fewer.to_netcdf(tmp_path / "fewer.nc", engine="h5netcdf")
    with pytest.raises(InputError, match="member"):
        predict_run(run, tmp_path / "fewer.nc")


def test_a_field_without_predictions_says_what_it_has(tmp_path):
    network = "network={name: unet, widths: [8, 8], blocks: 1, attention: [], head_width: 8}"
    folder, _ = train_run(load("digits", [network, "training.steps=2"]), tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="unstir sample"):
        predict_run(TrainedRun(folder), tmp_path)

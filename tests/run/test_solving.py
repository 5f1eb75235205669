"""The verb `solve` on a run in miniature: what lies in the folder, in which units, and from which reading."""

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from thresholds import assert_holds

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.angles.encoding import AngleEncoding
from unstir.domains.images.encoding import ImageEncoding
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.noises.wrapped_normal import WrappedNormalNoise
from unstir.report.solved import write_solved
from unstir.run.folder import RunFolder
from unstir.run.readings import noise_of, operator_of, problem_of, specification
from unstir.run.recipe import load
from unstir.run.sampling import TrainedRun
from unstir.run.solving import solve_run
from unstir.run.training import train_run
from unstir.verification.statistics import mean_is

SMALL = (
    "network={name: unet, widths: [8, 16], blocks: 1, attention: [1], head_width: 16}",
    "training.steps=12",
    "training.batch=16",
    "sampling.steps=3",
    "sampling.batch=16",
)
DDRM, BOX = {"name": "ddrm"}, {"name": "box", "hidden": 0.5}
NOISE = {"name": "gaussian", "deviation": 0.05}
HALVED = {"name": "downsample", "factor": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "digits"
    train_run(load("digits", SMALL), place, progress=False)
    return TrainedRun(RunFolder.open(place))


def solved(run, out, operator=BOX, method=DDRM, noise=NOISE, **how):
    options = {"count": 8, "steps": 3, "progress": False, **how}
    return solve_run(run, operator, noise, method, out=out, **options)


def arrays_of(folder):
    with np.load(folder / "posterior.npz") as file:
        return {name: file[name] for name in file.files}


def record_of(folder):
    return json.loads((folder / "solution.json").read_text())


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    return solved(run, tmp_path_factory.mktemp("solved") / "box", of=7)


def test_the_folder_holds_the_posterior_in_the_datas_own_units(run, folder):
    arrays, record = arrays_of(folder), record_of(folder)
    truth = run.data.values[np.array([7])][0]
    assert np.allclose(arrays["truth"][0], truth, atol=1e-5) and arrays["truth"].max() > 8
    seen = operator_of(BOX, run.shape).seen[0].numpy()
    assert np.allclose(arrays["projected"][0][seen], arrays["reading"], atol=1e-4)
    assert np.allclose(arrays["projected"][0][~seen], 8)  # grey, where nothing was seen
    # what was added to the truth has the deviation asked for, in shares of the range
    away = (arrays["reading"] - truth[seen]) / 16 / NOISE["deviation"]
    assert_holds(mean_is("squared deviation", away**2, 1, deviation=math.sqrt(2)))
    with np.load(folder / "samples" / "samples-000000.npz") as file:
        drawn = file["values"]
    assert drawn.dtype == np.uint8 and drawn.shape == (8, 8, 8)
    assert np.array_equal(arrays["draws"][:, 0].clip(0, 16).round(), drawn)
    assert np.allclose(arrays["mean"], arrays["draws"].mean(0))
    assert np.allclose(arrays["deviation"], arrays["draws"].std(0, ddof=1))
    assert np.allclose(arrays["low_80"], np.quantile(arrays["draws"], 0.1, axis=0), atol=1e-6)
    assert (record["units"], record["source"]) == ("the data's own", "row 7 of the training data")
    assert record["noise"] == NOISE and "deviation=0.1" in record["noise_encoded"]
    assert record["method"]["name"] == "ddrm" and record["steps"] == 3 and record["seed"] == 0
    beside = record["beside_the_truth"]
    for found in beside["intervals"]:
        low, high = (arrays[f"{end}_{100 * found['level']:.0f}"] for end in ("low", "high"))
        inside = (arrays["truth"] >= low - 1e-4) & (arrays["truth"] <= high + 1e-4)
        assert found["covered"] == pytest.approx(inside.mean())
    error = np.sqrt(np.mean((arrays["mean"] - arrays["truth"]) ** 2)) / 16
    mean = beside["restored"]["mean of the draws"]
    assert mean["rmse"] == pytest.approx(error, rel=1e-5)
    assert mean["psnr"] == pytest.approx(-20 * math.log10(error), rel=1e-5) and "ssim" in mean
    assert set(beside["restored"]) == {"mean of the draws", "one draw", "biharmonic"}


def test_solving_again_gives_the_same_files(run, folder, tmp_path):
    again = solved(run, tmp_path / "again", of=7)
    for name in ("posterior.npz", "samples/samples-000000.npz"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    other = solved(run, tmp_path / "other", of=7, seed=1)
    assert (other / "posterior.npz").read_bytes() != (folder / "posterior.npz").read_bytes()


@pytest.mark.parametrize("operator", [BOX, HALVED], ids=["box", "halved"])
def test_a_reading_from_a_file_is_the_one_that_was_simulated(run, tmp_path, operator):
    """Written in the data's own units, and read again as the reading: the same draws, to rounding."""
    first = arrays_of(solved(run, tmp_path / "first", operator, of=3))
    np.save(tmp_path / "reading.npy", first["reading"][None])
    second = solved(run, tmp_path / "second", operator, data=tmp_path / "reading.npy", degraded=True)
    found = arrays_of(second)
    assert np.allclose(found["reading"], first["reading"], atol=1e-4)
    assert np.allclose(found["draws"], first["draws"], atol=1e-3)
    record = record_of(second)
    assert record["simulated"] is False and "truth" not in found and record["beside_the_truth"] is None


def test_pictures_are_read_from_black_to_white(run, tmp_path):
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(pixels).save(tmp_path / "clean.png")
    Image.fromarray(pixels[:4, :4]).save(tmp_path / "small.png")
    Image.fromarray(np.dstack([pixels] * 3)).save(tmp_path / "colour.png")
    Image.fromarray((pixels > 100).astype(np.uint8) * 255).save(tmp_path / "seen.png")
    for name in ("clean.png", "colour.png"):
        truth = arrays_of(solved(run, tmp_path / name[:-4], data=tmp_path / name))["truth"]
        assert np.allclose(truth[0], pixels / 255 * 16, atol=1e-4)
    # a small picture as the reading of a down-sampling, and a whole one as what a mask sees a part of
    found = arrays_of(solved(run, tmp_path / "read", HALVED, data=tmp_path / "small.png", degraded=True))
    assert np.allclose(found["reading"][0], pixels[:4, :4] / 255 * 16, atol=1e-4)
    mask = {"name": "mask", "seen": str(tmp_path / "seen.png")}
    found = arrays_of(solved(run, tmp_path / "part", mask, data=tmp_path / "clean.png", degraded=True))
    assert np.allclose(found["reading"], pixels[pixels > 100] / 255 * 16, atol=1e-4)


def test_noise_in_the_datas_units_is_that_of_encoded_samples(run):
    """Measured beside the same noise of pictures from 0 to 1, without their encoding."""
    operator = operator_of(HALVED, run.shape)
    x0 = run.data.batch(np.arange(1))[0]
    shares, seeds = (x0 + 1) / 2, Seeds.range(0, 1).at("noise")
    plain = ImageEncoding(0.0, 16.0, "uint8", "hw", (1, 8, 8))
    for told in (
        {"name": "gaussian", "deviation": 0.2},
        {"name": "gaussian-unknown", "prior_shape": 3.0, "prior_scale": 0.05},
        {"name": "poisson", "gain": 40.0, "background": 0.1},
    ):
        encoded = noise_of(told, plain, operator)
        as_shares = noise_of(told, AngleEncoding(("a",), "turns", 1.0), operator)  # a field that keeps its units
        drawn = (encoded.draw(operator(x0).double(), seeds) + 1) / 2
        expected = as_shares.draw(operator(shares).double(), seeds)
        assert torch.allclose(drawn, expected, atol=1e-5), told
    radon = operator_of({"name": "radon"}, run.shape)
    with pytest.raises(InputError, match="sees a white picture as one value, as RadonOperator does not"):
        noise_of({"name": "poisson"}, plain, radon)
    assert noise_of({"name": "wrapped-normal"}, plain, operator) == WrappedNormalNoise()


def test_calibration_tells_what_the_truths_were_and_is_kept(run, tmp_path):
    first = solved(run, tmp_path / "a", calibrate=3, steps=2, count=4)
    found = record_of(first)["calibration"]
    assert (found["truths"], found["problems"], found["draws"]) == ("the model's own samples", 3, 39)
    lines = (first / "calibration-model.jsonl").read_text().splitlines()
    assert len(lines) == 4
    again = record_of(solved(run, tmp_path / "a", calibrate=4, steps=2, count=4))["calibration"]
    assert again["problems"] == 4 and (first / "calibration-model.jsonl").read_text().splitlines()[:4] == lines
    data = record_of(solved(run, tmp_path / "b", calibrate=2, calibrate_on="data", steps=2, count=4))["calibration"]
    assert data["truths"] == "training data"
    page = write_solved(first).read_text()
    assert "Can the spread be believed?" in page and again["verdict"].split(" (")[0] in page


def test_the_page_needs_nothing_beside_it(folder):
    page = write_solved(folder).read_text()
    assert page.count("data:image/png;base64,") >= 5 + 8  # truth, reading, mean, deviation, interval; draws
    assert 'src="http' not in page and "<script" not in page and "<link" not in page
    assert "What is behind the reading" in page and "--calibrate 100" in page and "biharmonic" in page
    with pytest.raises(InputError, match="no solution to show"):
        write_solved(folder / "samples")


def test_a_condition_is_told_and_can_be_needed(run, tmp_path):
    plain, told = solved(run, tmp_path / "a", of=3), solved(run, tmp_path / "b", of=3, condition={"label": 3})
    assert (plain / "posterior.npz").read_bytes() != (told / "posterior.npz").read_bytes()
    assert record_of(told)["condition"] == {"label": 3} and (told / "samples" / "samples-000000.npz").exists()
    with pytest.raises(InputError, match="0 to 9"):
        solved(run, tmp_path / "c", condition={"label": 11})
    strict = copy.copy(run)
    strict.recipe = replace(run.recipe, training=replace(run.recipe.training, drop_condition=0.0))
    with pytest.raises(InputError, match=r"has not learned to do without.*say --condition label="):
        solved(strict, tmp_path / "d")


def test_specifications_are_names_and_options():
    assert specification("blur") == {"name": "blur"}
    assert specification("blur,deviation=1.5, size=[3,5],kind=box") == {
        "name": "blur", "deviation": 1.5, "size": [3, 5], "kind": "box",
    }  # fmt: skip
    assert specification("gaussian,deviation=1e-3") == {"name": "gaussian", "deviation": 0.001}
    assert specification("{name: blur, parts: [{a: 1}]}") == {"name": "blur", "parts": [{"a": 1}]}
    for wrong, said in {
        "blur,1.5": "key=value",
        "blur,=2": "key=value",
        "{deviation: 1}": "a mapping with a name",
        "{name: [": "cannot be read as YAML",
    }.items():
        with pytest.raises(InputError, match=said):
            specification(wrong)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"of": 1797}, "rows 0 to 1796; seen --of 1797"),
        ({"of": -1}, "seen --of -1"),
        ({"degraded": True}, "name it with --data FILE"),
        ({"count": 1}, "at least 2 draws"),
        ({"calibrate": 3, "calibrate_on": "prior"}, "Allowed: data, model"),
        ({"operator": {"name": "blurr"}}, "did you mean 'blur'"),
        ({"operator": {"name": "box", "hide": 0.2}}, "did you mean 'hidden'"),
        ({"noise": {"name": "gaussian", "deviation": -1.0}}, "not negative"),
        ({"method": {"name": "dpss"}}, "did you mean 'dps'"),
        (
            {"method": {"name": "ddrm"}, "noise": {"name": "poisson", "gain": 9.0}},
            "needs a measurement that is gaussian",
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_what_cannot_be_asked_is_refused(run, tmp_path, how, said):
    with pytest.raises(InputError, match=said):
        solved(run, tmp_path / "refused", **how)
    assert not (tmp_path / "refused").exists()


def test_files_that_do_not_fit_are_refused(run, tmp_path):
    operator = operator_of(BOX, run.shape)
    noise = GaussianNoise(0.1)
    np.save(tmp_path / "large.npy", np.zeros((1, 9, 9), np.uint8))
    np.save(tmp_path / "fits.npy", np.zeros((1, 8, 8), np.uint8))
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "tall.png")
    (tmp_path / "no.png").write_text("words")
    for name, degraded, row, said in (
        ("large.npy", False, 0, r"shape \(9, 9\); this run's have \(8, 8\)"),
        ("large.npy", True, 0, r"MaskOperator measures \(48,\)"),
        ("tall.png", False, 0, r"shape \(1, 9, 8\)"),
        ("no.png", False, 0, "cannot be read as a picture"),
        ("none.png", False, 0, "no such file"),
        ("none.npy", False, 0, "no such file"),
        ("fits.npy", False, 1, "rows 0 to 0; seen --of 1"),
    ):
        with pytest.raises(InputError, match=said):
            problem_of(run, operator, noise, tmp_path / name, row, degraded, 0)

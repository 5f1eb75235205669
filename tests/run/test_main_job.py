"""The main job in miniature: train, sample, evaluate, report; again, resumed, elsewhere."""

import json
import shutil

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.network import deviation_of
from unstir.run.evaluation import evaluate_run
from unstir.run.folder import RunFolder
from unstir.run.parts import read_data, training_conditions
from unstir.run.recipe import load
from unstir.run.sampling import TrainedRun, sample_run
from unstir.run.training import train_run

SMALL = (
    "network={name: unet, widths: [8, 16], blocks: 1, attention: [1], head_width: 16}",
    "training.steps=12",
    "training.batch=16",
    "training.log_every=4",
    "sampling.steps=3",
    "sampling.count=40",
    "sampling.batch=16",
    "evaluation.calls=[1, 3]",
    "evaluation.replicates=10",
)


def small(*changes):
    return load("digits", [*SMALL, *changes])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "digits"
    train_run(small(), place, progress=False)
    return place


def weights(folder):
    return TrainedRun(RunFolder.open(folder)).denoiser().state_dict()


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_run_folder_holds_what_repeats_it(folder):
    recipe = load(folder / "recipe.yaml")
    data = read_data(recipe)
    record = json.loads((folder / "provenance.json").read_text())
    assert recipe.denoiser["sigma_data"] == pytest.approx(deviation_of(data.batch(np.arange(len(data)))[0]), rel=1e-3)
    assert record["data"] == {"name": data.name, "sha256": data.digest, "rows": 1797}
    assert record["packages"]["torch"] == torch.__version__
    assert record["seed"] == 0
    lines = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 12]


def test_the_same_recipe_gives_the_same_weights_and_samples_to_the_bit(folder, tmp_path):
    train_run(load(folder / "recipe.yaml"), tmp_path / "again", progress=False)
    first, second = weights(folder), weights(tmp_path / "again")
    assert all(torch.equal(first[name], second[name]) for name in first)
    for place, out in ((folder, tmp_path / "a"), (tmp_path / "again", tmp_path / "b")):
        sample_run(TrainedRun(RunFolder.open(place)), 5, out=out, progress=False)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_another_seed_gives_other_weights(folder, tmp_path):
    train_run(small("seed=1"), tmp_path / "other", progress=False)
    first, second = weights(folder), weights(tmp_path / "other")
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_sample_17_is_the_same_alone_and_among_any_others(folder):
    run = TrainedRun(RunFolder.open(folder))
    denoiser = run.denoiser()
    alone = run.draw(denoiser, Seeds.range(0, 1, start=17))
    for first, count in ((0, 18), (17, 2), (10, 30), (0, 40)):
        many = run.draw(denoiser, Seeds.range(0, count, start=first))
        assert torch.equal(alone[0], many[17 - first])


def test_parts_made_on_different_machines_join_to_the_whole(folder, tmp_path):
    run = TrainedRun(RunFolder.open(folder))
    sample_run(run, 40, out=tmp_path / "whole", progress=False)
    sample_run(run, 25, out=tmp_path / "one", progress=False)
    sample_run(run, 15, first=25, out=tmp_path / "two", progress=False)

    key = np.load(next((tmp_path / "whole").glob("*.npz"))).files[0]
    whole = np.load(next((tmp_path / "whole").glob("*.npz")))[key]
    parts = [np.load(next((tmp_path / name).glob("*.npz")))[key] for name in ("one", "two")]
    assert np.array_equal(whole, np.concatenate(parts))


def test_conditions_follow_the_data_and_belong_to_the_sample(folder):
    run = TrainedRun(RunFolder.open(folder))
    rows = len(run.data)
    labels = training_conditions(run.data, Seeds.range(5, 1000))["label"]
    data_labels = run.data.batch(np.arange(rows))[1]["label"]
    share = torch.bincount(data_labels, minlength=10) / rows
    for part in (labels, labels[:100], labels[300:350]):
        # the golden ratio's sequence leaves no interval more than a few points short or over
        assert (torch.bincount(part, minlength=10) - share * len(part)).abs().max() < 3
    other = training_conditions(run.data, Seeds.range(6, 1000))["label"]
    assert not torch.equal(labels, other)
    assert torch.equal(training_conditions(run.data, Seeds.range(5, 3, start=40))["label"], labels[40:43])


def test_a_wanted_condition_is_used_and_a_wrong_one_refused(folder, tmp_path):
    run = TrainedRun(RunFolder.open(folder))
    sample_run(run, 3, out=tmp_path / "threes", condition={"label": 3}, progress=False)
    rows = (tmp_path / "threes" / "labels.csv").read_text().splitlines()[1:]
    assert [row.split(",")[2] for row in rows] == ["3", "3", "3"]
    for condition, said in (
        ({"label": 10}, "0 to 9"),
        ({"lable": 3}, "did you mean 'label'"),
        ({"label": "x"}, "label"),
    ):
        with pytest.raises(InputError, match=said):
            sample_run(run, 3, out=tmp_path / "none", condition=condition, progress=False)


def test_evaluation_judges_draws_and_keeps(folder):
    run = TrainedRun(RunFolder.open(folder))
    metrics = evaluate_run(run, progress=False)
    names = {result["metric"] for result in metrics["results"]}
    assert {"frechet", "kernel", "precision", "recall", "density", "coverage", "memorisation", "two-sample"} <= names
    for result in metrics["results"]:
        assert result["interval"][0] <= result["value"] <= result["interval"][1]
        assert result["floor"] is not None
    assert [(point["sampler"], point["calls"]) for point in metrics["quality_by_calls"]] == [
        ("multistep", 1),
        ("ddim", 1),
        ("multistep", 3),
        ("ddim", 3),
    ]
    pictures = np.load(folder / "evaluation.npz")
    assert pictures["samples"].shape == (40, 1, 8, 8)
    assert pictures["by_class"].shape == (10, 8, 1, 8, 8)
    assert pictures["forward"].shape[0] == len(pictures["forward_sigma"])
    assert np.all(np.diff(pictures["forward_sigma"]) > 0) and np.all(np.diff(pictures["reverse_sigma"]) < 0)
    distances = pictures["neighbour_distance"]
    gap = (pictures["neighbour_samples"][:, None] - pictures["neighbour_training"]).astype(np.float64)
    assert np.allclose(distances, np.sqrt((gap**2).mean((2, 3, 4))), rtol=1e-5)
    before = (folder / "metrics.json").stat().st_mtime_ns
    assert evaluate_run(run, again=False, progress=False) == json.loads((folder / "metrics.json").read_text())
    assert (folder / "metrics.json").stat().st_mtime_ns == before


def test_an_unconditional_run_is_told_nothing(tmp_path):
    train_run(small("conditional=false", "training.steps=2"), tmp_path / "run", progress=False)
    run = TrainedRun(RunFolder.open(tmp_path / "run"))
    assert run.conditions == {} and not run.conditional
    assert run.draw(run.denoiser(), Seeds.range(0, 2)).shape == (2, 1, 8, 8)
    with pytest.raises(InputError, match="without conditions"):
        sample_run(run, 1, condition={"label": 1}, progress=False)


def test_other_data_than_trained_on_is_refused(folder, tmp_path):
    place = tmp_path / "run"
    shutil.copytree(folder, place)
    record = json.loads((place / "provenance.json").read_text())
    record["data"]["sha256"] = "0" * 64
    (place / "provenance.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="not the data"):
        _ = TrainedRun(RunFolder.open(place)).data


def test_constant_data_is_refused_before_any_training(tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros((20, 8, 8), dtype=np.uint8))
    with pytest.raises(InputError, match="are all pixels equal"):
        train_run(load("images", [f"data.path={tmp_path / 'flat.npy'}"]), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()

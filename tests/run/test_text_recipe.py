"""The recipe for text in miniature: trained, judged and shown, on the built-in text and on one's own."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from unstir.cli.commands import app
from unstir.core.errors import InputError
from unstir.report.page import write_page
from unstir.run.evaluation import evaluate_run
from unstir.run.folder import RunFolder
from unstir.run.recipe import load
from unstir.run.sampling import TrainedRun, sample_run
from unstir.run.training import train_run

SMALL = (
    "network={name: diffusion-transformer, tokens: sequence, width: 32, depth: 1, embedding: 16, neighbours: 3}",
    "data.length=24",
    "training.steps=4",
    "training.batch=8",
    "training.threads=null",
    "training.log_every=2",
    "sampling.steps=3",
    "sampling.count=20",
    "sampling.batch=10",
    "evaluation.options={windows: 12, levels: 2, draws: 2, order: 3, autoregressive: {steps: 2, batch: 4, depth: 1}}",
)


@pytest.fixture(scope="module")
def own_text(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "own.txt"
    words = np.random.default_rng(0).choice(["über", "alle", "Berge", "und", "Täler\n"], 900)
    file.write_text(" ".join(words), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory, own_text):
    place = tmp_path_factory.mktemp("runs") / "text"
    train_run(load("text", [*SMALL, f"data.path={own_text}"]), place, progress=False)
    return place


def test_one_s_own_text_is_trained_on_judged_and_shown(folder, own_text):
    run = TrainedRun(RunFolder.open(folder))
    assert run.recipe.process["classes"] == run.encoding.classes and "ü" in run.encoding.characters
    metrics = evaluate_run(run, progress=False)
    names = [result["metric"] for result in metrics["results"]]
    assert names == ["bits-per-character", "bits-by-grams", "character-entropy", "distinct-pieces", "longest-copy"]
    assert {"uniform", "unigram", "3-grams", "xz", "autoregressive"} == set(metrics["results"][0]["baselines"])
    texts = [file.read_text(encoding="utf-8") for file in sorted((folder / "samples").glob("*.txt"))]
    assert len(texts) == 20 and {len(text) for text in texts} == {24}
    page = write_page(folder).read_text(encoding="utf-8")
    assert "characters hidden" in page and "What a character costs" in page
    assert page.count("data:image/svg+xml") >= 2
    json.dumps(metrics, allow_nan=False)
    told = CliRunner().invoke(app, ["evaluate", str(folder), "--no-again"])  # a cost has no floor of real data
    assert told.exit_code == 0 and "bits-per-character" in told.output


def test_again_the_same_text_and_the_figures_are_only_read(folder):
    run = TrainedRun(RunFolder.open(folder))
    known = evaluate_run(run, again=False, progress=False)
    first = sample_run(run, 3, out=folder / "a", progress=False)
    assert [file.read_text() for file in first] == [
        file.read_text() for file in sorted((folder / "samples").glob("*.txt"))[:3]
    ]
    assert evaluate_run(run, again=True, progress=False)["results"][0]["value"] == known["results"][0]["value"]


def test_by_default_it_is_the_text_that_comes_with_python(tmp_path):
    recipe = load("text", SMALL)
    run, result = train_run(recipe, tmp_path / "default", progress=False)
    assert result.step == 4
    record = run.read_json("provenance.json")["data"]
    assert record["name"] == "the help pages of Python" and record["rows"] > 200_000


def test_the_rival_is_trained_as_long_as_the_model_itself():
    recipe = load("text")
    rival = recipe.evaluation.options["autoregressive"]
    assert (rival["steps"], rival["batch"]) == (recipe.training.steps, recipe.training.batch)


def test_another_text_in_the_same_folder_is_refused(folder, own_text, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("Lorem ipsum dolor sit amet " * 60)
    with pytest.raises(InputError, match="another recipe"):
        train_run(load("text", [*SMALL, f"data.path={other}"]), folder, progress=False)

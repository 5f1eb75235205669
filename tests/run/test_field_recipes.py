"""The recipes of angles, tables and rotations in miniature: trained, sampled, judged and reported."""

import json

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.state import tensors_of
from unstir.report.page import write_page
from unstir.run.evaluation import evaluate_run
from unstir.run.folder import RunFolder
from unstir.run.recipe import load
from unstir.run.sampling import TrainedRun, sample_run
from unstir.run.training import train_run

SMALL = (
    "network={name: mlp, width: 16, depth: 1, embedding: 16}",
    "training.steps=3",
    "training.batch=8",
    "training.threads=null",
    "sampling.steps=2",
    "sampling.count=30",
    "sampling.batch=15",
    "evaluation.options.replicates=5",
)
OWN = {
    "angles": ("data.count=120", "data.residues=2", "evaluation.options.gap_rows=8", "evaluation.options.bound_rows=8",
               "evaluation.options.bound_steps=3", "evaluation.options.film=10"),
    "table": ("data.name=iris",),
    "rotations": ("data.count=120", "evaluation.options.gap_rows=8", "evaluation.options.film=10"),
}  # fmt: skip
HEADLINE = {"angles": "likelihood-bound", "table": "column-distances", "rotations": "belief-gap"}


def run_in_miniature(name, place, *changes):
    threads = torch.get_num_threads()
    try:
        train_run(load(name, [*SMALL, *changes]), place, progress=False)
        run = TrainedRun(RunFolder.open(place))
        return run, evaluate_run(run, progress=False)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", sorted(OWN))
def test_a_recipe_runs_to_its_report(name, tmp_path):
    run, metrics = run_in_miniature(name, tmp_path / name, *OWN[name])
    results = {result["metric"]: result for result in metrics["results"]}
    assert next(iter(results)) == HEADLINE[name] and {"two-sample", "memorisation"} <= set(results)
    for result in results.values():
        assert result["interval"][0] <= result["value"] <= result["interval"][1]
        assert np.isfinite([result["value"], *result["baselines"].values()]).all()
    assert all("held-out" in results[metric]["baselines"] for metric in ("two-sample", "memorisation"))
    assert json.loads((tmp_path / name / "metrics.json").read_text(encoding="utf-8"))["figures"]
    for figure in metrics["figures"]:
        assert (
            figure["svg"].lstrip().startswith("<?xml")
            and figure["seen"].endswith(".")
            and figure["judged"].endswith(".")
        )
    page = write_page(tmp_path / name).read_text(encoding="utf-8")
    assert all(figure["title"] in page for figure in metrics["figures"]) and all(
        text in page for text in metrics["remarks"]
    )
    files = sample_run(run, 4, progress=False)
    assert all(file.is_file() for file in files)
    assert len((files[0]).read_text(encoding="utf-8").splitlines()) == 5


def test_sample_9_is_the_same_alone_and_among_others(tmp_path):
    from unstir.core.seeds import Seeds

    run, _ = run_in_miniature("table", tmp_path / "table", *OWN["table"])
    denoiser = run.denoiser()
    alone, many = (run.draw(denoiser, Seeds.range(0, *ends)) for ends in ((1, 9), (20,)))
    assert all(torch.equal(one[0], other[9]) for one, other in zip(tensors_of(alone), tensors_of(many), strict=True))


def test_a_file_of_ones_own_takes_the_same_recipe(tmp_path):
    """Wind directions at two stations: one command, no law known, nothing kept apart."""
    generator = np.random.default_rng(0)
    first = generator.normal(230, 25, 60) % 360
    rows = np.stack((first, (first + generator.normal(20, 10, 60)) % 360), 1)
    lines = ["coast,hill", *(f"{one:.1f},{two:.1f}" for one, two in rows)]
    (tmp_path / "wind.csv").write_text("\n".join(lines), encoding="utf-8")
    changes = (f"data.path={tmp_path / 'wind.csv'}", "data.unit=degrees", "data.held_out=0",
               "evaluation.options.bound_rows=8", "evaluation.options.bound_steps=3")  # fmt: skip
    _, metrics = run_in_miniature("angles", tmp_path / "run", *changes)
    results = {result["metric"]: result for result in metrics["results"]}
    assert results["likelihood-bound"]["floor"] == {} and results["likelihood-bound"]["ideal"] is None
    assert "belief-gap" not in results and "held-out" not in results["correlations"]["baselines"]
    assert any("flatters" in remark for remark in metrics["remarks"])
    assert write_page(tmp_path / "run").is_file()


def test_an_unknown_option_of_the_evaluation_is_answered(tmp_path):
    with pytest.raises(InputError, match="did you mean 'replicates'"):
        run_in_miniature("table", tmp_path / "run", *OWN["table"], "evaluation.options.replicate=3")

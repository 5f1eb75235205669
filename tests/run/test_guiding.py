"""Guides made of a run, and the sweep of their strength: on a digits run in miniature and on laws that are known."""

import json
import math

import numpy as np
import pytest
import torch

from unstir.core.catalogue import entries
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.exact.mixture import MixtureDenoiser
from unstir.guidance.classifier import ClassifierGuidance
from unstir.guidance.classifier_free import ClassifierFreeGuidance
from unstir.metrics.base import SampleSet
from unstir.metrics.excess import Outside, SpectrumRatio, VarianceRatio
from unstir.metrics.features import random_features, save_features
from unstir.processes.gaussian import GaussianProcess
from unstir.run.folder import RunFolder
from unstir.run.guiding import (
    MADE_FROM_A_RUN,
    Asked,
    draw_guided,
    guide_of,
    guide_run,
    guides_table,
    load_guide,
    target_of,
    train_guide,
)
from unstir.run.recipe import load
from unstir.run.sampling import TrainedRun
from unstir.run.sweeping import recommended, sweep, sweep_run
from unstir.run.training import train_run

SMALL = (
    "network={name: mlp, width: 24, depth: 1, embedding: 16}",
    "training.steps=12",
    "training.batch=16",
    "training.threads=null",
    "sampling.steps=3",
    "sampling.batch=20",
)
TINY = {"name": "mlp", "width": 16, "depth": 1, "embedding": 16}
SEEDS = Seeds.range(0, 4)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "digits"
    train_run(load("digits", SMALL), place, progress=False)
    return TrainedRun(RunFolder.open(place))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "iris"
    train_run(load("table", [*SMALL, "data.name=iris"]), place, progress=False)
    return TrainedRun(RunFolder.open(place))


@pytest.fixture(scope="module")
def classified(run):
    record = train_guide(run, "label", steps=60, network=TINY, progress=False)
    return run, record


def test_a_classifier_is_trained_judged_kept_and_loaded(classified):
    run, record = classified
    folder = run.folder.path / "guides" / "label"
    assert json.loads((folder / "classifier.json").read_text())["by_level"] == record["by_level"]
    assert (folder / "checkpoints").is_dir() and record["held_out"] == round(0.2 * 1797)
    sigmas = [level["sigma"] for level in record["by_level"]]
    assert sigmas == sorted(sigmas) and sigmas[0] == pytest.approx(0.03, rel=1e-3) and sigmas[-1] == pytest.approx(20)
    assert record["by_level"][0]["accuracy"] > 0.5 > 2 * record["by_level"][0]["baseline"]
    classifier = load_guide(run, "label")
    state, condition = run.data.batch(np.arange(300))
    t = run.denoiser().process.schedule.time(torch.tensor(7.0, dtype=torch.float64))
    told = classifier.belief(state, t).mean[:, 0].argmax(1)
    assert (told == condition["label"]).double().mean() > 0.5
    assert train_guide(run, "label", steps=60, network=TINY, progress=False) == record


def test_columns_of_a_table_have_classifiers_and_regressors(table):
    classes = train_guide(table, "species", steps=8, network=TINY, progress=False)
    numbers = train_guide(table, "petal_length_(cm)", steps=8, network=TINY, progress=False)
    assert (classes["kind"], numbers["kind"]) == ("classes", "numbers")
    for condition in ({"species": "setosa"}, {"petal_length_(cm)": 4.7}):
        guided = guide_of(table, Asked("classifier", condition))
        drawn, told = draw_guided(table, guided, 1.0, 5)
        assert set(drawn) == set(table.shape) and list(told) == list(condition)
        assert torch.isfinite(drawn["continuous"]).all()
    assert target_of(table, "species").value("virginica") == 2
    for name, value, said in (
        ("species", "setoza", "did you mean 'setosa'"),
        ("petal_length_(cm)", "long", "not a finite number"),
    ):
        with pytest.raises(InputError, match=said):
            target_of(table, name).value(value)


ASKED = {
    "auto": Asked("auto"),
    "classifier": Asked("classifier", {"label": 3}),
    "classifier-free": Asked("classifier-free", {"label": 3}, interval=(0.1, 5.0)),
    "composed-conditions": Asked("composed-conditions", {"label": 3}, {"label": 5}),
    "negative": Asked("negative", {}, {"label": 5}),
}


@pytest.mark.parametrize("name", sorted(ASKED))
def test_every_guide_of_the_table_is_made_and_steers(classified, name):
    run, _ = classified
    guided = guide_of(run, ASKED[name])
    plain, _ = draw_guided(run, guided, 0.0, 20)
    steered, told = draw_guided(run, guided, 3.0, 20)
    assert torch.isfinite(steered).all() and not torch.equal(plain, steered)
    again, _ = draw_guided(run, guided, 3.0, 3)
    assert torch.equal(again, steered[:3])
    own = {} if name == "classifier" else told
    assert torch.equal(plain, run.draw(run.denoiser(), Seeds.range(run.recipe.seed, 20), own))


def test_the_table_of_guides_names_catalogue_entries_and_all_of_them():
    told = {name: made for name, _, made in guides_table()}
    assert set(told) == set(entries("guidance")) and {name for name, made in told.items() if made} == set(
        MADE_FROM_A_RUN
    )
    assert set(ASKED) | {"fairness"} == set(MADE_FROM_A_RUN)


def test_samples_are_written_under_a_name_that_says_how(run):
    files = guide_run(run, Asked("classifier-free", {"label": 3}), 2.0, 3, progress=False)
    assert files[0].parent.name == "guided_classifier-free_2_seed-0_000003_label-3"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked("classifer"), "did you mean 'classifier'"),
        (Asked("given-parts"), "Python"),
        (Asked("classifier-free", {"label": 11}), "0 to 9"),
        (Asked("classifier-free", {"lable": 1}), "did you mean 'label'"),
        (Asked("classifier"), "--condition label=3"),
        (Asked("classifier", {"size": 1}), "nothing to tell called 'size'"),
        (Asked("classifier", {"label": 10}), "0 to 9"),
        (Asked("negative"), "--negative label=5"),
        (Asked("composed-conditions"), "--condition"),
        (Asked("fairness", protected="a", outcome="b"), "tables"),
    ],
)
def test_what_cannot_be_made_is_answered(run, asked, said):
    with pytest.raises(InputError, match=said):
        guide_of(run, asked)


def test_a_classifier_that_is_not_there_says_how_to_make_it(table):
    with pytest.raises(InputError, match="--train-classifier"):
        load_guide(table, "sepal_width_(cm)")


def test_a_sweep_goes_on_where_it_stopped_and_measures_the_same(run):
    asked = Asked("classifier-free", {"label": 3})
    state, _ = run.data.batch(np.arange(200))
    (run.folder.path / "guides").mkdir(exist_ok=True)
    save_features(random_features(state, 0), run.folder.path / "guides" / "features-label.safetensors")  # fast
    first, folder = sweep_run(run, asked, (0.0, 2.0), count=20, replicates=10, progress=False)
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("strength-*.json")}
    assert set(kept) == {"strength-0.json", "strength-2.json"}
    (folder / "strength-2.json").unlink()
    second, _ = sweep_run(run, asked, (0.0, 2.0, 4.0), count=20, replicates=10, progress=False)
    assert (folder / "strength-0.json").stat().st_mtime_ns == kept["strength-0.json"]

    def timeless(point):
        return [{key: value for key, value in result.items() if key != "seconds"} for result in point["results"]]

    assert [timeless(point) for point in second["points"][:2]] == [timeless(point) for point in first["points"]]
    assert [point["strength"] for point in second["points"]] == [0.0, 2.0, 4.0]
    metrics = {result["metric"]: result for result in first["points"][0]["results"]}
    assert {"frechet", "precision", "coverage", "recall", "class-agreement", "outside", "spectrum"} <= set(metrics)
    for result in metrics.values():
        assert result["interval"][0] <= result["value"] <= result["interval"][1] and result["floor"]
    assert first["classifier"]["accuracy"] > 0.9 and metrics["class-agreement"]["floor"]["value"] > 0.9
    with pytest.raises(InputError, match="two different"):
        sweep_run(run, asked, (1.0,), count=20, progress=False)


LINE = GaussianProcess()
LAW = MixtureDenoiser([0.5, 0.5], [[-1.0], [1.0]], [1.0, 1.0], LINE, labels=[0, 1])


def test_around_a_law_the_sweep_finds_the_exact_conditional_at_strength_one():
    def told(xt, t, label):
        return LAW.log_density(xt, t, label=label) - LAW.log_density(xt, t)

    label = torch.ones(400, dtype=torch.int64)
    found = sweep(
        lambda w: ClassifierGuidance(LAW, told, w, told=("label",)), LAW, (1,), condition={"label": label},
        strengths=(0.0, 1.0, 4.0), count=400, steps=24, replicates=20,
    )  # fmt: skip
    by = {point["strength"]: {result["metric"]: result for result in point["results"]} for point in found["points"]}
    distance = {w: by[w]["sliced-wasserstein"]["value"] for w in by}
    # unguided: N(0, 2) of both labels against N(1, 1): the means alone are 1 apart; at 1 what is left is chance
    assert distance[0.0] > 0.9 and distance[4.0] > 0.4
    assert distance[1.0] < 2 * by[1.0]["sliced-wasserstein"]["floor"]["interval"][1]
    assert found["recommended"] == 1.0
    # p(label|x) = sigmoid(2x) is right for 1 of N(1, 1) in Phi(1) of cases
    right = by[1.0]["class-agreement"]
    assert right["interval"][0] < 0.5 * (1 + math.erf(math.sqrt(0.5))) < right["interval"][1]


def test_around_a_law_a_stronger_push_of_its_condition_is_further_from_the_truth(tmp_path):
    label = torch.arange(300) % 2
    found = sweep(
        lambda w: ClassifierFreeGuidance(LAW, w), LAW, (1,), condition={"label": label}, strengths=(0.0, 2.0, 6.0),
        count=300, steps=16, replicates=10, folder=tmp_path / "sweep",
    )  # fmt: skip
    away = [point["results"][0]["value"] for point in found["points"]]
    assert [point["results"][0]["metric"] for point in found["points"]] == ["sliced-wasserstein"] * 3
    assert away[0] < away[1] < away[2] and found["recommended"] == 0.0
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text())["points"] == found["points"]


def points_of(*rows):
    """(strength, Fréchet, coverage, agreement) each, all with intervals of half-width 0.02."""
    return [
        {
            "strength": row[0],
            "results": [
                {"metric": name, "value": value, "interval": [value - 0.02, value + 0.02]}
                for name, value in zip(("frechet", "coverage", "class-agreement"), row[1:], strict=False)
            ],
        }
        for row in rows
    ]


@pytest.mark.parametrize(
    ("points", "wanted"),
    [
        # obeyed most among those as true as the best
        (points_of((0, 0.30, 0.9, 0.80), (1, 0.31, 0.88, 0.95), (4, 0.60, 0.85, 1.0)), 1.0),
        # as well obeyed within the interval: the smaller
        (points_of((0, 0.30, 0.9, 0.80), (1, 0.31, 0.88, 0.94), (2, 0.30, 0.88, 0.95)), 1.0),
        # true, but a tenth of the coverage is gone
        (points_of((0, 0.30, 0.9, 0.80), (1, 0.29, 0.80, 0.95)), 0.0),
        # nothing to be obeyed: the truest
        (points_of((0, 0.30, 0.9), (1, 0.25, 0.89), (2, 0.28, 0.88)), 1.0),
        # no strength keeps both
        (points_of((0, 0.50, 0.9, 0.80), (1, 0.20, 0.30, 0.95)), 1.0),
    ],
)  # fmt: skip
def test_the_rule_of_the_recommendation(points, wanted):
    assert recommended(points)[0] == wanted


def test_variance_is_taken_within_the_classes():
    generator = np.random.default_rng(0)
    labels = torch.arange(2000) % 2
    noise = torch.from_numpy(generator.normal(size=(2000, 3)))
    apart = 10.0 * labels[:, None] + noise
    reference = SampleSet(apart, labels=labels)
    half = SampleSet(10.0 * labels[:, None] + 0.5 * noise, labels=labels)
    assert VarianceRatio().measure(half, reference, Seeds.range(0, 2000)).value == pytest.approx(0.25)
    assert VarianceRatio().measure(reference, reference, Seeds.range(0, 2000)).value == pytest.approx(1.0)


def test_saturation_counts_elements_beyond_the_range_and_a_margin():
    rows = SampleSet(torch.tensor([[1.04, -1.04, 0.0, 1.06], [-1.2, 0.9, 0.0, 0.0]]))
    measured = Outside(-1.0, 1.0).measure(rows, rows, Seeds.range(0, 2))
    assert measured.value == pytest.approx(2 / 8)
    assert measured.resampled(torch.tensor([[2.0, 0.0]], dtype=torch.float64)).item() == pytest.approx(1 / 4)


def test_the_spectrum_knows_fine_from_coarse():
    x = torch.arange(8) * (2 * math.pi / 8)
    coarse, fine = (torch.cos(k * x).expand(1, 8, 8) for k in (1, 4))
    data = torch.stack([coarse + 0.5 * fine] * 3)
    blurred = torch.stack([coarse + 0.25 * fine] * 3)
    measure = SpectrumRatio().measure
    assert measure(SampleSet(data), SampleSet(data), SEEDS).value == pytest.approx(1.0)
    assert measure(SampleSet(blurred), SampleSet(data), SEEDS).value == pytest.approx(0.25)
    assert measure(SampleSet(3 * data + 1), SampleSet(data), SEEDS).value == pytest.approx(1.0)

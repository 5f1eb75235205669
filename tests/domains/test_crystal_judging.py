"""How crystals are judged: true ones come out well, scattered ones badly, and files are written of the best."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import take
from unstir.domains.base import Judged
from unstir.domains.crystals.data import crystal_data
from unstir.domains.crystals.drawing import draw_crystals
from unstir.domains.crystals.embedded import prototypes
from unstir.domains.crystals.files.reading import read_files
from unstir.domains.crystals.judging import judge_crystals
from unstir.domains.crystals.measures import rivals
from unstir.domains.matter.structures import Crystal
from unstir.exact.gaussian import GaussianDenoiser
from unstir.processes.gaussian import GaussianProcess

UNASKED = GaussianDenoiser(torch.zeros(1), 1.0, GaussianProcess())  # what judging looks at is drawn below
SMALL = {"limit": 24, "curve": [], "reference_limit": 60, "replicates": 20, "candidates": 4}
SITES = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])


def perovskites(count=60):
    rng = np.random.default_rng(0)
    kinds = [(a, b) for a in (20, 38, 56, 19, 37) for b in (22, 40, 50, 72, 41, 73)]
    made = []
    for row in range(count):
        a, b = kinds[row % len(kinds)]
        cell = np.diag(4 + 0.1 * rng.normal(size=3))
        places = (SITES + 0.01 * rng.normal(size=(5, 3))) % 1
        made.append(Crystal(np.array([a, b, 8, 8, 8]), places, cell, source=f"made, row {row}"))
    return made


def judged(data, crystals, folder=None, **options):
    """Whatever is asked for is answered with these crystals, told as states."""
    state, _, _ = data.encoding.encode(crystals)

    def draw(count, seed=0, condition=None, callback=None, **how):
        for time in (1.0, 0.5, 0.0):
            if callback is not None:
                noisy = {**state, "lattice": state["lattice"] + time}
                callback(SimpleNamespace(x=take(noisy, slice(count))), torch.tensor(time), torch.tensor(time / 2))
        return take(state, slice(count))

    mask = data.encoding.encode(crystals)[1]
    condition = {"mask": mask}
    return Judged(UNASKED, data, None, state, condition, draw, 0, {**SMALL, **options}, folder)


def values(judgement):
    return {result.metric: result for result in judgement.results}


@pytest.fixture(scope="module")
def predict():
    return crystal_data(perovskites(), task="predict", held_out=0.4)


@pytest.fixture(scope="module")
def generate():
    return crystal_data(list(prototypes(120).structures), task="generate", held_out=0.2)


@pytest.fixture(scope="module")
def true_ones(predict, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "candidates"
    rest = predict.held_out
    return judge_crystals(judged(predict, rest.structures, folder)), folder


def test_true_structures_match_themselves(true_ones):
    found = values(true_ones[0])
    for name in ("match-rate", "metre", "valid-structure", "space-group"):
        assert found[name].value == 1.0, name
    assert found["rmse"].value < 1e-3 and found["crmse"].value < 1e-3 and found["volume-error"].value < 1e-4
    assert found["match-rate"].floor["value"] == 1.0 and 0 < found["rmse"].floor["value"] < 0.1
    rate = found["match-rate"].baselines
    assert rate["nearest-composition"] == rate["typical"] == 1.0 and rate["scattered"] < 0.7
    assert found["rmse"].baselines["scattered"] > 5 * found["rmse"].baselines["typical"]


def test_scattered_predictions_are_as_bad_as_the_rival_that_scatters(predict):
    rest = predict.held_out
    library = rivals.Library(predict.structures)
    seeds = Seeds.range(9, len(rest))
    gas = [library.scattered(each, seeds[row : row + 1]) for row, each in enumerate(rest.structures)]
    found = values(judge_crystals(judged(predict, gas)))
    assert found["match-rate"].value < 0.75
    assert found["crmse"].value > 0.3 and found["rmse"].value > 0.2
    assert abs(found["crmse"].value - found["crmse"].baselines["scattered"]) < 0.15


def test_several_draws_and_ways_of_sampling_are_told(predict):
    options = {"draws": 2, "curve": [{"steps": 5}, {"name": "many", "steps": 50}], "curve_limit": 4, "limit": 6}
    found = judge_crystals(judged(predict, predict.held_out.structures, **options))
    assert values(found)["match-rate-of-2"].value == 1.0
    curve = next(figure for figure in found.figures if figure.name == "curve")
    assert "same 4 compositions" in curve.seen


def test_figures_and_files_of_predictions(true_ones, predict):
    judgement, folder = true_ones
    assert [figure.name for figure in judgement.figures] == ["predictions", "tolerance", "cells", "film"]
    assert all("</svg>" in figure.svg for figure in judgement.figures)
    rows = list(csv.DictReader((folder / "candidates.csv").read_text().splitlines()))
    assert len(rows) == 4 and {row["matches"] for row in rows} == {"yes"}
    for row in rows:
        found = read_files(folder / row["file"]).structures[0]
        truth = read_files(folder / row["file"].replace(".cif", "-true.cif")).structures[0]
        assert rivals.counts(found) == rivals.counts(truth) == (1, 1, 3)
        assert (folder / row["file"].replace(".cif", ".html")).exists()


def test_made_crystals_kept_apart_are_sound_and_new(generate, tmp_path):
    rest = generate.held_out
    found = judge_crystals(judged(generate, rest.structures, tmp_path / "candidates"))
    told = values(found)
    for name in ("valid-unique-novel", "valid-structure", "coverage-precision", "novel", "unique"):
        assert told[name].value == pytest.approx(told[name].floor["value"]), name
    assert told["valid-structure"].value == 1.0 and told["unique"].value > 0.8 and told["novel"].value > 0.8
    assert told["novel"].baselines["copies"] == 0.0
    assert told["valid-radii"].baselines["jittered"] <= told["valid-radii"].value
    assert told["element-count"].value < 1.0
    names = [figure.name for figure in found.figures]
    assert names == ["samples", "histograms", "elements", "shells", "film"]
    rows = list(csv.DictReader((tmp_path / "candidates" / "candidates.csv").read_text().splitlines()))
    far = [float(row["distance to data"]) for row in rows]
    assert far == sorted(far) and len(rows) <= 4


def test_atoms_on_each_other_are_nothing(generate):
    heaps = [
        Crystal(each.numbers, np.zeros_like(each.fractional) + 0.01 * np.arange(len(each))[:, None], each.cell)
        for each in generate.held_out.structures
        if len(each) > 1
    ]
    found = judge_crystals(judged(generate, heaps))
    told = values(found)
    for name in ("valid-unique-novel", "valid-structure", "unique", "novel", "coverage-precision", "coverage-recall"):
        assert told[name].value == 0.0, name
    assert "density" not in told


def test_energies_by_a_calculator_stand_beside_those_of_the_data():
    metals = [
        Crystal(
            np.full(4, number), np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]), edge * np.eye(3)
        )
        for number in (29, 47, 79, 28, 46, 78)
        for edge in (3.6, 3.8, 4.0)
    ]
    data = crystal_data(metals, task="generate", held_out=0.0)
    found = judge_crystals(judged(data, metals[::2], calculator="emt", energies=4))
    told = values(found)
    assert told["force"].value < 1e-6 and told["energy-above-hull"].value >= 0
    assert told["force"].baselines["jittered"] > 0.1
    assert any("kept apart" in remark for remark in found.remarks)


def test_wrong_options_say_what_is_allowed(predict):
    for options, told in (
        ({"limits": 3}, "did you mean 'limit'"),
        ({"draws": 0}, "from 1"),
        ({"limit": 1}, "from 2"),
        ({"candidates": 1.5}, "whole number"),
        ({"calculator": "vasp"}, "emt"),
        ({"curve": "steps"}, "list of ways"),
        ({"curve": [5]}, "write it as"),
        ({"curve": [{"step": 5}]}, "did you mean 'steps'"),
        ({"steer": "gap"}, "gap"),
    ):
        with pytest.raises(InputError, match=told):
            judge_crystals(judged(predict, predict.held_out.structures, **options))


def test_pictures_show_every_crystal(generate):
    state, mask = take(generate.state, slice(3)), generate.mask[:3]
    picture = draw_crystals(generate.encoding, state, columns=2, scale=40, padding=2, condition={"mask": mask})
    assert picture.shape == (88, 88, 3)
    tiles = [picture[row : row + 44, column : column + 44] for row in (0, 44) for column in (0, 44)]
    assert [(tile < 200).any() for tile in tiles] == [True, True, True, False]

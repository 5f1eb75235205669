"""Recipes: read, overridden, checked, resolved."""

import pytest
import yaml

from unstir.core.catalogue import entries
from unstir.core.errors import InputError
from unstir.run.recipe import load

MINIMAL = {"name": "small", "data": {"format": "digits"}}


@pytest.mark.parametrize("name", list(entries("recipes")))
def test_a_resolved_recipe_reads_back_as_itself(name, tmp_path):
    recipe = load(name)
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load(file) == recipe


def test_defaults_of_every_part_are_written_out():
    recipe = load(MINIMAL, ["network=mlp", "sampling.grid=karras"])
    assert recipe.process["schedule"] == {"name": "edm", "sigma_max": 80.0, "rho": 7.0}
    assert recipe.sampling.grid["rho"] == 7.0
    assert recipe.network is not None and set(recipe.network) > {"name"}
    assert "shape" not in recipe.network and "conditions" not in recipe.network


def test_overrides_reach_every_depth_and_keep_their_types():
    recipe = load(
        MINIMAL,
        [
            "training.steps=7",
            "training.learning_rate.name=linear",
            "process.schedule.name=cosine",
            "process.schedule.shift=-1.5",
            "sampling.sampler=ddim",
            "data.range=[0, 16]",
            "seed=3",
            "training.weight_decay=1e-3",
        ],
    )
    assert recipe.training.steps == 7
    assert recipe.process["schedule"] == {"name": "cosine", "shift": -1.5, "scale": "vp"}
    assert recipe.sampling.sampler == {"name": "ddim", "eta": 0.0}
    assert recipe.data["range"] == [0, 16]
    assert recipe.seed == 3
    assert recipe.training.weight_decay == 0.001


def test_a_recipe_extends_another_one_and_replaces_a_renamed_part_whole(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "extends": "digits",
                "training": {"steps": 11},
                "network": {"name": "mlp"},
                "sampling": {"grid": "uniform"},
            }
        ),
        encoding="utf-8",
    )
    recipe, base = load(file), load("digits")
    assert recipe.name == "mine"
    assert recipe.training.steps == 11 and recipe.training.batch == base.training.batch
    assert recipe.network is not None and recipe.network["name"] == "mlp"
    assert recipe.sampling.grid["name"] == "uniform" and recipe.sampling.steps == base.sampling.steps


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainng.steps=3", "did you mean 'training'"),
        ("training.step=3", "did you mean 'training.steps'"),
        ("training.steps=many", "training.steps"),
        ("training.steps=0", "at least 1"),
        ("sampling.steps=0", "at least 1"),
        ("sampling.sampler=dimm", "did you mean 'ddim'"),
        ("sampling.sampler.name=ddim", None),
        ("sampling.sampler.etta=1", "no option 'etta'"),
        ("sampling.grid.rho=big", "a number is needed"),
        ("sampling.grid=karass", "did you mean 'karras'"),
        ("process.schedule=cosin", "did you mean 'cosine'"),
        ("process.name=gausian", "did you mean 'gaussian'"),
        ("network={name: unet, width: 3}", "did you mean 'widths'"),
        ("denoiser.parametrisation=v", "did you mean 'parameterisation'"),
        ("denoiser.parameterisation=epsilon", "unknown parameterisation"),
        ("domain=imagse", "did you mean 'images'"),
        ("training=3", "mapping"),
        ("steps", "key=value"),
        ("a=[", "not YAML"),
    ],
)
def test_what_cannot_be_used_is_answered_with_what_can(override, said):
    if said is None:
        load(MINIMAL, [override])
        return
    with pytest.raises(InputError, match=said):
        load(MINIMAL, [override])


@pytest.mark.parametrize(
    ("text", "said"),
    [("- a\n- b\n", "mapping"), ("a: [", "not a YAML file"), ("name: x\n", "nothing of its data"), ("\x00", "YAML")],
)
def test_a_broken_file_is_named(text, said, tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        load(file)


def test_a_missing_recipe_is_an_error_with_the_known_ones():
    with pytest.raises(InputError, match="did you mean 'digits'"):
        load("digitz")
    with pytest.raises(InputError, match="no such recipe file"):
        load("nowhere/mine.yaml")


def test_nothing_in_a_recipe_is_executed(tmp_path):
    file = tmp_path / "evil.yaml"
    file.write_text("name: !!python/object/apply:os.system ['true']\n", encoding="utf-8")
    with pytest.raises(InputError, match="not a YAML file"):
        load(file)


def test_a_weighting_may_say_its_own_deviation_and_else_is_told_the_data_s():
    assert load(MINIMAL).training.weighting == {"name": "edm"}
    own = load(MINIMAL, ["training.weighting={name: edm, sigma_data: 0.7}"])
    assert own.training.weighting == {"name": "edm", "sigma_data": 0.7}

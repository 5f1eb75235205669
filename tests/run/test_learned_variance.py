"""A run whose network learns the belief's variance: one more override, and all else as for any other run."""

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import LearnedGaussianPosterior
from unstir.run.folder import RunFolder
from unstir.run.recipe import load
from unstir.run.sampling import TrainedRun
from unstir.run.training import train_run

SMALL = (
    "denoiser.variance=learned",
    "network={name: unet, widths: [8], blocks: 1}",
    "training.steps=12",
    "training.learning_rate={name: constant, peak: 0.003}",
    "training.batch=16",
    "training.log_every=20",
    "sampling.steps=4",
    "sampling.batch=8",
    "sampling.sampler=ddpm-learned",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "digits"
    train_run(load("digits", SMALL), place, progress=False)
    return place


def test_it_is_trained_kept_and_sampled_from(folder):
    recipe = load(folder / "recipe.yaml")
    assert recipe.denoiser["variance"] == "learned"
    assert "outputs" not in recipe.network
    run = TrainedRun(RunFolder.open(folder))
    denoiser = run.denoiser()
    x0, condition = run.data.batch(np.arange(200))
    t = denoiser.process.schedule.time_at_sigma(0.1)
    belief = denoiser(denoiser.process.noise(x0, t, Seeds.range(0, 200)), t, **condition)
    assert isinstance(belief, LearnedGaussianPosterior)
    assert belief.variance.std() > 0.01 * belief.variance.mean()  # it has learned to tell places apart
    drawn = run.draw(denoiser, Seeds.range(0, 5))
    assert drawn.isfinite().all()
    assert torch.equal(drawn[2:3], run.draw(denoiser, Seeds.range(0, 1, start=2)))


def test_it_goes_on_where_it_stopped_to_the_bit(folder, tmp_path):
    for steps in (6, 12):
        train_run(load("digits", [*SMALL, f"training.steps={steps}"]), tmp_path / "again", progress=False)
    places = (folder, tmp_path / "again")
    first, second = (TrainedRun(RunFolder.open(place)).denoiser().state_dict() for place in places)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_without_one_says_what_to_do(tmp_path):
    train_run(load("digits", [*SMALL[1:], "training.steps=1"]), tmp_path / "plain", progress=False)
    run = TrainedRun(RunFolder.open(tmp_path / "plain"))
    with pytest.raises(InputError, match=r"denoiser\.variance=learned"):
        run.draw(run.denoiser(), Seeds.range(0, 2))


def test_an_unknown_variance_is_answered():
    with pytest.raises(InputError, match="unknown variance of a network's belief 'larned'; did you mean 'learned'"):
        load("digits", ["denoiser.variance=larned"])
